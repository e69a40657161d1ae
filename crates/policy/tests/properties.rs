//! Decisions over generated rules, callers and calls, held against a second, naive reading of the same words.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::sync::Arc;

use gatepost_policy::{
    Access, Action, Because, BindingSettings, Caller, Circumstances, Classified, Condition, Decision, Effect,
    Facts, Kind, Method, Pattern, Principal, RoleSettings, RuleSettings, Rules, Selection, UnixMillis,
    ViewRules, decide, explain,
};
use proptest::{collection::vec, option, prelude::*, sample::select};

const ISSUERS: [&str; 2] = ["https://a.example", "https://b.example"];
const PATTERNS: [&str; 9] = [
    "*", "a__*", "b__*", "*__x", "a__x", "b__?", "*delete*", "a__?_*", "c__*",
];
const NAMES: [&str; 4] = ["x", "y", "delete", "x_y"];
const ROLES: [&str; 4] = ["r0", "r1", "r2", "r3"];

/// Arguments and hours that make every condition below true or false, each alone.
const ARGUMENTS: [&str; 7] = [
    "",
    r#"{"n":1}"#,
    r#"{"n":2}"#,
    r#"{"n":"one"}"#,
    r#"{"n":1,"t":"t1"}"#,
    r#"{"n":2,"t":"t2"}"#,
    r#"{"n":99999999999999999999}"#,
];
const HOURS: [i64; 2] = [3, 15];

/// A condition and what it means; `None`: an error.
type Meaning = fn(&Facts, &Action<'_>, &str, i64) -> Option<bool>;

const CONDITIONS: [(&str, Meaning); 11] = [
    ("args.n == 1", |_, _, args, _| is_n(args, 1)),
    ("args.n != 1", |_, _, args, _| is_n(args, 1).map(|is| !is)),
    (
        "has(args.t) && args.t == principal.tenant",
        |facts, _, args, _| {
            let Some((_, tenant)) = args.split_once("\"t\":\"") else {
                return Some(false);
            };
            facts.principal.tenant().map(|mine| tenant.starts_with(mine))
        },
    ),
    ("principal.subject == 'ann'", |facts, _, _, _| {
        Some(facts.principal.subject() == "ann")
    }),
    ("principal.email == 'ann@a.example'", |facts, _, _, _| {
        facts.email.as_deref().map(|email| email == "ann@a.example")
    }),
    ("'g1' in principal.groups", |facts, _, _, _| {
        Some(facts.groups.iter().any(|group| &**group == "g1"))
    }),
    ("now.getHours() < 12", |_, _, _, hour| Some(hour < 12)),
    ("tool.name == 'x' || args.n == 2", |_, action, args, _| {
        if action.name == "x" {
            Some(true)
        } else {
            is_n(args, 2)
        }
    }),
    (
        "tool.effect == 'read' ? now.getHours() > 12 : args.n == 1",
        |_, action, args, hour| match action.effect.effect {
            Effect::Read => Some(hour > 12),
            _ => is_n(args, 1),
        },
    ),
    ("1 / size(principal.groups) > 0", |facts, _, _, _| {
        match facts.groups.len() {
            0 => None,
            groups => Some(groups == 1),
        }
    }),
    ("false", |_, _, _, _| Some(false)),
];

fn is_n(args: &str, n: u64) -> Option<bool> {
    if args.contains("99999") {
        return None;
    }
    args.contains("\"n\"")
        .then(|| args.contains(&format!("\"n\":{n}")))
}

#[derive(Clone, Debug)]
struct Role {
    allow: Vec<&'static str>,
    deny: Vec<&'static str>,
    access: Access,
    scopes: Vec<&'static str>,
    when: Option<usize>,
}

#[derive(Clone, Debug)]
struct Binding {
    roles: Vec<usize>,
    users: Vec<&'static str>,
    groups: Vec<&'static str>,
    tenant: Option<&'static str>,
    issuer: &'static str,
}

#[derive(Clone, Debug)]
struct World {
    open: bool,
    access: Access,
    roles: Vec<Role>,
    bindings: Vec<Binding>,
    include: Option<Vec<&'static str>>,
    exclude: Vec<&'static str>,
    view_access: Access,
    view_roles: Option<Vec<usize>>,
}

#[derive(Clone, Debug)]
struct Asked {
    server: &'static str,
    name: &'static str,
    kind: Kind,
    effect: Effect,
}

fn accesses() -> impl Strategy<Value = Access> {
    prop_oneof![
        1 => Just(Access::Read),
        1 => Just(Access::Write),
        2 => Just(Access::Destructive),
    ]
}

fn roles() -> impl Strategy<Value = Role> {
    let denies = prop_oneof![3 => Just(Vec::new()), 1 => vec(select(&PATTERNS[2..]), 1..3)];
    let scopes = prop_oneof![2 => Just(Vec::new()), 1 => vec(select(&["s1", "s2"][..]), 1..3)];
    let when = option::of(0..CONDITIONS.len());
    (vec(select(&PATTERNS[..]), 0..3), denies, accesses(), scopes, when).prop_map(
        |(allow, deny, access, scopes, when)| Role {
            allow,
            deny,
            access,
            scopes,
            when,
        },
    )
}

fn bindings() -> impl Strategy<Value = Binding> {
    (
        vec(0..ROLES.len(), 1..3),
        prop_oneof![1 => Just(Vec::new()), 1 => vec(select(&["ann", "bob", "ann@a.example"][..]), 1..3)],
        prop_oneof![1 => Just(Vec::new()), 1 => vec(select(&["g1", "g2"][..]), 1..3)],
        option::of(select(&["t1", "t2"][..])),
        select(&ISSUERS[..]),
    )
        .prop_map(|(roles, users, groups, tenant, issuer)| Binding {
            roles,
            users,
            groups,
            tenant,
            issuer,
        })
}

fn worlds() -> impl Strategy<Value = World> {
    (
        prop::bool::weighted(0.1),
        prop_oneof![1 => accesses(), 3 => Just(Access::Destructive)],
        vec(roles(), ROLES.len()),
        vec(bindings(), 0..4),
        option::weighted(0.3, vec(select(&PATTERNS[..]), 0..3)),
        prop_oneof![3 => Just(Vec::new()), 1 => vec(select(&PATTERNS[2..]), 1..3)],
        prop_oneof![1 => accesses(), 3 => Just(Access::Destructive)],
        option::weighted(0.2, vec(0..ROLES.len(), 0..3)),
    )
        .prop_map(
            |(open, access, roles, bindings, include, exclude, view_access, view_roles)| World {
                open,
                access,
                roles,
                bindings,
                include,
                exclude,
                view_access,
                view_roles,
            },
        )
}

fn people() -> impl Strategy<Value = Facts> {
    let person = (
        select(&ISSUERS[..]),
        select(&["ann", "bob"][..]),
        option::of(select(&["t1", "t2"][..])),
        vec(select(&["g1", "g2"][..]), 0..3),
        option::of(vec(select(&["s1", "s2"][..]), 0..3)),
        option::of(select(&["ann@a.example", "bob@a.example"][..])),
        vec(select(&["r0", "r1", "r2", "r3", "gone"][..]), 0..3),
    );
    let shared = |names: Vec<&'static str>| -> Vec<Arc<str>> { names.into_iter().map(Into::into).collect() };
    let person = person.prop_map(move |(issuer, subject, tenant, groups, scopes, email, roles)| {
        let principal = Principal::new(issuer, subject);
        let principal = match tenant {
            Some(tenant) => principal.with_tenant(tenant),
            None => principal,
        };
        Facts {
            groups: shared(groups),
            scopes: scopes.map(shared),
            email: email.map(Into::into),
            roles: shared(roles),
            ..Facts::of(principal, Method::Jwt)
        }
    });
    prop_oneof![9 => person, 1 => Just(Facts::local())]
}

fn asked() -> impl Strategy<Value = Asked> {
    (
        select(&["a", "b", "d"][..]),
        select(&NAMES[..]),
        select(&Kind::ALL[..]),
        select(&[Effect::Read, Effect::Write, Effect::Destructive][..]),
    )
        .prop_map(|(server, name, kind, effect)| Asked {
            server,
            name,
            kind,
            effect,
        })
}

impl Asked {
    fn action(&self) -> Action<'_> {
        Action {
            kind: self.kind,
            server: self.server,
            name: self.name,
            effect: Classified {
                effect: self.effect,
                because: Because::Declared,
            },
        }
    }
}

impl Asked {
    /// Resources have no arguments, and to complete one is to look for the right one.
    fn holds(&self, when: Meaning, facts: &Facts, args: &str, hour: i64) -> bool {
        let holds = |args| when(facts, &self.action(), args, hour) == Some(true);
        match self.kind {
            Kind::Call | Kind::Get => holds(args),
            Kind::Read | Kind::Subscribe => holds(""),
            Kind::Complete => ARGUMENTS.into_iter().any(holds),
        }
    }
}

fn patterns(texts: &[&str]) -> Vec<Pattern> {
    texts.iter().map(|text| Pattern::new(text).unwrap()).collect()
}

fn shared(names: &[&str]) -> Vec<Arc<str>> {
    names.iter().map(|name| (*name).into()).collect()
}

fn named(roles: &[usize]) -> Vec<Arc<str>> {
    roles.iter().map(|role| ROLES[*role].into()).collect()
}

impl World {
    fn rules(&self) -> Arc<Rules> {
        let role = |(at, role): (usize, &Role)| RoleSettings {
            name: ROLES[at].into(),
            allow: patterns(&role.allow),
            deny: patterns(&role.deny),
            access: role.access,
            scopes: shared(&role.scopes),
            when: role.when.map(|when| Condition::new(CONDITIONS[when].0).unwrap()),
        };
        let binding = |binding: &Binding| BindingSettings {
            roles: named(&binding.roles),
            users: shared(&binding.users),
            groups: shared(&binding.groups),
            tenant: binding.tenant.map(Into::into),
            issuer: Some(binding.issuer.into()),
        };
        let settings = RuleSettings {
            open: self.open,
            access: self.access,
            issuers: shared(&ISSUERS),
            roles: self.roles.iter().enumerate().map(role).collect(),
            bindings: self.bindings.iter().map(binding).collect(),
        };
        Arc::new(Rules::compile(settings).unwrap())
    }

    fn view(&self) -> ViewRules {
        ViewRules {
            selection: Selection {
                include: self.include.as_deref().map(patterns),
                exclude: patterns(&self.exclude),
            },
            access: self.view_access,
            roles: self.view_roles.as_deref().map(named),
        }
    }

    /// The roles that somebody has, read off the settings.
    fn bound(&self, facts: &Facts) -> Vec<usize> {
        let has = |role: usize| {
            facts.roles.iter().any(|name| **name == *ROLES[role])
                || self.bindings.iter().any(|binding| {
                    let principal = &facts.principal;
                    binding.roles.contains(&role)
                        && principal.issuer() == binding.issuer
                        && (binding.tenant.is_none() || principal.tenant() == binding.tenant)
                        && (binding.users.is_empty()
                            || binding.users.iter().any(|user| {
                                *user == principal.subject() || facts.email.as_deref() == Some(user)
                            }))
                        && (binding.groups.is_empty()
                            || facts
                                .groups
                                .iter()
                                .any(|group| binding.groups.contains(&&**group)))
                })
        };
        (0..ROLES.len()).filter(|role| has(*role)).collect()
    }

    /// What a call comes to, read off the settings.
    fn expected(&self, facts: &Facts, asked: &Asked, args: &str, hour: i64) -> Expected {
        let full = format!("{}__{}", asked.server, asked.name);
        let any = |texts: &[&str]| patterns(texts).iter().any(|pattern| pattern.matches(&full));
        let free = self.open && facts.principal.is_local();
        let bound = self.bound(facts);
        let finds = |roles: &Vec<usize>| roles.iter().any(|role| bound.contains(role));
        if !free && self.view_roles.as_ref().is_some_and(|roles| !finds(roles))
            || !self.access.allows(asked.effect)
            || !self.view_access.allows(asked.effect)
            || any(&self.exclude)
            || self.include.as_ref().is_some_and(|include| !any(include))
        {
            return Expected::Denied;
        }
        if free {
            return Expected::Allowed;
        }
        if bound.iter().any(|role| any(&self.roles[*role].deny)) {
            return Expected::Denied;
        }
        let mut expected = Expected::Denied;
        for role in bound.iter().map(|role| &self.roles[*role]) {
            let when = role
                .when
                .is_none_or(|when| asked.holds(CONDITIONS[when].1, facts, args, hour));
            if !any(&role.allow) || !role.access.allows(asked.effect) || !when {
                continue;
            }
            if role.scopes.iter().all(|scope| facts.holds(scope)) {
                return Expected::Allowed;
            }
            expected = Expected::NeedsScopes;
        }
        expected
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Expected {
    Allowed,
    NeedsScopes,
    Denied,
}

fn calling(args: &str, hour: i64) -> Circumstances<'_> {
    Circumstances::Calling {
        arguments: args.as_bytes(),
        now: UnixMillis(1_795_219_200_000 + hour * 3_600_000),
    }
}

fn every_call() -> impl Iterator<Item = (&'static str, i64)> {
    ARGUMENTS
        .into_iter()
        .flat_map(|args| HOURS.into_iter().map(move |hour| (args, hour)))
}

fn decided(caller: &Caller, view: &ViewRules, asked: &Asked, circumstances: Circumstances<'_>) -> Decision {
    let decision = decide(caller, view, &asked.action(), circumstances);
    let explanation = explain(caller, view, &asked.action(), circumstances);
    assert_eq!(explanation.decision, decision);
    decision
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(1000) })]

    /// The decision is what the settings say, for every call; and what a list shows and hides follows from the calls.
    #[test]
    fn decisions_are_what_the_settings_say(world in worlds(), facts in people(), asked in vec(asked(), 4)) {
        let (rules, view) = (world.rules(), world.view());
        let caller = rules.caller(facts.clone());
        let bound: Vec<&str> = caller.roles().map(|role| &**role).collect();
        let expected: Vec<&str> = world.bound(&facts).into_iter().map(|role| ROLES[role]).collect();
        prop_assert_eq!(bound, expected);
        for asked in &asked {
            let mut possible = Vec::new();
            for (args, hour) in every_call() {
                let expected = world.expected(&facts, asked, args, hour);
                let found = match decided(&caller, &view, asked, calling(args, hour)) {
                    Decision::Allow(_) => Expected::Allowed,
                    Decision::NeedsScopes(_) => Expected::NeedsScopes,
                    Decision::Deny(_) => Expected::Denied,
                    Decision::Depends(by) => panic!("a call does not depend: {by}"),
                };
                prop_assert_eq!(found, expected, "{:?} {} at {}", asked, args, hour);
                possible.push(found);
            }
            let may = |outcome| possible.contains(&outcome);
            let listed = decided(&caller, &view, asked, Circumstances::Listing);
            // What is hidden no call is allowed; what is shown some call may be allowed, at least with more scopes.
            prop_assert_eq!(listed.is_shown(), may(Expected::Allowed) || may(Expected::NeedsScopes), "{:?}: {}", asked, listed);
            match listed {
                Decision::Allow(_) => prop_assert!(!may(Expected::Denied) && !may(Expected::NeedsScopes)),
                Decision::NeedsScopes(_) => prop_assert!(!may(Expected::Allowed)),
                Decision::Depends(_) => prop_assert!(may(Expected::Allowed), "{:?}", asked),
                Decision::Deny(_) => {}
            }
        }
    }

    #[test]
    fn what_a_bound_role_denies_is_never_allowed(world in worlds(), facts in people(), asked in asked()) {
        let world = World { open: false, ..world };
        let caller = world.rules().caller(facts.clone());
        let full = format!("{}__{}", asked.server, asked.name);
        let denied = world.bound(&facts).into_iter().any(|role| {
            patterns(&world.roles[role].deny).iter().any(|pattern| pattern.matches(&full))
        });
        if denied {
            let everything = ViewRules::everything();
            prop_assert!(!decided(&caller, &everything, &asked, Circumstances::Listing).is_shown());
            for (args, hour) in every_call() {
                prop_assert!(!decided(&caller, &everything, &asked, calling(args, hour)).is_shown());
            }
        }
    }

    #[test]
    fn one_more_role_takes_away_only_what_it_denies(world in worlds(), facts in people(), asked in asked(), role in 0..ROLES.len()) {
        let rules = world.rules();
        let mut more = facts.clone();
        more.roles.push(ROLES[role].into());
        let (before, after) = (rules.caller(facts), rules.caller(more));
        let full = format!("{}__{}", asked.server, asked.name);
        let denies = patterns(&world.roles[role].deny).iter().any(|pattern| pattern.matches(&full));
        let view = world.view();
        for (args, hour) in every_call() {
            if decided(&before, &view, &asked, calling(args, hour)).is_allowed() && !denies {
                prop_assert!(decided(&after, &view, &asked, calling(args, hour)).is_allowed());
            }
        }
        if decided(&before, &view, &asked, Circumstances::Listing).is_shown() && !denies {
            prop_assert!(decided(&after, &view, &asked, Circumstances::Listing).is_shown());
        }
    }

    #[test]
    fn equal_visibility_means_equal_lists(world in worlds(), one in people(), other in people(), asked in vec(asked(), 6)) {
        let (rules, view) = (world.rules(), world.view());
        let (one, other) = (rules.caller(one), rules.caller(other));
        if one.visibility() == other.visibility() {
            prop_assert_eq!(view.admits(&one), view.admits(&other));
            prop_assert_eq!(one.principal().tenant(), other.principal().tenant());
            for asked in &asked {
                let shown = |caller| decided(caller, &view, asked, Circumstances::Listing).is_shown();
                prop_assert_eq!(shown(&one), shown(&other), "{:?}", asked);
            }
        }
    }

    /// What does not concern what lists show does not tell visibilities apart: else every principal had lists of its own.
    #[test]
    fn visibility_looks_only_at_what_conditions_mention(facts in people(), name in "[a-z]{1,5}") {
        let settings = |when: &str| RuleSettings {
            open: false,
            access: Access::Destructive,
            issuers: shared(&ISSUERS),
            roles: vec![RoleSettings { when: Some(Condition::new(when).unwrap()), ..RoleSettings::new("r0") }],
            bindings: Vec::new(),
        };
        let mut facts = facts;
        facts.roles = vec!["r0".into()];
        let renamed = Facts {
            name: Some(name.clone().into()),
            email: Some(name.into()),
            scopes: None,
            ..facts.clone()
        };
        let unmoved = Arc::new(Rules::compile(settings("args.n == 1 && 'g1' in principal.groups")).unwrap());
        prop_assert_eq!(unmoved.caller(facts.clone()).visibility(), unmoved.caller(renamed.clone()).visibility());
        let moved = Arc::new(Rules::compile(settings("principal.email == 'x'")).unwrap());
        if facts.email != renamed.email {
            prop_assert_ne!(moved.caller(facts).visibility(), moved.caller(renamed).visibility());
        }
    }
}

#[test]
fn visibilities_of_two_configurations_differ() {
    let (one, other) = (Rules::open(), Rules::open());
    let visibility = |rules: &Arc<Rules>| rules.caller(Facts::local()).visibility();
    assert_eq!(visibility(&one), visibility(&one));
    assert_ne!(visibility(&one), visibility(&other));
    assert_ne!(visibility(&one).bits(), 0);
}
