//! Content blocks for clients that do not know all kinds of them.

use std::borrow::Cow;

use crate::json::{self, Members, ObjectWriter, Span};
use crate::version::Version;

/// The block at `span` as a client at `client` can show it. `None`: as it is.
pub(super) fn degraded(raw: &[u8], span: Span, client: Version) -> Option<Vec<u8>> {
    let block = json::object(raw, span).ok()?;
    let kind = json::text(raw, block.get(raw, "type")?)?;
    match &*kind {
        "text" | "image" | "resource" => None,
        "audio" if client >= Version::V2025_03_26 => None,
        "resource_link" if client >= Version::V2025_06_18 => None,
        "audio" => Some(embedded_audio(raw, &block)),
        "resource_link" => Some(text_block(&link_text(raw, &block))),
        other => Some(text_block(&format!("[unsupported content: {other}]"))),
    }
}

/// A content block that says `text`.
pub(super) fn text_block(text: &str) -> Vec<u8> {
    ObjectWriter::new()
        .text("type", "text")
        .text("text", text)
        .finish()
}

/// Before 2025-03-26 there is no audio, but any bytes can be embedded as a resource.
fn embedded_audio(raw: &[u8], block: &Members) -> Vec<u8> {
    let data = block.get(raw, "data").map_or(&b"\"\""[..], |span| span.of(raw));
    let mut resource = ObjectWriter::new();
    resource.text("uri", &format!("gatepost:audio/{:016x}", fingerprint(data)));
    if let Some(mime) = block.get(raw, "mimeType") {
        resource.raw("mimeType", mime.of(raw));
    }
    resource.raw("blob", data);
    let mut out = ObjectWriter::new();
    out.text("type", "resource").raw("resource", &resource.finish());
    if let Some(annotations) = block.get(raw, "annotations") {
        out.raw("annotations", annotations.of(raw));
    }
    out.finish()
}

/// Title or name, URI, description.
fn link_text(raw: &[u8], block: &Members) -> String {
    let text = |name| {
        block
            .get(raw, name)
            .and_then(|span| json::text(raw, span))
            .filter(|text| !text.is_empty())
    };
    let lines: Vec<Cow<'_, str>> = [
        text("title").or_else(|| text("name")),
        text("uri"),
        text("description"),
    ]
    .into_iter()
    .flatten()
    .collect();
    lines.join("\n")
}

/// FNV-1a. It names equal data equally; nothing is protected by it.
fn fingerprint(data: &[u8]) -> u64 {
    data.iter().fold(0xcbf2_9ce4_8422_2325, |hash, &byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    })
}
