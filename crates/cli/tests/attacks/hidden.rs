//! What a caller may not see, asked for by every way there is. What is forbidden looks like what does not exist.

use gatepost_testkit::gate::{Answer, Client, Era, Gate, Post};
use serde_json::{Value, json};

use crate::house::{GATEPOST, House, MARK, seen};

/// The same request of a thing that is hidden and of one that does not exist, with an answer that is the same to the byte.
async fn alike(client: &Client, method: &str, hidden: &str, params: impl Fn(&str) -> Value) {
    // As long as the other, in case the length says something.
    let unknown = format!("{}zz", &hidden[..hidden.len() - 2]);
    let ask = async |name: &str| -> Answer {
        client
            .send(&client.request_as("7", method, &params(name).to_string()))
            .await
    };
    let (a, b) = (ask(hidden).await, ask(&unknown).await);
    let error = &a.json()["error"];
    assert!(error.is_object(), "{method} {hidden}: {} {}", a.status, a.text());
    assert_eq!(seen(&a, hidden), seen(&b, &unknown), "{method} {hidden}");
}

/// Both eras at an endpoint.
async fn both(house: &House, path: &str, claims: Value) -> [Client; 2] {
    [
        house.modern(path, claims.clone()),
        house.legacy(path, claims).await,
    ]
}

fn named(name: &str) -> Value {
    json!({ "name": name, "arguments": { "x": MARK } })
}

#[tokio::test]
async fn a_hidden_tool_is_hidden_everywhere() {
    let house = House::open().await;
    // Everything that it would be called somewhere.
    let names = [
        "crm__pid",
        "old__pid",
        "pid",
        "ident",
        "crm__ident",
        "crm__crm__pid",
        "open__pid",
    ];
    for path in ["/mcp", "/mcp/crm", "/mcp/old", "/mcp/open"] {
        for client in both(&house, path, json!({ "groups": ["readers"] })).await {
            let listed = client.ask("tools/list", "{}").await.names("tools");
            assert!(
                listed.iter().any(|name| name.ends_with("echo")),
                "{path}: {listed:?}"
            );
            assert!(
                !listed
                    .iter()
                    .any(|name| name.ends_with("pid") || name.contains("ident")),
                "{path}: {listed:?}"
            );
            for name in names {
                alike(&client, "tools/call", name, named).await;
            }
            for method in ["prompts/list", "resources/list", "resources/templates/list"] {
                let text = client.ask(method, "{}").await.text();
                for hidden in ["odd_prompt", "odd:resource", "odd:made"] {
                    assert!(!text.contains(hidden), "{path} {method}: {text}");
                }
            }
            // Neither what the spelling hides from a pattern, nor what JSON writes otherwise.
            for spelling in [
                "crm__PID",
                "crm__pid ",
                " crm__pid",
                "crm__pid\\u0000",
                "crm__p\\u0069d",
                "crm_\\u005fpid",
                "\\u0070id",
            ] {
                let params = format!(r#"{{"name":"{spelling}","arguments":{{"x":"{MARK}"}}}}"#);
                let answer = client.ask("tools/call", &params).await;
                assert_eq!(
                    answer.outcome(),
                    (200, Some(-32602)),
                    "{path} {spelling}: {}",
                    answer.text()
                );
            }
        }
    }
    house.nothing_arrived();
    assert_eq!(house.calls(), 0);
    // Those who may, do.
    for (path, name) in [
        ("/mcp", "crm__pid"),
        ("/mcp/crm", "pid"),
        ("/mcp/old", "pid"),
        ("/mcp/open", "ident"),
        ("/mcp/staff", "ident"),
    ] {
        for client in both(&house, path, json!({})).await {
            let answer = client.call(name, "{}").await;
            assert_eq!(answer.outcome(), (200, None), "{path} {name}: {}", answer.text());
        }
    }
}

#[tokio::test]
async fn hidden_prompts_and_resources_are_hidden_everywhere() {
    let house = House::open().await;
    for path in ["/mcp", "/mcp/crm", "/mcp/old", "/mcp/open"] {
        let single = path == "/mcp/crm" || path == "/mcp/old";
        for client in both(&house, path, json!({ "groups": ["readers"] })).await {
            for name in ["odd_prompt", "crm__odd_prompt", "old__odd_prompt"] {
                alike(&client, "prompts/get", name, |name| json!({ "name": name })).await;
                // What a server completes and does not list is its own affair where it is the only one, but for what is
                // denied: both are.
                if !single || name == "odd_prompt" {
                    let complete = |name: &str| json!({ "ref": { "type": "ref/prompt", "name": name }, "argument": { "name": "who", "value": MARK } });
                    let answer = client
                        .ask("completion/complete", &complete(name).to_string())
                        .await;
                    assert_eq!(
                        answer.outcome(),
                        (200, Some(-32602)),
                        "{path} {name}: {}",
                        answer.text()
                    );
                }
            }
            for uri in [
                "odd:resource",
                "odd:made/x",
                "odd:made/x/y",
                "odd:made/odd:resource",
            ] {
                let answer = client
                    .ask("resources/read", &json!({ "uri": uri }).to_string())
                    .await;
                let code = if client.era() == Era::Modern {
                    -32602
                } else {
                    -32002
                };
                assert_eq!(
                    answer.outcome(),
                    (200, Some(code)),
                    "{path} {uri}: {}",
                    answer.text()
                );
                let complete = json!({ "ref": { "type": "ref/resource", "uri": uri }, "argument": { "name": "path", "value": MARK } });
                let answer = client.ask("completion/complete", &complete.to_string()).await;
                assert_eq!(
                    answer.outcome(),
                    (200, Some(code)),
                    "{path} {uri}: {}",
                    answer.text()
                );
                if client.era() == Era::Legacy {
                    let answer = client
                        .ask("resources/subscribe", &json!({ "uri": uri }).to_string())
                        .await;
                    assert_eq!(
                        answer.outcome(),
                        (200, Some(code)),
                        "{path} {uri}: {}",
                        answer.text()
                    );
                } else {
                    let filter =
                        json!({ "resourceSubscriptions": [uri], "toolsListChanged": true }).to_string();
                    let granted = client.subscribe("9", &filter).await.message().await;
                    let granted = &granted["params"]["notifications"];
                    assert_eq!(granted, &json!({ "toolsListChanged": true }), "{path} {uri}");
                }
            }
            if !single {
                alike(
                    &client,
                    "resources/read",
                    "odd:resource",
                    |uri| json!({ "uri": uri }),
                )
                .await;
            }
        }
    }
    house.nothing_arrived();
    for server in [&house.crm, &house.old] {
        for method in [
            "prompts/get",
            "resources/read",
            "completion/complete",
            "resources/subscribe",
        ] {
            assert!(server.last(method).is_none(), "{method}");
        }
    }
    for client in both(&house, "/mcp", json!({})).await {
        for (method, params) in [
            ("prompts/get", json!({ "name": "crm__odd_prompt" })),
            ("resources/read", json!({ "uri": "odd:resource" })),
            ("resources/read", json!({ "uri": "odd:made/x" })),
        ] {
            let answer = client.ask(method, &params.to_string()).await;
            assert_eq!(answer.outcome(), (200, None), "{method}: {}", answer.text());
        }
    }
}

/// What the protocol does not know passes to the server of its endpoint, if its name is allowed.
/// A server that is down is named to those who see something of it. Where a view shows nothing of it there is no such server.
#[tokio::test]
async fn a_server_that_is_down_is_unknown_where_nothing_of_it_is_shown() {
    let nobody = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/mcp", nobody.local_addr().unwrap());
    drop(nobody);
    let servers = json!({ "down": { "url": url }, "calc": { "module": "calculator" } });
    let views = json!({ "without": { "exclude": ["down__*"] }, "others": { "include": ["calc__*"] },
        "most": { "exclude": ["down__delete*"] } });
    let gate = Gate::start(GATEPOST, &format!("servers: {servers}\nviews: {views}")).await;
    let ask = async |path: &str, name: &str| {
        let client = gate.modern(path);
        let post = client.request_as("7", "tools/call", &named(name).to_string());
        client.send(&post).await
    };
    for path in ["/mcp/without", "/mcp/others"] {
        let (guessed, unknown) = (ask(path, "down__get").await, ask(path, "dawn__get").await);
        assert_eq!(unknown.outcome(), (200, Some(-32602)), "{}", unknown.text());
        assert_eq!(seen(&guessed, "down__get"), seen(&unknown, "dawn__get"), "{path}");
    }
    for path in ["/mcp", "/mcp/most"] {
        let told = ask(path, "down__get").await;
        assert_eq!(told.json()["error"]["data"]["server"], "down", "{}", told.text());
    }
}

#[tokio::test]
async fn a_vendors_methods_are_decided_too() {
    let house = House::open().await;
    for (path, server) in [("/mcp/crm", &house.crm), ("/mcp/old", &house.old)] {
        // Who can be asked has a session of its own there, on which it is heard too.
        let [reader, staff] = ["readers", "staff"].map(async |group| {
            let client = house.modern(path, json!({ "groups": [group] }));
            match path {
                "/mcp/crm" => client,
                _ => client.greeting("2025-11-25", r#"{"roots":{}}"#).await,
            }
        });
        let (reader, staff) = (reader.await, staff.await);
        for client in [&reader, &staff] {
            assert_eq!(client.call("echo", "{}").await.outcome(), (200, None));
        }
        let answer = reader.ask("vendor/odd", "{}").await;
        assert!(answer.json()["error"].is_object(), "{}", answer.text());
        assert!(server.last("vendor/odd").is_none());
        assert_eq!(staff.ask("vendor/odd", "{}").await.outcome(), (200, None));
        if path == "/mcp/old" {
            assert_eq!(reader.notify("vendor/note", "{}").await.status, 202);
            assert_eq!(staff.notify("vendor/allowed", "{}").await.status, 202);
            gatepost_testkit::gate::eventually("the allowed one", async || {
                server.last("vendor/allowed").is_some()
            })
            .await;
            assert!(server.last("vendor/note").is_none());
        }
    }
}

/// A view for some is no view to others, and a server of which somebody may use nothing is none.
#[tokio::test]
async fn a_hidden_endpoint_is_one_that_does_not_exist() {
    let house = House::open().await;
    let hello = r#"{"jsonrpc":"2.0","id":1,"method":"initialize","params":{"protocolVersion":"2025-11-25","capabilities":{},"clientInfo":{"name":"t","version":"0"}}}"#;
    for (claims, hidden) in [
        (json!({ "groups": ["readers"] }), &["staff"][..]),
        (json!({ "groups": ["careful"] }), &["staff", "old"]),
        (json!({ "groups": [] }), &["staff", "crm", "old"]),
    ] {
        for name in hidden {
            let unknown = format!("{}zz", &name[..name.len() - 1]);
            for verb in ["POST", "GET", "DELETE"] {
                for prefix in ["/mcp", "/sse"] {
                    if prefix == "/sse" && verb != "GET" {
                        continue;
                    }
                    let ask = async |name: &str| {
                        let token = house.token(&format!("/mcp/{name}"), claims.clone());
                        let post = Post::new(verb.parse().unwrap(), &format!("{prefix}/{name}"))
                            .header("authorization", format!("Bearer {token}"))
                            .header("content-type", "application/json")
                            .header("accept", "application/json, text/event-stream");
                        let body = if verb == "POST" { hello } else { "" };
                        house.send(&post.body(body)).await
                    };
                    let (a, b) = (ask(name).await, ask(&unknown).await);
                    assert_eq!(a.status, 404, "{verb} {prefix}/{name}: {}", a.text());
                    assert_eq!(
                        seen(&a, &format!("/{name}")),
                        seen(&b, &format!("/{unknown}")),
                        "{verb} {prefix}/{name}"
                    );
                }
            }
        }
    }
    // One that everybody finds says nothing of what they do not see.
    let nobody = house.modern("/mcp", json!({ "groups": [] }));
    let text = nobody.ask("server/discover", "{}").await.text();
    for of_servers in ["odd", "crm", "old", "zVendor"] {
        assert!(!text.contains(of_servers), "{text}");
    }
    // A path is what it says, once.
    for path in [
        "/mcp/mcp",
        "/mcp//crm",
        "/mcp/crm/",
        "/mcp/crm/x",
        "/mcp/%63rm",
        "/MCP",
        "/mcp/../mcp",
        "/mcpx",
    ] {
        let client = house.gate.modern("/mcp").bearing(&house.key.key);
        let post = client.request("tools/list", "{}").at(path);
        assert_eq!(house.send(&post).await.status, 404, "{path}");
    }
}

/// 403, with everything that is needed at once, for what is shown; and nothing of it happens.
#[tokio::test]
async fn scopes_that_a_token_lacks_are_named_all() {
    let house = House::open().await;
    let scoped = |scope: &str| json!({ "groups": ["scoped"], "scope": scope });
    for scope in [
        "",
        "orders:read",
        "orders:write",
        "orders",
        "orders:read,orders:write",
        "ORDERS:READ orders:write",
    ] {
        for client in both(&house, "/mcp/crm", scoped(scope)).await {
            assert_eq!(
                client.ask("tools/list", "{}").await.names("tools"),
                ["echo"],
                "{scope}"
            );
            for (method, params) in [
                ("tools/call", named("echo")),
                ("resources/read", json!({ "uri": "odd:resource" })),
            ] {
                let answer = client.ask(method, &params.to_string()).await;
                assert_eq!(answer.status, 403, "{scope} {method}: {}", answer.text());
                let challenge = answer.header("www-authenticate").unwrap();
                for part in [
                    r#"error="insufficient_scope""#,
                    r#"scope="orders:read orders:write""#,
                    r#"resource_metadata="https://gate.example.com/.well-known/oauth-protected-resource/mcp/crm""#,
                ] {
                    assert!(challenge.contains(part), "{challenge}");
                }
            }
        }
        let modern = house.modern("/mcp/crm", scoped(scope));
        let filter = r#"{"resourceSubscriptions":["odd:resource"]}"#;
        let granted = modern.subscribe("9", filter).await.message().await;
        assert_eq!(granted["params"]["notifications"], json!({}), "{scope}");
        let legacy = house.legacy("/mcp/crm", scoped(scope)).await;
        let answer = legacy
            .ask("resources/subscribe", r#"{"uri":"odd:resource"}"#)
            .await;
        assert_ne!(answer.outcome(), (200, None), "{scope}: {}", answer.text());
    }
    house.nothing_arrived();
    for client in both(&house, "/mcp/crm", scoped("x orders:write orders:read")).await {
        assert_eq!(client.call("echo", "{}").await.outcome(), (200, None));
    }
}
