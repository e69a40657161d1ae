//! Questions in the legacy form: requests of their own, in the shape that the client's version knows, and the answers to
//! them.

use bytes::Bytes;

use super::{Ask, AskKind};
use crate::error::{INVALID_PARAMS, error_response, result_response};
use crate::json::{self, Kind, Members, ObjectWriter, Span};
use crate::rewrite::Rewrite;
use crate::version::Version;

/// A question or an answer for which a version has no form.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BeyondClient {
    /// Elicitation came with 2025-06-18.
    #[error("a client of this version cannot be asked by elicitation")]
    Elicitation,
    /// URL mode came with 2025-11-25.
    #[error("a client of this version cannot be sent to a page")]
    Url,
    /// A choice of several came with 2025-11-25.
    #[error("a client of this version cannot be asked to choose several values")]
    MultiSelect,
    /// Tools in sampling came with 2025-11-25.
    #[error("a client of this version knows no tools in sampling")]
    Tools,
    /// Before 2025-11-25 a sampled message has one content block.
    #[error("the answer has several content blocks, and a server of this version takes one")]
    Blocks,
}

impl Ask {
    /// The question as a request to a client that speaks `client`, under the raw JSON `id`. `elicitation_id` names one in
    /// URL mode, where the server has not; 2025-11-25 requires a name.
    ///
    /// # Errors
    /// If that version has no form for it. Between equal versions nothing but the progress token and a task is removed.
    pub fn request(
        &self,
        id: &[u8],
        client: Version,
        elicitation_id: Option<&str>,
    ) -> Result<Bytes, BeyondClient> {
        let mut message = ObjectWriter::new();
        message
            .text("jsonrpc", "2.0")
            .raw("id", id)
            .text("method", self.kind.method().name());
        if let (Some(params), Some(members)) = (&self.params, self.members()) {
            let params = self.params_for(params, &members, client, elicitation_id)?;
            message.raw("params", &params);
        }
        Ok(message.finish().into())
    }

    fn params_for(
        &self,
        params: &Bytes,
        members: &Members,
        client: Version,
        elicitation_id: Option<&str>,
    ) -> Result<Bytes, BeyondClient> {
        let meta = members
            .get(params, "_meta")
            .and_then(|meta| json::object(params, meta).ok());
        let mut edits = Rewrite::new(params);
        // The token is the server's own and the call's, and what a client does for a server is never a task here.
        edits.remove_member(members, "task");
        if let Some(meta) = &meta {
            edits.remove_member(meta, "progressToken");
        }
        match self.kind {
            AskKind::Form | AskKind::Url if client < Version::V2025_06_18 => {
                return Err(BeyondClient::Elicitation);
            }
            AskKind::Url if client < Version::V2025_11_25 => return Err(BeyondClient::Url),
            AskKind::Url => {
                if let Some(id) = elicitation_id
                    && members.get(params, "elicitationId").is_none()
                {
                    edits.set_member(members, "elicitationId", json::quote(id));
                }
            }
            AskKind::Form if client < Version::V2025_11_25 => {
                // There was no other mode, and it had no name.
                edits.remove_member(members, "mode");
                for (span, plain) in plain_choices(params, members)? {
                    edits.replace(span, plain);
                }
            }
            AskKind::SamplingWithTools if client < Version::V2025_11_25 => return Err(BeyondClient::Tools),
            AskKind::Form | AskKind::Sampling | AskKind::SamplingWithTools | AskKind::Roots => {}
        }
        Ok(edits.finish())
    }

    /// A client's answer, a raw JSON object, as the message for a legacy server that speaks `server`, under its raw `id`. An
    /// answer that its version has no form for becomes an error that says so.
    pub fn reply(&self, id: &[u8], answer: &Bytes, server: Version) -> Bytes {
        match self.result_for(answer, server) {
            Ok(result) => result_response(id, &result),
            Err(beyond) => error_response(Some(id), INVALID_PARAMS, &beyond.to_string(), None),
        }
    }

    /// A client's answer, a raw JSON object, as the result for a legacy server that speaks `server`.
    ///
    /// # Errors
    /// If that version has no form for it.
    pub fn result_for(&self, answer: &Bytes, server: Version) -> Result<Bytes, BeyondClient> {
        let Ok(members) = json::object(answer, Span::all(answer)) else {
            return Ok(answer.clone());
        };
        let mut edits = Rewrite::new(answer);
        edits.remove_member(&members, "resultType");
        if let Some(content) = members.get(answer, "content")
            && matches!(self.kind, AskKind::Sampling | AskKind::SamplingWithTools)
            && server < Version::V2025_11_25
            && json::kind(answer, content) == Some(Kind::Array)
        {
            let mut blocks = json::items(answer, content);
            let (Some(only), None) = (blocks.next(), blocks.next()) else {
                return Err(BeyondClient::Blocks);
            };
            edits.replace(content, only.of(answer));
        }
        Ok(edits.finish())
    }
}

/// The fields of a form that 2025-06-18 writes in another way: a choice of titled values is `enum` and `enumNames` there.
fn plain_choices(params: &[u8], members: &Members) -> Result<Vec<(Span, Vec<u8>)>, BeyondClient> {
    let object = |span| json::object(params, span).ok();
    let fields = members
        .get(params, "requestedSchema")
        .and_then(object)
        .and_then(|schema| object(schema.get(params, "properties")?));
    let mut plain = Vec::new();
    for field in fields.iter().flatten() {
        let Some(schema) = object(field.value) else {
            continue;
        };
        let kind = schema
            .get(params, "type")
            .and_then(|kind| json::text(params, kind));
        if kind.as_deref() == Some("array") {
            return Err(BeyondClient::MultiSelect);
        }
        if let Some(choices) = schema.get(params, "oneOf") {
            plain.push((field.value, plain_choice(params, &schema, choices)));
        }
    }
    Ok(plain)
}

fn plain_choice(params: &[u8], schema: &Members, choices: Span) -> Vec<u8> {
    let member = |choice: Span, name: &str| {
        json::object(params, choice)
            .ok()
            .and_then(|choice| choice.get(params, name))
            .map_or(&b"\"\""[..], |span| span.of(params))
    };
    let list = |name: &str| {
        let texts: Vec<_> = json::items(params, choices)
            .map(|choice| member(choice, name))
            .collect();
        [&b"["[..], &texts.join(&b","[..]), b"]"].concat()
    };
    // Once, whatever else is there: a server may name `oneOf` twice, and a list for each would be as large as the square.
    let mut out = ObjectWriter::new();
    out.raw("enum", &list("const")).raw("enumNames", &list("title"));
    for field in schema {
        let name = json::text(params, field.key).unwrap_or_default();
        if !matches!(&*name, "oneOf" | "enum" | "enumNames") {
            out.raw(&name, field.value.of(params));
        }
    }
    out.finish()
}
