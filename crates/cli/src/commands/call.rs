//! `gatepost call`: one call of one tool.

use std::path::PathBuf;

use gatepost_policy::nearest;
use serde::Deserialize;
use serde_json::{Value, value::RawValue};

use crate::{
    client::{
        Client, Params, TargetArgs,
        arguments::ArgumentArgs,
        content::{self, Block},
        conversation::odd,
        with_client,
    },
    exit,
    failure::Failure,
    output::{self, style},
};

/// Call a tool of a server
///
/// Prints the text of the answer. A tool that fails gives exit code 5 and says why on stderr.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The tool's name, as `gatepost list` shows it
    tool: String,
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

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Outcome<'a> {
    content: Vec<Block>,
    #[serde(rename = "isError")]
    is_error: bool,
    #[serde(borrow, rename = "structuredContent")]
    structured: Option<&'a RawValue>,
}

pub(crate) fn run(args: &Args) -> Result<(), Failure> {
    let result = with_client(&args.target, async |client| call(client, args).await)?;
    let outcome: Outcome<'_> = serde_json::from_str(result.get()).map_err(odd)?;
    if args.json {
        output::result(&format!("{}\n", result.get()))?;
    }
    if outcome.is_error {
        let error = style::ERROR;
        let why = if args.json {
            String::new()
        } else {
            content::rendered(&outcome.content)
        };
        let name = gatepost_policy::Printable(&args.tool);
        output::words(&format!(
            "{error}error{error:#}: the tool `{name}` failed\n{}",
            output::harmless(&why)
        ));
        return Err(Failure::Said(exit::TOOL));
    }
    if args.json {
        return Ok(());
    }
    if let Some(file) = &args.output {
        return content::save(&outcome.content, file);
    }
    let text = match outcome.structured {
        Some(structured) if outcome.content.is_empty() => format!("{}\n", output::foreign(structured.get())),
        _ => content::rendered(&outcome.content),
    };
    Ok(output::result(&text)?)
}

async fn call(client: &Client, args: &Args) -> Result<Box<RawValue>, Failure> {
    let listed = if args.arguments.need_schema() {
        Some(tools(client).await?)
    } else {
        None
    };
    // One that is not listed may exist all the same; nothing is known of its arguments.
    let schema = listed
        .iter()
        .flatten()
        .find(|tool| tool.name == args.tool)
        .map_or(&Value::Null, |tool| &tool.input_schema);
    let mut params = Params::default();
    params.text("name", &args.tool);
    params.raw(
        "arguments",
        args.arguments.json(schema)?.as_deref().unwrap_or("{}"),
    );
    match client.ask("tools/call", params).await {
        Err(Failure::Told {
            code: exit::FAILURE,
            message,
            remedy,
        }) => {
            let listed = match listed {
                Some(listed) => listed,
                None => tools(client).await.unwrap_or_default(),
            };
            let meant = meant(&listed, &args.tool);
            let meant = meant.map(|name| format!("did you mean `{}`?\n", gatepost_policy::Printable(name)));
            Err(Failure::new(message, meant.unwrap_or_default() + &remedy))
        }
        outcome => outcome,
    }
}

/// What the endpoint lists of a tool.
#[derive(Deserialize)]
struct Tool {
    name: String,
    #[serde(default, rename = "inputSchema")]
    input_schema: Value,
}

async fn tools(client: &Client) -> Result<Vec<Tool>, Failure> {
    let tools = client.list("tools/list", "tools").await?;
    let tools = tools
        .iter()
        .filter_map(|tool| serde_json::from_str(tool.get()).ok());
    Ok(tools.collect())
}

/// The tool that somebody probably meant who called one that is not listed, of those that they may see.
fn meant<'a>(listed: &'a [Tool], tool: &str) -> Option<&'a str> {
    let names = listed.iter().map(|one| one.name.as_str());
    let unknown = names.clone().all(|name| name != tool);
    nearest(tool, names).filter(|_| unknown)
}
