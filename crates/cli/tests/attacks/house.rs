//! A gate with something to protect: two servers, two issuers, tenants, roles, views, API keys.

use std::net::{IpAddr, Ipv4Addr};

use gatepost_testkit::gate::{Answer, Client, Gate, Post, command_in};
use gatepost_testkit::odd::{Odd, OddServer};
use gatepost_testkit::tokens::{Signer, now, with};
use serde_json::{Value, json};

pub(crate) const GATEPOST: &str = env!("CARGO_BIN_EXE_gatepost");
/// As its clients know the gate: something in front of it ends TLS.
pub(crate) const GATE: &str = "https://gate.example.com";
/// Has tenants. Its tokens are for one endpoint each.
pub(crate) const ISSUER: &str = "https://id.example.com";
/// Has none. Its tokens are for `gate`, which is every endpoint.
pub(crate) const OTHER: &str = "https://other.example.com";
/// Where a page comes from that may use the gate.
pub(crate) const PAGE: &str = "https://app.example.com";
pub(crate) const MARK: &str = "must-not-arrive";

pub(crate) struct House {
    /// Speaks 2026-07-28.
    pub(crate) crm: OddServer,
    /// Speaks 2025-11-25.
    pub(crate) old: OddServer,
    pub(crate) gate: Gate,
    pub(crate) issuer: Signers,
    /// The key of [`OTHER`], called `other`.
    pub(crate) other: Signer,
    /// Of the role `all`, of no tenant.
    pub(crate) key: ApiKey,
    /// Of the role `reader`, of no tenant.
    pub(crate) reader_key: ApiKey,
}

/// What [`ISSUER`] signs with: `rsa` and `ec`.
pub(crate) struct Signers {
    pub(crate) rsa: Signer,
    pub(crate) ec: Signer,
}

#[derive(Debug, Clone)]
pub(crate) struct ApiKey {
    pub(crate) id: String,
    pub(crate) key: String,
}

const RULES: &str = r#"
roles:
  all: { allow: ["*"], access: destructive }
  reader:
    allow: ["crm__*", "old__*"]
    deny: ["*pid*", "*vendor/*", "*odd_prompt", "*odd:resource", "*odd:made/*"]
    access: destructive
  scoped: { allow: ["crm__echo", "crm__odd:resource"], access: destructive, scopes: ["orders:read", "orders:write"] }
  careful: { allow: ["crm__echo"], access: destructive, when: 'args.env != "production"' }
  searcher: { allow: ["crm__echo"], access: destructive, when: "args.all.exists(x, args.all.exists(y, x + y == 'needle'))" }
  acme: { allow: ["crm__echo", "old__echo"], access: destructive }
  globex: { allow: ["crm__is_error", "old__echo"], access: destructive }
bindings:
  - { role: all, groups: [staff], issuer: "https://id.example.com" }
  - { role: reader, groups: [readers], issuer: "https://id.example.com" }
  - { role: scoped, groups: [scoped], issuer: "https://id.example.com" }
  - { role: careful, groups: [careful], issuer: "https://id.example.com" }
  - { role: searcher, groups: [searchers], issuer: "https://id.example.com" }
  - { role: acme, tenant: acme, groups: [people], issuer: "https://id.example.com" }
  - { role: globex, tenant: globex, groups: [people], issuer: "https://id.example.com" }
  - { role: all, issuer: "https://other.example.com" }
views:
  staff: { include: ["crm__*"], rename: { crm__pid: ident }, roles: [all] }
  open: { include: ["crm__*", "old__*"], rename: { crm__pid: ident } }
"#;

impl House {
    pub(crate) async fn open() -> Self {
        Self::with(json!({}), "").await
    }

    /// With more servers, and more lines of configuration.
    pub(crate) async fn with(more_servers: Value, more: &str) -> Self {
        let crm = OddServer::start(Odd::modern()).await.unwrap();
        let old = OddServer::start(Odd::legacy()).await.unwrap();
        let issuer = Signers {
            rsa: Signer::rsa(),
            ec: Signer::p256(),
        };
        let other = Signer::p256();
        let servers = with(
            json!({ "crm": { "url": crm.url() }, "old": { "url": old.url() } }),
            more_servers,
        );
        let identity = json!({
            "api_keys": true,
            "jwt": [
                { "issuer": ISSUER, "jwks_file": "keys.json", "tenant": { "claim": "org", "allow": ["acme", "globex"] } },
                { "issuer": OTHER, "jwks_file": "other.json", "audience": ["gate"] },
            ],
        });
        let configuration = format!(
            "http: {{ public_url: '{GATE}', origins: ['{PAGE}'] }}\nidentity: {identity}\nservers: {servers}\n{RULES}\n{more}\n"
        );
        let folder = Gate::prepare(&configuration);
        let keys = json!({ "keys": [issuer.rsa.jwk("rsa"), issuer.ec.jwk("ec")] });
        std::fs::write(folder.path().join("keys.json"), keys.to_string()).unwrap();
        let keys = json!({ "keys": [other.jwk("other")] });
        std::fs::write(folder.path().join("other.json"), keys.to_string()).unwrap();
        let key = ApiKey::create(folder.path(), &["--role", "all"]).await;
        let reader_key = ApiKey::create(folder.path(), &["--role", "reader"]).await;
        let gate = Gate::start_in(GATEPOST, &configuration, folder).await;
        Self {
            crm,
            old,
            gate,
            issuer,
            other,
            key,
            reader_key,
        }
    }

    /// A good token for `/mcp…`.
    pub(crate) fn token(&self, path: &str, changes: Value) -> String {
        let claims = with(claims(path), changes);
        self.issuer.ec.token(&header("ES256", "ec"), &claims)
    }

    /// A good token of the other issuer, for every endpoint.
    pub(crate) fn other_token(&self, subject: &str) -> String {
        let claims = json!({ "iss": OTHER, "sub": subject, "aud": "gate", "exp": now() + 600 });
        self.other.token(&header("ES256", "other"), &claims)
    }

    /// A client of 2026-07-28 with a token of these claims.
    pub(crate) fn modern(&self, path: &str, changes: Value) -> Client {
        self.gate.modern(path).bearing(&self.token(path, changes))
    }

    /// A client of 2025-11-25 with such a token, after its handshake.
    pub(crate) async fn legacy(&self, path: &str, changes: Value) -> Client {
        self.modern(path, changes).greeting("2025-11-25", "{}").await
    }

    pub(crate) async fn send(&self, post: &Post) -> Answer {
        post.send(self.gate.address()).await.whole().await
    }

    /// Whether anything marked came through.
    #[track_caller]
    pub(crate) fn nothing_arrived(&self) {
        for received in self.crm.received().into_iter().chain(self.old.received()) {
            assert!(!format!("{received:?}").contains(MARK), "{received:?}");
        }
    }

    /// How many calls came through.
    pub(crate) fn calls(&self) -> usize {
        self.crm.all("tools/call").len() + self.old.all("tools/call").len()
    }
}

impl ApiKey {
    pub(crate) async fn create(folder: &std::path::Path, arguments: &[&str]) -> Self {
        let mut all = vec!["keys", "create", "--json"];
        all.extend(arguments);
        let said = command_in(GATEPOST.as_ref(), folder, &all).await;
        let made: Value = serde_json::from_str(&said).unwrap();
        let text = |name: &str| made[name].as_str().unwrap().to_owned();
        Self {
            id: text("id"),
            key: text("key"),
        }
    }
}

/// What a good token says, for the endpoint at `path`.
pub(crate) fn claims(path: &str) -> Value {
    json!({
        "iss": ISSUER,
        "sub": "ann",
        "aud": format!("{GATE}{path}"),
        "exp": now() + 600,
        "iat": now(),
        "org": "acme",
        "groups": ["staff"],
        "scope": "orders:read",
    })
}

pub(crate) fn header(algorithm: &str, kid: &str) -> Value {
    json!({ "alg": algorithm, "typ": "at+jwt", "kid": kid })
}

/// What somebody sees of an answer, but for what is different each time, with `@` for the name that they have asked for.
pub(crate) fn seen(answer: &Answer, name: &str) -> String {
    let mut headers: Vec<String> = answer
        .headers
        .iter()
        .filter(|(name, _)| !matches!(name.as_str(), "date" | "x-request-id" | "content-length"))
        .map(|(name, value)| format!("{name}: {}", value.to_str().unwrap()))
        .collect();
    headers.sort();
    let whole = format!("{}\n{}\n{}", answer.status, headers.join("\n"), answer.text());
    whole.replace(name, "@")
}

/// An address of this machine from which nobody else comes: each may be wrong twenty times.
pub(crate) fn address(number: usize) -> IpAddr {
    let [high, low] = u16::try_from(number).unwrap().to_be_bytes();
    Ipv4Addr::new(127, 1, high, low.max(1)).into()
}
