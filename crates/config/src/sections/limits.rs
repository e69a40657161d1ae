//! `limits` and `quotas`: how much of it.

use std::num::NonZeroU32;

use gatepost_policy::Pattern;

use crate::{
    Bound, Limit, LimitAlgorithm, Per, Quota, Rate,
    bounded::{DailyBytes, DailyCalls},
    names::Placed,
    problem::Place,
    reader::{Findings, join},
    sections::views::names_a_server,
    settings::{settings, words},
};

settings! {
    /// A bound on calls: on their rate, or on how many run at once.
    pub(crate) struct LimitForm exactly_one_of ["rate", "concurrency"]; {
        /// What is counted together: the calls of one `principal`, one `tenant`, to one `tool`, to one `server`, from one
        /// address (`ip`), or all (`global`).
        pub(crate) per: Per,
        /// A pattern of the names with prefix, `server__tool`, that count. Default: all.
        pub(crate) r#match: Option<Pattern>,
        /// How many calls in which time: `20/s`, `100/min`, `5/h`, `1000/day`. A further one gets 429 with `Retry-After`.
        pub(crate) rate: Option<Rate>,
        /// With `token_bucket`, the most calls at once after a pause. Default: the number of `rate`.
        pub(crate) burst: Option<NonZeroU32>,
        /// How a rate is counted: `token_bucket` allows bursts, `fixed_window` begins anew with each period,
        /// `sliding_window` holds in any period, `leaky_bucket` spaces calls evenly. Default: `token_bucket`.
        pub(crate) algorithm: Option<LimitAlgorithm>,
        /// The most calls that run at once.
        pub(crate) concurrency: Option<NonZeroU32>,
    }
}

settings! {
    /// What may be used up in a day of UTC. Counted in `data_dir`, so that a restart forgets nothing.
    pub(crate) struct QuotaForm at_least_one_of ["calls", "bytes"]; {
        /// What is counted together: the calls of one `principal`, one `tenant`, to one `server`, to one `tool`, or all
        /// (`global`).
        pub(crate) per: QuotaPer,
        /// A pattern of the names with prefix, `server__tool`, that count. Default: all.
        pub(crate) r#match: Option<Pattern>,
        /// The most calls: `100000/day`.
        pub(crate) calls: Option<DailyCalls>,
        /// The most bytes of arguments and results together: `1GiB/day`.
        pub(crate) bytes: Option<DailyBytes>,
    }
}

words! {
    /// What a quota counts together.
    pub(crate) enum QuotaPer {
        Principal = "principal",
        Tenant = "tenant",
        Server = "server",
        Tool = "tool",
        Global = "global",
    }
}

/// Builds the runtime form of `limits`.
pub(crate) fn limits(
    forms: Vec<Placed<LimitForm>>,
    servers: &[String],
    findings: &mut Findings,
) -> Vec<Limit> {
    let numbered = forms.into_iter().enumerate();
    let limits = numbered.filter_map(|(at, Placed { value, place })| {
        let path = format!("limits[{at}]");
        matches_something(value.r#match.as_ref(), &place, &path, servers, findings);
        let bound = bound(&value, &place, &path, findings)?;
        Some(Limit {
            per: value.per,
            matching: value.r#match,
            bound,
        })
    });
    limits.collect()
}

fn bound(form: &LimitForm, place: &Place, path: &str, findings: &mut Findings) -> Option<Bound> {
    if let Some(concurrency) = form.concurrency {
        for (key, is_given) in [
            ("burst", form.burst.is_some()),
            ("algorithm", form.algorithm.is_some()),
        ] {
            if is_given {
                let message = "belongs to a limit with `rate`, and this one has `concurrency`";
                findings.problem(place, &join(path, key), message, "remove it");
            }
        }
        return Some(Bound::Concurrency(concurrency));
    }
    let algorithm = form.algorithm.unwrap_or(LimitAlgorithm::TokenBucket);
    if form.burst.is_some() && algorithm != LimitAlgorithm::TokenBucket {
        let message = format!("belongs to `token_bucket`, and this limit has `{algorithm}`");
        findings.problem(place, &join(path, "burst"), message, "remove it");
    }
    Some(Bound::Rate {
        rate: form.rate?,
        burst: form.burst,
        algorithm,
    })
}

/// Builds the runtime form of `quotas`.
pub(crate) fn quotas(
    forms: Vec<Placed<QuotaForm>>,
    servers: &[String],
    findings: &mut Findings,
) -> Vec<Quota> {
    let numbered = forms.into_iter().enumerate();
    let quotas = numbered.map(|(at, Placed { value, place })| {
        let path = format!("quotas[{at}]");
        matches_something(value.r#match.as_ref(), &place, &path, servers, findings);
        Quota {
            per: match value.per {
                QuotaPer::Principal => Per::Principal,
                QuotaPer::Tenant => Per::Tenant,
                QuotaPer::Server => Per::Server,
                QuotaPer::Tool => Per::Tool,
                QuotaPer::Global => Per::Global,
            },
            matching: value.r#match,
            calls: value.calls.map(|calls| calls.0),
            bytes: value.bytes.map(|bytes| bytes.0),
        }
    });
    quotas.collect()
}

fn matches_something(
    pattern: Option<&Pattern>,
    place: &Place,
    path: &str,
    servers: &[String],
    findings: &mut Findings,
) {
    if let Some(pattern) = pattern {
        names_a_server(pattern, place, path, servers, findings);
    }
}
