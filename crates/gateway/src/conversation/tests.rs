use bytes::Bytes;
use gatepost_protocol::{envelope::Message, json::Strictness};

use super::*;

fn id(raw: &str) -> Id {
    Id::from_raw(raw.as_bytes()).unwrap()
}

fn response(id: &str) -> Response {
    let raw = Bytes::from(format!(r#"{{"jsonrpc":"2.0","id":{id},"result":{{}}}}"#));
    match Message::parse(raw, Strictness::Edge) {
        Ok(Message::Response(response)) => response,
        other => panic!("{other:?}"),
    }
}

struct Setting {
    conversations: Arc<Conversations>,
    ann: ConversationId,
    ben: ConversationId,
}

fn setting() -> Setting {
    Setting {
        conversations: Arc::default(),
        ann: ConversationId::new().unwrap(),
        ben: ConversationId::new().unwrap(),
    }
}

#[tokio::test]
async fn a_call_is_cancelled_by_its_own_conversation_and_id() {
    let Setting {
        conversations,
        ann,
        ben,
    } = setting();
    let calls = [(ann, "1"), (ann, "\"1\""), (ben, "1")].map(|(whose, raw)| {
        let cancellation = Arc::<Cancellation>::default();
        let open = conversations.open_call(whose, id(raw), Arc::clone(&cancellation));
        (cancellation, open)
    });
    assert!(!conversations.cancel(ben, id("\"1\"")), "not ben's");
    assert!(conversations.cancel(ann, id("\"1\"")));
    let cancelled = calls.each_ref().map(|(call, _)| call.is_cancelled());
    assert_eq!(cancelled, [false, true, false]);
    calls[1].0.cancelled().await;
    // The wish crosses the answer now and then; once is enough.
    assert!(!conversations.cancel(ann, id("\"1\"")));
}

#[test]
fn a_finished_call_is_forgotten() {
    let Setting {
        conversations, ann, ..
    } = setting();
    let cancellation = Arc::<Cancellation>::default();
    drop(conversations.open_call(ann, id("1"), Arc::clone(&cancellation)));
    assert!(!conversations.cancel(ann, id("1")));
    assert!(!cancellation.is_cancelled());
    assert!(conversations.shard(ann).calls.is_empty());
}

#[test]
fn a_repeated_id_replaces_the_first_and_ends_with_its_own_call() {
    let Setting {
        conversations, ann, ..
    } = setting();
    let [first, second] = [(); 2].map(|()| Arc::<Cancellation>::default());
    let old = conversations.open_call(ann, id("1"), Arc::clone(&first));
    let _new = conversations.open_call(ann, id("1"), Arc::clone(&second));
    drop(old);
    assert!(conversations.cancel(ann, id("1")), "the second is still open");
    assert!(second.is_cancelled() && !first.is_cancelled());
}

#[tokio::test]
async fn an_answer_reaches_only_the_question_of_its_conversation() {
    let Setting {
        conversations,
        ann,
        ben,
    } = setting();
    let mut for_ann = conversations.ask(ann);
    let for_ben = conversations.ask(ben);
    assert_ne!(for_ann.id(), for_ben.id(), "unique over all clients");
    let answer = |whose, id: &str| conversations.answer(whose, response(id));
    assert_eq!(answer(ben, &for_ann.id().to_string()), Heard::Late);
    for never in ["\"x\"", "12345", "0", "-1"] {
        assert_eq!(answer(ann, never), Heard::Unknown, "{never}");
    }
    assert_eq!(answer(ann, &for_ann.id().to_string()), Heard::Delivered);
    let answer = (&mut for_ann.answer).await.unwrap();
    assert_eq!(answer.id().unwrap().as_u64(), Some(for_ann.id()));
    let twice = conversations.answer(ann, response(&for_ann.id().to_string()));
    assert_eq!(twice, Heard::Late, "answered already");
}

#[test]
fn a_question_that_nobody_waits_for_is_withdrawn() {
    let Setting {
        conversations, ann, ..
    } = setting();
    let asked = conversations.ask(ann);
    let number = asked.id().to_string();
    drop(asked);
    assert_eq!(conversations.answer(ann, response(&number)), Heard::Late);
    assert!(conversations.shard(ann).questions.is_empty());
}

#[tokio::test]
async fn the_end_of_a_conversation_is_the_end_of_what_it_had_open() {
    let Setting {
        conversations,
        ann,
        ben,
    } = setting();
    let open = |whose, raw| {
        let cancellation = Arc::<Cancellation>::default();
        let call = conversations.open_call(whose, id(raw), Arc::clone(&cancellation));
        (cancellation, call)
    };
    let (first, second, other) = (open(ann, "1"), open(ann, "2"), open(ben, "1"));
    let (mut asked, mut kept) = (conversations.ask(ann), conversations.ask(ben));
    conversations.end(ann);
    assert!(first.0.is_cancelled() && second.0.is_cancelled() && !other.0.is_cancelled());
    assert!((&mut asked.answer).await.is_err(), "no answer will come");
    assert_eq!(
        conversations.answer(ben, response(&kept.id().to_string())),
        Heard::Delivered
    );
    assert!((&mut kept.answer).await.is_ok());
}

#[test]
fn two_gates_ask_under_different_ids() {
    let ann = ConversationId::new().unwrap();
    let [here, there] = [(); 2].map(|()| Arc::new(Conversations::new().unwrap()));
    let asked = here.ask(ann);
    assert!(
        asked.id() > 0 && asked.id() < 1 << 53,
        "a number JavaScript can hold"
    );
    let answer = response(&asked.id().to_string());
    assert_eq!(there.answer(ann, answer.clone()), Heard::Unknown);
    assert_eq!(here.answer(ann, answer), Heard::Delivered);
    // The client could not read something; whatever it was, nobody waits for that.
    let raw = Bytes::from_static(br#"{"jsonrpc":"2.0","error":{"code":-32700,"message":"?"}}"#);
    let Ok(Message::Response(unread)) = Message::parse(raw, Strictness::Edge) else {
        panic!("an error without an id")
    };
    assert_eq!(here.answer(ann, unread), Heard::Late);
}

#[tokio::test]
async fn a_question_outside_a_call_goes_down_the_conversations_own_stream() {
    let Setting {
        conversations,
        ann,
        ben,
    } = setting();
    let raw = Bytes::from_static(
        br#"{"jsonrpc":"2.0","id":"q","method":"roots/list","params":{"_meta":{"progressToken":1}}}"#,
    );
    let Ok(Message::Request(question)) = Message::parse(raw, Strictness::Server) else {
        panic!("a request")
    };
    let put = |whose: ConversationId| Arc::clone(&conversations).put(*whose.bytes(), &question);
    assert!(put(ann).is_none(), "no stream is open");
    let mut old = conversations.listen(ann);
    let mut stream = conversations.listen(ann);
    assert!(old.next().await.is_none(), "another stream has taken its place");
    drop(old);
    let _other = conversations.listen(ben);
    let answer = put(ann).unwrap();
    let asked = stream.next().await.unwrap();
    let Ok(Message::Request(asked)) = Message::parse(asked, Strictness::Edge) else {
        panic!("a request")
    };
    assert_eq!(asked.method(), "roots/list");
    assert!(asked.meta("progressToken").is_none());
    let id = String::from_utf8_lossy(asked.id().bytes()).into_owned();
    assert_eq!(conversations.answer(ann, response(&id)), Heard::Delivered);
    let answer = answer.await.unwrap();
    assert_eq!(answer, r#"{"jsonrpc":"2.0","id":"q","result":{}}"#);
    // The client goes away before it answers.
    let answer = put(ann).unwrap();
    conversations.end(ann);
    assert!(answer.await.is_none());
    assert!(stream.next().await.is_some());
    assert!(stream.next().await.is_none());
    drop(stream);
    assert!(put(ann).is_none());
    assert!(!conversations.shard(ann).listeners.contains_key(&ann));
}

#[tokio::test]
async fn a_client_that_reads_and_does_not_answer_is_asked_only_so_much() {
    let Setting {
        conversations, ann, ..
    } = setting();
    let raw = r#"{"jsonrpc":"2.0","id":"q","method":"roots/list"}"#;
    let Ok(Message::Request(question)) = Message::parse(raw.into(), Strictness::Server) else {
        panic!("{raw}")
    };
    let put = || Arc::clone(&conversations).put(*ann.bytes(), &question);
    let mut listening = conversations.listen(ann);
    let mut open = Vec::new();
    for _ in 0..UNANSWERED {
        open.push(put().unwrap());
        listening.next().await.unwrap();
    }
    assert!(put().is_none());
    assert_eq!(conversations.shard(ann).questions.len(), UNANSWERED);
    drop(open.pop());
    assert!(put().is_some());
}
