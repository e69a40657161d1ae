//! Tokens that nobody has issued, or that are for somebody else, or not for now.

use gatepost_testkit::gate::{Post, eventually};
use gatepost_testkit::odd::{Odd, OddServer};
use gatepost_testkit::tokens::{Signer, Way, base64url, hmac_token, now, token_with, with};
use serde_json::{Value, json};

use crate::house::{GATE, House, ISSUER, MARK, OTHER, address, claims, header};

/// A call that is in order but for the token.
fn call(house: &House) -> Post {
    let arguments = format!(r#"{{"x":"{MARK}"}}"#);
    house.gate.modern("/mcp").calling("crm__echo", &arguments)
}

/// Presents each token, from an address of its own, and wants it refused without a word of why, of which key, of what it is.
async fn refused(house: &House, rows: &[(String, String)]) {
    let calls = house.calls();
    let mut wrong = Vec::new();
    for (number, (what, token)) in rows.iter().enumerate() {
        let post = call(house)
            .from(address(number))
            .header("authorization", format!("Bearer {token}"));
        let answer = house.send(&post).await;
        let challenge = answer.header("www-authenticate").unwrap_or_default();
        let told = format!(
            r#"Bearer resource_metadata="{GATE}/.well-known/oauth-protected-resource/mcp", error="invalid_token", "#
        );
        if answer.status != 401 || !challenge.starts_with(&told) {
            wrong.push(format!("{what}: {} {challenge} {}", answer.status, answer.text()));
        }
        let signature = token.rsplit('.').next().unwrap_or_default();
        let silent = [answer.text(), challenge.to_owned()]
            .iter()
            .all(|said| signature.len() < 16 || !said.contains(signature));
        assert!(silent, "{what}: the token is repeated");
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert_eq!(house.calls(), calls);
    house.nothing_arrived();
}

fn rows<const N: usize>(rows: [(&str, String); N]) -> Vec<(String, String)> {
    rows.into_iter()
        .map(|(what, token)| (what.to_owned(), token))
        .collect()
}

/// Each would be good if one thing were otherwise: so every one of these is.
#[tokio::test]
async fn tokens_as_they_should_be_are_good() {
    let house = House::open().await;
    let (rsa, ec) = (&house.issuer.rsa, &house.issuer.ec);
    let (good, rs, es) = (claims("/mcp"), header("RS256", "rsa"), header("ES256", "ec"));
    let changed = |changes: Value| ec.token(&es, &with(good.clone(), changes));
    let typed = |typ: Value| ec.token(&with(es.clone(), json!({ "typ": typ })), &good);
    let rows = rows([
        ("RS256", rsa.token(&rs, &good)),
        (
            "RS384",
            rsa.token_in(Way::Rs384, &header("RS384", "rsa").to_string(), &good.to_string()),
        ),
        (
            "PS256",
            rsa.token_in(Way::Ps256, &header("PS256", "rsa").to_string(), &good.to_string()),
        ),
        ("ES256", ec.token(&es, &good)),
        ("no kid", ec.token(&json!({ "alg": "ES256" }), &good)),
        ("typ JWT", typed(json!("JWT"))),
        ("typ in full", typed(json!("application/at+JWT"))),
        ("no typ", typed(Value::Null)),
        (
            "one audience of several",
            changed(json!({ "aud": ["https://x.example", format!("{GATE}/mcp")] })),
        ),
        (
            "just expired, by another clock",
            changed(json!({ "exp": now() - 5 })),
        ),
        (
            "valid soon, by another clock",
            changed(json!({ "nbf": now() + 20 })),
        ),
        (
            "a claim that nobody knows",
            changed(json!({ "x": [[{ "y": null }]] })),
        ),
        ("the other issuer's", house.other_token("ann")),
    ]);
    for (what, token) in rows {
        let client = house.gate.modern("/mcp").bearing(&token);
        let answer = client.call("crm__echo", "{}").await;
        assert_eq!(answer.outcome(), (200, None), "{what}: {}", answer.text());
    }
}

#[tokio::test]
async fn algorithms_are_not_confused() {
    let house = House::open().await;
    let (rsa, ec) = (&house.issuer.rsa, &house.issuer.ec);
    let good = claims("/mcp").to_string();
    let mut attacks = Vec::new();
    for algorithm in ["none", "None", "NONE", "nOnE", ""] {
        let header = json!({ "alg": algorithm, "typ": "JWT" }).to_string();
        attacks.push((
            format!("{algorithm:?} without a signature"),
            token_with(b"", &header, &good),
        ));
        attacks.push((format!("{algorithm:?} with one"), rsa.token_of(&header, &good)));
    }
    // The public key, taken for a secret that is shared.
    for (signer, kid) in [(rsa, "rsa"), (ec, "ec")] {
        for (form, text) in signer.public_texts(kid).into_iter().enumerate() {
            for algorithm in ["HS256", "HS384", "RS256", "ES256"] {
                let header = header(algorithm, kid).to_string();
                attacks.push((
                    format!("{algorithm} with {kid} in form {form}"),
                    hmac_token(&text, &header, &good),
                ));
            }
        }
    }
    let es = |algorithm: Value| json!({ "alg": algorithm, "kid": "ec" }).to_string();
    attacks.extend(rows([
        (
            "an empty secret",
            hmac_token(b"", &header("HS256", "rsa").to_string(), &good),
        ),
        (
            "ES256 under the name of the RSA key",
            ec.token_of(&header("ES256", "rsa").to_string(), &good),
        ),
        (
            "RS256 under the name of the EC key",
            rsa.token_of(&header("RS256", "ec").to_string(), &good),
        ),
        (
            "RS256 that says PS256",
            rsa.token_of(&header("PS256", "rsa").to_string(), &good),
        ),
        (
            "PS256 that says RS256",
            rsa.token_in(Way::Ps256, &header("RS256", "rsa").to_string(), &good),
        ),
        (
            "RS384 that says RS256",
            rsa.token_in(Way::Rs384, &header("RS256", "rsa").to_string(), &good),
        ),
        ("ES256 that says ES384", ec.token_of(&es(json!("ES384")), &good)),
        (
            "ES256 in ASN.1",
            ec.token_in(Way::Asn1, &es(json!("ES256")), &good),
        ),
        ("ES256 of zeros", token_with(&[0; 64], &es(json!("ES256")), &good)),
        ("small letters", ec.token_of(&es(json!("es256")), &good)),
        ("a list", ec.token_of(&es(json!(["ES256"])), &good)),
        ("null", ec.token_of(&es(Value::Null), &good)),
        (
            "none at all",
            ec.token_of(&json!({ "kid": "ec" }).to_string(), &good),
        ),
        (
            "two",
            ec.token_of(r#"{"alg":"ES256","kid":"ec","alg":"none"}"#, &good),
        ),
        (
            "two, the other way round",
            ec.token_of(r#"{"alg":"none","kid":"ec","alg":"ES256"}"#, &good),
        ),
    ]));
    refused(&house, &attacks).await;
}

#[tokio::test]
async fn only_the_issuers_own_keys_count() {
    let house = House::open().await;
    let trap = OddServer::start(Odd::modern()).await.unwrap();
    let (stranger, ec) = (Signer::rsa(), &house.issuer.ec);
    let good = claims("/mcp");
    let changed = |changes: Value| {
        let header = with(header("RS256", "rsa"), changes);
        stranger.token(&header, &good)
    };
    let own = stranger.jwk("own");
    let token = ec.token(&header("ES256", "ec"), &good);
    let [head, body, signature] = <[&str; 3]>::try_from(token.split('.').collect::<Vec<_>>()).unwrap();
    let other_body = base64url(with(good.clone(), json!({ "sub": "root" })).to_string());
    let attacks = rows([
        ("another's key under the known name", changed(json!({}))),
        ("without a name", changed(json!({ "kid": null }))),
        ("with an unknown name", changed(json!({ "kid": "own" }))),
        (
            "its own key beside it",
            changed(json!({ "jwk": own, "kid": "own" })),
        ),
        (
            "its own key beside it, without a name",
            changed(json!({ "jwk": own, "kid": null })),
        ),
        (
            "a place to ask for it",
            changed(json!({ "jku": trap.url(), "kid": "own" })),
        ),
        (
            "a certificate's place",
            changed(json!({ "x5u": trap.url(), "kid": "own" })),
        ),
        ("a certificate", changed(json!({ "x5c": ["MIIB"], "kid": "own" }))),
        ("a path for a name", changed(json!({ "kid": "../../keys.json" }))),
        ("a URL for a name", changed(json!({ "kid": trap.url() }))),
        ("a long name", changed(json!({ "kid": "k".repeat(10_000) }))),
        ("a number for a name", changed(json!({ "kid": 1 }))),
        (
            "the key of another issuer",
            house.other.token(&header("ES256", "other"), &good),
        ),
        (
            "the key of another issuer under a known name",
            house.other.token(&header("ES256", "ec"), &good),
        ),
        (
            "what must be understood and is not",
            ec.token(
                &with(header("ES256", "ec"), json!({ "crit": ["exp"], "exp": 1 })),
                &good,
            ),
        ),
        (
            "a payload that is not encoded",
            ec.token(
                &with(header("ES256", "ec"), json!({ "crit": ["b64"], "b64": false })),
                &good,
            ),
        ),
        ("another body", format!("{head}.{other_body}.{signature}")),
        ("no signature", format!("{head}.{body}.")),
        ("two parts", format!("{head}.{body}")),
        ("four parts", format!("{head}.{body}.{signature}.{signature}")),
        (
            "five parts, as an encrypted one",
            format!("{head}.{body}.{signature}.{body}.{signature}"),
        ),
        ("less of the signature", token[..token.len() - 4].to_owned()),
        ("more of the signature", format!("{token}AAAA")),
        ("padding", format!("{token}==")),
        ("no token at all", "x".to_owned()),
        ("dots", "..".to_owned()),
    ]);
    refused(&house, &attacks).await;
    assert_eq!(trap.connections(), 0, "a token made the gate ask somebody");
    assert_eq!(call_with(&house, &token).await, 200);
}

async fn call_with(house: &House, token: &str) -> u16 {
    let client = house.gate.modern("/mcp").bearing(token);
    client.call("crm__echo", "{}").await.status
}

#[tokio::test]
async fn claims_that_are_missing_odd_or_there_twice() {
    let house = House::open().await;
    let ec = &house.issuer.ec;
    let (es, good) = (header("ES256", "ec"), claims("/mcp"));
    let changed = |changes: Value| ec.token(&es, &with(good.clone(), changes));
    let mut attacks = Vec::new();
    let exp = now() + 600;
    for (claim, values) in [
        (
            "exp",
            vec![
                Value::Null,
                json!(exp.to_string()),
                json!([exp]),
                json!(true),
                json!(-1),
                json!(0),
                json!(1e300),
                json!(exp * 1000),
            ],
        ),
        (
            "nbf",
            vec![json!("0"), json!([0]), json!(1e300), json!(now() + 3600)],
        ),
        ("iat", vec![json!("0"), json!(now() + 3600)]),
        (
            "iss",
            vec![
                Value::Null,
                json!(""),
                json!([ISSUER]),
                json!({ "iss": ISSUER }),
                json!(format!("{ISSUER}/")),
                json!(ISSUER.to_uppercase()),
                json!("https://evil.example"),
                json!(format!("{ISSUER}.evil.example")),
                json!(OTHER),
            ],
        ),
        (
            "aud",
            vec![
                Value::Null,
                json!([]),
                json!(""),
                json!(1),
                json!({ "aud": format!("{GATE}/mcp") }),
                json!([[format!("{GATE}/mcp")]]),
                json!([format!("{GATE}/mcp"), 1]),
                json!(GATE),
                json!(format!("{GATE}/mcp/crm")),
                json!(format!("{GATE}/mcp/staff")),
                json!(format!("{GATE}/mcp?x")),
                json!(format!("{GATE}.evil.example/mcp")),
                json!("https://other.example.com/mcp"),
                json!("gate"),
                json!("*"),
                json!(format!("{GATE}/mcp {GATE}/mcp/crm")),
            ],
        ),
        (
            "sub",
            vec![
                Value::Null,
                json!(""),
                json!(1),
                json!(["ann"]),
                json!("a".repeat(5000)),
            ],
        ),
        (
            "org",
            vec![
                Value::Null,
                json!(""),
                json!("initech"),
                json!("ACME"),
                json!(["acme"]),
                json!(["acme", "globex"]),
                json!({ "acme": true }),
                json!("acme globex"),
            ],
        ),
        (
            "groups",
            vec![
                json!({ "staff": true }),
                json!(["staff", 1]),
                json!([["staff"]]),
                json!(1),
            ],
        ),
        ("scope", vec![json!({}), json!(1), json!(["orders:read", 1])]),
        ("cnf", vec![json!({ "jkt": "x" }), json!({})]),
    ] {
        for value in values {
            attacks.push((format!("{claim}: {value}"), changed(json!({ claim: value }))));
        }
    }
    // `with` takes a null away; this one is there.
    for claim in ["exp", "iss", "aud", "sub", "org"] {
        let text = with(good.clone(), json!({ claim: "@" }))
            .to_string()
            .replace("\"@\"", "null");
        attacks.push((format!("{claim}: null"), ec.token_of(&es.to_string(), &text)));
    }
    // Two of one name: whoever reads the first and whoever reads the last see two tokens.
    for (claim, value) in [
        ("iss", json!("https://evil.example")),
        ("aud", json!("https://evil.example")),
        ("sub", json!("root")),
        ("exp", json!(exp)),
        ("org", json!("globex")),
        ("groups", json!(["staff"])),
        ("s\\u0075b", json!("root")),
        ("x", json!(1)),
    ] {
        let good = with(good.clone(), json!({ "x": 0 })).to_string();
        let rest = &good[1..good.len() - 1];
        for (what, text) in [
            ("first", format!(r#"{{"{claim}":{value},{rest}}}"#)),
            ("last", format!(r#"{{{rest},"{claim}":{value}}}"#)),
        ] {
            attacks.push((
                format!("{claim} there twice, the odd one {what}"),
                ec.token_of(&es.to_string(), &text),
            ));
        }
    }
    for (what, text) in [
        ("a list", "[]".to_owned()),
        ("a text", r#""x""#.to_owned()),
        ("nothing", String::new()),
        ("no JSON", format!("{good}x")),
        (
            "deep",
            format!(r#"{{"x":{}{}}}"#, "[".repeat(3000), "]".repeat(3000)),
        ),
    ] {
        attacks.push((what.to_owned(), ec.token_of(&es.to_string(), &text)));
    }
    refused(&house, &attacks).await;
}

#[tokio::test]
async fn tokens_of_another_kind() {
    let house = House::open().await;
    let ec = &house.issuer.ec;
    let good = claims("/mcp");
    let mut attacks = Vec::new();
    for typ in [
        json!("id+jwt"),
        json!("ID"),
        json!("oauth-id-jag+jwt"),
        json!("application/oauth-id-jag+jwt"),
        json!("logout+jwt"),
        json!("secevent+jwt"),
        json!("dpop+jwt"),
        json!("token-introspection+jwt"),
        json!("client-authentication+jwt"),
        json!("JWE"),
        json!(""),
        json!(" at+jwt"),
        json!("application/application/at+jwt"),
        json!(1),
        json!(["at+jwt"]),
    ] {
        let header = with(header("ES256", "ec"), json!({ "typ": typ }));
        attacks.push((format!("typ {typ}"), ec.token(&header, &good)));
    }
    // An ID token is for the client, and says so.
    let id_token = with(good, json!({ "aud": "the-client", "nonce": "n", "at_hash": "h" }));
    let header = with(header("ES256", "ec"), json!({ "typ": "JWT" }));
    attacks.push(("an ID token".to_owned(), ec.token(&header, &id_token)));
    refused(&house, &attacks).await;
}

#[tokio::test]
async fn a_token_is_for_one_endpoint_and_for_a_while() {
    let house = House::open().await;
    let paths = ["/mcp", "/mcp/crm", "/mcp/old", "/mcp/staff", "/mcp/open"];
    for (number, own) in paths.into_iter().enumerate() {
        let token = house.token(own, json!({}));
        for path in paths {
            let client = house.gate.modern(path).bearing(&token);
            // The old transport's form of an endpoint is the endpoint.
            let old =
                Post::get(&path.replace("/mcp", "/sse")).header("authorization", format!("Bearer {token}"));
            for post in [client.request("tools/list", "{}"), old] {
                let answer = post.from(address(number)).send(house.gate.address()).await;
                assert_eq!(
                    answer.status,
                    if path == own { 200 } else { 401 },
                    "{own} at {path}"
                );
            }
        }
    }
    let rows = rows([
        ("expired", house.token("/mcp", json!({ "exp": now() - 31 }))),
        (
            "not yet valid",
            house.token("/mcp", json!({ "nbf": now() + 300, "exp": now() + 600 })),
        ),
        (
            "issued in the future",
            house.token("/mcp", json!({ "iat": now() + 300 })),
        ),
    ]);
    refused(&house, &rows).await;
    // What was good is looked at again at its end, however long it would be remembered: leeway and all.
    let short = house.token("/mcp", json!({ "exp": now() - 20 }));
    assert_eq!(call_with(&house, &short).await, 200);
    eventually("its end", async || call_with(&house, &short).await == 401).await;
}
