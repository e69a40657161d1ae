use std::cell::Cell;

use gatepost_protocol::{envelope::Message, json::Strictness};

use super::*;

fn answer(status: Option<u16>, body: &str) -> Answered<()> {
    let response = match Message::parse(Bytes::copy_from_slice(body.as_bytes()), Strictness::Server) {
        Ok(Message::Response(response)) => Some(response),
        _ => None,
    };
    Answered {
        status,
        response,
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
