//! How much of it: limits of rates and of calls at once, and daily quotas.

use std::{
    num::{NonZeroU32, NonZeroU64},
    time::Duration,
};

use gatepost_policy::Pattern;

use crate::{ByteSize, settings::words};

/// A bound on calls.
#[derive(Clone, Debug)]
pub struct Limit {
    /// What is counted together.
    pub per: Per,
    /// Which calls count, by their names with prefix; `None`: all.
    pub matching: Option<Pattern>,
    /// What is bounded.
    pub bound: Bound,
}

/// What a [`Limit`] bounds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bound {
    /// Calls in a time.
    Rate {
        /// How many in which time.
        rate: Rate,
        /// The most at once after a pause. `None`: the `amount` of the rate. Always `None` but with a token bucket.
        burst: Option<NonZeroU32>,
        /// How it is counted.
        algorithm: LimitAlgorithm,
    },
    /// Calls that run at once.
    Concurrency(NonZeroU32),
}

/// A number of calls in a time, such as `100/min`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    /// The calls.
    pub amount: NonZeroU32,
    /// The time: a second, a minute, an hour or a day.
    pub per: Duration,
}

words! {
    /// What is counted together.
    pub enum Per {
        Principal = "principal",
        Tenant = "tenant",
        Tool = "tool",
        Server = "server",
        Ip = "ip",
        Global = "global",
    }
}

words! {
    /// How a rate is counted.
    pub enum LimitAlgorithm {
        TokenBucket = "token_bucket",
        FixedWindow = "fixed_window",
        SlidingWindow = "sliding_window",
        LeakyBucket = "leaky_bucket",
    }
}

/// What may be used up in a day of UTC. Counted in `data_dir`, so that it survives a restart. At least one of the two is
/// there.
#[derive(Clone, Debug)]
pub struct Quota {
    /// What is counted together; never [`Per::Ip`].
    pub per: Per,
    /// Which calls count, by their names with prefix; `None`: all.
    pub matching: Option<Pattern>,
    /// The most calls a day.
    pub calls: Option<NonZeroU64>,
    /// The most bytes a day, of arguments and answers together.
    pub bytes: Option<ByteSize>,
}
