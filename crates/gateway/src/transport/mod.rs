//! How messages arrive and leave: HTTP in both eras, and one connection that speaks lines (stdio, or a caller in this
//! process).

pub(crate) mod channel;
pub(crate) mod connection;
pub mod http;
pub mod stdio;

pub(crate) use http::body::{Broken, Chunks};
