//! `roles`, `bindings` and the `roles` of views: who may do what.

use std::sync::Arc;

use gatepost_policy::{
    Access, BindingSettings, Condition, KEY_ISSUER, Pattern, Principal, Printable, RoleSettings, nearest,
};

use crate::{
    Identity, Role, known,
    names::{Name, Placed, ScopeName, Some1, plain},
    problem::Place,
    reader::{Findings, Setting, join},
    settings::settings,
    tree::Node,
    values::{Named, spelled},
};

settings! {
    /// What somebody who has it may do. Its patterns see names with their prefix, `server__tool`, before renaming; for
    /// resources `server__uri`.
    pub(crate) struct RoleForm {
        /// Patterns of what it allows. Default: nothing.
        pub(crate) allow: Vec<Pattern>,
        /// Patterns of what it forbids, whatever this and other roles allow, and whether `when` holds or not. Default:
        /// nothing.
        pub(crate) deny: Vec<Pattern>,
        /// The gravest that it allows: `read`, `write` or `destructive`. Roles are not added up: each allows by itself.
        pub(crate) access: Access = "read",
        /// OAuth scopes, all of which a token needs for this role to allow anything; a call without them gets 403 with their
        /// names. API keys have no scopes and need none. Default: none.
        pub(crate) scopes: Vec<ScopeName>,
        /// When it allows: an expression in CEL over `args`, `principal`, `tool` and `now`. One that fails allows nothing.
        /// Default: always.
        pub(crate) when: Option<ConditionText>,
        /// What the role is for. Default: none.
        pub(crate) description: Option<String>,
    }
}

settings! {
    /// Who has roles: whoever fits everything that is given here.
    pub(crate) struct BindingForm
        exactly_one_of ["role", "roles"];
        at_least_one_of ["users", "groups", "tenant", "issuer"];
    {
        /// The role that is given.
        pub(crate) role: Option<Placed<Name>>,
        /// The roles that are given.
        pub(crate) roles: Option<Some1<Placed<Name>>>,
        /// Subjects or verified mail addresses, as the issuer writes them, or ids of API keys; any of them.
        pub(crate) users: Option<Some1<Name>>,
        /// Groups, as the issuer writes them; any of them.
        pub(crate) groups: Option<Some1<Name>>,
        /// The tenant.
        pub(crate) tenant: Option<Placed<Name>>,
        /// The issuer that speaks for them, one of `identity.jwt`, or `gatepost:key` for API keys, `gatepost:local` for
        /// `gatepost stdio`. `users` and `groups` are names that an issuer gives, so they need it, unless only one is there.
        pub(crate) issuer: Option<Placed<Name>>,
    }
}

/// A compiled condition.
#[derive(Clone, Debug)]
pub(crate) struct ConditionText(Condition);

impl Setting for ConditionText {
    fn read(node: &Node, path: &str, findings: &mut Findings) -> Option<Self> {
        let example = "`'args.env != \"production\"'`";
        let text = spelled(node, path, findings, "an expression in CEL", example)?;
        match Condition::new(&text.text) {
            Ok(condition) => Some(Self(condition)),
            Err(error) => {
                let remedy = "see https://cel.dev, and `gatepost explain` for what a condition sees";
                findings.problem(&node.place, path, error.to_string(), remedy);
                None
            }
        }
    }

    fn schema() -> serde_json::Value {
        String::schema()
    }
}

/// The longest name of a role.
const LONGEST_NAME: usize = 64;

/// Builds the runtime form of `roles`.
pub(crate) fn roles(form: Named<RoleForm>, findings: &mut Findings) -> Vec<Role> {
    let mut roles = Vec::with_capacity(form.0.len());
    for (name, form, place) in form.0 {
        let path = join("roles", &name);
        let allowed = |c: char| c.is_ascii_alphanumeric() || "._:-".contains(c);
        if name.len() > LONGEST_NAME
            || !name.starts_with(|c: char| c.is_ascii_alphanumeric())
            || !name.chars().all(allowed)
        {
            let remedy =
                "use 1 to 64 letters, digits, `.`, `_`, `:` and `-`, and begin with a letter or digit";
            findings.problem(&place, &path, "the name is no usable name of a role", remedy);
        }
        if form.allow.is_empty() && form.deny.is_empty() {
            let message = "allows nothing and forbids nothing";
            let remedy = "add `allow: [\"server__*\"]`, or remove the role";
            findings.warning(&place, &path, message, remedy);
        }
        roles.push(Role {
            rule: RoleSettings {
                name: name.into(),
                allow: form.allow,
                deny: form.deny,
                access: form.access,
                scopes: form.scopes.into_iter().map(|scope| scope.0).collect(),
                when: form.when.map(|when| when.0),
            },
            description: form.description,
        });
    }
    roles
}

/// What a binding is checked against.
pub(crate) struct Known<'a> {
    pub(crate) identity: &'a Identity,
    pub(crate) roles: &'a [Role],
}

/// Builds the runtime form of `bindings`.
pub(crate) fn bindings(
    forms: Vec<Placed<BindingForm>>,
    known: &Known<'_>,
    findings: &mut Findings,
) -> Vec<BindingSettings> {
    let numbered = forms.into_iter().enumerate();
    let bindings = numbered.filter_map(|(at, Placed { value, place })| {
        binding(value, &place, &format!("bindings[{at}]"), known, findings)
    });
    bindings.collect()
}

fn binding(
    form: BindingForm,
    place: &Place,
    path: &str,
    known: &Known<'_>,
    findings: &mut Findings,
) -> Option<BindingSettings> {
    let roles = match (form.role, form.roles) {
        (Some(role), None) => existing(vec![role], &join(path, "role"), known.roles, findings),
        (None, Some(Some1(roles))) => existing(roles, &join(path, "roles"), known.roles, findings),
        _ => return None,
    };
    let local = Principal::local();
    let named = form.users.is_some() || form.groups.is_some();
    let issuer = match form.issuer {
        Some(Placed { value, place }) => {
            let issuers: Vec<&str> = known.identity.jwt.iter().map(|jwt| &*jwt.issuer).collect();
            let ours = [KEY_ISSUER, local.issuer()];
            if !issuers.contains(&&*value.0) && !ours.contains(&&*value.0) {
                let remedy = match nearest(&value.0, issuers.iter().copied()) {
                    Some(name) => format!("did you mean `{}`?", Printable(name)),
                    None => {
                        format!(
                            "write the `issuer` of one of `identity.jwt`, or {}",
                            known::listed(&ours)
                        )
                    }
                };
                let message = "is the issuer of none of `identity.jwt`";
                findings.problem(&place, &join(path, "issuer"), message, remedy);
                return None;
            }
            if form.groups.is_some() && ours.contains(&&*value.0) {
                let message = format!("holds nobody: `{}` names no groups", value.0);
                findings.problem(&place, &join(path, "groups"), message, "remove it");
            }
            Some(value.0)
        }
        None if !named => None,
        None => match &known.identity.jwt[..] {
            [only] => Some(Arc::clone(&only.issuer)),
            [] => {
                let message = "names people or groups, and `identity.jwt` has no issuer that could";
                let remedy = "add the issuer; a key's roles are given with `gatepost keys create --role`";
                findings.problem(place, path, message, remedy);
                return None;
            }
            several => {
                let message = format!(
                    "names people or groups without `issuer`, and each of the {} issuers has its own",
                    several.len()
                );
                findings.problem(place, path, message, "add the `issuer` that is meant");
                return None;
            }
        },
    };
    let tenant = form
        .tenant
        .map(|tenant| tenant_there_is(tenant, issuer.as_deref(), path, known.identity, findings));
    Some(BindingSettings {
        roles: roles?,
        users: plain(form.users),
        groups: plain(form.groups),
        tenant,
        issuer,
    })
}

/// The names of roles, each of which must exist.
pub(crate) fn existing(
    given: Vec<Placed<Name>>,
    path: &str,
    roles: &[Role],
    findings: &mut Findings,
) -> Option<Vec<Arc<str>>> {
    let mut names: Vec<Arc<str>> = Vec::with_capacity(given.len());
    let mut all_exist = true;
    for Placed { value, place } in given {
        if !roles.iter().any(|role| role.rule.name == value.0) {
            let known: Vec<&str> = roles.iter().map(|role| &*role.rule.name).collect();
            let remedy = match nearest(&value.0, known.iter().copied()) {
                Some(name) => format!("did you mean `{}`?", Printable(name)),
                None => "add it to `roles`".to_owned(),
            };
            let message = format!("there is no role `{}`", Printable(&value.0));
            findings.problem(&place, path, message, remedy);
            all_exist = false;
        } else if !names.contains(&value.0) {
            names.push(value.0);
        }
    }
    all_exist.then_some(names)
}

/// Reports a tenant that nobody can be of.
fn tenant_there_is(
    Placed { value, place }: Placed<Name>,
    issuer: Option<&str>,
    path: &str,
    identity: &Identity,
    findings: &mut Findings,
) -> Arc<str> {
    let path = join(path, "tenant");
    // A key may be made for any tenant, and has no list.
    let keys = identity.api_keys && issuer.is_none_or(|issuer| issuer == KEY_ISSUER);
    let speakers = identity
        .jwt
        .iter()
        .filter(|jwt| issuer.is_none_or(|issuer| &*jwt.issuer == issuer));
    let tenants: Vec<&str> = speakers
        .filter_map(|jwt| jwt.tenant.as_ref())
        .flat_map(|tenant| &tenant.allow)
        .map(|name| &**name)
        .collect();
    if keys || tenants.contains(&&*value.0) {
        return value.0;
    }
    if tenants.is_empty() {
        let message = "binds nobody: no issuer that could speak for them names tenants";
        let remedy = "add `tenant: { claim: …, allow: […] }` to the issuer in `identity.jwt`";
        findings.problem(&place, &path, message, remedy);
    } else {
        let message = format!("there is no tenant `{}`", Printable(&value.0));
        let remedy = match nearest(&value.0, tenants.iter().copied()) {
            Some(name) => format!("did you mean `{}`?", Printable(name)),
            None => "add it to `allow` of the issuer's `tenant` in `identity.jwt`".to_owned(),
        };
        findings.problem(&place, &path, message, remedy);
    }
    value.0
}
