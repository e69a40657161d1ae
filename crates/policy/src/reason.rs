//! Why an action is denied, in words.

use std::{fmt, sync::Arc};

use crate::{Access, Because, Classified, ConditionFailure, Effect, Pattern, Principal, Printable};

/// Why an action is denied. It prints as a sentence without its full stop, fit for a log and for somebody who may know
/// that the thing exists.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Reason {
    /// The caller has none of the roles that the view is for, and does not find it.
    ViewRole {
        /// Those roles.
        roles: Box<[Arc<str>]>,
    },
    /// The view's `include` does not name it.
    NotIncluded {
        /// `server__name`.
        name: Box<str>,
    },
    /// The view's `exclude` names it.
    Excluded {
        /// `server__name`.
        name: Box<str>,
        /// The pattern that did.
        by: Pattern,
    },
    /// It does more than a ceiling that holds whatever the caller's roles.
    AboveAccess {
        /// Whose ceiling.
        ceiling: Ceiling,
        /// `server__name`.
        name: Box<str>,
        /// The ceiling.
        access: Access,
        /// What the action counts as, and why.
        effect: Classified,
    },
    /// Nothing gives the caller a role.
    NoRole {
        /// Who.
        principal: Principal,
        /// The roles that others of the same issuer may have.
        of_issuer: Box<[Arc<str>]>,
    },
    /// One of the caller's roles forbids it, whatever the others allow.
    Denied {
        /// `server__name`.
        name: Box<str>,
        /// The role.
        role: Arc<str>,
        /// Its pattern that did.
        by: Pattern,
    },
    /// None of the caller's roles allows it.
    NotGranted {
        /// `server__name`.
        name: Box<str>,
        /// Every role the caller has, and what it lacks.
        looked_at: Box<[(Arc<str>, Lack)]>,
    },
}

/// Whose access ceiling.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Ceiling {
    /// That of the whole gate, at the top of the configuration.
    Gate,
    /// That of the view.
    View,
}

/// Why one role does not allow an action.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Lack {
    /// None of its `allow` patterns matches.
    Pattern,
    /// The action does more than the role's access.
    Access {
        /// The ceiling.
        access: Access,
        /// What the action counts as, and why.
        effect: Classified,
    },
    /// Its condition is false.
    ConditionFalse,
    /// Its condition could not be worked out, which counts as false.
    ConditionFailed(ConditionFailure),
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ViewRole { roles } if roles.is_empty() => f.write_str("the view is for nobody"),
            Self::ViewRole { roles } => {
                f.write_str("the view is only for ")?;
                listed(f, roles, "or")
            }
            Self::NotIncluded { name } => write!(f, "the view does not include `{}`", Printable(name)),
            Self::Excluded { name, by } => {
                let name = Printable(name);
                write!(f, "the view excludes `{name}` (by the pattern `{by}`)")
            }
            Self::AboveAccess {
                ceiling,
                name,
                access,
                effect,
            } => {
                let whose = match ceiling {
                    Ceiling::Gate => "the whole gate",
                    Ceiling::View => "the view",
                };
                above(f, whose, *access)?;
                write!(f, " and `{}` {}", Printable(name), CountsAs(*effect))
            }
            Self::NoRole { principal, of_issuer } => {
                write!(f, "no role is bound to {principal}")?;
                if of_issuer.is_empty() {
                    return f.write_str(", and no binding speaks of its issuer");
                }
                f.write_str("; bindings that speak of its issuer give ")?;
                listed(f, of_issuer, "and")
            }
            Self::Denied { name, role, by } => {
                let (role, name) = (Printable(role), Printable(name));
                write!(f, "the role `{role}` denies `{name}` (by the pattern `{by}`)")
            }
            Self::NotGranted { name, looked_at } => {
                write!(f, "no role allows `{}`: ", Printable(name))?;
                for (at, (role, lack)) in looked_at.iter().enumerate() {
                    let between = if at == 0 { "" } else { "; " };
                    write!(f, "{between}`{}`: {lack}", Printable(role))?;
                }
                Ok(())
            }
        }
    }
}

impl fmt::Display for Lack {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Pattern => f.write_str("no pattern of it matches"),
            Self::Access { access, effect } => {
                above(f, "it", *access)?;
                write!(f, " and this {}", CountsAs(*effect))
            }
            Self::ConditionFalse => f.write_str("its condition is false"),
            Self::ConditionFailed(failure) => write!(f, "its condition failed: {failure}"),
        }
    }
}

fn above(f: &mut fmt::Formatter<'_>, whose: &str, access: Access) -> fmt::Result {
    match access {
        Access::Read => write!(f, "{whose} is read-only"),
        Access::Write | Access::Destructive => write!(f, "{whose} allows no destructive actions"),
    }
}

/// Prints what an action counts as, and why.
pub(crate) struct CountsAs(pub(crate) Classified);

impl fmt::Display for CountsAs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let effect = match self.0.effect {
            Effect::Read => "as reading",
            Effect::Write => "as writing",
            Effect::Destructive => "as destructive",
        };
        let because = match self.0.because {
            Because::Method => "by its method",
            Because::Declared => "because `effects` of its server says so",
            Because::Annotated => "because its server's annotations say so",
            Because::Unknown => "because its server declares no effect",
        };
        write!(f, "counts {effect} {because}")
    }
}

/// Prints names as `a`, `b` and `c`.
pub(crate) fn listed(f: &mut fmt::Formatter<'_>, names: &[Arc<str>], last: &str) -> fmt::Result {
    for (at, name) in names.iter().enumerate() {
        match (at, names.len() - at) {
            (0, _) => {}
            (_, 1) => write!(f, " {last} ")?,
            _ => f.write_str(", ")?,
        }
        write!(f, "`{}`", Printable(name))?;
    }
    Ok(())
}

impl std::error::Error for Reason {}
