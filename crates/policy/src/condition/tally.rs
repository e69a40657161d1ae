//! What `&&`, `||` and the macros made of them come to, when some of what they join is unknown or failed.
//!
//! Source: CEL language definition, Logical Operators: what decides absorbs errors, whatever the order. What is unknown is
//! the set of everything it may turn out to be, so that `false && args.x` is false and `principal.nothing && args.x` can
//! never be true.

use super::{
    eval::{Answer, Stop},
    failure::FailureCause,
    value::Value,
};

/// What something may turn out to be, taken as true or false.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Outcomes(u8);

impl Outcomes {
    pub(super) const TRUE: Self = Self(1);
    pub(super) const FALSE: Self = Self(1 << 1);
    pub(super) const FAILS: Self = Self(1 << 2);
    pub(super) const ANY: Self = Self(0b111);
    pub(super) const NONE: Self = Self(0);

    pub(super) fn of(answer: &Answer<'_>) -> Self {
        match answer {
            Ok(Value::Bool(true)) => Self::TRUE,
            Ok(Value::Bool(false)) => Self::FALSE,
            Err(Stop::Unknown(outcomes)) => *outcomes,
            Ok(_) | Err(_) => Self::FAILS,
        }
    }

    pub(super) fn has(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }

    #[must_use]
    pub(super) fn or(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    #[must_use]
    pub(super) fn negated(self) -> Self {
        let swapped = |from: Self, to: Self| if self.has(from) { to } else { Self::NONE };
        let fails = swapped(Self::FAILS, Self::FAILS);
        swapped(Self::TRUE, Self::FALSE)
            .or(swapped(Self::FALSE, Self::TRUE))
            .or(fails)
    }
}

/// Joins answers by `&&` or `||`.
pub(super) struct Tally {
    /// The one that decides alone: false for `&&`, true for `||`.
    decisive: Outcomes,
    neutral: Outcomes,
    may_be_neutral: bool,
    may_decide: bool,
    may_fail: bool,
    first_failure: Option<Stop>,
}

impl Tally {
    pub(super) fn and() -> Self {
        Self::new(Outcomes::FALSE, Outcomes::TRUE)
    }

    pub(super) fn or() -> Self {
        Self::new(Outcomes::TRUE, Outcomes::FALSE)
    }

    fn new(decisive: Outcomes, neutral: Outcomes) -> Self {
        Self {
            decisive,
            neutral,
            may_be_neutral: true,
            may_decide: false,
            may_fail: false,
            first_failure: None,
        }
    }

    /// Takes one more in; at `at` in the condition. `true` if nothing can change the result any more.
    pub(super) fn add(&mut self, answer: Answer<'_>, at: u32) -> bool {
        let outcomes = Outcomes::of(&answer);
        if outcomes == self.decisive {
            self.may_decide = true;
            self.may_be_neutral = false;
            self.may_fail = false;
            return true;
        }
        self.may_be_neutral &= outcomes.has(self.neutral);
        self.may_decide |= outcomes.has(self.decisive);
        self.may_fail |= outcomes.has(Outcomes::FAILS);
        let failure = match answer {
            Err(stop @ Stop::Failed(..)) => Some(stop),
            Ok(value) if outcomes == Outcomes::FAILS => {
                Some(Stop::failed(at, FailureCause::NotBoolean(value.kind())))
            }
            _ => None,
        };
        self.first_failure = self.first_failure.take().or(failure);
        false
    }

    /// What all of them come to.
    pub(super) fn result<'a>(self, at: u32) -> Answer<'a> {
        let mut outcomes = Outcomes::NONE;
        for (possible, outcome) in [
            (self.may_be_neutral, self.neutral),
            (self.may_decide, self.decisive),
            (self.may_fail, Outcomes::FAILS),
        ] {
            if possible {
                outcomes = outcomes.or(outcome);
            }
        }
        match outcomes {
            Outcomes::TRUE => Ok(Value::Bool(true)),
            Outcomes::FALSE => Ok(Value::Bool(false)),
            Outcomes::FAILS => Err(self
                .first_failure
                .unwrap_or_else(|| Stop::failed(at, FailureCause::NotBoolean("something else")))),
            unknown => Err(Stop::Unknown(unknown)),
        }
    }
}
