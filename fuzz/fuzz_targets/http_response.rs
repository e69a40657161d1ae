//! Any bytes as an HTTP/1.1 answer: no panic, and neither head nor body depend on where reads end.
#![no_main]

use bytes::BytesMut;
use gatepost_protocol::framing::http1::{BadResponse, BodyDecoder, Framing, MAX_HEAD, Piece, parse_head};
use libfuzzer_sys::fuzz_target;

/// The body in `parts`, whether it may end there, and what is left over.
fn body<'a>(
    framing: Framing,
    parts: impl Iterator<Item = &'a [u8]>,
) -> Result<(Vec<u8>, bool, usize), BadResponse> {
    let mut decoder = BodyDecoder::new(framing);
    let (mut input, mut out) = (BytesMut::new(), Vec::new());
    for part in parts {
        input.extend_from_slice(part);
        while let Piece::Data(data) = decoder.next(&mut input)? {
            out.extend_from_slice(&data);
        }
    }
    Ok((out, decoder.may_end(), input.len()))
}

fuzz_target!(|data: &[u8]| {
    let Some((&size, stream)) = data.split_first() else {
        return;
    };
    let size = usize::from(size % 16) + 1;
    let framing = match parse_head(stream) {
        Ok(Some(head)) => {
            assert!(head.length <= stream.len() && head.length <= MAX_HEAD);
            assert_eq!(parse_head(&stream[..head.length]), Ok(Some(head.clone())));
            for end in (0..head.length).step_by(size) {
                assert_eq!(parse_head(&stream[..end]), Ok(None));
            }
            let rest = &stream[head.length..];
            let whole = body(head.framing, std::iter::once(rest));
            assert_eq!(whole, body(head.framing, rest.chunks(size)));
            return;
        }
        Ok(None) | Err(_) => Framing::Chunked,
    };
    let whole = body(framing, std::iter::once(stream));
    assert_eq!(whole, body(framing, stream.chunks(size)));
});
