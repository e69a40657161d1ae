//! Legacy sessions. A session is not a place: its id is a sealed token of what never changes, so an idle session costs no
//! memory, survives a restart, and can be answered by any replica that holds the key. Only what changes is kept here,
//! under the token's nonce, and only while it differs from the default: log level, subscriptions, the one open GET
//! stream, and the tombstone that DELETE leaves.
//!
//! Source: MCP 2025-11-25, basic/transports#Session Management.

use std::{
    collections::{HashMap, VecDeque},
    io,
    path::Path,
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
    time::Duration,
};

use bytes::Bytes;
use gatepost_policy::Principal;
use gatepost_protocol::{logging::LogLevel, version::Version};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use tokio::sync::oneshot;

use crate::{
    seal::{Holder, Purpose, SealError, Sealer, random, unix_seconds},
    upstream::Watched,
};

#[cfg(test)]
mod life;
mod tombstones;

use tombstones::Tombstones;

/// Capabilities and client info larger than this are not worth a header: most servers and proxies refuse heads over 8 KiB.
const MAX_CLIENT_JSON: usize = 2 * 1024;
/// URL elicitations that one session may wait for at once.
const MAX_ELICITATIONS: usize = 32;
const SHARDS: usize = 16;
/// How often it is looked for sessions that are over.
const SWEPT_EVERY: std::ops::Range<Duration> = Duration::from_secs(1)..Duration::from_secs(60);

/// Names one legacy session or one stdio connection, for as long as the world lasts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct ConversationId([u8; 16]);

impl ConversationId {
    /// A new one that nobody can guess.
    pub(crate) fn new() -> Result<Self, SealError> {
        random().map(Self)
    }

    /// The bytes, for keys of other maps.
    pub(crate) fn bytes(&self) -> &[u8; 16] {
        &self.0
    }

    fn shard(self) -> usize {
        usize::from(self.0[0]) % SHARDS
    }
}

impl From<[u8; 16]> for ConversationId {
    fn from(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }
}

/// What a legacy session is: fixed at `initialize`, read from the token on every request.
#[derive(Debug, Clone)]
pub(crate) struct Session {
    /// Its name.
    pub(crate) id: ConversationId,
    /// The negotiated version.
    pub(crate) version: Version,
    /// The client's capabilities, a raw JSON object.
    pub(crate) capabilities: Bytes,
    /// The client's `clientInfo`, a raw JSON object.
    pub(crate) info: Option<Bytes>,
}

/// The token's plain text. Field names are short because the token travels in every request's head.
#[derive(Serialize, Deserialize)]
struct Sealed<'a> {
    n: [u8; 16],
    /// Seconds since the epoch after which the token opens nothing.
    x: u64,
    v: &'a str,
    /// The endpoint's path.
    e: &'a str,
    #[serde(borrow)]
    p: Holder<'a>,
    #[serde(borrow)]
    c: &'a RawValue,
    #[serde(borrow, skip_serializing_if = "Option::is_none", default)]
    i: Option<&'a RawValue>,
}

/// What one session has changed since it began.
#[derive(Default)]
pub(crate) struct Live {
    /// `logging/setLevel`.
    pub(crate) level: Option<LogLevel>,
    /// URIs of `resources/subscribe`, each with what is watched for it: who else has a thing of that name by now, or to other
    /// callers, does not matter when it is given up. What is forgotten here is given up with the server too.
    pub(crate) subscriptions: HashMap<Arc<str>, Arc<Watched>>,
    /// The open GET stream; dropping this ends it.
    pub(crate) stream: Option<oneshot::Sender<()>>,
    /// What its client was asked to do at a URL.
    pub(crate) elicitations: Elicitations,
    /// When its first change was kept, in seconds since 1970.
    since: u64,
}

impl Live {
    fn is_default(&self) -> bool {
        self.level.is_none()
            && self.subscriptions.is_empty()
            && self.stream.is_none()
            && self.elicitations.0.is_empty()
    }
}

/// The URL elicitations that a session was given by their ids, newest last: it is told when they are complete, and nobody
/// else is (MCP 2025-11-25, client/elicitation: only the client that was given the id).
#[derive(Debug, Default)]
pub(crate) struct Elicitations(VecDeque<(Arc<str>, Box<str>)>);

impl Elicitations {
    /// The session was given the id of a server's elicitation. Of very many the oldest is forgotten.
    pub(crate) fn insert(&mut self, server: &Arc<str>, id: &str) {
        if self.0.len() >= MAX_ELICITATIONS {
            self.0.pop_front();
        }
        self.0.push_back((Arc::clone(server), id.into()));
    }

    /// The elicitation is complete; whether it was this session's.
    pub(crate) fn remove(&mut self, server: &str, id: &str) -> bool {
        let before = self.0.len();
        self.0
            .retain(|(owner, known)| **owner != *server || **known != *id);
        self.0.len() != before
    }
}

/// Every legacy session of the gate.
pub(crate) struct Sessions {
    sealer: Arc<Sealer>,
    /// How long a token opens after it was made.
    lifetime: Duration,
    shards: [Mutex<Shard>; SHARDS],
    /// Where endings are kept, so that an ended session stays ended when the gate comes back.
    tombstones: Option<Mutex<Tombstones>>,
}

#[derive(Default)]
struct Shard {
    live: HashMap<ConversationId, Live>,
    /// How many there may be before it is looked for some that are over.
    sweep_at: usize,
    /// Ended sessions, with the second after which their token no longer opens anyway.
    ended: HashMap<ConversationId, u64>,
}

impl Shard {
    /// Sweeps before there is much.
    fn sweep_much(&mut self, lifetime: Duration) {
        if self.live.len() >= self.sweep_at.max(64) {
            self.sweep(lifetime);
        }
    }

    /// Forgets what sessions have changed whose tokens open nothing any more: their clients went away without a word. Whoever
    /// has a stream open is still there.
    fn sweep(&mut self, lifetime: Duration) {
        let now = unix_seconds();
        self.live
            .retain(|_, live| live.stream.is_some() || live.since + lifetime.as_secs() > now);
        self.sweep_at = 2 * self.live.len();
    }
}

/// A client's JSON that does not fit into a session id.
#[derive(Debug, thiserror::Error)]
#[error("the client's `{field}` is {size} bytes of JSON; a session holds at most {MAX_CLIENT_JSON}")]
pub(crate) struct TooMuch {
    field: &'static str,
    size: usize,
}

impl Sessions {
    /// No sessions yet, and nothing kept: for the life of this process only.
    pub(crate) fn new(sealer: Arc<Sealer>, lifetime: Duration) -> Self {
        Self {
            sealer,
            lifetime,
            shards: Default::default(),
            tombstones: None,
        }
    }

    /// As [`new`](Self::new), but what ends is noted in `data_dir`, and what had ended before stays so.
    ///
    /// # Errors
    /// When the file cannot be read or written.
    pub(crate) fn kept_in(data_dir: &Path, sealer: Arc<Sealer>, lifetime: Duration) -> io::Result<Self> {
        let mut sessions = Self::new(sealer, lifetime);
        let (tombstones, ended) = Tombstones::open(&data_dir.join("sessions.ended"), unix_seconds())?;
        for (id, expiry) in ended {
            sessions.shard(id).ended.insert(id, expiry);
        }
        sessions.tombstones = Some(Mutex::new(tombstones));
        Ok(sessions)
    }

    /// Begins a session and returns its `Mcp-Session-Id`.
    pub(crate) fn begin(
        &self,
        session: &Session,
        endpoint: &str,
        principal: &Principal,
    ) -> Result<String, TooMuch> {
        let raw = |field, bytes: &[u8]| -> Result<Box<RawValue>, TooMuch> {
            let too_much = TooMuch {
                field,
                size: bytes.len(),
            };
            if bytes.len() > MAX_CLIENT_JSON {
                return Err(too_much);
            }
            // The bytes are a span of a message that was validated; anything else cannot get here.
            let text = String::from_utf8(bytes.to_vec()).map_err(|_| TooMuch {
                field,
                size: bytes.len(),
            })?;
            RawValue::from_string(text).map_err(|_| too_much)
        };
        let capabilities = raw("capabilities", &session.capabilities)?;
        let info = session
            .info
            .as_deref()
            .map(|info| raw("clientInfo", info))
            .transpose()?;
        let sealed = Sealed {
            n: session.id.0,
            x: unix_seconds() + self.lifetime.as_secs(),
            v: session.version.as_str(),
            e: endpoint,
            p: Holder::of(principal),
            c: &capabilities,
            i: info.as_deref(),
        };
        let plain = serde_json::to_vec(&sealed).unwrap_or_default();
        Ok(self.sealer.seal(Purpose::Session, &plain))
    }

    /// The session behind an `Mcp-Session-Id`, unless it expired, ended, or belongs to another endpoint or principal.
    pub(crate) fn open(&self, token: &str, endpoint: &str, principal: &Principal) -> Option<Session> {
        let plain = self.sealer.open(Purpose::Session, token)?;
        let sealed: Sealed<'_> = serde_json::from_slice(&plain).ok()?;
        let id = ConversationId(sealed.n);
        let ours = sealed.x > unix_seconds() && sealed.e == endpoint && sealed.p.is(principal);
        if !ours || self.shard(id).ended.contains_key(&id) {
            return None;
        }
        Some(Session {
            id,
            version: Version::parse(sealed.v)?,
            capabilities: Bytes::copy_from_slice(sealed.c.get().as_bytes()),
            info: sealed.i.map(|info| Bytes::copy_from_slice(info.get().as_bytes())),
        })
    }

    /// Ends a session: its token opens nothing from now on. Returns what it had open.
    pub(crate) fn end(&self, id: ConversationId) -> Option<Live> {
        let now = unix_seconds();
        let expiry = now + self.lifetime.as_secs();
        if let Some(tombstones) = &self.tombstones
            && let Err(error) = lock(tombstones).add(id, expiry)
        {
            tracing::warn!(%error, "the end of a session could not be kept; after a restart it would open again");
        }
        let mut shard = self.shard(id);
        shard.ended.retain(|_, expiry| *expiry > now);
        shard.ended.insert(id, expiry);
        shard.live.remove(&id)
    }

    /// Forgets what a conversation has changed. Returns what it had open.
    pub(crate) fn forget(&self, id: ConversationId) -> Option<Live> {
        self.shard(id).live.remove(&id)
    }

    /// The session's log level, if it ever set one.
    pub(crate) fn level(&self, id: ConversationId) -> Option<LogLevel> {
        self.shard(id).live.get(&id).and_then(|live| live.level)
    }

    /// Looks at or changes what a session has changed; forgets it once it is as it began.
    pub(crate) fn with<T>(&self, id: ConversationId, change: impl FnOnce(&mut Live) -> T) -> T {
        let mut shard = self.shard(id);
        if !shard.live.contains_key(&id) {
            shard.sweep_much(self.lifetime);
        }
        let live = shard.live.entry(id).or_insert_with(|| Live {
            since: unix_seconds(),
            ..Live::default()
        });
        let result = change(live);
        if live.is_default() {
            shard.live.remove(&id);
        }
        result
    }

    /// Forgets sessions that are over, as long as somebody holds `sessions`: servers are not to tell of what nobody wants to
    /// hear any more.
    pub(crate) async fn keep_swept<T: Send + Sync>(holder: Weak<T>, of: fn(&T) -> &Self) {
        let Some(lifetime) = holder.upgrade().map(|held| of(&held).lifetime) else {
            return;
        };
        let pause = (lifetime / 4).clamp(SWEPT_EVERY.start, SWEPT_EVERY.end);
        loop {
            tokio::time::sleep(pause).await;
            let Some(held) = holder.upgrade() else { return };
            of(&held)
                .shards
                .iter()
                .for_each(|shard| lock(shard).sweep(lifetime));
        }
    }

    /// How many sessions hold memory here: those with a log level, a subscription or an open stream.
    pub(crate) fn held(&self) -> usize {
        self.shards.iter().map(|shard| lock(shard).live.len()).sum()
    }

    fn shard(&self, id: ConversationId) -> MutexGuard<'_, Shard> {
        lock(&self.shards[id.shard()])
    }
}

/// A panic while a shard was locked leaves it consistent: every change above is a single map operation.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sessions(lifetime: Duration) -> Sessions {
        Sessions::new(Arc::new(Sealer::new(&["key"]).unwrap()), lifetime)
    }

    pub(super) fn session() -> Session {
        Session {
            id: ConversationId::new().unwrap(),
            version: Version::V2025_06_18,
            capabilities: Bytes::from_static(br#"{"roots":{},"x":[1.0]}"#),
            info: Some(Bytes::from_static(br#"{"name":"c","version":"1"}"#)),
        }
    }

    #[test]
    fn a_token_brings_everything_back_and_holds_no_memory() {
        let sessions = sessions(Duration::from_secs(60));
        let (begun, local) = (session(), Principal::local());
        let token = sessions.begin(&begun, "files", &local).unwrap();
        assert!(token.bytes().all(|b| (0x21..=0x7e).contains(&b)));
        let opened = sessions.open(&token, "files", &local).unwrap();
        assert_eq!(opened.id, begun.id);
        assert_eq!(opened.version, begun.version);
        assert_eq!(opened.capabilities, begun.capabilities);
        assert_eq!(opened.info, begun.info);
        assert_eq!(sessions.held(), 0);
    }

    #[test]
    fn a_token_is_bound_to_endpoint_and_principal_and_expires() {
        let sessions = sessions(Duration::from_secs(60));
        let token = sessions.begin(&session(), "files", &Principal::local()).unwrap();
        assert!(sessions.open(&token, "notes", &Principal::local()).is_none());
        assert!(
            sessions
                .open(&token, "files", &Principal::new("https://id", "local"))
                .is_none()
        );
        let expired = self::sessions(Duration::ZERO);
        let token = expired.begin(&session(), "files", &Principal::local()).unwrap();
        assert!(expired.open(&token, "files", &Principal::local()).is_none());
    }

    #[test]
    fn an_ended_session_stays_ended() {
        let sessions = sessions(Duration::from_secs(60));
        let begun = session();
        let token = sessions.begin(&begun, "files", &Principal::local()).unwrap();
        sessions.with(begun.id, |live| live.level = Some(LogLevel::Debug));
        assert_eq!(sessions.held(), 1);
        assert!(sessions.end(begun.id).is_some());
        assert!(sessions.open(&token, "files", &Principal::local()).is_none());
        assert_eq!(sessions.held(), 0);
    }

    #[tokio::test]
    async fn what_is_as_it_began_is_forgotten() {
        let sessions = sessions(Duration::from_secs(60));
        let id = session().id;
        let rig = crate::rig::Rig::start("").await;
        let server = Arc::clone(&rig.gate.snapshot().servers()[0]);
        let asker = crate::upstream::Asker::plain(&rig.gate.governance.local);
        let watched = server.watched(asker, &"file:///a".into()).unwrap();
        sessions.with(id, |live| live.subscriptions.insert("file:///a".into(), watched));
        assert_eq!(sessions.held(), 1);
        sessions.with(id, |live| live.subscriptions.remove("file:///a"));
        assert_eq!(sessions.held(), 0);
        assert_eq!(sessions.level(id), None);
    }

    #[test]
    fn what_is_over_is_forgotten_before_there_is_much_of_it() {
        let sessions = sessions(Duration::ZERO);
        let (open, _kept) = oneshot::channel();
        let still_there = session().id;
        sessions.with(still_there, |live| live.stream = Some(open));
        for _ in 0..64 * SHARDS * 8 {
            sessions.with(session().id, |live| live.level = Some(LogLevel::Debug));
        }
        assert!(sessions.held() <= 64 * SHARDS, "{}", sessions.held());
        assert!(sessions.with(still_there, |live| live.stream.is_some()));
    }

    #[test]
    fn the_elicitations_of_a_session_are_its_own_and_bounded() {
        let sessions = sessions(Duration::from_secs(60));
        let (ann, ben) = (session().id, session().id);
        let server: Arc<str> = "s".into();
        sessions.with(ann, |live| live.elicitations.insert(&server, "e"));
        let complete =
            |whose, server: &str, id: &str| sessions.with(whose, |live| live.elicitations.remove(server, id));
        assert!(!complete(ben, "s", "e") && !complete(ann, "t", "e") && !complete(ann, "s", "f"));
        assert!(complete(ann, "s", "e"));
        assert!(!complete(ann, "s", "e"), "told once");
        assert_eq!(sessions.held(), 0);
        for at in 0..=MAX_ELICITATIONS {
            sessions.with(ann, |live| live.elicitations.insert(&server, &at.to_string()));
        }
        assert!(!complete(ann, "s", "0"));
        assert!(complete(ann, "s", "1"));
    }

    #[test]
    fn an_oversized_client_is_told_so() {
        let mut large = session();
        large.capabilities = Bytes::from(format!(r#"{{"x":"{}"}}"#, "a".repeat(MAX_CLIENT_JSON)));
        let error = sessions(Duration::from_secs(60))
            .begin(&large, "files", &Principal::local())
            .unwrap_err();
        assert!(error.to_string().contains("capabilities"), "{error}");
    }
}
