//! What a verdict about a server's era is worth, and when it is dropped (`eras.md` 1.2).

use super::*;

#[tokio::test]
async fn lines_that_are_no_json_are_no_verdict() {
    let script = r#"
echo 'Welcome!'; echo; echo '[notice] starting'
answer() { id=$(echo "$1" | sed 's/.*"id":\([0-9]*\).*/\1/'); echo "{\"jsonrpc\":\"2.0\",\"id\":$id,$2}"; }
while read -r line; do
  echo 'got a line'
  case "$line" in
    *server/discover*) answer "$line" '"error":{"code":-32601,"message":"?"}';;
    *'"initialize"'*) answer "$line" '"result":{"protocolVersion":"2025-06-18","capabilities":{}}';;
    *notifications/*) ;;
    *) answer "$line" '"result":{}';;
  esac
done
"#;
    let yaml = format!(
        "{{ command: /bin/sh, args: [-c, {}], timeout: 60s }}",
        serde_json::to_string(script).unwrap()
    );
    let server = server(&yaml, None);
    Caller::legacy("{}").text(&server).await.unwrap();
    assert_eq!(server.known().unwrap().version, Version::V2025_06_18);
    server.stop(Duration::from_secs(5)).await;
}

/// Legacy on its first connection, modern on every later one.
#[derive(Clone, Default)]
struct Upgraded(Arc<AtomicUsize>);

impl Module for Upgraded {
    fn serve(&self, io: DuplexStream) -> Serving {
        let modern = self.0.fetch_add(1, Relaxed) > 0;
        Box::pin(async move {
            let (from, mut to) = tokio::io::split(io);
            let mut lines = BufReader::new(from).lines();
            while let Some(line) = lines.next_line().await.unwrap() {
                let Ok(Message::Request(request)) = Message::parse(line.into(), Strictness::Edge) else {
                    continue;
                };
                let outcome = match (request.method(), modern) {
                    ("server/discover", true) => format!(r#""result":{DISCOVERED}"#),
                    ("initialize", false) => format!(r#""result":{INITIALIZED}"#),
                    ("server/discover" | "initialize", _) => {
                        r#""error":{"code":-32601,"message":"?"}"#.to_owned()
                    }
                    _ => r#""result":{}"#.to_owned(),
                };
                let id = String::from_utf8_lossy(request.id().bytes()).into_owned();
                let line = format!("{{\"jsonrpc\":\"2.0\",\"id\":{id},{outcome}}}\n");
                to.write_all(line.as_bytes()).await.unwrap();
            }
        })
    }
}

#[tokio::test]
async fn a_connection_that_is_made_anew_is_asked_anew() {
    let module = Upgraded::default();
    let server = server("{ module: calculator, timeout: 60s }", Some(Arc::new(module)));
    let caller = Caller::legacy("{}");
    caller.text(&server).await.unwrap();
    assert_eq!(server.known().unwrap().era(), Era::Legacy);
    let session = server.pool.sessions().pop().unwrap();
    server.pool.discard(&session);
    caller.text(&server).await.unwrap();
    assert_eq!(server.known().unwrap().era(), Era::Modern);
}

#[tokio::test]
async fn a_version_error_drops_the_verdict() {
    let moved = Arc::new(AtomicUsize::new(0));
    let (switch, sessions) = (Arc::clone(&moved), AtomicUsize::new(0));
    let backend = Backend::start(move |seen| match switch.load(Relaxed) {
        0 => modern(seen, |seen| result(seen, "{}")),
        _ if seen.header("mcp-protocol-version") == Some("2026-07-28") => error(
            seen,
            400,
            r#"{"code":-32022,"message":"v","data":{"supported":["2025-11-25"],"requested":"2026-07-28"}}"#,
        ),
        _ => legacy(&sessions, seen, |seen| result(seen, r#"{"legacy":1}"#)),
    })
    .await;
    let server = backend.server("");
    let caller = Caller::legacy("{}");
    caller.text(&server).await.unwrap();
    moved.store(1, Relaxed);
    assert!(caller.text(&server).await.unwrap().contains("legacy"));
}

#[tokio::test]
async fn a_server_that_takes_no_more_handshakes_is_greeted_again() {
    let moved = Arc::new(AtomicUsize::new(0));
    let (switch, sessions) = (Arc::clone(&moved), AtomicUsize::new(0));
    let backend = Backend::start(move |seen| match switch.load(Relaxed) {
        0 => legacy(&sessions, seen, |seen| result(seen, "{}")),
        _ if seen.header("mcp-protocol-version") != Some("2026-07-28") => {
            error(seen, 404, r#"{"code":-32601,"message":"no sessions here"}"#)
        }
        _ => modern(seen, |seen| result(seen, r#"{"modern":1}"#)),
    })
    .await;
    let server = backend.server("");
    let caller = Caller::legacy("{}");
    caller.text(&server).await.unwrap();
    moved.store(1, Relaxed);
    // The lost session cannot be opened again; the server did nothing, so the next call asks what it is now.
    let failed = caller.text(&server).await.unwrap_err();
    assert!(matches!(failed.cause, Cause::Handshake(_)) && failed.retry_safe);
    assert!(caller.text(&server).await.unwrap().contains("modern"));
    assert_eq!(server.known().unwrap().era(), Era::Modern);
}

#[tokio::test]
async fn many_calls_wait_for_one_probe() {
    let backend = Backend::start(|seen| modern(seen, |seen| result(seen, "{}"))).await;
    let server = backend.server("");
    let caller = Caller::legacy("{}");
    let answers = futures_util::future::join_all((0..10).map(|_| caller.text(&server))).await;
    assert!(answers.into_iter().all(|answer| answer.is_ok()));
    assert_eq!(backend.seen("server/discover").len(), 1);
}

#[tokio::test]
async fn nothing_is_asked_of_a_server_that_is_configured_as_sse() {
    let (feeder, stream) = events();
    let streams = Mutex::new(Some(stream));
    let answers = feeder.clone();
    let backend = Backend::start(move |seen| match (&seen.verb, seen.method().as_str()) {
        (&Verb::GET, _) => streams.lock().unwrap().take().unwrap(),
        (_, "initialize") => {
            let result = r#"{"protocolVersion":"2024-11-05","capabilities":{}}"#;
            let id = seen.id();
            answers
                .send(event(&format!(
                    r#"{{"jsonrpc":"2.0","id":{id},"result":{result}}}"#
                )))
                .unwrap();
            accepted()
        }
        _ => accepted(),
    })
    .await;
    feeder
        .send("event: endpoint\ndata: /messages\n\n".to_owned())
        .unwrap();
    let server = backend.server(", transport: sse");
    server.facts().await.unwrap();
    assert_eq!(backend.methods()[..2], ["GET", "initialize"]);
    assert_eq!(server.known().unwrap().version, Version::V2024_11_05);
}

/// Some servers answer a stranger with a sentence instead of JSON-RPC, and it says best what is missing.
#[tokio::test]
async fn a_refusal_in_plain_text_is_quoted() {
    for (content_type, body, expected) in [
        (
            "text/plain",
            "bad request:\n\x1b[2Jno key, not \"canary-token\"\n",
            "other credentials (HTTP 401: bad request: [2Jno key, not \"[secret]\")",
        ),
        ("text/html", "<html>Log in</html>", "other credentials (HTTP 401)"),
        ("text/plain", "Unauthorized", "other credentials (HTTP 401)"),
    ] {
        let backend = Backend::start(move |_| answer(401, content_type, body)).await;
        let server = backend.server(", headers: { Authorization: canary-token }");
        let error = Caller::legacy("{}").text(&server).await.unwrap_err();
        assert!(error.to_string().ends_with(expected), "{error}");
    }
}
