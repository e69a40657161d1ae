//! A request as the bytes it is sent as.

use std::io::Write as _;

use bytes::Bytes;
use http::{HeaderName, HeaderValue};
use memchr::memmem;

/// Bodies up to this size are copied behind their head: one buffer is cheaper to write than two.
const COPIED: usize = 4096;
/// Room for the fields that calls add, so that the head does not move while it grows.
const ROOM: usize = 384;

/// The beginning of every request to one place: its line and the fields that never change.
#[derive(Debug, Clone)]
pub struct Opening(Vec<u8>);

/// A request that is being written. Its values cannot break out of their lines: a [`HeaderValue`] holds no line end.
#[derive(Debug, Clone)]
pub struct Request {
    head: Vec<u8>,
    /// Where the fields of this request begin.
    own: usize,
    body: Bytes,
    /// The body's size is told even if it is nought, as RFC 9110 8.6 wants of methods that expect one.
    sized: bool,
}

/// A request ready to be sent: `head` first, then `body`.
#[derive(Debug, Default)]
pub(crate) struct Sealed {
    pub(crate) head: Vec<u8>,
    pub(crate) body: Bytes,
}

// === impl Opening ===

impl Opening {
    /// `method` of `target`, which is a path with its query.
    pub fn new(method: &http::Method, target: &http::uri::PathAndQuery) -> Self {
        Self(format!("{method} {target} HTTP/1.1\r\n").into_bytes())
    }

    /// With one more field.
    #[must_use]
    pub fn with(mut self, name: &HeaderName, value: &HeaderValue) -> Self {
        push_field(&mut self.0, name, value);
        self
    }

    /// A request that begins so and has no body.
    pub fn request(&self) -> Request {
        self.start(Bytes::new(), false)
    }

    /// A request that begins so, with a body.
    pub fn request_with(&self, body: Bytes) -> Request {
        self.start(body, true)
    }

    fn start(&self, body: Bytes, sized: bool) -> Request {
        let copied = if body.len() > COPIED { 0 } else { body.len() };
        let mut head = Vec::with_capacity(self.0.len() + ROOM + copied);
        head.extend_from_slice(&self.0);
        Request {
            own: head.len(),
            head,
            body,
            sized,
        }
    }
}

// === impl Request ===

impl Request {
    /// Adds a field.
    pub fn field(&mut self, name: &HeaderName, value: &HeaderValue) {
        push_field(&mut self.head, name, value);
    }

    /// Adds a field unless this request has one of that name already.
    pub fn default_field(&mut self, name: &HeaderName, value: &HeaderValue) {
        // Every line before ends with a line end, so that one at least is there.
        let lines = &self.head[self.own - 2..];
        let taken = memmem::find_iter(lines, name.as_str())
            .any(|at| lines[..at].ends_with(b"\r\n") && lines.get(at + name.as_str().len()) == Some(&b':'));
        if !taken {
            self.field(name, value);
        }
    }

    /// Ends the head.
    pub(crate) fn seal(self) -> Sealed {
        let Self {
            mut head,
            mut body,
            sized,
            ..
        } = self;
        if sized {
            // Writing to a vector does not fail.
            let _ = write!(head, "content-length: {}\r\n", body.len());
        }
        head.extend_from_slice(b"\r\n");
        if body.len() <= COPIED {
            head.extend_from_slice(&body);
            body = Bytes::new();
        }
        Sealed { head, body }
    }
}

fn push_field(head: &mut Vec<u8>, name: &HeaderName, value: &HeaderValue) {
    head.extend_from_slice(name.as_str().as_bytes());
    head.extend_from_slice(b": ");
    head.extend_from_slice(value.as_bytes());
    head.extend_from_slice(b"\r\n");
}

#[cfg(test)]
mod tests {
    use http::{Method, header, uri::PathAndQuery};

    use super::*;

    fn opening(method: &Method) -> Opening {
        Opening::new(method, &PathAndQuery::from_static("/mcp?a=b"))
            .with(&header::HOST, &HeaderValue::from_static("h"))
    }

    fn text(request: Request) -> String {
        let Sealed { mut head, body } = request.seal();
        head.extend_from_slice(&body);
        String::from_utf8(head).unwrap()
    }

    #[test]
    fn a_request_is_its_lines_and_its_body() {
        let start = "POST /mcp?a=b HTTP/1.1\r\nhost: h\r\n";
        let post = opening(&Method::POST);
        assert_eq!(
            text(post.request_with(Bytes::from_static(b"{}"))),
            format!("{start}content-length: 2\r\n\r\n{{}}")
        );
        assert_eq!(
            text(post.request_with(Bytes::new())),
            format!("{start}content-length: 0\r\n\r\n")
        );
        let large = "x".repeat(COPIED + 1);
        let request = post.request_with(large.clone().into());
        assert_eq!(
            text(request),
            format!("{start}content-length: {}\r\n\r\n{large}", large.len())
        );
        assert_eq!(
            text(opening(&Method::GET).request()),
            "GET /mcp?a=b HTTP/1.1\r\nhost: h\r\n\r\n"
        );
    }

    #[test]
    fn what_a_call_says_itself_beats_what_is_configured() {
        let configured = HeaderValue::from_static("configured");
        let check = |own: &[(&'static str, &'static str)], expected: &str| {
            let mut request = opening(&Method::GET).request();
            for (name, value) in own {
                request.field(&HeaderName::from_static(name), &HeaderValue::from_static(value));
            }
            request.default_field(&HeaderName::from_static("trace"), &configured);
            assert_eq!(
                text(request),
                format!("GET /mcp?a=b HTTP/1.1\r\nhost: h\r\n{expected}\r\n")
            );
        };
        check(&[], "trace: configured\r\n");
        check(&[("trace", "own")], "trace: own\r\n");
        check(
            &[("x-trace", "trace: x"), ("trace-id", "1")],
            "x-trace: trace: x\r\ntrace-id: 1\r\ntrace: configured\r\n",
        );
        check(&[("a", "b"), ("trace", "own")], "a: b\r\ntrace: own\r\n");
    }
}
