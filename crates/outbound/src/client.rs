//! An HTTP/1.1 client for one origin, made for the hot path.
//!
//! The usual arrangement (a task per connection, channels between it and the request) costs task switches and a dozen
//! allocations a call. Here whoever uses a connection reads and writes it: the request's own future until the head of the
//! answer is there, the response body while it is read. When the body has ended the connection goes back to a stack of
//! idle ones. Nothing is spawned for a request or for a connection, a request is written from one buffer, and an answer is
//! a slice of the one it was read into. `request` is what goes out, `link` the exchange on one connection, `response` what
//! comes back; where heads and bodies end is decided in `gatepost_protocol::framing::http1`.
//!
//! Not here on purpose: redirects are not followed (a server that moves must be configured anew, and a credential never
//! travels along), and proxy variables of the environment are not read.

use std::{
    pin::Pin,
    sync::{Arc, Mutex, PoisonError, Weak},
    time::Duration,
};

use gatepost_protocol::framing::http1::Head;
use http::{HeaderMap, Uri};
use rustls::{ClientConfig, pki_types::ServerName};
use tokio::{net::TcpStream, time::Instant};
use tokio_rustls::TlsConnector;

use self::{
    link::{Failure, Link},
    request::Sealed,
    response::Facts,
    socket::Socket,
};

mod link;
mod request;
mod response;
mod socket;

pub use request::{Opening, Request};
pub use response::{Body, Media, Response};

/// Idle connections kept for one origin; more are closed when they come back.
const MAX_IDLE: usize = 512;
/// How long an idle connection is kept, unless the server's `Keep-Alive: timeout` says less.
const IDLE_FOR: Duration = Duration::from_secs(30);
/// How often idle connections are looked through while there are any.
const SWEEP_EVERY: Duration = Duration::from_secs(10);
/// How long connecting, the TLS handshake included, may take.
const CONNECT_WITHIN: Duration = Duration::from_secs(10);

/// Why an HTTP exchange failed below HTTP itself.
#[derive(Debug, thiserror::Error)]
pub enum HttpError {
    /// No connection; the request was not sent.
    #[error("{0}")]
    Connect(String),
    /// The connection broke when the request, or a part of it, may have reached the server.
    #[error("{0}")]
    Broken(String),
}

/// The URL of a server cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("the URL `{url}` {reason}")]
pub struct BadUrl {
    url: String,
    reason: &'static str,
}

/// A client of one origin. Clones share the pool.
#[derive(Clone)]
pub struct HttpClient {
    pool: Arc<Pool>,
}

/// Scheme, host and port: where the connections of a pool lead.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Origin {
    secure: bool,
    host: Box<str>,
    port: u16,
}

struct Pool {
    origin: Origin,
    tls: Option<(TlsConnector, ServerName<'static>)>,
    idle: Mutex<Stack>,
}

#[derive(Default)]
struct Stack {
    links: Vec<Idle>,
    swept: bool,
}

struct Idle {
    link: Box<Link>,
    until: Instant,
}

// === impl Origin ===

impl Origin {
    /// The origin of an absolute `http` or `https` URL.
    pub fn of(url: &Uri) -> Result<Self, BadUrl> {
        let bad = |reason| BadUrl {
            url: url.to_string(),
            reason,
        };
        let secure = match url.scheme_str() {
            Some("https") => true,
            Some("http") => false,
            _ => return Err(bad("must begin with http:// or https://")),
        };
        let host = url
            .host()
            .filter(|host| !host.is_empty())
            .ok_or_else(|| bad("names no host"))?;
        Ok(Self {
            secure,
            host: host.trim_start_matches('[').trim_end_matches(']').into(),
            port: url.port_u16().unwrap_or(if secure { 443 } else { 80 }),
        })
    }
}

// === impl HttpClient ===

impl HttpClient {
    /// A client for the origin of `url`. Connects when first used.
    pub fn new(url: &Uri, tls: &Arc<ClientConfig>) -> Result<Self, BadUrl> {
        let origin = Origin::of(url)?;
        let tls = if origin.secure {
            let name = ServerName::try_from(origin.host.to_string()).map_err(|_| BadUrl {
                url: url.to_string(),
                reason: "has a host that no certificate can name",
            })?;
            Some((TlsConnector::from(Arc::clone(tls)), name))
        } else {
            None
        };
        Ok(Self {
            pool: Arc::new(Pool {
                origin,
                tls,
                idle: Mutex::default(),
            }),
        })
    }

    /// Where this client's connections lead.
    pub fn origin(&self) -> &Origin {
        &self.pool.origin
    }

    /// Sends one request and gives the response as soon as its head is there.
    ///
    /// A pooled connection that turns out to be closed before anything was written is replaced silently. Dropping the
    /// future closes the connection it was using.
    pub async fn send(&self, request: Request) -> Result<Response, HttpError> {
        let mut request = request.seal();
        loop {
            let (link, fresh) = match self.pool.checkout() {
                Some(link) => (link, false),
                None => (self.pool.connecting().await?, true),
            };
            match exchange(link, request, &self.pool).await {
                Ok(response) => return Ok(response),
                Err(Failure::Broken(error)) => return Err(error),
                Err(Failure::NotSent(_)) if fresh => {
                    return Err(HttpError::Connect("the connection was closed at once".to_owned()));
                }
                Err(Failure::NotSent(unsent)) => request = unsent,
            }
        }
    }

    /// As [`HttpClient::send`], on a connection of its own, and with all fields of the answer.
    pub(crate) async fn send_once(&self, request: Request) -> Result<(Response, HeaderMap), HttpError> {
        let mut link = self.pool.connect().await?;
        link.begin(request.seal());
        let read = |head: &Head<'_>, bytes: &[u8]| Ok((Facts::of(head)?, response::fields(bytes)?));
        match std::future::poll_fn(|cx| link.poll_head(cx, read)).await {
            Ok((facts, fields)) => Ok((facts.into_response(link, &self.pool), fields)),
            Err(Failure::Broken(error)) => Err(error),
            Err(Failure::NotSent(_)) => {
                Err(HttpError::Connect("the connection was closed at once".to_owned()))
            }
        }
    }

    /// Closes the idle connections; those in use are closed with their answers' end by the pool's own drop.
    pub fn close_idle(&self) {
        self.pool.stack().links.clear();
    }
}

/// Sends `request` on `link` until the head of the answer has come.
async fn exchange(mut link: Box<Link>, request: Sealed, pool: &Arc<Pool>) -> Result<Response, Failure> {
    link.begin(request);
    let facts = std::future::poll_fn(|cx| link.poll_head(cx, |head, _| Facts::of(head))).await?;
    Ok(facts.into_response(link, pool))
}

// === impl Pool ===

impl Pool {
    fn stack(&self) -> std::sync::MutexGuard<'_, Stack> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The idle connection used last, if it is young enough and still open.
    fn checkout(&self) -> Option<Box<Link>> {
        let mut now = None;
        loop {
            let Idle { mut link, until } = self.stack().links.pop()?;
            if until <= *now.get_or_insert_with(Instant::now) {
                continue;
            }
            // The server may have closed it meanwhile.
            if link.is_quiet() {
                return Some(link);
            }
        }
    }

    fn give_back(self: &Arc<Self>, link: Box<Link>, keep_for: Duration) {
        let until = Instant::now() + keep_for;
        let mut stack = self.stack();
        if stack.links.len() < MAX_IDLE {
            stack.links.push(Idle { link, until });
        }
        if !stack.swept {
            stack.swept = true;
            drop(stack);
            tokio::spawn(sweep(Arc::downgrade(self)));
        }
    }

    /// Rare, and its type is deep: both are kept out of every call's future.
    fn connecting(&self) -> Pin<Box<dyn Future<Output = Result<Box<Link>, HttpError>> + Send + '_>> {
        Box::pin(self.connect())
    }

    async fn connect(&self) -> Result<Box<Link>, HttpError> {
        let address = || {
            let Origin { host, port, .. } = &self.origin;
            if host.contains(':') {
                format!("[{host}]:{port}")
            } else {
                format!("{host}:{port}")
            }
        };
        let connecting = async {
            let stream = TcpStream::connect((&*self.origin.host, self.origin.port))
                .await
                .map_err(|error| HttpError::Connect(format!("connecting to {}: {error}", address())))?;
            // Without it Nagle's algorithm and delayed acknowledgement make small answers wait 40 ms.
            let _ = stream.set_nodelay(true);
            let socket = match &self.tls {
                None => Socket::Plain(stream),
                Some((connector, name)) => {
                    let stream = connector.connect(name.clone(), stream).await.map_err(|error| {
                        let hint = crate::tls::hint(&error);
                        HttpError::Connect(format!("TLS with {}: {error}{hint}", address()))
                    })?;
                    Socket::Tls(Box::new(stream))
                }
            };
            Ok(Box::new(Link::new(socket)))
        };
        tokio::time::timeout(CONNECT_WITHIN, connecting)
            .await
            .unwrap_or_else(|_| {
                Err(HttpError::Connect(format!(
                    "connecting to {} took longer than {} s",
                    address(),
                    CONNECT_WITHIN.as_secs()
                )))
            })
    }
}

/// Closes connections whose time has come, as long as there are any and the pool lives.
async fn sweep(pool: Weak<Pool>) {
    loop {
        tokio::time::sleep(SWEEP_EVERY).await;
        let Some(pool) = pool.upgrade() else { return };
        let now = Instant::now();
        let mut stack = pool.stack();
        stack
            .links
            .retain_mut(|idle| idle.until > now && idle.link.is_quiet());
        if stack.links.is_empty() {
            stack.links.shrink_to_fit();
            stack.swept = false;
            return;
        }
    }
}

#[cfg(test)]
mod tests;
