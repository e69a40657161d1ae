//! Pure MCP: envelope, eras, method table, framing, translation. No I/O, no async.
//!
//! Messages are never turned into a tree. [`json`] checks the bytes once and remembers where things are, [`envelope`]
//! says what kind of JSON-RPC message they hold, and [`rewrite`] emits the same bytes with a few places changed.
//! Whatever is not edited stays as it was sent, to the byte: unknown members, key order, the digits of numbers.

pub mod ask;
pub mod calendar;
pub mod envelope;
pub mod error;
pub mod framing;
pub mod headers;
pub mod json;
pub mod lifecycle;
pub mod logging;
pub mod method;
pub mod rewrite;
pub mod translate;
pub mod version;
