//! The MCP conformance suite: a server that passes it, and a way to run it.
//!
//! - [`Fixture`] is a server of one era. It is what stands behind the gate when the suite runs through the gate, and a
//!   well-behaved peer for any other test.
//! - [`run`] runs the suite's server leg against a URL and compares the outcome with a list of expected failures.
//!
//! `conformance/README.md` says how the suite selects its scenarios and what is expected to fail, and why.

mod expected;
mod fixture;
mod runner;

pub use self::expected::{Expectation, ExpectedError, ExpectedFailures};
pub use self::fixture::{Era, Fixture, LEGACY_VERSIONS, Options, RunningFixture, Transport};
pub use self::runner::{Requirements, RunError, Scenario, Summary, run};
