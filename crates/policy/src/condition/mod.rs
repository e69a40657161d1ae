//! Conditions of roles: expressions in CEL, the Common Expression Language, over the arguments, the principal, the tool and
//! the time.
//!
//! The language is that of its definition (github.com/google/cel-spec, doc/langdef.md) without messages, types as values
//! and zones with names. The reader and the evaluator are our own for two reasons. A condition comes between a caller and a
//! tool, so the work for it has a bound that is counted, both when it is loaded and whenever it is asked. And lists are
//! made before there are arguments: what is not known yet must stay unknown, not become an error.

mod arithmetic;
mod call;
mod eval;
mod expr;
mod failure;
mod fuel;
mod function;
mod lex;
mod look;
mod matching;
mod parse;
mod subject;
mod tally;
mod time;
mod value;

use std::{fmt, str::FromStr, sync::Arc};

pub use failure::{ConditionFailure, FailureCause};
pub(crate) use subject::Mentions;

use crate::{Action, Caller, Circumstances, Kind};
use eval::{Answer, Machine, Stop};
use tally::Outcomes;
use value::Value;

/// A condition, read from an expression such as `args.env != "production" && now.getHours("+01:00") < 18`.
///
/// It sees four variables: `args` (the arguments of a tool or prompt; empty for resources, which have none, and unknown while
/// an argument is being completed), `principal` (`issuer`, `subject`, `tenant`, `groups`,
/// `scopes`, `email`, `name`, `roles`; what nobody said is not there), `tool` (`name`, `server`, `effect`: `read`, `write` or
/// `destructive`, `kind`: `call`, `read`, `subscribe`, `get` or `complete`) and `now` (a timestamp).
///
/// It has at most 4 KiB, 512 expressions of which 48 lie within each other, and two macros within each other. Working it
/// out takes some milliseconds at most; one that would take longer is false.
#[derive(Clone)]
pub struct Condition(Arc<Read>);

struct Read {
    text: Box<str>,
    parsed: parse::Parsed,
}

/// Why a text is no [`Condition`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("at character {at}: {message}")]
pub struct ConditionError {
    /// At which character of the text, from 1.
    pub at: usize,
    /// What is wrong there, and what to do.
    pub message: String,
}

impl ConditionError {
    /// At a byte of the text.
    fn new(text: &str, at: usize, message: impl Into<String>) -> Self {
        Self {
            at: character(text, at),
            message: message.into(),
        }
    }
}

/// The character that begins at that byte, counted from 1.
fn character(text: &str, at: usize) -> usize {
    text.char_indices().take_while(|(start, _)| *start < at).count() + 1
}

/// What a condition says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Truth {
    True,
    False,
    /// It depends on what is not known yet.
    Unknown,
    Failed(ConditionFailure),
}

impl Condition {
    /// Reads `text`.
    ///
    /// # Errors
    /// When it is no expression, uses what does not exist, can be neither true nor false, or is larger than allowed.
    pub fn new(text: &str) -> Result<Self, ConditionError> {
        let parsed = parse::parse(text)?;
        let text = text.into();
        Ok(Self(Arc::new(Read { text, parsed })))
    }

    /// The condition as it was written.
    pub fn as_str(&self) -> &str {
        &self.0.text
    }

    pub(crate) fn mentions(&self) -> Mentions {
        self.0.parsed.mentions
    }

    /// What it says of an action. In a listing it is false only if no arguments and no time make it true.
    pub(crate) fn holds(
        &self,
        caller: &Caller,
        action: &Action<'_>,
        circumstances: Circumstances<'_>,
    ) -> Truth {
        let arguments = match (action.kind, circumstances) {
            // Whatever else such a request brings, its server does not look at it.
            (Kind::Read | Kind::Subscribe, _) => Some(&b"{}"[..]),
            // They are being thought of.
            (Kind::Complete, _) | (_, Circumstances::Listing) => None,
            (Kind::Call | Kind::Get, Circumstances::Calling { arguments, .. }) => Some(object(arguments)),
        };
        let now = match circumstances {
            Circumstances::Listing => None,
            Circumstances::Calling { now, .. } => Some(nanos(now)),
        };
        let mut machine = Machine::new(caller, action, arguments, now);
        let answer = machine.eval(&self.0.parsed.expr);
        match self.truth(answer, circumstances) {
            // To complete an argument is to look for the right one.
            Truth::Unknown if circumstances != Circumstances::Listing => Truth::True,
            truth => truth,
        }
    }

    fn truth(&self, answer: Answer<'_>, circumstances: Circumstances<'_>) -> Truth {
        let failed = |at: u32, cause| {
            let at = character(&self.0.text, at as usize);
            Truth::Failed(ConditionFailure { at, cause })
        };
        match answer {
            Ok(Value::Bool(true)) => Truth::True,
            Ok(Value::Bool(false)) => Truth::False,
            Ok(other) => failed(self.0.parsed.expr.at, FailureCause::NotBoolean(other.kind())),
            Err(Stop::Failed(at, cause)) => failed(at, cause),
            // With arguments it may take a shorter way.
            Err(Stop::Spent) if circumstances == Circumstances::Listing => Truth::Unknown,
            Err(Stop::Unknown(outcomes)) if outcomes.has(Outcomes::TRUE) => Truth::Unknown,
            Err(Stop::Unknown(_)) => Truth::False,
            Err(Stop::Spent) => Truth::Failed(ConditionFailure {
                at: 0,
                cause: FailureCause::TooCostly,
            }),
        }
    }
}

/// No arguments are an empty object; white space around them is nothing.
fn object(arguments: &[u8]) -> &[u8] {
    match arguments.trim_ascii() {
        [] => b"{}",
        object => object,
    }
}

fn nanos(now: crate::UnixMillis) -> i128 {
    i128::from(now.0) * (time::SECOND / 1000)
}

impl FromStr for Condition {
    type Err = ConditionError;

    fn from_str(text: &str) -> Result<Self, ConditionError> {
        Self::new(text)
    }
}

impl fmt::Debug for Condition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Condition({:?})", self.as_str())
    }
}

impl PartialEq for Condition {
    fn eq(&self, other: &Self) -> bool {
        self.as_str() == other.as_str()
    }
}

impl Eq for Condition {}

#[cfg(test)]
mod tests;
