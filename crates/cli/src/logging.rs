//! Logs go to stderr: readable on a terminal, JSON for programs.

use std::io::IsTerminal;

use gatepost_config::{LogForm, LogLevel, Telemetry};
use tracing_subscriber::{EnvFilter, fmt};

use crate::{environment, exit, failure::Failure};

/// Begins to log as the configuration says; [`environment::LOG`] overrides the level.
///
/// # Errors
/// When the variable makes no sense.
pub(crate) fn start(telemetry: &Telemetry) -> Result<(), Failure> {
    let terminal = std::io::stderr().is_terminal();
    let json = match telemetry.log {
        LogForm::Json => true,
        LogForm::Text => false,
        LogForm::Auto => !terminal,
    };
    let level = telemetry.level.as_str();
    // The SDK of the modules tells of every connection at `info` and of every refusal at `warn`; the gate says itself what
    // of that matters.
    let default = match telemetry.level {
        LogLevel::Info | LogLevel::Warn => format!("{level},rmcp=error"),
        _ => level.to_owned(),
    };
    install(filter(&default)?, json);
    Ok(())
}

/// What goes wrong with a server is reported by the command itself.
const QUIET: &str = "error,rmcp=off";

/// Logs of a command that a person waits for: only what is the gate's own failure, readable.
///
/// # Errors
/// As [`start`].
pub(crate) fn start_quietly() -> Result<(), Failure> {
    install(filter(QUIET)?, false);
    Ok(())
}

fn filter(default: &str) -> Result<EnvFilter, Failure> {
    match std::env::var(environment::LOG) {
        Ok(directives) if !directives.is_empty() => EnvFilter::try_new(&directives).map_err(|error| {
            Failure::new(
                format!(
                    "the environment variable {} is no log filter: {error}",
                    environment::LOG
                ),
                "write a level such as `debug`, or `warn,gatepost_gateway=trace`",
            )
            .code(exit::USAGE)
        }),
        _ => Ok(EnvFilter::new(default)),
    }
}

fn install(filter: EnvFilter, json: bool) {
    let builder = fmt().with_env_filter(filter).with_writer(std::io::stderr);
    // Installing fails only where somebody has done so before; then theirs stays.
    let _ = if json {
        tracing::subscriber::set_global_default(builder.json().flatten_event(true).finish())
    } else {
        let coloured = anstream::AutoStream::choice(&std::io::stderr()) != anstream::ColorChoice::Never;
        tracing::subscriber::set_global_default(builder.with_ansi(coloured).finish())
    };
}
