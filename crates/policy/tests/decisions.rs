//! Every decision that the files in `decisions/` pin: one file for each topic, with the rules, the callers, and what is
//! said of each action, word for word. Every difference is printed.

#![expect(
    clippy::expect_used,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test fails by panicking"
)]

use std::{collections::BTreeMap, fmt::Write, path::Path, sync::Arc};

use gatepost_policy::{
    Access, Action, Because, BindingSettings, Caller, Circumstances, Classified, Condition, Decision, Effect,
    Facts, Kind, Method, Pattern, Principal, RoleSettings, RuleSettings, Rules, Selection, UnixMillis,
    ViewRules, decide, explain,
};
use serde::Deserialize;

/// 2026-11-21T00:00:00Z, a Saturday.
const MIDNIGHT: i64 = 1_795_219_200_000;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Topic {
    #[serde(default)]
    gate: Gate,
    #[serde(default)]
    roles: Vec<Role>,
    #[serde(default)]
    bindings: Vec<Binding>,
    #[serde(default)]
    views: BTreeMap<String, View>,
    #[serde(default)]
    callers: BTreeMap<String, Who>,
    #[serde(default)]
    cases: Vec<Case>,
    /// Instead of cases: what is said of these rules.
    problem: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Gate {
    open: bool,
    access: String,
    issuers: Vec<String>,
}

impl Default for Gate {
    fn default() -> Self {
        Self {
            open: false,
            access: "destructive".to_owned(),
            issuers: vec!["https://id.example.com".to_owned()],
        }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Role {
    name: String,
    #[serde(default)]
    allow: Vec<String>,
    #[serde(default)]
    deny: Vec<String>,
    #[serde(default = "read")]
    access: String,
    #[serde(default)]
    scopes: Vec<String>,
    when: Option<String>,
}

fn read() -> String {
    "read".to_owned()
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Binding {
    roles: Vec<String>,
    #[serde(default)]
    users: Vec<String>,
    #[serde(default)]
    groups: Vec<String>,
    tenant: Option<String>,
    issuer: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct View {
    include: Option<Vec<String>>,
    #[serde(default)]
    exclude: Vec<String>,
    #[serde(default = "destructive")]
    access: String,
    roles: Option<Vec<String>>,
}

fn destructive() -> String {
    "destructive".to_owned()
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Who {
    issuer: Option<String>,
    #[serde(default)]
    subject: String,
    tenant: Option<String>,
    #[serde(default)]
    groups: Vec<String>,
    scopes: Option<Vec<String>>,
    email: Option<String>,
    #[serde(default)]
    roles: Vec<String>,
    #[serde(default)]
    local: bool,
    /// The roles it is bound to, for tests of bindings.
    has: Option<Vec<String>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Case {
    who: String,
    /// `call`, `read`, `subscribe`, `get` or `complete`.
    #[serde(default = "call")]
    does: String,
    /// `server/name`.
    on: String,
    /// Of a call: how it is classified, as `declared write`; else as reading.
    effect: Option<String>,
    view: Option<String>,
    /// The arguments of a call; without them the question is what a list shows.
    args: Option<String>,
    /// The hour of the call, UTC.
    #[serde(default = "noon")]
    hour: i64,
    says: String,
    /// The trail, where the topic is about it.
    trail: Option<String>,
}

fn call() -> String {
    "call".to_owned()
}

fn noon() -> i64 {
    12
}

fn shared(names: Vec<String>) -> Vec<Arc<str>> {
    names.into_iter().map(Into::into).collect()
}

fn patterns(texts: &[String]) -> Vec<Pattern> {
    texts.iter().map(|text| Pattern::new(text).unwrap()).collect()
}

fn access(word: &str) -> Access {
    word.parse().unwrap_or_else(|_| panic!("`{word}` is no access"))
}

impl From<Role> for RoleSettings {
    fn from(role: Role) -> Self {
        let when = role.when.map(|text| {
            let condition = Condition::new(&text);
            condition.unwrap_or_else(|error| panic!("{text}: {error}"))
        });
        Self {
            name: role.name.into(),
            allow: patterns(&role.allow),
            deny: patterns(&role.deny),
            access: access(&role.access),
            scopes: shared(role.scopes),
            when,
        }
    }
}

impl From<Binding> for BindingSettings {
    fn from(binding: Binding) -> Self {
        Self {
            roles: shared(binding.roles),
            users: shared(binding.users),
            groups: shared(binding.groups),
            tenant: binding.tenant.map(Into::into),
            issuer: binding.issuer.map(Into::into),
        }
    }
}

impl From<View> for ViewRules {
    fn from(view: View) -> Self {
        Self {
            selection: Selection {
                include: view.include.as_deref().map(patterns),
                exclude: patterns(&view.exclude),
            },
            access: access(&view.access),
            roles: view.roles.map(shared),
        }
    }
}

fn facts(who: &Who) -> Facts {
    if who.local {
        return Facts::local();
    }
    let issuer = who.issuer.as_deref().unwrap_or("https://id.example.com");
    let principal = Principal::new(issuer, &*who.subject);
    let principal = match &who.tenant {
        Some(tenant) => principal.with_tenant(&**tenant),
        None => principal,
    };
    let method = match issuer {
        gatepost_policy::KEY_ISSUER => Method::ApiKey {
            id: (*who.subject).into(),
        },
        _ => Method::Jwt,
    };
    Facts {
        groups: shared(who.groups.clone()),
        scopes: who.scopes.clone().map(shared),
        email: who.email.as_deref().map(Into::into),
        roles: shared(who.roles.clone()),
        ..Facts::of(principal, method)
    }
}

fn classified(effect: Option<&str>) -> Classified {
    let Some(effect) = effect else {
        return Classified::BY_METHOD;
    };
    let (because, effect) = effect.split_once(' ').expect("why and what");
    Classified {
        effect: effect.parse::<Effect>().unwrap(),
        because: match because {
            "declared" => Because::Declared,
            "annotated" => Because::Annotated,
            "unknown" => Because::Unknown,
            other => panic!("`{other}` is no reason for an effect"),
        },
    }
}

fn kind(word: &str) -> Kind {
    let found = Kind::ALL.into_iter().find(|kind| kind.as_str() == word);
    found.unwrap_or_else(|| panic!("`{word}` is no use of anything"))
}

/// Tells every difference of one topic.
fn differences(name: &str, topic: Topic, told: &mut String) -> usize {
    let settings = RuleSettings {
        open: topic.gate.open,
        access: access(&topic.gate.access),
        issuers: shared(topic.gate.issuers),
        roles: topic.roles.into_iter().map(Into::into).collect(),
        bindings: topic.bindings.into_iter().map(Into::into).collect(),
    };
    let rules = match (Rules::compile(settings), topic.problem) {
        (Ok(rules), None) => Arc::new(rules),
        (Err(found), Some(expected)) => {
            if found.to_string() != expected {
                let _ = write!(told, "\n{name}:\n    expected {expected}\n    found    {found}");
            }
            return 1;
        }
        (found, expected) => {
            let _ = write!(
                told,
                "\n{name}:\n    expected {expected:?}\n    found    {:?}",
                found.err()
            );
            return 1;
        }
    };
    let views: BTreeMap<String, ViewRules> = topic
        .views
        .into_iter()
        .map(|(name, view)| (name, view.into()))
        .collect();
    let callers: BTreeMap<&str, Caller> = topic
        .callers
        .iter()
        .map(|(name, who)| (&**name, rules.caller(facts(who))))
        .collect();
    let mut count = topic.cases.len();
    for (who, caller) in &callers {
        if let Some(has) = &topic.callers[*who].has {
            let found: Vec<String> = caller.roles().map(ToString::to_string).collect();
            count += 1;
            if *has != found {
                let _ = write!(
                    told,
                    "\n{name}: {who}\n    expected the roles {has:?}\n    found    {found:?}"
                );
            }
        }
    }
    for case in topic.cases {
        let caller = callers
            .get(&*case.who)
            .unwrap_or_else(|| panic!("{name}: there is no `{}`", case.who));
        let everything = ViewRules::everything();
        let view = case.view.as_ref().map_or(&everything, |view| &views[view]);
        let (server, thing) = case.on.split_once('/').expect("a server and a name");
        let action = Action {
            kind: kind(&case.does),
            server,
            name: thing,
            effect: classified(case.effect.as_deref()),
        };
        let circumstances = match &case.args {
            None => Circumstances::Listing,
            Some(args) => Circumstances::Calling {
                arguments: args.as_bytes(),
                now: UnixMillis(MIDNIGHT + case.hour * 3_600_000),
            },
        };
        let decision = decide(caller, view, &action, circumstances);
        let explanation = explain(caller, view, &action, circumstances);
        assert_eq!(
            explanation.decision, decision,
            "{name}: {} on {}",
            case.who, case.on
        );
        assert!(!explanation.steps.is_empty());
        let found = decision.to_string();
        if found != case.says {
            let what = case.args.as_deref().unwrap_or("in a list");
            let _ = write!(
                told,
                "\n{name}: {} does {} {} {what}\n    expected {}\n    found    {found}",
                case.who, case.does, case.on, case.says
            );
        }
        if let Some(trail) = case.trail {
            let found = explanation.to_string();
            if found.trim() != trail.trim() {
                let _ = write!(told, "\n{name}: {} on {}\n{found}", case.who, case.on);
            }
        }
        // What may not be found at all is denied, and the other way round it is not always so.
        if !view.admits(caller) {
            assert!(
                matches!(decision, Decision::Deny(_)),
                "{name}: {} on {}",
                case.who,
                case.on
            );
        }
    }
    count
}

#[test]
fn decisions() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/decisions");
    let mut files: Vec<_> = std::fs::read_dir(folder)
        .unwrap()
        .map(|file| file.unwrap().path())
        .collect();
    files.sort();
    let mut told = String::new();
    let mut count = 0;
    for file in files {
        let name = file.file_stem().unwrap().to_string_lossy().into_owned();
        let text = std::fs::read_to_string(&file).unwrap();
        // A file may hold several topics, as YAML documents.
        for (at, part) in text.split("\n---\n").enumerate() {
            let topic: Topic =
                serde_saphyr::from_str(part).unwrap_or_else(|error| panic!("{name} {at}: {error}"));
            count += differences(&format!("{name} {at}"), topic, &mut told);
        }
    }
    assert!(told.is_empty(), "{told}");
    // Somebody who breaks the reading of the files is to notice.
    assert!(count >= 150, "only {count} decisions were looked at");
}
