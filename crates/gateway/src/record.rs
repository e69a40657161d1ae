//! The audit log: that a call is about to be made is written before it is, and what came of it before its answer goes out.

mod account;
mod denial;
mod ledger;
mod permitted;
mod told;

pub(crate) use account::Uses;
pub(crate) use denial::{denied, turned_away};
pub(crate) use ledger::Ledger;
pub use permitted::Permitted;
pub(crate) use told::told;

use std::sync::Arc;

use gatepost_audit::{Intent, What};

use crate::{
    charge::Charged,
    gate::Gate,
    receive::request_id,
    record::account::{Account, trace_id},
    refusal::Refusal,
};

/// Writes the intent, and opens the ledger of the call.
///
/// # Errors
/// When it cannot be written and nothing may happen unrecorded.
pub(crate) async fn record(gate: &Arc<Gate>, charged: Charged) -> Result<(Permitted, Ledger), Refusal> {
    let (authorized, permit) = charged.into_parts();
    let inbound = Arc::clone(authorized.inbound());
    let call = match &gate.governance.audit {
        None => None,
        Some(log) => {
            let action = authorized.action();
            let account = Account::of(&inbound);
            let intent = Intent {
                who: account.who(),
                what: What {
                    effect: Some(action.effect.effect),
                    ..account.what(Some((action.server, action.name)))
                },
                arguments: inbound.request.param_raw("arguments").unwrap_or_default(),
                by: account::by(authorized.by()),
                request: inbound.request.id().bytes(),
                trace: trace_id(&inbound),
            };
            let call = log
                .intent_among_others(&intent)
                .map_err(|unwritten| unrecorded(&unwritten))?;
            drop(account);
            call.durable().await.map_err(|unwritten| unrecorded(&unwritten))?;
            Some((log.clone(), call, request_id(&inbound.request)))
        }
    };
    let request = inbound.request.raw().len();
    let permitted = Permitted {
        authorized,
        input: None,
        task: None,
        call: call.as_ref().and_then(|(_, call, _)| call.short()),
    };
    Ok((permitted, Ledger::open(permit, request, call)))
}

fn unrecorded(unwritten: &gatepost_audit::Unwritten) -> Refusal {
    tracing::error!(target: "gatepost::audit", %unwritten, "a call was refused because it could not be recorded");
    Refusal::Unrecorded
}

#[cfg(test)]
mod tests;
