//! The page of the documentation that shows the result.

use std::fmt::Write as _;
use std::path::Path;

use serde_json::Value;

use crate::exceptions::{self, EXCEPTIONS};
use crate::peers::{CLIENTS, SERVERS, pins};
use crate::{FEATURES, Outcomes};

const INTRODUCTION: &str = "\
# Every client with every server

What works when real SDKs talk to each other through the gate, as `crates/cli/tests/peers_matrix` finds it; that test writes this
page. The specification's own compatibility matrix says \"Fails\" where a modern client meets a legacy server, and where a
legacy client meets a modern one. [eras.md](eras.md) says how they are made to understand each other.
";

const EXPLANATION: &str = "\
- **tool**: a call and its answer.
- **form**, **URL**, **sampling**, **roots**: the server asks in the midst of a call, and the client's answer is in the call's
  result; a form is also declined. Servers of the TypeScript SDK 1 over HTTP ask for forms and roots on the call's own stream, for
  the rest on the session's.
- **URL first**: the call works when the user has visited a page, and is shown it once. Until then a legacy server refuses with
  -32042, and tells when the page was visited; a modern one asks.
- **several**: a form and roots at once, then sampling about both answers, all in one call.
- **progress**: of two calls at once, each is told of its own, before its result.
- **cancel**: the server has seen that the client gave up a call.
- **log**: a line that the server logs in a call reaches the client. A modern server's lines on stdio name no call: they reach a
  client whose call is the only one at that time, and none of them reaches anybody for ten seconds after a call was cancelled.
- **subscribe**: a change of a resource reaches the client that subscribed to it.
- **list changed**: the server has a new tool; the client is told, finds it listed and calls it.
";

/// The page, as it should be.
pub(crate) fn page(outcomes: &Outcomes) -> String {
    let mut page = String::from(INTRODUCTION);
    for client in &CLIENTS {
        write!(page, "\n## Client: {}\n\n| server |", client.title).unwrap();
        for (_, title) in FEATURES {
            write!(page, " {title} |").unwrap();
        }
        writeln!(page, "\n| --- |{}", " --- |".repeat(FEATURES.len())).unwrap();
        for server in &SERVERS {
            write!(page, "| {} |", server.title).unwrap();
            for (feature, _) in FEATURES {
                let cell = match exceptions::of(client.key, server.key, feature) {
                    _ if outcomes[&(client.key, server.key, feature)] == "ok" => "yes".to_owned(),
                    Some(number) => format!("no ({})", number + 1),
                    None => "no".to_owned(),
                };
                write!(page, " {cell} |").unwrap();
            }
            page.push('\n');
        }
    }
    page.push_str("\n## What does not work, and why\n\n");
    for (number, exception) in EXCEPTIONS.iter().enumerate() {
        writeln!(page, "{}. {}", number + 1, exception.reason).unwrap();
    }
    write!(
        page,
        "\n## What is tried\n\n{EXPLANATION}\n## With\n\n{}",
        versions()
    )
    .unwrap();
    page
}

/// The pinned versions of the SDKs.
fn versions() -> String {
    let package = std::fs::read_to_string(pins().join("node/package.json")).unwrap();
    let package: Value = serde_json::from_str(&package).unwrap();
    let npm = |name: &str| package["dependencies"][name].as_str().unwrap().to_owned();
    let python = std::fs::read_to_string(pins().join("python/fastmcp.txt")).unwrap();
    let pypi = |name: &str| {
        let mut lines = python.lines();
        let version = lines.find_map(|line| line.strip_prefix(name)?.strip_prefix("=="));
        version.unwrap().to_owned()
    };
    format!(
        "- TypeScript 1: `@modelcontextprotocol/sdk` {}\n\
         - TypeScript 2: `@modelcontextprotocol/client` {}, `@modelcontextprotocol/server` {}\n\
         - Python 2: `mcp` {}\n\
         - FastMCP 4: `fastmcp` {}\n",
        npm("@modelcontextprotocol/sdk"),
        npm("@modelcontextprotocol/client"),
        npm("@modelcontextprotocol/server"),
        pypi("mcp"),
        pypi("fastmcp"),
    )
}

/// Stops the test if the page in the documentation is another, or writes it.
pub(crate) fn compare(path: &Path, page: &str) {
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(path, page).unwrap();
        return;
    }
    assert!(
        std::fs::read_to_string(path).is_ok_and(|found| found == page),
        "docs/matrix.md is not what was found: run this test with UPDATE_GOLDEN=1\n{page}"
    );
}
