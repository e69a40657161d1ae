//! What operators and orchestrators ask: probes, health, metrics.

use std::fmt::Write;

use bytes::Bytes;
use http::StatusCode;
use serde_json::json;

use crate::{
    gate::{Gate, Phase},
    metrics::header,
    upstream::HealthState,
};

/// A page for a machine.
pub(crate) struct Page {
    pub(crate) status: StatusCode,
    pub(crate) content_type: &'static str,
    pub(crate) body: Bytes,
}

/// What an orchestrator may ask without saying who it is; the answer says nothing else.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Probe {
    /// Is the process alive?
    Live,
    /// May it get traffic?
    Ready,
    /// Has it started?
    Startup,
}

impl Probe {
    /// The probe at a path.
    pub(crate) fn at(path: &str) -> Option<Self> {
        Some(match path {
            "/livez" | "/healthz" => Self::Live,
            "/readyz" | "/ready" => Self::Ready,
            "/startupz" => Self::Startup,
            _ => return None,
        })
    }

    pub(crate) fn answer(self, gate: &Gate) -> Page {
        let (good, text) = match (self, gate.phase()) {
            (Self::Live, _) => (true, "ok\n"),
            (Self::Startup, Phase::Starting) | (Self::Ready, Phase::Starting) => (false, "starting\n"),
            (Self::Startup, _) | (Self::Ready, Phase::Ready) => (true, "ok\n"),
            (Self::Ready, Phase::Draining) => (false, "draining\n"),
        };
        // A gate that may not act unrecorded has nothing to do while it cannot record.
        let audit_refuses = || {
            gate.governance
                .audit
                .as_ref()
                .is_some_and(|log| log.health().refuses)
        };
        let (good, text) = if self == Self::Ready && good && audit_refuses() {
            (false, "audit log failed\n")
        } else {
            (good, text)
        };
        Page {
            status: if good {
                StatusCode::OK
            } else {
                StatusCode::SERVICE_UNAVAILABLE
            },
            content_type: "text/plain; charset=utf-8",
            body: Bytes::from_static(text.as_bytes()),
        }
    }
}

/// Every dependency, with reasons.
pub(crate) fn health(gate: &Gate) -> Page {
    let snapshot = gate.snapshot();
    let servers: Vec<_> = snapshot
        .servers()
        .iter()
        .map(|server| (server.name(), server.health()))
        .collect();
    let worst = servers
        .iter()
        .map(|(_, health)| health.state)
        .max()
        .unwrap_or(HealthState::Healthy);
    // One bad server harms only its own calls: the gate as a whole is degraded, not down.
    let audit = gate.governance.audit.as_ref().map(gatepost_audit::Log::health);
    let sinks = gate.governance.sinks();
    let issuers: Vec<_> = gate
        .governance
        .identity
        .iter()
        .flat_map(gatepost_identity::Identity::health)
        .collect();
    let overall = match (gate.phase(), worst) {
        (Phase::Starting | Phase::Draining, _) => "unhealthy",
        _ if audit.as_ref().is_some_and(|audit| audit.refuses) => "unhealthy",
        (Phase::Ready, HealthState::Healthy | HealthState::Unknown)
            if audit.as_ref().is_some_and(|audit| audit.failed.is_some())
                || issuers.iter().any(|issuer| issuer.failure.is_some())
                || sinks.iter().any(|sink| sink.error.is_some()) =>
        {
            "degraded"
        }
        (Phase::Ready, HealthState::Healthy | HealthState::Unknown) => "healthy",
        (Phase::Ready, HealthState::Degraded | HealthState::Unhealthy) => "degraded",
    };
    let body = json!({
        "status": overall,
        "phase": match gate.phase() { Phase::Starting => "starting", Phase::Ready => "ready", Phase::Draining => "draining" },
        "version": env!("CARGO_PKG_VERSION"),
        "in_flight": gate.in_flight(),
        "sessions_held": gate.sessions.held(),
        "issuers": issuers.iter().map(|issuer| (issuer.issuer.to_string(), json!({
            "keys": issuer.keys,
            "heard_seconds_ago": issuer.age.map(|age| age.as_secs()),
            "failure": issuer.failure.as_deref(),
        }))).collect::<serde_json::Map<_, _>>(),
        "audit": audit.map(|audit| json!({
            "failed": audit.failed.as_deref(),
            "refuses_calls": audit.refuses,
            "records_written": audit.written,
            "records_durable": audit.durable,
            "records_lost": audit.unwritten,
            "sinks": sinks.iter().map(|sink| json!({
                "name": sink.name,
                "delivered": sink.delivered,
                "behind": audit.written.saturating_sub(sink.delivered),
                "failures": sink.failures,
                "error": sink.error,
            })).collect::<Vec<_>>(),
        })),
        "servers": servers.iter().map(|(name, health)| ((***name).to_owned(), json!(health))).collect::<serde_json::Map<_, _>>(),
        "catalog": snapshot.catalog.report(),
    });
    Page {
        status: if overall == "unhealthy" {
            StatusCode::SERVICE_UNAVAILABLE
        } else {
            StatusCode::OK
        },
        content_type: "application/json",
        body: format!("{body:#}\n").into(),
    }
}

fn audit(out: &mut String, health: &gatepost_audit::Health) {
    let up = u8::from(health.failed.is_none());
    header(
        out,
        "gatepost_audit_up",
        "gauge",
        "1 if the audit log can be written.",
    );
    let _ = writeln!(out, "gatepost_audit_up {up}");
    header(
        out,
        "gatepost_audit_records_total",
        "counter",
        "The number of the last audit record in the file.",
    );
    let _ = writeln!(out, "gatepost_audit_records_total {}", health.written);
    header(
        out,
        "gatepost_audit_lost_total",
        "counter",
        "Audit records that could not be written.",
    );
    let _ = writeln!(out, "gatepost_audit_lost_total {}", health.unwritten);
}

/// Prometheus' text form.
pub(crate) fn metrics(gate: &Gate) -> Page {
    let mut out = String::with_capacity(4096);
    header(&mut out, "gatepost_in_flight", "gauge", "Calls in flight.");
    let _ = writeln!(out, "gatepost_in_flight {}", gate.in_flight());
    header(
        &mut out,
        "gatepost_sessions_held",
        "gauge",
        "Legacy sessions that hold memory: a log level, a subscription, an open stream.",
    );
    let _ = writeln!(out, "gatepost_sessions_held {}", gate.sessions.held());
    header(
        &mut out,
        "gatepost_calls_parked",
        "gauge",
        "Calls that wait at the gate for their modern clients to answer a legacy server's questions.",
    );
    let _ = writeln!(out, "gatepost_calls_parked {}", gate.parking.waiting());
    header(
        &mut out,
        "gatepost_calls_parked_expired_total",
        "counter",
        "Parked calls whose clients never came back.",
    );
    let _ = writeln!(
        out,
        "gatepost_calls_parked_expired_total {}",
        gate.parking.expired()
    );
    gate.metrics.write(&mut out);
    gate.governance.limits.write(&mut out);
    if let Some(log) = &gate.governance.audit {
        audit(&mut out, &log.health());
    }
    let snapshot = gate.snapshot();
    header(
        &mut out,
        "gatepost_server_up",
        "gauge",
        "1 if the server's last answer was in order, 0 if not, absent before it was asked.",
    );
    for server in snapshot.servers() {
        let up = match server.health().state {
            HealthState::Unknown => continue,
            HealthState::Healthy | HealthState::Degraded => 1,
            HealthState::Unhealthy => 0,
        };
        let _ = writeln!(out, "gatepost_server_up{{server=\"{}\"}} {up}", server.name());
    }
    header(
        &mut out,
        "gatepost_server_calls_total",
        "counter",
        "Calls, by server and outcome.",
    );
    for server in snapshot.servers() {
        server.metrics().write_calls(&mut out, server.name());
    }
    header(
        &mut out,
        "gatepost_server_call_seconds",
        "histogram",
        "From a call's arrival to its final answer.",
    );
    for server in snapshot.servers() {
        let labels = format!("server=\"{}\"", server.name());
        server
            .metrics()
            .duration
            .write(&mut out, "gatepost_server_call_seconds", &labels);
    }
    Page {
        status: StatusCode::OK,
        content_type: "text/plain; version=0.0.4; charset=utf-8",
        body: out.into(),
    }
}
