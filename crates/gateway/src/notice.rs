//! What a client says without wanting an answer: it gave up on a call, its roots changed, it answers a server's question.

use std::sync::Arc;

use gatepost_policy::{Action, Circumstances, Classified, Decision, Kind, decide};
use gatepost_protocol::{
    envelope::{Id, Notification, Response},
    method::Method,
};

use crate::{
    admit::Admitted,
    answer::Answer,
    authorize::now,
    conversation::Heard,
    gate::Gate,
    inbound::Client,
    record::{told, turned_away},
    refusal::{Limited, Refusal},
    upstream::Asker,
};

/// Acts on a notification. It is accepted whatever it says: nobody waits for an answer.
pub(crate) async fn take(
    gate: &Gate,
    admitted: &Admitted,
    client: Client,
    notification: Notification,
) -> Answer {
    match notification.known_method() {
        Some(Method::Cancelled) => {
            // On modern HTTP closing the stream is the signal, and there is no conversation to look in.
            let id = notification.param_raw("requestId").and_then(Id::from_raw);
            if let (Some(conversation), Some(id)) = (client.conversation, id) {
                gate.conversations.cancel(conversation, id);
            }
        }
        Some(Method::RootsListChanged) => {
            // A modern server asks anew each time; a legacy one hears it on this client's own session only.
            for server in admitted.arrival().endpoint.servers() {
                server.notify(&client, &notification).await;
            }
        }
        Some(_) => {}
        None => vendor(gate, admitted, &client, &notification).await,
    }
    Answer::Accepted
}

/// A vendor's notification passes where there is only one server it could be for, to whom a request of that name would be
/// allowed: nobody knows what it does. So it is counted and recorded like one.
async fn vendor(gate: &Gate, admitted: &Admitted, client: &Client, notification: &Notification) {
    let arrival = admitted.arrival();
    let asker = Asker::of(&client.caller, &arrival.headers);
    let Some(view) = arrival.endpoint.view(asker) else {
        return;
    };
    let Some(server) = view.only_server() else { return };
    let action = Action {
        kind: Kind::Call,
        server: server.name(),
        name: notification.method(),
        effect: Classified::UNKNOWN,
    };
    let circumstances = Circumstances::Calling {
        arguments: b"",
        now: now(),
    };
    let refused = |refusal: Refusal| {
        gate.metrics.refused(&refusal);
        turned_away(
            gate,
            arrival.address,
            &arrival.endpoint.url_path(),
            Some(&client.caller),
            &refusal,
        );
    };
    let by = match decide(&client.caller, view.rules(), &action, circumstances) {
        Decision::Allow(by) => by,
        Decision::Deny(reason) => {
            return refused(Refusal::Denied {
                reason: Box::new(reason),
                tool: false,
            });
        }
        Decision::Depends(_) | Decision::NeedsScopes(_) => return,
    };
    let _place = match gate
        .governance
        .limits
        .call(client.principal(), arrival.address, &action)
    {
        Ok(permit) => permit,
        Err(exceeded) => {
            return refused(Refusal::Limited {
                exceeded: Box::new(exceeded),
                target: Some(Box::new(Limited {
                    server: Arc::clone(server.name()),
                    original: action.name.into(),
                    name: action.name.into(),
                    tool: false,
                })),
            });
        }
    };
    match told(gate, admitted, notification, &action, &by).await {
        Ok(told) => {
            server.notify(client, notification).await;
            told.done(notification);
        }
        Err(refusal) => gate.metrics.refused(&refusal),
    }
}

/// Hands a client's answer to the call that asked. An answer to a question nobody waits for any more is dropped; one to a
/// question that this gate never asked was meant for another, and its client must learn that it did not arrive.
pub(crate) fn answered(gate: &Gate, client: &Client, response: Response) -> Result<Answer, Refusal> {
    match client
        .conversation
        .map(|id| gate.conversations.answer(id, response))
    {
        Some(Heard::Unknown) => Err(Refusal::UnknownQuestion),
        Some(Heard::Delivered | Heard::Late) | None => Ok(Answer::Accepted),
    }
}

#[cfg(test)]
mod tests;
