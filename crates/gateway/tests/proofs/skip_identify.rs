//! A message that nobody answered for is not admitted.
use gatepost_gateway::stages::{Arrival, Occupancy, admit};
use std::sync::Arc;

fn skip(occupancy: &Arc<Occupancy>, arrival: Arrival) {
    let _ = admit(occupancy, arrival);
}

fn main() {}
