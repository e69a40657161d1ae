//! A running server: its pipes, its end, and how to bring that about.

use std::fmt;
use std::time::Duration;

use tokio::process::{Child as Process, ChildStderr, ChildStdin, ChildStdout};
use tokio::time::timeout;

#[cfg(unix)]
use crate::supervisor::Lifeline;

/// How long after KILL an end is waited for. Only a process stuck in the kernel takes longer than an instant.
const KILL_MARGIN: Duration = Duration::from_secs(3);

/// A running server and everything it started. Dropping it ends all of that: under a supervisor by TERM and, after
/// the supervisor's own short grace, KILL; without one by KILL at once.
#[derive(Debug)]
pub struct Child {
    /// Where the server reads. Closing it is how MCP's stdio transport asks a server to end.
    pub stdin: Option<ChildStdin>,
    /// What the server writes.
    pub stdout: Option<ChildStdout>,
    /// What the server logs.
    pub stderr: Option<ChildStderr>,
    process: Process,
    id: u32,
    kept: Kept,
    exit: Option<Exit>,
}

/// What holds the processes together.
#[derive(Debug)]
enum Kept {
    /// A supervisor, which ends them when the lifeline closes.
    #[cfg(unix)]
    Supervised(Lifeline),
    /// Nothing but this value: no supervisor.
    Plain,
}

impl Child {
    #[cfg(unix)]
    pub(crate) fn supervised(mut process: Process, stdin: ChildStdin, lifeline: Lifeline) -> Self {
        let (stdout, stderr) = (process.stdout.take(), process.stderr.take());
        let id = process.id().unwrap_or_default();
        Self {
            stdin: Some(stdin),
            stdout,
            stderr,
            process,
            id,
            kept: Kept::Supervised(lifeline),
            exit: None,
        }
    }

    pub(crate) fn plain(mut process: Process) -> Self {
        let (stdin, stdout, stderr) = (process.stdin.take(), process.stdout.take(), process.stderr.take());
        let id = process.id().unwrap_or_default();
        Self {
            stdin,
            stdout,
            stderr,
            process,
            id,
            kept: Kept::Plain,
            exit: None,
        }
    }

    /// The process id to show to people: the supervisor's, whose descendants are the server and all it started;
    /// the server's own where there is no supervisor.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.id
    }

    /// The process id of the server itself; none until the supervisor has started it, a moment after the spawn.
    pub fn server_id(&mut self) -> Option<u32> {
        match &mut self.kept {
            #[cfg(unix)]
            Kept::Supervised(lifeline) => lifeline.server_id(),
            Kept::Plain => Some(self.id),
        }
    }

    /// Waits until the server, and under a supervisor everything it started, has ended. Cancel safe; may be called
    /// again and then gives the same answer.
    ///
    /// This does not close stdin: a server that waits for input does not end.
    pub async fn wait(&mut self) -> Exit {
        if let Some(exit) = &self.exit {
            return exit.clone();
        }
        let status = self.process.wait().await;
        let exit = match &mut self.kept {
            #[cfg(unix)]
            Kept::Supervised(lifeline) => lifeline.last_words(&status),
            Kept::Plain => {
                // While the group has members its id is nobody else's.
                self.kill_group();
                Exit::of(&status)
            }
        };
        self.exit = Some(exit.clone());
        exit
    }

    /// Ends the server in the order of MCP's stdio transport (lifecycle, "Shutdown"): stdin is closed; after `grace`
    /// TERM goes to every process of the tree; after another `grace`, KILL. Returns as soon as all have ended, at
    /// the latest some three seconds after KILL.
    ///
    /// Who took [`stdin`](Self::stdin) closes it before calling this; here it is closed only if it was left.
    pub async fn shutdown(mut self, grace: Duration) -> Exit {
        drop(self.stdin.take());
        if let Ok(exit) = timeout(grace, self.wait()).await {
            return exit;
        }
        let after_term = self.terminate(grace);
        if let Ok(exit) = timeout(after_term, self.wait()).await {
            return exit;
        }
        self.kill();
        match timeout(KILL_MARGIN, self.wait()).await {
            Ok(exit) => exit,
            Err(_) => Exit::Unknown("does not end, not even on KILL".to_owned()),
        }
    }

    /// Sends TERM, and says how long to wait before KILL must come from here.
    fn terminate(&mut self, grace: Duration) -> Duration {
        match &mut self.kept {
            #[cfg(unix)]
            Kept::Supervised(lifeline) => {
                lifeline.end(grace);
                // The supervisor does the killing; this is for one that is stopped or stuck.
                grace.saturating_add(KILL_MARGIN)
            }
            Kept::Plain => {
                #[cfg(unix)]
                if let Some(group) = group(self.id) {
                    rustix::process::kill_process_group(group, rustix::process::Signal::TERM).ok();
                }
                // Elsewhere there is no TERM: closing stdin was the only request, and its grace is over.
                if cfg!(unix) { grace } else { Duration::ZERO }
            }
        }
    }

    /// Kills everything that can be found. Failures mean that it has ended meanwhile, which is what is wanted.
    fn kill(&mut self) {
        match &mut self.kept {
            #[cfg(unix)]
            Kept::Supervised(lifeline) => lifeline.kill(self.id),
            Kept::Plain => {
                self.kill_group();
                self.process.start_kill().ok();
            }
        }
    }

    /// Without a supervisor, a process group is all that can be ended.
    fn kill_group(&self) {
        #[cfg(unix)]
        if let (Kept::Plain, Some(group)) = (&self.kept, group(self.id)) {
            rustix::process::kill_process_group(group, rustix::process::Signal::KILL).ok();
        }
    }
}

/// The group of a process that leads its own. Guards against 0, which would mean the gate's own group.
#[cfg(unix)]
fn group(id: u32) -> Option<rustix::process::Pid> {
    rustix::process::Pid::from_raw(i32::try_from(id).ok()?)
}

impl Drop for Child {
    fn drop(&mut self) {
        // A supervisor needs no word: its lifeline closes now. Once an exit is known, the id may be another's.
        if self.exit.is_none() {
            self.kill_group();
        }
    }
}

/// How a server ended.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Exit {
    /// It exited by itself with this code.
    Code(i32),
    /// A signal ended it.
    Signal(i32),
    /// It never ran: the operating system refused to execute it, for this reason.
    NotStarted(String),
    /// Its end was not seen, for this reason.
    Unknown(String),
}

impl Exit {
    /// Whether it exited by itself with code 0.
    #[must_use]
    pub fn success(&self) -> bool {
        *self == Self::Code(0)
    }

    pub(crate) fn of(status: &std::io::Result<std::process::ExitStatus>) -> Self {
        let status = match status {
            Ok(status) => status,
            Err(problem) => return Self::Unknown(format!("could not be waited for: {problem}")),
        };
        #[cfg(unix)]
        if let Some(signal) = std::os::unix::process::ExitStatusExt::signal(status) {
            return Self::Signal(signal);
        }
        status
            .code()
            .map_or_else(|| Self::Unknown("ended without a status".to_owned()), Self::Code)
    }
}

/// A predicate for the server's name: "exited with code 1", "was ended by SIGKILL (9)".
impl fmt::Display for Exit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Code(code) => write!(f, "exited with code {code}"),
            Self::Signal(signal) => match signal_name(*signal) {
                Some(name) => write!(f, "was ended by {name} ({signal})"),
                None => write!(f, "was ended by signal {signal}"),
            },
            Self::NotStarted(why) => write!(f, "could not be started: {why}"),
            Self::Unknown(why) => f.write_str(why),
        }
    }
}

/// The signals that end servers in practice, where all systems number them alike.
fn signal_name(signal: i32) -> Option<&'static str> {
    Some(match signal {
        1 => "SIGHUP",
        2 => "SIGINT",
        3 => "SIGQUIT",
        4 => "SIGILL",
        6 => "SIGABRT",
        8 => "SIGFPE",
        9 => "SIGKILL",
        11 => "SIGSEGV",
        13 => "SIGPIPE",
        15 => "SIGTERM",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_exit_reads_as_a_predicate() {
        for (exit, text) in [
            (Exit::Code(3), "exited with code 3"),
            (Exit::Signal(9), "was ended by SIGKILL (9)"),
            (Exit::Signal(40), "was ended by signal 40"),
            (
                Exit::NotStarted("Exec format error".into()),
                "could not be started: Exec format error",
            ),
        ] {
            assert_eq!(exit.to_string(), text);
        }
        assert!(Exit::Code(0).success() && !Exit::Signal(15).success());
    }
}
