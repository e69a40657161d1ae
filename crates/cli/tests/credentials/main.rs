//! What servers are let in with: each gets what is configured for it, and nobody sees what is another's.
#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::unwrap_used,
    reason = "what a test sets up and cannot do without may stop it, in the functions beside the tests too"
)]

mod little;
mod watching;

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};

use gatepost_policy::Principal;
use gatepost_store::{Slot, Store, Token};
use gatepost_testkit::gate::{Client, Gate, Post, command_in, eventually};
use gatepost_testkit::odd::{Odd, OddServer, program};
use gatepost_testkit::tokens::{Signer, now};
use serde_json::{Value, json};

use little::Little;

const GATEPOST: &str = env!("CARGO_BIN_EXE_gatepost");
const GATE: &str = "https://gate.example.com";
const ISSUER: &str = "https://id.example.com";

/// A gate whose callers come with tokens of one issuer, or with keys, and may do everything.
struct House {
    gate: Gate,
    signer: Signer,
}

impl House {
    async fn open(servers: &Value, more: &str) -> Self {
        let (folder, signer, configuration) = Self::prepare(servers, more);
        let gate = Gate::start_in(GATEPOST, &configuration, folder).await;
        Self { gate, signer }
    }

    fn prepare(servers: &Value, more: &str) -> (tempfile::TempDir, Signer, String) {
        let signer = Signer::p256();
        let identity = json!({ "api_keys": true, "jwt": [
            { "issuer": ISSUER, "audience": ["gate"], "jwks_file": "keys.json" },
        ] });
        let configuration = format!(
            "http: {{ public_url: '{GATE}' }}\nidentity: {identity}\nservers: {servers}\n\
             roles: {{ all: {{ allow: ['*'], access: destructive }} }}\n\
             bindings: [{{ role: all, issuer: '{ISSUER}' }}]\n{more}\n"
        );
        let folder = Gate::prepare(&configuration);
        let keys = json!({ "keys": [signer.jwk("k")] });
        std::fs::write(folder.path().join("keys.json"), keys.to_string()).unwrap();
        (folder, signer, configuration)
    }

    /// A token for the gate, and for others too.
    fn token(&self, subject: &str, others: &[&str]) -> String {
        let mut audience = vec!["gate"];
        audience.extend(others);
        let claims = json!({ "iss": ISSUER, "sub": subject, "aud": audience, "exp": now() + 600 });
        self.signer.token(&json!({ "alg": "ES256", "kid": "k" }), &claims)
    }

    fn client(&self, path: &str, subject: &str) -> Client {
        self.gate.modern(path).bearing(&self.token(subject, &[]))
    }
}

/// As `gatepost credentials set`, whose own tests are elsewhere.
fn store(folder: &Path, server: &str, subject: &str, token: &str) {
    let store = Store::open(&folder.join("state"), &[]).unwrap();
    let principal = Principal::new(ISSUER, subject);
    let slot = Slot {
        server,
        principal: &principal,
        name: Slot::DEFAULT_NAME,
    };
    let token = Token::new(token.to_owned().into()).unwrap();
    store.credentials.set(slot, &token, 0).unwrap();
}

fn remove(folder: &Path, server: &str, subject: &str) {
    let store = Store::open(&folder.join("state"), &[]).unwrap();
    let principal = Principal::new(ISSUER, subject);
    let slot = Slot {
        server,
        principal: &principal,
        name: Slot::DEFAULT_NAME,
    };
    assert!(store.credentials.remove(slot).unwrap());
}

/// Everything that is in a folder, the databases included.
fn contents(folder: &Path) -> Vec<u8> {
    let mut all = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            all.extend(contents(&path));
        } else {
            all.extend(std::fs::read(&path).unwrap_or_default());
        }
    }
    all
}

async fn page(gate: &Gate, path: &str) -> String {
    Post::get(path).send(gate.address()).await.whole().await.text()
}

/// Every kind of credential, each with a server of its own, and every kind of caller: what is whose arrives there only, and
/// is in nothing that the gate says or writes.
#[tokio::test]
async fn no_server_sees_anothers_secret_and_nobody_hears_one() {
    let issuer = Little::start(|_| {
        (
            200,
            json!({ "access_token": "canary-granted", "token_type": "Bearer", "expires_in": 600 })
                .to_string(),
        )
    })
    .await;
    // Repeats what it is sent, in what it is not supposed to.
    let parrot = Little::start(|asked| {
        let said = format!("not with {} {}", asked.authorization(), asked.header("x-fixed"));
        let result = match &*asked.method() {
            "server/discover" => json!({ "resultType": "complete", "supportedVersions": ["2026-07-28"],
                "capabilities": { "tools": {} } }),
            "tools/list" => json!({ "resultType": "complete", "tools": [{ "name": "echo" }] }),
            "" => {
                return (
                    400,
                    json!({ "error": "invalid_client", "error_description": said }).to_string(),
                );
            }
            _ => return (403, said),
        };
        let id = asked.json()["id"].clone();
        (
            200,
            json!({ "jsonrpc": "2.0", "id": id, "result": result }).to_string(),
        )
    })
    .await;
    let deaf = Little::start(|asked| (401, format!("{{\"error\":\"{}\"}}", asked.authorization()))).await;
    let mut servers = Vec::new();
    for odd in [
        Odd::modern(),
        Odd::legacy(),
        Odd::modern(),
        Odd::legacy(),
        Odd::modern(),
        Odd::legacy(),
        Odd::modern(),
    ] {
        servers.push(OddServer::start(odd).await.unwrap());
    }
    let [pass, pat, grant, header, bearer, basic, plain] = <[OddServer; 7]>::try_from(servers).unwrap();
    let origin = pass.url().trim_end_matches("/mcp").to_owned();
    let child = program(&Odd::legacy()).unwrap();
    let grants = |token_url: String| {
        json!({ "client_credentials": { "token_url": token_url, "client_id": "gate",
            "client_secret": "canary-client-secret" } })
    };
    let configured = json!({
        "pass": { "url": pass.url(), "credentials": [{ "pass_through": { "audience": origin } }, { "bearer": "canary-instead" }] },
        "pat": { "url": pat.url(), "credentials": [{ "principal": "pat" }] },
        "grant": { "url": grant.url(), "credentials": [grants(issuer.url("/token"))] },
        "header": { "url": header.url(), "credentials": [{ "header": { "X-Api-Key": "canary-header", "X-Other": "canary-other" } }] },
        "bearer": { "url": bearer.url(), "credentials": [{ "bearer": "canary-bearer" }] },
        "basic": { "url": basic.url(), "credentials": [{ "basic": { "username": "gate", "password": "canary-password" } }] },
        "plain": { "url": plain.url() },
        "parrot": { "url": parrot.url("/mcp"), "headers": { "X-Fixed": "canary-fixed" }, "credentials": [{ "bearer": "canary-parroted" }] },
        "deaf": { "url": deaf.url("/mcp"), "credentials": [{ "principal": "pat" }] },
        "denied": { "url": plain.url(), "credentials": [grants(parrot.url("/token"))] },
        "child": { "command": child.command, "args": child.args, "env": { "TOKEN": "canary-env" } },
    });
    let (folder, signer, configuration) = House::prepare(&configured, "audit: { results: masked }");
    for (server, token) in [("pat", "canary-pat-ann"), ("deaf", "canary-deaf-ann")] {
        store(folder.path(), server, "ann", token);
    }
    store(folder.path(), "pat", "bob", "canary-pat-bob");
    let said = command_in(
        GATEPOST.as_ref(),
        folder.path(),
        &["keys", "create", "--json", "--role", "all"],
    );
    let made: Value = serde_json::from_str(&said.await).unwrap();
    let key = made["key"].as_str().unwrap().to_owned();
    let gate = Gate::start_in(GATEPOST, &configuration, folder).await;
    let house = House { gate, signer };

    let (ann, bob) = (house.token("ann", &[&origin]), house.token("bob", &[]));
    let mut answers = String::new();
    for credential in [&ann, &bob, &key] {
        for client in [
            house.gate.modern("/mcp").bearing(credential),
            house
                .gate
                .modern("/mcp")
                .bearing(credential)
                .greeting("2025-11-25", "{}")
                .await,
            house
                .gate
                .modern("/mcp")
                .bearing(credential)
                .greeting("2025-11-25", r#"{"roots":{}}"#)
                .await,
        ] {
            answers.push_str(&client.ask("tools/list", "{}").await.text());
            for server in configured.as_object().unwrap().keys() {
                let answer = client
                    .call(&format!("{server}__echo"), r#"{"said":"hello"}"#)
                    .await;
                answers.push_str(&answer.text());
                if !["pat", "parrot", "deaf", "denied"].contains(&&**server) {
                    assert!(answer.text().contains("hello"), "{server}: {}", answer.text());
                }
            }
        }
    }
    // Who was presented with what, by all requests: the greetings, the lists, the streams, the calls.
    let secrets = [
        "canary-granted",
        "canary-client-secret",
        "canary-instead",
        "canary-pat-ann",
        "canary-pat-bob",
        "canary-deaf-ann",
        "canary-header",
        "canary-other",
        "canary-bearer",
        "canary-parroted",
        "canary-fixed",
        "canary-env",
        "canary-password",
        "Z2F0ZTpjYW5hcnktcGFzc3dvcmQ=",
        "Z2F0ZTpjYW5hcnktY2xpZW50LXNlY3JldA==",
        &ann,
        &bob,
        &key,
    ];
    let seen = |all: String| -> Vec<&str> {
        let seen = secrets.iter().filter(|secret| all.contains(**secret));
        seen.copied().collect()
    };
    let of = |server: &OddServer| seen(format!("{:?}", server.received()));
    assert_eq!(of(&pass), ["canary-instead", &ann]);
    assert_eq!(of(&pat), ["canary-pat-ann", "canary-pat-bob"]);
    assert_eq!(of(&grant), ["canary-granted"]);
    assert_eq!(of(&header), ["canary-header", "canary-other"]);
    assert_eq!(of(&bearer), ["canary-bearer"]);
    assert_eq!(of(&basic), ["Z2F0ZTpjYW5hcnktcGFzc3dvcmQ="]);
    assert!(of(&plain).is_empty());
    assert_eq!(seen(format!("{:?}", deaf.asked())), ["canary-deaf-ann"]);
    let of_parrot = seen(format!("{:?}", parrot.asked()));
    assert_eq!(
        of_parrot,
        [
            "canary-parroted",
            "canary-fixed",
            "Z2F0ZTpjYW5hcnktY2xpZW50LXNlY3JldA=="
        ]
    );
    assert!(seen(format!("{:?}", child.received())).is_empty());
    // Every request is let in as its caller is, and ann's token is not presented for bob.
    for received in pat.all("tools/call") {
        assert!(
            received
                .header("authorization")
                .is_some_and(|value| value.starts_with("Bearer canary-pat-"))
        );
    }

    let health = page(&house.gate, "/health").await;
    let metrics = page(&house.gate, "/metrics").await;
    for repeated in ["`invalid_client`: not with", "HTTP 403: not with", "[secret]"] {
        assert!(
            answers.contains(repeated),
            "nobody has repeated anything: {repeated}"
        );
    }
    for (place, text) in [("answers", &answers), ("health", &health), ("metrics", &metrics)] {
        assert!(seen(text.clone()).is_empty(), "{place}: {:?}", seen(text.clone()));
    }
    let log = house.gate.log();
    assert!(seen(log.clone()).is_empty(), "the log: {:?}", seen(log));
    let (_, folder) = house.gate.terminate().await;
    // Every use is on record: by whom, of what, for which server, for which call; and never the secret itself.
    let records: Vec<Value> = String::from_utf8_lossy(&contents(&folder.path().join("state/audit")))
        .lines()
        .filter_map(|line| serde_json::from_str(line).ok())
        .collect();
    for intent in records.iter().filter(|record| record["kind"] == "intent") {
        let server = intent["what"]["server"].as_str().unwrap();
        let of = |record: &&Value| record["kind"] == "credential" && record["of"] == intent["id"];
        let uses: Vec<_> = records.iter().filter(of).collect();
        if ["plain", "child"].contains(&server) {
            assert!(uses.is_empty(), "{intent}: {uses:?}");
            continue;
        }
        for used in &uses {
            assert_eq!(used["server"], *server, "{intent}");
            assert_eq!(used["who"]["subject"], intent["who"]["subject"], "{intent}");
        }
        // Who has nothing to present is not let out at all.
        let nothing = ["pat", "deaf"].contains(&server) && uses.is_empty();
        assert!(nothing || uses.len() == 1, "{intent}: {uses:?}");
    }
    let mut used: Vec<String> = records
        .iter()
        .filter(|record| record["kind"] == "credential")
        .map(|record| {
            let subject = record["who"]["subject"].as_str().unwrap_or("the gate");
            let subject = if subject.len() == 12 { "a key" } else { subject };
            let text = |name: &str| record[name].as_str().unwrap_or("-").to_owned();
            format!(
                "{} {} {} {subject}",
                text("server"),
                text("credential"),
                text("name")
            )
        })
        .collect();
    used.sort();
    used.dedup();
    for expected in [
        "basic basic - ann",
        "basic basic - the gate",
        "bearer bearer - bob",
        "deaf principal - ann",
        "grant client_credentials gate a key",
        "header header x-api-key, x-other ann",
        "pass bearer - bob",
        "pass pass_through - ann",
        "pat principal - ann",
        "pat principal - bob",
    ] {
        assert!(
            used.iter().any(|used| used == expected),
            "{expected} is not in {used:#?}"
        );
    }
    assert!(
        !used
            .iter()
            .any(|used| used.starts_with("plain") || used.starts_with("child"))
    );
    let state = String::from_utf8_lossy(&contents(&folder.path().join("state"))).into_owned();
    assert!(
        seen(state.clone()).is_empty(),
        "the data directory: {:?}",
        seen(state)
    );
}

/// One question for all who wait, one more after a 401, and the sessions go on.
#[tokio::test]
async fn a_granted_token_is_got_once_and_once_more_after_a_401() {
    let number = AtomicUsize::new(0);
    let issuer = Little::start(move |_| {
        let number = number.fetch_add(1, Relaxed) + 1;
        (
            200,
            json!({ "access_token": format!("t{number}"), "token_type": "Bearer", "expires_in": 600 })
                .to_string(),
        )
    })
    .await;
    let revoked = Arc::new(AtomicBool::new(false));
    let revoking = Arc::clone(&revoked);
    let server = Little::modern(move |authorization| {
        let good = if revoking.load(Relaxed) {
            "Bearer t2"
        } else {
            "Bearer t1"
        };
        (authorization == good).then(|| vec!["tool".to_owned()])
    })
    .await;
    let configured = json!({ "crm": { "url": server.url("/mcp"), "credentials": [{ "client_credentials": {
        "token_url": issuer.url("/token"), "client_id": "gate", "client_secret": "s", "scopes": ["read"],
        "resource": server.origin } }] } });
    let house = House::open(&configured, "").await;
    let calls = async || {
        let calls = (0..32).map(|at| {
            let client = house.client("/mcp", &format!("caller-{at}"));
            async move { client.call("crm__tool", "{}").await.tool_text() }
        });
        for text in futures_util::future::join_all(calls).await {
            assert_eq!(text, "tool");
        }
    };
    calls().await;
    assert_eq!(issuer.asked().len(), 1);
    let resource = server.origin.replace(':', "%3A").replace('/', "%2F");
    assert_eq!(
        issuer.asked()[0].body,
        format!("grant_type=client_credentials&scope=read&resource={resource}")
    );
    revoked.store(true, Relaxed);
    calls().await;
    assert_eq!(issuer.asked().len(), 2);
}

/// What a caller's own credential shows, is that caller's alone: in lists, in calls, over a restart, and not for longer
/// than there is such a credential.
#[tokio::test]
async fn a_list_that_is_one_callers_own_is_shown_to_nobody_else() {
    let server = Little::modern(|authorization| match authorization {
        "Bearer pat-ann" => Some(vec!["common".to_owned(), "anns".to_owned()]),
        "Bearer pat-bob" => Some(vec!["common".to_owned(), "bobs".to_owned()]),
        _ => None,
    })
    .await;
    let configured = json!({
        "crm": { "url": server.url("/mcp"), "credentials": [{ "principal": "pat" }] },
        "calc": { "module": "calculator" },
    });
    let (folder, signer, configuration) = House::prepare(&configured, "");
    store(folder.path(), "crm", "ann", "pat-ann");
    store(folder.path(), "crm", "bob", "pat-bob");
    store(folder.path(), "crm", "dan", "pat-unknown");
    let gate = Gate::start_in(GATEPOST, &configuration, folder).await;
    let mut house = House { gate, signer };
    for round in 0..2 {
        let tools = async |subject: &str| -> Vec<String> {
            let answer = house.client("/mcp", subject).ask("tools/list", "{}").await;
            let result = answer.json()["result"].clone();
            assert_eq!(result["cacheScope"], "private", "{result}");
            let tools = result["tools"].as_array().unwrap().iter();
            let names = tools.map(|tool| tool["name"].as_str().unwrap().to_owned());
            names.filter(|name| name.starts_with("crm__")).collect()
        };
        // A call finds the list by itself.
        let call = async |subject: &str, tool: &str| house.client("/mcp", subject).call(tool, "{}").await;
        assert_eq!(call("ann", "crm__anns").await.tool_text(), "anns", "{round}");
        let unknown = call("bob", "crm__anns").await;
        let never = call("bob", "crm__never").await;
        assert_eq!(unknown.outcome(), never.outcome());
        assert_eq!(
            unknown.json()["error"]["message"],
            never.json()["error"]["message"]
                .as_str()
                .unwrap()
                .replace("never", "anns")
        );
        for _ in 0..2 {
            assert_eq!(tools("ann").await, ["crm__common", "crm__anns"]);
            assert_eq!(tools("bob").await, ["crm__common", "crm__bobs"]);
            assert!(tools("eve").await.is_empty());
        }
        // Nor what a server says of itself.
        let discover = async |subject: &str| {
            house
                .client("/mcp/crm", subject)
                .ask("server/discover", "{}")
                .await
                .text()
        };
        assert!(discover("ann").await.contains("anns"));
        assert!(!discover("bob").await.contains("anns"));
        assert!(!discover("eve").await.contains("common"));
        // Whoever has nothing to present is told what to do; whoever is refused, by whom.
        let nothing = call("eve", "crm__common").await;
        let text = nothing.json()["error"]["data"]["cause"].to_string();
        assert!(
            text.contains("gatepost credentials set --server crm --principal 'eve'"),
            "{}",
            nothing.text()
        );
        let refused = call("dan", "crm__common").await;
        assert!(refused.text().contains("HTTP 401"), "{}", refused.text());
        // Both are their callers' affair.
        assert_eq!(call("ann", "calc__calculate").await.status, 200);
        assert!(!house.gate.health().await.to_string().contains("anns"));
        // Nothing was asked in the gate's own name.
        assert!(
            server
                .asked()
                .iter()
                .all(|asked| asked.authorization().starts_with("Bearer pat-"))
        );
        if round == 0 {
            let gate = house.gate.restart(&configuration).await;
            house = House { gate, ..house };
            let kept = contents(&house.gate.folder().join("state"));
            assert!(
                !String::from_utf8_lossy(&kept).contains("anns"),
                "lists of a caller's own are not written"
            );
        }
    }
    remove(house.gate.folder(), "crm", "ann");
    eventually("the token is gone", async || {
        let answer = house.client("/mcp", "ann").call("crm__anns", "{}").await;
        answer.text().contains("there is no credential")
    })
    .await;
}

/// A caller's own session on a server that has sessions is that caller's, and is opened with its credential.
#[tokio::test]
async fn a_session_is_never_shared_between_credentials() {
    let server = OddServer::start(Odd::legacy()).await.unwrap();
    let configured = json!({ "old": { "url": server.url(), "isolation": "shared",
        "credentials": [{ "principal": "pat" }, { "bearer": "everybodys" }] } });
    let (folder, signer, configuration) = House::prepare(&configured, "");
    store(folder.path(), "old", "ann", "pat-ann");
    store(folder.path(), "old", "bob", "pat-bob");
    let gate = Gate::start_in(GATEPOST, &configuration, folder).await;
    let house = House { gate, signer };
    for subject in ["ann", "bob", "eve", "dan", "ann", "bob"] {
        let answer = house
            .client("/mcp", subject)
            .call("old__echo", r#"{"a":"hello"}"#)
            .await;
        assert!(answer.text().contains("hello"), "{}", answer.text());
    }
    let mut pairs: Vec<(String, String)> = server
        .received()
        .iter()
        .filter_map(|received| {
            let session = received.header("mcp-session-id")?.to_owned();
            Some((
                session,
                received.header("authorization").unwrap_or("none").to_owned(),
            ))
        })
        .collect();
    pairs.sort();
    pairs.dedup();
    let sessions: std::collections::BTreeSet<&String> = pairs.iter().map(|(session, _)| session).collect();
    assert_eq!(sessions.len(), pairs.len(), "one credential each: {pairs:?}");
    let presented: std::collections::BTreeSet<&str> = pairs
        .iter()
        .map(|(_, authorization)| authorization.as_str())
        .collect();
    let expected = ["Bearer everybodys", "Bearer pat-ann", "Bearer pat-bob"];
    assert_eq!(presented, expected.into_iter().collect());
}

/// A program gets what it needs to run and what is named for it, and nothing else of the gate's environment.
#[cfg(target_os = "linux")]
#[tokio::test]
async fn a_program_does_not_inherit_the_gates_secrets() {
    let odd = program(&Odd::legacy()).unwrap();
    let configured =
        json!({ "s": { "command": odd.command, "args": odd.args, "env": { "TOKEN": "its-own" } } });
    let gate = Gate::start(GATEPOST, &format!("servers: {configured}")).await;
    let pid: u32 = gate
        .modern("/mcp/s")
        .call("pid", "{}")
        .await
        .tool_text()
        .parse()
        .unwrap();
    let environment = |pid: u32| {
        let text = std::fs::read(format!("/proc/{pid}/environ")).unwrap();
        String::from_utf8_lossy(&text).into_owned()
    };
    let variables = |text: String| -> Vec<String> {
        let names = text
            .split('\0')
            .filter_map(|pair| Some(pair.split_once('=')?.0.to_owned()));
        names.collect()
    };
    // This test runs under cargo, whose variables the gate has inherited.
    let canary = "CARGO_MANIFEST_DIR";
    assert!(variables(environment(gate.pid())).contains(&canary.to_owned()));
    let its = variables(environment(pid));
    assert!(!its.contains(&canary.to_owned()), "{its:?}");
    assert!(
        its.contains(&"PATH".to_owned()) && its.contains(&"TOKEN".to_owned()),
        "{its:?}"
    );
    assert!(environment(pid).contains("its-own"));
}
