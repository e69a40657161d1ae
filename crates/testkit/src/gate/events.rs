//! Server-sent events, as they arrive.

use bytes::Bytes;
use serde_json::Value;

use super::post::Reply;
use super::{fail, within};

/// One event.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Event {
    /// The field `id`.
    pub id: Option<String>,
    /// The field `event`.
    pub kind: Option<String>,
    /// The fields `data`, joined.
    pub data: String,
    /// The field `retry`.
    pub retry: Option<String>,
}

impl Event {
    /// The JSON in it; null if there is none.
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.data).unwrap_or_default()
    }

    fn parse(block: &str) -> Option<Self> {
        let mut event = Self::default();
        let mut data = Vec::new();
        let mut fields = 0;
        for line in block
            .lines()
            .filter(|line| !line.is_empty() && !line.starts_with(':'))
        {
            let (name, value) = line.split_once(':').unwrap_or((line, ""));
            let value = value.strip_prefix(' ').unwrap_or(value).to_owned();
            fields += 1;
            match name {
                "id" => event.id = Some(value),
                "event" => event.kind = Some(value),
                "retry" => event.retry = Some(value),
                "data" => data.push(value),
                _ => {}
            }
        }
        event.data = data.join("\n");
        (fields > 0).then_some(event)
    }
}

/// A stream of events that is open. Dropping it closes the connection.
#[derive(Debug)]
pub struct Events {
    reply: Reply,
    buffer: Vec<u8>,
}

impl Events {
    pub(super) fn new(reply: Reply) -> Self {
        Self {
            reply,
            buffer: Vec::new(),
        }
    }

    /// The first header of that name.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.reply.header(name)
    }

    /// The next event, comments left out; `None` when the stream ends or breaks off.
    pub async fn next(&mut self) -> Option<Event> {
        // A stream that is kept alive by comments is silent all the same.
        within("an event", self.read()).await
    }

    /// As [`Events::next`], however long it takes: for a stream that may rightly be silent all the time. The test has a limit
    /// of its own.
    pub async fn next_whenever(&mut self) -> Option<Event> {
        self.read().await
    }

    async fn read(&mut self) -> Option<Event> {
        loop {
            if let Some(end) = end_of_event(&self.buffer) {
                let block: Vec<u8> = self.buffer.drain(..end).collect();
                if let Some(event) = Event::parse(&String::from_utf8_lossy(&block)) {
                    return Some(event);
                }
                continue;
            }
            let chunk = self.reply.chunk_whenever().await.ok()??;
            self.buffer.extend_from_slice(&chunk);
        }
    }

    /// The next event that carries a message.
    pub async fn message(&mut self) -> Value {
        loop {
            match self.next().await {
                Some(event) if event.data.is_empty() => {}
                Some(event) => return event.json(),
                None => fail(format_args!("the stream ended before the message")),
            }
        }
    }

    /// Reads on until a message has this method.
    pub async fn message_of(&mut self, method: &str) -> Value {
        loop {
            let message = self.message().await;
            if message["method"] == method {
                return message;
            }
        }
    }

    /// Reads on until a response comes.
    pub async fn response(&mut self) -> Value {
        loop {
            let message = self.message().await;
            if message.get("method").is_none() {
                return message;
            }
        }
    }
}

/// The data of all events of a whole stream.
pub(super) fn data_of(body: &[u8]) -> Vec<Bytes> {
    let text = String::from_utf8_lossy(body).replace("\r\n", "\n");
    text.split("\n\n")
        .filter_map(Event::parse)
        .filter(|event| !event.data.is_empty())
        .map(|event| Bytes::from(event.data))
        .collect()
}

/// Where the first event of a buffer ends, its empty line included.
fn end_of_event(buffer: &[u8]) -> Option<usize> {
    let lf = buffer
        .windows(2)
        .position(|pair| pair == b"\n\n")
        .map(|at| at + 2);
    let crlf = buffer
        .windows(4)
        .position(|four| four == b"\r\n\r\n")
        .map(|at| at + 4);
    lf.into_iter().chain(crlf).min()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_are_read_as_they_are_written() {
        let stream =
            b": hello\n\nid: 1\nevent: message\ndata: {\"a\":1}\n\ndata:x\ndata: y\r\n\r\nid: 2\ndata:\n\n";
        assert_eq!(data_of(stream), ["{\"a\":1}", "x\ny"]);
        assert_eq!(end_of_event(b"data: 1\n\ndata"), Some(9));
        assert_eq!(end_of_event(b"data: 1\r\n\r\ndata"), Some(11));
        assert_eq!(end_of_event(b"data: 1\n"), None);
        assert_eq!(Event::parse(":\n\n"), None, "a comment is no event");
        let event = Event::parse("id: 7\nretry: 5\ndata\n").expect("an event");
        assert_eq!(
            (event.id.as_deref(), event.retry.as_deref(), event.data.as_str()),
            (Some("7"), Some("5"), "")
        );
    }
}
