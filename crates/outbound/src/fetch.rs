//! One exchange for what the gate itself asks of others: an issuer's keys, a token for a server.
//!
//! Whoever answers is not trusted with more than its answer: the whole exchange has one time limit, the body a bound, and a
//! redirection is an error, because what is sent may be a secret and what comes back decides who may do what. Every
//! exchange has a connection of its own; there are few of them.

use std::{net::IpAddr, sync::Arc, time::Duration};

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Uri, header, uri::PathAndQuery};
use rustls::ClientConfig;

use crate::{HttpClient, HttpError, Opening, tls};

/// How long an exchange may take unless said otherwise.
const TIMEOUT: Duration = Duration::from_secs(10);
/// How long a body may be unless said otherwise.
const MAX_BYTES: u64 = 1024 * 1024;

/// What to ask of whom.
///
/// `Debug` shows neither fields nor body: either may hold a secret.
#[derive(Clone)]
pub struct Ask {
    method: Method,
    url: Uri,
    fields: Vec<(HeaderName, HeaderValue)>,
    body: Option<Bytes>,
    timeout: Duration,
    max_bytes: u64,
    tls: Option<Arc<ClientConfig>>,
}

/// A whole answer, of whatever status but a redirection.
#[derive(Debug, Clone)]
pub struct Answer {
    /// The status; never an interim one or one that redirects.
    pub status: StatusCode,
    /// All its fields.
    pub headers: HeaderMap,
    /// The body, without any coding of transfer.
    pub body: Bytes,
}

/// There is no answer. `place` is the URL without its query, which may hold a secret.
#[derive(Debug, Clone, thiserror::Error)]
pub enum FetchError {
    /// Not a URL that can be asked.
    #[error("`{place}` {reason}")]
    Url {
        /// What was to be asked.
        place: String,
        /// What is wrong with it, as the rest of a sentence.
        reason: &'static str,
    },
    /// There was no connection: nothing was sent.
    #[error("{place} cannot be reached: {reason}")]
    Unreachable {
        /// What was to be asked.
        place: String,
        /// What connecting said.
        reason: String,
    },
    /// The connection broke, or what came was not HTTP. The request may have had its effect.
    #[error("{place} gave no answer: {reason}")]
    Broken {
        /// What was asked.
        place: String,
        /// What happened.
        reason: String,
    },
    /// It took too long. The request may have had its effect.
    #[error("{place} has not answered within {} s", within.as_secs_f32())]
    TooSlow {
        /// What was asked.
        place: String,
        /// The limit.
        within: Duration,
    },
    /// The answer is longer than it may be.
    #[error("{place} answered with more than {limit} bytes")]
    TooLong {
        /// What was asked.
        place: String,
        /// The limit.
        limit: u64,
    },
    /// The answer leads elsewhere.
    #[error(
        "{place} redirects{}, which is not followed: configure the address where it is",
        to.as_deref().map(|to| format!(" to {to}")).unwrap_or_default()
    )]
    Redirected {
        /// What was asked.
        place: String,
        /// Where it leads, without a query.
        to: Option<String>,
    },
    /// The TLS library refuses its own defaults.
    #[error("TLS cannot be set up: {0}")]
    Tls(#[from] rustls::Error),
}

// === impl Ask ===

impl Ask {
    /// A GET of `url`, which must be `https`, or `http` on a loopback address.
    ///
    /// # Errors
    ///
    /// [`FetchError::Url`] for any other URL and for one that names a user.
    pub fn get(url: &str) -> Result<Self, FetchError> {
        Self::new(Method::GET, url, None)
    }

    /// A POST of `body` to `url`, of which the same holds.
    ///
    /// # Errors
    ///
    /// As [`Ask::get`].
    pub fn post(url: &str, media: &'static str, body: impl Into<Bytes>) -> Result<Self, FetchError> {
        Ok(Self::new(Method::POST, url, Some(body.into()))?
            .with(header::CONTENT_TYPE, HeaderValue::from_static(media)))
    }

    fn new(method: Method, url: &str, body: Option<Bytes>) -> Result<Self, FetchError> {
        let bad = |reason| FetchError::Url {
            place: without_query(url),
            reason,
        };
        let url: Uri = url.parse().map_err(|_| bad("is not a URL"))?;
        let host = url
            .host()
            .filter(|host| !host.is_empty())
            .ok_or_else(|| bad("names no host"))?;
        match url.scheme_str() {
            Some("https") => {}
            Some("http") if is_loopback(host) => {}
            Some("http") => {
                return Err(bad(
                    "is plain http to another machine, where anybody on the way can change the answer: use https",
                ));
            }
            _ => return Err(bad("must begin with https://")),
        }
        if url
            .authority()
            .is_some_and(|authority| authority.as_str().contains('@'))
        {
            return Err(bad("names a user: put credentials where they belong"));
        }
        Ok(Self {
            method,
            url,
            fields: Vec::new(),
            body,
            timeout: TIMEOUT,
            max_bytes: MAX_BYTES,
            tls: None,
        })
    }

    /// With one more field.
    #[must_use]
    pub fn with(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.fields.push((name, value));
        self
    }

    /// With at most so long for the whole exchange, connecting included. Default 10 s.
    #[must_use]
    pub fn within(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// With at most so many bytes of body. Default 1 MiB.
    #[must_use]
    pub fn at_most(mut self, bytes: u64) -> Self {
        self.max_bytes = bytes;
        self
    }

    /// Trusting whom `tls` trusts instead of whom the operating system trusts.
    #[must_use]
    pub fn trusting(mut self, tls: Arc<ClientConfig>) -> Self {
        self.tls = Some(tls);
        self
    }
}

impl std::fmt::Debug for Ask {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Ask")
            .field("method", &self.method)
            .field("place", &without_query(&self.url.to_string()))
            .finish_non_exhaustive()
    }
}

/// Asks, and waits for the whole answer.
///
/// # Errors
///
/// See [`FetchError`]. A status that tells of a failure is an [`Answer`]: what it means is the caller's to say.
pub async fn fetch(ask: Ask) -> Result<Answer, FetchError> {
    let place = without_query(&ask.url.to_string());
    let within = ask.timeout;
    match tokio::time::timeout(within, exchange(ask, &place)).await {
        Ok(outcome) => outcome,
        Err(_) => Err(FetchError::TooSlow { place, within }),
    }
}

async fn exchange(ask: Ask, place: &str) -> Result<Answer, FetchError> {
    let place = || place.to_owned();
    let failed = |error| match error {
        HttpError::Connect(reason) => FetchError::Unreachable {
            place: place(),
            reason,
        },
        HttpError::Broken(reason) => FetchError::Broken {
            place: place(),
            reason,
        },
    };
    let tls = match ask.tls {
        Some(tls) => tls,
        None if ask.url.scheme_str() == Some("https") => system_tls().await?,
        None => tls::trusting(rustls::RootCertStore::empty())?,
    };
    let client = HttpClient::new(&ask.url, &tls).map_err(|_| FetchError::Url {
        place: place(),
        reason: "has a host that no certificate can name",
    })?;
    let root = PathAndQuery::from_static("/");
    let mut opening = Opening::new(&ask.method, ask.url.path_and_query().unwrap_or(&root));
    if let Some(host) = ask.url.authority()
        && let Ok(host) = HeaderValue::from_str(host.as_str())
    {
        opening = opening.with(&header::HOST, &host);
    }
    let mut request = match ask.body {
        Some(body) => opening.request_with(body),
        None => opening.request(),
    };
    for (name, value) in &ask.fields {
        request.field(name, value);
    }
    request.default_field(&header::ACCEPT, &HeaderValue::from_static("application/json"));
    request.default_field(
        &header::USER_AGENT,
        &HeaderValue::from_static(concat!("gatepost/", env!("CARGO_PKG_VERSION"))),
    );
    request.field(&header::CONNECTION, &HeaderValue::from_static("close"));

    let (response, headers) = client.send_once(request).await.map_err(failed)?;
    if response.status.is_redirection() && response.status != StatusCode::NOT_MODIFIED {
        return Err(FetchError::Redirected {
            place: place(),
            to: response.location.as_deref().map(without_query),
        });
    }
    let too_long = || FetchError::TooLong {
        place: place(),
        limit: ask.max_bytes,
    };
    if response
        .body
        .announced()
        .is_some_and(|length| length > ask.max_bytes)
    {
        return Err(too_long());
    }
    let status = response.status;
    let mut body = response.body;
    let mut whole = BytesMut::new();
    while let Some(piece) = body.data().await {
        whole.extend_from_slice(&piece.map_err(failed)?);
        if whole.len() as u64 > ask.max_bytes {
            return Err(too_long());
        }
    }
    Ok(Answer {
        status,
        headers,
        body: whole.freeze(),
    })
}

/// The system's certificates, read beside the runtime: they are many files.
async fn system_tls() -> Result<Arc<ClientConfig>, FetchError> {
    let loaded = tokio::task::spawn_blocking(tls::system).await;
    let loaded = loaded.unwrap_or_else(|error| Err(rustls::Error::General(error.to_string())));
    Ok(loaded?)
}

/// Whether a URL's host is this machine by its own name or address, so that nobody is on the way there.
pub fn is_loopback(host: &str) -> bool {
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    host.eq_ignore_ascii_case("localhost") || bare.parse().is_ok_and(|address: IpAddr| address.is_loopback())
}

/// A URL as it may stand in a message: without query and user, not too long, in one line.
fn without_query(url: &str) -> String {
    let url = url.split(['?', '#']).next().unwrap_or_default();
    let shown = match (url.find("://"), url.find('@')) {
        (Some(scheme), Some(user)) if user > scheme => format!("{}://{}", &url[..scheme], &url[user + 1..]),
        _ => url.to_owned(),
    };
    shown
        .chars()
        .filter(|character| !character.is_control())
        .take(300)
        .collect()
}

#[cfg(test)]
mod tests;
