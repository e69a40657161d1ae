//! The clients' ends: every request reads its own stream and tells what came there.

use std::net::SocketAddr;
use std::sync::Arc;

use gatepost_testkit::gate::{Client, Connection, Era, Events, Gate, Post, Reply};
use serde_json::{Value, json};
use tokio::sync::{Mutex, mpsc};
use tokio::task::{AbortHandle, JoinSet};

use crate::plan::Person;

/// Where something came: which client's which call, and in which of the rounds of it. Calls count from 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) client: usize,
    pub(crate) call: usize,
    pub(crate) round: usize,
}

/// What came to a client.
#[derive(Debug)]
pub(crate) enum Came {
    Message(Place, Value),
    /// The stream of that round is over.
    End(Place),
    /// On the stream of a legacy client's session.
    Beside(usize, Value),
}

/// All clients.
pub(crate) struct Crowd {
    address: SocketAddr,
    ends: Vec<End>,
    came: mpsc::UnboundedReceiver<Came>,
    telling: mpsc::UnboundedSender<Came>,
    reading: JoinSet<()>,
}

struct End {
    person: Person,
    /// Of a legacy client.
    session: Option<Arc<Client>>,
    kept: Option<Arc<Mutex<Option<Connection>>>>,
}

/// The id of a request: equal for all clients.
pub(crate) fn id(place: Place) -> Value {
    json!(place.call + 1000 * place.round)
}

/// The progress token of a request: equal for all clients, a number for some calls and a string for others.
pub(crate) fn token(place: Place) -> Value {
    let number = place.call + 1000 * place.round;
    if place.call.is_multiple_of(3) {
        json!(number.to_string())
    } else {
        json!(number)
    }
}

impl Crowd {
    pub(crate) async fn gather(gate: &Gate, people: &[Person]) -> Self {
        let (telling, came) = mpsc::unbounded_channel();
        let mut crowd = Self {
            address: gate.address(),
            ends: Vec::new(),
            came,
            telling,
            reading: JoinSet::new(),
        };
        for (number, person) in people.iter().enumerate() {
            let mut session = None;
            if person.era == Era::Legacy {
                let client =
                    Client::legacy_of(crowd.address, "/mcp", "2025-11-25", person.capabilities()).await;
                let level = client.ask("logging/setLevel", r#"{"level":"debug"}"#).await;
                assert_eq!(level.status, 200, "{}", level.text());
                let mut beside = client.listen().await;
                let telling = crowd.telling.clone();
                crowd.reading.spawn(async move {
                    while let Some(message) = next(&mut beside).await {
                        _ = telling.send(Came::Beside(number, message));
                    }
                });
                session = Some(Arc::new(client));
            }
            let kept = person.keeps_alive.then(Arc::default);
            crowd.ends.push(End {
                person: *person,
                session,
                kept,
            });
        }
        crowd
    }

    pub(crate) async fn came(&mut self) -> Came {
        loop {
            tokio::select! {
                biased;
                came = self.came.recv() => return came.expect("the sender is here"),
                Some(Err(ended)) = self.reading.join_next() => if ended.is_panic() {
                    std::panic::resume_unwind(ended.into_panic());
                },
            }
        }
    }

    /// Calls the server's tool; `more` is further members of `params`, as text before a comma.
    pub(crate) fn call(&mut self, place: Place, server: &str, mark: &str, more: &str) -> AbortHandle {
        let end = &self.ends[place.client];
        let (id, token) = (id(place).to_string(), token(place));
        let params = format!(r#"{more}"name":"{server}__turn","arguments":{{"mark":"{mark}"}}"#);
        let post = match &end.session {
            Some(session) => session.request_as(
                &id,
                "tools/call",
                &format!(r#"{{"_meta":{{"progressToken":{token}}},{params}}}"#),
            ),
            None => Client::modern(self.address, "/mcp")
                .with_capabilities(end.person.capabilities())
                .with_meta(&format!(
                    r#""progressToken":{token},"io.modelcontextprotocol/logLevel":"debug""#
                ))
                .request_as(&id, "tools/call", &format!("{{{params}}}")),
        };
        let (address, kept, telling) = (self.address, end.kept.clone(), self.telling.clone());
        self.reading.spawn(async move {
            match kept {
                None => {
                    let reply = post.send_whenever(address).await.expect("an answer");
                    read(reply, place, &telling).await;
                }
                Some(kept) => over(&kept, &post, address, place, &telling).await,
            }
            _ = telling.send(Came::End(place));
        })
    }

    /// A legacy client says something that has no answer; `message` lacks the version.
    pub(crate) fn say(&mut self, client: usize, mut message: Value) {
        let session = self.ends[client].session.clone().expect("a legacy client");
        message["jsonrpc"] = "2.0".into();
        let post = session.post("", "{}", message.to_string());
        let address = self.address;
        self.reading.spawn(async move {
            let taken = post.send(address).await.whole().await;
            assert_eq!(taken.status, 202, "{message}: {}", taken.text());
        });
    }

    /// Sessions end.
    pub(crate) async fn leave(&mut self) {
        self.reading.shutdown().await;
        for end in &self.ends {
            if let Some(session) = &end.session {
                session.delete().await;
            }
        }
    }
}

/// The next message of a stream.
async fn next(events: &mut Events) -> Option<Value> {
    loop {
        // Nothing may come for as long as the play lasts, and a busy machine takes its time; the play notices if nothing
        // happens any more.
        let event = events.next_whenever().await?;
        // One that only gives an id is empty.
        if !event.data.is_empty() {
            return Some(event.json());
        }
    }
}

async fn read(reply: Reply, place: Place, telling: &mpsc::UnboundedSender<Came>) {
    let tell = |message| _ = telling.send(Came::Message(place, message));
    if reply.header("content-type") != Some("text/event-stream") {
        return tell(reply.whole().await.json());
    }
    let mut events = reply.events();
    while let Some(message) = next(&mut events).await {
        tell(message);
    }
}

async fn over(
    kept: &Mutex<Option<Connection>>,
    post: &Post,
    address: SocketAddr,
    place: Place,
    telling: &mpsc::UnboundedSender<Came>,
) {
    let mut kept = kept.lock().await;
    let mut connection = match kept.take() {
        Some(connection) => connection,
        None => Connection::open(address).await.expect("a connection"),
    };
    let reply = connection.exchange(post).await.expect("an answer");
    read(reply, place, telling).await;
    *kept = Some(connection);
}
