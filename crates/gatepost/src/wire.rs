//! One JSON-RPC message a line, over the in-memory pipe to the gate.
//!
//! rmcp has such a transport, but it answers a request whose parameters do not fit their method (`"params": [1]`) with an
//! error that carries no id, and drops a line over its bound without any answer. The gate could give neither to the caller
//! who waits for it. Here such a request is refused by its id; lines are not bounded, for the gate has bounded what it
//! forwards (`http.max_body`).

use std::{io, sync::Arc};

use rmcp::{
    ErrorData, RoleServer,
    model::{ErrorCode, RequestId},
    service::{RxJsonRpcMessage, TxJsonRpcMessage},
    transport::Transport,
};
use serde::Deserialize;
use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader, DuplexStream, ReadHalf, WriteHalf},
    sync::Mutex,
};

/// A line grows to its message; what it keeps afterwards for the next one, in bytes.
const LINE_KEPT: usize = 64 * 1024;

/// The module's end of the pipe.
pub(crate) struct Wire {
    read: BufReader<ReadHalf<DuplexStream>>,
    /// What was read of the current line. `receive` may be dropped halfway, so it lives here.
    line: Vec<u8>,
    write: Arc<Mutex<WriteHalf<DuplexStream>>>,
}

// === impl Wire ===

impl Wire {
    pub(crate) fn new(io: DuplexStream) -> Self {
        let (read, write) = tokio::io::split(io);
        Self {
            read: BufReader::new(read),
            line: Vec::new(),
            write: Arc::new(Mutex::new(write)),
        }
    }
}

impl Transport<RoleServer> for Wire {
    type Error = io::Error;

    fn send(
        &mut self,
        message: TxJsonRpcMessage<RoleServer>,
    ) -> impl Future<Output = Result<(), Self::Error>> + Send + 'static {
        let write = self.write.clone();
        async move {
            let mut line = serde_json::to_vec(&message)?;
            line.push(b'\n');
            write.lock().await.write_all(&line).await
        }
    }

    async fn receive(&mut self) -> Option<RxJsonRpcMessage<RoleServer>> {
        loop {
            // Cancel safety: `read_until` appends what it has read before it waits, and goes on there when called again.
            match self.read.read_until(b'\n', &mut self.line).await {
                Ok(0) => return None,
                Ok(_) if self.line.last() != Some(&b'\n') => return None,
                Ok(_) => {}
                Err(error) => {
                    tracing::debug!(%error, "a module's pipe broke");
                    return None;
                }
            }
            let parsed = serde_json::from_slice(&self.line);
            let refusal = parsed.as_ref().err().and_then(|error| refuse(&self.line, error));
            self.line.clear();
            self.line.shrink_to(LINE_KEPT);
            match (parsed, refusal) {
                (Ok(message), _) => return Some(message),
                (Err(_), Some(refusal)) => {
                    let send = self.send(refusal);
                    // Not awaited here, where being dropped would lose it or tear the line.
                    tokio::spawn(send);
                }
                (Err(error), None) => tracing::debug!(%error, "a line that asks nothing was skipped"),
            }
        }
    }

    async fn close(&mut self) -> Result<(), Self::Error> {
        self.write.lock().await.shutdown().await
    }
}

/// The answer to a line that is a request but not one that rmcp can read; `None` for anything else.
fn refuse(line: &[u8], error: &serde_json::Error) -> Option<TxJsonRpcMessage<RoleServer>> {
    #[derive(Deserialize)]
    struct Request {
        id: RequestId,
        method: String,
    }
    let Request { id, method } = serde_json::from_slice(line).ok()?;
    let message = format!(
        "the parameters of `{method}` do not have the form that the specification gives them: {error}"
    );
    Some(TxJsonRpcMessage::<RoleServer>::error(
        ErrorData::new(ErrorCode::INVALID_PARAMS, message, None),
        Some(id),
    ))
}
