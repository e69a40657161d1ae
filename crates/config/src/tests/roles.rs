//! Who may do what.

use std::sync::Arc;

use gatepost_policy::Rules;

use super::{identity::KEYS, *};

/// Two issuers, one of which names tenants.
const TWO: &str = "audit: { signing_key: '${env:SEED}' }\nidentity:\n  jwt:\n  \
                   - { issuer: https://a, audience: [x], tenant: { claim: org, allow: [acme] } }\n  \
                   - { issuer: https://b, audience: [x] }\n";
/// One issuer.
const ONE: &str =
    "audit: { signing_key: '${env:SEED}' }\nidentity:\n  jwt: [{ issuer: https://a, audience: [x] }]\n";

fn names(names: &[Arc<str>]) -> Vec<&str> {
    names.iter().map(|name| &**name).collect()
}

#[test]
fn everything_that_is_written_arrives() {
    let config = warned(
        &format!(
            "{TWO}{}",
            r#"
access: write
servers: { orders: { module: m } }
roles:
  analyst: { allow: ["orders__*"], deny: ["*secret*"], scopes: [orders:read], when: "true", description: Looks. }
  deployer: { allow: ["*"], access: destructive }
bindings:
  - { role: analyst, groups: [analysts], users: [ann@example.com], tenant: acme, issuer: https://a }
  - { roles: [analyst, deployer, analyst], tenant: acme }
views:
  v: { roles: [deployer] }
"#
        ),
        &[],
    );
    assert_eq!(config.access, Access::Write);
    let [analyst, deployer] = &config.roles[..] else {
        panic!()
    };
    assert_eq!(
        (&*analyst.rule.name, analyst.rule.access),
        ("analyst", Access::Read)
    );
    assert_eq!(
        (analyst.rule.allow[0].as_str(), analyst.rule.deny[0].as_str()),
        ("orders__*", "*secret*")
    );
    assert_eq!(names(&analyst.rule.scopes), ["orders:read"]);
    assert_eq!(analyst.rule.when.as_ref().unwrap().as_str(), "true");
    assert_eq!(analyst.description.as_deref(), Some("Looks."));
    assert_eq!(
        (deployer.rule.access, deployer.rule.when.is_none()),
        (Access::Destructive, true)
    );
    let [first, second] = &config.bindings[..] else {
        panic!()
    };
    assert_eq!(
        (names(&first.users), names(&first.groups)),
        (vec!["ann@example.com"], vec!["analysts"])
    );
    assert_eq!(
        (first.tenant.as_deref(), first.issuer.as_deref()),
        (Some("acme"), Some("https://a"))
    );
    assert_eq!(names(&second.roles), ["analyst", "deployer"]);
    assert_eq!((second.issuer.as_deref(), second.users.len()), (None, 0));
    assert_eq!(names(config.views[0].rules.roles.as_ref().unwrap()), ["deployer"]);
    Rules::compile(config.rule_settings()).unwrap();
}

#[test]
fn the_only_issuer_goes_without_saying() {
    let config = good(&format!(
        "{ONE}roles: {{ r: {{ allow: ['*'] }} }}\nbindings: [{{ role: r, groups: [g] }}]"
    ));
    assert_eq!(config.bindings[0].issuer.as_deref(), Some("https://a"));
    Rules::compile(config.rule_settings()).unwrap();
}

/// The gate's own issuers are not in the configuration.
#[test]
fn keys_and_the_local_caller_may_be_bound() {
    let config = good(&format!(
        "{KEYS}roles: {{ r: {{ allow: ['*'] }} }}\nbindings:\n- {{ role: r, issuer: 'gatepost:key', users: [abc] }}\n\
         - {{ role: r, issuer: 'gatepost:local' }}\n- {{ role: r, tenant: any }}"
    ));
    assert_eq!(config.bindings[1].issuer.as_deref(), Some("gatepost:local"));
    Rules::compile(config.rule_settings()).unwrap();
}

#[test]
fn bindings_that_bind_nobody_or_everybody() {
    check(
        &format!(
            "{TWO}{}",
            r#"
roles: { analyst: { allow: ["*"] } }
bindings:
  - { role: analyst }
  - { groups: [g], issuer: https://a }
  - { role: analyst, roles: [analyst], issuer: https://a }
  - { role: analyst, users: [] , issuer: https://a }
  - { role: analyst, users: ["*@example.com"], issuer: https://a }
"#
        ),
        &[
            "line 9: bindings[0]: says neither `users`, `groups`, `tenant` nor `issuer`; add at least one of `users`, \
             `groups`, `tenant` and `issuer`",
            "line 10: bindings[1]: says neither `role` nor `roles`; keep exactly one of `role` and `roles`",
            "line 11: bindings[2]: says `role` and `roles` at once; keep exactly one of `role` and `roles`",
            "line 12: bindings[3].users: is an empty list; write at least one, or remove the key",
            "line 13: bindings[4].users[0]: holds `*`, which stands for nothing else here; write each name out",
        ],
    );
}

/// What only a whole and right list of bindings shows.
#[test]
fn bindings_to_those_who_do_not_exist() {
    check(
        &format!(
            "{TWO}{}",
            r#"
roles: { analyst: { allow: ["*"] } }
bindings:
  - { role: analist, groups: [g], issuer: https://a }
  - { role: admin, groups: [g], issuer: https://a }
  - { role: analyst, groups: [g] }
  - { role: analyst, users: [u], issuer: https://a/ }
  - { role: analyst, users: [u], issuer: nobody }
  - { role: analyst, tenant: acmee, issuer: https://a }
  - { role: analyst, tenant: acme, issuer: https://b }
  - { role: analyst, tenant: globex }
  - { role: analyst, groups: [g], issuer: "gatepost:key" }
views:
  v: { roles: [analysts] }
"#
        ),
        &[
            "line 9: bindings[0].role: there is no role `analist`; did you mean `analyst`?",
            "line 10: bindings[1].role: there is no role `admin`; add it to `roles`",
            "line 11: bindings[2]: names people or groups without `issuer`, and each of the 2 issuers has its own; add the \
             `issuer` that is meant",
            "line 12: bindings[3].issuer: is the issuer of none of `identity.jwt`; did you mean `https://a`?",
            "line 13: bindings[4].issuer: is the issuer of none of `identity.jwt`; write the `issuer` of one of \
             `identity.jwt`, or `gatepost:key` and `gatepost:local`",
            "line 14: bindings[5].tenant: there is no tenant `acmee`; did you mean `acme`?",
            "line 15: bindings[6].tenant: binds nobody: no issuer that could speak for them names tenants; add `tenant: { \
             claim: …, allow: […] }` to the issuer in `identity.jwt`",
            "line 16: bindings[7].tenant: there is no tenant `globex`; add it to `allow` of the issuer's `tenant` in \
             `identity.jwt`",
            "line 17: bindings[8].groups: holds nobody: `gatepost:key` names no groups; remove it",
            "line 19: views.v.roles: there is no role `analysts`; did you mean `analyst`?",
        ],
    );
    check(
        &format!("{KEYS}roles: {{ r: {{ allow: ['*'] }} }}\nbindings: [{{ role: r, users: [ann] }}]"),
        &[
            "line 4: bindings[0]: names people or groups, and `identity.jwt` has no issuer that could; add the issuer; a \
             key's roles are given with `gatepost keys create --role`",
        ],
    );
}

#[test]
fn roles_that_cannot_be() {
    check(
        &format!(
            "{KEYS}{}",
            r#"roles:
  "two words": { allow: ["*"] }
  a: { allow: "*", access: all, scopes: ["a b"], whne: "true" }
  c: { when: [] }
views:
  v: { roles: [] }
"#
        ),
        &[
            "line 4: roles.two words: the name is no usable name of a role; use 1 to 64 letters, digits, `.`, `_`, `:` and \
             `-`, and begin with a letter or digit",
            "line 5: roles.a.allow: expected a list, found a text; write it like `[a, b]`",
            "line 5: roles.a.access: `all` is not known here; write one of `read`, `write` and `destructive`",
            "line 5: roles.a.scopes[0]: `a b` is no scope; write one scope, without spaces, quotes and backslashes; several \
             are a list",
            "line 5: roles.a.whne: unknown key; did you mean `when`?",
            "line 6: roles.c.when: expected an expression in CEL, found a list; write it like `'args.env != \
             \"production\"'`",
            "line 8: views.v.roles: is an empty list; write at least one, or remove the key",
        ],
    );
    // The policy's own words follow the place.
    let problems = parse(&format!("{KEYS}roles:\n  b:\n    when: 'args.'")).unwrap_err();
    let found: Vec<String> = problems.iter().map(ToString::to_string).collect();
    assert!(
        found.len() == 1 && found[0].starts_with("line 5: roles.b.when: at character "),
        "{found:?}"
    );
}

/// Roles without an identity would look like protection and be none.
#[test]
fn roles_need_an_identity() {
    check(
        "roles: { a: { allow: ['*'] } }\nbindings: [{ role: a, users: [ann] }]\nviews: { v: { roles: [a] } }",
        &[
            "line 1: roles.a: protects nothing without `identity`, since everybody is the caller `local`; add `identity`, \
             or remove it",
            "line 2: bindings[0]: protects nothing without `identity`, since everybody is the caller `local`; add \
             `identity`, or remove it",
            "line 3: views.v.roles: protects nothing without `identity`, since everybody is the caller `local`; add \
             `identity`, or remove it",
        ],
    );
}

#[test]
fn roles_that_nobody_has_or_that_do_nothing_are_told_so() {
    warned(
        &format!(
            "{ONE}roles: {{ r: {{ allow: ['*'] }}, s: {{ allow: ['*'] }} }}\nbindings: [{{ role: r, groups: [g] }}]"
        ),
        &["line 4: roles.s: nobody has it; add it to `bindings`, or remove it"],
    );
    // A key may be made for it.
    warned(&format!("{KEYS}roles: {{ s: {{ allow: ['*'] }} }}"), &[]);
    warned(&format!("{KEYS}roles: {{ s: {{ deny: ['*'] }} }}"), &[]);
    warned(
        &format!("{KEYS}roles: {{ s: {{ access: write }} }}"),
        &[
            "line 3: roles.s: allows nothing and forbids nothing; add `allow: [\"server__*\"]`, or remove the role",
        ],
    );
}
