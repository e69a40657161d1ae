//! The audit log: what was asked, what was decided, how it ended. Chained, signed, never quietly shortened.

mod chain;
mod moment;

pub use chain::Hash;
pub use moment::Moment;
