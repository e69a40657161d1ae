//! `gatepost connect`: a bridge for clients that can only launch a program.

use crate::{
    client::remote::{Remote, RemoteArgs},
    commands::stdio,
    failure::Failure,
    gate, logging,
};

/// Bridge a stdio-only client to a remote endpoint
///
/// Speaks MCP on stdin and stdout, in whichever era the client likes, and passes everything on to the URL.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The endpoint, such as https://gate.example.com/mcp
    url: String,
    #[command(flatten)]
    remote: RemoteArgs,
}

pub(crate) fn run(args: &Args) -> Result<(), Failure> {
    let Remote { config, name, state } = Remote::url(&args.url, &args.remote)?;
    logging::start(&config.telemetry)?;
    gate::block_on(stdio::speak(config, state.path(), &name))
}
