//! YAML as a tree that remembers where everything stands.
//!
//! Reading into a tree first, instead of into structs, is what lets every problem be found in one go, each with its line.

use std::{fmt, path::PathBuf, sync::Arc};

use serde::{
    Deserialize, Deserializer,
    de::{MapAccess, SeqAccess, Visitor},
};
use serde_saphyr::{Location, Spanned, alias_limits, budget, options};

use crate::problem::{Place, Problem};

/// A value and where it stands.
#[derive(Clone, Debug)]
pub(crate) struct Node {
    pub(crate) value: Value,
    pub(crate) place: Place,
}

/// A value of YAML's JSON schema.
#[derive(Clone, Debug)]
pub(crate) enum Value {
    Null,
    Bool(bool),
    /// With its spelling, so that `1.10` in a place for text stays `1.10`.
    Number(serde_json::Number, Box<str>),
    Text(Spelling),
    List(Vec<Node>),
    Map(Vec<Entry>),
    /// Something was wrong with it that has been reported already.
    Broken,
}

/// A text, and whether any of it came from outside the file.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Spelling {
    pub(crate) text: String,
    pub(crate) expanded: bool,
}

/// One key of a map and its value.
#[derive(Clone, Debug)]
pub(crate) struct Entry {
    pub(crate) key: String,
    /// Where the key stands, which is the line that a reader looks for.
    pub(crate) place: Place,
    pub(crate) node: Node,
}

impl Value {
    /// What to call it in a message.
    pub(crate) fn kind(&self) -> &'static str {
        match self {
            Self::Null | Self::Broken => "nothing",
            Self::Bool(_) => "a boolean",
            Self::Number(..) => "a number",
            Self::Text(_) => "a text",
            Self::List(_) => "a list",
            Self::Map(_) => "a map",
        }
    }

    pub(crate) fn text(text: impl Into<String>) -> Self {
        Self::Text(Spelling {
            text: text.into(),
            expanded: false,
        })
    }
}

/// For the defaults that are written beside a setting.
impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Self::text(text)
    }
}

impl From<bool> for Value {
    fn from(value: bool) -> Self {
        Self::Bool(value)
    }
}

impl From<i32> for Value {
    fn from(value: i32) -> Self {
        Self::Number(value.into(), value.to_string().into())
    }
}

/// What the parser hands over, before places have a file.
struct Raw(RawValue);

enum RawValue {
    Null,
    Bool(bool),
    Number(serde_json::Number),
    Text(String),
    List(Vec<Spanned<Raw>>),
    Map(Vec<(Spanned<String>, Spanned<Raw>)>),
}

impl<'de> Deserialize<'de> for Raw {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct AnyValue;

        impl<'de> Visitor<'de> for AnyValue {
            type Value = RawValue;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a value")
            }

            fn visit_unit<E>(self) -> Result<RawValue, E> {
                Ok(RawValue::Null)
            }

            fn visit_none<E>(self) -> Result<RawValue, E> {
                Ok(RawValue::Null)
            }

            fn visit_bool<E>(self, value: bool) -> Result<RawValue, E> {
                Ok(RawValue::Bool(value))
            }

            fn visit_i64<E>(self, value: i64) -> Result<RawValue, E> {
                Ok(RawValue::Number(value.into()))
            }

            fn visit_u64<E>(self, value: u64) -> Result<RawValue, E> {
                Ok(RawValue::Number(value.into()))
            }

            fn visit_f64<E>(self, value: f64) -> Result<RawValue, E> {
                Ok(serde_json::Number::from_f64(value)
                    .map_or_else(|| RawValue::Text(value.to_string()), RawValue::Number))
            }

            fn visit_str<E>(self, text: &str) -> Result<RawValue, E> {
                Ok(RawValue::Text(text.to_owned()))
            }

            fn visit_string<E>(self, text: String) -> Result<RawValue, E> {
                Ok(RawValue::Text(text))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<RawValue, A::Error> {
                let mut list = Vec::new();
                while let Some(item) = items.next_element()? {
                    list.push(item);
                }
                Ok(RawValue::List(list))
            }

            fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<RawValue, A::Error> {
                let mut map = Vec::new();
                while let Some(entry) = entries.next_entry()? {
                    map.push(entry);
                }
                Ok(RawValue::Map(map))
            }
        }

        deserializer.deserialize_any(AnyValue).map(Raw)
    }
}

/// Reads one YAML (or JSON) document. An empty one is an empty map.
///
/// Duplicate keys are refused, and so is whatever would grow beyond what a configuration can need: depth, size, and
/// aliases that multiply.
pub(crate) fn parse(text: &str, file: Option<Arc<PathBuf>>) -> Result<Node, Box<Problem>> {
    let options = options! {
        budget: budget! {
            max_depth: 32,
            max_documents: 1,
            max_nodes: 100_000,
            max_events: 300_000,
            max_aliases: 1_000,
            max_anchors: 1_000,
            max_merge_keys: 1_000,
            max_total_scalar_bytes: 4 << 20,
            max_recorded_anchor_events: 100_000,
            max_recorded_anchor_bytes: 4 << 20,
        },
        alias_limits: alias_limits! {
            max_total_replayed_events: 50_000,
            max_replay_stack_depth: 8,
            max_alias_expansions_per_anchor: 1_000,
        },
        duplicate_keys: options::DuplicateKeyPolicy::Error,
        strict_booleans: true,
        with_snippet: false,
        emit_comments: false,
    };
    match serde_saphyr::from_str_with_options::<Spanned<Raw>>(text, options) {
        Ok(root) => {
            let mut root = place(root, text, file.as_ref());
            if matches!(root.value, Value::Null) {
                root.value = Value::Map(Vec::new());
            }
            Ok(root)
        }
        Err(error) => {
            let line = error.location().map_or(0, |location| location.line());
            Err(Box::new(syntax_problem(
                &error,
                &Place {
                    file,
                    line: u32::try_from(line).unwrap_or(0),
                },
            )))
        }
    }
}

/// The words for what the parser refused.
fn syntax_problem(error: &serde_saphyr::Error, place: &Place) -> Problem {
    let mut root = error;
    while let serde_saphyr::Error::AliasError { error, .. } = root {
        root = error;
    }
    let (message, remedy) = match root {
        serde_saphyr::Error::DuplicateMappingKey { key: Some(key), .. } => (
            format!("the key `{}` is there twice", gatepost_policy::Printable(key)),
            "keep one of the two",
        ),
        serde_saphyr::Error::MultipleDocuments { .. } => (
            "there is more than one document".to_owned(),
            "remove what follows the line `---`",
        ),
        serde_saphyr::Error::NonFiniteFloat { .. } => (
            "a number here is too large, or none at all".to_owned(),
            "write it in quotes if it is a text",
        ),
        other => {
            // Only the first line: the others repeat the text around the place, which may be a secret.
            let words = other.to_string();
            let first = words.lines().next().unwrap_or_default();
            let first = first
                .split(" at line ")
                .next()
                .unwrap_or(first)
                .trim_end_matches(':');
            (
                format!("not readable as YAML: {first}"),
                "mend the file at this line or the one above",
            )
        }
    };
    Problem::new(place, String::new(), message, remedy.to_owned())
}

fn place(raw: Spanned<Raw>, source: &str, file: Option<&Arc<PathBuf>>) -> Node {
    let at = |location: Location| Place {
        file: file.cloned(),
        line: u32::try_from(location.line()).unwrap_or(0),
    };
    let value = match raw.value.0 {
        RawValue::Null => Value::Null,
        RawValue::Bool(value) => Value::Bool(value),
        RawValue::Number(number) => {
            let spelled = spelling(raw.defined, source).unwrap_or_else(|| number.to_string());
            Value::Number(number, spelled.into())
        }
        RawValue::Text(text) => Value::text(text),
        RawValue::List(items) => {
            Value::List(items.into_iter().map(|item| place(item, source, file)).collect())
        }
        RawValue::Map(entries) => Value::Map(
            entries
                .into_iter()
                .map(|(key, value)| Entry {
                    place: at(key.referenced),
                    key: key.value,
                    node: place(value, source, file),
                })
                .collect(),
        ),
    };
    Node {
        value,
        place: at(raw.referenced),
    }
}

/// How a scalar is written in the file.
fn spelling(location: Location, source: &str) -> Option<String> {
    let span = location.span();
    let start = usize::try_from(span.byte_offset()?).ok()?;
    let len = usize::try_from(span.byte_len()?).ok()?;
    let spelled = source.get(start..start.checked_add(len)?)?.trim();
    (!spelled.is_empty()).then(|| spelled.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(text: &str) -> String {
        parse(text, None).unwrap_err().to_string()
    }

    #[test]
    fn keys_keep_their_lines_and_numbers_their_spelling() {
        let root = parse("a:\n  b: 1.10\n\n  c: [x,\n   0x10]\n", None).unwrap();
        let Value::Map(root) = root.value else { panic!() };
        assert_eq!((root[0].key.as_str(), root[0].place.line), ("a", 1));
        let Value::Map(inner) = &root[0].node.value else {
            panic!()
        };
        assert_eq!((inner[0].place.line, inner[1].place.line), (2, 4));
        assert!(matches!(&inner[0].node.value, Value::Number(_, spelled) if &**spelled == "1.10"));
        let Value::List(items) = &inner[1].node.value else {
            panic!()
        };
        assert_eq!(items[1].place.line, 5);
        assert!(
            matches!(&items[1].value, Value::Number(n, spelled) if n.as_u64() == Some(16) && &**spelled == "0x10")
        );
    }

    #[test]
    fn only_the_scalar_is_its_spelling() {
        let root = parse("a: &anchor 08 # words\nb: *anchor\nc: {d: 1_0 , e: -5}\n", None).unwrap();
        let Value::Map(root) = root.value else { panic!() };
        for entry in &root[..2] {
            match &entry.node.value {
                Value::Number(_, spelled) => assert_eq!(&**spelled, "08"),
                Value::Text(text) => assert_eq!(text.text, "08"),
                other => panic!("{other:?}"),
            }
        }
        assert_eq!(root[1].node.place.line, 2);
        let Value::Map(inner) = &root[2].node.value else {
            panic!()
        };
        let spelled: Vec<String> = inner
            .iter()
            .map(|entry| match &entry.node.value {
                Value::Number(_, spelled) => spelled.to_string(),
                Value::Text(text) => text.text.clone(),
                other => panic!("{other:?}"),
            })
            .collect();
        assert_eq!(spelled, ["1_0", "-5"]);
    }

    #[test]
    fn an_empty_file_is_an_empty_map() {
        for text in ["", "# only words\n", "---\n"] {
            assert!(
                matches!(parse(text, None).unwrap().value, Value::Map(entries) if entries.is_empty()),
                "{text:?}"
            );
        }
    }

    #[test]
    fn yes_and_no_are_words() {
        let Value::Map(root) = parse("a: no\nb: true", None).unwrap().value else {
            panic!()
        };
        assert!(matches!(&root[0].node.value, Value::Text(t) if t.text == "no"));
        assert!(matches!(&root[1].node.value, Value::Bool(true)));
    }

    #[test]
    fn json_with_tabs_is_yaml() {
        let root = parse(
            "{\n\t\"mcpServers\": {\n\t\t\"a\": { \"command\": \"x\" }\n\t}\n}\n",
            None,
        )
        .unwrap();
        assert!(matches!(root.value, Value::Map(entries) if entries[0].key == "mcpServers"));
    }

    #[test]
    fn json_escapes_are_yaml() {
        let root = parse(r#"{"a": "\/\u00e9\ud83d\ude00\t"}"#, None).unwrap();
        let Value::Map(root) = root.value else { panic!() };
        assert!(
            matches!(&root[0].node.value, Value::Text(t) if t.text == "/é😀\t"),
            "{root:?}"
        );
    }

    #[test]
    fn duplicate_keys_are_refused() {
        assert_eq!(
            refused("a: 1\nb: {c: 1, c: 2}\n"),
            "line 2: the key `c` is there twice; keep one of the two"
        );
        assert!(refused(r#"{"a": 1, "a": 2}"#).contains("`a` is there twice"));
    }

    #[test]
    fn bombs_are_refused() {
        let mut laughs = String::from("a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n");
        for level in 1..10 {
            let items = vec![format!("*a{}", level - 1); 10].join(", ");
            laughs.push_str(&format!("a{level}: &a{level} [{items}]\n"));
        }
        refused(&laughs);
        refused(&format!("a: {}{}", "[".repeat(10_000), "]".repeat(10_000)));
        refused(&"- ".repeat(5_000));
        refused("a: 1\n---\nb: 2\n");
        refused("a: &a [*a]\n");
    }

    #[test]
    fn syntax_errors_have_a_line_and_no_excerpt() {
        let words = refused("a: 1\nb: [sk-secret, \nc: }\n");
        assert!(words.starts_with("line "), "{words}");
        assert!(!words.contains("sk-secret") && !words.contains('\n'), "{words}");
        let words = refused("token: 12345e6789\n");
        assert!(
            words.ends_with("write it in quotes if it is a text") && !words.contains("12345"),
            "{words}"
        );
    }
}
