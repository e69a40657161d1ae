//! Plays a plan: one move after another, drawn from the same dice, and holds against what was said whatever anybody hears.
//!
//! Everything that is said bears a mark of its call, and what must follow from a move is written down before it is made.
//! What is heard must have been expected just there, and is then expected no more: nothing comes twice, and nothing comes
//! to anybody else.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use gatepost_testkit::gate::{Era, Heard, Line, PATIENCE, Part, Stage};
use serde_json::{Value, json};
use tokio::task::AbortHandle;

use crate::crowd::{Came, Crowd, Place, id, token};
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

    /// What a server hears at the end, of sessions that begin and end.
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

    // === what is heard ===

    async fn hear(&mut self) {
        if tokio::time::timeout(PATIENCE / 2, self.hear_one()).await.is_err() {
            self.blame("nothing is heard any more");
        }
    }

    async fn hear_one(&mut self) {
        tokio::select! {
            biased;
            heard = self.stage.heard() => self.server_heard(heard),
            came = self.crowd.came() => self.client_heard(came),
        }
    }

    /// Whoever hears it was to hear it.
    fn expected(&mut self, what: &str) {
        self.moves.push(format!("  heard {what}"));
        let known = self.due.remove(what) || self.later.remove(what) || self.perhaps.remove(what);
        if !known {
            self.blame(&format!("unexpected, or heard twice: {what}"));
        }
    }

    fn server_heard(&mut self, heard: Heard) {
        match heard {
            Heard::Opened(line) => _ = self.lines.insert((line.server, line.session)),
            Heard::Closed(line) => {
                self.lines.remove(&(line.server, line.session));
                let lost = |call: &&Call| {
                    let at_it =
                        |part: &Part| part.line.server == line.server && part.line.session == line.session;
                    call.part.as_ref().is_some_and(at_it) && !call.gone
                };
                if let Some(call) = self.calls.iter().find(lost) {
                    self.blame(&format!("{} lost its session", call.mark));
                }
            }
            Heard::Call(part) => self.arrives(part),
            Heard::Said { line, message } => self.said(&line, &message),
        }
    }

    fn arrives(&mut self, part: Part) {
        let mark = part.message["params"]["arguments"]["mark"]
            .as_str()
            .unwrap_or_default()
            .to_owned();
        let Some(at) = self.calls.iter().position(|call| call.mark == mark) else {
            self.blame(&format!("a call of nobody: {}", part.message))
        };
        let call = &self.calls[at];
        let server = self.servers[call.script.server];
        if part.line.server != call.script.server {
            self.blame(&format!("{mark} came to server {}", part.line.server));
        }
        let arrival = format!("{mark} arrives {}", call.arrived);
        self.expected(&arrival);
        for name in ["/id", "/params/_meta/progressToken"] {
            let used = part.message.pointer(name).map(Value::to_string);
            let used = format!("{name} {}", used.unwrap_or_default());
            if !self.used.insert((part.line.server, part.line.session, used)) {
                self.blame(&format!("{name} a second time: {}", part.message));
            }
        }
        let call = &self.calls[at];
        let at_once = self.calls.iter().filter(|other| {
            let same = |other: &Part| {
                other.line.server == part.line.server && other.line.session == part.line.session
            };
            other.part.as_ref().is_some_and(same)
        });
        if is_leased(server, self.people[call.client]) && at_once.count() > 0 {
            self.blame(&format!("{mark} came to a session that another call has"));
        }
        let params = &part.message["params"];
        let answers = params["inputResponses"].as_object();
        let state = params.get("requestState").and_then(Value::as_str);
        if state != call.state.as_deref() || answers.is_some() != call.state.is_some() {
            self.blame(&format!("{mark} brings what is not its own: {params}"));
        }
        if let Some(answers) = answers {
            let round = call.asks.iter().filter(|ask| !ask.over);
            let mut expected = serde_json::Map::new();
            for ask in round {
                let key = ask.id.as_str().unwrap_or_default().to_owned();
                expected.insert(key, ask.kind.answer(&ask.mark));
            }
            if *answers != expected {
                self.blame(&format!("{mark} brings answers that are not its own: {params}"));
            }
        }
        let call = &mut self.calls[at];
        call.asks.iter_mut().for_each(|ask| ask.over = true);
        call.arrived += 1;
        call.known_as = Some((part.line.clone(), part.message["id"].clone()));
        call.part = Some(part);
    }

    /// Programs serve only so many calls that wait for their modern clients.
    fn may_be_too_many(&self, at: usize) -> bool {
        let call = &self.calls[at];
        let server = self.servers[call.script.server];
        server.program && server.era == Era::Legacy && self.people[call.client].era == Era::Modern
    }

    /// How many calls got their answers, of how many.
    pub(crate) fn answered(&self) -> (usize, usize) {
        let answered = self.calls.iter().filter(|call| call.ended).count();
        (answered, self.calls.len())
    }

    /// A notification, or the answer to a question.
    fn said(&mut self, line: &Line, message: &Value) {
        let here = |other: &Line| other.server == line.server && other.session == line.session;
        match message["method"].as_str() {
            Some("notifications/initialized") => return,
            Some("notifications/cancelled") => {
                let id = &message["params"]["requestId"];
                let whose = self.calls.iter().find(|call| {
                    let known = call.known_as.as_ref();
                    known.is_some_and(|(there, known)| here(there) && known == id)
                });
                match whose {
                    Some(call) if call.gone => return,
                    Some(call) => self.blame(&format!("{} was cancelled for somebody else", call.mark)),
                    None => self.blame(&format!("nobody's call was cancelled: {message}")),
                }
            }
            Some(_) => self.blame(&format!("a server heard {message}")),
            None => {}
        }
        let found = self.calls.iter().enumerate().find_map(|(at, call)| {
            let (there, _) = call.known_as.as_ref()?;
            let ask = call.asks.iter().position(|ask| ask.id == message["id"])?;
            (here(there) && self.servers[call.script.server].era == Era::Legacy).then_some((at, ask))
        });
        let Some((at, ask)) = found else {
            self.blame(&format!("the answer to no question: {message}"))
        };
        let (call, asked) = (&self.calls[at], &self.calls[at].asks[ask]);
        let mark = asked.mark.clone();
        let own = match asked.answered {
            Some(true) => message["error"]["message"] == asked.mark,
            Some(false) => asked.kind.answered(&message["result"]) == Some(&asked.mark),
            None => false,
        };
        // What nobody answers any more, the gate answers; so it does where too many wait.
        let may_be = call.gone || self.may_be_too_many(at);
        let refused = may_be && (message.get("error").is_some() || message["result"]["action"] == "cancel");
        if !own && !refused {
            self.blame(&format!("{mark} was answered with {message}"));
        }
        self.calls[at].asks[ask].over = true;
        if !own {
            self.let_go(at);
        } else {
            self.expected(&format!("{mark} answered"));
        }
    }

    fn client_heard(&mut self, came: Came) {
        match came {
            Came::Message(place, message) => self.message(place, &message),
            Came::End(place) => {
                let at = self.at(place);
                let call = &mut self.calls[at];
                if call.round != place.round {
                    return;
                }
                call.open = None;
                if !call.gone && !call.ended && call.ticket.is_none() {
                    let mark = call.mark.clone();
                    self.blame(&format!("the stream of {mark} ended before its answer"));
                }
            }
            Came::Beside(client, message) => {
                let method = message["method"].as_str().unwrap_or_default();
                let heard = Kind::asked(&message).unwrap_or_default();
                let own = self.calls.iter().any(|call| {
                    call.gone
                        && owner(heard) == Some((client, call.number))
                        && call.client == client
                        && self.servers[call.script.server].own
                });
                if own {
                    // Its session is this client's, and no call of it is there any more.
                    self.expected(&format!("{heard} asked"));
                } else if !method.ends_with("list_changed") {
                    self.blame(&format!("beside the calls of client {client} came {message}"));
                }
            }
        }
    }

    fn at(&self, place: Place) -> usize {
        let found = self
            .calls
            .iter()
            .position(|call| call.client == place.client && call.number == place.call);
        found.unwrap_or_else(|| self.blame(&format!("no call at {place:?}")))
    }

    /// A message on the stream of a call.
    fn message(&mut self, place: Place, message: &Value) {
        let at = self.at(place);
        let call = &self.calls[at];
        let mark = call.mark.clone();
        let whose = format!("on the stream of {mark} came {message}");
        if place.round != call.round {
            // Only what was under way when the call was parked.
            self.blame(&format!("in an earlier round, {whose}"));
        }
        match message["method"].as_str() {
            None => self.response(at, place, message, &whose),
            Some("notifications/progress") => {
                let heard = message["params"]["message"].as_str().unwrap_or_default();
                let progress = message["params"]["progress"].as_u64().unwrap_or_default();
                if owner(heard) != owner(&mark)
                    || message["params"]["progressToken"] != token(place)
                    || progress <= call.seen
                {
                    self.blame(&whose);
                }
                self.calls[at].seen = progress;
                self.expected(heard);
            }
            Some("notifications/message") => {
                let heard = message["params"]["data"].as_str().unwrap_or_default();
                // On a pipe of its own, a client may hear of one call what was said about another.
                let own = self.servers[call.script.server].own
                    && owner(heard).is_some_and(|(client, _)| client == place.client);
                if owner(heard) != owner(&mark) && !own {
                    self.blame(&whose);
                }
                self.expected(heard);
            }
            // The question is no longer open, as the call is not.
            Some("notifications/cancelled") if call.gone => {}
            Some(_) => {
                let heard = Kind::asked(message).unwrap_or_default();
                if self.people[place.client].era == Era::Modern || message["id"].is_null() {
                    self.blame(&whose);
                }
                let asker = owner(heard).map(|(client, call)| Place {
                    client,
                    call,
                    round: 0,
                });
                let Some(asker) = asker.map(|asker| self.at(asker)) else {
                    self.blame(&whose)
                };
                let same_session = self.calls[asker].client == place.client
                    && self.calls[asker].script.server == self.calls[at].script.server
                    && self.servers[self.calls[at].script.server].own;
                if asker != at && !same_session {
                    self.blame(&whose);
                }
                let id = &message["id"];
                let others = self.calls.iter().filter(|call| call.client == place.client);
                let mut open = others.flat_map(|call| &call.asks).filter(|ask| !ask.over);
                if open.any(|ask| ask.known_as.as_ref() == Some(id)) {
                    self.blame(&format!("an id that another question has: {whose}"));
                }
                self.asked(asker, heard, id.clone(), &whose);
            }
        }
    }

    fn asked(&mut self, at: usize, heard: &str, known_as: Value, whose: &str) {
        let call = &mut self.calls[at];
        let Some(ask) = call.asks.iter_mut().find(|ask| ask.mark == heard) else {
            self.blame(whose)
        };
        // What was left open is asked again, under its name.
        if ask.known_as.as_ref() == Some(&known_as) && ask.answered.is_none() && known_as.is_string() {
            return;
        }
        ask.known_as = Some(known_as);
        let what = format!("{heard} asked");
        self.expected(&what);
    }

    fn response(&mut self, at: usize, place: Place, message: &Value, whose: &str) {
        let call = &self.calls[at];
        let mark = call.mark.clone();
        if message["id"] != id(place) {
            self.blame(whose);
        }
        let result = &message["result"];
        if result["resultType"] == "input_required" {
            let asks = result["inputRequests"].as_object().cloned().unwrap_or_default();
            for (key, question) in &asks {
                let heard = Kind::asked(question).unwrap_or_default();
                self.asked(at, heard, json!(key), whose);
            }
            self.calls[at].ticket = Some(result["requestState"].clone());
            return;
        }
        let cause = message["error"]["data"]["cause"].as_str().unwrap_or_default();
        if cause.contains("already wait for input") && self.may_be_too_many(at) {
            return self.let_go(at);
        }
        let text = result["content"][0]["text"].as_str();
        let heard = text.or(message["error"]["message"].as_str());
        if heard != Some(&mark) {
            self.blame(whose);
        }
        self.calls[at].ended = true;
        self.expected(&format!("{mark} ends"));
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
