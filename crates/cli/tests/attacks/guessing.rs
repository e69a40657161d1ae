//! Guessing credentials, and being many.

use std::time::Instant;

use gatepost_testkit::gate::{Post, eventually};
use serde_json::json;

use crate::house::{House, address, seen};

fn at(house: &House, path: &str, number: usize, credential: Option<&str>) -> Post {
    let post = house
        .gate
        .modern(path)
        .request_as("1", "tools/list", "{}")
        .from(address(number));
    match credential {
        Some(credential) => post.header("authorization", format!("Bearer {credential}")),
        None => post,
    }
}

#[tokio::test]
async fn an_address_that_guesses_is_heard_no_more() {
    let house = House::open().await;
    let (guesser, other) = (1, 2);
    let good = &house.key.key;
    assert_eq!(
        house.send(&at(&house, "/mcp", guesser, Some(good))).await.status,
        200
    );
    // Keys with the right id, keys of nobody, tokens.
    let guess = async |number: usize| {
        let guess = match number % 3 {
            0 => format!("gp_{}_{:0>49}", house.key.id, number),
            1 => format!("gp_{:0>12}_{:0>49}", number, number),
            _ => house.token("/mcp/crm", json!({ "jti": number.to_string() })),
        };
        let answer = house.send(&at(&house, "/mcp", guesser, Some(&guess))).await;
        if answer.status == 429 {
            assert!(answer.header("www-authenticate").is_none());
            let seconds: u64 = answer.header("retry-after").unwrap().parse().unwrap();
            assert!((1..=60).contains(&seconds), "{seconds}");
            return Some(seconds);
        }
        assert_eq!(answer.status, 401);
        None
    };
    // Twenty guesses are heard, and then one every three seconds.
    let begun = Instant::now();
    let mut guesses = 0;
    while guess(guesses).await.is_none() {
        guesses += 1;
    }
    let most = 20 + usize::try_from(begun.elapsed().as_secs()).unwrap() / 3 + 1;
    assert!((20..=most).contains(&guesses), "{guesses} guesses were heard");
    // Asks when nobody from there is heard for two seconds more, at least.
    let unheard = async |post: Post| {
        eventually("nobody is heard for a while", async || {
            guess(guesses).await.is_some_and(|seconds| seconds >= 3)
        })
        .await;
        house.send(&post).await
    };

    // A right guess would not show: neither a key that was not used from here before, nor a token.
    for unseen in [&house.reader_key.key, &house.token("/mcp", json!({}))] {
        let answer = unheard(at(&house, "/mcp", guesser, Some(unseen))).await;
        assert_eq!(answer.status, 429);
    }
    // What there is, does not show either.
    let there = unheard(at(&house, "/mcp/crm", guesser, None)).await;
    let not = unheard(at(&house, "/mcp/zzz", guesser, None)).await;
    assert_eq!(there.status, 429);
    let without_time = |text: String| {
        let digits = |c: char| c.is_ascii_digit();
        text.replace(digits, "")
    };
    assert_eq!(
        without_time(seen(&there, "/crm")),
        without_time(seen(&not, "/zzz"))
    );
    // Who is known, and who is somewhere else, is heard.
    assert_eq!(
        house.send(&at(&house, "/mcp", guesser, Some(good))).await.status,
        200
    );
    assert_eq!(
        house
            .send(&at(&house, "/mcp", other, Some(&house.reader_key.key)))
            .await
            .status,
        200
    );
    assert_eq!(house.send(&at(&house, "/mcp", other, None)).await.status, 401);
}

/// Nothing at all is no guess: clients begin so, to be told where to get a token.
#[tokio::test]
async fn asking_without_a_credential_is_no_guess() {
    let house = House::open().await;
    for _ in 0..40 {
        assert_eq!(house.send(&at(&house, "/mcp", 1, None)).await.status, 401);
    }
    assert_eq!(
        house
            .send(&at(&house, "/mcp", 1, Some(&house.key.key)))
            .await
            .status,
        200
    );
}

/// Every message counts, by whatever way it comes: one by one, in a batch, over the old transport, to endpoints that do not
/// exist.
#[tokio::test]
async fn a_limit_per_address_has_no_way_around_it() {
    let house = House::with(json!({}), "limits: [{ per: ip, rate: 6/h, burst: 6 }]").await;
    let key = Some(house.key.key.as_str());
    let many = async |number: usize, post: Post| {
        let mut statuses = Vec::new();
        for _ in 0..8 {
            let post = post.clone().from(address(number));
            statuses.push(post.send(house.gate.address()).await.status);
        }
        statuses
    };
    let first_limited = |statuses: &[u16]| statuses.iter().position(|status| *status == 429);
    for (number, post) in [
        at(&house, "/mcp", 1, key),
        at(&house, "/mcp", 2, None),
        at(&house, "/mcp/zzz", 3, None),
        at(&house, "/mcp/zzz", 4, key),
        at(&house, "/mcp/crm", 5, Some("x.y.z")),
        Post::get("/sse/old").header("x-api-key", &house.key.key),
        Post::get("/sse/zzz").header("x-api-key", &house.key.key),
    ]
    .into_iter()
    .enumerate()
    {
        let statuses = many(number + 1, post).await;
        assert_eq!(first_limited(&statuses), Some(6), "way {number}: {statuses:?}");
    }
    // A handshake is three messages with its session; then the batch.
    let client = house.gate.modern("/mcp/old").bearing(&house.key.key);
    let client = client.greeting("2025-03-26", "{}").await;
    let ping = |id: usize| format!(r#"{{"jsonrpc":"2.0","id":{id},"method":"ping"}}"#);
    let batch = format!("[{}]", (0..8).map(ping).collect::<Vec<_>>().join(","));
    let answer = client.send(&client.post("", "{}", batch)).await.json();
    let answers = answer.as_array().unwrap();
    let good = answers
        .iter()
        .filter(|answer| answer.get("result").is_some())
        .count();
    assert_eq!((good, answers.len()), (4, 8), "{answer}");
}
