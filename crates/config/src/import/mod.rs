//! From a client's own configuration to `gatepost.yaml`: a plan, which somebody else carries out.
//!
//! Clients (Claude Desktop, Cursor, VS Code and others) keep their servers as JSON, often with comments, and often with
//! secrets in it. Secrets are moved out: each into a file of its own, which `${file:…}` refers to.

mod jsonc;
mod references;
mod secrets;

use std::fmt::Write;

use gatepost_policy::Printable;

use crate::{
    Secret,
    check::suggest_name,
    tree::{Entry, Node, Value, parse},
};
use references::translate;
use secrets::Finder;

/// What an import would do.
#[derive(Clone, Debug)]
pub struct Import {
    /// The text of `gatepost.yaml`. It holds no literal secret that was found.
    pub yaml: String,
    /// The files that it refers to, to be written readable by their owner only.
    pub secrets: Vec<FoundSecret>,
    /// What could not be taken over as it was, each with the remedy.
    pub warnings: Vec<String>,
}

/// A secret that was found in a client's configuration.
#[derive(Clone, Debug)]
pub struct FoundSecret {
    /// Where it stood, such as `mcpServers.github.env.GITHUB_TOKEN`.
    pub path: String,
    /// The name of its file within the folder of secrets: letters, digits, `.`, `_` and `-`.
    pub file: String,
    /// What belongs into the file.
    pub value: Secret,
}

/// Why a text cannot be imported.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ImportError {
    /// It is not JSON, not even with comments.
    #[error("failed to read the client's configuration as JSON: {0}")]
    NotJson(#[from] serde_json::Error),
    /// It is JSON that could mean two things: a key is there twice. Or it is larger than any such file.
    #[error("failed to read the client's configuration: {0}")]
    Refused(Box<crate::Problem>),
    /// There are no servers where clients keep them.
    #[error("found no servers: neither `mcpServers` nor `servers`, at the top or below `mcp`")]
    NoServers,
}

/// Turns the JSON that a client keeps its servers in into a configuration for the gate.
///
/// `secrets_folder` is where the caller will put the files of [`Import::secrets`], as the configuration should name it:
/// absolute, or relative to the configuration's own folder.
///
/// # Errors
/// When the text is no JSON, or holds no servers.
pub fn import(text: &str, secrets_folder: &str) -> Result<Import, ImportError> {
    let text = jsonc::strip(text);
    serde_json::from_str::<serde::de::IgnoredAny>(&text)?;
    // JSON is YAML, and this reader refuses duplicate keys.
    let root = parse(&text, None).map_err(ImportError::Refused)?;
    let (path, servers) = find_servers(&root).ok_or(ImportError::NoServers)?;
    let mut plan = Plan {
        yaml: "# Made by `gatepost import`.\nservers:\n".to_owned(),
        finder: Finder::new(secrets_folder),
        warnings: Vec::new(),
    };
    let mut names: Vec<String> = Vec::new();
    for (at, entry) in servers.iter().enumerate() {
        let path = format!("{path}.{}", Printable(&entry.key));
        if servers[at + 1..].iter().any(|later| later.key == entry.key) {
            plan.warnings.push(format!(
                "{path}: is there twice; the last one is taken, as clients do"
            ));
            continue;
        }
        let name = unique(suggest_name(&entry.key), &names);
        if name != entry.key {
            plan.warnings.push(format!(
                "{path}: is called `{name}` now, since names are parts of tools' names"
            ));
        }
        plan.server(&name, &path, &entry.node);
        names.push(name);
    }
    if names.is_empty() {
        plan.yaml = plan.yaml.replace("servers:\n", "servers: {}\n");
    }
    Ok(Import {
        yaml: plan.yaml,
        secrets: plan.finder.found,
        warnings: plan.warnings,
    })
}

/// The places where clients keep their servers.
fn find_servers(root: &Node) -> Option<(String, &[Entry])> {
    let places: [&[&str]; 4] = [
        &["mcpServers"],
        &["servers"],
        &["mcp", "servers"],
        &["mcp", "mcpServers"],
    ];
    places.iter().find_map(|keys| {
        let node = keys.iter().try_fold(root, |node, key| get(node, key))?;
        match &node.value {
            Value::Map(entries) => Some((keys.join("."), entries.as_slice())),
            _ => None,
        }
    })
}

fn get<'n>(node: &'n Node, key: &str) -> Option<&'n Node> {
    let Value::Map(entries) = &node.value else {
        return None;
    };
    // The last of equal keys, as every JSON reader has it.
    entries
        .iter()
        .rev()
        .find(|entry| entry.key == key)
        .map(|entry| &entry.node)
}

fn unique(name: String, taken: &[String]) -> String {
    let is_taken = |name: &str| taken.iter().any(|other| other == name);
    if !is_taken(&name) {
        return name;
    }
    (2_u32..)
        .map(|count| format!("{name}-{count}"))
        .find(|name| !is_taken(name))
        .unwrap_or(name)
}

/// A text as YAML: JSON's strings are YAML's too.
fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

struct Plan {
    yaml: String,
    finder: Finder,
    warnings: Vec<String>,
}

/// What clients call the URL of a server.
const URL_KEYS: [&str; 3] = ["url", "serverUrl", "httpUrl"];

impl Plan {
    fn server(&mut self, name: &str, path: &str, node: &Node) {
        let Value::Map(entries) = &node.value else {
            self.warnings
                .push(format!("{path}: is no object and was left out"));
            let _ = writeln!(self.yaml, "  # {name} was left out");
            return;
        };
        let url = URL_KEYS.iter().find(|key| get(node, key).is_some()).copied();
        let is_program = get(node, "command").is_some();
        if !is_program && url.is_none() {
            self.warnings.push(format!(
                "{path}: has neither `command` nor `url` and was left out"
            ));
            let _ = writeln!(self.yaml, "  # {name} was left out");
            return;
        }
        let _ = writeln!(self.yaml, "  {}:", quoted(name));
        for Entry { key, node: value, .. } in entries {
            let key = key.as_str();
            let path = format!("{path}.{}", Printable(key));
            match (key, &value.value) {
                ("command", Value::Text(text)) => {
                    let text = self.references(&text.text, &path);
                    let _ = writeln!(self.yaml, "    command: {}", quoted(&text));
                }
                ("cwd", Value::Text(text)) => {
                    let text = self.references(&text.text, &path);
                    let _ = writeln!(self.yaml, "    cwd: {}", quoted(&text));
                }
                ("args", Value::List(items)) => self.args(name, &path, items),
                ("env" | "headers", Value::Map(pairs)) => self.pairs(name, key, &path, pairs),
                (key, Value::Text(text)) if Some(key) == url && !is_program => {
                    let translated = self.references(&text.text, &path);
                    let text = match translated == text.text {
                        true => self.finder.in_url(name, &path, &text.text),
                        false => translated,
                    };
                    let _ = writeln!(self.yaml, "    url: {}", quoted(&text));
                }
                ("type" | "transport", Value::Text(kind)) => match kind.text.as_str() {
                    "sse" if !is_program => self.yaml.push_str("    transport: sse\n"),
                    "stdio" | "http" | "sse" | "streamable-http" | "streamableHttp" | "streamable_http" => {}
                    other => self.warnings.push(format!(
                        "{path}: `{}` is unknown and was left out; the transport is found out",
                        Printable(other)
                    )),
                },
                ("disabled", Value::Bool(true)) => self.yaml.push_str("    disabled: true\n"),
                ("enabled", Value::Bool(false)) => self.yaml.push_str("    disabled: true\n"),
                ("disabled" | "enabled", Value::Bool(_)) | (_, Value::Null) => {}
                ("timeout", _) => self.warnings.push(format!(
                    "{path}: was left out, since clients disagree about its unit; write `timeout: 60s`"
                )),
                _ => self
                    .warnings
                    .push(format!("{path}: was left out; it does nothing in a gate")),
            }
        }
    }

    fn args(&mut self, server: &str, path: &str, items: &[Node]) {
        let mut args: Vec<String> = Vec::with_capacity(items.len());
        let mut previous = "";
        for (at, item) in items.iter().enumerate() {
            let path = format!("{path}[{at}]");
            let Some(text) = scalar(item) else {
                self.warnings.push(format!("{path}: is no text and was left out"));
                continue;
            };
            let translated = self.references(text, &path);
            args.push(quoted(&match translated == text {
                true => self.finder.in_argument(server, &path, previous, text),
                false => translated,
            }));
            previous = text;
        }
        let _ = writeln!(self.yaml, "    args: [{}]", args.join(", "));
    }

    fn pairs(&mut self, server: &str, key: &str, path: &str, pairs: &[Entry]) {
        let mut lines = String::new();
        for pair in pairs {
            let path = format!("{path}.{}", Printable(&pair.key));
            let Some(text) = scalar(&pair.node) else {
                self.warnings.push(format!("{path}: is no text and was left out"));
                continue;
            };
            let translated = self.references(text, &path);
            let text = match translated == text {
                true => self.finder.in_pair(server, &path, &pair.key, text),
                false => translated,
            };
            let _ = writeln!(lines, "      {}: {}", quoted(&pair.key), quoted(&text));
        }
        if !lines.is_empty() {
            let _ = write!(self.yaml, "    {key}:\n{lines}");
        }
    }

    fn references(&mut self, text: &str, path: &str) -> String {
        translate(text, |warning| self.warnings.push(format!("{path}: {warning}")))
    }
}

/// A scalar as text.
fn scalar(node: &Node) -> Option<&str> {
    match &node.value {
        Value::Text(text) => Some(&text.text),
        Value::Number(_, spelled) => Some(spelled),
        Value::Bool(true) => Some("true"),
        Value::Bool(false) => Some("false"),
        _ => None,
    }
}

#[cfg(test)]
mod tests;
