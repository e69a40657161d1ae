//! The backend everything stands in front of: an MCP server that does next to nothing, quickly.
//!
//! `/mcp` lists ten tools, `/mcp/N` lists N, so that one process serves every scenario.

use std::collections::HashMap;
use std::io::Write as _;
use std::net::SocketAddr;
use std::rc::Rc;

use anyhow::{Context as _, Result};
use clap::Args;
use serde::Deserialize;
use serde_json::value::RawValue;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::LocalSet;

use crate::Era;
use crate::answers::{Answers, STREAM};
use crate::http::{BodyEnd, Head};

/// How to run the backend.
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// Where to listen; port 0 takes a free one. The address is printed as the only line on stdout.
    #[arg(long, default_value = "127.0.0.1:0")]
    listen: SocketAddr,
    /// Which form of the protocol to speak.
    #[arg(long, value_enum, default_value = "modern")]
    era: Era,
    /// End when stdin is closed, so that a killed benchmark leaves nothing behind.
    #[arg(long)]
    until_stdin_closes: bool,
}

/// Serves until it is ended.
///
/// # Errors
/// When the address cannot be listened on.
pub(crate) async fn serve(options: &Options) -> Result<()> {
    let listener = TcpListener::bind(options.listen)
        .await
        .with_context(|| format!("cannot listen on {}", options.listen))?;
    writeln!(std::io::stdout(), "http://{}/mcp", listener.local_addr()?)?;
    let backend = Rc::new(Backend::new(options.era));
    let tasks = LocalSet::new();
    let accept = async {
        loop {
            let (stream, _) = listener.accept().await?;
            stream.set_nodelay(true)?;
            let backend = Rc::clone(&backend);
            // A connection that breaks is its own affair.
            tokio::task::spawn_local(async move { _ = backend.connection(stream).await });
        }
    };
    let stdin_closed = async {
        if options.until_stdin_closes {
            let mut nothing = [0; 1];
            while !matches!(tokio::io::stdin().read(&mut nothing).await, Ok(0) | Err(_)) {}
        } else {
            std::future::pending::<()>().await;
        }
    };
    tasks
        .run_until(async {
            tokio::select! {
                failed = accept => failed,
                () = stdin_closed => Ok(()),
            }
        })
        .await
}

struct Backend {
    era: Era,
    /// By number of tools; what a path asks for that is not here gets ten.
    answers: HashMap<usize, Answers>,
}

/// The little of a request that decides the answer.
#[derive(Deserialize)]
struct Asked<'a> {
    #[serde(borrow)]
    id: Option<&'a RawValue>,
    #[serde(borrow)]
    method: std::borrow::Cow<'a, str>,
    #[serde(borrow)]
    params: Option<Params<'a>>,
}

#[derive(Deserialize)]
struct Params<'a> {
    #[serde(borrow)]
    name: Option<std::borrow::Cow<'a, str>>,
}

impl Backend {
    fn new(era: Era) -> Self {
        Self {
            era,
            answers: [10, 1_000].map(|tools| (tools, Answers::new(era, tools))).into(),
        }
    }

    async fn connection(&self, mut stream: TcpStream) -> Result<()> {
        let mut input = Vec::with_capacity(16 * 1024);
        let mut output = Vec::with_capacity(16 * 1024);
        loop {
            let end = loop {
                if let Some(head) = Head::parse(&input)?
                    && let Some(end) = BodyEnd::new(&head).find(&input)?
                {
                    output.clear();
                    self.answer(&head, &input[head.len..end], &mut output);
                    break end;
                }
                if stream.read_buf(&mut input).await? == 0 {
                    return Ok(());
                }
            };
            input.drain(..end);
            stream.write_all(&output).await?;
        }
    }

    fn answer(&self, head: &Head<'_>, body: &[u8], output: &mut Vec<u8>) {
        let mut words = head.first_line.split(|byte| *byte == b' ');
        let (verb, path) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
        match verb {
            b"POST" => {}
            b"DELETE" if self.era == Era::Legacy => return bare(output, "200 OK"),
            _ => return bare(output, "405 Method Not Allowed"),
        }
        let Ok(asked) = serde_json::from_slice::<Asked<'_>>(body) else {
            return bare(output, "400 Bad Request");
        };
        let Some(id) = asked.id else {
            return bare(output, "202 Accepted");
        };
        let answers = tools_of(path)
            .and_then(|tools| self.answers.get(&tools))
            .unwrap_or(&self.answers[&10]);
        let mut status = "200 OK";
        let mut session = "";
        let part = match (asked.method.as_ref(), self.era) {
            ("tools/call", _) => &answers.call,
            ("tools/list", _) => &answers.list,
            ("server/discover", Era::Modern) => &answers.discover,
            ("server/discover", Era::Legacy) => {
                status = "400 Bad Request";
                &answers.discover
            }
            ("initialize", Era::Legacy) => {
                // Nothing is kept per session, so one name does for all.
                session = "mcp-session-id: 7b7b7b7b7b7b7b7b7b7b7b7b7b7b7b7b\r\n";
                &answers.initialize
            }
            ("ping", Era::Legacy) => &answers.pong,
            (_, Era::Legacy) => &answers.unknown,
            (_, Era::Modern) => {
                status = "404 Not Found";
                &answers.unknown
            }
        };
        let tool = asked.params.and_then(|params| params.name);
        if asked.method == "tools/call" && tool.as_deref() == Some(STREAM) {
            event(output, id.get(), part);
        } else {
            document(output, status, session, id.get(), part);
        }
    }
}

fn tools_of(path: &[u8]) -> Option<usize> {
    std::str::from_utf8(path.strip_prefix(b"/mcp/")?)
        .ok()?
        .parse()
        .ok()
}

fn bare(output: &mut Vec<u8>, status: &str) {
    output.extend_from_slice(format!("HTTP/1.1 {status}\r\ncontent-length: 0\r\n\r\n").as_bytes());
}

const BEFORE_ID: &str = r#"{"jsonrpc":"2.0","id":"#;

fn document(output: &mut Vec<u8>, status: &str, session: &str, id: &str, part: &str) {
    let length = BEFORE_ID.len() + id.len() + 1 + part.len() + 1;
    // Writing into a Vec cannot fail.
    _ = write!(
        output,
        "HTTP/1.1 {status}\r\ncontent-type: application/json\r\n{session}content-length: {length}\r\n\r\n\
         {BEFORE_ID}{id},{part}}}"
    );
}

fn event(output: &mut Vec<u8>, id: &str, part: &str) {
    let data = format!("event: message\ndata: {BEFORE_ID}{id},{part}}}\n\n");
    _ = write!(
        output,
        "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ncache-control: no-cache\r\n\
         x-accel-buffering: no\r\ntransfer-encoding: chunked\r\n\r\n{:x}\r\n{data}\r\n0\r\n\r\n",
        data.len()
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ask(era: Era, first_line: &str, body: &str) -> String {
        let request = format!(
            "{first_line} HTTP/1.1\r\ncontent-length: {}\r\n\r\n{body}",
            body.len()
        );
        let head = Head::parse(request.as_bytes()).unwrap().unwrap();
        let mut output = Vec::new();
        Backend::new(era).answer(&head, body.as_bytes(), &mut output);
        let head = Head::parse(&output).unwrap().unwrap();
        assert_eq!(
            BodyEnd::new(&head).find(&output).unwrap(),
            Some(output.len()),
            "framed exactly"
        );
        String::from_utf8(output).unwrap()
    }

    #[test]
    fn it_answers_under_the_id_it_was_asked_with() {
        let answer = ask(
            Era::Modern,
            "POST /mcp",
            r#"{"id":"a\"7","method":"tools/call","params":{"name":"echo"}}"#,
        );
        assert!(
            answer.starts_with("HTTP/1.1 200 OK") && answer.contains(r#""id":"a\"7","result":{"#),
            "{answer}"
        );
        let answer = ask(
            Era::Modern,
            "POST /mcp",
            r#"{"id":8,"method":"tools/call","params":{"name":"stream"}}"#,
        );
        assert!(
            answer.contains("text/event-stream") && answer.contains(r#""id":8,"result":{"#),
            "{answer}"
        );
    }

    #[test]
    fn the_path_says_how_many_tools_there_are() {
        let list = r#"{"id":1,"method":"tools/list"}"#;
        assert_eq!(
            ask(Era::Modern, "POST /mcp", list).matches(r#""name":"#).count(),
            10
        );
        assert_eq!(
            ask(Era::Modern, "POST /mcp/1000", list)
                .matches(r#""name":"#)
                .count(),
            1_000
        );
    }

    #[test]
    fn each_era_refuses_the_other() {
        let (discover, initialize) = (
            r#"{"id":1,"method":"server/discover"}"#,
            r#"{"id":1,"method":"initialize"}"#,
        );
        assert!(ask(Era::Modern, "POST /mcp", discover).contains("supportedVersions"));
        assert!(ask(Era::Modern, "POST /mcp", initialize).starts_with("HTTP/1.1 404"));
        assert!(ask(Era::Legacy, "POST /mcp", discover).starts_with("HTTP/1.1 400"));
        assert!(ask(Era::Legacy, "POST /mcp", initialize).contains("mcp-session-id: "));
        assert!(ask(Era::Legacy, "GET /mcp", "").starts_with("HTTP/1.1 405"));
        assert!(
            ask(
                Era::Legacy,
                "POST /mcp",
                r#"{"method":"notifications/initialized"}"#
            )
            .starts_with("HTTP/1.1 202")
        );
    }
}
