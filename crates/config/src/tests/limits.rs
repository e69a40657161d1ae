//! How much of it.

use super::*;

#[test]
fn everything_that_is_written_arrives() {
    let config = warned(
        r#"
servers: { orders: { module: m } }
limits:
  - { per: principal, rate: 100/min }
  - { per: tool, match: "orders__*", rate: 20 / s, algorithm: sliding_window }
  - { per: ip, rate: 5/h, burst: 10, algorithm: token_bucket }
  - { per: global, concurrency: 8 }
quotas:
  - { per: tenant, calls: 100000/day, bytes: 1GiB/day, match: "orders__*" }
  - { per: server, bytes: 1 MiB / d }
"#,
        &[],
    );
    let rate = |amount, seconds| Rate {
        amount: std::num::NonZeroU32::new(amount).unwrap(),
        per: Duration::from_secs(seconds),
    };
    let bounds: Vec<Bound> = config.limits.iter().map(|limit| limit.bound).collect();
    assert_eq!(
        bounds,
        [
            Bound::Rate {
                rate: rate(100, 60),
                burst: None,
                algorithm: LimitAlgorithm::TokenBucket
            },
            Bound::Rate {
                rate: rate(20, 1),
                burst: None,
                algorithm: LimitAlgorithm::SlidingWindow
            },
            Bound::Rate {
                rate: rate(5, 3_600),
                burst: std::num::NonZeroU32::new(10),
                algorithm: LimitAlgorithm::TokenBucket,
            },
            Bound::Concurrency(std::num::NonZeroU32::new(8).unwrap()),
        ]
    );
    let pers: Vec<&str> = config.limits.iter().map(|limit| limit.per.as_str()).collect();
    assert_eq!(pers, ["principal", "tool", "ip", "global"]);
    assert_eq!(config.limits[1].matching.as_ref().unwrap().as_str(), "orders__*");
    let [first, second] = &config.quotas[..] else {
        panic!()
    };
    assert_eq!(
        (first.per, first.calls.unwrap().get(), first.bytes),
        (Per::Tenant, 100_000, Some(ByteSize(1 << 30)))
    );
    assert_eq!(first.matching.as_ref().unwrap().as_str(), "orders__*");
    assert_eq!(
        (second.per, second.calls, second.bytes),
        (Per::Server, None, Some(ByteSize(1 << 20)))
    );
}

#[test]
fn limits_that_say_nothing_or_too_much() {
    check(
        r#"
limits:
  - { per: principal }
  - { per: principal, rate: 1/s, concurrency: 1 }
  - { rate: 1/s }
  - { per: user, rate: 1/s }
  - { per: ip, concurrency: 1, burst: 2, algorithm: fixed_window }
  - { per: ip, rate: 1/s, burst: 2, algorithm: fixed_window }
  - { per: ip, rate: 1/s, burst: 2, algorithm: leaky_bucket }
  - { per: ip, rate: 100 }
  - { per: ip, rate: 100/week }
  - { per: ip, rate: many/s }
  - { per: ip, rate: 0/s }
  - { per: ip, rate: 5000000000/s }
  - { per: ip, rate: [] }
  - { per: ip, concurrency: 0 }
quotas:
  - { per: principal }
  - { per: ip, calls: 1/day }
  - { per: tool, calls: 1/h }
  - { per: tool, calls: 0/day }
  - { per: tool, bytes: 1/day }
  - { per: tool, bytes: 0GiB/day }
"#,
        &[
            "line 3: limits[0]: says neither `rate` nor `concurrency`; keep exactly one of `rate` and `concurrency`",
            "line 4: limits[1]: says `rate` and `concurrency` at once; keep exactly one of `rate` and `concurrency`",
            "line 5: limits[2].per: is missing; add it",
            "line 6: limits[3].per: `user` is not known here; write one of `principal`, `tenant`, `tool`, `server`, `ip` \
             and `global`",
            "line 10: limits[7].rate: `100` does not say in which time; write it like `100/min`; times are s, min, h, day",
            "line 11: limits[8].rate: `100/week` has an unknown time; write it like `100/min`; times are s, min, h, day",
            "line 12: limits[9].rate: `many/s` is no whole number in a time; write it like `100/min`; times are s, min, \
             h, day",
            "line 13: limits[10].rate: `0/s` would allow nothing; write at least 1; what nobody may do is left out of \
             every role",
            "line 14: limits[11].rate: `5000000000/s` is too large; write it like `100/min`; times are s, min, h, day",
            "line 15: limits[12].rate: expected a rate, found a list; write it like `100/min`",
            "line 16: limits[13].concurrency: is out of range; write a whole number of at least 1 and at most 4294967295",
            "line 18: quotas[0]: says neither `calls` nor `bytes`; add at least one of `calls` and `bytes`",
            "line 19: quotas[1].per: `ip` is not known here; write one of `principal`, `tenant`, `server`, `tool` and \
             `global`",
            "line 20: quotas[2].calls: `1/h` is no daily quota; write it like `100000/day`, or write a limit with this rate",
            "line 21: quotas[3].calls: `0/day` would allow nothing; write at least 1; what nobody may do is left out of \
             every role",
            "line 22: quotas[4].bytes: `1/day` has no unit; write it like `1GiB/day`; units are B, KiB, MiB, GiB, TiB, \
             kB, MB, GB",
            "line 23: quotas[5].bytes: `0GiB/day` would allow nothing; write at least 1; what nobody may do is left out of \
             every role",
        ],
    );
    check(
        r#"
limits:
  - { per: ip, concurrency: 1, burst: 2, algorithm: fixed_window }
  - { per: ip, rate: 1/s, burst: 2, algorithm: fixed_window }
  - { per: ip, rate: 1/s, burst: 2, algorithm: leaky_bucket }
"#,
        &[
            "line 3: limits[0].burst: belongs to a limit with `rate`, and this one has `concurrency`; remove it",
            "line 3: limits[0].algorithm: belongs to a limit with `rate`, and this one has `concurrency`; remove it",
            "line 4: limits[1].burst: belongs to `token_bucket`, and this limit has `fixed_window`; remove it",
            "line 5: limits[2].burst: belongs to `token_bucket`, and this limit has `leaky_bucket`; remove it",
        ],
    );
}

#[test]
fn a_pattern_that_counts_nothing_is_told_so() {
    warned(
        "limits: [{ per: tool, rate: 1/s, match: 'orders__*' }]\nquotas: [{ per: tool, calls: 1/d, match: 'a__b' }]",
        &[
            "line 1: limits[0]: the pattern `orders__*` names no server that is configured; check the part before `__`",
            "line 2: quotas[0]: the pattern `a__b` names no server that is configured; check the part before `__`",
        ],
    );
}
