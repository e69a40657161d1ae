//! What two messages of one legacy session (or one stdio connection) have to do with each other: a call that may be
//! cancelled, and a question of a server that waits for the client's answer. Where a question belongs to no call, it goes
//! down the stream that the conversation keeps open.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
};

use bytes::Bytes;
use futures_util::future::BoxFuture;
use gatepost_protocol::envelope::{Id, Request, Response};
use tokio::sync::{Semaphore, mpsc, oneshot};

use crate::{
    inbound::Cancellation,
    seal::{SealError, random},
    session::ConversationId,
    upstream::Clients,
};

const SHARDS: usize = 16;
/// Questions that may wait for a client that does not read its stream.
const UNREAD: usize = 16;
/// Questions outside calls that one stream's client may have yet to answer; more is a mistake or an attack.
const UNANSWERED: usize = 64;
/// Ids of questions begin below this, so that every one of them is a number that JavaScript can hold.
const FIRST_QUESTIONS: u64 = 1 << 52;

/// The open calls and questions of every conversation.
#[derive(Default)]
pub(crate) struct Conversations {
    shards: [Mutex<Shard>; SHARDS],
    /// Ids up to this one were never given out.
    no_question: u64,
    /// Ids of the questions we pass on, unique over all clients.
    last_question: AtomicU64,
}

#[derive(Default)]
struct Shard {
    calls: HashMap<(ConversationId, Id), Arc<Cancellation>>,
    questions: HashMap<(ConversationId, u64), oneshot::Sender<Response>>,
    listeners: HashMap<ConversationId, Listener>,
}

/// Where a conversation can be asked something outside its calls.
#[derive(Clone)]
struct Listener {
    stream: mpsc::Sender<Bytes>,
    room: Arc<Semaphore>,
}

/// What became of a client's answer to a question.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Heard {
    /// Whoever asked has it.
    Delivered,
    /// It was asked here, and nobody waits for the answer any more.
    Late,
    /// Nobody here ever asked that.
    Unknown,
}

/// A stream on which a conversation can be asked something outside its calls; closed when dropped.
pub(crate) struct Listening {
    conversations: Arc<Conversations>,
    conversation: ConversationId,
    questions: mpsc::Receiver<Bytes>,
}

/// A call that its client can cancel; forgotten when dropped.
pub(crate) struct OpenCall {
    conversations: Arc<Conversations>,
    key: (ConversationId, Id),
    cancellation: Arc<Cancellation>,
}

/// A question that was put to a client; withdrawn when dropped.
pub(crate) struct OpenQuestion {
    conversations: Arc<Conversations>,
    key: (ConversationId, u64),
    /// The client's answer.
    pub(crate) answer: oneshot::Receiver<Response>,
}

impl OpenQuestion {
    /// The question's id towards the client.
    pub(crate) fn id(&self) -> u64 {
        self.key.1
    }
}

impl Listening {
    /// The next question for the client; nothing once a newer stream has taken this one's place. Cancel safe.
    pub(crate) async fn next(&mut self) -> Option<Bytes> {
        self.questions.recv().await
    }
}

impl Conversations {
    /// None yet. The ids of questions begin somewhere at random: two gates that serve the same sessions, or one that was
    /// started again, must not take an answer to the other's question for one to their own.
    pub(crate) fn new() -> Result<Self, SealError> {
        let start = random::<8>().map(u64::from_be_bytes)? % FIRST_QUESTIONS;
        Ok(Self {
            no_question: start,
            last_question: AtomicU64::new(start),
            ..Self::default()
        })
    }

    /// Notes a call so that `notifications/cancelled` finds it. A second call with the same id, which no client may
    /// send, replaces the first here and changes nothing else.
    pub(crate) fn open_call(
        self: &Arc<Self>,
        conversation: ConversationId,
        id: Id,
        cancellation: Arc<Cancellation>,
    ) -> OpenCall {
        let key = (conversation, id);
        self.shard(conversation)
            .calls
            .insert(key.clone(), Arc::clone(&cancellation));
        OpenCall {
            conversations: Arc::clone(self),
            key,
            cancellation,
        }
    }

    /// The client no longer wants an answer. Unknown ids are ignored: the answer may have crossed the wish.
    /// Source: MCP 2025-11-25, basic/utilities/cancellation#Timing Considerations.
    pub(crate) fn cancel(&self, conversation: ConversationId, id: Id) -> bool {
        let call = self.shard(conversation).calls.remove(&(conversation, id));
        call.inspect(|call| call.cancel()).is_some()
    }

    /// The session has ended: nobody waits for its calls any more.
    pub(crate) fn end(&self, conversation: ConversationId) {
        let mut shard = self.shard(conversation);
        shard
            .calls
            .extract_if(|(owner, _), _| *owner == conversation)
            .for_each(|(_, call)| call.cancel());
        shard.questions.retain(|(owner, _), _| *owner != conversation);
        shard.listeners.remove(&conversation);
    }

    /// Makes every call look whether it is to go on.
    pub(crate) fn stir(&self) {
        for shard in &self.shards {
            let shard = shard.lock().unwrap_or_else(PoisonError::into_inner);
            shard.calls.values().for_each(|call| call.stir());
        }
    }

    /// Prepares to ask the client something.
    pub(crate) fn ask(self: &Arc<Self>, conversation: ConversationId) -> OpenQuestion {
        let key = (conversation, self.last_question.fetch_add(1, Relaxed) + 1);
        let (sender, answer) = oneshot::channel();
        self.shard(conversation).questions.insert(key, sender);
        OpenQuestion {
            conversations: Arc::clone(self),
            key,
            answer,
        }
    }

    /// The client answered.
    pub(crate) fn answer(&self, conversation: ConversationId, response: Response) -> Heard {
        let Some(named) = response.id() else {
            // An error without an id: the client could not read what it was sent, whatever that was.
            return Heard::Late;
        };
        let Some(id) = named.as_u64().filter(|id| self.gave(*id)) else {
            return Heard::Unknown;
        };
        let question = self.shard(conversation).questions.remove(&(conversation, id));
        let delivered = question.is_some_and(|question| question.send(response).is_ok());
        if delivered { Heard::Delivered } else { Heard::Late }
    }

    /// Whether an id is one that was given to a question.
    fn gave(&self, id: u64) -> bool {
        self.no_question < id && id <= self.last_question.load(Relaxed)
    }

    /// Opens a stream for questions outside calls; an older one of the same conversation closes.
    pub(crate) fn listen(self: &Arc<Self>, conversation: ConversationId) -> Listening {
        let (stream, questions) = mpsc::channel(UNREAD);
        let room = Arc::new(Semaphore::new(UNANSWERED));
        let listener = Listener { stream, room };
        self.shard(conversation).listeners.insert(conversation, listener);
        Listening {
            conversations: Arc::clone(self),
            conversation,
            questions,
        }
    }

    fn shard(&self, conversation: ConversationId) -> MutexGuard<'_, Shard> {
        let shard = &self.shards[usize::from(conversation.bytes()[1]) % SHARDS];
        shard.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Clients for Conversations {
    fn put(
        self: Arc<Self>,
        conversation: [u8; 16],
        question: &Request,
    ) -> Option<BoxFuture<'static, Option<Bytes>>> {
        let conversation = ConversationId::from(conversation);
        let listener = self.shard(conversation).listeners.get(&conversation).cloned()?;
        let place = listener.room.try_acquire_owned().ok()?;
        let mut asked = self.ask(conversation);
        let message = question
            .rewrite()
            .id(asked.id().to_string().into_bytes())
            .remove_meta("progressToken")
            .finish();
        // Full, or just closed: nobody reads it.
        listener.stream.try_send(message).ok()?;
        let id = Bytes::copy_from_slice(question.id().bytes());
        Some(Box::pin(async move {
            let answer = (&mut asked.answer).await.ok()?;
            drop(place);
            Some(answer.rewrite().id(id.to_vec()).finish())
        }))
    }
}

impl Drop for Listening {
    fn drop(&mut self) {
        self.questions.close();
        // A newer stream of the conversation may have taken this one's place.
        let mut shard = self.conversations.shard(self.conversation);
        if shard
            .listeners
            .get(&self.conversation)
            .is_some_and(|listener| listener.stream.is_closed())
        {
            shard.listeners.remove(&self.conversation);
        }
    }
}

impl Drop for OpenCall {
    fn drop(&mut self) {
        let mut shard = self.conversations.shard(self.key.0);
        if shard
            .calls
            .get(&self.key)
            .is_some_and(|call| Arc::ptr_eq(call, &self.cancellation))
        {
            shard.calls.remove(&self.key);
        }
    }
}

impl Drop for OpenQuestion {
    fn drop(&mut self) {
        self.conversations.shard(self.key.0).questions.remove(&self.key);
    }
}

#[cfg(test)]
mod tests;
