//! The fixture over HTTP, where the conformance suite does not look: HTTP+SSE, the GET stream, resumption, stopping.

use std::error::Error;
use std::io;

use gatepost_testkit::conformance::{Era, Fixture, Options, RunningFixture, Transport};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader, Lines};
use tokio::net::TcpStream;

type Outcome = Result<(), Box<dyn Error>>;

/// An answer that is read line by line. Lines of chunk sizes come between and are passed over.
struct Answer(Lines<BufReader<TcpStream>>);

impl Answer {
    /// The rest of the next line that begins with `start`.
    async fn after(&mut self, start: &str) -> io::Result<String> {
        while let Some(line) = self.0.next_line().await? {
            if let Some(rest) = line.strip_prefix(start) {
                return Ok(rest.to_owned());
            }
        }
        Err(io::Error::new(
            io::ErrorKind::UnexpectedEof,
            format!("no line begins with {start:?}"),
        ))
    }

    /// The next event that holds JSON.
    async fn event(&mut self) -> io::Result<Value> {
        Ok(serde_json::from_str(&self.after("data: ").await?)?)
    }
}

async fn request(fixture: &RunningFixture, head: &str, body: &str) -> io::Result<TcpStream> {
    let mut stream = TcpStream::connect(fixture.address()).await?;
    let length = body.len();
    let text =
        format!("{head}\r\nHost: localhost\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n{body}");
    stream.write_all(text.as_bytes()).await?;
    Ok(stream)
}

async fn open(fixture: &RunningFixture, head: &str, body: &Value) -> io::Result<Answer> {
    let body = if body.is_null() {
        String::new()
    } else {
        body.to_string()
    };
    Ok(Answer(
        BufReader::new(request(fixture, head, &body).await?).lines(),
    ))
}

/// The whole answer as text.
async fn fetch(fixture: &RunningFixture, head: &str, body: &Value) -> io::Result<String> {
    let mut text = String::new();
    let body = if body.is_null() {
        String::new()
    } else {
        body.to_string()
    };
    request(fixture, head, &body)
        .await?
        .read_to_string(&mut text)
        .await?;
    Ok(text)
}

fn initialize(version: &str) -> Value {
    let params = json!({ "protocolVersion": version, "capabilities": {}, "clientInfo": { "name": "t", "version": "0" } });
    json!({ "jsonrpc": "2.0", "id": 0, "method": "initialize", "params": params })
}

fn call(id: u64, tool: &str) -> Value {
    json!({ "jsonrpc": "2.0", "id": id, "method": "tools/call", "params": { "name": tool, "arguments": {} } })
}

/// A legacy fixture, and the request head of a session with it.
async fn session() -> Result<(RunningFixture, impl Fn(&str) -> String), Box<dyn Error>> {
    let fixture = Fixture::start(Era::Legacy, Transport::Http).await?;
    let mut answer = open(&fixture, "POST /mcp HTTP/1.1", &initialize("2025-11-25")).await?;
    let id = answer.after("mcp-session-id: ").await?;
    Ok((fixture, move |method: &str| {
        format!("{method} /mcp HTTP/1.1\r\nMcp-Session-Id: {id}")
    }))
}

#[tokio::test]
async fn the_old_transport_answers_on_its_stream() -> Outcome {
    let fixture = Fixture::start(Era::Legacy, Transport::Sse).await?;
    let mut stream = open(&fixture, "GET /sse HTTP/1.1", &Value::Null).await?;
    assert_eq!(stream.after("event: ").await?, "endpoint");
    let post = format!("POST {} HTTP/1.1", stream.after("data: ").await?);
    assert!(
        fetch(&fixture, &post, &initialize("2024-11-05"))
            .await?
            .starts_with("HTTP/1.1 202")
    );
    assert_eq!(stream.event().await?["result"]["protocolVersion"], "2024-11-05");
    fetch(&fixture, &post, &call(1, "test_simple_text")).await?;
    assert_eq!(stream.event().await?["id"], 1);
    drop(stream);
    let gone = "POST /message?sessionId=another HTTP/1.1";
    assert!(
        fetch(&fixture, gone, &call(2, "greet"))
            .await?
            .starts_with("HTTP/1.1 404")
    );
    Ok(())
}

#[tokio::test]
async fn a_cut_stream_is_resumed_where_it_ended() -> Outcome {
    let (fixture, head) = session().await?;
    let mut stream = open(&fixture, &head("POST"), &call(1, "test_reconnection")).await?;
    let priming = stream.after("id: ").await?;
    assert!(
        stream.event().await.is_err(),
        "the stream is cut before the answer"
    );
    let resume = format!("{}\r\nLast-Event-ID: {priming}", head("GET"));
    let mut stream = open(&fixture, &resume, &Value::Null).await?;
    assert_eq!(stream.event().await?["id"], 1);
    Ok(())
}

#[tokio::test]
async fn the_get_stream_tells_of_changes_and_ends_with_the_session() -> Outcome {
    let (fixture, head) = session().await?;
    let mut stream = open(&fixture, &head("GET"), &Value::Null).await?;
    stream.after("id: ").await?;
    assert!(
        fetch(&fixture, &head("GET"), &Value::Null)
            .await?
            .starts_with("HTTP/1.1 409")
    );
    fetch(&fixture, &head("POST"), &call(1, "test_trigger_tool_change")).await?;
    assert_eq!(
        stream.event().await?["method"],
        "notifications/tools/list_changed"
    );
    assert!(
        fetch(&fixture, &head("DELETE"), &Value::Null)
            .await?
            .starts_with("HTTP/1.1 200")
    );
    assert!(stream.event().await.is_err(), "the stream has ended");
    assert!(
        fetch(&fixture, &head("POST"), &call(2, "greet"))
            .await?
            .starts_with("HTTP/1.1 404")
    );
    assert_eq!(
        fixture.received(),
        2,
        "initialize and one call; the other was turned away with its session"
    );
    Ok(())
}

#[tokio::test]
async fn an_older_server_negotiates_down_and_sends_no_priming_event() -> Outcome {
    let options = Options {
        newest: "2025-03-26",
        ..Options::new(Era::Legacy, Transport::Http)
    };
    let fixture = Fixture::start_with(&options).await?;
    let mut answer = open(&fixture, "POST /mcp HTTP/1.1", &initialize("2025-11-25")).await?;
    let id = answer.after("mcp-session-id: ").await?;
    assert!(
        answer
            .after("{")
            .await?
            .contains(r#""protocolVersion":"2025-03-26""#)
    );
    let head = format!("POST /mcp HTTP/1.1\r\nMcp-Session-Id: {id}");
    let text = fetch(&fixture, &head, &call(1, "greet")).await?;
    assert!(text.contains("data: {") && !text.contains("retry:"), "{text}");
    Ok(())
}

#[tokio::test]
async fn a_stopping_modern_fixture_ends_its_subscriptions_and_frees_its_port() -> Outcome {
    let fixture = Fixture::start(Era::Modern, Transport::Http).await?;
    let meta = json!({ "io.modelcontextprotocol/protocolVersion": "2026-07-28", "io.modelcontextprotocol/clientCapabilities": {} });
    let params = json!({ "_meta": meta, "notifications": { "toolsListChanged": true } });
    let head = "POST /mcp HTTP/1.1\r\nMCP-Protocol-Version: 2026-07-28\r\nMcp-Method: subscriptions/listen";
    let listen = json!({ "jsonrpc": "2.0", "id": "ear", "method": "subscriptions/listen", "params": params });
    let mut stream = open(&fixture, head, &listen).await?;
    assert_eq!(
        stream.event().await?["method"],
        "notifications/subscriptions/acknowledged"
    );
    let address = fixture.address();
    drop(fixture);
    let last = stream.event().await?;
    assert_eq!(last["id"], "ear");
    assert_eq!(
        last["result"]["_meta"]["io.modelcontextprotocol/subscriptionId"],
        "ear"
    );
    assert!(stream.event().await.is_err(), "the stream has ended");
    assert!(
        TcpStream::connect(address).await.is_err(),
        "nobody listens any more"
    );
    Ok(())
}

#[tokio::test]
async fn the_modern_era_has_no_old_transport() {
    let started = Fixture::start(Era::Modern, Transport::Sse).await;
    assert!(started.is_err_and(|error| error.kind() == io::ErrorKind::InvalidInput));
}
