//! What good tokens say of their bearers.

use super::*;

fn sorted(names: &[Arc<str>]) -> Vec<&str> {
    let mut names: Vec<_> = names.iter().map(|name| &**name).collect();
    names.sort_unstable();
    names
}

fn of(yaml: &str, changes: Value) -> Facts {
    let signer = Signer::own();
    let rig = Rig::new(&[signer.jwk("one")], yaml);
    facts(&rig, &signer.token(&header(), &with(claims(), changes)))
}

#[test]
fn the_usual_claims() {
    let said = of(
        "",
        json!({ "name": "Ann", "email": "ann@example.com", "email_verified": true }),
    );
    assert_eq!(said.principal, gatepost_policy::Principal::new(ISSUER, "ann"));
    assert_eq!(sorted(&said.groups), ["analysts", "people"]);
    assert_eq!(
        sorted(said.scopes.as_deref().unwrap()),
        ["orders:read", "orders:write"]
    );
    assert_eq!(said.email.as_deref(), Some("ann@example.com"));
    assert_eq!(said.name.as_deref(), Some("Ann"));
    assert_eq!(said.method, Method::Jwt);
    assert!(said.roles.is_empty());
    assert!(said.holds("orders:read") && !said.holds("orders"));
}

#[test]
fn nothing_said_is_nothing_had() {
    let said = of("", json!({ "groups": null, "scope": null }));
    assert!(said.groups.is_empty());
    // Scopes limit it, and it has none.
    assert_eq!(said.scopes.as_deref(), Some(&[][..]));
    assert_eq!((said.email, said.name), (None, None));
}

#[test]
fn texts_and_lists() {
    assert_eq!(sorted(&of("", json!({ "groups": "a b" })).groups), ["a b"]);
    assert_eq!(
        sorted(&of("", json!({ "groups": ["b", "a", "b"] })).groups),
        ["a", "b"]
    );
    let scopes = |yaml: &str, changes: Value| {
        let said = of(yaml, changes).scopes.unwrap();
        sorted(&said).into_iter().map(str::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(scopes("", json!({ "scope": " a  b a" })), ["a", "b"]);
    assert_eq!(scopes("", json!({ "scope": ["a", "b"] })), ["a", "b"]);
    assert_eq!(scopes("", json!({ "scope": null, "scp": "a b" })), ["a", "b"]);
    assert_eq!(scopes("", json!({ "scope": "a", "scp": "b" })), ["a"]);
    let configured = "scopes: { claim: permissions }";
    assert_eq!(scopes(configured, json!({ "permissions": ["p"] })), ["p"]);
    // Only there, even if it is not there.
    assert!(scopes(configured, json!({ "scp": "a" })).is_empty());
}

#[test]
fn claims_stand_where_the_configuration_says() {
    let said = of(
        "subject: { claim: oid }, groups: { claim: 'https://example.com/groups' }, tenant: { claim: [org, name], allow: [acme] }",
        json!({
            "oid": "1234",
            "https://example.com/groups": ["g"],
            "org": { "name": "acme" },
            "org.name": "globex",
        }),
    );
    assert_eq!(said.principal.as_key(), (ISSUER, "1234", Some("acme")));
    assert_eq!(sorted(&said.groups), ["g"]);
    let nested = "groups: { claim: [realm_access, roles] }";
    let roles = of(nested, json!({ "realm_access": { "roles": ["r"] } }));
    assert_eq!(sorted(&roles.groups), ["r"]);
    assert!(of(nested, json!({ "realm_access": ["r"] })).groups.is_empty());
}

#[test]
fn an_address_counts_when_its_issuer_has_verified_it() {
    for verified in [json!(false), json!("true"), json!(1), json!([true]), Value::Null] {
        let said = of(
            "",
            json!({ "email": "ceo@example.com", "email_verified": verified }),
        );
        assert_eq!(said.email, None, "{verified}");
    }
    for email in [json!(""), json!(["a@b"]), json!("x".repeat(300))] {
        let said = of("", json!({ "email": email, "email_verified": true }));
        assert_eq!(said.email, None, "{email}");
    }
}
