//! Pure decisions: principals, access levels, name patterns, who may see and call what. No I/O, no clock.
//!
//! Everything a decision needs is an argument of [`decide`], so that the gate's answer to a call, the contents of a list
//! and an explanation on the command line cannot differ: they ask the same function with the same values.

mod caller;
mod condition;
mod decide;
mod decision;
mod effect;
mod explain;
mod instant;
pub mod limit;
pub mod mask;
mod nearest;
mod pattern;
mod principal;
mod printable;
mod reach;
mod reason;
mod rules;
mod view;

pub use caller::{Caller, Facts, Method, Visibility};
pub use condition::{Condition, ConditionError, ConditionFailure, FailureCause};
pub use decide::{Action, Circumstances, Kind, decide, explain};
pub use decision::{By, Decision, Scopes};
pub use effect::{Access, Because, Classified, Effect, EffectRules, Hints, UnknownLevel};
pub use explain::{Explanation, Mark, Step};
pub use instant::UnixMillis;
pub use nearest::nearest;
pub use pattern::{Pattern, PatternError, Selection, Verdict};
pub use principal::Principal;
pub use printable::Printable;
pub use reason::{Ceiling, Lack, Reason};
pub use rules::{BindingSettings, KEY_ISSUER, RoleSettings, RuleProblem, RuleSettings, Rules};
pub use view::ViewRules;
