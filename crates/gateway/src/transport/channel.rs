//! A connection whose answers all leave by one way: standard output, or the one event stream of the 2024-11-05 transport.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use bytes::Bytes;
use futures_util::StreamExt;
use tokio::{sync::mpsc, task::JoinSet};

use super::connection::{Connection, messages};
use crate::{answer::Messages, identify::Identified};

/// Messages waiting to be taken by the client; when it does not read, the calls wait.
const UNREAD: usize = 64;

/// How long calls that are told to end may take to say so.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// Both directions of one client.
pub(crate) struct Channel {
    connection: Arc<Connection>,
    outgoing: mpsc::Sender<Bytes>,
    calls: Mutex<Calls>,
}

#[derive(Default)]
struct Calls {
    running: JoinSet<()>,
    /// Notices are sent once the client has introduced itself; a call that never ends by itself.
    notices: Option<tokio::task::AbortHandle>,
}

impl Channel {
    /// A channel, and what it sends.
    pub(crate) fn new(connection: Connection) -> (Self, mpsc::Receiver<Bytes>) {
        let (outgoing, unread) = mpsc::channel(UNREAD);
        (
            Self {
                connection: Arc::new(connection),
                outgoing,
                calls: Mutex::default(),
            },
            unread,
        )
    }

    /// Begins to answer one message. The handshake is finished before the next message is looked at; everything else runs
    /// side by side.
    pub(crate) async fn take(&self, from: Identified, message: Bytes) {
        if message.iter().all(u8::is_ascii_whitespace) {
            return;
        }
        let handshake = Connection::is_handshake(&message);
        let (connection, outgoing) = (Arc::clone(&self.connection), self.outgoing.clone());
        let call = async move { forward(messages(connection.receive(from, message).await), outgoing).await };
        if handshake {
            call.await;
            self.begin_notices();
        } else {
            let mut calls = self.calls();
            while calls.running.try_join_next().is_some() {}
            calls.running.spawn(call);
        }
    }

    /// The connection whose answers these are.
    pub(crate) fn connection(&self) -> &Connection {
        &self.connection
    }

    /// Says something unasked.
    pub(crate) async fn say(&self, message: Bytes) {
        // A client that is gone needs to be told nothing.
        let _ = self.outgoing.send(message).await;
    }

    /// The client sends nothing more: its calls may finish within `grace`, and are told to by `cut` after that; then everything
    /// it had is given up.
    pub(crate) async fn close(&self, grace: Duration, cut: impl FnOnce()) {
        let Calls { mut running, notices } = std::mem::take(&mut *self.calls());
        if let Some(notices) = notices {
            notices.abort();
        }
        let mut finished = async |within| {
            let all = async { while running.join_next().await.is_some() {} };
            tokio::time::timeout(within, all).await.is_ok()
        };
        if !finished(grace).await {
            cut();
            finished(LAST_WORDS).await;
        }
        running.shutdown().await;
        self.connection.close().await;
    }

    /// The client is gone: everything it had is given up.
    pub(crate) async fn forsake(&self) {
        let Calls { mut running, notices } = std::mem::take(&mut *self.calls());
        if let Some(notices) = notices {
            notices.abort();
        }
        running.shutdown().await;
        self.connection.close().await;
    }

    fn begin_notices(&self) {
        let mut calls = self.calls();
        if calls.notices.is_none()
            && let Some(notices) = self.connection.notices()
        {
            calls.notices = Some(tokio::spawn(forward(notices, self.outgoing.clone())).abort_handle());
        }
    }

    fn calls(&self) -> MutexGuard<'_, Calls> {
        self.calls.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn forward(mut messages: Messages, outgoing: mpsc::Sender<Bytes>) {
    while let Some(message) = messages.next().await {
        if outgoing.send(message).await.is_err() {
            return;
        }
    }
}
