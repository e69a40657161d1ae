use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpSocket},
};

use super::*;

/// A server that answers one request with `answer`, keeps the connection open if `held`, and gives what it read.
async fn server(answer: impl Into<Vec<u8>>, held: bool) -> (String, tokio::task::JoinHandle<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/keys?secret=s", listener.local_addr().unwrap());
    let answer = answer.into();
    let serving = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut seen = vec![0; 4096];
        let length = stream.read(&mut seen).await.unwrap();
        stream.write_all(&answer).await.unwrap();
        if held {
            std::future::pending::<()>().await;
        }
        String::from_utf8_lossy(&seen[..length]).into_owned()
    });
    (url, serving)
}

async fn error(answer: impl Into<Vec<u8>>, held: bool) -> FetchError {
    error_within(Duration::from_secs(60), answer, held).await
}

/// What comes of a server that says no more than that, however long it is waited for.
async fn silence(answer: impl Into<Vec<u8>>) -> FetchError {
    error_within(Duration::from_millis(300), answer, true).await
}

async fn error_within(within: Duration, answer: impl Into<Vec<u8>>, held: bool) -> FetchError {
    let (url, _serving) = server(answer, held).await;
    let ask = Ask::get(&url).unwrap().at_most(10).within(within);
    let error = fetch(ask).await.unwrap_err();
    assert!(!error.to_string().contains("secret"), "{error}");
    assert!(error.to_string().contains("http://127.0.0.1:"), "{error}");
    error
}

#[tokio::test]
async fn an_answer_comes_with_its_fields() {
    let (url, serving) = server(
        &b"HTTP/1.1 404 Not Found\r\nRetry-After: 3\r\ncache-control: a\r\nCache-Control: b\r\ncontent-length: 2\r\n\r\nno"[..],
        false,
    )
    .await;
    let ask = Ask::get(&url)
        .unwrap()
        .with(header::AUTHORIZATION, HeaderValue::from_static("Basic x"));
    assert_eq!(
        format!("{ask:?}"),
        format!(
            "Ask {{ method: GET, place: {:?}, .. }}",
            url.trim_end_matches("?secret=s")
        )
    );
    let answer = fetch(ask).await.unwrap();
    assert_eq!(answer.status, StatusCode::NOT_FOUND);
    assert_eq!(answer.headers["retry-after"], "3");
    assert_eq!(answer.headers.get_all("cache-control").iter().count(), 2);
    assert_eq!(answer.body, "no");
    let seen = serving.await.unwrap();
    assert!(
        seen.starts_with("GET /keys?secret=s HTTP/1.1\r\nhost: 127.0.0.1:"),
        "{seen}"
    );
    for expected in [
        "\r\nauthorization: Basic x\r\n",
        "\r\naccept: application/json\r\n",
        "\r\nconnection: close\r\n",
    ] {
        assert!(seen.contains(expected), "{seen}");
    }
}

#[tokio::test]
async fn a_body_is_posted() {
    let (url, serving) = server(&b"HTTP/1.1 200 OK\r\n\r\nok"[..], false).await;
    let ask = Ask::post(&url, "application/x-www-form-urlencoded", "a=b").unwrap();
    assert_eq!(fetch(ask).await.unwrap().body, "ok");
    let seen = serving.await.unwrap();
    assert!(seen.starts_with("POST /keys"), "{seen}");
    assert!(seen.ends_with("content-length: 3\r\n\r\na=b"), "{seen}");
}

#[tokio::test]
async fn what_is_asked_has_bounds() {
    let long = "HTTP/1.1 200 OK\r\ncontent-length: 11\r\n\r\n";
    assert!(matches!(
        error(long, true).await,
        FetchError::TooLong { limit: 10, .. }
    ));
    let endless = "HTTP/1.1 200 OK\r\n\r\n01234567890123456789";
    assert!(matches!(error(endless, true).await, FetchError::TooLong { .. }));
    let slow = "HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\nab";
    assert!(matches!(silence(slow).await, FetchError::TooSlow { .. }));
    assert!(matches!(silence("").await, FetchError::TooSlow { .. }));
    assert!(matches!(error("", false).await, FetchError::Broken { .. }));
    assert!(matches!(
        error("SSH-2.0\r\n", false).await,
        FetchError::Broken { .. }
    ));
    let moved = error(
        "HTTP/1.1 302 Found\r\nlocation: https://elsewhere/x?code=secret\r\ncontent-length: 0\r\n\r\n",
        false,
    )
    .await;
    assert!(moved.to_string().contains("to https://elsewhere/x,"), "{moved}");
}

#[tokio::test]
async fn nobody_there_is_said_so() {
    // Taken, so that nobody else is there, and not listening.
    let taken = TcpSocket::new_v4().unwrap();
    taken.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let url = format!("http://{}/", taken.local_addr().unwrap());
    let error = fetch(Ask::get(&url).unwrap()).await.unwrap_err();
    assert!(matches!(error, FetchError::Unreachable { .. }), "{error}");
}

#[test]
fn only_what_nobody_can_change_on_the_way_is_asked() {
    for good in [
        "https://id.example.com",
        "https://id.example.com:8443/x?y",
        "http://127.0.0.1:1/",
        "http://127.9.9.9/",
        "http://[::1]:80/",
        "http://localhost:3000/x",
    ] {
        assert!(Ask::get(good).is_ok(), "{good}");
    }
    for (bad, reason) in [
        ("http://id.example.com/keys?a=secret", "plain http"),
        ("http://10.0.0.1/", "plain http"),
        ("http://localhost.example.com/", "plain http"),
        ("http://127.0.0.1.example.com/", "plain http"),
        ("ftp://127.0.0.1/", "https://"),
        ("/keys", "names no host"),
        ("https://", "not a URL"),
        ("https://me:secret@id.example.com/", "names a user"),
        ("https://127.0.0.1@secret/", "names a user"),
    ] {
        let error = Ask::get(bad).unwrap_err().to_string();
        assert!(error.contains(reason), "{bad}: {error}");
        assert!(!error.contains("me:secret"), "{error}");
        assert!(!error.contains("a=secret"), "{error}");
    }
}
