//! What an action does to the world, and how much of that a grant allows.

use std::{fmt, str::FromStr};

use crate::Pattern;

/// What an action does to the world, from harmless to grave.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Effect {
    /// It changes nothing.
    Read,
    /// It adds or changes, and nothing is lost.
    Write,
    /// It may lose something, or nobody said what it does.
    Destructive,
}

/// A ceiling: the gravest [`Effect`] that is allowed. Each level includes the ones before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Access {
    /// Only what changes nothing.
    Read,
    /// Reading and writing.
    Write,
    /// Everything.
    Destructive,
}

impl Access {
    /// Whether `effect` stays under this ceiling.
    pub fn allows(self, effect: Effect) -> bool {
        match effect {
            Effect::Read => true,
            Effect::Write => self >= Self::Write,
            Effect::Destructive => self >= Self::Destructive,
        }
    }
}

/// A word that is none of `read`, `write`, `destructive`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not one of `read`, `write`, `destructive`")]
pub struct UnknownLevel;

macro_rules! levels {
    ($type:ident) => {
        impl FromStr for $type {
            type Err = UnknownLevel;

            fn from_str(text: &str) -> Result<Self, UnknownLevel> {
                match text {
                    "read" => Ok(Self::Read),
                    "write" => Ok(Self::Write),
                    "destructive" => Ok(Self::Destructive),
                    _ => Err(UnknownLevel),
                }
            }
        }

        impl $type {
            /// The word for it in the configuration.
            pub fn as_str(self) -> &'static str {
                match self {
                    Self::Read => "read",
                    Self::Write => "write",
                    Self::Destructive => "destructive",
                }
            }
        }

        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.as_str())
            }
        }
    };
}

levels!(Effect);
levels!(Access);

/// Why an action counts as what it counts as.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Because {
    /// The method itself changes nothing: reading a resource, getting a prompt, completing an argument.
    Method,
    /// The operator said so (`effects` of the server).
    Declared,
    /// The server's own annotations say so, and the operator trusts them (`trust_annotations`).
    Annotated,
    /// Nobody said anything that counts, so the gravest is assumed.
    Unknown,
}

/// An effect, and where that knowledge comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Classified {
    /// What the action does.
    pub effect: Effect,
    /// How that is known.
    pub because: Because,
}

impl Classified {
    /// For methods that change nothing by definition.
    pub const BY_METHOD: Self = Self {
        effect: Effect::Read,
        because: Because::Method,
    };
    /// For a tool of which nothing is known.
    pub const UNKNOWN: Self = Self {
        effect: Effect::Destructive,
        because: Because::Unknown,
    };
}

/// The two of a tool's annotations that speak of effects, as its server sent them (MCP 2026-07-28, `ToolAnnotations`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Hints {
    /// `readOnlyHint`; absent means false.
    pub read_only: Option<bool>,
    /// `destructiveHint`; absent means true.
    pub destructive: Option<bool>,
}

/// How a server's tools are classified.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EffectRules {
    /// Patterns on the server's own tool names; the first that matches decides.
    pub declared: Vec<(Pattern, Effect)>,
    /// Whether the server's annotations count where nothing is declared. By default they prove nothing.
    pub trust_annotations: bool,
}

impl EffectRules {
    /// What calling `tool` (the server's own name, without prefix) does.
    pub fn classify(&self, tool: &str, hints: Hints) -> Classified {
        if let Some((_, effect)) = self.declared.iter().find(|(pattern, _)| pattern.matches(tool)) {
            return Classified {
                effect: *effect,
                because: Because::Declared,
            };
        }
        if !self.trust_annotations {
            return Classified::UNKNOWN;
        }
        let annotated = |effect| Classified {
            effect,
            because: Because::Annotated,
        };
        match (hints.read_only, hints.destructive) {
            (Some(true), _) => annotated(Effect::Read),
            (_, Some(false)) => annotated(Effect::Write),
            (_, Some(true)) => annotated(Effect::Destructive),
            (_, None) => Classified::UNKNOWN,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ceiling_includes_what_is_below_it() {
        use Effect::{Destructive, Read, Write};
        for (access, allowed) in [
            (Access::Read, &[Read][..]),
            (Access::Write, &[Read, Write]),
            (Access::Destructive, &[Read, Write, Destructive]),
        ] {
            for effect in [Read, Write, Destructive] {
                assert_eq!(
                    access.allows(effect),
                    allowed.contains(&effect),
                    "{access} on {effect}"
                );
            }
        }
    }

    #[track_caller]
    fn check(rules: &EffectRules, tool: &str, hints: Hints, effect: Effect, because: Because) {
        assert_eq!(
            rules.classify(tool, hints),
            Classified { effect, because },
            "{tool}"
        );
    }

    #[test]
    fn the_first_declared_pattern_decides_and_the_unknown_is_grave() {
        let pattern = |text| Pattern::new(text).unwrap();
        let rules = EffectRules {
            declared: vec![
                (pattern("get_secret"), Effect::Write),
                (pattern("get_*"), Effect::Read),
            ],
            trust_annotations: false,
        };
        let lies = Hints {
            read_only: Some(true),
            destructive: None,
        };
        check(&rules, "get_secret", lies, Effect::Write, Because::Declared);
        check(&rules, "get_x", Hints::default(), Effect::Read, Because::Declared);
        check(&rules, "drop", lies, Effect::Destructive, Because::Unknown);
    }

    #[test]
    fn annotations_count_only_when_trusted() {
        let trusting = EffectRules {
            declared: vec![],
            trust_annotations: true,
        };
        let hints = |read_only, destructive| Hints {
            read_only,
            destructive,
        };
        check(
            &trusting,
            "t",
            hints(Some(true), None),
            Effect::Read,
            Because::Annotated,
        );
        // The specification gives `destructiveHint` a meaning only when `readOnlyHint` is false.
        check(
            &trusting,
            "t",
            hints(Some(true), Some(true)),
            Effect::Read,
            Because::Annotated,
        );
        check(
            &trusting,
            "t",
            hints(None, Some(false)),
            Effect::Write,
            Because::Annotated,
        );
        check(
            &trusting,
            "t",
            hints(Some(false), Some(true)),
            Effect::Destructive,
            Because::Annotated,
        );
        check(
            &trusting,
            "t",
            hints(Some(false), None),
            Effect::Destructive,
            Because::Unknown,
        );
    }

    #[test]
    fn levels_read_as_they_print() {
        for word in ["read", "write", "destructive"] {
            assert_eq!(word.parse::<Access>().unwrap().to_string(), word);
            assert_eq!(word.parse::<Effect>().unwrap().to_string(), word);
        }
        assert_eq!("Read".parse::<Access>(), Err(UnknownLevel));
    }
}
