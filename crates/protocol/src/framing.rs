//! Where one message ends and the next begins: lines on stdio, events on SSE, HTTP/1.1
//! answers, and large JSON bodies in chunks.

pub mod http1;
mod lines;
mod splice;
pub mod sse;

pub use lines::{LineDecoder, LineTooLong, one_line};
pub use splice::{IdSplicer, Seen, SpliceEdits, SpliceError};

/// Cuts `text` into chunks of the given sizes, and the rest.
#[cfg(test)]
fn cut<'a>(text: &'a [u8], sizes: &[usize]) -> Vec<&'a [u8]> {
    let mut chunks = Vec::new();
    let mut rest = text;
    for &size in sizes {
        let (chunk, more) = rest.split_at(size.min(rest.len()));
        chunks.push(chunk);
        rest = more;
    }
    chunks.push(rest);
    chunks
}
