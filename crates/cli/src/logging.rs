//! Logs go to stderr: readable on a terminal, JSON for programs.

use std::io::IsTerminal;

use gatepost_config::{Config, LogForm, Telemetry};
use tracing_subscriber::{EnvFilter, fmt};

use crate::{
    environment, exit,
    failure::{Failure, finding},
    output,
};

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
    install(filter(telemetry.level.as_str())?, json);
    Ok(())
}

/// Says what a configuration should be warned of; into the log where whoever reads it asked for JSON and nothing else.
pub(crate) fn warn_of(config: &Config) {
    for warning in &config.warnings {
        if config.telemetry.log == LogForm::Json {
            tracing::warn!(at = %warning.path, remedy = %warning.remedy, "{}", warning.message);
        } else {
            output::words(&finding("warning", warning));
        }
    }
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

/// The SDK of the modules tells of every connection at `info` and of every refusal at `warn`: the gate says itself what of
/// that matters. Below, it writes whole messages, with arguments and what tools answer, which belong into no log. So whoever
/// wants to hear of it has to name it.
fn without_the_sdk(directives: &str) -> String {
    if directives.contains("rmcp") || directives == "off" {
        directives.to_owned()
    } else {
        format!("{directives},rmcp=error")
    }
}

fn filter(default: &str) -> Result<EnvFilter, Failure> {
    match std::env::var(environment::LOG) {
        Ok(directives) if !directives.is_empty() => {
            EnvFilter::try_new(without_the_sdk(&directives)).map_err(|error| {
                Failure::new(
                    format!(
                        "the environment variable {} is no log filter: {error}",
                        environment::LOG
                    ),
                    "write a level such as `debug`, or `warn,gatepost_gateway=trace`",
                )
                .code(exit::USAGE)
            })
        }
        _ => Ok(EnvFilter::new(without_the_sdk(default))),
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
