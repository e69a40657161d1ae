//! One connection and the exchange on it: a request on its way out, the bytes of its answer on their way in.

use std::{
    future::Future,
    io::{self, IoSlice},
    pin::{Pin, pin},
    task::{Context, Poll, Waker, ready},
};

use bytes::{Buf, BytesMut};
use gatepost_protocol::framing::http1::{BadResponse, Head, parse_head};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadBuf};

use super::{HttpError, Sealed, socket::Socket};

/// How much is read at once from a server that says little.
const READ: usize = 8 * 1024;
/// How much is read at once from one that says much.
const READ_MOST: usize = 64 * 1024;

/// A connection to a server.
pub(crate) struct Link {
    socket: Socket,
    /// What was received and not yet taken.
    pub(super) input: BytesMut,
    /// How much to make room for.
    room: usize,
    output: Sealed,
    /// How much of `output` is written.
    sent: usize,
    sending: Sending,
}

#[derive(Debug)]
enum Sending {
    /// There is something to be written or flushed.
    Active,
    Done,
    /// The server did not take the request to its end. It may have answered all the same.
    Failed(io::Error),
}

/// Why there is no answer.
#[derive(Debug)]
pub(super) enum Failure {
    /// Nothing was written: here is the request again.
    NotSent(Sealed),
    Broken(HttpError),
}

// === impl Link ===

impl Link {
    pub(super) fn new(socket: Socket) -> Self {
        Self {
            socket,
            input: BytesMut::new(),
            room: READ,
            output: Sealed::default(),
            sent: 0,
            sending: Sending::Done,
        }
    }

    /// Sets out to send `request`; [`Link::poll_head`] does it.
    pub(super) fn begin(&mut self, request: Sealed) {
        self.output = request;
        self.sent = 0;
        self.sending = Sending::Active;
    }

    /// Sends and receives until the head of the answer is there, and gives it and its bytes to `read`. What follows the
    /// head stays in `input`. Interim answers are passed over (RFC 9110 15.2).
    pub(super) fn poll_head<T>(
        &mut self,
        cx: &mut Context<'_>,
        mut read: impl FnMut(&Head<'_>, &[u8]) -> Result<T, HttpError>,
    ) -> Poll<Result<T, Failure>> {
        self.poll_send(cx);
        if let Sending::Failed(_) = self.sending
            && self.sent == 0
            && self.socket.is_plain()
        {
            return Poll::Ready(Err(Failure::NotSent(std::mem::take(&mut self.output))));
        }
        loop {
            match ready!(self.poll_fill(cx)) {
                Ok(0) => return Poll::Ready(Err(Failure::Broken(self.cut_off()))),
                Ok(_) => {}
                Err(error) => return Poll::Ready(Err(Failure::Broken(self.broken(&error)))),
            }
            while !self.input.is_empty() {
                let (taken, outcome) = match parse_head(&self.input) {
                    Ok(None) => break,
                    Ok(Some(head)) if head.status == 101 => {
                        let text = "the answer switches protocols, which was not asked for";
                        (0, Some(Err(HttpError::Broken(text.to_owned()))))
                    }
                    Ok(Some(head)) if head.status < 200 => (head.length, None),
                    Ok(Some(head)) => (head.length, Some(read(&head, &self.input[..head.length]))),
                    Err(error) => (0, Some(Err(error.into()))),
                };
                self.input.advance(taken);
                if let Some(outcome) = outcome {
                    return Poll::Ready(outcome.map_err(Failure::Broken));
                }
            }
        }
    }

    /// Goes on sending, as far as the server takes it. Only reading tells what became of it.
    pub(super) fn poll_send(&mut self, cx: &mut Context<'_>) {
        if let Sending::Active = self.sending {
            match self.poll_write(cx) {
                Poll::Ready(Ok(())) => {
                    self.sending = Sending::Done;
                    self.output = Sealed::default();
                }
                Poll::Ready(Err(error)) => self.sending = Sending::Failed(error),
                Poll::Pending => {}
            }
        }
    }

    fn poll_write(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let Sealed { head, body } = &self.output;
        while self.sent < head.len() + body.len() {
            let socket = Pin::new(&mut self.socket);
            let written = match head.get(self.sent..) {
                Some(head) if body.is_empty() => socket.poll_write(cx, head),
                Some(head) => socket.poll_write_vectored(cx, &[IoSlice::new(head), IoSlice::new(body)]),
                None => socket.poll_write(cx, &body[self.sent - head.len()..]),
            };
            match ready!(written)? {
                0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                written => self.sent += written,
            }
        }
        Pin::new(&mut self.socket).poll_flush(cx)
    }

    /// Receives something; `0` is the end.
    pub(super) fn poll_fill(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        // Small answers share a buffer until it is nearly used up.
        if self.input.capacity() - self.input.len() < self.room / 4 {
            self.input.reserve(self.room);
        }
        let received = ready!(pin!(self.socket.read_buf(&mut self.input)).poll(cx))?;
        if self.input.len() == self.input.capacity() {
            self.room = (self.room * 2).min(READ_MOST);
        }
        Poll::Ready(Ok(received))
    }

    /// Makes the link ready for another exchange; false when there can be none.
    pub(super) fn rest(&mut self) -> bool {
        // What is there already was not asked for.
        let reusable = matches!(self.sending, Sending::Done) && self.input.is_empty();
        if self.room > READ {
            self.room = READ;
            self.input = BytesMut::new();
        }
        reusable
    }

    /// Whether an idle link is still good: the server has neither closed it nor said anything. No system call where
    /// nothing has happened.
    pub(super) fn is_quiet(&mut self) -> bool {
        let mut byte = [0];
        Pin::new(&mut self.socket)
            .poll_read(
                &mut Context::from_waker(Waker::noop()),
                &mut ReadBuf::new(&mut byte),
            )
            .is_pending()
    }

    /// The error of a connection that ended before the answer did.
    pub(super) fn cut_off(&self) -> HttpError {
        HttpError::Broken(match &self.sending {
            Sending::Failed(error) => format!("the connection broke while the request was sent: {error}"),
            Sending::Active => "the connection was closed while the request was sent".to_owned(),
            Sending::Done if self.input.is_empty() => {
                "the connection was closed before the answer was complete".to_owned()
            }
            Sending::Done => "the connection was closed in the middle of the answer".to_owned(),
        })
    }

    /// The error of a connection that broke.
    pub(super) fn broken(&self, error: &io::Error) -> HttpError {
        match &self.sending {
            Sending::Failed(_) => self.cut_off(),
            Sending::Active | Sending::Done => HttpError::Broken(format!(
                "the connection broke before the answer was complete: {error}"
            )),
        }
    }
}

impl From<BadResponse> for HttpError {
    fn from(error: BadResponse) -> Self {
        Self::Broken(error.to_string())
    }
}
