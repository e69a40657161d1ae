//! Who callers are.

use super::*;

/// An identity that needs no advice, to which more may be added.
pub(super) const KEYS: &str = "identity: { api_keys: true }\naudit: { signing_key: '${env:SEED}' }\n";

#[test]
fn everything_that_is_written_arrives() {
    let config = warned(
        r#"
http: { public_url: https://gate.example.com }
audit: { signing_key: "${env:SEED}" }
identity:
  api_keys: true
  jwt:
    - issuer: https://id.example.com/
      audience: [https://gate.example.com/mcp, gate]
      jwks_url: http://127.0.0.1:8443/jwks?v=1
      algorithms: [ES256, EdDSA, ES256]
      types: [Application/AT+JWT, none]
      leeway: 0s
      subject: { claim: oid }
      groups: { claim: [realm_access, roles] }
      scopes: { claim: permissions }
      tenant: { claim: org, allow: [acme, globex] }
      refresh: 1h
    - issuer: http://localhost:9000/realms/a
      jwks_file: ./jwks.json
  cache: 0s
bindings: [{ role: reader, issuer: gatepost:key }]
roles: { reader: { allow: ["*"] } }
"#,
        &[],
    );
    let identity = config.identity.unwrap();
    assert!(identity.api_keys);
    assert_eq!(identity.cache, Duration::ZERO);
    let [first, second] = &identity.jwt[..] else {
        panic!()
    };
    assert_eq!(&*first.issuer, "https://id.example.com/");
    let audience: Vec<&str> = first.audience.iter().map(|text| &**text).collect();
    assert_eq!(audience, ["https://gate.example.com/mcp", "gate"]);
    let IssuerKeys::Url(url) = &first.keys else {
        panic!()
    };
    assert_eq!(url.uri(), "http://127.0.0.1:8443/jwks?v=1");
    assert_eq!(
        first.algorithms,
        [SignatureAlgorithm::Es256, SignatureAlgorithm::EdDsa]
    );
    assert_eq!((&first.types[..], first.untyped), (&["at+jwt".into()][..], true));
    assert_eq!(
        (first.leeway, first.refresh),
        (Duration::ZERO, Duration::from_secs(3_600))
    );
    assert_eq!(first.subject, Claim::named("oid"));
    assert_eq!(first.groups.path(), ["realm_access".into(), "roles".into()]);
    assert_eq!(first.scopes, Some(Claim::named("permissions")));
    let tenant = first.tenant.as_ref().unwrap();
    assert_eq!(
        (&tenant.claim, &tenant.allow[..]),
        (&Claim::named("org"), &["acme".into(), "globex".into()][..])
    );

    assert!(matches!(&second.keys, IssuerKeys::File(path) if path == Path::new("/etc/gatepost/./jwks.json")));
    assert!(second.audience.is_empty() && second.scopes.is_none() && second.tenant.is_none());
}

#[test]
fn what_is_not_written_is_safe() {
    let config = good("identity: { jwt: [{ issuer: 'https://i', audience: [a] }] }");
    let identity = config.identity.unwrap();
    assert!(!identity.api_keys);
    assert_eq!(identity.cache, Duration::from_secs(300));
    let jwt = identity.issuer("https://i").unwrap();
    assert!(matches!(jwt.keys, IssuerKeys::Discovery));
    assert_eq!(
        (&jwt.types[..], jwt.untyped),
        (&["at+jwt".into(), "jwt".into()][..], true)
    );
    assert_eq!(
        (jwt.leeway, jwt.refresh),
        (Duration::from_secs(30), Duration::from_secs(600))
    );
    assert_eq!(
        (&jwt.subject, &jwt.groups),
        (&Claim::named("sub"), &Claim::named("groups"))
    );
    let names: Vec<&str> = jwt
        .algorithms
        .iter()
        .map(|algorithm| algorithm.as_str())
        .collect();
    assert_eq!(
        names,
        [
            "RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "EdDSA"
        ]
    );
    assert!(
        identity.issuer("https://I").is_none(),
        "an issuer is compared to the letter"
    );
}

#[test]
fn without_a_public_url_tokens_must_say_whom_they_are_meant_for() {
    check(
        "identity: { jwt: [{ issuer: 'https://i' }] }",
        &[
            "line 1: identity.jwt[0].audience: is missing, and without `http.public_url` it cannot be made from the \
             endpoint's URL; write the `aud` of the tokens that are meant for this gate, or `http.public_url`",
        ],
    );
}

#[test]
fn issuers_that_nobody_should_believe() {
    check(
        r#"
http: { public_url: https://gate.example.com }
identity:
  jwt:
    - { issuer: http://id.example.com }
    - { issuer: id.example.com }
    - { issuer: "https://id.example.com/?a=b" }
    - { issuer: "https://ann:x@id.example.com" }
    - { issuer: https://a, jwks_url: "http://a/jwks" }
    - { issuer: https://b, jwks_url: "https://b/jwks", jwks_file: jwks }
    - { issuer: https://c, algorithms: [HS256] }
    - { issuer: https://d, algorithms: [none] }
    - { issuer: https://e, algorithms: [RS265] }
    - { issuer: https://f, algorithms: [] }
    - { issuer: https://g, leeway: 10m }
    - { issuer: https://h, refresh: 1s }
    - { issuer: https://i, tenant: { claim: org } }
    - { issuer: https://j, tenant: { allow: [a] } }
    - { issuer: https://k, tenant: { claim: org, allow: ["*"] } }
    - { issuer: https://l, groups: { claim: [] } }
    - { issuer: https://m, audience: [""] }
    - { issuer: https://n, introspection: {} }
    - { issuer: https://o, jwks_uri: "https://o/jwks" }
  basic: { ldap: {} }
  cache: 2h
"#,
        &[
            "line 5: identity.jwt[0].issuer: is plain http to another machine, where anybody on the way could answer; \
             write an `https` URL",
            "line 6: identity.jwt[1].issuer: is no absolute http or https URL; write it like `https://host/mcp`",
            "line 7: identity.jwt[2].issuer: has a query, which no issuer has; remove `?` and what follows",
            "line 8: identity.jwt[3].issuer: holds a user; remove it; where it is needed, a header can say it",
            "line 9: identity.jwt[4].jwks_url: is plain http to another machine, where anybody on the way could answer; \
             write an `https` URL",
            "line 11: identity.jwt[6].algorithms[0]: would take the issuer's public key for a secret, so that anybody \
             could sign; write an algorithm with a private key, such as `RS256` or `ES256`",
            "line 12: identity.jwt[7].algorithms[0]: would take tokens that nobody signed; write an algorithm with a \
             private key, such as `RS256` or `ES256`",
            "line 13: identity.jwt[8].algorithms[0]: `RS265` is not known here; did you mean `RS256`? write one of \
             `RS256`, `RS384`, `RS512`, `PS256`, `PS384`, `PS512`, `ES256`, `ES384` and `EdDSA`",
            "line 14: identity.jwt[9].algorithms: is an empty list; write at least one, or remove the key",
            "line 15: identity.jwt[10].leeway: `10m` is out of range; write at least 0s and at most 5m",
            "line 16: identity.jwt[11].refresh: `1s` is out of range; write at least 10s and at most 1d",
            "line 17: identity.jwt[12].tenant.allow: is missing; add it",
            "line 18: identity.jwt[13].tenant.claim: is missing; add it",
            "line 19: identity.jwt[14].tenant.allow[0]: holds `*`, which stands for nothing else here; write each name \
             out",
            "line 20: identity.jwt[15].groups.claim: is an empty list; write at least one, or remove the key",
            "line 21: identity.jwt[16].audience[0]: is empty; write the name, or remove it",
            "line 22: identity.jwt[17].introspection: this version does not have this yet; remove it",
            "line 23: identity.jwt[18].jwks_uri: unknown key; did you mean `jwks_url`?",
            "line 24: identity.basic: this version does not have this yet; remove it",
            "line 25: identity.cache: `2h` is out of range; write at least 0s and at most 1h",
        ],
    );
    check(
        r#"
http: { public_url: https://gate.example.com }
identity:
  jwt:
    - { issuer: https://b, jwks_url: "https://b/jwks", jwks_file: jwks }
    - { issuer: https://c }
    - { issuer: https://c }
"#,
        &[
            "line 5: identity.jwt[0]: says `jwks_url` and `jwks_file` at once; keep one of the two, or none to ask the \
             issuer where its keys are",
            "line 7: identity.jwt[2].issuer: is the issuer of another entry too; write its audiences and keys into one \
             entry",
        ],
    );
    check(
        "\nidentity:\n",
        &[
            "line 2: identity: says neither `api_keys: true` nor `jwt`, so that nobody could prove who they are; add at \
             least one of the two",
        ],
    );
}

/// One wrong section is one problem: what would follow from its absence is not said too.
#[test]
fn a_broken_identity_is_no_missing_one() {
    check(
        "listen: 0.0.0.0:80\nidentity: yes\nroles: { a: { allow: ['*'] } }\nbindings: [{ role: a, users: [ann] }]",
        &["line 2: identity: expected a map, found a text; write it like `key: value`"],
    );
}

#[test]
fn an_identity_that_does_less_than_it_looks_is_told_so() {
    warned(
        "identity: { jwt: [{ issuer: 'https://i', audience: [a] }] }",
        &[
            "line 1: identity: tells callers apart, and nothing records what they do; add `audit: {}`",
            "line 1: identity: lets callers in who have no role, so that nobody may do anything; add `roles` and \
             `bindings`",
        ],
    );
    let jwt = "audit: { signing_key: '${env:SEED}' }\nidentity: { jwt: [{ issuer: 'https://i', audience: [a] }] }\n\
               roles: { a: { allow: ['*'] } }\nbindings: [{ role: a, issuer: 'https://i' }]\n";
    warned(jwt, &[]);
    warned(
        &format!("{jwt}listen: unix:/run/gate.sock"),
        &[
            "line 2: identity.jwt: needs `http.public_url` to tell clients where they get a token (RFC 9728); write the URL \
             that clients use into `http.public_url`",
        ],
    );
    warned(&format!("{KEYS}roles: {{ r: {{ allow: ['*'] }} }}"), &[]);
    warned(
        KEYS,
        &[
            "line 1: identity: lets callers in who have no role, so that nobody may do anything; add `roles`, and make keys \
             with `gatepost keys create --role …` or add `bindings`",
        ],
    );
    // What follows from a slip is not said.
    check(
        "identity: { api_keys: yes }",
        &["line 1: identity.api_keys: expected `true` or `false`, found a text; write it like `true`"],
    );
}

#[test]
fn with_an_identity_others_may_reach_the_gate() {
    let keys = format!("{KEYS}roles: {{ r: {{ allow: ['*'] }} }}\n");
    let config = warned(
        &format!("{keys}listen: 0.0.0.0:8080\nhttp: {{ public_url: 'https://gate.example.com' }}"),
        &[],
    );
    assert!(config.listen.check_reach(config.identity.as_ref()).is_ok());
    assert_eq!(config.listen.check_reach(None), Err(ListenError::Public));
    warned(
        &format!("{keys}listen: 0.0.0.0:8080"),
        &[
            "line 4: listen: other machines can reach it, and no name by which they could is in `http.hosts`, so that each \
             of them gets 403; write the URL that clients use into `http.public_url`",
        ],
    );
    check(
        &format!("{KEYS}ops: {{ listen: 0.0.0.0:9090 }}"),
        &[
            "line 3: ops.listen: `0.0.0.0:9090` can be reached from other machines, and operators are not asked who they \
             are; listen on a loopback address (`127.0.0.1:9090`) or a Unix socket (`unix:/run/gatepost-ops.sock`) and \
             put a proxy that authenticates in front of it",
        ],
    );
}
