//! What has no known target cannot be authorized.
use gatepost_gateway::stages::{Inbound, authorize};
use std::sync::Arc;

fn skip(inbound: Arc<Inbound>) {
    let _ = authorize(inbound);
}

fn main() {}
