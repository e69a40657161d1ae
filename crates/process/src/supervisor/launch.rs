//! The gate's side of a supervised start.

use std::ffi::{OsStr, OsString};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use tokio::process::ChildStdin;

use super::control::{Lifeline, hand_over};
use crate::child::Child;

/// What the supervisor is to run.
pub(crate) struct Launch<'a> {
    /// What the server finds as its own name.
    pub(crate) name: &'a OsStr,
    /// The file to execute.
    pub(crate) file: &'a Path,
    pub(crate) args: &'a [OsString],
}

impl Launch<'_> {
    /// Starts the supervisor from `exe`, in the surroundings that `surround` gives it, and hands it the server's
    /// stdin.
    pub(crate) fn spawn(
        &self,
        exe: &Path,
        grace: Duration,
        surround: impl FnOnce(&mut tokio::process::Command),
    ) -> io::Result<Child> {
        #[cfg(not(target_os = "linux"))]
        let _alone = one_at_a_time();

        let (ours, theirs) = UnixStream::pair()?;
        let (server_stdin, stdin) = io::pipe()?;
        hand_over(&ours, server_stdin.as_fd())?;
        // From here on the only read end travels in the socket, so a server's end is noticed when writing.
        drop(server_stdin);

        let mut command = tokio::process::Command::new(exe);
        surround(&mut command);
        command
            .arg0("gatepost")
            .arg(super::ARGUMENT)
            .arg(grace.as_millis().to_string())
            .arg(self.name)
            .arg(self.file)
            .args(self.args)
            .stdin(Stdio::from(OwnedFd::from(theirs)));
        let process = command.spawn()?;
        let stdin = ChildStdin::from_std(OwnedFd::from(stdin).into())?;
        Ok(Child::supervised(process, stdin, Lifeline::new(ours)?))
    }
}

/// Linux makes every descriptor close-on-exec at its birth. Elsewhere there is a moment in between, in which another
/// spawn's child would keep it: a supervisor that held the gate's end of another's lifeline would keep that tree alive.
#[cfg(not(target_os = "linux"))]
fn one_at_a_time() -> std::sync::MutexGuard<'static, ()> {
    static ALONE: std::sync::Mutex<()> = std::sync::Mutex::new(());
    ALONE.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}
