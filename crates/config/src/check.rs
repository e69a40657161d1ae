//! From what was written to what is meant: the checks that need more than one value.

use std::path::{Path, PathBuf};

use crate::{
    Config, Listen, ListenError, Secret, Server, View, advice,
    expand::Environment,
    file::Root,
    listen,
    names::Placed,
    problem::Place,
    reader::{Findings, join},
    sections::{
        audit, identity, limits,
        roles::{self, BindingForm, RoleForm},
        servers::{self, ServerForm},
        views::{self, ViewForm},
    },
    values::{Named, SealingKey},
};

/// The longest name of a server or view. With it and `__`, half of the 128 characters that a tool's name may have are left
/// to the tool.
const LONGEST_NAME: usize = 62;

/// Builds the runtime form. `None` means that a problem has been reported.
pub(crate) fn config(
    root: Root,
    folder: PathBuf,
    environment: Environment<'_>,
    findings: &mut Findings,
) -> Option<Config> {
    let all_servers: Vec<String> = root.servers.0.iter().map(|(name, ..)| name.clone()).collect();
    let passing_on = passing_on(&root.servers);
    let (servers, disabled) = servers(root.servers, findings);
    let places = advice::Places {
        listen: root.listen.place.clone(),
        identity: root.identity.as_ref().map(|identity| identity.place.clone()),
        roles: root.roles.0.iter().map(|(.., place)| place.clone()).collect(),
        passing_on,
    };
    // What is wrong with the section has been said; what else would follow from it has not.
    let identified = places.identity.is_some() || findings.are_within("identity");
    let (listen, ops) = (root.listen, root.ops.map(|ops| ops.listen));
    if !identified {
        unreachable_for_others(&listen, "listen", ListenError::Public, findings);
    }
    if let Some(ops) = &ops {
        unreachable_for_others(ops, "ops.listen", ListenError::PublicOps, findings);
    }
    let public_url = root.http.public_url.as_ref();
    let identity = root
        .identity
        .and_then(|Placed { value, place }| identity::identity(value, &place, public_url, findings));
    if !identified {
        roles_need_identity(&root.roles, &root.bindings, &root.views, findings);
    }
    let roles = roles::roles(root.roles, findings);
    let bindings = identity.as_ref().map_or_else(Vec::new, |identity| {
        let known = roles::Known {
            identity,
            roles: &roles,
        };
        roles::bindings(root.bindings, &known, findings)
    });
    let views = root
        .views
        .0
        .into_iter()
        .map(|(name, form, place)| views::view(name, form, &place, &all_servers, &roles, findings));
    let views: Vec<View> = views.collect();
    let limits = limits::limits(root.limits, &all_servers, findings);
    let quotas = limits::quotas(root.quotas, &all_servers, findings);
    let audit = match root.audit {
        Some(Placed { value, place }) => Some(audit::audit(value, &place, findings)?),
        None => None,
    };
    let sealing_keys = sealing_keys(root.sealing.keys, findings);
    let data_dir = match root.data_dir {
        Some(path) => Some(path.0),
        None => default_data_dir(environment, findings),
    };
    let config = Config {
        listen: listen.value,
        data_dir: data_dir?,
        folder,
        http: root.http,
        endpoints: root.endpoints,
        servers,
        disabled,
        views,
        access: root.access,
        identity,
        roles,
        bindings,
        limits,
        quotas,
        audit,
        ops: ops.map(|ops| ops.value),
        telemetry: root.telemetry,
        shutdown_grace: root.shutdown.grace.0,
        sealing_keys,
        session_expiry: root.sessions.expiry,
        asks: root.asks,
        warnings: Vec::new(),
    };
    advice::advise(&config, &places, findings);
    Some(config)
}

/// The servers, and the names of those that are left out.
fn servers(forms: Named<ServerForm>, findings: &mut Findings) -> (Vec<Server>, Vec<String>) {
    let (mut servers, mut disabled) = (Vec::new(), Vec::new());
    for (name, form, place) in forms.0 {
        name_is_usable(&name, &join("servers", &name), &place, findings);
        let off = form.disabled;
        let server = servers::server(name.clone(), form, &place, findings);
        match server {
            _ if off => disabled.push(name),
            Some(server) => servers.push(server),
            None => {}
        }
    }
    (servers, disabled)
}

/// The servers that callers' own tokens are passed on to, and where that stands.
fn passing_on(servers: &Named<ServerForm>) -> Vec<(String, Place)> {
    let found = servers.0.iter().filter_map(|(name, form, _)| {
        let mut credentials = form.credentials.iter().flatten();
        let passing = credentials.find(|credential| credential.value.pass_through.is_some())?;
        Some((name.clone(), passing.place.clone()))
    });
    found.collect()
}

/// Reports an address that other machines can reach.
fn unreachable_for_others(
    Placed { value, place }: &Placed<Listen>,
    path: &str,
    error: ListenError,
    findings: &mut Findings,
) {
    if !value.is_private() {
        findings.problem(place, path, format!("`{value}` {error}"), listen::remedy(error));
    }
}

/// Without an identity the only caller may do everything: roles that look like protection would be none.
fn roles_need_identity(
    roles: &Named<RoleForm>,
    bindings: &[Placed<BindingForm>],
    views: &Named<ViewForm>,
    findings: &mut Findings,
) {
    let mut report = |place: &Place, path: &str| {
        let message = "protects nothing without `identity`, since everybody is the caller `local`";
        findings.problem(place, path, message, "add `identity`, or remove it");
    };
    if let Some((name, _, place)) = roles.0.first() {
        report(place, &join("roles", name));
    }
    if let Some(Placed { place, .. }) = bindings.first() {
        report(place, "bindings[0]");
    }
    for (name, form, place) in &views.0 {
        if form.roles.is_some() {
            report(place, &join(&join("views", name), "roles"));
        }
    }
}

/// `$XDG_STATE_HOME/gatepost`, as the XDG Base Directory Specification 0.8 says: a relative value is ignored.
fn default_data_dir(environment: Environment<'_>, findings: &mut Findings) -> Option<PathBuf> {
    let folder = |name, below: &str| {
        let folder = PathBuf::from(environment(name)?);
        folder.is_absolute().then(|| folder.join(below))
    };
    let found = folder("XDG_STATE_HOME", "gatepost")
        .or_else(|| folder("HOME", ".local/state/gatepost"))
        .or_else(|| folder("LOCALAPPDATA", "gatepost"));
    if found.is_none() {
        let message = "is not set, and neither are the environment variables XDG_STATE_HOME and HOME";
        findings.problem(&Place::default(), "data_dir", message, "write `data_dir: /path`");
    }
    found
}

/// A server's or view's name becomes part of URLs and of tools' names.
pub(crate) fn name_is_usable(name: &str, path: &str, place: &Place, findings: &mut Findings) {
    let allowed = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
    let message = if name.is_empty() {
        "the name is empty".to_owned()
    } else if !name.starts_with(|c: char| c.is_ascii_alphanumeric()) || !name.chars().all(allowed) {
        "the name has characters that tools' names and URLs cannot have".to_owned()
    } else if name.contains("__") || name.ends_with('_') {
        "the name could not be told apart from what follows `__` in `server__tool`".to_owned()
    } else if name.len() > LONGEST_NAME {
        format!("the name is longer than {LONGEST_NAME} characters")
    } else {
        return;
    };
    let suggestion = suggest_name(name);
    let remedy = "use letters, digits, `.`, `-` and single `_`, and begin with a letter or digit";
    findings.problem(place, path, message, format!("{remedy}, such as `{suggestion}`"));
}

/// The usable name that is nearest to `name`.
pub(crate) fn suggest_name(name: &str) -> String {
    let mut usable = String::new();
    for c in name.chars() {
        if usable.len() == LONGEST_NAME {
            break;
        }
        match c {
            c if c.is_ascii_alphanumeric() => usable.push(c),
            '_' if usable.ends_with('_') => {}
            '.' | '_' | '-' if !usable.is_empty() => usable.push(c),
            _ if !usable.is_empty() && !usable.ends_with('-') => usable.push('-'),
            _ => {}
        }
    }
    let usable = usable.trim_end_matches(['_', '-']);
    if usable.is_empty() {
        "server".to_owned()
    } else {
        usable.to_owned()
    }
}

/// A key that is there twice was meant to be another one.
fn sealing_keys(keys: Vec<SealingKey>, findings: &mut Findings) -> Vec<Secret> {
    let mut distinct: Vec<Secret> = Vec::with_capacity(keys.len());
    for (at, SealingKey { key, place }) in keys.into_iter().enumerate() {
        if distinct.contains(&key) {
            let path = format!("sealing.keys[{at}]");
            findings.problem(
                &place,
                &path,
                "is there twice",
                "remove it, or write the key that was meant",
            );
        }
        distinct.push(key);
    }
    distinct
}

/// The folder that relative paths start from, for a configuration in `file`.
pub(crate) fn folder_of(file: &Path) -> PathBuf {
    match file.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent.to_path_buf(),
        _ => PathBuf::from("."),
    }
}
