//! `gatepost schema`: the JSON Schema of `gatepost.yaml`.

use gatepost_config::json_schema;

use crate::{failure::Failure, output};

/// Print the JSON Schema of gatepost.yaml, for editors
///
/// Save it beside the configuration and name it in the first line of gatepost.yaml:
/// `# yaml-language-server: $schema=gatepost.schema.json`
#[derive(Debug, clap::Args)]
pub(crate) struct Args {}

pub(crate) fn run(_args: &Args) -> Result<(), Failure> {
    Ok(output::result(&format!("{:#}\n", json_schema()))?)
}
