//! The conformance fixture as a program: a server of one era, over the network or over standard input and output.

use std::io::{self, Write as _};
use std::net::SocketAddr;
use std::process::ExitCode;

use gatepost_testkit::conformance::{Era, Fixture, LEGACY_VERSIONS, Options, Transport};

const USAGE: &str = "\
usage: conformance-server --era modern|legacy [--listen 127.0.0.1:0] [--transport http|sse | --stdio] [--newest VERSION]
  --listen     where to listen; the URL is printed on standard output
  --transport  streamable HTTP (default), or the legacy era's HTTP+SSE
  --stdio      serve one client over standard input and output instead
  --newest     the newest legacy version to admit to";

/// What the arguments ask for.
struct Arguments {
    options: Options,
    stdio: bool,
}

fn parse(mut arguments: impl Iterator<Item = String>) -> Result<Arguments, String> {
    let mut parsed = Arguments {
        options: Options::new(Era::Modern, Transport::Http),
        stdio: false,
    };
    let mut era = None;
    while let Some(flag) = arguments.next() {
        if flag == "--stdio" {
            parsed.stdio = true;
            continue;
        }
        let value = arguments.next().ok_or_else(|| format!("{flag} needs a value"))?;
        match (flag.as_str(), value.as_str()) {
            ("--era", "modern") => era = Some(Era::Modern),
            ("--era", "legacy") => era = Some(Era::Legacy),
            ("--transport", "http") => parsed.options.transport = Transport::Http,
            ("--transport", "sse") => parsed.options.transport = Transport::Sse,
            ("--listen", address) => {
                parsed.options.listen = address
                    .parse::<SocketAddr>()
                    .map_err(|error| format!("--listen {address}: {error}"))?;
            }
            ("--newest", version) => {
                let known = LEGACY_VERSIONS.iter().find(|known| **known == version);
                parsed.options.newest =
                    known.ok_or_else(|| format!("--newest is one of {}", LEGACY_VERSIONS.join(", ")))?;
            }
            _ => return Err(format!("{flag} {value} is not understood")),
        }
    }
    parsed.options.era = era.ok_or("--era is missing")?;
    Ok(parsed)
}

async fn serve(Arguments { options, stdio }: Arguments) -> io::Result<()> {
    if stdio {
        return Fixture::serve_stdio(options.era, options.newest).await;
    }
    let fixture = Fixture::start_with(&options).await?;
    writeln!(io::stdout(), "{}", fixture.url)?;
    tokio::signal::ctrl_c().await
}

#[tokio::main]
async fn main() -> ExitCode {
    let outcome = match parse(std::env::args().skip(1)) {
        Ok(arguments) => serve(arguments).await.map_err(|error| error.to_string()),
        Err(why) => Err(format!("{why}\n{USAGE}")),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            // If standard error is gone there is nobody to tell.
            let _ = writeln!(io::stderr(), "conformance-server: {why}");
            ExitCode::FAILURE
        }
    }
}
