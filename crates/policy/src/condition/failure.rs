//! Why a condition could not be worked out.

use std::fmt;

use crate::Printable;

/// Why a condition could not be worked out, which counts as false. It never repeats what a caller sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConditionFailure {
    /// At which character of the condition, from 1; 0 where it is no place in particular.
    pub at: usize,
    /// What happened there.
    pub cause: FailureCause,
}

/// What can go wrong while a condition is worked out.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum FailureCause {
    /// It takes more steps than a condition may.
    TooCostly,
    /// A map has no such key; named where the condition names it.
    NoKey(Option<Box<str>>),
    /// A list is not that long.
    NoElement,
    /// An operation does not know how to handle values of these types.
    NoOverload {
        /// The operator or function.
        operation: &'static str,
        /// The types it was given.
        kinds: (&'static str, Option<&'static str>),
    },
    /// A result is no number of its type, or no time.
    Overflow,
    /// A whole number was divided by zero.
    DivisionByZero,
    /// What should be true or false is something else.
    NotBoolean(&'static str),
    /// A value is none of the type that it is converted to.
    Conversion(&'static str),
    /// A map has a key twice, or one of a type that no key has.
    Key,
    /// A number of the arguments is larger, or has more digits, than any type holds.
    Number,
    /// A string of the arguments is no Unicode text.
    Text,
    /// The arguments are no JSON object.
    Arguments,
}

impl fmt::Display for ConditionFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.at > 0 {
            write!(f, "at character {}: ", self.at)?;
        }
        match &self.cause {
            FailureCause::TooCostly => f.write_str("it takes too many steps"),
            FailureCause::NoKey(Some(key)) => write!(f, "there is no `{}`", Printable(key)),
            FailureCause::NoKey(None) => f.write_str("there is no such key"),
            FailureCause::NoElement => f.write_str("the list has no such element"),
            FailureCause::NoOverload { operation, kinds } => match kinds {
                (one, Some(other)) => write!(f, "`{operation}` does not go with {one} and {other}"),
                (one, None) => write!(f, "`{operation}` does not go with {one}"),
            },
            FailureCause::Overflow => f.write_str("the result is too large"),
            FailureCause::DivisionByZero => f.write_str("this divides by zero"),
            FailureCause::NotBoolean(kind) => write!(f, "this is neither true nor false but {kind}"),
            FailureCause::Conversion(kind) => write!(f, "the value is no {kind}"),
            FailureCause::Key => {
                f.write_str("a key of this map is there twice, or of a type that no key has")
            }
            FailureCause::Number => {
                f.write_str("a number in the arguments is larger, or has more digits, than can be compared")
            }
            FailureCause::Text => f.write_str("a string in the arguments is no Unicode text"),
            FailureCause::Arguments => f.write_str("the arguments are no JSON object"),
        }
    }
}

impl std::error::Error for ConditionFailure {}
