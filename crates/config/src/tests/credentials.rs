//! What the gate presents to servers.

use super::*;

#[test]
fn everything_that_is_written_arrives() {
    let config = warned(
        r#"
servers:
  crm:
    url: https://crm.internal/mcp
    headers: { X-Team: a }
    credentials:
      - { pass_through: { audience: "https://CRM.internal:443" } }
      - { principal: pat }
      - client_credentials:
          token_url: https://id.example.com/token
          client_id: gate
          client_secret: "${env:TOKEN}"
          scopes: [read, write]
          audience: crm
          resource: https://crm.internal/mcp
  header: { url: "https://h/", credentials: [{ header: { X-API-Key: "${env:TOKEN}", X-API-Id: 7 } }] }
  bearer: { url: "https://h/", credentials: [{ bearer: "${env:TOKEN}" }] }
  basic: { url: "https://h/", credentials: [{ basic: { username: gate, password: "${env:TOKEN}" } }] }
  none: { url: "https://h/" }
"#,
        &[
            "line 7: servers.crm.credentials: passes on callers' tokens, and without `identity.jwt` nobody has one; add the \
             issuer to `identity.jwt`, or remove `pass_through`",
        ],
    );
    let [
        Credential::PassThrough { audience },
        Credential::Principal,
        Credential::ClientCredentials(client),
    ] = &config.servers[0].credentials[..]
    else {
        panic!()
    };
    assert_eq!(audience, "https://CRM.internal:443");
    assert_eq!(client.token_url.to_string(), "https://id.example.com/token");
    assert_eq!(
        (client.client_id.expose(), client.client_secret.expose()),
        ("gate", "hunter2-of-the-environment")
    );
    assert_eq!(client.scopes, ["read", "write"]);
    assert_eq!(
        (client.audience.as_deref(), client.resource.as_deref()),
        (Some("crm"), Some("https://crm.internal/mcp"))
    );
    let [Credential::Header(headers)] = &config.servers[1].credentials[..] else {
        panic!()
    };
    assert_eq!((headers[0].0.as_str(), headers[1].1.expose()), ("x-api-key", "7"));
    let [Credential::Bearer(token)] = &config.servers[2].credentials[..] else {
        panic!()
    };
    assert_eq!(token.expose(), "hunter2-of-the-environment");
    let [Credential::Basic { username, password }] = &config.servers[3].credentials[..] else {
        panic!()
    };
    assert_eq!(
        (username.expose(), password.expose()),
        ("gate", "hunter2-of-the-environment")
    );
    assert!(config.servers[4].credentials.is_empty());
    let printed = format!("{config:?}");
    assert!(!printed.contains("hunter2"), "{printed}");
}

#[test]
fn credentials_that_would_go_astray() {
    check(
        r#"
servers:
  command: { command: x, credentials: [{ principal: pat }] }
  kinds: { url: "https://h/", credentials: [{}, { principal: pat, bearer: x }, { principal: password }, { token: x }] }
  plain: { url: "https://h/", credentials: [{ client_credentials: { token_url: "http://id/token", client_id: a, client_secret: b } }] }
  missing: { url: "https://h/", credentials: [{ client_credentials: { token_url: "https://id/token" } }] }
  scopes: { url: "https://h/", credentials: [{ client_credentials: { token_url: "https://i/", client_id: a, client_secret: b, scopes: ["a b"] } }] }
"#,
        &[
            "line 3: servers.command.credentials: belongs to a server with `url`, and this one has `command`; remove it",
            "line 4: servers.kinds.credentials[0]: says neither `pass_through`, `principal`, `client_credentials`, \
             `header`, `bearer` nor `basic`; keep exactly one of `pass_through`, `principal`, `client_credentials`, \
             `header`, `bearer` and `basic`",
            "line 4: servers.kinds.credentials[1]: says `principal` and `bearer` at once; keep exactly one of \
             `pass_through`, `principal`, `client_credentials`, `header`, `bearer` and `basic`",
            "line 4: servers.kinds.credentials[2].principal: `password` is not known here; write one of `pat`",
            "line 4: servers.kinds.credentials[3].token: unknown key; the keys here are `pass_through`, `principal`, \
             `client_credentials`, `header`, `bearer` and `basic`",
            "line 4: servers.kinds.credentials[3]: says neither `pass_through`, `principal`, `client_credentials`, \
             `header`, `bearer` nor `basic`; keep exactly one of `pass_through`, `principal`, `client_credentials`, \
             `header`, `bearer` and `basic`",
            "line 5: servers.plain.credentials[0].client_credentials.token_url: is plain http to another machine, where \
             anybody on the way could answer; write an `https` URL",
            "line 6: servers.missing.credentials[0].client_credentials.client_id: is missing; add it",
            "line 6: servers.missing.credentials[0].client_credentials.client_secret: is missing; add it",
            "line 7: servers.scopes.credentials[0].client_credentials.scopes[0]: `a b` is no scope; write one scope, \
             without spaces, quotes and backslashes; several are a list",
        ],
    );
    check(
        r#"
servers:
  away: { url: "https://crm.internal/mcp", credentials: [{ pass_through: { audience: "https://crm.example.com" } }] }
  port: { url: "https://crm.internal/mcp", credentials: [{ pass_through: { audience: "https://crm.internal:8443" } }] }
  word: { url: "https://crm.internal/mcp", credentials: [{ pass_through: { audience: crm } }] }
  after: { url: "https://h/", credentials: [{ bearer: x }, { principal: pat }] }
  twice: { url: "https://h/", headers: { authorization: x }, credentials: [{ principal: pat }] }
  key: { url: "https://h/", headers: { X-Key: x }, credentials: [{ header: { x-key: y } }] }
  own: { url: "https://h/", credentials: [{ header: { Host: y } }] }
  empty: { url: "https://h/", credentials: [{ header: {} }] }
  token: { url: "https://h/", credentials: [{ bearer: "Bearer hunter3" }] }
  colon: { url: "https://h/", credentials: [{ basic: { username: "a:b", password: "hunter3\n" } }] }
  client: { url: "https://h/", credentials: [{ client_credentials: { token_url: "https://i/", client_id: "", client_secret: "" } }] }
"#,
        &[
            "line 3: servers.away.credentials[0].pass_through.audience: has another origin than the server's `url`, and a \
             token must not go elsewhere than it is meant for; write the server's own URL, or as much of it as its tokens \
             name",
            "line 4: servers.port.credentials[0].pass_through.audience: has another origin than the server's `url`, and a \
             token must not go elsewhere than it is meant for; write the server's own URL, or as much of it as its tokens \
             name",
            "line 5: servers.word.credentials[0].pass_through.audience: is no absolute http or https URL; write it like \
             `https://host/mcp`",
            "line 6: servers.after.credentials[1]: is never tried, since `bearer` before it is always there; move it up, or \
             remove it",
            "line 7: servers.twice.credentials[0]: writes the header `authorization`, which `headers` writes too; remove \
             one of the two",
            "line 8: servers.key.credentials[0]: writes the header `x-key`, which `headers` writes too; remove one of the \
             two",
            "line 9: servers.own.credentials[0].header.Host: is a header that the gate writes itself; remove it",
            "line 10: servers.empty.credentials[0].header: is empty; write a header, such as `{ X-API-Key: \
             \"${file:/path}\" }`",
            "line 11: servers.token.credentials[0].bearer: is no token; write the token alone, without `Bearer`, spaces and \
             line breaks",
            "line 12: servers.colon.credentials[0].basic.username: is no user; write a name without colon and control \
             characters",
            "line 12: servers.colon.credentials[0].basic.password: holds a control character; remove it",
            "line 13: servers.client.credentials[0].client_credentials.client_id: is empty; write it",
            "line 13: servers.client.credentials[0].client_credentials.client_secret: is empty; write it",
        ],
    );
}
