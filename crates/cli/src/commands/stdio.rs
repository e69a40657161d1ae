//! `gatepost stdio`: the same gate for clients that launch a program.

use std::sync::Arc;

use gatepost_config::Config;
use gatepost_gateway::stdio::{ServeError, serve};
use gatepost_process::ShutdownSignals;

use crate::{
    configuration::ConfigArgs,
    data_dir::{DataDir, Unavailable},
    exit,
    failure::Failure,
    gate, logging,
};

/// Run the gate as a stdio server, for clients that launch a program
///
/// Speaks MCP on stdin and stdout until stdin is closed. Logs go to stderr.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    config: ConfigArgs,
    /// A view or server, with its own names, instead of everything
    #[arg(long, value_name = "NAME")]
    view: Option<String>,
}

pub(crate) fn run(args: &Args) -> Result<(), Failure> {
    let mut config = args.config.source().load()?;
    logging::start(&config.telemetry)?;
    logging::warn_of(&config);
    if config
        .audit
        .as_ref()
        .is_some_and(gatepost_config::Audit::writes_to_stdout)
    {
        return Err(Failure::new(
            "audit.sinks: `stdout` cannot be a sink here, because stdout carries MCP",
            "remove that sink, or run `gatepost serve`; `gatepost audit tail` shows the log in a terminal",
        )
        .code(exit::CONFIGURATION));
    }
    let modules_dir = config.data_dir.clone();
    let state = state(&mut config)?;
    gate::block_on(speak(
        config,
        &modules_dir,
        args.view.as_deref().unwrap_or_default(),
    ))?;
    drop(state);
    Ok(())
}

/// The data directory. Every client launches a gate of its own, so one that comes second keeps its listings and keys in a
/// temporary directory; modules share theirs, which is made for it.
pub(crate) fn state(config: &mut Config) -> Result<DataDir, Failure> {
    match DataDir::take(&config.data_dir) {
        Ok(held) => Ok(held),
        // Calls that are in no log are what it is there to prevent.
        Err(Unavailable::Taken(holder)) if config.audit.is_some() => {
            let remedy = match holder.split_once(" at ") {
                Some((_, url)) if url.starts_with("http") => format!(
                    "use that gate: `--url {url}` for `list`, `call` and their like, `gatepost connect {url}` instead of \
                     `gatepost stdio`; or stop it"
                ),
                _ => "stop that gate, or set another `data_dir` in gatepost.yaml".to_owned(),
            };
            let message = format!(
                "the data directory {} is in use by {holder}, and with `audit` its log belongs to one gate",
                config.data_dir.display()
            );
            Err(Failure::new(message, remedy))
        }
        Err(Unavailable::Taken(holder)) => {
            tracing::info!(%holder, "the data directory is in use; this gate keeps nothing of its own");
            let temporary = DataDir::temporary()?;
            config.data_dir = temporary.path().to_path_buf();
            Ok(temporary)
        }
        Err(broken) => Err(broken.failure(&config.data_dir)),
    }
}

/// Serves one endpoint of the gate on stdin and stdout.
pub(crate) async fn speak(
    config: Config,
    modules_dir: &std::path::Path,
    endpoint: &str,
) -> Result<(), Failure> {
    let mut signals = ShutdownSignals::listen()
        .map_err(|error| Failure::new(format!("failed to listen for signals: {error}"), ""))?;
    let grace = config.shutdown_grace;
    let gate = gate::build(config, modules_dir)?;
    gate.open();
    let serving = serve(
        Arc::clone(&gate),
        endpoint,
        tokio::io::stdin(),
        tokio::io::stdout(),
        grace,
    );
    tokio::pin!(serving);
    let mut again = false;
    let served = loop {
        tokio::select! {
            served = &mut serving => break served,
            signal = signals.next() => {
                tracing::info!(signal, "stopping");
                if again {
                    break Ok(());
                }
                again = true;
                gate.drain();
            }
        }
    };
    tokio::select! {
        () = gate.close(grace) => {}
        _ = signals.next() => {}
    }
    served.map_err(|error| match error {
        ServeError::Open(error) => Failure::new(
            error.to_string(),
            "`gatepost check` lists the servers and views; `--view` names one",
        ),
        ServeError::Pipe(error) => error.into(),
    })
}
