//! The part of a line that the log itself writes and reads, always in this order:
//!
//! `{"seq":7,"time":"2026-07-28T09:30:00.000000Z","id":"k3x9…-7","prev":"<64 hex>","kind":"intent",…}`

use crate::{Hash, Moment, record::push_number};

/// How many characters the name of a run has.
pub(crate) const RUN: usize = 12;

/// The name of one run of the gate, so that ids stay unique whatever becomes of the files.
pub(crate) type Run = [u8; RUN];

/// A new one, of 60 random bits.
pub(crate) fn new_run() -> Result<Run, getrandom::Error> {
    let mut run = [0; RUN];
    getrandom::fill(&mut run)?;
    for byte in &mut run {
        *byte = b"0123456789abcdefghjkmnpqrstvwxyz"[usize::from(*byte & 31)];
    }
    Ok(run)
}

/// Begins a record; what follows is its body, from `"kind"` on.
pub(crate) fn begin(out: &mut Vec<u8>, seq: u64, time: Moment, run: &Run, prev: Hash) {
    out.extend_from_slice(b"{\"seq\":");
    push_number(out, seq);
    out.extend_from_slice(b",\"time\":\"");
    time.push_to(out);
    out.extend_from_slice(b"\",\"id\":\"");
    push_id(out, run, seq);
    out.extend_from_slice(b"\",\"prev\":\"");
    prev.push_to(out);
    out.extend_from_slice(b"\",");
}

/// The id of a record: unique in all logs of all gates.
pub(crate) fn push_id(out: &mut Vec<u8>, run: &Run, seq: u64) {
    out.extend_from_slice(run);
    out.push(b'-');
    push_number(out, seq);
}

pub(crate) fn id(run: &Run, seq: u64) -> String {
    let mut out = Vec::with_capacity(RUN + 12);
    push_id(&mut out, run, seq);
    String::from_utf8_lossy(&out).into_owned()
}

/// What a line says of itself before its body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Head<'a> {
    pub(crate) seq: u64,
    /// As RFC 3339, always as long: it can be compared as text.
    pub(crate) time: &'a str,
    pub(crate) id: &'a str,
    pub(crate) prev: Hash,
    pub(crate) kind: &'a str,
    /// From `"kind"` on.
    pub(crate) body: &'a [u8],
}

impl<'a> Head<'a> {
    /// Reads a line without its line end. `None` if the log wrote no such line.
    pub(crate) fn of(line: &'a [u8]) -> Option<Self> {
        if line.last() != Some(&b'}') {
            return None;
        }
        let rest = line.strip_prefix(b"{\"seq\":")?;
        let digits = rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
        let (seq, rest) = rest.split_at_checked(digits)?;
        let seq = std::str::from_utf8(seq).ok()?.parse().ok()?;
        let (time, rest) = text(rest.strip_prefix(b",\"time\":\"")?)?;
        let (id, rest) = text(rest.strip_prefix(b",\"id\":\"")?)?;
        let (prev, rest) = text(rest.strip_prefix(b",\"prev\":\"")?)?;
        let body = rest.strip_prefix(b",")?;
        let (kind, _) = text(body.strip_prefix(b"\"kind\":\"")?)?;
        Some(Self {
            seq,
            time,
            id,
            prev: Hash::parse(prev.as_bytes())?,
            kind,
            body,
        })
    }

    /// The run it was written in.
    pub(crate) fn run(&self) -> &'a str {
        self.id.split_once('-').map_or("", |(run, _)| run)
    }

    /// A member of the body, of those that stand directly behind the kind and are plain text.
    pub(crate) fn first_text(&self, key: &str) -> Option<&'a str> {
        let rest = self.body.get("\"kind\":\"\"".len() + self.kind.len()..)?;
        let rest = rest.strip_prefix(b",\"")?.strip_prefix(key.as_bytes())?;
        text(rest.strip_prefix(b"\":\"")?).map(|(text, _)| text)
    }
}

fn text(rest: &[u8]) -> Option<(&str, &[u8])> {
    let end = rest.iter().position(|&byte| byte == b'"')?;
    let (text, rest) = rest.split_at_checked(end)?;
    Some((std::str::from_utf8(text).ok()?, rest.get(1..)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_read_as_it_was_written() {
        let mut line = Vec::new();
        let run = new_run().unwrap();
        begin(&mut line, 42, Moment(1_785_231_000_000_001), &run, Hash::of(b"x"));
        line.extend_from_slice(br#""kind":"outcome","of":"abc-7","us":5}"#);
        let head = Head::of(&line).unwrap();
        assert_eq!((head.seq, head.kind, head.prev), (42, "outcome", Hash::of(b"x")));
        assert_eq!(head.time, "2026-07-28T09:30:00.000001Z");
        assert_eq!(head.id, id(&run, 42));
        assert_eq!(head.run().as_bytes(), run);
        assert_eq!(head.first_text("of"), Some("abc-7"));
        assert_eq!(head.first_text("us"), None);
        for end in 0..line.len() {
            assert!(Head::of(&line[..end]).is_none(), "{end}");
        }
    }
}
