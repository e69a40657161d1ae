//! Connections that go nowhere: a head that trickles in, or silence between requests.
//!
//! hyper's own header timeout boxes a timer for every request and also cuts idle keep-alive connections. Here the
//! socket counts what it reads, and one slow tick per connection looks at the count: the hot path pays two atomic
//! stores.

use std::{
    io,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU32, AtomicU64, Ordering::Relaxed},
    },
    task::{Context, Poll},
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    time::Instant,
};

/// How long a connection may take for what.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Patience {
    /// From the first byte of a head to its last.
    pub(crate) header: Duration,
    /// Without any request.
    pub(crate) idle: Duration,
}

impl Patience {
    /// How often to look: often enough to be at most a quarter late, seldom enough to cost nothing.
    pub(crate) fn tick(self) -> Duration {
        (self.header.min(self.idle) / 4).clamp(Duration::from_millis(50), Duration::from_secs(5))
    }
}

/// What a look at the connection says.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Leave it be.
    Fine,
    /// A head has been arriving for too long.
    SlowHead,
    /// Nothing has happened for too long.
    Idle,
}

/// What happens on one connection; times are milliseconds since it was opened, plus one, so that zero means "not".
#[derive(Debug)]
pub(crate) struct Activity {
    opened: Instant,
    in_flight: AtomicU32,
    head_since: AtomicU64,
    quiet_since: AtomicU64,
}

impl Activity {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self {
            opened: Instant::now(),
            in_flight: AtomicU32::new(0),
            head_since: AtomicU64::new(0),
            quiet_since: AtomicU64::new(1),
        })
    }

    /// A request's head is complete; the guard lives until its answer is.
    pub(crate) fn request(self: &Arc<Self>) -> Busy {
        self.head_since.store(0, Relaxed);
        self.in_flight.fetch_add(1, Relaxed);
        Busy(Arc::clone(self))
    }

    pub(crate) fn verdict(&self, patience: Patience) -> Verdict {
        if self.in_flight.load(Relaxed) > 0 {
            return Verdict::Fine;
        }
        let now = self.now();
        let since = |mark: u64| Duration::from_millis(now.saturating_sub(mark));
        match (self.head_since.load(Relaxed), self.quiet_since.load(Relaxed)) {
            (0, quiet) if since(quiet) >= patience.idle => Verdict::Idle,
            (head, _) if head > 0 && since(head) >= patience.header => Verdict::SlowHead,
            _ => Verdict::Fine,
        }
    }

    fn now(&self) -> u64 {
        u64::try_from(self.opened.elapsed().as_millis()).unwrap_or(u64::MAX - 1) + 1
    }

    fn received(&self) {
        if self.in_flight.load(Relaxed) == 0 && self.head_since.load(Relaxed) == 0 {
            self.head_since.store(self.now(), Relaxed);
        }
    }
}

/// One request in flight on a connection.
#[derive(Debug)]
pub(crate) struct Busy(Arc<Activity>);

impl Drop for Busy {
    fn drop(&mut self) {
        self.0.quiet_since.store(self.0.now(), Relaxed);
        self.0.in_flight.fetch_sub(1, Relaxed);
    }
}

/// A socket that notes when bytes arrive.
pub(crate) struct Watched<S> {
    socket: S,
    activity: Arc<Activity>,
}

impl<S> Watched<S> {
    pub(crate) fn new(socket: S, activity: Arc<Activity>) -> Self {
        Self { socket, activity }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Watched<S> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let before = buf.filled().len();
        let result = Pin::new(&mut this.socket).poll_read(cx, buf);
        if buf.filled().len() > before {
            this.activity.received();
        }
        result
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Watched<S> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().socket).poll_write(cx, buf)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().socket).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().socket).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().socket).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.socket.is_write_vectored()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATIENCE: Patience = Patience {
        header: Duration::from_secs(10),
        idle: Duration::from_secs(60),
    };

    #[tokio::test(start_paused = true)]
    async fn a_trickling_head_is_noticed_and_a_busy_connection_never() {
        let activity = Activity::new();
        tokio::time::advance(Duration::from_secs(30)).await;
        assert_eq!(activity.verdict(PATIENCE), Verdict::Fine);
        activity.received();
        tokio::time::advance(Duration::from_secs(9)).await;
        activity.received();
        assert_eq!(activity.verdict(PATIENCE), Verdict::Fine);
        tokio::time::advance(Duration::from_secs(1)).await;
        assert_eq!(activity.verdict(PATIENCE), Verdict::SlowHead);
        let busy = activity.request();
        tokio::time::advance(Duration::from_secs(3600)).await;
        assert_eq!(activity.verdict(PATIENCE), Verdict::Fine);
        drop(busy);
        tokio::time::advance(Duration::from_secs(59)).await;
        assert_eq!(activity.verdict(PATIENCE), Verdict::Fine);
        tokio::time::advance(Duration::from_secs(1)).await;
        assert_eq!(activity.verdict(PATIENCE), Verdict::Idle);
    }

    #[tokio::test(start_paused = true)]
    async fn a_connection_that_never_speaks_is_idle() {
        let activity = Activity::new();
        tokio::time::advance(Duration::from_secs(61)).await;
        assert_eq!(activity.verdict(PATIENCE), Verdict::Idle);
    }
}
