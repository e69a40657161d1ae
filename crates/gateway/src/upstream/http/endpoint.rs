//! A server's URL with all that every request to it has in common, made once.

use std::sync::Arc;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use gatepost_config::{Secret, ServerUrl};
use gatepost_outbound::{BadUrl, HttpClient, HttpError, Opening, Request, Response};
use gatepost_protocol::version::Version;
use http::{HeaderName, HeaderValue, Method, StatusCode, Uri, header, uri::PathAndQuery};
use rustls::ClientConfig;

use super::super::{
    CallError, Cause,
    credential::{Fingerprint, Form, Presented, Scrub, TokenSource},
    incoming::Waiting,
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
    fixed: Arc<Fixed>,
    /// `Host`.
    host: HeaderValue,
    /// What lets its requests in, unless a request brings something of its caller's.
    presented: Option<Arc<Presented>>,
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
    /// The endpoint at `url`; `headers` come from the configuration, `presented` is what everybody gets there.
    pub(crate) fn new(
        url: &ServerUrl,
        headers: &[(HeaderName, Secret)],
        tls: &Arc<ClientConfig>,
        presented: Option<Arc<Presented>>,
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
            presented,
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

    /// The same server for the requests of one caller, where it has something of its own to present.
    pub(crate) fn presenting(&self, personal: Option<&Arc<Presented>>) -> Self {
        let mut endpoint = self.clone();
        if let Some(personal) = personal {
            endpoint.presented = Some(Arc::clone(personal));
        }
        endpoint
    }

    /// Whose credential is presented here; nothing for the gate's own.
    pub(crate) fn whose(&self) -> Option<Fingerprint> {
        self.presented
            .as_ref()
            .and_then(|presented| presented.fingerprint())
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
        self.send_as(request, None).await
    }

    /// As [`Endpoint::send`], with what is the caller's own instead of what everybody gets.
    pub(crate) async fn send_as(
        &self,
        request: Request,
        personal: Option<&Arc<Presented>>,
    ) -> Result<Response, CallError> {
        let presented = personal.or(self.presented.as_ref());
        self.context
            .within(self.send_presenting(request, presented))
            .await?
    }

    /// As [`Endpoint::send`], for a caller that minds the time itself.
    pub(crate) async fn send_patiently(&self, request: Request) -> Result<Response, CallError> {
        self.send_presenting(request, self.presented.as_ref()).await
    }

    async fn send_presenting(
        &self,
        mut request: Request,
        presented: Option<&Arc<Presented>>,
    ) -> Result<Response, CallError> {
        match presented.map(|presented| &presented.form) {
            None => {}
            Some(Form::Fields(fields)) => {
                for (name, value) in fields {
                    request.field(name, value);
                }
            }
            // Large, and not for every server: kept out of every call's future, and of its type.
            Some(Form::Token(tokens)) => {
                let sending: BoxFuture<'_, _> = Box::pin(self.send_with_token(request, tokens));
                return sending.await;
            }
        }
        let sent = self.client.send(self.completed(request)).await;
        sent.map_err(|error| self.broken(error))
    }

    /// With a token that the gate gets for itself. A 401 says that the server did nothing, and perhaps that the token was
    /// taken back: it gets another one, once.
    async fn send_with_token(&self, request: Request, tokens: &TokenSource) -> Result<Response, CallError> {
        let (again, mut request) = (request.clone(), request);
        let none = |why| self.context.error(Cause::NoCredential(why), true);
        let token = tokens.token().await.map_err(none)?;
        request.field(&header::AUTHORIZATION, &token.field);
        let response = self.client.send(self.completed(request)).await;
        let response = response.map_err(|error| self.broken(error))?;
        if response.status != StatusCode::UNAUTHORIZED {
            return Ok(response);
        }
        drop(response);
        tokens.refused(&token);
        let token = tokens.token().await.map_err(none)?;
        let mut request = again;
        request.field(&header::AUTHORIZATION, &token.field);
        let sent = self.client.send(self.completed(request)).await;
        sent.map_err(|error| self.broken(error))
    }

    /// A text that the server had a part in, without the secrets that it was sent.
    pub(crate) fn cleaned(&self, text: String, personal: Option<&Arc<Presented>>) -> String {
        let mut scrub = Scrub::new(text);
        for presented in [personal, self.presented.as_ref()].into_iter().flatten() {
            scrub = scrub.of(presented);
        }
        for (_, value) in &self.fixed.headers {
            scrub = scrub.of_field(value);
        }
        scrub.finish()
    }

    /// With the fields of the configuration.
    fn completed(&self, mut request: Request) -> Request {
        for (name, value) in &self.fixed.headers {
            request.default_field(name, value);
        }
        request
    }

    fn broken(&self, error: HttpError) -> CallError {
        match error {
            HttpError::Connect(why) => self.context.error(Cause::Unreachable(why), true),
            HttpError::Broken(why) => self.context.error(Cause::Ended(why), false),
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
