//! The answers to the one question.

use std::{fmt, sync::Arc};

use crate::{Pattern, Printable, Reason, rules::Role};

/// The answer.
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use]
pub enum Decision {
    /// It may.
    Allow(By),
    /// It may with some arguments, or at some times; only in answer to [`Circumstances::Listing`](crate::Circumstances::Listing).
    Depends(By),
    /// It may with a token of more scopes. The thing is shown.
    NeedsScopes(Scopes),
    /// It may not, and why.
    Deny(Reason),
}

impl Decision {
    /// Whether it may, now.
    pub fn is_allowed(&self) -> bool {
        matches!(self, Self::Allow(_))
    }

    /// Whether the caller is to know that the thing exists. In answer to [`Circumstances::Listing`](crate::Circumstances::Listing): whether it belongs in
    /// the lists.
    pub fn is_shown(&self) -> bool {
        !matches!(self, Self::Deny(_))
    }
}

/// As it is told to people: the answer and the rule that made it.
impl fmt::Display for Decision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Allow(by) => write!(f, "allowed: {by}"),
            Self::Depends(by) => write!(f, "depends on arguments or time: {by}"),
            Self::NeedsScopes(scopes) => write!(f, "needs scopes: {scopes}"),
            Self::Deny(reason) => write!(f, "denied: {reason}"),
        }
    }
}

/// What allows an action.
#[derive(Clone)]
pub struct By {
    /// `None`: no role is needed, because nobody can be told apart.
    pub(crate) role: Option<(Arc<Role>, usize)>,
}

impl By {
    /// The role that allows it; `None` where none is needed.
    pub fn role(&self) -> Option<&Arc<str>> {
        self.role.as_ref().map(|(role, _)| &role.name)
    }

    /// That role's first pattern that matches.
    pub fn pattern(&self) -> Option<&Pattern> {
        self.role.as_ref().and_then(|(role, at)| role.allow.get(*at))
    }
}

impl PartialEq for By {
    fn eq(&self, other: &Self) -> bool {
        self.role() == other.role() && self.pattern() == other.pattern()
    }
}

impl Eq for By {}

impl fmt::Debug for By {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "By({self})")
    }
}

impl fmt::Display for By {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.role(), self.pattern()) {
            (Some(role), Some(pattern)) => {
                write!(f, "the role `{}` allows `{pattern}`", Printable(role))
            }
            _ => f.write_str("without identities no role is needed"),
        }
    }
}

/// The scopes that a role asks of a token, because the token lacks at least one of them.
#[derive(Clone)]
pub struct Scopes {
    pub(crate) role: Arc<Role>,
}

impl Scopes {
    /// The role that would allow it.
    pub fn role(&self) -> &Arc<str> {
        &self.role.name
    }

    /// Every scope it needs, also those that the token holds, in the order of the configuration.
    pub fn needed(&self) -> &Arc<[Arc<str>]> {
        &self.role.scopes
    }
}

impl PartialEq for Scopes {
    fn eq(&self, other: &Self) -> bool {
        self.role() == other.role() && self.needed() == other.needed()
    }
}

impl Eq for Scopes {}

impl fmt::Debug for Scopes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Scopes({self})")
    }
}

impl fmt::Display for Scopes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the role `{}` needs ", Printable(self.role()))?;
        crate::reason::listed(f, self.needed(), "and")
    }
}
