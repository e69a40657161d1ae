//! Attacks: what somebody does who wants more than is theirs, and what they get for it.
//!
//! Every attack stands beside the same thing done rightly, which works: so that a test cannot pass because nothing does. What
//! protects from what, and which test shows it, is the table of `docs/protections.md`.
#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::unwrap_used,
    reason = "what a test sets up and cannot do without may stop it, in the functions beside the tests too"
)]

mod beside;
mod canaries;
mod expressions;
mod forged;
mod guessing;
mod hidden;
mod house;
mod messages;
mod protections;
mod recorded;
mod sessions;
mod surroundings;
mod tenants;
