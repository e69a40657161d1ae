//! Every client with every server, every feature: real SDKs on both sides of the real binary.
//!
//! The peers are the scripts in `testing/peers/matrix`, which run with what `make install-peers` brings; where that is
//! missing the test says so and passes, but for CI, where it fails. What cannot work is listed with its reason in
//! [`exceptions`], which is strict both ways. The result is `docs/matrix.md`: run with `UPDATE_GOLDEN=1` to write it anew.
#![cfg(unix)]
#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::unwrap_used,
    reason = "what a test sets up and cannot do without may stop it, in the functions beside the tests too"
)]

mod exceptions;
mod peers;
mod table;

use std::collections::BTreeMap;
use std::io::Write as _;
use std::path::Path;
use std::sync::Arc;

use futures_util::stream::{self, StreamExt as _};
use gatepost_testkit::gate::{Gate, eventually};
use serde_json::json;

use self::peers::{CLIENTS, Client, SERVERS, Scripts, Server};

const GATEPOST: &str = env!("CARGO_BIN_EXE_gatepost");

/// What is tried with each pair: as the clients' scripts name it, and as the table does.
const FEATURES: [(&str, &str); 12] = [
    ("tool", "tool"),
    ("elicitation_form", "form"),
    ("elicitation_url", "URL"),
    ("url_required", "URL first"),
    ("sampling", "sampling"),
    ("roots", "roots"),
    ("several_asks", "several"),
    ("progress", "progress"),
    ("cancel", "cancel"),
    ("log", "log"),
    ("subscribe", "subscribe"),
    ("list_changed", "list changed"),
];

/// What became of one feature between one client and one server: `ok`, or what went wrong.
type Outcomes = BTreeMap<(&'static str, &'static str, &'static str), String>;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_client_works_with_every_server() {
    let scripts = match Scripts::set_up() {
        Ok(scripts) => Arc::new(scripts),
        Err(missing) if std::env::var("CI").is_ok_and(|ci| ci == "true") => panic!("{missing}"),
        Err(missing) => {
            // Loud on purpose: a skipped test must not look like a passed one.
            let _ = writeln!(std::io::stderr(), "SKIPPED: {missing}");
            return;
        }
    };
    let mut configured = serde_json::Map::new();
    let mut running = Vec::new();
    for server in &SERVERS {
        let (entry, child) = scripts.start(server).await;
        configured.insert(server.key.to_owned(), entry);
        running.extend(child);
    }
    for (key, entry) in &configured {
        scripts.write_configuration(key, entry);
    }
    let gate = Gate::start(GATEPOST, &format!("servers: {}", json!(configured))).await;
    for server in &SERVERS {
        let client = gate.modern(&format!("/mcp/{}", server.key));
        eventually("the server is listed", async || {
            let names = client.ask("tools/list", "{}").await.names("tools");
            names.iter().any(|name| name == "echo")
        })
        .await;
    }

    // One client of a server at a time, so that nothing of one can help another; three servers at a time.
    let outcomes: Outcomes = stream::iter(&SERVERS)
        .map(|server| all_clients_of(&gate, &scripts, server))
        .buffer_unordered(3)
        .concat()
        .await
        .into_iter()
        .collect();

    exceptions::check(&outcomes);
    let docs = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/matrix.md");
    table::compare(&docs, &table::page(&outcomes));
}

async fn all_clients_of(
    gate: &Gate,
    scripts: &Scripts,
    server: &'static Server,
) -> Vec<((&'static str, &'static str, &'static str), String)> {
    let mut outcomes = Vec::new();
    for features in server.rounds() {
        for client in &CLIENTS {
            let said = try_pair(gate, scripts, client, server, &features).await;
            for &feature in &features {
                let outcome = said.get(feature).cloned().unwrap_or_else(|| said[""].clone());
                outcomes.push(((client.key, server.key, feature), outcome));
            }
        }
    }
    outcomes
}

/// Runs one client, which prints what became of each feature. One that breaks before says so for all.
async fn try_pair(
    gate: &Gate,
    scripts: &Scripts,
    client: &Client,
    server: &Server,
    features: &[&str],
) -> BTreeMap<String, String> {
    let output = scripts.run(client, server, features, gate, GATEPOST).await;
    let (out, complaint) = (
        String::from_utf8_lossy(&output.stdout).into_owned(),
        String::from_utf8_lossy(&output.stderr).into_owned(),
    );
    serde_json::from_str(&out)
        .unwrap_or_else(|_| BTreeMap::from([(String::new(), format!("it ended: {out}{complaint}"))]))
}
