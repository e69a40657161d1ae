//! What `principal` and `tool` are in a condition.

use std::rc::Rc;

use crate::{Action, Caller};

use super::value::{List, Text, Value};

/// The fields of `tool`.
pub(super) const TOOL: [&str; 4] = ["name", "server", "effect", "kind"];

/// Which fields of `principal` a condition looks at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Mentions(u8);

impl Mentions {
    pub(crate) const NOTHING: Self = Self(0);
    pub(super) const EVERYTHING: Self = Self(u8::MAX);
    pub(crate) const ISSUER: Self = Self(1);
    pub(crate) const SUBJECT: Self = Self(1 << 1);
    pub(crate) const TENANT: Self = Self(1 << 2);
    pub(crate) const GROUPS: Self = Self(1 << 3);
    pub(crate) const SCOPES: Self = Self(1 << 4);
    pub(crate) const EMAIL: Self = Self(1 << 5);
    pub(crate) const NAME: Self = Self(1 << 6);
    pub(crate) const ROLES: Self = Self(1 << 7);

    pub(super) const FIELDS: [(&'static str, Self); 8] = [
        ("issuer", Self::ISSUER),
        ("subject", Self::SUBJECT),
        ("tenant", Self::TENANT),
        ("groups", Self::GROUPS),
        ("scopes", Self::SCOPES),
        ("email", Self::EMAIL),
        ("name", Self::NAME),
        ("roles", Self::ROLES),
    ];

    pub(super) fn named(name: &str) -> Option<Self> {
        let found = Self::FIELDS.iter().find(|(field, _)| *field == name);
        found.map(|&(_, field)| field)
    }

    pub(crate) fn and(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    pub(crate) fn has(self, field: Self) -> bool {
        self.0 & field.0 != 0
    }
}

/// A field of `principal`; what nobody said is not there.
pub(super) fn of_principal<'a>(caller: &'a Caller, field: &str) -> Option<Value<'a>> {
    let (facts, principal) = (caller.facts(), caller.principal());
    let text = |text: &'a str| Value::Text(Text::Borrowed(text));
    match Mentions::named(field)? {
        Mentions::ISSUER => Some(text(principal.issuer())),
        Mentions::SUBJECT => Some(text(principal.subject())),
        Mentions::TENANT => principal.tenant().map(text),
        Mentions::GROUPS => Some(Value::List(List::Names(&facts.groups))),
        Mentions::SCOPES => facts
            .scopes
            .as_ref()
            .map(|scopes| Value::List(List::Names(scopes))),
        Mentions::EMAIL => facts.email.as_deref().map(text),
        Mentions::NAME => facts.name.as_deref().map(text),
        Mentions::ROLES => {
            let roles: Rc<[Value<'a>]> = caller.roles().map(|role| text(role)).collect();
            Some(Value::List(List::Built(roles)))
        }
        _ => None,
    }
}

/// A field of `tool`, which is a resource or prompt where one of these is used.
pub(super) fn of_tool<'a>(action: &Action<'a>, field: &str) -> Option<Value<'a>> {
    let text = match field {
        "name" => action.name,
        "server" => action.server,
        "effect" => action.effect.effect.as_str(),
        "kind" => action.kind.as_str(),
        _ => return None,
    };
    Some(Value::Text(Text::Borrowed(text)))
}
