//! Server-sent events (WHATWG HTML, 9.2.5–9.2.6).

use bytes::{Buf, Bytes, BytesMut};

/// One event, as far as MCP uses them.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct SseEvent {
    /// The `event` field; absent means `message`.
    pub event: Option<Bytes>,
    /// The `data` field, lines joined by `\n`. `None` if there was none: such an event only sets `id` or `retry`.
    pub data: Option<Bytes>,
    /// The `id` field, for `Last-Event-ID`.
    pub id: Option<Bytes>,
    /// The `retry` field, in milliseconds.
    pub retry: Option<u64>,
}

impl SseEvent {
    /// The message it carries, if it is a message event with data. Priming events (2025-11-25 basic/transports: "an
    /// event ID and an empty `data` field") carry none.
    pub fn message(&self) -> Option<&Bytes> {
        let named_message = self
            .event
            .as_deref()
            .is_none_or(|name| name.is_empty() || name == b"message");
        self.data
            .as_ref()
            .filter(|data| named_message && !data.is_empty())
    }
}

/// An event was larger than allowed. It is skipped; the events after it are read as usual.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("an event is larger than {limit_bytes} bytes; it was skipped")]
pub struct EventTooLong {
    /// The limit.
    pub limit_bytes: usize,
}

/// Cuts a byte stream into events. Memory stays bounded by the limit whatever arrives.
///
/// Feed a chunk, then take events until there is none. An event that lies within one chunk, with its data on one line,
/// is a slice of that chunk.
#[derive(Debug)]
pub struct SseDecoder {
    limit: usize,
    /// What was fed and not yet looked at.
    chunk: Bytes,
    /// The part of the current event that came in earlier chunks.
    carry: BytesMut,
    /// No byte of the current line was seen yet.
    line_empty: bool,
    /// The byte before was a carriage return; a line feed now belongs to it.
    after_cr: bool,
    skipping: bool,
    /// The first bytes of the stream may be a byte order mark.
    at_start: bool,
}

impl SseDecoder {
    /// `limit_bytes` is the most one event may have, field names and line ends included.
    pub fn new(limit_bytes: usize) -> Self {
        Self {
            limit: limit_bytes,
            chunk: Bytes::new(),
            carry: BytesMut::new(),
            line_empty: true,
            after_cr: false,
            skipping: false,
            at_start: true,
        }
    }

    /// Adds what was received. Take all events out before feeding again; if some are left, they are copied.
    pub fn feed(&mut self, chunk: Bytes) {
        if self.chunk.is_empty() {
            self.chunk = chunk;
        } else {
            self.chunk = [&self.chunk[..], &chunk[..]].concat().into();
        }
    }

    /// The next event. `None`: feed more.
    ///
    /// # Errors
    /// [`EventTooLong`], once per such event, as soon as it is known. Call on as usual.
    pub fn next_event(&mut self) -> Result<Option<SseEvent>, EventTooLong> {
        let mut at = 0;
        loop {
            let rest = self.chunk.get(at..).unwrap_or_default();
            let found = memchr::memchr2(b'\r', b'\n', rest);
            if !self.skipping && self.carry.len() + at + found.unwrap_or(rest.len()) > self.limit {
                self.skipping = true;
                self.carry = BytesMut::new();
                self.chunk.advance(at);
                return Err(EventTooLong {
                    limit_bytes: self.limit,
                });
            }
            let Some(found) = found else {
                if !rest.is_empty() {
                    self.line_empty = false;
                    self.after_cr = false;
                }
                if !self.skipping {
                    self.carry.extend_from_slice(&self.chunk);
                }
                self.chunk = Bytes::new();
                return Ok(None);
            };
            let second_half = found == 0 && self.after_cr && rest.first() == Some(&b'\n');
            let blank = self.line_empty && found == 0;
            self.after_cr = rest.get(found) == Some(&b'\r');
            at += found + 1;
            if second_half {
                continue;
            }
            self.line_empty = true;
            if !blank {
                continue;
            }
            let block = self.take(at);
            at = 0;
            if std::mem::take(&mut self.skipping) {
                continue;
            }
            if let Some(event) = self.parse(&block) {
                return Ok(Some(event));
            }
        }
    }

    /// What is left when the stream has ended. The standard throws away an event without its blank line; some servers
    /// leave that out after the last one, so an event whose last line is whole is given here.
    pub fn finish(&mut self) -> Option<SseEvent> {
        if self.skipping || !self.line_empty {
            return None;
        }
        let block = self.take(self.chunk.len());
        self.parse(&block)
    }

    /// The current event: what was carried and the first `length` bytes of the chunk.
    fn take(&mut self, length: usize) -> Bytes {
        let head = self.chunk.split_to(length);
        if self.carry.is_empty() {
            return head;
        }
        self.carry.extend_from_slice(&head);
        std::mem::take(&mut self.carry).freeze()
    }

    fn parse(&mut self, block: &Bytes) -> Option<SseEvent> {
        let mut event = SseEvent::default();
        let mut joined: Option<BytesMut> = None;
        let mut seen = false;
        let mut at = 0;
        if std::mem::take(&mut self.at_start) && block.starts_with(b"\xef\xbb\xbf") {
            at = 3;
        }
        while at < block.len() {
            let rest = block.get(at..).unwrap_or_default();
            let length = memchr::memchr2(b'\r', b'\n', rest).unwrap_or(rest.len());
            let line = rest.get(..length).unwrap_or_default();
            let colon = memchr::memchr(b':', line).unwrap_or(length);
            let value_at = (colon + 1 + usize::from(line.get(colon + 1) == Some(&b' '))).min(length);
            let value = block.slice(at + value_at..at + length);
            match line.get(..colon).unwrap_or_default() {
                b"data" => {
                    seen = true;
                    match &event.data {
                        None => event.data = Some(value),
                        Some(first) => {
                            let lines = joined.get_or_insert_with(|| BytesMut::from(&first[..]));
                            lines.extend_from_slice(b"\n");
                            lines.extend_from_slice(&value);
                        }
                    }
                }
                b"event" => event.event = Some(value),
                b"id" if !value.contains(&0) => {
                    seen = true;
                    event.id = Some(value);
                }
                b"retry" if value.iter().all(u8::is_ascii_digit) => {
                    event.retry = std::str::from_utf8(&value)
                        .ok()
                        .and_then(|text| text.parse().ok());
                    seen |= event.retry.is_some();
                }
                // Comments (an empty field name) and unknown fields.
                _ => {}
            }
            at += length + 1;
        }
        if let Some(lines) = joined {
            event.data = Some(lines.freeze());
        }
        seen.then_some(event)
    }
}

/// What ends the event that [`sse_head`] began, behind its data.
pub const SSE_TAIL: &[u8] = b"\n\n";

/// A comment that keeps an idle stream open.
pub const SSE_KEEPALIVE: &[u8] = b":\n\n";

/// The beginning of an event up to its data, for data that is sent in pieces and has no line break in it.
pub fn sse_head(id: Option<&str>, event: Option<&str>) -> Bytes {
    let mut out = BytesMut::with_capacity(32);
    head(&mut out, id, event);
    out.extend_from_slice(b"data: ");
    out.freeze()
}

/// One event. Data with line breaks (JSON that a server pretty-printed) is split over several `data` lines.
pub fn sse_event(data: &[u8], id: Option<&str>, event: Option<&str>) -> Bytes {
    let fields = id.map_or(0, |id| id.len() + 5) + event.map_or(0, |event| event.len() + 8);
    let mut out = BytesMut::with_capacity(data.len() + fields + 8);
    head(&mut out, id, event);
    let mut rest = data;
    loop {
        out.extend_from_slice(b"data: ");
        let Some(end) = memchr::memchr2(b'\r', b'\n', rest) else {
            out.extend_from_slice(rest);
            break;
        };
        let (line, tail) = rest.split_at(end);
        out.extend_from_slice(line);
        out.extend_from_slice(b"\n");
        let line_end = if tail.starts_with(b"\r\n") { 2 } else { 1 };
        rest = tail.get(line_end..).unwrap_or_default();
    }
    out.extend_from_slice(SSE_TAIL);
    out.freeze()
}

/// A priming event: an id and empty data, and how long to wait before reconnecting (2025-11-25 basic/transports,
/// Sending Messages and Resumability).
pub fn sse_priming(id: &str, retry_ms: Option<u64>) -> Bytes {
    let mut out = BytesMut::with_capacity(id.len() + 40);
    head(&mut out, Some(id), None);
    if let Some(retry) = retry_ms {
        out.extend_from_slice(format!("retry: {retry}\n").as_bytes());
    }
    out.extend_from_slice(b"data: \n\n");
    out.freeze()
}

fn head(out: &mut BytesMut, id: Option<&str>, event: Option<&str>) {
    for (name, value) in [(&b"event: "[..], event), (b"id: ", id)] {
        let Some(value) = value else { continue };
        out.extend_from_slice(name);
        // A line break would end the field and begin one of the value's choosing.
        out.extend(value.bytes().filter(|byte| !matches!(byte, b'\r' | b'\n' | 0)));
        out.extend_from_slice(b"\n");
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::framing::cut;

    fn decode(limit: usize, chunks: &[&[u8]]) -> Vec<Result<SseEvent, EventTooLong>> {
        let mut decoder = SseDecoder::new(limit);
        let mut out = Vec::new();
        for chunk in chunks {
            decoder.feed(Bytes::copy_from_slice(chunk));
            while let Some(event) = decoder.next_event().transpose() {
                out.push(event);
            }
            assert!(decoder.carry.len() <= limit + 2);
        }
        out.extend(decoder.finish().map(Ok));
        out
    }

    fn data(limit: usize, chunks: &[&[u8]]) -> Vec<String> {
        let text = |data: Bytes| String::from_utf8(data.to_vec()).unwrap();
        let shown = |event: SseEvent| event.data.map_or("-".into(), text);
        decode(limit, chunks)
            .into_iter()
            .map(|event| event.map_or("!".into(), shown))
            .collect()
    }

    #[test]
    fn fields_are_read() {
        let events = decode(
            999,
            &[b"\xef\xbb\xbf: hello\nevent: message\nid: 7\nretry: 1500\ndata: {}\n\nevent:x\ndata:a\ndata\ndata:  b\nother: 1\n\n"],
        );
        let event = |event: &'static str, data: &'static str| SseEvent {
            event: Some(event.into()),
            data: Some(data.into()),
            ..SseEvent::default()
        };
        let first = SseEvent {
            id: Some("7".into()),
            retry: Some(1500),
            ..event("message", "{}")
        };
        assert!(first.message().is_some());
        assert!(event("x", "a").message().is_none());
        assert_eq!(events, [Ok(first), Ok(event("x", "a\n\n b"))]);
    }

    #[test]
    fn every_line_end_is_one() {
        for text in [
            "data: a\n\ndata: b\n\n",
            "data: a\r\rdata: b\r\r",
            "data: a\r\n\r\ndata: b\r\n\r\n",
            "data: a\r\n\ndata: b\n\r\n",
        ] {
            assert_eq!(data(99, &[text.as_bytes()]), ["a", "b"], "{text:?}");
        }
    }

    #[test]
    fn what_says_nothing_is_no_event() {
        assert!(
            decode(
                99,
                &[b":\n\n\n\n: ping\r\n\r\nevent: x\n\nretry: 1x\n\nretry:\n\nid: a\0b\n\n"]
            )
            .is_empty()
        );
        assert_eq!(
            decode(99, &[b"id: 1\ndata: \n\n"])[0].as_ref().unwrap().message(),
            None
        );
    }

    #[test]
    fn an_unfinished_event_counts_only_with_whole_lines() {
        assert_eq!(data(99, &[b"data: a\n\ndata: b\n"]), ["a", "b"]);
        assert_eq!(data(99, &[b"data: a\n\ndata: b"]), ["a"]);
    }

    #[test]
    fn large_events_are_skipped_with_bounded_memory() {
        assert_eq!(
            data(9, &[b"data: ab\n\ndata: abc\n\ndata: c\n\n"]),
            ["ab", "!", "c"]
        );
        assert_eq!(
            data(
                8,
                &[
                    b"data: abcdefghi",
                    b"jklmnopqrst\nda",
                    b"ta: x\n",
                    b"\ndata: c\n\n"
                ]
            ),
            ["!", "c"]
        );
    }

    #[test]
    fn whole_events_are_not_copied() {
        let mut decoder = SseDecoder::new(999);
        let chunk = Bytes::from(b"data: {\"a\":1}\n\n".to_vec());
        decoder.feed(chunk.clone());
        let event = decoder.next_event().unwrap().unwrap();
        assert_eq!(event.data.unwrap().as_ptr(), chunk[6..].as_ptr());
    }

    #[test]
    fn injected_line_breaks_do_not_make_fields() {
        assert_eq!(
            &sse_event(b"1", Some("a\ndata: x"), Some("b\r"))[..],
            b"event: b\nid: adata: x\ndata: 1\n\n"
        );
        assert_eq!(
            &sse_priming("s-0", Some(500))[..],
            b"id: s-0\nretry: 500\ndata: \n\n"
        );
    }

    proptest! {
        #[test]
        fn what_is_encoded_is_decoded(text in "[a-c{}\": \n]{0,40}", cuts in prop::collection::vec(1usize..9, 0..40)) {
            let encoded = sse_event(text.as_bytes(), Some("9"), None);
            prop_assert_eq!(data(999, &cut(&encoded, &cuts)), [text]);
        }

        #[test]
        fn chunking_does_not_matter(
            text in "(data:[ab]{0,9}|id:1|:|x|\r|\n|\r\n|\n\n){0,30}",
            cuts in prop::collection::vec(1usize..9, 0..60),
        ) {
            let chunks = cut(text.as_bytes(), &cuts);
            prop_assert_eq!(decode(999, &chunks), decode(999, &[text.as_bytes()]));
            prop_assert_eq!(data(12, &chunks), data(12, &[text.as_bytes()]));
        }
    }
}
