//! The `options:` block of a module, read strictly.

use gatepost_policy::nearest;
use serde_json::{Map, Value};

use crate::ModuleError;

/// A module's options, not yet checked.
pub(crate) struct Options<'a> {
    module: &'a str,
    values: &'a Map<String, Value>,
}

// === impl Options ===

impl<'a> Options<'a> {
    pub(crate) fn new(module: &'a str, values: &'a Map<String, Value>) -> Self {
        Self { module, values }
    }

    /// The module's name as it was given.
    pub(crate) fn module(&self) -> &str {
        self.module
    }

    /// Refuses every option that is not in `known`.
    pub(crate) fn only(&self, known: &'static [&'static str]) -> Result<(), ModuleError> {
        match self.values.keys().find(|key| !known.contains(&key.as_str())) {
            None => Ok(()),
            Some(option) => Err(ModuleError::UnknownOption {
                module: self.module.to_owned(),
                option: option.clone(),
                nearest: nearest(option, known.iter().copied()),
                known,
            }),
        }
    }

    /// An option that is text, if it is given.
    #[cfg(all(feature = "files", unix))]
    pub(crate) fn text(&self, option: &'static str) -> Result<Option<&'a str>, ModuleError> {
        match self.values.get(option) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text)),
            Some(other) => {
                let remedy = "write text, in quotes where it looks like something else";
                Err(self.bad(option, format!("must be a string, not {other}"), remedy))
            }
        }
    }

    /// An error about `option`; `reason` ends the sentence, `remedy` says what would be right.
    #[cfg(all(feature = "files", unix))]
    pub(crate) fn bad(&self, option: &'static str, reason: String, remedy: &'static str) -> ModuleError {
        ModuleError::BadOption {
            module: self.module.to_owned(),
            option,
            reason,
            remedy,
        }
    }
}
