//! The gate as a stdio server: one message a line, both ways.
//!
//! Source: MCP 2026-07-28, basic/transports/stdio.

use std::{io, sync::Arc, time::Duration};

use bytes::{Bytes, BytesMut};
use futures_util::StreamExt;
use gatepost_protocol::framing::{LineDecoder, one_line};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    sync::mpsc,
    task::JoinSet,
};

use super::connection::{Connection, OpenError, messages};
use crate::{
    gate::Gate,
    refusal::Refusal,
    respond::{About, render},
};

/// Lines waiting to be written; when the client does not read, the calls wait.
const UNWRITTEN: usize = 64;
const READ: usize = 64 * 1024;

/// Why serving ended early.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// There is no such endpoint.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// Reading or writing failed; a client that closed its end is no failure.
    #[error("the client's pipe failed: {0}")]
    Pipe(#[from] io::Error),
}

/// Serves `/mcp` (empty `path`) or `/mcp/<path>` over a pair of pipes until the client closes its end or the gate drains;
/// calls that are in flight then may finish within `grace`.
///
/// # Errors
/// When there is no such endpoint, or a pipe fails.
pub async fn serve<R, W>(gate: Arc<Gate>, path: &str, mut reader: R, writer: W, grace: Duration) -> Result<(), ServeError>
where
    R: AsyncRead + Unpin,
    W: AsyncWrite + Unpin + Send + 'static,
{
    let connection = Arc::new(Connection::open(&gate, path)?);
    let (lines, unwritten) = mpsc::channel(UNWRITTEN);
    let writing = tokio::spawn(write(writer, unwritten));
    let limit = usize::try_from(gate.snapshot().config().http.max_body.bytes()).unwrap_or(usize::MAX);
    let mut decoder = LineDecoder::new(limit);
    let mut buffer = BytesMut::with_capacity(READ);
    let mut calls = JoinSet::new();
    let mut notices = None;
    let outcome = loop {
        buffer.reserve(READ);
        let read = tokio::select! {
            read = reader.read_buf(&mut buffer) => read,
            () = gate.until_stopping() => break Ok(()),
        };
        match read {
            Ok(0) => {
                // A last line without its newline is still a message.
                if let Ok(Some(line)) = decoder.finish(&mut buffer) {
                    take(&connection, &lines, &mut calls, line).await;
                }
                break Ok(());
            }
            Err(error) => break Err(error.into()),
            Ok(_) => {}
        }
        while let Some(line) = decoder.decode(&mut buffer).transpose() {
            match line {
                Ok(line) => take(&connection, &lines, &mut calls, line).await,
                Err(_) => {
                    let limit = limit as u64;
                    let (_, message) = render(&Refusal::TooLarge { limit }, &About::default());
                    let _ = lines.send(message).await;
                }
            }
        }
        while calls.try_join_next().is_some() {}
        if notices.is_none() {
            notices = connection.notices().map(|notices| tokio::spawn(forward(notices, lines.clone())));
        }
    };
    if let Some(notices) = notices {
        notices.abort();
    }
    let _ = tokio::time::timeout(grace, async { while calls.join_next().await.is_some() {} }).await;
    calls.shutdown().await;
    connection.close().await;
    drop(lines);
    let _ = writing.await;
    outcome
}

/// Begins to answer one line. The handshake is finished before the next line is looked at, everything else runs side by
/// side.
async fn take(connection: &Arc<Connection>, lines: &mpsc::Sender<Bytes>, calls: &mut JoinSet<()>, line: Bytes) {
    if line.iter().all(u8::is_ascii_whitespace) {
        return;
    }
    let handshake = Connection::is_handshake(&line);
    let (connection, lines) = (Arc::clone(connection), lines.clone());
    let call = async move { forward(messages(connection.receive(line).await), lines).await };
    if handshake {
        call.await;
    } else {
        calls.spawn(call);
    }
}

async fn forward(mut messages: crate::answer::Messages, lines: mpsc::Sender<Bytes>) {
    while let Some(message) = messages.next().await {
        if lines.send(message).await.is_err() {
            return;
        }
    }
}

/// Writes lines, as many at a time as there are.
async fn write<W: AsyncWrite + Unpin>(mut writer: W, mut unwritten: mpsc::Receiver<Bytes>) -> io::Result<()> {
    while let Some(message) = unwritten.recv().await {
        writer.write_all(&one_line(message)).await?;
        writer.write_all(b"\n").await?;
        if unwritten.is_empty() {
            writer.flush().await?;
        }
    }
    writer.flush().await
}
