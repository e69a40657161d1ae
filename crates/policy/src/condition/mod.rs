//! Conditions of roles: expressions in CEL over the arguments, the principal, the tool and the time.

use std::{fmt, str::FromStr, sync::Arc};

use crate::{Action, Caller, Circumstances};

/// A compiled condition.
#[derive(Clone)]
pub struct Condition {
    text: Arc<str>,
}

/// Why a text is no [`Condition`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("at character {at}: {message}")]
pub struct ConditionError {
    /// Which character of the text, from 1.
    pub at: usize,
    /// What is wrong there.
    pub message: String,
}

/// Why a condition could not be worked out.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ConditionFailure {
    /// It took more steps than a condition may.
    #[error("it takes too long")]
    TooCostly,
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
    /// Compiles `text`.
    ///
    /// # Errors
    /// When it is no expression.
    pub fn new(text: &str) -> Result<Self, ConditionError> {
        if text == "true" {
            return Ok(Self { text: text.into() });
        }
        Err(ConditionError {
            at: 1,
            message: "only `true` is understood".to_owned(),
        })
    }

    /// The condition as it was written.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Whether lists may differ between principals with the same roles because of it.
    pub fn mentions_principal(&self) -> bool {
        false
    }

    pub(crate) fn holds(
        &self,
        _caller: &Caller,
        _action: &Action<'_>,
        _circumstances: Circumstances<'_>,
    ) -> Truth {
        Truth::True
    }
}

impl FromStr for Condition {
    type Err = ConditionError;

    fn from_str(text: &str) -> Result<Self, ConditionError> {
        Self::new(text)
    }
}

impl fmt::Debug for Condition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Condition({:?})", self.text)
    }
}

impl PartialEq for Condition {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

impl Eq for Condition {}
