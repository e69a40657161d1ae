//! Hundreds of calls at once, of clients and servers of both eras, with equal ids and progress tokens, answered in any
//! order, asking all at the same time: nobody ever gets another's message, and nothing is left when they are over.
#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::unwrap_used,
    reason = "what a test sets up and cannot do without may stop it, in the functions beside the tests too"
)]

mod crowd;
mod plan;
mod play;

use gatepost_testkit::gate::{Era, Gate, PATIENCE, Stage, eventually};
use serde_json::json;
use tokio::time::timeout;

use crate::crowd::Crowd;
use crate::plan::{Person, Script, Server};
use crate::play::Play;

const GATEPOST: &str = env!("CARGO_BIN_EXE_gatepost");

/// Processes, and sessions for clients that can be asked, of each server.
const POOL: usize = 3;

const SERVERS: [Server; 7] = [
    server("modern", Era::Modern),
    server("legacy", Era::Legacy),
    Server {
        aside: true,
        ..server("beside", Era::Legacy)
    },
    Server {
        program: true,
        aside: true,
        ..server("lines", Era::Legacy)
    },
    Server {
        program: true,
        ..server("modernlines", Era::Modern)
    },
    Server {
        aside: true,
        own: true,
        ..server("own", Era::Legacy)
    },
    Server {
        program: true,
        aside: true,
        own: true,
        ..server("ownlines", Era::Legacy)
    },
];

const fn server(name: &'static str, era: Era) -> Server {
    Server {
        name,
        era,
        program: false,
        aside: false,
        own: false,
    }
}

/// Of both eras by turns; every third cannot be asked, every fourth and fifth have one connection for everything.
fn people(count: usize) -> Vec<Person> {
    (0..count)
        .map(|at| Person {
            era: if at.is_multiple_of(2) {
                Era::Legacy
            } else {
                Era::Modern
            },
            able: at % 3 != 2,
            keeps_alive: at % 5 > 2,
        })
        .collect()
}

async fn play(seed: u64, slack: usize, clients: usize, calls: usize) {
    let mut stage = Stage::default();
    let mut configured = serde_json::Map::new();
    for server in SERVERS {
        let mut entry = if server.program {
            let (command, args) = stage.program(server.era).await;
            json!({ "command": command, "args": args })
        } else {
            json!({ "url": stage.http(server.era).await })
        };
        // A client's own session is never given up for another's.
        let most = if server.own { POOL + clients } else { POOL };
        entry["pool"] = json!({ "max": most });
        // A call may be left alone for as long as the play lasts.
        entry["timeout"] = "10m".into();
        if server.own {
            entry["isolation"] = "session".into();
        }
        configured.insert(server.name.to_owned(), entry);
    }
    let configuration = format!("servers: {}", serde_json::Value::Object(configured));
    let gate = Gate::start(GATEPOST, &configuration).await;
    let people = people(clients);
    let crowd = Crowd::gather(&gate, &people).await;
    let mut play = Play::new(seed, slack, SERVERS.to_vec(), people, stage, crowd);
    // From its first question beside a call on, the gate knows that a server needs sessions for one call each.
    for (number, server) in SERVERS.iter().enumerate() {
        if server.aside && !server.program {
            play.one_calls(0, Script::asks_once(number)).await;
        }
    }
    play.all_call(calls).await;
    let (answered, all) = play.answered();
    assert!(
        answered * 3 > all * 2,
        "seed {seed}: only {answered} of {all} calls were answered"
    );
    eventually("nothing is in flight", async || {
        gate.health().await["in_flight"] == 0
    })
    .await;
    // What the gate has given up it ends at the same time as it goes on.
    let left_over = |play: &Play| {
        SERVERS.iter().enumerate().find(|(number, server)| {
            let open = play.lines.iter().filter(|(at, _)| at == number).count();
            open > POOL + 1 && (!server.own || open > POOL + clients + 1)
        })
    };
    play.hear_what_is_there().await;
    let settled = async {
        while left_over(&play).is_some() {
            play.hear_one().await;
        }
    };
    if timeout(PATIENCE, settled).await.is_err() {
        let (_, server) = left_over(&play).expect("what was waited for");
        panic!(
            "seed {seed}: sessions of {} are left: {:?}",
            server.name, play.lines
        );
    }
    play.leave().await;
    eventually("no session is held", async || {
        gate.health().await["sessions_held"] == 0
    })
    .await;
}

/// One thing at a time: what happens is the same whenever it is run.
#[tokio::test]
async fn nobody_gets_anothers_message_in_lock_step() {
    for seed in [1, 2] {
        play(seed, 0, 8, 16).await;
    }
}

/// Moves overtake their consequences.
#[tokio::test]
async fn nobody_gets_anothers_message_in_a_hurry() {
    for (seed, slack) in [(3, 2), (4, 8), (5, 40)] {
        play(seed, slack, 12, 24).await;
    }
}
