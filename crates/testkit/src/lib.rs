//! Dev-only: fixture servers, odd servers, clients, a gateway in a test.

pub mod conformance;
pub mod gate;
pub mod issuer;
pub mod odd;
pub mod peers;
pub mod tokens;
