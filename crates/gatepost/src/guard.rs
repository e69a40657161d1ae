//! Why this layer exists: rmcp runs each request as a task of its own and sends whatever the task returns. A task that
//! panics returns nothing, so the caller of a panicking tool would wait for ever. [`Guarded`] turns the panic into an
//! internal error that says which tool, prompt or resource it was; the connection and its other requests go on.

use std::{any::Any, borrow::Cow, panic::AssertUnwindSafe};

use futures_util::FutureExt;
use rmcp::{
    ErrorData, RoleServer, ServerHandler, Service,
    model::{ClientNotification, ClientRequest, ProtocolVersion, ServerConfig, ServerResult},
    service::{NotificationContext, RequestContext},
};

/// A handler whose panics become answers.
pub(crate) struct Guarded<H> {
    handler: H,
}

impl<H: ServerHandler> Guarded<H> {
    pub(crate) fn new(handler: H) -> Self {
        Self { handler }
    }
}

// === impl Guarded ===

/// Wrapping at this level, not as another `ServerHandler`, guards every method at once, also those of later rmcp versions.
impl<H: ServerHandler> Service<RoleServer> for Guarded<H> {
    async fn handle_request(
        &self,
        request: ClientRequest,
        context: RequestContext<RoleServer>,
    ) -> Result<ServerResult, ErrorData> {
        let subject = Subject::of(&request);
        // Unwind safety: a handler is shared by concurrent requests anyway, so a half-done change is behind a lock (which
        // poisons itself) or an atomic; the guard adds no new way to see one.
        match AssertUnwindSafe(Service::handle_request(&self.handler, request, context))
            .catch_unwind()
            .await
        {
            Ok(answer) => answer,
            Err(panic) => {
                // The payload may hold anything, a secret included: it is for the log, not for the caller.
                tracing::error!(subject = %subject, panic = payload(&*panic), "a handler panicked");
                Err(ErrorData::internal_error(
                    format!(
                        "{subject} failed: its code panicked. The server keeps running; its log has the details."
                    ),
                    None,
                ))
            }
        }
    }

    async fn handle_notification(
        &self,
        notification: ClientNotification,
        context: NotificationContext<RoleServer>,
    ) -> Result<(), ErrorData> {
        AssertUnwindSafe(Service::handle_notification(&self.handler, notification, context))
            .catch_unwind()
            .await
            .unwrap_or_else(|panic| {
                tracing::error!(panic = payload(&*panic), "a notification handler panicked");
                Ok(())
            })
    }

    fn get_info(&self) -> ServerConfig {
        Service::get_info(&self.handler)
    }

    fn supported_protocol_versions(&self) -> Cow<'static, [ProtocolVersion]> {
        Service::supported_protocol_versions(&self.handler)
    }
}

/// What a request is about, in the words of an error message.
struct Subject {
    kind: &'static str,
    name: String,
}

// === impl Subject ===

impl Subject {
    fn of(request: &ClientRequest) -> Self {
        let (kind, name) = match request {
            ClientRequest::CallToolRequest(request) => ("tool", request.params.name.to_string()),
            ClientRequest::GetPromptRequest(request) => ("prompt", request.params.name.clone()),
            ClientRequest::ReadResourceRequest(request) => ("resource", request.params.uri.clone()),
            other => ("method", other.method().to_owned()),
        };
        Self { kind, name }
    }
}

impl std::fmt::Display for Subject {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} `{}`", self.kind, self.name)
    }
}

/// The words a panic was raised with, if it was raised with words.
fn payload(panic: &(dyn Any + Send)) -> &str {
    panic
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("(no message)")
}
