//! A server's URL with all that every request to it has in common, made once.

use std::sync::Arc;

use bytes::Bytes;
use gatepost_config::{Secret, ServerUrl};
use gatepost_outbound::{BadUrl, HttpClient, HttpError, Opening, Request, Response};
use gatepost_protocol::version::Version;
use http::{HeaderName, HeaderValue, Method, Uri, header, uri::PathAndQuery};
use rustls::ClientConfig;

use super::super::{CallError, Cause, incoming::Waiting};

pub(crate) const SESSION_ID: HeaderName = HeaderName::from_static("mcp-session-id");
pub(crate) const PROTOCOL_VERSION: HeaderName = HeaderName::from_static("mcp-protocol-version");
pub(crate) const METHOD: HeaderName = HeaderName::from_static("mcp-method");
pub(crate) const NAME: HeaderName = HeaderName::from_static("mcp-name");
pub(crate) const LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");

/// Where and how a server behind a URL is asked.
#[derive(Clone)]
pub(crate) struct Endpoint {
    client: HttpClient,
    fixed: Arc<Fixed>,
    /// `Host`.
    host: HeaderValue,
    pub(crate) context: Waiting,
}

/// What never changes of the requests to one path.
struct Fixed {
    target: Uri,
    post: Opening,
    listen: Opening,
    delete: Opening,
    /// Of the configuration. A field that a call has of its own, such as its trace, comes before.
    headers: Box<[(HeaderName, HeaderValue)]>,
}

impl Endpoint {
    /// The endpoint at `url`; `headers` come from the configuration.
    pub(crate) fn new(
        url: &ServerUrl,
        headers: &[(HeaderName, Secret)],
        tls: &Arc<ClientConfig>,
        context: Waiting,
    ) -> Result<Self, BadUrl> {
        let client = HttpClient::new(url.uri(), tls)?;
        let host = url
            .uri()
            .authority()
            .and_then(|host| HeaderValue::from_str(host.as_str()).ok())
            .unwrap_or_else(|| HeaderValue::from_static(""));
        let headers = headers
            .iter()
            .filter_map(|(name, secret)| {
                let mut value = HeaderValue::from_str(secret.expose()).ok()?;
                value.set_sensitive(true);
                Some((name.clone(), value))
            })
            .collect();
        Ok(Self {
            client,
            fixed: Arc::new(Fixed::new(path_of(url.uri()), &host, headers)),
            host,
            context,
        })
    }

    /// The same server at another path of the same origin, as an old server's `endpoint` event names it.
    pub(crate) fn at(&self, target: &Uri) -> Self {
        let fixed = Fixed::new(path_of(target), &self.host, self.fixed.headers.clone());
        Self {
            fixed: Arc::new(fixed),
            ..self.clone()
        }
    }

    /// What the configured URL is, without its origin.
    pub(crate) fn target(&self) -> &Uri {
        &self.fixed.target
    }

    /// Its connections.
    pub(crate) fn client(&self) -> &HttpClient {
        &self.client
    }

    /// A POST of `body`.
    pub(crate) fn post(&self, body: Bytes) -> Request {
        self.fixed.post.request_with(body)
    }

    /// A GET that wants an event stream.
    pub(crate) fn listen(&self) -> Request {
        self.fixed.listen.request()
    }

    /// A DELETE.
    pub(crate) fn delete(&self) -> Request {
        self.fixed.delete.request()
    }

    /// Sends a request and gives the response when its head is there.
    pub(crate) async fn send(&self, request: Request) -> Result<Response, CallError> {
        self.context.within(self.send_patiently(request)).await?
    }

    /// As [`Endpoint::send`], for a caller that minds the time itself.
    pub(crate) async fn send_patiently(&self, mut request: Request) -> Result<Response, CallError> {
        for (name, value) in &self.fixed.headers {
            request.default_field(name, value);
        }
        match self.client.send(request).await {
            Ok(response) => Ok(response),
            Err(HttpError::Connect(why)) => Err(self.context.error(Cause::Unreachable(why), true)),
            Err(HttpError::Broken(why)) => Err(self.context.error(Cause::Ended(why), false)),
        }
    }
}

impl Fixed {
    fn new(path: PathAndQuery, host: &HeaderValue, headers: Box<[(HeaderName, HeaderValue)]>) -> Self {
        let opening = |method| {
            let opening = Opening::new(&method, &path).with(&header::HOST, host);
            if headers.iter().any(|(name, _)| *name == header::USER_AGENT) {
                return opening;
            }
            let agent = HeaderValue::from_static(concat!("gatepost/", env!("CARGO_PKG_VERSION")));
            opening.with(&header::USER_AGENT, &agent)
        };
        let (json, events) = (
            HeaderValue::from_static("application/json"),
            HeaderValue::from_static("text/event-stream"),
        );
        let either = HeaderValue::from_static("application/json, text/event-stream");
        Self {
            post: opening(Method::POST)
                .with(&header::ACCEPT, &either)
                .with(&header::CONTENT_TYPE, &json),
            listen: opening(Method::GET).with(&header::ACCEPT, &events),
            delete: opening(Method::DELETE),
            target: Uri::from(path),
            headers,
        }
    }
}

/// The header of a protocol version.
pub(crate) fn version_header(version: Version) -> HeaderValue {
    HeaderValue::from_static(version.as_str())
}

fn path_of(uri: &Uri) -> PathAndQuery {
    match uri.path_and_query() {
        Some(path) => path.clone(),
        None => PathAndQuery::from_static("/"),
    }
}
