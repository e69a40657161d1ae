//! The `gatepost` binary: one command, one file in `commands/`.

mod commands;
mod configuration;
mod environment;
mod exit;
mod failure;
mod output;

use std::process::ExitCode;

fn main() -> ExitCode {
    gatepost_process::supervisor_main_if_asked();
    commands::run()
}
