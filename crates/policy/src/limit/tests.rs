use proptest::prelude::*;

use super::*;

const ALGORITHMS: [&str; 4] = ["token bucket", "fixed window", "sliding window", "leaky bucket"];
const MILLI: u64 = 1_000_000;
const SECOND: u64 = 1_000 * MILLI;

fn rate(amount: u32, period: u64) -> Rate {
    Rate::new(NonZeroU32::new(amount).unwrap(), Duration::from_nanos(period))
}

fn meter(algorithm: &str, rate: Rate) -> Meter {
    match algorithm {
        "token bucket" => Meter::TokenBucket(TokenBucket::new(rate, rate.amount())),
        "fixed window" => Meter::FixedWindow(FixedWindow::new(rate)),
        "sliding window" => Meter::SlidingWindow(Box::new(SlidingWindow::new(rate))),
        "leaky bucket" => Meter::LeakyBucket(LeakyBucket::new(rate)),
        other => panic!("no algorithm {other}"),
    }
}

/// At which millisecond it is tried, how often, and how often it admits.
type Steps = &'static [(u64, u32, u32)];

/// What each algorithm does with the same rate, 4 calls a second. The others fail it.
const SCENARIOS: [(&str, Steps); 4] = [
    (
        "token bucket",
        // The burst, then a token each quarter of a second, then the burst again and no more.
        &[
            (0, 9, 4),
            (249, 1, 0),
            (250, 2, 1),
            (500, 2, 1),
            (900, 9, 1),
            (5_000, 9, 4),
        ],
    ),
    (
        "fixed window",
        // All of two windows around the edge between them, and then nothing until the next edge.
        &[(900, 9, 4), (1_000, 9, 4), (1_999, 9, 0), (2_000, 9, 4)],
    ),
    (
        "sliding window",
        // No edge helps, no token comes back early: all of it returns when the window has left it behind.
        &[
            (900, 9, 4),
            (1_000, 9, 0),
            (1_150, 9, 0),
            (1_900, 9, 0),
            (1_907, 9, 4),
        ],
    ),
    (
        "leaky bucket",
        // One at a time, also after a pause.
        &[
            (0, 9, 1),
            (249, 9, 0),
            (250, 9, 1),
            (500, 9, 1),
            (5_000, 9, 1),
            (5_250, 9, 1),
        ],
    ),
];

fn passes(algorithm: &str, steps: Steps) -> bool {
    let mut meter = meter(algorithm, rate(4, SECOND));
    steps.iter().all(|(at, tries, admitted)| {
        let count = (0..*tries).filter(|_| meter.take(at * MILLI, 1).is_ok()).count();
        count == *admitted as usize
    })
}

#[test]
fn every_scenario_is_passed_by_its_algorithm_and_by_no_other() {
    for (of, steps) in SCENARIOS {
        for algorithm in ALGORITHMS {
            assert_eq!(
                passes(algorithm, steps),
                algorithm == of,
                "{algorithm} in the scenario of the {of}"
            );
        }
    }
}

#[test]
fn a_token_bucket_holds_its_burst() {
    let mut small = TokenBucket::new(rate(10, SECOND), NonZeroU32::new(3).unwrap());
    assert_eq!(small.room(0, 4), Err(RetryAfter::NEVER));
    assert_eq!(small.room(0, 3), Ok(()));
    small.charge(0, 3);
    assert_eq!(small.room(0, 1), Err(RetryAfter(100 * MILLI)));
    assert_eq!(small.room(0, 3), Err(RetryAfter(300 * MILLI)));
}

#[test]
fn what_waits_as_long_as_it_is_told_gets_the_exact_rate() {
    // A third of a microsecond is no whole number of nanoseconds: rounded up at each call, 60 calls would be missing.
    let year = 365 * 24 * 3_600 * SECOND;
    for algorithm in ALGORITHMS {
        let mut meter = meter(algorithm, rate(3, 1_000));
        let mut now = year;
        let mut admitted = 0_u64;
        while now < year + 10 * MILLI {
            match meter.take(now, 1) {
                Ok(()) => admitted += 1,
                Err(wait) => now += wait.nanos(),
            }
        }
        let ideal = 30_000;
        match algorithm {
            // Its burst on top.
            "token bucket" => assert_eq!(admitted, ideal + 3 - 1),
            "fixed window" | "leaky bucket" => assert_eq!(admitted, ideal),
            // At most a 33rd less.
            _ => assert!(admitted <= ideal && admitted >= ideal * 32 / 33, "{admitted}"),
        }
    }
}

#[test]
fn the_ends_of_time_and_of_numbers_do_no_harm() {
    for algorithm in ALGORITHMS {
        for rate in [
            rate(u32::MAX, 1),
            rate(u32::MAX, u64::MAX),
            rate(1, u64::MAX),
            rate(1, 1),
        ] {
            let mut meter = meter(algorithm, rate);
            for now in [0, u64::MAX - 1, u64::MAX, 0, u64::MAX] {
                for n in [0, 1, u32::MAX, 1] {
                    let _ = meter.take(now, n);
                    meter.charge(now, n);
                    let _ = (meter.is_fresh(now), meter.fullness(now));
                }
            }
        }
    }
}

#[test]
fn rates_print_as_they_are_written() {
    assert_eq!(rate(100, 60 * SECOND).to_string(), "100/min");
    assert_eq!(rate(20, SECOND).to_string(), "20/s");
    assert_eq!(rate(7, 3_600 * SECOND).to_string(), "7/h");
    assert_eq!(rate(7, 86_400 * SECOND).to_string(), "7/day");
    assert_eq!(rate(7, 90 * SECOND).to_string(), "7/90s");
}

/// Pauses of every size that matters, so that calls pile up and windows are crossed.
fn steps() -> impl Strategy<Value = Vec<u64>> {
    let step = prop_oneof![
        4 => Just(0_u64),
        4 => 0..5_u64,
        4 => 0..2_000_u64,
        2 => 0..40_000_u64,
        1 => 0..1_000_000_u64,
    ];
    proptest::collection::vec(step, 1..200)
}

fn rates() -> impl Strategy<Value = Rate> {
    // Periods of a few microseconds: divisible by nothing in particular, near to the slots' rounding.
    (1..40_u32, 1_000..30_000_u64).prop_map(|(amount, period)| rate(amount, period))
}

/// When `meter` admitted one call, of those tried at `start` and after each of `steps`.
fn admitted(meter: &mut Meter, start: u64, steps: &[u64]) -> Vec<u64> {
    let mut now = start;
    let mut admitted = Vec::new();
    for step in steps {
        now += step;
        if meter.take(now, 1).is_ok() {
            admitted.push(now);
        }
    }
    admitted
}

/// The most of `times` (ascending) in any `[t, t + length)`.
fn most_in_any(times: &[u64], length: u64) -> usize {
    let within = |from: &u64| times.partition_point(|time| *time < from + length);
    let counts = times.iter().enumerate().map(|(place, from)| within(from) - place);
    counts.max().unwrap_or(0)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn no_time_sees_more_of_a_token_bucket_than_burst_and_refill(
        rate in rates(), burst in 1..60_u32, start in 0..1_000_000_u64, steps in steps(),
    ) {
        let bucket = TokenBucket::new(rate, NonZeroU32::new(burst).unwrap());
        let times = admitted(&mut Meter::TokenBucket(bucket), start, &steps);
        for (place, from) in times.iter().enumerate() {
            for (count, to) in (1_u64..).zip(&times[place..]) {
                let refill = u128::from(to - from) * u128::from(rate.calls()) / u128::from(rate.nanos());
                prop_assert!(u128::from(count) <= u128::from(burst) + refill);
            }
        }
    }

    #[test]
    fn no_fixed_window_sees_more_than_the_amount(
        rate in rates(), start in 0..1_000_000_u64, steps in steps(),
    ) {
        let times = admitted(&mut meter("fixed window", rate), start, &steps);
        for window in times.chunk_by(|a, b| a / rate.nanos() == b / rate.nanos()) {
            prop_assert!(window.len() <= rate.calls() as usize);
        }
    }

    #[test]
    fn no_window_at_all_sees_more_of_a_sliding_window_than_the_amount(
        rate in rates(), start in 0..1_000_000_u64, steps in steps(),
    ) {
        let times = admitted(&mut meter("sliding window", rate), start, &steps);
        prop_assert!(most_in_any(&times, rate.nanos()) <= rate.calls() as usize);
    }

    #[test]
    fn a_sliding_window_refuses_only_while_the_amount_was_admitted_within_33_slots(
        rate in rates(), start in 0..1_000_000_u64, steps in steps(),
    ) {
        let mut meter = meter("sliding window", rate);
        let mut now = start;
        let mut times: Vec<u64> = Vec::new();
        for step in &steps {
            now += step;
            if meter.take(now, 1).is_ok() {
                times.push(now);
            } else {
                let from = now.saturating_sub(rate.nanos() + rate.nanos().div_ceil(32));
                let recent = times.len() - times.partition_point(|time| *time < from);
                prop_assert!(recent >= rate.calls() as usize);
            }
        }
    }

    #[test]
    fn what_leaks_is_spaced(
        rate in rates(), start in 0..1_000_000_u64, steps in steps(),
    ) {
        let times = admitted(&mut meter("leaky bucket", rate), start, &steps);
        prop_assert!(most_in_any(&times, rate.nanos()) <= rate.calls() as usize);
        for (place, from) in times.iter().enumerate() {
            for (gaps, to) in (0_u64..).zip(&times[place..]) {
                // Less than a nanosecond is lost over any number of gaps.
                prop_assert!((to - from + 1) * u64::from(rate.calls()) > gaps * rate.nanos() || gaps == 0);
            }
        }
    }

    #[test]
    fn retry_after_is_exact(
        algorithm in 0..4_usize, rate in rates(), start in 0..1_000_000_u64, steps in steps(), n in 1..8_u32,
    ) {
        let mut meter = meter(ALGORITHMS[algorithm], rate);
        let mut now = start;
        for step in &steps {
            now += step;
            let before = meter.clone();
            if let Err(wait) = meter.take(now, n) {
                if wait == RetryAfter::NEVER {
                    prop_assert!(n > rate.calls() || (algorithm == 3 && n > 1));
                    continue;
                }
                prop_assert!(wait.nanos() > 0);
                // A refusal changes nothing that could be noticed, so both copies must agree.
                for copy in [&meter, &before] {
                    prop_assert_eq!(copy.clone().take(now + wait.nanos(), n), Ok(()));
                    prop_assert!(copy.clone().take(now + wait.nanos() - 1, n).is_err());
                }
            }
        }
    }

    #[test]
    fn a_time_that_was_passed_counts_as_the_latest(
        algorithm in 0..4_usize, rate in rates(), times in proptest::collection::vec(0..200_000_u64, 1..200),
    ) {
        let mut jumping = meter(ALGORITHMS[algorithm], rate);
        let mut steady = jumping.clone();
        let mut latest = 0;
        for now in times {
            latest = latest.max(now);
            let (jumped, stood) = (jumping.take(now, 1), steady.take(latest, 1));
            prop_assert_eq!(jumped.is_ok(), stood.is_ok());
            if let (Err(jumped), Err(stood)) = (jumped, stood) {
                prop_assert_eq!(now + jumped.nanos(), latest + stood.nanos());
            }
        }
    }

    #[test]
    fn a_fresh_meter_answers_like_a_new_one(
        algorithm in 0..4_usize, rate in rates(), start in 0..1_000_000_u64, before in steps(), after in steps(),
    ) {
        let new = meter(ALGORITHMS[algorithm], rate);
        let mut used = new.clone();
        let now = start + before.iter().sum::<u64>();
        admitted(&mut used, start, &before);
        if used.fullness(now) == 0 {
            prop_assert!(used.clone().room(now, 1).is_ok());
        }
        for pause in [0, 1, rate.nanos() / 2, rate.nanos(), rate.nanos() * 2] {
            let then = now + pause;
            if used.is_fresh(then) {
                prop_assert_eq!(used.fullness(then), 0);
                prop_assert_eq!(admitted(&mut used.clone(), then, &after), admitted(&mut new.clone(), then, &after));
            }
        }
        // Nothing stays used for ever.
        prop_assert!(used.is_fresh(now + rate.nanos() * 2));
    }
}
