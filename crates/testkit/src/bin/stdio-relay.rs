//! A program whose standard streams are somebody else's: `stdio-relay ADDRESS` connects there, passes on what it reads and
//! writes what comes back. So a test can be any number of stdio servers at once.

use std::io::{self, Write as _};
use std::process::ExitCode;

use tokio::io::{AsyncWriteExt as _, copy, stdin, stdout};
use tokio::net::TcpStream;

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    match run().await {
        // At once: the thread that reads stdin would keep the process alive until its next line.
        Ok(()) => std::process::exit(0),
        Err(error) => {
            _ = writeln!(io::stderr(), "stdio-relay: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn run() -> io::Result<()> {
    let wanted = || io::Error::other("it wants an address");
    let address = std::env::args().nth(1).ok_or_else(wanted)?;
    let stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    let (from, mut to) = stream.into_split();
    let (mut input, mut output) = (stdin(), stdout());
    tokio::select! {
        ended = copy(&mut input, &mut to) => ended.map(|_| ()),
        ended = async {
            // Each piece is written as it comes: where a line is cut is the test's affair.
            loop {
                from.readable().await?;
                let mut piece = Vec::with_capacity(64 << 10);
                match from.try_read_buf(&mut piece) {
                    Ok(0) => return Ok(()),
                    Ok(_) => {
                        output.write_all(&piece).await?;
                        output.flush().await?;
                    }
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                    Err(error) => return Err(error),
                }
            }
        } => ended,
    }
}
