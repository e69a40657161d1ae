//! What servers are presented with.

use gatepost_config::{ClientCredentials, Credential, Secret, ServerKind, ServerUrl, Text};
use gatepost_policy::Principal;

use super::{
    super::{
        Asker,
        credential::{SecretUse, StoredTokens, Used},
    },
    *,
};

/// What was used, as `kind name principal`.
#[derive(Default)]
struct Uses(Mutex<Vec<String>>);

impl SecretUse for Uses {
    fn used(&self, used: &Used<'_>) {
        assert_eq!(used.server, "s");
        let whose = used.principal.map_or("the gate", |principal| principal.subject());
        let used = format!("{} {} {whose}", used.kind, used.name.unwrap_or("-"));
        self.0.lock().unwrap().push(used);
    }
}

/// Everybody but `nobody` has stored `pat-<subject>`.
struct Stored;

impl StoredTokens for Stored {
    fn token(&self, server: &str, principal: &Principal) -> Result<Option<Secret>, String> {
        assert_eq!(server, "s");
        let token = format!("pat-{}", principal.subject());
        Ok((principal.subject() != "nobody").then(|| Secret::new(token)))
    }
}

fn url(url: &str) -> ServerUrl {
    let config: Config = format!("servers: {{ s: {{ url: {url} }} }}").parse().unwrap();
    match &config.servers[0].kind {
        ServerKind::Url { url, .. } => url.clone(),
        _ => panic!("{url}"),
    }
}

fn grant(issuer: &Backend) -> Credential {
    Credential::ClientCredentials(ClientCredentials {
        token_url: url(&issuer.url),
        client_id: Text::plain("the gate"),
        client_secret: Secret::new("s3cr:t"),
        scopes: vec!["read".to_owned(), "write:all".to_owned()],
        audience: Some("https://crm".to_owned()),
        resource: None,
    })
}

fn with(backend: &Backend, more: &str, credentials: Vec<Credential>) -> (Arc<Server>, Arc<Uses>) {
    let yaml = format!("servers: {{ s: {{ url: {}, timeout: 60s{more} }} }}", backend.url);
    let mut config: Config = yaml.parse().unwrap();
    config.servers[0].credentials = credentials;
    let uses = Arc::new(Uses::default());
    let context = Context {
        tls: trusting(rustls::RootCertStore::empty()).unwrap(),
        supervisor: Supervisor::none(),
        max_response: 1 << 20,
        info: own_info(),
        clients: None,
        stored: Some(Arc::new(Stored)),
        uses: Some(Arc::<Uses>::clone(&uses) as Arc<dyn SecretUse>),
    };
    (Server::new(&config.servers[0], None, &context), uses)
}

/// Somebody who was identified by a token.
fn known(subject: &str) -> Arc<gatepost_policy::Caller> {
    let facts = gatepost_policy::Facts::of(
        Principal::new("https://id", subject),
        gatepost_policy::Method::Jwt,
    );
    Arc::new(gatepost_policy::Rules::open().caller(facts))
}

/// A client's call, with what is its own to present.
fn caller(server: &Server, subject: &str) -> Result<Caller, CallError> {
    Ok(Caller {
        personal: server.personal(Asker::plain(&known(subject)))?,
        principal: Principal::new("https://id", subject),
        ..Caller::legacy(r#"{"name":"public"}"#)
    })
}

fn authorizations(backend: &Backend, method: &str) -> Vec<String> {
    let seen = backend.seen(method);
    seen.iter()
        .map(|seen| seen.header("authorization").unwrap_or("none").to_owned())
        .collect()
}

/// An issuer whose tokens are numbered, and live so long.
async fn issuer(seconds: u64) -> Backend {
    let issued = AtomicUsize::new(0);
    Backend::start(move |_| {
        let number = issued.fetch_add(1, Relaxed) + 1;
        let said =
            format!(r#"{{"access_token":"token-{number}","token_type":"bearer","expires_in":{seconds}}}"#);
        answer(200, "application/json", said)
    })
    .await
}

#[tokio::test]
async fn one_token_is_got_for_all_who_wait_and_kept() {
    let issuer = issuer(3600).await;
    let backend = Backend::start(|seen| modern(seen, |seen| result(seen, "{}"))).await;
    let (server, uses) = with(&backend, "", vec![grant(&issuer)]);
    let calls = (0..32).map(|_| {
        let server = Arc::clone(&server);
        async move { caller(&server, "ann")?.text(&server).await }
    });
    for outcome in futures_util::future::join_all(calls).await {
        outcome.unwrap();
    }
    let asked = issuer.seen.lock().unwrap().clone();
    assert_eq!(asked.len(), 1, "one question");
    // RFC 6749 2.3.1: form encoded, then joined.
    assert_eq!(
        asked[0].header("authorization"),
        Some("Basic dGhlK2dhdGU6czNjciUzQXQ=")
    );
    assert_eq!(
        asked[0].header("content-type"),
        Some("application/x-www-form-urlencoded")
    );
    assert_eq!(
        asked[0].body,
        "grant_type=client_credentials&scope=read+write%3Aall&audience=https%3A%2F%2Fcrm"
    );
    let presented = authorizations(&backend, "tools/call");
    assert_eq!(presented, vec!["Bearer token-1"; 32]);
    assert_eq!(authorizations(&backend, "server/discover"), ["Bearer token-1"]);
    let mut uses = uses.0.lock().unwrap().clone();
    uses.sort();
    uses.dedup();
    assert_eq!(
        uses,
        [
            "client_credentials the gate ann",
            "client_credentials the gate the gate"
        ]
    );
}

#[tokio::test]
async fn a_token_is_replaced_before_it_expires() {
    let issuer = issuer(600).await;
    let backend = Backend::start(|seen| modern(seen, |seen| result(seen, "{}"))).await;
    let (server, _) = with(&backend, "", vec![grant(&issuer)]);
    let call = async |after: u64| {
        tokio::time::pause();
        tokio::time::advance(Duration::from_secs(after)).await;
        tokio::time::resume();
        caller(&server, "ann").unwrap().text(&server).await.unwrap();
    };
    call(0).await;
    call(569).await;
    assert_eq!(issuer.seen.lock().unwrap().len(), 1);
    call(2).await;
    assert_eq!(
        authorizations(&backend, "tools/call"),
        ["Bearer token-1", "Bearer token-1", "Bearer token-2"]
    );
}

#[tokio::test]
async fn after_a_401_there_is_one_other_token_and_one_other_try() {
    for era in [Era::Modern, Era::Legacy] {
        let issuer = issuer(3600).await;
        let sessions = AtomicUsize::new(0);
        let backend = Backend::start(move |seen| {
            let token = seen.header("authorization").unwrap_or_default().to_owned();
            let call = |seen: &Seen| match &*token {
                "Bearer token-1" => answer(401, "text/plain", format!("not with {token}")),
                _ => result(seen, "{}"),
            };
            match era {
                Era::Modern => modern(seen, call),
                Era::Legacy => legacy(&sessions, seen, call),
            }
        })
        .await;
        let (server, _) = with(&backend, "", vec![grant(&issuer)]);
        // What comes in together gets one other token, and not one each.
        let calls = (0..8).map(|_| {
            let server = Arc::clone(&server);
            async move { caller(&server, "ann")?.text(&server).await }
        });
        for outcome in futures_util::future::join_all(calls).await {
            outcome.unwrap();
        }
        assert_eq!(issuer.seen.lock().unwrap().len(), 2, "{era:?}");
        // A session goes on under the new token.
        let began = backend.seen("initialize").len();
        assert_eq!(began, usize::from(era == Era::Legacy));
    }
}

#[tokio::test]
async fn a_server_that_takes_no_token_is_asked_twice_and_says_no_secret() {
    let issuer = issuer(3600).await;
    let backend = Backend::start(|seen| {
        modern(seen, |seen| {
            let token = seen.header("authorization").unwrap_or_default().to_owned();
            answer(401, "text/plain", format!("I do not know {token} at all"))
        })
    })
    .await;
    let (server, _) = with(&backend, "", vec![grant(&issuer)]);
    let error = caller(&server, "ann").unwrap().text(&server).await.unwrap_err();
    assert_eq!(
        error.to_string(),
        "server `s` answered HTTP 401: I do not know [secret] at all"
    );
    assert!(error.retry_safe);
    assert_eq!(backend.seen("tools/call").len(), 2);
    assert!(
        !serde_json::to_string(&server.health())
            .unwrap()
            .contains("token-")
    );
}

#[tokio::test]
async fn an_issuer_that_refuses_is_named_and_left_alone_for_a_while() {
    let issuer = Backend::start(|seen| {
        let said = format!(
            r#"{{"error":"invalid_client","error_description":"bad {}"}}"#,
            seen.header("authorization").unwrap_or_default()
        );
        answer(401, "application/json", said)
    })
    .await;
    let backend = Backend::start(|seen| modern(seen, |seen| result(seen, "{}"))).await;
    let (server, _) = with(&backend, "", vec![grant(&issuer)]);
    for _ in 0..5 {
        let error = caller(&server, "ann").unwrap().text(&server).await.unwrap_err();
        assert_eq!(
            error.to_string(),
            format!(
                "server `s` was not asked: there is no token for it: {} answered HTTP 401 `invalid_client`: bad [secret]",
                issuer.url
            )
        );
        assert!(error.retry_safe);
    }
    assert_eq!(issuer.seen.lock().unwrap().len(), 1, "the failure is shared");
    assert_eq!(backend.seen.lock().unwrap().len(), 0, "the server was not asked");
    tokio::time::pause();
    tokio::time::advance(Duration::from_secs(2)).await;
    tokio::time::resume();
    caller(&server, "ann").unwrap().text(&server).await.unwrap_err();
    assert_eq!(issuer.seen.lock().unwrap().len(), 2);
}

#[tokio::test]
async fn what_an_issuer_says_is_looked_at() {
    let check = async |said: &'static str, expected: Result<&str, &str>| {
        let issuer = Backend::start(move |_| answer(200, "application/json", said)).await;
        let backend = Backend::start(|seen| modern(seen, |seen| result(seen, "{}"))).await;
        let (server, _) = with(&backend, "", vec![grant(&issuer)]);
        let outcome = caller(&server, "ann").unwrap().text(&server).await;
        match expected {
            Ok(token) => {
                outcome.unwrap();
                assert_eq!(
                    authorizations(&backend, "tools/call"),
                    [format!("Bearer {token}")]
                );
            }
            Err(why) => {
                let error = outcome.unwrap_err().to_string();
                assert!(error.contains(why), "{said}: {error}");
            }
        }
    };
    check(r#"{"access_token":"t"}"#, Ok("t")).await;
    check(r#"{"access_token":"t","expires_in":"60"}"#, Ok("t")).await;
    check(r#"{"access_token":"t","expires_in":-1}"#, Ok("t")).await;
    check(
        r#"{"access_token":"t","token_type":"DPoP"}"#,
        Err("not of the type `Bearer`"),
    )
    .await;
    check(r#"{"access_token":""}"#, Err("without an `access_token`")).await;
    check(r#"{"access_token":"a\nb"}"#, Err("no header can carry")).await;
    check("<html>", Err("no JSON object")).await;
}

#[tokio::test]
async fn a_caller_has_its_own_session_and_nobody_elses() {
    let sessions = AtomicUsize::new(0);
    let backend = Backend::start(move |seen| legacy(&sessions, seen, |seen| result(seen, "{}"))).await;
    let gates_own = Credential::Bearer(Secret::new("the-gates"));
    let (server, uses) = with(
        &backend,
        ", isolation: shared",
        vec![Credential::Principal, gates_own],
    );
    for subject in ["ann", "bob", "ann", "nobody", "bob"] {
        caller(&server, subject).unwrap().text(&server).await.unwrap();
    }
    let calls = backend.seen("tools/call");
    let call: Vec<_> = calls
        .iter()
        .map(|seen| {
            (
                seen.header("authorization").unwrap(),
                seen.header("mcp-session-id").unwrap(),
            )
        })
        .collect();
    assert_eq!(
        call,
        [
            ("Bearer pat-ann", "s1"),
            ("Bearer pat-bob", "s2"),
            ("Bearer pat-ann", "s1"),
            ("Bearer the-gates", "s3"),
            ("Bearer pat-bob", "s2"),
        ]
    );
    // Whatever belongs to a session is under its credential.
    for seen in backend.seen.lock().unwrap().iter() {
        let expected = match seen.header("mcp-session-id") {
            Some("s1") => "Bearer pat-ann",
            Some("s2") => "Bearer pat-bob",
            Some("s3") => "Bearer the-gates",
            _ => continue,
        };
        assert_eq!(seen.header("authorization"), Some(expected));
    }
    let uses = uses.0.lock().unwrap();
    let of = |used: &str| uses.iter().filter(|other| **other == used).count();
    // Two calls and a session each; of the one that has none, a call and a session.
    assert_eq!(of("principal - ann"), 3);
    assert_eq!(of("principal - bob"), 3);
    assert_eq!(of("bearer - nobody"), 1);
    assert_eq!(of("bearer - the gate"), 1);
}

#[tokio::test]
async fn a_client_that_comes_with_another_token_learns_that_its_session_is_over() {
    let sessions = AtomicUsize::new(0);
    let backend = Backend::start(move |seen| legacy(&sessions, seen, |seen| result(seen, "{}"))).await;
    let pass = Credential::PassThrough {
        audience: "https://crm".to_owned(),
    };
    let (server, _) = with(&backend, ", isolation: session", vec![pass]);
    let call = async |conversation: u8, token: &str| {
        let mut headers = ::http::HeaderMap::new();
        // {"aud":"https://crm"}
        let token = format!("Bearer e30.eyJhdWQiOiJodHRwczovL2NybSJ9.{token}");
        headers.insert("authorization", token.parse().unwrap());
        let ann = known("ann");
        let caller = Caller {
            personal: server.personal(Asker::of(&ann, &headers)).unwrap(),
            principal: ann.principal().clone(),
            conversation: Some([conversation; 16]),
            ..Caller::legacy("{}")
        };
        caller.text(&server).await
    };
    call(1, "first").await.unwrap();
    call(2, "first").await.unwrap();
    assert!(matches!(cause(call(1, "second").await), Cause::SessionGone));
    call(1, "second").await.unwrap();
    call(2, "first").await.unwrap();
    let calls = backend.seen("tools/call");
    let of: Vec<_> = calls
        .iter()
        .map(|seen| seen.header("mcp-session-id").unwrap())
        .collect();
    // The first one was opened to find out what the server is.
    assert_eq!(of, ["s2", "s3", "s4", "s3"]);
}

#[tokio::test]
async fn without_a_credential_nothing_is_sent() {
    let backend = Backend::start(|seen| modern(seen, |seen| result(seen, "{}"))).await;
    let pass = Credential::PassThrough {
        audience: "https://crm".to_owned(),
    };
    let (server, uses) = with(&backend, "", vec![pass, Credential::Principal]);
    let error = caller(&server, "nobody").err().unwrap();
    assert_eq!(
        error.to_string(),
        "server `s` was not asked: there is no credential for nobody of https://id: call with a token whose `aud` has \
         `https://crm` too, or have its operator run `gatepost credentials set --server s --principal 'nobody' --issuer 'https://id'`"
    );
    // Nor does the gate ask in its own name.
    assert!(matches!(
        cause(server.fetch(Method::ToolsList, b"").await),
        Cause::NoCredential(_)
    ));
    assert!(matches!(cause(server.facts().await), Cause::NoCredential(_)));
    let nobody = server.watched(Asker::plain(&known("nobody")), &"file:///a".into());
    assert!(matches!(cause(nobody.map(drop)), Cause::NoCredential(_)));
    assert_eq!(backend.seen.lock().unwrap().len(), 0);
    assert!(uses.0.lock().unwrap().is_empty());
    assert_eq!(serde_json::to_value(server.health()).unwrap()["state"], "unknown");
    // What it is, the first to come finds out; what it says to that one stays there.
    caller(&server, "ann").unwrap().text(&server).await.unwrap();
    assert_eq!(authorizations(&backend, "server/discover"), ["Bearer pat-ann"]);
    let known = server.known().unwrap();
    assert_eq!((known.era(), known.instructions.as_deref()), (Era::Modern, None));
}

#[tokio::test]
async fn a_callers_token_goes_where_it_is_meant_for_and_replaces_nothing_else() {
    let backend = Backend::start(|seen| modern(seen, |seen| result(seen, "{}"))).await;
    let pass = Credential::PassThrough {
        audience: "https://crm".to_owned(),
    };
    let basic = Credential::Basic {
        username: Text::plain("gate"),
        password: Secret::new("pass"),
    };
    let (server, uses) = with(
        &backend,
        ", headers: { X-Fixed: f, Authorization: configured }",
        vec![pass, basic],
    );
    let call = async |token: &str| {
        let mut headers = ::http::HeaderMap::new();
        headers.insert("authorization", format!("Bearer {token}").parse().unwrap());
        let ann = known("ann");
        let caller = Caller {
            personal: server.personal(Asker::of(&ann, &headers)).unwrap(),
            principal: ann.principal().clone(),
            ..Caller::legacy("{}")
        };
        caller.text(&server).await.unwrap();
        // Nor is it lost by being kept.
        let kept = server
            .personal(Asker::of(&ann, &headers).to_kept().asker())
            .unwrap();
        assert_eq!(
            kept.and_then(|own| own.fingerprint()),
            caller.personal.and_then(|own| own.fingerprint())
        );
    };
    // {"aud":["https://gate","https://crm"]}, and the same without the server.
    let both = "e30.eyJhdWQiOlsiaHR0cHM6Ly9nYXRlIiwiaHR0cHM6Ly9jcm0iXX0.c2ln";
    call(both).await;
    call("e30.eyJhdWQiOlsiaHR0cHM6Ly9nYXRlIl19.c2ln").await;
    call("gp_abc").await;
    // What nobody has verified is nobody's.
    let mut headers = ::http::HeaderMap::new();
    headers.insert("authorization", format!("Bearer {both}").parse().unwrap());
    for method in [
        gatepost_policy::Method::Local,
        gatepost_policy::Method::ApiKey { id: "k".into() },
    ] {
        let facts = gatepost_policy::Facts::of(Principal::new("https://id", "ann"), method);
        let caller = Arc::new(gatepost_policy::Rules::open().caller(facts));
        assert!(server.personal(Asker::of(&caller, &headers)).unwrap().is_none());
    }
    assert_eq!(
        authorizations(&backend, "tools/call"),
        [
            format!("Bearer {both}"),
            "Basic Z2F0ZTpwYXNz".to_owned(),
            "Basic Z2F0ZTpwYXNz".to_owned()
        ]
    );
    let calls = backend.seen("tools/call");
    assert!(calls.iter().all(|seen| seen.header("x-fixed") == Some("f")
        && seen.headers.get_all("authorization").iter().count() == 1));
    assert!(uses.0.lock().unwrap().contains(&"pass_through - ann".to_owned()));
}

#[tokio::test]
async fn tenants_share_no_process_unless_that_is_said() {
    let check = async |isolation: &str, expected: [usize; 4]| {
        let recorder = recorder::Recorder::new("{}");
        let server = recorder.server(isolation);
        let ann = || Principal::new("https://id", "ann");
        let bob = Principal::new("https://id", "bob").with_tenant("acme");
        for principal in [ann(), ann().with_tenant("acme"), bob, ann().with_tenant("globex")] {
            let caller = Caller {
                principal,
                ..Caller::legacy("{}")
            };
            caller.text(&server).await.unwrap();
        }
        let calls: Vec<usize> = recorder
            .requests("tools/call")
            .into_iter()
            .map(|(number, _)| number)
            .collect();
        assert_eq!(calls, expected, "{isolation}");
    };
    check("", [1, 2, 2, 3]).await;
    check(", isolation: tenant", [1, 2, 2, 3]).await;
    check(", isolation: shared", [1, 1, 1, 1]).await;
}

#[tokio::test]
async fn a_change_stream_uses_a_secret_too() {
    let backend = Backend::start(|seen| modern(seen, |seen| result(seen, "{}"))).await;
    let (server, uses) = with(&backend, "", vec![Credential::Bearer(Secret::new("b"))]);
    let watching = Arc::clone(&server);
    let watch = tokio::spawn(async move { watching.watch().await });
    while backend.seen("subscriptions/listen").is_empty() {
        tokio::task::yield_now().await;
    }
    watch.abort();
    let presented = backend.seen("server/discover").len() + backend.seen("subscriptions/listen").len();
    assert_eq!(uses.0.lock().unwrap().len(), presented);
}
