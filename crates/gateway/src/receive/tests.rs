//! `eras.md` 1.1: which era a request is, and in which order it is checked.

use crate::rig::{META, Rig};

const VERSION: (&str, &str) = ("mcp-protocol-version", "2026-07-28");
const METHOD: (&str, &str) = ("mcp-method", "tools/list");

fn modern(method: &str, meta: &str) -> String {
    format!(r#"{{"jsonrpc":"2.0","id":"m","method":"{method}","params":{{"_meta":{{{meta}}}}}}}"#)
}

#[tokio::test]
async fn a_modern_request_is_checked_in_this_order() {
    let rig = Rig::start("").await;
    let only_version = r#""io.modelcontextprotocol/protocolVersion":"2026-07-28""#;
    let only_capabilities = r#""io.modelcontextprotocol/clientCapabilities":{}"#;
    let other = META.replace("2026-07-28", "2099-01-01");
    let legacy = META.replace("2026-07-28", "2025-11-25");
    // Each row breaks one check and everything after it, so that only the order decides.
    let check = async |headers: &[(&str, &str)], body: &str, status, code| {
        let told = rig.post(headers, body).await;
        assert_eq!((told.status, told.code()), (status, code), "{headers:?} {body}");
        told
    };
    let wrong = [("mcp-protocol-version", "2099-09-09"), ("mcp-method", "nonsense")];
    // 1. One JSON object.
    check(&wrong, "{", 400, -32700).await;
    check(&wrong, &format!("[{}]", modern("no/such", META)), 400, -32600).await;
    check(
        &wrong,
        &modern("no/such", META).replace("\"m\"", "null"),
        400,
        -32600,
    )
    .await;
    // 2. `_meta` and both its keys, of the right type.
    let bare = r#"{"jsonrpc":"2.0","id":"m","method":"no/such"}"#;
    check(&wrong, bare, 400, -32602).await;
    check(&wrong, &modern("no/such", only_version), 400, -32602).await;
    check(&wrong, &modern("no/such", only_capabilities), 400, -32602).await;
    check(&wrong, &modern("no/such", &META.replace("{}", "[]")), 400, -32602).await;
    check(
        &wrong,
        &modern("no/such", &META.replace("\"2026-07-28\"", "7")),
        400,
        -32602,
    )
    .await;
    // 3. The version's header, there and equal.
    check(&wrong, &modern("no/such", META), 400, -32020).await;
    check(&wrong[1..], &modern("no/such", META), 400, -32020).await;
    check(
        &[VERSION, VERSION, wrong[1]],
        &modern("no/such", META),
        400,
        -32020,
    )
    .await;
    // 4. The version is one that can be spoken in this form.
    let header = [("mcp-protocol-version", "2099-01-01"), wrong[1]];
    check(&header, &modern("no/such", &other), 400, -32022).await;
    let header = [("mcp-protocol-version", "2025-11-25"), wrong[1]];
    let told = check(&header, &modern("no/such", &legacy), 400, -32022).await;
    assert_eq!(told.message["error"]["data"]["supported"][0], "2026-07-28");
    // 5. The method is known in it.
    for method in [
        "initialize",
        "ping",
        "logging/setLevel",
        "resources/subscribe",
        "roots/list",
        "tasks/result",
    ] {
        check(&[VERSION, wrong[1]], &modern(method, META), 404, -32601).await;
    }
    // 6. The other headers agree.
    check(&[VERSION, wrong[1]], &modern("tools/list", META), 400, -32020).await;
    check(&[VERSION], &modern("tools/list", META), 400, -32020).await;
    check(
        &[VERSION, METHOD, METHOD],
        &modern("tools/list", META),
        400,
        -32020,
    )
    .await;
    let call = modern("tools/call", META).replace(r#""params":{"#, r#""params":{"name":"echo","#);
    let named = |name| [VERSION, ("mcp-method", "tools/call"), ("mcp-name", name)];
    for name in ["hang", "ECHO", "=?base64?ZWNo!?=", "=?base64?aGFuZw==?="] {
        check(&named(name), &call, 400, -32020).await;
    }
    assert!(rig.heard("tools/call").is_empty(), "nothing reached the server");
    // And then it is answered; a session's headers mean nothing to it.
    let told = check(&named("=?base64?ZWNobw==?="), &call, 200, 0).await;
    assert_eq!(told.message["id"], "m");
    let session = [
        VERSION,
        METHOD,
        ("mcp-session-id", "gone"),
        ("last-event-id", "1"),
    ];
    let told = check(&session, &modern("tools/list", META), 200, 0).await;
    assert_eq!(told.session, None, "none is minted");
    // An unknown level is wrong before anything is sent.
    let level = format!(r#"{META},"io.modelcontextprotocol/logLevel":"loud""#);
    check(&[VERSION, METHOD], &modern("tools/list", &level), 200, -32602).await;
}

#[tokio::test]
async fn a_legacy_request_belongs_to_its_session() {
    let rig = Rig::start("").await;
    let ping = r#"{"jsonrpc":"2.0","id":5,"method":"ping"}"#;
    let homeless = rig.post(&[], ping).await;
    assert_eq!((homeless.status, homeless.code()), (400, -32600));
    assert_eq!(homeless.message["id"], 5);
    let session = rig.session("{}").await;
    // The version's header may be absent, or another legacy version's: the session knows.
    for version in [None, Some("2025-11-25"), Some("2024-11-05")] {
        let mut headers = vec![("mcp-session-id", &*session)];
        headers.extend(version.map(|version| ("mcp-protocol-version", version)));
        assert_eq!(rig.post(&headers, ping).await.status, 200, "{version:?}");
    }
    for wrong in ["", "x", &session[1..]] {
        let gone = rig.post(&[("mcp-session-id", wrong)], ping).await;
        assert_eq!(gone.status, 404, "{wrong}");
    }
    // What exists only for others is unknown here, and never a 404: that would mean that the session is gone.
    for method in [
        "server/discover",
        "subscriptions/listen",
        "tasks/get",
        "tasks/result",
        "roots/list",
        "no/such",
    ] {
        let told = rig.within(&session, method, "{}").await;
        assert_eq!((told.status, told.code()), (200, -32601), "{method}");
    }
}

#[tokio::test]
async fn a_handshake_is_answered_with_a_version_that_has_one() {
    let rig = Rig::start("").await;
    let initialize = |version: &str| {
        format!(
            r#"{{"jsonrpc":"2.0","id":1,"method":"initialize","params":{{"protocolVersion":{version},"capabilities":{{}}}}}}"#
        )
    };
    for (asked, given) in [
        ("2024-11-05", "2024-11-05"),
        ("2025-03-26", "2025-03-26"),
        ("2025-06-18", "2025-06-18"),
        ("2025-11-25", "2025-11-25"),
        ("2026-07-28", "2025-11-25"),
        ("1999-01-01", "2025-11-25"),
    ] {
        let told = rig.post(&[], &initialize(&format!("\"{asked}\""))).await;
        assert_eq!(told.message["result"]["protocolVersion"], given, "{asked}");
        assert!(told.session.is_some());
    }
    let told = rig.post(&[], &initialize("7")).await;
    assert_eq!((told.code(), told.session), (-32602, None));
    // In a session it begins another one.
    let session = rig.session("{}").await;
    let again = rig
        .post(&[("mcp-session-id", &session)], &initialize("\"2025-06-18\""))
        .await;
    assert!(again.session.is_some_and(|new| new != session));
}
