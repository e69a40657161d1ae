//! Plays a plan: one move after another, drawn from the same dice, and holds against what was said whatever anybody hears.
//!
//! Everything that is said bears a mark of its call, and what must follow from a move is written down before it is made.
//! What is heard must have been expected just there, and is then expected no more: nothing comes twice, and nothing comes
//! to anybody else.

mod heard;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use gatepost_testkit::gate::{Era, Line, Part, Stage};
use serde_json::{Value, json};
use tokio::task::AbortHandle;

use crate::crowd::{Crowd, Place, id};
use crate::plan::{Dice, Fate, Kind, Person, Script, Server, Step};

/// Calls of one client that are under way at once.
const AT_ONCE: usize = 4;
/// Moves, and what was heard of them, that a failure shows.
const SHOWN: usize = 120;

/// A play that goes on.
pub(crate) struct Play {
    seed: u64,
    dice: Dice,
    /// So many consequences may be outstanding when the next move is made; 0: one thing at a time.
    slack: usize,
    servers: Vec<Server>,
    people: Vec<Person>,
    stage: Stage,
    crowd: Crowd,
    calls: Vec<Call>,
    /// What must be heard, and is waited for.
    due: BTreeSet<String>,
    /// What must be heard, at some time.
    later: BTreeSet<String>,
    /// What may be heard.
    perhaps: BTreeSet<String>,
    /// Ids and progress tokens that servers have seen, each for good.
    used: BTreeSet<(usize, u64, String)>,
    asked: BTreeMap<(usize, u64), u64>,
    pub(crate) lines: BTreeSet<(usize, u64)>,
    moves: Vec<String>,
}

/// A call, from both ends.
struct Call {
    client: usize,
    number: usize,
    mark: String,
    script: Script,
    /// Steps that the server has done.
    done: usize,
    begun: bool,
    /// Times it was sent by the client, less one.
    round: usize,
    /// Times it reached the server.
    arrived: usize,
    /// The client's request in flight.
    open: Option<AbortHandle>,
    /// The server's end.
    part: Option<Part>,
    /// Under which id the server knew it last, and where.
    known_as: Option<(Line, Value)>,
    /// What its server expects back.
    state: Option<String>,
    /// What a modern client was given to bring back.
    ticket: Option<Value>,
    asks: Vec<Ask>,
    told: u64,
    /// The last progress that its client saw.
    seen: u64,
    ended: bool,
    /// Its client has given it up.
    gone: bool,
}

/// A question of a call.
struct Ask {
    mark: String,
    kind: Kind,
    /// A legacy server's id.
    id: Value,
    /// How its client knows it: a request's id, or a key.
    known_as: Option<Value>,
    /// The client has answered, with an error or not.
    answered: Option<bool>,
    /// The server has its answer.
    over: bool,
}

#[derive(Debug, Clone, Copy)]
enum Move {
    Call(usize),
    Serve(usize),
    /// A legacy client answers one question.
    Answer(usize, usize),
    /// A modern client comes back.
    Return(usize),
    GiveUp(usize),
}

impl Play {
    pub(crate) fn new(
        seed: u64,
        slack: usize,
        servers: Vec<Server>,
        people: Vec<Person>,
        stage: Stage,
        crowd: Crowd,
    ) -> Self {
        Self {
            seed,
            dice: Dice::new(seed),
            slack,
            servers,
            people,
            stage,
            crowd,
            calls: Vec::new(),
            due: BTreeSet::new(),
            later: BTreeSet::new(),
            perhaps: BTreeSet::new(),
            used: BTreeSet::new(),
            asked: BTreeMap::new(),
            lines: BTreeSet::new(),
            moves: Vec::new(),
        }
    }

    /// Every client makes so many calls, at the same time.
    pub(crate) async fn all_call(&mut self, times: usize) {
        let first = self.next_number();
        for number in first..first + times {
            for client in 0..self.people.len() {
                let script = Script::draw(&mut self.dice, &self.servers, self.people[client]);
                self.add(client, number, script);
            }
        }
        self.run().await;
    }

    /// One client makes one call, alone.
    pub(crate) async fn one_calls(&mut self, client: usize, script: Script) {
        let number = self.next_number();
        self.add(client, number, script);
        self.run().await;
    }

    fn next_number(&self) -> usize {
        self.calls.iter().map(|call| call.number).max().unwrap_or(0) + 1
    }

    fn add(&mut self, client: usize, number: usize, script: Script) {
        self.calls.push(Call {
            client,
            number,
            mark: format!("c{client}k{number}"),
            script,
            done: 0,
            begun: false,
            round: 0,
            arrived: 0,
            open: None,
            part: None,
            known_as: None,
            state: None,
            ticket: None,
            asks: Vec::new(),
            told: 0,
            seen: 0,
            ended: false,
            gone: false,
        });
    }

    async fn run(&mut self) {
        loop {
            tokio::task::yield_now().await;
            self.hear_what_is_there().await;
            while self.due.len() > self.slack {
                self.hear().await;
            }
            let moves = self.moves();
            if moves.is_empty() {
                if self.calls.iter().all(Call::is_over) && self.due.is_empty() && self.later.is_empty() {
                    return;
                }
                self.hear().await;
            } else {
                let next = moves[self.dice.roll(moves.len())];
                let about = match next {
                    Move::Call(at)
                    | Move::Serve(at)
                    | Move::Answer(at, _)
                    | Move::Return(at)
                    | Move::GiveUp(at) => &self.calls[at],
                };
                self.moves.push(format!("{next:?} {}", about.mark));
                self.make(next);
            }
        }
    }

    /// Sessions end.
    pub(crate) async fn leave(&mut self) {
        self.crowd.leave().await;
    }

    /// What has come by now.
    pub(crate) async fn hear_what_is_there(&mut self) {
        while tokio::time::timeout(Duration::ZERO, self.hear_one())
            .await
            .is_ok()
        {}
    }

    // === moves ===

    fn moves(&self) -> Vec<Move> {
        let mut moves = Vec::new();
        let mut under_way = vec![0; self.people.len()];
        let mut connected = vec![false; self.people.len()];
        for call in self.calls.iter().filter(|call| call.begun && !call.is_over()) {
            under_way[call.client] += 1;
            connected[call.client] |= call.open.is_some();
        }
        for (at, call) in self.calls.iter().enumerate() {
            let person = self.people[call.client];
            let free = !(person.keeps_alive && connected[call.client]);
            if !call.begun {
                if free && under_way[call.client] < AT_ONCE {
                    moves.push(Move::Call(at));
                }
                // The next one only after this one.
                under_way[call.client] = AT_ONCE;
                continue;
            }
            let waits = call.asks.iter().any(Ask::is_open);
            if call.part.is_some()
                && (call.gone || !waits || !matches!(call.script.steps.front(), Some(Step::End { .. })))
            {
                moves.push(Move::Serve(at));
            }
            if call.gone {
                continue;
            }
            match person.era {
                Era::Legacy => {
                    let answerable =
                        |(_, ask): &(usize, &Ask)| ask.known_as.is_some() && ask.answered.is_none();
                    let answerable = call.asks.iter().enumerate().filter(answerable);
                    moves.extend(answerable.map(|(ask, _)| Move::Answer(at, ask)));
                }
                Era::Modern if call.open.is_none() && call.ticket.is_some() && free => {
                    moves.push(Move::Return(at));
                }
                Era::Modern => {}
            }
            if self.gives_up(call) {
                moves.push(Move::GiveUp(at));
            }
        }
        moves
    }

    fn gives_up(&self, call: &Call) -> bool {
        let person = self.people[call.client];
        let waits = call.asks.iter().any(Ask::is_open);
        let reached = call.part.is_some() || waits;
        match call.script.fate {
            Fate::Waits => false,
            Fate::Cancels(after) => reached && call.done >= after,
            // Whoever was asked and does not answer holds up its call, and nobody else's: another test.
            // What its other calls are asked may come on the stream that it left, where it would have to look for it.
            Fate::Leaves(_) if person.era == Era::Legacy && self.servers[call.script.server].own => false,
            Fate::Leaves(after) => {
                reached && call.done >= after && (person.era == Era::Modern || call.part.is_some() && !waits)
            }
        }
    }

    fn make(&mut self, next: Move) {
        match next {
            Move::Call(at) => self.call(at),
            Move::Serve(at) => self.serve(at),
            Move::Answer(at, ask) => self.answer(at, ask),
            Move::Return(at) => self.return_to(at),
            Move::GiveUp(at) => self.give_up(at),
        }
    }

    fn call(&mut self, at: usize) {
        let call = &mut self.calls[at];
        call.begun = true;
        let server = self.servers[call.script.server];
        let arrival = format!("{} arrives 0", call.mark);
        // Where each call has a session of its own, it may have to wait for another's end.
        if is_leased(server, self.people[call.client]) {
            self.later.insert(arrival);
        } else {
            self.due.insert(arrival);
        }
        call.open = Some(self.crowd.call(call.place(), server.name, &call.mark, ""));
    }

    fn serve(&mut self, at: usize) {
        let call = &mut self.calls[at];
        let server = self.servers[call.script.server];
        let Some(step) = call.script.steps.pop_front() else {
            return;
        };
        call.done += 1;
        let Some(mut part) = call.part.take() else { return };
        match step {
            Step::Progress | Step::Halved => {
                call.told += 1;
                let mark = format!("{}p{}", call.mark, call.told);
                let token = &part.message["params"]["_meta"]["progressToken"];
                let message = json!({ "jsonrpc": "2.0", "method": "notifications/progress",
                    "params": { "progressToken": token, "progress": call.told, "message": mark } });
                let frame = part.line.frame(&message);
                if matches!(step, Step::Progress) {
                    part.bytes(frame);
                    self.expect_note(at, mark, false);
                } else {
                    let cut = 1 + self.dice.roll(frame.len() - 1);
                    let (front, rest) = frame.split_at(cut);
                    part.bytes(front.to_owned());
                    let rest = rest.to_owned();
                    if server.program {
                        // Others write there too.
                        part.bytes(rest);
                        self.expect_note(at, mark, false);
                    } else {
                        self.calls[at].script.steps.push_front(Step::Rest(rest));
                    }
                }
                self.calls[at].part = Some(part);
            }
            Step::Rest(rest) => {
                part.bytes(rest);
                let mark = format!("{}p{}", call.mark, call.told);
                call.part = Some(part);
                self.expect_note(at, mark, false);
            }
            Step::Log => {
                let mark = format!("{}l{}", call.mark, call.done);
                part.say(&json!({ "jsonrpc": "2.0", "method": "notifications/message",
                    "params": { "level": "error", "data": mark } }));
                call.part = Some(part);
                // A pipe does not say whose a log line is.
                self.expect_note(at, mark, server.program);
            }
            Step::Ask(kinds) if server.era == Era::Legacy => {
                for kind in kinds {
                    self.ask(at, &mut part, kind);
                }
                self.calls[at].part = Some(part);
            }
            Step::Ask(kinds) => self.ask_by_answer(at, part, &kinds),
            Step::End { fails, document } => {
                let mut outcome = json!({ "result": { "content": [{ "type": "text", "text": call.mark }] } });
                if server.era == Era::Modern {
                    outcome["result"]["resultType"] = "complete".into();
                }
                if fails {
                    outcome = json!({ "error": { "code": -1, "message": call.mark } });
                }
                let end = format!("{} ends", call.mark);
                if call.gone {
                    // It may be faster than the cancellation.
                    self.perhaps.insert(end);
                } else {
                    self.due.insert(end);
                }
                part.end(&outcome, document);
            }
        }
    }

    fn expect_note(&mut self, at: usize, mark: String, doubtful: bool) {
        let call = &self.calls[at];
        let modern = self.people[call.client].era == Era::Modern;
        // Nobody is there to hear while a call is parked.
        let parked = modern && call.asks.iter().any(Ask::is_open);
        if doubtful || parked || call.gone {
            self.perhaps.insert(mark);
        } else {
            self.due.insert(mark);
        }
    }

    /// A legacy server asks.
    fn ask(&mut self, at: usize, part: &mut Part, kind: Kind) {
        let server = self.servers[self.calls[at].script.server];
        let modern = self.people[self.calls[at].client].era == Era::Modern;
        let asked = self
            .asked
            .entry((part.line.server, part.line.session))
            .or_default();
        *asked += 1;
        // Every session begins anew, so that other sessions' questions have the same ids.
        let id = if asked.is_multiple_of(3) {
            json!(format!("q{asked}"))
        } else {
            json!(*asked)
        };
        let call = &mut self.calls[at];
        let mark = format!("{}a{}", call.mark, call.asks.len());
        let mut message = kind.question(&mark);
        message["jsonrpc"] = "2.0".into();
        message["id"] = id.clone();
        if server.aside {
            part.line.say(&message);
        } else {
            part.say(&message);
        }
        if call.gone {
            self.perhaps.insert(format!("{mark} asked"));
        } else if modern && call.asks.iter().any(Ask::is_open) {
            // A later round of a modern client's has questions that came later.
            self.later.insert(format!("{mark} asked"));
        } else {
            self.due.insert(format!("{mark} asked"));
        }
        call.asks.push(Ask::new(mark, kind, id));
    }

    /// A modern server asks.
    fn ask_by_answer(&mut self, at: usize, part: Part, kinds: &[Kind]) {
        let call = &mut self.calls[at];
        let state = format!("state {} {}", call.mark, call.arrived);
        let mut asks = serde_json::Map::new();
        for kind in kinds {
            let mark = format!("{}a{}", call.mark, call.asks.len());
            // Equal names in all calls.
            let key = format!("ask-{}", call.asks.len() + 1);
            asks.insert(key.clone(), kind.question(&mark));
            let expected = if call.gone {
                &mut self.perhaps
            } else {
                &mut self.due
            };
            expected.insert(format!("{mark} asked"));
            call.asks.push(Ask::new(mark, *kind, json!(key)));
        }
        let result = json!({ "resultType": "input_required", "inputRequests": asks, "requestState": state });
        call.state = Some(state);
        let document = self.dice.once_in(2);
        part.end(&json!({ "result": result }), document);
    }

    fn answer(&mut self, at: usize, ask: usize) {
        let call = &mut self.calls[at];
        let server = self.servers[call.script.server];
        let asked = &mut call.asks[ask];
        let fails = server.era == Era::Legacy && self.dice.once_in(6);
        asked.answered = Some(fails);
        let mut message = json!({ "id": asked.known_as });
        if fails {
            message["error"] = json!({ "code": -1, "message": asked.mark });
        } else {
            message["result"] = asked.kind.answer(&asked.mark);
        }
        if server.era == Era::Legacy {
            self.due.insert(format!("{} answered", asked.mark));
        } else if call.asks.iter().all(|ask| ask.answered.is_some()) {
            self.due.insert(format!("{} arrives {}", call.mark, call.arrived));
        }
        self.crowd.say(call.client, message);
    }

    fn return_to(&mut self, at: usize) {
        let call = &mut self.calls[at];
        let server = self.servers[call.script.server];
        let Some(ticket) = call.ticket.take() else { return };
        let mut open: Vec<usize> = (0..call.asks.len())
            .filter(|ask| call.asks[*ask].known_as.is_some() && call.asks[*ask].answered.is_none())
            .collect();
        // Some only, now and then.
        if server.era == Era::Legacy && open.len() > 1 && self.dice.once_in(3) {
            open.remove(self.dice.roll(open.len()));
        }
        let mut answers = serde_json::Map::new();
        for ask in open {
            let ask = &mut call.asks[ask];
            ask.answered = Some(false);
            if server.era == Era::Legacy {
                self.due.insert(format!("{} answered", ask.mark));
            }
            let key = ask.known_as.as_ref().and_then(Value::as_str).unwrap_or_default();
            answers.insert(key.to_owned(), ask.kind.answer(&ask.mark));
        }
        if server.era == Era::Modern {
            self.due.insert(format!("{} arrives {}", call.mark, call.arrived));
        }
        call.round += 1;
        call.seen = 0;
        let more = format!(
            r#""inputResponses":{},"requestState":{ticket},"#,
            Value::Object(answers)
        );
        call.open = Some(self.crowd.call(call.place(), server.name, &call.mark, &more));
    }

    fn give_up(&mut self, at: usize) {
        self.let_go(at);
        let call = &mut self.calls[at];
        if matches!(call.script.fate, Fate::Leaves(_)) && self.people[call.client].era == Era::Legacy {
            // It would have to answer all the same, or its call lasts as long as people may take.
            call.script.steps.retain(|step| !matches!(step, Step::Ask(_)));
        }
        let says_so =
            matches!(call.script.fate, Fate::Cancels(_)) && self.people[call.client].era == Era::Legacy;
        if says_so {
            let message =
                json!({ "method": "notifications/cancelled", "params": { "requestId": id(call.place()) } });
            self.crowd.say(call.client, message);
        } else if let Some(open) = call.open.take() {
            open.abort();
        }
    }

    /// Nobody waits for a call any more. What was under way may have come or not, to its own client.
    fn let_go(&mut self, at: usize) {
        let call = &mut self.calls[at];
        call.gone = true;
        let mine = |expected: &String| owner(expected) == Some((call.client, call.number));
        for waited in [&mut self.due, &mut self.later] {
            let lost: Vec<String> = waited.iter().filter(|expected| mine(expected)).cloned().collect();
            for expected in lost {
                waited.remove(&expected);
                self.perhaps.insert(expected);
            }
        }
    }

    /// Stops the test and says how it came to this.
    #[track_caller]
    fn blame(&self, what: &str) -> ! {
        let first = self.moves.len().saturating_sub(SHOWN);
        let mut open = Vec::new();
        for call in self.calls.iter().filter(|call| call.begun && !call.is_over()) {
            open.push(format!(
                "{} ({:?}{}) on {}{}{}{}: round {}, arrived {}, then {:?}; asks {:?}",
                call.mark,
                self.people[call.client].era,
                if self.people[call.client].able {
                    ", able"
                } else {
                    ""
                },
                self.servers[call.script.server].name,
                if call.part.is_some() {
                    ", at the server"
                } else {
                    ""
                },
                if call.open.is_some() {
                    ", at the client"
                } else {
                    ""
                },
                if call.gone { ", given up" } else { "" },
                call.round,
                call.arrived,
                call.script.steps,
                call.asks
                    .iter()
                    .map(|ask| (&ask.mark, &ask.known_as, ask.answered, ask.over))
                    .collect::<Vec<_>>()
            ));
        }
        panic!(
            "seed {}, slack {}: {what}\nlast moves: {:#?}\nopen: {open:#?}\ndue: {:?}\nlater: {:?}",
            self.seed,
            self.slack,
            &self.moves[first..],
            self.due,
            self.later
        )
    }
}

impl Call {
    fn place(&self) -> Place {
        Place {
            client: self.client,
            call: self.number,
            round: self.round,
        }
    }

    fn is_over(&self) -> bool {
        self.part.is_none() && (self.gone || self.ended && self.open.is_none())
    }
}

impl Ask {
    fn new(mark: String, kind: Kind, id: Value) -> Self {
        Self {
            mark,
            kind,
            id,
            known_as: None,
            answered: None,
            over: false,
        }
    }

    fn is_open(&self) -> bool {
        !self.over
    }
}

/// Whether each such call has a session for itself.
fn is_leased(server: Server, person: Person) -> bool {
    server.aside && person.able && !(server.own && person.era == Era::Legacy)
}

/// Client and call of a mark: `c3k5p1` is 3 and 5.
fn owner(mark: &str) -> Option<(usize, usize)> {
    let (client, rest) = mark.strip_prefix('c')?.split_once('k')?;
    let digits = rest
        .find(|letter: char| !letter.is_ascii_digit())
        .unwrap_or(rest.len());
    Some((client.parse().ok()?, rest[..digits].parse().ok()?))
}
