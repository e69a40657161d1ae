//! The one place that joins everything: a configuration, the modules, the supervisor of processes, the gateway.

use std::{path::Path, sync::Arc, time::Duration};

use gatepost_config::Config;
use gatepost_gateway::Gate;
use gatepost_modules::Context;
use gatepost_process::Supervisor;

use crate::{exit, failure::Failure};

/// How long what runs in the background may take to come to an end. A read of stdin never does.
const BACKGROUND: Duration = Duration::from_millis(200);

/// Runs `work` with as many threads as there are processors.
///
/// # Errors
/// Those of `work`, and when the operating system has no threads left.
pub(crate) fn block_on<T>(work: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|error| {
            Failure::new(
                format!("failed to start: {error}"),
                "check the limits on threads and open files",
            )
        })?;
    let done = runtime.block_on(work);
    runtime.shutdown_timeout(BACKGROUND);
    done
}

/// Compiles a configuration into a gate, which is not open yet. The modules keep what they have to keep in
/// `modules_dir`.
///
/// # Errors
/// When a module refuses its options, or the data directory cannot be written.
pub(crate) fn build(config: Config, modules_dir: &Path) -> Result<Arc<Gate>, Failure> {
    let supervisor = Supervisor::current_exe().map_err(|error| {
        Failure::new(
            format!("failed to {error}"),
            "report this: it is a mistake in gatepost",
        )
    })?;
    let context = Context {
        data_dir: modules_dir.to_path_buf(),
        folder: config.folder.clone(),
    };
    let modules = |name: &str, options: &_| {
        gatepost_modules::module(name, options, &context).map_err(|error| error.to_string())
    };
    Gate::build(config, modules_dir, &modules, supervisor).map_err(|error| {
        Failure::new(
            format!("failed to build the gate: {error}"),
            "mend the configuration, then try `gatepost check`",
        )
        .code(exit::CONFIGURATION)
    })
}
