//! gatepost.yaml: a strict file form, a checked runtime form, its JSON Schema.
//!
//! A configuration becomes a tree that knows its lines (`tree`), gets its `${…}` filled in (`expand`), is read into the
//! file form (`file`, `reader`, `values`) and checked as a whole (`check`). Every step collects what is wrong instead of
//! stopping, so that [`Problems`] holds all of it.
//!
//! What came through `${env:…}` or `${file:…}`, and every header, environment variable and sealing key, is a [`Secret`] or a
//! hidden [`Text`] and never prints. Only what operators must see is printed wherever it came from: addresses to listen
//! on and paths.

mod addresses;
mod advice;
mod bounded;
mod check;
mod expand;
mod file;
mod import;
mod known;
mod listen;
mod load;
mod model;
mod names;
mod problem;
mod reader;
mod schema;
mod secret;
mod sections;
mod settings;
mod tree;
mod units;
mod values;

#[cfg(test)]
mod tests;

pub use import::{FoundSecret, Import, ImportError, import};
pub use listen::{ListenError, remedy as listen_remedy};
pub use model::{
    Asks, Audit, Bound, Claim, ClientCredentials, Config, Credential, Durability, Endpoints, EraChoice,
    HostName, Http, HttpSink, Identity, Isolation, IssuerKeys, JwtIssuer, Limit, LimitAlgorithm, Listen,
    LogForm, LogLevel, ModuleOptions, OnFailure, Origin, Per, Pool, Quota, Rate, Recorded, Role, Server,
    ServerKind, ServerUrl, SignatureAlgorithm, SigningKey, Sink, Telemetry, TenantClaim, Transport, View,
};
pub use problem::{Problem, Problems, Warning};
pub use schema::json_schema;
pub use secret::{Secret, Text};
pub use units::ByteSize;
