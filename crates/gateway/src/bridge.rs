//! What servers ask of clients while a call runs (elicitation, sampling, roots), between all eras.
//!
//! | client → server | how a question reaches the client | here |
//! | --- | --- | --- |
//! | legacy → legacy | as a request on the stream of its call | `straight` |
//! | modern → legacy | the call is parked, its client gets `input_required` and sends it again with the answers | `gather`, `parking` |
//! | legacy → modern | `input_required` becomes requests on the stream of the call, which is sent again with the answers | `replay` |
//! | modern → modern | in the result, which passes; its `requestState` is sealed | `state` |
//!
//! Source: `docs/eras.md` 5; who drives all this is `deliver/relay.rs`. Tasks that a server makes are waited for below, in
//! `upstream/awaited.rs` and `upstream/polled.rs`. A task that the gate itself hosts, for a server that makes none, would be
//! another keeper beside `parking`, which owns a call's `Events` as that does and is asked by `tasks/*` instead of a retry.

pub(crate) mod again;
pub(crate) mod gather;
pub(crate) mod page;
pub(crate) mod parking;
pub(crate) mod postponed;
pub(crate) mod replay;
pub(crate) mod spent;
pub(crate) mod state;
pub(crate) mod straight;
