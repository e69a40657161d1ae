//! More than one credential, none, and what is nearly one. What is presented and wrong never falls through to something else.

use gatepost_testkit::gate::{Post, within};
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::house::{GATE, House, MARK, address, seen};

fn call(house: &House) -> Post {
    let arguments = format!(r#"{{"x":"{MARK}"}}"#);
    house.gate.modern("/mcp").calling("crm__echo", &arguments)
}

#[tokio::test]
async fn presented_and_wrong_is_refused_whatever_is_beside_it() {
    let house = House::open().await;
    let token = house.token("/mcp", json!({}));
    let key = house.key.key.clone();
    let bad_token = {
        let mut bad = token.clone();
        bad.pop();
        bad.push(if token.ends_with('A') { 'Q' } else { 'A' });
        bad
    };
    let bad_key = format!("gp_{}_{}", house.key.id, "A".repeat(49));
    let (authorization, x_api_key) = ("authorization", "x-api-key");
    let bearer = |text: &str| (authorization, format!("Bearer {text}"));
    let x = |text: &str| (x_api_key, text.to_owned());
    let rows = [
        // Good ones.
        (200, vec![bearer(&token)]),
        (200, vec![bearer(&key)]),
        (200, vec![x(&key)]),
        (200, vec![(authorization, format!("bEARER   {token}"))]),
        // Two, good or bad.
        (400, vec![bearer(&token), x(&key)]),
        (400, vec![bearer(&key), x(&key)]),
        (400, vec![bearer(&token), x(&bad_key)]),
        (400, vec![bearer(&bad_token), x(&key)]),
        (400, vec![bearer(&token), bearer(&token)]),
        (400, vec![bearer(&token), bearer(&bad_token)]),
        (400, vec![bearer(&bad_token), bearer(&token)]),
        (400, vec![bearer(&key), bearer(&token)]),
        (400, vec![x(&key), x(&key)]),
        (400, vec![x(&bad_key), x(&key)]),
        (400, vec![bearer(&token), (x_api_key, String::new())]),
        (400, vec![(authorization, String::new()), x(&key)]),
        (400, vec![(authorization, "Basic Z3A6Z3A=".into()), x(&key)]),
        // One that is taken for the other.
        (401, vec![x(&token)]),
        (401, vec![(x_api_key, format!("Bearer {key}"))]),
        (401, vec![(authorization, key.clone())]),
        (401, vec![(authorization, format!("Basic {key}"))]),
        (401, vec![(authorization, format!("DPoP {token}"))]),
        (401, vec![(authorization, format!("ApiKey {key}"))]),
        // Nearly one.
        (401, vec![bearer(&bad_token)]),
        (401, vec![bearer(&bad_key)]),
        (401, vec![x(&bad_key)]),
        (401, vec![bearer(&key[..key.len() - 1])]),
        (401, vec![bearer(&format!("{key}A"))]),
        (401, vec![bearer(&key.to_uppercase())]),
        (401, vec![bearer(&format!("gp_{}", house.key.id))]),
        (401, vec![bearer("gp_")]),
        (401, vec![bearer(&format!("{key}.{key}.{key}"))]),
        (401, vec![bearer(&format!("{token} {token}"))]),
        (401, vec![bearer(&format!("{token},{token}"))]),
        (
            401,
            vec![(authorization, format!("Bearer {token}, Bearer {token}"))],
        ),
        (401, vec![bearer("")]),
        (401, vec![(authorization, "Bearer".into())]),
        (401, vec![(authorization, String::new())]),
        (401, vec![(x_api_key, String::new())]),
        // Long ones.
        (401, vec![bearer(&"A".repeat(17_000))]),
        (401, vec![x(&format!("gp_{}", "A".repeat(17_000)))]),
        // Where no credential is looked for.
        (401, vec![("cookie", format!("access_token={token}"))]),
        (401, vec![("proxy-authorization", format!("Bearer {token}"))]),
        (401, vec![("x-forwarded-user", "ann".into())]),
        (401, vec![]),
    ];
    let mut wrong = Vec::new();
    for (number, (expected, headers)) in rows.iter().enumerate() {
        let post = headers
            .iter()
            .fold(call(&house), |post, (name, value)| post.header(name, value));
        let before = house.calls();
        let answer = house.send(&post.from(address(number))).await;
        let arrived = house.calls() - before;
        let expected_calls = usize::from(*expected == 200);
        let challenge = answer.header("www-authenticate").unwrap_or_default();
        let error = match expected {
            200 => challenge.is_empty(),
            400 => challenge.contains(r#"error="invalid_request""#),
            // RFC 6750 3.1: who presents nothing is told of no error.
            _ if presents_nothing(headers) => {
                challenge.starts_with("Bearer ") && !challenge.contains("error")
            }
            _ => challenge.contains(r#"error="invalid_token""#),
        };
        if answer.status != *expected || !error || arrived != expected_calls {
            let names: Vec<_> = headers.iter().map(|(name, _)| *name).collect();
            wrong.push(format!(
                "row {number}, {names:?}: {} instead of {expected}, {arrived} calls, {challenge}: {}",
                answer.status,
                answer.text()
            ));
        }
        for said in [answer.text(), challenge.to_owned()] {
            assert!(
                !said.contains(&token[40..80]) && !said.contains(&key[20..40]),
                "{said}"
            );
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));

    // RFC 6750 2.3 has a form in the URL. It would be in every log between.
    let post = call(&house).at(&format!("/mcp?access_token={token}"));
    assert_eq!(house.send(&post).await.status, 401);
    // More than any header may be.
    let post = call(&house).header("authorization", format!("Bearer {}", "A".repeat(100_000)));
    if let Ok(reply) = post.try_send(house.gate.address()).await {
        assert_eq!(reply.status, 431);
    }
    assert_eq!(
        house.send(&call(&house).header("x-api-key", &key)).await.status,
        200
    );
}

fn presents_nothing(headers: &[(&str, String)]) -> bool {
    headers
        .iter()
        .all(|(name, _)| !matches!(*name, "authorization" | "x-api-key"))
}

/// Who is nobody learns nothing of what there is: an endpoint that exists, one that does not, one that is not for them.
#[tokio::test]
async fn to_strangers_everything_looks_alike() {
    let house = House::open().await;
    let paths = |prefix: &str| {
        ["crm", "staff", "open", "nothing", "crm-", "staff/x"].map(|name| format!("{prefix}/{name}"))
    };
    let wrong = format!("Bearer gp_{}_{}", house.key.id, "A".repeat(49));
    let mut number = 0;
    for (prefix, verbs) in [
        ("/mcp", &["POST", "GET", "DELETE", "PUT"][..]),
        ("/sse", &["GET"]),
    ] {
        for verb in verbs {
            for credential in [None, Some(wrong.as_str())] {
                let mut first: Option<String> = None;
                for path in paths(prefix) {
                    number += 1;
                    let mut post = Post::new(verb.parse().unwrap(), &path)
                        .from(address(number))
                        .header("content-type", "application/json")
                        .header("accept", "application/json, text/event-stream");
                    if let Some(credential) = credential {
                        post = post.header("authorization", credential);
                    }
                    if *verb == "POST" {
                        post = post.body(r#"{"jsonrpc":"2.0","id":1,"method":"ping"}"#);
                    }
                    let answer = house.send(&post).await;
                    assert_eq!(answer.status, 401, "{verb} {path}: {}", answer.text());
                    let seen = seen(&answer, &path[prefix.len()..]);
                    assert!(seen.contains("oauth-protected-resource/mcp@"), "{seen}");
                    assert_eq!(first.get_or_insert_with(|| seen.clone()), &seen, "{verb} {path}");
                }
            }
        }
    }
    // Where to get a token is said of each, since nobody has said yet who they are.
    let documents = paths("/mcp").map(async |path| {
        let answer = house
            .send(&Post::get(&format!(
                "/.well-known/oauth-protected-resource{path}"
            )))
            .await;
        assert_eq!(answer.json()["resource"], format!("{GATE}{path}"));
        seen(&answer, &path)
    });
    let documents = futures_util::future::join_all(documents).await;
    assert!(documents.iter().all(|document| *document == documents[0]));
}

/// Who they are comes before what they say: nobody's body is waited for.
#[tokio::test]
async fn nobody_is_refused_before_the_body_is_read() {
    let house = House::open().await;
    let wrong = format!("Bearer gp_{}_{}", house.key.id, "A".repeat(49));
    for credential in [None, Some(wrong)] {
        let mut post = call(&house).body(vec![b' '; 1_000_000]);
        if let Some(credential) = credential {
            post = post.header("authorization", credential);
        }
        let (head, _) = post.on_the_wire(house.gate.address());
        let mut stream = tokio::net::TcpStream::connect(house.gate.address())
            .await
            .unwrap();
        stream.write_all(&head).await.unwrap();
        let mut answer = [0; 12];
        within("the status line", stream.read_exact(&mut answer))
            .await
            .unwrap();
        assert_eq!(&answer, b"HTTP/1.1 401");
    }
}
