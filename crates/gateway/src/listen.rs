//! Streams on which the gate tells a client what changed: `subscriptions/listen` for modern clients, the GET stream for
//! legacy ones. Both follow the endpoint's catalog, which announces a change only after it has taken it in.

use std::{collections::HashSet, sync::Arc, time::Duration};

use bytes::Bytes;
use futures_util::{StreamExt, future::join_all, stream};
use gatepost_protocol::{
    json::{self, Kind},
    translate::META_SUBSCRIPTION_ID,
};
use tokio::sync::{broadcast, oneshot};

use crate::{
    answer::{Answer, Messages},
    authorize::may_watch,
    catalog::{ListKind, View, ViewChange},
    conversation::Listening,
    gate::{Endpoint, Gate},
    here::view_with,
    inbound::{Carrier, Inbound},
    receive::request_id,
    refusal::Refusal,
    session::{ConversationId, Session},
    task::declared,
    upstream::{Asker, Fingerprint, KeptAsker, Watched},
};

mod tasks;

use tasks::Followed;

/// How long servers may take to accept a subscription before the stream opens without it.
/// Source: `eras.md` section 6, "within 2 s else without the laggards".
const ACKNOWLEDGE_WITHIN: Duration = Duration::from_secs(2);
/// URIs, and tasks, that one stream may watch: more is a mistake or an attack.
pub(crate) const MAX_NAMED: usize = 1_000;

/// What a client wants to hear.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
struct Filter {
    tools: bool,
    prompts: bool,
    resources: bool,
    uris: Vec<Arc<str>>,
    /// By the names that the client was given.
    tasks: Vec<Arc<str>>,
}

/// Opens a modern client's stream. Source: MCP 2026-07-28, basic/patterns/subscriptions.
pub(crate) async fn open(gate: &Arc<Gate>, inbound: Arc<Inbound>) -> Result<Answer, Refusal> {
    let mut filter = filter(&inbound)?;
    // Source: tasks extension, Task Status Notifications.
    if !filter.tasks.is_empty() && inbound.view.offers_tasks() && !declared(&inbound.client.capabilities) {
        return Err(Refusal::TasksUndeclared);
    }
    let endpoint = inbound.endpoint();
    // Looked at before listening, and listening before anything is promised: no change falls between.
    let eyes = Eyes::of(endpoint, inbound.asker());
    let changes = endpoint.catalog.changes(&endpoint.name);
    let view = view_with(&inbound, filter.uris.iter().map(|uri| &**uri)).await;
    let asked: Vec<_> = filter
        .uris
        .iter()
        .filter_map(|uri| Some((uri, view.resource(uri)?)))
        .filter(|(uri, server)| may_watch(&inbound.client.caller, &view, server.name(), uri))
        .filter_map(|(uri, server)| server.watched(inbound.asker(), uri).ok())
        .collect();
    let granted = join_all(asked.into_iter().map(|watched| async move {
        let begun = tokio::time::timeout(ACKNOWLEDGE_WITHIN, watched.begin()).await;
        matches!(begun, Ok(Ok(()))).then_some(watched)
    }));
    let id = request_id(&inbound.request);
    let followed = tasks::follow(gate, &inbound, &filter.tasks, &id);
    let (granted, followed) = tokio::join!(granted, followed);
    let watched: Vec<Arc<Watched>> = granted.into_iter().flatten().collect();
    filter.uris = watched.iter().map(|watched| Arc::clone(watched.uri())).collect();
    filter.tasks = followed.iter().flat_map(Followed::names).collect();
    let notices = stream::select_all(followed.into_iter().map(Followed::into_messages));
    let follow = Follow {
        changes,
        eyes,
        interest: Interest::Filter(filter.clone(), watched),
        tag: Some(id.clone()),
        pending: Vec::new(),
    };
    let gate = Arc::clone(gate);
    let cancellation = Arc::clone(&inbound.cancellation);
    let conversation = inbound.client.conversation;
    let open_call = conversation.map(|conversation| {
        gate.conversations.open_call(
            conversation,
            inbound.request.id().to_id(),
            Arc::clone(&cancellation),
        )
    });
    let acknowledged = acknowledged(&filter, &id);
    let farewell = farewell(&id, inbound.carrier());
    let body = stream::unfold(
        (follow, notices, Some(farewell)),
        move |(mut follow, mut notices, farewell)| {
            let (gate, cancellation) = (Arc::clone(&gate), Arc::clone(&cancellation));
            async move {
                let farewell = farewell?;
                tokio::select! {
                    biased;
                    () = cancellation.cancelled() => None,
                    () = gate.until_stopping() => Some((farewell, (follow, notices, None))),
                    message = follow.next() => message.map(|message| (vec![message], (follow, notices, Some(farewell)))),
                    Some(notice) = notices.next() => Some((vec![notice], (follow, notices, Some(farewell)))),
                }
            }
        },
    )
    .flat_map(stream::iter);
    let messages = stream::once(std::future::ready(acknowledged))
        .chain(body)
        .map(move |message| {
            // The place among the calls in flight lives as long as the stream, as watched resources do.
            let _open = (&inbound, &open_call);
            message
        });
    Ok(Answer::Messages(Box::pin(messages)))
}

/// Opens a legacy session's GET stream; an older one of the same session ends.
/// Source: MCP 2025-11-25, basic/transports#Listening for Messages from the Server.
pub(crate) fn session_stream(
    gate: &Arc<Gate>,
    endpoint: &Arc<Endpoint>,
    asker: Asker<'_>,
    session: &Session,
) -> Messages {
    let (sender, replaced) = oneshot::channel();
    gate.sessions.with(session.id, |live| live.stream = Some(sender));
    let open = OpenStream {
        gate: Arc::clone(gate),
        session: session.id,
        replaced,
        questions: gate.conversations.listen(session.id),
    };
    let interest = Interest::Session(Arc::clone(gate), session.id);
    tokio::spawn(renew(Arc::clone(gate), session.id, asker.to_kept()));
    let eyes = Eyes::of(endpoint, asker);
    let follow = Follow {
        changes: endpoint.catalog.changes(&endpoint.name),
        eyes,
        interest,
        tag: None,
        pending: Vec::new(),
    };
    Box::pin(stream::unfold(
        (open, follow),
        |(mut open, mut follow)| async move {
            let gate = Arc::clone(&open.gate);
            let message = tokio::select! {
                _ = &mut open.replaced => None,
                () = gate.until_stopping() => None,
                question = open.questions.next() => question,
                message = follow.next() => message,
            };
            message.map(|message| (message, (open, follow)))
        },
    ))
}

/// Goes on watching with the credential that the caller comes with now, where it watched with another one before: a stream ends
/// with its token, so whoever has a new one opens a new one.
async fn renew(gate: Arc<Gate>, session: ConversationId, asker: KeptAsker) {
    let watching: Vec<_> = gate.sessions.with(session, |live| {
        live.subscriptions.values().map(Arc::clone).collect()
    });
    for old in watching {
        let outcome = match old.server().watched(asker.asker(), old.uri()) {
            Ok(new) if new.is_with(&old) => continue,
            Ok(new) => {
                let ours = gate.sessions.with(session, |live| {
                    let kept = live.subscriptions.get_mut(old.uri())?;
                    Arc::ptr_eq(kept, &old).then(|| *kept = Arc::clone(&new))
                });
                match ours {
                    Some(()) => new.begin().await,
                    None => continue,
                }
            }
            Err(error) => Err(error),
        };
        if let Err(error) = outcome {
            tracing::debug!(%error, "watching with another credential");
        }
    }
}

/// A session's GET stream while it is open.
struct OpenStream {
    gate: Arc<Gate>,
    session: ConversationId,
    /// Resolves when a newer stream takes over or the session ends.
    replaced: oneshot::Receiver<()>,
    /// What servers ask outside a call: that is what this stream is for (`eras.md` 5.4).
    questions: Listening,
}

impl Drop for OpenStream {
    fn drop(&mut self) {
        self.replaced.close();
        self.gate.sessions.with(self.session, |live| {
            live.stream.take_if(|stream| stream.is_closed());
        });
    }
}

enum Interest {
    Filter(Filter, Vec<Arc<Watched>>),
    Session(Arc<Gate>, ConversationId),
}

impl Interest {
    fn wants(&self, change: &ViewChange) -> bool {
        match (self, change) {
            (Self::Filter(filter, _), ViewChange::Tools) => filter.tools,
            (Self::Filter(filter, _), ViewChange::Prompts) => filter.prompts,
            (Self::Filter(filter, _), ViewChange::Resources) => filter.resources,
            (Self::Filter(_, all), ViewChange::Updated { server, uri, of }) => {
                all.iter().any(|watched| hears(watched, server, uri, *of))
            }
            (Self::Session(gate, session), ViewChange::Updated { server, uri, of }) => {
                gate.sessions.with(*session, |live| {
                    let mut all = live.subscriptions.values();
                    all.any(|watched| hears(watched, server, uri, *of))
                })
            }
            (Self::Filter(..), ViewChange::ElicitationComplete { .. }) => false,
            (Self::Session(gate, session), ViewChange::ElicitationComplete { server, id }) => gate
                .sessions
                .with(*session, |live| live.elicitations.remove(server, id)),
            (Self::Session(..), _) => true,
        }
    }

    /// Everything it may have missed.
    fn all(&self) -> Vec<ViewChange> {
        let updated = |watched: &Arc<Watched>| ViewChange::Updated {
            server: Arc::clone(watched.server().name()),
            uri: Arc::clone(watched.uri()),
            of: watched.of(),
        };
        let updates: Vec<_> = match self {
            Self::Filter(_, all) => all.iter().map(updated).collect(),
            Self::Session(gate, session) => gate.sessions.with(*session, |live| {
                live.subscriptions.values().map(updated).collect()
            }),
        };
        let lists = [ViewChange::Tools, ViewChange::Prompts, ViewChange::Resources];
        let all = lists.into_iter().chain(updates);
        all.filter(|change| self.wants(change)).collect()
    }
}

/// Whether a notice is for somebody who watches this: it is of the same server, and was heard with the same credential.
fn hears(watched: &Watched, server: &str, uri: &str, of: Option<Fingerprint>) -> bool {
    **watched.server().name() == *server && watched.of() == of && covers(watched.uri(), uri)
}

/// Whether a notice about `uri` is for somebody who watches `watched`: the same, or something below it.
/// Source: MCP 2026-07-28 schema, ResourceUpdatedNotificationParams ("may be a sub-resource").
fn covers(watched: &str, uri: &str) -> bool {
    let Some(rest) = uri.strip_prefix(watched) else {
        return false;
    };
    rest.is_empty() || watched.ends_with('/') || rest.starts_with(['/', '?', '#'])
}

/// What somebody sees of an endpoint. A list that changed where they see nothing has not changed for them.
struct Eyes {
    endpoint: Arc<Endpoint>,
    asker: KeptAsker,
    /// The lists as they were when this caller was last told: tools, prompts, resources.
    seen: [Option<Arc<View>>; 3],
}

impl Eyes {
    fn of(endpoint: &Arc<Endpoint>, asker: Asker<'_>) -> Self {
        let now = endpoint.view(asker);
        Self {
            endpoint: Arc::clone(endpoint),
            asker: asker.to_kept(),
            seen: [now.clone(), now.clone(), now],
        }
    }

    fn see(&mut self, change: &ViewChange) -> bool {
        let asker = self.asker.asker();
        let (at, kinds): (usize, &[ListKind]) = match change {
            ViewChange::Tools => (0, &[ListKind::Tools]),
            ViewChange::Prompts => (1, &[ListKind::Prompts]),
            ViewChange::Resources => (2, &[ListKind::Resources, ListKind::Templates]),
            // What lies below a watched resource may be something that its watcher is not to hear of.
            ViewChange::Updated { server, uri, .. } => {
                let view = self.endpoint.view(asker);
                return view.is_some_and(|view| may_watch(asker.caller, &view, server, uri));
            }
            ViewChange::ElicitationComplete { .. } => return true,
        };
        let Some(now) = self.endpoint.view(asker) else {
            return false;
        };
        let before = self.seen[at].replace(Arc::clone(&now));
        before.is_none_or(|before| kinds.iter().any(|kind| !now.same_list(&before, *kind)))
    }
}

/// Turns changes into notifications.
struct Follow {
    changes: broadcast::Receiver<ViewChange>,
    eyes: Eyes,
    interest: Interest,
    /// The raw id of the listen request, which tags everything on its stream.
    tag: Option<Bytes>,
    /// Notices still to be sent after some were missed, last first.
    pending: Vec<ViewChange>,
}

impl Follow {
    async fn next(&mut self) -> Option<Bytes> {
        loop {
            if let Some(change) = self.pending.pop() {
                return Some(notification(&change, self.tag.as_deref()));
            }
            match self.changes.recv().await {
                Ok(change) if self.interest.wants(&change) && self.eyes.see(&change) => {
                    return Some(notification(&change, self.tag.as_deref()));
                }
                Ok(_) => {}
                // Too slow to be told everything: told instead that everything may have changed.
                Err(broadcast::error::RecvError::Lagged(_)) => self.pending = self.interest.all(),
                Err(broadcast::error::RecvError::Closed) => return None,
            }
        }
    }
}

fn notification(change: &ViewChange, tag: Option<&[u8]>) -> Bytes {
    let (method, named) = match change {
        ViewChange::Tools => ("notifications/tools/list_changed", None),
        ViewChange::Prompts => ("notifications/prompts/list_changed", None),
        ViewChange::Resources => ("notifications/resources/list_changed", None),
        ViewChange::Updated { uri, .. } => ("notifications/resources/updated", Some(("uri", uri))),
        ViewChange::ElicitationComplete { id, .. } => {
            ("notifications/elicitation/complete", Some(("elicitationId", id)))
        }
    };
    let mut message = format!(r#"{{"jsonrpc":"2.0","method":"{method}""#).into_bytes();
    if tag.is_some() || named.is_some() {
        message.extend_from_slice(br#","params":{"#);
        if let Some(tag) = tag {
            message.extend_from_slice(&meta(tag));
        }
        if let Some((name, value)) = named {
            if tag.is_some() {
                message.push(b',');
            }
            json::quote_into(&mut message, name);
            message.push(b':');
            json::quote_into(&mut message, value);
        }
        message.push(b'}');
    }
    message.push(b'}');
    message.into()
}

fn meta(id: &[u8]) -> Vec<u8> {
    [
        format!(r#""_meta":{{"{META_SUBSCRIPTION_ID}":"#).as_bytes(),
        id,
        b"}",
    ]
    .concat()
}

/// The first message: what is really granted. Source: 2026-07-28 basic/patterns/subscriptions#Acknowledgment.
fn acknowledged(filter: &Filter, id: &[u8]) -> Bytes {
    let mut granted = serde_json::Map::new();
    for (name, wanted) in [
        ("toolsListChanged", filter.tools),
        ("promptsListChanged", filter.prompts),
        ("resourcesListChanged", filter.resources),
    ] {
        if wanted {
            granted.insert(name.to_owned(), true.into());
        }
    }
    if !filter.uris.is_empty() {
        let uris: Vec<serde_json::Value> = filter.uris.iter().map(|uri| (&**uri).into()).collect();
        granted.insert("resourceSubscriptions".to_owned(), uris.into());
    }
    if !filter.tasks.is_empty() {
        let tasks: Vec<serde_json::Value> = filter.tasks.iter().map(|task| (&**task).into()).collect();
        granted.insert("taskIds".to_owned(), tasks.into());
    }
    let head = br#"{"jsonrpc":"2.0","method":"notifications/subscriptions/acknowledged","params":{"#;
    let granted = serde_json::Value::Object(granted).to_string();
    [
        &head[..],
        &meta(id),
        br#","notifications":"#,
        granted.as_bytes(),
        b"}}",
    ]
    .concat()
    .into()
}

/// What is said when the stream ends because the gate does. Where all messages share a channel, the end is announced as well.
/// Source: 2026-07-28 basic/patterns/cancellation, and basic/patterns/subscriptions#Graceful Closure.
fn farewell(id: &[u8], carrier: Carrier) -> Vec<Bytes> {
    let mut messages = Vec::with_capacity(2);
    if carrier == Carrier::Connection {
        let head = br#"{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":"#;
        messages.push(
            [&head[..], id, br#","reason":"the gate is stopping"}}"#]
                .concat()
                .into(),
        );
    }
    messages.push(closing(id));
    messages
}

/// The last message: the stream ends because the gate does. Source: 2026-07-28 basic/patterns/subscriptions#Graceful Closure.
fn closing(id: &[u8]) -> Bytes {
    [
        &br#"{"jsonrpc":"2.0","id":"#[..],
        id,
        br#","result":{"resultType":"complete","#,
        &meta(id),
        b"}}",
    ]
    .concat()
    .into()
}

fn filter(inbound: &Inbound) -> Result<Filter, Refusal> {
    let wrong = |what: &str| Refusal::params(format!("`subscriptions/listen`: {what}"));
    let raw = inbound.request.raw();
    let span = inbound
        .request
        .param("notifications")
        .ok_or_else(|| wrong("`params.notifications` is missing"))?;
    let members = json::object(raw, span).map_err(|_| wrong("`params.notifications` must be an object"))?;
    let flag = |name: &str| match members.get(raw, name).map(|span| span.of(raw)) {
        None | Some(b"false") => Ok(false),
        Some(b"true") => Ok(true),
        Some(_) => Err(wrong(&format!("`{name}` must be true or false"))),
    };
    let texts = |name: &str, problem: &str| {
        let mut texts: Vec<Arc<str>> = Vec::new();
        let Some(span) = members.get(raw, name) else {
            return Ok(texts);
        };
        if json::kind(raw, span) != Some(Kind::Array) {
            return Err(wrong(problem));
        }
        let mut seen = HashSet::new();
        for item in json::items(raw, span) {
            let text: Arc<str> = json::text(raw, item).ok_or_else(|| wrong(problem))?.into();
            if seen.insert(Arc::clone(&text)) {
                texts.push(text);
            }
            if texts.len() > MAX_NAMED {
                return Err(wrong(problem));
            }
        }
        Ok(texts)
    };
    Ok(Filter {
        tools: flag("toolsListChanged")?,
        prompts: flag("promptsListChanged")?,
        resources: flag("resourcesListChanged")?,
        uris: texts(
            "resourceSubscriptions",
            "`resourceSubscriptions` must be an array of at most 1000 URIs",
        )?,
        tasks: texts("taskIds", "`taskIds` must be an array of at most 1000 strings")?,
    })
}

#[cfg(test)]
mod tests;
