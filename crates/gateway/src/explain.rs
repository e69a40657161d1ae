//! Why a thing is shown, hidden, allowed or refused: the same view, the same `policy::decide` and the same order as a call,
//! with everything that was looked at on the way.

use std::{fmt, sync::Arc, time::Duration};

use gatepost_policy::{
    Action, Caller, Circumstances, Classified, Decision, Explanation, Facts, Kind, Reason, UnixMillis,
    decide, explain,
};
use gatepost_protocol::method::Method;

use crate::{
    catalog::{Candidate, EndpointName, ListKind, View},
    gate::Gate,
    inbound::Inbound,
    upstream::{Asker, Server},
};

/// What somebody would do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Thing<'a> {
    /// Call the tool of this public name.
    Tool(&'a str),
    /// Get the prompt of this public name.
    Prompt(&'a str),
    /// Read the resource of this URI.
    Resource(&'a str),
}

/// Who, where, what, with what, when.
#[derive(Clone, Copy, Debug)]
pub struct Question<'a> {
    /// What the caller's credential says. `None`: this process's own side, which may do everything that is configured.
    pub who: Option<&'a Facts>,
    /// The path of the endpoint behind `/mcp/`; empty for `/mcp`.
    pub endpoint: &'a str,
    /// What is to be done.
    pub thing: Thing<'a>,
    /// The arguments, a JSON object; empty for none.
    pub arguments: &'a [u8],
    /// When.
    pub now: UnixMillis,
}

/// What a call would be answered with, before any server is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// No such endpoint: 404.
    NoEndpoint,
    /// The endpoint is not for this caller: 404, as if there were none.
    EndpointHidden,
    /// No server is known to have it: an unknown name.
    Unknown,
    /// A server has it, and it is not for this caller: an unknown name to them.
    Hidden,
    /// It is shown, and not allowed with these arguments or at this time.
    Denied,
    /// It is shown, and the token lacks scopes: 403.
    NeedsScopes,
    /// It goes to its server, unless a limit is reached.
    Allowed,
}

impl Verdict {
    /// One or two words.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::NoEndpoint => "no endpoint",
            Self::EndpointHidden => "endpoint hidden",
            Self::Unknown => "unknown",
            Self::Hidden => "hidden",
            Self::Denied => "denied",
            Self::NeedsScopes => "needs scopes",
            Self::Allowed => "allowed",
        }
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The answer to a [`Question`].
#[derive(Clone, Debug)]
pub struct Explained {
    /// What a call would be answered with.
    pub verdict: Verdict,
    /// The caller's roles; none where none are needed.
    pub roles: Vec<Arc<str>>,
    /// Why the endpoint is hidden, if it is.
    pub endpoint: Option<Explanation>,
    /// What was found under that name, in the order in which it counts; what comes after the first that is shown is hidden
    /// by it.
    pub found: Vec<Found>,
    /// The limits and quotas that count such a call, in words.
    pub limits: Vec<String>,
}

/// A server's thing of the name.
#[derive(Clone, Debug)]
pub struct Found {
    /// The server.
    pub server: Arc<str>,
    /// What it is called there.
    pub original: Arc<str>,
    /// What it does.
    pub effect: Classified,
    /// Whether it is in the caller's list.
    pub shown: bool,
    /// The decision about this call, with everything that was looked at.
    pub explanation: Explanation,
}

/// A server of which nothing is known, so that what it has is not found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unseen {
    /// The server.
    pub server: Arc<str>,
    /// Why nothing is known of it.
    pub why: String,
}

impl Gate {
    /// Prepares a gate that is not open for a [`Question`]: asks the servers of its endpoint of which nothing is known, each
    /// for at most `patience`, and says of which nothing is known still.
    pub async fn look_around(&self, question: &Question<'_>, patience: Duration) -> Vec<Unseen> {
        let Some(endpoint) = self.endpoint(question.endpoint) else {
            return Vec::new();
        };
        let (caller, catalog) = (self.who_asks(question), &endpoint.catalog);
        let asker = Asker::plain(&caller);
        catalog.ask_unseen(patience, &endpoint.name, asker).await;
        let unseen = catalog.unseen(&endpoint.name, asker);
        unseen
            .into_iter()
            .map(|(server, why)| Unseen { server, why })
            .collect()
    }

    /// The names of what the caller sees at the endpoint of a [`Question`], of the kind that it is about.
    pub fn shown(&self, question: &Question<'_>) -> Vec<String> {
        let caller = self.who_asks(question);
        let kind = match question.thing {
            Thing::Tool(_) => ListKind::Tools,
            Thing::Prompt(_) => ListKind::Prompts,
            Thing::Resource(_) => ListKind::Resources,
        };
        self.endpoint(question.endpoint)
            .filter(|endpoint| endpoint.admits(&caller))
            .and_then(|endpoint| endpoint.view(Asker::plain(&caller)))
            .map(|view| view.names(kind).map(str::to_owned).collect())
            .unwrap_or_default()
    }

    fn who_asks(&self, question: &Question<'_>) -> Arc<Caller> {
        match question.who {
            None => Arc::clone(&self.governance.local),
            Some(facts) => Arc::new(self.governance.rules.caller(facts.clone())),
        }
    }

    /// Answers a [`Question`] as a call would be answered now.
    pub fn explain(&self, question: &Question<'_>) -> Explained {
        let caller = self.who_asks(question);
        let nothing = |verdict, endpoint| Explained {
            verdict,
            roles: caller.roles().cloned().collect(),
            endpoint,
            found: Vec::new(),
            limits: Vec::new(),
        };
        let Some(endpoint) = self.endpoint(question.endpoint) else {
            return nothing(Verdict::NoEndpoint, None);
        };
        let Some(view) = endpoint.view(Asker::plain(&caller)) else {
            return nothing(Verdict::NoEndpoint, None);
        };
        if !endpoint.admits(&caller) {
            let why = self.placed(why_closed(&view, &caller), &view, question);
            return nothing(Verdict::EndpointHidden, Some(why));
        }
        let candidates = candidates(&view, question.thing);
        let winner = candidates
            .iter()
            .position(|candidate| shows(&caller, &view, &candidate.action(kind_of(question.thing))));
        let found: Vec<Found> = candidates
            .iter()
            .enumerate()
            .map(|(at, candidate)| Found {
                server: Arc::clone(candidate.server.name()),
                original: Arc::clone(&candidate.original),
                effect: candidate.effect,
                shown: winner == Some(at),
                explanation: {
                    let circumstances = Circumstances::Calling {
                        arguments: question.arguments,
                        now: question.now,
                    };
                    let action = candidate.action(kind_of(question.thing));
                    let explanation = explain(&caller, view.rules(), &action, circumstances);
                    self.placed(explanation, &view, question)
                },
            })
            .collect();
        let verdict = match (winner, candidates.is_empty()) {
            (None, true) => Verdict::Unknown,
            (None, false) => Verdict::Hidden,
            (Some(at), _) => match &found[at].explanation.decision {
                Decision::Allow(_) | Decision::Depends(_) => Verdict::Allowed,
                Decision::NeedsScopes(_) => Verdict::NeedsScopes,
                Decision::Deny(_) => Verdict::Denied,
            },
        };
        let limits = winner
            .map(|at| {
                let action = candidates[at].action(kind_of(question.thing));
                self.governance
                    .limits
                    .counting(&action)
                    .map(ToString::to_string)
                    .collect()
            })
            .unwrap_or_default();
        Explained {
            found,
            limits,
            ..nothing(verdict, None)
        }
    }

    /// The steps in the words of the whole configuration: which view is meant, if any, and who needs no role.
    fn placed(&self, mut explanation: Explanation, view: &View, question: &Question<'_>) -> Explanation {
        const OF_VIEW: &str = "view.";
        let name = match view.name() {
            EndpointName::Named(name) if view.only_server().is_none() => Some(name),
            _ => None,
        };
        let steps = &mut explanation.steps;
        steps.retain(|step| name.is_some() || !step.place.starts_with(OF_VIEW));
        for step in steps {
            if let (Some(name), Some(key)) = (name, step.place.strip_prefix(OF_VIEW)) {
                step.place = format!("views.{name}.{key}");
            }
            if question.who.is_none() && self.governance.identity.is_some() && step.place == "identity" {
                "this is the gate's own side, which needs no role".clone_into(&mut step.says);
            }
        }
        explanation
    }
}

/// Why an endpoint does not admit a caller: none of the roles that its view is for, or nothing that a role could allow of
/// its only server, whatever it has. The policy says either of any name.
fn why_closed(view: &View, caller: &Caller) -> Explanation {
    let server = view.only_server().map_or("", |server| server.name());
    let anything = Action {
        kind: Kind::Read,
        server,
        name: "",
        effect: Classified::BY_METHOD,
    };
    explain(caller, view.rules(), &anything, Circumstances::Listing)
}

/// Why a name that a caller used is unknown to them, if a server has it: which server, what it is called there, and the
/// reason. Not for the caller.
pub(crate) fn why_hidden(inbound: &Inbound) -> Option<(Arc<Server>, Arc<str>, Reason)> {
    let request = &inbound.request;
    let (param, thing): (_, fn(&str) -> Thing<'_>) = match request.known_method()? {
        Method::ToolsCall => ("name", |name| Thing::Tool(name)),
        Method::PromptsGet => ("name", |name| Thing::Prompt(name)),
        Method::ResourcesRead | Method::ResourcesSubscribe => ("uri", |uri| Thing::Resource(uri)),
        _ => return None,
    };
    let name = request.param_text(param)?;
    let thing = thing(&name);
    let candidate = candidates(&inbound.view, thing).into_iter().next()?;
    let decision = decide(
        &inbound.client.caller,
        inbound.view.rules(),
        &candidate.action(kind_of(thing)),
        Circumstances::Listing,
    );
    match decision {
        Decision::Deny(reason) => Some((candidate.server, candidate.original, reason)),
        _ => None,
    }
}

fn candidates(view: &View, thing: Thing<'_>) -> Vec<Candidate<Server>> {
    match thing {
        Thing::Tool(name) => view.candidates(ListKind::Tools, name),
        Thing::Prompt(name) => view.candidates(ListKind::Prompts, name),
        Thing::Resource(uri) => view.readers(uri),
    }
}

fn shows(caller: &Caller, view: &View, action: &Action<'_>) -> bool {
    decide(caller, view.rules(), action, Circumstances::Listing).is_shown()
}

fn kind_of(thing: Thing<'_>) -> Kind {
    match thing {
        Thing::Tool(_) => Kind::Call,
        Thing::Prompt(_) => Kind::Get,
        Thing::Resource(_) => Kind::Read,
    }
}

#[cfg(test)]
mod tests;
