//! Who asks, and what of theirs could be passed on.

use std::sync::Arc;

use gatepost_config::Secret;
use gatepost_policy::{Caller, Method, Principal};
use http::{HeaderMap, header};

/// Who asks, and with what.
#[derive(Clone, Copy)]
pub(crate) struct Asker<'a> {
    pub(crate) caller: &'a Arc<Caller>,
    carried: Carried<'a>,
}

/// What of a caller could be passed on. It is looked at only where it is wanted.
#[derive(Clone, Copy)]
enum Carried<'a> {
    Nothing,
    Headers(&'a HeaderMap),
    Token(&'a Secret),
}

/// The same, for longer than a request lives.
pub(crate) struct KeptAsker {
    caller: Arc<Caller>,
    token: Option<Secret>,
}

impl<'a> Asker<'a> {
    /// The caller of a request with these headers.
    pub(crate) fn of(caller: &'a Arc<Caller>, headers: &'a HeaderMap) -> Self {
        Self {
            caller,
            carried: Carried::Headers(headers),
        }
    }

    /// Somebody of whom nothing is at hand that could be passed on.
    pub(crate) fn plain(caller: &'a Arc<Caller>) -> Self {
        Self {
            caller,
            carried: Carried::Nothing,
        }
    }

    /// The same, to be kept.
    pub(crate) fn to_kept(self) -> KeptAsker {
        KeptAsker {
            caller: Arc::clone(self.caller),
            token: self.token().map(Secret::new),
        }
    }

    pub(super) fn principal(&self) -> &'a Principal {
        self.caller.principal()
    }

    /// The token that the caller was identified by. An API key is the gate's own affair, and what somebody local presents
    /// has been verified by nobody.
    pub(super) fn token(&self) -> Option<&'a str> {
        if self.caller.facts().method != Method::Jwt {
            return None;
        }
        match self.carried {
            Carried::Nothing => None,
            Carried::Headers(headers) => bearer(headers),
            Carried::Token(token) => Some(token.expose()),
        }
    }
}

impl KeptAsker {
    /// Who it is.
    pub(crate) fn asker(&self) -> Asker<'_> {
        Asker {
            caller: &self.caller,
            carried: self.token.as_ref().map_or(Carried::Nothing, Carried::Token),
        }
    }
}

/// The one `Authorization: Bearer` of a request.
pub(super) fn bearer(headers: &HeaderMap) -> Option<&str> {
    let mut all = headers.get_all(header::AUTHORIZATION).iter();
    let (Some(only), None) = (all.next(), all.next()) else {
        return None;
    };
    let (scheme, token) = only.to_str().ok()?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}
