//! What the gate answers by itself: handshake, discovery, lists, session settings, change streams.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use futures_util::StreamExt;
use gatepost_protocol::{envelope::Request, logging::LogLevel, method::Method};

use crate::{
    answer::Answer,
    authorize::may_watch,
    catalog::{ListKind, View},
    gate::Gate,
    identify::lapse,
    inbound::{Carrier, Inbound},
    listen::{self, MAX_NAMED},
    receive::internal,
    refusal::Refusal,
    session::{ConversationId, Live, Session},
    upstream::Server,
};

/// How long a subscription may take to reach its server before the client is told that it did not.
const SUBSCRIBE_WITHIN: Duration = Duration::from_secs(2);

/// Answers a request that needs no single server.
pub(crate) async fn answer(
    gate: &Arc<Gate>,
    inbound: Arc<Inbound>,
    method: Method,
) -> Result<Answer, Refusal> {
    match method {
        Method::Initialize => initialize(gate, &inbound).await,
        Method::Discover => {
            let view = settled(&inbound).await?;
            Ok(Answer::result(id(&inbound.request), view.discover()))
        }
        Method::ToolsList => list(&inbound, ListKind::Tools).await,
        Method::PromptsList => list(&inbound, ListKind::Prompts).await,
        Method::ResourcesList => list(&inbound, ListKind::Resources).await,
        Method::ResourceTemplatesList => list(&inbound, ListKind::Templates).await,
        Method::Ping => Ok(empty(&inbound)),
        Method::LoggingSetLevel => set_level(gate, &inbound),
        Method::ResourcesSubscribe => subscribe(gate, &inbound).await,
        Method::ResourcesUnsubscribe => unsubscribe(gate, &inbound).await,
        Method::SubscriptionsListen => {
            let lapse = lapse(gate, inbound.admitted.identified())?;
            match listen::open(gate, inbound).await? {
                Answer::Messages(messages) => Ok(Answer::Messages(Box::pin(messages.take_until(lapse)))),
                other => Ok(other),
            }
        }
        _ => Err(Refusal::UnknownMethod(inbound.request.method().to_owned())),
    }
}

fn id(request: &Request) -> &[u8] {
    request.id().bytes()
}

/// An empty result.
fn empty(inbound: &Inbound) -> Answer {
    let result: &'static [u8] = if inbound.client.version.is_modern() {
        br#"{"resultType":"complete"}"#
    } else {
        b"{}"
    };
    Answer::result(id(&inbound.request), Bytes::from_static(result))
}

/// The endpoint's lists, once servers never seen before have had a moment to say what they offer.
async fn settled(inbound: &Inbound) -> Result<Arc<View>, Refusal> {
    let endpoint = inbound.endpoint();
    let asker = inbound.asker();
    endpoint.catalog.settled(&endpoint.name, asker).await;
    endpoint
        .view(asker)
        .ok_or_else(|| Refusal::NoEndpoint(endpoint.url_path()))
}

/// 2025-11-25 basic/lifecycle#Initialization. The session begins with the answer; stdio has no header to carry it.
async fn initialize(gate: &Gate, inbound: &Inbound) -> Result<Answer, Refusal> {
    let client = &inbound.client;
    let endpoint = inbound.endpoint();
    let result = settled(inbound).await?.initialize(client.version);
    let mut answer = Answer::result(id(&inbound.request), result);
    if inbound.carrier() == Carrier::Http
        && let (Answer::Whole { session: header, .. }, Some(conversation)) =
            (&mut answer, client.conversation)
    {
        let session = Session {
            id: conversation,
            version: client.version,
            capabilities: client.capabilities.clone(),
            info: client.info.clone(),
        };
        let begun = gate.sessions.begin(&session, &endpoint.path, client.principal());
        *header = Some(begun.map_err(|too_much| Refusal::params(too_much.to_string()))?);
    }
    Ok(answer)
}

async fn list(inbound: &Inbound, kind: ListKind) -> Result<Answer, Refusal> {
    let request = &inbound.request;
    let cursor = match request.param("cursor") {
        None => None,
        Some(_) => Some(
            request
                .param_text("cursor")
                .ok_or_else(|| Refusal::params("`params.cursor` must be a string"))?,
        ),
    };
    let view = settled(inbound).await?;
    let page = view
        .page(kind, inbound.client.version, cursor.as_deref())
        .map_err(|bad| Refusal::params(bad.to_string()))?;
    Ok(Answer::result(id(request), page.result))
}

/// Kept for the session; the level travels with each call (`eras.md` section 7).
fn set_level(gate: &Gate, inbound: &Inbound) -> Result<Answer, Refusal> {
    let level = inbound.request.param_text("level");
    let level = level.as_deref().and_then(LogLevel::parse).ok_or_else(|| {
        Refusal::params(
            "`params.level` must be one of debug, info, notice, warning, error, critical, alert, emergency",
        )
    })?;
    if let Some(conversation) = inbound.client.conversation {
        gate.sessions.with(conversation, |live| live.level = Some(level));
    }
    Ok(empty(inbound))
}

fn uri(inbound: &Inbound) -> Result<Arc<str>, Refusal> {
    let uri = inbound.request.param_text("uri");
    let uri = uri.ok_or_else(|| {
        Refusal::params(format!(
            "`{}` needs the string `params.uri`",
            inbound.request.method()
        ))
    })?;
    Ok(Arc::from(&*uri))
}

/// The endpoint as this caller sees it, once servers never seen before have had a moment to say whether one of these is theirs.
pub(crate) async fn view_with<'a>(inbound: &Inbound, mut uris: impl Iterator<Item = &'a str>) -> Arc<View> {
    let known = &inbound.view;
    if known.unseen().next().is_some() && uris.any(|uri| known.resource(uri).is_none()) {
        return settled(inbound).await.unwrap_or_else(|_| Arc::clone(known));
    }
    Arc::clone(known)
}

/// The server of a resource that the caller may be told of.
async fn watchable(inbound: &Inbound, uri: &str) -> Result<Arc<Server>, Refusal> {
    let view = view_with(inbound, std::iter::once(uri)).await;
    view.resource(uri)
        .filter(|server| may_watch(&inbound.client.caller, &view, server.name(), uri))
        .map(Arc::clone)
        .ok_or_else(|| Refusal::UnknownResource(uri.to_owned()))
}

/// 2025-11-25 server/resources#Subscriptions.
async fn subscribe(gate: &Gate, inbound: &Inbound) -> Result<Answer, Refusal> {
    let uri = uri(inbound)?;
    let server = watchable(inbound, &uri).await?;
    let Some(conversation) = inbound.client.conversation else {
        return Err(Refusal::UnknownMethod(inbound.request.method().to_owned()));
    };
    let watched = server.watched(inbound.asker(), &uri).map_err(Refusal::Call)?;
    let is_new = gate.sessions.with(conversation, |live| {
        let subscriptions = &mut live.subscriptions;
        let before = subscriptions.get(&uri);
        if before.is_some_and(|before| before.is_with(&watched)) {
            return Ok(false);
        }
        if before.is_none() && subscriptions.len() >= MAX_NAMED {
            return Err(Refusal::params(format!(
                "a session may watch {MAX_NAMED} resources at once"
            )));
        }
        subscriptions.insert(Arc::clone(&uri), Arc::clone(&watched));
        Ok(true)
    });
    if is_new? {
        let begun = tokio::time::timeout(SUBSCRIBE_WITHIN, watched.begin()).await;
        let failed = match begun {
            Ok(Ok(())) => return Ok(empty(inbound)),
            Ok(Err(error)) => Refusal::Call(error),
            Err(_) => internal(&std::io::Error::other(
                "the server did not take the subscription in time",
            )),
        };
        gate.sessions
            .with(conversation, |live| live.subscriptions.remove(&uri));
        return Err(failed);
    }
    Ok(empty(inbound))
}

async fn unsubscribe(gate: &Gate, inbound: &Inbound) -> Result<Answer, Refusal> {
    let uri = uri(inbound)?;
    let watched = |id| gate.sessions.with(id, |live| live.subscriptions.remove(&uri));
    match inbound.client.conversation.and_then(watched) {
        Some(watched) => watched.end().await,
        None => drop(watchable(inbound, &uri).await?),
    }
    Ok(empty(inbound))
}

/// Ends a legacy session: its id opens nothing any more, and everything it had open is given up.
pub(crate) async fn end_session(gate: &Gate, session: ConversationId) {
    let live = gate.sessions.end(session);
    give_up(gate, session, live).await;
}

/// Gives up what a conversation had open. Its connection is gone, so nobody can come back to it.
pub(crate) async fn end_connection(gate: &Gate, conversation: ConversationId) {
    let live = gate.sessions.forget(conversation);
    give_up(gate, conversation, live).await;
}

async fn give_up(gate: &Gate, conversation: ConversationId, live: Option<Live>) {
    gate.conversations.end(conversation);
    gate.resumable.forget(conversation);
    for watched in live.into_iter().flat_map(|live| live.subscriptions.into_values()) {
        watched.end().await;
    }
}

#[cfg(test)]
mod tests;
