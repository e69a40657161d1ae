//! What the gate presents to a server so that it lets a call in, and on whose behalf.
//!
//! A server's credentials are a list; the first that applies to a caller is presented. What belongs to one caller (its own
//! token, or one that it has stored) is *personal*: whatever was made with it, a session or a list, is that caller's. What
//! belongs to the gate is the same for everybody, ends the list, and is fixed to the server's [`Endpoint`].
//!
//! A server gets what is configured for it and nothing else: personal credentials travel with the call that they were
//! found for, to the one origin of the server, and redirects are not followed. Nothing here prints a secret.
//!
//! [`Endpoint`]: super::http::Endpoint

use std::{fmt, sync::Arc};

use aws_lc_rs::digest;
use base64::{
    Engine,
    engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD},
};
use gatepost_audit::CallId;
use gatepost_config::{Credential, Secret, Server};
use gatepost_policy::{KEY_ISSUER, Principal, Printable};
use http::{HeaderName, HeaderValue, header};

use super::{CallError, Cause, Context};

mod asker;
mod scrub;
mod token;

pub(crate) use asker::{Asker, KeptAsker};
pub(crate) use scrub::Scrub;
pub(crate) use token::TokenSource;

/// What sort of secret is presented, in the words of the configuration.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CredentialKind {
    /// The caller's own token.
    PassThrough,
    /// What is stored for the caller.
    Principal,
    /// A token that the gate got for itself.
    ClientCredentials,
    /// Headers of the configuration.
    Header,
    /// A token of the configuration.
    Bearer,
    /// A user and password of the configuration.
    Basic,
}

impl CredentialKind {
    /// As it is called in the configuration.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::PassThrough => "pass_through",
            Self::Principal => "principal",
            Self::ClientCredentials => "client_credentials",
            Self::Header => "header",
            Self::Bearer => "bearer",
            Self::Basic => "basic",
        }
    }
}

impl fmt::Display for CredentialKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Hears of every use of a secret: once for each call that presents one, and for each session that is opened with one.
pub trait SecretUse: Send + Sync {
    /// A secret is presented.
    fn used(&self, used: &Used<'_>);
}

/// One use of a secret.
#[derive(Debug, Clone, Copy)]
pub struct Used<'a> {
    /// To whom it is presented.
    pub server: &'a str,
    /// What sort of secret it is.
    pub kind: CredentialKind,
    /// What tells a kind's secrets apart, as far as that is no secret: the headers, or the gate's name with the issuer.
    pub name: Option<&'a str>,
    /// For whom; `None`: the gate asks for itself.
    pub principal: Option<&'a Principal>,
    /// The call that it lets in, if that is on record; `None`: a session, or a question of the gate's own.
    pub call: Option<CallId>,
}

/// What principals have stored for servers.
pub trait StoredTokens: Send + Sync {
    /// What `principal` has stored for `server`. Called for every call to such a server: must not wait long.
    ///
    /// # Errors
    ///
    /// When the store cannot be read, in words without a secret.
    fn token(&self, server: &str, principal: &Principal) -> Result<Option<Secret>, String>;
}

/// Tells what was made with one personal credential from what was made with another: a digest of whose it is and what it
/// is. Kept in memory only.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Fingerprint([u8; 32]);

/// A credential that was found for a call, or is the gate's own.
pub(crate) struct Presented {
    pub(crate) kind: CredentialKind,
    /// What tells it from others of its kind, if that is no secret.
    pub(crate) name: Option<Box<str>>,
    pub(crate) form: Form,
    /// Whose it is, unless it is the gate's own.
    pub(crate) owner: Option<(Principal, Fingerprint)>,
}

/// How a credential is presented.
pub(crate) enum Form {
    /// As these fields.
    Fields(Box<[(HeaderName, HeaderValue)]>),
    /// As a bearer token that has to be got first.
    Token(Box<TokenSource>),
}

/// A server's credentials.
pub(crate) struct Credentials {
    server: Arc<str>,
    personal: Box<[Personal]>,
    /// What everybody gets for whom there is nothing personal.
    common: Option<Arc<Presented>>,
    stored: Option<Arc<dyn StoredTokens>>,
    uses: Option<Arc<dyn SecretUse>>,
}

enum Personal {
    PassThrough { audience: Box<str> },
    Stored,
}

// === impl Presented ===

impl Presented {
    /// The secret itself, for as long as it is looked for in a message.
    pub(crate) fn each_secret(&self, mut look: impl FnMut(&str)) {
        match &self.form {
            Form::Fields(fields) => {
                for (_, value) in fields {
                    if let Ok(value) = value.to_str() {
                        look(value);
                    }
                }
            }
            Form::Token(tokens) => tokens.each_secret(look),
        }
    }

    /// What tells this caller's from everybody's; nothing for the gate's own.
    pub(crate) fn fingerprint(&self) -> Option<Fingerprint> {
        self.owner.as_ref().map(|(_, fingerprint)| *fingerprint)
    }

    pub(crate) fn personal(kind: CredentialKind, principal: &Principal, token: &str) -> Option<Self> {
        let mut value = HeaderValue::from_str(&format!("Bearer {token}")).ok()?;
        value.set_sensitive(true);
        Some(Self {
            kind,
            name: None,
            form: Form::Fields(Box::new([(header::AUTHORIZATION, value)])),
            owner: Some((principal.clone(), Fingerprint::of(kind, principal, token))),
        })
    }

    fn fields(kind: CredentialKind, fields: Vec<(HeaderName, HeaderValue)>) -> Self {
        let names: Vec<&str> = fields.iter().map(|(name, _)| name.as_str()).collect();
        Self {
            kind,
            name: (kind == CredentialKind::Header).then(|| names.join(", ").into()),
            form: Form::Fields(fields.into()),
            owner: None,
        }
    }

    /// What is configured as it is; `None` for what has to be found for each caller.
    fn common(credential: &Credential, server: &Arc<str>, shared: &Context) -> Option<Self> {
        let authorization = |kind, text: String| {
            let value = sensitive(&text)?;
            Some(Self::fields(kind, vec![(header::AUTHORIZATION, value)]))
        };
        match credential {
            Credential::PassThrough { .. } | Credential::Principal => None,
            Credential::ClientCredentials(settings) => Some(Self {
                kind: CredentialKind::ClientCredentials,
                name: (!settings.client_id.is_hidden()).then(|| settings.client_id.expose().into()),
                form: Form::Token(Box::new(TokenSource::new(settings, server, &shared.tls))),
                owner: None,
            }),
            Credential::Header(fields) => {
                let fields = fields
                    .iter()
                    .filter_map(|(name, secret)| Some((name.clone(), sensitive(secret.expose())?)));
                Some(Self::fields(CredentialKind::Header, fields.collect()))
            }
            Credential::Bearer(token) => {
                authorization(CredentialKind::Bearer, format!("Bearer {}", token.expose()))
            }
            Credential::Basic { username, password } => {
                let pair = format!("{}:{}", username.expose(), password.expose());
                authorization(CredentialKind::Basic, format!("Basic {}", STANDARD.encode(pair)))
            }
        }
    }
}

impl fmt::Debug for Presented {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Presented")
            .field("kind", &self.kind)
            .finish_non_exhaustive()
    }
}

fn sensitive(text: &str) -> Option<HeaderValue> {
    let mut value = HeaderValue::from_str(text).ok()?;
    value.set_sensitive(true);
    Some(value)
}

// === impl Fingerprint ===

impl Fingerprint {
    fn of(kind: CredentialKind, principal: &Principal, secret: &str) -> Self {
        let mut context = digest::Context::new(&digest::SHA256);
        let tenant = principal.tenant();
        let parts = [
            kind.as_str(),
            principal.issuer(),
            principal.subject(),
            if tenant.is_some() { "of" } else { "" },
            tenant.unwrap_or_default(),
            secret,
        ];
        for part in parts {
            context.update(&(part.len() as u64).to_le_bytes());
            context.update(part.as_bytes());
        }
        let mut bytes = [0; 32];
        bytes.copy_from_slice(context.finish().as_ref());
        Self(bytes)
    }
}

impl fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Fingerprint")
    }
}

// === impl Credentials ===

impl Credentials {
    /// The credentials of a configured server.
    pub(crate) fn new(config: &Server, server: &Arc<str>, shared: &Context) -> Self {
        let mut personal = Vec::new();
        let mut common = None;
        for credential in &config.credentials {
            match credential {
                Credential::PassThrough { audience } => personal.push(Personal::PassThrough {
                    audience: audience.as_str().into(),
                }),
                Credential::Principal => personal.push(Personal::Stored),
                other => {
                    common = Presented::common(other, server, shared).map(Arc::new);
                    // It applies to everybody, so that nothing after it is ever tried.
                    break;
                }
            }
        }
        Self {
            server: Arc::clone(server),
            personal: personal.into(),
            common,
            stored: shared.stored.clone(),
            uses: shared.uses.clone(),
        }
    }

    /// What everybody gets for whom there is nothing personal.
    pub(crate) fn common(&self) -> Option<&Arc<Presented>> {
        self.common.as_ref()
    }

    /// Whether callers may have credentials of their own here.
    pub(crate) fn may_be_personal(&self) -> bool {
        !self.personal.is_empty()
    }

    /// Whether nothing is presented but what belongs to a caller: the gate has no business there by itself.
    pub(crate) fn are_personal(&self) -> bool {
        self.may_be_personal() && self.common.is_none()
    }

    /// The personal credential that is presented for `asker`; `None`: the common one, or none if there is none at all.
    pub(crate) fn resolve(&self, asker: Asker<'_>) -> Result<Option<Arc<Presented>>, CallError> {
        for way in &self.personal {
            let found = match way {
                Personal::PassThrough { audience } => asker
                    .token()
                    .filter(|token| is_for(token, audience))
                    .map(|token| (CredentialKind::PassThrough, token.to_owned())),
                Personal::Stored => self
                    .stored_for(asker.principal())?
                    .map(|token| (CredentialKind::Principal, token.expose().to_owned())),
            };
            let Some((kind, token)) = found else { continue };
            let Some(presented) = Presented::personal(kind, asker.principal(), &token) else {
                return Err(self.missing(format!(
                    "the {kind} credential of this caller has characters that no header can carry"
                )));
            };
            return Ok(Some(Arc::new(presented)));
        }
        if self.are_personal() {
            return Err(self.nothing_for(asker));
        }
        Ok(None)
    }

    /// Whether what was presented for its owner is what would be now. A token that was passed through says itself how long
    /// it is good.
    pub(crate) fn still_has(&self, presented: &Presented) -> bool {
        let (CredentialKind::Principal, Some((principal, fingerprint))) = (presented.kind, &presented.owner)
        else {
            return true;
        };
        match self.stored_for(principal) {
            Ok(Some(token)) => Fingerprint::of(presented.kind, principal, token.expose()) == *fingerprint,
            Ok(None) => false,
            // A store that cannot be read for a moment has taken nothing back.
            Err(_) => true,
        }
    }

    /// The gate's own question to a server that it has nothing of its own for.
    pub(crate) fn nothing_of_the_gates(&self) -> CallError {
        self.missing(
            "it is asked with its callers' own credentials only, and this question is the gate's".to_owned(),
        )
    }

    /// Notes that a call, or a new session, presents a secret.
    pub(crate) fn note_use(
        &self,
        personal: Option<&Arc<Presented>>,
        principal: Option<&Principal>,
        call: Option<CallId>,
    ) {
        if let Some(uses) = &self.uses
            && let Some(presented) = personal.or(self.common.as_ref())
        {
            uses.used(&Used {
                server: &self.server,
                kind: presented.kind,
                name: presented.name.as_deref(),
                principal,
                call,
            });
        }
    }

    fn stored_for(&self, principal: &Principal) -> Result<Option<Secret>, CallError> {
        match &self.stored {
            None => Ok(None),
            Some(stored) => stored
                .token(&self.server, principal)
                .map_err(|why| self.missing(format!("the stored credentials cannot be read: {why}"))),
        }
    }

    fn nothing_for(&self, asker: Asker<'_>) -> CallError {
        let stored = self.personal.iter().any(|way| matches!(way, Personal::Stored));
        let audience = self.personal.iter().find_map(|way| match way {
            Personal::PassThrough { audience } => Some(audience),
            Personal::Stored => None,
        });
        let mut ways = Vec::new();
        if let Some(audience) = audience {
            ways.push(format!("call with a token whose `aud` has `{audience}` too"));
        }
        if stored {
            ways.push(format!(
                "have its operator run `{}`",
                self.setting(asker.principal())
            ));
        }
        self.missing(format!(
            "there is no credential for {}: {}",
            asker.principal(),
            ways.join(", or ")
        ))
    }

    /// The command that stores a token for `principal`.
    fn setting(&self, principal: &Principal) -> String {
        let server = &self.server;
        let mut command = format!("gatepost credentials set --server {server} --principal ");
        let quoted = |text: &str| format!("'{}'", Printable(text));
        if principal.is_local() {
            command.push_str("local");
        } else if principal.issuer() == KEY_ISSUER {
            command.push_str(&format!("key:{}", Printable(principal.subject())));
        } else {
            let issuer = quoted(principal.issuer());
            command.push_str(&format!("{} --issuer {issuer}", quoted(principal.subject())));
        }
        if let Some(tenant) = principal.tenant().filter(|_| principal.issuer() != KEY_ISSUER) {
            command.push_str(&format!(" --tenant {}", quoted(tenant)));
        }
        command
    }

    fn missing(&self, why: String) -> CallError {
        CallError {
            server: Arc::clone(&self.server),
            cause: Cause::NoCredential(why),
            retry_safe: true,
        }
    }
}

/// Whether a token says that it is for `audience` (RFC 7519 4.1.3: a text or several). Its signature was verified when its
/// bearer was identified.
fn is_for(token: &str, audience: &str) -> bool {
    #[derive(serde::Deserialize)]
    struct Claims {
        aud: Audience,
    }
    #[derive(serde::Deserialize)]
    #[serde(untagged)]
    enum Audience {
        One(String),
        Several(Vec<String>),
    }
    let mut parts = token.split('.');
    let (Some(_), Some(claims), Some(_), None) = (parts.next(), parts.next(), parts.next(), parts.next())
    else {
        return false;
    };
    let Ok(claims) = URL_SAFE_NO_PAD.decode(claims) else {
        return false;
    };
    match serde_json::from_slice::<Claims>(&claims) {
        Ok(Claims {
            aud: Audience::One(one),
        }) => one == audience,
        Ok(Claims {
            aud: Audience::Several(several),
        }) => several.iter().any(|one| one == audience),
        Err(_) => false,
    }
}

#[cfg(test)]
mod tests;
