//! From what was written to what is meant: the checks that need more than one value.

use std::path::{Path, PathBuf};

use gatepost_policy::{EffectRules, Pattern, Printable, Selection, ViewRules};

use crate::{
    Config, Listen, ListenError, Role, Secret, Server, ServerKind, Text, Transport, View, advice,
    expand::Environment,
    file::{ClientType, Root, ServerForm, ViewForm},
    listen,
    names::{Placed, Some1},
    problem::Place,
    reader::{Findings, join, not_exactly_one},
    sections::{
        audit, credentials, identity, limits,
        roles::{self, BindingForm, RoleForm},
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
    let (mut servers, mut disabled) = (Vec::new(), Vec::new());
    for (name, form, place) in root.servers.0 {
        name_is_usable(&name, &join("servers", &name), &place, findings);
        let off = form.disabled;
        let server = server(name.clone(), form, &place, findings);
        match server {
            _ if off => disabled.push(name),
            Some(server) => servers.push(server),
            None => {}
        }
    }
    let places = advice::Places {
        listen: root.listen.place.clone(),
        identity: root.identity.as_ref().map(|identity| identity.place.clone()),
        roles: root.roles.0.iter().map(|(.., place)| place.clone()).collect(),
    };
    // What is wrong with the section has been said; what else would follow from it has not.
    let identified = places.identity.is_some() || findings.are_within("identity");
    let (listen, ops) = (root.listen, root.ops.map(|ops| ops.listen));
    if !identified && !listen.value.is_private() {
        unreachable_for_others(&listen, "listen", ListenError::Public, findings);
    }
    if let Some(ops) = ops.as_ref().filter(|ops| !ops.value.is_private()) {
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
        .map(|(name, form, place)| view(name, form, &place, &all_servers, &roles, findings));
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

/// Reports an address that other machines can reach.
fn unreachable_for_others(
    Placed { value, place }: &Placed<Listen>,
    path: &str,
    error: ListenError,
    findings: &mut Findings,
) {
    findings.problem(place, path, format!("`{value}` {error}"), listen::remedy(error));
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
fn name_is_usable(name: &str, path: &str, place: &Place, findings: &mut Findings) {
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

fn server(name: String, form: ServerForm, place: &Place, findings: &mut Findings) -> Option<Server> {
    let path = join("servers", &name);
    let effects =
        form.effects
            .0
            .into_iter()
            .filter_map(|(pattern, effect, place)| match Pattern::new(&pattern) {
                Ok(pattern) => Some((pattern, effect)),
                Err(error) => {
                    findings.problem(
                        &place,
                        &join(&join(&path, "effects"), &pattern),
                        error.to_string(),
                        "",
                    );
                    None
                }
            });
    let effects = EffectRules {
        declared: effects.collect(),
        // What a module says of itself is part of this program.
        trust_annotations: form.trust_annotations.unwrap_or(form.module.is_some()),
    };

    let kinds = [
        ("module", form.module.is_some()),
        ("command", form.command.is_some()),
        ("url", form.url.is_some()),
    ];
    let given: Vec<&str> = kinds
        .iter()
        .filter(|(_, is)| *is)
        .map(|(name, _)| *name)
        .collect();
    let [kind] = given[..] else {
        let kinds: Vec<&str> = kinds.iter().map(|(name, _)| *name).collect();
        not_exactly_one(&given, &kinds, place, &path, findings);
        return None;
    };
    let strays = [
        ("options", "module", form.options.is_some()),
        ("args", "command", form.args.is_some()),
        ("env", "command", form.env.is_some()),
        ("cwd", "command", form.cwd.is_some()),
        ("transport", "url", form.transport.is_some()),
        ("headers", "url", form.headers.is_some()),
        ("credentials", "url", form.credentials.is_some()),
    ];
    for (key, belongs_to, is_given) in strays {
        if is_given && belongs_to != kind {
            let message = format!("belongs to a server with `{belongs_to}`, and this one has `{kind}`");
            findings.problem(place, &join(&path, key), message, "remove it");
        }
    }
    let mut presented = Vec::new();
    let transport = transport(kind, form.transport, form.r#type, &path, place, findings);
    let kind = match (form.module, form.command, form.url) {
        (Some(module), None, None) => ServerKind::Module {
            module,
            options: form.options.unwrap_or_default(),
        },
        (None, Some(program), None) => {
            if program.expose().trim().is_empty() {
                let remedy = "write the program's name or path";
                findings.problem(place, &join(&path, "command"), "is empty", remedy);
            }
            let env = form
                .env
                .map_or_else(Vec::new, |env| variables(env, &join(&path, "env"), findings));
            ServerKind::Command {
                program,
                args: form.args.unwrap_or_default(),
                env,
                cwd: form.cwd.map(|path| path.0),
            }
        }
        (None, None, Some(url)) => {
            let headers = form.headers.map_or_else(Vec::new, |given| {
                headers(given, &join(&path, "headers"), findings)
            });
            presented = credentials::credentials(
                form.credentials.unwrap_or_default(),
                &join(&path, "credentials"),
                &url,
                &headers,
                findings,
            );
            ServerKind::Url {
                url,
                transport,
                headers,
            }
        }
        _ => return None,
    };
    Some(Server {
        name,
        kind,
        era: form.era,
        timeout: form.timeout,
        start_timeout: form.start_timeout,
        probe_timeout: form.probe_timeout,
        pool: form.pool,
        isolation: form.isolation,
        concurrency: form.concurrency,
        effects,
        credentials: presented,
    })
}

/// Brings `transport` and the clients' `type` together.
fn transport(
    kind: &str,
    transport: Option<Transport>,
    client: Option<ClientType>,
    path: &str,
    place: &Place,
    findings: &mut Findings,
) -> Transport {
    let Some(client) = client else {
        return transport.unwrap_or(Transport::Auto);
    };
    let (belongs_to, meant) = match client {
        ClientType::Stdio => ("command", Transport::Auto),
        // Clients that write `http` fall back to the old transport by themselves.
        ClientType::Http => ("url", Transport::Auto),
        ClientType::StreamableHttp => ("url", Transport::StreamableHttp),
        ClientType::Sse => ("url", Transport::Sse),
    };
    if belongs_to != kind {
        let message =
            format!("`{client}` belongs to a server with `{belongs_to}`, and this one has `{kind}`");
        findings.problem(place, &join(path, "type"), message, "remove it");
    }
    match transport {
        Some(transport) if meant != Transport::Auto && transport != meant => {
            let message = format!("`{client}` contradicts `transport: {transport}`");
            findings.problem(place, &join(path, "type"), message, "keep one of the two");
            transport
        }
        Some(transport) => transport,
        None => meant,
    }
}

/// What the operating system accepts as environment.
fn variables(env: Named<Secret>, path: &str, findings: &mut Findings) -> Vec<(String, Secret)> {
    let mut variables = Vec::with_capacity(env.0.len());
    for (name, value, place) in env.0 {
        let path = join(path, &name);
        if name.is_empty() || name.contains(['=', '\0']) {
            findings.problem(
                &place,
                &path,
                "is no name of an environment variable",
                "rename it",
            );
        } else if value.expose().contains('\0') {
            findings.problem(&place, &path, "holds a NUL character", "remove it");
        } else {
            variables.push((name, value));
        }
    }
    variables
}

/// Headers that the gate writes itself; a configured one would contradict the message or its framing.
const OWN_HEADERS: [&str; 12] = [
    "host",
    "content-length",
    "content-type",
    "transfer-encoding",
    "connection",
    "accept",
    "te",
    "upgrade",
    "mcp-session-id",
    "mcp-protocol-version",
    "mcp-method",
    "mcp-name",
];

pub(crate) fn headers(
    given: Named<Secret>,
    path: &str,
    findings: &mut Findings,
) -> Vec<(http::HeaderName, Secret)> {
    let mut headers: Vec<(http::HeaderName, Secret)> = Vec::with_capacity(given.0.len());
    for (name, value, place) in given.0 {
        let path = join(path, &name);
        let Ok(header) = http::HeaderName::try_from(name.as_str()) else {
            findings.problem(
                &place,
                &path,
                "is no name of a header",
                "use letters, digits and `-`",
            );
            continue;
        };
        if OWN_HEADERS.contains(&header.as_str()) {
            findings.problem(
                &place,
                &path,
                "is a header that the gate writes itself",
                "remove it",
            );
        } else if headers.iter().any(|(other, _)| *other == header) {
            findings.problem(
                &place,
                &path,
                "is there twice, in different letters",
                "keep one of the two",
            );
        } else if http::HeaderValue::try_from(value.expose()).is_err() {
            let remedy = "remove line breaks and other control characters";
            findings.problem(
                &place,
                &path,
                "holds characters that a header cannot have",
                remedy,
            );
        } else {
            headers.push((header, value));
        }
    }
    headers
}

fn view(
    name: String,
    form: ViewForm,
    place: &Place,
    servers: &[String],
    roles: &[Role],
    findings: &mut Findings,
) -> View {
    let path = join("views", &name);
    name_is_usable(&name, &path, place, findings);
    if servers.contains(&name) {
        let message = "there is a server of this name, and both would be `/mcp/".to_owned() + &name + "`";
        findings.problem(place, &path, message, "rename one of the two");
    }
    for pattern in form.include.iter().flatten().chain(&form.exclude) {
        names_a_server(pattern, place, &path, servers, findings);
    }
    let rename = renames(form.rename, &join(&path, "rename"), servers, findings);
    let selection = Selection {
        include: form.include,
        exclude: form.exclude,
    };
    View {
        name,
        rules: ViewRules {
            selection,
            access: form.access,
            roles: form.roles.map(|Some1(given)| {
                roles::existing(given, &join(&path, "roles"), roles, findings).unwrap_or_default()
            }),
        },
        rename,
        description: form.description,
    }
}

/// Warns of a pattern that begins with the whole prefix of a server that does not exist: it matches nothing.
pub(crate) fn names_a_server(
    pattern: &Pattern,
    place: &Place,
    path: &str,
    servers: &[String],
    findings: &mut Findings,
) {
    if let Some((server, _)) = pattern.as_str().split_once("__")
        && !server.contains(['*', '?'])
        && !servers.iter().any(|name| name == server)
    {
        let message = format!("the pattern `{pattern}` names no server that is configured");
        findings.warning(place, path, message, "check the part before `__`");
    }
}

fn renames(
    rename: Named<Text>,
    path: &str,
    servers: &[String],
    findings: &mut Findings,
) -> Vec<(String, String)> {
    let mut renames: Vec<(String, String)> = Vec::with_capacity(rename.0.len());
    for (from, to, place) in rename.0 {
        let path = join(path, &from);
        let server = from.split_once("__").map(|(server, _)| server);
        let shown = to.to_string();
        let shown = Printable(&shown);
        let to = to.expose();
        if !server.is_some_and(|server| servers.iter().any(|name| name == server)) {
            let remedy = "write the name with its prefix, `server__tool`; patterns cannot be renamed";
            findings.problem(&place, &path, "names no configured server", remedy);
        } else if to.is_empty()
            || to.len() > 128
            || !to.chars().all(|c| c.is_ascii_alphanumeric() || "._-".contains(c))
        {
            let remedy = "use 1 to 128 letters, digits, `.`, `-` and `_`";
            findings.problem(&place, &path, format!("`{shown}` is no usable name"), remedy);
        } else if let Some((other, _)) = renames.iter().find(|(_, taken)| taken == to) {
            let message = format!("`{shown}` is already the new name of `{}`", Printable(other));
            findings.problem(&place, &path, message, "choose another name");
        } else if to != from
            && to
                .split_once("__")
                .is_some_and(|(server, _)| servers.iter().any(|name| name == server))
        {
            let message = format!("`{shown}` could be a tool of another server");
            findings.problem(&place, &path, message, "choose a name without a server's prefix");
        } else {
            renames.push((from, to.to_owned()));
        }
    }
    renames
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
