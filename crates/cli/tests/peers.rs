//! Real clients and real servers, which nobody here wrote, on both sides of the gate.
//!
//! They are installed by `make install-peers`. Where they are missing these tests say so and pass, but for CI, where they
//! fail.
#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::unwrap_used,
    reason = "what a test sets up and cannot do without may stop it, in the functions beside the tests too"
)]

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use gatepost_testkit::gate::{Gate, Method, Post, eventually, within};
use gatepost_testkit::odd::{Odd, OddServer};
use gatepost_testkit::peers::{NotInstalled, Peers};
use serde_json::{Value, json};
use tokio::process::Command;

const GATEPOST: &str = env!("CARGO_BIN_EXE_gatepost");

/// What was found, or nothing where the test may be skipped.
fn or_skip<T>(found: Result<T, NotInstalled>) -> Option<T> {
    match found {
        Ok(found) => Some(found),
        Err(missing) if std::env::var("CI").is_ok_and(|ci| ci == "true") => panic!("{missing}"),
        Err(missing) => {
            // Loud on purpose: a skipped test must not look like a passed one.
            let _ = writeln!(std::io::stderr(), "SKIPPED: {missing}");
            None
        }
    }
}

/// A server of each era, so that every client crosses eras too.
async fn two_eras() -> (OddServer, OddServer, Gate) {
    let modern = OddServer::start(Odd::modern().plain("t", 3)).await.unwrap();
    let old = OddServer::start(Odd::legacy().plain("t", 3)).await.unwrap();
    let servers = json!({ "modern": { "url": modern.url() }, "old": { "url": old.url() } });
    let gate = Gate::start(GATEPOST, &format!("servers: {servers}")).await;
    let client = gate.modern("/mcp");
    eventually("both are listed", async || {
        client.ask("tools/list", "{}").await.names("tools").len() == 6
    })
    .await;
    (modern, old, gate)
}

/// Runs a client to its end, and gives what it printed.
async fn printed(command: &mut Command) -> String {
    let command = command.stdin(Stdio::null()).kill_on_drop(true);
    let output = within("the client to end", command.output()).await.unwrap();
    let (out, complaint) = (
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr),
    );
    assert!(output.status.success(), "{}\n{out}\n{complaint}", output.status);
    out.into_owned()
}

const NAMES: [&str; 6] = [
    "modern__t_0000",
    "modern__t_0001",
    "modern__t_0002",
    "old__t_0000",
    "old__t_0001",
    "old__t_0002",
];

#[tokio::test]
async fn the_inspector_lists_and_calls_in_both_eras() {
    let peers = Peers::of_this_checkout();
    let Some((inspector, path)) = or_skip(
        peers
            .npm("mcp-inspector")
            .and_then(|bin| Ok((bin, peers.npm_path()?))),
    ) else {
        return;
    };
    let (_modern, _old, gate) = two_eras().await;
    let home = tempfile::tempdir().unwrap();
    for era in ["modern", "legacy"] {
        let run = async |arguments: &[&str]| {
            let mut command = Command::new(&inspector);
            command
                .args([
                    "--cli",
                    &gate.url("/mcp"),
                    "--transport",
                    "http",
                    "--protocol-era",
                    era,
                ])
                .args(arguments);
            command
                .env("PATH", &path)
                .env("HOME", home.path())
                .current_dir(home.path());
            let said = printed(&mut command).await;
            serde_json::from_str::<Value>(&said).unwrap_or_else(|error| panic!("{error}: {said}"))
        };
        let listed = run(&["--method", "tools/list"]).await;
        let names: Vec<&str> = listed["tools"]
            .as_array()
            .unwrap()
            .iter()
            .map(|tool| tool["name"].as_str().unwrap())
            .collect();
        assert_eq!(names, NAMES, "{era}");
        for tool in ["modern__t_0001", "old__t_0001"] {
            let called = run(&["--method", "tools/call", "--tool-name", tool, "--tool-arg", "x=1"]).await;
            assert!(
                called["content"][0]["text"].as_str().unwrap().contains(r#""x":"#),
                "{era}, {tool}: {called}"
            );
        }
    }
}

/// Runs a script of a TypeScript client that prints one JSON value.
async fn node(peers: &Peers, script: &str, url: &str) -> Option<Value> {
    let (node, home) = or_skip(peers.npm("node").and_then(|node| Ok((node, peers.npm_home()?))))?;
    let mut command = Command::new(node);
    // Imports of a script that is no file are looked up from the working folder.
    command
        .args(["--input-type=module", "--eval", script])
        .env("URL_OF_THE_GATE", url)
        .current_dir(home);
    let said = printed(&mut command).await;
    Some(serde_json::from_str(&said).unwrap_or_else(|error| panic!("{error}: {said}")))
}

#[track_caller]
fn was_served(said: &Value) {
    assert_eq!(said["tools"], json!(NAMES), "{said}");
    assert_eq!(said["texts"], json!([r#"{"x":1}"#, r#"{"x":1}"#]), "{said}");
}

#[tokio::test]
async fn the_typescript_sdk_1_is_served() {
    const SCRIPT: &str = r#"
        import { Client } from "@modelcontextprotocol/sdk/client/index.js";
        import { StreamableHTTPClientTransport } from "@modelcontextprotocol/sdk/client/streamableHttp.js";
        const client = new Client({ name: "typescript-1", version: "0" });
        const transport = new StreamableHTTPClientTransport(new URL(process.env.URL_OF_THE_GATE));
        await client.connect(transport);
        const { tools } = await client.listTools();
        const texts = [];
        for (const name of ["modern__t_0001", "old__t_0001"]) {
            const result = await client.callTool({ name, arguments: { x: 1 } });
            texts.push(result.content[0].text);
        }
        await client.ping();
        await transport.terminateSession();
        await client.close();
        console.log(JSON.stringify({ tools: tools.map((tool) => tool.name), texts }));
    "#;
    let peers = Peers::of_this_checkout();
    let (_modern, _old, gate) = two_eras().await;
    if let Some(said) = node(&peers, SCRIPT, &gate.url("/mcp")).await {
        was_served(&said);
    }
}

#[tokio::test]
async fn the_typescript_sdk_2_is_served() {
    const SCRIPT: &str = r#"
        import { Client, StreamableHTTPClientTransport } from "@modelcontextprotocol/client";
        const said = [];
        for (const mode of ["auto", "legacy"]) {
            const client = new Client({ name: "typescript-2", version: "0" }, { versionNegotiation: { mode } });
            await client.connect(new StreamableHTTPClientTransport(new URL(process.env.URL_OF_THE_GATE)));
            const { tools } = await client.listTools();
            const texts = [];
            for (const name of ["modern__t_0001", "old__t_0001"]) {
                const result = await client.callTool({ name, arguments: { x: 1 } });
                texts.push(result.content[0].text);
            }
            said.push({ tools: tools.map((tool) => tool.name), texts, version: client.getNegotiatedProtocolVersion?.() });
            await client.close();
        }
        console.log(JSON.stringify(said));
    "#;
    let peers = Peers::of_this_checkout();
    let (_modern, _old, gate) = two_eras().await;
    if let Some(said) = node(&peers, SCRIPT, &gate.url("/mcp")).await {
        said.as_array().unwrap().iter().for_each(was_served);
        assert_eq!(said[0]["version"], "2026-07-28", "{said}");
        assert_eq!(said[1]["version"], "2025-11-25", "{said}");
    }
}

#[tokio::test]
async fn the_python_sdk_is_served_in_both_eras() {
    const SCRIPT: &str = r#"
import asyncio, json, sys
from mcp import Client

async def main():
    said = []
    for mode in ["auto", "legacy"]:
        async with Client(sys.argv[1], mode=mode) as client:
            tools = [tool.name for tool in (await client.list_tools()).tools]
            texts = []
            for name in ["modern__t_0001", "old__t_0001"]:
                result = await client.call_tool(name, {"x": 1})
                texts.append(json.dumps(json.loads(result.content[0].text), separators=(",", ":")))
            said.append({"tools": tools, "texts": texts})
    print(json.dumps(said))

asyncio.run(main())
"#;
    let peers = Peers::of_this_checkout();
    let Some(python) = or_skip(peers.python("mcp-client", "python")) else {
        return;
    };
    let (modern, _old, gate) = two_eras().await;
    let said = printed(Command::new(python).args(["-c", SCRIPT, &gate.url("/mcp")])).await;
    let said: Value = serde_json::from_str(&said).unwrap();
    said.as_array().unwrap().iter().for_each(was_served);
    assert_eq!(modern.all("tools/call").len(), 2);
}

/// Everything that is needed to start the real servers.
struct Servers {
    path: String,
    everything: PathBuf,
    filesystem: PathBuf,
    memory: PathBuf,
    fetch: PathBuf,
    sqlite: PathBuf,
}

fn servers(peers: &Peers) -> Result<Servers, NotInstalled> {
    Ok(Servers {
        path: peers.npm_path()?.to_string_lossy().into_owned(),
        everything: peers.npm("mcp-server-everything")?,
        filesystem: peers.npm("mcp-server-filesystem")?,
        memory: peers.npm("mcp-server-memory")?,
        fetch: peers.python("mcp-server-fetch", "mcp-server-fetch")?,
        sqlite: peers.python("mcp-server-sqlite", "mcp-server-sqlite")?,
    })
}

fn configuration(servers: &Servers, folder: &Path) -> Value {
    let env = json!({ "PATH": servers.path });
    json!({
        "everything": { "command": servers.everything, "args": ["stdio"], "env": env },
        "filesystem": { "command": servers.filesystem, "args": [folder], "env": env },
        "memory": { "command": servers.memory, "cwd": folder,
            "env": { "PATH": servers.path, "MEMORY_FILE_PATH": folder.join("memory.json") } },
        "fetch": { "command": servers.fetch, "args": ["--ignore-robots-txt", "--allow-private-ips"], "cwd": folder },
        "sqlite": { "command": servers.sqlite, "args": ["--db-path", folder.join("test.db")], "cwd": folder },
    })
}

/// Two programs from PyPI, three from npm, all at once, for clients of both eras.
#[tokio::test]
async fn real_servers_list_and_answer_all_at_once() {
    let peers = Peers::of_this_checkout();
    let Some(servers) = or_skip(servers(&peers)) else {
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().canonicalize().unwrap();
    std::fs::write(root.join("hello.txt"), "hello from a file").unwrap();
    let mut configured = configuration(&servers, &root);
    // One of them only if this release takes the argument: it fetches from this machine.
    let help = Command::new(&servers.fetch).arg("--help").output().await.unwrap();
    if !String::from_utf8_lossy(&help.stdout).contains("--allow-private-ips") {
        configured["fetch"]["args"] = json!(["--ignore-robots-txt"]);
    }
    let page = OddServer::start(Odd::modern()).await.unwrap();
    let gate = Gate::start(GATEPOST, &format!("servers: {configured}")).await;
    let all = ["everything", "fetch", "filesystem", "memory", "sqlite"];
    let modern = gate.modern("/mcp");
    eventually("all are listed", async || {
        let names = modern.ask("tools/list", "{}").await.names("tools");
        all.iter()
            .all(|server| names.iter().any(|name| name.starts_with(&format!("{server}__"))))
    })
    .await;

    let file = root.join("hello.txt");
    // The fetched address says 404: that too is an answer of the server, and needs no network.
    let missing = format!("http://{}/nothing", page.address());
    for client in [modern, gate.legacy("/mcp").await] {
        for (tool, arguments, expected) in [
            (
                "everything__echo",
                json!({ "message": "hello there" }),
                "hello there",
            ),
            (
                "filesystem__read_text_file",
                json!({ "path": file }),
                "hello from a file",
            ),
            (
                "memory__create_entities",
                json!({ "entities": [{ "name": "Ann", "entityType": "person", "observations": ["is here"] }] }),
                "",
            ),
            ("memory__read_graph", json!({}), "Ann"),
            (
                "sqlite__read_query",
                json!({ "query": "SELECT 6 * 7 AS answer" }),
                "42",
            ),
            ("fetch__fetch", json!({ "url": missing }), "404"),
        ] {
            let answer = client.call(tool, &arguments.to_string()).await;
            assert_eq!(answer.status, 200, "{tool}: {}", answer.text());
            assert!(answer.text().contains(expected), "{tool}: {}", answer.text());
        }
    }
    // Resources and prompts of the real ones too.
    let client = gate.legacy("/mcp").await;
    assert!(
        !client.ask("resources/list", "{}").await.json()["result"]["resources"]
            .as_array()
            .unwrap()
            .is_empty()
    );
    assert!(
        client
            .ask("prompts/list", "{}")
            .await
            .names("prompts")
            .iter()
            .any(|name| name.starts_with("everything__"))
    );
    let get = Post::new(Method::GET, "/health");
    assert_eq!(
        get.send(gate.address()).await.whole().await.json()["status"],
        "healthy"
    );
}
