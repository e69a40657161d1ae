//! Keeps secrets out of what a server says of a failure: some repeat in an error what they were sent.

use http::HeaderValue;

use super::Presented;

/// What stands in for a secret.
const HIDDEN: &str = "[secret]";
/// Shorter texts are no secrets, and would be found in every sentence.
const SHORTEST: usize = 4;
/// And so much of a secret's beginning tells nothing: many begin with the name of who made them.
const BEGINNING: usize = SHORTEST + 1;

/// A message from which secrets are taken.
pub(crate) struct Scrub(String);

impl Scrub {
    /// A message that a server had a part in.
    pub(crate) fn new(message: String) -> Self {
        Self(message)
    }

    /// Without what `presented` presents.
    #[must_use]
    pub(crate) fn of(mut self, presented: &Presented) -> Self {
        presented.each_secret(|secret| self.hide(secret));
        self
    }

    /// Without the value of a field.
    #[must_use]
    pub(crate) fn of_field(mut self, value: &HeaderValue) -> Self {
        if let Ok(value) = value.to_str() {
            self.hide(value);
        }
        self
    }

    /// What is left.
    pub(crate) fn finish(self) -> String {
        self.0
    }

    /// Takes out a field's value, and what follows its scheme.
    fn hide(&mut self, value: &str) {
        let bare = value.split_once(' ').map_or(value, |(_, secret)| secret);
        for secret in [value, bare] {
            if secret.len() >= SHORTEST && self.0.contains(secret) {
                self.0 = self.0.replace(secret, HIDDEN);
            }
        }
        // What was too long to quote may have been cut within it.
        let ends = |end: &usize| {
            bare.get(..*end)
                .is_some_and(|beginning| self.0.ends_with(beginning))
        };
        if let Some(end) = (BEGINNING..bare.len()).rev().find(ends) {
            self.0.truncate(self.0.len() - end);
            self.0.push_str(HIDDEN);
        }
    }
}
