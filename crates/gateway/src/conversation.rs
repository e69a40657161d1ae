//! What two messages of one legacy session (or one stdio connection) have to do with each other: a call that may be
//! cancelled, and a question of a server that waits for the client's answer.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
};

use gatepost_protocol::envelope::{Id, RawId, Response};
use tokio::sync::oneshot;

use crate::{inbound::Cancellation, session::ConversationId};

const SHARDS: usize = 16;

/// The open calls and questions of every conversation.
#[derive(Default)]
pub(crate) struct Conversations {
    shards: [Mutex<Shard>; SHARDS],
    /// Ids of the questions we pass on, unique over all clients.
    next_question: AtomicU64,
}

#[derive(Default)]
struct Shard {
    calls: HashMap<(ConversationId, Id), Arc<Cancellation>>,
    questions: HashMap<(ConversationId, u64), oneshot::Sender<Response>>,
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

impl Conversations {
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
    }

    /// Prepares to ask the client something.
    pub(crate) fn ask(self: &Arc<Self>, conversation: ConversationId) -> OpenQuestion {
        let key = (conversation, self.next_question.fetch_add(1, Relaxed) + 1);
        let (sender, answer) = oneshot::channel();
        self.shard(conversation).questions.insert(key, sender);
        OpenQuestion {
            conversations: Arc::clone(self),
            key,
            answer,
        }
    }

    /// The client answered. False if nobody asked, or no longer waits.
    pub(crate) fn answer(&self, conversation: ConversationId, response: Response) -> bool {
        let Some(id) = response.id().and_then(RawId::as_u64) else {
            return false;
        };
        let question = self.shard(conversation).questions.remove(&(conversation, id));
        question.is_some_and(|question| question.send(response).is_ok())
    }

    fn shard(&self, conversation: ConversationId) -> MutexGuard<'_, Shard> {
        let shard = &self.shards[usize::from(conversation.bytes()[1]) % SHARDS];
        shard.lock().unwrap_or_else(PoisonError::into_inner)
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
