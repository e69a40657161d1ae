//! An explanation, for people and for programs.

use std::fmt::Write;

use gatepost_audit::Moment;
use gatepost_gateway::{Explained, Found, Question, Thing, Unseen, Verdict};
use gatepost_policy::{Because, Classified, Decision, Explanation, Method, Principal, Printable, Step};
use serde_json::{Value, json};

use crate::{
    output::{harmless, style},
    table::table,
};

/// How many names are offered instead of one that nothing has.
const NEAREST: usize = 3;

/// Everything there is to say.
#[derive(Debug)]
pub(super) struct Report<'a> {
    pub(super) question: &'a Question<'a>,
    pub(super) explained: Explained,
    /// What may have been meant, of what the caller sees.
    pub(super) nearest: Vec<String>,
    pub(super) unseen: Vec<Unseen>,
}

impl<'a> Report<'a> {
    /// `known`: what might have been meant.
    pub(super) fn new(
        question: &'a Question<'a>,
        explained: Explained,
        known: &[String],
        unseen: Vec<Unseen>,
    ) -> Self {
        let meant = match (explained.verdict, question.thing) {
            (Verdict::NoEndpoint, _) => question.endpoint,
            (Verdict::Unknown, Thing::Tool(name) | Thing::Prompt(name) | Thing::Resource(name)) => name,
            _ => "",
        };
        Self {
            question,
            explained,
            nearest: nearest(meant, known),
            unseen,
        }
    }

    fn who(&self) -> String {
        let local = Principal::local();
        let principal = self.question.who.map_or(&local, |facts| &facts.principal);
        principal.to_string()
    }

    fn endpoint(&self) -> String {
        match self.question.endpoint {
            "" => "/mcp".to_owned(),
            path => format!("/mcp/{}", Printable(path)),
        }
    }

    /// What would be done, the thing, and its name.
    fn words(&self) -> (&'static str, &'static str, &str) {
        match self.question.thing {
            Thing::Tool(name) => ("call", "tool", name),
            Thing::Prompt(name) => ("get", "prompt", name),
            Thing::Resource(uri) => ("read", "resource", uri),
        }
    }
}

/// The likest first. The name alone, without the server's prefix, is what is often typed.
fn nearest(meant: &str, known: &[String]) -> Vec<String> {
    if meant.is_empty() {
        return Vec::new();
    }
    let likeness = |one: &str| {
        let own = one.split_once("__").map_or(one, |(_, own)| own);
        strsim::jaro_winkler(meant, one).max(strsim::jaro_winkler(meant, own))
    };
    let mut near: Vec<(f64, &String)> = known
        .iter()
        .map(|one| (likeness(one), one))
        .filter(|(likeness, _)| *likeness > 0.75)
        .collect();
    near.sort_by(|(a, _), (b, _)| b.total_cmp(a));
    near.into_iter()
        .take(NEAREST)
        .map(|(_, one)| one.clone())
        .collect()
}

pub(super) fn as_text(report: &Report<'_>) -> String {
    let explained = &report.explained;
    let mut text = headline(report);
    let mut fact = |title: &str, what: &str| {
        let _ = writeln!(text, "  {title:<8}  {what}");
    };
    if !explained.roles.is_empty() {
        let roles: Vec<String> = explained
            .roles
            .iter()
            .map(|role| Printable(role).to_string())
            .collect();
        fact("roles", &roles.join(", "));
    }
    fact("answer", &answer(report));
    // A condition that misses them is false, which says nothing about calls that have some.
    if explained.verdict == Verdict::Denied && report.question.arguments.is_empty() {
        fact("args", "none were given: `--args` says with which");
    }
    for (at, limit) in explained.limits.iter().enumerate() {
        fact(if at == 0 { "limits" } else { "" }, &harmless(limit));
    }
    if !report.nearest.is_empty() {
        let nearest = report.nearest.iter().map(|name| match explained.verdict {
            Verdict::NoEndpoint => format!("/mcp/{}", Printable(name)),
            _ => Printable(name).to_string(),
        });
        fact("nearest", &nearest.collect::<Vec<_>>().join(", "));
    }
    if let Some(why) = &explained.endpoint {
        text.push('\n');
        walk(&mut text, why, 0);
    }
    let mut told: &[Step] = &[];
    let mut above = false;
    for found in &explained.found {
        text.push_str(&found_as(report, found, above));
        // What is so for every server was said with the first.
        let steps = &found.explanation.steps;
        let same = steps.iter().zip(told).take_while(|(a, b)| a == b).count();
        walk(&mut text, &found.explanation, same);
        if told.is_empty() {
            told = steps;
        }
        above |= found.shown;
    }
    text
}

fn headline(report: &Report<'_>) -> String {
    let (verb, noun, name) = report.words();
    let (who, endpoint, name) = (report.who(), report.endpoint(), Printable(name));
    let verdict = report.explained.verdict;
    let colour = match verdict {
        Verdict::Allowed => style::GOOD,
        Verdict::Denied | Verdict::NeedsScopes => style::WARNING,
        _ => style::ERROR,
    };
    let says = match verdict {
        Verdict::Allowed => format!("{who} may {verb} {name} at {endpoint}"),
        Verdict::NeedsScopes => {
            format!("{who} sees {name} at {endpoint}, and may {verb} it with a token of more scopes")
        }
        Verdict::Denied => format!("{who} sees {name} at {endpoint}, and may not {verb} it like this"),
        Verdict::Hidden => format!("{who} does not see {name} at {endpoint}"),
        Verdict::Unknown if report.unseen.is_empty() => {
            format!("no server behind {endpoint} has a {noun} {name}")
        }
        Verdict::Unknown => {
            format!("no server behind {endpoint} whose lists are known has a {noun} {name}")
        }
        Verdict::EndpointHidden => format!("{who} does not find {endpoint}"),
        Verdict::NoEndpoint => format!("there is no endpoint {endpoint}"),
    };
    format!("{colour}{verdict}{colour:#}: {says}\n")
}

/// What a client is told.
fn answer(report: &Report<'_>) -> String {
    let (_, noun, _) = report.words();
    match report.explained.verdict {
        Verdict::Allowed => "that of the server, unless a limit is reached".to_owned(),
        Verdict::NeedsScopes => {
            let scopes = report.explained.found.iter().find_map(|found| {
                let Decision::NeedsScopes(scopes) = &found.explanation.decision else {
                    return None;
                };
                let all = scopes.needed().iter().map(|scope| Printable(scope).to_string());
                Some(all.collect::<Vec<_>>().join(" "))
            });
            format!(
                "HTTP 403, insufficient_scope: {}",
                scopes.as_deref().unwrap_or_default()
            )
        }
        Verdict::Denied if noun == "tool" => "the tool's error, which says why".to_owned(),
        Verdict::Denied => "an error, which says why".to_owned(),
        Verdict::Hidden => format!("the same as for a {noun} that no server has"),
        Verdict::Unknown if noun == "resource" => "resource not found".to_owned(),
        Verdict::Unknown => format!("unknown {noun}"),
        Verdict::EndpointHidden => "HTTP 404, the same as where there is no endpoint".to_owned(),
        Verdict::NoEndpoint => "HTTP 404".to_owned(),
    }
}

fn found_as(report: &Report<'_>, found: &Found, above: bool) -> String {
    let heading = style::HEADING;
    let (_, noun, _) = report.words();
    let (server, original) = (Printable(&found.server), Printable(&found.original));
    let effect = match noun {
        "tool" => format!(" ({})", counts_as(found.effect)),
        _ => String::new(),
    };
    let hidden = if above {
        ", and would only be used if what is above were not shown"
    } else {
        ""
    };
    format!("\n{heading}{noun} {original} of the server {server}{heading:#}{effect}{hidden}\n")
}

fn counts_as(effect: Classified) -> String {
    let because = match effect.because {
        Because::Method => "its method says so",
        Because::Declared => "`effects` of its server says so",
        Because::Annotated => "its server's annotations say so",
        Because::Unknown => "nothing says what it does",
    };
    format!("{}: {because}", effect.effect)
}

fn walk(text: &mut String, explanation: &Explanation, from: usize) {
    let rows: Vec<[String; 3]> = explanation
        .steps
        .iter()
        .skip(from)
        .map(|step| {
            [
                step.place.clone(),
                step.mark.as_str().to_owned(),
                step.says.clone(),
            ]
        })
        .collect();
    text.push_str(&table(["PLACE", "MEANS", "FOUND"], &rows));
    let _ = writeln!(text, "{}", harmless(&reason(&explanation.decision)));
}

fn reason(decision: &Decision) -> String {
    match decision {
        Decision::Allow(by) if by.role().is_none() => "allowed: no role is needed".to_owned(),
        other => other.to_string(),
    }
}

pub(super) fn as_json(report: &Report<'_>) -> String {
    let (_, noun, name) = report.words();
    let (question, explained) = (report.question, &report.explained);
    let verdict = explained.verdict;
    let found: Vec<Value> = explained.found.iter().map(found_json).collect();
    let unseen: Vec<Value> = report
        .unseen
        .iter()
        .map(|unseen| json!({ "server": unseen.server, "why": unseen.why }))
        .collect();
    let shown = matches!(verdict, Verdict::Allowed | Verdict::NeedsScopes | Verdict::Denied);
    let value = json!({
        "verdict": verdict.as_str().replace(' ', "_"),
        "allowed": verdict == Verdict::Allowed,
        "shown": shown,
        "caller": caller(report),
        "endpoint": report.endpoint(),
        "kind": noun,
        "name": name,
        "at": Moment(question.now.0.saturating_mul(1_000)).to_string(),
        "answer": answer(report),
        "endpoint_hidden": explained.endpoint.as_ref().map(explanation_json),
        "found": found,
        "limits": explained.limits,
        "nearest": report.nearest,
        "unseen": unseen,
    });
    format!("{value:#}\n")
}

fn caller(report: &Report<'_>) -> Value {
    let local = gatepost_policy::Facts::local();
    let facts = report.question.who.unwrap_or(&local);
    let method = match &facts.method {
        Method::ApiKey { .. } => "api_key",
        Method::Jwt => "jwt",
        _ => "local",
    };
    json!({
        "issuer": facts.principal.issuer(),
        "subject": facts.principal.subject(),
        "tenant": facts.principal.tenant(),
        "groups": facts.groups.iter().map(|group| &**group).collect::<Vec<_>>(),
        "scopes": facts.scopes.as_ref().map(|scopes| scopes.iter().map(|scope| &**scope).collect::<Vec<_>>()),
        "email": facts.email.as_deref(),
        "method": method,
        "roles": report.explained.roles.iter().map(|role| &**role).collect::<Vec<_>>(),
    })
}

fn found_json(found: &Found) -> Value {
    let because = match found.effect.because {
        Because::Method => "method",
        Because::Declared => "declared",
        Because::Annotated => "annotated",
        Because::Unknown => "unknown",
    };
    let mut value = explanation_json(&found.explanation);
    value["server"] = json!(&*found.server);
    value["name"] = json!(&*found.original);
    value["effect"] = json!(found.effect.effect.as_str());
    value["effect_because"] = json!(because);
    value["shown"] = json!(found.shown);
    value
}

fn explanation_json(explanation: &Explanation) -> Value {
    let decision = match &explanation.decision {
        Decision::Allow(_) => "allow",
        Decision::Depends(_) => "depends",
        Decision::NeedsScopes(_) => "needs_scopes",
        Decision::Deny(_) => "deny",
    };
    let (role, rule, scopes) = match &explanation.decision {
        Decision::Allow(by) | Decision::Depends(by) => (
            by.role().map(|role| &**role),
            by.pattern().map(gatepost_policy::Pattern::as_str),
            None,
        ),
        Decision::NeedsScopes(needed) => {
            let scopes: Vec<&str> = needed.needed().iter().map(|scope| &**scope).collect();
            (Some(&**needed.role()), None, Some(scopes))
        }
        Decision::Deny(_) => (None, None, None),
    };
    let steps: Vec<Value> = explanation
        .steps
        .iter()
        .map(|step| json!({ "place": step.place, "mark": step.mark.as_str(), "says": step.says }))
        .collect();
    json!({
        "decision": decision,
        "reason": reason(&explanation.decision),
        "role": role,
        "rule": rule,
        "scopes": scopes,
        "steps": steps,
    })
}
