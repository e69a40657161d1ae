//! What stands between the generator and the backend: nothing, nginx, Gatepost.

use std::io::{BufRead as _, BufReader};
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use clap::ValueEnum;
use serde::Serialize;
use tempfile::TempDir;

use crate::Era;
use crate::answers::{ECHO, STREAM};
use crate::load::{Connection, Endpoint};
use crate::machine::{Cores, spawn_on};
use crate::request::Ask;

/// A way to the backend.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, ValueEnum, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Target {
    /// The backend itself.
    Direct,
    /// nginx as a plain reverse proxy: its defaults, but for connections kept alive.
    Nginx,
    /// The same set up for streaming: `proxy_buffering off` and a buffer that long answers pass quickly.
    NginxStreaming,
    /// Gatepost, `/mcp/bench`: one server, its own names.
    GatepostServer,
    /// Gatepost, `/mcp`: every server, names prefixed.
    GatepostAll,
    /// Gatepost, `/mcp/renamed`: a view that renames.
    GatepostView,
    /// Gatepost with everything on: a key, roles, limits, a quota and the audit log (`batch`), `/mcp` in front of 50 servers
    /// with 1,000 tools.
    GatepostGuarded,
    /// The same with `durability: sync`: every call waits for the disk, together with those that come meanwhile.
    GatepostSynced,
}

impl Target {
    /// How tables name it.
    pub(crate) fn label(self) -> &'static str {
        match self {
            Self::Direct => "direct",
            Self::Nginx => "nginx",
            Self::NginxStreaming => "nginx, streaming",
            Self::GatepostServer => "gatepost /mcp/bench",
            Self::GatepostAll => "gatepost /mcp",
            Self::GatepostView => "gatepost /mcp/renamed",
            Self::GatepostGuarded => "gatepost, guarded",
            Self::GatepostSynced => "gatepost, audit synced",
        }
    }

    /// Whether Gatepost is the process under test.
    pub(crate) fn is_gatepost(self) -> bool {
        matches!(
            self,
            Self::GatepostServer
                | Self::GatepostAll
                | Self::GatepostView
                | Self::GatepostGuarded
                | Self::GatepostSynced
        )
    }

    /// What this gate has switched on.
    pub(crate) fn guard(self) -> Guard {
        match self {
            Self::GatepostGuarded => Guard::Batch,
            Self::GatepostSynced => Guard::Sync,
            _ => Guard::None,
        }
    }

    /// Where this target answers on a gate, if it is one.
    pub(crate) fn gate_path(self) -> &'static str {
        match self {
            Self::GatepostAll | Self::GatepostGuarded | Self::GatepostSynced => "/mcp",
            Self::GatepostView => "/mcp/renamed",
            _ => "/mcp/bench",
        }
    }

    /// What the two tools are called here.
    pub(crate) fn tool(self, original: &'static str) -> &'static str {
        match (self, original) {
            (Self::GatepostAll, ECHO) => "bench__echo",
            // In the middle of the catalog.
            (Self::GatepostGuarded | Self::GatepostSynced, ECHO) => "s24__echo",
            (Self::GatepostGuarded | Self::GatepostSynced, STREAM) => "s24__stream",
            (Self::GatepostView, ECHO) => "speak",
            (Self::GatepostAll | Self::GatepostView, STREAM) => "bench__stream",
            _ => original,
        }
    }
}

/// What a gate has switched on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Guard {
    /// What it switches on by itself.
    None,
    /// A key, roles, limits, a quota and the audit log.
    Batch,
    /// The same, with the audit log on the disk before each call.
    Sync,
}

/// A process of ours, ended when it is dropped.
#[derive(Debug)]
pub(crate) struct Process {
    child: Child,
    /// Where it listens.
    pub(crate) endpoint: Endpoint,
    /// Its configuration and data; removed with it.
    home: Option<TempDir>,
}

impl Process {
    /// The process to measure.
    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// Ends the process and hands back its folder, so that another one can start on the same data.
    fn into_home(mut self) -> Option<TempDir> {
        self.home.take()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // TERM, not KILL: nginx's master must have the chance to end its worker.
        if let Some(pid) = i32::try_from(self.child.id())
            .ok()
            .and_then(rustix::process::Pid::from_raw)
        {
            _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
        }
        let asked = Instant::now();
        while let Ok(None) = self.child.try_wait() {
            if asked.elapsed() > Duration::from_secs(3) {
                _ = self.child.kill();
                _ = self.child.wait();
                return;
            }
            std::thread::sleep(Duration::from_millis(2));
        }
    }
}

/// Starts the processes of a run.
#[derive(Debug)]
pub(crate) struct Starter {
    pub(crate) cores: Cores,
    pub(crate) nginx: PathBuf,
    pub(crate) gatepost: PathBuf,
}

impl Starter {
    /// A backend that speaks `era`, on the target's core where it is the target itself.
    pub(crate) fn backend(&self, era: Era, is_target: bool) -> Result<Process> {
        let core = if is_target {
            self.cores.target
        } else {
            self.cores.rest
        };
        let era = if era == Era::Modern { "modern" } else { "legacy" };
        let mut command = Command::new(std::env::current_exe()?);
        command.args(["backend", "--era", era, "--until-stdin-closes"]);
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = spawn_on(core, self.cores.rest, &mut command)?;
        let mut url = String::new();
        BufReader::new(child.stdout.take().context("no pipe")?).read_line(&mut url)?;
        Ok(Process {
            child,
            endpoint: Endpoint::parse(url.trim()).context("the backend did not start")?,
            home: None,
        })
    }

    /// nginx in front of `backend`: one worker, connections kept alive on both sides, no log.
    pub(crate) fn nginx(&self, backend: SocketAddr, buffered: bool) -> Result<Process> {
        let home = TempDir::new()?;
        let port = free_port()?;
        let configuration = nginx_configuration(home.path(), port, backend, buffered);
        std::fs::write(home.path().join("nginx.conf"), configuration)?;
        let mut command = Command::new(&self.nginx);
        command
            .arg("-p")
            .arg(home.path())
            .arg("-c")
            .arg(home.path().join("nginx.conf"));
        // It complains about its compiled-in error log before it has read ours.
        command
            .arg("-e")
            .arg(home.path().join("error.log"))
            .stdin(Stdio::null());
        let child = spawn_on(self.cores.target, self.cores.rest, &mut command)
            .context("is nginx installed? (Debian: apt-get install nginx-light)")?;
        Ok(Process {
            child,
            endpoint: local(port),
            home: Some(home),
        })
    }

    /// Gatepost with everything it switches on by default, in front of one server.
    pub(crate) fn gatepost(&self, backend: &Endpoint, home: Option<TempDir>) -> Result<Process> {
        let servers = format!(
            "servers: {{ bench: {{ url: \"http://{}{}\" }} }}\n\
             views: {{ renamed: {{ include: [\"*\"], rename: {{ bench__echo: speak }} }} }}\n",
            backend.address, backend.path,
        );
        self.gate(&servers, false, home)
    }

    /// Gatepost with a key, roles, limits, a quota and the audit log, in front of 50 servers with 20 tools each.
    pub(crate) fn guarded(&self, backend: &Endpoint, guard: Guard) -> Result<Process> {
        self.gate(&guarded_configuration(backend, guard), true, None)
    }

    fn gate(&self, rest: &str, with_key: bool, home: Option<TempDir>) -> Result<Process> {
        ensure!(
            self.gatepost.is_file(),
            "{} is missing: build it with `cargo build --release`, or leave it out with `--targets direct,nginx`",
            self.gatepost.display()
        );
        let home = home.map_or_else(TempDir::new, Ok)?;
        let port = free_port()?;
        let configuration = format!(
            "listen: 127.0.0.1:{port}\ndata_dir: {}\n{rest}",
            home.path().join("state").display(),
        );
        let file = home.path().join("gatepost.yaml");
        std::fs::write(&file, configuration)?;
        let key = if with_key { Some(self.key(&file)?) } else { None };
        let mut command = Command::new(&self.gatepost);
        let log = std::fs::File::create(home.path().join("log"))?;
        command
            .arg("serve")
            .arg("-c")
            .arg(&file)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log);
        let child = spawn_on(self.cores.target, self.cores.rest, &mut command)?;
        Ok(Process {
            child,
            endpoint: Endpoint { key, ..local(port) },
            home: Some(home),
        })
    }

    /// An API key of the gate with this configuration.
    fn key(&self, configuration: &Path) -> Result<String> {
        let made = Command::new(&self.gatepost)
            .args(["keys", "create", "--role", "caller", "--json", "-c"])
            .arg(configuration)
            .output()?;
        ensure!(
            made.status.success(),
            "no API key could be made: {}",
            String::from_utf8_lossy(&made.stderr)
        );
        let made: serde_json::Value = serde_json::from_slice(&made.stdout)?;
        Ok(made["key"]
            .as_str()
            .context("`keys create` printed no key")?
            .to_owned())
    }
}

/// As many rules as a gate of some size has; none of them is ever over.
fn guarded_configuration(backend: &Endpoint, guard: Guard) -> String {
    let mut text = "identity: { api_keys: true }\n\
         roles:\n\
         \x20 reader: { allow: [\"s0*\"], access: read }\n\
         \x20 caller: { allow: [\"s1*__*\", \"s2*__*\", \"s3*__*\", \"s4*__*\", \"s0*__*\"], deny: [\"*delete*\"], access: destructive }\n\
         bindings: [{ role: reader, issuer: \"gatepost:key\" }]\n\
         limits:\n\
         \x20 - { per: ip, rate: 1000000/s }\n\
         \x20 - { per: principal, rate: 1000000/s }\n\
         \x20 - { per: principal, concurrency: 10000 }\n\
         \x20 - { per: tool, match: \"s2*\", rate: 1000000/s, algorithm: sliding_window }\n\
         quotas: [{ per: principal, calls: 1000000000000/day, bytes: 1000TiB/day }]\n"
        .to_owned();
    text += match guard {
        Guard::Sync => "audit: { durability: sync }\n",
        Guard::None | Guard::Batch => "audit: {}\n",
    };
    text += "servers:\n";
    for server in 0..50 {
        text += &format!(
            "  s{server:02}: {{ url: \"http://{}/mcp/20\" }}\n",
            backend.address
        );
    }
    text
}

fn local(port: u16) -> Endpoint {
    Endpoint {
        address: SocketAddr::from(([127, 0, 0, 1], port)),
        path: "/mcp".to_owned(),
        key: None,
    }
}

/// A port that is free now. Another program could take it before the target does; then the run fails, loudly.
fn free_port() -> Result<u16> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
}

fn nginx_configuration(home: &Path, port: u16, backend: SocketAddr, buffered: bool) -> String {
    // As root the worker would turn into `nobody`, who may not write to our folder. Unprivileged, nginx
    // only warns about the line.
    let user = if rustix::process::geteuid().is_root() {
        "user root;\n"
    } else {
        ""
    };
    // With buffering off the one buffer is all there is: with the 4 KiB of the default, long answers cost
    // nginx five times as much, and it would be no fair rival.
    let buffering = if buffered {
        ""
    } else {
        "proxy_buffering off; proxy_buffer_size 32k; proxy_buffers 8 32k;"
    };
    let home = home.display();
    format!(
        "{user}worker_processes 1;\n\
         daemon off;\n\
         pid {home}/nginx.pid;\n\
         error_log {home}/error.log;\n\
         events {{ worker_connections 2048; }}\n\
         http {{\n\
           access_log off;\n\
           tcp_nodelay on;\n\
           keepalive_requests 1000000000;\n\
           client_body_temp_path {home}/body; proxy_temp_path {home}/proxy; fastcgi_temp_path {home}/fastcgi;\n\
           uwsgi_temp_path {home}/uwsgi; scgi_temp_path {home}/scgi;\n\
           upstream backend {{ server {backend}; keepalive 512; keepalive_requests 1000000000; }}\n\
           server {{\n\
             listen 127.0.0.1:{port};\n\
             location / {{\n\
               proxy_pass http://backend;\n\
               proxy_http_version 1.1;\n\
               proxy_set_header Connection \"\";\n\
               {buffering}\n\
             }}\n\
           }}\n\
         }}\n"
    )
}

/// How long a fresh process took, from its start, to its first answers.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub(crate) struct StartUp {
    /// To the answer to `server/discover`, in milliseconds.
    pub(crate) discover_ms: f64,
    /// To the answer to a `tools/call` sent after that, in milliseconds.
    pub(crate) call_ms: f64,
}

/// Waits until a process started at `begun` answers at `path`, and how long that took.
///
/// # Errors
/// When it has not answered within 10 s.
pub(crate) async fn first_answers(
    process: &mut Process,
    target: Target,
    path: &str,
    begun: Instant,
) -> Result<StartUp> {
    let endpoint = process.endpoint.at(path);
    let limit = Duration::from_secs(10);
    let mut connection = loop {
        match Connection::open(&endpoint).await {
            Ok(connection) => break connection,
            Err(error) if begun.elapsed() > limit => return Err(error),
            // Finer than tokio's timer; nothing else runs on this thread while a target starts.
            Err(_) => std::thread::sleep(Duration::from_micros(100)),
        }
        if let Some(status) = process.child.try_wait()? {
            bail!(
                "{} ended at once ({status}): {}",
                target.label(),
                process.last_words()
            );
        }
    };
    let mut discover = connection.request(Era::Modern, Ask::Discover, None);
    // An answer of the wrong kind means "not ready yet" here; it must come right within the limit.
    while let Err(error) = connection.once(&mut discover).await {
        if begun.elapsed() > limit {
            return Err(error.context(format!("{} does not answer server/discover", target.label())));
        }
        std::thread::sleep(Duration::from_micros(100));
        connection = Connection::open(&endpoint).await?;
    }
    let discover_ms = begun.elapsed().as_secs_f64() * 1e3;
    let mut call = connection.request(Era::Modern, Ask::Call(target.tool(ECHO)), None);
    connection
        .once(&mut call)
        .await
        .with_context(|| format!("{}'s first call failed", target.label()))?;
    Ok(StartUp {
        discover_ms,
        call_ms: begun.elapsed().as_secs_f64() * 1e3,
    })
}

impl Process {
    /// Waits until somebody listens, for targets that cannot be asked anything yet.
    ///
    /// # Errors
    /// When nobody does 10 s after `begun`.
    pub(crate) fn listening(&self, begun: Instant) -> Result<()> {
        while let Err(error) = std::net::TcpStream::connect(self.endpoint.address) {
            if begun.elapsed() > Duration::from_secs(10) {
                return Err(error).with_context(|| format!("nobody listens: {}", self.last_words()));
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        Ok(())
    }

    /// What the process wrote before it gave up.
    fn last_words(&self) -> String {
        let Some(home) = &self.home else {
            return String::new();
        };
        let read = |name| std::fs::read_to_string(home.path().join(name)).unwrap_or_default();
        format!("{}{}", read("log"), read("error.log"))
    }

    /// Ends this process and starts Gatepost anew on the same data.
    ///
    /// # Errors
    /// When it cannot be started.
    pub(crate) fn again(self, starter: &Starter, backend: &Endpoint) -> Result<(Self, Instant)> {
        let home = self.into_home();
        let begun = Instant::now();
        Ok((starter.gatepost(backend, home)?, begun))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_target_knows_the_tools_by_its_own_names() {
        assert_eq!(Target::Nginx.tool(ECHO), "echo");
        assert_eq!(Target::GatepostServer.tool(STREAM), "stream");
        assert_eq!(Target::GatepostAll.tool(ECHO), "bench__echo");
        assert_eq!(Target::GatepostView.tool(ECHO), "speak");
        assert_eq!(Target::GatepostView.tool(STREAM), "bench__stream");
    }

    #[test]
    fn nginx_keeps_connections_alive_on_both_sides() {
        let address = "127.0.0.1:9".parse().unwrap();
        let text = nginx_configuration(Path::new("/h"), 8, address, false);
        for line in [
            "server 127.0.0.1:9; keepalive 512",
            "proxy_buffering off",
            "access_log off",
            "Connection \"\"",
        ] {
            assert!(text.contains(line), "{line} in {text}");
        }
    }
}
