//! HTTP/1.1 answers as they arrive (RFC 9112): where the head ends, what it says of the body, and where the body ends.
//!
//! Where two readers could disagree about the end of a message, the message is refused: what a server behind a proxy of
//! its own answers to one caller must never be taken for the answer to the next.

use std::mem::MaybeUninit;

use bytes::{Buf, Bytes, BytesMut};

/// How many bytes the head of an answer may have, and likewise its trailers.
pub const MAX_HEAD: usize = 64 * 1024;
/// How many header fields the head of an answer may have.
pub const MAX_FIELDS: usize = 100;
/// How many bytes of extensions one chunk may have.
const MAX_EXTENSION: usize = 16 * 1024;

/// Why bytes are no HTTP/1.1 answer that we read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BadResponse {
    /// More than [`MAX_HEAD`] bytes and no end.
    #[error("the answer's head is larger than {MAX_HEAD} bytes")]
    HeadTooLarge,
    /// More than [`MAX_FIELDS`].
    #[error("the answer has more than {MAX_FIELDS} header fields")]
    TooManyFields,
    /// Not the grammar of RFC 9112.
    #[error("the answer is no HTTP/1.1: {0}")]
    Syntax(httparse::Error),
    /// No number, too large a number, or two that differ (RFC 9112 6.3).
    #[error("the answer has an invalid Content-Length")]
    ContentLength,
    /// A transfer coding other than `chunked`, or any in HTTP/1.0 (RFC 9112 6.1).
    #[error("the answer has a Transfer-Encoding other than `chunked`")]
    TransferEncoding,
    /// A chunk that does not begin with a hexadecimal number and end where it says (RFC 9112 7.1).
    #[error("the answer has an invalid chunk")]
    Chunk,
    /// Extensions of a chunk, or trailers, without end.
    #[error("the answer has too large chunk extensions or trailers")]
    TrailersTooLarge,
}

/// The head of an answer, as far as a caller of JSON-RPC needs it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Head<'a> {
    /// The status code. 100 to 199 is an interim answer: another head follows.
    pub status: u16,
    /// How many bytes the head has, its empty line included.
    pub length: usize,
    /// Where the body ends.
    pub framing: Framing,
    /// The connection can carry another request after the body.
    pub reusable: bool,
    /// `timeout` of `Keep-Alive`, in seconds.
    pub keep_alive: Option<u64>,
    /// `Content-Type`.
    pub content_type: Option<&'a [u8]>,
    /// `Location`.
    pub location: Option<&'a [u8]>,
    /// `Mcp-Session-Id`.
    pub session_id: Option<&'a [u8]>,
}

/// Where a body ends (RFC 9112 6.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Framing {
    /// After so many bytes, possibly none.
    Length(u64),
    /// With the last chunk and its trailers.
    Chunked,
    /// With the connection.
    UntilClose,
}

/// Takes a body out of the bytes that arrive.
#[derive(Debug)]
pub struct BodyDecoder {
    state: State,
    /// Bytes of the current chunk's extensions, or of the trailers.
    overhead: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// So many bytes left of a body of known length.
    Length(u64),
    UntilClose,
    /// In a chunk's size; the flag says that there was a digit.
    Size(u64, bool),
    /// After a chunk's size, up to the end of the line.
    Extension(u64),
    /// The line feed after a chunk's size.
    SizeEnd(u64),
    /// So many bytes left of a chunk.
    Chunk(u64),
    /// The CR, then the LF, after a chunk.
    ChunkCr,
    ChunkLf,
    /// In the trailers: at the beginning of a line, within one, at its LF, at the LF of the empty one.
    TrailerStart,
    Trailer,
    TrailerLf,
    LastLf,
    Done,
    Bad(BadResponse),
}

/// What [`BodyDecoder::next`] found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Piece {
    /// The next bytes of the body, at least one.
    Data(Bytes),
    /// More bytes are needed.
    More,
    /// The body is complete.
    End,
}

/// Reads the head at the beginning of `input`; `None` when it is not complete yet.
///
/// # Errors
///
/// When it never will be, or when its body could be read in two ways.
pub fn parse_head(input: &[u8]) -> Result<Option<Head<'_>>, BadResponse> {
    let mut fields = [const { MaybeUninit::<httparse::Header<'_>>::uninit() }; MAX_FIELDS];
    let mut response = httparse::Response::new(&mut []);
    let parsed = httparse::ParserConfig::default().parse_response_with_uninit_headers(
        &mut response,
        &input[..input.len().min(MAX_HEAD)],
        &mut fields,
    );
    let length = match parsed {
        Ok(httparse::Status::Complete(length)) => length,
        Ok(httparse::Status::Partial) if input.len() >= MAX_HEAD => return Err(BadResponse::HeadTooLarge),
        Ok(httparse::Status::Partial) => return Ok(None),
        Err(httparse::Error::TooManyHeaders) => return Err(BadResponse::TooManyFields),
        Err(error) => return Err(BadResponse::Syntax(error)),
    };
    let newer = response.version == Some(1);
    let status = response.code.unwrap_or_default();
    // RFC 9110 15: the first digit is the class, and there are five.
    if !(100..600).contains(&status) {
        return Err(BadResponse::Syntax(httparse::Error::Status));
    }
    let mut head = Head {
        status,
        length,
        framing: Framing::UntilClose,
        reusable: newer,
        keep_alive: None,
        content_type: None,
        location: None,
        session_id: None,
    };
    let (mut size, mut chunked, mut close) = (None, false, false);
    for field in response.headers {
        let value = field.value;
        let is = |name: &str| field.name.eq_ignore_ascii_case(name);
        // The length tells most names apart without looking at them.
        match field.name.len() {
            8 if is("location") => head.location = head.location.or(Some(value)),
            10 if is("connection") => {
                for option in value.split(|byte| *byte == b',').map(<[u8]>::trim_ascii) {
                    close |= option.eq_ignore_ascii_case(b"close");
                    head.reusable |= option.eq_ignore_ascii_case(b"keep-alive");
                }
            }
            10 if is("keep-alive") => head.keep_alive = timeout(value),
            12 if is("content-type") => head.content_type = head.content_type.or(Some(value)),
            14 if is("mcp-session-id") => head.session_id = head.session_id.or(Some(value)),
            14 if is("content-length") => {
                // A list of equal numbers is what a sender made of repeated fields (RFC 9112 6.3, 5).
                for part in value.split(|byte| *byte == b',') {
                    let part = decimal(part.trim_ascii()).ok_or(BadResponse::ContentLength)?;
                    if size.replace(part).is_some_and(|other| other != part) {
                        return Err(BadResponse::ContentLength);
                    }
                }
            }
            17 if is("transfer-encoding") => {
                if chunked || !newer || !value.trim_ascii().eq_ignore_ascii_case(b"chunked") {
                    return Err(BadResponse::TransferEncoding);
                }
                chunked = true;
            }
            _ => {}
        }
    }
    head.framing = match (chunked, size) {
        _ if status < 200 || matches!(status, 204 | 304) => Framing::Length(0),
        (true, _) => Framing::Chunked,
        (false, Some(size)) => Framing::Length(size),
        (false, None) => Framing::UntilClose,
    };
    // With both, somebody on the way may go by the other one (RFC 9112 6.3, 3).
    if close || (chunked && size.is_some()) || head.framing == Framing::UntilClose {
        head.reusable = false;
    }
    Ok(Some(head))
}

/// `1*DIGIT` without overflow.
fn decimal(text: &[u8]) -> Option<u64> {
    if text.is_empty() {
        return None;
    }
    text.iter().try_fold(0u64, |number, byte| {
        let digit = byte.is_ascii_digit().then(|| u64::from(byte - b'0'))?;
        number.checked_mul(10)?.checked_add(digit)
    })
}

/// The parameter `timeout` of `Keep-Alive`.
fn timeout(value: &[u8]) -> Option<u64> {
    value
        .split(|byte| *byte == b',')
        .find_map(|part| decimal(part.trim_ascii().strip_prefix(b"timeout=")?.trim_ascii()))
}

// === impl BodyDecoder ===

impl BodyDecoder {
    /// A decoder at the beginning of a body.
    #[must_use]
    pub fn new(framing: Framing) -> Self {
        let state = match framing {
            Framing::Length(0) => State::Done,
            Framing::Length(size) => State::Length(size),
            Framing::Chunked => State::Size(0, false),
            Framing::UntilClose => State::UntilClose,
        };
        Self { state, overhead: 0 }
    }

    /// Takes the next piece off the front of `input`, without copying it. Trailers are dropped.
    ///
    /// With the last bytes of a body its end is taken too, if it is there: see [`BodyDecoder::is_done`].
    ///
    /// # Errors
    ///
    /// For chunks that are none, again and again.
    pub fn next(&mut self, input: &mut BytesMut) -> Result<Piece, BadResponse> {
        self.skip_framing(input);
        let available = input.len() as u64;
        let taken = match self.state {
            State::Bad(error) => return Err(error),
            State::Done => return Ok(Piece::End),
            State::UntilClose => available,
            State::Length(left) => {
                let taken = left.min(available);
                self.state = match left - taken {
                    0 => State::Done,
                    left => State::Length(left),
                };
                taken
            }
            State::Chunk(left) => {
                let taken = left.min(available);
                self.state = match left - taken {
                    0 => State::ChunkCr,
                    left => State::Chunk(left),
                };
                taken
            }
            _ => 0,
        };
        if taken == 0 {
            return Ok(Piece::More);
        }
        // No more than `available`, so it is a `usize`.
        let data = input.split_to(taken as usize).freeze();
        self.skip_framing(input);
        Ok(Piece::Data(data))
    }

    /// Whether the whole body was taken.
    #[must_use]
    pub fn is_done(&self) -> bool {
        self.state == State::Done
    }

    /// Whether a connection that closes now is the body's proper end.
    #[must_use]
    pub fn may_end(&self) -> bool {
        matches!(self.state, State::Done | State::UntilClose)
    }

    /// How many bytes are still to come, where the head told.
    #[must_use]
    pub fn left(&self) -> Option<u64> {
        match self.state {
            State::Length(left) => Some(left),
            State::Done => Some(0),
            _ => None,
        }
    }

    /// Goes over what is around chunks, up to the next data or the end.
    fn skip_framing(&mut self, input: &mut BytesMut) {
        let mut seen = 0;
        for &byte in input.iter() {
            if matches!(
                self.state,
                State::Length(_) | State::UntilClose | State::Chunk(_) | State::Done | State::Bad(_)
            ) {
                break;
            }
            self.state = self.step(byte).unwrap_or_else(State::Bad);
            seen += 1;
        }
        if seen > 0 {
            input.advance(seen);
        }
    }

    fn step(&mut self, byte: u8) -> Result<State, BadResponse> {
        Ok(match (self.state, byte) {
            (State::Size(size, true), b'\r') => State::SizeEnd(size),
            (State::Size(size, true), b';' | b' ' | b'\t') => {
                self.overhead = 0;
                State::Extension(size)
            }
            (State::Size(size, _), _) => {
                let digit = char::from(byte).to_digit(16).ok_or(BadResponse::Chunk)?;
                let size = size.checked_mul(16).ok_or(BadResponse::Chunk)?;
                State::Size(size | u64::from(digit), true)
            }
            (State::Extension(size), b'\r') => State::SizeEnd(size),
            (State::Extension(size), _) if byte != b'\n' => {
                self.count(MAX_EXTENSION)?;
                State::Extension(size)
            }
            (State::SizeEnd(0), b'\n') => {
                self.overhead = 0;
                State::TrailerStart
            }
            (State::SizeEnd(size), b'\n') => State::Chunk(size),
            (State::ChunkCr, b'\r') => State::ChunkLf,
            (State::ChunkLf, b'\n') => State::Size(0, false),
            (State::TrailerStart, b'\r') => State::LastLf,
            (State::LastLf, b'\n') => State::Done,
            (State::Trailer, b'\r') => State::TrailerLf,
            (State::TrailerLf, b'\n') => State::TrailerStart,
            (State::TrailerStart | State::Trailer, _) if byte != b'\n' => {
                self.count(MAX_HEAD)?;
                State::Trailer
            }
            _ => return Err(BadResponse::Chunk),
        })
    }

    fn count(&mut self, limit: usize) -> Result<(), BadResponse> {
        self.overhead += 1;
        if self.overhead > limit {
            return Err(BadResponse::TrailersTooLarge);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
