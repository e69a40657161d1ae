//! Where a sink's batches go.

use std::{future::Future, io::Write, pin::Pin, time::Duration};

use gatepost_config::{HttpSink, Sink};
use gatepost_outbound::{Ask, fetch};
use http::{HeaderName, HeaderValue, StatusCode, header};

use super::cursor::Batch;
use crate::chain::{hex, sha256};

/// How long a receiver may take for a batch.
const TIMEOUT: Duration = Duration::from_secs(30);
/// How long to wait after a first failure.
const PAUSE: Duration = Duration::from_secs(1);
/// How much of its answer is read, in bytes. Only its status matters.
const ANSWER: u64 = 64 * 1024;

/// Why a batch was not received.
#[derive(Debug)]
pub(crate) enum NotTaken {
    /// It is too large; a smaller one may do.
    TooLarge,
    /// In words.
    Because(String),
}

pub(crate) type Delivery<'a> = Pin<Box<dyn Future<Output = Result<(), NotTaken>> + Send + 'a>>;

/// Somebody who receives batches.
pub(crate) trait Target: Send + Sync {
    /// Returns when the batch was received. `attempt` counts from 1.
    fn deliver<'a>(&'a self, batch: &'a Batch, attempt: u64) -> Delivery<'a>;
}

/// A sink's name, in records and for people; the name of its cursor's file; how long a record may wait; how many fit into a
/// batch; how much may wait on disk.
#[derive(Debug)]
pub(crate) struct Terms {
    pub(crate) name: String,
    pub(crate) key: String,
    pub(crate) every: Duration,
    pub(crate) batch: u64,
    pub(crate) backlog: u64,
    /// How long to wait after the first failure; then twice as long after each.
    pub(crate) pause: Duration,
}

pub(crate) fn target(sink: &Sink) -> (Terms, Box<dyn Target>) {
    match sink {
        Sink::Stdout => {
            let terms = Terms {
                name: "stdout".to_owned(),
                key: "stdout".to_owned(),
                every: Duration::ZERO,
                batch: 500,
                backlog: u64::MAX,
                pause: PAUSE,
            };
            (terms, Box::new(Stdout))
        }
        Sink::Http(http) => {
            let mut key = hex(&sha256(http.url.uri().to_string().as_bytes()));
            key.truncate(16);
            let terms = Terms {
                name: http.url.to_string(),
                key,
                every: http.every,
                batch: u64::from(http.batch.get()),
                backlog: http.backlog.0,
                pause: PAUSE,
            };
            (terms, Box::new(http.clone()))
        }
    }
}

struct Stdout;

impl Target for Stdout {
    fn deliver<'a>(&'a self, batch: &'a Batch, _attempt: u64) -> Delivery<'a> {
        let lines = batch.lines.clone();
        Box::pin(async move {
            let written = tokio::task::spawn_blocking(move || {
                let mut stdout = std::io::stdout().lock();
                stdout.write_all(&lines).and_then(|()| stdout.flush())
            });
            match written.await {
                Ok(Ok(())) => Ok(()),
                Ok(Err(error)) => Err(NotTaken::Because(error.to_string())),
                Err(error) => Err(NotTaken::Because(error.to_string())),
            }
        })
    }
}

impl Target for HttpSink {
    fn deliver<'a>(&'a self, batch: &'a Batch, attempt: u64) -> Delivery<'a> {
        Box::pin(async move {
            let because = |error: &dyn std::fmt::Display| NotTaken::Because(error.to_string());
            let url = self.url.uri().to_string();
            let mut ask = Ask::post(&url, "application/x-ndjson", batch.lines.clone())
                .map_err(|error| because(&error))?
                .within(TIMEOUT)
                .at_most(ANSWER);
            let facts = [
                ("gatepost-audit-records", batch.records),
                ("gatepost-audit-first", batch.first),
                ("gatepost-audit-last", batch.last),
                ("gatepost-audit-attempt", attempt),
            ];
            for (name, value) in facts {
                ask = ask.with(HeaderName::from_static(name), value.into());
            }
            let again = if attempt > 1 { "true" } else { "false" };
            ask = ask.with(
                HeaderName::from_static("gatepost-audit-redelivery"),
                HeaderValue::from_static(again),
            );
            for (name, value) in &self.headers {
                let mut value = HeaderValue::from_str(value.expose())
                    .map_err(|_| NotTaken::Because(format!("the header {name} holds what no header may")))?;
                value.set_sensitive(true);
                ask = ask.with(name.clone(), value);
            }
            let answer = fetch(ask).await.map_err(|error| because(&error))?;
            match answer.status {
                status if status.is_success() => Ok(()),
                StatusCode::PAYLOAD_TOO_LARGE => Err(NotTaken::TooLarge),
                status => {
                    let wait = answer
                        .headers
                        .get(header::RETRY_AFTER)
                        .and_then(|wait| wait.to_str().ok());
                    let wait = wait.map_or_else(String::new, |wait| format!(" (Retry-After: {wait})"));
                    Err(NotTaken::Because(format!("it answered {status}{wait}")))
                }
            }
        })
    }
}
