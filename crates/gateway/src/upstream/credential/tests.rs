use http::HeaderMap;

use super::{asker::bearer, *};

fn token(claims: &str) -> String {
    format!("e30.{}.c2ln", URL_SAFE_NO_PAD.encode(claims))
}

#[test]
fn a_token_is_for_those_it_names() {
    let check = |claims: &str, expected| {
        assert_eq!(is_for(&token(claims), "https://crm"), expected, "{claims}");
    };
    check(r#"{"aud":"https://crm"}"#, true);
    check(r#"{"aud":["https://gate","https://crm"]}"#, true);
    check(r#"{"aud":"https://crm/"}"#, false);
    check(r#"{"aud":"https://crm.evil"}"#, false);
    check(r#"{"aud":["https://crm",7]}"#, false);
    check(r#"{"aud":[]}"#, false);
    check(r#"{"aud":{"a":"https://crm"}}"#, false);
    check(r#"{"aud":"x","aud":"https://crm"}"#, false);
    check(r#"{"sub":"https://crm"}"#, false);
    for nonsense in [
        "",
        "a.b",
        "a.b.c",
        "gp_key",
        "a..c",
        "e30.eyJhdWQiOiJodHRwczovL2NybSJ9.a.b.c",
    ] {
        assert!(!is_for(nonsense, "https://crm"), "{nonsense}");
    }
}

#[test]
fn only_a_single_bearer_is_a_token() {
    let check = |fields: &[&'static str], expected: Option<&str>| {
        let mut headers = HeaderMap::new();
        for field in fields {
            headers.append(header::AUTHORIZATION, HeaderValue::from_static(field));
        }
        assert_eq!(bearer(&headers), expected, "{fields:?}");
    };
    check(&[], None);
    check(&["Bearer a"], Some("a"));
    check(&["bearer  a "], Some("a"));
    check(&["Basic a"], None);
    check(&["Bearer"], None);
    check(&["Bearer a", "Bearer b"], None);
}

#[test]
fn what_belongs_to_two_never_has_one_fingerprint() {
    let ann = || Principal::new("https://id", "ann");
    let kind = CredentialKind::Principal;
    let all = [
        Fingerprint::of(kind, &ann(), "t"),
        Fingerprint::of(kind, &ann(), "u"),
        Fingerprint::of(CredentialKind::PassThrough, &ann(), "t"),
        Fingerprint::of(kind, &Principal::new("https://id", "bob"), "t"),
        Fingerprint::of(kind, &Principal::new("https://other", "ann"), "t"),
        Fingerprint::of(kind, &ann().with_tenant("acme"), "t"),
        Fingerprint::of(kind, &ann().with_tenant(""), "t"),
        Fingerprint::of(kind, &ann().with_tenant("acmet"), ""),
        Fingerprint::of(kind, &Principal::new("https://ida", "nn"), "t"),
    ];
    for (at, one) in all.iter().enumerate() {
        for other in &all[at + 1..] {
            assert_ne!(one.0, other.0);
        }
    }
    assert_eq!(all[0], Fingerprint::of(kind, &ann(), "t"));
}

#[test]
fn secrets_are_taken_out_of_what_others_say() {
    let presented = Presented::personal(
        CredentialKind::Principal,
        &Principal::new("https://id", "ann"),
        "canary",
    )
    .unwrap();
    let check = |text: &str, expected: &str| {
        let scrubbed = Scrub::new(text.to_owned()).of(&presented).finish();
        assert_eq!(scrubbed, expected);
    };
    check("no token: `Bearer canary`", "no token: `[secret]`");
    check("canary and canary", "[secret] and [secret]");
    check("cana", "cana");
    // The end of what was quoted.
    check("no token: Bearer canar", "no token: Bearer [secret]");
    check("canary, canar, canary or", "[secret], canar, [secret] or");
    assert!(!format!("{presented:?}").contains("canary"));
    // A field may say anything, and what is so short is no secret.
    let short = Scrub::new("a b".to_owned()).of_field(&HeaderValue::from_static("b"));
    assert_eq!(short.finish(), "a b");
}
