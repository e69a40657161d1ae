//! Roles, who is bound to them, and the ceiling of the whole gate.

use std::{hash::RandomState, sync::Arc};

use crate::{
    Access, Caller, Condition, Facts, Pattern, Printable, nearest::nearest, principal::LOCAL_ISSUER,
};

/// The issuer of principals that are API keys; their subject is the key's id. It is no URL, so that no identity provider can
/// ever be it.
pub const KEY_ISSUER: &str = "gatepost:key";

/// What [`Rules`] are made of, as the configuration says it.
#[derive(Clone, Debug)]
pub struct RuleSettings {
    /// Nobody can be told apart, because no identity is configured: [`crate::Principal::local`] needs no role.
    pub open: bool,
    /// The gravest effect that anybody may have, whatever their roles.
    pub access: Access,
    /// The issuers whose tokens are accepted. One alone is meant by bindings that name none.
    pub issuers: Vec<Arc<str>>,
    /// Each with a name of its own.
    pub roles: Vec<RoleSettings>,
    /// Who has which.
    pub bindings: Vec<BindingSettings>,
}

/// One role.
#[derive(Clone, Debug)]
pub struct RoleSettings {
    /// What bindings, views and API keys call it.
    pub name: Arc<str>,
    /// What it may use. Patterns see `server__name`, for resources `server__uri`, before any renaming.
    pub allow: Vec<Pattern>,
    /// What nobody with this role may use, whatever other roles allow, and whether `when` holds or not.
    pub deny: Vec<Pattern>,
    /// The gravest effect that this role allows.
    pub access: Access,
    /// OAuth scopes, all of which a token must hold for this role to allow anything.
    pub scopes: Vec<Arc<str>>,
    /// What must be true for this role to allow anything.
    pub when: Option<Condition>,
}

impl RoleSettings {
    /// A role that allows nothing yet, and never more than reading.
    pub fn new(name: impl Into<Arc<str>>) -> Self {
        Self {
            name: name.into(),
            allow: Vec::new(),
            deny: Vec::new(),
            access: Access::Read,
            scopes: Vec::new(),
            when: None,
        }
    }
}

/// Who has some roles: whoever meets everything that is given here.
#[derive(Clone, Debug, Default)]
pub struct BindingSettings {
    /// The names of the roles.
    pub roles: Vec<Arc<str>>,
    /// Subjects or verified mail addresses, compared exactly; any of them. Empty: anybody.
    pub users: Vec<Arc<str>>,
    /// Groups, compared exactly; any of them. Empty: whatever the groups.
    pub groups: Vec<Arc<str>>,
    /// The tenant it must act for.
    pub tenant: Option<Arc<str>>,
    /// Who must vouch for it. Users and groups are names that an issuer gives, so with them `None` means the only issuer.
    pub issuer: Option<Arc<str>>,
}

/// What is wrong with [`RuleSettings`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{path}: {message}")]
pub struct RuleProblem {
    /// Where in the configuration, as `roles.analyst` or `bindings[2]`.
    pub path: String,
    /// What is wrong, and what to do.
    pub message: String,
}

/// Roles, bindings and the ceiling of the whole gate, compiled.
#[derive(Debug)]
pub struct Rules {
    pub(crate) open: bool,
    pub(crate) access: Access,
    pub(crate) roles: Vec<Arc<Role>>,
    pub(crate) bindings: Vec<Binding>,
    /// Of the hashes that tell visibilities apart.
    pub(crate) keys: [RandomState; 2],
}

#[derive(Debug)]
pub(crate) struct Role {
    pub(crate) name: Arc<str>,
    pub(crate) allow: Vec<Pattern>,
    pub(crate) deny: Vec<Pattern>,
    pub(crate) access: Access,
    pub(crate) scopes: Arc<[Arc<str>]>,
    pub(crate) when: Option<Condition>,
}

#[derive(Debug)]
pub(crate) struct Binding {
    /// Places in [`Rules::roles`].
    pub(crate) roles: Vec<usize>,
    pub(crate) users: Vec<Arc<str>>,
    pub(crate) groups: Vec<Arc<str>>,
    pub(crate) tenant: Option<Arc<str>>,
    pub(crate) issuer: Option<Arc<str>>,
}

impl Rules {
    /// The rules while nothing is configured: the principal `local` may do everything, and nobody else anything.
    pub fn open() -> Arc<Self> {
        Self::open_up_to(Access::Destructive)
    }

    /// The same, below a ceiling for the whole gate.
    pub fn open_up_to(access: Access) -> Arc<Self> {
        Arc::new(Self {
            open: true,
            access,
            roles: Vec::new(),
            bindings: Vec::new(),
            keys: [RandomState::new(), RandomState::new()],
        })
    }

    /// Compiles `settings`.
    ///
    /// # Errors
    /// When a name is there twice, or none's; when a binding would bind everybody, or somebody that nobody in particular
    /// vouches for.
    pub fn compile(settings: RuleSettings) -> Result<Self, RuleProblem> {
        let RuleSettings {
            open,
            access,
            issuers,
            roles,
            bindings,
        } = settings;
        for (at, role) in roles.iter().enumerate() {
            if roles[..at].iter().any(|other| other.name == role.name) {
                let name = Printable(&role.name);
                return Err(RuleProblem {
                    path: format!("roles.{name}"),
                    message: format!("there are two roles `{name}`"),
                });
            }
        }
        let roles: Vec<Arc<Role>> = roles.into_iter().map(|role| Arc::new(Role::new(role))).collect();
        let bindings = bindings
            .into_iter()
            .enumerate()
            .map(|(at, binding)| {
                Binding::new(binding, &roles, &issuers).map_err(|message| RuleProblem {
                    path: format!("bindings[{at}]"),
                    message,
                })
            })
            .collect::<Result<_, _>>()?;
        Ok(Self {
            open,
            access,
            roles,
            bindings,
            keys: [RandomState::new(), RandomState::new()],
        })
    }

    /// What these rules give somebody.
    pub fn caller(self: &Arc<Self>, facts: Facts) -> Caller {
        Caller::new(Arc::clone(self), facts)
    }

    /// The ceiling of the whole gate.
    pub fn access(&self) -> Access {
        self.access
    }

    /// Whether the principal `local` needs no role.
    pub fn is_open(&self) -> bool {
        self.open
    }
}

impl Role {
    fn new(settings: RoleSettings) -> Self {
        Self {
            name: settings.name,
            allow: settings.allow,
            deny: settings.deny,
            access: settings.access,
            scopes: settings.scopes.into(),
            when: settings.when,
        }
    }
}

impl Binding {
    fn new(settings: BindingSettings, roles: &[Arc<Role>], issuers: &[Arc<str>]) -> Result<Self, String> {
        let BindingSettings {
            roles: names,
            users,
            groups,
            tenant,
            issuer,
        } = settings;
        if names.is_empty() {
            return Err("it gives no role; name one with `role` or several with `roles`".to_owned());
        }
        if users.is_empty() && groups.is_empty() && tenant.is_none() && issuer.is_none() {
            return Err(
                "it would bind everybody; give at least one of `users`, `groups`, `tenant`, `issuer`"
                    .to_owned(),
            );
        }
        let mut places = Vec::with_capacity(names.len());
        for name in &names {
            let place = roles.iter().position(|role| role.name == *name).ok_or_else(|| {
                let known = roles.iter().map(|role| &*role.name);
                unknown("role", name, nearest(name, known))
            })?;
            if !places.contains(&place) {
                places.push(place);
            }
        }
        let named = !users.is_empty() || !groups.is_empty();
        let issuer = match (issuer, issuers) {
            (Some(issuer), _) => {
                let known = issuers
                    .iter()
                    .map(|known| &**known)
                    .chain([KEY_ISSUER, LOCAL_ISSUER]);
                if !known.clone().any(|known| *known == *issuer) {
                    return Err(unknown("issuer", &issuer, nearest(&issuer, known)));
                }
                Some(issuer)
            }
            (None, _) if !named => None,
            (None, [only]) => Some(Arc::clone(only)),
            (None, []) => {
                return Err(
                    "it names users or groups, and no issuer is configured that could vouch for them"
                        .to_owned(),
                );
            }
            (None, _) => {
                return Err(
                    "users and groups are names that an issuer gives, and there are several: say which with `issuer`"
                        .to_owned(),
                );
            }
        };
        Ok(Self {
            roles: places,
            users,
            groups,
            tenant,
            issuer,
        })
    }

    /// Whether `facts` meet everything that is asked here.
    pub(crate) fn holds(&self, facts: &Facts) -> bool {
        self.unmet(facts).is_none()
    }

    /// What of it they do not meet.
    pub(crate) fn unmet(&self, facts: &Facts) -> Option<&'static str> {
        let principal = &facts.principal;
        let user =
            |wanted: &Arc<str>| **wanted == *principal.subject() || facts.email.as_ref() == Some(wanted);
        if self
            .issuer
            .as_deref()
            .is_some_and(|issuer| issuer != principal.issuer())
        {
            return Some("another issuer");
        }
        if self.tenant.is_some() && self.tenant.as_deref() != principal.tenant() {
            return Some("another tenant");
        }
        if !self.users.is_empty() && !self.users.iter().any(user) {
            return Some("other users");
        }
        if !self.groups.is_empty() && !self.groups.iter().any(|group| facts.groups.contains(group)) {
            return Some("other groups");
        }
        None
    }
}

fn unknown(what: &str, name: &str, nearest: Option<&str>) -> String {
    let name = Printable(name);
    match nearest {
        Some(nearest) => format!(
            "there is no {what} `{name}`; did you mean `{}`?",
            Printable(nearest)
        ),
        None => format!("there is no {what} `{name}`"),
    }
}
