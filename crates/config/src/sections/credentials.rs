//! `credentials` of a server: what the gate presents to it.

use crate::{
    ClientCredentials, Credential, Secret, ServerUrl, Text,
    addresses::{SecureUrl, absolute_url},
    names::{Name, Placed, ScopeName},
    problem::Place,
    reader::{Findings, join},
    sections::servers,
    settings::{settings, words},
    values::Named,
};

settings! {
    /// A way to be let in. The first of a server's list that there is something to present for, is presented.
    pub(crate) struct CredentialForm
        exactly_one_of ["pass_through", "principal", "client_credentials", "header", "bearer", "basic"];
    {
        /// The caller's own token, if it is meant for this audience too.
        pub(crate) pass_through: Option<PassThroughForm>,
        /// What `gatepost credentials set` has stored for the caller and this server: `pat`, a token of theirs.
        pub(crate) principal: Option<PrincipalCredential>,
        /// A token that the gate gets for itself, by the OAuth grant of this name.
        pub(crate) client_credentials: Option<ClientCredentialsForm>,
        /// Headers, such as `{ X-API-Key: "${file:...}" }`. Never printed.
        pub(crate) header: Option<Named<Secret>>,
        /// `Authorization: Bearer`. Never printed.
        pub(crate) bearer: Option<Secret>,
        /// `Authorization: Basic`.
        pub(crate) basic: Option<BasicForm>,
    }
}

settings! {
    /// The caller's own token, passed on.
    pub(crate) struct PassThroughForm {
        /// The `aud` that the token must have for this server: an absolute URL with the origin of the server's own.
        pub(crate) audience: Placed<Name>,
    }
}

words! {
    /// What is stored for callers.
    pub(crate) enum PrincipalCredential { Pat = "pat" }
}

settings! {
    /// How the gate gets a token for itself.
    pub(crate) struct ClientCredentialsForm {
        /// Where tokens are asked for: `https`, or `http` on a loopback address.
        pub(crate) token_url: SecureUrl,
        /// The gate's name there.
        pub(crate) client_id: Text,
        /// The gate's secret there. Never printed.
        pub(crate) client_secret: Secret,
        /// The scopes to ask for. Default: none, whatever the issuer gives.
        pub(crate) scopes: Vec<ScopeName>,
        /// The `audience` to ask for, with issuers that want one. Default: none.
        pub(crate) audience: Option<Name>,
        /// The `resource` to ask for, with issuers that want one. Default: none.
        pub(crate) resource: Option<Name>,
    }
}

settings! {
    /// `Authorization: Basic`.
    pub(crate) struct BasicForm {
        /// The user; without a colon.
        pub(crate) username: Text,
        /// The password. Never printed.
        pub(crate) password: Secret,
    }
}

/// Builds the runtime form of a server's `credentials`, beside its URL and its other headers.
pub(crate) fn credentials(
    forms: Vec<Placed<CredentialForm>>,
    path: &str,
    url: &ServerUrl,
    headers: &[(http::HeaderName, Secret)],
    findings: &mut Findings,
) -> Vec<Credential> {
    let mut credentials: Vec<Credential> = Vec::with_capacity(forms.len());
    for (at, Placed { value, place }) in forms.into_iter().enumerate() {
        let path = format!("{path}[{at}]");
        if let Some(before) = credentials.iter().find(|before| before.is_always_there()) {
            let message = format!(
                "is never tried, since `{}` before it is always there",
                before.key()
            );
            findings.problem(&place, &path, message, "move it up, or remove it");
        }
        let Some(credential) = credential(value, &path, &place, url, findings) else {
            continue;
        };
        for name in credential.headers() {
            if headers.iter().any(|(other, _)| other == name) {
                let message = format!("writes the header `{name}`, which `headers` writes too");
                findings.problem(&place, &path, message, "remove one of the two");
            }
        }
        credentials.push(credential);
    }
    credentials
}

fn credential(
    form: CredentialForm,
    path: &str,
    place: &Place,
    url: &ServerUrl,
    findings: &mut Findings,
) -> Option<Credential> {
    if let Some(form) = form.pass_through {
        return pass_through(form, path, url, findings);
    }
    if let Some(PrincipalCredential::Pat) = form.principal {
        return Some(Credential::Principal);
    }
    if let Some(form) = form.client_credentials {
        let path = join(path, "client_credentials");
        for (key, text) in [
            ("client_id", form.client_id.expose()),
            ("client_secret", form.client_secret.expose()),
        ] {
            if text.is_empty() {
                findings.problem(place, &join(&path, key), "is empty", "write it");
            }
        }
        return Some(Credential::ClientCredentials(ClientCredentials {
            token_url: form.token_url.0,
            client_id: form.client_id,
            client_secret: form.client_secret,
            scopes: form.scopes.iter().map(|scope| (*scope.0).to_owned()).collect(),
            audience: form.audience.map(|audience| (*audience.0).to_owned()),
            resource: form.resource.map(|resource| (*resource.0).to_owned()),
        }));
    }
    if let Some(given) = form.header {
        let path = join(path, "header");
        if given.0.is_empty() {
            let remedy = "write a header, such as `{ X-API-Key: \"${file:/path}\" }`";
            findings.problem(place, &path, "is empty", remedy);
        }
        return Some(Credential::Header(servers::headers(given, &path, findings)));
    }
    if let Some(token) = form.bearer {
        // RFC 6750 §2.1 has fewer characters, but tokens in use have others.
        if token.expose().is_empty() || !token.expose().chars().all(|c| c.is_ascii_graphic()) {
            let remedy = "write the token alone, without `Bearer`, spaces and line breaks";
            findings.problem(place, &join(path, "bearer"), "is no token", remedy);
        }
        return Some(Credential::Bearer(token));
    }
    let BasicForm { username, password } = form.basic?;
    let path = join(path, "basic");
    // RFC 7617 §2: the colon ends the user, and neither may hold control characters.
    if username.expose().is_empty() || username.expose().contains(|c: char| c == ':' || c.is_control()) {
        let remedy = "write a name without colon and control characters";
        findings.problem(place, &join(&path, "username"), "is no user", remedy);
    }
    if password.expose().contains(char::is_control) {
        let message = "holds a control character";
        findings.problem(place, &join(&path, "password"), message, "remove it");
    }
    Some(Credential::Basic { username, password })
}

/// A token must not leave for another origin than the one it is meant for.
fn pass_through(
    form: PassThroughForm,
    path: &str,
    url: &ServerUrl,
    findings: &mut Findings,
) -> Option<Credential> {
    let Placed { value, place } = form.audience;
    let path = join(&join(path, "pass_through"), "audience");
    match absolute_url(&value.0) {
        Err((message, remedy)) => {
            findings.problem(&place, &path, message, remedy);
            None
        }
        Ok(audience) if origin(&audience) != origin(url.uri()) => {
            let message = "has another origin than the server's `url`, and a token must not go elsewhere than it is meant \
                           for";
            let remedy = "write the server's own URL, or as much of it as its tokens name";
            findings.problem(&place, &path, message, remedy);
            None
        }
        Ok(_) => Some(Credential::PassThrough {
            audience: (*value.0).to_owned(),
        }),
    }
}

/// RFC 6454 §4: scheme, host and port, the usual port filled in.
fn origin(url: &http::Uri) -> (Option<&str>, Option<String>, u16) {
    let usual = if url.scheme_str() == Some("https") {
        443
    } else {
        80
    };
    (
        url.scheme_str(),
        url.host().map(str::to_ascii_lowercase),
        url.port_u16().unwrap_or(usual),
    )
}
