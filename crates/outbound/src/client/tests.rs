use std::{
    future::Future,
    sync::atomic::{AtomicUsize, Ordering::Relaxed},
};

use bytes::Bytes;
use http::{HeaderValue, Method, StatusCode, header, uri::PathAndQuery};
use rustls::RootCertStore;
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpSocket},
};

use super::*;
use crate::tls::trusting;

/// A server that treats each connection with `serve` and counts them.
async fn server<F, S>(serve: S) -> (HttpClient, Arc<AtomicUsize>)
where
    S: Fn(TcpStream, usize) -> F + Send + 'static,
    F: Future<Output = ()> + Send + 'static,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url: Uri = format!("http://{}/mcp", listener.local_addr().unwrap())
        .parse()
        .unwrap();
    let count = Arc::new(AtomicUsize::new(0));
    let accepted = Arc::clone(&count);
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let number = accepted.fetch_add(1, Relaxed);
            tokio::spawn(serve(stream, number));
        }
    });
    (
        HttpClient::new(&url, &trusting(RootCertStore::empty()).unwrap()).unwrap(),
        count,
    )
}

/// Reads one request with a small body; false at the end of the connection.
async fn request(stream: &mut TcpStream) -> bool {
    let mut seen = Vec::new();
    let mut buffer = [0; 1024];
    while !seen.windows(4).any(|window| window == b"\r\n\r\n") {
        match stream.read(&mut buffer).await {
            Ok(0) | Err(_) => return false,
            Ok(length) => seen.extend_from_slice(&buffer[..length]),
        }
    }
    true
}

fn get() -> Request {
    opening(&Method::GET).request()
}

fn post(body: impl Into<Bytes>) -> Request {
    opening(&Method::POST).request_with(body.into())
}

fn opening(method: &Method) -> Opening {
    let target = PathAndQuery::from_static("/mcp");
    Opening::new(method, &target).with(&header::HOST, &HeaderValue::from_static("test"))
}

async fn text(client: &HttpClient) -> Result<Bytes, HttpError> {
    Ok(client.send(get()).await?.body.collect(1 << 20).await?.unwrap())
}

const OK: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";
const CHUNKED: &[u8] = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n";

#[tokio::test]
async fn one_connection_serves_many_requests() {
    for answer in [OK, CHUNKED] {
        let (client, count) = server(move |mut stream, _| async move {
            while request(&mut stream).await {
                stream.write_all(answer).await.unwrap();
            }
        })
        .await;
        for _ in 0..10 {
            assert_eq!(text(&client).await.unwrap(), "ok");
        }
        assert_eq!(count.load(Relaxed), 1);
    }
}

#[tokio::test]
async fn concurrent_requests_have_a_connection_each() {
    let (client, count) = server(|mut stream, _| async move {
        while request(&mut stream).await {
            stream.write_all(OK).await.unwrap();
        }
    })
    .await;
    for _ in 0..3 {
        let held: Vec<_> = futures_util::future::join_all((0..4).map(|_| client.send(get()))).await;
        for response in held {
            assert_eq!(response.unwrap().body.collect(10).await.unwrap().unwrap(), "ok");
        }
    }
    assert!(count.load(Relaxed) <= 4, "{count:?}");
}

#[tokio::test]
async fn a_connection_the_server_has_closed_is_replaced() {
    let (client, count) = server(|mut stream, _| async move {
        request(&mut stream).await;
        stream.write_all(OK).await.unwrap();
    })
    .await;
    for round in 1..=3 {
        assert_eq!(text(&client).await.unwrap(), "ok");
        assert_eq!(count.load(Relaxed), round);
        // Until the server's end of the connection has arrived.
        while client.pool.checkout().is_some_and(|link| {
            client.pool.give_back(link, IDLE_FOR);
            true
        }) {
            tokio::task::yield_now().await;
        }
    }
}

#[tokio::test]
async fn a_server_that_keeps_connections_briefly_is_believed() {
    let (client, count) = server(|mut stream, _| async move {
        while request(&mut stream).await {
            let answer = b"HTTP/1.1 200 OK\r\nkeep-alive: timeout=1\r\ncontent-length: 2\r\n\r\nok";
            stream.write_all(answer).await.unwrap();
        }
    })
    .await;
    text(&client).await.unwrap();
    text(&client).await.unwrap();
    assert_eq!(count.load(Relaxed), 2);
    let check = |timeout, expected: u64| {
        assert_eq!(response::keep_for(timeout).as_secs(), expected, "{timeout:?}");
    };
    check(Some(5), 4);
    check(Some(600), 30);
    check(None, 30);
    check(Some(0), 0);
}

#[tokio::test]
async fn a_body_dropped_midway_closes_its_connection() {
    let (closed, mut closes) = tokio::sync::mpsc::unbounded_channel();
    let (client, _) = server(move |mut stream, _| {
        let closed = closed.clone();
        async move {
            request(&mut stream).await;
            stream
                .write_all(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n")
                .await
                .unwrap();
            let _ = stream.read(&mut [0; 1]).await;
            closed.send(()).unwrap();
        }
    })
    .await;
    let mut body = client.send(get()).await.unwrap().body;
    assert_eq!(body.data().await.unwrap().unwrap(), "ok");
    drop(body);
    closes.recv().await.unwrap();
    assert!(client.pool.checkout().is_none());
}

#[tokio::test]
async fn a_reader_that_waits_holds_the_server_back() {
    let written = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&written);
    let (client, _) = server(move |mut stream, _| {
        let count = Arc::clone(&count);
        async move {
            request(&mut stream).await;
            stream
                .write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 100000000\r\n\r\n")
                .await
                .unwrap();
            let piece = vec![b'x'; 100_000];
            for _ in 0..1000 {
                if stream.write_all(&piece).await.is_err() {
                    return;
                }
                count.fetch_add(piece.len(), Relaxed);
            }
        }
    })
    .await;
    let mut body = client.send(get()).await.unwrap().body;
    assert!(!body.data().await.unwrap().unwrap().is_empty());
    // The sockets' buffers fill up, and then nothing moves any more.
    let mut before = usize::MAX;
    while before != written.load(Relaxed) {
        before = written.load(Relaxed);
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert!(before < 50_000_000, "{before}");
    assert!(body.collect(1 << 20).await.unwrap().is_none(), "over the limit");
}

#[tokio::test]
async fn a_connection_that_breaks_is_an_error_and_is_not_used_again() {
    let (client, count) = server(|mut stream, number| async move {
        request(&mut stream).await;
        match number {
            0 => stream
                .write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhalf")
                .await
                .unwrap(),
            1 => {}
            _ => stream.write_all(OK).await.unwrap(),
        }
    })
    .await;
    assert!(matches!(text(&client).await, Err(HttpError::Broken(_))));
    // The request was sent, so it is not repeated: the server may have acted on it.
    assert!(matches!(text(&client).await, Err(HttpError::Broken(_))));
    assert_eq!(text(&client).await.unwrap(), "ok");
    assert_eq!(count.load(Relaxed), 3);
}

#[tokio::test]
async fn nobody_there_is_said_so() {
    // Taken, so that nobody else is there, and not listening.
    let taken = TcpSocket::new_v4().unwrap();
    taken.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let url: Uri = format!("http://{}/", taken.local_addr().unwrap())
        .parse()
        .unwrap();
    let client = HttpClient::new(&url, &trusting(RootCertStore::empty()).unwrap()).unwrap();
    let error = text(&client).await.unwrap_err();
    assert!(
        matches!(&error, HttpError::Connect(why) if why.contains("127.0.0.1")),
        "{error}"
    );
}

#[tokio::test]
async fn who_writes_https_for_http_is_told_so() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url: Uri = format!("https://{}/", listener.local_addr().unwrap())
        .parse()
        .unwrap();
    tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let _ = stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await;
        // Whatever it says, until it goes.
        let _ = stream.read_to_end(&mut Vec::new()).await;
    });
    let client = HttpClient::new(&url, &trusting(RootCertStore::empty()).unwrap()).unwrap();
    let error = text(&client).await.unwrap_err();
    assert!(error.to_string().contains("begins with `http://`"), "{error}");
}

#[test]
fn only_http_urls_have_an_origin() {
    let check = |url: &str| Origin::of(&url.parse().unwrap());
    assert_eq!(check("http://a/x").unwrap(), check("http://a:80/y").unwrap());
    assert_eq!(check("https://a").unwrap(), check("https://a:443/").unwrap());
    assert_ne!(check("https://a").unwrap(), check("http://a:443").unwrap());
    assert_eq!(&*check("http://[::1]:8080/").unwrap().host, "::1");
    assert!(check("ftp://a/").is_err());
    assert!(check("/mcp").is_err());
}

/// A server that gives `answer` byte by byte and closes.
async fn dribbled(answer: &'static [u8]) -> Result<Bytes, HttpError> {
    let (client, _) = server(move |mut stream, _| async move {
        request(&mut stream).await;
        for byte in answer {
            let _ = stream.write_all(std::slice::from_ref(byte)).await;
            tokio::task::yield_now().await;
        }
    })
    .await;
    text(&client).await
}

#[tokio::test]
async fn answers_may_arrive_byte_by_byte() {
    for answer in [
        OK,
        CHUNKED,
        b"HTTP/1.0 200 OK\r\n\r\nok",
        b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nlink: x\r\n\r\n\
            HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok",
    ] {
        assert_eq!(dribbled(answer).await.unwrap(), "ok");
    }
}

#[tokio::test]
async fn errors_say_what_is_wrong_with_the_answer() {
    for (answer, expected) in [
        (&b""[..], "closed before the answer was complete"),
        (b"HTTP/1.1 200 OK\r\n", "closed in the middle of the answer"),
        (
            b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nhalf",
            "closed before the answer was complete",
        ),
        (
            b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nz",
            "invalid chunk",
        ),
        (b"HTTP/1.1 101 Other\r\n\r\n", "switches protocols"),
        (b"SSH-2.0-server\r\n", "no HTTP/1.1"),
    ] {
        let error = dribbled(answer).await.unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
    }
}

#[tokio::test]
async fn what_nobody_asked_for_ends_a_connection() {
    let (client, count) = server(|mut stream, _| async move {
        while request(&mut stream).await {
            let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nokHTTP/1.1 200 OK\r\n\r\n";
            stream.write_all(answer).await.unwrap();
        }
    })
    .await;
    for round in 1..=3 {
        assert_eq!(text(&client).await.unwrap(), "ok");
        assert_eq!(count.load(Relaxed), round);
    }
}

#[tokio::test]
async fn a_server_that_closes_after_its_answer_is_believed() {
    for answer in [
        &b"HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 2\r\n\r\nok"[..],
        b"HTTP/1.1 200 OK\r\ncontent-length: 3\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
    ] {
        let (client, count) = server(move |mut stream, _| async move {
            while request(&mut stream).await {
                stream.write_all(answer).await.unwrap();
            }
        })
        .await;
        for round in 1..=3 {
            assert_eq!(text(&client).await.unwrap(), "ok");
            assert_eq!(count.load(Relaxed), round);
        }
    }
}

#[tokio::test]
async fn bodies_of_any_size_arrive_as_they_are() {
    let (client, count) = server(|stream, _| async move {
        let mut stream = tokio::io::BufReader::new(stream);
        loop {
            let mut length = 0;
            let mut line = String::new();
            while line != "\r\n" {
                line.clear();
                if stream.read_line(&mut line).await.unwrap() == 0 {
                    return;
                }
                if let Some(value) = line.strip_prefix("content-length: ") {
                    length = value.trim().parse().unwrap();
                }
            }
            let mut body = vec![0; length];
            stream.read_exact(&mut body).await.unwrap();
            let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {length}\r\n\r\n");
            stream.write_all(head.as_bytes()).await.unwrap();
            stream.write_all(&body).await.unwrap();
        }
    })
    .await;
    for length in [0, 1, 4096, 4097, 100_000, 5_000_000] {
        let body: Vec<u8> = (0..length).map(|at: u32| at as u8).collect();
        let response = client.send(post(body.clone())).await.unwrap();
        assert_eq!(response.body.announced(), Some(body.len() as u64));
        assert!(
            response.body.collect(10_000_000).await.unwrap().unwrap() == body,
            "{length}"
        );
    }
    assert_eq!(count.load(Relaxed), 1);
}

#[tokio::test]
async fn a_refusal_is_seen_while_the_request_is_still_being_sent() {
    let (client, count) = server(|mut stream, number| async move {
        request(&mut stream).await;
        if number > 0 {
            return stream.write_all(OK).await.unwrap();
        }
        let answer = b"HTTP/1.1 413 Content Too Large\r\ncontent-length: 2\r\n\r\nno";
        stream.write_all(answer).await.unwrap();
        // Reads no further, and keeps the connection.
        std::future::pending::<()>().await;
    })
    .await;
    let response = client.send(post(vec![b'x'; 50_000_000])).await.unwrap();
    assert_eq!(response.status, StatusCode::PAYLOAD_TOO_LARGE);
    assert_eq!(response.body.collect(10).await.unwrap().unwrap(), "no");
    // Half a request is on that connection: nothing else may follow it.
    assert_eq!(text(&client).await.unwrap(), "ok");
    assert_eq!(count.load(Relaxed), 2);
}

#[tokio::test]
async fn a_chunked_answer_gives_its_connection_back_with_its_last_piece() {
    let (client, _) = server(|mut stream, _| async move {
        request(&mut stream).await;
        stream.write_all(CHUNKED).await.unwrap();
        std::future::pending::<()>().await;
    })
    .await;
    let mut body = client.send(get()).await.unwrap().body;
    assert_eq!(body.data().await.unwrap().unwrap(), "ok");
    assert!(client.pool.checkout().is_some());
    assert!(body.data().await.is_none());
    assert!(body.data().await.is_none());
}
