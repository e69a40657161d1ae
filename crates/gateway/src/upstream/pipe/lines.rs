//! A pipe whose messages are lines: standard input and output of a program, or of a module in this process.

use bytes::Bytes;
use tokio::{
    io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufReader},
    sync::mpsc,
};

use super::{Inlet, MAX_UNSENT};

/// Reads lines until the end and hands them in; returns why reading ended. A line over `limit` bytes fails the call that
/// it answers and is skipped, unless it does not end either.
pub(crate) async fn read_lines(from: impl AsyncRead + Unpin, inlet: &Inlet, limit: u64) -> String {
    let mut from = BufReader::with_capacity(64 * 1024, from);
    loop {
        let mut line = Vec::new();
        // One byte more, so that a line of just the allowed length is told from a longer one.
        match (&mut from)
            .take(limit.saturating_add(1))
            .read_until(b'\n', &mut line)
            .await
        {
            Ok(0) => return "its output ended".to_owned(),
            Ok(_) if line.last() == Some(&b'\n') || (line.len() as u64) <= limit => {
                line.truncate(line.trim_ascii_end().len());
                inlet.receive(&line.into());
            }
            Ok(_) => {
                inlet.oversized(&line[..line.len().min(4096)], limit);
                drop(line);
                // Reading on costs time but no memory.
                match skip_line(&mut from, limit.saturating_mul(4)).await {
                    Ok(true) => {}
                    Ok(false) => return "it wrote a line that does not end".to_owned(),
                    Err(error) => return format!("its output could not be read: {error}"),
                }
            }
            Err(error) => return format!("its output could not be read: {error}"),
        }
    }
}

/// Skips to the end of the line; false if it did not come within `limit` bytes.
async fn skip_line(from: &mut (impl AsyncBufReadExt + Unpin), limit: u64) -> std::io::Result<bool> {
    let mut skipped = 0;
    loop {
        let buffer = from.fill_buf().await?;
        let (length, found) = match buffer.iter().position(|byte| *byte == b'\n') {
            Some(place) => (place + 1, true),
            None => (buffer.len(), buffer.is_empty()),
        };
        from.consume(length);
        skipped += length as u64;
        if found {
            return Ok(true);
        }
        if skipped > limit {
            return Ok(false);
        }
    }
}

/// Writes messages, one a line, as they come; those that wait together are written together. Ends when the pipe does.
pub(crate) async fn write_lines(
    mut to: impl AsyncWrite + Unpin,
    mut unsent: mpsc::Receiver<Bytes>,
) -> std::io::Result<()> {
    let mut batch = Vec::with_capacity(MAX_UNSENT);
    let mut buffer = Vec::new();
    while unsent.recv_many(&mut batch, MAX_UNSENT).await > 0 {
        for message in batch.drain(..) {
            // A message is one line: line breaks can only be white space between tokens, as JSON strings escape them.
            if message.contains(&b'\n') || message.contains(&b'\r') {
                buffer.extend(message.iter().map(|byte| {
                    if matches!(byte, b'\n' | b'\r') {
                        b' '
                    } else {
                        *byte
                    }
                }));
            } else {
                buffer.extend_from_slice(&message);
            }
            buffer.push(b'\n');
        }
        to.write_all(&buffer).await?;
        to.flush().await?;
        buffer.clear();
        buffer.shrink_to(64 * 1024);
    }
    to.shutdown().await
}
