//! The processes below a supervisor: signal all of them, and know when none is left.

use rustix::process::{
    Pid, Signal, WaitOptions, WaitStatus, getpid, kill_process, kill_process_group, test_kill_process_group,
    wait,
};

/// The server and everything it started.
pub(super) struct Tree {
    /// The server itself, which also leads a process group.
    leader: Pid,
    ended: Option<WaitStatus>,
}

impl Tree {
    pub(super) fn new(leader: Pid) -> Self {
        Self { leader, ended: None }
    }

    /// How the server itself ended, if it has.
    pub(super) fn leader_ended(&self) -> Option<WaitStatus> {
        self.ended
    }

    /// Takes leave of everything that has ended, and says whether anything still lives.
    pub(super) fn reap(&mut self) -> bool {
        loop {
            match wait(WaitOptions::NOHANG) {
                Ok(Some((pid, status))) if pid == self.leader => self.ended = Some(status),
                Ok(Some(_)) => {}
                Ok(None) => return true,
                Err(rustix::io::Errno::INTR) => {}
                // No children. For a subreaper that means no descendants at all: an orphan would be its child.
                Err(_) => return !cfg!(target_os = "linux") && self.group_lives(),
            }
        }
    }

    /// Asks every process to end, each once: to many servers a second TERM means "now, and never mind the data".
    pub(super) fn terminate(&self) {
        match descendants(getpid()) {
            Some(all) => all.into_iter().for_each(|pid| send(pid, Signal::TERM)),
            None => self.signal_group(Signal::TERM),
        }
    }

    /// Kills every process there is now. One that is being forked meanwhile may slip through, so this is repeated
    /// until [`reap`](Self::reap) finds none.
    pub(super) fn kill(&self) {
        // The group first and in one stroke, so that little is left to fork.
        self.signal_group(Signal::KILL);
        for pid in descendants(getpid()).unwrap_or_default() {
            send(pid, Signal::KILL);
        }
    }

    fn signal_group(&self, signal: Signal) {
        // On Linux descendants are found one by one, so the group is not touched once its id may be another's.
        if self.ended.is_none() || !cfg!(target_os = "linux") {
            kill_process_group(self.leader, signal).ok();
        }
    }

    fn group_lives(&self) -> bool {
        test_kill_process_group(self.leader).is_ok()
    }
}

/// A failure means that the process has ended, or is another user's (a setuid program) and cannot be ended from here.
fn send(pid: Pid, signal: Signal) {
    kill_process(pid, signal).ok();
}

/// How often it is looked for processes that were forked while the others were killed: nobody forks for so long who dies.
const ROUNDS: usize = 100;

/// Kills everything below a supervisor that no longer does so itself, what is forked meanwhile too.
pub(super) fn kill_below(supervisor: Pid) {
    for _ in 0..ROUNDS {
        let living = descendants(supervisor).unwrap_or_default();
        if living.is_empty() {
            return;
        }
        living.into_iter().for_each(|pid| send(pid, Signal::KILL));
        std::thread::yield_now();
    }
}

/// Every living process below this one, those that left the group or the session included; none where the operating
/// system does not tell.
#[cfg(target_os = "linux")]
fn descendants(root: Pid) -> Option<Vec<Pid>> {
    let parents: Vec<(i32, i32)> = std::fs::read_dir("/proc")
        .ok()?
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .filter_map(|pid: i32| {
            let stat = std::fs::read(format!("/proc/{pid}/stat")).ok()?;
            Some((pid, living_parent(&stat)?))
        })
        .collect();
    let mut found = vec![root.as_raw_nonzero().get()];
    let mut next = 0;
    while let Some(&parent) = found.get(next) {
        found.extend(
            parents
                .iter()
                .filter(|(_, its)| *its == parent)
                .map(|(pid, _)| *pid),
        );
        next += 1;
    }
    Some(found.into_iter().skip(1).filter_map(Pid::from_raw).collect())
}

#[cfg(not(target_os = "linux"))]
fn descendants(_root: Pid) -> Option<Vec<Pid>> {
    None
}

/// The parent's id from `/proc/PID/stat` (proc(5): `pid (comm) state ppid …`), unless the process has ended. The name
/// in the parentheses is the program's choice and may itself hold parentheses, spaces and bytes of any kind.
#[cfg(target_os = "linux")]
fn living_parent(stat: &[u8]) -> Option<i32> {
    let after_name = stat.iter().rposition(|byte| *byte == b')')?;
    let rest = std::str::from_utf8(stat.get(after_name + 1..)?).ok()?;
    let mut fields = rest.split_ascii_whitespace();
    match fields.next()? {
        "Z" | "X" => None,
        _ => fields.next()?.parse().ok(),
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn a_parent_is_read_past_any_name() {
        assert_eq!(living_parent(b"12 (sh) S 7 12 12 0"), Some(7));
        assert_eq!(living_parent(b"12 (a) R 1 (b\xff)) S 7 12 12 0"), Some(7));
        assert_eq!(living_parent(b"12 (sh) Z 7 12 12 0"), None);
        assert_eq!(living_parent(b"12 (sh"), None);
    }

    #[test]
    fn descendants_are_found() {
        let mut child = std::process::Command::new("sleep").arg("60").spawn().unwrap();
        let id = Pid::from_child(&child);
        assert!(descendants(getpid()).unwrap().contains(&id));
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(!descendants(getpid()).unwrap().contains(&id));
    }
}
