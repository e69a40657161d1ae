//! How each kind of value is read, and what is said when it cannot be.

use std::{
    collections::{BTreeMap, BTreeSet},
    num::NonZeroU32,
    path::PathBuf,
    time::Duration,
};

use gatepost_policy::{Access, Effect, Pattern, Printable, nearest};
use serde_json::{Value as Json, json};

use crate::{
    ByteSize, ModuleOptions, Secret, Text, known,
    problem::Place,
    reader::{Findings, Section, Setting, join, or_expansion},
    tree::{Entry, Node, Spelling, Value},
    units::{self, UnitError},
};

/// The text of a scalar as it is spelled; numbers and booleans count as text where text is wanted.
pub(crate) fn spelled(
    node: &Node,
    path: &str,
    findings: &mut Findings,
    expected: &str,
    example: &str,
) -> Option<Spelling> {
    match &node.value {
        Value::Text(text) => Some(text.clone()),
        Value::Number(_, text) => Some(Spelling {
            text: text.to_string(),
            expanded: false,
        }),
        Value::Bool(value) => Some(Spelling {
            text: value.to_string(),
            expanded: false,
        }),
        _ => {
            findings.expected(node, path, expected, example);
            None
        }
    }
}

/// A value for a message: as it is written, but not if it came from outside the file.
pub(crate) fn shown(text: &Spelling) -> String {
    if text.expanded {
        "the value".to_owned()
    } else {
        format!("`{}`", Printable(&text.text))
    }
}

/// Reads one of a few words.
pub(crate) fn one_of<T: Copy>(
    node: &Node,
    path: &str,
    findings: &mut Findings,
    words: &[(&str, T)],
) -> Option<T> {
    let names: Vec<&str> = words.iter().map(|(name, _)| *name).collect();
    let text = spelled(node, path, findings, "a word", &format!("`{}`", names[0]))?;
    if let Some((_, value)) = words.iter().find(|(name, _)| *name == text.text) {
        return Some(*value);
    }
    let message = format!("{} is not known here", shown(&text));
    let mut remedy = format!("write one of {}", known::listed(&names));
    if let Some(name) = nearest(&text.text, names.iter().copied()).filter(|_| !text.expanded) {
        remedy = format!("did you mean `{name}`? {remedy}");
    }
    findings.problem(&node.place, path, message, remedy);
    None
}

/// Reads a text with a parser that says what is wrong and what to do.
pub(crate) fn parsed<T>(
    node: &Node,
    path: &str,
    findings: &mut Findings,
    expected: (&str, &str),
    parse: impl FnOnce(&str) -> Result<T, (String, String)>,
) -> Option<T> {
    let text = spelled(node, path, findings, expected.0, expected.1)?;
    match parse(&text.text) {
        Ok(value) => Some(value),
        Err((message, remedy)) => {
            findings.problem(&node.place, path, format!("{} {message}", shown(&text)), remedy);
            None
        }
    }
}

impl Setting for bool {
    fn read(node: &Node, path: &str, findings: &mut Findings) -> Option<Self> {
        match &node.value {
            Value::Bool(value) => Some(*value),
            Value::Text(text) if text.expanded && text.text == "true" => Some(true),
            Value::Text(text) if text.expanded && text.text == "false" => Some(false),
            _ => {
                findings.expected(node, path, "`true` or `false`", "`true`");
                None
            }
        }
    }

    fn schema() -> Json {
        or_expansion(&json!({ "type": "boolean" }))
    }
}

impl Setting for NonZeroU32 {
    fn read(node: &Node, path: &str, findings: &mut Findings) -> Option<Self> {
        let number = match &node.value {
            Value::Number(number, _) => number.as_u64(),
            Value::Text(text) if text.expanded => text.text.parse().ok(),
            _ => {
                findings.expected(node, path, "a whole number", "`4`");
                return None;
            }
        };
        let number = number
            .and_then(|number| u32::try_from(number).ok())
            .and_then(Self::new);
        if number.is_none() {
            let remedy = "write a whole number of at least 1 and at most 4294967295";
            findings.problem(&node.place, path, "is out of range", remedy);
        }
        number
    }

    fn schema() -> Json {
        or_expansion(&json!({ "type": "integer", "minimum": 1, "maximum": u32::MAX }))
    }
}

/// What to do about a text that should have had a unit: often its number is right.
pub(crate) fn with_unit(text: &str, error: UnitError, units: &str, examples: &str) -> (String, String) {
    let remedy = match error {
        UnitError::NoUnit => {
            let first = units.split(", ").next().unwrap_or_default();
            format!("write the unit, such as `{text}{first}`; units are {units}")
        }
        UnitError::UnknownUnit | UnitError::NotANumber => {
            format!("write it like {examples}; units are {units}")
        }
        UnitError::TooLarge => "write a smaller one".to_owned(),
    };
    (error.to_string(), remedy)
}

impl Setting for Duration {
    fn read(node: &Node, path: &str, findings: &mut Findings) -> Option<Self> {
        let value = GraceTime::read(node, path, findings)?.0;
        if value.is_zero() {
            let remedy = "write how long to wait, such as `30s`";
            findings.problem(&node.place, path, "must be longer than nothing", remedy);
            return None;
        }
        Some(value)
    }

    fn schema() -> Json {
        GraceTime::schema()
    }
}

/// A duration that may be nothing.
#[derive(Clone, Copy, Debug)]
pub(crate) struct GraceTime(pub(crate) Duration);

impl Setting for GraceTime {
    fn read(node: &Node, path: &str, findings: &mut Findings) -> Option<Self> {
        parsed(node, path, findings, ("a duration", "`30s`"), |text| {
            units::parse_duration(text)
                .map(GraceTime)
                .map_err(|error| with_unit(text, error, "s, ms, m, h, d", "`30s` or `1h30m`"))
        })
    }

    fn schema() -> Json {
        or_expansion(&json!({ "type": "string", "pattern": "^([0-9]+ ?(ms|s|m|h|d))+$" }))
    }
}

impl Setting for ByteSize {
    fn read(node: &Node, path: &str, findings: &mut Findings) -> Option<Self> {
        let size = parsed(node, path, findings, ("a size", "`4MiB`"), |text| {
            units::parse_size(text).map_err(|error| {
                with_unit(
                    text,
                    error,
                    "B, KiB, MiB, GiB, TiB, kB, MB, GB",
                    "`4MiB` or `64KiB`",
                )
            })
        })?;
        if size.0 == 0 {
            findings.problem(
                &node.place,
                path,
                "must be more than nothing",
                "write a size such as `4MiB`",
            );
            return None;
        }
        Some(size)
    }

    fn schema() -> Json {
        or_expansion(&json!({ "type": "string", "pattern": "^[0-9]+ ?(B|[KMGT]iB|[kKMG]B)$" }))
    }
}

pub(crate) fn text_schema() -> Json {
    json!({ "type": ["string", "number", "boolean"] })
}

impl Setting for String {
    fn read(node: &Node, path: &str, findings: &mut Findings) -> Option<Self> {
        spelled(node, path, findings, "a text", "`\"text\"`").map(|text| text.text)
    }

    fn schema() -> Json {
        text_schema()
    }
}

impl Setting for Text {
    fn read(node: &Node, path: &str, findings: &mut Findings) -> Option<Self> {
        let text = spelled(node, path, findings, "a text", "`\"text\"`")?;
        Some(if text.expanded {
            Self::hidden(text.text)
        } else {
            Self::plain(text.text)
        })
    }

    fn schema() -> Json {
        text_schema()
    }
}

impl Setting for Secret {
    fn read(node: &Node, path: &str, findings: &mut Findings) -> Option<Self> {
        spelled(node, path, findings, "a text", "`\"${env:NAME}\"`").map(|text| Self::new(text.text))
    }

    fn schema() -> Json {
        text_schema()
    }
}

/// A key to seal with, and where it stands.
#[derive(Clone, Debug)]
pub(crate) struct SealingKey {
    pub(crate) key: Secret,
    pub(crate) place: Place,
}

impl Setting for SealingKey {
    /// How good a key is cannot be measured, but what is certainly too little can be refused.
    fn read(node: &Node, path: &str, findings: &mut Findings) -> Option<Self> {
        let key = Secret::read(node, path, findings)?;
        let distinct = key.expose().bytes().collect::<BTreeSet<u8>>().len();
        let message = if key.expose().len() < 32 {
            "is shorter than 32 characters"
        } else if distinct < 8 {
            "repeats a few characters"
        } else {
            return Some(Self {
                key,
                place: node.place.clone(),
            });
        };
        let remedy = "make one with `openssl rand -hex 32` and keep it in a file";
        findings.problem(&node.place, path, message, remedy);
        None
    }

    fn schema() -> Json {
        json!({ "type": "string" })
    }
}

/// A path, relative ones counted from the folder of the file they are written in.
#[derive(Clone, Debug)]
pub(crate) struct FilePath(pub(crate) PathBuf);

impl Setting for FilePath {
    fn read(node: &Node, path: &str, findings: &mut Findings) -> Option<Self> {
        let text = String::read(node, path, findings)?;
        if text.is_empty() {
            findings.problem(
                &node.place,
                path,
                "is empty",
                "write a path, `.` for this file's folder",
            );
            return None;
        }
        Some(Self(beside(&node.place, &text)))
    }

    fn schema() -> Json {
        json!({ "type": "string", "minLength": 1 })
    }
}

/// A path whose parts may hold `*` and `?`, and where it stands.
#[derive(Clone, Debug)]
pub(crate) struct IncludePattern {
    pub(crate) pattern: PathBuf,
    pub(crate) place: Place,
}

impl Setting for IncludePattern {
    fn read(node: &Node, path: &str, findings: &mut Findings) -> Option<Self> {
        let FilePath(pattern) = FilePath::read(node, path, findings)?;
        Some(Self {
            pattern,
            place: node.place.clone(),
        })
    }

    fn schema() -> Json {
        FilePath::schema()
    }
}

/// `path` as seen from the file at `place`.
pub(crate) fn beside(place: &Place, path: &str) -> PathBuf {
    let folder = place.file.as_deref().and_then(|file| file.parent());
    folder.map_or_else(|| PathBuf::from(path), |folder| folder.join(path))
}

impl Setting for Pattern {
    fn read(node: &Node, path: &str, findings: &mut Findings) -> Option<Self> {
        parsed(node, path, findings, ("a name pattern", "`crm__get_*`"), |text| {
            Self::new(text).map_err(|error| ("is no name pattern".to_owned(), error.to_string()))
        })
    }

    fn schema() -> Json {
        json!({ "type": "string", "minLength": 1, "maxLength": 256 })
    }
}

macro_rules! level {
    ($type:ident) => {
        impl Setting for $type {
            fn read(node: &Node, path: &str, findings: &mut Findings) -> Option<Self> {
                one_of(
                    node,
                    path,
                    findings,
                    &[
                        ("read", Self::Read),
                        ("write", Self::Write),
                        ("destructive", Self::Destructive),
                    ],
                )
            }

            fn schema() -> Json {
                or_expansion(&json!({ "enum": ["read", "write", "destructive"] }))
            }
        }
    };
}

level!(Access);
level!(Effect);

impl<T: Setting> Setting for Option<T> {
    fn read(node: &Node, path: &str, findings: &mut Findings) -> Option<Self> {
        T::read(node, path, findings).map(Some)
    }

    fn absent() -> Option<Self> {
        Some(None)
    }

    fn schema() -> Json {
        T::schema()
    }
}

impl<T: Setting> Setting for Vec<T> {
    fn read(node: &Node, path: &str, findings: &mut Findings) -> Option<Self> {
        let items = match &node.value {
            Value::List(items) => items.as_slice(),
            Value::Null => &[],
            _ => {
                findings.expected(node, path, "a list", "`[a, b]`");
                return None;
            }
        };
        let read = items.iter().enumerate();
        let read = read.map(|(at, item)| T::read(item, &format!("{path}[{at}]"), findings));
        // All of them are read, so that each problem is found.
        read.collect::<Vec<_>>().into_iter().collect()
    }

    fn absent() -> Option<Self> {
        Some(Vec::new())
    }

    fn schema() -> Json {
        json!({ "type": ["array", "null"], "items": T::schema() })
    }
}

/// A map from names to values, in the order of the file, each with the place of its name.
#[derive(Clone, Debug)]
pub(crate) struct Named<T>(pub(crate) Vec<(String, T, Place)>);

impl<T: Setting> Setting for Named<T> {
    fn read(node: &Node, path: &str, findings: &mut Findings) -> Option<Self> {
        let Value::Map(entries) = &node.value else {
            Section::open(node, path, findings)?;
            return Some(Self(Vec::new()));
        };
        let mut named = Vec::with_capacity(entries.len());
        for entry in entries {
            let path = join(path, &entry.key);
            if let Some(value) = T::read(&entry.node, &path, findings) {
                named.push((entry.key.clone(), value, entry.place.clone()));
            }
        }
        Some(Self(named))
    }

    fn absent() -> Option<Self> {
        Some(Self(Vec::new()))
    }

    fn schema() -> Json {
        json!({ "type": ["object", "null"], "additionalProperties": T::schema() })
    }
}

impl Setting for ModuleOptions {
    fn read(node: &Node, path: &str, findings: &mut Findings) -> Option<Self> {
        match to_json(node) {
            Some(Json::Object(values)) => {
                let Value::Map(entries) = &node.value else {
                    return None;
                };
                let place = |entry: &Entry| (entry.key.clone(), entry.place.clone());
                Some(Self {
                    values,
                    places: entries.iter().map(place).collect(),
                    ..Self::default()
                })
            }
            Some(Json::Null) => Some(Self::default()),
            None => None,
            Some(_) => {
                findings.expected(node, path, "a map", "`key: value`");
                None
            }
        }
    }

    fn absent() -> Option<Self> {
        Some(Self::default())
    }

    fn schema() -> Json {
        json!({ "type": ["object", "null"] })
    }
}

/// The tree as JSON; `None` when part of it is broken.
pub(crate) fn to_json(node: &Node) -> Option<Json> {
    Some(match &node.value {
        Value::Null => Json::Null,
        Value::Bool(value) => Json::Bool(*value),
        Value::Number(number, _) => Json::Number(number.clone()),
        Value::Text(text) => Json::String(text.text.clone()),
        Value::List(items) => Json::Array(items.iter().map(to_json).collect::<Option<_>>()?),
        Value::Map(entries) => {
            let pairs = entries
                .iter()
                .map(|entry| Some((entry.key.clone(), to_json(&entry.node)?)));
            pairs.collect::<Option<BTreeMap<_, _>>>()?.into_iter().collect()
        }
        Value::Broken => return None,
    })
}
