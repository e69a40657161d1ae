//! An rmcp `ServerHandler` as a [`Module`].
//!
//! The gate speaks to a module as it would to a stdio server: one JSON-RPC message a line, over an in-memory pipe. Both
//! eras work on one connection: rmcp answers `server/discover` without choosing, takes `initialize` or the first request
//! with the 2026-07-28 `_meta` as the opening, and afterwards still serves a modern request on a connection that was opened
//! by a handshake.

use gatepost_gateway::{Module, Serving};
use rmcp::{ServerHandler, service::ServerInitializeError};
use tokio::io::DuplexStream;

use crate::{guard::Guarded, wire::Wire};

/// Hosts the handlers that `make` builds, one for every connection.
///
/// `make` is called once per connection and must not block; what connections share (a pool, a cache, a router that is
/// dear to build) lives outside and is cloned in. A handler that panics in a request answers that request with an
/// internal error and goes on serving.
pub fn module<H, F>(make: F) -> HandlerModule<F>
where
    H: ServerHandler,
    F: Fn() -> H + Send + Sync + 'static,
{
    HandlerModule { make }
}

/// A [`Module`] made of rmcp handlers; see [`module`].
#[derive(Debug, Clone)]
pub struct HandlerModule<F> {
    make: F,
}

impl<H, F> Module for HandlerModule<F>
where
    H: ServerHandler,
    F: Fn() -> H + Send + Sync + 'static,
{
    fn serve(&self, io: DuplexStream) -> Serving {
        Box::pin(serve((self.make)(), io))
    }
}

async fn serve<H: ServerHandler>(handler: H, io: DuplexStream) {
    let running = match rmcp::serve_server(Guarded::new(handler), Wire::new(io)).await {
        Ok(running) => running,
        // A pipe that was closed before anybody asked anything, for instance by a probe that had seen enough.
        Err(ServerInitializeError::ConnectionClosed(_)) => return,
        Err(error) => {
            tracing::warn!(%error, "a module's connection could not be opened");
            return;
        }
    };
    if let Err(error) = running.waiting().await {
        tracing::error!(%error, "a module's connection ended badly");
    }
}

#[cfg(test)]
mod tests;
