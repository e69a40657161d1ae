//! Any stream in any chunks: the lines do not depend on where chunks end, and memory stays bounded.
#![no_main]

use bytes::{Bytes, BytesMut};
use gatepost_protocol::framing::{LineDecoder, LineTooLong, one_line};
use libfuzzer_sys::fuzz_target;

const LIMIT: usize = 32;

fn lines<'a>(chunks: impl Iterator<Item = &'a [u8]>) -> Vec<Result<Bytes, LineTooLong>> {
    let mut decoder = LineDecoder::new(LIMIT);
    let mut buffer = BytesMut::new();
    let mut out = Vec::new();
    for chunk in chunks {
        buffer.extend_from_slice(chunk);
        while let Some(line) = decoder.decode(&mut buffer).transpose() {
            out.push(line);
        }
        assert!(buffer.len() <= LIMIT + 1);
    }
    out.extend(decoder.finish(&mut buffer).transpose());
    out
}

fuzz_target!(|data: &[u8]| {
    let Some((&size, stream)) = data.split_first() else {
        return;
    };
    let whole = lines(std::iter::once(stream));
    assert_eq!(whole, lines(stream.chunks(usize::from(size % 16) + 1)));
    assert!(!one_line(Bytes::copy_from_slice(stream)).contains(&b'\n'));
});
