//! What goes out of the gate over HTTP: a client of one origin, made for the path of calls, and the TLS that it speaks.

mod client;
mod tls;

pub use client::{BadUrl, Body, HttpClient, HttpError, Media, Opening, Origin, Request, Response};
pub use tls::{system, trusting};
