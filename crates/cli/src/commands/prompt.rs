//! `gatepost prompt`: one prompt, filled in.

use std::{fmt::Write, path::PathBuf};

use serde::Deserialize;

use crate::{
    client::{
        Params, TargetArgs,
        arguments::ArgumentArgs,
        content::{self, Block},
        conversation::odd,
        with_client,
    },
    failure::Failure,
    output::{self, style},
};

/// Get a prompt of a server, filled in
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The prompt's name, as `gatepost list prompts` shows it
    name: String,
    #[command(flatten)]
    arguments: ArgumentArgs,
    /// Print the whole result as JSON, as the server wrote it
    #[arg(long)]
    json: bool,
    /// Save images and other binary content here, or the text if there is none; `-` is stdout
    #[arg(short, long, value_name = "FILE", conflicts_with = "json")]
    output: Option<PathBuf>,
    #[command(flatten)]
    target: TargetArgs,
}

#[derive(Debug, Deserialize)]
struct Outcome {
    messages: Vec<Message>,
}

#[derive(Debug, Deserialize)]
struct Message {
    role: String,
    content: Block,
}

pub(crate) fn run(args: &Args) -> Result<(), Failure> {
    let mut params = Params::default();
    params.text("name", &args.name);
    if let Some(arguments) = args.arguments.texts()? {
        params.raw("arguments", &arguments);
    }
    let result = with_client(&args.target, async |client| {
        client.ask("prompts/get", params).await
    })?;
    if args.json {
        return Ok(output::result(&format!("{}\n", result.get()))?);
    }
    let outcome: Outcome = serde_json::from_str(result.get()).map_err(odd)?;
    if let Some(file) = &args.output {
        let blocks: Vec<Block> = outcome
            .messages
            .into_iter()
            .map(|message| message.content)
            .collect();
        return content::save(&blocks, file);
    }
    Ok(output::result(&rendered(&outcome.messages))?)
}

fn rendered(messages: &[Message]) -> String {
    let heading = style::HEADING;
    let mut text = String::new();
    for message in messages {
        let _ = writeln!(
            text,
            "{heading}{}{heading:#}:",
            gatepost_policy::Printable(&message.role)
        );
        text.push_str(&content::rendered(std::slice::from_ref(&message.content)));
    }
    text
}
