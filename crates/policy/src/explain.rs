//! What was looked at on the way to a decision, for `gatepost explain`.
//!
//! [`crate::decide`] and [`crate::explain`] are one walk: it notes its findings to a [`Trail`], which keeps them as
//! sentences or does nothing at all.

use std::{fmt, sync::Arc};

use crate::{
    Access, Caller, Ceiling, Classified, Decision, Lack, Method, Pattern, Printable,
    decide::Judged,
    pattern::Verdict,
    reason::{CountsAs, listed},
    rules::Role,
};

/// A decision, and what was looked at on the way to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Explanation {
    /// What [`crate::decide`] says.
    pub decision: Decision,
    /// In the order in which it was looked at; the last one decided, unless an earlier one is [`Mark::Maybe`].
    pub steps: Vec<Step>,
}

/// One thing that was looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// Where in the configuration: `access`, `view.exclude`, `bindings[2]`, `roles.analyst.when`. `caller` for what the
    /// credential says, `identity` where none is configured.
    pub place: String,
    /// What it meant.
    pub mark: Mark,
    /// What was found, a sentence without its full stop.
    pub says: String,
}

/// What a [`Step`] meant for the decision.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Mark {
    /// Nothing yet; later steps build on it.
    Fact,
    /// It does not stand in the way.
    Passes,
    /// It allows.
    Allows,
    /// It would allow with other arguments, at another time, or with more scopes.
    Maybe,
    /// It allows nothing, and another may still.
    Lacks,
    /// It denies.
    Denies,
}

impl Mark {
    /// One word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Fact => "fact",
            Self::Passes => "passes",
            Self::Allows => "allows",
            Self::Maybe => "maybe",
            Self::Lacks => "lacks",
            Self::Denies => "denies",
        }
    }
}

/// A table of the steps, then the decision.
impl fmt::Display for Explanation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let width = self.steps.iter().map(|step| step.place.chars().count()).max();
        let width = width.unwrap_or_default();
        for step in &self.steps {
            let (mark, place, says) = (step.mark.as_str(), &step.place, &step.says);
            writeln!(f, "{mark:<6}  {place:<width$}  {says}")?;
        }
        self.decision.fmt(f)
    }
}

/// Who hears of the findings of a walk.
pub(crate) trait Trail {
    fn note(&mut self, finding: Finding<'_>);
}

/// Nobody.
pub(crate) struct Silent;

impl Trail for Silent {
    fn note(&mut self, _finding: Finding<'_>) {}
}

impl Trail for Vec<Step> {
    fn note(&mut self, finding: Finding<'_>) {
        finding.tell(self);
    }
}

/// What a walk found, by reference: as cheap as nothing while nobody hears of it.
pub(crate) enum Finding<'a> {
    Caller(&'a Caller),
    Free,
    ViewRoles(Result<Option<&'a Arc<str>>, &'a [Arc<str>]>),
    Selection(Verdict<'a>),
    Ceiling(Ceiling, Access, Classified),
    NoRole,
    Denied(&'a Role, &'a Pattern),
    Judged(&'a Role, &'a Judged, &'a Caller),
}

impl Finding<'_> {
    fn tell(self, steps: &mut Vec<Step>) {
        let mut step = |place: &str, mark, says: String| {
            let place = place.to_owned();
            steps.push(Step { place, mark, says });
        };
        match self {
            Self::Caller(caller) => tell_caller(caller, &mut step),
            Self::Free => {
                let says = "no identity is configured, so no role is needed".to_owned();
                step("identity", Mark::Allows, says);
            }
            Self::ViewRoles(Ok(None)) => {}
            Self::ViewRoles(Ok(Some(role))) => {
                let says = format!("the caller has the role `{}`", Printable(role));
                step("view.roles", Mark::Passes, says);
            }
            Self::ViewRoles(Err(roles)) => {
                let says = format!("the caller has none of {}", Listed(roles));
                step("view.roles", Mark::Denies, says);
            }
            Self::Selection(Verdict::Selected) => {
                step("view.include", Mark::Passes, "the view includes it".to_owned());
            }
            Self::Selection(Verdict::NotIncluded) => {
                step("view.include", Mark::Denies, "no pattern matches it".to_owned());
            }
            Self::Selection(Verdict::Excluded(by)) => {
                step("view.exclude", Mark::Denies, format!("`{by}` matches it"));
            }
            Self::Ceiling(ceiling, access, effect) => {
                let (place, whose) = match ceiling {
                    Ceiling::Gate => ("access", "the whole gate"),
                    Ceiling::View => ("view.access", "the view"),
                };
                let passes = access.allows(effect.effect);
                let mark = if passes { Mark::Passes } else { Mark::Denies };
                let says = format!("{whose} allows `{access}`, and this {}", CountsAs(effect));
                step(place, mark, says);
            }
            Self::NoRole => {
                let says = "no role is bound, and without one nothing is allowed".to_owned();
                step("bindings", Mark::Denies, says);
            }
            Self::Denied(role, by) => {
                let place = format!("roles.{}.deny", Printable(&role.name));
                step(&place, Mark::Denies, format!("`{by}` matches it"));
            }
            Self::Judged(role, judged, caller) => tell_role(role, judged, caller, &mut step),
        }
    }
}

fn tell_caller(caller: &Caller, step: &mut impl FnMut(&str, Mark, String)) {
    let facts = caller.facts();
    let how = match &facts.method {
        Method::Local => "by reaching this gate".to_owned(),
        Method::ApiKey { id } => format!("by the key `{}`", Printable(id)),
        Method::Jwt => "by a token".to_owned(),
    };
    step("caller", Mark::Fact, format!("{} {how}", caller.principal()));
    if caller.is_free() {
        return;
    }
    let rules = caller.rules();
    for name in &facts.roles {
        let exists = caller.has_role(name);
        let name = Printable(name);
        if exists {
            step("caller", Mark::Fact, format!("has the role `{name}` itself"));
        } else {
            let says = format!("has the role `{name}` itself, which the configuration does not know");
            step("caller", Mark::Lacks, says);
        }
    }
    for (at, binding) in rules.bindings.iter().enumerate() {
        let roles: Vec<_> = binding
            .roles
            .iter()
            .map(|&role| Arc::clone(&rules.roles[role].name))
            .collect();
        let place = format!("bindings[{at}]");
        match binding.unmet(facts) {
            None => step(&place, Mark::Fact, format!("gives {}", Listed(&roles))),
            Some(what) => {
                let says = format!("does not give {}: {what}", Listed(&roles));
                step(&place, Mark::Lacks, says);
            }
        }
    }
}

fn tell_role(role: &Role, judged: &Judged, caller: &Caller, step: &mut impl FnMut(&str, Mark, String)) {
    let place = |key: &str| format!("roles.{}{key}", Printable(&role.name));
    let condition = role.when.as_ref().map(|when| Printable(when.as_str()));
    match judged {
        Judged::Lacks(lack) => {
            let key = match lack {
                Lack::Pattern => ".allow",
                Lack::Access { .. } => ".access",
                Lack::ConditionFalse | Lack::ConditionFailed(_) => ".when",
            };
            let says = match (lack, condition) {
                (Lack::ConditionFalse | Lack::ConditionFailed(_), Some(condition)) => {
                    format!("{lack}: {condition}")
                }
                _ => lack.to_string(),
            };
            step(&place(key), Mark::Lacks, says);
        }
        Judged::Applies { pattern, sure } => {
            let held = role.scopes.iter().all(|scope| caller.facts().holds(scope));
            let last = if held && *sure { Mark::Allows } else { Mark::Maybe };
            let says = match role.allow.get(*pattern) {
                Some(pattern) => format!("`{pattern}` matches it"),
                None => String::new(),
            };
            let settled = role.when.is_none() && role.scopes.is_empty();
            step(&place(".allow"), if settled { last } else { Mark::Passes }, says);
            if let Some(condition) = condition {
                let (mark, says) = match (sure, role.scopes.is_empty()) {
                    (false, _) => (Mark::Maybe, format!("depends on arguments or time: {condition}")),
                    (true, true) => (last, format!("is true: {condition}")),
                    (true, false) => (Mark::Passes, format!("is true: {condition}")),
                };
                step(&place(".when"), mark, says);
            }
            if !role.scopes.is_empty() {
                let scopes = Listed(&role.scopes);
                let says = match (&caller.facts().scopes, held) {
                    (None, _) => format!("no scopes limit the caller, so it needs no {scopes}"),
                    (Some(_), true) => format!("the token holds {scopes}"),
                    (Some(_), false) => format!("the token does not hold all of {scopes}"),
                };
                step(&place(".scopes"), last, says);
            }
        }
    }
}

struct Listed<'a>(&'a [Arc<str>]);

impl fmt::Display for Listed<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        listed(f, self.0, "and")
    }
}
