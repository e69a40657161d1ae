//! Names that come from outside, made safe to print.

use std::fmt::{self, Write};

/// The most characters of a name that are printed; what is longer ends in `…`.
const LONGEST: usize = 128;

/// Prints a text that somebody else chose so that it stays on its line and reads as what it is.
///
/// Control characters, line separators, and the invisible or direction-changing characters that make one name look like
/// another are written as `\u{…}`; a backslash is doubled, so that the escapes cannot be imitated. At most 128 characters
/// are shown.
///
/// ```
/// # use gatepost_policy::Printable;
/// assert_eq!(Printable("a\nb").to_string(), r"a\u{a}b");
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Printable<'a>(pub &'a str);

impl fmt::Display for Printable<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, c) in self.0.chars().enumerate() {
            if at == LONGEST {
                return f.write_char('…');
            }
            match c {
                '\\' => f.write_str("\\\\")?,
                c if misleading(c) => write!(f, "{}", c.escape_unicode())?,
                c => f.write_char(c)?,
            }
        }
        Ok(())
    }
}

/// Controls, separators, and the format characters of Unicode's bidirectional algorithm (UAX #9) and zero-width joiners.
fn misleading(c: char) -> bool {
    c.is_control()
        || matches!(c,
            '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, printed: &str) {
        assert_eq!(Printable(text).to_string(), printed);
    }

    #[test]
    fn what_could_mislead_a_reader_is_escaped() {
        check("plain näme 名", "plain näme 名");
        check("a\r\nINFO forged", r"a\u{d}\u{a}INFO forged");
        check("\u{202e}txt.exe", r"\u{202e}txt.exe");
        check("\u{1b}[31m", r"\u{1b}[31m");
        check(r"\u{a}", r"\\u{a}");
    }

    #[test]
    fn a_long_name_is_cut() {
        assert_eq!(
            Printable(&"x".repeat(5_000)).to_string().chars().count(),
            LONGEST + 1
        );
        check(&"x".repeat(LONGEST), &"x".repeat(LONGEST));
    }
}
