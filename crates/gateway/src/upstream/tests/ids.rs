//! An answer that is not to the request that was sent is nobody's.

use super::*;

/// A modern server that answers every call under the id 4711.
async fn mistaken(how: fn(&Seen) -> Answer) -> Cause {
    let backend = Backend::start(move |seen| modern(seen, how)).await;
    let server = backend.server("");
    cause(Caller::legacy("{}").text(&server).await)
}

fn wrong(seen: &Seen, extra: &str) -> String {
    assert_ne!(seen.id(), "4711");
    format!(r#"{{"jsonrpc":"2.0","id":4711,"result":{{{extra}}}}}"#)
}

#[tokio::test]
async fn the_response_to_another_request_is_refused() {
    let causes = [
        mistaken(|seen| answer(200, "application/json", wrong(seen, ""))).await,
        mistaken(|seen| answer(200, "text/event-stream", event(&wrong(seen, "")))).await,
        mistaken(|seen| {
            let large = format!(r#""text":"{}""#, "x".repeat(900 << 10));
            answer(200, "application/json", wrong(seen, &large))
        })
        .await,
        mistaken(|_| {
            let error = r#"{"jsonrpc":"2.0","id":"1","error":{"code":-1,"message":""}}"#;
            answer(200, "application/json", error)
        })
        .await,
    ];
    for cause in causes {
        assert!(
            matches!(&cause, Cause::Violation(text) if text.contains("response to")),
            "{cause:?}"
        );
    }
}

#[tokio::test]
async fn a_legacy_server_is_held_to_it_as_well() {
    for stream in [false, true] {
        let sessions = AtomicUsize::new(0);
        let backend = Backend::start(move |seen| {
            legacy(&sessions, seen, |seen| {
                if stream {
                    answer(200, "text/event-stream", event(&wrong(seen, "")))
                } else {
                    answer(200, "application/json", wrong(seen, ""))
                }
            })
        })
        .await;
        let server = backend.server("");
        let cause = cause(Caller::legacy("{}").text(&server).await);
        assert!(matches!(cause, Cause::Violation(_)), "{cause:?}");
    }
}

#[tokio::test]
async fn an_error_from_before_the_request_was_read_counts() {
    let backend = Backend::start(|seen| {
        modern(seen, |_| {
            let error = r#"{"jsonrpc":"2.0","id":"server-error","error":{"code":-32600,"message":"no"}}"#;
            answer(400, "application/json", error)
        })
    })
    .await;
    let server = backend.server("");
    assert!(
        Caller::legacy("{}")
            .text(&server)
            .await
            .unwrap()
            .contains("-32600")
    );
}
