//! Who may do what: roles, and who has them, as the policy takes them.

use std::sync::Arc;

use gatepost_policy::{RoleSettings, RuleSettings};

use crate::Config;

/// What somebody who has it may do.
#[derive(Clone, Debug)]
pub struct Role {
    /// As the policy takes it.
    pub rule: RoleSettings,
    /// What it is for, in words.
    pub description: Option<String>,
}

impl Config {
    /// What decides who may do what, in the words of the policy: [`gatepost_policy::Rules::compile`] takes it.
    pub fn rule_settings(&self) -> RuleSettings {
        let issuers = self.identity.iter().flat_map(|identity| &identity.jwt);
        RuleSettings {
            open: self.identity.is_none(),
            access: self.access,
            issuers: issuers.map(|jwt| Arc::clone(&jwt.issuer)).collect(),
            roles: self.roles.iter().map(|role| role.rule.clone()).collect(),
            bindings: self.bindings.clone(),
        }
    }
}
