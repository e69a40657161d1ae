//! The account of one call: what it takes and gives, from its intent to its last frame.

use bytes::Bytes;
use futures_util::StreamExt;

use crate::{answer::Answer, limits::Permit, refusal::Refusal};

/// Kept for as long as the call runs. What the call holds under limits is given back with it.
pub(crate) struct Ledger {
    permit: Permit,
    /// Bytes of the request.
    request: usize,
}

impl Ledger {
    pub(super) fn open(permit: Permit, request: usize) -> Self {
        Self { permit, request }
    }

    /// Closes the account with the answer, or hands it to what is still to come of one.
    pub(crate) async fn close(self, outcome: Result<Answer, Refusal>) -> Result<Answer, Refusal> {
        self.permit.add_bytes(self.request as u64);
        Ok(match outcome? {
            Answer::Whole {
                status,
                body,
                session,
            } => {
                self.permit
                    .add_bytes(body.iter().map(Bytes::len).sum::<usize>() as u64);
                Answer::Whole {
                    status,
                    body,
                    session,
                }
            }
            Answer::Chunks(chunks) => Answer::Chunks(Box::pin(chunks.inspect(move |chunk| {
                if let Ok(chunk) = chunk {
                    self.permit.add_bytes(chunk.len() as u64);
                }
            }))),
            Answer::Messages(messages) => Answer::Messages(Box::pin(messages.inspect(move |message| {
                self.permit.add_bytes(message.len() as u64);
            }))),
            Answer::Resumable(session, version, messages) => {
                let counted = messages.inspect(move |message| self.permit.add_bytes(message.len() as u64));
                Answer::Resumable(session, version, Box::pin(counted))
            }
            rest @ (Answer::Resumed(_) | Answer::Accepted | Answer::Ended | Answer::Cancelled) => rest,
        })
    }
}
