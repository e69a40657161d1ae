//! The file form: what may be written. [`crate::check`] turns it into what is meant.

use std::{num::NonZeroU32, time::Duration};

use gatepost_policy::{Access, Effect, Pattern};

use crate::{
    Asks, Endpoints, EraChoice, Http, Isolation, Listen, ModuleOptions, Pool, Secret, ServerUrl, Telemetry,
    Text, Transport, known,
    names::{Name, Placed, Some1},
    sections::{
        audit::AuditForm,
        credentials::CredentialForm,
        identity::IdentityForm,
        limits::{LimitForm, QuotaForm},
        roles::{BindingForm, RoleForm},
    },
    settings::{settings, words},
    values::{FilePath, GraceTime, IncludePattern, Named, SealingKey},
};

settings! {
    /// The configuration of Gatepost. Every text may hold `${env:NAME}`, `${env:NAME:-default}` or `${file:/path}`;
    /// relative paths start from the folder of the file. Durations and sizes carry units: `30s`, `4MiB`.
    pub(crate) struct Root ignoring ["$schema"]; {
        /// Where clients reach the gate: an address with its port, or `unix:/path`. Without `identity` only a loopback
        /// address, since nobody is asked who they are.
        pub(crate) listen: Placed<Listen> = "127.0.0.1:8080",
        /// Where the gate keeps its state. Default: `$XDG_STATE_HOME/gatepost`, or `~/.local/state/gatepost`.
        pub(crate) data_dir: Option<FilePath>,
        /// More files, each with `servers` and `views` only: paths, whose parts may hold `*` and `?`, in the order of
        /// their names. A name that is defined twice is an error. Default: none.
        pub(crate) include: Vec<IncludePattern>,
        /// The HTTP front.
        pub(crate) http: Http,
        /// Which endpoints exist besides views.
        pub(crate) endpoints: Endpoints,
        /// What stands behind the gate, by name. The name is the prefix of the server's tools and the last part of
        /// `/mcp/<server>`. `mcpServers` means the same. Default: none.
        pub(crate) servers: Named<ServerForm>,
        /// Named selections, each with an endpoint `/mcp/<view>`. Default: none.
        pub(crate) views: Named<ViewForm>,
        /// The gravest that anybody may do through this gate, whatever views and roles allow: `read` makes it read-only,
        /// `write` allows changes, `destructive` everything.
        pub(crate) access: Access = "destructive",
        /// How callers prove who they are. Default: they do not; the only caller is `local`, who may do everything.
        pub(crate) identity: Option<Placed<IdentityForm>>,
        /// What somebody may do, by the names of roles. Default: none.
        pub(crate) roles: Named<RoleForm>,
        /// Who has which roles. Default: nobody has any, but for those that API keys were made with.
        pub(crate) bindings: Vec<Placed<BindingForm>>,
        /// Bounds on the rate of calls, and on how many run at once. All of them hold. Default: none.
        pub(crate) limits: Vec<Placed<LimitForm>>,
        /// What may be used up in a day. All of them hold. Default: none.
        pub(crate) quotas: Vec<Placed<QuotaForm>>,
        /// The audit log. Default: there is none.
        pub(crate) audit: Option<Placed<AuditForm>>,
        /// An endpoint for operators.
        pub(crate) ops: Option<Ops>,
        /// Logs.
        pub(crate) telemetry: Telemetry,
        /// Stopping.
        pub(crate) shutdown: Shutdown,
        /// Keys for what clients carry around for the gate.
        pub(crate) sealing: Sealing,
        /// Sessions of legacy clients.
        pub(crate) sessions: Sessions,
        /// What servers ask of clients while a call runs.
        pub(crate) asks: Asks,
    }
}

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

settings! {
    /// A named selection of what servers offer. Its patterns see names with their prefix, `server__tool`, before
    /// renaming; for resources `server__uri`.
    pub(crate) struct ViewForm {
        /// Patterns of names to show. Default: everything.
        pub(crate) include: Option<Vec<Pattern>>,
        /// Patterns of names to leave out, whatever `include` says. Default: none.
        pub(crate) exclude: Vec<Pattern>,
        /// New names of tools and prompts, by their names with prefix. Default: none.
        pub(crate) rename: Named<Text>,
        /// The gravest that tools of this view may do: `read` makes it read-only, `write` allows changes, `destructive`
        /// everything.
        pub(crate) access: Access = "destructive",
        /// Who finds it: whoever has one of these roles. To others it does not exist. Default: everybody.
        pub(crate) roles: Option<Some1<Placed<Name>>>,
        /// What the view is for; clients see it. Default: none.
        pub(crate) description: Option<String>,
    }
}

settings! {
    /// An endpoint for operators.
    pub(crate) struct Ops {
        /// Where `/metrics` and `/health` answer: a loopback address with its port, or `unix:/path`. Without `ops` they
        /// answer where clients do.
        pub(crate) listen: Placed<Listen>,
    }
}

settings! {
    /// Stopping.
    pub(crate) struct Shutdown {
        /// How long running calls may take to finish after the gate was told to stop; then they are cut.
        pub(crate) grace: GraceTime = "10s",
    }
}

settings! {
    /// Keys for what clients carry around for the gate.
    pub(crate) struct Sealing {
        /// Keys of at least 32 characters, best `${file:...}`: the first seals, all open. Never printed. Default: one is
        /// made in `data_dir`.
        pub(crate) keys: Vec<SealingKey>,
    }
}

settings! {
    /// Sessions of legacy clients.
    pub(crate) struct Sessions {
        /// How long an idle session stays valid; then its client gets 404 and starts a new one.
        pub(crate) expiry: Duration = "24h",
    }
}
