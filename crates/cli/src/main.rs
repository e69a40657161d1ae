//! The `gatepost` binary: one command, one file in `commands/`.

mod banner;
mod client;
mod commands;
mod configuration;
mod data_dir;
mod environment;
mod exit;
mod failure;
mod gate;
#[cfg(test)]
mod golden;
mod logging;
mod output;
mod table;
mod who;

use std::process::ExitCode;

fn main() -> ExitCode {
    gatepost_process::supervisor_main_if_asked();
    commands::run()
}
