//! The library to write MCP servers with and to host them in Gatepost.
//!
//! A server is any [rmcp](https://docs.rs/rmcp) [`ServerHandler`](rmcp::ServerHandler); [`module`] turns it into a
//! [`Module`] that the gate hosts in its own process. The SDK is re-exported as [`rmcp`], so that a server and its host
//! agree on the version.
//!
//! ```
//! use gatepost::rmcp::{ServerHandler, handler::server::router::tool::ToolRouter, tool, tool_handler, tool_router};
//! // The macros of rmcp name the crate `rmcp`; a crate that depends on gatepost alone brings it into scope like this.
//! use gatepost::rmcp;
//!
//! #[derive(Clone)]
//! struct Clock {
//!     tool_router: ToolRouter<Self>,
//! }
//!
//! #[tool_router]
//! impl Clock {
//!     fn new() -> Self {
//!         Self { tool_router: Self::tool_router() }
//!     }
//!
//!     /// The year this was written.
//!     #[tool(annotations(read_only_hint = true))]
//!     async fn year(&self) -> String {
//!         "2026".to_owned()
//!     }
//! }
//!
//! // Without `router = self.tool_router` the macro would build the whole router again on every call.
//! #[tool_handler(router = self.tool_router)]
//! impl ServerHandler for Clock {}
//!
//! let clock = Clock::new();
//! let module = gatepost::module(move || clock.clone());
//! # let _: std::sync::Arc<dyn gatepost::Module> = std::sync::Arc::new(module);
//! ```

mod guard;
mod module;
mod wire;

pub use gatepost_gateway::{Module, Serving};
pub use module::{HandlerModule, module};
pub use rmcp;
