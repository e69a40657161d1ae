//! What operators count. Everything is an atomic that its user already holds: a call never looks a metric up.

use std::{
    fmt::Write,
    sync::atomic::{AtomicU64, Ordering::Relaxed},
    time::Duration,
};

use crate::refusal::Refusal;

/// Upper bounds of the latency buckets, in microseconds.
const BOUNDS: [u64; 14] = [
    100, 250, 500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 1_000_000, 5_000_000,
    30_000_000,
];

/// A Prometheus histogram of durations.
#[derive(Debug, Default)]
pub(crate) struct Histogram {
    buckets: [AtomicU64; BOUNDS.len() + 1],
    sum: AtomicU64,
}

impl Histogram {
    /// Counts one duration.
    pub(crate) fn observe(&self, duration: Duration) {
        let micros = u64::try_from(duration.as_micros()).unwrap_or(u64::MAX);
        let bucket = BOUNDS.partition_point(|bound| *bound < micros);
        self.buckets[bucket].fetch_add(1, Relaxed);
        self.sum.fetch_add(micros, Relaxed);
    }

    /// In Prometheus' text form; `labels` is empty or `name="value"`.
    pub(crate) fn write(&self, out: &mut String, name: &str, labels: &str) {
        let comma = if labels.is_empty() { "" } else { "," };
        let mut total = 0;
        for (bucket, count) in self.buckets.iter().enumerate() {
            total += count.load(Relaxed);
            let bound = BOUNDS
                .get(bucket)
                .map_or("+Inf".to_owned(), |bound| seconds(*bound));
            let _ = writeln!(out, "{name}_bucket{{{labels}{comma}le=\"{bound}\"}} {total}");
        }
        let braces = if labels.is_empty() {
            String::new()
        } else {
            format!("{{{labels}}}")
        };
        let _ = writeln!(out, "{name}_sum{braces} {}", seconds(self.sum.load(Relaxed)));
        let _ = writeln!(out, "{name}_count{braces} {total}");
    }
}

fn seconds(micros: u64) -> String {
    format!("{}", micros as f64 / 1e6)
}

/// One server's counters.
#[derive(Debug, Default)]
pub(crate) struct ServerMetrics {
    /// From a call's arrival to its final answer.
    pub(crate) duration: Histogram,
    answered: AtomicU64,
    failed: AtomicU64,
}

impl ServerMetrics {
    /// Counts a call: `answered` if the server answered it, be it with an error of its own.
    pub(crate) fn call(&self, duration: Duration, answered: bool) {
        self.duration.observe(duration);
        if answered { &self.answered } else { &self.failed }.fetch_add(1, Relaxed);
    }

    pub(crate) fn write_calls(&self, out: &mut String, server: &str) {
        for (outcome, count) in [("answered", &self.answered), ("failed", &self.failed)] {
            let count = count.load(Relaxed);
            let _ = writeln!(
                out,
                "gatepost_server_calls_total{{server=\"{server}\",outcome=\"{outcome}\"}} {count}"
            );
        }
    }
}

/// The whole gate's counters.
#[derive(Debug, Default)]
pub(crate) struct Metrics {
    refused: [AtomicU64; CLASSES.len()],
    panics: AtomicU64,
}

/// Why messages were refused, as the label `reason`.
const CLASSES: [&str; 13] = [
    "origin",
    "malformed",
    "headers",
    "too_large",
    "session",
    "unknown",
    "server",
    "overload",
    "denied",
    "scope",
    "limit",
    "audit",
    "identity",
];

impl Metrics {
    /// Counts a refusal.
    pub(crate) fn refused(&self, refusal: &Refusal) {
        if let Some(class) = class(refusal) {
            self.refused[class].fetch_add(1, Relaxed);
        }
    }

    /// Counts a panic that was caught.
    pub(crate) fn panicked(&self) {
        self.panics.fetch_add(1, Relaxed);
    }

    /// In Prometheus' text form.
    pub(crate) fn write(&self, out: &mut String) {
        header(
            out,
            "gatepost_refused_total",
            "counter",
            "Messages that were refused, by reason.",
        );
        for (class, count) in CLASSES.iter().zip(&self.refused) {
            let _ = writeln!(
                out,
                "gatepost_refused_total{{reason=\"{class}\"}} {}",
                count.load(Relaxed)
            );
        }
        header(
            out,
            "gatepost_panics_total",
            "counter",
            "Panics that were caught; each is a bug of Gatepost's.",
        );
        let _ = writeln!(out, "gatepost_panics_total {}", self.panics.load(Relaxed));
    }
}

/// `# HELP` and `# TYPE`.
pub(crate) fn header(out: &mut String, name: &str, kind: &str, help: &str) {
    let _ = writeln!(out, "# HELP {name} {help}\n# TYPE {name} {kind}");
}

fn class(refusal: &Refusal) -> Option<usize> {
    Some(match refusal {
        Refusal::Host(_) | Refusal::Origin(_) | Refusal::CrossSite => 0,
        Refusal::Malformed(_)
        | Refusal::Batch
        | Refusal::UnknownQuestion
        | Refusal::UnknownStream
        | Refusal::Params(_)
        | Refusal::BrokenBody(_)
        | Refusal::TasksUndeclared
        | Refusal::StaleState
        | Refusal::UnderWay
        | Refusal::Declined(_)
        | Refusal::Meta(_) => 1,
        Refusal::HeaderMismatch(_) | Refusal::ContentType(_) | Refusal::Accept | Refusal::Version { .. } => 2,
        Refusal::TooLarge { .. } | Refusal::SlowBody(_) => 3,
        Refusal::NoSession | Refusal::SessionGone => 4,
        Refusal::NoEndpoint(_)
        | Refusal::Verb { .. }
        | Refusal::UnknownMethod(_)
        | Refusal::UnknownName { .. }
        | Refusal::UnknownResource(_) => 5,
        Refusal::Call(_) | Refusal::Internal(_) => 6,
        Refusal::Overloaded { .. } => 7,
        Refusal::Denied { .. } => 8,
        Refusal::Hidden(hidden) => return class(&hidden.told),
        Refusal::Scopes { .. } => 9,
        Refusal::Limited { .. } | Refusal::TooManyStreams { .. } => 10,
        Refusal::Unrecorded | Refusal::OutcomeUnrecorded => 11,
        Refusal::Unidentified(_) => 12,
        Refusal::Cancelled => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_histogram_counts_upwards() {
        let histogram = Histogram::default();
        for micros in [50, 100, 101, 40_000_000] {
            histogram.observe(Duration::from_micros(micros));
        }
        let mut out = String::new();
        histogram.write(&mut out, "x_seconds", "server=\"a\"");
        assert!(
            out.contains("x_seconds_bucket{server=\"a\",le=\"0.0001\"} 2\n"),
            "{out}"
        );
        assert!(
            out.contains("x_seconds_bucket{server=\"a\",le=\"0.00025\"} 3\n"),
            "{out}"
        );
        assert!(
            out.contains("x_seconds_bucket{server=\"a\",le=\"+Inf\"} 4\n"),
            "{out}"
        );
        assert!(out.contains("x_seconds_count{server=\"a\"} 4\n"), "{out}");
    }
}
