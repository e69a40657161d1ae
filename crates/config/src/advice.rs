//! What is not wrong but should be known: a configuration that does less than it looks like.

use crate::{
    Config, Listen,
    problem::Place,
    reader::{Findings, join},
};

/// Where the sections stand that advice is about.
pub(crate) struct Places {
    pub(crate) listen: Place,
    pub(crate) identity: Option<Place>,
    /// Of each role, in the order of the configuration.
    pub(crate) roles: Vec<Place>,
    /// The servers that callers' own tokens are passed on to.
    pub(crate) passing_on: Vec<(String, Place)>,
}

/// Warns of what `config` lacks.
pub(crate) fn advise(config: &Config, places: &Places, findings: &mut Findings) {
    if config
        .identity
        .as_ref()
        .is_none_or(|identity| identity.jwt.is_empty())
    {
        for (server, place) in &places.passing_on {
            let path = join(&join("servers", server), "credentials");
            let message = "passes on callers' tokens, and without `identity.jwt` nobody has one";
            let remedy = "add the issuer to `identity.jwt`, or remove `pass_through`";
            findings.warning(place, &path, message, remedy);
        }
    }
    let (Some(identity), Some(place)) = (&config.identity, &places.identity) else {
        return;
    };
    if config.audit.is_none() {
        let message = "tells callers apart, and nothing records what they do";
        findings.warning(place, "identity", message, "add `audit: {}`");
    }
    // A key may be made for any role, and for none that is not there.
    if config.bindings.is_empty() && (!identity.api_keys || config.roles.is_empty()) {
        let message = "lets callers in who have no role, so that nobody may do anything";
        let remedy = if identity.api_keys {
            "add `roles`, and make keys with `gatepost keys create --role …` or add `bindings`"
        } else {
            "add `roles` and `bindings`"
        };
        findings.warning(place, "identity", message, remedy);
    } else if !identity.api_keys {
        for (role, place) in config.roles.iter().zip(&places.roles) {
            if !config
                .bindings
                .iter()
                .any(|binding| binding.roles.contains(&role.rule.name))
            {
                let path = join("roles", &role.rule.name);
                findings.warning(
                    place,
                    &path,
                    "nobody has it",
                    "add it to `bindings`, or remove it",
                );
            }
        }
    }
    if config.http.public_url.is_some() {
        return;
    }
    if !config.listen.is_private() && config.http.hosts.is_empty() {
        let message = "other machines can reach it, and no name by which they could is in `http.hosts`, so that each of \
                       them gets 403";
        let remedy = "write the URL that clients use into `http.public_url`";
        findings.warning(&places.listen, "listen", message, remedy);
        return;
    }
    let loopback = matches!(config.listen, Listen::Tcp(_)) && config.listen.is_private();
    if !identity.jwt.is_empty() && !loopback {
        let message = "needs `http.public_url` to tell clients where they get a token (RFC 9728)";
        let remedy = "write the URL that clients use into `http.public_url`";
        findings.warning(place, "identity.jwt", message, remedy);
    }
}
