//! The data path of Gatepost: transport, identity, pipeline, routing, upstream.

mod module;

pub use module::{Module, Serving};
