//! Values that never print.

use std::fmt;

use serde::{Serialize, Serializer};

/// What stands in for a secret wherever it would print.
const HIDDEN: &str = "[secret]";

/// A text that is never printed: `Debug`, `Display` and `Serialize` all write `[secret]`.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Box<str>);

impl Secret {
    /// Hides `text`.
    pub fn new(text: impl Into<Box<str>>) -> Self {
        Self(text.into())
    }

    /// The text itself, for the one place that uses it.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(HIDDEN)
    }
}

impl fmt::Display for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(HIDDEN)
    }
}

impl Serialize for Secret {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(HIDDEN)
    }
}

/// A text that is a secret if any of it came from `${env:…}` or `${file:…}`, and is printed like any other if it was
/// written in the configuration as it is.
#[derive(Clone, PartialEq, Eq)]
pub struct Text {
    text: Box<str>,
    hidden: bool,
}

impl Text {
    /// A text that may be printed.
    pub fn plain(text: impl Into<Box<str>>) -> Self {
        Self {
            text: text.into(),
            hidden: false,
        }
    }

    /// A text that may not.
    pub fn hidden(text: impl Into<Box<str>>) -> Self {
        Self {
            text: text.into(),
            hidden: true,
        }
    }

    /// The text itself, whether it may be printed or not.
    pub fn expose(&self) -> &str {
        &self.text
    }

    /// Whether it is a secret.
    pub fn is_hidden(&self) -> bool {
        self.hidden
    }
}

impl fmt::Debug for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.hidden {
            f.write_str(HIDDEN)
        } else {
            fmt::Debug::fmt(&self.text, f)
        }
    }
}

impl fmt::Display for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.hidden { HIDDEN } else { &self.text })
    }
}

impl Serialize for Text {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(if self.hidden { HIDDEN } else { &self.text })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_print_nowhere() {
        let secret = Secret::new("hunter2");
        let hidden = Text::hidden("hunter2");
        for printed in [
            format!("{secret} {secret:?} {:?}", Some(&secret)),
            format!("{hidden} {hidden:?} {:#?}", vec![&hidden]),
            serde_json::to_string(&(&secret, &hidden)).unwrap(),
        ] {
            assert!(!printed.contains("hunter2"), "{printed}");
            assert!(printed.contains("[secret]"), "{printed}");
        }
        assert_eq!(secret.expose(), "hunter2");
    }

    #[test]
    fn a_literal_text_prints() {
        assert_eq!(format!("{0} {0:?}", Text::plain("-y")), r#"-y "-y""#);
    }
}
