//! A tool's definition, for clients that do not know all of it.

use std::borrow::Cow;

use crate::json::{self, Kind, Members, Span};
use crate::rewrite::Rewrite;
use crate::version::Version;

/// One tool of a list, for a client at `client`. `None` if it is no tool (no object, or without a name).
///
/// `raw` must have been validated. Schemas are otherwise left alone; `$schema` is never added or changed.
pub fn tool_down(raw: &[u8], server: Version, client: Version) -> Option<Cow<'_, [u8]>> {
    let tool = json::object(raw, Span::all(raw)).ok()?;
    tool.get(raw, "name").and_then(|name| json::text(raw, name))?;
    let execution = tool
        .get(raw, "execution")
        .and_then(|span| json::object(raw, span).ok());
    let mut edits = Rewrite::new(raw);
    if client.is_modern() {
        // `execution.taskSupport` is of 2025-11-25 only; with the tasks extension the server decides.
        if !server.is_modern() {
            edits.remove_member(&tool, "execution");
        }
        return finish(raw, &edits);
    }
    // What can only be a task upstream is a plain call here, because the gate waits for it (eras.md 8). A client that read
    // `required` and finds no `tasks` capability would not call it at all. Said to nobody before 2025-11-25.
    if let Some(execution) = &execution
        && execution
            .get(raw, "taskSupport")
            .is_some_and(|support| json::equals(raw, support, "required"))
    {
        if execution.len() == 1 {
            edits.remove_member(&tool, "execution");
        } else {
            edits.remove_member(execution, "taskSupport");
        }
    }
    let mut properties: Vec<Members> = Vec::new();
    if client < server {
        // Up to 2025-11-25 the root must be `type: "object"`; clients that type it lose the whole list over one tool.
        if output_is_foreign(raw, &tool) {
            edits.remove_member(&tool, "outputSchema");
        }
        for schema in ["inputSchema", "outputSchema"] {
            let members = tool
                .get(raw, schema)
                .and_then(|span| json::object(raw, span).ok());
            let span = members.and_then(|members| members.get(raw, "properties"));
            properties.extend(span.and_then(|span| json::object(raw, span).ok()));
        }
    }
    for member in properties.iter().flatten() {
        match member.value.of(raw) {
            b"true" => edits.replace(member.value, &b"{}"[..]),
            b"false" => edits.replace(member.value, &br#"{"not":{}}"#[..]),
            _ => {}
        }
    }
    finish(raw, &edits)
}

fn finish<'a>(raw: &'a [u8], edits: &Rewrite<'_>) -> Option<Cow<'a, [u8]>> {
    Some(if edits.is_empty() {
        Cow::Borrowed(raw)
    } else {
        Cow::Owned(edits.finish().into())
    })
}

fn output_is_foreign(raw: &[u8], tool: &Members) -> bool {
    tool.get(raw, "outputSchema").is_some_and(|schema| {
        let root = json::object(raw, schema)
            .ok()
            .and_then(|members| members.get(raw, "type"));
        json::kind(raw, schema) != Some(Kind::Object)
            || !root.is_some_and(|root| json::equals(raw, root, "object"))
    })
}

/// Whether [`tool_down`] takes the tool's `outputSchema` away, so that its results must lose `structuredContent` too.
pub fn drops_structured_content(raw: &[u8], server: Version, client: Version) -> bool {
    client < server
        && !client.is_modern()
        && json::object(raw, Span::all(raw)).is_ok_and(|tool| output_is_foreign(raw, &tool))
}
