//! The environment variables that the command line itself reads. Configurations name their own with `${env:NAME}`.

/// The configuration file, where `-c` is not given.
pub(crate) const CONFIG: &str = "GATEPOST_CONFIG";

/// Which log lines are written, in the syntax of `tracing`'s `EnvFilter`: `debug`, `warn,gatepost_gateway=trace`. It
/// overrides `telemetry.level`.
pub(crate) const LOG: &str = "GATEPOST_LOG";
