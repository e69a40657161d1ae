//! Bodies in and out: requests are read whole, bounded in size and time; answers leave as they come.

use std::{
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::{Bytes, BytesMut};
use futures_core::Stream;
use gatepost_protocol::framing::sse::SSE_KEEPALIVE;
use http::header;
use http_body::{Body, Frame, SizeHint};
use http_body_util::BodyExt;
use smallvec::SmallVec;
use tokio::time::{Instant, Sleep, sleep};

use super::watch::Busy;
use crate::refusal::Refusal;

/// An idle event stream says so at least this often, so that no intermediary takes it for dead.
/// Source: MCP 2026-07-28, basic/transports/streamable-http#Receiving Messages.
const KEEP_ALIVE: Duration = Duration::from_secs(15);

/// Why an answer broke off after it had begun.
pub(crate) type Broken = Box<dyn std::error::Error + Send + Sync>;
/// Bytes as they come.
pub(crate) type Chunks = Pin<Box<dyn Stream<Item = Result<Bytes, Broken>> + Send>>;

/// Reads a request's body: whole, at most `limit` bytes, within `patience`.
pub(crate) async fn collect<B>(
    request: http::Request<B>,
    limit: u64,
    patience: Duration,
) -> Result<Bytes, Refusal>
where
    B: Body<Data = Bytes> + Unpin,
    B::Error: std::fmt::Display,
{
    let declared = request
        .headers()
        .get(header::CONTENT_LENGTH)
        .and_then(|value| value.to_str().ok()?.parse().ok());
    if declared.is_some_and(|declared: u64| declared > limit) {
        return Err(Refusal::TooLarge { limit });
    }
    let mut body = request.into_body();
    let reading = async move {
        let mut first = Bytes::new();
        let mut rest: Option<BytesMut> = None;
        while let Some(frame) = body.frame().await {
            let frame = frame.map_err(|error| Refusal::BrokenBody(error.to_string()))?;
            let Ok(data) = frame.into_data() else { continue };
            let so_far = rest.as_ref().map_or(first.len(), BytesMut::len);
            if so_far as u64 + data.len() as u64 > limit {
                return Err(Refusal::TooLarge { limit });
            }
            match &mut rest {
                Some(rest) => rest.extend_from_slice(&data),
                // Nearly every request arrives in one piece and is never copied.
                None if first.is_empty() => first = data,
                None => {
                    let mut joined = BytesMut::with_capacity((first.len() + data.len()) * 2);
                    joined.extend_from_slice(&first);
                    joined.extend_from_slice(&data);
                    rest = Some(joined);
                }
            }
        }
        Ok(rest.map_or(first, BytesMut::freeze))
    };
    tokio::time::timeout(patience, reading)
        .await
        .unwrap_or(Err(Refusal::SlowBody(patience)))
}

/// The body of an answer.
pub(crate) struct Outgoing {
    kind: Kind,
    /// Held until the last byte is handed over, so that a streaming connection never looks idle.
    _busy: Option<Busy>,
}

enum Kind {
    Whole(SmallVec<[Bytes; 3]>),
    Chunks(Chunks),
    Events { stream: Chunks, quiet: Pin<Box<Sleep>> },
}

impl Outgoing {
    /// No body.
    pub(crate) fn empty() -> Self {
        Self::whole(SmallVec::new())
    }

    /// A body that is complete, in as many pieces as it has; pieces are not copied together.
    pub(crate) fn whole(pieces: SmallVec<[Bytes; 3]>) -> Self {
        let mut pieces: SmallVec<[Bytes; 3]> = pieces.into_iter().filter(|piece| !piece.is_empty()).collect();
        pieces.reverse();
        Self {
            kind: Kind::Whole(pieces),
            _busy: None,
        }
    }

    /// A body that arrives while it is sent.
    pub(crate) fn chunks(chunks: Chunks) -> Self {
        Self {
            kind: Kind::Chunks(chunks),
            _busy: None,
        }
    }

    /// Server-sent events, with a comment whenever nothing else is said for a while.
    pub(crate) fn events(stream: Chunks) -> Self {
        Self {
            kind: Kind::Events {
                stream,
                quiet: Box::pin(sleep(KEEP_ALIVE)),
            },
            _busy: None,
        }
    }

    pub(crate) fn busy(mut self, busy: Busy) -> Self {
        self._busy = Some(busy);
        self
    }
}

impl Body for Outgoing {
    type Data = Bytes;
    type Error = Broken;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Broken>>> {
        match &mut self.get_mut().kind {
            Kind::Whole(pieces) => Poll::Ready(pieces.pop().map(|piece| Ok(Frame::data(piece)))),
            Kind::Chunks(chunks) => {
                let next = ready!(chunks.as_mut().poll_next(cx));
                Poll::Ready(next.map(|chunk| chunk.map(Frame::data)))
            }
            Kind::Events { stream, quiet } => {
                if let Poll::Ready(next) = stream.as_mut().poll_next(cx) {
                    quiet.as_mut().reset(Instant::now() + KEEP_ALIVE);
                    return Poll::Ready(next.map(|chunk| chunk.map(Frame::data)));
                }
                ready!(quiet.as_mut().poll(cx));
                quiet.as_mut().reset(Instant::now() + KEEP_ALIVE);
                Poll::Ready(Some(Ok(Frame::data(Bytes::from_static(SSE_KEEPALIVE)))))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        matches!(&self.kind, Kind::Whole(pieces) if pieces.is_empty())
    }

    fn size_hint(&self) -> SizeHint {
        match &self.kind {
            Kind::Whole(pieces) => SizeHint::with_exact(pieces.iter().map(|piece| piece.len() as u64).sum()),
            Kind::Chunks(_) | Kind::Events { .. } => SizeHint::default(),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use futures_util::stream;
    use http_body_util::StreamBody;

    use super::*;

    type Pieces = Vec<Result<Frame<Bytes>, Infallible>>;

    fn request(
        pieces: &[&'static str],
    ) -> http::Request<impl Body<Data = Bytes, Error = Infallible> + Unpin> {
        let frames: Pieces = pieces
            .iter()
            .map(|piece| Ok(Frame::data(Bytes::from_static(piece.as_bytes()))))
            .collect();
        http::Request::new(StreamBody::new(stream::iter(frames)))
    }

    #[tokio::test]
    async fn a_body_is_bounded_whether_or_not_it_declares_its_size() {
        let whole = collect(request(&["he", "llo", "!"]), 6, Duration::from_secs(1))
            .await
            .unwrap();
        assert_eq!(whole, "hello!");
        let refusal = collect(request(&["he", "llo", "!"]), 5, Duration::from_secs(1))
            .await
            .unwrap_err();
        assert!(matches!(refusal, Refusal::TooLarge { limit: 5 }));
        let mut declared = request(&[]);
        declared.headers_mut().insert(header::CONTENT_LENGTH, 6.into());
        let refusal = collect(declared, 5, Duration::from_secs(1)).await.unwrap_err();
        assert!(matches!(refusal, Refusal::TooLarge { .. }));
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_that_stops_is_given_up() {
        let stuck = stream::pending::<Result<Frame<Bytes>, Infallible>>();
        let refusal = collect(
            http::Request::new(StreamBody::new(stuck)),
            5,
            Duration::from_secs(3),
        )
        .await
        .unwrap_err();
        assert!(matches!(refusal, Refusal::SlowBody(_)));
    }

    #[tokio::test(start_paused = true)]
    async fn an_idle_event_stream_keeps_itself_alive() {
        let events: Chunks = Box::pin(stream::pending());
        let mut body = Outgoing::events(events);
        let before = Instant::now();
        for _ in 0..2 {
            let frame = body.frame().await.unwrap().unwrap().into_data().unwrap();
            assert_eq!(frame, SSE_KEEPALIVE);
        }
        assert_eq!(before.elapsed().as_secs(), 30);
    }

    #[tokio::test]
    async fn a_whole_body_knows_its_length() {
        let pieces = ["a", "", "bc"].map(|piece| Bytes::from_static(piece.as_bytes()));
        let body = Outgoing::whole(pieces.into());
        assert_eq!(body.size_hint().exact(), Some(3));
        assert_eq!(body.collect().await.unwrap().to_bytes(), "abc");
        assert!(Outgoing::empty().is_end_stream());
    }
}
