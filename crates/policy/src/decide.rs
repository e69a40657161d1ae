//! The one decision: may this principal do this, through this view?

use std::fmt;

use crate::{
    Access, Because, Classified, Effect, Pattern, Principal, Printable, Selection, pattern::Verdict,
};

/// What a principal wants to do with one thing of one server.
///
/// Listing asks too: a thing is listed exactly when the action that would use it is allowed, so there is no kind for it.
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

/// What a view offers. Its patterns see `server__name`, for resources `server__uri`, before any renaming.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ViewRules {
    /// Which names it shows.
    pub selection: Selection,
    /// The gravest effect it allows.
    pub access: Access,
}

impl ViewRules {
    /// Everything, whatever it does: the rules of `/mcp` and `/mcp/<server>`.
    pub fn everything() -> Self {
        Self {
            selection: Selection::everything(),
            access: Access::Destructive,
        }
    }
}

/// The answer.
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use]
pub enum Decision {
    /// It may.
    Allow,
    /// It may not, and why.
    Deny(Reason),
}

impl Decision {
    /// Whether it may.
    pub fn is_allowed(&self) -> bool {
        matches!(self, Self::Allow)
    }
}

/// Why an action is denied. It prints as a sentence without its full stop, fit for a log and for somebody who may know
/// that the thing exists.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Reason {
    /// The view's `include` does not name it.
    NotIncluded {
        /// `server__name`.
        name: Box<str>,
    },
    /// The view's `exclude` names it.
    Excluded {
        /// `server__name`.
        name: Box<str>,
        /// The pattern that did.
        by: Pattern,
    },
    /// It does more than the view's access allows.
    AboveAccess {
        /// `server__name`.
        name: Box<str>,
        /// The ceiling.
        access: Access,
        /// What the action counts as, and why.
        effect: Classified,
    },
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotIncluded { name } => write!(f, "the view does not include `{}`", Printable(name)),
            Self::Excluded { name, by } => {
                write!(
                    f,
                    "the view excludes `{}` (by the pattern `{by}`)",
                    Printable(name)
                )
            }
            Self::AboveAccess { name, access, effect } => {
                f.write_str(match access {
                    Access::Read => "the view is read-only",
                    Access::Write | Access::Destructive => "the view allows no destructive actions",
                })?;
                let counts_as = match effect.effect {
                    Effect::Read => "as reading",
                    Effect::Write => "as writing",
                    Effect::Destructive => "as destructive",
                };
                let because = match effect.because {
                    Because::Method => "by its method",
                    Because::Declared => "because `effects` of its server says so",
                    Because::Annotated => "because its server's annotations say so",
                    Because::Unknown => "because its server declares no effect",
                };
                write!(f, " and `{}` counts {counts_as} {because}", Printable(name))
            }
        }
    }
}

impl std::error::Error for Reason {}

/// Decides. The only place that does: lists, calls and explanations all come here.
///
/// The principal does not matter yet: while no identity can be configured, the only one is [`Principal::local`], who may
/// do everything the configuration offers.
pub fn decide(_principal: &Principal, view: &ViewRules, action: &Action<'_>) -> Decision {
    let name = || format!("{}__{}", action.server, action.name).into_boxed_str();
    let chars = action
        .server
        .chars()
        .chain("__".chars())
        .chain(action.name.chars());
    match view.selection.judge_chars(&chars) {
        Verdict::Excluded(by) => Decision::Deny(Reason::Excluded {
            name: name(),
            by: by.clone(),
        }),
        Verdict::NotIncluded => Decision::Deny(Reason::NotIncluded { name: name() }),
        Verdict::Selected if view.access.allows(action.effect.effect) => Decision::Allow,
        Verdict::Selected => Decision::Deny(Reason::AboveAccess {
            name: name(),
            access: view.access,
            effect: action.effect,
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
        let decision = match decide(&Principal::local(), view, &action) {
            Decision::Allow => Ok(()),
            Decision::Deny(reason) => Err(reason.to_string()),
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
