//! Any text as a condition, up to the first line that is `---`; what follows, if it is JSON as a client may send it, as the
//! arguments. Nothing panics and nothing takes long, and what no list would show no call is allowed.
#![no_main]

use std::sync::{Arc, LazyLock};

use gatepost_policy::{
    Access, Action, Circumstances, Classified, Condition, Facts, Kind, Method, Pattern, Principal,
    RoleSettings, RuleSettings, Rules, UnixMillis, ViewRules, decide, explain,
};
use gatepost_protocol::json::{self, Strictness};
use libfuzzer_sys::fuzz_target;

static FACTS: LazyLock<Facts> = LazyLock::new(|| {
    let principal = Principal::new("https://id.example.com", "ann").with_tenant("acme");
    let mut facts = Facts::of(principal, Method::Jwt);
    facts.groups = vec!["analysts".into(), "people".into()];
    facts.roles = vec!["analyst".into()];
    facts
});

fuzz_target!(|data: &[u8]| {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    let (condition, arguments) = text.split_once("\n---\n").unwrap_or((text, ""));
    let Ok(condition) = Condition::new(condition) else {
        return;
    };
    let (Ok(everything), Ok(arguments)) = (Pattern::new("*"), well_formed(arguments)) else {
        return;
    };
    let role = RoleSettings {
        allow: vec![everything],
        access: Access::Destructive,
        when: Some(condition),
        ..RoleSettings::new("analyst")
    };
    let rules = Rules::compile(RuleSettings {
        open: false,
        access: Access::Destructive,
        issuers: Vec::new(),
        roles: vec![role],
        bindings: Vec::new(),
    });
    let Ok(rules) = rules.map(Arc::new) else {
        return;
    };
    let caller = rules.caller(FACTS.clone());
    let action = Action {
        kind: Kind::Call,
        server: "orders",
        name: "list",
        effect: Classified::UNKNOWN,
    };
    let view = ViewRules::everything();
    let calling = Circumstances::Calling {
        arguments: arguments.as_bytes(),
        now: UnixMillis(1_795_273_445_678),
    };
    let listed = decide(&caller, &view, &action, Circumstances::Listing);
    let called = decide(&caller, &view, &action, calling);
    assert!(listed.is_shown() || !called.is_allowed());
    assert_eq!(explain(&caller, &view, &action, calling).decision, called);
    drop(explain(&caller, &view, &action, calling).to_string());
});

/// The edge refuses everything else before a decision is asked for.
fn well_formed(arguments: &str) -> Result<&str, json::JsonError> {
    if !arguments.is_empty() {
        json::validate(arguments.as_bytes(), Strictness::Edge)?;
    }
    Ok(arguments)
}
