//! The odd server on a pair of pipes, in-process or as a program of its own.

use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt as _, AsyncRead, AsyncWrite, AsyncWriteExt as _, BufReader};
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use super::core::{Call, Core, Listener, Message};
use super::out::{Op, Out};
use super::received::Received;
use super::{Era, Handle, Odd};

/// How a server on pipes came to its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// Its input was closed.
    InputClosed,
    /// It was told to break off: a program exits with a failure, at once.
    Died,
}

/// Serves one client on `input` and `output`, with `diagnostics` for stderr, until it ends.
///
/// # Errors
/// When reading or writing fails.
pub async fn serve_stdio(
    handle: &Handle,
    input: impl AsyncRead + Unpin,
    output: impl AsyncWrite + Unpin,
    diagnostics: impl AsyncWrite + Unpin,
) -> io::Result<Ended> {
    let core = &handle.0;
    let odd = core.odd();
    tokio::time::sleep(Duration::from_millis(odd.start_ms)).await;
    let (out, ops) = Out::new();
    if odd.banner {
        out.offer(Op::Raw(Bytes::from_static(
            b"odd server v1 (listening on stdio)\n\n{not json\n",
        )))
        .await;
    }
    let reading = read(core, input, out);
    tokio::select! {
        ended = write(ops, output, diagnostics) => ended,
        ended = reading => ended,
    }
}

async fn read(core: &Arc<Core>, input: impl AsyncRead + Unpin, out: Out) -> io::Result<Ended> {
    let mut calls = JoinSet::new();
    let mut lines = BufReader::new(input).split(b'\n');
    while let Some(line) = lines.next_segment().await? {
        let body = Bytes::from(line);
        core.receive(Received {
            at: "stdin".to_owned(),
            headers: Vec::new(),
            body: body.clone(),
            connection: 0,
        });
        let Some(message) = Message::parse(&body) else {
            continue;
        };
        let Some(id) = message.id.clone() else { continue };
        let Some(method) = message.method.clone() else {
            core.answered(&id, &String::from_utf8_lossy(&body));
            continue;
        };
        let era = core.odd().era;
        if method == "initialize" && era == Era::Legacy {
            core.listen(Listener {
                out: out.clone(),
                subscription: None,
            });
        }
        let params = message.params();
        let call = Call {
            core: Arc::clone(core),
            era,
            id,
            method,
            params,
            session: None,
            out: out.clone(),
        };
        calls.spawn(call.play());
        while calls.try_join_next().is_some() {}
    }
    if core.odd().linger {
        std::future::pending::<()>().await;
    }
    Ok(Ended::InputClosed)
}

async fn write(
    mut ops: mpsc::Receiver<Op>,
    mut output: impl AsyncWrite + Unpin,
    mut diagnostics: impl AsyncWrite + Unpin,
) -> io::Result<Ended> {
    while let Some(op) = ops.recv().await {
        match op {
            Op::Message(json) | Op::Last(json) | Op::Reply { body: json, .. } => {
                output.write_all(&json).await?;
                output.write_all(b"\n").await?;
            }
            Op::Begin(bytes) | Op::Raw(bytes) => output.write_all(&bytes).await?,
            Op::Stderr(bytes) => {
                diagnostics.write_all(&bytes).await?;
                diagnostics.flush().await?;
            }
            Op::Open(_) => {}
            Op::Die => {
                output.flush().await?;
                return Ok(Ended::Died);
            }
        }
        output.flush().await?;
    }
    Ok(Ended::InputClosed)
}

/// The odd server as a program that a test hands to whatever starts stdio servers.
#[derive(Debug)]
pub struct Program {
    /// The program.
    pub command: PathBuf,
    /// Its arguments.
    pub args: Vec<String>,
    folder: TempDir,
}

impl Program {
    /// Everything that all processes of this program have read so far.
    #[must_use]
    pub fn received(&self) -> Vec<Received> {
        Received::read_from(&self.folder.path().join("record"))
    }
}

/// The program that behaves as `odd` says. Builds it first where it is missing or older than its source.
///
/// # Errors
/// When it cannot be built.
pub fn program(odd: &Odd) -> io::Result<Program> {
    let folder = tempfile::tempdir()?;
    let record = folder.path().join("record").display().to_string();
    let odd = serde_json::to_string(odd)?;
    let args = ["--stdio", "--odd", &odd, "--record", &record]
        .map(str::to_owned)
        .to_vec();
    Ok(Program {
        command: built("odd-server")?,
        args,
        folder,
    })
}

/// A test of another crate cannot name this crate's binary in its build, so it is built when it is wanted.
pub(crate) fn built(program: &str) -> io::Result<PathBuf> {
    let test = std::env::current_exe()?;
    // target/debug/deps/test-0123 → target/debug
    let profile = test
        .ancestors()
        .nth(2)
        .filter(|folder| folder.join("deps").is_dir())
        .or_else(|| test.parent())
        .ok_or_else(|| io::Error::other("a test outside of any target folder"))?;
    let binary = profile.join(format!("{program}{}", std::env::consts::EXE_SUFFIX));
    let sources = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    if std::fs::metadata(&binary)
        .and_then(|found| found.modified())
        .is_ok_and(|built| built >= newest(&sources))
    {
        return Ok(binary);
    }
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.args([
        "build",
        "--quiet",
        "-p",
        "gatepost-testkit",
        "--bin",
        program,
        "--target-dir",
    ]);
    cargo
        .arg(profile.parent().unwrap_or(profile))
        .current_dir(env!("CARGO_MANIFEST_DIR"));
    if profile.ends_with("release") {
        cargo.arg("--release");
    }
    let status = cargo.status()?;
    if status.success() && binary.is_file() {
        Ok(binary)
    } else {
        Err(io::Error::other(format!(
            "cargo could not build {}: {status}",
            binary.display()
        )))
    }
}

/// When the youngest file below `folder` was changed; what cannot be read counts as old.
fn newest(folder: &Path) -> SystemTime {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let times = entries.map(|entry| match entry.file_type() {
        Ok(kind) if kind.is_dir() => newest(&entry.path()),
        _ => entry
            .metadata()
            .and_then(|data| data.modified())
            .unwrap_or(SystemTime::UNIX_EPOCH),
    });
    times.max().unwrap_or(SystemTime::UNIX_EPOCH)
}
