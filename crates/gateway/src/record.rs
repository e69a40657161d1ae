//! The audit log: that a call is about to be made is written before it is, and what came of it before its answer goes out.

mod ledger;
mod permitted;

pub(crate) use ledger::Ledger;
pub use permitted::Permitted;

use std::sync::Arc;

use crate::{charge::Charged, gate::Gate, refusal::Refusal};

/// Writes the intent, and opens the account of the call.
pub(crate) async fn record(_gate: &Arc<Gate>, charged: Charged) -> Result<(Permitted, Ledger), Refusal> {
    let (authorized, permit) = charged.into_parts();
    let request = authorized.inbound().request.raw().len();
    let permitted = Permitted {
        authorized,
        input: None,
        task: None,
    };
    Ok((permitted, Ledger::open(permit, request)))
}
