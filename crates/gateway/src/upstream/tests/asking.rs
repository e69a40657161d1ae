//! Questions of a legacy server over HTTP: on a call's own stream, beside it, and outside every call.

use futures_util::future::BoxFuture;

use super::*;

const ASK: &str = r#"{"jsonrpc":"2.0","id":"q","method":"roots/list"}"#;
const ROOTS: &str = r#"{"jsonrpc":"2.0","id":"q","result":{"roots":[]}}"#;

/// A stream that the test feeds, and the session it belongs to.
type Stream = (String, mpsc::UnboundedSender<String>);

/// A legacy server whose every stream the test holds.
struct Stage {
    backend: Backend,
    /// The GET streams.
    beside: Arc<Mutex<Vec<Stream>>>,
    /// The streams of the calls, in order, with the ids of their requests.
    calls: Arc<Mutex<Vec<(Stream, String)>>>,
}

impl Stage {
    async fn new() -> Self {
        let (beside, calls) = (Arc::<Mutex<Vec<Stream>>>::default(), Arc::default());
        let sessions = AtomicUsize::new(0);
        let backend = {
            let (beside, calls) = (Arc::clone(&beside), Arc::clone(&calls));
            Backend::start(move |seen| {
                let session = || seen.header("mcp-session-id").unwrap_or_default().to_owned();
                match (seen.verb.clone(), seen.method().as_str()) {
                    (Verb::GET, _) => {
                        let (sender, stream) = events();
                        beside.lock().unwrap().push((session(), sender));
                        stream
                    }
                    (_, "response") => accepted(),
                    (_, "tools/call") => {
                        let (sender, stream) = events();
                        let calls: &Mutex<Vec<(Stream, String)>> = &calls;
                        calls.lock().unwrap().push(((session(), sender), seen.id()));
                        stream
                    }
                    _ => legacy(&sessions, seen, |seen| result(seen, "{}")),
                }
            })
            .await
        };
        Self {
            backend,
            beside,
            calls,
        }
    }

    /// Waits until the server has got so many calls.
    async fn called(&self, times: usize) {
        while self.calls.lock().unwrap().len() < times {
            tokio::task::yield_now().await;
        }
    }

    /// The session of each call.
    fn sessions(&self) -> Vec<String> {
        let calls = self.calls.lock().unwrap();
        calls.iter().map(|call| call.0.0.clone()).collect()
    }

    /// Asks on the GET stream of the session that call number `at` is on.
    async fn ask_beside(&self, at: usize) {
        self.say_beside(at, ASK).await;
    }

    /// Says something there, once it is open: a call does not wait for it for long.
    async fn say_beside(&self, at: usize, message: &str) {
        let session = self.calls.lock().unwrap()[at].0.0.clone();
        loop {
            if let Some((_, stream)) = self
                .beside
                .lock()
                .unwrap()
                .iter()
                .find(|(whose, _)| *whose == session)
            {
                return stream.send(event(message)).unwrap();
            }
            tokio::task::yield_now().await;
        }
    }

    /// Says something on the stream of call number `at`.
    fn say(&self, at: usize, message: &str) {
        self.calls.lock().unwrap()[at].0.1.send(event(message)).unwrap();
    }

    /// Answers call number `at`.
    fn finish(&self, at: usize) {
        let id = self.calls.lock().unwrap()[at].1.clone();
        self.say(at, &format!(r#"{{"jsonrpc":"2.0","id":{id},"result":{{}}}}"#));
    }

    /// The next answer to a question that the server was sent.
    async fn answered(&self, number: usize) -> String {
        loop {
            if let Some(seen) = self.backend.seen("response").get(number) {
                return String::from_utf8_lossy(&seen.body).into_owned();
            }
            tokio::task::yield_now().await;
        }
    }

    /// A call in flight, on whose stream something was said already.
    async fn begin(&self, caller: &Caller, server: &Arc<Server>) -> Events {
        let at = self.calls.lock().unwrap().len();
        let progress = r#"{"jsonrpc":"2.0","method":"notifications/progress","params":{}}"#;
        let saying = async {
            self.called(at + 1).await;
            self.say(at, progress);
        };
        let (incoming, ()) = tokio::join!(caller.call(server), saying);
        let mut events = streaming(incoming.unwrap());
        assert!(matches!(events.next().await.unwrap(), Message::Notification(_)));
        events
    }
}

async fn asked(events: &mut Events) {
    match events.next().await.unwrap() {
        Message::Request(ask) => assert_eq!(ask.method(), "roots/list"),
        other => panic!("{other:?}"),
    }
}

async fn question(events: &mut Events) -> Request {
    match events.next().await.unwrap() {
        Message::Request(question) => question,
        other => panic!("{other:?}"),
    }
}

async fn over(events: &mut Events) {
    assert!(matches!(events.next().await.unwrap(), Message::Response(_)));
}

#[tokio::test]
async fn a_question_without_a_call_is_for_the_next_one() {
    let stage = Stage::new().await;
    let server = stage.backend.server("");
    let caller = Caller::asking();
    let mut first = stage.begin(&caller, &server).await;
    stage.finish(0);
    over(&mut first).await;
    drop(first);
    stage.ask_beside(0).await;
    let mut second = streaming(caller.call(&server).await.unwrap());
    asked(&mut second).await;
    second.reply(Bytes::from_static(ROOTS.as_bytes())).await.unwrap();
    assert_eq!(stage.answered(0).await, ROOTS);
    // The call itself travels while it is listened to.
    let finishing = async {
        stage.called(2).await;
        stage.finish(1);
    };
    tokio::join!(over(&mut second), finishing);
    let sessions = stage.sessions();
    assert_eq!(sessions[0], sessions[1]);
}

#[tokio::test]
async fn a_question_that_a_call_leaves_unanswered_is_for_the_next_one() {
    let stage = Stage::new().await;
    let server = stage.backend.server("");
    let caller = Caller::asking();
    let mut first = stage.begin(&caller, &server).await;
    stage.ask_beside(0).await;
    let question = question(&mut first).await;
    stage.finish(0);
    over(&mut first).await;
    first.put_back(question);
    drop(first);
    let mut second = streaming(caller.call(&server).await.unwrap());
    asked(&mut second).await;
}

/// It was this call's, and nobody else's.
#[tokio::test]
async fn a_question_on_a_calls_own_stream_ends_with_it() {
    let stage = Stage::new().await;
    let server = stage.backend.server(", pool: { max: 1 }");
    let caller = Caller::asking();
    let mut first = stage.begin(&caller, &server).await;
    let second = stage.begin(&caller, &server).await;
    assert_eq!(stage.sessions()[0], stage.sessions()[1]);
    stage.say(0, ASK);
    stage.finish(0);
    let question = question(&mut first).await;
    over(&mut first).await;
    first.put_back(question);
    let refused = stage.answered(0).await;
    assert!(refused.contains("-32603"), "{refused}");
    drop(second);
}

/// The server may still be at the first call, so what it asks then need not be about the second.
#[tokio::test]
async fn a_question_after_an_abandoned_call_is_nobodys() {
    let stage = Stage::new().await;
    let server = stage.backend.server(", pool: { max: 1 }");
    let caller = Caller::asking();
    let first = stage.begin(&caller, &server).await;
    let _second = stage.begin(&caller, &server).await;
    drop(first);
    stage.ask_beside(1).await;
    let refused = stage.answered(0).await;
    assert!(refused.contains("-32603"), "{refused}");
}

/// Nobody can tell whose the question is: it is refused, and from then on the server gets a session for each call.
#[tokio::test]
async fn a_server_that_asks_beside_its_calls_has_one_call_on_each_session() {
    let stage = Stage::new().await;
    let server = stage.backend.server(", pool: { max: 1 }");
    let caller = Caller::asking();
    let mut first = stage.begin(&caller, &server).await;
    let mut second = stage.begin(&caller, &server).await;
    stage.ask_beside(1).await;
    let refused = stage.answered(0).await;
    assert!(
        refused.starts_with(r#"{"jsonrpc":"2.0","id":"q","error":{"code":-32603"#),
        "{refused}"
    );
    stage.finish(0);
    over(&mut first).await;
    drop(first);
    let waiting = tokio::time::timeout(Duration::from_millis(50), caller.call(&server)).await;
    assert!(waiting.is_err(), "the session is not shared any more");
    stage.ask_beside(1).await;
    asked(&mut second).await;
    stage.finish(1);
    over(&mut second).await;
    drop(second);
    let mut third = stage.begin(&caller, &server).await;
    stage.ask_beside(2).await;
    asked(&mut third).await;
    // The client gives up: whatever the server does now must not be taken for the next call's.
    drop(third);
    let fourth = stage.begin(&caller, &server).await;
    let sessions = stage.sessions();
    assert_eq!(sessions[0], sessions[2]);
    assert_ne!(sessions[2], sessions[3]);
    drop(fourth);
}

/// Whoever calls can say best what the client lacks.
#[tokio::test]
async fn a_question_on_a_calls_own_stream_is_the_calls_whatever_its_client_declared() {
    let stage = Stage::new().await;
    let server = stage.backend.server("");
    let mut events = stage.begin(&Caller::legacy("{}"), &server).await;
    stage.say(0, r#"{"jsonrpc":"2.0","id":9,"method":"ping"}"#);
    stage.say(0, ASK);
    asked(&mut events).await;
    assert_eq!(stage.answered(0).await, r#"{"jsonrpc":"2.0","id":9,"result":{}}"#);
    stage.finish(0);
    over(&mut events).await;
    // The gate's own questions can be asked nothing, and nobody can be asked outside a call.
    let Message::Request(question) = Message::parse(ASK.into(), Strictness::Server).unwrap() else {
        panic!("a question")
    };
    events.put_back(question);
    let refused = stage.answered(1).await;
    assert!(refused.contains("-32601"), "{refused}");
}

/// One client with one stream.
struct Listener {
    answer: Option<&'static str>,
    asked: Mutex<Vec<[u8; 16]>>,
}

impl Clients for Listener {
    fn put(
        self: Arc<Self>,
        conversation: [u8; 16],
        question: &Request,
    ) -> Option<BoxFuture<'static, Option<Bytes>>> {
        assert_eq!(question.method(), "roots/list");
        self.asked.lock().unwrap().push(conversation);
        let answer = self.answer?;
        Some(Box::pin(std::future::ready(
            (!answer.is_empty()).then(|| Bytes::from_static(answer.as_bytes())),
        )))
    }
}

#[tokio::test]
async fn a_client_with_a_session_of_its_own_is_asked_on_its_own_stream_outside_calls() {
    for (answer, expected) in [
        (Some(ROOTS), Some(ROOTS)),
        // It went away.
        (Some(""), Some(r#""code":-32603"#)),
        // It listens nowhere: its next call is asked.
        (None, None),
    ] {
        let stage = Stage::new().await;
        let listener = Arc::new(Listener {
            answer,
            asked: Mutex::default(),
        });
        let clients: Arc<dyn Clients> = Arc::<Listener>::clone(&listener);
        let yaml = format!(
            "{{ url: {}, timeout: 60s, isolation: session }}",
            stage.backend.url
        );
        let server = server_for(&yaml, None, 1 << 20, Some(clients));
        let caller = Caller {
            conversation: Some([7; 16]),
            ..Caller::asking()
        };
        let mut first = stage.begin(&caller, &server).await;
        let mut second = stage.begin(&caller, &server).await;
        // All calls are this client's, so any of them may carry it.
        stage.ask_beside(0).await;
        asked(&mut second).await;
        stage.finish(0);
        over(&mut first).await;
        stage.finish(1);
        over(&mut second).await;
        drop((first, second));
        stage.ask_beside(0).await;
        match expected {
            Some(expected) => {
                let got = stage.answered(0).await;
                assert!(got.contains(expected), "{got}");
            }
            None => {
                while listener.asked.lock().unwrap().is_empty() {
                    tokio::task::yield_now().await;
                }
                let mut third = streaming(caller.call(&server).await.unwrap());
                asked(&mut third).await;
            }
        }
        assert_eq!(*listener.asked.lock().unwrap(), [[7; 16]]);
    }
}

/// A large document begins, the server asks once more, and only then the document ends.
#[tokio::test]
async fn a_question_does_not_break_off_a_large_answer() {
    let sessions = AtomicUsize::new(0);
    let (asker, beside) = events();
    let (feeder, mut document) = events();
    let json = http::HeaderValue::from_static("application/json");
    document.headers_mut().insert("content-type", json);
    let streams = Mutex::new((Some(beside), Some(document)));
    let backend = Backend::start(move |seen| match (&seen.verb, seen.method().as_str()) {
        (&Verb::GET, _) => {
            let beside = streams.lock().unwrap().0.take();
            beside.unwrap_or_else(|| answer(405, "text/plain", ""))
        }
        (_, "response") => accepted(),
        _ => legacy(&sessions, seen, |_| streams.lock().unwrap().1.take().unwrap()),
    })
    .await;
    let server = backend.server("");
    let caller = Caller::asking();
    let asking = async {
        while backend.seen("tools/call").is_empty() {
            tokio::task::yield_now().await;
        }
        asker.send(event(ASK)).unwrap();
    };
    let (incoming, ()) = tokio::join!(caller.call(&server), asking);
    let mut events = streaming(incoming.unwrap());
    asked(&mut events).await;
    // More than is waited for before a document counts as large.
    let text = "x".repeat(400 * 1024);
    let id = backend.seen("tools/call")[0].id();
    let begun = format!(r#"{{"jsonrpc":"2.0","id":{id},"result":{{"text":"{text}"#);
    feeder.send(begun).unwrap();
    let heard = tokio::time::timeout(Duration::from_millis(200), events.next()).await;
    assert!(heard.is_err(), "the document has not ended");
    asker.send(event(ASK)).unwrap();
    asked(&mut events).await;
    feeder.send(r#""}}"#.to_owned()).unwrap();
    drop(feeder);
    match events.next().await.unwrap() {
        Message::Response(response) => assert!(response.raw().len() > text.len()),
        other => panic!("{other:?}"),
    }
}

/// Every answer is a request of its own, which a hostile server need not answer.
#[tokio::test]
async fn a_server_that_asks_and_takes_no_answers_is_answered_in_bounded_memory() {
    const MOST: usize = 256;
    let sessions = AtomicUsize::new(0);
    let (feeder, stream) = events();
    let stream = Mutex::new(Some(stream));
    let hanging = Mutex::new(Vec::new());
    let backend = Backend::start(move |seen| match (&seen.verb, seen.method().as_str()) {
        (&Verb::GET, _) => answer(405, "text/plain", ""),
        (_, "response") => {
            let (held, mut document) = events();
            let json = http::HeaderValue::from_static("application/json");
            document.headers_mut().insert("content-type", json);
            hanging.lock().unwrap().push(held);
            document
        }
        _ => legacy(&sessions, seen, |_| stream.lock().unwrap().take().unwrap()),
    })
    .await;
    let server = backend.server("");
    for id in 0..MOST + 50 {
        let ping = format!(r#"{{"jsonrpc":"2.0","id":{id},"method":"ping"}}"#);
        feeder.send(event(&ping)).unwrap();
    }
    let last = r#"{"jsonrpc":"2.0","method":"notifications/progress","params":{}}"#;
    feeder.send(event(last)).unwrap();
    let mut events = streaming(Caller::legacy("{}").call(&server).await.unwrap());
    assert!(matches!(events.next().await.unwrap(), Message::Notification(_)));
    while backend.seen("response").len() < MOST {
        tokio::task::yield_now().await;
    }
    // Whatever was to be sent is being sent by now.
    tokio::time::sleep(Duration::from_millis(20)).await;
    assert_eq!(backend.seen("response").len(), MOST);
}

#[tokio::test]
async fn a_client_is_asked_nothing_outside_calls_that_it_did_not_declare() {
    let stage = Stage::new().await;
    let listener = Arc::new(Listener {
        answer: Some(ROOTS),
        asked: Mutex::default(),
    });
    let clients: Arc<dyn Clients> = Arc::<Listener>::clone(&listener);
    let yaml = format!(
        "{{ url: {}, timeout: 60s, isolation: session }}",
        stage.backend.url
    );
    let server = server_for(&yaml, None, 1 << 20, Some(clients));
    let caller = Caller {
        conversation: Some([7; 16]),
        ..Caller::asking()
    };
    let mut call = stage.begin(&caller, &server).await;
    stage.finish(0);
    over(&mut call).await;
    drop(call);
    for (number, (params, code)) in [(r#"{"message":"?"}"#, "-32601"), (r#"{"mode":"odd"}"#, "-32602")]
        .into_iter()
        .enumerate()
    {
        let form = format!(r#"{{"jsonrpc":"2.0","id":"e","method":"elicitation/create","params":{params}}}"#);
        stage.say_beside(0, &form).await;
        let refused = stage.answered(number).await;
        assert!(refused.contains(code), "{refused}");
    }
    assert!(listener.asked.lock().unwrap().is_empty());
}

/// 2025-11-25 basic/lifecycle, Timeouts: who stops waiting says so. A client that is not asked cannot.
#[tokio::test]
async fn a_server_that_is_silent_too_long_is_told_that_nobody_waits() {
    let caller = Caller::legacy("{}");
    for begun in [true, false] {
        let sessions = AtomicUsize::new(0);
        let (feeder, stream) = events();
        let stream = Mutex::new(Some(stream));
        let backend = Backend::start(move |seen| match &seen.verb {
            &Verb::GET => answer(405, "text/plain", ""),
            _ => legacy(&sessions, seen, |_| stream.lock().unwrap().take().unwrap()),
        })
        .await;
        let server = backend.server("");
        let failed = if begun {
            let progress = r#"{"jsonrpc":"2.0","method":"notifications/progress","params":{}}"#;
            feeder.send(event(progress)).unwrap();
            let mut events = streaming(caller.call(&server).await.unwrap());
            assert!(matches!(events.next().await.unwrap(), Message::Notification(_)));
            backend.without_patience(1, events.next()).await.unwrap_err()
        } else {
            backend
                .without_patience(1, caller.call(&server))
                .await
                .err()
                .unwrap()
        };
        assert!(matches!(failed.cause, Cause::Timeout(_)), "{failed}");
        let id = backend.seen("tools/call")[0].id();
        let told = async {
            loop {
                if let Some(told) = backend.seen("notifications/cancelled").first() {
                    return String::from_utf8_lossy(&told.body).into_owned();
                }
                tokio::task::yield_now().await;
            }
        };
        let told = tokio::time::timeout(Duration::from_secs(5), told).await.unwrap();
        assert!(told.contains(&format!(r#""requestId":{id},"#)), "{told}");
    }
}

/// Its stream lives on until the last answer is up, and must not catch what is for others.
#[tokio::test]
async fn a_call_that_is_over_is_asked_nothing() {
    let stage = Stage::new().await;
    let server = stage.backend.server(", pool: { max: 1 }");
    let caller = Caller::asking();
    let mut first = stage.begin(&caller, &server).await;
    stage.finish(0);
    over(&mut first).await;
    first.retire();
    stage.ask_beside(0).await;
    let mut second = streaming(caller.call(&server).await.unwrap());
    asked(&mut second).await;
    let sessions = stage.sessions();
    assert_eq!(sessions[0], sessions[1]);
    drop(first);
}
