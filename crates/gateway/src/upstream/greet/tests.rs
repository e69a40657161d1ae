use std::cell::Cell;

use gatepost_protocol::{envelope::Message, json::Strictness};

use super::*;

fn answer(status: Option<u16>, body: &str) -> Answered<()> {
    let response = match Message::parse(Bytes::copy_from_slice(body.as_bytes()), Strictness::Server) {
        Ok(Message::Response(response)) => Some(response),
        _ => None,
    };
    let detail = (response.is_none() && !body.is_empty()).then(|| body.to_owned());
    Answered {
        status,
        response,
        detail,
        carry: (),
    }
}

type Outcome = Result<Answered<()>, &'static str>;

/// Seconds until the answer, and the answer.
type Step = (u64, Outcome);

const MODERN: &str =
    r#"{"jsonrpc":"2.0","id":1,"result":{"supportedVersions":["2026-07-28"],"capabilities":{}}}"#;
const UNKNOWN: &str = r#"{"jsonrpc":"2.0","id":1,"error":{"code":-32601,"message":"?"}}"#;
const LEGACY: &str =
    r#"{"jsonrpc":"2.0","id":1,"result":{"protocolVersion":"2025-06-18","capabilities":{}}}"#;

/// Greets a server that answers as told, and says what came of it.
async fn greeted(era: EraChoice, discover: Step, initialize: Step) -> String {
    let initialized = Cell::new(None);
    let wait = |(seconds, outcome): Step| async move {
        tokio::time::sleep(Duration::from_secs(seconds)).await;
        outcome
    };
    let greeting = greet(
        era,
        Duration::from_secs(5),
        || wait(discover),
        |version| {
            initialized.set(Some(version));
            wait(initialize)
        },
    );
    let text = match greeting.await {
        Ok(Greeting::Modern(version, _)) => format!("modern {version}"),
        Ok(Greeting::Legacy(version, ..)) => format!("legacy {version}"),
        Ok(Greeting::Unknown(status)) => format!("unknown {status}"),
        Err(NoGreeting::Transport(error)) => format!("transport {error}"),
        Err(NoGreeting::Inconclusive(_)) => "inconclusive".to_owned(),
        Err(NoGreeting::Refused(_)) => "refused".to_owned(),
    };
    match initialized.get() {
        Some(version) => format!("{text}, offered {version}"),
        None => text,
    }
}

const NEVER: u64 = 1_000_000;

fn silence() -> Step {
    (NEVER, Err("never"))
}

#[tokio::test(start_paused = true)]
async fn the_table_of_answers_over_http() {
    async fn check(status: u16, body: &str, initialize: Step, expected: &str) {
        let got = greeted(EraChoice::Auto, (0, Ok(answer(Some(status), body))), initialize).await;
        assert_eq!(got, expected, "{status} {body}");
    }
    let legacy = || (0, Ok(answer(Some(200), LEGACY)));
    check(200, MODERN, silence(), "modern 2026-07-28").await;
    let offered = "legacy 2025-06-18, offered 2025-11-25";
    check(404, "", legacy(), offered).await;
    check(400, UNKNOWN, legacy(), offered).await;
    check(200, UNKNOWN, legacy(), offered).await;
    check(200, "<html>", legacy(), offered).await;
    check(
        405,
        "",
        (0, Ok(answer(Some(404), ""))),
        "unknown 404, offered 2025-11-25",
    )
    .await;
    for status in [401, 403, 407, 408, 429, 500, 502, 503] {
        check(status, "", silence(), "inconclusive").await;
    }
    check(
        404,
        "",
        (0, Ok(answer(Some(503), ""))),
        "inconclusive, offered 2025-11-25",
    )
    .await;
    check(
        404,
        "",
        (0, Ok(answer(Some(200), UNKNOWN))),
        "refused, offered 2025-11-25",
    )
    .await;
    let other = LEGACY.replace("2025-06-18", "2099-01-01");
    check(
        404,
        "",
        (0, Ok(answer(Some(200), &other))),
        "refused, offered 2025-11-25",
    )
    .await;
    let versions = |code: i64, versions: &str| {
        format!(
            r#"{{"jsonrpc":"2.0","id":1,"error":{{"code":{code},"message":"v","data":{{"supported":{versions}}}}}}}"#
        )
    };
    check(
        400,
        &versions(-32022, r#"["2025-06-18"]"#),
        legacy(),
        "legacy 2025-06-18, offered 2025-06-18",
    )
    .await;
    check(400, &versions(-32022, r#"["2099-01-01"]"#), silence(), "refused").await;
    let mismatch = r#"{"jsonrpc":"2.0","id":1,"error":{"code":-32020,"message":"m"}}"#;
    check(400, mismatch, silence(), "modern 2026-07-28").await;
}

/// Who reads that a server wants other credentials has to learn what is wrong with the ones there are.
#[tokio::test]
async fn a_refusal_is_told_in_the_servers_words() {
    async fn check(status: u16, body: &str, expected: &str) {
        let greeting = greet(
            EraChoice::Auto,
            Duration::from_secs(5),
            || async { Ok::<_, &str>(answer(Some(status), body)) },
            |_| async { Ok(answer(Some(500), "")) },
        );
        match greeting.await {
            Err(NoGreeting::Inconclusive(why)) => assert_eq!(why, expected),
            other => panic!("{other:?}"),
        }
    }
    let refused = r#"{"jsonrpc":"2.0","error":{"code":-32600,"message":"the token has expired"}}"#;
    check(
        401,
        refused,
        "the server wants other credentials (HTTP 401: the token has expired)",
    )
    .await;
    check(401, "", "the server wants other credentials (HTTP 401)").await;
    let text = "missing required Authorization header";
    let expected = "the server wants other credentials (HTTP 401: missing required Authorization header)";
    check(401, text, expected).await;
    check(429, "", "the server asks to come back later (HTTP 429)").await;
    check(
        429,
        "after lunch",
        "the server asks to come back later (HTTP 429: after lunch)",
    )
    .await;
    check(404, "", "the server failed (HTTP 500)").await;

    let refused: Result<Greeting<()>, NoGreeting<()>> = initialized(answer(Some(403), "not for you"));
    match refused {
        Err(NoGreeting::Inconclusive(why)) => {
            assert_eq!(why, "the server wants other credentials (HTTP 403: not for you)");
        }
        other => panic!("{other:?}"),
    }
}

/// `eras.md` 1.2, the rows for an answer to `server/discover`; pipes have the message and no status.
#[tokio::test(start_paused = true)]
async fn every_row_of_the_probe_table() {
    async fn check(statuses: &[Option<u16>], body: &str, expected: &str) {
        for status in statuses {
            let legacy = (0, Ok(answer(Some(200), LEGACY)));
            let got = greeted(EraChoice::Auto, (0, Ok(answer(*status, body))), legacy).await;
            assert_eq!(got, expected, "{status:?} {body}");
        }
    }
    let supports = |versions: &str| {
        format!(
            r#"{{"jsonrpc":"2.0","id":1,"result":{{"supportedVersions":{versions},"capabilities":{{}}}}}}"#
        )
    };
    let error = |error: &str| format!(r#"{{"jsonrpc":"2.0","id":1,"error":{{"message":"m",{error}}}}}"#);
    const ANY: &[Option<u16>] = &[None, Some(200), Some(400), Some(404), Some(500)];
    const PLAIN: &[Option<u16>] = &[None, Some(200), Some(400), Some(404), Some(405)];
    let (modern, tried) = ("modern 2026-07-28", "legacy 2025-06-18, offered 2025-11-25");
    // A result that holds a modern version, whatever else it holds.
    check(
        ANY,
        &supports(r#"["2099-01-01","2025-06-18","2026-07-28"]"#),
        modern,
    )
    .await;
    // Legacy versions only: a shim that negotiates down.
    let shim = "legacy 2025-06-18, offered 2025-03-26";
    check(ANY, &supports(r#"["2024-11-05","2025-03-26"]"#), shim).await;
    check(ANY, &supports(r#"["2099-01-01"]"#), "refused").await;
    // The modern errors in their schema's shape.
    let version = |list: &str| {
        error(&format!(
            r#""code":-32022,"data":{{"supported":{list},"requested":"x"}}"#
        ))
    };
    check(ANY, &version(r#"["2026-07-28","2025-11-25"]"#), modern).await;
    check(ANY, &version(r#"["2025-03-26"]"#), shim).await;
    check(ANY, &version(r#"["1999-01-01"]"#), "refused").await;
    check(
        ANY,
        &error(r#""code":-32021,"data":{"requiredCapabilities":{"roots":{}}}"#),
        modern,
    )
    .await;
    check(ANY, &error(r#""code":-32020"#), modern).await;
    // The same codes in other shapes are somebody else's.
    for odd in [
        r#""code":-32022"#,
        r#""code":-32022,"data":{"supported":"2026-07-28"}"#,
        r#""code":-32021,"data":{"requiredCapabilities":[]}"#,
        r#""code":-32021"#,
        // And what legacy servers say to a method they do not know.
        r#""code":-32601"#,
        r#""code":-32602"#,
        r#""code":-32600"#,
        r#""code":-32000,"data":"Bad Request: Server not initialized""#,
    ] {
        check(PLAIN, &error(odd), tried).await;
    }
    // A result that is not one of `server/discover`, a page, nothing.
    check(PLAIN, r#"{"jsonrpc":"2.0","id":1,"result":{}}"#, tried).await;
    for body in ["<html><body>Not here</body></html>", "", "null"] {
        check(
            &[Some(200), Some(202), Some(400), Some(404), Some(405), Some(415)],
            body,
            tried,
        )
        .await;
    }
    // In trouble, whatever it says about that.
    for body in ["", UNKNOWN, "<html>"] {
        let trouble = [401, 403, 407, 408, 429, 500, 502, 503, 504].map(Some);
        check(&trouble, body, "inconclusive").await;
    }
}

#[tokio::test(start_paused = true)]
async fn without_a_common_version_both_lists_are_named() {
    let body = r#"{"jsonrpc":"2.0","id":1,"error":{"code":-32022,"message":"m","data":{"supported":["2031-01-01"]}}}"#;
    let greeting = greet(
        EraChoice::Auto,
        Duration::from_secs(5),
        || std::future::ready(Ok::<_, &str>(answer(Some(400), body))),
        |_| async { unreachable!("nothing else may be asked") },
    );
    let Err(NoGreeting::Refused(why)) = greeting.await else {
        panic!()
    };
    for version in ["2031-01-01", "2026-07-28", "2025-11-25", "2024-11-05"] {
        assert!(why.contains(version), "{why}");
    }
}

/// `eras.md` 1.2, the rows for an answer to `initialize`.
#[tokio::test(start_paused = true)]
async fn every_row_of_the_handshake_table() {
    async fn check(status: u16, body: &str, expected: &str) {
        let got = greeted(
            EraChoice::Auto,
            (0, Ok(answer(Some(404), ""))),
            (0, Ok(answer(Some(status), body))),
        )
        .await;
        assert_eq!(got, format!("{expected}, offered 2025-11-25"), "{status} {body}");
    }
    for version in ["2024-11-05", "2025-03-26", "2025-06-18", "2025-11-25"] {
        let body = LEGACY.replace("2025-06-18", version);
        check(200, &body, &format!("legacy {version}")).await;
    }
    for unusable in ["2026-07-28", "2023-01-01", ""] {
        check(200, &LEGACY.replace("2025-06-18", unusable), "refused").await;
    }
    for status in [400, 404, 405] {
        check(status, "", &format!("unknown {status}")).await;
        check(status, "Not Found", &format!("unknown {status}")).await;
        check(status, UNKNOWN, "refused").await;
    }
    check(200, "<html>", "refused").await;
    for status in [401, 403, 407, 408, 429, 500, 503] {
        check(status, "", "inconclusive").await;
    }
}

#[tokio::test(start_paused = true)]
async fn silence_opens_the_second_question() {
    let both = |discover, initialize| greeted(EraChoice::Auto, discover, initialize);
    let modern = |after| (after, Ok(answer(None, MODERN)));
    let legacy = |after| (after, Ok(answer(None, LEGACY)));
    let unknown = |after| (after, Ok(answer(None, UNKNOWN)));
    assert_eq!(both(modern(4), silence()).await, "modern 2026-07-28");
    assert_eq!(
        both(modern(20), silence()).await,
        "modern 2026-07-28, offered 2025-11-25"
    );
    assert_eq!(
        both(silence(), legacy(20)).await,
        "legacy 2025-06-18, offered 2025-11-25"
    );
    assert_eq!(
        both(unknown(10), legacy(20)).await,
        "legacy 2025-06-18, offered 2025-11-25"
    );
    // A late discover result beats an `initialize` error, whichever comes first.
    assert_eq!(
        both(modern(20), unknown(1)).await,
        "modern 2026-07-28, offered 2025-11-25"
    );
    assert_eq!(both(unknown(20), unknown(1)).await, "refused, offered 2025-11-25");
    assert_eq!(both(unknown(7), unknown(9)).await, "refused, offered 2025-11-25");
}

#[tokio::test(start_paused = true)]
async fn what_is_configured_is_not_asked() {
    let legacy = || (0, Ok(answer(None, LEGACY)));
    let unasked = (0, Err("asked"));
    assert_eq!(
        greeted(EraChoice::Legacy, unasked, legacy()).await,
        "legacy 2025-06-18, offered 2025-11-25"
    );
    let unknown = (0, Ok(answer(None, UNKNOWN)));
    assert_eq!(greeted(EraChoice::Modern, unknown, legacy()).await, "refused");
    assert_eq!(
        greeted(EraChoice::Auto, (0, Err("broken")), legacy()).await,
        "transport broken"
    );
}

#[test]
fn the_questions_are_well_formed() {
    for raw in [
        discover(1, b"{}"),
        initialize(2, Version::LATEST_LEGACY, b"", b"{}"),
        Bytes::from_static(INITIALIZED),
    ] {
        assert!(Message::parse(raw.clone(), Strictness::Edge).is_ok(), "{raw:?}");
    }
}
