//! Results go to stdout, words to stderr, colour only to terminals.
//!
//! Colour is decided by `anstream`, which knows `NO_COLOR`, `CLICOLOR`, `CLICOLOR_FORCE` and terminals.

use std::io::{self, IsTerminal, Write};

/// The few styles there are.
pub(crate) mod style {
    use anstyle::{AnsiColor, Style};

    pub(crate) const ERROR: Style = AnsiColor::Red.on_default().bold();
    pub(crate) const WARNING: Style = AnsiColor::Yellow.on_default().bold();
    pub(crate) const HELP: Style = AnsiColor::Cyan.on_default();
    pub(crate) const GOOD: Style = AnsiColor::Green.on_default().bold();
    pub(crate) const HEADING: Style = Style::new().bold();
    pub(crate) const DIM: Style = Style::new().dimmed();
}

/// Writes a result: all of `text`, at once.
///
/// # Errors
/// When stdout cannot be written; that its reader is gone is told apart by the conversion into `Failure`.
pub(crate) fn result(text: &str) -> io::Result<()> {
    let mut stdout = anstream::stdout().lock();
    stdout.write_all(text.as_bytes())?;
    stdout.flush()
}

/// Writes bytes that must arrive as they are, such as an image.
///
/// # Errors
/// As [`result`].
pub(crate) fn bytes(bytes: &[u8]) -> io::Result<()> {
    let mut stdout = io::stdout().lock();
    stdout.write_all(bytes)?;
    stdout.flush()
}

/// Says something to the user. That nobody listens is no reason to stop.
pub(crate) fn words(text: &str) {
    let mut stderr = anstream::stderr().lock();
    let _ = stderr.write_all(text.as_bytes()).and_then(|()| stderr.flush());
}

/// What somebody else wrote, fit for where stdout goes: a program gets it as it is, a terminal without the control
/// characters that could move its cursor, retitle it or fake what stands elsewhere.
pub(crate) fn foreign(text: &str) -> String {
    if io::stdout().is_terminal() {
        harmless(text)
    } else {
        text.to_owned()
    }
}

/// Lines and tabs stay; every other control character becomes visible.
pub(crate) fn harmless(text: &str) -> String {
    let mut clean = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\n' | '\t' => clean.push(c),
            '\r' => {}
            c if c.is_control()
                || ('\u{202a}'..='\u{202e}').contains(&c)
                || ('\u{2066}'..='\u{2069}').contains(&c) =>
            {
                clean.extend(c.escape_unicode());
            }
            c => clean.push(c),
        }
    }
    clean
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_terminal_gets_no_foreign_control_characters() {
        assert_eq!(harmless("one\n\ttwo\r\n"), "one\n\ttwo\n");
        assert_eq!(harmless("\u{1b}]0;owned\u{7}"), r"\u{1b}]0;owned\u{7}");
        assert_eq!(harmless("\u{202e}cod.exe"), r"\u{202e}cod.exe");
    }
}
