//! Pure decisions: principals, access levels, name patterns, who may see and call what. No I/O, no clock.
//!
//! Everything a decision needs is an argument of [`decide`], so that the gate's answer to a call, the contents of a list
//! and an explanation on the command line cannot differ: they ask the same function with the same values.

mod decide;
mod effect;
mod pattern;
mod principal;
mod printable;

pub use decide::{Action, Decision, Kind, Reason, ViewRules, decide};
pub use effect::{Access, Because, Classified, Effect, EffectRules, Hints, UnknownLevel};
pub use pattern::{Pattern, PatternError, Selection, Verdict};
pub use principal::Principal;
pub use printable::Printable;
