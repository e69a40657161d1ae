//! The supervising process itself: one thread, no runtime, asleep in one `poll` for all but the first and the last
//! moment of its life.

use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, Signal};

use super::control::{Order, Report, lines, take_over};
use super::descriptors;
use super::tree::Tree;

/// How long after KILL the supervisor stays for what does not die. What is left then is stuck in the kernel, or a
/// setuid program that only its owner can kill; staying would not help.
const KILL_LIMIT: Duration = Duration::from_secs(2);

/// How long to rest between two rounds of KILL. The end of a child interrupts it.
const KILL_ROUND: Duration = Duration::from_millis(20);

/// What shells answer for a program that cannot be executed.
const NOT_STARTED: i32 = 127;

/// Runs as a supervisor; returns the exit code: the server's, or 128 and its signal, as shells have it.
pub(super) fn main(arguments: impl Iterator<Item = OsString>) -> i32 {
    let mut control = match take_control() {
        Ok(control) => control,
        Err(problem) => {
            writeln!(
                io::stderr(),
                "`{}` is for Gatepost's own use ({problem})",
                super::ARGUMENT
            )
            .ok();
            return NOT_STARTED;
        }
    };
    match begin(&control, arguments) {
        Ok(mut watch) => watch.run(&mut control),
        Err(problem) => {
            tell(&control, &Report::Failed(problem.to_string()));
            NOT_STARTED
        }
    }
}

/// Moves the socket away from descriptor 0, where the gate put it.
fn take_control() -> io::Result<UnixStream> {
    let stdin = rustix::stdio::stdin();
    // Only the gate starts us on a socket; a person's terminal or pipe fails here.
    rustix::net::sockopt::socket_type(stdin)?;
    Ok(UnixStream::from(rustix::io::fcntl_dupfd_cloexec(stdin, 3)?))
}

struct Watch {
    tree: Tree,
    /// Readable when a child has ended.
    child_ended: UnixStream,
    /// Readable when somebody asked this very process to end.
    asked_to_end: UnixStream,
    /// From TERM to KILL when nobody says otherwise.
    grace: Duration,
    /// When to KILL; set once TERM was sent.
    kill_at: Option<Instant>,
    received: Vec<u8>,
    gate_lives: bool,
    reported: bool,
}

fn begin(control: &UnixStream, mut arguments: impl Iterator<Item = OsString>) -> io::Result<Watch> {
    // Out of the gate's group and session: Ctrl-C in a terminal is for the gate, which drains, and a server that
    // wants to ask something on the terminal gets an error instead of being stopped for ever. It fails only for the
    // leader of a group, which has both already.
    rustix::process::setsid().ok();
    descriptors::keep_from_the_server();
    let server_stdin = take_over(control)?;
    let nothing = File::options().read(true).write(true).open("/dev/null")?;
    rustix::stdio::dup2_stdin(&nothing)?;
    #[cfg(target_os = "linux")]
    {
        rustix::process::set_child_subreaper(Some(rustix::process::getpid()))?;
        // Started through `/proc/self/exe` it would be called "exe".
        rustix::thread::set_name(c"gatepost-watch").ok();
    }
    let child_ended = on_signals(&[Signal::CHILD])?;
    let asked_to_end = on_signals(&[Signal::TERM, Signal::INT, Signal::HUP])?;

    let malformed = || io::Error::from(io::ErrorKind::InvalidInput);
    let grace = arguments
        .next()
        .and_then(|millis| millis.to_str()?.parse().ok())
        .ok_or_else(malformed)?;
    let name = arguments.next().ok_or_else(malformed)?;
    let file = arguments.next().ok_or_else(malformed)?;
    let mut server = Command::new(file);
    server
        .arg0(name)
        .args(arguments)
        .stdin(Stdio::from(server_stdin))
        .process_group(0);
    die_with_this_process(&mut server);
    let leader = server.spawn()?;
    // Closes this process's copy of the server's stdin.
    drop(server);
    tell(control, &Report::Started(leader.id()));

    // The gate must see the end of stdout when the server closes it, not when its supervisor ends.
    rustix::stdio::dup2_stdout(&nothing)?;
    rustix::stdio::dup2_stderr(&nothing)?;
    Ok(Watch {
        tree: Tree::new(Pid::from_child(&leader)),
        child_ended,
        asked_to_end,
        grace: Duration::from_millis(grace),
        kill_at: None,
        received: Vec::new(),
        gate_lives: true,
        reported: false,
    })
}

/// Kills the server when this process is killed. It is the last resort, and reaches only the direct child.
#[cfg(target_os = "linux")]
fn die_with_this_process(server: &mut Command) {
    use rustix::process::{getpid, getppid, set_parent_process_death_signal};
    let supervisor = getpid();
    let before_exec = move || {
        set_parent_process_death_signal(Some(Signal::KILL))?;
        // Killed before that call? Then the signal would never come.
        if getppid() == Some(supervisor) {
            Ok(())
        } else {
            Err(io::ErrorKind::BrokenPipe.into())
        }
    };
    #[expect(
        unsafe_code,
        reason = "a parent-death signal can only be set between fork and exec"
    )]
    // SAFETY: the closure makes three system calls and neither allocates nor locks; and the supervisor has a single
    // thread, so that even a lock could not be held by another one at the fork.
    unsafe {
        server.pre_exec(before_exec);
    }
}

#[cfg(not(target_os = "linux"))]
fn die_with_this_process(_server: &mut Command) {}

impl Watch {
    /// Waits for the server's end or for a reason to bring it about; returns when nothing is left.
    fn run(&mut self, control: &mut UnixStream) -> i32 {
        loop {
            let anything_lives = self.tree.reap();
            self.report(control);
            if !anything_lives {
                break;
            }
            // What a server leaves behind is ended with it.
            if self.tree.leader_ended().is_some() {
                self.end_within(self.grace);
            }
            let wake = match self.kill_at {
                Some(at) if at + KILL_LIMIT <= Instant::now() => break,
                Some(at) if at <= Instant::now() => {
                    self.tree.kill();
                    Some(Instant::now() + KILL_ROUND)
                }
                at => at,
            };
            self.sleep_until(wake, control);
        }
        let status = self.tree.leader_ended();
        status.map_or(NOT_STARTED, |status| {
            status
                .exit_status()
                .unwrap_or_else(|| 128 + status.terminating_signal().unwrap_or_default())
        })
    }

    /// Sends TERM, unless it was sent already, and sets the time for KILL, or brings it forward.
    fn end_within(&mut self, grace: Duration) {
        let at = Instant::now() + grace;
        match self.kill_at {
            Some(earlier) if earlier <= at => {}
            Some(_) => self.kill_at = Some(at),
            None => {
                self.tree.terminate();
                self.kill_at = Some(at);
            }
        }
    }

    fn report(&mut self, control: &UnixStream) {
        if let (Some(status), false) = (self.tree.leader_ended(), self.reported) {
            self.reported = true;
            let report = match (status.exit_status(), status.terminating_signal()) {
                (Some(code), _) => Report::Exited(code),
                (None, signal) => Report::Signalled(signal.unwrap_or_default()),
            };
            tell(control, &report);
        }
    }

    fn sleep_until(&mut self, wake: Option<Instant>, control: &mut UnixStream) {
        let timeout = wake.map(|at| at.saturating_duration_since(Instant::now()));
        let timeout = timeout.and_then(|rest| Timespec::try_from(rest).ok());
        let ready = |fd: &PollFd<'_>| !fd.revents().is_empty();
        let (child_ended, asked_to_end, word_from_gate) = {
            let mut fds = vec![
                PollFd::new(&self.child_ended, PollFlags::IN),
                PollFd::new(&self.asked_to_end, PollFlags::IN),
            ];
            // A closed socket is ready for ever.
            if self.gate_lives {
                fds.push(PollFd::from_borrowed_fd(control.as_fd(), PollFlags::IN));
            }
            // Interrupted by a signal: what it wrote is found in the next round.
            if poll(&mut fds, timeout.as_ref()).is_err() {
                return;
            }
            (ready(&fds[0]), ready(&fds[1]), fds.get(2).is_some_and(ready))
        };
        if child_ended {
            drain(&mut self.child_ended);
        }
        if asked_to_end {
            drain(&mut self.asked_to_end);
            self.end_within(self.grace);
        }
        if word_from_gate {
            self.listen(control);
        }
    }

    fn listen(&mut self, control: &mut UnixStream) {
        let mut buffer = [0; 64];
        match control.read(&mut buffer) {
            Err(problem) if problem.kind() == io::ErrorKind::Interrupted => {}
            Ok(0) | Err(_) => {
                self.gate_lives = false;
                self.end_within(self.grace);
            }
            Ok(length) => {
                self.received.extend_from_slice(&buffer[..length]);
                for line in lines(&mut self.received) {
                    if let Some(Order::End { grace }) = Order::parse(&line) {
                        self.end_within(grace);
                    }
                }
            }
        }
    }
}

/// A socket that becomes readable when one of the signals comes.
fn on_signals(signals: &[Signal]) -> io::Result<UnixStream> {
    let (reader, writer) = UnixStream::pair()?;
    reader.set_nonblocking(true)?;
    for signal in signals {
        signal_hook::low_level::pipe::register(signal.as_raw(), OwnedFd::from(writer.try_clone()?))?;
    }
    Ok(reader)
}

fn drain(socket: &mut UnixStream) {
    let mut buffer = [0; 64];
    while matches!(socket.read(&mut buffer), Ok(length) if length > 0) {}
}

/// A gate that is gone does not hear it; that is noticed elsewhere.
fn tell(mut control: &UnixStream, report: &Report) {
    control.write_all(report.line().as_bytes()).ok();
}
