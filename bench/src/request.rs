//! The requests the generator sends, rendered once; between two calls only the id's digits change.

use crate::Era;

/// Ids count up from here, so that they always have the same number of digits.
const FIRST_ID: u64 = 10_000_000;

/// What is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ask<'a> {
    /// `tools/call` of this tool, a body of about 320 bytes.
    Call(&'a str),
    /// `tools/list`.
    List,
    /// `server/discover`.
    Discover,
    /// `initialize`.
    Initialize,
}

/// A whole HTTP request, ready to be written again and again.
#[derive(Debug, Clone)]
pub(crate) struct Request {
    bytes: Vec<u8>,
    id_at: usize,
    id: u64,
}

impl Request {
    /// Renders `ask` for a POST to `path`, with `session` where a legacy server gave one.
    pub(crate) fn new(era: Era, host: &str, path: &str, ask: Ask<'_>, session: Option<&str>) -> Self {
        let (method, name) = match ask {
            Ask::Call(tool) => ("tools/call", Some(tool)),
            Ask::List => ("tools/list", None),
            Ask::Discover => ("server/discover", None),
            Ask::Initialize => ("initialize", None),
        };
        let mut params = Vec::new();
        if let Some(name) = name {
            params.push(format!(r#""name":"{name}""#));
            params.push(r#""arguments":{"location":"Seattle, WA","days":3,"units":"metric"}"#.to_owned());
        }
        let client = r#"{"name":"gatepost-bench","version":"0.1.0"}"#;
        if ask == Ask::Initialize {
            params.push(format!(
                r#""protocolVersion":"2025-11-25","capabilities":{{}},"clientInfo":{client}"#
            ));
        } else if era == Era::Modern {
            params.push(format!(
                concat!(
                    r#""_meta":{{"io.modelcontextprotocol/protocolVersion":"2026-07-28","#,
                    r#""io.modelcontextprotocol/clientInfo":{client},"#,
                    r#""io.modelcontextprotocol/clientCapabilities":{{}}}}"#
                ),
                client = client
            ));
        }
        let before_id = r#"{"jsonrpc":"2.0","id":"#;
        let after_id = format!(r#","method":"{method}","params":{{{}}}}}"#, params.join(","));
        let body = format!("{before_id}{FIRST_ID}{after_id}");
        let mut headers = String::new();
        match era {
            Era::Modern => {
                headers += &format!("MCP-Protocol-Version: 2026-07-28\r\nMcp-Method: {method}\r\n");
                if let Some(name) = name {
                    headers += &format!("Mcp-Name: {name}\r\n");
                }
            }
            Era::Legacy if ask != Ask::Initialize => headers += "MCP-Protocol-Version: 2025-11-25\r\n",
            Era::Legacy => {}
        }
        if let Some(session) = session {
            headers += &format!("Mcp-Session-Id: {session}\r\n");
        }
        let mut bytes = head(host, path, &headers, body.len()).into_bytes();
        let id_at = bytes.len() + before_id.len();
        bytes.extend_from_slice(body.as_bytes());
        Self {
            bytes,
            id_at,
            id: FIRST_ID,
        }
    }

    /// The same, presenting an API key.
    #[must_use]
    pub(crate) fn with_key(mut self, key: Option<&str>) -> Self {
        let Some(key) = key else { return self };
        let header = format!("Authorization: Bearer {key}\r\n");
        // Behind the request line.
        let at = self
            .bytes
            .windows(2)
            .position(|pair| pair == b"\r\n")
            .map_or(0, |end| end + 2);
        self.bytes.splice(at..at, header.bytes());
        self.id_at += header.len();
        self
    }

    /// The bytes to write, under an id that this connection has not used.
    pub(crate) fn next(&mut self) -> &[u8] {
        self.id += 1;
        let digits = self.id.to_string();
        self.bytes[self.id_at..self.id_at + digits.len()].copy_from_slice(digits.as_bytes());
        &self.bytes
    }

    /// The digits of the id that `next` used last.
    pub(crate) fn id_digits(&self) -> &[u8] {
        &self.bytes[self.id_at..self.id_at + 8]
    }
}

/// `notifications/initialized`, which every legacy session begins with.
pub(crate) fn initialized(host: &str, path: &str, session: Option<&str>) -> Vec<u8> {
    let body = r#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#;
    let mut headers = "MCP-Protocol-Version: 2025-11-25\r\n".to_owned();
    if let Some(session) = session {
        headers += &format!("Mcp-Session-Id: {session}\r\n");
    }
    (head(host, path, &headers, body.len()) + body).into_bytes()
}

fn head(host: &str, path: &str, headers: &str, length: usize) -> String {
    format!(
        "POST {path} HTTP/1.1\r\nHost: {host}\r\nAccept: application/json, text/event-stream\r\n\
         Content-Type: application/json\r\nUser-Agent: gatepost-bench/0.1\r\n{headers}Content-Length: {length}\r\n\r\n"
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::{BodyEnd, Head};

    fn body(bytes: &[u8]) -> serde_json::Value {
        let head = Head::parse(bytes).unwrap().unwrap();
        assert_eq!(BodyEnd::new(&head).find(bytes).unwrap(), Some(bytes.len()));
        serde_json::from_slice(&bytes[head.len..]).unwrap()
    }

    #[test]
    fn a_modern_call_carries_its_metadata_in_the_body_and_in_headers() {
        let mut request = Request::new(Era::Modern, "h:1", "/mcp", Ask::Call("echo"), None);
        let bytes = request.next().to_vec();
        let json = body(&bytes);
        assert_eq!(
            json["params"]["_meta"]["io.modelcontextprotocol/protocolVersion"],
            "2026-07-28"
        );
        let text = String::from_utf8(bytes).unwrap();
        assert!(
            text.contains("Mcp-Method: tools/call\r\n") && text.contains("Mcp-Name: echo\r\n"),
            "{text}"
        );
        assert!(
            (300..340).contains(&json.to_string().len()),
            "{}",
            json.to_string().len()
        );
    }

    #[test]
    fn a_key_goes_into_the_head_and_the_body_stays() {
        let plain = Request::new(Era::Modern, "h:1", "/mcp", Ask::Call("echo"), None);
        let mut keyed = plain.clone().with_key(Some("gp_x"));
        let bytes = keyed.next().to_vec();
        assert!(String::from_utf8_lossy(&bytes).contains("\r\nAuthorization: Bearer gp_x\r\n"));
        assert_eq!(body(&bytes)["id"].to_string().as_bytes(), keyed.id_digits());
    }

    #[test]
    fn every_request_has_an_id_of_its_own() {
        let mut request = Request::new(Era::Legacy, "h:1", "/mcp", Ask::List, Some("s"));
        let first = body(request.next())["id"].clone();
        let second = body(request.next())["id"].clone();
        assert_ne!(first, second);
        assert_eq!(second.to_string().as_bytes(), request.id_digits());
    }

    #[test]
    fn a_handshake_names_no_modern_metadata() {
        let bytes = Request::new(Era::Legacy, "h:1", "/mcp", Ask::Initialize, None)
            .next()
            .to_vec();
        assert_eq!(body(&bytes)["params"]["protocolVersion"], "2025-11-25");
        assert!(
            !String::from_utf8(bytes).unwrap().contains("Mcp-"),
            "nothing modern in the headers"
        );
        assert!(body(&initialized("h:1", "/mcp", Some("s")))["id"].is_null());
    }
}
