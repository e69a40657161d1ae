//! The W3C trace context (2026-07-28 basic/index, `_meta`): in `_meta` where a server has no headers, else in headers.

use super::{recorder::Recorder, *};

const PARTS: [(&str, &str); 3] = [
    (
        "traceparent",
        "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
    ),
    ("tracestate", "a=1,b=2"),
    ("baggage", "user=\"x\""),
];

async fn traced(server: &Arc<Server>, params: &str) {
    let caller = Caller::legacy(params);
    let mut out = caller.out();
    out.headers = PARTS
        .into_iter()
        .map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap()))
        .collect();
    response_of(server.send(&out).await.unwrap()).await.unwrap();
}

#[tokio::test]
async fn a_server_without_headers_finds_it_in_meta() {
    let recorder = Recorder::new("{}");
    let server = recorder.server("");
    traced(&server, "{}").await;
    traced(&server, r#"{"_meta":{"traceparent":"theirs","vendor/x":1}}"#).await;
    let calls = recorder.requests("tools/call");
    for (name, value) in PARTS {
        assert_eq!(calls[0].1.meta_text(name).unwrap(), value);
    }
    let second = &calls[1].1;
    assert_eq!(second.meta_text("traceparent").unwrap(), "theirs");
    assert!(
        second.meta("tracestate").is_none(),
        "it belongs to another parent"
    );
    assert_eq!(second.meta_text("baggage").unwrap(), PARTS[2].1);
    assert_eq!(second.meta_raw("vendor/x"), Some(&b"1"[..]));
}

#[tokio::test]
async fn over_http_it_travels_in_headers() {
    let sessions = AtomicUsize::new(0);
    let modern = Backend::start(|seen| modern(seen, |seen| result(seen, "{}"))).await;
    let legacy = Backend::start(move |seen| legacy(&sessions, seen, |seen| result(seen, "{}"))).await;
    for backend in [modern, legacy] {
        traced(&backend.server(""), r#"{"_meta":{"traceparent":"theirs"}}"#).await;
        let call = backend.seen("tools/call").pop().unwrap();
        for (name, value) in PARTS {
            assert_eq!(call.header(name), Some(value));
        }
        let Ok(Message::Request(request)) = Message::parse(call.body, Strictness::Edge) else {
            panic!()
        };
        assert_eq!(request.meta_text("traceparent").unwrap(), "theirs");
        assert!(request.meta("tracestate").is_none());
    }
}
