//! One HTTP exchange, on a connection of its own, with every header and byte as the test wants it.

use std::net::{IpAddr, SocketAddr};

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1::SendRequest;
use hyper_util::rt::TokioIo;
use serde_json::Value;
use serde_json::value::RawValue;
use tokio::net::{TcpSocket, TcpStream};
use tokio::task::JoinSet;

use super::events::{Events, data_of};
use super::{fail, within};

/// A request that is still being made.
#[derive(Debug, Clone)]
pub struct Post {
    verb: Method,
    path: String,
    headers: Vec<(String, Vec<u8>)>,
    body: Bytes,
    from: Option<IpAddr>,
}

impl Post {
    /// A POST of JSON, with what both eras demand of every POST.
    pub fn json(path: &str, body: impl Into<Bytes>) -> Self {
        Self::new(Method::POST, path)
            .header("content-type", "application/json")
            .header("accept", "application/json, text/event-stream")
            .body(body)
    }

    /// A GET.
    pub fn get(path: &str) -> Self {
        Self::new(Method::GET, path)
    }

    /// Any request, bare.
    pub fn new(verb: Method, path: &str) -> Self {
        Self {
            verb,
            path: path.to_owned(),
            headers: Vec::new(),
            body: Bytes::new(),
            from: None,
        }
    }

    /// With one header more, even if there is one of that name.
    #[must_use]
    pub fn header(mut self, name: &str, value: impl AsRef<[u8]>) -> Self {
        self.headers
            .push((name.to_ascii_lowercase(), value.as_ref().to_owned()));
        self
    }

    /// With this header in place of any of that name.
    #[must_use]
    pub fn set(self, name: &str, value: impl AsRef<[u8]>) -> Self {
        self.without(name).header(name, value)
    }

    /// Without any header of that name.
    #[must_use]
    pub fn without(mut self, name: &str) -> Self {
        self.headers
            .retain(|(known, _)| !known.eq_ignore_ascii_case(name));
        self
    }

    /// From this address of the machine. On Linux all of 127.0.0.0/8 are.
    #[must_use]
    pub fn from(mut self, address: IpAddr) -> Self {
        self.from = Some(address);
        self
    }

    /// At another path.
    #[must_use]
    pub fn at(mut self, path: &str) -> Self {
        path.clone_into(&mut self.path);
        self
    }

    /// With another body.
    #[must_use]
    pub fn body(mut self, body: impl Into<Bytes>) -> Self {
        self.body = body.into();
        self
    }

    /// The request as it would stand on a connection of HTTP/1.1, for a test that sends it byte by byte.
    pub fn on_the_wire(&self, address: SocketAddr) -> (Vec<u8>, Bytes) {
        let mut head = format!("{} {} HTTP/1.1\r\nhost: {address}\r\n", self.verb, self.path).into_bytes();
        for (name, value) in &self.headers {
            head.extend_from_slice(name.as_bytes());
            head.extend_from_slice(b": ");
            head.extend_from_slice(value);
            head.extend_from_slice(b"\r\n");
        }
        head.extend_from_slice(format!("content-length: {}\r\n\r\n", self.body.len()).as_bytes());
        (head, self.body.clone())
    }

    /// Sends it and waits for the head of the answer.
    pub async fn send(&self, address: SocketAddr) -> Reply {
        match self.try_send(address).await {
            Ok(reply) => reply,
            Err(why) => fail(format_args!("{} {}: {why}", self.verb, self.path)),
        }
    }

    /// Sends it, and waits for the head of the answer if there will be one.
    ///
    /// # Errors
    ///
    /// Why there is none.
    pub async fn try_send(&self, address: SocketAddr) -> Result<Reply, String> {
        within("an answer", self.send_whenever(address)).await
    }

    /// Sends it, and waits for the head of the answer however long that takes: for a call that may rightly wait all the time.
    /// The test has a limit of its own.
    ///
    /// # Errors
    ///
    /// Why there is none.
    pub async fn send_whenever(&self, address: SocketAddr) -> Result<Reply, String> {
        let mut connection = Connection::open_from(self.from, address).await?;
        let mut reply = connection.exchange(self).await?;
        // They go together.
        reply._connected = connection.connected;
        Ok(reply)
    }

    fn request(&self, address: SocketAddr) -> Result<Request<Full<Bytes>>, String> {
        let mut request = Request::new(Full::new(self.body.clone()));
        *request.method_mut() = self.verb.clone();
        *request.uri_mut() = self
            .path
            .parse()
            .map_err(|error| format!("{}: {error}", self.path))?;
        let headers = request.headers_mut();
        for (name, value) in &self.headers {
            let name = HeaderName::from_bytes(name.as_bytes()).map_err(|error| error.to_string())?;
            let value = HeaderValue::from_bytes(value).map_err(|error| error.to_string())?;
            headers.append(name, value);
        }
        if !headers.contains_key("host") {
            let host = address.to_string();
            headers.insert(
                "host",
                HeaderValue::from_str(&host).map_err(|error| error.to_string())?,
            );
        }
        Ok(request)
    }
}

/// A connection that takes one request after another. Dropping it closes it.
#[derive(Debug)]
pub struct Connection {
    address: SocketAddr,
    sender: SendRequest<Full<Bytes>>,
    connected: JoinSet<()>,
}

impl Connection {
    /// Connects.
    ///
    /// # Errors
    ///
    /// Why that is not possible.
    pub async fn open(address: SocketAddr) -> Result<Self, String> {
        Self::open_from(None, address).await
    }

    async fn open_from(from: Option<IpAddr>, address: SocketAddr) -> Result<Self, String> {
        let stream = match from {
            None => TcpStream::connect(address).await,
            Some(from) => match TcpSocket::new_v4() {
                Ok(socket) => match socket.bind(SocketAddr::new(from, 0)) {
                    Ok(()) => socket.connect(address).await,
                    Err(error) => Err(error),
                },
                Err(error) => Err(error),
            },
        };
        let stream = stream.map_err(|error| error.to_string())?;
        _ = stream.set_nodelay(true);
        let (sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
            .await
            .map_err(|error| error.to_string())?;
        let mut connected = JoinSet::new();
        connected.spawn(async move {
            // How it ends shows in the reply.
            let _ = connection.await;
        });
        Ok(Self {
            address,
            sender,
            connected,
        })
    }

    /// Sends a request after the answer to the one before was read to its end, and waits for the head of its answer.
    ///
    /// # Errors
    ///
    /// Why there is none.
    pub async fn exchange(&mut self, post: &Post) -> Result<Reply, String> {
        let request = post.request(self.address)?;
        self.sender.ready().await.map_err(|error| error.to_string())?;
        let answer = self
            .sender
            .send_request(request)
            .await
            .map_err(|error| format!("{error:?}"))?;
        let (parts, body) = answer.into_parts();
        Ok(Reply {
            status: parts.status.as_u16(),
            headers: parts.headers,
            body,
            _connected: JoinSet::new(),
        })
    }
}

/// An answer whose body may still be arriving. Dropping it closes its connection.
#[derive(Debug)]
pub struct Reply {
    /// HTTP's status.
    pub status: u16,
    /// HTTP's headers.
    pub headers: HeaderMap,
    body: Incoming,
    _connected: JoinSet<()>,
}

impl Reply {
    /// The first header of that name.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    /// The next bytes, as they arrive; `None` at the end.
    ///
    /// # Errors
    ///
    /// When the body breaks off.
    pub async fn chunk(&mut self) -> Result<Option<Bytes>, String> {
        within("more of the body", self.chunk_whenever()).await
    }

    pub(super) async fn chunk_whenever(&mut self) -> Result<Option<Bytes>, String> {
        loop {
            match self.body.frame().await {
                None => return Ok(None),
                Some(Err(error)) => return Err(error.to_string()),
                Some(Ok(frame)) => {
                    if let Ok(bytes) = frame.into_data() {
                        return Ok(Some(bytes));
                    }
                }
            }
        }
    }

    /// The rest of it.
    pub async fn whole(self) -> Answer {
        match self.try_whole().await {
            Ok(answer) => answer,
            Err(why) => fail(format_args!("the answer broke off: {why}")),
        }
    }

    /// The rest of it, if it comes to its end.
    ///
    /// # Errors
    ///
    /// When it breaks off.
    pub async fn try_whole(mut self) -> Result<Answer, String> {
        let mut body = Vec::new();
        while let Some(chunk) = self.chunk().await? {
            body.extend_from_slice(&chunk);
        }
        Ok(Answer {
            status: self.status,
            headers: self.headers,
            body: body.into(),
        })
    }

    /// The stream of events that it is.
    pub fn events(self) -> Events {
        if self.status != 200 || !self.header("content-type").is_some_and(is_events) {
            fail(format_args!(
                "no stream of events but {} with {:?}",
                self.status, self.headers
            ));
        }
        Events::new(self)
    }
}

fn is_events(content_type: &str) -> bool {
    content_type.starts_with("text/event-stream")
}

/// A whole answer.
#[derive(Debug, Clone)]
pub struct Answer {
    /// HTTP's status.
    pub status: u16,
    /// HTTP's headers.
    pub headers: HeaderMap,
    /// The body.
    pub body: Bytes,
}

impl Answer {
    /// The first header of that name.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    /// The body as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// Every JSON-RPC message in it: one in a document, one in each event of a stream.
    pub fn messages(&self) -> Vec<Bytes> {
        if self.header("content-type").is_some_and(is_events) {
            return data_of(&self.body);
        }
        if self.body.is_empty() {
            return Vec::new();
        }
        vec![self.body.clone()]
    }

    /// The last message, which is the response.
    pub fn json(&self) -> Value {
        let last = self.messages().pop().unwrap_or_default();
        serde_json::from_slice(&last)
            .unwrap_or_else(|error| fail(format_args!("{error}: {} {}", self.status, self.text())))
    }

    /// The exact bytes of `result` in the response.
    pub fn result(&self) -> Bytes {
        self.member("result")
            .unwrap_or_else(|| fail(format_args!("no result: {} {}", self.status, self.text())))
    }

    /// The exact bytes of `error` in the response.
    pub fn error(&self) -> Bytes {
        self.member("error")
            .unwrap_or_else(|| fail(format_args!("no error: {} {}", self.status, self.text())))
    }

    /// Status, and the code of the JSON-RPC error if it is one.
    pub fn outcome(&self) -> (u16, Option<i64>) {
        let last = self.messages().pop().unwrap_or_default();
        let message: Value = serde_json::from_slice(&last).unwrap_or_default();
        (self.status, message["error"]["code"].as_i64())
    }

    /// The text of the first content of a tool's result.
    pub fn tool_text(&self) -> String {
        match self.json()["result"]["content"][0]["text"].as_str() {
            Some(text) => text.to_owned(),
            None => fail(format_args!("no text: {} {}", self.status, self.text())),
        }
    }

    /// The names in `result` of a list, such as `tools`.
    pub fn names(&self, list: &str) -> Vec<String> {
        let result = &self.json()["result"];
        let Some(entries) = result[list].as_array() else {
            fail(format_args!("no {list}: {} {}", self.status, self.text()))
        };
        let name = |entry: &Value| entry["name"].as_str().unwrap_or_default().to_owned();
        entries.iter().map(name).collect()
    }

    fn member(&self, name: &str) -> Option<Bytes> {
        let last = self.messages().pop()?;
        let members: std::collections::HashMap<String, Box<RawValue>> = serde_json::from_slice(&last).ok()?;
        members
            .get(name)
            .map(|raw| Bytes::copy_from_slice(raw.get().as_bytes()))
    }
}
