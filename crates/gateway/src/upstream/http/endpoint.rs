//! A server's URL with all that every request to it has in common, made once.

use std::sync::Arc;

use bytes::Bytes;
use gatepost_config::{Secret, ServerUrl};
use gatepost_protocol::version::Version;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, Uri, header};
use http_body_util::Full;
use rustls::ClientConfig;

use super::{
    super::{CallError, Cause, incoming::Waiting},
    client::{BadUrl, Body, HttpClient, HttpError},
};

pub(crate) const SESSION_ID: HeaderName = HeaderName::from_static("mcp-session-id");
pub(crate) const PROTOCOL_VERSION: HeaderName = HeaderName::from_static("mcp-protocol-version");
pub(crate) const METHOD: HeaderName = HeaderName::from_static("mcp-method");
pub(crate) const NAME: HeaderName = HeaderName::from_static("mcp-name");
pub(crate) const LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");

/// Where and how a server behind a URL is asked.
#[derive(Clone)]
pub(crate) struct Endpoint {
    client: HttpClient,
    target: Uri,
    /// Of every request.
    base: Arc<HeaderMap>,
    /// Of every POST besides.
    post: Arc<HeaderMap>,
    pub(crate) context: Waiting,
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
        let mut base = HeaderMap::with_capacity(16);
        if let Some(host) = url
            .uri()
            .authority()
            .and_then(|host| HeaderValue::from_str(host.as_str()).ok())
        {
            base.insert(header::HOST, host);
        }
        base.insert(
            header::USER_AGENT,
            HeaderValue::from_static(concat!("gatepost/", env!("CARGO_PKG_VERSION"))),
        );
        for (name, secret) in headers {
            if let Ok(mut value) = HeaderValue::from_str(secret.expose()) {
                value.set_sensitive(true);
                base.append(name, value);
            }
        }
        let mut post = base.clone();
        post.insert(
            header::ACCEPT,
            HeaderValue::from_static("application/json, text/event-stream"),
        );
        post.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        Ok(Self {
            client,
            target: target_of(url.uri()),
            base: Arc::new(base),
            post: Arc::new(post),
            context,
        })
    }

    /// The same server at another path of the same origin, as an old server's `endpoint` event names it.
    pub(crate) fn at(&self, target: &Uri) -> Self {
        Self {
            target: target_of(target),
            ..self.clone()
        }
    }

    /// What the configured URL is, without its origin.
    pub(crate) fn target(&self) -> &Uri {
        &self.target
    }

    /// Its connections.
    pub(crate) fn client(&self) -> &HttpClient {
        &self.client
    }

    /// A POST of `body`.
    pub(crate) fn post(&self, body: Bytes) -> Request<Full<Bytes>> {
        self.request(Method::POST, (*self.post).clone(), body)
    }

    /// A GET that wants an event stream.
    pub(crate) fn listen(&self) -> Request<Full<Bytes>> {
        let mut headers = (*self.base).clone();
        headers.insert(header::ACCEPT, HeaderValue::from_static("text/event-stream"));
        self.request(Method::GET, headers, Bytes::new())
    }

    /// A DELETE.
    pub(crate) fn delete(&self) -> Request<Full<Bytes>> {
        self.request(Method::DELETE, (*self.base).clone(), Bytes::new())
    }

    fn request(&self, method: Method, headers: HeaderMap, body: Bytes) -> Request<Full<Bytes>> {
        let mut request = Request::new(Full::new(body));
        *request.method_mut() = method;
        *request.uri_mut() = self.target.clone();
        *request.headers_mut() = headers;
        request
    }

    /// Sends a request and gives the response when its head is there.
    pub(crate) async fn send(&self, request: Request<Full<Bytes>>) -> Result<Response<Body>, CallError> {
        self.context.within(self.send_patiently(request)).await?
    }

    /// As [`Endpoint::send`], for a caller that minds the time itself.
    pub(crate) async fn send_patiently(
        &self,
        request: Request<Full<Bytes>>,
    ) -> Result<Response<Body>, CallError> {
        match self.client.send(request).await {
            Ok(response) => Ok(response),
            Err(HttpError::Connect(why)) => Err(self.context.error(Cause::Unreachable(why), true)),
            Err(HttpError::Broken(why)) => Err(self.context.error(Cause::Ended(why), false)),
        }
    }
}

/// The header of a protocol version.
pub(crate) fn version_header(version: Version) -> HeaderValue {
    HeaderValue::from_static(version.as_str())
}

fn target_of(uri: &Uri) -> Uri {
    let path = uri
        .path_and_query()
        .cloned()
        .unwrap_or_else(|| http::uri::PathAndQuery::from_static("/"));
    Uri::from(path)
}
