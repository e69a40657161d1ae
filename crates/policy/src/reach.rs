//! Whether anything of a server could ever be a caller's, before anything is known of the server.

use crate::{Caller, Pattern, ViewRules};

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
        leaves_some(server, self.bound().flat_map(|role| &role.deny))
            && takes_some(server, self.bound().flat_map(|role| &role.allow))
    }
}

impl ViewRules {
    /// Whether anything at all of `server` is selected, as far as names tell.
    pub fn may_reach(&self, server: &str) -> bool {
        let selection = &self.selection;
        leaves_some(server, selection.exclude.iter())
            && selection
                .include
                .as_ref()
                .is_none_or(|include| takes_some(server, include.iter()))
    }
}

/// Whether these leave a name that a thing of the server can have.
fn leaves_some<'a>(server: &str, mut patterns: impl Iterator<Item = &'a Pattern>) -> bool {
    !patterns.any(|pattern| pattern.matches_all_after(names(server)))
}

/// Whether one of these takes a name that a thing of the server can have.
fn takes_some<'a>(server: &str, mut patterns: impl Iterator<Item = &'a Pattern>) -> bool {
    patterns.any(|pattern| pattern.matches_some_after(names(server)))
}

/// How all names of its things begin.
fn names(server: &str) -> impl Iterator<Item = char> + Clone {
    server.chars().chain("__".chars())
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use crate::{Access, Facts, Method, Pattern, Principal, RoleSettings, RuleSettings, Rules, ViewRules};

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
    fn a_view_reaches_the_servers_of_which_it_selects_something() {
        let check = |include: Option<&[&str]>, exclude: &[&str], expected| {
            let patterns =
                |texts: &[&str]| -> Vec<_> { texts.iter().map(|text| Pattern::new(text).unwrap()).collect() };
            let mut view = ViewRules::everything();
            view.selection.include = include.map(patterns);
            view.selection.exclude = patterns(exclude);
            assert_eq!(view.may_reach("crm"), expected, "{include:?} {exclude:?}");
        };
        check(None, &[], true);
        check(None, &["crm__*"], false);
        check(None, &["crm__delete*"], true);
        check(Some(&["crm__get"]), &[], true);
        check(Some(&["crm__get"]), &["crm__*"], false);
        check(Some(&["other__*"]), &[], false);
        check(Some(&[]), &[], false);
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
