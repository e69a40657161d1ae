//! gatepost.yaml: a strict file form, a checked runtime form, its JSON Schema.

mod model;
mod problem;
mod secret;
mod settings;
mod units;

pub use model::{
    Config, Endpoints, EraChoice, HostName, Http, Isolation, Listen, LogForm, LogLevel, ModuleOptions,
    Origin, Pool, Server, ServerKind, ServerUrl, Telemetry, Transport, View,
};
pub use problem::{Problem, Problems, Warning};
pub use secret::{Secret, Text};
pub use units::ByteSize;
