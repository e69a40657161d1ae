//! Between eras: what changes in a plain message when client and server speak different versions.
//!
//! Pure functions from bytes to bytes. Where both sides speak the same version nothing but the gate's own splices (ids,
//! names, tokens) is touched. Requests that a server makes of a client are not dealt with here.

mod capabilities;
mod content;
mod error;
mod request;
mod result;
mod tool;

pub use capabilities::client_capabilities_up;
pub use error::{ErrorDown, ErrorFacts, error_down};
pub use request::{ClientSide, InputUp, UpCall, request_up};
pub use result::{CacheHints, CacheScope, ResultPlan, ResultProblem, result_down, unfinished_down};
pub use tool::{drops_structured_content, tool_down};

/// The `_meta` key of a request's protocol version (2026-07-28 schema, `RequestMetaObject`).
pub const META_PROTOCOL_VERSION: &str = "io.modelcontextprotocol/protocolVersion";
/// The `_meta` key of the client's name and version.
pub const META_CLIENT_INFO: &str = "io.modelcontextprotocol/clientInfo";
/// The `_meta` key of the client's capabilities.
pub const META_CLIENT_CAPABILITIES: &str = "io.modelcontextprotocol/clientCapabilities";
/// The `_meta` key of the log level a request asks for.
pub const META_LOG_LEVEL: &str = "io.modelcontextprotocol/logLevel";
/// The `_meta` key of the server's name and version, on results.
pub const META_SERVER_INFO: &str = "io.modelcontextprotocol/serverInfo";
/// The `_meta` key that ties a notice to its `subscriptions/listen`.
pub const META_SUBSCRIPTION_ID: &str = "io.modelcontextprotocol/subscriptionId";
/// The `_meta` key of a progress token.
pub const META_PROGRESS_TOKEN: &str = "progressToken";
/// The extension that has tasks in 2026-07-28.
pub const TASKS_EXTENSION: &str = "io.modelcontextprotocol/tasks";

#[cfg(test)]
mod tests;
