//! The journey of a message, in the order it is travelled. Every stage is a file of its own and leaves its proof in a type
//! that only it can make, so a step that is left out does not compile.
//!
//! ```text
//! transport   a message arrived here                                  → Arrival
//! identify    who is it?                                              → Identified
//! admit       is there room?                                          → Admitted
//! receive     what does it say, and which client is that?             → Inbound
//! resolve     which server, and what is the thing called there?       → Resolved
//! authorize   may they?                                               → Authorized
//! charge      is there room for this, and is their quota not used up? → Charged
//! record      it is in the audit log                                  → Permitted
//! upstream    the server's answer, as it comes                        → Incoming
//! deliver     the client's form of it                                 → Answer
//! respond     any refusal on the way, in the protocol's words         → Answer
//! ```

use std::{net::IpAddr, sync::Arc};

use bytes::Bytes;
use gatepost_policy::Caller;
use gatepost_protocol::{envelope::Message, version::Era};

use crate::{
    admit::{Admitted, admit},
    answer::Answer,
    authorize::{Fork, authorize},
    charge::charge,
    deliver,
    gate::Gate,
    here,
    identify::{Identified, identify},
    inbound::{Arrival, Carrier, Client, Inbound},
    limits::Exceeded,
    notice,
    receive::{self, Received, Refused, request_id},
    record::{denied, record, turned_away},
    refusal::Refusal,
    resolve::resolve,
    respond::About,
    upstream::{CallError, Cause},
};

/// Somebody at this address asks for something, whatever it is and whoever they are.
pub(crate) fn arrive(gate: &Gate, address: Option<IpAddr>) -> Result<(), Refusal> {
    gate.governance.limits.arrive(address).map_err(limited)
}

/// Identity and room come first: nothing of the body has been read yet.
pub(crate) async fn enter(gate: &Gate, arrival: Arrival) -> Result<Admitted, Refused> {
    another(gate, &arrival, None)?;
    match identify(gate, arrival).await {
        Ok(identified) => join(gate, identified),
        Err(away) => Err(unread(away.recorded(gate))),
    }
}

/// One more message of somebody at this address, who is known already if there is a `caller`.
pub(crate) fn another(gate: &Gate, arrival: &Arrival, caller: Option<&Caller>) -> Result<(), Refused> {
    arrive(gate, arrival.address).map_err(|refusal| {
        let path = arrival.endpoint.url_path();
        turned_away(gate, arrival.address, &path, caller, &refusal);
        unread(refusal)
    })
}

/// The rest of it, for a message of somebody who is known already: one of a batch, or on a connection.
pub(crate) fn join(gate: &Gate, identified: Identified) -> Result<Admitted, Refused> {
    gate.governance
        .limits
        .enter(identified.principal())
        .map_err(|exceeded| {
            let refusal = limited(exceeded);
            let (arrival, caller) = (identified.arrival(), identified.caller());
            turned_away(
                gate,
                arrival.address,
                &arrival.endpoint.url_path(),
                Some(caller),
                &refusal,
            );
            unread(refusal)
        })?;
    admit(&gate.occupancy, identified).map_err(unread)
}

/// A message in the body of an HTTP POST.
pub(crate) async fn posted(gate: &Arc<Gate>, admitted: Admitted, body: Bytes) -> Result<Answer, Refused> {
    let message = receive::parse(body)?;
    let received = receive::from_http(gate, admitted, message).await?;
    travel(gate, received).await
}

/// A message on a connection whose client is known.
pub(crate) async fn spoken(
    gate: &Arc<Gate>,
    admitted: Admitted,
    message: Message,
    client: Client,
) -> Result<Answer, Refused> {
    let about = about(&message, &client);
    let received = receive::received(admitted, message, client)
        .await
        .map_err(|refusal| (refusal, about))?;
    match received {
        // A connection belongs to one gate, and has no words for an answer to an answer.
        Received::Response(client, response) => {
            Ok(notice::answered(gate, &client, response).unwrap_or(Answer::Accepted))
        }
        received => travel(gate, received).await,
    }
}

async fn travel(gate: &Arc<Gate>, received: Received) -> Result<Answer, Refused> {
    match received {
        Received::Request(inbound) => request(gate, inbound).await,
        Received::Notification(admitted, client, notification) => {
            Ok(Box::pin(notice::take(gate, &admitted, client, notification)).await)
        }
        Received::Response(client, response) => {
            notice::answered(gate, &client, response).map_err(|refusal| {
                let about = About {
                    id: None,
                    era: Some(Era::Legacy),
                };
                (refusal, about)
            })
        }
    }
}

/// A request, from its target to its answer.
async fn request(gate: &Arc<Gate>, inbound: Arc<Inbound>) -> Result<Answer, Refused> {
    let about = About {
        id: Some(request_id(&inbound.request)),
        era: Some(inbound.client.era()),
    };
    let client = &inbound.client;
    let session = client
        .conversation
        .filter(|_| client.era() == Era::Legacy && inbound.carrier() == Carrier::Http);
    let resolved = match resolve(inbound).await {
        Ok(resolved) => resolved,
        Err((refusal, inbound)) => {
            denied(gate, &inbound, &refusal);
            return Err((refusal, about));
        }
    };
    let inbound = Arc::clone(resolved.inbound());
    let outcome = async {
        match authorize(resolved)? {
            // Large and not the common case: it must not make room in every call's future, which is moved.
            Fork::Here(inbound, method) => Box::pin(here::answer(gate, inbound, method)).await,
            Fork::There(authorized) => {
                let (permitted, ledger) = record(gate, charge(gate, authorized)?).await?;
                deliver::forward(gate, permitted, ledger).await
            }
        }
    };
    let refusal = match outcome.await {
        Ok(answer) => return Ok(answer),
        Err(refusal) => refusal,
    };
    denied(gate, &inbound, &refusal);
    // What the client had with a server is gone. It is told so by a 404, and then the session must be over.
    // Source: MCP 2025-11-25, basic/transports#Session Management 3.
    if let Refusal::Call(CallError {
        cause: Cause::SessionGone,
        ..
    }) = &refusal
        && let Some(session) = session
    {
        Box::pin(here::end_session(gate, session)).await;
    }
    Err((refusal, about))
}

fn limited(exceeded: Exceeded) -> Refusal {
    Refusal::Limited {
        exceeded: Box::new(exceeded),
        target: None,
    }
}

fn unread(refusal: Refusal) -> Refused {
    (refusal, About::default())
}

fn about(message: &Message, client: &Client) -> About {
    let id = match message {
        Message::Request(request) => Some(request_id(request)),
        Message::Notification(_) | Message::Response(_) => None,
    };
    About {
        id,
        era: Some(client.era()),
    }
}
