//! Who is calling? The answer comes before a single byte of the body is read.
//!
//! Without a configured identity the listener is a loopback address, a private socket, or this process's own standard
//! input; whoever can reach those is the principal `local` (the configuration refuses to start otherwise). With one, every
//! request over HTTP presents a credential, also within a session.

use std::{sync::Arc, time::Duration};

use gatepost_identity::{Refusal as NotIdentified, Resource, Ruling, Verified};
use gatepost_policy::{Caller, Principal};
use http::{HeaderMap, HeaderValue};

use crate::{
    gate::{Endpoint, Gate},
    inbound::Arrival,
    path,
    record::turned_away,
    refusal::Refusal,
};

/// How often the credential behind a long stream is looked at again.
const LOOK_AGAIN: Duration = Duration::from_secs(5);

/// Proof that somebody answered for this message. Only `identify` makes it.
///
/// ```compile_fail
/// use gatepost_gateway::stages::Identified;
/// fn forge(arrival: gatepost_gateway::stages::Arrival, caller: std::sync::Arc<gatepost_policy::Caller>) -> Identified {
///     Identified { arrival, caller }
/// }
/// ```
#[derive(Clone)]
pub struct Identified {
    arrival: Arrival,
    caller: Arc<Caller>,
}

impl Identified {
    /// Who is calling.
    pub fn principal(&self) -> &Principal {
        self.caller.principal()
    }

    /// The same, with what the configuration gives them.
    pub(crate) fn caller(&self) -> &Arc<Caller> {
        &self.caller
    }

    pub(crate) fn arrival(&self) -> &Arrival {
        &self.arrival
    }
}

/// Somebody who could not be identified: what they are told, and with which challenge.
#[derive(Debug, thiserror::Error)]
#[error("{refusal}")]
pub struct Unidentified {
    refusal: NotIdentified,
    /// `WWW-Authenticate`, where another credential would help.
    challenge: Option<HeaderValue>,
}

impl Unidentified {
    pub(crate) fn refusal(&self) -> &NotIdentified {
        &self.refusal
    }

    pub(crate) fn challenge(&self) -> Option<&HeaderValue> {
        self.challenge.as_ref()
    }
}

/// A message that goes no further, and who it is from if that is known: somebody for whom there is no such endpoint.
pub(crate) struct TurnedAway {
    pub(crate) refusal: Refusal,
    pub(crate) arrival: Arrival,
    pub(crate) caller: Option<Arc<Caller>>,
}

impl TurnedAway {
    /// Puts it on record.
    pub(crate) fn recorded(self, gate: &Gate) -> Refusal {
        let (address, path) = (self.arrival.address, self.arrival.endpoint.url_path());
        turned_away(gate, address, &path, self.caller.as_deref(), &self.refusal);
        self.refusal
    }
}

/// Finds the caller. Credentials that are presented where none are configured prove nothing and change nothing.
///
/// Whoever may not use the endpoint at all is told that there is none.
pub(crate) async fn identify(gate: &Gate, arrival: Arrival) -> Result<Identified, TurnedAway> {
    if gate.governance.identity.is_none() {
        return Ok(local(gate, arrival));
    }
    let resource = &arrival.endpoint.resource;
    let caller = match credential(gate, &arrival.headers, arrival.address, resource).await {
        Ok(verified) => Arc::clone(verified.bearer()),
        Err(refusal) => {
            return Err(TurnedAway {
                refusal,
                arrival,
                caller: None,
            });
        }
    };
    match welcome(&arrival.endpoint, &caller) {
        Ok(()) => Ok(Identified { arrival, caller }),
        Err(refusal) => Err(TurnedAway {
            refusal,
            arrival,
            caller: Some(caller),
        }),
    }
}

fn welcome(endpoint: &Endpoint, caller: &Caller) -> Result<(), Refusal> {
    if endpoint.admits(caller) {
        return Ok(());
    }
    let (path, principal) = (endpoint.url_path(), caller.principal());
    tracing::info!(target: "gatepost::denied", %principal, endpoint = path, "no role of the caller opens this endpoint");
    Err(Refusal::NoEndpoint(path))
}

/// As [`identify`] goes on for somebody whose credential it has verified.
#[cfg(test)]
pub(crate) fn verified(
    gate: &Gate,
    arrival: Arrival,
    facts: gatepost_policy::Facts,
) -> Result<Identified, Refusal> {
    let caller = Arc::new(gate.governance.rules.caller(facts));
    welcome(&arrival.endpoint, &caller)?;
    Ok(Identified { arrival, caller })
}

/// Ends when the credential that opened a long stream is not good any more: revoked, expired, its issuer's key withdrawn, or
/// an endpoint that is no longer for this caller.
///
/// # Errors
/// When the caller has too many of them.
pub(crate) fn lapse(
    gate: &Arc<Gate>,
    identified: &Identified,
) -> Result<impl Future<Output = ()> + Send + use<>, Refusal> {
    let place = gate.streams.open(identified.principal())?;
    let (gate, identified) = (Arc::clone(gate), identified.clone());
    Ok(async move {
        let _open = place;
        until_lapsed(gate, identified).await;
    })
}

async fn until_lapsed(gate: Arc<Gate>, identified: Identified) {
    let Some(identity) = gate
        .governance
        .identity
        .as_ref()
        .filter(|_| !Arc::ptr_eq(identified.caller(), &gate.governance.local))
    else {
        return std::future::pending().await;
    };
    let arrival = identified.arrival();
    loop {
        tokio::time::sleep(LOOK_AGAIN).await;
        if let Some(Err(refusal)) = identity.recall(&arrival.headers, &arrival.endpoint.resource) {
            let principal = identified.principal();
            tracing::info!(target: "gatepost::denied", %principal, reason = refusal.reason(), "a stream was ended");
            return;
        }
    }
}

/// Somebody asks for an endpoint that does not exist. Only those who are somebody are told so; to all others everything
/// looks alike.
pub(crate) async fn stranger(
    gate: &Gate,
    headers: &HeaderMap,
    address: Option<std::net::IpAddr>,
    url_path: &str,
) -> Refusal {
    if let Err(refusal) = path::arrive(gate, address) {
        return refusal;
    }
    if gate.governance.identity.is_some() {
        let resource = gate.resource(url_path);
        if let Err(refusal) = credential(gate, headers, address, &resource).await {
            let path = gatepost_policy::Printable(url_path).to_string();
            turned_away(gate, address, &path, None, &refusal);
            return refusal;
        }
    }
    Refusal::NoEndpoint(gatepost_policy::Printable(url_path).to_string())
}

/// Whoever started this process and speaks to it through a pipe or from inside: it could read every secret of the
/// configuration anyway.
pub(crate) fn local(gate: &Gate, arrival: Arrival) -> Identified {
    Identified {
        arrival,
        caller: Arc::clone(&gate.governance.local),
    }
}

/// Whose credential this is. Addresses from which too many wrong ones came are heard only with one that is known.
async fn credential(
    gate: &Gate,
    headers: &HeaderMap,
    address: Option<std::net::IpAddr>,
    resource: &Resource,
) -> Result<Arc<Verified<Arc<Caller>>>, Refusal> {
    let Some(identity) = &gate.governance.identity else {
        return Err(Refusal::Internal("nobody can be identified here".into()));
    };
    if let Err(exceeded) = gate.governance.limits.may_try(address)
        && !identity.knows(headers)
    {
        return Err(Refusal::Limited {
            exceeded: Box::new(exceeded),
            target: None,
        });
    }
    let outcome = match identity.recall(headers, resource) {
        Some(outcome) => outcome,
        // Rare: keys are being fetched.
        None => Box::pin(identity.verify(headers, resource)).await,
    };
    outcome.map_err(|refusal| {
        if matches!(refusal.ruling(), Ruling::Invalid) {
            gate.governance.limits.refused(address);
        }
        tracing::info!(target: "gatepost::denied", ?address, reason = refusal.reason(), "not identified");
        Refusal::Unidentified(Box::new(Unidentified {
            challenge: resource.challenge(&refusal),
            refusal,
        }))
    })
}
