//! Whether anything of a server could ever be a caller's, before anything is known of the server.

use crate::Caller;

impl Caller {
    /// Whether one of its roles allows anything at all of `server`, as far as names tell. Who cannot reach a server is not
    /// told that there is one.
    ///
    /// ```
    /// use gatepost_policy::Caller;
    /// assert!(Caller::local().may_reach("crm"));
    /// ```
    pub fn may_reach(&self, server: &str) -> bool {
        if self.is_free() {
            return true;
        }
        let names = || server.chars().chain("__".chars());
        let denied = self
            .bound()
            .flat_map(|role| &role.deny)
            .any(|pattern| pattern.matches_all_after(names()));
        let allowed = || {
            self.bound()
                .flat_map(|role| &role.allow)
                .any(|pattern| pattern.matches_some_after(names()))
        };
        !denied && allowed()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use crate::{Access, Facts, Method, Pattern, Principal, RoleSettings, RuleSettings, Rules};

    #[track_caller]
    fn check(allow: &[&str], deny: &[&str], server: &str, expected: bool) {
        let patterns = |texts: &[&str]| texts.iter().map(|text| Pattern::new(text).unwrap()).collect();
        let role = RoleSettings {
            allow: patterns(allow),
            deny: patterns(deny),
            ..RoleSettings::new("r")
        };
        let settings = RuleSettings {
            open: false,
            access: Access::Destructive,
            issuers: Vec::new(),
            roles: vec![role],
            bindings: Vec::new(),
        };
        let mut facts = Facts::of(Principal::new("i", "ann"), Method::Jwt);
        facts.roles.push("r".into());
        let caller = Arc::new(Rules::compile(settings).unwrap()).caller(facts);
        assert_eq!(caller.may_reach(server), expected, "{allow:?} {deny:?} {server}");
    }

    #[test]
    fn a_pattern_reaches_the_servers_whose_names_it_can_continue() {
        check(&["crm__*"], &[], "crm", true);
        check(&["crm__*"], &[], "cr", false);
        check(&["crm__*"], &[], "crm2", false);
        check(&["crm__get_ticket"], &[], "crm", true);
        check(&["*"], &[], "crm", true);
        check(&["*delete*"], &[], "crm", true);
        check(&["c?m__x"], &[], "crm", true);
        check(&["c?__x"], &[], "crm", false);
        check(&[], &[], "crm", false);
        // The separator may be part of a server's name.
        check(&["a__b__x"], &[], "a", true);
        check(&["a__b__x"], &[], "a__b", true);
    }

    #[test]
    fn a_server_of_which_all_is_denied_is_out_of_reach() {
        check(&["*"], &["crm__*"], "crm", false);
        check(&["*"], &["c*"], "crm", false);
        check(&["*"], &["*"], "crm", false);
        check(&["*"], &["crm__*delete"], "crm", true);
        check(&["*"], &["crm__x*"], "crm", true);
        check(&["*"], &["other__*"], "crm", true);
    }
}
