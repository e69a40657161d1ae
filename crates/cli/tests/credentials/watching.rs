//! Resources that are watched where callers have credentials of their own.

use gatepost_testkit::gate::Events;

use super::*;

/// The next notice of an update, by its URI.
async fn updated(events: &mut Events) -> String {
    let notice = events.message_of("notifications/resources/updated").await;
    notice["params"]["uri"].as_str().unwrap().to_owned()
}

async fn prepare(server: &Value) -> House {
    let (folder, signer, configuration) = House::prepare(&json!({ "s": server }), "");
    store(folder.path(), "s", "ann", "pat-ann");
    store(folder.path(), "s", "bob", "pat-bob");
    let gate = Gate::start_in(GATEPOST, &configuration, folder).await;
    House { gate, signer }
}

/// Of everything that was asked by this method: with which credential.
fn presented(server: &OddServer, method: &str) -> Vec<String> {
    let all = server.all(method);
    let values = all
        .iter()
        .map(|one| one.header("authorization").unwrap_or("none"));
    let mut values: Vec<String> = values.map(str::to_owned).collect();
    values.sort();
    values.dedup();
    values
}

/// Each watches with its own credential, hears what was heard with that, and once; what nobody watches any more is given up.
#[tokio::test]
async fn a_resource_is_watched_with_its_watchers_own_credential() {
    let (modern, legacy) = (Odd::modern(), Odd::legacy());
    for (odd, old_sse) in [(modern, false), (legacy, false), (Odd::legacy(), true)] {
        let server = OddServer::start(odd).await.unwrap();
        let mut settings = json!({ "url": server.url(), "credentials": [{ "principal": "pat" }] });
        if old_sse {
            settings["url"] = server.sse_url().into();
            settings["transport"] = "sse".into();
        }
        let house = prepare(&settings).await;
        let filter = r#"{"resourceSubscriptions":["odd:resource","odd:made/other"]}"#;
        let uri = r#"{"uri":"odd:resource"}"#;
        let ann = house.client("/mcp/s", "ann").greeting("2025-11-25", "{}").await;
        let mut anns = ann.listen().await;
        for uri in [uri, r#"{"uri":"odd:made/other"}"#] {
            let subscribed = ann.ask("resources/subscribe", uri).await;
            assert_eq!(subscribed.outcome(), (200, None), "{}", subscribed.text());
        }
        let bob = house.client("/mcp", "bob");
        let mut bobs = bob.subscribe("1", filter).await;
        let granted = bobs.message().await;
        assert_eq!(
            granted["params"]["notifications"]["resourceSubscriptions"],
            json!(["odd:resource", "odd:made/other"]),
            "{granted}"
        );
        let nobody = house.client("/mcp/s", "eve").greeting("2025-11-25", "{}").await;
        let refused = nobody.ask("resources/subscribe", uri).await;
        assert!(refused.text().contains("error"), "{}", refused.text());
        eventually("both to be heard", async || server.listeners() == 2).await;

        server.updated("odd:resource").await;
        server.updated("odd:made/other").await;
        for events in [&mut anns, &mut bobs] {
            assert_eq!(updated(events).await, "odd:resource");
            assert_eq!(updated(events).await, "odd:made/other", "each was told once");
        }
        let asked = match &server.all("subscriptions/listen")[..] {
            [] => presented(&server, "resources/subscribe"),
            _ => presented(&server, "subscriptions/listen"),
        };
        assert_eq!(asked, ["Bearer pat-ann", "Bearer pat-bob"]);

        // Who goes is not waited for, and the other one is not disturbed.
        assert!(ann.delete().await.status / 100 == 2);
        if server.all("subscriptions/listen").is_empty() {
            eventually("it to be given up", async || {
                presented(&server, "resources/unsubscribe") == ["Bearer pat-ann"]
            })
            .await;
        } else {
            eventually("it to be given up", async || server.listeners() == 1).await;
        }
        server.updated("odd:resource").await;
        assert_eq!(updated(&mut bobs).await, "odd:resource");
    }
}

/// What only listens takes no place of those who call.
#[tokio::test]
async fn watching_takes_no_callers_place() {
    let server = OddServer::start(Odd::legacy()).await.unwrap();
    let house = prepare(
        &json!({ "url": server.url(), "credentials": [{ "principal": "pat" }],
        "isolation": "session", "pool": { "max": 1 } }),
    )
    .await;
    let uri = r#"{"uri":"odd:resource"}"#;
    for subject in ["ann", "bob"] {
        let client = house.client("/mcp/s", subject).greeting("2025-11-25", "{}").await;
        let subscribed = client.ask("resources/subscribe", uri).await;
        assert_eq!(subscribed.outcome(), (200, None), "{}", subscribed.text());
    }
    eventually("both to be heard", async || server.listeners() == 2).await;
    let client = house.client("/mcp/s", "ann");
    assert_eq!(client.call("echo", "{}").await.tool_text(), "{}");
}

/// A token ends, and with it the stream; whoever opens another one with a new token goes on watching with that.
#[tokio::test]
async fn who_comes_with_another_token_goes_on_watching_with_that() {
    let server = OddServer::start(Odd::legacy()).await.unwrap();
    let house = prepare(&json!({ "url": server.url(), "credentials": [{ "principal": "pat" }] })).await;
    let client = house.client("/mcp/s", "ann").greeting("2025-11-25", "{}").await;
    let uri = r#"{"uri":"odd:resource"}"#;
    client.ask("resources/subscribe", uri).await;
    store(house.gate.folder(), "s", "ann", "pat-ann-2");
    eventually("the new token to be presented", async || {
        client.call("echo", "{}").await;
        presented(&server, "tools/call").contains(&"Bearer pat-ann-2".to_owned())
    })
    .await;
    let mut events = client.listen().await;
    eventually("the new token to be watched with", async || {
        presented(&server, "resources/subscribe") == ["Bearer pat-ann", "Bearer pat-ann-2"]
    })
    .await;
    // Whichever of the two streams is open now, one with the new token will be.
    let mut heard = std::pin::pin!(updated(&mut events));
    let uri = loop {
        server.updated("odd:resource").await;
        tokio::select! {
            uri = &mut heard => break uri,
            () = tokio::time::sleep(std::time::Duration::from_millis(20)) => {}
        }
    };
    assert_eq!(uri, "odd:resource");
    eventually("the old one to be given up", async || {
        presented(&server, "resources/unsubscribe") == ["Bearer pat-ann"] && server.listeners() == 1
    })
    .await;
}

/// What is watched with a credential ends with it.
#[tokio::test]
async fn nothing_is_watched_with_a_token_that_was_taken_back() {
    for odd in [Odd::legacy(), Odd::modern()] {
        let server = OddServer::start(odd).await.unwrap();
        let house = prepare(&json!({ "url": server.url(), "credentials": [{ "principal": "pat" }] })).await;
        let client = house.client("/mcp/s", "ann").greeting("2025-11-25", "{}").await;
        let uri = r#"{"uri":"odd:resource"}"#;
        let subscribed = client.ask("resources/subscribe", uri).await;
        assert_eq!(subscribed.outcome(), (200, None), "{}", subscribed.text());
        eventually("it to be heard", async || server.listeners() == 1).await;
        remove(house.gate.folder(), "s", "ann");
        eventually("it to be given up", async || server.listeners() == 0).await;
    }
}
