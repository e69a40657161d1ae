//! `identity`: what proves who somebody is.

use std::sync::Arc;

use crate::{
    Claim, Identity, IssuerKeys, JwtIssuer, SignatureAlgorithm, TenantClaim,
    addresses::{IssuerUrl, SecureUrl},
    bounded::{DAY, HOUR, MINUTE, SECOND, Within},
    names::{Name, Placed, Some1, plain},
    problem::Place,
    reader::{Findings, Setting, join},
    settings::settings,
    tree::Node,
    values::{FilePath, spelled},
};

settings! {
    /// How callers prove who they are. Without it there is one caller, `local`, who may do everything, and only this machine
    /// can reach the gate. With it, who proves nothing may do nothing, and who has no role may do nothing either.
    pub(crate) struct IdentityForm {
        /// Whether keys made with `gatepost keys create` are taken.
        pub(crate) api_keys: bool = false,
        /// Whose tokens are taken: issuers of JSON Web Tokens. Default: nobody's.
        pub(crate) jwt: Vec<Placed<JwtForm>>,
        /// How long a verified credential is believed without looking again, never beyond its own end; `0s` looks each
        /// time, at most `1h`. Revoking a key empties it at once.
        pub(crate) cache: Within<0, HOUR> = "5m",
    }
}

settings! {
    /// An issuer of JSON Web Tokens that is believed.
    pub(crate) struct JwtForm {
        /// The exact value of `iss`: an `https` URL, or `http` on a loopback address.
        pub(crate) issuer: IssuerUrl,
        /// The values of `aud` of which a token must have one. Default: the URL of the endpoint that is called, which
        /// `http.public_url` and its path make.
        pub(crate) audience: Option<Some1<Name>>,
        /// Where the issuer's keys are, as a JSON Web Key Set. Default: where the issuer's metadata says.
        pub(crate) jwks_url: Option<SecureUrl>,
        /// A file with the issuer's keys, instead of `jwks_url`.
        pub(crate) jwks_file: Option<FilePath>,
        /// The algorithms that signatures may have. Default: all there are here, none of which needs a shared secret.
        pub(crate) algorithms: Option<Some1<AlgorithmName>>,
        /// The values of `typ` that tokens may have; `none` stands for no `typ` at all. Default: `[at+jwt, JWT, none]`.
        pub(crate) types: Option<Some1<Name>>,
        /// How far the issuer's clock and this one may be apart; at most `5m`.
        pub(crate) leeway: Within<0, { 5 * MINUTE }> = "30s",
        /// Where a token says who its bearer is.
        pub(crate) subject: SubjectForm,
        /// Where a token names its bearer's groups, in a list or as one text.
        pub(crate) groups: GroupsForm,
        /// Where a token names its scopes, in a list or separated by spaces. Default: in `scope`, or where that is not
        /// there, in `scp`.
        pub(crate) scopes: Option<ScopesForm>,
        /// Where a token names its bearer's tenant, and which there are. Default: tokens name none.
        pub(crate) tenant: Option<TenantForm>,
        /// How old keys may get before they are asked for again; `10s` to `1d`. While the issuer does not answer, the keys that
        /// are known go on being used.
        pub(crate) refresh: Within<{ 10 * SECOND }, DAY> = "10m",
    }
}

settings! {
    /// Where a token says who its bearer is.
    pub(crate) struct SubjectForm {
        /// The claim; for one inside another, the list of their names.
        pub(crate) claim: Claim = "sub",
    }
}

settings! {
    /// Where a token names its bearer's groups.
    pub(crate) struct GroupsForm {
        /// The claim; for one inside another, the list of their names.
        pub(crate) claim: Claim = "groups",
    }
}

settings! {
    /// Where a token names its scopes.
    pub(crate) struct ScopesForm {
        /// The claim; for one inside another, the list of their names.
        pub(crate) claim: Claim,
    }
}

settings! {
    /// Where a token names its bearer's tenant, and which there are.
    pub(crate) struct TenantForm {
        /// The claim; for one inside another, the list of their names.
        pub(crate) claim: Claim,
        /// The tenants there are. A token that names none of them is refused.
        pub(crate) allow: Some1<Name>,
    }
}

/// A signature's algorithm, with words for those that can never be allowed.
#[derive(Clone, Copy, Debug)]
pub(crate) struct AlgorithmName(SignatureAlgorithm);

impl Setting for AlgorithmName {
    fn read(node: &Node, path: &str, findings: &mut Findings) -> Option<Self> {
        let text = spelled(node, path, findings, "a word", "`RS256`")?.text;
        let never = match text.as_str() {
            "HS256" | "HS384" | "HS512" => {
                "would take the issuer's public key for a secret, so that anybody could sign"
            }
            _ if text.eq_ignore_ascii_case("none") => "would take tokens that nobody signed",
            _ => return SignatureAlgorithm::read(node, path, findings).map(Self),
        };
        let remedy = "write an algorithm with a private key, such as `RS256` or `ES256`";
        findings.problem(&node.place, path, never, remedy);
        None
    }

    fn schema() -> serde_json::Value {
        SignatureAlgorithm::schema()
    }
}

/// What is taken without `algorithms`.
const ALGORITHMS: [SignatureAlgorithm; 9] = [
    SignatureAlgorithm::Rs256,
    SignatureAlgorithm::Rs384,
    SignatureAlgorithm::Rs512,
    SignatureAlgorithm::Ps256,
    SignatureAlgorithm::Ps384,
    SignatureAlgorithm::Ps512,
    SignatureAlgorithm::Es256,
    SignatureAlgorithm::Es384,
    SignatureAlgorithm::EdDsa,
];

/// Builds the runtime form. `None` means that a problem has been reported.
pub(crate) fn identity(
    form: IdentityForm,
    place: &Place,
    public_url: Option<&http::Uri>,
    findings: &mut Findings,
) -> Option<Identity> {
    if ["identity.jwt", "identity.api_keys"]
        .iter()
        .any(|key| findings.are_within(key))
    {
        // What follows from a part of what was meant is not worth saying.
        return None;
    }
    if !form.api_keys && form.jwt.is_empty() {
        let message = "says neither `api_keys: true` nor `jwt`, so that nobody could prove who they are";
        findings.problem(place, "identity", message, "add at least one of the two");
    }
    let mut issuers: Vec<JwtIssuer> = Vec::with_capacity(form.jwt.len());
    for (at, Placed { value, place }) in form.jwt.into_iter().enumerate() {
        let path = format!("identity.jwt[{at}]");
        if issuers.iter().any(|other| other.issuer == value.issuer.0) {
            let message = "is the issuer of another entry too";
            let remedy = "write its audiences and keys into one entry";
            findings.problem(&place, &join(&path, "issuer"), message, remedy);
        }
        if value.audience.is_none() && public_url.is_none() {
            let message =
                "is missing, and without `http.public_url` it cannot be made from the endpoint's URL";
            let remedy = "write the `aud` of the tokens that are meant for this gate, or `http.public_url`";
            findings.problem(&place, &join(&path, "audience"), message, remedy);
        }
        issuers.push(issuer(value, &place, &path, findings));
    }
    Some(Identity {
        api_keys: form.api_keys,
        jwt: issuers,
        cache: form.cache.0,
    })
}

fn issuer(form: JwtForm, place: &Place, path: &str, findings: &mut Findings) -> JwtIssuer {
    let keys = match (form.jwks_url, form.jwks_file) {
        (Some(_), Some(_)) => {
            let message = "says `jwks_url` and `jwks_file` at once";
            let remedy = "keep one of the two, or none to ask the issuer where its keys are";
            findings.problem(place, path, message, remedy);
            IssuerKeys::Discovery
        }
        (Some(url), None) => IssuerKeys::Url(url.0),
        (None, Some(file)) => IssuerKeys::File(file.0),
        (None, None) => IssuerKeys::Discovery,
    };
    let mut algorithms = Vec::new();
    match form.algorithms {
        None => algorithms.extend(ALGORITHMS),
        Some(Some1(names)) => {
            for AlgorithmName(algorithm) in names {
                if !algorithms.contains(&algorithm) {
                    algorithms.push(algorithm);
                }
            }
        }
    }
    let (types, untyped) = token_types(form.types);
    JwtIssuer {
        issuer: form.issuer.0,
        audience: plain(form.audience),
        keys,
        algorithms,
        types,
        untyped,
        leeway: form.leeway.0,
        subject: form.subject.claim,
        groups: form.groups.claim,
        scopes: form.scopes.map(|scopes| scopes.claim),
        tenant: form.tenant.map(|tenant| TenantClaim {
            claim: tenant.claim,
            allow: plain(Some(tenant.allow)),
        }),
        refresh: form.refresh.0,
    }
}

/// The values of `typ`, and whether it may be missing. RFC 7515 §4.1.9: they are media types, which have no case, and
/// `application/` goes without saying.
fn token_types(given: Option<Some1<Name>>) -> (Vec<Arc<str>>, bool) {
    let Some(Some1(names)) = given else {
        return (vec!["at+jwt".into(), "jwt".into()], true);
    };
    let mut types: Vec<Arc<str>> = Vec::with_capacity(names.len());
    let mut untyped = false;
    for Name(name) in names {
        let name = name.to_ascii_lowercase();
        let name = name.strip_prefix("application/").unwrap_or(&name);
        if name == "none" {
            untyped = true;
        } else if !types.iter().any(|other| &**other == name) {
            types.push(name.into());
        }
    }
    (types, untyped)
}
