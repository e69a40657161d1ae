//! What of its log a legacy server is asked for (`eras.md` 7), and as whom its client introduces itself (`eras.md` 2).

use super::{recorder::Recorder, *};

fn wanting(level: &'static str) -> Caller {
    Caller {
        log_level: Some(level),
        ..Caller::legacy("{}")
    }
}

fn set(levels: &[(usize, &str)]) -> Vec<(usize, String)> {
    levels
        .iter()
        .map(|(n, level)| (*n, (*level).to_owned()))
        .collect()
}

#[tokio::test]
async fn a_shared_session_is_set_to_the_most_verbose_level_when_that_changes() {
    let recorder = Recorder::new(r#"{"logging":{}}"#);
    let server = recorder.server("");
    Caller::legacy("{}").text(&server).await.unwrap();
    assert_eq!(recorder.levels(), [], "nobody wants one");
    for level in ["error", "error", "info", "warning"] {
        wanting(level).text(&server).await.unwrap();
    }
    assert_eq!(recorder.levels(), set(&[(1, "error"), (1, "info")]));
    let modern = Caller {
        version: Version::LATEST,
        ..wanting("debug")
    };
    modern.text(&server).await.unwrap();
    assert_eq!(recorder.levels().last().unwrap(), &(1, "debug".to_owned()));
    // It is set before the call that wants it, whose own words for it a legacy server never sees.
    let call = &recorder.requests("tools/call").pop().unwrap().1;
    let set_level = &recorder.requests("logging/setLevel").pop().unwrap().1;
    assert!(set_level.id().as_u64() < call.id().as_u64());
    assert!(call.meta("io.modelcontextprotocol/logLevel").is_none());
}

#[tokio::test]
async fn a_server_without_a_log_is_told_nothing() {
    let recorder = Recorder::new(r#"{"tools":{}}"#);
    let server = recorder.server("");
    wanting("debug").text(&server).await.unwrap();
    assert_eq!(recorder.levels(), []);
}

#[tokio::test(start_paused = true)]
async fn a_server_that_does_not_take_a_level_costs_no_call() {
    let mut recorder = Recorder::new(r#"{"logging":{}}"#);
    recorder.deaf = true;
    let server = recorder.server("");
    for _ in 0..2 {
        wanting("debug").text(&server).await.unwrap();
    }
    assert_eq!(recorder.levels(), set(&[(1, "debug")]), "it is told once");
}

#[tokio::test]
async fn a_leased_session_follows_its_client() {
    let recorder = Recorder::new(r#"{"logging":{}}"#);
    let server = recorder.server("");
    for level in ["debug", "error", "error"] {
        let caller = Caller {
            log_level: Some(level),
            ..Caller::asking()
        };
        caller.text(&server).await.unwrap();
    }
    // 1 is the common session, which greeted the server.
    assert_eq!(recorder.levels(), set(&[(2, "debug"), (2, "error")]));
}

#[tokio::test]
async fn a_new_session_is_set_again() {
    let sessions = AtomicUsize::new(0);
    let backend = Backend::start(move |seen| {
        if seen.method() == "initialize" {
            let made = legacy(&sessions, seen, |_| accepted());
            let (head, _) = made.into_parts();
            let mut logging = result(
                seen,
                r#"{"protocolVersion":"2025-11-25","capabilities":{"logging":{}}}"#,
            );
            *logging.headers_mut() = head.headers;
            return logging;
        }
        legacy(&sessions, seen, |seen| {
            match (seen.header("mcp-session-id"), seen.method().as_str()) {
                (Some("s1"), "tools/call") => answer(404, "text/plain", ""),
                _ => result(seen, "{}"),
            }
        })
    })
    .await;
    let server = backend.server("");
    wanting("info").text(&server).await.unwrap();
    let set = backend.seen("logging/setLevel");
    let sessions: Vec<_> = set.iter().map(|seen| seen.header("mcp-session-id")).collect();
    assert_eq!(sessions, [Some("s1"), Some("s2")]);
}

#[tokio::test]
async fn a_log_line_on_the_get_stream_reaches_the_only_call_that_wants_it() {
    let sessions = AtomicUsize::new(0);
    let (logger, stream) = events();
    let (feeder, call_stream) = events();
    let (second_feeder, second_stream) = events();
    let gets = Mutex::new(Some(stream));
    let calls = Mutex::new(VecDeque::from([call_stream, second_stream]));
    let backend = Backend::start(move |seen| match seen.verb {
        Verb::GET => gets
            .lock()
            .unwrap()
            .take()
            .unwrap_or_else(|| answer(405, "text/plain", "")),
        _ => legacy(&sessions, seen, |_| calls.lock().unwrap().pop_front().unwrap()),
    })
    .await;
    let server = backend.server("");
    let watching = Arc::clone(&server);
    let watch = tokio::spawn(async move { watching.watch().await });
    let line = |text: &str| {
        event(&format!(
            r#"{{"jsonrpc":"2.0","method":"notifications/message","params":{{"level":"error","data":"{text}"}}}}"#
        ))
    };
    let change = event(r#"{"jsonrpc":"2.0","method":"notifications/tools/list_changed"}"#);
    let caller = wanting("info");
    let logging = async {
        while backend.seen("tools/call").is_empty() {
            tokio::task::yield_now().await;
        }
        logger.send(line("one")).unwrap();
    };
    let (first, ()) = tokio::join!(caller.call(&server), logging);
    let mut first = streaming(first.unwrap());
    assert!(matches!(first.next().await.unwrap(), Message::Notification(line)
        if line.param_raw("data") == Some(br#""one""#)));
    // With two in flight nobody can tell whose a line is.
    let mut changes = server.changes();
    let logging = async {
        while backend.seen("tools/call").len() < 2 {
            tokio::task::yield_now().await;
        }
        logger.send(line("two")).unwrap();
        logger.send(change).unwrap();
        assert_eq!(changes.recv().await.unwrap(), Change::Tools);
        let done = |id| event(&format!(r#"{{"jsonrpc":"2.0","id":{id},"result":{{}}}}"#));
        second_feeder.send(done(3)).unwrap();
        feeder.send(done(2)).unwrap();
    };
    let plain = Caller::legacy("{}");
    let (second, ()) = tokio::join!(plain.call(&server), logging);
    assert!(matches!(second.unwrap(), Incoming::Whole(_)));
    assert!(matches!(first.next().await.unwrap(), Message::Response(_)));
    server.stop(Duration::from_secs(1)).await;
    watch.await.unwrap();
}

#[tokio::test]
async fn a_client_introduces_itself_only_on_a_session_of_its_own() {
    let recorder = Recorder::new("{}");
    let server = recorder.server("");
    let named = |info: &str, caller: Caller| Caller {
        info: Some(Bytes::copy_from_slice(info.as_bytes())),
        ..caller
    };
    let ann = r#"{"name":"ann","version":"1"}"#;
    let ben = r#"{"name":"ben","version":"2","title":"B"}"#;
    for caller in [
        named(ann, Caller::legacy("{}")),
        named(ann, Caller::asking()),
        named(ben, Caller::asking()),
        named(ann, Caller::asking()),
        // What a legacy server would choke on is not passed on.
        named(r#"{"name":7}"#, Caller::asking()),
    ] {
        caller.text(&server).await.unwrap();
    }
    let introduced: Vec<_> = recorder
        .requests("initialize")
        .into_iter()
        .map(|(_, request)| {
            let info = request.param_raw("clientInfo").unwrap();
            String::from_utf8_lossy(info).into_owned()
        })
        .collect();
    let gate = String::from_utf8_lossy(&own_info()).into_owned();
    assert_eq!(introduced, [gate.as_str(), ann, ben, gate.as_str()]);
}
