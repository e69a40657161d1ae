//! One entry of `limits` or `quotas`, compiled.

use std::{
    fmt::Write,
    num::NonZeroU64,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
};

use gatepost_config::{Bound, Limit, LimitAlgorithm, Per, Quota};
use gatepost_policy::{
    Action, Kind, Pattern,
    limit::{self, FixedWindow, LeakyBucket, Meter, Rate, SlidingWindow, TokenBucket},
};

use super::{Scope, key::Key};

/// An entry and what the gate counts of it.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) per: Per,
    matching: Option<Pattern>,
    pub(super) measure: Measure,
    /// Tells this entry's keys from those of the others.
    pub(super) nonce: Key,
    /// For people: `100/min per principal`.
    pub(super) words: Arc<str>,
    /// Calls refused because of it.
    pub(super) refused: AtomicU64,
}

/// What an entry measures.
#[derive(Clone, Debug)]
pub(super) enum Measure {
    /// Calls in a time; the meter is one that has not been charged.
    Rate(Meter),
    /// Calls at once.
    Concurrency(u32),
    /// Calls and bytes in a day of UTC.
    Day {
        /// What the store calls it: the same after a restart with other amounts.
        name: Box<str>,
        calls: Option<NonZeroU64>,
        /// At least one.
        bytes: Option<u64>,
    },
}

/// When an entry is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    /// Before identity.
    Arrive,
    /// After identity, before the body.
    Enter,
    /// When the target is known.
    Call,
}

impl Entry {
    pub(super) fn limit(limit: &Limit, nonce: Key) -> Self {
        let mut words = String::new();
        let measure = match limit.bound {
            Bound::Rate {
                rate,
                burst,
                algorithm,
            } => {
                let rate = Rate::new(rate.amount, rate.per);
                let _ = write!(words, "{rate}");
                Measure::Rate(match algorithm {
                    LimitAlgorithm::TokenBucket => {
                        Meter::TokenBucket(TokenBucket::new(rate, burst.unwrap_or(rate.amount())))
                    }
                    LimitAlgorithm::FixedWindow => Meter::FixedWindow(FixedWindow::new(rate)),
                    LimitAlgorithm::SlidingWindow => Meter::SlidingWindow(Box::new(SlidingWindow::new(rate))),
                    LimitAlgorithm::LeakyBucket => Meter::LeakyBucket(LeakyBucket::new(rate)),
                })
            }
            Bound::Concurrency(most) => {
                let _ = write!(words, "{most} at once");
                Measure::Concurrency(most.get())
            }
        };
        Self::new(limit.per, limit.matching.clone(), measure, nonce, words)
    }

    /// `twins` is how many quotas before it count the same: without it they would share one counter, and count twice.
    pub(super) fn quota(quota: &Quota, twins: usize, nonce: Key) -> Self {
        let calls = quota.calls.map(|calls| format!("{calls} calls/day"));
        let bytes = quota.bytes.map(|bytes| format!("{bytes}/day"));
        let words = [calls, bytes]
            .into_iter()
            .flatten()
            .collect::<Vec<_>>()
            .join(" and ");
        let mut name = per_word(quota.per).to_owned();
        if let Some(pattern) = &quota.matching {
            let _ = write!(name, " {}", pattern.as_str());
        }
        if twins > 0 {
            let _ = write!(name, " #{}", twins + 1);
        }
        let measure = Measure::Day {
            name: name.into(),
            calls: quota.calls,
            bytes: quota.bytes.map(|bytes| bytes.0.max(1)),
        };
        Self::new(quota.per, quota.matching.clone(), measure, nonce, words)
    }

    fn new(per: Per, matching: Option<Pattern>, measure: Measure, nonce: Key, mut words: String) -> Self {
        words.push_str(match per {
            Per::Global => " for the whole gate",
            Per::Principal => " per principal",
            Per::Tenant => " per tenant",
            Per::Tool => " per tool",
            Per::Server => " per server",
            Per::Ip => " per address",
        });
        if let Some(pattern) = &matching {
            let _ = write!(words, " on `{pattern}`");
        }
        Self::named(per, matching, measure, nonce, words)
    }

    /// An entry of the gate's own.
    pub(super) fn named(
        per: Per,
        matching: Option<Pattern>,
        measure: Measure,
        nonce: Key,
        words: String,
    ) -> Self {
        Self {
            per,
            matching,
            measure,
            nonce,
            words: words.into(),
            refused: AtomicU64::new(0),
        }
    }

    /// When it can be asked at the earliest.
    pub(super) fn stage(&self) -> Stage {
        match (&self.measure, &self.matching, self.per) {
            (Measure::Rate(_), None, Per::Ip) => Stage::Arrive,
            (Measure::Rate(_), None, Per::Principal | Per::Tenant | Per::Global) => Stage::Enter,
            _ => Stage::Call,
        }
    }

    /// Whether it counts what is known of a call.
    pub(super) fn counts(&self, action: Option<&Action<'_>>) -> bool {
        let Some(action) = action else {
            return true;
        };
        (self.per != Per::Tool || action.kind == Kind::Call) && limit::counts(self.matching.as_ref(), action)
    }

    /// What is over when it is.
    pub(super) fn scope(&self) -> Scope {
        match self.per {
            Per::Tool | Per::Server => Scope::Target,
            _ if self.matching.is_some() => Scope::Target,
            _ => Scope::Caller,
        }
    }

    pub(super) fn count_refusal(&self) {
        self.refused.fetch_add(1, Relaxed);
    }
}

fn per_word(per: Per) -> &'static str {
    match per {
        Per::Principal => "principal",
        Per::Tenant => "tenant",
        Per::Tool => "tool",
        Per::Server => "server",
        Per::Ip => "ip",
        Per::Global => "global",
    }
}
