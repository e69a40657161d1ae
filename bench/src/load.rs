//! The load generator: so many connections, each sending its next request when it has its answer.

use std::cell::{Cell, RefCell};
use std::io::Write as _;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use clap::Args;
use memchr::memmem;
use serde::Serialize;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::task::LocalSet;

use crate::Era;
use crate::http::{BodyEnd, Head};
use crate::request::{Ask, Request, initialized};

/// How long an answer may be outstanding after the end of a run before the run is called broken.
const PATIENCE: Duration = Duration::from_secs(20);

/// What to send where, from the command line.
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// The endpoint, `http://HOST:PORT/PATH` with a numeric host.
    url: String,
    /// Which form of the protocol to speak.
    #[arg(long, value_enum, default_value = "modern")]
    era: Era,
    /// The tool to call.
    #[arg(long, default_value = "echo", conflicts_with = "list")]
    tool: String,
    /// Ask for `tools/list` instead of calling a tool.
    #[arg(long)]
    list: bool,
    /// Connections, each with one request under way.
    #[arg(long, short, default_value_t = 32)]
    connections: usize,
    /// The API key to present.
    #[arg(long)]
    key: Option<String>,
    /// Seconds that are counted.
    #[arg(long, short, default_value_t = 5.0)]
    seconds: f64,
    /// Seconds before that, not counted.
    #[arg(long, default_value_t = 1.0)]
    warm_up: f64,
}

/// An endpoint that can be asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Endpoint {
    pub(crate) address: SocketAddr,
    pub(crate) path: String,
    /// The API key that it wants to see.
    pub(crate) key: Option<String>,
}

impl Endpoint {
    /// Reads `http://ADDRESS:PORT/PATH`.
    ///
    /// # Errors
    /// For anything else; names are not resolved.
    pub(crate) fn parse(url: &str) -> Result<Self> {
        let rest = url
            .strip_prefix("http://")
            .with_context(|| format!("`{url}` does not start with http://"))?;
        let (address, path) = rest.find('/').map_or((rest, "/"), |slash| rest.split_at(slash));
        let address = address
            .parse()
            .with_context(|| format!("`{address}` is not ADDRESS:PORT"))?;
        Ok(Self {
            address,
            path: path.to_owned(),
            key: None,
        })
    }

    /// The same server, another path.
    pub(crate) fn at(&self, path: &str) -> Self {
        Self {
            address: self.address,
            path: path.to_owned(),
            key: self.key.clone(),
        }
    }
}

/// What was counted in one run.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct Counted {
    /// Answers in the counted time.
    pub(crate) calls: u64,
    /// The counted time in seconds.
    pub(crate) seconds: f64,
    /// Median latency in microseconds.
    pub(crate) p50_us: f64,
    /// 99th percentile of the latency in microseconds.
    pub(crate) p99_us: f64,
    /// The longest in microseconds.
    pub(crate) max_us: f64,
}

impl Counted {
    /// Answers per second.
    pub(crate) fn per_second(&self) -> f64 {
        self.calls as f64 / self.seconds
    }
}

/// One run: what, how wide, how long.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Plan<'a> {
    pub(crate) era: Era,
    pub(crate) ask: Ask<'a>,
    pub(crate) connections: usize,
    pub(crate) warm_up: Duration,
    pub(crate) counted: Duration,
}

/// The subcommand: one run, its figures as JSON.
///
/// # Errors
/// When the endpoint cannot be reached or gives a wrong answer.
pub(crate) async fn command(options: &Options) -> Result<()> {
    let endpoint = Endpoint {
        key: options.key.clone(),
        ..Endpoint::parse(&options.url)?
    };
    let plan = Plan {
        era: options.era,
        ask: if options.list {
            Ask::List
        } else {
            Ask::Call(&options.tool)
        },
        connections: options.connections,
        warm_up: Duration::from_secs_f64(options.warm_up),
        counted: Duration::from_secs_f64(options.seconds),
    };
    let (counted, ()) = run(&endpoint, &plan, || Ok(())).await?;
    let mut out = std::io::stdout();
    serde_json::to_writer_pretty(&mut out, &counted)?;
    writeln!(out)?;
    Ok(())
}

/// Drives `endpoint` as `plan` says. `sample` is taken at both ends of the counted time, so that whatever
/// it reads (CPU of the target) belongs to the very calls that were counted; the second one is returned
/// after `sample` had the chance to keep the first.
///
/// # Errors
/// When a connection breaks, an answer is no success or is not the one asked for: a figure made of wrong
/// answers is worth nothing.
pub(crate) async fn run<S>(
    endpoint: &Endpoint,
    plan: &Plan<'_>,
    mut sample: impl FnMut() -> Result<S>,
) -> Result<(Counted, S)> {
    let shared = Rc::new(Shared {
        counting: Cell::new(false),
        stop: Cell::new(false),
        nanos: RefCell::default(),
    });
    let tasks = LocalSet::new();
    tasks
        .run_until(async {
            let mut running = tokio::task::JoinSet::new();
            for _ in 0..plan.connections {
                let mut connection = Connection::open(endpoint).await?;
                let session = connection.begin(plan.era).await?;
                let request = connection.request(plan.era, plan.ask, session.as_deref());
                running.spawn_local(connection.repeat(request, Rc::clone(&shared)));
            }
            tokio::time::sleep(plan.warm_up).await;
            _ = sample()?;
            let begun = Instant::now();
            shared.counting.set(true);
            tokio::time::sleep(plan.counted).await;
            let last = sample()?;
            let seconds = begun.elapsed().as_secs_f64();
            shared.counting.set(false);
            shared.stop.set(true);
            // One timer for all, since one per call would be paid for by the core that drives the target.
            tokio::time::timeout(PATIENCE, async {
                while let Some(ended) = running.join_next().await {
                    ended??;
                }
                anyhow::Ok(())
            })
            .await
            .with_context(|| format!("{} left a request unanswered for {PATIENCE:?}", endpoint.path))??;
            let mut nanos = shared.nanos.take();
            ensure!(!nanos.is_empty(), "no answer at all in {seconds:.1} s");
            nanos.sort_unstable();
            let at = |quantile: f64| {
                let index = (quantile * (nanos.len() - 1) as f64).round() as usize;
                f64::from(nanos[index]) / 1e3
            };
            let counted = Counted {
                calls: nanos.len() as u64,
                seconds,
                p50_us: at(0.5),
                p99_us: at(0.99),
                max_us: at(1.0),
            };
            Ok((counted, last))
        })
        .await
}

struct Shared {
    counting: Cell<bool>,
    stop: Cell<bool>,
    /// Every latency, so that percentiles are exact; saturates at 4.29 s.
    nanos: RefCell<Vec<u32>>,
}

/// One kept-alive connection.
#[derive(Debug)]
pub(crate) struct Connection {
    stream: TcpStream,
    endpoint: Endpoint,
    input: Vec<u8>,
}

impl Connection {
    /// Connects.
    ///
    /// # Errors
    /// When nobody listens.
    pub(crate) async fn open(endpoint: &Endpoint) -> Result<Self> {
        let stream = TcpStream::connect(endpoint.address)
            .await
            .with_context(|| format!("cannot connect to {}", endpoint.address))?;
        stream.set_nodelay(true)?;
        Ok(Self {
            stream,
            endpoint: endpoint.clone(),
            input: Vec::with_capacity(64 * 1024),
        })
    }

    /// The request for this connection's endpoint.
    pub(crate) fn request(&self, era: Era, ask: Ask<'_>, session: Option<&str>) -> Request {
        Request::new(
            era,
            &self.endpoint.address.to_string(),
            &self.endpoint.path,
            ask,
            session,
        )
        .with_key(self.endpoint.key.as_deref())
    }

    /// Does what comes before the first call: nothing for a modern client, the handshake for a legacy one.
    ///
    /// # Errors
    /// When the handshake is refused.
    pub(crate) async fn begin(&mut self, era: Era) -> Result<Option<String>> {
        if era == Era::Modern {
            return Ok(None);
        }
        let mut request = self.request(era, Ask::Initialize, None);
        self.once(&mut request).await.context("the handshake failed")?;
        let session = Head::parse(&self.input)?
            .and_then(|head| head.session)
            .map(<[u8]>::to_vec);
        let session = session.map(String::from_utf8).transpose()?;
        let note = initialized(
            &self.endpoint.address.to_string(),
            &self.endpoint.path,
            session.as_deref(),
        );
        let status = self.exchange(&note).await?;
        ensure!(
            (200..300).contains(&status),
            "notifications/initialized was answered with {status}"
        );
        Ok(session)
    }

    /// Opens the session's GET stream on this connection and leaves it open; `false` where there is none.
    ///
    /// # Errors
    /// When the connection breaks.
    pub(crate) async fn listen(&mut self, session: Option<&str>) -> Result<bool> {
        let (host, path) = (self.endpoint.address, &self.endpoint.path);
        let session = session.map_or_else(String::new, |session| format!("Mcp-Session-Id: {session}\r\n"));
        let request = format!(
            "GET {path} HTTP/1.1\r\nHost: {host}\r\nAccept: text/event-stream\r\n\
             MCP-Protocol-Version: 2025-11-25\r\n{session}\r\n"
        );
        self.stream.write_all(request.as_bytes()).await?;
        self.input.clear();
        loop {
            let read = self.stream.read_buf(&mut self.input).await?;
            ensure!(
                read > 0,
                "{host} closed the connection instead of opening a stream"
            );
            if let Some(head) = Head::parse(&self.input)? {
                return Ok(head.status()? == 200);
            }
        }
    }

    /// Sends the next request and checks that the answer is the success that was asked for.
    ///
    /// # Errors
    /// When it is anything else.
    pub(crate) async fn once(&mut self, request: &mut Request) -> Result<()> {
        let status = self.exchange(request.next()).await?;
        let answer = &self.input;
        // Ids stand near the front or, from some servers, at the very end.
        let near = |part: &[u8]| memmem::find(part, request.id_digits()).is_some();
        let edge = answer.len().min(600);
        let ours = near(&answer[..edge]) || near(&answer[answer.len() - edge..]);
        if status != 200 || !ours || memmem::find(answer, b"\"result\"").is_none() {
            let shown = String::from_utf8_lossy(&answer[..answer.len().min(1_500)]);
            bail!("{} gave no answer to its request:\n{shown}", self.endpoint.path);
        }
        Ok(())
    }

    /// Writes `request`, reads one whole answer into `self.input` and returns its status.
    async fn exchange(&mut self, request: &[u8]) -> Result<u16> {
        self.stream.write_all(request).await?;
        self.input.clear();
        let mut end: Option<BodyEnd> = None;
        loop {
            let read = self.stream.read_buf(&mut self.input).await?;
            ensure!(
                read > 0,
                "{} closed the connection within an answer",
                self.endpoint.address
            );
            if end.is_none() {
                end = Head::parse(&self.input)?.map(|head| BodyEnd::new(&head));
            }
            let Some(end) = &mut end else { continue };
            if let Some(at) = end.find(&self.input)? {
                ensure!(at == self.input.len(), "more bytes than the answer has");
                break;
            }
        }
        let Some(head) = Head::parse(&self.input)? else {
            bail!("an answer without a head")
        };
        ensure!(
            !head.close,
            "{} does not keep connections alive",
            self.endpoint.address
        );
        head.status()
    }

    async fn repeat(mut self, mut request: Request, shared: Rc<Shared>) -> Result<()> {
        while !shared.stop.get() {
            let begun = Instant::now();
            self.once(&mut request).await?;
            if shared.counting.get() {
                let nanos = u32::try_from(begun.elapsed().as_nanos()).unwrap_or(u32::MAX);
                shared.nanos.borrow_mut().push(nanos);
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_endpoint_is_an_address_and_a_path() {
        let endpoint = Endpoint::parse("http://127.0.0.1:80/mcp/x").unwrap();
        assert_eq!((endpoint.address.port(), endpoint.path.as_str()), (80, "/mcp/x"));
        assert_eq!(Endpoint::parse("http://[::1]:80").unwrap().path, "/");
        assert!(Endpoint::parse("https://127.0.0.1:80/").is_err());
        assert!(Endpoint::parse("http://localhost/mcp").is_err());
    }

    #[tokio::test]
    async fn a_wrong_answer_ends_the_run() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let endpoint = Endpoint {
            address: listener.local_addr().unwrap(),
            key: None,
            path: "/mcp".to_owned(),
        };
        tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut buffer = [0; 4_096];
            _ = stream.read(&mut buffer).await.unwrap();
            let body = r#"{"jsonrpc":"2.0","id":1,"result":{}}"#;
            let answer = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{body}", body.len());
            stream.write_all(answer.as_bytes()).await.unwrap();
        });
        let mut connection = Connection::open(&endpoint).await.unwrap();
        let mut request = connection.request(Era::Modern, Ask::List, None);
        let error = connection.once(&mut request).await.unwrap_err();
        assert!(
            error.to_string().contains("gave no answer to its request"),
            "{error}"
        );
    }
}
