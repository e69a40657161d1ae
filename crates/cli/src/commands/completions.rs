//! `gatepost completions`: scripts for shells.

use clap_complete::Shell;

use crate::{failure::Failure, output};

/// Print a completion script for a shell
///
/// For example, `gatepost completions bash > ~/.local/share/bash-completion/completions/gatepost`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Which shell
    shell: Shell,
}

pub(crate) fn run(args: &Args, mut command: clap::Command) -> Result<(), Failure> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut command, "gatepost", &mut script);
    Ok(output::bytes(&script)?)
}
