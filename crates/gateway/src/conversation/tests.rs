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
    assert!(!conversations.answer(ben, response(&for_ann.id().to_string())));
    assert!(!conversations.answer(ann, response("\"x\"")));
    assert!(!conversations.answer(ann, response("12345")));
    assert!(conversations.answer(ann, response(&for_ann.id().to_string())));
    let answer = (&mut for_ann.answer).await.unwrap();
    assert_eq!(answer.id().unwrap().as_u64(), Some(for_ann.id()));
    assert!(
        !conversations.answer(ann, response(&for_ann.id().to_string())),
        "answered already"
    );
}

#[test]
fn a_question_that_nobody_waits_for_is_withdrawn() {
    let Setting {
        conversations, ann, ..
    } = setting();
    let asked = conversations.ask(ann);
    let number = asked.id().to_string();
    drop(asked);
    assert!(!conversations.answer(ann, response(&number)));
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
    assert!(conversations.answer(ben, response(&kept.id().to_string())));
    assert!((&mut kept.answer).await.is_ok());
}
