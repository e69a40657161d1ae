//! The supervising process: how the gate asks for one, and how a program becomes one.

#[cfg(unix)]
mod control;
#[cfg(unix)]
mod descriptors;
#[cfg(unix)]
mod launch;
#[cfg(unix)]
mod tree;
#[cfg(unix)]
mod watch;

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

#[cfg(unix)]
pub(crate) use control::Lifeline;
#[cfg(unix)]
pub(crate) use launch::Launch;

/// The first argument that turns the gate's program into a supervisor. Not for people, so not in any help.
#[cfg(unix)]
const ARGUMENT: &str = "__supervise";

/// How long a tree has between TERM and KILL when nobody is left to say otherwise. With the time that KILL and its
/// proof take on a busy machine, everything is gone well within two seconds of the gate's death.
const ORPHAN_GRACE: Duration = Duration::from_millis(700);
const _: () = assert!(
    ORPHAN_GRACE.as_millis() <= 1_000,
    "KILL leaves no time for its proof"
);

/// Whether this program came past [`supervisor_main_if_asked`].
static HOOK_CALLED: AtomicBool = AtomicBool::new(false);

/// Becomes a supervisor if this process was started as one, and then never returns.
///
/// A program that uses [`Supervisor::current_exe`] calls this first thing in `main`: before it reads its arguments,
/// before it starts a thread (a tokio runtime has many). In an ordinary start it costs a look at one argument.
pub fn supervisor_main_if_asked() {
    #[cfg(unix)]
    {
        let mut arguments = std::env::args_os().skip(1);
        if arguments.next().is_some_and(|first| first == ARGUMENT) {
            std::process::exit(watch::main(arguments));
        }
    }
    HOOK_CALLED.store(true, Ordering::Relaxed);
}

/// How the supervising process of each server is started.
#[derive(Debug, Clone)]
pub struct Supervisor(Mode);

#[derive(Debug, Clone)]
pub(crate) enum Mode {
    #[cfg(unix)]
    Process {
        exe: PathBuf,
        grace: Duration,
    },
    None,
}

/// [`Supervisor::current_exe`] in a program that never called [`supervisor_main_if_asked`]: started again, it would
/// not supervise anything but simply run a second time.
#[derive(Debug, thiserror::Error)]
#[error(
    "supervise servers with this program: its `main` did not call `supervisor_main_if_asked()` first; call it, or \
     use `Supervisor::none()` and accept that servers may outlive a killed gate"
)]
pub struct HookNotCalled(());

impl Supervisor {
    /// Supervisors that run from this very program. On Windows, the same as [`none`](Self::none).
    ///
    /// # Errors
    /// When `main` did not call [`supervisor_main_if_asked`].
    pub fn current_exe() -> Result<Self, HookNotCalled> {
        if !HOOK_CALLED.load(Ordering::Relaxed) {
            return Err(HookNotCalled(()));
        }
        Ok(Self::at(this_program()))
    }

    /// Supervisors that run from another program, whose `main` calls [`supervisor_main_if_asked`]. For tests, whose
    /// own `main` belongs to the test harness. On Windows, the same as [`none`](Self::none).
    #[must_use]
    pub fn at(exe: impl Into<PathBuf>) -> Self {
        #[cfg(unix)]
        return Self(Mode::Process {
            exe: exe.into(),
            grace: ORPHAN_GRACE,
        });
        #[cfg(not(unix))]
        {
            let _ = (exe.into(), ORPHAN_GRACE);
            Self::none()
        }
    }

    /// No supervisor: servers are direct children in a process group of their own, killed when their
    /// [`Child`](crate::Child) is dropped. Processes that left the group survive, and nothing is ended when the gate
    /// itself is killed.
    #[must_use]
    pub fn none() -> Self {
        Self(Mode::None)
    }

    pub(crate) fn mode(&self) -> &Mode {
        &self.0
    }
}

/// The path to start this program by once more.
fn this_program() -> PathBuf {
    // Not what it points to: that path is gone, or another version, after the binary was replaced by an upgrade. The
    // link is followed in the forked child, and means the image that runs now.
    #[cfg(target_os = "linux")]
    if std::fs::exists("/proc/self/exe").unwrap_or(false) {
        return PathBuf::from("/proc/self/exe");
    }
    // A failure comes back as an empty path, and that as a `SpawnError` naming the supervisor.
    std::env::current_exe().unwrap_or_default()
}
