//! Nobody but the limits say that there is room.
use gatepost_gateway::stages::{Authorized, Charged};

fn forge(authorized: Authorized) -> Charged {
    Charged { authorized }
}

fn main() {}
