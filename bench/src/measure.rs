//! What is measured, and how one figure is made: targets take turns, round after round, medians count.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context as _, Result};
use serde::Serialize;

use crate::Era;
use crate::answers::{ECHO, STREAM};
use crate::load::{self, Counted, Endpoint, Plan};
use crate::machine;
use crate::request::Ask;
use crate::target::Target;

/// What the clients do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Work {
    /// `tools/call`, answered with a JSON document.
    Call,
    /// `tools/call`, answered with an SSE stream.
    Stream,
    /// `tools/list`.
    List,
}

/// One line of the table, for every target.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Scenario {
    /// Its key in the results.
    pub(crate) key: &'static str,
    /// What a reader sees.
    pub(crate) title: &'static str,
    pub(crate) client: Era,
    pub(crate) backend: Era,
    /// Tools that the server lists.
    pub(crate) tools: usize,
    pub(crate) work: Work,
    pub(crate) connections: usize,
}

const fn modern(
    key: &'static str,
    title: &'static str,
    work: Work,
    tools: usize,
    connections: usize,
) -> Scenario {
    Scenario {
        key,
        title,
        client: Era::Modern,
        backend: Era::Modern,
        tools,
        work,
        connections,
    }
}

const fn eras(key: &'static str, title: &'static str, client: Era, backend: Era) -> Scenario {
    Scenario {
        key,
        title,
        client,
        backend,
        tools: 10,
        work: Work::Call,
        connections: 32,
    }
}

/// Everything that is driven, in order.
pub(crate) const SCENARIOS: [Scenario; 11] = [
    modern("call-1", "tools/call, 1 connection", Work::Call, 10, 1),
    modern("call-32", "tools/call, 32 connections", Work::Call, 10, 32),
    modern("call-16", "tools/call, 16 connections", Work::Call, 10, 16),
    modern("call-64", "tools/call, 64 connections", Work::Call, 10, 64),
    modern("call-256", "tools/call, 256 connections", Work::Call, 10, 256),
    modern(
        "stream-32",
        "tools/call answered as SSE, 32 connections",
        Work::Stream,
        10,
        32,
    ),
    modern(
        "list-10",
        "tools/list of 10 tools, 32 connections",
        Work::List,
        10,
        32,
    ),
    modern(
        "list-1000",
        "tools/list of 1,000 tools, 32 connections",
        Work::List,
        1_000,
        32,
    ),
    eras(
        "legacy-32",
        "tools/call, legacy client, legacy server, 32 connections",
        Era::Legacy,
        Era::Legacy,
    ),
    eras(
        "legacy-modern-32",
        "tools/call, legacy client, modern server, 32 connections",
        Era::Legacy,
        Era::Modern,
    ),
    eras(
        "modern-legacy-32",
        "tools/call, modern client, legacy server, 32 connections",
        Era::Modern,
        Era::Legacy,
    ),
];

impl Scenario {
    /// Whether `target` can do this at all: only a gate translates between eras.
    pub(crate) fn suits(&self, target: Target) -> bool {
        let synced = matches!(self.key, "call-16" | "call-64");
        let eras = self.client == self.backend || target.is_gatepost();
        let all = Era::Modern == self.client && Era::Modern == self.backend && self.work == Work::Call;
        match target {
            // How many share one wait for the disk is what matters there.
            Target::GatepostSynced => synced,
            Target::GatepostGuarded => all && !synced,
            Target::Nginx => eras,
            _ => eras && !synced,
        }
    }
}

/// One run of one scenario on one target.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct Sample {
    #[serde(flatten)]
    pub(crate) counted: Counted,
    /// Answers per second.
    pub(crate) per_second: f64,
    /// CPU per answer of the process under test, user part, in microseconds.
    pub(crate) user_us: f64,
    /// The system part, in microseconds.
    pub(crate) system_us: f64,
}

impl Sample {
    /// CPU per answer, in microseconds.
    pub(crate) fn cpu_us(&self) -> f64 {
        self.user_us + self.system_us
    }
}

/// The runs so far, by scenario and target.
pub(crate) type Samples = BTreeMap<(&'static str, Target), Vec<Sample>>;

/// Drives `endpoint` once and reads the CPU that process `pid` used for it.
///
/// # Errors
/// When the target answers wrongly or has gone.
pub(crate) async fn sample(
    scenario: &Scenario,
    target: Target,
    endpoint: &Endpoint,
    pid: u32,
    warm_up: Duration,
    counted: Duration,
) -> Result<Sample> {
    let ask = match scenario.work {
        Work::Call => Ask::Call(target.tool(ECHO)),
        Work::Stream => Ask::Call(target.tool(STREAM)),
        Work::List => Ask::List,
    };
    let plan = Plan {
        era: scenario.client,
        ask,
        connections: scenario.connections,
        warm_up,
        counted,
    };
    let mut before = None;
    let (counted, used) = load::run(endpoint, &plan, || {
        let now = machine::cpu(pid)?;
        Ok(now.since(*before.get_or_insert(now)))
    })
    .await
    .with_context(|| format!("{}: {}", target.label(), scenario.title))?;
    let per_call = |seconds: f64| seconds * 1e6 / counted.calls as f64;
    Ok(Sample {
        per_second: counted.per_second(),
        user_us: per_call(used.user),
        system_us: per_call(used.system),
        counted,
    })
}

/// The median of `figure` over `samples`; NaN when there are none.
pub(crate) fn median<T>(samples: &[T], figure: impl Fn(&T) -> f64) -> f64 {
    let mut figures: Vec<f64> = samples.iter().map(figure).collect();
    figures.sort_by(f64::total_cmp);
    match figures.len() {
        0 => f64::NAN,
        odd if odd % 2 == 1 => figures[odd / 2],
        even => f64::midpoint(figures[even / 2 - 1], figures[even / 2]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_median_is_the_middle_one() {
        assert!((median(&[3.0, 1.0, 2.0], |f| *f) - 2.0).abs() < f64::EPSILON);
        assert!((median(&[4.0, 1.0, 2.0, 3.0], |f| *f) - 2.5).abs() < f64::EPSILON);
        assert!(median(&[], |f: &f64| *f).is_nan());
    }

    #[test]
    fn only_a_gate_is_asked_to_translate() {
        let crossing = SCENARIOS.iter().filter(|scenario| !scenario.suits(Target::Nginx));
        assert_eq!(
            crossing.map(|scenario| scenario.key).collect::<Vec<_>>(),
            ["legacy-modern-32", "modern-legacy-32"]
        );
        let plain = SCENARIOS
            .iter()
            .filter(|scenario| scenario.suits(Target::GatepostView));
        let synced = SCENARIOS
            .iter()
            .filter(|scenario| scenario.suits(Target::GatepostSynced));
        assert_eq!(
            synced.map(|scenario| scenario.key).collect::<Vec<_>>(),
            ["call-16", "call-64"]
        );
        assert_eq!(plain.count(), SCENARIOS.len() - 2);
    }

    #[test]
    fn keys_are_unique() {
        let keys: std::collections::BTreeSet<_> = SCENARIOS.iter().map(|scenario| scenario.key).collect();
        assert_eq!(keys.len(), SCENARIOS.len());
    }
}
