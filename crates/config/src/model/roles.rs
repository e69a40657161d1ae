//! Who may do what: roles, and who has them.

use std::sync::Arc;

use gatepost_policy::{Access, BindingSettings, Condition, Pattern, RoleSettings, RuleSettings};

use crate::Config;

/// What somebody who has it may do. The patterns see names with their prefix, `server__tool`, and `server__uri` for
/// resources.
#[derive(Clone, Debug)]
pub struct Role {
    /// Its name.
    pub name: Arc<str>,
    /// What it allows.
    pub allow: Vec<Pattern>,
    /// What it forbids, whatever other roles allow.
    pub deny: Vec<Pattern>,
    /// The gravest that it allows.
    pub access: Access,
    /// The OAuth scopes that it needs, all of them.
    pub scopes: Vec<Arc<str>>,
    /// When it allows. `None`: always.
    pub when: Option<Condition>,
    /// What it is for, in words.
    pub description: Option<String>,
}

/// Who has roles: whoever fits everything that is given. At least one thing is.
#[derive(Clone, Debug)]
pub struct Binding {
    /// The roles; each exists. Never empty.
    pub roles: Vec<Arc<str>>,
    /// One of these people, by subject or verified mail address. Empty: whoever it is.
    pub users: Vec<Arc<str>>,
    /// A member of one of these groups. Empty: of any or none.
    pub groups: Vec<Arc<str>>,
    /// Somebody of this tenant. `None`: of any or none.
    pub tenant: Option<Arc<str>>,
    /// Somebody for whom this issuer speaks: always there where `users` or `groups` are. `None`: whoever speaks for them.
    pub issuer: Option<Arc<str>>,
}

impl Config {
    /// What decides who may do what, in the words of the policy: [`gatepost_policy::Rules::compile`] takes it.
    pub fn rule_settings(&self) -> RuleSettings {
        let issuers = self.identity.iter().flat_map(|identity| &identity.jwt);
        RuleSettings {
            open: self.identity.is_none(),
            access: self.access,
            issuers: issuers.map(|jwt| Arc::clone(&jwt.issuer)).collect(),
            roles: self.roles.iter().map(RoleSettings::from).collect(),
            bindings: self.bindings.iter().map(BindingSettings::from).collect(),
        }
    }
}

impl From<&Role> for RoleSettings {
    fn from(role: &Role) -> Self {
        Self {
            name: Arc::clone(&role.name),
            allow: role.allow.clone(),
            deny: role.deny.clone(),
            access: role.access,
            scopes: role.scopes.clone(),
            when: role.when.clone(),
        }
    }
}

impl From<&Binding> for BindingSettings {
    fn from(binding: &Binding) -> Self {
        Self {
            roles: binding.roles.clone(),
            users: binding.users.clone(),
            groups: binding.groups.clone(),
            tenant: binding.tenant.clone(),
            issuer: binding.issuer.clone(),
        }
    }
}
