//! The audit log: what was asked, what was decided, how it ended. Chained, signed, never quietly shortened.
//!
//! A call has two records: an [`Intent`] before anything is done and an [`Outcome`] before its answer is complete. What is refused has
//! one, a [`Denial`]. `docs/audit.md` describes the files.
//!
//! # Closing
//!
//! After [`Log::close`] nothing is written. Records that come later are refused.

mod chain;
mod disk;
mod engine;
mod head;
mod keeper;
mod line;
mod log;
mod moment;
mod open;
mod query;
mod read;
mod record;
mod segment;
mod settings;
mod signing;
mod sink;
mod verify;

pub use chain::Hash;
pub use engine::{Health, Unwritten};
pub use gatepost_policy::Effect;
pub use log::{CallId, Log, OpenCall, Written};
pub use moment::Moment;
pub use open::OpenError;
pub use query::{Entry, Filter, Record, RecordedDecision, RecordedWhat, RecordedWho, Tail, export, query};
pub use record::{By, Denial, Digest, End, Event, Intent, Outcome, What, Who};
pub use settings::{Kept, Settings, folder};
pub use signing::{BadPublicKey, PublicKey};
pub use sink::{SinkHealth, Sinks};
pub use verify::{Fault, FaultKind, Known, Passed, Report, verify};
