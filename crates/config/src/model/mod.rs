//! The checked runtime form: what the rest of Gatepost consumes. Every value here is valid.
//!
//! The sections that need no further checks are declared with [`settings!`](crate::settings), which makes the struct, its
//! reader and its JSON Schema from one declaration: the documentation of a field here is what an editor shows.

use std::{fmt, net::SocketAddr, num::NonZeroU32, path::PathBuf, time::Duration};

use gatepost_policy::{Access, BindingSettings, EffectRules, ViewRules};

use crate::{
    ByteSize, Secret, Text,
    problem::{Place, Problem, Warning},
    settings::{settings, words},
};

mod audit;
mod credentials;
mod identity;
mod limits;
mod roles;

pub use audit::{Audit, Durability, HttpSink, OnFailure, Recorded, SigningKey, Sink};
pub use credentials::{ClientCredentials, Credential};
pub use identity::{Claim, Identity, IssuerKeys, JwtIssuer, SignatureAlgorithm, TenantClaim};
pub use limits::{Bound, Limit, LimitAlgorithm, Per, Quota, Rate};
pub use roles::Role;

/// A whole configuration, checked.
#[derive(Clone, Debug)]
pub struct Config {
    /// Where clients reach the gate.
    pub listen: Listen,
    /// Where the gate keeps its state. Absolute, or relative to the process's own folder when the configuration was.
    pub data_dir: PathBuf,
    /// The folder that relative paths in the configuration start from, also those in the options of modules.
    pub folder: PathBuf,
    /// The HTTP front.
    pub http: Http,
    /// Which endpoints exist besides views.
    pub endpoints: Endpoints,
    /// The servers that are switched on, in the order of the configuration: a resource that several list goes to the
    /// first of them.
    pub servers: Vec<Server>,
    /// The names of servers that are switched off with `disabled: true`.
    pub disabled: Vec<String>,
    /// The views, in the order of the configuration.
    pub views: Vec<View>,
    /// The gravest that anybody may do through this gate, whatever views and roles allow.
    pub access: Access,
    /// How callers prove who they are. `None`: they do not, the only one is [`gatepost_policy::Principal::local`], and
    /// there are no roles and bindings either.
    pub identity: Option<Identity>,
    /// The roles, in the order of the configuration.
    pub roles: Vec<Role>,
    /// Who has them, in the order of the configuration. Each binds somebody to roles that exist, and names an issuer where it
    /// names users or groups.
    pub bindings: Vec<BindingSettings>,
    /// The bounds on calls, in the order of the configuration.
    pub limits: Vec<Limit>,
    /// What may be used up in a day, in the order of the configuration.
    pub quotas: Vec<Quota>,
    /// The audit log. `None`: there is none.
    pub audit: Option<Audit>,
    /// Where operators reach the gate. Without it, `/health` and `/metrics` answer on [`Config::listen`].
    pub ops: Option<Listen>,
    /// Logs.
    pub telemetry: Telemetry,
    /// How long calls may take to finish after the gate was told to stop. Then they are cut.
    pub shutdown_grace: Duration,
    /// Keys for sessions and request states: the first seals, all open. Empty: the gate makes one in its data directory.
    pub sealing_keys: Vec<Secret>,
    /// How long an idle legacy session stays valid. Then its client gets 404 and starts a new one.
    pub session_expiry: Duration,
    /// What servers ask of clients while a call runs, where the two speak different eras.
    pub asks: Asks,
    /// What is not wrong but should be known.
    pub warnings: Vec<Warning>,
}

/// Where the gate listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Listen {
    /// An IP address and port; port 0 takes any free one.
    Tcp(SocketAddr),
    /// A Unix socket.
    Unix(PathBuf),
}

settings! {
    /// The HTTP front.
    pub struct Http {
        /// The URL under which clients reach the gate, when something stands in front of it, such as
        /// `https://gate.example.com`. Its host is allowed like one of `hosts`. Default: made from `listen`.
        pub public_url: Option<http::Uri>,
        /// The `Host` values that are answered, each a name or address, with its port where clients write one; every
        /// other gets 403 (DNS rebinding). Default: the loopback names with the port of `listen`.
        pub hosts: Vec<HostName>,
        /// The `Origin` values that are answered besides those of `hosts`, such as `https://app.example.com`; every
        /// other gets 403. `null` can never be allowed. Default: none.
        pub origins: Vec<Origin>,
        /// The largest request body, as a size such as `4MiB`; a larger one gets 413.
        pub max_body: ByteSize = "4MiB",
        /// The largest answer of a server, and the largest single line or event of one; a larger one fails its call.
        pub max_response: ByteSize = "64MiB",
        /// How long a client may take to send a request's header; then the connection is closed.
        pub header_timeout: Duration = "10s",
        /// How long a client may take to send a request's body; then it gets 408 and the connection is closed.
        pub body_timeout: Duration = "30s",
        /// How long a connection may stay open without a request; then it is closed. Open streams are not idle.
        pub idle_timeout: Duration = "5m",
        /// The most connections at once; further ones wait until one is closed.
        pub max_connections: NonZeroU32 = 10_000,
    }
}

settings! {
    /// Which endpoints exist besides views.
    pub struct Endpoints {
        /// `/mcp`, where all servers are, with prefixed names.
        pub all: bool = true,
        /// `/mcp/<server>`, each server by itself, with its own names.
        pub servers: bool = true,
    }
}

settings! {
    /// Logs.
    pub struct Telemetry {
        /// How log lines look: `text` for people, `json` for programs, `auto` for text on a terminal and JSON elsewhere.
        pub log: LogForm = "auto",
        /// The least grave log lines that are written.
        pub level: LogLevel = "info",
    }
}

settings! {
    /// How many processes (or legacy HTTP sessions) a server gets.
    pub struct Pool {
        /// The most at once. Calls beyond wait for a free one, within their timeout.
        pub max: NonZeroU32 = 4,
        /// How long one may be without work; then it is ended, and started again on demand.
        pub idle: Duration = "5m",
    }
}

settings! {
    /// What a legacy server asks of a modern client (elicitation, sampling, roots): the call waits at the gate until the
    /// client sends it again with the answers.
    pub struct Asks {
        /// How long to wait for another question before the client is told of those there are, because a legacy server
        /// cannot say that it has asked everything.
        pub settle: Duration = "15ms",
        /// How long one call may wait for its client, over all its questions. Then the server is told that nobody
        /// answered, and the call is cancelled.
        pub wait: Duration = "30m",
        /// The most calls of one caller that wait at once; a further one fails.
        pub per_principal: NonZeroU32 = 100,
        /// The most calls that wait at once on one server; a further one fails.
        pub per_server: NonZeroU32 = 500,
    }
}

words! {
    /// How log lines look.
    pub enum LogForm { Auto = "auto", Text = "text", Json = "json" }
}

words! {
    /// How grave a log line is.
    pub enum LogLevel { Error = "error", Warn = "warn", Info = "info", Debug = "debug", Trace = "trace" }
}

words! {
    /// Which era of the protocol a server speaks.
    pub enum EraChoice { Auto = "auto", Modern = "modern", Legacy = "legacy" }
}

words! {
    /// Who shares a server's process or session: all, those of one tenant (all who have none count as one), one caller, or
    /// one client session.
    pub enum Isolation { Shared = "shared", Tenant = "tenant", Principal = "principal", Session = "session" }
}

words! {
    /// How a server behind a URL is spoken to.
    pub enum Transport { Auto = "auto", StreamableHttp = "streamable-http", Sse = "sse" }
}

/// One allowed `Host` value: `name` or `name:port`, in lower case.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostName(pub(crate) Box<str>);

impl HostName {
    /// As it stands in a `Host` header.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// One allowed `Origin` value: `scheme://host` or `scheme://host:port`, in lower case.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origin(pub(crate) Box<str>);

impl Origin {
    /// As it stands in an `Origin` header.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// A server behind the gate.
#[derive(Clone, Debug)]
pub struct Server {
    /// Its name: the prefix of its tools and prompts, and the last part of `/mcp/<server>`.
    pub name: String,
    /// What it is.
    pub kind: ServerKind,
    /// Which era it speaks; `Auto` probes.
    pub era: EraChoice,
    /// The longest silence of a call: every message of the server (progress, a log line, a part of the answer) begins it
    /// anew. Then the call fails by name.
    pub timeout: Duration,
    /// How long starting (a process, and its handshake) may take. Then the calls that wait for it fail.
    pub start_timeout: Duration,
    /// How long the probe for the era may stay alone. Then the server is greeted as a legacy one too, and the first decisive
    /// answer wins.
    pub probe_timeout: Duration,
    /// How many processes or legacy sessions it gets.
    pub pool: Pool,
    /// Who shares them.
    pub isolation: Isolation,
    /// The most calls at once, over all processes. Calls beyond wait, within their timeout. `None`: no bound.
    pub concurrency: Option<NonZeroU32>,
    /// What its tools do.
    pub effects: EffectRules,
    /// What the gate presents to it, in the order of trying. Empty but for [`ServerKind::Url`].
    pub credentials: Vec<Credential>,
}

/// What a server is.
#[derive(Clone, Debug)]
pub enum ServerKind {
    /// It runs inside this process.
    Module {
        /// Which built-in server.
        module: String,
        /// What it is told; the module checks it.
        options: ModuleOptions,
    },
    /// A program that speaks MCP on its standard input and output.
    Command {
        /// The program: a name to be found in `PATH`, or a path.
        program: Text,
        /// Its arguments.
        args: Vec<Text>,
        /// What is added to its environment.
        env: Vec<(String, Secret)>,
        /// Its folder; `None` is the gate's own.
        cwd: Option<PathBuf>,
    },
    /// A server that is reached over HTTP.
    Url {
        /// Its endpoint.
        url: ServerUrl,
        /// How it is spoken to.
        transport: Transport,
        /// Headers of every request to it.
        headers: Vec<(http::HeaderName, Secret)>,
    },
}

/// A server's endpoint: an absolute `http` or `https` URL without user and fragment. Prints without its query, which often
/// holds a key, and as `[secret]` when any of it came from `${env:…}` or `${file:…}`.
#[derive(Clone, PartialEq, Eq)]
pub struct ServerUrl {
    pub(crate) uri: http::Uri,
    pub(crate) hidden: bool,
}

impl ServerUrl {
    /// The URL itself.
    pub fn uri(&self) -> &http::Uri {
        &self.uri
    }
}

impl fmt::Display for ServerUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.hidden {
            return f.write_str("[secret]");
        }
        let scheme = self.uri.scheme_str().unwrap_or_default();
        let authority = self.uri.authority().map_or("", http::uri::Authority::as_str);
        write!(f, "{scheme}://{authority}{}", self.uri.path())?;
        if self.uri.query().is_some() {
            f.write_str("?…")
        } else {
            Ok(())
        }
    }
}

impl fmt::Debug for ServerUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The options of a module, as a JSON object. Prints its keys only, since any value may be a secret.
#[derive(Clone, Default)]
pub struct ModuleOptions {
    pub(crate) values: serde_json::Map<String, serde_json::Value>,
    /// Where the server stands that has them.
    pub(crate) server: Place,
    /// Where each of them stands.
    pub(crate) places: Vec<(String, Place)>,
}

impl ModuleOptions {
    /// The options.
    pub fn expose(&self) -> &serde_json::Map<String, serde_json::Value> {
        &self.values
    }

    /// What the module of the server `server` says against the option `option`, or without one against all it was given,
    /// with the line where that stands.
    pub fn problem(&self, server: &str, option: Option<&str>, message: String, remedy: String) -> Problem {
        let path = format!("servers.{server}");
        let given = option.and_then(|option| self.places.iter().find(|(name, _)| name == option));
        match given {
            Some((name, place)) => Problem::new(place, format!("{path}.options.{name}"), message, remedy),
            None => Problem::new(&self.server, path, message, remedy),
        }
    }
}

impl fmt::Debug for ModuleOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.values.keys()).finish()
    }
}

/// A named selection with an endpoint of its own, `/mcp/<view>`.
#[derive(Clone, Debug)]
pub struct View {
    /// Its name: the last part of its URL.
    pub name: String,
    /// What it shows and allows, and whom. Its patterns see prefixed names, before renaming; its roles exist.
    pub rules: ViewRules,
    /// New names of tools and prompts, by their prefixed names, in the order of the configuration. The new ones are
    /// distinct.
    pub rename: Vec<(String, String)>,
    /// What it is for, in words; clients see it.
    pub description: Option<String>,
}
