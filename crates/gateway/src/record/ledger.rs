//! The ledger of one call: what it takes and gives, from its intent to its last frame.
//!
//! The last frame waits for the outcome to be written. An answer of one piece waits whole; of a stream of messages only the
//! response waits, and of a large answer that passes in chunks only the last chunk.

use std::sync::LazyLock;

use bytes::Bytes;
use futures_util::{StreamExt, stream};
use gatepost_audit::{Digest, End, Log, OpenCall, Outcome, Unwritten};
use gatepost_protocol::{
    envelope::{self, Message},
    error::INTERNAL_ERROR,
    json::{self, Strictness},
};
use memchr::memmem::Finder;

use crate::{
    answer::{Answer, Messages},
    limits::Permit,
    refusal::Refusal,
    respond::{About, render},
    transport::Chunks,
};

/// Kept for as long as the call runs. What the call holds under limits is given back with it.
pub(crate) struct Ledger {
    permit: Permit,
    /// Bytes of the request.
    request: u64,
    /// Bytes of the answer so far.
    answer: u64,
    /// How many of both have been counted.
    counted: u64,
    recorded: Option<Box<Recorded>>,
}

/// A call whose intent is in the log.
struct Recorded {
    log: Log,
    call: OpenCall,
    /// The raw id of the request, for an answer in place of one that may not go out.
    id: Bytes,
}

impl Ledger {
    pub(super) fn open(permit: Permit, request: usize, call: Option<(Log, OpenCall, Bytes)>) -> Self {
        let recorded = call.map(|(log, call, id)| Box::new(Recorded { log, call, id }));
        Self {
            permit,
            request: request as u64,
            answer: 0,
            counted: 0,
            recorded,
        }
    }

    /// Closes the ledger with the answer, or hands it to what is still to come of one.
    pub(crate) async fn close(mut self, outcome: Result<Answer, Refusal>) -> Result<Answer, Refusal> {
        let answer = match outcome {
            Ok(answer) => answer,
            Err(refusal) => {
                let written = self.settle(end_of_refusal(&refusal), None, None).await;
                return Err(if written.is_err() {
                    Refusal::OutcomeUnrecorded
                } else {
                    refusal
                });
            }
        };
        match answer {
            Answer::Whole {
                status,
                body,
                session,
            } => {
                self.answer = body.iter().map(|piece| piece.len() as u64).sum();
                if self.recorded.is_some() {
                    let joined = join(&body);
                    self.settle(end_of(&joined), Some(&joined), None)
                        .await
                        .map_err(|_| Refusal::OutcomeUnrecorded)?;
                } else {
                    self.count();
                }
                Ok(Answer::Whole {
                    status,
                    body,
                    session,
                })
            }
            Answer::Chunks(chunks) => Ok(Answer::Chunks(self.chunks(chunks))),
            Answer::Messages(messages) => Ok(Answer::Messages(self.messages(messages))),
            Answer::Resumable(resume, messages) => Ok(Answer::Resumable(resume, self.messages(messages))),
            rest @ (Answer::Resumed(_) | Answer::Accepted | Answer::Ended | Answer::Cancelled) => {
                self.settle(End::Cancelled, None, None)
                    .await
                    .map_err(|_| Refusal::OutcomeUnrecorded)?;
                Ok(rest)
            }
        }
    }

    fn messages(mut self, messages: Messages) -> Messages {
        if self.recorded.is_none() {
            return Box::pin(messages.inspect(move |message| self.pass(message)));
        }
        let state = (self, messages);
        Box::pin(stream::unfold(state, |(mut ledger, mut messages)| async move {
            let Some(message) = messages.next().await else {
                // Without a response only a call ends that its client has withdrawn.
                let _ = ledger.settle(End::Cancelled, None, None).await;
                return None;
            };
            ledger.pass(&message);
            if !is_response(&message) {
                return Some((message, (ledger, messages)));
            }
            let id = ledger.recorded.as_ref().map(|recorded| recorded.id.clone());
            let written = ledger.settle(end_of(&message), Some(&message), None).await;
            let message = match written {
                Ok(()) => message,
                Err(_) => instead(id),
            };
            Some((message, (ledger, messages)))
        }))
    }

    fn chunks(mut self, chunks: Chunks) -> Chunks {
        let Some(recorded) = &self.recorded else {
            return Box::pin(chunks.inspect(move |chunk| {
                if let Ok(chunk) = chunk {
                    self.pass(chunk);
                }
            }));
        };
        let digest = recorded.log.digest();
        let passing = Passing {
            ledger: self,
            chunks,
            held: None,
            digest,
            failed: ToolFailed::default(),
            over: false,
        };
        Box::pin(stream::unfold(passing, Passing::next))
    }

    /// Counts the bytes, and puts on record how it ended.
    async fn settle(
        &mut self,
        end: End<'_>,
        result: Option<&[u8]>,
        digest: Option<Digest>,
    ) -> Result<(), Unwritten> {
        self.count();
        let Some(recorded) = self.recorded.take() else {
            return Ok(());
        };
        let outcome = Outcome {
            bytes_in: self.request,
            bytes_out: self.answer,
            result,
            digest,
            ..Outcome::new(end)
        };
        let settled = match recorded.call.outcome_among_others(outcome) {
            // `sync` waits for the disk before a call; its outcome is there with the next one that does.
            Ok(written) => written.in_file().await,
            Err(unwritten) => Err(unwritten),
        };
        if let Err(unwritten) = &settled {
            tracing::error!(target: "gatepost::audit", %unwritten, "a call was made whose outcome could not be recorded");
        }
        settled
    }

    /// A part of the answer passes.
    fn pass(&mut self, part: &Bytes) {
        self.answer += part.len() as u64;
        self.count();
    }

    /// Counts what has not been yet.
    fn count(&mut self) {
        let all = self.request + self.answer;
        if all > self.counted {
            self.permit.add_bytes(all - self.counted);
            self.counted = all;
        }
    }
}

/// Whoever breaks off before the end has used what has passed all the same.
impl Drop for Ledger {
    fn drop(&mut self) {
        self.count();
    }
}

/// A large answer on its way, one chunk behind.
struct Passing {
    ledger: Ledger,
    chunks: Chunks,
    held: Option<Bytes>,
    digest: Option<Digest>,
    failed: ToolFailed,
    over: bool,
}

impl Passing {
    async fn next(mut self) -> Option<(<Chunks as futures_core::Stream>::Item, Self)> {
        if self.over {
            return None;
        }
        loop {
            match self.chunks.next().await {
                Some(Ok(chunk)) => {
                    self.ledger.pass(&chunk);
                    self.failed.see(&chunk);
                    if let Some(digest) = &mut self.digest {
                        digest.update(&chunk);
                    }
                    if let Some(before) = self.held.replace(chunk) {
                        return Some((Ok(before), self));
                    }
                }
                Some(Err(broken)) => {
                    self.over = true;
                    let end = End::Error { code: INTERNAL_ERROR };
                    // What the client sees is broken already.
                    let _ = self.ledger.settle(end, None, None).await;
                    return Some((Err(broken), self));
                }
                None => {
                    self.over = true;
                    let end = if self.failed.found {
                        End::ToolError
                    } else {
                        End::Ok
                    };
                    let digest = self.digest.take();
                    let settled = self.ledger.settle(end, None, digest).await;
                    let last = self.held.take()?;
                    return Some(match settled {
                        Ok(()) => (Ok(last), self),
                        // It has begun, so it can only be broken off: its client must not take it for complete.
                        Err(unwritten) => (Err(unwritten.to_string().into()), self),
                    });
                }
            }
        }
    }
}

/// Looks for `"isError":true` in chunks.
#[derive(Default)]
struct ToolFailed {
    found: bool,
    /// The end of what was seen, in which it may have begun.
    tail: Vec<u8>,
}

impl ToolFailed {
    fn see(&mut self, chunk: &[u8]) {
        /// Longer than what is looked for, with some white space in it.
        const OVERLAP: usize = 32;
        if self.found {
            return;
        }
        self.tail.extend_from_slice(&chunk[..chunk.len().min(OVERLAP)]);
        self.found = says_failed(&self.tail) || says_failed(chunk);
        if chunk.len() > OVERLAP {
            self.tail.clear();
            self.tail.extend_from_slice(&chunk[chunk.len() - OVERLAP..]);
        } else {
            let excess = self.tail.len().saturating_sub(OVERLAP);
            self.tail.drain(..excess);
        }
    }
}

/// Whether a member `isError` is true somewhere. In a string the quotes would be escaped.
fn says_failed(bytes: &[u8]) -> bool {
    const MEMBER: &[u8] = b"\"isError\"";
    static FINDER: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new(MEMBER));
    FINDER.find_iter(bytes).any(|at| {
        let rest = bytes[at + MEMBER.len()..].trim_ascii_start();
        rest.strip_prefix(b":")
            .is_some_and(|value| value.trim_ascii_start().starts_with(b"true"))
    })
}

/// How a call ended, by its complete response.
fn end_of(message: &[u8]) -> End<'static> {
    static ERROR: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new(b"\"error\""));
    // Nearly every answer is a plain result, and that is seen without parsing it.
    if ERROR.find(message).is_none() && !says_failed(message) {
        return End::Ok;
    }
    let Ok(Message::Response(response)) = Message::parse(Bytes::copy_from_slice(message), Strictness::Server)
    else {
        return End::Ok;
    };
    match response.outcome() {
        envelope::Outcome::Error { code, .. } => End::Error { code },
        envelope::Outcome::Result(result) => {
            let raw = response.raw();
            let failed = json::object(raw, result)
                .ok()
                .and_then(|members| members.get(raw, "isError"))
                .is_some_and(|value| &raw[value.start()..value.end()] == b"true");
            if failed { End::ToolError } else { End::Ok }
        }
    }
}

fn end_of_refusal(refusal: &Refusal) -> End<'static> {
    match refusal {
        Refusal::Cancelled => End::Cancelled,
        Refusal::StaleState | Refusal::UnderWay | Refusal::Params(_) | Refusal::Declined(_) => {
            End::NotSent("what the client came back with does not let the call go on")
        }
        _ => End::Error { code: INTERNAL_ERROR },
    }
}

/// Whether a message ends the answer. Notifications and requests have a `method`.
fn is_response(message: &Bytes) -> bool {
    matches!(
        Message::parse(message.clone(), Strictness::Server),
        Ok(Message::Response(_))
    )
}

/// What goes out in place of a response whose outcome could not be written.
fn instead(id: Option<Bytes>) -> Bytes {
    let about = About { id, era: None };
    render(&Refusal::OutcomeUnrecorded, &about).1
}

fn join(body: &[Bytes]) -> Bytes {
    match body {
        [whole] => whole.clone(),
        pieces => pieces.concat().into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(message: &str, expected: End<'_>) {
        assert_eq!(end_of(message.as_bytes()), expected, "{message}");
    }

    #[test]
    fn an_answer_says_how_its_call_ended() {
        check(r#"{"jsonrpc":"2.0","id":1,"result":{"content":[]}}"#, End::Ok);
        check(
            r#"{"jsonrpc":"2.0","id":1,"result":{"content":[],"isError":true}}"#,
            End::ToolError,
        );
        check(
            r#"{"jsonrpc":"2.0","id":1,"result":{"content":[],"isError":false}}"#,
            End::Ok,
        );
        // What a tool says is not what the gate believes.
        check(
            r#"{"jsonrpc":"2.0","id":1,"result":{"structuredContent":{"isError":true,"error":1}}}"#,
            End::Ok,
        );
        check(
            r#"{"jsonrpc":"2.0","id":1,"error":{"code":-32602,"message":"no"}}"#,
            End::Error { code: -32602 },
        );
    }

    #[test]
    fn a_failed_tool_is_noticed_wherever_its_chunks_are_cut() {
        let failed = br#"{"jsonrpc":"2.0","id":1,"result":{"content":[{"type":"text","text":"long enough"}],"isError" : true,"_meta":{}}}"#;
        let fine = br#"{"jsonrpc":"2.0","id":1,"result":{"content":[{"type":"text","text":"\"isError\":true"}],"isError":false}}"#;
        for size in 1..failed.len() {
            let seen = |message: &[u8]| {
                let mut seen = ToolFailed::default();
                message.chunks(size).for_each(|chunk| seen.see(chunk));
                seen.found
            };
            assert!(seen(failed), "in chunks of {size}");
            assert!(!seen(fine), "in chunks of {size}");
        }
    }
}
