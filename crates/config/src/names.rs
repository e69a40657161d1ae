//! Names that others have given: of people, groups, tenants, issuers, scopes, claims. They are compared exactly.

use std::sync::Arc;

use serde_json::{Value as Json, json};

use crate::{
    Claim,
    problem::Place,
    reader::{Findings, Setting},
    tree::{Node, Value},
    values::{parsed, spelled},
};

/// A value, and where it stands.
#[derive(Clone, Debug)]
pub(crate) struct Placed<T> {
    pub(crate) value: T,
    pub(crate) place: Place,
}

impl<T: Setting> Setting for Placed<T> {
    fn read(node: &Node, path: &str, findings: &mut Findings) -> Option<Self> {
        Some(Self {
            value: T::read(node, path, findings)?,
            place: node.place.clone(),
        })
    }

    fn absent() -> Option<Self> {
        Some(Self {
            value: T::absent()?,
            place: Place::default(),
        })
    }

    fn schema() -> Json {
        T::schema()
    }
}

/// A list of at least one.
#[derive(Clone, Debug)]
pub(crate) struct Some1<T>(pub(crate) Vec<T>);

impl<T: Setting> Setting for Some1<T> {
    fn read(node: &Node, path: &str, findings: &mut Findings) -> Option<Self> {
        let items = Vec::<T>::read(node, path, findings)?;
        if items.is_empty() {
            findings.problem(
                &node.place,
                path,
                "is an empty list",
                "write at least one, or remove the key",
            );
            return None;
        }
        Some(Self(items))
    }

    fn schema() -> Json {
        json!({ "type": "array", "minItems": 1, "items": T::schema() })
    }
}

/// The longest name that is taken, in bytes.
const LONGEST: usize = 1_024;

/// A name as somebody else wrote it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Name(pub(crate) Arc<str>);

impl Setting for Name {
    fn read(node: &Node, path: &str, findings: &mut Findings) -> Option<Self> {
        let text = spelled(node, path, findings, "a text", "`\"text\"`")?.text;
        let wrong = if text.trim().is_empty() {
            ("is empty", "write the name, or remove it")
        } else if text.trim().len() != text.len() {
            ("begins or ends with a space", "remove the space")
        } else if text.chars().any(char::is_control) {
            ("holds a control character", "remove it")
        } else if text.contains('*') {
            // Whoever writes one means several, and would get nobody.
            (
                "holds `*`, which stands for nothing else here",
                "write each name out",
            )
        } else if text.len() > LONGEST {
            ("is longer than 1024 bytes", "check whether it is the right value")
        } else {
            return Some(Self(text.into()));
        };
        findings.problem(&node.place, path, wrong.0, wrong.1);
        None
    }

    fn schema() -> Json {
        json!({ "type": ["string", "number", "boolean"], "minLength": 1, "pattern": "^[^*]*$" })
    }
}

/// The names alone.
pub(crate) fn plain(names: Option<Some1<Name>>) -> Vec<Arc<str>> {
    let names = names.map_or_else(Vec::new, |names| names.0);
    names.into_iter().map(|name| name.0).collect()
}

/// An OAuth scope: RFC 6749 §3.3, `scope-token`. It stands in headers.
#[derive(Clone, Debug)]
pub(crate) struct ScopeName(pub(crate) Arc<str>);

impl Setting for ScopeName {
    fn read(node: &Node, path: &str, findings: &mut Findings) -> Option<Self> {
        parsed(node, path, findings, ("a scope", "`orders:read`"), |text| {
            let fits = |c: char| c.is_ascii_graphic() && c != '"' && c != '\\';
            if text.is_empty() || !text.chars().all(fits) {
                let remedy = "write one scope, without spaces, quotes and backslashes; several are a list";
                return Err(("is no scope".to_owned(), remedy.to_owned()));
            }
            Ok(Self(text.into()))
        })
    }

    fn schema() -> Json {
        json!({ "type": ["string", "number", "boolean"], "pattern": r"^[!#-\[\]-~]+$" })
    }
}

impl Setting for Claim {
    fn read(node: &Node, path: &str, findings: &mut Findings) -> Option<Self> {
        let names = match &node.value {
            Value::List(_) => Some1::<Name>::read(node, path, findings)?.0,
            _ => vec![Name::read(node, path, findings)?],
        };
        Some(Self(names.into_iter().map(|name| name.0).collect()))
    }

    fn schema() -> Json {
        json!({ "anyOf": [Name::schema(), Some1::<Name>::schema()] })
    }
}
