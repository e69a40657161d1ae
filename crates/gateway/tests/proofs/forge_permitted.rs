//! Nobody but the policy says what is permitted.
use gatepost_gateway::stages::{Inbound, Permitted};
use std::sync::Arc;

fn forge(inbound: Arc<Inbound>) -> Permitted {
    Permitted { inbound }
}

fn main() {}
