//! The one decision: may this caller do this, through this view?

use std::sync::Arc;

use smallvec::SmallVec;

use crate::{
    Access, By, Caller, Ceiling, Classified, Decision, Explanation, Lack, Pattern, Reason, Scopes,
    UnixMillis, ViewRules,
    condition::Truth,
    explain::{Finding, Silent, Trail},
    pattern::Verdict,
    rules::Role,
};

/// What a principal wants to do with one thing of one server.
///
/// Listing asks too: a thing is listed exactly when the action that would use it is shown, so there is no kind for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Action<'a> {
    /// Which use.
    pub kind: Kind,
    /// The server's name in the configuration.
    pub server: &'a str,
    /// The thing's own name on that server, without prefix: a tool's or prompt's name, a resource's URI or template.
    pub name: &'a str,
    /// What it does; [`Classified::BY_METHOD`] for everything but a tool call.
    pub effect: Classified,
}

/// The uses that a decision is made about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// `tools/call`, and a tool's place in `tools/list`.
    Call,
    /// `resources/read`, and a resource's or template's place in their lists.
    Read,
    /// `resources/subscribe`, or `subscriptions/listen` for a resource.
    Subscribe,
    /// `prompts/get`, and a prompt's place in `prompts/list`.
    Get,
    /// `completion/complete` for a prompt or a template.
    Complete,
}

impl Kind {
    /// Every kind.
    pub const ALL: [Self; 5] = [Self::Call, Self::Read, Self::Subscribe, Self::Get, Self::Complete];

    /// One word, as conditions see it in `tool.kind`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Call => "call",
            Self::Read => "read",
            Self::Subscribe => "subscribe",
            Self::Get => "get",
            Self::Complete => "complete",
        }
    }
}

/// What is known besides who and what.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Circumstances<'a> {
    /// Nobody calls yet: whether the thing is to be shown. Arguments and time are unknown.
    Listing,
    /// A call.
    Calling {
        /// The arguments of [`Kind::Call`] and [`Kind::Get`], a JSON object as it was sent, known to be valid; empty for none.
        /// Other kinds have none, and what is given here for them counts for nothing.
        arguments: &'a [u8],
        /// The time of the call.
        now: UnixMillis,
    },
}

/// Decides. The only place that does: lists, calls and explanations all come here. Nothing is allocated for an answer that
/// is no denial, unless a condition asks for it.
pub fn decide(
    caller: &Caller,
    view: &ViewRules,
    action: &Action<'_>,
    circumstances: Circumstances<'_>,
) -> Decision {
    walk(caller, view, action, circumstances, &mut Silent)
}

/// Decides, and tells everything that was looked at on the way. It is the same walk as [`decide`]'s, so the decision is the
/// same.
pub fn explain(
    caller: &Caller,
    view: &ViewRules,
    action: &Action<'_>,
    circumstances: Circumstances<'_>,
) -> Explanation {
    let mut steps = Vec::new();
    let decision = walk(caller, view, action, circumstances, &mut steps);
    Explanation { decision, steps }
}

fn walk(
    caller: &Caller,
    view: &ViewRules,
    action: &Action<'_>,
    circumstances: Circumstances<'_>,
    trail: &mut impl Trail,
) -> Decision {
    trail.note(Finding::Caller(caller));
    let decided = ceilings(caller, view, action, trail).and_then(|()| {
        if caller.is_free() {
            trail.note(Finding::Free);
            return Ok(Decision::Allow(By { role: None }));
        }
        denials(caller, action, trail)?;
        grants(caller, action, circumstances, trail)
    });
    decided.unwrap_or_else(Decision::Deny)
}

/// What holds whatever the caller's roles, but for the question whether it finds the view at all.
fn ceilings(
    caller: &Caller,
    view: &ViewRules,
    action: &Action<'_>,
    trail: &mut impl Trail,
) -> Result<(), Reason> {
    if !caller.is_free() {
        let key = view.key_of(caller);
        trail.note(Finding::ViewRoles(key));
        if let Err(roles) = key {
            return Err(Reason::ViewRole { roles: roles.into() });
        }
    }
    below(Ceiling::Gate, caller.rules().access(), action, trail)?;
    let verdict = view.selection.judge_chars(&chars(action));
    trail.note(Finding::Selection(verdict));
    match verdict {
        Verdict::Selected => below(Ceiling::View, view.access, action, trail),
        Verdict::NotIncluded => Err(Reason::NotIncluded { name: joined(action) }),
        Verdict::Excluded(by) => Err(Reason::Excluded {
            name: joined(action),
            by: by.clone(),
        }),
    }
}

fn below(
    ceiling: Ceiling,
    access: Access,
    action: &Action<'_>,
    trail: &mut impl Trail,
) -> Result<(), Reason> {
    trail.note(Finding::Ceiling(ceiling, access, action.effect));
    if access.allows(action.effect.effect) {
        return Ok(());
    }
    Err(Reason::AboveAccess {
        ceiling,
        name: joined(action),
        access,
        effect: action.effect,
    })
}

/// Denying wins: every role is asked before any may allow, and its condition cannot switch its denials off.
fn denials(caller: &Caller, action: &Action<'_>, trail: &mut impl Trail) -> Result<(), Reason> {
    for role in caller.bound() {
        if let Some(by) = role
            .deny
            .iter()
            .find(|pattern| pattern.matches_chars(chars(action)))
        {
            trail.note(Finding::Denied(role, by));
            return Err(Reason::Denied {
                name: joined(action),
                role: Arc::clone(&role.name),
                by: by.clone(),
            });
        }
    }
    Ok(())
}

/// The first role that allows decides; else the first that might; else the one that lacks the fewest scopes.
fn grants(
    caller: &Caller,
    action: &Action<'_>,
    circumstances: Circumstances<'_>,
    trail: &mut impl Trail,
) -> Result<Decision, Reason> {
    let mut depends: Option<By> = None;
    let mut needs: Option<(usize, &Arc<Role>)> = None;
    let mut conditions = Conditions::new();
    for role in caller.bound() {
        let judged = judge(role, caller, action, circumstances);
        trail.note(Finding::Judged(role, &judged, caller));
        let (pattern, sure) = match judged {
            Judged::Applies { pattern, sure } => (pattern, sure),
            Judged::Lacks(lack @ (Lack::ConditionFalse | Lack::ConditionFailed(_))) => {
                conditions.push(lack);
                continue;
            }
            Judged::Lacks(_) => continue,
        };
        let missing = role
            .scopes
            .iter()
            .filter(|scope| !caller.facts().holds(scope))
            .count();
        if missing > 0 {
            if needs.is_none_or(|(fewest, _)| missing < fewest) {
                needs = Some((missing, role));
            }
            continue;
        }
        let by = || By {
            role: Some((Arc::clone(role), pattern)),
        };
        if sure {
            return Ok(Decision::Allow(by()));
        }
        depends.get_or_insert_with(by);
    }
    match (depends, needs) {
        (Some(by), _) => Ok(Decision::Depends(by)),
        (None, Some((_, role))) => Ok(Decision::NeedsScopes(Scopes {
            role: Arc::clone(role),
        })),
        (None, None) if caller.roles().len() == 0 => {
            trail.note(Finding::NoRole);
            Err(unbound(caller))
        }
        (None, None) => Err(ungranted(caller, action, conditions)),
    }
}

/// What the conditions that were asked lack, in the order of their roles: the only thing that costs too much to be found out
/// a second time.
type Conditions = SmallVec<[Lack; 4]>;

/// What one role says of an action, its scopes not counted.
#[derive(Debug, PartialEq)]
pub(crate) enum Judged {
    Applies {
        /// The place of the pattern that matches.
        pattern: usize,
        /// Whatever the arguments and the time.
        sure: bool,
    },
    Lacks(Lack),
}

fn judge(role: &Role, caller: &Caller, action: &Action<'_>, circumstances: Circumstances<'_>) -> Judged {
    let pattern = match fits(role, action) {
        Ok(pattern) => pattern,
        Err(lack) => return Judged::Lacks(lack),
    };
    let truth = role
        .when
        .as_ref()
        .map_or(Truth::True, |when| when.holds(caller, action, circumstances));
    match truth {
        Truth::True => Judged::Applies { pattern, sure: true },
        Truth::Unknown => Judged::Applies { pattern, sure: false },
        Truth::False => Judged::Lacks(Lack::ConditionFalse),
        Truth::Failed(failure) => Judged::Lacks(Lack::ConditionFailed(failure)),
    }
}

/// The place of the role's pattern that matches, if its access goes with that too.
fn fits(role: &Role, action: &Action<'_>) -> Result<usize, Lack> {
    let matching = |pattern: &Pattern| pattern.matches_chars(chars(action));
    let pattern = role.allow.iter().position(matching).ok_or(Lack::Pattern)?;
    if role.access.allows(action.effect.effect) {
        return Ok(pattern);
    }
    Err(Lack::Access {
        access: role.access,
        effect: action.effect,
    })
}

/// Nothing allowed it: names and access are looked at again, so that whoever is allowed pays nothing for the reason.
fn ungranted(caller: &Caller, action: &Action<'_>, conditions: Conditions) -> Reason {
    let mut conditions = conditions.into_iter();
    let looked_at = caller
        .bound()
        .filter_map(|role| {
            let lack = fits(role, action).err().or_else(|| conditions.next())?;
            Some((Arc::clone(&role.name), lack))
        })
        .collect();
    Reason::NotGranted {
        name: joined(action),
        looked_at,
    }
}

fn unbound(caller: &Caller) -> Reason {
    let mut of_issuer: Vec<Arc<str>> = Vec::new();
    for &at in caller.bindings_of_issuer().flat_map(|binding| &binding.roles) {
        let name = &caller.rules().roles[at].name;
        if !of_issuer.contains(name) {
            of_issuer.push(Arc::clone(name));
        }
    }
    Reason::NoRole {
        principal: caller.principal().clone(),
        of_issuer: of_issuer.into(),
    }
}

fn chars<'a>(action: &Action<'a>) -> impl Iterator<Item = char> + Clone + 'a {
    let prefix = action.server.chars().chain("__".chars());
    prefix.chain(action.name.chars())
}

fn joined(action: &Action<'_>) -> Box<str> {
    format!("{}__{}", action.server, action.name).into_boxed_str()
}

#[cfg(test)]
mod tests {

    use super::*;
    use crate::{Because, Effect, Selection};

    fn view(include: &[&str], exclude: &[&str], access: Access) -> ViewRules {
        let compile = |texts: &[&str]| {
            texts
                .iter()
                .map(|text| Pattern::new(text).unwrap())
                .collect::<Vec<_>>()
        };
        ViewRules {
            selection: Selection {
                include: Some(compile(include)),
                exclude: compile(exclude),
            },
            access,
            roles: None,
        }
    }

    #[track_caller]
    fn check(view: &ViewRules, server: &str, name: &str, effect: Classified, expected: Result<(), &str>) {
        let action = Action {
            kind: Kind::Call,
            server,
            name,
            effect,
        };
        let decision = match decide(&Caller::local(), view, &action, Circumstances::Listing) {
            Decision::Allow(_) => Ok(()),
            Decision::Deny(reason) => Err(reason.to_string()),
            other => Err(other.to_string()),
        };
        assert_eq!(decision, expected.map_err(str::to_owned));
    }

    const DECLARED_WRITE: Classified = Classified {
        effect: Effect::Write,
        because: Because::Declared,
    };

    #[test]
    fn a_denial_says_why() {
        let support = view(&["crm__*"], &["*delete*"], Access::Read);
        check(&support, "crm", "get", Classified::BY_METHOD, Ok(()));
        check(
            &support,
            "files",
            "get",
            Classified::BY_METHOD,
            Err("the view does not include `files__get`"),
        );
        check(
            &support,
            "crm",
            "delete_all",
            Classified::BY_METHOD,
            Err("the view excludes `crm__delete_all` (by the pattern `*delete*`)"),
        );
        check(
            &support,
            "crm",
            "x",
            Classified::UNKNOWN,
            Err(
                "the view is read-only and `crm__x` counts as destructive because its server declares no effect",
            ),
        );
        check(
            &support,
            "crm",
            "put",
            DECLARED_WRITE,
            Err(
                "the view is read-only and `crm__put` counts as writing because `effects` of its server says so",
            ),
        );
        let writers = view(&["*"], &[], Access::Write);
        check(&writers, "crm", "put", DECLARED_WRITE, Ok(()));
        let annotated = Classified {
            effect: Effect::Destructive,
            because: Because::Annotated,
        };
        check(
            &writers,
            "crm",
            "drop",
            annotated,
            Err(
                "the view allows no destructive actions and `crm__drop` counts as destructive because its server's \
                 annotations say so",
            ),
        );
    }

    #[test]
    fn a_pattern_spans_the_joint_of_server_and_name() {
        let joint = view(&["a_?_b*"], &[], Access::Destructive);
        check(&joint, "a", "_bc", Classified::UNKNOWN, Ok(()));
        check(
            &joint,
            "a",
            "bc",
            Classified::UNKNOWN,
            Err("the view does not include `a__bc`"),
        );
        let uris = view(&["files__file:///public/*"], &[], Access::Read);
        check(&uris, "files", "file:///public/a", Classified::BY_METHOD, Ok(()));
    }

    #[test]
    fn without_a_view_everything_is_allowed() {
        check(
            &ViewRules::everything(),
            "any",
            "thing",
            Classified::UNKNOWN,
            Ok(()),
        );
    }

    #[test]
    fn a_reason_does_not_repeat_what_a_server_hides_in_a_name() {
        check(
            &view(&[], &[], Access::Read),
            "s",
            "a\nb\u{202e}",
            Classified::UNKNOWN,
            Err(r"the view does not include `s__a\u{a}b\u{202e}`"),
        );
    }
}
