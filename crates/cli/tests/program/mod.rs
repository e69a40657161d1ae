//! The real binary, in a folder of its own, with an environment that is the same everywhere.

#![allow(dead_code, reason = "each test binary uses a part of it")]

use std::{
    fs,
    io::{BufRead, BufReader, Read, Write},
    net::TcpStream,
    process::{Child, ChildStdin, Command, Stdio},
    sync::mpsc::{Receiver, RecvTimeoutError, channel},
    thread,
    time::{Duration, Instant},
};

use serde_json::Value;
use tempfile::TempDir;

/// Longer than anything takes on a busy machine; only a failing test waits so long.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// Where a gatepost runs: an empty folder, and a home and state directory beside it.
pub(crate) struct Folder {
    root: TempDir,
}

/// What a finished command left.
#[derive(Debug)]
pub(crate) struct Done {
    pub(crate) code: i32,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Folder {
    pub(crate) fn new() -> Self {
        let root = tempfile::tempdir().unwrap();
        fs::create_dir(root.path().join("work")).unwrap();
        Self { root }
    }

    pub(crate) fn path(&self) -> std::path::PathBuf {
        self.root.path().join("work")
    }

    pub(crate) fn write(&self, name: &str, text: &str) {
        fs::write(self.path().join(name), text).unwrap();
    }

    pub(crate) fn read(&self, name: &str) -> String {
        fs::read_to_string(self.path().join(name)).unwrap()
    }

    pub(crate) fn entries(&self) -> Vec<String> {
        let mut names: Vec<String> = fs::read_dir(self.path())
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    pub(crate) fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_gatepost"));
        command.args(args).current_dir(self.path()).stdin(Stdio::null());
        for name in ["GATEPOST_CONFIG", "GATEPOST_LOG", "CLICOLOR_FORCE"] {
            command.env_remove(name);
        }
        command
            .env("HOME", self.root.path().join("home"))
            .env("XDG_STATE_HOME", self.root.path().join("state"));
        command
    }

    pub(crate) fn run(&self, args: &[&str]) -> Done {
        let done = self.command(args).output().unwrap();
        Done {
            code: done.status.code().unwrap_or(-1),
            stdout: String::from_utf8(done.stdout).unwrap(),
            stderr: String::from_utf8(done.stderr).unwrap(),
        }
    }

    /// Starts `gatepost serve` on a free port and waits until it says where it is.
    pub(crate) fn serve(&self, args: &[&str]) -> Serving {
        let mut all = vec!["serve", "--listen", "127.0.0.1:0"];
        all.extend(args);
        let mut child = self.command(&all).stderr(Stdio::piped()).spawn().unwrap();
        let lines = lines(child.stderr.take().unwrap());
        let mut serving = Serving {
            child,
            lines,
            said: Vec::new(),
            url: String::new(),
        };
        serving.url = serving.wait_for("http://127.0.0.1:");
        let from = serving.url.find("http://").unwrap();
        serving.url = serving.url[from..].split("/mcp").next().unwrap().to_owned();
        serving
    }

    /// Starts a command that speaks MCP on its stdin and stdout.
    pub(crate) fn speak(&self, args: &[&str]) -> Speaking {
        let mut child = self
            .command(args)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let (stdin, lines) = (child.stdin.take(), lines(child.stdout.take().unwrap()));
        Speaking { child, stdin, lines }
    }
}

fn lines(stream: impl Read + Send + 'static) -> Receiver<String> {
    let (sender, receiver) = channel();
    thread::spawn(move || {
        for line in BufReader::new(stream).lines() {
            let Ok(line) = line else { break };
            if sender.send(line).is_err() {
                break;
            }
        }
    });
    receiver
}

/// A running `gatepost serve`; killed when dropped.
pub(crate) struct Serving {
    pub(crate) child: Child,
    lines: Receiver<String>,
    pub(crate) said: Vec<String>,
    /// Such as `http://127.0.0.1:40123`.
    pub(crate) url: String,
}

impl Serving {
    /// Waits until a line on stderr contains `text`.
    pub(crate) fn wait_for(&mut self, text: &str) -> String {
        loop {
            match self.lines.recv_timeout(PATIENCE) {
                Ok(line) => {
                    self.said.push(line.clone());
                    if line.contains(text) {
                        return line;
                    }
                }
                Err(error) => panic!("no `{text}` ({error:?}) in: {:#?}", self.said),
            }
        }
    }

    /// Everything it says until it ends.
    pub(crate) fn rest(&mut self) -> String {
        loop {
            match self.lines.recv_timeout(PATIENCE) {
                Ok(line) => self.said.push(line),
                Err(RecvTimeoutError::Disconnected) => return self.said.join("\n"),
                Err(RecvTimeoutError::Timeout) => panic!("it does not end: {:#?}", self.said),
            }
        }
    }

    /// One HTTP request with the headers of a modern or legacy client; status, headers and body come back.
    pub(crate) fn post(&self, path: &str, headers: &[(&str, &str)], body: &Value) -> Response {
        request(&self.url, "POST", path, headers, &body.to_string())
    }

    pub(crate) fn get(&self, path: &str) -> Response {
        request(&self.url, "GET", path, &[], "")
    }

    /// Sends a modern request.
    pub(crate) fn modern(&self, path: &str, method: &str, name: Option<&str>, params: Value) -> Response {
        modern_at(&self.url, path, method, name, params)
    }
}

/// Sends a modern request to the gate at `url`.
pub(crate) fn modern_at(url: &str, path: &str, method: &str, name: Option<&str>, params: Value) -> Response {
    let mut headers = vec![("MCP-Protocol-Version", "2026-07-28"), ("Mcp-Method", method)];
    headers.extend(name.map(|name| ("Mcp-Name", name)));
    request(
        url,
        "POST",
        path,
        &headers,
        &modern(1, method, params).to_string(),
    )
}

impl Drop for Serving {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A request in the form of 2026-07-28.
pub(crate) fn modern(id: u64, method: &str, mut params: Value) -> Value {
    params["_meta"] = serde_json::json!({
        "io.modelcontextprotocol/protocolVersion": "2026-07-28",
        "io.modelcontextprotocol/clientInfo": { "name": "test", "version": "1" },
        "io.modelcontextprotocol/clientCapabilities": {},
    });
    serde_json::json!({ "jsonrpc": "2.0", "id": id, "method": method, "params": params })
}

#[derive(Debug)]
pub(crate) struct Response {
    pub(crate) status: u16,
    pub(crate) headers: String,
    pub(crate) body: String,
}

impl Response {
    /// The last JSON-RPC message, from a JSON body or an event stream.
    pub(crate) fn message(&self) -> Value {
        let last = self
            .body
            .lines()
            .filter_map(|line| line.strip_prefix("data:"))
            .next_back();
        serde_json::from_str(last.unwrap_or(&self.body)).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    pub(crate) fn header(&self, name: &str) -> Option<String> {
        self.headers.lines().find_map(|line| {
            let (key, value) = line.split_once(':')?;
            key.eq_ignore_ascii_case(name).then(|| value.trim().to_owned())
        })
    }
}

/// A request by hand, so that nothing is between the test and the wire.
fn request(base: &str, method: &str, path: &str, headers: &[(&str, &str)], body: &str) -> Response {
    let host = base.strip_prefix("http://").unwrap();
    let mut stream = TcpStream::connect(host).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut head = format!(
        "{method} {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\nContent-Length: {}\r\n\
         Content-Type: application/json\r\nAccept: application/json, text/event-stream\r\n",
        body.len()
    );
    for (name, value) in headers {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    stream.write_all(format!("{head}\r\n{body}").as_bytes()).unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    let (head, body) = text.split_once("\r\n\r\n").unwrap();
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    let chunked = head.to_ascii_lowercase().contains("transfer-encoding: chunked");
    let body = if chunked { dechunked(body) } else { body.to_owned() };
    Response {
        status,
        headers: head.to_owned(),
        body,
    }
}

fn dechunked(mut text: &str) -> String {
    let mut whole = String::new();
    while let Some((size, rest)) = text.split_once("\r\n") {
        let size = usize::from_str_radix(size.trim(), 16).unwrap();
        if size == 0 {
            break;
        }
        whole.push_str(&rest[..size]);
        text = rest[size..].strip_prefix("\r\n").unwrap();
    }
    whole
}

/// A running command that speaks lines; killed when dropped.
pub(crate) struct Speaking {
    child: Child,
    stdin: Option<ChildStdin>,
    lines: Receiver<String>,
}

impl Speaking {
    pub(crate) fn send(&mut self, message: &Value) {
        writeln!(self.stdin.as_mut().unwrap(), "{message}").unwrap();
    }

    /// The response with this id; what comes before it is passed over.
    pub(crate) fn answer(&self, id: u64) -> Value {
        loop {
            let line = self.lines.recv_timeout(PATIENCE).unwrap();
            let message: Value = serde_json::from_str(&line).unwrap();
            if message["id"] == id {
                return message;
            }
        }
    }

    /// Closes its stdin and waits for its end.
    pub(crate) fn finish(mut self) -> i32 {
        drop(self.stdin.take());
        wait(&mut self.child)
    }
}

impl Drop for Speaking {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Waits for a process to end and returns its exit code, or -1 when a signal ended it.
pub(crate) fn wait(child: &mut Child) -> i32 {
    let until = Instant::now() + PATIENCE;
    loop {
        if let Some(status) = child.try_wait().unwrap() {
            return status.code().unwrap_or(-1);
        }
        assert!(Instant::now() < until, "it does not end");
        thread::sleep(Duration::from_millis(10));
    }
}

/// Waits until something holds.
pub(crate) fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let until = Instant::now() + PATIENCE;
    while !holds() {
        assert!(Instant::now() < until, "not within {PATIENCE:?}: {what}");
        thread::sleep(Duration::from_millis(20));
    }
}
