//! The transport of 2024-11-05: answers come on one event stream, messages are posted to the address it begins with.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use gatepost_outbound::Origin;
use http::Uri;
use tokio::sync::mpsc;

use super::{
    CallError, Cause,
    change::Announcer,
    http::{Endpoint, EventSource, Reply, StreamEnd, failed, read_reply},
    pipe::{Inlet, Pipe},
    session::Ender,
};

/// How long the first event may take.
const ENDPOINT_WITHIN: Duration = Duration::from_secs(10);

/// Opens the stream and waits for the address to post to.
pub(crate) async fn connect(
    endpoint: &Endpoint,
    announcer: Announcer,
) -> Result<(Arc<Pipe>, Ender), CallError> {
    let context = endpoint.context.clone();
    let response = endpoint.send(endpoint.listen()).await?;
    let body = match read_reply(response, &context).await? {
        Reply::Events(body) => body,
        Reply::Failed { status, detail } => {
            return Err(context.error(
                Cause::Http {
                    status: status.as_u16(),
                    detail: endpoint.cleaned(detail, None),
                },
                true,
            ));
        }
        _ => return Err(context.error(Cause::Handshake("it opens no event stream".to_owned()), true)),
    };
    let mut source = EventSource::new(body, context.limit);
    let first = tokio::time::timeout(ENDPOINT_WITHIN, address(&mut source, endpoint)).await;
    let to = first
        .unwrap_or_else(|_| Err("it sent no `endpoint` event".to_owned()))
        .map_err(|why| context.error(Cause::Handshake(why), true))?;
    let (pipe, inlet, unsent) = Pipe::new(Arc::clone(&context.server), announcer);
    let writing = tokio::spawn(post_all(endpoint.at(&to), unsent, Arc::clone(&pipe)));
    let reading = tokio::spawn(async move {
        let why = read_events(&mut source, &inlet, context.limit).await;
        inlet.end(&why);
    });
    let ended = Arc::clone(&pipe);
    let ender: Ender = Box::new(move |_grace| {
        Box::pin(async move {
            reading.abort();
            writing.abort();
            ended.finish("it was stopped");
        })
    });
    Ok((pipe, ender))
}

/// The URI of the `endpoint` event. It must be of the origin that was configured: anything else could send what the gate
/// says to whomever the server likes.
async fn address(source: &mut EventSource, endpoint: &Endpoint) -> Result<Uri, String> {
    loop {
        let event = match source.next().await {
            Ok(event) => event,
            Err(StreamEnd::Over(why)) => return Err(why),
            Err(StreamEnd::TooLarge) => return Err("its first event is too large".to_owned()),
        };
        if event.event.as_deref() != Some(b"endpoint") {
            continue;
        }
        let data = event.data.unwrap_or_default();
        let text =
            std::str::from_utf8(data.trim_ascii()).map_err(|_| "its `endpoint` is not text".to_owned())?;
        return resolve(text, endpoint.target(), endpoint.client().origin());
    }
}

/// A URI reference against the stream's own (RFC 3986, 5.2, as far as servers use it), if it is of `origin`.
fn resolve(reference: &str, base: &Uri, origin: &Origin) -> Result<Uri, String> {
    let invalid = |_| format!("its `endpoint` `{reference}` is no URI");
    if reference.contains("://") {
        let uri: Uri = reference.parse().map_err(invalid)?;
        return match Origin::of(&uri) {
            Ok(theirs) if theirs == *origin => Ok(uri),
            _ => Err(format!("its `endpoint` `{reference}` is of another origin")),
        };
    }
    if reference.starts_with("//") {
        return Err(format!("its `endpoint` `{reference}` may be of another origin"));
    }
    if reference.starts_with('/') {
        return reference.parse().map_err(invalid);
    }
    let path = base.path();
    let folder = &path[..=path.rfind('/').unwrap_or(0)];
    let joined = if reference.starts_with('?') {
        format!("{path}{reference}")
    } else {
        format!("{folder}{reference}")
    };
    joined.parse().map_err(invalid)
}

async fn read_events(source: &mut EventSource, inlet: &Inlet, limit: u64) -> String {
    loop {
        match source.next().await {
            Ok(event) => {
                if let Some(data) = event.message() {
                    inlet.receive(data);
                }
            }
            Err(StreamEnd::TooLarge) => inlet.oversized(b"", limit),
            Err(StreamEnd::Over(why)) => return why,
        }
    }
}

/// Posts messages in their order. A message that cannot be delivered ends the connection: its answer would never come.
async fn post_all(endpoint: Endpoint, mut unsent: mpsc::Receiver<Bytes>, pipe: Arc<Pipe>) {
    while let Some(message) = unsent.recv().await {
        let posted = async {
            let response = endpoint.send(endpoint.post(message.clone())).await?;
            read_reply(response, &endpoint.context).await
        };
        let refused = match posted.await {
            Ok(Reply::Failed { status, detail }) => failed(&endpoint, status, detail),
            Ok(Reply::Response(status, response)) if !status.is_success() => {
                let detail = response.error_message().unwrap_or_default().into_owned();
                failed(&endpoint, status, detail)
            }
            Ok(_) => continue,
            Err(error) => error,
        };
        let why = format!("a message did not reach it: it {}", refused.cause);
        // What waits behind it has not been sent, and will not be.
        unsent.close();
        let mut undelivered = Vec::new();
        // Typical: 404, as the server no longer knows the stream that answers would come on.
        if refused.retry_safe {
            undelivered.push(message);
        }
        while let Some(message) = unsent.recv().await {
            undelivered.push(message);
        }
        return pipe.finish_before(&undelivered, &why);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_address_stays_within_its_origin() {
        let base: Uri = "/a/sse".parse().unwrap();
        let origin = Origin::of(&"http://h:80/a/sse".parse().unwrap()).unwrap();
        let check = |reference: &str, expected: Option<&str>| {
            let resolved = resolve(reference, &base, &origin)
                .ok()
                .map(|uri| uri.path_and_query().unwrap().to_string());
            assert_eq!(resolved.as_deref(), expected, "{reference}");
        };
        check("/messages?session=1", Some("/messages?session=1"));
        check("messages/?s=1", Some("/a/messages/?s=1"));
        check("?s=1", Some("/a/sse?s=1"));
        check("http://h/messages", Some("/messages"));
        check("https://h/messages", None);
        check("http://evil/messages", None);
        check("//evil/messages", None);
    }
}
