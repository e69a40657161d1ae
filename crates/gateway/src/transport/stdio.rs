//! The gate as a stdio server: one message a line, both ways.
//!
//! Source: MCP 2026-07-28, basic/transports/stdio.

use std::{io, sync::Arc, time::Duration};

use bytes::{Bytes, BytesMut};
use gatepost_protocol::framing::{LineDecoder, one_line};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    sync::mpsc,
};

use super::{
    channel::Channel,
    connection::{Connection, OpenError},
};
use crate::{
    gate::Gate,
    refusal::Refusal,
    respond::{About, render},
};

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
pub async fn serve<R, W>(
    gate: Arc<Gate>,
    path: &str,
    reader: R,
    writer: W,
    grace: Duration,
) -> Result<(), ServeError>
where
    R: AsyncRead + Unpin,
    W: AsyncWrite + Unpin + Send + 'static,
{
    let (channel, unread) = Channel::new(Connection::open(&gate, path)?);
    let writing = tokio::spawn(write(writer, unread));
    let outcome = tokio::select! {
        outcome = read(&gate, &channel, reader) => outcome,
        () = gate.until_stopping() => Ok(()),
    };
    channel.close(grace, || gate.cut()).await;
    drop(channel);
    let written = writing
        .await
        .unwrap_or_else(|_| Err(io::Error::other("the writer failed")));
    outcome.and(written.or_else(gone))?;
    Ok(())
}

async fn read<R: AsyncRead + Unpin>(gate: &Gate, channel: &Channel, mut reader: R) -> io::Result<()> {
    let limit = gate.snapshot().config().http.max_body.as_usize();
    let mut decoder = LineDecoder::new(limit);
    let mut buffer = BytesMut::with_capacity(READ);
    loop {
        buffer.reserve(READ);
        let ended = reader.read_buf(&mut buffer).await? == 0;
        while let Some(line) = decoder.decode(&mut buffer).transpose() {
            match line {
                Ok(line) => channel.take(channel.connection().own_side(), line).await,
                Err(_) => {
                    channel
                        .say(render(&Refusal::TooLarge { limit: limit as u64 }, &About::default()).1)
                        .await;
                }
            }
        }
        if ended {
            // A last line without its newline is still a message.
            if let Ok(Some(line)) = decoder.finish(&mut buffer) {
                channel.take(channel.connection().own_side(), line).await;
            }
            return Ok(());
        }
    }
}

/// Writes lines, as many at a time as there are.
async fn write<W: AsyncWrite + Unpin>(mut writer: W, mut unread: mpsc::Receiver<Bytes>) -> io::Result<()> {
    while let Some(message) = unread.recv().await {
        writer.write_all(&one_line(message)).await?;
        writer.write_all(b"\n").await?;
        if unread.is_empty() {
            writer.flush().await?;
        }
    }
    writer.flush().await
}

/// A client that closed its end has simply had enough.
fn gone(error: io::Error) -> io::Result<()> {
    if error.kind() == io::ErrorKind::BrokenPipe {
        Ok(())
    } else {
        Err(error)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncBufReadExt, BufReader, duplex, split};

    use super::*;
    use crate::rig::Rig;

    #[tokio::test(start_paused = true)]
    async fn what_the_end_of_the_grace_cuts_is_told_so() {
        let rig = Rig::start("").await;
        let (ours, theirs) = duplex(64 * 1024);
        let (reader, writer) = split(theirs);
        let serving = serve(Arc::clone(&rig.gate), "s", reader, writer, Duration::from_secs(1));
        let serving = tokio::spawn(serving);
        let (answers, mut client) = split(ours);
        let mut answers = BufReader::new(answers).lines();
        let begin = r#"{"jsonrpc":"2.0","id":1,"method":"initialize","params":{"protocolVersion":"2025-11-25","capabilities":{},"clientInfo":{"name":"c","version":"1"}}}"#;
        let call = r#"{"jsonrpc":"2.0","id":"never","method":"tools/call","params":{"name":"hang"}}"#;
        client
            .write_all(format!("{begin}\n{call}\n").as_bytes())
            .await
            .unwrap();
        while rig.heard("tools/call").is_empty() {
            tokio::task::yield_now().await;
        }
        rig.gate.drain();
        serving.await.unwrap().unwrap();
        let mut last = None;
        while let Ok(Some(line)) = answers.next_line().await {
            last = Some(serde_json::from_str::<serde_json::Value>(&line).unwrap());
        }
        let last = last.unwrap();
        assert_eq!(
            (&last["id"], &last["error"]["code"]),
            (&"never".into(), &(-32603).into()),
            "{last}"
        );
    }
}
