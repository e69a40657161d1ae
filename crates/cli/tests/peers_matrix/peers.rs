//! The clients and servers, and how each is started.

use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};
use std::time::Duration;

use gatepost_testkit::gate::{Gate, within};
use gatepost_testkit::peers::{NotInstalled, Peers};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::{Child, Command};

use crate::FEATURES;

/// A client that speaks one era over one transport.
pub(crate) struct Client {
    pub(crate) key: &'static str,
    pub(crate) title: &'static str,
    script: &'static str,
    /// How it gets to the gate.
    way: Way,
}

enum Way {
    /// To the endpoint that has this prefix, with the argument that names the transport, if the script wants one.
    Url(&'static str, Option<&'static str>),
    /// To a gate of its own, which it starts.
    Stdio,
    /// To the gate by way of a bridge, which it starts.
    Connect,
}

/// In the order of the table.
pub(crate) const CLIENTS: [Client; 6] = [
    Client {
        key: "modern",
        title: "modern, TypeScript 2",
        script: "client_2x.mjs",
        way: Way::Url("/mcp", None),
    },
    Client {
        key: "modern_python",
        title: "modern, Python 2",
        script: "client_python.py",
        way: Way::Url("/mcp", None),
    },
    Client {
        key: "legacy",
        title: "legacy, TypeScript 1",
        script: "client_1x.mjs",
        way: Way::Url("/mcp", Some("http")),
    },
    Client {
        key: "old_sse",
        title: "old SSE, TypeScript 1",
        script: "client_1x.mjs",
        way: Way::Url("/sse", Some("sse")),
    },
    Client {
        key: "stdio",
        title: "stdio to `gatepost stdio`, TypeScript 1",
        script: "client_1x.mjs",
        way: Way::Stdio,
    },
    Client {
        key: "connect",
        title: "stdio through `gatepost connect`, TypeScript 1",
        script: "client_1x.mjs",
        way: Way::Connect,
    },
];

/// A server that speaks one era over one transport.
pub(crate) struct Server {
    /// Its name in the configuration.
    pub(crate) key: &'static str,
    pub(crate) title: &'static str,
    script: &'static str,
    kind: Option<&'static str>,
    transport: Transport,
}

#[derive(PartialEq)]
enum Transport {
    Http,
    OldSse,
    Stdio,
}

impl Server {
    /// What is tried in turns: each round with every client before the next begins.
    pub(crate) fn rounds(&self) -> Vec<Vec<&'static str>> {
        let all = FEATURES.map(|(feature, _)| feature);
        if self.key == "stdio_modern" {
            // A line that this process logs names no call. For a while after a call was cancelled it could be that one's, so
            // that the gate shows it to nobody.
            let others = all.into_iter().filter(|feature| *feature != "cancel");
            vec![others.collect(), vec!["cancel"]]
        } else {
            vec![all.to_vec()]
        }
    }
}

/// In the order of the table.
pub(crate) const SERVERS: [Server; 6] = [
    Server {
        key: "modern",
        title: "modern, TypeScript 2",
        script: "server_2x.mjs",
        kind: None,
        transport: Transport::Http,
    },
    Server {
        key: "modern_fastmcp",
        title: "modern, FastMCP 4",
        script: "server_python.py",
        kind: Some("fastmcp"),
        transport: Transport::Http,
    },
    Server {
        key: "legacy",
        title: "legacy, TypeScript 1",
        script: "server_1x.mjs",
        kind: Some("http"),
        transport: Transport::Http,
    },
    Server {
        key: "old_sse",
        title: "old SSE, TypeScript 1",
        script: "server_1x.mjs",
        kind: Some("sse"),
        transport: Transport::OldSse,
    },
    Server {
        key: "stdio",
        title: "stdio, legacy, TypeScript 1",
        script: "server_1x.mjs",
        kind: Some("stdio"),
        transport: Transport::Stdio,
    },
    Server {
        key: "stdio_modern",
        title: "stdio, modern, Python 2",
        script: "server_python.py",
        kind: Some("mcp"),
        transport: Transport::Stdio,
    },
];

/// Far more than a client takes that waits in vain for every feature.
const PATIENCE: Duration = Duration::from_secs(200);

/// The scripts in a folder of their own, where they find their packages.
pub(crate) struct Scripts {
    folder: TempDir,
    node: PathBuf,
    python_client: PathBuf,
    python_server: PathBuf,
}

impl Scripts {
    /// Copies them next to a link to the installed packages, because Node looks for those beside a script.
    pub(crate) fn set_up() -> Result<Self, NotInstalled> {
        let peers = Peers::of_this_checkout();
        let (home, node) = (peers.npm_home()?, peers.npm("node")?);
        let folder = tempfile::tempdir().unwrap();
        for script in std::fs::read_dir(pins().join("matrix")).unwrap() {
            let script = script.unwrap();
            std::fs::copy(script.path(), folder.path().join(script.file_name())).unwrap();
        }
        std::os::unix::fs::symlink(home.join("node_modules"), folder.path().join("node_modules")).unwrap();
        Ok(Self {
            folder,
            node,
            python_client: peers.python("mcp-client", "python")?,
            python_server: peers.python("fastmcp", "python")?,
        })
    }

    /// Starts a server, but for one that the gate starts, and gives its entry in the configuration.
    pub(crate) async fn start(&self, server: &Server) -> (Value, Option<Child>) {
        let interpreter = if is_python(server.script) {
            &self.python_server
        } else {
            &self.node
        };
        let script = self.folder.path().join(server.script);
        let mut arguments: Vec<PathBuf> = vec![script];
        if let Some(kind) = server.kind {
            arguments.push(kind.into());
            arguments.push(self.folder.path().join(format!("shared-{kind}")));
        }
        // Calls of one client that wait for each other need a process or a session each.
        let pool = json!({ "max": 8 });
        if server.transport == Transport::Stdio {
            let entry = json!({ "command": interpreter, "args": arguments, "pool": pool });
            return (entry, None);
        }
        let mut child = Command::new(interpreter)
            .args(&arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let line = within(server.title, lines.next_line()).await.unwrap().unwrap();
        let started: Value = serde_json::from_str(&line).unwrap();
        let mut entry = json!({ "url": started["url"], "pool": pool });
        if server.transport == Transport::OldSse {
            entry["transport"] = json!("sse");
        }
        (entry, Some(child))
    }

    /// Writes the configuration of a gate of one server, for clients that start their own.
    pub(crate) fn write_configuration(&self, key: &str, entry: &Value) {
        let configuration = json!({ "data_dir": format!("state-{key}"), "servers": { key: entry } });
        std::fs::write(self.configuration(key), configuration.to_string()).unwrap();
    }

    fn configuration(&self, key: &str) -> PathBuf {
        self.folder.path().join(format!("gatepost-{key}.yaml"))
    }

    /// Runs a client to its end.
    pub(crate) async fn run(
        &self,
        client: &Client,
        server: &Server,
        features: &[&str],
        gate: &Gate,
        gatepost: &str,
    ) -> Output {
        let interpreter = if is_python(client.script) {
            &self.python_client
        } else {
            &self.node
        };
        let mut command = Command::new(interpreter);
        // Its name is in what it asks and answers, so that nobody's message passes for another's.
        command
            .arg(self.folder.path().join(client.script))
            .arg(format!("{}-at-{}", client.key, server.key))
            .env("FEATURES", features.join(","));
        match client.way {
            Way::Url(prefix, transport) => {
                command
                    .args(transport)
                    .arg(gate.url(&format!("{prefix}/{}", server.key)));
            }
            Way::Connect => {
                let url = gate.url(&format!("/mcp/{}", server.key));
                command.args(["stdio", gatepost, "connect", &url]);
            }
            Way::Stdio => {
                command
                    .args(["stdio", gatepost, "stdio", "-c"])
                    .arg(self.configuration(server.key))
                    .args(["--view", server.key]);
            }
        }
        command.stdin(Stdio::null()).kill_on_drop(true);
        tokio::time::timeout(PATIENCE, command.output())
            .await
            .unwrap_or_else(|_| panic!("{} with {} does not end", client.title, server.title))
            .unwrap()
    }
}

fn is_python(script: &str) -> bool {
    Path::new(script)
        .extension()
        .is_some_and(|extension| extension == "py")
}

/// Where the peers' scripts and versions are.
pub(crate) fn pins() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../testing/peers")
}
