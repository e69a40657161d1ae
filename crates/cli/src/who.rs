//! Whoever calls the gate, as they are named on a command line.

use std::sync::Arc;

use gatepost_config::Config;
use gatepost_policy::{Facts, Method, Principal, Printable};
use gatepost_store::{KEY_ISSUER, KeyRecord, Store};

use crate::{
    commands::{moment, now, unknown},
    exit,
    failure::Failure,
};

/// How the principal of an API key is named.
pub(crate) const KEY: &str = "key:";

/// What was typed.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Named<'a> {
    /// A subject, `key:ID`, or `local`.
    pub(crate) who: &'a str,
    pub(crate) issuer: Option<&'a str>,
    pub(crate) tenant: Option<&'a str>,
    /// The option that `who` was given with, for messages.
    pub(crate) option: &'static str,
}

/// Somebody whom the gate would know.
#[derive(Debug, Clone)]
pub(crate) enum Known {
    /// Whoever calls a gate that asks nobody.
    Local,
    /// Whoever has an API key that is good.
    Key(Arc<KeyRecord>),
    /// A subject of an issuer.
    Subject(Principal),
}

impl Known {
    pub(crate) fn principal(&self) -> Principal {
        match self {
            Self::Local => Principal::local(),
            Self::Key(record) => record.principal(),
            Self::Subject(principal) => principal.clone(),
        }
    }

    /// What the gate knows of them before they come with a token; the same for a key.
    pub(crate) fn facts(&self) -> Facts {
        match self {
            Self::Local => Facts::local(),
            Self::Key(record) => {
                let id = Arc::clone(&record.id);
                let mut facts = Facts::of(record.principal(), Method::ApiKey { id });
                facts.roles.clone_from(&record.roles);
                facts.name.clone_from(&record.name);
                facts
            }
            Self::Subject(principal) => Facts {
                scopes: Some(Vec::new()),
                ..Facts::of(principal.clone(), Method::Jwt)
            },
        }
    }
}

fn wrong<T>(message: String, remedy: &str) -> Result<T, Failure> {
    Err(Failure::new(message, remedy).code(exit::USAGE))
}

/// Who that is, exactly as the gate will know them: one letter less, and it would be somebody else. `store`: where API keys
/// are, if there is such a place already.
///
/// # Errors
/// When the gate would know nobody of that name, or several.
pub(crate) fn known(named: &Named<'_>, config: &Config, store: Option<&Store>) -> Result<Known, Failure> {
    match named.who.strip_prefix(KEY) {
        Some(id) => key(id, named, store).map(Known::Key),
        None => subject(named, config),
    }
}

fn key(id: &str, named: &Named<'_>, store: Option<&Store>) -> Result<Arc<KeyRecord>, Failure> {
    let found = match store {
        Some(store) => store.keys.find(id)?,
        None => None,
    };
    let Some(key) = found else {
        let message = format!("there is no API key {}", Printable(id));
        return wrong(message, "`gatepost keys list` shows the ids");
    };
    let record = &key.record;
    let ended = match (key.revoked, record.expires) {
        (Some(at), _) => Some(format!("it was revoked, {}", moment(at))),
        (None, Some(end)) if record.is_expired(now()) => Some(format!("it was good until {}", moment(end))),
        (None, _) => None,
    };
    if let Some(ended) = ended {
        let message = format!("the API key {id} is no longer good: {ended}");
        return wrong(message, "name another key");
    }
    if named.issuer.is_some_and(|issuer| issuer != KEY_ISSUER) {
        return wrong("an API key has no issuer".to_owned(), "leave out --issuer");
    }
    if named.tenant.is_some() && named.tenant != record.tenant.as_deref() {
        let tenant = record.tenant.as_deref().unwrap_or("none");
        return wrong(
            format!("the API key {id} acts for another tenant: {tenant}"),
            "leave out --tenant",
        );
    }
    Ok(Arc::clone(record))
}

fn subject(named: &Named<'_>, config: &Config) -> Result<Known, Failure> {
    let option = named.option;
    let issuers = config.identity.iter().flat_map(|identity| &identity.jwt);
    let issuer = match named.issuer {
        Some(name) => {
            let Some(issuer) = issuers.clone().find(|one| *one.issuer == *name) else {
                return Err(unknown("issuer", name, issuers.map(|one| &*one.issuer)));
            };
            issuer
        }
        None => {
            let mut all = issuers.clone();
            match (all.next(), all.next()) {
                (Some(only), None) => only,
                (None, _) if named.who == Principal::local().subject() && named.tenant.is_none() => {
                    return Ok(Known::Local);
                }
                (None, _) => {
                    return wrong(
                        "the configuration has no issuer that knows subjects".to_owned(),
                        &format!(
                            "name a key with `{option} key:ID`, or the caller of a gate that asks nobody with `{option} local`"
                        ),
                    );
                }
                (Some(_), Some(_)) => {
                    let all: Vec<&str> = issuers.map(|one| &*one.issuer).collect();
                    return wrong(
                        "several issuers are configured, and each has subjects of its own".to_owned(),
                        &format!("name one with --issuer: {}", all.join(", ")),
                    );
                }
            }
        }
    };
    let principal = Principal::new(issuer.issuer.clone(), named.who);
    match (&issuer.tenant, named.tenant) {
        (None, None) => Ok(Known::Subject(principal)),
        (Some(known), Some(tenant)) if known.allow.iter().any(|one| **one == *tenant) => {
            Ok(Known::Subject(principal.with_tenant(tenant)))
        }
        (Some(known), tenant) => {
            let all: Vec<&str> = known.allow.iter().map(|one| &**one).collect();
            let message = match tenant {
                Some(tenant) => format!("there is no tenant `{tenant}` at {}", issuer.issuer),
                None => format!("everybody at {} acts for a tenant", issuer.issuer),
            };
            wrong(message, &format!("name one with --tenant: {}", all.join(", ")))
        }
        (None, Some(_)) => wrong(
            format!("tokens of {} name no tenant", issuer.issuer),
            "leave out --tenant, or set `tenant` for this issuer in the configuration",
        ),
    }
}
