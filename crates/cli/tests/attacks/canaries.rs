//! Secrets that are planted, and searched for wherever the gate writes something.

use std::path::Path;

use gatepost_testkit::gate::{Answer, Post, eventually};
use gatepost_testkit::odd::{Odd, OddServer};
use gatepost_testkit::tokens::base64url;
use serde_json::json;

use crate::house::{ApiKey, House, address};

/// What is only for one server, or for nobody at all.
const STATIC: &str = "canary-static-4c1f9e";
const BEARER: &str = "canary-bearer-77d0b2";
const PASSWORD: &str = "canary-basic-90ae31";
const CLIENT_SECRET: &str = "canary-client-secret-2b6f08";
const SEALING: &str = "canary-sealing-key-of-more-than-32-characters";
const SECRET_ARGUMENT: &str = "canary-argument-5b8e60";
const MAIL: &str = "canary.mail.e21a@example.com";
/// Is found where the others are searched for: so that looking there means something.
const HARMLESS: &str = "canary-harmless-1d35";
/// The number that card networks give for tests.
const CARD: &str = "4111111111111111";

/// A place where something was found that should be nowhere.
fn find(place: &str, text: &[u8], canaries: &[(String, String)], found: &mut Vec<String>) {
    for (what, canary) in canaries {
        if text
            .windows(canary.len())
            .any(|window| window == canary.as_bytes())
        {
            found.push(format!("{what} in {place}"));
        }
    }
}

fn files(folder: &Path, all: &mut Vec<std::path::PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        match path.is_dir() {
            true => files(&path, all),
            false => all.push(path),
        }
    }
}

#[tokio::test]
async fn secrets_are_nowhere_but_where_they_belong() {
    let [stat, bear, base] = [
        OddServer::start(Odd::modern()).await.unwrap(),
        OddServer::start(Odd::legacy()).await.unwrap(),
        OddServer::start(Odd::modern()).await.unwrap(),
    ];
    let servers = json!({
        "stat": { "url": stat.url(), "credentials": [{ "header": { "X-Secret": STATIC } }] },
        "bear": { "url": bear.url(), "credentials": [{ "bearer": BEARER }] },
        "base": { "url": base.url(), "credentials": [{ "basic": { "username": "gate", "password": PASSWORD } }] },
        "notes": { "module": "notes" },
        "oauth": { "url": stat.url(), "credentials": [{ "client_credentials": {
            "token_url": "http://127.0.0.1:1/token", "client_id": "gate", "client_secret": CLIENT_SECRET } }] },
        "gone": { "url": "http://127.0.0.1:1/mcp", "headers": { "X-Gone": STATIC } },
    });
    let more = format!(
        "sealing: {{ keys: ['{SEALING}'] }}\ntelemetry: {{ log: json, level: trace }}\naudit: {{ results: masked, mask: [internal_note] }}"
    );
    let house = House::with(servers, &more).await;
    let token = house.token("/mcp", json!({ "email": MAIL, "email_verified": true }));
    let lost = ApiKey::create(house.gate.folder(), &["--role", "all", "--name", "lost"]).await;
    let mut said: Vec<(String, Answer)> = Vec::new();

    // A busy time: good calls and bad ones, over all ways.
    let arguments = json!({
        "password": SECRET_ARGUMENT, "internal_note": SECRET_ARGUMENT, "Api-Key": SECRET_ARGUMENT,
        "harmless": HARMLESS, "text": format!("write to {MAIL}, pay with {CARD}, take {}", house.key.key),
        "deep": [{ "authorization": format!("Bearer {token}") }],
    })
    .to_string();
    let modern = house.gate.modern("/mcp").bearing(&token);
    let keyed = house.gate.modern("/mcp").with_header("x-api-key", &house.key.key);
    let legacy = house
        .gate
        .modern("/mcp")
        .bearing(&token)
        .greeting("2025-11-25", "{}")
        .await;
    for client in [&modern, &keyed, &legacy] {
        for tool in ["stat__echo", "bear__echo", "base__echo"] {
            let answer = client.call(tool, &arguments).await;
            assert_eq!(answer.outcome(), (200, None), "{tool}: {}", answer.text());
        }
        for tool in [
            "notes__get_note",
            "oauth__echo",
            "gone__echo",
            "nothing",
            "stat__rpc_error",
            "bear__exit",
            "base__not_json",
            "bear__http_status",
        ] {
            said.push((tool.to_owned(), client.call(tool, &arguments).await));
        }
        said.push((
            "prompts".to_owned(),
            client.ask("prompts/get", r#"{"name":"stat__odd_prompt"}"#).await,
        ));
        said.push((
            "resources".to_owned(),
            client.ask("resources/read", r#"{"uri":"odd:nothing"}"#).await,
        ));
        said.push(("discover".to_owned(), client.ask("server/discover", "{}").await));
        said.push(("list".to_owned(), client.ask("tools/list", "{}").await));
    }
    let denied = house.modern("/mcp", json!({ "groups": ["careful"] }));
    said.push((
        "denied".to_owned(),
        denied
            .call(
                "crm__echo",
                &json!({ "env": "production", "password": SECRET_ARGUMENT }).to_string(),
            )
            .await,
    ));
    let call = modern.calling("crm__echo", &arguments);
    let bad = |text: &str| format!("Bearer {text}");
    for (number, credential) in [
        bad(&format!("{token}x")),
        bad(&token[..token.len() - 2]),
        bad(&house.key.key[..60]),
        bad(&format!("{}A", house.key.key)),
        format!("Basic {}", house.key.key),
        format!("{token} {}", house.key.key),
    ]
    .into_iter()
    .enumerate()
    {
        let post = call
            .clone()
            .set("authorization", credential)
            .from(address(number));
        said.push((format!("bad credential {number}"), house.send(&post).await));
    }
    said.push((
        "in the URL".to_owned(),
        house
            .send(&call.clone().at(&format!("/mcp/nothing?access_token={token}")))
            .await,
    ));
    said.push((
        "a broken body".to_owned(),
        house.send(&call.clone().body(arguments[..60].to_owned())).await,
    ));
    said.push((
        "mismatch".to_owned(),
        house.send(&call.clone().set("mcp-name", "x")).await,
    ));
    for (what, path) in [("/health", "/health"), ("/metrics", "/metrics")] {
        said.push((what.to_owned(), house.send(&Post::get(path)).await));
    }
    house.gate.command(&["keys", "revoke", &lost.id]).await;
    let checked = house.gate.command(&["check"]).await;
    let listed = house.gate.command(&["keys", "list", "--json"]).await;

    let secret_of = |key: &ApiKey| key.key[16..40].to_owned();
    let signature = token.rsplit('.').next().unwrap()[..24].to_owned();
    let nowhere: Vec<(String, String)> = [
        ("the key", secret_of(&house.key)),
        ("another key", secret_of(&house.reader_key)),
        ("the revoked key", secret_of(&lost)),
        ("the token", signature),
        ("the sealing key", SEALING[..20].to_owned()),
        ("the static header", STATIC.to_owned()),
        ("the bearer token", BEARER.to_owned()),
        ("the client's secret", CLIENT_SECRET.to_owned()),
        ("the password", PASSWORD.to_owned()),
        ("the password, coded", base64_of("gate", PASSWORD)),
        ("a masked argument", SECRET_ARGUMENT.to_owned()),
        ("the mail address", MAIL.to_owned()),
        ("the card", CARD.to_owned()),
    ]
    .map(|(what, canary)| (what.to_owned(), canary))
    .to_vec();

    let mut found = Vec::new();
    // What clients are told. A tool's own answer may well repeat its arguments.
    for (what, answer) in &said {
        let headers = format!("{:?}", answer.headers);
        find(
            &format!("the answer to {what}"),
            &answer.body,
            &nowhere,
            &mut found,
        );
        find(
            &format!("the headers of {what}"),
            headers.as_bytes(),
            &nowhere,
            &mut found,
        );
    }
    find("check", checked.as_bytes(), &nowhere, &mut found);
    find("keys list", listed.as_bytes(), &nowhere, &mut found);
    // What servers get: each its own, none of the callers'.
    for (name, server, own) in [
        ("stat", &stat, STATIC.to_owned()),
        ("bear", &bear, BEARER.to_owned()),
        ("base", &base, base64_of("gate", PASSWORD)),
        ("crm", &house.crm, String::new()),
        ("old", &house.old, String::new()),
    ] {
        let heads: String = server
            .received()
            .iter()
            .map(|received| format!("{} {:?}\n", received.at, received.headers))
            .collect();
        assert!(own.is_empty() || heads.contains(&own), "{name} gets its own");
        let foreign: Vec<_> = nowhere
            .iter()
            .filter(|(_, canary)| *canary != own)
            .cloned()
            .collect();
        find(
            &format!("a request's head to {name}"),
            heads.as_bytes(),
            &foreign,
            &mut found,
        );
    }
    // What is written: the log of everything at trace, and every file.
    // The log says everything, and has said it by now.
    house.gate.logged("DEBUG").await;
    house.gate.logged("not identified").await;
    let log = house.gate.log();
    find("the log", log.as_bytes(), &nowhere, &mut found);
    let audit = house.gate.folder().join("state/audit");
    eventually("the audit log has the calls", async || {
        let mut all = Vec::new();
        files(&audit, &mut all);
        let records: String = all
            .iter()
            .map(|path| String::from_utf8_lossy(&std::fs::read(path).unwrap()).into_owned())
            .collect();
        records.contains("stat__echo") || records.contains(r#""tool":"echo""#)
    })
    .await;
    let (_, folder) = house.gate.terminate().await;
    let mut all = Vec::new();
    files(&folder.path().join("state"), &mut all);
    assert!(all.iter().any(|path| path.ends_with("gatepost.db")), "{all:?}");
    let mut harmless = Vec::new();
    for path in all {
        let bytes = std::fs::read(&path).unwrap();
        find(
            "",
            &bytes,
            &[(path.display().to_string(), HARMLESS.to_owned())],
            &mut harmless,
        );
        find(
            &path.strip_prefix(folder.path()).unwrap().display().to_string(),
            &bytes,
            &nowhere,
            &mut found,
        );
    }
    assert!(
        harmless.iter().any(|place| place.contains("audit")),
        "{harmless:?}"
    );
    found.sort();
    found.dedup();
    assert!(found.is_empty(), "{}", found.join("\n"));
}

fn base64_of(user: &str, password: &str) -> String {
    // Without its end, which depends on what follows.
    let url = base64url(format!("{user}:{password}"));
    url[..url.len() - 4].to_owned()
}
