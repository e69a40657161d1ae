//! Batches, which one version of the protocol has: a session at 2025-03-26 may POST an array of messages.
//!
//! Source: MCP 2025-03-26, basic/transports#Sending Messages to the Server and basic/index#Batching. They are split here
//! and never reach a server as batches.

use std::sync::Arc;

use bytes::{BufMut, Bytes, BytesMut};
use futures_util::{StreamExt, future::join_all, stream};
use gatepost_protocol::envelope::Message;

use crate::{
    admit::Admitted,
    answer::Answer,
    gate::Gate,
    identify::Identified,
    path,
    receive::{self, Refused},
    refusal::Refusal,
    respond::{self, About},
    transport::connection,
};

/// Messages in one batch: what a client collects in good faith, not what it takes to multiply one request's cost.
const MOST: usize = 100;

/// Answers every message of a batch: as an array when all answers are at hand, else on one event stream.
pub(super) async fn answer(
    gate: &Arc<Gate>,
    admitted: &Admitted,
    messages: Vec<Bytes>,
) -> Result<Answer, Refused> {
    if messages.is_empty() || messages.len() > MOST {
        return Err((
            Refusal::params(format!("a batch holds 1 to {MOST} messages")),
            About::default(),
        ));
    }
    let answers = join_all(messages.into_iter().enumerate().map(|(at, message)| {
        let identified = admitted.identified().clone();
        async move {
            one(gate, identified, at, message)
                .await
                .unwrap_or_else(|(refusal, about)| respond::refuse(&refusal, &about))
        }
    }))
    .await;
    if answers.iter().any(|answer| {
        matches!(
            answer,
            Answer::Messages(_) | Answer::Resumable(..) | Answer::Chunks(_)
        )
    }) {
        return Ok(Answer::Messages(Box::pin(
            stream::iter(answers).flat_map_unordered(None, connection::messages),
        )));
    }
    let responses: Vec<Bytes> = answers.into_iter().filter_map(whole).collect();
    if responses.is_empty() {
        return Ok(Answer::Accepted);
    }
    let mut array = BytesMut::new();
    for (at, response) in responses.iter().enumerate() {
        array.put_u8(if at == 0 { b'[' } else { b',' });
        array.put_slice(response);
    }
    array.put_u8(b']');
    Ok(Answer::whole(array.freeze()))
}

async fn one(gate: &Arc<Gate>, identified: Identified, at: usize, message: Bytes) -> Result<Answer, Refused> {
    // The first has arrived with the request.
    if at > 0 {
        path::another(gate, identified.arrival(), Some(identified.caller()))?;
    }
    let admitted = path::join(gate, identified)?;
    let mut id = None;
    if let Ok(Message::Request(request)) = receive::parse(message.clone()) {
        id = Some(receive::request_id(&request));
        // 2025-03-26 basic/lifecycle#Initialization: "MUST NOT be part of a JSON-RPC batch".
        if request.method() == "initialize" {
            return Err((Refusal::Batch, About { id, era: None }));
        }
    }
    let answer = path::posted(gate, admitted, message).await?;
    Ok(connection::in_one(answer, id))
}

fn whole(answer: Answer) -> Option<Bytes> {
    let Answer::Whole { body, .. } = answer else {
        return None;
    };
    let mut joined = BytesMut::with_capacity(body.iter().map(Bytes::len).sum());
    body.iter().for_each(|piece| joined.put_slice(piece));
    Some(joined.freeze())
}
