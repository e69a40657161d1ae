//! The side-by-side benchmark: one fast backend, reached directly, through nginx and through Gatepost.
//!
//! `run` does everything and prints the table; `backend`, `load` and `up` are its parts, for anyone who
//! wants to measure with tools of their own. See `bench/README.md` for the method.

mod answers;
mod backend;
mod http;
mod load;
mod machine;
mod measure;
mod report;
mod request;
mod run;
mod target;

use std::io::Write as _;
use std::process::ExitCode;

use clap::{Parser, Subcommand, ValueEnum};
use serde::Serialize;

/// Side-by-side benchmark of MCP over HTTP: direct, nginx, Gatepost.
#[derive(Parser)]
#[command(version)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Measure all targets side by side and print the table.
    Run(run::Options),
    /// Start everything, print the URLs and wait, so that any other tool can measure.
    Up(run::Options),
    /// Only the fast backend.
    Backend(backend::Options),
    /// Only the load generator, against any URL.
    Load(load::Options),
}

/// The two forms of the protocol that are measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "lowercase")]
enum Era {
    /// 2026-07-28: stateless, metadata in every request.
    Modern,
    /// 2025-11-25: `initialize` and a session.
    Legacy,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    // One thread on purpose: generator and backend share a core, and a second thread would only wander.
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return failed(&error.into()),
    };
    let work = async {
        match arguments.command {
            Command::Run(options) => run::run(&options).await,
            Command::Up(options) => run::up(&options).await,
            Command::Backend(options) => backend::serve(&options).await,
            Command::Load(options) => load::command(&options).await,
        }
    };
    // However we are ended, what was started is dropped here, and so ended too.
    let outcome = runtime.block_on(async {
        tokio::select! {
            outcome = work => outcome,
            () = told_to_end() => Ok(()),
        }
    });
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => failed(&error),
    }
}

/// Waits for an interrupt or, where there is one, a TERM.
async fn told_to_end() {
    #[cfg(unix)]
    if let Ok(mut term) = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate()) {
        tokio::select! {
            _ = tokio::signal::ctrl_c() => {}
            _ = term.recv() => {}
        }
        return;
    }
    _ = tokio::signal::ctrl_c().await;
}

fn failed(error: &anyhow::Error) -> ExitCode {
    // Nothing is left to try when even stderr is closed.
    _ = writeln!(std::io::stderr(), "error: {error:#}");
    ExitCode::FAILURE
}
