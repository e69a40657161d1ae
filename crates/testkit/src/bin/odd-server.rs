//! The odd server as a program: `odd-server --stdio | --http ADDRESS [--odd JSON] [--record FILE]`.
//!
//! `JSON` holds the switches of `gatepost_testkit::odd::Odd`; everything received is appended to `FILE`.

use std::io::{self, Write as _};
use std::path::PathBuf;
use std::process::{Command, ExitCode, Stdio};

use gatepost_testkit::odd::{Ended, Handle, Odd, OddServer, serve_stdio};

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    match run().await {
        Ok(Ended::InputClosed) => ExitCode::SUCCESS,
        // At once: the thread that reads stdin would keep the process alive until its next line.
        Ok(Ended::Died) => std::process::exit(3),
        Err(error) => {
            _ = writeln!(io::stderr(), "odd-server: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn run() -> io::Result<Ended> {
    let (mut http, mut odd, mut record) = (None, Odd::default(), None::<PathBuf>);
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        let mut value = || {
            arguments
                .next()
                .ok_or_else(|| io::Error::other(format!("{argument} wants a value")))
        };
        match argument.as_str() {
            "--stdio" => {}
            "--http" => http = Some(value()?.parse().map_err(io::Error::other)?),
            "--odd" => odd = serde_json::from_str(&value()?)?,
            "--record" => record = Some(value()?.into()),
            _ => return Err(io::Error::other(format!("unknown argument {argument}"))),
        }
    }
    let handle = Handle::new(odd.clone(), record);
    if odd.grandchild {
        let mut sleeper = Command::new("sh");
        sleeper.args(["-c", "trap '' TERM HUP INT; exec sleep 600"]);
        sleeper
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        handle.set_grandchild(sleeper.spawn()?.id());
    }
    // Merely listening for TERM keeps it from ending the process.
    #[cfg(unix)]
    let _ignored = if odd.linger {
        Some(tokio::signal::unix::signal(
            tokio::signal::unix::SignalKind::terminate(),
        )?)
    } else {
        None
    };
    if let Some(address) = http {
        let server = OddServer::start_at(address, handle).await?;
        writeln!(io::stdout(), "{}", server.url())?;
        server.wait().await;
        return Ok(Ended::InputClosed);
    }
    serve_stdio(
        &handle,
        tokio::io::stdin(),
        tokio::io::stdout(),
        tokio::io::stderr(),
    )
    .await
}
