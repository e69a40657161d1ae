//! The tasks that a modern client follows on its listening stream: their servers are asked for notices of them, which come
//! down under the client's own names.
//!
//! Source: tasks extension, Task Status Notifications.

use std::{collections::HashMap, sync::Arc, time::Duration};

use bytes::Bytes;
use futures_util::{Stream, future::join_all, stream};
use gatepost_policy::{Action, Classified, Kind};
use gatepost_protocol::{envelope::Notification, translate::META_SUBSCRIPTION_ID};
use tokio::time::{sleep, timeout};

use super::ACKNOWLEDGE_WITHIN;
use crate::{
    gate::Gate,
    inbound::Inbound,
    resolve,
    upstream::{Server, TaskNotices, backoff},
};

/// The shortest pause before a stream that ended is opened again.
const PAUSE: Duration = Duration::from_millis(100);

/// Followed tasks of one server.
pub(super) struct Followed {
    gate: Arc<Gate>,
    inbound: Arc<Inbound>,
    server: Arc<Server>,
    /// By the server's ids; without those that have ended.
    names: HashMap<Arc<str>, Named>,
    /// Nothing while it is to be opened again.
    notices: Option<TaskNotices>,
    failures: u32,
    /// The raw id of the listen request, which tags everything on its stream.
    tag: Bytes,
}

/// One of them.
struct Named {
    /// What the client calls it.
    public: Arc<str>,
    /// The tool that it was made with.
    tool: Arc<str>,
}

/// Begins to follow what the client may, and what servers agree to in time. The others are not named in the acknowledgement.
pub(super) async fn follow(
    gate: &Arc<Gate>,
    inbound: &Arc<Inbound>,
    tasks: &[Arc<str>],
    tag: &Bytes,
) -> Vec<Followed> {
    let mut all: Vec<Followed> = Vec::new();
    for name in tasks {
        let Some((server, id, tool)) = resolve::followed(inbound, name) else {
            continue;
        };
        let named = Named {
            public: Arc::clone(name),
            tool,
        };
        match all.iter_mut().find(|other| Arc::ptr_eq(&other.server, &server)) {
            Some(other) => {
                other.names.insert(id, named);
            }
            None => all.push(Followed {
                gate: Arc::clone(gate),
                inbound: Arc::clone(inbound),
                server,
                names: HashMap::from([(id, named)]),
                notices: None,
                failures: 0,
                tag: tag.clone(),
            }),
        }
    }
    let opening = all.into_iter().map(|mut followed| async move {
        let granted = matches!(timeout(ACKNOWLEDGE_WITHIN, followed.open()).await, Ok(Ok(true)));
        granted.then_some(followed)
    });
    join_all(opening).await.into_iter().flatten().collect()
}

impl Followed {
    /// What the client calls the tasks that are followed.
    pub(super) fn names(&self) -> impl Iterator<Item = Arc<str>> + '_ {
        self.names.values().map(|named| Arc::clone(&named.public))
    }

    /// Every notice, in the client's form.
    pub(super) fn into_messages(self) -> std::pin::Pin<Box<dyn Stream<Item = Bytes> + Send>> {
        Box::pin(stream::unfold(self, |mut followed| async move {
            let message = followed.next().await?;
            Some((message, followed))
        }))
    }

    /// Opens the server's stream; false if it tells of none of the tasks.
    async fn open(&mut self) -> Result<bool, crate::upstream::CallError> {
        let (client, listen) = (&self.inbound.client, &self.inbound.request);
        let ids = self.names.keys().map(|id| &**id);
        let asker = self.inbound.asker();
        self.notices = self.server.hear_tasks(asker, client, listen, ids).await?;
        let granted = self.notices.as_ref().map_or(&[][..], |notices| &notices.granted);
        self.names
            .retain(|id, _| granted.iter().any(|granted| **granted == **id));
        Ok(!self.names.is_empty())
    }

    /// The next notice; nothing if there will be no more.
    async fn next(&mut self) -> Option<Bytes> {
        loop {
            let heard = match &mut self.notices {
                Some(notices) => notices.next().await,
                None => {
                    sleep(backoff::delay(self.failures).max(PAUSE)).await;
                    match self.open().await {
                        Ok(true) => continue,
                        Ok(false) => return None,
                        Err(error) => Err(error),
                    }
                }
            };
            match heard {
                Ok(Some(notice)) => {
                    self.failures = 0;
                    if let Some(message) = self.told(&notice) {
                        return Some(message);
                    }
                }
                Ok(None) => return None,
                // What happens until it is open again is not told; clients may ask (`tasks/get`) at any time.
                Err(error) if !self.names.is_empty() => {
                    tracing::debug!(server = &**self.server.name(), %error, "hearing of tasks ended");
                    self.notices = None;
                    self.failures = self.failures.saturating_add(1);
                }
                Err(_) => return None,
            }
        }
    }

    /// A notice in the client's form, if it is about one of its tasks.
    fn told(&mut self, notice: &Notification) -> Option<Bytes> {
        let id = notice.param_text("taskId")?;
        let named = self.names.get(&*id)?;
        let (name, tool) = (Arc::clone(&named.public), Arc::clone(&named.tool));
        let status = notice.param_text("status");
        if matches!(status.as_deref(), Some("completed" | "failed" | "cancelled")) {
            self.names.remove(&*id);
        }
        let mut edits = notice.rewrite();
        edits
            .param_text("taskId", &name)
            .meta(META_SUBSCRIPTION_ID, &*self.tag);
        let message = edits.finish();
        // It may hold the whole result, which is as much as if it had been asked for.
        let action = Action {
            kind: Kind::Call,
            server: self.server.name(),
            name: &tool,
            effect: Classified::UNKNOWN,
        };
        let (principal, address) = (self.inbound.client.principal(), self.inbound.address());
        let limits = &self.gate.governance.limits;
        limits.spend(principal, address, &action, message.len() as u64);
        Some(message)
    }
}
