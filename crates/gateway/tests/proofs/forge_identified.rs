//! Nobody but the identity stage says who is calling.
use gatepost_gateway::stages::{Arrival, Identified};
use gatepost_policy::Caller;
use std::sync::Arc;

fn forge(arrival: Arrival, caller: Arc<Caller>) -> Identified {
    Identified { arrival, caller }
}

fn main() {}
