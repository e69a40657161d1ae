//! `servers`: what stands behind the gate.

use std::{num::NonZeroU32, time::Duration};

use gatepost_policy::{Effect, EffectRules, Pattern};

use crate::{
    EraChoice, Isolation, ModuleOptions, Pool, Secret, Server, ServerKind, ServerUrl, Text, Transport, known,
    names::Placed,
    problem::Place,
    reader::{Findings, join, not_exactly_one},
    sections::credentials::{self, CredentialForm},
    settings::{settings, words},
    values::{FilePath, Named},
};

settings! {
    /// A server: one of `module`, `command` and `url`, and what belongs to it.
    pub(crate) struct ServerForm ignoring known::IGNORED_OF_CLIENTS; {
        /// The name of a built-in server, which runs inside the gate.
        pub(crate) module: Option<String>,
        /// What the module is told; see its own documentation.
        pub(crate) options: Option<ModuleOptions>,
        /// The program of a server that speaks on its standard input and output.
        pub(crate) command: Option<Text>,
        /// The program's arguments. Default: none.
        pub(crate) args: Option<Vec<Text>>,
        /// What is added to the program's environment. Never printed. Default: nothing.
        pub(crate) env: Option<Named<Secret>>,
        /// The program's folder. Default: the gate's own.
        pub(crate) cwd: Option<FilePath>,
        /// The endpoint of a server that is reached over HTTP.
        pub(crate) url: Option<ServerUrl>,
        /// How a URL is spoken to: `streamable-http`, `sse` for the transport of 2024-11-05, `auto` to find out.
        /// Default: `auto`.
        pub(crate) transport: Option<Transport>,
        /// What clients call the kind of a server: `stdio` goes with `command`, `http` and `sse` with `url`.
        pub(crate) r#type: Option<ClientType>,
        /// Headers of every request to a URL. Never printed. Default: none.
        pub(crate) headers: Option<Named<Secret>>,
        /// What the gate presents to a URL, in the order of trying. Default: nothing.
        pub(crate) credentials: Option<Vec<Placed<CredentialForm>>>,
        /// Which era of the protocol the server speaks: `modern` is 2026-07-28, `legacy` what came before, `auto` finds
        /// out.
        pub(crate) era: EraChoice = "auto",
        /// How long the server may be silent during a call; each message of it (progress, a log line, a part of the answer)
        /// begins the time anew. Then the call fails, naming the server.
        pub(crate) timeout: Duration = "60s",
        /// How long starting may take: a process and its handshake; then the calls that wait for it fail.
        pub(crate) start_timeout: Duration = "60s",
        /// How long the question for the era may stay unanswered before the server is greeted as a legacy one too; the
        /// first decisive answer wins.
        pub(crate) probe_timeout: Duration = "5s",
        /// How many processes or legacy sessions the server gets.
        pub(crate) pool: Pool,
        /// Who shares a process or session: everybody (`shared`), the callers of one tenant (`tenant`; all who have none
        /// count as one), one caller (`principal`), or one client session (`session`).
        pub(crate) isolation: Isolation = "tenant",
        /// The most calls at once; further ones wait, within their timeout. Default: no bound.
        pub(crate) concurrency: Option<NonZeroU32>,
        /// Whether the server's own hints about what its tools do are believed where `effects` says nothing. Default:
        /// `true` for a `module`, whose hints are the gate's own, `false` for every other server.
        pub(crate) trust_annotations: Option<bool>,
        /// What the server's tools do, by patterns on their own names; the first that matches decides. What no pattern
        /// names counts as destructive.
        pub(crate) effects: Named<Effect>,
        /// Leaves the server out.
        pub(crate) disabled: bool = false,
    }
}

words! {
    /// What clients write into `type`.
    pub(crate) enum ClientType {
        Stdio = "stdio",
        Http = "http",
        StreamableHttp = "streamable-http" | "streamableHttp",
        Sse = "sse",
    }
}

/// Builds the runtime form. `None` means that a problem has been reported.
pub(crate) fn server(
    name: String,
    form: ServerForm,
    place: &Place,
    findings: &mut Findings,
) -> Option<Server> {
    let path = join("servers", &name);
    let effects = EffectRules {
        declared: effects(&form.effects, &join(&path, "effects"), findings),
        // What a module says of itself is part of this program.
        trust_annotations: form.trust_annotations.unwrap_or(form.module.is_some()),
    };
    let kind = kind(&form, place, &path, findings)?;
    strays(kind, &form, place, &path, findings);
    let mut presented = Vec::new();
    let transport = transport(kind, form.transport, form.r#type, &path, place, findings);
    let kind = match (form.module, form.command, form.url) {
        (Some(module), None, None) => ServerKind::Module {
            module,
            options: ModuleOptions {
                server: place.clone(),
                ..form.options.unwrap_or_default()
            },
        },
        (None, Some(program), None) => {
            if program.expose().trim().is_empty() {
                let remedy = "write the program's name or path";
                findings.problem(place, &join(&path, "command"), "is empty", remedy);
            }
            if is_a_line(program.expose()) {
                let message = "is one program's name, blanks included, and no line for a shell";
                let remedy = "write the program alone, and what follows it into `args`";
                findings.warning(place, &join(&path, "command"), message, remedy);
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

/// Whether a command looks like `npx -y server`. Folders may have blanks in their names; few programs do.
fn is_a_line(program: &str) -> bool {
    program
        .trim()
        .split_once(char::is_whitespace)
        .is_some_and(|(first, _)| !first.contains(['/', '\\']))
}

/// What the server's tools do.
fn effects(given: &Named<Effect>, path: &str, findings: &mut Findings) -> Vec<(Pattern, Effect)> {
    let mut effects = Vec::with_capacity(given.0.len());
    for (pattern, effect, place) in &given.0 {
        match Pattern::new(pattern) {
            Ok(pattern) => effects.push((pattern, *effect)),
            Err(error) => findings.problem(place, &join(path, pattern), error.to_string(), ""),
        }
    }
    effects
}

/// The key that says what the server is.
fn kind(form: &ServerForm, place: &Place, path: &str, findings: &mut Findings) -> Option<&'static str> {
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
    let meant_otherwise = kinds
        .iter()
        .any(|(name, _)| findings.are_within(&join(path, name)));
    if given.is_empty() && meant_otherwise {
        return None;
    }
    let [kind] = given[..] else {
        let kinds: Vec<&str> = kinds.iter().map(|(name, _)| *name).collect();
        not_exactly_one(&given, &kinds, place, path, findings);
        return None;
    };
    Some(kind)
}

/// Reports keys that belong to a server of another kind.
fn strays(kind: &str, form: &ServerForm, place: &Place, path: &str, findings: &mut Findings) {
    let keys = [
        ("options", "module", form.options.is_some()),
        ("args", "command", form.args.is_some()),
        ("env", "command", form.env.is_some()),
        ("cwd", "command", form.cwd.is_some()),
        ("transport", "url", form.transport.is_some()),
        ("headers", "url", form.headers.is_some()),
        ("credentials", "url", form.credentials.is_some()),
    ];
    for (key, belongs_to, is_given) in keys {
        if is_given && belongs_to != kind {
            let message = format!("belongs to a server with `{belongs_to}`, and this one has `{kind}`");
            findings.problem(place, &join(path, key), message, "remove it");
        }
    }
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
