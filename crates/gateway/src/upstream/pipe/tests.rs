use gatepost_protocol::envelope::Message;
use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader, DuplexStream, Lines},
    task::JoinHandle,
};

use super::{call::MAX_WAITING, inlet::leading_id, *};
use crate::upstream::change::Change;

/// The server's end of a pipe.
struct Far {
    lines: Lines<BufReader<tokio::io::ReadHalf<DuplexStream>>>,
    out: tokio::io::WriteHalf<DuplexStream>,
}

impl Far {
    async fn hear(&mut self) -> String {
        self.lines.next_line().await.unwrap().unwrap()
    }

    async fn say(&mut self, line: &str) {
        self.out.write_all(line.as_bytes()).await.unwrap();
        self.out.write_all(b"\n").await.unwrap();
    }

    async fn answer(&mut self, id: u64) {
        self.say(&format!(r#"{{"jsonrpc":"2.0","id":{id},"result":{{"n":{id}}}}}"#))
            .await;
    }
}

fn connect(manners: Manners, limit: u64) -> (Arc<Pipe>, Far, Announcer, JoinHandle<()>) {
    let announcer = Announcer::new();
    let (ours, theirs) = tokio::io::duplex(1 << 16);
    let (pipe, inlet, unsent) = Pipe::new("s".into(), announcer.clone());
    pipe.set_manners(manners, None);
    let (from, to) = tokio::io::split(ours);
    tokio::spawn(write_lines(to, unsent));
    let reading = tokio::spawn(async move {
        let why = read_lines(from, &inlet, limit).await;
        inlet.end(&why);
    });
    let (from, out) = tokio::io::split(theirs);
    (
        pipe,
        Far {
            lines: BufReader::new(from).lines(),
            out,
        },
        announcer,
        reading,
    )
}

fn ping(id: u64) -> Bytes {
    format!(r#"{{"jsonrpc":"2.0","id":{id},"method":"tools/call"}}"#).into()
}

fn method(message: &Message) -> &str {
    match message {
        Message::Request(request) => request.method(),
        Message::Notification(notification) => notification.method(),
        Message::Response(_) => "response",
    }
}

#[tokio::test]
async fn answers_find_their_calls_in_any_order() {
    let (pipe, mut far, _, _) = connect(Manners::Mute, 1000);
    let calls = (0..50).map(|_| {
        let pipe = Arc::clone(&pipe);
        async move {
            let ticket = pipe.call(false, ping).await.unwrap();
            let id = ticket.id();
            (id, ticket.response().await.unwrap())
        }
    });
    let serving = async {
        let mut ids = Vec::new();
        for _ in 0..50 {
            let line = far.hear().await;
            let Ok(Message::Request(request)) = Message::parse(line.into(), Strictness::Edge) else {
                panic!()
            };
            ids.push(request.id().as_u64().unwrap());
        }
        ids.reverse();
        for id in &ids {
            far.answer(*id).await;
        }
        ids.sort_unstable();
        ids.dedup();
        assert_eq!(ids.len(), 50, "ids are unique");
    };
    let (answers, ()) = tokio::join!(futures_util::future::join_all(calls), serving);
    for (id, response) in answers {
        assert!(response.raw().ends_with(format!(r#"{{"n":{id}}}}}"#).as_bytes()));
    }
    assert_eq!(pipe.in_flight(), 0);
}

#[tokio::test]
async fn what_is_not_json_is_skipped() {
    let (pipe, mut far, _, _) = connect(Manners::Mute, 1000);
    let ticket = pipe.call(false, ping).await.unwrap();
    for line in [
        "Server started!",
        "",
        "{\"jsonrpc\":",
        "[1,2]",
        "\u{1b}[32mok",
        "{\"id\":1}",
    ] {
        far.say(line).await;
    }
    far.say(r#"[{"jsonrpc":"2.0","id":1,"result":{}}]"#).await;
    ticket.response().await.unwrap();
    // The array holds two things that are no messages.
    assert_eq!(pipe.nonsense.load(Relaxed), 6);
}

#[tokio::test]
async fn a_line_over_the_limit_fails_its_call_and_no_other() {
    let (pipe, mut far, _, _) = connect(Manners::Mute, 200);
    let large = pipe.call(false, ping).await.unwrap();
    let small = pipe.call(false, ping).await.unwrap();
    far.say(&format!(
        r#"{{"jsonrpc":"2.0","id":1,"result":{{"text":"{}"}}}}"#,
        "x".repeat(500)
    ))
    .await;
    assert!(matches!(large.response().await, Err(Fault::TooLarge(200))));
    far.answer(2).await;
    small.response().await.unwrap();
}

#[tokio::test]
async fn a_line_that_never_ends_ends_the_connection_in_bounded_memory() {
    let (pipe, mut far, _, reading) = connect(Manners::Mute, 10_000);
    let ticket = pipe.call(false, ping).await.unwrap();
    let endless = tokio::spawn(async move { while far.out.write_all(&[b'x'; 4096]).await.is_ok() {} });
    assert!(matches!(ticket.response().await, Err(Fault::TooLarge(10_000))));
    reading.await.unwrap();
    assert!(!pipe.alive());
    endless.abort();
}

#[tokio::test]
async fn the_end_reaches_every_call_and_those_to_come() {
    let (pipe, far, _, _) = connect(Manners::Mute, 1000);
    let ticket = pipe.call(false, ping).await.unwrap();
    drop(far);
    assert!(matches!(ticket.response().await, Err(Fault::Ended(_))));
    assert!(matches!(pipe.call(false, ping).await, Err(Fault::Ended(_))));
    pipe.closed().await;
}

#[tokio::test]
async fn progress_goes_by_its_token_and_log_lines_only_where_they_are_certain() {
    let (pipe, mut far, announcer, _) = connect(Manners::Mute, 1000);
    let mut changes = announcer.listen();
    let mut first = pipe.call(false, ping).await.unwrap();
    let log = r#"{"jsonrpc":"2.0","method":"notifications/message","params":{"level":"info","data":"x"}}"#;
    far.say(log).await;
    assert_eq!(method(&first.next().await.unwrap()), "notifications/message");
    let mut second = pipe.call(false, ping).await.unwrap();
    // Two calls are in flight: nobody can tell whose this is.
    far.say(log).await;
    let progress =
        r#"{"jsonrpc":"2.0","method":"notifications/progress","params":{"progressToken":2,"progress":1}}"#;
    far.say(progress).await;
    far.say(r#"{"jsonrpc":"2.0","method":"notifications/tools/list_changed"}"#)
        .await;
    far.answer(1).await;
    far.answer(2).await;
    assert_eq!(method(&first.next().await.unwrap()), "response");
    assert_eq!(method(&second.next().await.unwrap()), "notifications/progress");
    assert_eq!(method(&second.next().await.unwrap()), "response");
    assert_eq!(changes.recv().await.unwrap(), Change::Tools);
    assert_eq!(pipe.dropped.load(Relaxed), 1);
}

/// A server may still be at a call that its client has given up: what it logs then is not taken for another client's.
#[tokio::test(start_paused = true)]
async fn log_lines_reach_nobody_while_the_server_may_be_at_an_abandoned_call() {
    let (pipe, mut far, announcer, _) = connect(Manners::Mute, 1000);
    let mut changes = announcer.listen();
    let log = r#"{"jsonrpc":"2.0","method":"notifications/message","params":{"level":"info","data":"x"}}"#;
    let changed = r#"{"jsonrpc":"2.0","method":"notifications/tools/list_changed"}"#;
    // It ends with the answer, or when the server has had time enough.
    for answered in [true, false] {
        let abandoned = pipe.call(false, ping).await.unwrap();
        let id = abandoned.id();
        let mut other = pipe.call(false, ping).await.unwrap();
        drop(abandoned);
        far.say(log).await;
        if answered {
            far.answer(id).await;
        } else {
            // Everything before it has been heard.
            far.say(changed).await;
            changes.recv().await.unwrap();
            tokio::time::sleep(LEFT_FOR).await;
        }
        far.say(log).await;
        far.answer(other.id()).await;
        assert_eq!(method(&other.next().await.unwrap()), "notifications/message");
        assert_eq!(method(&other.next().await.unwrap()), "response");
    }
    assert_eq!(pipe.dropped.load(Relaxed), 2);
}

#[tokio::test]
async fn progress_of_unknown_tokens_is_dropped_and_counted() {
    let (pipe, mut far, _, _) = connect(Manners::Mute, 1000);
    let ended = pipe.call(false, ping).await.unwrap();
    far.answer(1).await;
    ended.response().await.unwrap();
    let mut ticket = pipe.call(false, ping).await.unwrap();
    // The token of a call that has ended, one never given out, and no token of ours.
    for token in ["1", "77", "\"x\"", "null", "2.5"] {
        far.say(&format!(
            r#"{{"jsonrpc":"2.0","method":"notifications/progress","params":{{"progressToken":{token},"progress":1}}}}"#
        ))
        .await;
    }
    far.answer(2).await;
    assert_eq!(method(&ticket.next().await.unwrap()), "response");
    assert_eq!(pipe.dropped.load(Relaxed), 5);
}

#[tokio::test]
async fn what_nobody_reads_is_bounded_but_the_answer_comes() {
    let (pipe, mut far, _, _) = connect(Manners::Mute, 1000);
    let mut ticket = pipe.call(false, ping).await.unwrap();
    let progress =
        r#"{"jsonrpc":"2.0","method":"notifications/progress","params":{"progressToken":1,"progress":1}}"#;
    for _ in 0..MAX_WAITING + 10 {
        far.say(progress).await;
    }
    far.answer(1).await;
    while pipe.in_flight() > 0 {
        tokio::task::yield_now().await;
    }
    let mut seen = 0;
    while method(&ticket.next().await.unwrap()) != "response" {
        seen += 1;
    }
    assert_eq!((seen, pipe.dropped.load(Relaxed)), (MAX_WAITING, 10));
}

const ASK: &str = r#"{"jsonrpc":"2.0","id":"a","method":"roots/list"}"#;

#[tokio::test]
async fn a_ping_is_answered_and_a_question_without_capability_refused() {
    let (_pipe, mut far, _, _) = connect(Manners::Mute, 1000);
    far.say(r#"{"jsonrpc":"2.0","id":7,"method":"ping"}"#).await;
    assert_eq!(far.hear().await, r#"{"jsonrpc":"2.0","id":7,"result":{}}"#);
    far.say(ASK).await;
    assert!(
        far.hear()
            .await
            .starts_with(r#"{"jsonrpc":"2.0","id":"a","error":{"code":-32601"#)
    );
}

#[tokio::test]
async fn a_question_belongs_to_the_only_call_or_to_the_next() {
    let (pipe, mut far, _, _) = connect(Manners::Leased, 1000);
    far.say(ASK).await;
    far.say(r#"{"jsonrpc":"2.0","id":7,"method":"ping"}"#).await;
    far.hear().await;
    let mut ticket = pipe.call(false, ping).await.unwrap();
    assert_eq!(method(&ticket.next().await.unwrap()), "roots/list");
    far.say(ASK).await;
    assert_eq!(method(&ticket.next().await.unwrap()), "roots/list");
}

#[tokio::test(start_paused = true)]
async fn a_question_that_belongs_to_no_call_is_refused_after_a_while() {
    let (pipe, mut far, _, _) = connect(Manners::Leased, 1000);
    far.say(ASK).await;
    assert!(
        far.hear()
            .await
            .starts_with(r#"{"jsonrpc":"2.0","id":"a","error":{"code":-32603"#)
    );
    assert!(pipe.books().held.is_empty());
}

#[tokio::test]
async fn a_modern_server_must_not_ask() {
    let (pipe, mut far, _, _) = connect(Manners::Modern, 1000);
    let ticket = pipe.call(false, ping).await.unwrap();
    far.say(ASK).await;
    assert!(matches!(ticket.response().await, Err(Fault::Violation(text)) if text.contains("roots/list")));
}

#[tokio::test]
async fn messages_are_one_line_each() {
    let (pipe, mut far, _, _) = connect(Manners::Mute, 1000);
    pipe.send(Bytes::from_static(b"{\"a\":\r\n1}")).await.unwrap();
    pipe.send(cancelled(3, "no \"use\"")).await.unwrap();
    assert_eq!(far.hear().await, "{\"a\":  1}");
    assert_eq!(
        far.hear().await,
        r#"{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":3,"reason":"no \"use\""}}"#
    );
}

#[test]
fn the_id_of_a_cut_message_is_found() {
    assert_eq!(
        leading_id(br#"{"jsonrpc":"2.0","id" : 12,"result":{"id":3"#),
        Some(12)
    );
    assert_eq!(leading_id(br#"{"jsonrpc":"2.0","id":"a","result""#), None);
    assert_eq!(leading_id(b"xxxx"), None);
}

/// The far end hears `id` refused with `code`.
async fn refused(far: &mut Far, id: &str, code: i32) {
    let line = far.hear().await;
    let expected = format!(r#"{{"jsonrpc":"2.0","id":{id},"error":{{"code":{code}"#);
    assert!(line.starts_with(&expected), "{line}");
}

#[tokio::test]
async fn the_only_call_is_asked_whatever_its_client_declared() {
    let (pipe, mut far, _, _) = connect(Manners::Mute, 1000);
    let mut only = pipe.call(false, ping).await.unwrap();
    far.hear().await;
    far.say(ASK).await;
    let Message::Request(question) = only.next().await.unwrap() else {
        panic!("a question")
    };
    // Nobody on this connection can be asked, so it waits for nobody.
    pipe.put_back(&question);
    refused(&mut far, r#""a""#, -32601).await;
    // It may be either one's.
    let other = pipe.call(false, ping).await.unwrap();
    far.hear().await;
    far.say(ASK).await;
    refused(&mut far, r#""a""#, -32601).await;
    drop((only, other));
}

#[tokio::test]
async fn a_question_that_is_put_back_or_unread_is_for_the_next_call() {
    let (pipe, mut far, _, _) = connect(Manners::Leased, 1000);
    let mut first = pipe.call(false, ping).await.unwrap();
    far.say(ASK).await;
    far.answer(1).await;
    let Message::Request(question) = first.next().await.unwrap() else {
        panic!("a question")
    };
    assert_eq!(method(&first.next().await.unwrap()), "response");
    pipe.put_back(&question);
    drop(first);
    let second = pipe.call(false, ping).await.unwrap();
    assert!(pipe.books().held.is_empty());
    drop(second);
    let mut third = pipe.call(false, ping).await.unwrap();
    assert_eq!(method(&third.next().await.unwrap()), "roots/list");
}

#[tokio::test]
async fn a_call_that_nobody_waits_for_leaves_no_question_open() {
    let (pipe, mut far, _, _) = connect(Manners::Leased, 1000);
    let ticket = pipe.call(false, ping).await.unwrap();
    far.hear().await;
    let waiting = tokio::spawn(ticket.response());
    far.say(ASK).await;
    refused(&mut far, r#""a""#, -32603).await;
    far.answer(1).await;
    waiting.await.unwrap().unwrap();
}

#[tokio::test]
async fn a_later_call_hears_of_an_answered_ones_progress_until_it_ends_itself() {
    let (pipe, mut far, _, _) = connect(Manners::Mute, 1000);
    let made = pipe.call(false, ping).await.unwrap();
    let id = made.id();
    far.answer(id).await;
    made.response().await.unwrap();
    let mut waiting = pipe.call(false, ping).await.unwrap();
    waiting.inherit(id);
    // The other call makes sure that nothing is guessed.
    let _other = pipe.call(false, ping).await.unwrap();
    let progress =
        format!(r#"{{"jsonrpc":"2.0","method":"notifications/progress","params":{{"progressToken":{id}}}}}"#);
    far.say(&progress).await;
    assert_eq!(method(&waiting.next().await.unwrap()), "notifications/progress");
    drop(waiting);
    assert!(pipe.books().heirs.is_empty());
}

#[tokio::test]
async fn a_notice_of_a_task_goes_to_the_stream_that_asked_for_it() {
    let (pipe, mut far, _, _) = connect(Manners::Modern, 1000);
    let mut first = pipe.call(true, ping).await.unwrap();
    let mut second = pipe.call(true, ping).await.unwrap();
    for ticket in [&mut second, &mut first] {
        let id = ticket.id();
        let meta = format!(r#""_meta":{{"io.modelcontextprotocol/subscriptionId":{id}}}"#);
        far.say(&format!(
            r#"{{"jsonrpc":"2.0","method":"notifications/tasks","params":{{"taskId":"t{id}",{meta}}}}}"#
        ))
        .await;
        let Message::Notification(notice) = ticket.next().await.unwrap() else {
            panic!("no notification");
        };
        assert_eq!(notice.param_text("taskId").unwrap(), format!("t{id}"));
    }
}

#[tokio::test]
async fn a_server_that_asks_and_does_not_read_is_answered_in_bounded_memory() {
    let (pipe, inlet, _unread) = Pipe::new("s".into(), Announcer::new());
    let extra = 10;
    for id in 0..MAX_UNSENT + MAX_UNSENT_ANSWERS + extra {
        let question = format!(r#"{{"jsonrpc":"2.0","id":{id},"method":"roots/list"}}"#);
        inlet.receive(&question.into());
    }
    assert_eq!(pipe.unsent_answers.load(Relaxed), MAX_UNSENT_ANSWERS);
    assert_eq!(pipe.dropped.load(Relaxed), extra as u64);
}
