//! Servers behind a URL: streamable HTTP in both eras.

mod endpoint;
mod legacy;
mod modern;
mod reply;
mod stream;

pub(crate) use endpoint::{
    Endpoint, LAST_EVENT_ID, METHOD, NAME, PROTOCOL_VERSION, SESSION_ID, version_header,
};
pub(crate) use legacy::{LegacySession, Tenure, keep_listening};
pub(crate) use modern::{Listening, ModernServer, failed};
pub(crate) use reply::{Reply, answering, mistaken, parse_response, read_reply, worth_quoting};
pub(crate) use stream::{EventSource, EventStream, StreamEnd};
