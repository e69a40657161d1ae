//! Nobody but the identity stage says who is calling.
use gatepost_gateway::stages::{Arrival, Identified};
use gatepost_policy::Principal;

fn forge(arrival: Arrival, principal: Principal) -> Identified {
    Identified { arrival, principal }
}

fn main() {}
