//! A modern client sends a call again, with a `requestState` of the gate's: finds out what it goes on with.

use std::sync::Arc;

use bytes::Bytes;
use gatepost_protocol::{
    ask::{Answers, input_answers},
    version::Era,
};

use http::StatusCode;

use super::{
    page::{COMPLETES_WITHIN, Verdict, verdict},
    parking::{Parked, Ticket},
    replay::Input,
    spent::{UnderWay, Use},
    state::{Belongs, Opens, Stale},
};
use crate::{gate::Gate, record::Permitted, refusal::Refusal};

/// How a call goes on.
pub(crate) enum Next {
    /// It is sent to the server, with what belongs to it.
    Call(Option<Input>),
    /// It was parked: these answers go up, and the server's stream goes on.
    Resume(Box<Parked>, Vec<Bytes>, UnderWay),
    /// The very same was sent before: so is what it was answered with.
    Repeat(StatusCode, Bytes),
}

/// Whether a call brings a state that the gate has made.
pub(crate) fn brings_state(permitted: &Permitted) -> bool {
    permitted
        .method()
        .is_some_and(gatepost_protocol::method::Method::may_ask)
        && permitted.client().version.is_modern()
        && permitted.request().param("requestState").is_some()
}

/// Opens the state. Whatever is wrong with it, the client is told one thing: to call again without it.
pub(crate) async fn open(gate: &Arc<Gate>, permitted: &Permitted) -> Result<Next, Refusal> {
    let (answers, state) =
        input_answers(permitted.request()).map_err(|wrong| Refusal::params(wrong.to_string()))?;
    let answers = answers.unwrap_or_default();
    let sealer = permitted.inbound().view.sealer();
    let belongs = Belongs::to(permitted.inbound(), permitted.server());
    let opened = belongs.open(sealer, state.as_deref().unwrap_or_default());
    let next = match opened {
        Ok(opens) => go_on(gate, permitted, opens, &answers).await,
        Err(stale) => Err(Stopped::Stale(stale)),
    };
    next.map_err(|stopped| match stopped {
        Stopped::Stale(stale) => {
            tracing::info!(target: "gatepost::call", server = &**permitted.server().name(), %stale, "a requestState was refused");
            Refusal::StaleState
        }
        Stopped::Refused(refusal) => refusal,
    })
}

enum Stopped {
    Stale(Stale),
    Refused(Refusal),
}

async fn go_on(
    gate: &Arc<Gate>,
    permitted: &Permitted,
    opens: Opens,
    answers: &Answers,
) -> Result<Next, Stopped> {
    let server = permitted.server();
    let era = server.known().map(|facts| facts.era());
    match opens {
        Opens::Server(_) if era == Some(Era::Legacy) => Err(Stopped::Stale(Stale::Era)),
        Opens::Server(state) => Ok(Next::Call(Some(Input {
            responses: None,
            state: Some(state),
        }))),
        Opens::Parked { owner, place, nonce } => {
            let ticket = Ticket { owner, place, nonce };
            let version = server
                .known()
                .map_or(permitted.client().version, |facts| facts.version);
            // Looked at before the place is opened, so that a client that got it wrong can do it right.
            if let Some(key) = gate.parking.misfit(ticket, answers) {
                let text =
                    format!("`params.inputResponses` answers `{key}` with something that is no answer to it");
                return Err(Stopped::Refused(Refusal::params(text)));
            }
            let used = Use::of(nonce, permitted.request());
            let answered = || {
                let (status, answer) = gate.spent.answer(used)?;
                Some(Next::Repeat(status, answer))
            };
            if let Some(repeat) = answered() {
                return Ok(repeat);
            }
            let Some(under_way) = gate.spent.begin(used) else {
                return Err(Stopped::Refused(Refusal::UnderWay));
            };
            match gate.parking.claim(ticket).await {
                Ok(mut parked) => {
                    let replies = parked.gather.answers(answers, version);
                    Ok(Next::Resume(Box::new(parked), replies, under_way))
                }
                // The first may have been answered just now.
                Err(stale) => answered().ok_or(Stopped::Stale(stale)),
            }
        }
        Opens::Pages { ids } => match verdict(answers, ids.len()) {
            Verdict::Agreed => {
                // The server says when the user is done; one that says nothing is called all the same.
                server.elicitation_completed(&ids, COMPLETES_WITHIN).await;
                Ok(Next::Call(None))
            }
            // The server asks again, if it still must.
            Verdict::Silent => Ok(Next::Call(None)),
            Verdict::Declined => Err(Stopped::Refused(Refusal::Declined(Arc::clone(server.name())))),
        },
    }
}
