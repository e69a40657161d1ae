//! The command line: which commands there are. Each has a file of its own.

mod audit;
mod call;
mod check;
mod completions;
mod connect;
mod credentials;
mod explain;
mod import;
mod keys;
mod list;
mod prompt;
mod read;
mod schema;
mod serve;
pub(crate) mod stdio;

use std::process::ExitCode;

use clap::{CommandFactory, Parser, Subcommand};

use crate::exit;

pub(crate) use check::described;
pub(crate) use keys::{moment, now, unknown};

/// One secured, observable URL in front of every MCP server you have.
#[derive(Debug, Parser)]
#[command(name = "gatepost", version, propagate_version = true, after_help = exit::HELP, max_term_width = 100)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Serve(serve::Args),
    Stdio(stdio::Args),
    Connect(connect::Args),
    Check(check::Args),
    Explain(explain::Args),
    List(list::Args),
    Call(call::Args),
    Read(read::Args),
    Prompt(prompt::Args),
    Audit(audit::Args),
    Keys(keys::Args),
    Credentials(credentials::Args),
    Import(import::Args),
    Schema(schema::Args),
    Completions(completions::Args),
}

/// Parses the command line, does what it says, and tells how that went.
pub(crate) fn run() -> ExitCode {
    let done = match Cli::parse().command {
        Command::Serve(args) => serve::run(&args),
        Command::Stdio(args) => stdio::run(&args),
        Command::Connect(args) => connect::run(&args),
        Command::Check(args) => check::run(&args),
        Command::Explain(args) => explain::run(&args),
        Command::List(args) => list::run(&args),
        Command::Call(args) => call::run(&args),
        Command::Read(args) => read::run(&args),
        Command::Prompt(args) => prompt::run(&args),
        Command::Audit(args) => audit::run(&args),
        Command::Keys(args) => keys::run(&args),
        Command::Credentials(args) => credentials::run(&args),
        Command::Import(args) => import::run(&args),
        Command::Schema(args) => schema::run(&args),
        Command::Completions(args) => completions::run(&args, Cli::command()),
    };
    match done {
        Ok(()) => ExitCode::from(exit::OK),
        Err(failure) => failure.report(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::golden;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn help() {
        let mut command = Cli::command().term_width(100);
        command.build();
        golden::check("help", &command.render_help().to_string());
        for name in ["call", "explain"] {
            let one = command.find_subcommand_mut(name).unwrap().clone();
            let text = one.term_width(100).render_long_help().to_string();
            golden::check(&format!("help-{name}"), &text);
        }
    }
}
