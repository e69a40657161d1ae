//! Nobody but the audit stage says that a call may leave.
use gatepost_gateway::stages::{Authorized, Permitted};

fn forge(authorized: Authorized) -> Permitted {
    Permitted { authorized }
}

fn main() {}
