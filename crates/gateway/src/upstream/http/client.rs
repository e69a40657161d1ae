//! An HTTP/1.1 client for one origin, made for the hot path.
//!
//! The usual arrangement (a task per connection, a channel per request) costs two task switches a call. Here a pooled
//! connection is a pair, hyper's request sender and its connection driver, and whoever uses the connection drives it:
//! the request's own future while it waits for the head, the response body while it is read. When the body has ended the
//! pair goes back to a stack of idle connections. Nothing is spawned for a request or for a connection.
//!
//! Not here on purpose: redirects are not followed (a server that moves must be configured anew, and a credential never
//! travels along), and proxy variables of the environment are not read.

use std::{
    future::Future,
    io,
    pin::{Pin, pin},
    sync::{Arc, Mutex, PoisonError, Weak},
    task::{Context, Poll, Waker},
    time::Duration,
};

use bytes::Bytes;
use http::{HeaderMap, Request, Response, Uri};
use http_body::Body as _;
use http_body_util::Full;
use hyper::{
    body::Incoming,
    client::conn::http1::{self, Connection, SendRequest},
};
use hyper_util::rt::TokioIo;
use rustls::{ClientConfig, pki_types::ServerName};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
    time::Instant,
};
use tokio_rustls::{TlsConnector, client::TlsStream};

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
pub(crate) enum HttpError {
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
pub(crate) struct BadUrl {
    url: String,
    reason: &'static str,
}

/// A client of one origin. Clones share the pool.
#[derive(Clone)]
pub(crate) struct HttpClient {
    pool: Arc<Pool>,
}

/// Scheme, host and port: where the connections of a pool lead.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Origin {
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

/// One connection: the pair that is pooled.
struct Link {
    sender: SendRequest<Full<Bytes>>,
    driver: Connection<TokioIo<Socket>, Full<Bytes>>,
    /// It has carried a request before, so the server may have closed it by now.
    used: bool,
}

/// A response body that drives its own connection. Dropped before its end, it closes the connection.
pub(crate) struct Body {
    incoming: Incoming,
    /// The connection; `None` when it went back to the pool.
    link: Option<Box<Link>>,
    /// The driver has finished: the connection cannot be used again.
    over: bool,
    keep_for: Duration,
    pool: Arc<Pool>,
}

enum Socket {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

#[expect(
    clippy::large_enum_variant,
    reason = "made and taken apart at once; a box would cost an allocation a call"
)]
enum Failure {
    /// Nothing was written: here is the request again.
    NotSent(Request<Full<Bytes>>),
    Broken(HttpError),
}

// === impl Origin ===

impl Origin {
    /// The origin of an absolute `http` or `https` URL.
    pub(crate) fn of(url: &Uri) -> Result<Self, BadUrl> {
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
    pub(crate) fn new(url: &Uri, tls: &Arc<ClientConfig>) -> Result<Self, BadUrl> {
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
    pub(crate) fn origin(&self) -> &Origin {
        &self.pool.origin
    }

    /// Sends one request and gives the response as soon as its head is there.
    ///
    /// A pooled connection that turns out to be closed before anything was written is replaced silently. Dropping the
    /// future closes the connection it was using.
    pub(crate) async fn send(&self, mut request: Request<Full<Bytes>>) -> Result<Response<Body>, HttpError> {
        loop {
            let (link, fresh) = match self.pool.checkout() {
                Some(link) => (link, false),
                None => (Box::pin(self.pool.connect()).await?, true),
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

    /// Closes the idle connections; those in use are closed with their answers' end by the pool's own drop.
    pub(crate) fn close_idle(&self) {
        self.pool.stack().links.clear();
    }
}

/// Sends `request` on `link`, driving the connection until the head of the answer has come.
async fn exchange(
    mut link: Box<Link>,
    request: Request<Full<Bytes>>,
    pool: &Arc<Pool>,
) -> Result<Response<Body>, Failure> {
    // The answer arrives through a channel that only the driver fills, and we poll the driver: the channel need not wake
    // anybody (each such wake would cost one more poll of the whole call). It must then not be held back by tokio's
    // budget either, since that relies on the wake.
    let mut answer = pin!(tokio::task::unconstrained(link.sender.try_send_request(request)));
    let mut over = false;
    let driver = &mut link.driver;
    let outcome = std::future::poll_fn(|cx| {
        let failed = if over {
            None
        } else {
            match Pin::new(&mut *driver).poll(cx) {
                Poll::Ready(result) => {
                    over = true;
                    result.err()
                }
                Poll::Pending => None,
            }
        };
        match answer.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(outcome) => Poll::Ready(Ok(outcome)),
            Poll::Pending if over => Poll::Ready(Err(failed)),
            Poll::Pending => Poll::Pending,
        }
    })
    .await;
    match outcome {
        Ok(Ok(response)) => {
            link.used = true;
            let keep_for = keep_for(response.headers());
            Ok(response.map(|incoming| {
                let done = incoming.is_end_stream();
                let mut body = Body {
                    incoming,
                    link: Some(link),
                    over,
                    keep_for,
                    pool: Arc::clone(pool),
                };
                if done {
                    body.give_back();
                }
                body
            }))
        }
        Ok(Err(mut error)) => match error.take_message() {
            Some(unsent) => Err(Failure::NotSent(unsent)),
            None => Err(Failure::Broken(broken(&error.into_error()))),
        },
        Err(Some(error)) => Err(Failure::Broken(broken(&error))),
        Err(None) => Err(Failure::Broken(HttpError::Broken(
            "the connection was closed".to_owned(),
        ))),
    }
}

/// How long the server lets this connection idle, one second taken off for the way. Node's default is five seconds, and
/// it says so; reusing such a connection later would lose a call now and then.
fn keep_for(headers: &HeaderMap) -> Duration {
    let Some(value) = headers.get("keep-alive").and_then(|value| value.to_str().ok()) else {
        return IDLE_FOR;
    };
    value
        .split(',')
        .find_map(|part| part.trim().strip_prefix("timeout=")?.trim().parse().ok())
        .map_or(IDLE_FOR, |seconds: u64| {
            Duration::from_secs(seconds.saturating_sub(1)).min(IDLE_FOR)
        })
}

fn broken(error: &hyper::Error) -> HttpError {
    HttpError::Broken(with_sources(error))
}

/// An error and what caused it, in one line: hyper's own text leaves out the interesting half.
fn with_sources(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
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
            // One poll finds out whether the server has closed it meanwhile, without a system call when it has not.
            let closed = Pin::new(&mut link.driver)
                .poll(&mut Context::from_waker(Waker::noop()))
                .is_ready();
            if !closed && link.sender.is_ready() {
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
                    let stream = connector
                        .connect(name.clone(), stream)
                        .await
                        .map_err(|error| HttpError::Connect(format!("TLS with {}: {error}", address())))?;
                    Socket::Tls(Box::new(stream))
                }
            };
            let (sender, driver) = http1::handshake(TokioIo::new(socket))
                .await
                .map_err(|error| HttpError::Connect(with_sources(&error)))?;
            Ok(Box::new(Link {
                sender,
                driver,
                used: false,
            }))
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
        stack.links.retain_mut(|idle| {
            idle.until > now
                && Pin::new(&mut idle.link.driver)
                    .poll(&mut Context::from_waker(Waker::noop()))
                    .is_pending()
        });
        if stack.links.is_empty() {
            stack.links.shrink_to_fit();
            stack.swept = false;
            return;
        }
    }
}

// === impl Body ===

impl Body {
    /// The next piece of the body; `None` at its end.
    pub(crate) async fn data(&mut self) -> Option<Result<Bytes, HttpError>> {
        std::future::poll_fn(|cx| self.poll_data(cx)).await
    }

    /// The next piece of the body; trailers are dropped.
    pub(crate) fn poll_data(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, HttpError>>> {
        let mut driven = false;
        loop {
            // The driver fills the body's channel and is polled with the real waker; the channel itself needs none.
            match Pin::new(&mut self.incoming).poll_frame(&mut Context::from_waker(Waker::noop())) {
                Poll::Ready(Some(Ok(frame))) => {
                    if let Ok(data) = frame.into_data() {
                        if self.incoming.is_end_stream() {
                            self.give_back();
                        }
                        return Poll::Ready(Some(Ok(data)));
                    }
                    continue;
                }
                Poll::Ready(Some(Err(error))) => {
                    self.link = None;
                    return Poll::Ready(Some(Err(broken(&error))));
                }
                Poll::Ready(None) => {
                    self.give_back();
                    return Poll::Ready(None);
                }
                Poll::Pending if driven => return Poll::Pending,
                Poll::Pending => {}
            }
            // A body that is still pending when its driver has ended was cut off.
            let Some(link) = self.link.as_mut().filter(|_| !self.over) else {
                return Poll::Ready(Some(Err(HttpError::Broken(
                    "the connection was closed".to_owned(),
                ))));
            };
            match Pin::new(&mut link.driver).poll(cx) {
                Poll::Ready(_) => self.over = true,
                Poll::Pending => driven = true,
            }
        }
    }

    /// Reads up to `limit` bytes; `Ok(None)` when there are more.
    pub(crate) async fn collect(mut self, limit: u64) -> Result<Option<Bytes>, HttpError> {
        let Some(first) = self.data().await.transpose()? else {
            return Ok(Some(Bytes::new()));
        };
        let Some(second) = self.data().await.transpose()? else {
            return Ok((first.len() as u64 <= limit).then_some(first));
        };
        let mut whole = bytes::BytesMut::from(&first[..]);
        whole.extend_from_slice(&second);
        while whole.len() as u64 <= limit {
            match self.data().await.transpose()? {
                Some(data) => whole.extend_from_slice(&data),
                None => return Ok(Some(whole.freeze())),
            }
        }
        Ok(None)
    }

    /// How many bytes are still to come, if the head said so.
    pub(crate) fn announced(&self) -> Option<u64> {
        self.incoming.size_hint().exact()
    }

    fn give_back(&mut self) {
        if let Some(link) = self.link.take()
            && !self.over
            && !self.keep_for.is_zero()
        {
            self.pool.give_back(link, self.keep_for);
        }
    }
}

// === impl Socket ===

impl AsyncRead for Socket {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_read(cx, buf),
            Self::Tls(stream) => Pin::new(stream).poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for Socket {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_write(cx, buf),
            Self::Tls(stream) => Pin::new(stream).poll_write(cx, buf),
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_write_vectored(cx, bufs),
            Self::Tls(stream) => Pin::new(stream).poll_write_vectored(cx, bufs),
        }
    }

    fn is_write_vectored(&self) -> bool {
        match self {
            Self::Plain(stream) => stream.is_write_vectored(),
            Self::Tls(stream) => stream.is_write_vectored(),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_flush(cx),
            Self::Tls(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_shutdown(cx),
            Self::Tls(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}

#[cfg(test)]
mod tests;
