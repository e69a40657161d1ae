//! Keys that are known though they are no settings: of later versions, of clients, under other names.

use gatepost_policy::nearest;

/// Keys of the design that this version does not have yet, wherever they stand.
const LATER: [&str; 14] = [
    "store",
    "trusted_proxies",
    "tls",
    "retry",
    "breaker",
    "openapi",
    "base_url",
    "otlp",
    "tenants",
    "approvals",
    "cors",
    "introspection",
    "mtls",
    "token_exchange",
];

/// Keys of the design that this version does not have yet in these sections: the section, the key.
const LATER_THERE: [(&str, &str); 2] = [("identity", "basic"), ("audit.sinks", "postgres")];

/// Keys of clients that a pasted server may bring along and that mean nothing to a gate. They are warned about.
///
/// Only keys that narrow nothing are here: a client's list of switched-off tools, say, must not be dropped silently.
pub(crate) const IGNORED_OF_CLIENTS: [&str; 6] = [
    "autoApprove",
    "alwaysAllow",
    "trust",
    "gallery",
    "description",
    "iconPath",
];

/// What other programs call a thing, and what it is called here.
const ELSEWHERE: [(&str, &str); 18] = [
    ("serverUrl", "write `url`"),
    ("httpUrl", "write `url`"),
    (
        "enabled",
        "write `disabled: true` for a server that is to stay off",
    ),
    ("disabledTools", "write a view with `exclude`"),
    ("excludeTools", "write a view with `exclude`"),
    ("includeTools", "write a view with `include`"),
    (
        "envFile",
        "write the variables into `env`, each as `${env:NAME}` or `${file:/path}`",
    ),
    (
        "inputs",
        "use `gatepost import`, which turns inputs into environment variables",
    ),
    ("port", "write `listen: 127.0.0.1:PORT`"),
    ("host", "write `listen: ADDRESS:PORT`"),
    ("auth", "write `identity`"),
    ("authentication", "write `identity`"),
    ("authorization", "write `roles` and `bindings`"),
    ("rbac", "write `roles` and `bindings`"),
    ("policies", "write `roles` and `bindings`"),
    ("rate_limit", "write `limits`"),
    ("rate_limits", "write `limits`"),
    ("masking", "write `audit: { mask: [name] }`"),
];

/// What to say about a key of `section` that is none of `expected`: message and remedy.
pub(crate) fn unknown_key(section: &str, key: &str, expected: &[&str]) -> (String, String) {
    // The items of a list are of one kind.
    let section = section.split('[').next().unwrap_or_default();
    if LATER.contains(&key) || LATER_THERE.contains(&(section, key)) {
        return (
            "this version does not have this yet".to_owned(),
            "remove it".to_owned(),
        );
    }
    if let Some((_, remedy)) = ELSEWHERE.iter().find(|(name, _)| *name == key) {
        return ("unknown key".to_owned(), (*remedy).to_owned());
    }
    let remedy = match nearest(key, expected.iter().copied()) {
        Some(name) => format!("did you mean `{name}`?"),
        None if expected.is_empty() => "remove it; there are no keys here".to_owned(),
        None => format!("the keys here are {}", listed(expected)),
    };
    ("unknown key".to_owned(), remedy)
}

/// `a`, `b` and `c`, in backticks.
pub(crate) fn listed(names: &[&str]) -> String {
    let quoted: Vec<String> = names.iter().map(|name| format!("`{name}`")).collect();
    match quoted.split_last() {
        Some((last, rest)) if !rest.is_empty() => format!("{} and {last}", rest.join(", ")),
        _ => quoted.concat(),
    }
}

/// neither `a`, `b` nor `c`.
pub(crate) fn neither(names: &[&str]) -> String {
    let quoted: Vec<String> = names.iter().map(|name| format!("`{name}`")).collect();
    match quoted.split_last() {
        Some((last, rest)) if !rest.is_empty() => format!("neither {} nor {last}", rest.join(", ")),
        _ => format!("no {}", quoted.concat()),
    }
}
