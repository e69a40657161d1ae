//! A gate in a test: the real `gatepost` binary on a free port, and clients that control every byte they send it.
//!
//! ```no_run
//! # async fn example() {
//! use gatepost_testkit::gate::{Client, Gate};
//! use gatepost_testkit::odd::{Odd, OddServer};
//!
//! let server = OddServer::start(Odd::modern()).await.unwrap();
//! let gate = Gate::start("target/debug/gatepost", &format!("servers: {{ odd: {{ url: {} }} }}", server.url())).await;
//! let answer = Client::modern(gate.address(), "/mcp/odd").call("echo", "{}").await;
//! assert_eq!(answer.status, 200);
//! # }
//! ```
//!
//! Whatever goes wrong with the harness itself stops the test with a panic that says what: there is nothing that a test
//! could do about it.

mod client;
mod events;
mod nobody;
mod post;
mod puppet;
mod stage;

use std::fmt;
use std::future::Future;
use std::io::Write as _;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::{Child, Command};
use tokio::sync::watch;
use tokio::task::JoinSet;

pub use self::client::{Client, Era};
pub use self::events::{Event, Events};
pub use self::nobody::Nobody;
pub use self::post::{Answer, Connection, Post, Reply};
pub use self::puppet::{Puppet, Turn, Writer};
pub use self::stage::{Heard, Line, Part, Stage};
pub use http::Method;

/// The longest that a test waits for anything. Only a broken test or a broken gate takes so long, also where many tests and
/// compilers share few cores.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// A running gate. Dropping it kills it, and whatever shares its process group.
#[derive(Debug)]
pub struct Gate {
    child: Child,
    address: SocketAddr,
    log: watch::Receiver<Vec<String>>,
    folder: TempDir,
    binary: PathBuf,
    _reading: JoinSet<()>,
}

impl Gate {
    /// Starts the gate `binary` with this configuration, on a free port and with a data directory of its own, and waits
    /// until it is ready. `configuration` says neither `listen`, `data_dir` nor `telemetry`.
    pub async fn start(binary: &str, configuration: &str) -> Self {
        Self::start_in(binary, configuration, temporary()).await
    }

    /// As [`Gate::start`], with the folder of a gate that ran before: its configuration is replaced, its state kept.
    pub async fn start_in(binary: &str, configuration: &str, folder: TempDir) -> Self {
        match Self::try_start(binary, configuration, folder).await {
            Ok(gate) => gate,
            Err(refused) => fail(format_args!("the gate did not start: {refused:?}")),
        }
    }

    /// Starts a gate that may refuse to.
    ///
    /// # Errors
    ///
    /// When it ended before it listened: with what it said.
    pub async fn try_start(binary: &str, configuration: &str, folder: TempDir) -> Result<Self, Refused> {
        write_configuration(folder.path(), configuration);
        let mut command = Command::new(binary);
        command
            .args(["serve", "-c"])
            .arg(folder.path().join("gatepost.yaml"))
            .current_dir(folder.path())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true);
        #[cfg(unix)]
        command.process_group(0);
        let mut child = command
            .spawn()
            .unwrap_or_else(|error| fail(format_args!("{binary} cannot be started: {error}")));
        let (lines, mut log) = watch::channel(Vec::new());
        let mut reading = JoinSet::new();
        let keep = move |line| lines.send_modify(|all: &mut Vec<String>| all.push(line));
        if let Some(output) = child.stdout.take() {
            reading.spawn(read_lines(output, keep.clone()));
        }
        if let Some(output) = child.stderr.take() {
            reading.spawn(read_lines(output, keep));
        }
        let listening = log.wait_for(|lines| lines.iter().any(|line| listening_at(line).is_some()));
        let address = match within("the gate's start", listening).await {
            Ok(lines) => lines.iter().find_map(|line| listening_at(line)),
            // Both streams have ended, so it has too.
            Err(_) => None,
        };
        let Some(address) = address else {
            let status = within("the gate's end", child.wait()).await;
            let status = status.unwrap_or_else(|error| fail(format_args!("wait: {error}")));
            let said = log.borrow().join("\n");
            return Err(Refused { status, said });
        };
        let gate = Self {
            child,
            address,
            log,
            folder,
            binary: binary.into(),
            _reading: reading,
        };
        eventually("the gate is ready", async || {
            // A gate with little patience may close the connection first.
            let answer = Post::get("/readyz").try_send(gate.address).await;
            answer.is_ok_and(|answer| answer.status == 200)
        })
        .await;
        Ok(gate)
    }

    /// A folder with this configuration in it, for commands that run before the gate does; see [`Gate::start_in`].
    pub fn prepare(configuration: &str) -> TempDir {
        let folder = temporary();
        write_configuration(folder.path(), configuration);
        folder
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The URL of an endpoint, such as `/mcp/files`.
    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// What it said so far, on both streams.
    pub fn log(&self) -> String {
        self.log.borrow().join("\n")
    }

    /// Waits until a line of the log holds `text`.
    pub async fn logged(&self, text: &str) {
        let mut log = self.log.clone();
        let found = log.wait_for(|lines| lines.iter().any(|line| line.contains(text)));
        if within(text, found).await.is_err() {
            fail(format_args!(
                "the gate ended without logging {text:?}:\n{}",
                self.log()
            ));
        }
    }

    /// Its folder, with `gatepost.yaml` and `state`.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Runs another command of the same binary in its folder, and gives what it printed on its standard output.
    pub async fn command(&self, arguments: &[&str]) -> String {
        command_in(&self.binary, self.folder.path(), arguments).await
    }

    /// The process.
    pub fn pid(&self) -> u32 {
        self.child.id().unwrap_or_default()
    }

    /// What `/health` says.
    pub async fn health(&self) -> serde_json::Value {
        Post::get("/health").send(self.address).await.whole().await.json()
    }

    /// Memory that the process has in RAM, in bytes; `None` where `/proc` is not.
    pub fn memory_bytes(&self) -> Option<u64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid())).ok()?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
        let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
        Some(kib * 1024)
    }

    /// A client of 2026-07-28 at an endpoint.
    pub fn modern(&self, path: &str) -> Client {
        Client::modern(self.address, path)
    }

    /// A client of 2025-11-25 at an endpoint, with its session.
    pub async fn legacy(&self, path: &str) -> Client {
        Client::legacy(self.address, path).await
    }

    /// SIGKILL, for the gate alone, and its end.
    pub async fn kill(mut self) -> TempDir {
        if let Err(error) = self.child.kill().await {
            fail(format_args!("kill the gate: {error}"));
        }
        self.into_folder()
    }

    /// SIGTERM, and its end. Gives back its folder, for a gate to come.
    pub async fn terminate(mut self) -> (ExitStatus, TempDir) {
        signal(self.pid(), "TERM");
        let status = within("the gate's end", self.child.wait()).await;
        let status = status.unwrap_or_else(|error| fail(format_args!("wait: {error}")));
        (status, self.into_folder())
    }

    /// Ends it with SIGTERM and starts it anew on the same state.
    pub async fn restart(self, configuration: &str) -> Self {
        let binary = self.binary.display().to_string();
        let (_, folder) = self.terminate().await;
        Self::start_in(&binary, configuration, folder).await
    }

    fn into_folder(mut self) -> TempDir {
        std::mem::replace(&mut self.folder, temporary())
    }
}

impl Drop for Gate {
    fn drop(&mut self) {
        if let Some(pid) = self.child.id() {
            #[cfg(unix)]
            if let Some(group) = i32::try_from(pid).ok().and_then(rustix::process::Pid::from_raw) {
                // It may have ended by itself.
                let _ = rustix::process::kill_process_group(group, rustix::process::Signal::KILL);
            }
        }
        if std::thread::panicking() {
            // The test runner shows this only for tests that fail.
            let _ = writeln!(std::io::stderr(), "--- the gate's log ---\n{}", self.log());
        }
    }
}

/// A gate that ended instead of listening.
#[derive(Debug)]
pub struct Refused {
    /// How it ended.
    pub status: ExitStatus,
    /// What it said, on both streams.
    pub said: String,
}

/// Waits for `future`, but not for ever.
pub async fn within<F: Future>(what: &str, future: F) -> F::Output {
    match tokio::time::timeout(PATIENCE, future).await {
        Ok(output) => output,
        Err(_) => fail(format_args!("waited {} s for {what}", PATIENCE.as_secs())),
    }
}

/// Asks again and again, for what no event tells, until it is so.
pub async fn eventually(what: &str, mut is_so: impl AsyncFnMut() -> bool) {
    within(what, async {
        while !is_so().await {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
}

/// Sends a signal, by its name without `SIG`, to a process.
pub fn signal(pid: u32, name: &str) {
    let status = std::process::Command::new("kill")
        .args([&format!("-{name}"), &pid.to_string()])
        .status();
    if !status.is_ok_and(|status| status.success()) {
        fail(format_args!("kill -{name} {pid}"));
    }
}

/// Whether a process lives. One that has ended and was not yet waited for does not.
pub fn is_alive(pid: u32) -> bool {
    std::fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| {
        let state = stat
            .rsplit_once(')')
            .and_then(|(_, rest)| rest.trim_start().chars().next());
        !matches!(state, Some('Z' | 'X') | None)
    })
}

#[expect(
    clippy::panic,
    reason = "a harness that cannot do its work must stop the test, and say why"
)]
#[track_caller]
pub(crate) fn fail(what: fmt::Arguments<'_>) -> ! {
    panic!("{what}")
}

fn temporary() -> TempDir {
    tempfile::tempdir().unwrap_or_else(|error| fail(format_args!("no temporary folder: {error}")))
}

/// Runs a command of the binary in a folder, and gives what it printed on its standard output.
pub async fn command_in(binary: &Path, folder: &Path, arguments: &[&str]) -> String {
    let output = Command::new(binary)
        .args(arguments)
        .current_dir(folder)
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output();
    let output = within("a command", output)
        .await
        .unwrap_or_else(|error| fail(format_args!("{}: {error}", binary.display())));
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        fail(format_args!("{arguments:?}: {}: {said}", output.status));
    }
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn write_configuration(folder: &Path, configuration: &str) {
    let own = "listen: 127.0.0.1:0\n";
    // A test about listening says itself where.
    let own = if configuration.starts_with("listen:") {
        ""
    } else {
        own
    };
    // A test about the log says itself how much.
    let telemetry = if configuration.contains("telemetry:") {
        ""
    } else {
        "telemetry: { log: json, level: info }\n"
    };
    let text = format!("{own}data_dir: state\n{telemetry}{configuration}\n");
    if let Err(error) = std::fs::write(folder.join("gatepost.yaml"), text) {
        fail(format_args!("write the configuration: {error}"));
    }
}

/// The address in the log line that says it listens.
fn listening_at(line: &str) -> Option<SocketAddr> {
    let line: serde_json::Value = serde_json::from_str(line).ok()?;
    if line["message"] != "listening" {
        return None;
    }
    line["url"].as_str()?.strip_prefix("http://")?.parse().ok()
}

async fn read_lines(output: impl tokio::io::AsyncRead + Unpin, keep: impl Fn(String)) {
    let mut lines = BufReader::new(output).split(b'\n');
    while let Ok(Some(line)) = lines.next_segment().await {
        keep(String::from_utf8_lossy(&line).into_owned());
    }
}
