//! `serve` and `stdio`, from the command to the answer.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test that cannot go on says where"
)]

mod program;

use program::{Folder, modern, wait};
use serde_json::{Value, json};

fn calculate(expression: &str) -> Value {
    json!({ "name": "calculator__calculate", "arguments": { "expression": expression } })
}

/// What a result of the calculator says.
fn value(message: &Value) -> &str {
    message["result"]["structuredContent"]["result"]
        .as_str()
        .unwrap_or_else(|| panic!("{message}"))
}

fn handshake() -> Value {
    json!({ "jsonrpc": "2.0", "id": 1, "method": "initialize", "params": {
        "protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": { "name": "test", "version": "1" },
    }})
}

#[test]
fn nothing_configured_serves_a_modern_client() {
    let folder = Folder::new();
    folder.write("hello.txt", "hello");
    let gate = folder.serve(&[]);

    let listed = gate.modern("/mcp", "tools/list", None, json!({})).message();
    let names: Vec<&str> = listed["result"]["tools"]
        .as_array()
        .unwrap()
        .iter()
        .map(|tool| tool["name"].as_str().unwrap())
        .collect();
    for prefix in ["calculator__", "files__", "notes__"] {
        assert!(names.iter().any(|name| name.starts_with(prefix)), "{names:?}");
    }
    let called = gate.modern(
        "/mcp",
        "tools/call",
        Some("calculator__calculate"),
        calculate("6 * 7"),
    );
    assert_eq!((called.status, value(&called.message())), (200, "42"));
    let alone = json!({ "name": "read_file", "arguments": { "path": "hello.txt" } });
    let read = gate.modern("/mcp/files", "tools/call", Some("read_file"), alone);
    assert!(read.body.contains("hello"), "{read:?}");
    for probe in ["/livez", "/readyz", "/startupz", "/health", "/metrics"] {
        assert_eq!(gate.get(probe).status, 200, "{probe}");
    }
}

#[test]
fn nothing_configured_serves_a_legacy_client() {
    let folder = Folder::new();
    let gate = folder.serve(&[]);
    let greeted = gate.post("/mcp", &[], &handshake());
    assert_eq!(
        greeted.message()["result"]["protocolVersion"],
        "2025-11-25",
        "{greeted:?}"
    );
    let session = greeted.header("mcp-session-id").unwrap();
    let headers = [
        ("Mcp-Session-Id", session.as_str()),
        ("MCP-Protocol-Version", "2025-11-25"),
    ];
    let initialized = json!({ "jsonrpc": "2.0", "method": "notifications/initialized" });
    assert_eq!(gate.post("/mcp", &headers, &initialized).status, 202);
    let call = json!({ "jsonrpc": "2.0", "id": 2, "method": "tools/call", "params": calculate("0.1 + 0.2") });
    assert_eq!(value(&gate.post("/mcp", &headers, &call).message()), "0.3");
}

#[test]
fn the_banner_says_how_to_connect() {
    let folder = Folder::new();
    let mut gate = folder.serve(&[]);
    gate.wait_for("metrics");
    let banner = gate.said.join("\n");
    let url = format!("{}/mcp", gate.url);
    for line in [
        format!("claude mcp add --transport http gatepost {url}"),
        format!("codex mcp add gatepost --url {url}"),
        format!("gemini mcp add --transport http gatepost {url}"),
        format!(r#"code --add-mcp '{{"name":"gatepost","type":"http","url":"{url}"}}'"#),
        format!(r#""args":["connect","{url}"]"#),
    ] {
        assert!(banner.contains(&line), "{line} is not in {banner}");
    }
}

#[test]
fn a_taken_port_and_a_taken_data_directory_are_explained() {
    let folder = Folder::new();
    let gate = folder.serve(&[]);
    let done = folder.run(&["serve", "--listen", "127.0.0.1:0"]);
    assert_eq!(done.code, 1, "{done:?}");
    assert!(
        done.stderr.contains("is in use by process") && done.stderr.contains(&gate.url),
        "{done:?}"
    );

    let other = Folder::new();
    let taken = gate.url.strip_prefix("http://").unwrap();
    let done = other.run(&["serve", "--listen", taken]);
    assert_eq!(done.code, 1, "{done:?}");
    assert!(
        done.stderr.contains(taken) && done.stderr.contains("--listen 127.0.0.1:0"),
        "{done:?}"
    );
}

#[test]
fn stdio_speaks_both_eras() {
    let folder = Folder::new();
    let mut gate = folder.speak(&["stdio"]);
    gate.send(&modern(7, "tools/call", calculate("2 ^ 10")));
    assert_eq!(value(&gate.answer(7)), "1024");
    assert_eq!(gate.finish(), 0);

    let mut gate = folder.speak(&["stdio", "--view", "calculator"]);
    gate.send(&handshake());
    assert_eq!(gate.answer(1)["result"]["protocolVersion"], "2025-11-25");
    gate.send(&json!({ "jsonrpc": "2.0", "method": "notifications/initialized" }));
    let call = json!({ "name": "calculate", "arguments": { "expression": "1 / 4" } });
    gate.send(&json!({ "jsonrpc": "2.0", "id": 2, "method": "tools/call", "params": call }));
    assert_eq!(value(&gate.answer(2)), "0.25");
    assert_eq!(gate.finish(), 0);

    let done = folder.run(&["stdio", "--view", "nowhere"]);
    assert!(
        done.code != 0 && done.stderr.contains("`nowhere`") && done.stdout.is_empty(),
        "{done:?}"
    );
}

/// Every desktop client launches its own.
#[test]
fn two_stdio_gates_share_their_notes() {
    let folder = Folder::new();
    let (mut one, mut two) = (folder.speak(&["stdio"]), folder.speak(&["stdio"]));
    for gate in [&mut one, &mut two] {
        gate.send(&modern(1, "tools/list", json!({})));
        assert!(
            gate.answer(1)["result"]["tools"]
                .as_array()
                .is_some_and(|tools| tools.len() > 5)
        );
    }
}

/// Whoever collects JSON drops, or chokes on, what is none.
#[test]
fn a_gate_that_is_to_log_json_writes_nothing_else() {
    let folder = Folder::new();
    folder.write(
        "gatepost.yaml",
        "data_dir: ./state\ntelemetry: { log: json }\nidentity: { api_keys: true }\n",
    );
    let gate = folder.serve(&[]);
    assert!(
        gate.said.iter().any(|line| line.contains("add `audit: {}`")),
        "{:?}",
        gate.said
    );
    for line in &gate.said {
        assert!(serde_json::from_str::<Value>(line).is_ok(), "{line}");
    }
}

#[test]
fn a_stdio_gate_never_writes_its_log_where_mcp_is_nor_into_anothers() {
    let folder = Folder::new();
    folder.write("gatepost.yaml", "audit: { sinks: [{ stdout: {} }] }\n");
    let done = folder.run(&["stdio"]);
    assert_eq!(done.code, 3, "{done:?}");
    assert!(done.stderr.contains("stdout carries MCP"), "{done:?}");

    folder.write("gatepost.yaml", "data_dir: ./state\naudit: {}\n");
    let mut first = folder.speak(&["stdio"]);
    first.send(&modern(1, "tools/list", json!({})));
    assert!(first.answer(1)["result"].is_object());
    let second = folder.run(&["stdio"]);
    assert_ne!(second.code, 0, "{second:?}");
    assert!(second.stderr.contains("is in use by process"), "{second:?}");
    assert_eq!(first.finish(), 0);
}

#[test]
fn connect_bridges_to_a_url() {
    let folder = Folder::new();
    let gate = folder.serve(&[]);
    let mut bridge = folder.speak(&["connect", &format!("{}/mcp", gate.url)]);
    bridge.send(&handshake());
    assert_eq!(bridge.answer(1)["result"]["protocolVersion"], "2025-11-25");
    bridge.send(&json!({ "jsonrpc": "2.0", "method": "notifications/initialized" }));
    bridge.send(&json!({ "jsonrpc": "2.0", "id": 2, "method": "tools/list" }));
    let tools = bridge.answer(2);
    // The names are those of the other side, without another prefix.
    let tools = tools["result"]["tools"].as_array().unwrap();
    assert!(
        tools.iter().any(|tool| tool["name"] == "calculator__calculate"),
        "{tools:?}"
    );
    bridge.send(&json!({ "jsonrpc": "2.0", "id": 3, "method": "tools/call", "params": calculate("9 - 1") }));
    assert_eq!(value(&bridge.answer(3)), "8");
    assert_eq!(bridge.finish(), 0);
}

#[cfg(target_os = "linux")]
mod processes {
    use std::{
        fs,
        io::{Read, Write},
    };

    use program::{PATIENCE, Serving, eventually};

    use super::*;

    /// A stdio server that ignores TERM, with a child that does too. The name of its folder is in its command line.
    const STUBBORN: &str = "servers:\n  inner:\n    command: sh\n    args: [-c, 'trap \"\" TERM; \
        (while :; do sleep 1; done; : FOLDER) & exec GATEPOST stdio -c FOLDER/inner.yaml']\n";

    fn stubborn(folder: &Folder) {
        let here = folder.path().display().to_string();
        folder.write(
            "inner.yaml",
            "data_dir: ./inner\nservers: { calculator: { module: calculator } }\n",
        );
        let yaml = STUBBORN
            .replace("FOLDER", &here)
            .replace("GATEPOST", env!("CARGO_BIN_EXE_gatepost"));
        folder.write("gatepost.yaml", &yaml);
    }

    /// How many processes have the folder in their command line.
    fn servers_of(folder: &Folder) -> usize {
        let needle = folder.path().display().to_string();
        let processes = fs::read_dir("/proc").unwrap().flatten();
        let lines = processes.filter_map(|process| fs::read(process.path().join("cmdline")).ok());
        lines
            .filter(|line| String::from_utf8_lossy(line).contains(&needle))
            .count()
    }

    fn use_it(gate: &Serving) {
        let call = json!({ "name": "inner__calculator__calculate", "arguments": { "expression": "1 + 1" } });
        eventually("the inner server is listed", || {
            gate.modern("/mcp", "tools/list", None, json!({}))
                .body
                .contains("inner__calculator__calculate")
        });
        let called = gate.modern("/mcp", "tools/call", Some("inner__calculator__calculate"), call);
        assert_eq!(value(&called.message()), "2");
    }

    #[test]
    fn a_killed_gate_leaves_no_server() {
        let folder = Folder::new();
        stubborn(&folder);
        let mut gate = folder.serve(&[]);
        use_it(&gate);
        assert!(servers_of(&folder) >= 2);
        gate.child.kill().unwrap();
        gate.child.wait().unwrap();
        // The promise is two seconds; the test waits longer, since machines that run tests are busy.
        eventually("every server is gone", || servers_of(&folder) == 0);
    }

    #[test]
    fn a_stopped_gate_leaves_no_server_and_ends_well() {
        let folder = Folder::new();
        stubborn(&folder);
        let mut gate = folder.serve(&[]);
        use_it(&gate);
        terminate(&gate);
        assert_eq!(wait(&mut gate.child), 0);
        assert!(gate.rest().contains("draining"), "{:?}", gate.said);
        eventually("every server is gone", || servers_of(&folder) == 0);
    }

    #[test]
    fn a_call_in_flight_is_finished() {
        let folder = Folder::new();
        // A server that answers slowly, and says when it was asked.
        folder.write(
            "slow.sh",
            r#"while read -r line; do
  id=$(printf '%s' "$line" | sed 's/.*"id":\([0-9]*\).*/\1/')
  case "$line" in
    *server/discover*) printf '{"jsonrpc":"2.0","id":%s,"error":{"code":-32601,"message":"no"}}\n' "$id" ;;
    *initialize\"*) printf '{"jsonrpc":"2.0","id":%s,"result":{"protocolVersion":"2025-06-18","capabilities":{"tools":{}},"serverInfo":{"name":"slow","version":"1"}}}\n' "$id" ;;
    *tools/list*) printf '{"jsonrpc":"2.0","id":%s,"result":{"tools":[{"name":"wait","inputSchema":{"type":"object"}}]}}\n' "$id" ;;
    *tools/call*) : > asked; while [ ! -e go ]; do sleep 0.05; done
      printf '{"jsonrpc":"2.0","id":%s,"result":{"content":[{"type":"text","text":"finished"}]}}\n' "$id" ;;
  esac
done
"#,
        );
        folder.write(
            "gatepost.yaml",
            "servers: { slow: { command: sh, args: [slow.sh], cwd: . } }\n",
        );
        let mut gate = folder.serve(&[]);
        eventually("the server is listed", || {
            gate.modern("/mcp", "tools/list", None, json!({}))
                .body
                .contains("slow__wait")
        });
        let url = gate.url.clone();
        let answer = std::thread::scope(|scope| {
            let call = scope.spawn(|| {
                program::modern_at(
                    &url,
                    "/mcp",
                    "tools/call",
                    Some("slow__wait"),
                    json!({ "name": "slow__wait" }),
                )
            });
            eventually("the server is asked", || folder.path().join("asked").exists());
            terminate(&gate);
            eventually("nobody new is let in", || {
                std::net::TcpStream::connect(gate.url.strip_prefix("http://").unwrap()).is_err()
            });
            folder.write("go", "");
            call.join().unwrap()
        });
        assert!(answer.body.contains("finished"), "{answer:?}");
        assert_eq!(wait(&mut gate.child), 0);
    }

    #[test]
    fn a_second_signal_stops_at_once() {
        let folder = Folder::new();
        folder.write(
            "gatepost.yaml",
            "shutdown: { grace: 1h }\nservers: { calculator: { module: calculator } }\n",
        );
        let mut gate = folder.serve(&[]);
        // A request that never ends keeps the gate draining.
        let host = gate.url.strip_prefix("http://").unwrap();
        let mut stream = std::net::TcpStream::connect(host).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let head = format!(
            "POST /mcp HTTP/1.1\r\nHost: {host}\r\nContent-Type: application/json\r\n\
             Accept: application/json, text/event-stream\r\nContent-Length: 10\r\nExpect: 100-continue\r\n\r\n"
        );
        stream.write_all(head.as_bytes()).unwrap();
        // So the gate has it, and waits for the rest.
        let mut asked_for_more = [0; 12];
        stream.read_exact(&mut asked_for_more).unwrap();
        assert_eq!(&asked_for_more, b"HTTP/1.1 100");
        terminate(&gate);
        gate.wait_for("draining");
        terminate(&gate);
        assert_eq!(wait(&mut gate.child), 0);
    }

    fn terminate(gate: &Serving) {
        let id = gate.child.id().to_string();
        assert!(
            std::process::Command::new("kill")
                .args(["-TERM", &id])
                .status()
                .unwrap()
                .success()
        );
    }
}
