//! The `requestState` that modern clients carry for the gate: sealed, and good for one call of one principal only.
//!
//! Source: MCP 2026-07-28, basic/patterns/mrtr, Server Requirements 4 and 5; `docs/eras.md` 5.6.

use std::{borrow::Cow, time::Duration};

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use gatepost_policy::Principal;
use gatepost_protocol::{ask::canonical, envelope::Request};
use serde::{Deserialize, Serialize};

use crate::{
    inbound::Inbound,
    seal::{Holder, Purpose, Sealer, fingerprint, unix_seconds},
    upstream::Server,
};

/// The form of the plain text. Another one is not understood, which is as good as expired.
const FORM: u8 = 1;

/// What a state opens.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Opens {
    /// A modern server's own state, which goes back to it.
    #[serde(rename = "mm")]
    Server(String),
    /// A call that is parked here.
    #[serde(rename = "park")]
    Parked {
        /// The process that parked it.
        owner: u64,
        /// Its place there.
        place: u64,
        /// Opens the place once; each round has another.
        nonce: [u8; 12],
    },
    /// A call that a legacy server refused until its user has visited pages: nothing is parked.
    #[serde(rename = "reissue")]
    Pages {
        /// The server's names of the elicitations.
        ids: Vec<String>,
    },
}

/// The call that a state belongs to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Belongs {
    principal: Principal,
    server: String,
    endpoint: String,
    method: String,
    digest: [u8; 32],
}

/// The token's plain text. Field names are short because the token travels twice.
#[derive(Serialize, Deserialize)]
struct Sealed<'a> {
    v: u8,
    #[serde(borrow)]
    p: Holder<'a>,
    #[serde(borrow)]
    s: Cow<'a, str>,
    #[serde(borrow)]
    e: Cow<'a, str>,
    #[serde(borrow)]
    m: Cow<'a, str>,
    /// Of what is called and its arguments.
    #[serde(borrow)]
    d: Cow<'a, str>,
    /// Seconds since the epoch.
    x: u64,
    k: Opens,
}

/// Why a state opens nothing; for the log only. Clients are told one thing whatever it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Stale {
    #[error("it was not sealed here")]
    Foreign,
    #[error("it is too old")]
    Expired,
    #[error("it belongs to another caller")]
    Principal,
    #[error("it belongs to another endpoint, server, method, or to other arguments")]
    Call,
    #[error("its call is parked in another process, or was when that stopped")]
    Owner,
    #[error("its call is over, or it was used before")]
    Used,
    #[error("the server behind it speaks another version by now")]
    Era,
}

impl Belongs {
    /// To this call of this server.
    pub(crate) fn to(inbound: &Inbound, server: &Server) -> Self {
        Self {
            principal: inbound.client.principal().clone(),
            server: server.name().to_string(),
            endpoint: inbound.view.name().to_string(),
            method: inbound.request.method().to_owned(),
            digest: call_digest(&inbound.request),
        }
    }

    /// The token for this call.
    pub(crate) fn seal(&self, sealer: &Sealer, opens: Opens, lifetime: Duration) -> String {
        let sealed = Sealed {
            v: FORM,
            p: Holder::of(&self.principal),
            s: Cow::Borrowed(&self.server),
            e: Cow::Borrowed(&self.endpoint),
            m: Cow::Borrowed(&self.method),
            d: URL_SAFE_NO_PAD.encode(self.digest).into(),
            x: unix_seconds() + lifetime.as_secs().max(1),
            k: opens,
        };
        // Strings and numbers always serialise; an empty token, which opens nothing, would be the safe answer.
        let plain = serde_json::to_vec(&sealed).unwrap_or_default();
        sealer.seal(Purpose::State, &plain)
    }

    /// What a token opens, if it belongs to this call.
    pub(crate) fn open(&self, sealer: &Sealer, token: &str) -> Result<Opens, Stale> {
        let plain = sealer.open(Purpose::State, token).ok_or(Stale::Foreign)?;
        let sealed: Sealed<'_> = serde_json::from_slice(&plain).map_err(|_| Stale::Foreign)?;
        if sealed.v != FORM {
            return Err(Stale::Foreign);
        }
        if sealed.x <= unix_seconds() {
            return Err(Stale::Expired);
        }
        if !sealed.p.is(&self.principal) {
            return Err(Stale::Principal);
        }
        let named = (&*sealed.s, &*sealed.e, &*sealed.m);
        if named != (&*self.server, &*self.endpoint, &*self.method)
            || *sealed.d != URL_SAFE_NO_PAD.encode(self.digest)
        {
            return Err(Stale::Call);
        }
        Ok(sealed.k)
    }
}

/// One value for equal calls: clients may write their arguments anew between two rounds, with the same meaning.
pub(crate) fn call_digest(request: &Request) -> [u8; 32] {
    let raw = request.raw();
    let mut text = request.method().as_bytes().to_vec();
    for name in ["name", "uri", "arguments"] {
        text.push(0);
        if let Some(span) = request.param(name) {
            canonical(raw, span, &mut text);
        }
    }
    fingerprint(&text)
}

#[cfg(test)]
mod tests {
    use gatepost_protocol::{envelope::Message, json::Strictness};

    use super::*;

    fn request(raw: &str) -> Request {
        match Message::parse(raw.to_owned().into(), Strictness::Edge) {
            Ok(Message::Request(request)) => request,
            other => panic!("{other:?}"),
        }
    }

    fn call() -> Belongs {
        Belongs {
            principal: Principal::new("i", "ann"),
            server: "s".into(),
            endpoint: "/mcp".into(),
            method: "tools/call".into(),
            digest: [7; 32],
        }
    }

    #[test]
    fn a_state_opens_for_its_own_call_only() {
        let sealer = Sealer::new(&["key"]).unwrap();
        let minute = Duration::from_secs(60);
        for opens in [
            Opens::Server("state \" of the server".into()),
            Opens::Parked {
                owner: u64::MAX,
                place: 3,
                nonce: [9; 12],
            },
            Opens::Pages {
                ids: vec!["e".into()],
            },
        ] {
            let token = call().seal(&sealer, opens.clone(), minute);
            assert_eq!(call().open(&sealer, &token), Ok(opens));
            let changed = |change: fn(&mut Belongs)| {
                let mut other = call();
                change(&mut other);
                other.open(&sealer, &token)
            };
            for (issuer, subject, tenant) in
                [("i", "bob", None), ("j", "ann", None), ("i", "ann", Some("acme"))]
            {
                let mut other = call();
                other.principal = Principal::new(issuer, subject);
                if let Some(tenant) = tenant {
                    other.principal = other.principal.with_tenant(tenant);
                }
                assert_eq!(other.open(&sealer, &token), Err(Stale::Principal));
            }
            assert_eq!(changed(|call| call.server = "t".into()), Err(Stale::Call));
            assert_eq!(changed(|call| call.endpoint = "/mcp/s".into()), Err(Stale::Call));
            assert_eq!(
                changed(|call| call.method = "prompts/get".into()),
                Err(Stale::Call)
            );
            assert_eq!(changed(|call| call.digest = [8; 32]), Err(Stale::Call));
            let other = Sealer::new(&["other"]).unwrap();
            assert_eq!(call().open(&other, &token), Err(Stale::Foreign));
        }
        for forged in ["", "x", "server-1"] {
            assert_eq!(call().open(&sealer, forged), Err(Stale::Foreign));
        }
    }

    #[test]
    fn a_state_expires() {
        let sealer = Sealer::new(&["key"]).unwrap();
        let mut sealed = call();
        let token = sealed.seal(&sealer, Opens::Server(String::new()), Duration::ZERO);
        assert!(
            sealed.open(&sealer, &token).is_ok(),
            "not within its first second"
        );
        sealed.digest = [7; 32];
        let plain = sealer.open(Purpose::State, &token).unwrap();
        let old = String::from_utf8(plain).unwrap();
        let at = old.find("\"x\":").unwrap() + 4;
        let end = at + old[at..].find(',').unwrap();
        let old = format!("{}1{}", &old[..at], &old[end..]);
        let token = sealer.seal(Purpose::State, old.as_bytes());
        assert_eq!(sealed.open(&sealer, &token), Err(Stale::Expired));
    }

    #[test]
    fn a_large_state_of_a_server_passes() {
        let sealer = Sealer::new(&["key"]).unwrap();
        let opens = Opens::Server("x".repeat(1 << 20));
        let token = call().seal(&sealer, opens.clone(), Duration::from_secs(9));
        assert_eq!(call().open(&sealer, &token), Ok(opens));
    }

    #[test]
    fn equal_calls_have_one_digest() {
        let call = |params: &str| {
            call_digest(&request(&format!(
                r#"{{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{params}}}"#
            )))
        };
        let first = call(r#"{"name":"t","arguments":{"a":1,"b":"\u00e9"},"_meta":{"x":1}}"#);
        assert_eq!(
            first,
            call(r#"{ "arguments" : {"b":"é", "a":1}, "name":"t","requestState":"s","inputResponses":{}}"#)
        );
        for other in [
            r#"{"name":"u","arguments":{"a":1,"b":"é"}}"#,
            r#"{"name":"t","arguments":{"a":1.0,"b":"é"}}"#,
            r#"{"name":"t"}"#,
        ] {
            assert_ne!(first, call(other), "{other}");
        }
    }
}
