//! The seam for servers that run inside the Gatepost process.
//!
//! A module is anything that can speak MCP over one in-memory pipe, one JSON-RPC message a line, exactly as a stdio server
//! would. The gateway therefore needs one upstream for stdio and in-process servers alike, and knows no SDK: the `gatepost`
//! library adapts any rmcp `ServerHandler` to this trait, and the binary hands the modules in.

use std::{future::Future, pin::Pin};

use tokio::io::DuplexStream;

/// What a module's connection runs as; it ends when the pipe does.
pub type Serving = Pin<Box<dyn Future<Output = ()> + Send + 'static>>;

/// A server that lives in this process.
pub trait Module: Send + Sync + 'static {
    /// Serves one connection until the other end of `io` is closed. Called once per connection; connections are
    /// independent of each other and may run at the same time.
    fn serve(&self, io: DuplexStream) -> Serving;
}
