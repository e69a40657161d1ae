//! What stands behind the gate: one [`Server`] per configured server, whatever its transport and era.
//!
//! A server owns its connections, pools and sessions, learns its era (`eras.md` 1.2), and offers the rest of the gateway
//! three things: [`Server::call`] for a client's permitted request, [`Server::fetch`] for the gate's own questions
//! (catalog, discovery), and [`Server::changes`] for what the server announces. Ids and progress tokens on its wire are
//! the gate's own, so two clients can never collide on one server.
//!
//! ```text
//! server ─┬─ http::modern ──────────────────────────── http::client   one request, one answer, no state
//!         └─ pool ─ session ─┬─ http::legacy ───────── http::client   Mcp-Session-Id
//!                            └─ pipe ─┬─ process                      lines
//!                                     ├─ module                       lines, in memory
//!                                     └─ sse ───────── http::client   events down, POST up
//! ```

mod asking;
mod awaited;
pub(crate) mod backoff;
mod change;
mod connect;
mod context;
mod credential;
mod error;
mod facts;
mod greet;
mod health;
mod http;
mod incoming;
mod level;
mod outgoing;
mod permitted;
mod pipe;
mod polled;
mod pool;
mod process;
mod questions;
mod server;
mod session;
mod sse;
mod subscribe;
mod tasks;
mod watch;
mod watched;

pub(crate) use asking::Clients;
pub(crate) use change::Change;
pub(crate) use context::Context;
pub use context::ContextError;
pub(crate) use credential::{Asker, Fingerprint, KeptAsker, Presented};
pub use credential::{CredentialKind, SecretUse, StoredTokens, Used};
pub use error::{CallError, Cause};
pub(crate) use facts::Facts;
pub use health::{Health, HealthState};
pub(crate) use incoming::{Events, Incoming, LateAnswers, Partial, response_of};
pub use permitted::Called;
pub(crate) use polled::Polled;
pub use server::Server;
pub(crate) use tasks::TaskNotices;
pub(crate) use watched::Watched;

#[cfg(test)]
mod tests;
