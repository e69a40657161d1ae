//! What a record says: inputs are borrowed from the request, and written once into a buffer that is used again.

use std::cell::Cell;

use aws_lc_rs::hmac;
use gatepost_policy::{
    Effect,
    mask::{Masker, beginning},
};
use gatepost_protocol::json::{Span, quote_into, text};

use crate::{chain::push_hex, settings::Kept};

/// Who asked. What is not known is not there.
#[derive(Clone, Copy, Debug, Default)]
pub struct Who<'a> {
    /// Who vouches for the subject.
    pub issuer: Option<&'a str>,
    /// The principal's name, unique within its issuer.
    pub subject: Option<&'a str>,
    /// The tenant.
    pub tenant: Option<&'a str>,
    /// What the client calls itself.
    pub client: Option<&'a str>,
    /// The version it says it has.
    pub version: Option<&'a str>,
    /// Where it connects from.
    pub address: Option<&'a str>,
}

/// What was asked for. What is not known is not there.
#[derive(Clone, Copy, Debug, Default)]
pub struct What<'a> {
    /// The path of the endpoint, `/mcp/crm`.
    pub endpoint: Option<&'a str>,
    /// The JSON-RPC method.
    pub method: Option<&'a str>,
    /// The server it went to or would have gone to.
    pub server: Option<&'a str>,
    /// The tool, prompt or URI as the client names it.
    pub name: Option<&'a str>,
    /// What it is called at the server, if that is something else.
    pub original: Option<&'a str>,
    /// What it does to the world.
    pub effect: Option<Effect>,
}

/// What decided.
#[derive(Clone, Copy, Debug, Default)]
pub struct By<'a> {
    /// The role.
    pub role: Option<&'a str>,
    /// The rule of the role or of the gate.
    pub rule: Option<&'a str>,
}

/// A call that is about to be made.
#[derive(Clone, Copy, Debug, Default)]
pub struct Intent<'a> {
    /// Who asked.
    pub who: Who<'a>,
    /// For what.
    pub what: What<'a>,
    /// The arguments as they were sent, a JSON value; empty: none.
    pub arguments: &'a [u8],
    /// What allows it.
    pub by: By<'a>,
    /// The id of the request as it was sent: a JSON number or string; empty: none.
    pub request: &'a [u8],
    /// The id of the trace (32 hexadecimal digits).
    pub trace: Option<&'a str>,
}

/// How a call ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End<'a> {
    /// With a result.
    Ok,
    /// With a result that says that the tool failed (`isError`).
    ToolError,
    /// With a JSON-RPC error.
    Error {
        /// Its code.
        code: i64,
    },
    /// The client withdrew it.
    Cancelled,
    /// Nobody waits for it any more, so how it ended is not known.
    Abandoned,
    /// It was stopped after the intent was written and never reached the server; the reason in words.
    NotSent(&'a str),
}

/// How a call ended, and how much went to and fro.
#[derive(Debug)]
pub struct Outcome<'a> {
    /// How it ended.
    pub end: End<'a>,
    /// Bytes of the request's body.
    pub bytes_in: u64,
    /// Bytes of the answer's.
    pub bytes_out: u64,
    /// The result as it was sent, a JSON value, if the whole of it is at hand.
    pub result: Option<&'a [u8]>,
    /// Or its digest, if it was passed on in parts: see [`Log::digest`](crate::Log::digest).
    pub digest: Option<Digest>,
}

impl<'a> Outcome<'a> {
    /// An outcome of which nothing else is known.
    pub fn new(end: End<'a>) -> Self {
        Self {
            end,
            bytes_in: 0,
            bytes_out: 0,
            result: None,
            digest: None,
        }
    }
}

/// Something that was refused.
#[derive(Clone, Copy, Debug, Default)]
pub struct Denial<'a> {
    /// Who asked, as far as is known.
    pub who: Who<'a>,
    /// For what, as far as is known.
    pub what: What<'a>,
    /// The HTTP status of the answer.
    pub status: u16,
    /// Why, in words for the auditor. The client may have heard less.
    pub reason: &'a str,
    /// What decided.
    pub by: By<'a>,
    /// The client was told that there is no such thing.
    pub hidden: bool,
    /// The arguments as they were sent, a JSON value; empty: none, or not read.
    pub arguments: &'a [u8],
    /// The id of the request as it was sent: a JSON number or string; empty: none, or not read.
    pub request: &'a [u8],
    /// The id of the trace (32 hexadecimal digits).
    pub trace: Option<&'a str>,
}

/// Something that is no call.
#[derive(Clone, Copy, Debug)]
pub enum Event<'a> {
    /// The gate began to serve.
    Started {
        /// Its version.
        version: &'a str,
        /// A digest of its configuration, or another name for it.
        configuration: Option<&'a str>,
    },
    /// The gate took another configuration.
    Configured {
        /// A digest of it, or another name for it.
        configuration: &'a str,
    },
    /// A secret was used to reach a server.
    CredentialUsed {
        /// The server.
        server: &'a str,
        /// Which of its credentials: `pass_through`, `principal`, `client_credentials`, `header`, …
        kind: &'a str,
        /// Which of several, such as a header's name. Never the secret.
        name: Option<&'a str>,
        /// For whom.
        who: Who<'a>,
        /// The call it was used for: [`OpenCall::id`](crate::OpenCall::id).
        call: Option<&'a str>,
    },
    /// An API key came to be.
    KeyCreated {
        /// The public part of it.
        key: &'a str,
        /// Its roles.
        roles: &'a [&'a str],
        /// Its tenant.
        tenant: Option<&'a str>,
    },
    /// An API key ceased to be valid.
    KeyRevoked {
        /// The public part of it.
        key: &'a str,
    },
}

/// A digest of what passes in parts.
#[derive(Debug)]
pub struct Digest(hmac::Context, u64);

impl Digest {
    pub(crate) fn with(context: hmac::Context) -> Self {
        Self(context, 0)
    }

    /// Takes the next part.
    pub fn update(&mut self, part: &[u8]) {
        self.0.update(part);
        self.1 += part.len() as u64;
    }
}

/// How large a text of a record gets, in bytes.
const TEXT: usize = 512;
/// How large masked arguments or a masked result get, in bytes.
const MASKED: usize = 4 * 1024;
/// A buffer that grew beyond this is not kept.
const KEPT_BUFFER: usize = 64 * 1024;

thread_local! {
    static BUFFER: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
}

/// Lends a buffer that is kept between records.
pub(crate) fn with_buffer<T>(write: impl FnOnce(&mut Vec<u8>) -> T) -> T {
    let mut buffer = BUFFER.take();
    buffer.clear();
    let done = write(&mut buffer);
    if buffer.capacity() <= KEPT_BUFFER {
        BUFFER.set(buffer);
    }
    done
}

/// Writes the part of a record that its writer knows: `"kind":"…"` to the closing brace. The engine puts in front what only
/// it knows (number, time, id, and the hash of the line before).
pub(crate) struct Scribe {
    pub(crate) masker: Masker,
    pub(crate) key: hmac::Key,
    pub(crate) arguments: Kept,
    pub(crate) results: Kept,
}

impl Scribe {
    pub(crate) fn intent(&self, out: &mut Vec<u8>, intent: &Intent<'_>) {
        let mut fields = Fields::begin(out, "intent");
        self.who(&mut fields, &intent.who);
        self.what(&mut fields, &intent.what);
        self.arguments(&mut fields, intent.arguments);
        fields.object("decision", |inner| {
            inner.raw("allow", b"true");
            self.by(inner, &intent.by);
        });
        self.request(&mut fields, intent.request);
        self.maybe(&mut fields, "trace", intent.trace);
        fields.end();
    }

    pub(crate) fn outcome(&self, out: &mut Vec<u8>, of: &str, micros: u64, outcome: Outcome<'_>) {
        let mut fields = Fields::begin(out, "outcome");
        fields.text("of", of);
        fields.text("outcome", outcome.end.word());
        match outcome.end {
            End::Error { code } => fields.signed("code", code),
            End::NotSent(reason) => self.foreign(&mut fields, "reason", reason),
            _ => {}
        }
        fields.number("us", micros);
        fields.number("in", outcome.bytes_in);
        fields.number("out", outcome.bytes_out);
        if self.results != Kept::Nothing && (outcome.result.is_some() || outcome.digest.is_some()) {
            fields.object("result", |inner| {
                let (tag, bytes) = match (outcome.result, outcome.digest) {
                    (Some(result), _) => (hmac::sign(&self.key, result), result.len() as u64),
                    (None, Some(Digest(context, bytes))) => (context.sign(), bytes),
                    (None, None) => return,
                };
                inner.hex("hmac", tag.as_ref());
                inner.number("bytes", bytes);
                if let (Kept::Masked, Some(result)) = (self.results, outcome.result) {
                    inner.key("masked");
                    self.masker.json_into(result, MASKED, inner.out);
                }
            });
        }
        fields.end();
    }

    pub(crate) fn denial(&self, out: &mut Vec<u8>, denial: &Denial<'_>) {
        let mut fields = Fields::begin(out, "denial");
        self.who(&mut fields, &denial.who);
        self.what(&mut fields, &denial.what);
        if !denial.arguments.is_empty() {
            self.arguments(&mut fields, denial.arguments);
        }
        fields.object("decision", |inner| {
            inner.raw("allow", b"false");
            inner.number("status", u64::from(denial.status));
            self.foreign(inner, "reason", denial.reason);
            if denial.hidden {
                inner.raw("hidden", b"true");
            }
            self.by(inner, &denial.by);
        });
        self.request(&mut fields, denial.request);
        self.maybe(&mut fields, "trace", denial.trace);
        fields.end();
    }

    pub(crate) fn event(&self, out: &mut Vec<u8>, event: &Event<'_>) {
        match *event {
            Event::Started {
                version,
                configuration,
            } => {
                let mut fields = Fields::begin(out, "started");
                fields.text("version", version);
                self.maybe(&mut fields, "configuration", configuration);
                fields.end();
            }
            Event::Configured { configuration } => {
                let mut fields = Fields::begin(out, "configured");
                self.foreign(&mut fields, "configuration", configuration);
                fields.end();
            }
            Event::CredentialUsed {
                server,
                kind,
                name,
                who,
                call,
            } => {
                let mut fields = Fields::begin(out, "credential");
                self.who(&mut fields, &who);
                fields.text("server", server);
                fields.text("credential", kind);
                self.maybe(&mut fields, "name", name);
                self.maybe(&mut fields, "of", call);
                fields.end();
            }
            Event::KeyCreated { key, roles, tenant } => {
                let mut fields = Fields::begin(out, "key_created");
                fields.text("key", key);
                fields.key("roles");
                fields.out.push(b'[');
                for (at, role) in roles.iter().enumerate() {
                    if at > 0 {
                        fields.out.push(b',');
                    }
                    quote_into(fields.out, shortened(role));
                }
                fields.out.push(b']');
                self.maybe(&mut fields, "tenant", tenant);
                fields.end();
            }
            Event::KeyRevoked { key } => {
                let mut fields = Fields::begin(out, "key_revoked");
                fields.text("key", key);
                fields.end();
            }
        }
    }

    fn who(&self, fields: &mut Fields<'_>, who: &Who<'_>) {
        fields.object("who", |inner| {
            // A subject may well be a mail address: who it was is what an audit log is for, so it is not masked.
            for (key, text) in [
                ("issuer", who.issuer),
                ("subject", who.subject),
                ("tenant", who.tenant),
            ] {
                if let Some(text) = text {
                    inner.text(key, text);
                }
            }
            self.maybe(inner, "client", who.client);
            self.maybe(inner, "version", who.version);
            if let Some(address) = who.address {
                inner.text("address", address);
            }
        });
    }

    fn what(&self, fields: &mut Fields<'_>, what: &What<'_>) {
        fields.object("what", |inner| {
            self.maybe(inner, "endpoint", what.endpoint);
            self.maybe(inner, "method", what.method);
            if let Some(server) = what.server {
                inner.text("server", server);
            }
            self.maybe(inner, "name", what.name);
            self.maybe(inner, "original", what.original);
            if let Some(effect) = what.effect {
                inner.text("effect", word(effect));
            }
        });
    }

    fn by(&self, fields: &mut Fields<'_>, by: &By<'_>) {
        for (key, text) in [("role", by.role), ("rule", by.rule)] {
            if let Some(text) = text {
                fields.text(key, text);
            }
        }
    }

    fn arguments(&self, fields: &mut Fields<'_>, arguments: &[u8]) {
        fields.object("arguments", |inner| {
            inner.hex("hmac", hmac::sign(&self.key, arguments).as_ref());
            inner.number("bytes", arguments.len() as u64);
            if self.arguments == Kept::Masked && !arguments.is_empty() {
                inner.key("masked");
                self.masker.json_into(arguments, MASKED, inner.out);
            }
        });
    }

    /// An id is the client's own text: a number stays one, everything else is treated as any foreign text.
    fn request(&self, fields: &mut Fields<'_>, id: &[u8]) {
        let number = |byte: &u8| byte.is_ascii_digit() || matches!(byte, b'-' | b'+' | b'.' | b'e' | b'E');
        if id.is_empty() {
        } else if id.len() <= 32 && id.iter().all(number) {
            fields.raw("request", id);
        } else if let Some(id) = text(id, Span::all(id)) {
            self.foreign(fields, "request", &id);
        }
    }

    fn maybe(&self, fields: &mut Fields<'_>, key: &str, text: Option<&str>) {
        if let Some(text) = text {
            self.foreign(fields, key, text);
        }
    }

    /// A text that a client or a server chose, which may hold anything, a secret too.
    fn foreign(&self, fields: &mut Fields<'_>, key: &str, text: &str) {
        fields.text(key, &self.masker.text(text));
    }
}

impl End<'_> {
    fn word(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::ToolError => "tool_error",
            Self::Error { .. } => "error",
            Self::Cancelled => "cancelled",
            Self::Abandoned => "abandoned",
            Self::NotSent(_) => "not_sent",
        }
    }
}

fn word(effect: Effect) -> &'static str {
    match effect {
        Effect::Read => "read",
        Effect::Write => "write",
        Effect::Destructive => "destructive",
    }
}

/// At most [`TEXT`] bytes of a text.
fn shortened(text: &str) -> &str {
    beginning(text, TEXT)
}

/// One JSON object, written member by member.
pub(crate) struct Fields<'a> {
    out: &'a mut Vec<u8>,
    empty: bool,
}

impl<'a> Fields<'a> {
    /// Begins a body: the opening brace is the engine's.
    pub(crate) fn begin(out: &'a mut Vec<u8>, kind: &str) -> Self {
        let mut fields = Self { out, empty: true };
        fields.text("kind", kind);
        fields
    }

    pub(crate) fn end(self) {
        self.out.push(b'}');
    }

    fn key(&mut self, key: &str) {
        if !self.empty {
            self.out.push(b',');
        }
        self.empty = false;
        self.out.push(b'"');
        self.out.extend_from_slice(key.as_bytes());
        self.out.extend_from_slice(b"\":");
    }

    pub(crate) fn text(&mut self, key: &str, text: &str) {
        self.key(key);
        let short = shortened(text);
        quote_into(self.out, short);
        if short.len() < text.len() {
            self.out.pop();
            self.out.extend_from_slice("…\"".as_bytes());
        }
    }

    pub(crate) fn number(&mut self, key: &str, value: u64) {
        self.key(key);
        push_number(self.out, value);
    }

    fn signed(&mut self, key: &str, value: i64) {
        self.key(key);
        if value < 0 {
            self.out.push(b'-');
        }
        push_number(self.out, value.unsigned_abs());
    }

    pub(crate) fn raw(&mut self, key: &str, value: &[u8]) {
        self.key(key);
        self.out.extend_from_slice(value);
    }

    pub(crate) fn hex(&mut self, key: &str, bytes: &[u8]) {
        self.key(key);
        self.out.push(b'"');
        push_hex(self.out, bytes);
        self.out.push(b'"');
    }

    fn object(&mut self, key: &str, write: impl FnOnce(&mut Fields<'_>)) {
        self.key(key);
        self.out.push(b'{');
        write(&mut Fields {
            out: self.out,
            empty: true,
        });
        self.out.push(b'}');
    }
}

pub(crate) fn push_number(out: &mut Vec<u8>, mut value: u64) {
    let mut digits = [0; 20];
    let mut at = digits.len();
    loop {
        at -= 1;
        digits[at] = b'0' + u8::try_from(value % 10).unwrap_or(0);
        value /= 10;
        if value == 0 {
            break;
        }
    }
    out.extend_from_slice(&digits[at..]);
}
