//! Generated configurations, callers and calls, before servers that are always the same.

use std::{
    fmt,
    sync::{Arc, Mutex},
};

use gatepost_policy::{Facts, KEY_ISSUER, Method, Principal};
use proptest::{collection::vec, option, prelude::*, sample::select, sample::subsequence};
use serde_json::{Map, Value, json};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, DuplexStream};

use crate::{Module, Serving};

const SERVERS: [&str; 3] = ["crm", "wiki", "c"];
const VIEWS: [&str; 2] = ["v0", "v1"];
pub(super) const ENDPOINTS: [&str; 7] = ["", "crm", "wiki", "c", "v0", "v1", "nowhere"];
const ISSUERS: [&str; 2] = ["https://a.example", "https://b.example"];
const TENANTS: [&str; 2] = ["acme", "globex"];
const ROLES: [&str; 4] = ["r0", "r1", "r2", "r3"];
const GROUPS: [&str; 2] = ["g1", "g2"];
const SCOPES: [&str; 3] = ["s1", "s2", "s3"];
const EMAIL: &str = "ann@a.example";
const ACCESS: [&str; 3] = ["read", "write", "destructive"];

/// What each server has: its own names and its tools' hints.
const TOOLS: [&[(&str, &str)]; 3] = [
    &[
        ("get_ticket", r#"{"readOnlyHint":true}"#),
        ("delete_ticket", "{}"),
        ("close", r#"{"destructiveHint":false}"#),
        ("ask", "{}"),
        ("wiki__ask", r#"{"readOnlyHint":true}"#),
    ],
    &[
        ("ask", "{}"),
        ("search", r#"{"readOnlyHint":true}"#),
        ("delete_page", r#"{"destructiveHint":true}"#),
    ],
    &[("ask", "{}")],
];
const PROMPTS: [&[&str]; 3] = [&["greet", "plan"], &["greet"], &[]];
const RESOURCES: [&[&str]; 3] = [&["note:1", "note:both"], &["note:both", "page:1"], &["odd:1"]];
const TEMPLATES: [&[&str]; 3] = [&["note:{id}"], &["page:{id}", "note:{name}"], &[]];
/// URIs that no server lists, of which some match a template.
const UNLISTED: [&str; 4] = ["note:7", "page:7", "page:a/b", "gone:1"];
const RENAMES: [(&str, &str); 5] = [
    ("crm__get_ticket", "get"),
    ("wiki__ask", "question"),
    ("crm__ask", "wiki_ask"),
    ("wiki__greet", "hello"),
    ("crm__wiki__ask", "ask"),
];
const PATTERNS: [&str; 18] = [
    "*",
    "*",
    "crm__*",
    "wiki__*",
    "c__*",
    "c*__*",
    "*ask*",
    "*ticket",
    "crm__get_ticket",
    "?iki__*",
    "*note:*",
    "crm__note:*",
    "wiki__page:*",
    "*greet",
    "*delete*",
    "crm__wiki__*",
    "*both",
    "nothing",
];
const CONDITIONS: [&str; 20] = [
    "args.env != 'production'",
    "args.n > 3",
    "has(args.n)",
    "args.gone.deep == 1",
    "args.env == 'production' || 'g1' in principal.groups",
    "principal.tenant == 'acme'",
    "'g1' in principal.groups",
    "principal.subject == 'ann'",
    "principal.email == 'ann@a.example'",
    "principal.name == 'Ann'",
    "'s1' in principal.scopes",
    "'r1' in principal.roles",
    "principal.issuer == 'https://a.example'",
    "tool.effect == 'read'",
    "tool.kind == 'call' && args.n > 3",
    "tool.server == 'crm' || args.n == 1",
    "now > timestamp('2020-01-01T00:00:00Z')",
    "now < timestamp('2020-01-01T00:00:00Z')",
    "false",
    "args.n == 1 || true",
];
const ARGUMENTS: [&str; 7] = [
    "",
    "{}",
    r#"{"env":"production"}"#,
    r#"{"env":"staging","n":5}"#,
    r#"{"n":1}"#,
    r#"{"n":"one"}"#,
    r#"{"n":99999999999999999999,"gone":{"deep":1}}"#,
];

/// One configuration, who comes, and what they want.
pub(super) struct World {
    pub(super) yaml: String,
    pub(super) callers: Vec<Option<Facts>>,
    pub(super) calls: Vec<Call>,
}

/// What somebody wants.
#[derive(Clone, Debug)]
pub(super) struct Call {
    /// A place among the callers.
    pub(super) caller: usize,
    pub(super) endpoint: &'static str,
    pub(super) kind: Kind,
    pub(super) name: String,
    pub(super) arguments: &'static str,
    /// Asked in a session of 2025-11-25.
    pub(super) legacy: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Kind {
    Tool,
    Prompt,
    Resource,
}

impl Kind {
    pub(super) const ALL: [Self; 3] = [Self::Tool, Self::Prompt, Self::Resource];

    /// Method, parameter, list, member of its result, member of an item.
    pub(super) fn words(self) -> [&'static str; 5] {
        match self {
            Self::Tool => ["tools/call", "name", "tools/list", "tools", "name"],
            Self::Prompt => ["prompts/get", "name", "prompts/list", "prompts", "name"],
            Self::Resource => ["resources/read", "uri", "resources/list", "resources", "uri"],
        }
    }
}

/// As it is printed when a property fails: enough to be tried by hand.
impl fmt::Debug for World {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "\n{}", self.yaml)?;
        for (at, caller) in self.callers.iter().enumerate() {
            writeln!(f, "caller {at}: {caller:?}")?;
        }
        self.calls.iter().try_for_each(|call| writeln!(f, "{call:?}"))
    }
}

/// What a call is made of, before it is known what the endpoint calls things.
#[derive(Clone, Debug)]
struct Wish {
    caller: usize,
    endpoint: &'static str,
    kind: Kind,
    server: usize,
    item: prop::sample::Index,
    /// Said instead of the name.
    odd: Option<&'static str>,
    arguments: &'static str,
    legacy: bool,
}

/// `calls` for every configuration.
pub(super) fn worlds(calls: usize) -> impl Strategy<Value = World> {
    let settings = (
        prop_oneof![1 => Just(false), 9 => Just(true)],
        access(),
        endpoints(),
        vec(server(), 3),
        vec(role(), 4),
        vec(binding(), 0..6),
        vec(view(), 2),
    );
    (settings, vec(caller(), 1..5), vec(wish(), calls)).prop_map(|(settings, callers, wishes)| {
        let (identity, access, endpoints, servers, roles, bindings, views) = settings;
        let named = |names: &[&str], values: Vec<Value>| -> Map<String, Value> {
            names.iter().map(|name| (*name).to_owned()).zip(values).collect()
        };
        let mut config = json!({
            "access": access,
            "endpoints": endpoints,
            "servers": named(&SERVERS, servers),
            "views": named(&VIEWS, views),
        });
        for name in SERVERS {
            config["servers"][name]["module"] = name.into();
        }
        if identity {
            let tenant = json!({ "claim": "org", "allow": TENANTS });
            let issuer = |issuer: &&str| {
                json!({
                    "issuer": issuer, "audience": ["gate"], "jwks_url": "https://a.example/jwks", "tenant": tenant,
                })
            };
            config["identity"] = json!({ "jwt": ISSUERS.iter().map(issuer).collect::<Vec<_>>() });
            config["roles"] = named(&ROLES, roles).into();
            config["bindings"] = bindings.into();
        } else {
            // Roles protect nothing then, and none may be configured.
            for name in VIEWS {
                let view = config["views"][name].as_object_mut();
                view.map(|view| view.remove("roles"));
            }
        }
        let calls = wishes
            .into_iter()
            .map(|wish| wish.call(&config, callers.len()))
            .collect();
        World {
            yaml: format!("{config:#}"),
            callers,
            calls,
        }
    })
}

impl Wish {
    fn call(self, config: &Value, callers: usize) -> Call {
        let names = names(self.kind, self.server);
        let own = (!names.is_empty()).then(|| names[self.item.index(names.len())]);
        let name = match (self.odd, own) {
            (Some(odd), _) => odd.to_owned(),
            (None, None) => "nothing".to_owned(),
            (None, Some(own)) if self.kind == Kind::Resource => own.to_owned(),
            (None, Some(own)) => public(config, self.endpoint, SERVERS[self.server], own),
        };
        Call {
            caller: self.caller % callers,
            endpoint: self.endpoint,
            kind: self.kind,
            name,
            arguments: self.arguments,
            legacy: self.legacy,
        }
    }
}

fn names(kind: Kind, server: usize) -> Vec<&'static str> {
    match kind {
        Kind::Tool => TOOLS[server].iter().map(|(name, _)| *name).collect(),
        Kind::Prompt => PROMPTS[server].to_vec(),
        Kind::Resource => RESOURCES[server].to_vec(),
    }
}

/// What an endpoint calls a tool or prompt.
fn public(config: &Value, endpoint: &str, server: &str, own: &str) -> String {
    if SERVERS.contains(&endpoint) {
        return own.to_owned();
    }
    let prefixed = format!("{server}__{own}");
    match config["views"][endpoint]["rename"][&prefixed].as_str() {
        Some(renamed) => renamed.to_owned(),
        None => prefixed,
    }
}

/// Every name that anything has, at any endpoint.
pub(super) fn every_name(kind: Kind) -> Vec<String> {
    let mut all: Vec<String> = Vec::new();
    for (at, server) in SERVERS.iter().enumerate() {
        for own in names(kind, at) {
            all.push(own.to_owned());
            if kind != Kind::Resource {
                all.push(format!("{server}__{own}"));
            }
        }
    }
    match kind {
        Kind::Resource => all.extend(UNLISTED.map(str::to_owned)),
        _ => all.extend(RENAMES.iter().map(|(_, to)| (*to).to_owned())),
    }
    all.sort();
    all.dedup();
    all
}

/// Whether a server lists a resource.
pub(super) fn lists(server: &str, uri: &str) -> bool {
    let at = SERVERS.iter().position(|name| *name == server);
    at.is_some_and(|at| RESOURCES[at].contains(&uri))
}

fn access() -> impl Strategy<Value = &'static str> {
    prop_oneof![1 => select(&ACCESS[..]), 4 => Just("destructive")]
}

fn endpoints() -> impl Strategy<Value = Value> {
    let mostly = || prop_oneof![1 => Just(false), 19 => Just(true)];
    (mostly(), mostly()).prop_map(|(all, servers)| json!({ "all": all, "servers": servers }))
}

fn server() -> impl Strategy<Value = Value> {
    let effects = vec(
        (select(&["*", "delete*", "ask", "get*"][..]), select(&ACCESS[..])),
        0..3,
    );
    (effects, any::<bool>()).prop_map(|(effects, trusted)| {
        let effects: Map<String, Value> = effects
            .into_iter()
            .map(|(pattern, effect)| (pattern.to_owned(), effect.into()))
            .collect();
        json!({ "effects": effects, "trust_annotations": trusted })
    })
}

fn role() -> impl Strategy<Value = Value> {
    let deny = prop_oneof![5 => Just(Vec::new()), 1 => vec(select(&PATTERNS[2..]), 1..3)];
    let scopes = prop_oneof![2 => Just(Vec::new()), 1 => subsequence(SCOPES.to_vec(), 1..=2)];
    let allow = prop_oneof![1 => Just(vec!["*"]), 2 => vec(select(&PATTERNS[..]), 0..5)];
    let when = option::weighted(0.6, select(&CONDITIONS[..]));
    (allow, deny, access(), scopes, when).prop_map(|(allow, deny, access, scopes, when)| {
        let mut role = json!({ "allow": allow, "deny": deny, "access": access, "scopes": scopes });
        if let Some(when) = when {
            role["when"] = when.into();
        }
        role
    })
}

fn some_roles() -> impl Strategy<Value = Vec<&'static str>> {
    subsequence(ROLES.to_vec(), 1..=2)
}

fn binding() -> impl Strategy<Value = Value> {
    let users = option::weighted(0.3, subsequence(vec!["ann", "bob", EMAIL], 1..=2));
    let groups = option::weighted(0.3, subsequence(GROUPS.to_vec(), 1..=2));
    let tenant = option::weighted(0.3, select(&TENANTS[..]));
    (some_roles(), users, groups, tenant, select(&ISSUERS[..])).prop_map(
        |(roles, users, groups, tenant, issuer)| {
            let mut binding = json!({ "roles": roles, "issuer": issuer });
            let parts = [
                ("users", users.map(Value::from)),
                ("groups", groups.map(Value::from)),
                ("tenant", tenant.map(Value::from)),
            ];
            for (key, value) in parts {
                if let Some(value) = value {
                    binding[key] = value;
                }
            }
            binding
        },
    )
}

fn view() -> impl Strategy<Value = Value> {
    let include = option::weighted(0.3, vec(select(&PATTERNS[..]), 0..4));
    let exclude = prop_oneof![3 => Just(Vec::new()), 1 => vec(select(&PATTERNS[2..]), 1..3)];
    let roles = option::weighted(0.25, some_roles());
    let rename = subsequence(RENAMES.to_vec(), 0..=3);
    (include, exclude, access(), roles, rename).prop_map(|(include, exclude, access, roles, rename)| {
        let rename: Map<String, Value> = rename
            .into_iter()
            .map(|(from, to)| (from.to_owned(), to.into()))
            .collect();
        let mut view = json!({ "exclude": exclude, "access": access, "rename": rename });
        if let Some(include) = include {
            view["include"] = include.into();
        }
        if let Some(roles) = roles {
            view["roles"] = roles.into();
        }
        view
    })
}

/// `None`: this process's own side.
fn caller() -> impl Strategy<Value = Option<Facts>> {
    let facts = (
        select(&[ISSUERS[0], ISSUERS[0], ISSUERS[1], KEY_ISSUER][..]),
        select(&["ann", "bob"][..]),
        option::weighted(0.5, select(&TENANTS[..])),
        subsequence(GROUPS.to_vec(), 0..=2),
        option::weighted(0.7, subsequence(SCOPES.to_vec(), 0..=3)),
        option::weighted(0.3, Just(EMAIL)),
        subsequence(vec!["r0", "r1", "r2", "r3", "gone"], 0..=4),
        option::weighted(0.3, Just("Ann")),
    );
    let facts = facts.prop_map(|(issuer, subject, tenant, groups, scopes, email, roles, name)| {
        let principal = Principal::new(issuer, subject);
        let shared = |names: Vec<&str>| -> Vec<Arc<str>> { names.into_iter().map(Arc::from).collect() };
        Facts {
            principal: match tenant {
                Some(tenant) => principal.with_tenant(tenant),
                None => principal,
            },
            groups: shared(groups),
            scopes: scopes.map(shared),
            email: email.map(Arc::from),
            roles: shared(roles),
            name: name.map(Arc::from),
            method: Method::Jwt,
        }
    });
    prop_oneof![1 => Just(None), 15 => facts.prop_map(Some)]
}

fn wish() -> impl Strategy<Value = Wish> {
    let kind = prop_oneof![3 => Just(Kind::Tool), 1 => Just(Kind::Prompt), 2 => Just(Kind::Resource)];
    let endpoint = prop_oneof![19 => select(&ENDPOINTS[..6]), 1 => Just(ENDPOINTS[6])];
    let odd = select(
        &[
            "gone",
            "crm__gone",
            "crm__ask",
            "ask",
            "question",
            "wiki__ask ",
            "CRM__ask",
            "\u{1f511}\"\\\u{1}",
            "note:7",
            "page:7",
            "page:a/b",
            "gone:1",
        ][..],
    );
    (
        0..8_usize,
        endpoint,
        kind,
        0..3_usize,
        any::<prop::sample::Index>(),
        option::weighted(0.2, odd),
        select(&ARGUMENTS[..]),
        prop::bool::weighted(0.3),
    )
        .prop_map(
            |(caller, endpoint, kind, server, item, odd, arguments, legacy)| Wish {
                caller,
                endpoint,
                kind,
                server,
                item,
                odd,
                arguments,
                legacy,
            },
        )
}

/// What reached a server: which, by which method, and which thing of it.
pub(super) type Heard = Arc<Mutex<Vec<(String, String, String)>>>;

/// One of the servers.
pub(super) struct Shop {
    pub(super) name: String,
    pub(super) heard: Heard,
}

impl Module for Shop {
    fn serve(&self, io: DuplexStream) -> Serving {
        let (name, heard) = (self.name.clone(), Arc::clone(&self.heard));
        Box::pin(async move {
            let at = SERVERS.iter().position(|server| *server == name).unwrap();
            let (from, mut to) = tokio::io::split(io);
            let mut lines = BufReader::new(from).lines();
            while let Ok(Some(line)) = lines.next_line().await {
                // The gate's numbers may be larger than any that is read as one.
                let Ok(message) = serde_json::from_str::<Value>(&line.replace("99999999999999999999", "0"))
                else {
                    continue;
                };
                let method = message["method"].as_str().unwrap_or_default();
                if message["id"].is_null() {
                    continue;
                }
                let params = &message["params"];
                if let Some(thing) = params["name"].as_str().or(params["uri"].as_str()) {
                    let line = (name.clone(), method.to_owned(), thing.to_owned());
                    heard.lock().unwrap().push(line);
                }
                let mut answer = json!({ "jsonrpc": "2.0", "id": message["id"] });
                match result(at, method) {
                    Some(result) => answer["result"] = result,
                    None => answer["error"] = json!({ "code": -32601, "message": "?" }),
                }
                if to.write_all(format!("{answer}\n").as_bytes()).await.is_err() {
                    return;
                }
            }
        })
    }
}

fn result(at: usize, method: &str) -> Option<Value> {
    let named = |names: &[&str]| -> Vec<Value> { names.iter().map(|name| json!({ "name": name })).collect() };
    Some(match method {
        "initialize" => json!({
            "protocolVersion": "2025-11-25",
            "capabilities": { "tools": {}, "prompts": {}, "resources": {} },
            "serverInfo": { "name": SERVERS[at], "version": "1" },
        }),
        "tools/list" => {
            let tool = |(name, hints): &(&str, &str)| {
                let hints: Value = serde_json::from_str(hints).unwrap();
                json!({ "name": name, "inputSchema": { "type": "object" }, "annotations": hints })
            };
            json!({ "tools": TOOLS[at].iter().map(tool).collect::<Vec<_>>() })
        }
        "prompts/list" => json!({ "prompts": named(PROMPTS[at]) }),
        "resources/list" => {
            let resource = |uri: &&str| json!({ "uri": uri, "name": uri });
            json!({ "resources": RESOURCES[at].iter().map(resource).collect::<Vec<_>>() })
        }
        "resources/templates/list" => {
            let template = |text: &&str| json!({ "uriTemplate": text, "name": text });
            json!({ "resourceTemplates": TEMPLATES[at].iter().map(template).collect::<Vec<_>>() })
        }
        "tools/call" => json!({ "content": [{ "type": "text", "text": "done" }] }),
        "prompts/get" => json!({ "messages": [] }),
        "resources/read" => json!({ "contents": [] }),
        _ => return None,
    })
}
