//! Everything around a message: hosts, origins, pages, headers of answers, what is for operators.

use gatepost_testkit::gate::{Answer, Gate, Method, Post};
use serde_json::json;

use crate::house::{GATE, GATEPOST, House, PAGE, seen};

/// A web page that has somebody's credential, or a name that leads here, is refused before anybody asks who they are.
#[tokio::test]
async fn hosts_and_origins_come_before_credentials() {
    let house = House::open().await;
    let good = house.modern("/mcp", json!({}));
    let post = good.request("tools/list", "{}");
    for (name, value) in [
        ("origin", "https://evil.example"),
        ("origin", "null"),
        ("origin", "https://app.example.com.evil.example"),
        ("origin", "http://app.example.com"),
        ("origin", "https://app.example.com:444"),
        ("host", "evil.example"),
        ("host", "gate.example.com.evil.example"),
        ("sec-fetch-site", "cross-site"),
    ] {
        for credential in [true, false] {
            let mut post = post.clone().set(name, value);
            if !credential {
                post = post.without("authorization");
            }
            let answer = house.send(&post).await;
            assert_eq!(answer.status, 403, "{name}: {value}: {}", answer.text());
            assert!(answer.header("www-authenticate").is_none());
            assert!(
                answer.header("access-control-allow-origin").is_none(),
                "{name}: {value}"
            );
        }
    }
    // The page that may, is welcomed by name, also when it is told to get a token; and never with cookies.
    for (post, status) in [(post.clone(), 200), (post.clone().without("authorization"), 401)] {
        let answer = house.send(&post.set("origin", PAGE)).await;
        assert_eq!(answer.status, status);
        assert_eq!(answer.header("access-control-allow-origin"), Some(PAGE));
        assert!(
            answer
                .header("access-control-expose-headers")
                .unwrap()
                .contains("www-authenticate")
        );
        assert!(answer.header("access-control-allow-credentials").is_none());
    }
    let preflight = |origin: &str| {
        Post::new(Method::OPTIONS, "/mcp")
            .header("origin", origin)
            .header("access-control-request-method", "POST")
            .header("access-control-request-headers", "authorization,x-api-key,x-evil")
    };
    let answer = house.send(&preflight(PAGE)).await;
    assert_eq!(answer.status, 204);
    let allowed = answer.header("access-control-allow-headers").unwrap();
    assert!(
        allowed.contains("authorization") && allowed.contains("x-api-key") && !allowed.contains("x-evil")
    );
    assert!(answer.header("access-control-allow-credentials").is_none());
    let answer = house.send(&preflight("https://evil.example")).await;
    assert_eq!(answer.status, 403);
    assert!(answer.header("access-control-allow-origin").is_none());
}

#[track_caller]
fn protected(what: &str, answer: &Answer) {
    for (name, value) in [
        ("x-content-type-options", "nosniff"),
        (
            "content-security-policy",
            "default-src 'none'; frame-ancestors 'none'",
        ),
        ("strict-transport-security", "max-age=63072000"),
    ] {
        assert_eq!(answer.header(name), Some(value), "{what}: {name}");
        assert_eq!(answer.headers.get_all(name).iter().count(), 1, "{what}: {name}");
    }
    let cache = answer.header("cache-control").unwrap_or_default();
    let public = what == "metadata";
    assert!(
        cache.starts_with(if public { "public" } else { "no-store" }),
        "{what}: {cache}"
    );
    assert!(answer.header("server").is_none() && answer.header("x-powered-by").is_none());
}

#[tokio::test]
async fn every_kind_of_answer_has_its_headers() {
    let house = House::with(
        json!({}),
        "limits: [{ per: principal, match: 'crm__empty_content', rate: 1/h, burst: 1 }]",
    )
    .await;
    let client = house.modern("/mcp", json!({}));
    let legacy = house.legacy("/mcp/old", json!({})).await;
    let scoped = house.modern("/mcp/crm", json!({ "groups": ["scoped"] }));
    let echo = client.calling("crm__echo", "{}");
    client.call("crm__empty_content", "{}").await;
    let rows = [
        ("a result", echo.clone(), 200),
        ("a stream", client.calling("crm__progress", "{}"), 200),
        (
            "a large result",
            client.calling("crm__big_text", r#"{"bytes":200000}"#),
            200,
        ),
        ("a tool's error", client.calling("crm__is_error", "{}"), 200),
        ("unknown", client.calling("nothing", "{}"), 200),
        (
            "taken",
            legacy.post(
                "",
                "{}",
                r#"{"jsonrpc":"2.0","method":"notifications/cancelled"}"#.to_owned(),
            ),
            202,
        ),
        ("not JSON", echo.clone().body("{"), 400),
        ("nobody", echo.clone().without("authorization"), 401),
        ("two", echo.clone().header("x-api-key", "x"), 400),
        (
            "another page",
            echo.clone().set("origin", "https://evil.example"),
            403,
        ),
        ("scopes", scoped.calling("echo", "{}"), 403),
        ("nothing there", echo.clone().at("/nothing"), 404),
        (
            "no endpoint",
            Post::json("/mcp/nothing", "{}").header("x-api-key", &house.key.key),
            404,
        ),
        (
            "no session",
            client.bare(Method::GET).header("mcp-session-id", "x"),
            404,
        ),
        ("verb", client.bare(Method::PUT), 405),
        ("media type", echo.clone().set("content-type", "text/plain"), 415),
        ("accept", echo.clone().set("accept", "image/png"), 406),
        ("health", Post::get("/health"), 200),
        ("metrics", Post::get("/metrics"), 200),
        ("alive", Post::get("/livez"), 200),
        ("ready", Post::get("/readyz"), 200),
        (
            "metadata",
            Post::get("/.well-known/oauth-protected-resource/mcp"),
            200,
        ),
        (
            "no metadata",
            Post::get("/.well-known/oauth-protected-resource/x"),
            404,
        ),
        (
            "old transport",
            Post::json("/sse/old?session=x", "{}").header("x-api-key", &house.key.key),
            404,
        ),
        ("the end", legacy.bare(Method::DELETE), 204),
    ];
    for (what, post, status) in rows {
        let answer = house.send(&post).await;
        assert_eq!(answer.status, status, "{what}: {}", answer.text());
        protected(what, &answer);
    }
    let stream = Post::get("/sse/old").header("x-api-key", &house.key.key);
    let reply = stream.send(house.gate.address()).await;
    assert_eq!(reply.header("x-content-type-options"), Some("nosniff"));
    assert_eq!(reply.header("cache-control"), Some("no-store, no-transform"));
}

/// RFC 9728: whoever has no token is told where to get one.
#[tokio::test]
async fn metadata_is_for_everybody() {
    let house = House::open().await;
    for path in ["/mcp", "/mcp/crm", "/mcp/staff"] {
        let refused = house.send(&Post::json(path, "{}")).await;
        let challenge = refused.header("www-authenticate").unwrap();
        let url = format!("{GATE}/.well-known/oauth-protected-resource{path}");
        assert_eq!(challenge, format!(r#"Bearer resource_metadata="{url}""#));
        let answer = house
            .send(&Post::get(url.strip_prefix(GATE).unwrap()).set("origin", PAGE))
            .await;
        assert_eq!(answer.status, 200);
        assert_eq!(answer.header("access-control-allow-origin"), Some(PAGE));
        assert_eq!(
            answer.json(),
            json!({
                "resource": format!("{GATE}{path}"),
                "authorization_servers": ["https://id.example.com", "https://other.example.com"],
                "bearer_methods_supported": ["header"],
                "resource_name": "Gatepost",
            })
        );
        let post = Post::new(Method::POST, url.strip_prefix(GATE).unwrap());
        assert_eq!(house.send(&post).await.status, 405);
    }
}

/// On loopback there may be something in front that lets everybody through.
#[tokio::test]
async fn operators_pages_are_not_passed_on_to_clients() {
    let house = House::open().await;
    let ask = async |path: &str, host: &str| {
        let post = Post::get(path).header("host", host);
        house.send(&post).await
    };
    let own = house.gate.address().to_string();
    let nothing = ask("/nothing", "gate.example.com").await;
    for path in ["/health", "/metrics"] {
        assert_eq!(ask(path, &own).await.status, 200, "{path}");
        let passed_on = ask(path, "gate.example.com").await;
        assert_eq!(passed_on.status, 404, "{path}: {}", passed_on.text());
        assert_eq!(seen(&passed_on, path), seen(&nothing, "/nothing"), "{path}");
        assert_eq!(ask(path, "evil.example").await.status, 403, "{path}");
        let page = Post::get(path).header("origin", PAGE);
        assert_eq!(house.send(&page).await.status, 404, "{path}");
    }
    assert_eq!(ask("/readyz", "gate.example.com").await.status, 200);
}

/// What operators see is not for whoever reaches the gate from elsewhere.
#[tokio::test]
async fn operators_pages_are_not_on_an_open_listener() {
    let configuration = "listen: 0.0.0.0:0\nhttp: { public_url: 'https://gate.example.com' }\nidentity: { api_keys: true }\naudit: {}\nservers: { notes: { module: notes } }";
    let gate = Gate::start(GATEPOST, configuration).await;
    let address = ([127, 0, 0, 1], gate.address().port()).into();
    for (path, status) in [
        ("/health", 404),
        ("/metrics", 404),
        ("/livez", 200),
        ("/readyz", 200),
    ] {
        let post = Post::get(path).header("host", "gate.example.com");
        let answer = post.send(address).await.whole().await;
        assert_eq!(answer.status, status, "{path}: {}", answer.text());
        assert!(
            status == 404 || answer.body.len() < 64,
            "{path}: {}",
            answer.text()
        );
    }
    // Nobody is asked who they are without `identity`, so then it does not even begin.
    let refused = Gate::try_start(
        GATEPOST,
        "listen: 0.0.0.0:0\nservers: { notes: { module: notes } }",
        tempfile::tempdir().unwrap(),
    )
    .await;
    assert!(refused.unwrap_err().said.contains("identity"));
}
