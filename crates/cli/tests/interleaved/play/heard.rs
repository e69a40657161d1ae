//! What servers and clients hear, and whether they were to hear it.

use gatepost_testkit::gate::{Era, Heard, Line, PATIENCE, Part};
use serde_json::{Value, json};

use super::{Call, Play, is_leased, owner};
use crate::crowd::{Came, Place, id, token};
use crate::plan::Kind;

impl Play {
    pub(super) async fn hear(&mut self) {
        if tokio::time::timeout(PATIENCE / 2, self.hear_one()).await.is_err() {
            self.blame("nothing is heard any more");
        }
    }

    pub(crate) async fn hear_one(&mut self) {
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
}
