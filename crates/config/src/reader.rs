//! From the tree to values, collecting everything that is wrong on the way.

use gatepost_policy::Printable;
use serde_json::json;

use crate::{
    known,
    problem::{Place, Problem},
    tree::{Entry, Node, Value},
};

/// Collects what is found while reading.
#[derive(Debug, Default)]
pub(crate) struct Findings {
    pub(crate) problems: Vec<Problem>,
    pub(crate) warnings: Vec<Problem>,
}

impl Findings {
    pub(crate) fn problem(
        &mut self,
        place: &Place,
        path: &str,
        message: impl Into<String>,
        remedy: impl Into<String>,
    ) {
        self.problems.push(Problem::new(
            place,
            path.to_owned(),
            message.into(),
            remedy.into(),
        ));
    }

    pub(crate) fn warning(
        &mut self,
        place: &Place,
        path: &str,
        message: impl Into<String>,
        remedy: impl Into<String>,
    ) {
        self.warnings.push(Problem::new(
            place,
            path.to_owned(),
            message.into(),
            remedy.into(),
        ));
    }

    /// Whether anything is wrong at `path` or within it, so that what is there is not what was meant.
    pub(crate) fn are_within(&self, path: &str) -> bool {
        let within = |found: &str| {
            found
                .strip_prefix(path)
                .is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[']))
        };
        self.problems.iter().any(|problem| within(&problem.path))
    }

    /// Says that a value has the wrong shape. Its content is not shown: it may be a secret in the wrong place.
    pub(crate) fn expected(&mut self, node: &Node, path: &str, expected: &str, example: &str) {
        match node.value {
            Value::Broken => {}
            Value::Null => self.problem(
                &node.place,
                path,
                format!("has no value, expected {expected}"),
                format!("write one, such as {example}, or remove the key"),
            ),
            ref other => {
                let message = format!("expected {expected}, found {}", other.kind());
                self.problem(&node.place, path, message, format!("write it like {example}"));
            }
        }
    }
}

/// How a section may be written, where people write something shorter.
fn example(path: &str) -> &'static str {
    if path == "audit" {
        "`{}`"
    } else if path.starts_with("audit.sinks[") {
        "`stdout: {}`"
    } else {
        "`key: value`"
    }
}

/// Something that can stand in the configuration.
pub(crate) trait Setting: Sized {
    /// Reads it. `None` means that a problem has been reported.
    fn read(node: &Node, path: &str, findings: &mut Findings) -> Option<Self>;

    /// What it is when it is not there and no default is declared; `None` where it must be there.
    fn absent() -> Option<Self> {
        None
    }

    /// Its JSON Schema.
    fn schema() -> serde_json::Value;
}

/// A section that is being read: knows which keys are expected and takes them one by one.
pub(crate) struct Section<'n> {
    entries: &'n [Entry],
    place: &'n Place,
    path: &'n str,
}

impl<'n> Section<'n> {
    /// Opens a map; an empty value is an empty section.
    pub(crate) fn open(node: &'n Node, path: &'n str, findings: &mut Findings) -> Option<Self> {
        let entries = match &node.value {
            Value::Map(entries) => entries.as_slice(),
            Value::Null => &[],
            _ => {
                findings.expected(node, path, "a map", example(path));
                return None;
            }
        };
        Some(Self {
            entries,
            place: &node.place,
            path,
        })
    }

    /// Reads the value of `key`, or its default where it is absent or wrong (then that has been reported).
    pub(crate) fn take<T: Setting>(
        &self,
        key: &str,
        default: Option<Value>,
        findings: &mut Findings,
    ) -> Option<T> {
        let path = join(self.path, key);
        let given = self.entries.iter().find(|entry| entry.key == key);
        if let Some(value) = given.and_then(|entry| T::read(&entry.node, &path, findings)) {
            return Some(value);
        }
        if let Some(default) = default {
            return T::read(
                &Node {
                    value: default,
                    place: Place::default(),
                },
                &path,
                findings,
            );
        }
        let absent = T::absent();
        if given.is_none() && absent.is_none() {
            findings.problem(self.place, &path, "is missing", "add it");
        }
        absent
    }

    /// Reports it unless exactly one of `keys` is there. With no keys there is nothing to report.
    pub(crate) fn has_exactly_one_of(&self, keys: &[&str], findings: &mut Findings) -> Option<()> {
        let given: Vec<&str> = keys.iter().copied().filter(|key| self.has(key)).collect();
        if keys.is_empty() || given.len() == 1 {
            return Some(());
        }
        not_exactly_one(&given, keys, self.place, self.path, findings);
        None
    }

    /// Reports it unless at least one of `keys` is there. With no keys there is nothing to report.
    pub(crate) fn has_some_of(&self, keys: &[&str], findings: &mut Findings) -> Option<()> {
        if keys.is_empty() || keys.iter().any(|key| self.has(key)) {
            return Some(());
        }
        let remedy = format!("add at least one of {}", known::listed(keys));
        findings.problem(
            self.place,
            self.path,
            format!("says {}", known::neither(keys)),
            remedy,
        );
        None
    }

    fn has(&self, key: &str) -> bool {
        self.entries.iter().any(|entry| entry.key == key)
    }

    /// Reports the keys that nobody expected.
    pub(crate) fn close(&self, expected: &[&str], ignored: &[&str], findings: &mut Findings) {
        for entry in self.entries {
            let key = entry.key.as_str();
            if expected.contains(&key) {
                continue;
            }
            let path = join(self.path, key);
            if ignored.contains(&key) {
                findings.warning(
                    &entry.place,
                    &path,
                    "is a setting of a client and does nothing here",
                    "remove it, or leave it for the client",
                );
                continue;
            }
            let (message, remedy) = known::unknown_key(self.path, key, expected);
            findings.problem(&entry.place, &path, message, remedy);
        }
    }
}

/// Reports that of `keys`, which stand for each other, none or several are `given`.
pub(crate) fn not_exactly_one(
    given: &[&str],
    keys: &[&str],
    place: &Place,
    path: &str,
    findings: &mut Findings,
) {
    let message = match given {
        [] => format!("says {}", known::neither(keys)),
        _ => format!("says {} at once", known::listed(given)),
    };
    let remedy = format!("keep exactly one of {}", known::listed(keys));
    findings.problem(place, path, message, remedy);
}

/// The path of `key` below `path`.
pub(crate) fn join(path: &str, key: &str) -> String {
    if path.is_empty() {
        Printable(key).to_string()
    } else {
        format!("{path}.{}", Printable(key))
    }
}

/// A schema that also accepts a text with an expansion in it.
pub(crate) fn or_expansion(schema: &serde_json::Value) -> serde_json::Value {
    json!({ "anyOf": [schema, { "type": "string", "pattern": r"\$\{(env|file):" }] })
}
