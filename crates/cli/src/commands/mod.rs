//! The command line: which commands there are. Each has a file of its own.

mod check;
mod completions;
mod import;
mod schema;

use std::process::ExitCode;

use clap::{CommandFactory, Parser, Subcommand};

use crate::{exit, failure::Failure};

/// One secured, observable URL in front of every MCP server you have.
#[derive(Debug, Parser)]
#[command(name = "gatepost", version, propagate_version = true, after_help = exit::HELP, max_term_width = 100)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Check(check::Args),
    Import(import::Args),
    Schema(schema::Args),
    Completions(completions::Args),
}

/// Parses the command line, does what it says, and tells how that went.
pub(crate) fn run() -> ExitCode {
    let done = match Cli::parse().command {
        Command::Check(args) => check::run(&args),
        Command::Import(args) => import::run(&args),
        Command::Schema(args) => schema::run(&args),
        Command::Completions(args) => completions::run(&args, Cli::command()),
    };
    match done {
        Ok(()) => ExitCode::from(exit::OK),
        Err(failure) => Failure::report(failure),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }
}
