//! What stands behind the gate: one [`Server`] per configured server, whatever its transport and era.
//!
//! A server owns its connections, pools and sessions, learns its era (`eras.md` 1.2), and offers the rest of the gateway
//! three things: [`Server::call`] for a client's permitted request, [`Server::fetch`] for the gate's own questions
//! (catalog, discovery), and [`Server::changes`] for what the server announces. Ids and progress tokens on its wire are
//! the gate's own, so two clients can never collide on one server.

mod error;
mod incoming;
mod server;

pub use error::{CallError, Cause};
pub(crate) use incoming::{Events, Incoming};
pub use server::{Health, Server};
pub(crate) use server::{Change, Facts};
