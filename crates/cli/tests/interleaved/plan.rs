//! What is going to happen, drawn from a seed: who the clients are, what each of their calls goes through.

use std::collections::VecDeque;

use gatepost_testkit::gate::Era;
use serde_json::{Value, json};

/// Numbers that only the seed decides (SplitMix64).
pub(crate) struct Dice(u64);

impl Dice {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// A number below `sides`.
    pub(crate) fn roll(&mut self, sides: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((mixed ^ (mixed >> 31)) % sides.max(1) as u64) as usize
    }

    /// True once in so many times.
    pub(crate) fn once_in(&mut self, times: usize) -> bool {
        self.roll(times) == 0
    }
}

/// A server behind the gate.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Server {
    pub(crate) name: &'static str,
    pub(crate) era: Era,
    /// It is a program.
    pub(crate) program: bool,
    /// It asks beside the answers to calls, where nothing says which call it means.
    pub(crate) aside: bool,
    /// Each legacy client has a session of its own there, with all its calls: what is asked beside them is for that client.
    pub(crate) own: bool,
}

/// A client.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Person {
    pub(crate) era: Era,
    /// It can be asked.
    pub(crate) able: bool,
    /// All its calls go over one connection, one after another.
    pub(crate) keeps_alive: bool,
}

impl Person {
    pub(crate) fn capabilities(self) -> &'static str {
        if self.able {
            r#"{"elicitation":{"form":{}},"sampling":{},"roots":{}}"#
        } else {
            "{}"
        }
    }
}

/// What a server asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Elicitation,
    Sampling,
    Roots,
}

impl Kind {
    const ALL: [Self; 3] = [Self::Elicitation, Self::Sampling, Self::Roots];

    /// The question, which says whose it is.
    pub(crate) fn question(self, mark: &str) -> Value {
        match self {
            Self::Elicitation => {
                json!({ "method": "elicitation/create", "params": { "mode": "form", "message": mark,
                "requestedSchema": { "type": "object", "properties": { "mark": { "type": "string" } } } } })
            }
            Self::Sampling => json!({ "method": "sampling/createMessage", "params": { "maxTokens": 5,
                "messages": [{ "role": "user", "content": { "type": "text", "text": mark } }] } }),
            Self::Roots => {
                json!({ "method": "roots/list", "params": { "_meta": { "com.example/mark": mark } } })
            }
        }
    }

    /// Whose a question is.
    pub(crate) fn asked(question: &Value) -> Option<&str> {
        let params = &question["params"];
        match question["method"].as_str()? {
            "elicitation/create" => params["message"].as_str(),
            "sampling/createMessage" => params["messages"][0]["content"]["text"].as_str(),
            "roots/list" => params["_meta"]["com.example/mark"].as_str(),
            _ => None,
        }
    }

    /// The answer, which says whose it is too.
    pub(crate) fn answer(self, mark: &str) -> Value {
        match self {
            Self::Elicitation => json!({ "action": "accept", "content": { "mark": mark } }),
            Self::Sampling => {
                json!({ "role": "assistant", "content": { "type": "text", "text": mark }, "model": "m" })
            }
            Self::Roots => json!({ "roots": [{ "uri": format!("file:///{mark}") }] }),
        }
    }

    /// Whose an answer is.
    pub(crate) fn answered(self, result: &Value) -> Option<&str> {
        match self {
            Self::Elicitation => result["content"]["mark"].as_str(),
            Self::Sampling => result["content"]["text"].as_str(),
            Self::Roots => result["roots"][0]["uri"].as_str()?.strip_prefix("file:///"),
        }
    }
}

/// What a server does next about a call.
#[derive(Debug, Clone)]
pub(crate) enum Step {
    Progress,
    /// Progress whose event is cut in the middle; what follows is the rest.
    Halved,
    Rest(String),
    Log,
    /// Asks all this at once.
    Ask(Vec<Kind>),
    /// The last one: a result, or an error; as a document if that is still possible.
    End {
        fails: bool,
        document: bool,
    },
}

/// What a client does besides waiting.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fate {
    Waits,
    /// Cancels once the server has done so many steps: says so, or closes the stream, as its era does.
    Cancels(usize),
    /// Closes its stream, which is no cancellation in the legacy era, and never asks again.
    Leaves(usize),
}

/// All that a call goes through.
#[derive(Debug)]
pub(crate) struct Script {
    pub(crate) server: usize,
    pub(crate) steps: VecDeque<Step>,
    pub(crate) fate: Fate,
}

impl Script {
    pub(crate) fn draw(dice: &mut Dice, servers: &[Server], person: Person) -> Self {
        let server = dice.roll(servers.len());
        let mut steps = VecDeque::new();
        for _ in 0..dice.roll(6) {
            steps.push_back(match dice.roll(8) {
                0..3 => Step::Progress,
                3 => Step::Halved,
                4 => Step::Log,
                _ if person.able => {
                    let asks = 1 + dice.roll(3);
                    Step::Ask((0..asks).map(|_| Kind::ALL[dice.roll(3)]).collect())
                }
                _ => Step::Progress,
            });
        }
        let fate = match dice.roll(10) {
            0 => Fate::Cancels(dice.roll(steps.len() + 1)),
            1 => Fate::Leaves(dice.roll(steps.len() + 1)),
            _ => Fate::Waits,
        };
        steps.push_back(Step::End {
            fails: dice.once_in(6),
            document: dice.once_in(2),
        });
        Self { server, steps, fate }
    }

    /// One question and its answer.
    pub(crate) fn asks_once(server: usize) -> Self {
        let end = Step::End {
            fails: false,
            document: false,
        };
        Self {
            server,
            steps: [Step::Ask(vec![Kind::Roots]), end].into(),
            fate: Fate::Waits,
        }
    }
}
