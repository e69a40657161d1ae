//! What a call costs the audit log: microseconds a pair of records in `batch`, calls a second in `sync`.
//!
//! `cargo run --release -p gatepost-audit --example speed [FOLDER]`: the numbers are those of the disk the folder is on.
#![allow(clippy::print_stdout, reason = "it is for reading")]

use std::{error::Error, path::PathBuf, time::Instant};

use gatepost_audit::{By, End, Intent, Log, Outcome, Settings, What, Who};
use gatepost_config::Durability;
use gatepost_policy::Effect;

const ARGUMENTS: &[u8] =
    br#"{"query":"orders of last week","limit":20,"customer":{"id":4711,"mail":"ann@example.com"}}"#;

fn intent() -> Intent<'static> {
    Intent {
        who: Who {
            issuer: Some("https://id.example.com"),
            subject: Some("ann@example.com"),
            tenant: Some("acme"),
            client: Some("claude-desktop"),
            version: Some("1.2.3"),
            address: Some("10.1.2.3"),
        },
        what: What {
            endpoint: Some("/mcp"),
            method: Some("tools/call"),
            server: Some("orders"),
            name: Some("orders__search"),
            original: Some("search"),
            effect: Some(Effect::Read),
        },
        arguments: ARGUMENTS,
        by: By {
            role: Some("analyst"),
            rule: Some("orders__*"),
        },
        request: b"17",
        trace: Some("4bf92f3577b34da6a3ce929d0e0e4736"),
    }
}

async fn call(log: &Log) -> Result<(), Box<dyn Error + Send + Sync>> {
    let call = log.intent_among_others(&intent())?;
    call.durable().await?;
    let written = call.outcome_among_others(Outcome {
        bytes_in: 250,
        bytes_out: 1800,
        ..Outcome::new(End::Ok)
    })?;
    written.in_file().await?;
    Ok(())
}

fn main() -> Result<(), Box<dyn Error + Send + Sync>> {
    let folder = std::env::args_os()
        .nth(1)
        .map_or_else(std::env::temp_dir, PathBuf::from);
    for (durability, callers, calls) in [
        (Durability::Batch, 1, 200_000),
        (Durability::Batch, 16, 200_000),
        (Durability::Batch, 64, 200_000),
        (Durability::Sync, 1, 2_000),
        (Durability::Sync, 16, 40_000),
        (Durability::Sync, 64, 100_000),
    ] {
        let data_dir = folder.join(format!("gatepost-audit-speed-{}", std::process::id()));
        std::fs::create_dir_all(&data_dir)?;
        let log = Log::open(Settings {
            durability,
            ..Settings::plain(&data_dir)
        })?;
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .build()?;
        let cpu = cpu();
        let begun = Instant::now();
        runtime.block_on(async {
            let callers: Vec<_> = (0..callers)
                .map(|_| {
                    let log = log.clone();
                    tokio::spawn(async move {
                        for _ in 0..calls / callers {
                            call(&log).await?;
                            tokio::task::yield_now().await;
                        }
                        Ok::<_, Box<dyn Error + Send + Sync>>(())
                    })
                })
                .collect();
            for caller in callers {
                caller.await??;
            }
            Ok::<_, Box<dyn Error + Send + Sync>>(())
        })?;
        let seconds = begun.elapsed().as_secs_f64();
        let calls = f64::from(calls);
        println!(
            "{durability:?} with {callers:>2} callers: {:>8.0} calls/s, {:>6.2} µs of CPU a call",
            calls / seconds,
            (self::cpu() - cpu) * 1e6 / calls
        );
        log.close();
        std::fs::remove_dir_all(&data_dir)?;
    }
    Ok(())
}

/// Seconds of CPU that this process has used. 0 where the system does not say.
fn cpu() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let mut fields = stat
        .rsplit(')')
        .next()
        .unwrap_or_default()
        .split_whitespace()
        .skip(11);
    let mut ticks = || {
        fields
            .next()
            .and_then(|field| field.parse::<f64>().ok())
            .unwrap_or(0.0)
    };
    (ticks() + ticks()) / 100.0
}
