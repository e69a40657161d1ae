//! A request on its way to the server.

use bytes::Bytes;

use super::{
    META_CLIENT_CAPABILITIES, META_CLIENT_INFO, META_LOG_LEVEL, META_PROGRESS_TOKEN, META_PROTOCOL_VERSION,
};
use crate::envelope::Request;
use crate::json::quote;
use crate::version::Version;

/// What is known about the client.
#[derive(Debug, Clone, Copy)]
pub struct ClientSide<'a> {
    /// The version it speaks.
    pub version: Version,
    /// Its capabilities as the server may see them, raw JSON; see
    /// [`client_capabilities_up`](super::client_capabilities_up).
    pub capabilities: &'a [u8],
    /// Its `clientInfo`, raw JSON.
    pub info: Option<&'a [u8]>,
    /// The log level of its session; never set means no log lines.
    pub log_level: Option<&'a str>,
}

/// What the gate puts in.
#[derive(Debug, Clone, Copy)]
pub struct UpCall<'a> {
    /// The version the server speaks.
    pub version: Version,
    /// The gate's own id, raw JSON.
    pub id: &'a [u8],
    /// The server's own name for what is called, where the client's differs.
    pub name: Option<&'a str>,
    /// The gate's own progress token, raw JSON, put in where the client sent one. `None` removes the client's.
    pub progress_token: Option<&'a [u8]>,
    /// What the gate knows better than the client's own `inputResponses` and `requestState`, for a modern server.
    pub input: Option<InputUp<'a>>,
}

/// The answers and the state that go to a modern server with a call that is made again.
#[derive(Debug, Clone, Copy)]
pub struct InputUp<'a> {
    /// `inputResponses`, raw JSON. `None` leaves what the client sent.
    pub responses: Option<&'a [u8]>,
    /// `requestState` as the server gave it, raw JSON. `None`: it gave none.
    pub state: Option<&'a [u8]>,
}

/// The request as the server gets it.
pub fn request_up(request: &Request, client: &ClientSide<'_>, up: &UpCall<'_>) -> Bytes {
    let mut edits = request.rewrite();
    edits.id(up.id);
    if let Some(name) = up.name {
        let target = request.known_method().and_then(|method| method.facts().target);
        edits.param_text(target.map_or("name", |target| target.param()), name);
    }
    if request.meta(META_PROGRESS_TOKEN).is_some() {
        match up.progress_token {
            Some(token) => edits.meta(META_PROGRESS_TOKEN, token),
            None => edits.remove_meta(META_PROGRESS_TOKEN),
        };
    }
    // The gate never declares `tasks`, and who receives the parameter without having declared it "MUST process the
    // request normally, ignoring the task-augmentation metadata" (2025-11-25 basic/utilities/tasks, Task Support and
    // Handling). In 2026-07-28 the server decides, and there is no such parameter.
    edits.remove_param("task");
    // Only a modern client's retry of a modern server's request means something by these (2026-07-28 schema,
    // InputResponseRequestParams).
    if !(client.version.is_modern() && up.version.is_modern()) {
        edits.remove_param("inputResponses").remove_param("requestState");
    }
    if let Some(input) = up.input.filter(|_| up.version.is_modern()) {
        if let Some(responses) = input.responses {
            edits.param("inputResponses", responses);
        }
        match input.state {
            Some(state) => edits.param("requestState", state),
            None => edits.remove_param("requestState"),
        };
    }
    match (client.version.is_modern(), up.version.is_modern()) {
        // 2026-07-28 basic/index, _meta: every request carries them.
        (false, true) => {
            edits.meta(META_PROTOCOL_VERSION, up.version.as_json());
            edits.meta(META_CLIENT_CAPABILITIES, client.capabilities);
            if let Some(info) = client.info {
                edits.meta(META_CLIENT_INFO, info);
            }
            if let Some(level) = client.log_level {
                edits.meta(META_LOG_LEVEL, quote(level));
            }
        }
        // A legacy server may misread them. Vendor keys and the trace context stay.
        (true, false) => {
            for key in [
                META_PROTOCOL_VERSION,
                META_CLIENT_INFO,
                META_CLIENT_CAPABILITIES,
                META_LOG_LEVEL,
            ] {
                edits.remove_meta(key);
            }
        }
        // "Own clientInfo never replaces the client's": the client's `_meta` is passed on as it is.
        (true, true) | (false, false) => {}
    }
    edits.finish()
}
