//! Which URI templates could have made a URI (RFC 6570, read backwards).
//!
//! A template cannot be inverted exactly, and nobody needs it to be: the question here is only which server a read goes
//! to. Each expression becomes a run of characters that it may expand to, and the automaton that results is walked once
//! over the URI, all states at a time, so that neither a hostile template nor a hostile URI makes it slow.

/// URIs longer than this match no template, in bytes.
const LONGEST_URI: usize = 16 * 1024;
/// Templates longer than this match nothing, in bytes.
const LONGEST_TEMPLATE: usize = 2 * 1024;

/// Why a text is no URI template that could be matched.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum TemplateError {
    /// A brace without its partner, or nothing between two.
    #[error("its braces do not pair")]
    Braces,
    /// Longer than 2 KiB.
    #[error("it is longer than {LONGEST_TEMPLATE} bytes")]
    TooLong,
}

/// How generous a match is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reading {
    /// `{name}` stays within one segment, as expansion would have it.
    Strict,
    /// `{name}` may span segments, as in the specification's own `file:///{path}`.
    Generous,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Run {
    /// Within one path segment.
    Segment,
    /// Anything up to the query.
    Path,
    /// Anything.
    All,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    /// Exactly this byte.
    Byte(u8),
    /// One byte of a run.
    One(Run),
    /// Any number of bytes of a run, also none.
    Many(Run),
    /// The next so many steps may be left out.
    Optional(u16),
}

/// A compiled template.
#[derive(Debug, Clone)]
pub(crate) struct Template {
    /// The literal text before the first expression, which decides most questions.
    prefix: Box<[u8]>,
    steps: Box<[Step]>,
}

impl Template {
    /// Compiles `text`.
    ///
    /// # Errors
    /// When braces do not pair, or it is too long.
    pub(crate) fn new(text: &str) -> Result<Self, TemplateError> {
        if text.len() > LONGEST_TEMPLATE {
            return Err(TemplateError::TooLong);
        }
        let (prefix, mut rest) = text.split_at(text.find(['{', '}']).unwrap_or(text.len()));
        let mut steps = Vec::new();
        while !rest.is_empty() {
            if let Some(open) = rest.strip_prefix('{') {
                let (expression, after) = open.split_once('}').ok_or(TemplateError::Braces)?;
                expand(expression, &mut steps)?;
                rest = after;
            } else {
                let (literal, after) = rest.split_at(rest.find('{').unwrap_or(rest.len()));
                if literal.contains('}') {
                    return Err(TemplateError::Braces);
                }
                steps.extend(literal.bytes().map(Step::Byte));
                rest = after;
            }
        }
        Ok(Self {
            prefix: prefix.as_bytes().into(),
            steps: steps.into(),
        })
    }

    /// Whether expanding this template could have given `uri`.
    pub(crate) fn matches(&self, uri: &str, reading: Reading) -> bool {
        if uri.len() > LONGEST_URI {
            return false;
        }
        let Some(rest) = uri.as_bytes().strip_prefix(&*self.prefix) else {
            return false;
        };
        let mut now = States::new(self.steps.len() + 1);
        let mut next = States::new(self.steps.len() + 1);
        self.reach(0, &mut now);
        for &byte in rest {
            for &at in &now.list {
                match self.steps.get(usize::from(at)) {
                    Some(Step::Byte(wanted)) if *wanted == byte => self.reach(at + 1, &mut next),
                    Some(Step::One(run)) if run.holds(byte, reading) => self.reach(at + 1, &mut next),
                    Some(Step::Many(run)) if run.holds(byte, reading) => self.reach(at, &mut next),
                    _ => {}
                }
            }
            if next.list.is_empty() {
                return false;
            }
            std::mem::swap(&mut now, &mut next);
            next.clear();
        }
        now.holds(self.steps.len())
    }

    /// Adds the state `at`, and every state that is reached from it without reading a byte.
    fn reach(&self, at: u16, states: &mut States) {
        let mut at = at;
        while states.add(at) {
            match self.steps.get(usize::from(at)) {
                Some(Step::Many(_)) => at += 1,
                Some(Step::Optional(length)) => {
                    // An optional part begins with its literal operator, so that one level of recursion is all.
                    self.reach(at + 1, states);
                    at += 1 + length;
                }
                _ => return,
            }
        }
    }
}

/// The steps of one expression, by its operator (RFC 6570 §2.2). A variable without operator, or with `+`, has at least
/// one character: an empty one would let `users/{id}` take what `users/` means. The others begin with a character of
/// their own and may be left out altogether, as an undefined variable is.
fn expand(expression: &str, steps: &mut Vec<Step>) -> Result<(), TemplateError> {
    let exploded = expression.ends_with('*');
    let (operator, variables) = match expression.as_bytes().first() {
        Some(operator @ (b'+' | b'#' | b'.' | b'/' | b';' | b'?' | b'&')) => (*operator, &expression[1..]),
        _ => (0, expression),
    };
    if variables.is_empty() || variables.contains('{') {
        return Err(TemplateError::Braces);
    }
    let run = match operator {
        b'+' | b'#' => Run::All,
        b'/' if exploded || variables.contains(',') => Run::Path,
        b'?' | b'&' => Run::All,
        _ => Run::Segment,
    };
    match operator {
        0 | b'+' => steps.extend([Step::One(run), Step::Many(run)]),
        first => steps.extend([Step::Optional(2), Step::Byte(first), Step::Many(run)]),
    }
    Ok(())
}

impl Run {
    fn holds(self, byte: u8, reading: Reading) -> bool {
        match (self, reading) {
            (Self::All, _) => true,
            (Self::Path, _) | (Self::Segment, Reading::Generous) => !matches!(byte, b'?' | b'#'),
            (Self::Segment, Reading::Strict) => !matches!(byte, b'/' | b'?' | b'#'),
        }
    }
}

/// A set of states, listed so that walking it costs no more than its size.
struct States {
    list: Vec<u16>,
    held: Vec<bool>,
}

impl States {
    fn new(size: usize) -> Self {
        Self {
            list: Vec::new(),
            held: vec![false; size],
        }
    }

    /// Adds a state; false if it was there.
    fn add(&mut self, state: u16) -> bool {
        match self.held.get_mut(usize::from(state)) {
            Some(held) if !*held => {
                *held = true;
                self.list.push(state);
                true
            }
            _ => false,
        }
    }

    fn holds(&self, state: usize) -> bool {
        self.held.get(state).copied().unwrap_or(false)
    }

    fn clear(&mut self) {
        for &state in &self.list {
            if let Some(held) = self.held.get_mut(usize::from(state)) {
                *held = false;
            }
        }
        self.list.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(template: &str, uri: &str, strict: bool, generous: bool) {
        let compiled = Template::new(template).unwrap();
        assert_eq!(
            compiled.matches(uri, Reading::Strict),
            strict,
            "{template} on {uri}, strict"
        );
        assert_eq!(
            compiled.matches(uri, Reading::Generous),
            generous,
            "{template} on {uri}, generous"
        );
    }

    #[test]
    fn templates_match_what_they_could_expand_to() {
        for (template, uri, strict, generous) in [
            ("note://all", "note://all", true, true),
            ("note://all", "note://al", false, false),
            ("note://all", "note://all/", false, false),
            ("note://{id}", "note://7", true, true),
            ("note://{id}", "note://", false, false),
            ("note://{id}", "note://a/b", false, true),
            ("note://{id}", "note://a?b", false, false),
            ("note://{id}/body", "note://7/body", true, true),
            ("note://{id}/body", "note://7/head", false, false),
            ("file:///{path}", "file:///docs/a.md", false, true),
            ("file:///{+path}", "file:///docs/a.md?x#y", true, true),
            ("x://{a}-{b}", "x://1-2", true, true),
            ("x://{a}-{b}", "x://1-2-3", true, true),
            ("x://{+a}-{b}", "x://1-2/3-4", true, true),
            ("x://{a,b}", "x://1,2", true, true),
            ("repo://{owner}{/path*}", "repo://me/a/b/c", true, true),
            ("repo://{owner}{/path*}", "repo://me", true, true),
            ("repo://{owner}{/file}", "repo://me/a/b", false, true),
            ("q://s{?term,page}", "q://s", true, true),
            ("q://s{?term,page}", "q://s?term=a&page=2", true, true),
            ("q://s{?term}", "q://sx", false, false),
            ("q://s?fixed=1{&more}", "q://s?fixed=1&more=2", true, true),
            ("q://s{#part}", "q://s#top", true, true),
            ("d://a{.kind}", "d://a.md", true, true),
            ("u://{name}", "u://näme", true, true),
        ] {
            check(template, uri, strict, generous);
        }
    }

    #[test]
    fn what_is_no_template_says_why() {
        for bad in ["a{b", "a}b", "a{}", "a{?}", "a{b{c}}", "{a}}"] {
            assert_eq!(Template::new(bad).err(), Some(TemplateError::Braces), "{bad}");
        }
        assert_eq!(
            Template::new(&"a".repeat(LONGEST_TEMPLATE + 1)).err(),
            Some(TemplateError::TooLong)
        );
    }

    #[test]
    fn a_hostile_pair_ends() {
        // With backtracking this would take longer than the universe has.
        let template = Template::new(&"{+a}b".repeat(200)).unwrap();
        assert!(!template.matches(&"ab".repeat(2_000).replace("ab", "aa"), Reading::Strict));
        assert!(!template.matches(&"b".repeat(LONGEST_URI + 1), Reading::Generous));
    }
}
