//! Tokens that must not pass.

use super::*;

const WRONG: &str = "its signature is wrong";

/// What would get in where the issuer's public key is taken for the secret of an HMAC, in the forms in which it is published.
#[test]
fn a_public_key_is_no_secret() {
    let jwk = Signer::rsa().jwk("one");
    let rig = Rig::new(std::slice::from_ref(&jwk), "");
    let modulus = jwk["n"].as_str().unwrap();
    for secret in [
        jwk.to_string(),
        modulus.to_owned(),
        json!({ "keys": [jwk] }).to_string(),
    ] {
        for alg in ["HS256", "HS384", "HS512", "RS256"] {
            let header = with(header(), json!({ "alg": alg }));
            let forged = Signer::Hmac(secret.clone().into_bytes()).token(&header, &claims());
            let reason = rig.refused(&forged);
            assert!(reason.contains("algorithm") || reason == WRONG, "{alg}: {reason}");
        }
    }
}

#[test]
fn a_token_that_nobody_signed_is_refused() {
    let rig = Rig::usual();
    for alg in ["none", "None", "NONE", "nOnE", "", "eddsa", "EdDSA "] {
        let header = with(header(), json!({ "alg": alg }));
        let unsigned = Signer::Nobody.token(&header, &claims());
        assert!(rig.refused(&unsigned).contains("algorithm"), "{alg}");
        // With a good signature it is no better.
        let signed = Signer::own().token(&header, &claims());
        assert!(rig.refused(&signed).contains("algorithm"), "{alg}");
    }
    // A good header, and the signature cut off, emptied, or replaced.
    let good = Signer::own().token(&header(), &claims());
    let (signed, signature) = good.rsplit_once('.').unwrap();
    for bad in [
        format!("{signed}."),
        format!("{signed}.{}", b64([7; 63])),
        format!("{signed}.{}", b64([0; 64])),
        format!("{signed}.{}", b64(vec![0xff; 4096])),
    ] {
        assert_eq!(rig.refused(&bad), WRONG);
    }
    assert_eq!(rig.refused(&Signer::other().token(&header(), &claims())), WRONG);
    // Other claims under this signature.
    let root = Signer::own().token(&header(), &with(claims(), json!({ "sub": "root" })));
    let (head, payload) = (good.split('.').next().unwrap(), root.split('.').nth(1).unwrap());
    assert_eq!(rig.refused(&format!("{head}.{payload}.{signature}")), WRONG);
}

/// RFC 7515 4.1.2 to 4.1.8: keys that come with the token are for the gate to ignore.
#[test]
fn a_token_does_not_bring_its_own_key() {
    let evil = Signer::other();
    let rig = Rig::usual();
    for (name, value) in [
        ("jwk", evil.jwk("one")),
        ("jku", json!("https://evil.example.com/keys")),
        ("x5u", json!("https://evil.example.com/cert")),
        ("x5c", json!(["MIIB"])),
        ("x5t", json!("abc")),
    ] {
        let header = with(header(), json!({ name: value }));
        assert_eq!(rig.refused(&evil.token(&header, &claims())), WRONG);
        // Beside the right signature it changes nothing.
        assert!(
            rig.check(&Signer::own().token(&header, &claims())).is_ok(),
            "{name}"
        );
    }
}

#[test]
fn the_name_of_a_key_is_only_a_name() {
    let rig = Rig::usual();
    for kid in [
        "../../../../dev/null",
        "one'; DROP TABLE keys; --",
        "One",
        "one\u{0}",
        "",
        "https://evil.example.com/key",
        "two\u{202e}\n",
    ] {
        let token = Signer::own().token(&with(header(), json!({ "kid": kid })), &claims());
        let reason = rig.refused(&token);
        assert!(reason.contains("is none of"), "{kid}: {reason}");
        assert!(!reason.contains('\n') && !reason.contains('\u{202e}'), "{reason}");
    }
    for kid in [json!(1), json!(["one"]), json!({}), json!("x".repeat(1000))] {
        let token = Signer::own().token(&with(header(), json!({ "kid": kid })), &claims());
        assert!(rig.refused(&token).contains("`kid`"));
    }
    // None at all: every key that fits is tried.
    let bare = with(header(), json!({ "kid": null }));
    assert!(rig.check(&Signer::own().token(&bare, &claims())).is_ok());
    assert_eq!(rig.refused(&Signer::other().token(&bare, &claims())), WRONG);
}

#[test]
fn a_key_signs_only_what_it_is_for() {
    let signer = Signer::rsa();
    let token = signer.token(&with(header(), json!({ "alg": "RS256" })), &claims());
    for (changes, usable) in [
        (json!({}), true),
        (
            json!({ "use": "sig", "alg": "RS256", "key_ops": ["verify"] }),
            true,
        ),
        (json!({ "use": "enc" }), false),
        (json!({ "use": ["sig"] }), false),
        (json!({ "key_ops": ["encrypt"] }), false),
        (json!({ "key_ops": "verify" }), false),
        (json!({ "alg": "PS256" }), false),
        (json!({ "alg": "ES256" }), false),
        (json!({ "alg": "HS256" }), false),
        (json!({ "alg": "RSA-OAEP" }), false),
        (json!({ "d": "AQAB" }), false),
        (json!({ "kty": "oct" }), false),
        (json!({ "kty": "rsa" }), false),
        (json!({ "n": b64([0x81; 128]) }), false),
        (json!({ "n": b64([0xff; 2000]) }), false),
        (json!({ "e": "AQ" }), false),
        (json!({ "e": "Ag" }), false),
        (json!({ "e": b64([1; 9]) }), false),
        (json!({ "e": "" }), false),
        (json!({ "e": null }), false),
        (json!({ "n": "not base64!" }), false),
    ] {
        // Beside one that is of no use here, so that the set as a whole can be read.
        let keys = [
            with(signer.jwk("one"), changes.clone()),
            Signer::ed25519().jwk("other"),
        ];
        let rig = Rig::new(&keys, "");
        assert_eq!(rig.check(&token).is_ok(), usable, "{changes}");
    }
}

#[test]
fn points_off_their_curve_are_no_keys() {
    let signer = Signer::p256();
    let token = signer.token(&with(header(), json!({ "alg": "ES256" })), &claims());
    let other = Signer::ed25519().jwk("other");
    for (changes, usable) in [
        (json!({}), true),
        (json!({ "y": b64([1; 32]) }), false),
        (json!({ "x": b64([0; 32]), "y": b64([0; 32]) }), false),
        (json!({ "y": b64([1; 31]) }), false),
        (json!({ "crv": "P-384" }), false),
        (json!({ "crv": "secp256k1" }), false),
        (json!({ "crv": null }), false),
    ] {
        let rig = Rig::new(&[with(signer.jwk("one"), changes.clone()), other.clone()], "");
        assert_eq!(rig.check(&token).is_ok(), usable, "{changes}");
    }
    // A signature of zeros, which an implementation once took for everybody's (CVE-2022-21449).
    let rig = Rig::new(&[signer.jwk("one")], "");
    let (signed, _) = token.rsplit_once('.').unwrap();
    assert_eq!(rig.refused(&format!("{signed}.{}", b64([0; 64]))), WRONG);
}

#[test]
fn headers_that_must_be_understood_and_are_not() {
    let rig = Rig::usual();
    for (changes, expected) in [
        (json!({ "crit": ["b64"], "b64": false }), "`crit`"),
        (json!({ "crit": ["exp"] }), "`crit`"),
        (json!({ "crit": [] }), "`crit`"),
        (json!({ "b64": true }), "`b64`"),
        (json!({ "alg": null }), "`alg`"),
        (json!({ "alg": ["EdDSA"] }), "`alg`"),
        (json!({ "typ": ["at+jwt"] }), "`typ`"),
        (json!({ "x": "y".repeat(5000) }), "bytes"),
    ] {
        let reason = rig.refused(&Signer::own().token(&with(header(), changes), &claims()));
        assert!(reason.contains(expected), "{reason}");
    }
}

#[test]
fn only_access_tokens_are_taken() {
    let rig = Rig::usual();
    let check = |rig: &Rig, typ: Value| {
        rig.check(&Signer::own().token(&with(header(), json!({ "typ": typ })), &claims()))
    };
    for typ in [
        json!("at+jwt"),
        json!("AT+JWT"),
        json!("application/at+jwt"),
        json!("Application/At+Jwt"),
        json!("JWT"),
        json!("jwt"),
        Value::Null,
    ] {
        assert!(check(&rig, typ.clone()).is_ok(), "{typ}");
    }
    for typ in [
        "oauth-id-jag+jwt",
        "application/oauth-id-jag+jwt",
        "dpop+jwt",
        "logout+jwt",
        "secevent+jwt",
        "JWE",
        "at+jwt ",
        "application/application/at+jwt",
        "",
    ] {
        let refusal = check(&rig, json!(typ)).unwrap_err();
        assert!(refusal.reason().contains("`typ`"), "{typ}: {refusal:?}");
    }
    let strict = Rig::new(&[Signer::own().jwk("one")], "types: [at+jwt]");
    assert!(check(&strict, json!("at+jwt")).is_ok());
    assert!(check(&strict, json!("JWT")).is_err());
    assert!(check(&strict, Value::Null).is_err());
}

#[test]
fn what_is_no_token_is_refused() {
    let rig = Rig::usual();
    let good = Signer::own().token(&header(), &claims());
    let parts: Vec<_> = good.split('.').collect();
    let [head, payload, signature] = parts[..] else {
        unreachable!()
    };
    for bad in [
        "opaque".to_owned(),
        "a.b".to_owned(),
        format!("{good}.x"),
        // As an encrypted one has.
        format!("{good}.x.y"),
        format!(".{payload}.{signature}"),
        format!("{head}..{signature}"),
        format!("{head}.{payload}.{signature}="),
        format!("{head}=.{payload}.{signature}"),
        format!("{}.{payload}.{signature}", b64("[]")),
        format!("{}.{payload}.{signature}", b64("null")),
        format!("{head}.{}.{signature}", b64("[]")),
        format!("{head}.{}.{signature}", b64("\u{feff}{}")),
        format!("{head}/.{payload}.{signature}"),
    ] {
        rig.refused(&bad);
    }
    // 64 bytes are 86 characters, the last of which holds bits that say nothing: one token would have several texts.
    let (most, last) = signature.split_at(signature.len() - 1);
    let bent = char::from(last.as_bytes()[0] + 1);
    rig.refused(&format!("{head}.{payload}.{most}{bent}"));
    // A deep one ends early.
    let deep = format!(
        "{{\"iss\":\"{ISSUER}\",\"a\":{}{}}}",
        "[".repeat(5000),
        "]".repeat(5000)
    );
    rig.refused(&Signer::own().token_of(&header().to_string(), &deep));
}

/// RFC 7519 §4 leaves it to the reader; two readers must not see two tokens.
#[test]
fn a_name_that_comes_twice_is_refused() {
    let rig = Rig::usual();
    let signer = Signer::own();
    let (head, body) = (header().to_string(), claims().to_string());
    let and = |text: &str, more: &str| format!("{},{more}}}", text.strip_suffix('}').unwrap());
    assert!(rig.check(&signer.token_of(&head, &and(&body, "\"x\":1"))).is_ok());
    for (head, body) in [
        (and(&head, r#""alg":"EdDSA""#), body.clone()),
        (and(&head, r#""kid":"one""#), body.clone()),
        (and(&head, r#""\u006bid":"one""#), body.clone()),
        (head.clone(), and(&body, r#""sub":"root""#)),
        (head.clone(), and(&body, &format!("\"iss\":\"{ISSUER}\""))),
        (head.clone(), and(&body, r#""\u0065xp":9999999999"#)),
        (head.clone(), and(&body, r#""x":{"y":1,"y":2}"#)),
        (head.clone(), and(&body, r#""x":[{"y":1,"y":2}]"#)),
    ] {
        let reason = rig.refused(&signer.token_of(&head, &body));
        assert!(reason.contains("twice"), "{reason}");
    }
}

#[test]
fn only_the_exact_issuer_counts() {
    let rig = Rig::usual();
    for iss in [
        json!("https://id.example.com/"),
        json!("https://ID.example.com"),
        json!("http://id.example.com"),
        json!("https://id.example.com:443"),
        json!("https://id.example.com.evil.example"),
        json!("https://evil.example/https://id.example.com"),
        json!(""),
        json!("gatepost:local"),
        json!("gatepost:key"),
        json!([ISSUER]),
        json!(1),
        Value::Null,
    ] {
        let token = Signer::own().token(&header(), &with(claims(), json!({ "iss": iss })));
        let reason = rig.refused(&token);
        let expected = ["is not configured", "`iss`", "claims"];
        assert!(
            expected.iter().any(|part| reason.contains(part)),
            "{iss}: {reason}"
        );
    }
}

/// What `jsonwebtoken` lets pass with `set_audience` and `set_issuer`: no `aud`, a number, no `iss`; and `nbf` it looks at
/// only when told to.
#[test]
fn claims_that_are_missing_or_odd_are_refused() {
    let rig = Rig::usual();
    let huge = json!(1e300);
    for (changes, expected) in [
        (json!({ "aud": null }), "`aud`"),
        (json!({ "aud": 1 }), "`aud`"),
        (json!({ "aud": true }), "`aud`"),
        (json!({ "aud": {} }), "`aud`"),
        (json!({ "aud": [] }), "`aud`"),
        (json!({ "aud": [1] }), "`aud`"),
        (json!({ "aud": [format!("{GATE}/mcp"), 1] }), "`aud`"),
        (json!({ "aud": [[format!("{GATE}/mcp")]] }), "`aud`"),
        (json!({ "aud": "" }), "`aud`"),
        (json!({ "aud": "https://other.example.com/mcp" }), "`aud`"),
        (json!({ "aud": format!("{GATE}/mcp/crm") }), "`aud`"),
        (json!({ "exp": null }), "`exp`"),
        (json!({ "exp": (NOW + 600).to_string() }), "`exp`"),
        (json!({ "exp": true }), "`exp`"),
        (json!({ "exp": -1 }), "`exp`"),
        (json!({ "exp": huge }), "`exp`"),
        (json!({ "exp": (NOW + 600) * 1000 }), "`exp`"),
        (json!({ "exp": u64::MAX }), "`exp`"),
        (json!({ "exp": [NOW + 600] }), "`exp`"),
        (json!({ "exp": 0 }), "expired"),
        (json!({ "exp": NOW - 30 }), "expired"),
        (json!({ "exp": NOW as f64 - 30.5 }), "expired"),
        (json!({ "nbf": NOW + 31 }), "nbf"),
        (json!({ "nbf": NOW as f64 + 30.5 }), "nbf"),
        (json!({ "nbf": "0" }), "`nbf`"),
        (json!({ "nbf": -1 }), "`nbf`"),
        (json!({ "nbf": huge }), "`nbf`"),
        (json!({ "iat": NOW + 31 }), "iat"),
        (json!({ "iat": "0" }), "`iat`"),
        (json!({ "sub": null }), "subject"),
        (json!({ "sub": "" }), "subject"),
        (json!({ "sub": 1 }), "`sub`"),
        (json!({ "sub": ["ann"] }), "`sub`"),
        (json!({ "sub": "x".repeat(1025) }), "`sub`"),
        (json!({ "cnf": { "jkt": "x" } }), "`cnf`"),
        (json!({ "groups": 1 }), "`groups`"),
        (json!({ "groups": { "a": "b" } }), "`groups`"),
        (json!({ "groups": ["a", 1] }), "`groups`"),
        (json!({ "groups": ["a", ""] }), "`groups`"),
        (json!({ "groups": ["x".repeat(257)] }), "`groups`"),
        (
            json!({ "groups": null, "_claim_names": { "groups": "src1" } }),
            "elsewhere",
        ),
        (json!({ "scope": 1 }), "scopes"),
        (json!({ "scope": ["a", 1] }), "scopes"),
        (json!({ "scope": "x".repeat(257) }), "scopes"),
    ] {
        let token = Signer::own().token(&header(), &with(claims(), changes.clone()));
        let reason = rig.refused(&token);
        assert!(reason.contains(expected), "{changes}: {reason}");
    }
    // `null` in the text itself, which `with` cannot write.
    for name in ["aud", "exp", "sub", "iss", "nbf", "groups"] {
        let text = with(claims(), json!({ name: "NULL" })).to_string();
        let text = text.replace("\"NULL\"", "null");
        rig.refused(&Signer::own().token_of(&header().to_string(), &text));
    }
}

#[test]
fn there_is_a_bound_to_everything() {
    let rig = Rig::usual();
    let check = |claim: &str, count: usize| {
        let names: Vec<_> = (0..count).map(|number| number.to_string()).collect();
        let value = match claim {
            "scope" => json!(names.join(" ")),
            _ => json!(names),
        };
        rig.check(&Signer::own().token(&header(), &with(claims(), json!({ claim: value }))))
    };
    for claim in ["groups", "scope"] {
        assert!(check(claim, 1000).is_ok(), "{claim}");
        assert!(check(claim, 1001).is_err(), "{claim}");
    }
    let long = Signer::own().token(&header(), &with(claims(), json!({ "x": "y".repeat(12_000) })));
    assert!(long.len() > 16 * 1024);
    assert!(rig.refused(&long).contains("bytes"));
}

#[test]
fn the_leeway_is_what_is_configured() {
    let signer = Signer::own();
    let rig = Rig::new(&[signer.jwk("one")], "leeway: 5s");
    for (changes, good) in [
        (json!({ "exp": NOW - 4 }), true),
        (json!({ "exp": NOW - 5 }), false),
        (json!({ "nbf": NOW + 5 }), true),
        (json!({ "nbf": NOW + 6 }), false),
        (json!({ "iat": NOW + 5 }), true),
        (json!({ "iat": NOW + 6 }), false),
    ] {
        let token = signer.token(&header(), &with(claims(), changes.clone()));
        assert_eq!(rig.check(&token).is_ok(), good, "{changes}");
    }
}

/// Another tenant's name, and none, where tenants are told apart.
#[test]
fn only_listed_tenants_exist() {
    let signer = Signer::own();
    let rig = Rig::new(
        &[signer.jwk("one")],
        "tenant: { claim: org, allow: [acme, globex] }",
    );
    let token = |org: Value| signer.token(&header(), &with(claims(), json!({ "org": org })));
    let acme = facts(&rig, &token(json!("acme")));
    assert_eq!(acme.principal.tenant(), Some("acme"));
    for org in [
        json!("initech"),
        json!("ACME"),
        json!("acme "),
        json!(""),
        json!(["acme"]),
        json!({ "acme": true }),
        json!(1),
        Value::Null,
    ] {
        let reason = rig.refused(&token(org.clone()));
        assert!(
            reason.contains("tenant") || reason.contains("`org`"),
            "{org}: {reason}"
        );
    }
}

#[test]
fn a_wrong_credential_is_not_helped_by_a_good_one() {
    let (rig, keys, ring) = keyed();
    let (key, _) = create_key(&*keys, KeySettings::default(), NOW as u64).unwrap();
    ring.refresh().unwrap();
    let good = Signer::own().token(&header(), &claims());
    let bad = Signer::other().token(&header(), &claims());
    let ask = |fields: &[(&'static str, String)]| {
        let mut headers = HeaderMap::new();
        for (name, value) in fields {
            headers.append(*name, value.parse().unwrap());
        }
        let outcome = rig.identity.recall(&headers, &resource("/mcp")).unwrap();
        outcome.map_or_else(|refusal| refusal.status().as_u16(), |_| 200)
    };
    let bearer = |text: &str| ("authorization", format!("Bearer {text}"));
    let api_key = |text: &str| ("x-api-key", text.to_owned());
    let key = key.expose();
    assert_eq!(ask(&[bearer(&good)]), 200);
    assert_eq!(ask(&[bearer(key)]), 200);
    assert_eq!(ask(&[api_key(key)]), 200);
    assert_eq!(ask(&[bearer(&bad)]), 401);
    assert_eq!(ask(&[api_key(&good)]), 401);
    for two in [
        [bearer(&good), api_key(key)],
        [bearer(&bad), api_key(key)],
        [bearer(&good), api_key("gp_wrong")],
        [bearer(&good), bearer(&good)],
        [bearer(&good), bearer(&bad)],
        [bearer(&bad), bearer(key)],
        [api_key(key), api_key(key)],
        [("authorization", "Basic YTpi".to_owned()), api_key(key)],
    ] {
        assert_eq!(ask(&two), 400);
    }
}
