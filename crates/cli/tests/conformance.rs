//! The MCP conformance suite through the gate: whatever passes directly passes through.
#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::unwrap_used,
    reason = "what a test sets up and cannot do without may stop it, in the functions beside the tests too"
)]

use std::collections::BTreeMap;
use std::path::PathBuf;

use gatepost_testkit::conformance::{Era, Fixture, Requirements, RunningFixture, Summary, Transport, run};
use gatepost_testkit::gate::{Client, Gate};
use serde_json::{Value, json};

const GATEPOST: &str = env!("CARGO_BIN_EXE_gatepost");

/// The list of failures that are known on one way through the gate.
fn list(way: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(format!("../../conformance/expected-failures.{way}.yaml"))
}

/// One server under its own names, and a view of it that gives back the original names.
async fn gate(fixture: &RunningFixture, era: Era) -> Gate {
    let direct = match era {
        Era::Modern => Client::modern(fixture.address(), "/mcp"),
        Era::Legacy => Client::legacy(fixture.address(), "/mcp").await,
    };
    // Those that come and go while the suite runs are not listed yet.
    let mut names = vec!["test_dynamic_tool".to_owned(), "test_dynamic_prompt".to_owned()];
    for list in ["tools", "prompts"] {
        names.extend(direct.ask(&format!("{list}/list"), "{}").await.names(list));
    }
    let renames: serde_json::Map<String, Value> = names
        .into_iter()
        .map(|name| (format!("fixture__{name}"), name.into()))
        .collect();
    let servers = json!({ "fixture": { "url": fixture.url } });
    let views = json!({ "original": { "include": ["fixture__*"], "rename": renames } });
    Gate::start(GATEPOST, &format!("servers: {servers}\nviews: {views}")).await
}

async fn run_through(era: Era, requirements: Requirements, path: &str, way: &str) -> Summary {
    let fixture = Fixture::start(era, Transport::Http).await.unwrap();
    let gate = gate(&fixture, era).await;
    run(&gate.url(path), requirements, &list(way))
        .await
        .unwrap_or_else(|error| panic!("{error}"))
}

/// The checks that the suite left out: a gate must not pass by claiming less than its server does.
fn skipped(summary: &Summary) -> BTreeMap<&str, usize> {
    let scenarios = summary.scenarios.iter();
    let counted = scenarios.map(|(name, scenario)| (name.as_str(), scenario.skipped.len()));
    counted.filter(|(_, count)| *count > 0).collect()
}

/// What the suite leaves out of a direct run: `crates/testkit/tests/conformance_direct.rs`.
fn skipped_directly(requirements: Requirements) -> BTreeMap<&'static str, usize> {
    match requirements {
        Requirements::Modern20260728 => BTreeMap::from([("tasks-status-notifications", 1)]),
        Requirements::Legacy20251125 => BTreeMap::new(),
    }
}

async fn passes_through(era: Era, requirements: Requirements, path: &str, way: &str) {
    let summary = run_through(era, requirements, path, way).await;
    assert_eq!(skipped(&summary), skipped_directly(requirements), "{summary}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn modern_passes_at_the_server() {
    passes_through(
        Era::Modern,
        Requirements::Modern20260728,
        "/mcp/fixture",
        "gate.2026-07-28",
    )
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn modern_passes_at_a_view_that_gives_the_names_back() {
    passes_through(
        Era::Modern,
        Requirements::Modern20260728,
        "/mcp/original",
        "gate-view.2026-07-28",
    )
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn legacy_passes_at_the_server() {
    passes_through(
        Era::Legacy,
        Requirements::Legacy20251125,
        "/mcp/fixture",
        "gate.2025-11-25",
    )
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn legacy_passes_at_a_view_that_gives_the_names_back() {
    passes_through(
        Era::Legacy,
        Requirements::Legacy20251125,
        "/mcp/original",
        "gate-view.2025-11-25",
    )
    .await;
}

/// What servers ask crosses eras as well; only tasks are not yet hosted for servers that know no such extension.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn modern_clients_and_a_legacy_server_pass() {
    let requirements = Requirements::Modern20260728;
    run_through(
        Era::Legacy,
        requirements,
        "/mcp/fixture",
        "gate-to-legacy.2026-07-28",
    )
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn legacy_clients_and_a_modern_server_pass() {
    let requirements = Requirements::Legacy20251125;
    run_through(
        Era::Modern,
        requirements,
        "/mcp/fixture",
        "gate-to-modern.2025-11-25",
    )
    .await;
}
