//! Name patterns, and selections made of them.

use std::{fmt, str::FromStr, sync::Arc};

/// The longest pattern, in characters.
const LONGEST: usize = 256;

/// A compiled name pattern: `*` stands for any run of characters (also none), `?` for exactly one, everything else for
/// itself.
///
/// There is no escape character and no character class: what a pattern means can be seen without a manual. Characters
/// are Unicode scalar values and are compared exactly, with neither case folding nor normalisation, because names in MCP
/// are compared exactly.
///
/// A match takes at most (length of the name) × (length of the pattern) steps, and a pattern has at most 256 characters,
/// so that neither a hostile name nor a hostile pattern makes it slow.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Pattern {
    text: Arc<str>,
    tokens: Arc<[Token]>,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash)]
enum Token {
    Exactly(char),
    AnyOne,
    AnyRun,
}

/// Why a text is no [`Pattern`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PatternError {
    /// It would match only the empty name, which nothing has.
    #[error("the pattern is empty; write `*` to match every name")]
    Empty,
    /// More than 256 characters.
    #[error("the pattern is longer than {LONGEST} characters")]
    TooLong,
}

impl Pattern {
    /// Compiles `text`.
    ///
    /// # Errors
    /// When it is empty or longer than 256 characters.
    pub fn new(text: &str) -> Result<Self, PatternError> {
        let mut tokens: Vec<Token> = Vec::with_capacity(text.len().min(LONGEST));
        for c in text.chars() {
            if tokens.len() == LONGEST {
                return Err(PatternError::TooLong);
            }
            match c {
                '*' if tokens.last() == Some(&Token::AnyRun) => {}
                '*' => tokens.push(Token::AnyRun),
                '?' => tokens.push(Token::AnyOne),
                c => tokens.push(Token::Exactly(c)),
            }
        }
        if tokens.is_empty() {
            return Err(PatternError::Empty);
        }
        Ok(Self {
            text: text.into(),
            tokens: tokens.into(),
        })
    }

    /// The pattern as it was written.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Whether this pattern can match one name only, namely itself.
    pub fn is_literal(&self) -> bool {
        self.tokens.iter().all(|token| matches!(token, Token::Exactly(_)))
    }

    /// Whether the whole of `name` fits.
    pub fn matches(&self, name: &str) -> bool {
        self.matches_chars(name.chars())
    }

    /// Whether some name that begins with `start` matches.
    pub(crate) fn matches_some_after(&self, start: impl Iterator<Item = char>) -> bool {
        let mut tokens = self.tokens.iter();
        for c in start {
            match tokens.next() {
                // Whatever is wanted behind it may come later.
                Some(Token::AnyRun) => return true,
                Some(Token::AnyOne) => {}
                Some(Token::Exactly(wanted)) if *wanted == c => {}
                Some(Token::Exactly(_)) | None => return false,
            }
        }
        true
    }

    /// Whether every name that begins with `start` matches.
    pub(crate) fn matches_all_after<I: Iterator<Item = char> + Clone>(&self, start: I) -> bool {
        self.tokens.last() == Some(&Token::AnyRun) && self.matches_chars(start)
    }

    /// [`Pattern::matches`] for a name that exists only in pieces, so that nobody has to join them.
    pub(crate) fn matches_chars<I: Iterator<Item = char> + Clone>(&self, mut rest: I) -> bool {
        // Only the latest `*` is ever widened: an earlier one has already taken the shortest run that lets what follows
        // it match, and a longer run cannot help. That keeps the work within length × length.
        let mut at = 0;
        let mut retry: Option<(usize, I)> = None;
        loop {
            if self.tokens.get(at) == Some(&Token::AnyRun) {
                at += 1;
                if at == self.tokens.len() {
                    return true;
                }
                retry = Some((at, rest.clone()));
                continue;
            }
            let fits = match (rest.next(), self.tokens.get(at)) {
                (None, None) => return true,
                // The name has ended but the pattern wants more; widening a run only shortens what is left.
                (None, Some(_)) => return false,
                (Some(c), Some(Token::Exactly(wanted))) => c == *wanted,
                (Some(_), Some(Token::AnyOne)) => true,
                (Some(_), _) => false,
            };
            if fits {
                at += 1;
                continue;
            }
            let Some((after_run, from)) = &mut retry else {
                return false;
            };
            if from.next().is_none() {
                return false;
            }
            at = *after_run;
            rest = from.clone();
        }
    }
}

impl FromStr for Pattern {
    type Err = PatternError;

    fn from_str(text: &str) -> Result<Self, PatternError> {
        Self::new(text)
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        crate::Printable(&self.text).fmt(f)
    }
}

impl fmt::Debug for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Pattern({:?})", self.text)
    }
}

/// Which names are meant: those that some `include` pattern matches and no `exclude` pattern does. Exclusion wins,
/// whatever the order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Selection {
    /// `None` includes every name; an empty list includes nothing.
    pub include: Option<Vec<Pattern>>,
    /// What is left out again.
    pub exclude: Vec<Pattern>,
}

/// What a [`Selection`] says about one name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict<'a> {
    /// It is meant.
    Selected,
    /// No `include` pattern matches it.
    NotIncluded,
    /// This `exclude` pattern matches it.
    Excluded(&'a Pattern),
}

impl Selection {
    /// Every name.
    pub fn everything() -> Self {
        Self::default()
    }

    /// What this selection says about `name`.
    pub fn judge(&self, name: &str) -> Verdict<'_> {
        self.judge_chars(&name.chars())
    }

    pub(crate) fn judge_chars<I: Iterator<Item = char> + Clone>(&self, name: &I) -> Verdict<'_> {
        if let Some(pattern) = self
            .exclude
            .iter()
            .find(|pattern| pattern.matches_chars(name.clone()))
        {
            return Verdict::Excluded(pattern);
        }
        match &self.include {
            Some(include) if !include.iter().any(|pattern| pattern.matches_chars(name.clone())) => {
                Verdict::NotIncluded
            }
            _ => Verdict::Selected,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[track_caller]
    fn check(pattern: &str, name: &str, expected: bool) {
        let compiled = Pattern::new(pattern).unwrap();
        assert_eq!(compiled.matches(name), expected, "{pattern:?} on {name:?}");
    }

    #[test]
    fn stars_and_question_marks() {
        for (pattern, name, expected) in [
            ("*", "", true),
            ("*", "anything at all", true),
            ("get_*", "get_", true),
            ("get_*", "forget_x", false),
            ("*delete*", "crm__delete_all", true),
            ("*delete*", "crm__remove", false),
            ("crm__get_ticket", "crm__get_ticket", true),
            ("crm__get_ticket", "crm__get_tickets", false),
            ("a?c", "abc", true),
            ("a?c", "ac", false),
            ("a?c", "aéc", true),
            ("?", "名", true),
            ("?", "👩‍💻", false),
            ("a*b*c", "a-b-b-c", true),
            ("a*b*c", "a-c-b", false),
            ("*ab", "aab", true),
            ("*aab", "aaab", true),
            ("**", "x", true),
            ("a**b", "ab", true),
            ("[ab]", "a", false),
            ("[ab]", "[ab]", true),
            (r"a\*", r"a\b", true),
            ("É", "é", false),
        ] {
            check(pattern, name, expected);
        }
    }

    #[test]
    fn what_is_no_pattern_says_why() {
        assert_eq!(Pattern::new(""), Err(PatternError::Empty));
        assert_eq!(Pattern::new(&"é".repeat(257)), Err(PatternError::TooLong));
        assert!(Pattern::new(&"é".repeat(256)).is_ok());
    }

    #[test]
    fn literals_are_known() {
        assert!(Pattern::new("crm__get").unwrap().is_literal());
        assert!(!Pattern::new("crm__?et").unwrap().is_literal());
    }

    #[test]
    fn a_hostile_pair_ends() {
        // With unbounded backtracking this would take longer than the universe has.
        check(&"a*".repeat(128), &"a".repeat(20_000), true);
        check(&format!("{}b", "*a".repeat(100)), &"a".repeat(20_000), false);
    }

    #[test]
    fn exclusion_wins_and_an_empty_include_means_nothing() {
        let pattern = |text| Pattern::new(text).unwrap();
        let selection = Selection {
            include: Some(vec![pattern("a*")]),
            exclude: vec![pattern("*z")],
        };
        assert_eq!(selection.judge("ab"), Verdict::Selected);
        assert_eq!(selection.judge("b"), Verdict::NotIncluded);
        assert_eq!(selection.judge("az"), Verdict::Excluded(&pattern("*z")));
        assert_eq!(Selection::everything().judge("x"), Verdict::Selected);
        let nothing = Selection {
            include: Some(vec![]),
            exclude: vec![],
        };
        assert_eq!(nothing.judge("x"), Verdict::NotIncluded);
    }

    /// The obvious exponential definition, to compare with.
    fn by_definition(pattern: &[char], name: &[char]) -> bool {
        match (pattern.split_first(), name.split_first()) {
            (None, None) => true,
            (Some(('*', more)), _) => {
                by_definition(more, name) || (!name.is_empty() && by_definition(pattern, &name[1..]))
            }
            (Some(('?', more)), Some((_, rest))) => by_definition(more, rest),
            (Some((wanted, more)), Some((c, rest))) => wanted == c && by_definition(more, rest),
            _ => false,
        }
    }

    proptest! {
        #[test]
        fn agrees_with_the_definition(pattern in "[ab*?é]{1,7}", name in "[abé]{0,9}") {
            let (p, n): (Vec<char>, Vec<char>) = (pattern.chars().collect(), name.chars().collect());
            prop_assert_eq!(Pattern::new(&pattern).unwrap().matches(&name), by_definition(&p, &n));
        }
    }
}
