//! A legacy module that notes every line it gets and answers each request at once.

use super::*;

/// Its capabilities, and the lines it got.
#[derive(Clone)]
pub(super) struct Recorder {
    capabilities: &'static str,
    lines: Arc<Mutex<Vec<(usize, Bytes)>>>,
    connections: Arc<AtomicUsize>,
    /// Says nothing to `logging/setLevel`.
    pub(super) deaf: bool,
    /// Sent before each call's answer.
    pub(super) before: Arc<Mutex<Vec<String>>>,
}

impl Recorder {
    pub(super) fn new(capabilities: &'static str) -> Self {
        Self {
            capabilities,
            lines: Arc::default(),
            connections: Arc::default(),
            deaf: false,
            before: Arc::default(),
        }
    }

    pub(super) fn server(&self, more: &str) -> Arc<Server> {
        let yaml = format!("{{ module: calculator, timeout: 60s, era: legacy{more} }}");
        server(&yaml, Some(Arc::new(self.clone())))
    }

    /// The requests of one method, each with the number of its connection.
    pub(super) fn requests(&self, method: &str) -> Vec<(usize, Request)> {
        let lines = self.lines.lock().unwrap();
        let requests =
            lines.iter().filter_map(
                |(number, line)| match Message::parse(line.clone(), Strictness::Edge) {
                    Ok(Message::Request(request)) if request.method() == method => Some((*number, request)),
                    _ => None,
                },
            );
        requests.collect()
    }

    /// The levels it was set to, each with the number of its connection.
    pub(super) fn levels(&self) -> Vec<(usize, String)> {
        let set = self.requests("logging/setLevel").into_iter();
        set.map(|(number, request)| (number, request.param_text("level").unwrap().into_owned()))
            .collect()
    }
}

impl Module for Recorder {
    fn serve(&self, io: DuplexStream) -> Serving {
        let number = self.connections.fetch_add(1, Relaxed) + 1;
        let recorder = self.clone();
        Box::pin(async move {
            let (from, mut to) = tokio::io::split(io);
            let mut lines = BufReader::new(from).lines();
            while let Some(line) = lines.next_line().await.unwrap() {
                recorder.lines.lock().unwrap().push((number, line.clone().into()));
                let Ok(Message::Request(request)) = Message::parse(line.into(), Strictness::Edge) else {
                    continue;
                };
                if recorder.deaf && request.method() == "logging/setLevel" {
                    continue;
                }
                let result = match request.method() {
                    "initialize" => format!(
                        r#"{{"protocolVersion":"2025-11-25","capabilities":{}}}"#,
                        recorder.capabilities
                    ),
                    _ => "{}".to_owned(),
                };
                let mut said = String::new();
                if request.method() == "tools/call" {
                    for line in recorder.before.lock().unwrap().iter() {
                        said.push_str(line);
                        said.push('\n');
                    }
                }
                let id = String::from_utf8_lossy(request.id().bytes()).into_owned();
                said.push_str(&format!(
                    "{{\"jsonrpc\":\"2.0\",\"id\":{id},\"result\":{result}}}\n"
                ));
                to.write_all(said.as_bytes()).await.unwrap();
            }
        })
    }
}
