//! What an endpoint offers, and to whom.

use std::sync::Arc;

use crate::{Access, Caller, Selection};

/// What a view offers. Its patterns see `server__name`, for resources `server__uri`, before any renaming.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ViewRules {
    /// Which names it shows.
    pub selection: Selection,
    /// The gravest effect it allows.
    pub access: Access,
    /// Who finds it at all: callers with any of these roles. `None`: everybody.
    pub roles: Option<Vec<Arc<str>>>,
}

impl ViewRules {
    /// Everything, whatever it does, for everybody: the rules of `/mcp` and `/mcp/<server>`.
    pub fn everything() -> Self {
        Self {
            selection: Selection::everything(),
            access: Access::Destructive,
            roles: None,
        }
    }

    /// Whether `caller` finds this endpoint. To whom it is not admitted it looks like one that does not exist, and
    /// [`crate::decide`] denies everything there.
    pub fn admits(&self, caller: &Caller) -> bool {
        caller.is_free() || self.key_of(caller).is_ok()
    }

    /// The role that opens it (none where none is needed), or those of which one would.
    pub(crate) fn key_of(&self, caller: &Caller) -> Result<Option<&Arc<str>>, &[Arc<str>]> {
        let Some(roles) = &self.roles else {
            return Ok(None);
        };
        roles
            .iter()
            .find(|role| caller.has_role(role))
            .map(Some)
            .ok_or(roles)
    }
}
