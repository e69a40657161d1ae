//! Which era is this server? The order of questions of `eras.md` 1.2, for any transport.
//!
//! `server/discover` first. A server that does not know it is probably legacy and gets `initialize`. Silence may be a slow
//! start as well as a server that does not answer what it does not know, so after a while both questions are open, and the
//! first decisive answer wins.

use std::{future::Future, pin::pin, time::Duration};

use bytes::Bytes;
use gatepost_config::EraChoice;
use gatepost_protocol::{
    envelope::{Outcome, Response},
    json,
    version::{ProbeReply, ProbeVerdict, Version, accept_initialize, classify_probe},
};

/// An answer to one of the two questions.
#[derive(Debug)]
pub(crate) struct Answered<T> {
    /// The HTTP status; `None` on a pipe.
    pub(crate) status: Option<u16>,
    /// The JSON-RPC response, whatever the status.
    pub(crate) response: Option<Response>,
    /// What there was instead of a response, on one line, where it is worth quoting.
    pub(crate) detail: Option<String>,
    /// What the transport needs to go on, such as a session's id.
    pub(crate) carry: T,
}

/// How a server was greeted.
#[derive(Debug)]
pub(crate) enum Greeting<T> {
    /// It is modern. The discover result, unless it said so by an error.
    Modern(Version, Option<Response>),
    /// It is legacy; the result of `initialize`. `notifications/initialized` is still to be sent.
    Legacy(Version, Response, T),
    /// It knows neither question: perhaps the 2024-11-05 HTTP transport.
    Unknown(u16),
}

/// Why a server could not be greeted.
#[derive(Debug)]
pub(crate) enum NoGreeting<E> {
    /// The transport failed.
    Transport(E),
    /// Nothing can be concluded; try again later.
    Inconclusive(String),
    /// It answered, but there is nothing in common.
    Refused(String),
}

/// Asks a server for its era. `discover` and `initialize` send the two questions; `initialize` is called once.
pub(crate) async fn greet<T, E, D, I>(
    era: EraChoice,
    hedge_after: Duration,
    discover: impl FnOnce() -> D,
    initialize: impl FnOnce(Version) -> I,
) -> Result<Greeting<T>, NoGreeting<E>>
where
    D: Future<Output = Result<Answered<T>, E>>,
    I: Future<Output = Result<Answered<T>, E>>,
{
    if era == EraChoice::Legacy {
        return initialized(
            initialize(Version::LATEST_LEGACY)
                .await
                .map_err(NoGreeting::Transport)?,
        );
    }
    let mut discover = pin!(discover());
    if era == EraChoice::Modern {
        let answer = discover.await.map_err(NoGreeting::Transport)?;
        return match judge(&answer) {
            Judged::Modern(version) => Ok(Greeting::Modern(version, answer.response)),
            Judged::Stop(error) => Err(error),
            Judged::Initialize(_) => Err(NoGreeting::Refused(format!(
                "`era: modern` is configured, but {}",
                described(&answer)
            ))),
        };
    }
    match tokio::time::timeout(hedge_after, &mut discover).await {
        Ok(answer) => {
            let answer = answer.map_err(NoGreeting::Transport)?;
            match judge(&answer) {
                Judged::Modern(version) => Ok(Greeting::Modern(version, answer.response)),
                Judged::Stop(error) => Err(error),
                Judged::Initialize(version) => {
                    initialized(initialize(version).await.map_err(NoGreeting::Transport)?)
                }
            }
        }
        Err(_) => {
            let mut initialize = pin!(initialize(Version::LATEST_LEGACY));
            let (mut asking, mut refused) = (true, None);
            loop {
                tokio::select! {
                    answer = &mut discover, if asking => {
                        let judged = answer.map(|answer| (judge::<T, E>(&answer), answer.response));
                        if let Ok((Judged::Modern(version), response)) = judged {
                            return Ok(Greeting::Modern(version, response));
                        }
                        // It is no verdict against the other question, unless that has already failed.
                        asking = false;
                        if let Some(refused) = refused.take() {
                            return refused;
                        }
                    }
                    answer = &mut initialize, if refused.is_none() => {
                        let outcome = answer.map_err(NoGreeting::Transport).and_then(initialized);
                        if !asking || matches!(outcome, Ok(Greeting::Legacy(..))) {
                            return outcome;
                        }
                        // A late discover result beats an `initialize` error.
                        refused = Some(outcome);
                    }
                }
            }
        }
    }
}

enum Judged<E> {
    Modern(Version),
    Initialize(Version),
    Stop(NoGreeting<E>),
}

fn judge<T, E>(answer: &Answered<T>) -> Judged<E> {
    match classify_probe(ProbeReply {
        status: answer.status,
        response: answer.response.as_ref(),
    }) {
        ProbeVerdict::Modern(versions) => {
            Judged::Modern(versions.first().copied().unwrap_or(Version::LATEST))
        }
        ProbeVerdict::Legacy(version) | ProbeVerdict::InitializeAt(version) => Judged::Initialize(version),
        ProbeVerdict::TryInitialize => Judged::Initialize(Version::LATEST_LEGACY),
        ProbeVerdict::Inconclusive(why) => {
            let words = answer.response.as_ref().and_then(Response::error_message);
            Judged::Stop(unclear(
                why,
                answer.status,
                words.as_deref().or(answer.detail.as_deref()),
            ))
        }
        ProbeVerdict::NoCommon { theirs } => Judged::Stop(NoGreeting::Refused(format!(
            "it speaks {}, the gate speaks {}",
            theirs.join(", "),
            gatepost_protocol::version::SUPPORTED
                .iter()
                .map(|version| version.as_str())
                .collect::<Vec<_>>()
                .join(", "),
        ))),
    }
}

pub(crate) fn initialized<T, E>(answer: Answered<T>) -> Result<Greeting<T>, NoGreeting<E>> {
    let description = described(&answer);
    let Answered {
        status,
        response,
        detail,
        carry,
    } = answer;
    let words = detail.as_deref();
    match (response, status) {
        (Some(response), _) => match response.outcome() {
            Outcome::Result(_) => {
                let text = response
                    .result_member("protocolVersion")
                    .and_then(|span| json::text(response.raw(), span));
                match text.as_deref().and_then(accept_initialize) {
                    Some(version) => Ok(Greeting::Legacy(version, response, carry)),
                    None => Err(NoGreeting::Refused(format!(
                        "it answered `initialize` with the unknown version `{}`",
                        text.unwrap_or_default()
                    ))),
                }
            }
            Outcome::Error { .. } => Err(NoGreeting::Refused(description)),
        },
        (None, Some(status @ (400 | 404 | 405))) => Ok(Greeting::Unknown(status)),
        (None, Some(status @ (401 | 403 | 407))) => {
            Err(unclear("the server wants other credentials", Some(status), words))
        }
        (None, Some(status @ (408 | 429))) => {
            Err(unclear("the server asks to come back later", Some(status), words))
        }
        (None, Some(status @ 500..)) => Err(unclear("the server failed", Some(status), words)),
        (None, _) => Err(NoGreeting::Refused(description)),
    }
}

/// Nothing can be concluded, and the server's own words say best what its user can do about it.
fn unclear<E>(why: &str, status: Option<u16>, words: Option<&str>) -> NoGreeting<E> {
    NoGreeting::Inconclusive(match (status, words) {
        (Some(status), Some(words)) => format!("{why} (HTTP {status}: {words:.500})"),
        (Some(status), None) => format!("{why} (HTTP {status})"),
        (None, _) => why.to_owned(),
    })
}

fn described<T>(answer: &Answered<T>) -> String {
    match (&answer.response, answer.status) {
        (Some(response), _) => match response.outcome() {
            Outcome::Error { code, .. } => {
                format!(
                    "it answered with error {code}: {}",
                    response.error_message().unwrap_or_default()
                )
            }
            Outcome::Result(_) => "it answered with a result".to_owned(),
        },
        (None, Some(status)) => format!("it answered HTTP {status} without a JSON-RPC body"),
        (None, None) => "it did not answer".to_owned(),
    }
}

/// `server/discover` with the gate's own `_meta`.
pub(crate) fn discover(id: u64, info: &[u8]) -> Bytes {
    let version = Version::LATEST;
    let mut raw = format!(
        concat!(
            r#"{{"jsonrpc":"2.0","id":{},"method":"server/discover","params":{{"_meta":{{"#,
            r#""io.modelcontextprotocol/protocolVersion":"{}","io.modelcontextprotocol/clientCapabilities":{{}},"#,
            r#""io.modelcontextprotocol/clientInfo":"#
        ),
        id, version
    )
    .into_bytes();
    raw.extend_from_slice(info);
    raw.extend_from_slice(b"}}}");
    raw.into()
}

/// `initialize`.
pub(crate) fn initialize(id: u64, version: Version, capabilities: &[u8], info: &[u8]) -> Bytes {
    let mut raw = format!(
        r#"{{"jsonrpc":"2.0","id":{id},"method":"initialize","params":{{"protocolVersion":"{version}","capabilities":"#
    )
    .into_bytes();
    raw.extend_from_slice(if capabilities.is_empty() {
        b"{}"
    } else {
        capabilities
    });
    raw.extend_from_slice(br#","clientInfo":"#);
    raw.extend_from_slice(info);
    raw.extend_from_slice(b"}}");
    raw.into()
}

/// `notifications/initialized`.
pub(crate) const INITIALIZED: &[u8] = br#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#;

#[cfg(test)]
mod tests;
