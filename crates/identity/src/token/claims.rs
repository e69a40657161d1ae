//! What the claims of a token amount to under the settings of its issuer.

use std::sync::Arc;

use gatepost_config::{Claim, JwtIssuer};
use gatepost_policy::{Facts, Method, Principal, Printable, UnixMillis};
use serde_json::{Map, Value};

use super::{NOT_ACCEPTED, Signed};
use crate::refusal::Refusal;

/// The most groups and scopes that somebody can have.
const MOST: usize = 1000;
/// The longest name of a group, of a scope, of a person.
const LONGEST: usize = 256;
/// The longest subject and tenant.
const LONGEST_SUBJECT: usize = 1024;
/// The end of the year 9999, in seconds. What lies later is no date but a mistake, such as milliseconds.
const LATEST: f64 = 253_402_300_799.0;

/// What a good token says.
#[derive(Debug)]
pub(crate) struct Claims {
    pub(crate) facts: Facts,
    /// `exp`, without leeway.
    pub(crate) expires: UnixMillis,
    /// `aud`, all of it. At least one.
    pub(crate) audiences: Vec<Box<str>>,
}

/// Reads the claims of a token that `settings.issuer` has signed. Whether it is for the endpoint that is asked is not
/// decided here: that depends on the request, and the rest does not.
pub(crate) fn read(
    Signed(claims): &Signed,
    settings: &JwtIssuer,
    now: UnixMillis,
) -> Result<Claims, Refusal> {
    let expires = check_times(claims, settings, now)?;
    let audiences = audiences(claims)?;
    // RFC 7800, RFC 9449: it is good for whoever proves to have a key, and a bearer proves nothing.
    if claims.contains_key("cnf") {
        return Err(Refusal::invalid(
            "it is bound to a key (`cnf`), which a bearer token does not prove",
            "the token is bound to a key of its owner, which is not accepted here: get a plain bearer token",
        ));
    }
    let subject = text(claims, &settings.subject, LONGEST_SUBJECT)?
        .filter(|subject| !subject.is_empty())
        .ok_or_else(|| unfit(format!("it has no subject in `{}`", name(&settings.subject))))?;
    let mut principal = Principal::new(Arc::clone(&settings.issuer), subject);
    if let Some(tenants) = &settings.tenant {
        let claim = name(&tenants.claim);
        let said = text(claims, &tenants.claim, LONGEST_SUBJECT)?
            .ok_or_else(|| unfit(format!("it has no tenant in `{claim}`")))?;
        let tenant = tenants
            .allow
            .iter()
            .find(|tenant| ***tenant == *said)
            .ok_or_else(|| {
                unfit(format!(
                    "its tenant `{}` is not in `tenant.allow`",
                    Printable(said)
                ))
            })?;
        principal = principal.with_tenant(Arc::clone(tenant));
    }
    let mut facts = Facts::of(principal, Method::Jwt);
    facts.groups = groups(claims, &settings.groups)?;
    facts.scopes = Some(scopes(claims, settings.scopes.as_ref())?);
    facts.email = match (claims.get("email"), claims.get("email_verified")) {
        // Exactly `true`: some issuers write "true", others write what the user has typed.
        (Some(Value::String(email)), Some(Value::Bool(true)))
            if !email.is_empty() && email.len() <= LONGEST =>
        {
            Some(email.as_str().into())
        }
        _ => None,
    };
    facts.name = ["name", "preferred_username"]
        .into_iter()
        .filter_map(|name| claims.get(name)?.as_str())
        .find(|name| !name.is_empty() && name.len() <= LONGEST)
        .map(Into::into);
    Ok(Claims {
        facts,
        expires,
        audiences,
    })
}

/// A claim that is there and cannot be what it should be, or is missing.
fn unfit(reason: String) -> Refusal {
    Refusal::invalid(reason, NOT_ACCEPTED)
}

fn check_times(
    claims: &Map<String, Value>,
    settings: &JwtIssuer,
    now: UnixMillis,
) -> Result<UnixMillis, Refusal> {
    let leeway = i64::try_from(settings.leeway.as_millis()).unwrap_or(i64::MAX);
    let date = |name: &str| match claims.get(name) {
        None => Ok(None),
        Some(value) => seconds(value)
            .map(Some)
            .ok_or_else(|| unfit(format!("its `{name}` is no date in seconds"))),
    };
    let expires = date("exp")?.ok_or_else(|| unfit("it has no `exp`".to_owned()))?;
    if expires.0.saturating_add(leeway) <= now.0 {
        return Err(Refusal::invalid(
            format!("it expired {} s ago", (now.0 - expires.0) / 1000),
            "the token has expired: get a new one from its issuer",
        ));
    }
    for (claim, what) in [("nbf", "not valid before"), ("iat", "issued")] {
        if let Some(date) = date(claim)?
            && date.0.saturating_sub(leeway) > now.0
        {
            return Err(Refusal::invalid(
                format!(
                    "it is {what} a time that is {} s away (`{claim}`)",
                    (date.0 - now.0) / 1000
                ),
                "the token is not valid yet: the clocks of its issuer and of this gate may differ",
            ));
        }
    }
    Ok(expires)
}

/// RFC 7519 §2, `NumericDate`: seconds, possibly with a fraction.
fn seconds(value: &Value) -> Option<UnixMillis> {
    let seconds = value
        .as_f64()
        .filter(|seconds| (0.0..=LATEST).contains(seconds))?;
    Some(UnixMillis((seconds * 1000.0) as i64))
}

/// RFC 7519 §4.1.3: a text or a list of texts. Required here, as RFC 9068 §2.2 has it.
fn audiences(claims: &Map<String, Value>) -> Result<Vec<Box<str>>, Refusal> {
    let odd = || unfit("its `aud` is neither a text nor a list of texts".to_owned());
    let audiences: Vec<Box<str>> = match claims.get("aud") {
        None => return Err(unfit("it has no `aud`".to_owned())),
        Some(Value::String(one)) => vec![one.as_str().into()],
        Some(Value::Array(all)) => all
            .iter()
            .map(|one| one.as_str().map(Into::into).ok_or_else(odd))
            .collect::<Result<_, _>>()?,
        Some(_) => return Err(odd()),
    };
    if audiences.is_empty() {
        return Err(unfit("its `aud` is empty".to_owned()));
    }
    Ok(audiences)
}

/// The groups. None is no reason to refuse, but anything that is not understood is: to leave out a group may give more than
/// it takes, since roles can deny.
fn groups(claims: &Map<String, Value>, claim: &Claim) -> Result<Vec<Arc<str>>, Refusal> {
    let Some(value) = find(claims, claim) else {
        // OpenID Connect Core 5.6.2: the claim is somewhere else. Microsoft Entra does so beyond 200 groups.
        let elsewhere = claims
            .get("_claim_names")
            .and_then(|names| names.get(name(claim)));
        if elsewhere.is_some() {
            return Err(unfit(format!(
                "its `{}` are not in the token but elsewhere (`_claim_names`): let the issuer put fewer of them in",
                name(claim)
            )));
        }
        return Ok(Vec::new());
    };
    let odd = || {
        unfit(format!(
            "its `{}` are no texts, or more than {MOST}, or longer than {LONGEST} bytes",
            name(claim)
        ))
    };
    list(value, |one| Some(vec![one])).ok_or_else(odd)
}

/// The scopes: those in the claim of the configuration, or in `scope` (RFC 8693 §4.2), or in `scp`. One text holds several.
fn scopes(claims: &Map<String, Value>, claim: Option<&Claim>) -> Result<Vec<Arc<str>>, Refusal> {
    let value = match claim {
        Some(claim) => find(claims, claim),
        None => claims.get("scope").or_else(|| claims.get("scp")),
    };
    let odd = || {
        unfit(format!(
            "its scopes are no texts, or more than {MOST}, or longer than {LONGEST} bytes"
        ))
    };
    match value {
        None => Ok(Vec::new()),
        Some(value) => list(value, |text| {
            Some(text.split(' ').filter(|scope| !scope.is_empty()).collect())
        })
        .ok_or_else(odd),
    }
}

/// A text, taken apart by `split`, or a list of texts; within bounds, each once.
fn list<'a>(value: &'a Value, split: impl Fn(&'a str) -> Option<Vec<&'a str>>) -> Option<Vec<Arc<str>>> {
    let mut texts = match value {
        Value::String(text) => split(text)?,
        Value::Array(all) if all.len() <= MOST => all.iter().map(Value::as_str).collect::<Option<_>>()?,
        _ => return None,
    };
    texts.sort_unstable();
    texts.dedup();
    let fits = texts.len() <= MOST && texts.iter().all(|text| !text.is_empty() && text.len() <= LONGEST);
    fits.then(|| texts.into_iter().map(Arc::from).collect())
}

/// A claim that is a text. Present and something else is refused.
fn text<'a>(
    claims: &'a Map<String, Value>,
    claim: &Claim,
    longest: usize,
) -> Result<Option<&'a str>, Refusal> {
    match find(claims, claim) {
        None => Ok(None),
        Some(Value::String(text)) if text.len() <= longest => Ok(Some(text)),
        Some(_) => Err(unfit(format!(
            "its `{}` is no text of at most {longest} bytes",
            name(claim)
        ))),
    }
}

fn find<'a>(claims: &'a Map<String, Value>, claim: &Claim) -> Option<&'a Value> {
    let mut path = claim.path().iter();
    let first = claims.get(&**path.next()?)?;
    path.try_fold(first, |value, name| value.as_object()?.get(&**name))
}

/// As it stands in a message.
fn name(claim: &Claim) -> String {
    claim.path().join(".")
}
