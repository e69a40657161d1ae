//! Event streams that a legacy client can take up again after its connection broke.
//!
//! To a legacy client a broken connection is no cancellation, so the call goes on without it and what it says is kept for a
//! while: a GET with `Last-Event-ID` gets the rest of that one stream. Modern streams are not resumable.
//!
//! Source: MCP 2025-11-25, basic/transports#Resumability and Redelivery; bounds: `eras.md` section 6.

use std::{
    collections::{HashMap, VecDeque},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use bytes::Bytes;
use futures_util::{StreamExt, stream};
use gatepost_policy::Principal;
use gatepost_protocol::{
    framing::sse::{sse_event, sse_priming},
    version::Version,
};
use tokio::sync::Notify;

use super::body::{Broken, Chunks};
use crate::{
    answer::{Messages, Resume},
    seal::{SealError, random},
    session::ConversationId,
};

/// Events and bytes kept for a client that is away.
const KEPT_EVENTS: usize = 256;
const KEPT_BYTES: usize = 1024 * 1024;
/// How long they are kept.
const KEPT_FOR: Duration = Duration::from_secs(300);
/// How far a stream may run ahead of a client that is there.
const AHEAD: u64 = 32;
/// Streams that may wait for their clients at once, of all and of one principal; more are forgotten at once. Nobody takes the
/// places of all others.
const KEPT_STREAMS: usize = 1024;
const KEPT_STREAMS_EACH: usize = 64;
/// What the client is told to wait before it comes back.
const RETRY_MS: u64 = 500;

type Key = (ConversationId, u64);

/// The resumable streams of the gate.
#[derive(Default)]
pub(crate) struct Resumable {
    streams: Mutex<HashMap<Key, Arc<Recording>>>,
    next: AtomicU64,
}

/// One stream's recent events.
struct Recording {
    owner: Principal,
    state: Mutex<State>,
    /// Something was written, or the stream ended.
    written: Notify,
    /// Something was read, or the reader left.
    read: Notify,
}

#[derive(Default)]
struct State {
    events: VecDeque<Bytes>,
    bytes: usize,
    /// The number of `events[0]`.
    first: u64,
    /// The number of the event the attached reader wants next.
    wanted: u64,
    /// Counts readers; an older one that is still there ends.
    reader: u64,
    attached: bool,
    ended: bool,
}

impl Resumable {
    /// No streams yet. Their numbers begin somewhere at random: a client that comes back to another gate than the one that
    /// has its stream must not get a part of another one.
    pub(crate) fn new() -> Result<Self, SealError> {
        let start = random::<8>().map(u64::from_be_bytes)? >> 12;
        Ok(Self {
            next: AtomicU64::new(start),
            ..Self::default()
        })
    }

    /// Sends a call's messages as events with ids, and keeps the call going if the client goes away.
    pub(super) fn record(
        self: &Arc<Self>,
        Resume {
            owner,
            session,
            version,
        }: Resume,
        messages: Messages,
    ) -> Chunks {
        let key = (session, self.next.fetch_add(1, Relaxed) + 1);
        let recording = Arc::new(Recording {
            owner,
            state: Mutex::default(),
            written: Notify::new(),
            read: Notify::new(),
        });
        self.streams().insert(key, Arc::clone(&recording));
        tokio::spawn(write(Arc::clone(&recording), messages));
        let events = self.read(key, recording, 0);
        // Older SDKs parse every `data`, so the priming event is for those who know it.
        if version < Version::V2025_11_25 {
            return events;
        }
        let priming = sse_priming(&event_id(key, 0), Some(RETRY_MS));
        Box::pin(stream::once(std::future::ready(Ok(priming))).chain(events))
    }

    /// The rest of the stream after an event; nothing if it is not this session's or no longer kept.
    pub(super) fn resume(self: &Arc<Self>, session: ConversationId, last_event_id: &str) -> Option<Chunks> {
        let (stream, event) = last_event_id.split_once('-')?;
        let (key, event) = ((session, stream.parse().ok()?), event.parse::<u64>().ok()?);
        let recording = Arc::clone(self.streams().get(&key)?);
        Some(self.read(key, recording, event))
    }

    /// The session has ended, and with it whatever it might have come back for.
    pub(crate) fn forget(&self, session: ConversationId) {
        self.streams().retain(|(owner, _), _| *owner != session);
    }

    fn read(self: &Arc<Self>, key: Key, recording: Arc<Recording>, from: u64) -> Chunks {
        let reader = {
            let mut state = recording.state();
            state.reader += 1;
            state.attached = true;
            state.wanted = from;
            state.reader
        };
        recording.written.notify_waiters();
        let reading = Reading {
            resumable: Arc::clone(self),
            key,
            recording,
            reader,
            finished: false,
        };
        Box::pin(stream::unfold(reading, |mut reading| async move {
            let event = reading.next().await?;
            Some((Ok::<_, Broken>(event), reading))
        }))
    }

    fn streams(&self) -> MutexGuard<'_, HashMap<Key, Arc<Recording>>> {
        self.streams.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A reader is gone before the end.
    fn abandoned(self: &Arc<Self>, key: Key, recording: &Arc<Recording>, reader: u64) {
        let mut streams = self.streams();
        let (mut all, mut own) = (0, 0);
        for waiting in streams.values().filter(|other| !other.state().attached) {
            all += 1;
            own += usize::from(waiting.owner == recording.owner);
        }
        // Where nobody has to say who they are, all are one.
        let too_many = own > KEPT_STREAMS_EACH && !recording.owner.is_local();
        if all > KEPT_STREAMS || too_many {
            streams.remove(&key);
            return;
        }
        let (resumable, recording) = (Arc::clone(self), Arc::clone(recording));
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn(async move {
                tokio::time::sleep(KEPT_FOR).await;
                if recording.state().reader == reader {
                    resumable.streams().remove(&key);
                }
            });
        }
    }
}

impl Recording {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn next(&self) -> u64 {
        self.first + self.events.len() as u64
    }

    /// Forgets the oldest events: what a reader who is here has seen, and more only if nobody is here.
    fn trim(&mut self) {
        while self.events.len() > KEPT_EVENTS || self.bytes > KEPT_BYTES {
            if self.attached && self.first >= self.wanted {
                return;
            }
            let Some(event) = self.events.pop_front() else {
                return;
            };
            self.bytes -= event.len();
            self.first += 1;
        }
    }
}

/// Follows the call to its end, whether or not anybody listens.
async fn write(recording: Arc<Recording>, mut messages: Messages) {
    while let Some(message) = messages.next().await {
        loop {
            let room = recording.read.notified();
            {
                let mut state = recording.state();
                if !state.attached || state.next() < state.wanted + AHEAD {
                    state.bytes += message.len();
                    state.events.push_back(message);
                    state.trim();
                    break;
                }
            }
            room.await;
        }
        recording.written.notify_waiters();
    }
    recording.state().ended = true;
    recording.written.notify_waiters();
}

/// A client that reads a stream.
struct Reading {
    resumable: Arc<Resumable>,
    key: Key,
    recording: Arc<Recording>,
    reader: u64,
    finished: bool,
}

impl Reading {
    async fn next(&mut self) -> Option<Bytes> {
        loop {
            let written = self.recording.written.notified();
            tokio::pin!(written);
            written.as_mut().enable();
            {
                let mut state = self.recording.state();
                if state.reader != self.reader {
                    // Somebody else reads this stream now: the same client on a newer connection.
                    self.finished = true;
                    return None;
                }
                let wanted = state.wanted;
                let event = wanted
                    .checked_sub(state.first)
                    .and_then(|at| state.events.get(usize::try_from(at).ok()?).cloned());
                if let Some(event) = event {
                    state.wanted += 1;
                    drop(state);
                    self.recording.read.notify_one();
                    return Some(sse_event(&event, Some(&event_id(self.key, wanted + 1)), None));
                }
                if wanted < state.first || wanted > state.next() {
                    tracing::warn!(target: "gatepost::http", "a client came back for events that are no longer kept; its stream ends");
                    self.finished = true;
                    return None;
                }
                if state.ended {
                    drop(state);
                    self.finished = true;
                    self.resumable.streams().remove(&self.key);
                    return None;
                }
            }
            written.await;
        }
    }
}

impl Drop for Reading {
    fn drop(&mut self) {
        if self.finished {
            return;
        }
        {
            let mut state = self.recording.state();
            if state.reader != self.reader {
                return;
            }
            state.attached = false;
        }
        self.recording.read.notify_one();
        self.resumable.abandoned(self.key, &self.recording, self.reader);
    }
}

fn event_id((_, stream): Key, event: u64) -> String {
    format!("{stream}-{event}")
}

#[cfg(test)]
mod tests {
    use tokio::sync::mpsc;

    use super::*;

    struct Stage {
        resumable: Arc<Resumable>,
        session: ConversationId,
        say: mpsc::UnboundedSender<Bytes>,
        heard: Chunks,
    }

    fn of(session: ConversationId, version: Version) -> Resume {
        Resume {
            owner: Principal::new("i", "ann"),
            session,
            version,
        }
    }

    fn stage(version: Version) -> Stage {
        let (say, mut said) = mpsc::unbounded_channel();
        let messages: Messages = Box::pin(stream::poll_fn(move |cx| said.poll_recv(cx)));
        let resumable = Arc::new(Resumable::default());
        let session = ConversationId::new().unwrap();
        let heard = resumable.record(of(session, version), messages);
        Stage {
            resumable,
            session,
            say,
            heard,
        }
    }

    async fn next(chunks: &mut Chunks) -> Option<String> {
        Some(String::from_utf8(chunks.next().await?.unwrap().to_vec()).unwrap())
    }

    #[tokio::test]
    async fn a_broken_stream_goes_on_where_it_was() {
        let mut stage = stage(Version::V2025_06_18);
        stage.say.send("{\"a\":1}".into()).unwrap();
        assert_eq!(
            next(&mut stage.heard).await.unwrap(),
            "id: 1-1\ndata: {\"a\":1}\n\n"
        );
        drop(stage.heard);
        stage.say.send("{\"a\":2}".into()).unwrap();
        stage.say.send("{\"a\":3}".into()).unwrap();
        let mut again = stage.resumable.resume(stage.session, "1-1").unwrap();
        assert_eq!(next(&mut again).await.unwrap(), "id: 1-2\ndata: {\"a\":2}\n\n");
        assert_eq!(next(&mut again).await.unwrap(), "id: 1-3\ndata: {\"a\":3}\n\n");
        drop(stage.say);
        assert_eq!(next(&mut again).await, None);
        assert!(stage.resumable.resume(stage.session, "1-3").is_none());
    }

    #[tokio::test]
    async fn only_those_who_know_it_get_a_priming_event() {
        let mut stage = stage(Version::V2025_11_25);
        let priming = next(&mut stage.heard).await.unwrap();
        assert!(
            priming.contains("id: 1-0\n") && priming.contains("retry: 500\n"),
            "{priming}"
        );
    }

    #[tokio::test]
    async fn a_stream_is_its_sessions_own() {
        let stage = stage(Version::V2025_06_18);
        for id in ["1-1", "2-0", "x", "1-x", ""] {
            assert!(
                stage
                    .resumable
                    .resume(ConversationId::new().unwrap(), id)
                    .is_none()
            );
        }
        stage.resumable.forget(stage.session);
        assert!(stage.resumable.resume(stage.session, "1-0").is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn what_nobody_comes_back_for_is_forgotten() {
        let stage = stage(Version::V2025_06_18);
        drop(stage.heard);
        tokio::time::sleep(KEPT_FOR + Duration::from_secs(1)).await;
        assert!(stage.resumable.resume(stage.session, "1-0").is_none());
    }

    #[tokio::test]
    async fn nobody_takes_the_places_of_all_others() {
        let resumable = Arc::new(Resumable::default());
        let session = ConversationId::new().unwrap();
        let endless = || -> Messages { Box::pin(stream::pending()) };
        for _ in 0..2 * KEPT_STREAMS_EACH {
            drop(resumable.record(of(session, Version::V2025_06_18), endless()));
        }
        assert_eq!(resumable.streams().len(), KEPT_STREAMS_EACH);
        let ben = Resume {
            owner: Principal::new("i", "ben"),
            ..of(session, Version::V2025_06_18)
        };
        drop(resumable.record(ben, endless()));
        assert_eq!(resumable.streams().len(), KEPT_STREAMS_EACH + 1);
    }

    #[tokio::test]
    async fn too_much_for_an_absent_client_ends_its_stream_empty() {
        let mut stage = stage(Version::V2025_06_18);
        stage.say.send("1".into()).unwrap();
        next(&mut stage.heard).await.unwrap();
        drop(stage.heard);
        for _ in 0..KEPT_EVENTS * 2 {
            stage.say.send("2".into()).unwrap();
        }
        drop(stage.say);
        // The writer gives way now and then; it is done when the stream has ended.
        let recording = Arc::clone(&stage.resumable.streams()[&(stage.session, 1)]);
        while !recording.state().ended {
            tokio::task::yield_now().await;
        }
        let mut again = stage.resumable.resume(stage.session, "1-1").unwrap();
        assert_eq!(next(&mut again).await, None);
    }
}
