//! A notification of a vendor's that goes to a server: a call that nobody waits for, and on record like one.

use gatepost_audit::{End, Intent, OpenCall, Outcome, What, Who};
use gatepost_policy::Action;
use gatepost_protocol::envelope::Notification;

use super::{
    account::{self, who},
    unrecorded,
};
use crate::{admit::Admitted, gate::Gate, refusal::Refusal};

/// The record of it while it is on its way; nothing where nothing is recorded.
pub(crate) struct Told(Option<OpenCall>);

/// Puts on record that a notification is about to be passed on.
///
/// # Errors
/// When it cannot be written and nothing may happen unrecorded.
pub(crate) async fn told(
    gate: &Gate,
    admitted: &Admitted,
    notification: &Notification,
    action: &Action<'_>,
    by: &gatepost_policy::By,
) -> Result<Told, Refusal> {
    let Some(log) = &gate.governance.audit else {
        return Ok(Told(None));
    };
    let arrival = admitted.arrival();
    let (endpoint, address) = (
        arrival.endpoint.url_path(),
        arrival.address.map(|address| address.to_string()),
    );
    let intent = Intent {
        who: Who {
            address: address.as_deref(),
            ..who(admitted.principal())
        },
        what: What {
            endpoint: Some(&endpoint),
            method: Some(notification.method()),
            server: Some(action.server),
            effect: Some(action.effect.effect),
            ..What::default()
        },
        arguments: notification
            .params()
            .map(|span| span.of(notification.raw()))
            .unwrap_or_default(),
        by: account::by(by),
        ..Intent::default()
    };
    let call = log.intent(&intent).map_err(|unwritten| unrecorded(&unwritten))?;
    call.durable().await.map_err(|unwritten| unrecorded(&unwritten))?;
    Ok(Told(Some(call)))
}

impl Told {
    /// It was passed on. There is no answer that could say that this was not written; the log says so itself.
    pub(crate) fn done(self, notification: &Notification) {
        let outcome = Outcome {
            bytes_in: notification.raw().len() as u64,
            ..Outcome::new(End::Ok)
        };
        if let Some(Err(unwritten)) = self.0.map(|call| call.outcome(outcome)) {
            tracing::error!(target: "gatepost::audit", %unwritten, "a notification was passed on whose outcome could not be recorded");
        }
    }
}
