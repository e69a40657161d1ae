//! `gatepost serve`: the gate over HTTP, until it is told to stop.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    ops::RangeInclusive,
    sync::Arc,
    time::Duration,
};

use gatepost_config::{Config, Listen, LogForm, listen_remedy};
use gatepost_gateway::{
    Gate,
    http::{Audience, Listener, serve},
};
use gatepost_process::ShutdownSignals;
use tokio::{task::JoinHandle, time::Instant};

use crate::{
    banner::{Whereabouts, banner},
    configuration::{ConfigArgs, Source},
    data_dir::DataDir,
    exit,
    failure::Failure,
    gate, logging, output,
};

/// How long the errors of what was cut may take to go out.
const LAST_WORDS: Duration = Duration::from_secs(2);

/// How long servers have to end once the calls are done: the least, even where no grace is left, and the most, since
/// somebody waits.
const LAST_GRACE: RangeInclusive<Duration> = Duration::from_millis(500)..=Duration::from_secs(3);

/// Run the gate over HTTP
///
/// Without a configuration it serves this folder read-only, a calculator and notes, on 127.0.0.1:8080. SIGTERM or Ctrl-C
/// lets calls in flight finish within `shutdown.grace`; a second one stops at once.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    config: ConfigArgs,
    /// Where to listen, instead of the configuration's `listen`: `127.0.0.1:8080`, `127.0.0.1:0` for any free port,
    /// `unix:/path`
    #[arg(long, value_name = "ADDR")]
    listen: Option<String>,
}

pub(crate) fn run(args: &Args) -> Result<(), Failure> {
    let source = args.config.source();
    let mut config = source.load()?;
    if let Some(listen) = &args.listen {
        config.listen = listen_address(listen, &config)?;
    }
    logging::start(&config.telemetry)?;
    logging::warn_of(&config);
    gate::block_on(run_gate(config, &source))
}

/// An address from the command line, held to the rules of the configuration's.
fn listen_address(text: &str, config: &Config) -> Result<Listen, Failure> {
    let parsed = text.parse::<Listen>();
    parsed
        .and_then(|listen| listen.check_reach(config.identity.as_ref()).map(|()| listen))
        .map_err(|error| {
            Failure::new(format!("--listen: `{text}` {error}"), listen_remedy(error))
                .code(exit::CONFIGURATION)
        })
}

async fn run_gate(config: Config, source: &Source) -> Result<(), Failure> {
    // From here on a signal is an orderly end, not a sudden one.
    let mut signals = ShutdownSignals::listen()
        .map_err(|error| Failure::new(format!("failed to listen for signals: {error}"), ""))?;
    let mut held = DataDir::take(&config.data_dir).map_err(|error| error.failure(&config.data_dir))?;
    // Bound first: who connects while the gate is built waits a moment instead of being refused.
    let main = bind(&config.listen, "--listen or `listen`").await?;
    let ops = match &config.ops {
        Some(listen) => Some(bind(listen, "`ops.listen`").await?),
        None => None,
    };
    let whereabouts = whereabouts(&main, ops.as_ref(), *source == Source::Zero);
    let base = whereabouts
        .base
        .clone()
        .unwrap_or_else(|| config.listen.to_string());
    held.describe(format_args!("process {} at {base}/mcp", std::process::id()));
    let (grace, log) = (config.shutdown_grace, config.telemetry.log);
    let gate = gate::build(config, held.path())?;
    gate.open();
    let listeners = [Some((main, Audience::Main)), ops.map(|ops| (ops, Audience::Ops))];
    let serving: Vec<JoinHandle<()>> = listeners
        .into_iter()
        .flatten()
        .map(|(listener, audience)| tokio::spawn(serve(Arc::clone(&gate), listener, audience)))
        .collect();
    // Who reads JSON asked for nothing else on this stream.
    if log == LogForm::Json {
        tracing::info!(url = %base, "listening");
    } else {
        output::words(&banner(gate.snapshot().config(), &whereabouts));
    }

    let signal = signals.next().await;
    tracing::info!(
        signal,
        in_flight = gate.in_flight(),
        grace_s = grace.as_secs(),
        "draining"
    );
    let until = Instant::now() + grace;
    gate.drain();
    let drained = async {
        for listener in serving {
            // A listener that panicked has told the log; nothing is left to wait for.
            let _ = listener.await;
        }
    };
    let mut drained = std::pin::pin!(drained);
    let patience = tokio::select! {
        () = &mut drained => true,
        () = tokio::time::sleep_until(until) => {
            tracing::warn!(in_flight = gate.in_flight(), "the grace is over; what is still running is cut");
            gate.cut();
            // What has no answer yet gets an error, which takes a moment to go out.
            let _ = tokio::time::timeout(LAST_WORDS, drained).await;
            true
        }
        again = signals.next() => {
            tracing::warn!(signal = again, in_flight = gate.in_flight(), "stopping at once");
            false
        }
    };
    end(&gate, until, patience, &mut signals).await;
    tracing::info!("stopped");
    Ok(())
}

/// Ends the servers, politely unless somebody has lost patience.
async fn end(gate: &Gate, until: Instant, patience: bool, signals: &mut ShutdownSignals) {
    let left = if patience {
        until
            .saturating_duration_since(Instant::now())
            .clamp(*LAST_GRACE.start(), *LAST_GRACE.end())
    } else {
        Duration::ZERO
    };
    tokio::select! {
        () = gate.close(left) => {}
        // Whatever is left then is ended by its supervisor, when this process is gone.
        _ = signals.next() => {}
    }
}

async fn bind(listen: &Listen, setting: &str) -> Result<Listener, Failure> {
    Listener::bind(listen).await.map_err(|error| {
        let remedy = match error.kind() {
            std::io::ErrorKind::AddrInUse => {
                "something else listens there, perhaps another gatepost; stop it, or take any free port with \
                 `--listen 127.0.0.1:0`"
                    .to_owned()
            }
            _ => format!("choose another address with {setting}"),
        };
        Failure::new(format!("failed to listen on {listen}: {error}"), remedy)
    })
}

/// An address at which the gate is found from this machine: that of every interface is none.
fn named(address: SocketAddr) -> SocketAddr {
    let ip = match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(ip, address.port())
}

fn whereabouts(main: &Listener, ops: Option<&Listener>, zero: bool) -> Whereabouts {
    let url = |listener: &Listener| {
        listener
            .address()
            .map(|address| format!("http://{}", named(address)))
    };
    let program =
        std::env::current_exe().map_or_else(|_| "gatepost".into(), |path| path.display().to_string());
    let base = url(main);
    // Without a listener of their own, operators are answered on the main one, if nobody else can reach that.
    let ops = match ops {
        Some(ops) => url(ops),
        None => base.clone().filter(|_| main.is_private()),
    };
    Whereabouts {
        base,
        ops,
        zero,
        program,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_listens_everywhere_is_found_here() {
        for (address, expected) in [
            ("0.0.0.0:8080", "127.0.0.1:8080"),
            ("[::]:8080", "[::1]:8080"),
            ("192.0.2.1:80", "192.0.2.1:80"),
        ] {
            assert_eq!(named(address.parse().unwrap()).to_string(), expected);
        }
    }
}
