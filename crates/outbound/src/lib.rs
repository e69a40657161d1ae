//! What goes out of the gate over HTTP: a client of one origin, made for the path of calls; single bounded exchanges for
//! what the gate itself wants to know; and the TLS that both speak.

mod client;
mod fetch;
mod tls;

pub use client::{BadUrl, Body, HttpClient, HttpError, Media, Opening, Origin, Request, Response};
pub use fetch::{Answer, Ask, FetchError, fetch, is_loopback};
pub use tls::{system, trusting};
