//! `gatepost list`: what a server offers.

use std::{fmt::Write, io::IsTerminal};

use clap::ValueEnum;
use gatepost_policy::Printable;
use serde::Deserialize;
use serde_json::{Value, value::RawValue};

use crate::{
    client::{Client, TargetArgs, with_client},
    failure::Failure,
    output::{self, style},
};

/// List what a server offers: tools, resources, prompts
///
/// Of any MCP server: `gatepost list --url URL`, `gatepost list -- COMMAND…`, or of the configured gate.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// What to list
    #[arg(value_enum, default_value = "tools")]
    what: What,
    /// Print each list as JSON, each item as the server wrote it
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    target: TargetArgs,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum What {
    Tools,
    Resources,
    Prompts,
    Templates,
    All,
}

/// A list: its method, and the member of the result that holds it.
const LISTS: [(What, &str, &str); 4] = [
    (What::Tools, "tools/list", "tools"),
    (What::Resources, "resources/list", "resources"),
    (What::Templates, "resources/templates/list", "resourceTemplates"),
    (What::Prompts, "prompts/list", "prompts"),
];

/// One item of any list.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Item {
    name: Option<String>,
    uri: Option<String>,
    #[serde(rename = "uriTemplate")]
    uri_template: Option<String>,
    title: Option<String>,
    description: Option<String>,
    #[serde(rename = "inputSchema")]
    input_schema: Value,
    arguments: Value,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct PromptArgument {
    name: String,
    required: bool,
}

pub(crate) fn run(args: &Args) -> Result<(), Failure> {
    let lists = with_client(&args.target, async |client| fetch(client, args.what).await)?;
    let text = if args.json {
        as_json(&lists)
    } else {
        as_text(&lists, args.what == What::All, width())
    };
    Ok(output::result(&text)?)
}

type List = (&'static str, Vec<Box<RawValue>>);

async fn fetch(client: &Client, what: What) -> Result<Vec<List>, Failure> {
    let mut lists = Vec::new();
    for (kind, method, member) in LISTS {
        if what == kind || what == What::All {
            lists.push((member, client.list(method, member).await?));
        }
    }
    Ok(lists)
}

fn as_json(lists: &[List]) -> String {
    let mut text = String::from("{");
    for (at, (member, items)) in lists.iter().enumerate() {
        let comma = if at == 0 { "" } else { "," };
        let items: Vec<&str> = items.iter().map(|item| item.get()).collect();
        let _ = write!(text, "{comma}\n\"{member}\": [\n{}\n]", items.join(",\n"));
    }
    text.push_str("\n}\n");
    text
}

/// The width of the terminal; a file has any width.
fn width() -> Option<usize> {
    let terminal = std::io::stdout().is_terminal();
    terminal
        .then(terminal_size::terminal_size)
        .flatten()
        .map(|(width, _)| usize::from(width.0))
}

fn as_text(lists: &[List], titled: bool, width: Option<usize>) -> String {
    let mut text = String::new();
    let (heading, dim) = (style::HEADING, style::DIM);
    for (member, items) in lists {
        if titled {
            let title = if *member == "resourceTemplates" {
                "templates"
            } else {
                member
            };
            let gap = if text.is_empty() { "" } else { "\n" };
            let _ = writeln!(text, "{gap}{heading}{title}{heading:#}");
        }
        if items.is_empty() {
            let _ = writeln!(text, "{dim}none{dim:#}");
        }
        let rows: Vec<[String; 2]> = items.iter().map(|item| row(item)).collect();
        let column = rows
            .iter()
            .map(|[name, _]| name.chars().count())
            .max()
            .unwrap_or(0)
            .min(60);
        for [name, words] in rows {
            let padding = " ".repeat(column.saturating_sub(name.chars().count()));
            let room = width.map(|width| width.saturating_sub(column.max(name.chars().count()) + 2).max(20));
            let words = shortened(&words, room);
            let line = format!("{heading}{name}{heading:#}{padding}  {words}");
            let _ = writeln!(text, "{}", line.trim_end());
        }
    }
    text
}

/// Name with arguments, and what it is for.
fn row(item: &RawValue) -> [String; 2] {
    let item: Item = serde_json::from_str(item.get()).unwrap_or_default();
    let mut name = String::new();
    match (&item.uri, &item.uri_template, &item.name) {
        (Some(address), ..) | (None, Some(address), _) | (None, None, Some(address)) => {
            let _ = write!(name, "{}", Printable(address));
        }
        (None, None, None) => name.push('?'),
    }
    let required: Vec<&str> = item.input_schema["required"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .collect();
    let properties = item.input_schema["properties"].as_object();
    let properties = properties
        .into_iter()
        .flatten()
        .map(|(name, _)| (name.as_str(), required.contains(&name.as_str())));
    let arguments: Vec<PromptArgument> = serde_json::from_value(item.arguments).unwrap_or_default();
    let arguments = arguments
        .iter()
        .map(|argument| (argument.name.as_str(), argument.required));
    let mut all: Vec<(&str, bool)> = properties.chain(arguments).collect();
    // What must be given comes first, in the order of the schema.
    all.sort_by_key(|(argument, needed)| (!needed, required.iter().position(|one| one == argument)));
    for (argument, needed) in all {
        let optional = if needed { "" } else { "?" };
        let _ = write!(name, " {}{optional}", Printable(argument));
    }
    let words = item.description.or(item.title).unwrap_or_default();
    // The first paragraph, on one line: where its author broke it says nothing about where it may end.
    let first = words
        .lines()
        .map(str::trim)
        .skip_while(|line| line.is_empty())
        .take_while(|line| !line.is_empty())
        .collect::<Vec<_>>()
        .join(" ");
    let words = match (item.uri.is_some() || item.uri_template.is_some(), item.name) {
        (true, Some(own)) if first.is_empty() => own,
        _ => first,
    };
    [name, output::harmless(&words)]
}

fn shortened(text: &str, room: Option<usize>) -> String {
    match room {
        Some(room) if text.chars().count() > room => text.chars().take(room - 1).chain(['…']).collect(),
        _ => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::golden;

    fn lists() -> Vec<List> {
        let raw = |value: Value| RawValue::from_string(value.to_string()).unwrap();
        let schema = serde_json::json!({
            "type": "object",
            "properties": { "limit": { "type": "integer" }, "query": { "type": "string" } },
            "required": ["query"],
        });
        let long = "Searches everything that was ever\nwritten, in all languages, and more.\n\nMore of it.";
        vec![
            (
                "tools",
                vec![
                    raw(serde_json::json!({ "name": "search", "description": long, "inputSchema": schema })),
                    raw(serde_json::json!({ "name": "evil\u{1b}[2J", "description": "\u{1b}]0;x\u{7}" })),
                    raw(serde_json::json!({ "name": "untyped", "title": "A title", "arguments": 7 })),
                ],
            ),
            (
                "resources",
                vec![raw(
                    serde_json::json!({ "uri": "file:///a.txt", "name": "a.txt" }),
                )],
            ),
            ("resourceTemplates", vec![]),
            (
                "prompts",
                vec![raw(serde_json::json!({
                    "name": "review", "description": "Reviews.", "arguments": [{ "name": "file", "required": true }, { "name": "tone" }],
                }))],
            ),
        ]
    }

    #[test]
    fn a_terminal_shows_a_table() {
        let text = as_text(&lists(), true, Some(72));
        golden::check("list-all", &anstream::adapter::strip_str(&text).to_string());
    }

    /// A line that ends in the middle of a sentence, without a sign that there is more, reads like a mistake.
    #[test]
    fn a_file_gets_the_whole_first_paragraph() {
        let text = anstream::adapter::strip_str(&as_text(&lists(), false, None)).to_string();
        let line = text.lines().next().unwrap_or_default();
        assert!(
            line.ends_with("Searches everything that was ever written, in all languages, and more."),
            "{text}"
        );
    }

    #[test]
    fn json_holds_items_as_they_came() {
        let odd = RawValue::from_string(r#"{"z":1e400,"a":18446744073709551616}"#.to_owned()).unwrap();
        let text = as_json(&[("tools", vec![odd]), ("prompts", vec![])]);
        assert!(text.contains(r#"{"z":1e400,"a":18446744073709551616}"#));
        let lists: std::collections::HashMap<&str, &RawValue> = serde_json::from_str(&text).unwrap();
        assert_eq!(lists["prompts"].get().replace('\n', ""), "[]");
    }
}
