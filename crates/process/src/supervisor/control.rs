//! What the gate and a supervisor say to each other, over a socket pair that is also the lifeline between them.
//!
//! The gate's end is closed when the gate is gone, however it went; the supervisor needs no other sign. Besides, the
//! server's stdin travels over it: the supervisor's own descriptor 0 is the socket, so descriptors 1 and 2 can be the
//! server's from the start and no descriptor is ever inherited by number, which would race with every other spawn in
//! the gate.
//!
//! ```text
//! gate → supervisor   h + descriptor          here is the server's stdin
//!                     end 500                 TERM to the tree now, KILL in 500 ms
//! supervisor → gate   started 4711            the server's process id
//!                     failed Exec format …    it could not be executed
//!                     exited 3 | signalled 9  how the server ended
//! ```

use std::io::{self, IoSlice, IoSliceMut, Read, Write};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::process::ExitStatus;
use std::time::Duration;

use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage,
    SendFlags,
};
use rustix::process::{Pid, Signal, kill_process, kill_process_group};

use super::tree;
use crate::child::Exit;

/// The byte that carries the descriptor.
const HAND_OVER: &[u8] = b"h";

/// What a supervisor tells the gate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Report {
    Started(u32),
    Failed(String),
    Exited(i32),
    Signalled(i32),
}

impl Report {
    pub(super) fn line(&self) -> String {
        match self {
            Self::Started(id) => format!("started {id}\n"),
            Self::Failed(why) => format!("failed {}\n", why.replace('\n', " ")),
            Self::Exited(code) => format!("exited {code}\n"),
            Self::Signalled(signal) => format!("signalled {signal}\n"),
        }
    }

    fn parse(line: &str) -> Option<Self> {
        let (word, rest) = line.split_once(' ')?;
        match word {
            "started" => rest.parse().ok().map(Self::Started),
            "failed" => Some(Self::Failed(rest.to_owned())),
            "exited" => rest.parse().ok().map(Self::Exited),
            "signalled" => rest.parse().ok().map(Self::Signalled),
            _ => None,
        }
    }
}

/// What the gate tells a supervisor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Order {
    End { grace: Duration },
}

impl Order {
    pub(super) fn line(self) -> String {
        let Self::End { grace } = self;
        format!("end {}\n", u64::try_from(grace.as_millis()).unwrap_or(u64::MAX))
    }

    pub(super) fn parse(line: &str) -> Option<Self> {
        let grace = line.strip_prefix("end ")?.parse().ok()?;
        Some(Self::End {
            grace: Duration::from_millis(grace),
        })
    }
}

/// Sends a descriptor along with a byte.
pub(super) fn hand_over(socket: &UnixStream, descriptor: BorrowedFd<'_>) -> io::Result<()> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    let descriptors = [descriptor];
    // There is room for exactly this one.
    control.push(SendAncillaryMessage::ScmRights(&descriptors));
    rustix::net::sendmsg(
        socket,
        &[IoSlice::new(HAND_OVER)],
        &mut control,
        SendFlags::empty(),
    )?;
    Ok(())
}

/// Receives the descriptor that [`hand_over`] sent.
pub(super) fn take_over(socket: impl AsFd) -> io::Result<OwnedFd> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let mut byte = [0; HAND_OVER.len()];
    let flags = {
        #[cfg(target_os = "linux")]
        {
            RecvFlags::CMSG_CLOEXEC
        }
        #[cfg(not(target_os = "linux"))]
        {
            RecvFlags::empty()
        }
    };
    rustix::io::retry_on_intr(|| {
        rustix::net::recvmsg(&socket, &mut [IoSliceMut::new(&mut byte)], &mut control, flags)
    })?;
    let received = control.drain().find_map(|message| match message {
        RecvAncillaryMessage::ScmRights(mut descriptors) => descriptors.next(),
        _ => None,
    });
    let descriptor = received.ok_or_else(|| io::Error::other("no descriptor came over the socket"))?;
    rustix::io::fcntl_setfd(&descriptor, rustix::io::FdFlags::CLOEXEC)?;
    Ok(descriptor)
}

/// The gate's end. While it is open the server lives; when it closes, by a drop or by the gate's death, the tree ends.
#[derive(Debug)]
pub(crate) struct Lifeline {
    socket: UnixStream,
    received: Vec<u8>,
    server: Option<u32>,
    exit: Option<Exit>,
}

impl Lifeline {
    pub(super) fn new(socket: UnixStream) -> io::Result<Self> {
        socket.set_nonblocking(true)?;
        Ok(Self {
            socket,
            received: Vec::new(),
            server: None,
            exit: None,
        })
    }

    /// Orders the end of the tree: TERM now, KILL after `grace`.
    pub(crate) fn end(&mut self, grace: Duration) {
        // A supervisor that cannot be told is gone, or is killed by the caller when its time is over.
        self.socket.write_all(Order::End { grace }.line().as_bytes()).ok();
    }

    /// Kills the tree from here, for a supervisor that is stopped or stuck, and then the supervisor.
    pub(crate) fn kill(&mut self, supervisor: u32) {
        let Some(supervisor) = i32::try_from(supervisor).ok().and_then(Pid::from_raw) else {
            return;
        };
        // Its ids are good for as long as it lives, because nobody else takes leave of its children.
        tree::kill_below(supervisor);
        kill_process(supervisor, Signal::KILL).ok();
    }

    /// The server's process id, once it has one.
    pub(crate) fn server_id(&mut self) -> Option<u32> {
        self.receive();
        self.server
    }

    /// How the server ended, from what the supervisor said before it ended itself with this status.
    pub(crate) fn last_words(&mut self, status: &io::Result<ExitStatus>) -> Exit {
        self.receive();
        if let Some(exit) = self.exit.take() {
            return exit;
        }
        // A supervisor always reports before it ends; this one was killed. Its direct child gets a parent-death
        // signal where there is such a thing, the others only this.
        if let Some(group) = self.server.and_then(|id| Pid::from_raw(i32::try_from(id).ok()?)) {
            kill_process_group(group, Signal::KILL).ok();
        }
        Exit::Unknown(format!(
            "lost its supervising process, which {}",
            Exit::of(status)
        ))
    }

    /// Takes in what has arrived; never waits.
    fn receive(&mut self) {
        let mut buffer = [0; 512];
        loop {
            match self.socket.read(&mut buffer) {
                Ok(0) => break,
                Ok(length) => self.received.extend_from_slice(&buffer[..length]),
                Err(problem) if problem.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => break,
            }
        }
        for line in lines(&mut self.received) {
            match Report::parse(&line) {
                Some(Report::Started(id)) => self.server = Some(id),
                Some(Report::Failed(why)) => self.exit = Some(Exit::NotStarted(why)),
                Some(Report::Exited(code)) => self.exit = Some(Exit::Code(code)),
                Some(Report::Signalled(signal)) => self.exit = Some(Exit::Signal(signal)),
                None => {}
            }
        }
    }
}

/// Takes the complete lines out of what was received.
pub(super) fn lines(received: &mut Vec<u8>) -> Vec<String> {
    let Some(last) = received.iter().rposition(|byte| *byte == b'\n') else {
        return Vec::new();
    };
    let complete: Vec<u8> = received.drain(..=last).collect();
    String::from_utf8_lossy(&complete)
        .lines()
        .map(str::to_owned)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_said_is_understood() {
        for report in [
            Report::Started(4711),
            Report::Failed("No such file (os error 2)".into()),
            Report::Exited(3),
            Report::Signalled(9),
        ] {
            assert_eq!(Report::parse(report.line().trim_end()), Some(report));
        }
        let order = Order::End {
            grace: Duration::from_millis(1500),
        };
        assert_eq!(Order::parse(order.line().trim_end()), Some(order));
        assert_eq!(Order::parse("end soon"), None);
    }

    #[test]
    fn lines_wait_for_their_end() {
        let mut received = b"started 1\nexi".to_vec();
        assert_eq!(lines(&mut received), ["started 1"]);
        received.extend_from_slice(b"ted 3\n");
        assert_eq!(lines(&mut received), ["exited 3"]);
        assert!(received.is_empty());
    }

    #[test]
    fn a_descriptor_travels() {
        let (ours, theirs) = UnixStream::pair().unwrap();
        let (reader, mut writer) = io::pipe().unwrap();
        hand_over(&ours, reader.as_fd()).unwrap();
        drop((reader, ours));
        let mut taken = io::PipeReader::from(take_over(&theirs).unwrap());
        writer.write_all(b"hello").unwrap();
        drop(writer);
        let mut text = String::new();
        taken.read_to_string(&mut text).unwrap();
        assert_eq!(text, "hello");
        assert!(take_over(&theirs).is_err(), "the other end is closed");
    }
}
