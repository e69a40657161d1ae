//! Refusals on record: what an auditor should see of them, which is more than their callers are told.

use std::net::IpAddr;

use gatepost_audit::{By, Denial, What, Who};
use gatepost_policy::Caller;

use super::account::{Account, trace_id, who};
use crate::{
    explain,
    gate::Gate,
    inbound::Inbound,
    refusal::{Limited, Refusal},
    respond::{About, render},
};

/// Records the refusal of a request that was read, if it is a denial: by rules, limits, or because its target is not for
/// this caller.
#[cold]
pub(crate) fn denied(gate: &Gate, inbound: &Inbound, refusal: &Refusal) {
    let unknown = matches!(refusal, Refusal::UnknownName { .. } | Refusal::UnknownResource(_));
    if !unknown && !is_denial(refusal) {
        return;
    }
    let found = unknown.then(|| explain::why_hidden(inbound)).flatten();
    if let Some((server, original, reason)) = &found {
        let principal = inbound.client.principal();
        tracing::info!(target: "gatepost::denied", %principal, server = &**server.name(), name = &**original, %reason);
    }
    let hidden = match (refusal, &found) {
        (Refusal::Hidden(hidden), _) => Some((&hidden.server, &hidden.name, &hidden.reason)),
        (_, Some((server, original, reason))) => Some((server.name(), original, reason)),
        _ => None,
    };
    let reason = match hidden {
        Some((_, _, reason)) => reason.to_string(),
        // Mostly a mistake; but who tries names must not be able to do so unseen.
        None if unknown => "no server of this endpoint has anything of that name".to_owned(),
        None => refusal.to_string(),
    };
    let Some(log) = &gate.governance.audit else { return };
    let account = Account::of(inbound);
    let about = About {
        id: None,
        era: Some(inbound.client.era()),
    };
    write(
        log,
        &Denial {
            who: account.who(),
            what: account.what(match hidden {
                Some((server, original, _)) => Some((&**server, &**original)),
                None => limited(refusal).map(|target| (&*target.server, &*target.original)),
            }),
            status: render(refusal, &about).0.as_u16(),
            reason: &reason,
            by: By::default(),
            hidden: hidden.is_some(),
            arguments: inbound.request.param_raw("arguments").unwrap_or_default(),
            request: inbound.request.id().bytes(),
            trace: trace_id(inbound),
        },
    );
}

/// Records the refusal of a message that was not read: from where it came, for which endpoint, and who it is from if that is
/// known.
#[cold]
pub(crate) fn turned_away(
    gate: &Gate,
    address: Option<IpAddr>,
    url_path: &str,
    caller: Option<&Caller>,
    refusal: &Refusal,
) {
    let Some(log) = &gate.governance.audit else { return };
    // Who tries keys without end fills /metrics and not the disk.
    let endless = matches!(refusal, Refusal::Limited { exceeded, .. } if exceeded.index.is_none());
    if endless || !is_denial(refusal) {
        return;
    }
    // Neither does who tries without any.
    if caller.is_none() && !gate.governance.limits.is_worth_a_record(address) {
        return;
    }
    let address = address.map(|address| address.to_string());
    let reason = match refusal {
        Refusal::Unidentified(unidentified) => unidentified.refusal().reason().to_owned(),
        other => other.to_string(),
    };
    write(
        log,
        &Denial {
            who: Who {
                address: address.as_deref(),
                ..caller.map(|caller| who(caller.principal())).unwrap_or_default()
            },
            what: What {
                endpoint: Some(url_path),
                server: limited(refusal).map(|target| &*target.server),
                name: limited(refusal).map(|target| &*target.name),
                ..What::default()
            },
            status: render(refusal, &About::default()).0.as_u16(),
            reason: &reason,
            ..Denial::default()
        },
    );
}

/// What there was no room for, where that is known.
fn limited(refusal: &Refusal) -> Option<&Limited> {
    match refusal {
        Refusal::Limited { target, .. } => target.as_deref(),
        _ => None,
    }
}

fn is_denial(refusal: &Refusal) -> bool {
    matches!(
        refusal,
        Refusal::Unidentified(_)
            | Refusal::NoEndpoint(_)
            | Refusal::Denied { .. }
            | Refusal::Hidden(_)
            | Refusal::Scopes { .. }
            | Refusal::Limited { .. }
    )
}

/// It is refused whether that can be written or not.
fn write(log: &gatepost_audit::Log, denial: &Denial<'_>) {
    if let Err(unwritten) = log.denial(denial) {
        tracing::error!(target: "gatepost::audit", %unwritten, "a denial could not be recorded");
    }
}
