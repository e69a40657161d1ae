//! What the tools without a fixed result do, one arm a tool.

use std::time::Duration;

use bytes::Bytes;
use serde::Deserialize;

use super::Era;
use super::core::Call;
use super::out::{Framing, Op};
use super::table::{ERROR, big_text, filled, plain_definition};

/// What a test can tell a tool; each tool reads the few it knows.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Arguments {
    ms: Option<u64>,
    bytes: Option<usize>,
    count: Option<u64>,
    status: Option<u16>,
    body: Option<String>,
    uri: Option<String>,
    r#as: Option<As>,
}

#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(rename_all = "lowercase")]
enum As {
    Json,
    Sse,
}

const LEVELS: [&str; 8] = [
    "debug",
    "info",
    "notice",
    "warning",
    "error",
    "critical",
    "alert",
    "emergency",
];

/// Plays the tool `name`; `false` when there is none.
pub(super) async fn play(call: &Call, name: &str) -> bool {
    let raw = call.params.arguments.as_deref().map_or("{}", |raw| raw.get());
    let arguments: Arguments = serde_json::from_str(raw).unwrap_or_default();
    let framing = match arguments.r#as {
        Some(As::Sse) => Framing::Sse,
        _ => Framing::Json,
    };
    match name {
        "big_text" => {
            call.result(&big_text(arguments.bytes.unwrap_or(16 << 20), call.era))
                .await;
        }
        "over_max" => {
            call.result(&big_text(arguments.bytes.unwrap_or(65 << 20), call.era))
                .await;
        }
        "rpc_error" => call.envelope("error", ERROR.as_bytes()).await,
        "echo" => call.text(raw).await,
        "pid" => call.text(&std::process::id().to_string()).await,
        "grandchild" => {
            call.text(
                &call
                    .core
                    .grandchild()
                    .map_or_else(String::new, |pid| pid.to_string()),
            )
            .await;
        }

        "slow" => {
            tokio::time::sleep(Duration::from_millis(arguments.ms.unwrap_or(200))).await;
            call.text("at last").await;
        }
        "never" => std::future::pending().await,
        "exit" => call.out.send(Op::Die).await,
        "die_mid_stream" => {
            call.out.send(Op::Open(framing)).await;
            call.out.send(Op::Begin(opening(call))).await;
            call.out.send(Op::Die).await;
        }
        "not_json" => call.out.send(html()).await,
        "garbage_line" => {
            call.out.send(Op::Open(Framing::Sse)).await;
            call.out
                .send(Op::Message(Bytes::from_static(b"Listening on port 3000 {")))
                .await;
            call.text("ok").await;
        }
        "endless_line" => {
            call.out.send(Op::Open(framing)).await;
            call.out.send(Op::Begin(opening(call))).await;
            let filler = Bytes::from(vec![b'a'; 64 << 10]);
            loop {
                call.out.send(Op::Raw(filler.clone())).await;
            }
        }
        "endless_events" => loop {
            call.notify("notifications/message", r#"{"level":"info","data":"and on"}"#)
                .await;
        },
        "wrong_id" => {
            let result = filled(r#"{@R"content":[]}"#, call.era);
            let message = format!(r#"{{"jsonrpc":"2.0","id":"nobody's","result":{result}}}"#);
            call.out.send(Op::Last(message.into())).await;
        }
        "duplicate_answer" => {
            let result = filled(r#"{@R"content":[{"type":"text","text":"first"}]}"#, call.era);
            call.out
                .send(Op::Message(call.message("result", result.as_bytes())))
                .await;
            call.text("second").await;
        }
        "http_status" => {
            let status = arguments.status.unwrap_or(500);
            let body = arguments.body.unwrap_or_default();
            call.out
                .send(Op::Reply {
                    status,
                    content_type: "text/plain",
                    body: body.into(),
                })
                .await;
        }
        "flood_stderr" => {
            let line = Bytes::from([vec![b'e'; 1_023], vec![b'\n']].concat());
            for _ in 0..arguments.bytes.unwrap_or(1 << 20).div_ceil(line.len()) {
                call.out.send(Op::Stderr(line.clone())).await;
            }
            call.text("ok").await;
        }

        "progress" => {
            let count = arguments.count.unwrap_or(3);
            if let Some(token) = call
                .params
                .meta
                .as_ref()
                .and_then(|meta| meta.progress_token.as_deref())
            {
                for done in 1..=count {
                    let params = format!(
                        r#"{{"odd":1E+2,"progressToken":{},"progress":{done}.50,"total":{count},"message":"step {done}"}}"#,
                        token.get()
                    );
                    call.notify("notifications/progress", &params).await;
                }
            }
            call.text("done").await;
        }
        "foreign_progress" => {
            call.notify(
                "notifications/progress",
                r#"{"progressToken":"nobody's","progress":1}"#,
            )
            .await;
            call.text("ok").await;
        }
        "log" => {
            for level in LEVELS {
                let params =
                    format!(r#"{{"level":"{level}","logger":"odd","data":{{"n":1E+2}},"odd":null}}"#);
                call.notify("notifications/message", &params).await;
            }
            call.text("ok").await;
        }
        "list_changed" => {
            call.core.grow();
            call.core.announce("notifications/tools/list_changed", None).await;
            call.text("ok").await;
        }
        "resource_updated" => {
            let uri = arguments.uri.as_deref().unwrap_or("odd:resource");
            call.core
                .announce("notifications/resources/updated", Some(uri))
                .await;
            call.text("ok").await;
        }
        "lose_session" => {
            call.core.forget_session(call.session.as_deref());
            call.text("ok").await;
        }
        "ask_elicitation" => ask(call, "elicitation/create", ELICITATION).await,
        "ask_sampling" => ask(call, "sampling/createMessage", SAMPLING).await,
        "ask_roots" => ask(call, "roots/list", "{}").await,
        _ => return false,
    }
    true
}

const ELICITATION: &str = concat!(
    r#"{"odd":1E+2,"mode":"form","message":"Who are you?","requestedSchema":{"type":"object","#,
    r#""properties":{"name":{"type":"string","x-odd":1}},"required":["name"]}}"#
);
const SAMPLING: &str = concat!(
    r#"{"messages":[{"role":"user","content":{"type":"text","text":"Capital of France?"}}],"#,
    r#""maxTokens":100,"odd":1E+2}"#
);

/// Asks the client, as the era does: legacy servers send a request, modern ones answer `input_required` and
/// are called again (M:basic/patterns/mrtr).
async fn ask(call: &Call, method: &str, params: &str) {
    match (call.era, &call.params.input_responses) {
        (Era::Legacy, _) => {
            let answer = call.ask(method, params).await;
            call.text(&answer).await;
        }
        (Era::Modern, Some(responses)) => call.text(responses.get()).await,
        (Era::Modern, None) => {
            let result = format!(
                concat!(
                    r#"{{"resultType":"input_required","odd":1E+2,"inputRequests":{{"the asked":"#,
                    r#"{{"method":"{method}","params":{params}}}}},"requestState":"odd state \u00e9"}}"#
                ),
                method = method,
                params = params
            );
            call.result(result.as_bytes()).await;
        }
    }
}

/// A page that no MCP client expects.
pub(super) fn html() -> Op {
    let body = Bytes::from_static(b"<!DOCTYPE html><title>It works!</title>");
    Op::Reply {
        status: 200,
        content_type: "text/html",
        body,
    }
}

/// The first half of an answer.
fn opening(call: &Call) -> Bytes {
    format!(
        r#"{{"jsonrpc":"2.0","id":{},"result":{{"content":[{{"type":"text","text":""#,
        call.id.get()
    )
    .into()
}

/// The definition of the tool that `list_changed` added `nth`.
pub(super) fn grown(nth: usize) -> String {
    plain_definition(&format!("grown_{nth}"), "was not there before")
}
