//! What a server was sent, kept for the test to look at.

use std::io;
use std::path::Path;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

/// One HTTP request, or one line on stdin.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Received {
    /// The verb and path of an HTTP request (`POST /mcp`), or `stdin`.
    pub at: String,
    /// Headers in the order they came, names in lower case, values as sent. None on stdin.
    pub headers: Vec<(String, String)>,
    /// The exact bytes of the body, or of the line without its end.
    pub body: Bytes,
    /// Which connection it came on, counted from 1; 0 on stdin.
    pub connection: u64,
}

impl Received {
    /// The value of the first header of this name, in lower case.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers
            .iter()
            .find(|(key, _)| key == name)
            .map(|(_, value)| value.as_str())
    }

    /// The body as JSON; null when it is none.
    #[must_use]
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap_or_default()
    }

    /// The `method` of the message; empty when it has none.
    #[must_use]
    pub fn method(&self) -> String {
        self.json()["method"].as_str().unwrap_or_default().to_owned()
    }

    /// The body as text.
    #[must_use]
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// Appends this to the record of a server in a process of its own.
    pub(super) fn append_to(&self, record: &Path) -> io::Result<()> {
        use io::Write as _;
        let line = Line {
            at: self.at.clone(),
            headers: self.headers.clone(),
            body: self.text(),
            connection: self.connection,
        };
        let mut text = serde_json::to_vec(&line)?;
        text.push(b'\n');
        // One write, so that processes that share a record do not mix their lines.
        std::fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(record)?
            .write_all(&text)
    }

    /// Reads such a record; what is not there yet is empty.
    pub(super) fn read_from(record: &Path) -> Vec<Self> {
        let text = std::fs::read_to_string(record).unwrap_or_default();
        let lines = text
            .lines()
            .filter_map(|line| serde_json::from_str::<Line>(line).ok());
        lines
            .map(|line| Self {
                at: line.at,
                headers: line.headers,
                body: line.body.into(),
                connection: line.connection,
            })
            .collect()
    }
}

#[derive(Serialize, Deserialize)]
struct Line {
    at: String,
    headers: Vec<(String, String)>,
    body: String,
    connection: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_gives_back_what_was_put_in() {
        let folder = tempfile::tempdir().unwrap();
        let record = folder.path().join("record");
        assert!(Received::read_from(&record).is_empty());
        let received = Received {
            at: "POST /mcp".to_owned(),
            headers: vec![("mcp-name".to_owned(), "é".to_owned())],
            body: Bytes::from_static(br#"{"method":"tools/call","n":1E+2}"#),
            connection: 3,
        };
        received.append_to(&record).unwrap();
        received.append_to(&record).unwrap();
        assert_eq!(Received::read_from(&record), [received.clone(), received.clone()]);
        assert_eq!(
            (received.method().as_str(), received.header("mcp-name")),
            ("tools/call", Some("é"))
        );
    }
}
