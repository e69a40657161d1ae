//! `audit`: the proof of it.

use base64::{
    Engine,
    alphabet::STANDARD,
    engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig},
};

use crate::{
    Audit, ByteSize, Durability, HttpSink, OnFailure, Recorded, Secret, SigningKey, Sink,
    addresses::SecureUrl,
    bounded::{HOUR, SizeWithin, UpTo, Within},
    names::{Name, Placed},
    problem::Place,
    reader::{Findings, Setting, join},
    sections::servers,
    settings::settings,
    tree::Node,
    values::{Named, text_schema},
};

const KIB: u64 = 1 << 10;
const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;
/// The longest time that any duration may be: a century.
const CENTURY: u64 = 36_500 * 24 * HOUR;

settings! {
    /// The audit log, in `data_dir/audit/`: a record for each call and each denial, in a chain that shows what was changed.
    /// `audit: {}` switches it on.
    pub(crate) struct AuditForm {
        /// When a record counts as written: with `batch` when the operating system has it, which survives the end of this
        /// process, and the disk has it within 100 ms; with `sync` when the disk has it, which survives a power cut and
        /// costs each call that time.
        pub(crate) durability: Durability = "batch",
        /// What happens to calls while the log cannot be written: `deny` refuses them, `allow` lets them through and counts
        /// them in the metrics.
        pub(crate) on_failure: OnFailure = "deny",
        /// What is kept of arguments: `masked`, without secrets; `digest`, or `none`, only their keyed digest, which is always there.
        pub(crate) arguments: Recorded = "masked",
        /// What is kept of results.
        pub(crate) results: Recorded = "none",
        /// The Ed25519 key that signs the log's checkpoints, best `${file:...}`: PKCS#8 in PEM, as `openssl genpkey
        /// -algorithm ed25519` makes it, or 32 bytes in Base64. Keep it away from the log. Never printed. Default: none, and
        /// then nothing proves that the end of the log was not cut off.
        pub(crate) signing_key: Option<SigningKey>,
        /// How large a file of the log gets before the next is begun: `64KiB` to `1GiB`.
        pub(crate) segment: SizeWithin<{ 64 * KIB }, GIB> = "64MiB",
        /// How old records may get before their file is removed; at least `1h`. Default: they are kept.
        pub(crate) keep: Option<Within<HOUR, CENTURY>>,
        /// How large the log may get before its oldest file is removed; at least two segments. Default: no bound.
        pub(crate) max_size: Option<Placed<ByteSize>>,
        /// Names whose values are masked wherever they stand, besides the built-in ones. Default: none.
        pub(crate) mask: Vec<MaskedName>,
        /// Where else records go. Default: nowhere.
        pub(crate) sinks: Vec<Placed<SinkForm>>,
    }
}

settings! {
    /// Where records go besides the log.
    pub(crate) struct SinkForm exactly_one_of ["stdout", "http"]; {
        /// Standard output, one JSON object a line; not with `gatepost stdio`, whose protocol is spoken there.
        pub(crate) stdout: Option<StdoutForm>,
        /// An HTTP server that records are posted to, each at least once.
        pub(crate) http: Option<HttpSinkForm>,
    }
}

settings! {
    /// Standard output.
    pub(crate) struct StdoutForm {}
}

settings! {
    /// An HTTP server that records are posted to in batches.
    pub(crate) struct HttpSinkForm {
        /// Where to: `https`, or `http` on a loopback address.
        pub(crate) url: SecureUrl,
        /// Headers of every request. Never printed. Default: none.
        pub(crate) headers: Named<Secret>,
        /// The most records in a request; at most 500.
        pub(crate) batch: UpTo<500> = 500,
        /// How long a record may wait for others; `100ms` to `1h`. Denials and destructive calls do not wait.
        pub(crate) every: Within<100, HOUR> = "10s",
        /// How much may wait on disk while the server does not answer; at least `1MiB`. Beyond it the oldest are left out, and
        /// the sink is told how many.
        pub(crate) backlog: SizeWithin<MIB, { 1024 * GIB }> = "1GiB",
    }
}

/// A part of a key's name whose value is masked.
#[derive(Clone, Debug)]
pub(crate) struct MaskedName(String);

impl Setting for MaskedName {
    fn read(node: &Node, path: &str, findings: &mut Findings) -> Option<Self> {
        let Name(name) = Name::read(node, path, findings)?;
        // Names are compared without case and marks, and nothing would be left of these.
        if !name.chars().any(char::is_alphanumeric) {
            let message = "has no letter and no digit";
            findings.problem(&node.place, path, message, "write a name such as `password`");
            return None;
        }
        Some(Self((*name).to_owned()))
    }

    fn schema() -> serde_json::Value {
        Name::schema()
    }
}

/// Builds the runtime form. `None` means that a problem has been reported.
pub(crate) fn audit(form: AuditForm, place: &Place, findings: &mut Findings) -> Option<Audit> {
    let segment = form.segment.0;
    let max_size = form.max_size.map(|Placed { value, place }| {
        if value.0 / 2 < segment.0 {
            let remedy = format!("write at least {}", ByteSize(segment.0.saturating_mul(2)));
            let message = format!("`{value}` is less than two segments of {segment}");
            findings.problem(&place, "audit.max_size", message, remedy);
        }
        value
    });
    if form.signing_key.is_none() {
        let message =
            "has no `signing_key`, so that nobody can prove that the end of the log was not cut off";
        let remedy = "make one with `openssl genpkey -algorithm ed25519`, keep it away from the log, and write \
                      `signing_key: \"${file:/path}\"`";
        findings.warning(place, "audit", message, remedy);
    }
    Some(Audit {
        durability: form.durability,
        on_failure: form.on_failure,
        arguments: form.arguments,
        results: form.results,
        signing_key: form.signing_key,
        segment,
        keep: form.keep.map(|keep| keep.0),
        max_size,
        mask: form.mask.into_iter().map(|name| name.0).collect(),
        sinks: sinks(form.sinks, findings)?,
    })
}

fn sinks(forms: Vec<Placed<SinkForm>>, findings: &mut Findings) -> Option<Vec<Sink>> {
    let mut sinks: Vec<Sink> = Vec::with_capacity(forms.len());
    for (at, Placed { value, place }) in forms.into_iter().enumerate() {
        let path = format!("audit.sinks[{at}]");
        let sink = match (value.stdout, value.http) {
            (Some(StdoutForm {}), None) => Sink::Stdout,
            (None, Some(form)) => Sink::Http(HttpSink {
                url: form.url.0,
                headers: servers::headers(form.headers, &join(&join(&path, "http"), "headers"), findings),
                batch: form.batch.0,
                every: form.every.0,
                backlog: form.backlog.0,
            }),
            _ => return None,
        };
        let is_twice = sinks.iter().any(|other| match (other, &sink) {
            (Sink::Stdout, Sink::Stdout) => true,
            (Sink::Http(other), Sink::Http(sink)) => other.url == sink.url,
            _ => false,
        });
        if is_twice {
            findings.problem(&place, &path, "is there twice", "remove one of the two");
        }
        sinks.push(sink);
    }
    Some(sinks)
}

impl Setting for SigningKey {
    fn read(node: &Node, path: &str, findings: &mut Findings) -> Option<Self> {
        let text = Secret::read(node, path, findings)?;
        match ed25519_seed(text.expose()) {
            Ok(seed) => Some(Self(seed)),
            Err(message) => {
                let remedy = "make one with `openssl genpkey -algorithm ed25519` and keep it in a file";
                findings.problem(&node.place, path, message, remedy);
                None
            }
        }
    }

    fn schema() -> serde_json::Value {
        text_schema()
    }
}

/// The private key in PKCS#8 (RFC 5958, RFC 8410 §7) in PEM (RFC 7468), or its 32 bytes in Base64.
fn ed25519_seed(text: &str) -> Result<[u8; 32], &'static str> {
    const BEGIN: &str = "-----BEGIN PRIVATE KEY-----";
    const END: &str = "-----END PRIVATE KEY-----";
    let text = text.trim();
    let Some(body) = text.strip_prefix(BEGIN) else {
        if text.starts_with("-----BEGIN PUBLIC KEY") {
            return Err("is a public key, and only the private one can sign");
        }
        if text.starts_with("-----BEGIN ENCRYPTED") {
            return Err("is encrypted, and nobody is here to open it");
        }
        if text.starts_with("-----") {
            return Err("is no private key in PKCS#8");
        }
        let bytes = base64_of(text).ok_or("is neither a private key in PEM nor Base64")?;
        return <[u8; 32]>::try_from(bytes).map_err(|_| "is not 32 bytes long");
    };
    let body = body
        .strip_suffix(END)
        .ok_or("has no end, `-----END PRIVATE KEY-----`")?;
    let body: String = body.split_ascii_whitespace().collect();
    let bytes = base64_of(&body).ok_or("is not Base64 between its two lines")?;
    seed_in_pkcs8(&bytes).ok_or("is no Ed25519 key")
}

fn base64_of(text: &str) -> Option<Vec<u8>> {
    const LENIENT: GeneralPurposeConfig =
        GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent);
    GeneralPurpose::new(&STANDARD, LENIENT).decode(text).ok()
}

/// The seed in a `OneAsymmetricKey`: a sequence of a version, the algorithm 1.3.101.112, and the seed as an octet string in
/// an octet string. What may follow, attributes and the public key, is not looked at.
fn seed_in_pkcs8(der: &[u8]) -> Option<[u8; 32]> {
    let [0x30, length, rest @ ..] = der else {
        return None;
    };
    if usize::from(*length) != rest.len() {
        return None;
    }
    let [0x02, 0x01, 0 | 1, rest @ ..] = rest else {
        return None;
    };
    let rest = rest.strip_prefix(&[0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x04, 0x22, 0x04, 0x20])?;
    rest.first_chunk().copied()
}
