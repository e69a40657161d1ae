//! One call on a pipe: what waits for it, and its end of it.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use gatepost_protocol::envelope::{Message, Response};
use tokio::sync::Notify;

use super::{super::asking, Fault, Manners, Pipe, cancelled};

/// Messages and bytes that may wait for one call that does not read.
pub(super) const MAX_WAITING: usize = 256;
const MAX_WAITING_BYTES: usize = 1024 * 1024;

/// What waits for one call.
#[derive(Debug, Default)]
pub(super) struct Call {
    waiting: Mutex<Waiting>,
    ready: Notify,
    /// The gate's own: nothing is guessed to belong to it.
    pub(super) own: bool,
}

#[derive(Debug, Default)]
struct Waiting {
    queue: VecDeque<Message>,
    bytes: usize,
    fault: Option<Fault>,
    /// Nobody reads any more.
    abandoned: bool,
}

/// One call's end of the pipe. Dropping it before the answer forgets the call quietly.
pub(crate) struct Ticket {
    pub(super) pipe: Arc<Pipe>,
    pub(super) id: u64,
    pub(super) call: Arc<Call>,
    pub(super) answered: bool,
}

impl Call {
    pub(super) fn new(own: bool) -> Self {
        Self {
            own,
            ..Self::default()
        }
    }

    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Puts a message in; false if there was no room. What `must` arrive always has room.
    pub(super) fn push(&self, message: Message, must: bool) -> bool {
        let size = message.raw().len();
        let mut waiting = self.waiting();
        if waiting.abandoned {
            return false;
        }
        if !must && (waiting.queue.len() >= MAX_WAITING || waiting.bytes + size > MAX_WAITING_BYTES.max(size))
        {
            return false;
        }
        waiting.bytes += size;
        waiting.queue.push_back(message);
        drop(waiting);
        self.ready.notify_one();
        true
    }

    pub(super) fn fail(&self, fault: Fault) {
        self.waiting().fault.get_or_insert(fault);
        self.ready.notify_one();
    }
}

impl Ticket {
    /// Our id of the request.
    #[cfg(test)]
    pub(crate) fn id(&self) -> u64 {
        self.id
    }

    /// The pipe it is on.
    pub(crate) fn pipe(&self) -> &Arc<Pipe> {
        &self.pipe
    }

    /// The pipe, if all its calls are one client's.
    pub(crate) fn pipe_of_its_own(&self) -> Option<&Arc<Pipe>> {
        (self.pipe.books().manners == Manners::Conversation).then_some(&self.pipe)
    }

    /// Progress of this answered call is for this one from now on: a task is made by one request, and waited for by another
    /// (2025-11-25 basic/utilities/tasks, Task Progress Notifications).
    pub(crate) fn inherit(&self, answered: u64) {
        self.pipe.books().heirs.insert(answered, self.id);
    }

    /// Whether the answer has been taken.
    pub(crate) fn answered(&self) -> bool {
        self.answered
    }

    /// The next message: notifications and questions, and last the response. Cancel safe.
    pub(crate) async fn next(&mut self) -> Result<Message, Fault> {
        loop {
            {
                let mut waiting = self.call.waiting();
                if let Some(message) = waiting.queue.pop_front() {
                    waiting.bytes -= message.raw().len();
                    self.answered |= matches!(message, Message::Response(_));
                    return Ok(message);
                }
                if let Some(fault) = &waiting.fault {
                    self.answered = true;
                    return Err(fault.clone());
                }
            }
            self.call.ready.notified().await;
        }
    }

    /// Waits for the response and passes over everything before it; nobody is there to be asked.
    pub(crate) async fn response(mut self) -> Result<Response, Fault> {
        loop {
            match self.next().await? {
                Message::Response(response) => return Ok(response),
                Message::Request(question) => {
                    asking::refuse(&self.pipe, &question, "nobody waits for this call any more");
                }
                Message::Notification(_) => {}
            }
        }
    }

    /// Tells the server that nobody wants the answer any more.
    pub(crate) fn cancel(&self, reason: &str) {
        self.pipe.send_now(cancelled(self.id, reason));
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        {
            let mut books = self.pipe.books();
            let unanswered = books.calls.remove(&self.id).is_some();
            books.heirs.retain(|_, heir| *heir != self.id);
            if unanswered && !self.call.own {
                books.leave(self.id);
            }
        }
        if self.answered {
            return;
        }
        // A question that nobody has read would leave the server waiting.
        let unread = {
            let mut waiting = self.call.waiting();
            waiting.abandoned = true;
            std::mem::take(&mut waiting.queue)
        };
        for message in unread {
            if let Message::Request(question) = message {
                self.pipe.put_back(&question);
            }
        }
    }
}
