//! `gatepost audit`: reading and checking the audit log.

mod query;
mod show;
mod verify;

use std::path::PathBuf;

use clap::Subcommand;
use gatepost_config::Config;

use crate::{configuration::ConfigArgs, failure::Failure};

/// Read and check the audit log: who called what, and is it all still there
///
/// Nothing here needs a running gate, and nothing disturbs one.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Verify(verify::Args),
    Tail(query::TailArgs),
    Query(query::QueryArgs),
    Export(query::ExportArgs),
}

pub(crate) fn run(args: &Args) -> Result<(), Failure> {
    match &args.command {
        Command::Verify(args) => verify::run(args),
        Command::Tail(args) => query::tail(args),
        Command::Query(args) => query::query(args),
        Command::Export(args) => query::export(args),
    }
}

/// Where the log is.
#[derive(Debug, clap::Args)]
struct Place {
    /// The folder of the log, or a copy of it [default: `audit` in the configuration's data_dir]
    #[arg(long, value_name = "FOLDER")]
    dir: Option<PathBuf>,
    #[command(flatten)]
    config: ConfigArgs,
}

impl Place {
    /// The folder, and the configuration if it was asked.
    fn find(&self) -> Result<(PathBuf, Option<Config>), Failure> {
        let (folder, config) = match &self.dir {
            Some(folder) => (folder.clone(), None),
            None => {
                let config = self.config.source().load()?;
                (gatepost_audit::folder(&config.data_dir), Some(config))
            }
        };
        if folder.is_dir() {
            return Ok((folder, config));
        }
        Err(Failure::new(
            format!("there is no audit log in {}", folder.display()),
            "name the folder with `--dir FOLDER`, or the configuration with `-c FILE`; a gate keeps a log if its configuration \
             has `audit: {}`",
        ))
    }
}

fn unreadable(error: &std::io::Error, folder: &std::path::Path) -> Failure {
    if error.kind() == std::io::ErrorKind::BrokenPipe {
        return Failure::ReaderGone;
    }
    Failure::new(
        format!("failed to read the audit log in {}: {error}", folder.display()),
        "run it as the gate's user, or on a copy of the folder",
    )
}
