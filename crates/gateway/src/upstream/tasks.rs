//! Hearing what becomes of a modern server's tasks, for the one client that asked: a stream of its own, because such a
//! notice may carry a whole result, which nobody else may see.
//!
//! Source: tasks extension, Task Status Notifications.

use std::sync::Arc;

use gatepost_protocol::{
    envelope::{Message, Notification, Outcome, Request},
    json::{self, ObjectWriter, Strictness},
    method::Method,
    version::Era,
};

use super::{
    Asker, CallError,
    incoming::Waiting,
    outgoing::{AsTask, Outgoing},
    pool::{Lease, Use},
    server::{Manner, Server},
    session::{Link, Session},
    watch::{Hearing, Line},
};
use crate::inbound::Client;

/// An open stream of notices of tasks.
pub(crate) struct TaskNotices {
    hearing: Hearing,
    context: Waiting,
    /// The server's ids of the tasks that it agreed to tell of.
    pub(crate) granted: Vec<String>,
    /// Keeps a program from its idle stop.
    _lease: Option<Lease<Session>>,
}

impl Server {
    /// Asks for notices of these tasks, by the server's own ids, as the client whose `subscriptions/listen` this is; nothing
    /// if the server tells of none of them.
    pub(crate) async fn hear_tasks(
        &self,
        asker: Asker<'_>,
        client: &Client,
        listen: &Request,
        ids: impl Iterator<Item = &str> + Send,
    ) -> Result<Option<TaskNotices>, CallError> {
        let personal = self.personal(asker)?;
        let facts = self.greet(personal.as_ref()).await?;
        if facts.era() != Era::Modern {
            return Ok(None);
        }
        let ids: Vec<Vec<u8>> = ids.map(json::quote).collect();
        let filter = ObjectWriter::new()
            .raw("taskIds", &[b"[", &ids.join(&b',')[..], b"]"].concat())
            .finish();
        let raw = listen.rewrite().param("notifications", filter).finish();
        let Ok(Message::Request(request)) = Message::parse(raw, Strictness::Server) else {
            return Ok(None);
        };
        let out = Outgoing {
            request: &request,
            name: None,
            version: client.version,
            capabilities: &client.capabilities,
            info: client.info.as_ref(),
            log_level: None,
            conversation: client.conversation.map(|conversation| *conversation.bytes()),
            principal: Some(client.principal()),
            personal,
            headers: Vec::new(),
            params: Vec::new(),
            repeatable: true,
            task: AsTask::No,
            input: None,
            call: None,
            wish: None,
        };
        let manner = self.manner();
        let (line, lease) = match manner.as_deref() {
            Some(Manner::Modern(server)) => (Line::Http(server), None),
            _ => {
                // The process that the client's calls are made on: another one does not know their tasks.
                let lease = self
                    .lease(&self.key(&out, &facts).0, Use::Shared, out.personal.as_ref())
                    .await?;
                let Link::Pipe(pipe) = &lease.session().link else {
                    return Ok(None);
                };
                (Line::Pipe(Arc::clone(pipe)), Some(lease))
            }
        };
        let Some((hearing, Some(first))) = self.listen(&line, &out, facts.version).await? else {
            return Ok(None);
        };
        let granted = granted_in(&first);
        Ok((!granted.is_empty()).then(|| TaskNotices {
            hearing,
            context: self.context.clone(),
            granted,
            _lease: lease,
        }))
    }
}

impl TaskNotices {
    /// The next notice; nothing if the server will send no more. Cancel safe.
    pub(crate) async fn next(&mut self) -> Result<Option<Notification>, CallError> {
        loop {
            match self.hearing.next(&self.context).await? {
                Message::Notification(notice) if notice.known_method() == Some(Method::TasksNotice) => {
                    return Ok(Some(notice));
                }
                Message::Response(response) => {
                    return match response.outcome() {
                        Outcome::Error { .. } => Ok(None),
                        // It ends the stream in order, as for a restart.
                        Outcome::Result(_) => Err(self
                            .context
                            .error(super::Cause::Ended("it ended the stream".to_owned()), true)),
                    };
                }
                Message::Notification(_) | Message::Request(_) => {}
            }
        }
    }
}

/// The ids in an acknowledgement.
fn granted_in(notification: &Notification) -> Vec<String> {
    if notification.known_method() != Some(Method::SubscriptionsAcknowledged) {
        return Vec::new();
    }
    let raw = notification.raw();
    let ids = notification
        .param("notifications")
        .and_then(|granted| json::object(raw, granted).ok())
        .and_then(|granted| granted.get(raw, "taskIds"));
    let texts = ids
        .into_iter()
        .flat_map(|ids| json::items(raw, ids))
        .filter_map(|id| json::text(raw, id));
    texts.map(std::borrow::Cow::into_owned).collect()
}
