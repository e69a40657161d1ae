//! The proof of it: what the audit log holds, how sure it is, and where else it goes.

use std::{fmt, num::NonZeroU32, time::Duration};

use crate::{ByteSize, Secret, ServerUrl, settings::words};

/// The audit log, in `data_dir/audit/`.
#[derive(Clone, Debug)]
pub struct Audit {
    /// When a record counts as written.
    pub durability: Durability,
    /// What happens to calls while the log cannot be written.
    pub on_failure: OnFailure,
    /// What is kept of arguments, besides their digest.
    pub arguments: Recorded,
    /// What is kept of results.
    pub results: Recorded,
    /// What checkpoints are signed with.
    pub signing_key: Option<SigningKey>,
    /// How large a file of the log gets before the next is begun.
    pub segment: ByteSize,
    /// How old records may get. `None`: as old as they like.
    pub keep: Option<Duration>,
    /// How large the log may get: at least two segments. `None`: as large as it likes.
    pub max_size: Option<ByteSize>,
    /// Names whose values are masked, besides the built-in ones. None is empty.
    pub mask: Vec<String>,
    /// Where else records go.
    pub sinks: Vec<Sink>,
}

impl Audit {
    /// Whether records go to standard output, where `gatepost stdio` speaks its protocol.
    pub fn writes_to_stdout(&self) -> bool {
        self.sinks.iter().any(|sink| matches!(sink, Sink::Stdout))
    }
}

words! {
    /// When a record counts as written: `batch` when the operating system has it, `sync` when the disk has it.
    pub enum Durability { Batch = "batch", Sync = "sync" }
}

words! {
    /// What happens to calls while the audit log cannot be written.
    pub enum OnFailure { Deny = "deny", Allow = "allow" }
}

words! {
    /// How much of a value is kept in the audit log.
    pub enum Recorded { None = "none", Digest = "digest", Masked = "masked" }
}

/// Where records go besides the log.
#[derive(Clone, Debug)]
pub enum Sink {
    /// To standard output, one JSON object a line. `gatepost stdio` refuses it, since its protocol is spoken there. At most
    /// one sink is this one.
    Stdout,
    /// To an HTTP server.
    Http(HttpSink),
}

/// An HTTP server that is sent records in batches, each record at least once.
#[derive(Clone, Debug)]
pub struct HttpSink {
    /// Where they are posted to: `https`, or `http` on a loopback address. No two sinks have the same.
    pub url: ServerUrl,
    /// Headers of every request.
    pub headers: Vec<(http::HeaderName, Secret)>,
    /// The most records in a request: 1 to 500.
    pub batch: NonZeroU32,
    /// How long a record may wait for others.
    pub every: Duration,
    /// How much may wait on disk while the sink is not there.
    pub backlog: ByteSize,
}

/// An Ed25519 key to sign with (RFC 8032). Never prints.
#[derive(Clone, PartialEq, Eq)]
pub struct SigningKey(pub(crate) [u8; 32]);

impl SigningKey {
    /// The 32 bytes that the whole key is made from (RFC 8032 §5.1.5: the private key).
    pub fn expose_seed(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[secret]")
    }
}
