//! The file form: what may be written. [`crate::check`] turns it into what is meant. The larger sections are in
//! [`crate::sections`].

use std::time::Duration;

use gatepost_policy::Access;

use crate::{
    Asks, Endpoints, Http, Listen, Telemetry,
    names::Placed,
    sections::{
        audit::AuditForm,
        identity::IdentityForm,
        limits::{LimitForm, QuotaForm},
        roles::{BindingForm, RoleForm},
        servers::ServerForm,
        views::ViewForm,
    },
    settings::settings,
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
