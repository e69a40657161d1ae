//! The proof of it.

use super::*;

/// Made by `openssl genpkey -algorithm ed25519`; the seed is the bytes 1 to 32.
const PEM: &str = "-----BEGIN PRIVATE KEY-----\\nMC4CAQAwBQYDK2VwBCIEIAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8g\\n-----END \
                   PRIVATE KEY-----\\n";
const SEED: &str = "AQIDBAUGBwgJCgsMDQ4PEBESExQVFhcYGRobHB0eHyA=";

fn seed() -> [u8; 32] {
    std::array::from_fn(|at| u8::try_from(at + 1).unwrap())
}

#[test]
fn everything_that_is_written_arrives() {
    let config = warned(
        &format!(
            r#"
audit:
  durability: sync
  on_failure: allow
  arguments: digest
  results: masked
  signing_key: "{PEM}"
  segment: 1MiB
  keep: 90d
  max_size: 2MiB
  mask: [internal_note, "card-number"]
  sinks:
    - stdout: {{}}
    - http: {{ url: "https://audit.example.com/events?key=a", headers: {{ Authorization: "Bearer ${{env:TOKEN}}" }}, batch: 100, every: 1s, backlog: 2GiB }}
    - http: {{ url: "http://[::1]:9/events" }}
"#
        ),
        &[],
    );
    let audit = config.audit.unwrap();
    assert_eq!(
        (audit.durability, audit.on_failure),
        (Durability::Sync, OnFailure::Allow)
    );
    assert_eq!(
        (audit.arguments, audit.results),
        (Recorded::Digest, Recorded::Masked)
    );
    assert_eq!(*audit.signing_key.as_ref().unwrap().expose_seed(), seed());
    assert_eq!(
        (audit.segment, audit.max_size),
        (ByteSize(1 << 20), Some(ByteSize(2 << 20)))
    );
    assert_eq!(audit.keep, Some(Duration::from_secs(90 * 86_400)));
    assert_eq!(audit.mask, ["internal_note", "card-number"]);
    assert!(audit.writes_to_stdout());
    let [Sink::Stdout, Sink::Http(first), Sink::Http(second)] = &audit.sinks[..] else {
        panic!()
    };
    assert_eq!(first.url.to_string(), "https://audit.example.com/events?…");
    assert_eq!(first.headers[0].1.expose(), "Bearer hunter2-of-the-environment");
    assert_eq!(
        (first.batch.get(), first.every, first.backlog),
        (100, Duration::from_secs(1), ByteSize(2 << 30))
    );
    assert_eq!(
        (second.batch.get(), second.every, second.backlog),
        (500, Duration::from_secs(10), ByteSize(1 << 30))
    );
    let printed = format!("{audit:?}");
    assert!(
        !printed.contains("hunter2") && !printed.contains("1, 2, 3, 4"),
        "{printed}"
    );
}

#[test]
fn nothing_is_an_audit_log_too() {
    const UNPROVEN: &str = "audit: has no `signing_key`, so that nobody can prove that the end of the log was not cut off; \
                            make one with `openssl genpkey -algorithm ed25519`, keep it away from the log, and write \
                            `signing_key: \"${file:/path}\"`";
    for text in ["audit: {}", "audit:\n"] {
        let audit = warned(text, &[&format!("line 1: {UNPROVEN}")]).audit.unwrap();
        assert_eq!(
            (audit.durability, audit.on_failure),
            (Durability::Batch, OnFailure::Deny)
        );
        assert_eq!(
            (audit.arguments, audit.results),
            (Recorded::Masked, Recorded::None)
        );
        assert_eq!(
            (audit.segment, audit.keep, audit.max_size),
            (ByteSize(64 << 20), None, None)
        );
        assert!(audit.mask.is_empty() && audit.sinks.is_empty() && !audit.writes_to_stdout());
    }
    assert!(good("").audit.is_none());
}

#[test]
fn signing_keys_of_every_spelling() {
    // With attributes and the public key, RFC 5958 version 2.
    let version_2 = "MFECAQEwBQYDK2VwBCIEIAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8ggSEAebVWLo/mVPlAeLESKAg1TXXiSL1IkgxbKlQ4\
                     eHEzA5Q=";
    for text in [
        PEM.to_owned(),
        PEM.replace("\\n", " "),
        SEED.to_owned(),
        SEED.trim_end_matches('=').to_owned(),
        format!("-----BEGIN PRIVATE KEY-----{version_2}-----END PRIVATE KEY-----"),
    ] {
        let config = good(&format!("audit: {{ signing_key: \"{text}\" }}"));
        assert_eq!(
            *config.audit.unwrap().signing_key.unwrap().expose_seed(),
            seed(),
            "{text}"
        );
    }
    let rsa = "-----BEGIN PRIVATE KEY-----MIICdgIBADANBgkqhkiG9w0BAQEFAASC-----END PRIVATE KEY-----";
    for (text, message) in [
        ("", "is not 32 bytes long"),
        ("AQID", "is not 32 bytes long"),
        ("hunter3 hunter3", "is neither a private key in PEM nor Base64"),
        (
            "-----BEGIN PUBLIC KEY-----",
            "is a public key, and only the private one can sign",
        ),
        (
            "-----BEGIN ENCRYPTED PRIVATE KEY-----",
            "is encrypted, and nobody is here to open it",
        ),
        ("-----BEGIN RSA PRIVATE KEY-----", "is no private key in PKCS#8"),
        (
            "-----BEGIN PRIVATE KEY-----AQID",
            "has no end, `-----END PRIVATE KEY-----`",
        ),
        (
            "-----BEGIN PRIVATE KEY-----???-----END PRIVATE KEY-----",
            "is not Base64 between its two lines",
        ),
        (rsa, "is no Ed25519 key"),
        (&PEM.replace("BCIEIA", "BCIEIQ"), "is no Ed25519 key"),
    ] {
        let remedy = "make one with `openssl genpkey -algorithm ed25519` and keep it in a file";
        check(
            &format!("audit: {{ signing_key: \"{text}\" }}"),
            &[&format!("line 1: audit.signing_key: {message}; {remedy}")],
        );
    }
}

#[test]
fn logs_that_cannot_be_kept() {
    check(
        r#"
audit:
  durability: fsync
  on_failure: ignore
  segment: 1KiB
  keep: 1m
  mask: ["", "--", "*"]
  sinks:
    - { stdout: {}, http: { url: "https://h/" } }
    - {}
    - { postgres: x }
    - { http: {} }
    - { http: { url: "http://h/" } }
    - { http: { url: "https://h/", batch: 501, every: 1ms, backlog: 1KiB } }
    - { stdout: { to: me } }
"#,
        &[
            "line 3: audit.durability: `fsync` is not known here; did you mean `sync`? write one of `batch` and `sync`",
            "line 4: audit.on_failure: `ignore` is not known here; write one of `deny` and `allow`",
            "line 5: audit.segment: `1KiB` is out of range; write at least 64KiB and at most 1GiB",
            "line 6: audit.keep: `1m` is out of range; write at least 1h and at most 36500d",
            "line 7: audit.mask[0]: is empty; write the name, or remove it",
            "line 7: audit.mask[1]: has no letter and no digit; write a name such as `password`",
            "line 7: audit.mask[2]: holds `*`, which stands for nothing else here; write each name out",
            "line 9: audit.sinks[0]: says `stdout` and `http` at once; keep exactly one of `stdout` and `http`",
            "line 10: audit.sinks[1]: says neither `stdout` nor `http`; keep exactly one of `stdout` and `http`",
            "line 11: audit.sinks[2].postgres: this version does not have this yet; remove it",
            "line 11: audit.sinks[2]: says neither `stdout` nor `http`; keep exactly one of `stdout` and `http`",
            "line 12: audit.sinks[3].http.url: is missing; add it",
            "line 13: audit.sinks[4].http.url: is plain http to another machine, where anybody on the way could answer; \
             write an `https` URL",
            "line 14: audit.sinks[5].http.batch: is out of range; write a whole number of at least 1 and at most 500",
            "line 14: audit.sinks[5].http.every: `1ms` is out of range; write at least 100ms and at most 1h",
            "line 14: audit.sinks[5].http.backlog: `1KiB` is out of range; write at least 1MiB and at most 1024GiB",
            "line 15: audit.sinks[6].stdout.to: unknown key; remove it; there are no keys here",
        ],
    );
    check(
        r#"
audit:
  max_size: 127MiB
  sinks:
    - { stdout: {} }
    - { stdout: }
    - { http: { url: "https://h/", headers: { Content-Type: text/plain } } }
    - { http: { url: "https://h/" } }
"#,
        &[
            "line 3: audit.max_size: `127MiB` is less than two segments of 64MiB; write at least 128MiB",
            "line 6: audit.sinks[1]: is there twice; remove one of the two",
            "line 7: audit.sinks[2].http.headers.Content-Type: is a header that the gate writes itself; remove it",
            "line 8: audit.sinks[3]: is there twice; remove one of the two",
        ],
    );
}
