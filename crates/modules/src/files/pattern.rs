//! Globs as regular expressions, which run in linear time whatever is asked of them.

use regex::{Regex, RegexBuilder};
use thiserror::Error;

/// How much memory a compiled pattern may take, in bytes.
const MAX_COMPILED: usize = 1 << 20;
/// The longest pattern, in characters.
const MAX_PATTERN: usize = 500;

/// Why a pattern cannot be used.
#[derive(Debug, Error)]
pub(super) enum PatternError {
    #[error("the pattern is empty; `*` matches every name")]
    Empty,
    #[error("the pattern is longer than {MAX_PATTERN} characters")]
    TooLong,
    #[error("the glob has an unclosed `{0}`; write `[{0}]` for the character itself")]
    Unclosed(char),
    #[error("the regular expression does not compile: {0}")]
    Regex(#[from] regex::Error),
}

/// What a search in texts looks for.
pub(super) fn text(pattern: &str, is_regex: bool, ignore_case: bool) -> Result<Regex, PatternError> {
    checked_length(pattern)?;
    let pattern = if is_regex {
        pattern.to_owned()
    } else {
        regex::escape(pattern)
    };
    Ok(RegexBuilder::new(&pattern)
        .case_insensitive(ignore_case)
        .size_limit(MAX_COMPILED)
        .build()?)
}

/// A glob over paths: `*` and `?` stay within a name, `**` crosses directories, `[a-z]` and `{a,b}` choose. Without a `/`
/// it matches names in any directory. Case does not matter.
pub(super) fn glob(glob: &str) -> Result<Regex, PatternError> {
    checked_length(glob)?;
    let mut pattern = String::from(if glob.contains('/') { "^" } else { "^(?:.*/)?" });
    let mut chars = glob.trim_start_matches('/').chars().peekable();
    let mut open_braces = 0_usize;
    while let Some(c) = chars.next() {
        match c {
            '*' if chars.next_if_eq(&'*').is_some() => {
                // `**/` may also be nothing, so that `**/x` finds `x`.
                pattern.push_str(if chars.next_if_eq(&'/').is_some() {
                    "(?:.*/)?"
                } else {
                    ".*"
                });
            }
            '*' => pattern.push_str("[^/]*"),
            '?' => pattern.push_str("[^/]"),
            '[' => pattern.push_str(&class(&mut chars).ok_or(PatternError::Unclosed('['))?),
            '{' => {
                open_braces += 1;
                pattern.push_str("(?:");
            }
            '}' if open_braces > 0 => {
                open_braces -= 1;
                pattern.push(')');
            }
            ',' if open_braces > 0 => pattern.push('|'),
            '\\' => pattern.push_str(&regex::escape(&chars.next().unwrap_or('\\').to_string())),
            other => pattern.push_str(&regex::escape(other.encode_utf8(&mut [0; 4]))),
        }
    }
    if open_braces > 0 {
        return Err(PatternError::Unclosed('{'));
    }
    pattern.push('$');
    Ok(RegexBuilder::new(&pattern)
        .case_insensitive(true)
        .dot_matches_new_line(true)
        .size_limit(MAX_COMPILED)
        .build()?)
}

fn checked_length(pattern: &str) -> Result<(), PatternError> {
    if pattern.is_empty() {
        Err(PatternError::Empty)
    } else if pattern.chars().count() > MAX_PATTERN {
        Err(PatternError::TooLong)
    } else {
        Ok(())
    }
}

/// The rest of a `[…]`, as a class that never matches `/`.
fn class(chars: &mut impl Iterator<Item = char>) -> Option<String> {
    let mut members = String::new();
    let mut first = chars.next()?;
    let negated = matches!(first, '!' | '^');
    if negated {
        first = chars.next()?;
    }
    let mut next = Some(first);
    loop {
        let c = next?;
        // A `]` that comes first is a member.
        if c == ']' && !members.is_empty() {
            break;
        }
        if c == '-' {
            members.push('-');
        } else {
            members.push_str(&regex::escape(&c.to_string()));
        }
        next = chars.next();
    }
    Some(if negated {
        format!("[^/{members}]")
    } else {
        format!("[{members}&&[^/]]")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn globs() {
        for (pattern, matching, others) in [
            ("*.rs", &["a.rs", "src/B.RS"][..], &["a.rst", "a.rs/x"][..]),
            ("src/*.rs", &["src/a.rs"], &["src/x/a.rs", "a.rs", "xsrc/a.rs"]),
            ("src/**", &["src/a.rs", "src/x/a.rs"], &["srcs"]),
            ("**/x", &["x", "a/x", "a/b/x"], &["ax"]),
            ("a/**/x", &["a/x", "a/b/c/x"], &["x", "ax"]),
            ("?.md", &["a.md", "é.md"], &["ab.md"]),
            ("[a-c]1", &["a1", "C1"], &["d1"]),
            ("[!a]1", &["b1"], &["a1"]),
            ("[]x]1", &["]1", "x1"], &["y1"]),
            ("*.{toml,ya?ml}", &["a.toml", "b/c.yaxml"], &["a.yml", "a.json"]),
            ("a+(b)", &["a+(b)"], &["aab"]),
            ("\\*", &["*"], &["a"]),
        ] {
            let regex = glob(pattern).unwrap();
            for path in matching {
                assert!(regex.is_match(path), "{pattern} should match {path}: {regex}");
            }
            for path in others {
                assert!(
                    !regex.is_match(path),
                    "{pattern} should not match {path}: {regex}"
                );
            }
        }
        for (pattern, expected) in [
            ("", "empty"),
            ("{a", "unclosed `{`"),
            ("[a", "unclosed `[`"),
            ("[]", "unclosed `[`"),
        ] {
            let said = glob(pattern).unwrap_err().to_string();
            assert!(said.contains(expected), "{said}");
        }
        assert!(glob(&"*".repeat(501)).is_err());
    }

    #[test]
    fn searched_text_is_literal_unless_asked() {
        assert!(text("a.c", false, false).unwrap().is_match("a.c"));
        assert!(!text("a.c", false, false).unwrap().is_match("abc"));
        assert!(text("A.C", true, true).unwrap().is_match("abc"));
        assert!(
            text("(", true, false)
                .unwrap_err()
                .to_string()
                .contains("does not compile")
        );
        assert!(
            text(&"\\w{100}".repeat(50), true, false).is_err(),
            "memory is bounded"
        );
    }
}
