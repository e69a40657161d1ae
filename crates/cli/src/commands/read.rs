//! `gatepost read`: one resource.

use std::path::PathBuf;

use serde::Deserialize;

use crate::{
    client::{
        Params, TargetArgs,
        content::{self, Block},
        conversation::odd,
        with_client,
    },
    failure::Failure,
    output,
};

/// Read a resource of a server
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The resource's URI, as `gatepost list resources` shows it, or one that a template allows
    uri: String,
    /// Print the whole result as JSON, as the server wrote it
    #[arg(long)]
    json: bool,
    /// Save the contents here; `-` is stdout
    #[arg(short, long, value_name = "FILE", conflicts_with = "json")]
    output: Option<PathBuf>,
    #[command(flatten)]
    target: TargetArgs,
}

#[derive(Debug, Deserialize)]
struct Outcome {
    contents: Vec<Block>,
}

pub(crate) fn run(args: &Args) -> Result<(), Failure> {
    let mut params = Params::default();
    params.text("uri", &args.uri);
    let result = with_client(&args.target, async |client| {
        client.ask("resources/read", params).await
    })?;
    if args.json {
        return Ok(output::result(&format!("{}\n", result.get()))?);
    }
    let Outcome { contents } = serde_json::from_str(result.get()).map_err(odd)?;
    match &args.output {
        Some(file) => content::save(&contents, file),
        None => Ok(output::result(&content::rendered(&contents))?),
    }
}
