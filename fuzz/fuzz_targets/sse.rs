//! Any stream in any chunks: the events do not depend on where chunks end, and memory stays bounded.
#![no_main]

use bytes::Bytes;
use gatepost_protocol::framing::sse::{EventTooLong, SseDecoder, SseEvent};
use libfuzzer_sys::fuzz_target;

const LIMIT: usize = 64;

fn events<'a>(chunks: impl Iterator<Item = &'a [u8]>) -> Vec<Result<SseEvent, EventTooLong>> {
    let mut decoder = SseDecoder::new(LIMIT);
    let mut out = Vec::new();
    for chunk in chunks {
        decoder.feed(Bytes::copy_from_slice(chunk));
        while let Some(event) = decoder.next_event().transpose() {
            out.push(event);
        }
    }
    out.extend(decoder.finish().map(Ok));
    out
}

fuzz_target!(|data: &[u8]| {
    let Some((&size, stream)) = data.split_first() else {
        return;
    };
    let whole = events(std::iter::once(stream));
    assert_eq!(whole, events(stream.chunks(usize::from(size % 16) + 1)));
});
