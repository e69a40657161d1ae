//! Regular expressions of conditions: compiled when the configuration is loaded, in time linear to what they look at.

use regex::{Regex, RegexBuilder};

/// What a compiled expression may take, in bytes, and what looking at one byte then costs. Matching takes time in
/// proportion to the product of both.
const CLASSES: [(usize, usize); 3] = [(8 << 10, 1), (32 << 10, 4), (128 << 10, 16)];

/// A compiled regular expression.
#[derive(Debug)]
pub(super) struct Matcher {
    regex: Regex,
    cost: usize,
}

impl Matcher {
    /// Compiles `pattern`, in RE2's syntax as the language definition asks: `\d`, `\s` and `\w` mean ASCII.
    pub(super) fn new(pattern: &str) -> Result<Self, String> {
        let ascii = in_ascii(pattern);
        for (limit, cost) in CLASSES {
            match RegexBuilder::new(&ascii).size_limit(limit).nest_limit(32).build() {
                Ok(regex) => return Ok(Self { regex, cost }),
                Err(regex::Error::CompiledTooBig(_)) => {}
                Err(error) => {
                    // The last line says what is wrong; those before it draw the pattern.
                    let error = error.to_string();
                    let what = error.lines().last().unwrap_or_default();
                    let what = what.strip_prefix("error: ").unwrap_or(what);
                    return Err(format!("the regular expression cannot be read: {what}"));
                }
            }
        }
        Err("the regular expression is too large; use smaller repetitions".to_owned())
    }

    /// What looking at a text of `length` bytes costs.
    pub(super) fn cost(&self, length: usize) -> usize {
        length.saturating_mul(self.cost)
    }

    /// Whether it matches anywhere in `text`.
    pub(super) fn is_match(&self, text: &str) -> bool {
        self.regex.is_match(text)
    }
}

/// Writes RE2's ASCII classes as what they stand for, because the `regex` crate reads them as Unicode's: an identifier that
/// is checked with `^\d+$` must not hold digits of another script.
fn in_ascii(pattern: &str) -> String {
    let mut out = String::with_capacity(pattern.len());
    let mut chars = pattern.chars();
    while let Some(c) = chars.next() {
        if c != '\\' {
            out.push(c);
            continue;
        }
        match chars.next() {
            Some('d') => out.push_str("[0-9]"),
            Some('D') => out.push_str("[^0-9]"),
            Some('w') => out.push_str("[0-9A-Za-z_]"),
            Some('W') => out.push_str("[^0-9A-Za-z_]"),
            Some('s') => out.push_str(r"[\t\n\f\r\x20]"),
            Some('S') => out.push_str(r"[^\t\n\f\r\x20]"),
            Some('b') => out.push_str(r"(?-u:\b)"),
            Some(other) => out.extend(['\\', other]),
            None => out.push('\\'),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(pattern: &str, text: &str, expected: bool) {
        assert_eq!(
            Matcher::new(pattern).unwrap().is_match(text),
            expected,
            "{pattern:?} on {text:?}"
        );
    }

    #[test]
    fn classes_are_ascii() {
        check(r"^\d+$", "123", true);
        check(r"^\d+$", "١٢٣", false);
        check(r"^[\d.]+$", "1.2", true);
        check(r"^[\D]$", "١", true);
        check(r"^\w+$", "naïve", false);
        check(r"^\S+$", "a\u{a0}b", true);
        check(r"\bx\b", "éx", true);
        check(r"^\\d$", r"\d", true);
        check("(?i)^PROD", "production", true);
        check("^.$", "é", true);
    }

    #[test]
    fn what_is_no_expression_says_why() {
        assert_eq!(
            Matcher::new("(").unwrap_err(),
            "the regular expression cannot be read: unclosed group"
        );
        assert!(
            Matcher::new("((a{100}){100}){100}")
                .unwrap_err()
                .contains("too large")
        );
        assert!(Matcher::new(&"(".repeat(1000)).is_err());
        assert!(Matcher::new("\\").is_err());
    }
}
