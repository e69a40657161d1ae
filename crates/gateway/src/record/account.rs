//! What records say of a request: who, and what for.

use std::{borrow::Cow, net::IpAddr};

use gatepost_audit::{By, Event, Log, What, Who};
use gatepost_policy::Principal;
use gatepost_protocol::json::{self, Span};

use crate::{
    inbound::Inbound,
    upstream::{SecretUse, Used},
};

/// The texts of a request that its records quote.
pub(super) struct Account<'a> {
    inbound: &'a Inbound,
    endpoint: Cow<'a, str>,
    client: Option<Cow<'a, str>>,
    version: Option<Cow<'a, str>>,
    address: Option<String>,
    name: Option<Cow<'a, str>>,
}

impl<'a> Account<'a> {
    pub(super) fn of(inbound: &'a Inbound) -> Self {
        let info: &[u8] = inbound.client.info.as_deref().unwrap_or_default();
        let members = json::object(info, Span::all(info)).ok();
        let member = |name| {
            let members = members.as_ref()?;
            json::text(info, members.get(info, name)?)
        };
        let target = inbound
            .request
            .known_method()
            .and_then(|method| method.facts().target)
            .map(gatepost_protocol::method::Target::param)
            .filter(|param| *param != "taskId");
        Self {
            endpoint: inbound.endpoint().url_path().into(),
            client: member("name"),
            version: member("version"),
            address: inbound.address().as_ref().map(IpAddr::to_string),
            name: target.and_then(|param| inbound.request.param_text(param)),
            inbound,
        }
    }

    pub(super) fn who(&self) -> Who<'_> {
        Who {
            client: self.client.as_deref(),
            version: self.version.as_deref(),
            address: self.address.as_deref(),
            ..who(self.inbound.client.principal())
        }
    }

    /// `target` is the server and what the thing is called there, where that is known.
    pub(super) fn what<'b>(&'b self, target: Option<(&'b str, &'b str)>) -> What<'b> {
        let name = self.name.as_deref();
        What {
            endpoint: Some(&self.endpoint),
            method: Some(self.inbound.request.method()),
            server: target.map(|(server, _)| server),
            name,
            original: target.map(|(_, own)| own).filter(|own| Some(*own) != name),
            effect: None,
        }
    }
}

/// The rule that allowed something.
pub(super) fn by(by: &gatepost_policy::By) -> By<'_> {
    By {
        role: by.role().map(|role| &**role),
        rule: by.pattern().map(gatepost_policy::Pattern::as_str),
    }
}

pub(super) fn who(principal: &Principal) -> Who<'_> {
    Who {
        issuer: Some(principal.issuer()),
        subject: Some(principal.subject()),
        tenant: principal.tenant(),
        ..Who::default()
    }
}

/// The trace id of a request with a W3C trace context (`00-<32 digits>-<16 digits>-<2 digits>`).
pub(super) fn trace_id(inbound: &Inbound) -> Option<&str> {
    let id = inbound.trace().parent()?.get(3..35)?;
    id.bytes().all(|byte| byte.is_ascii_hexdigit()).then_some(id)
}

/// Puts every use of a secret on record.
pub(crate) struct Uses(pub(crate) Log);

impl SecretUse for Uses {
    fn used(&self, used: &Used<'_>) {
        let of = used.call.map(|call| self.0.id(call));
        let written = self.0.event(&Event::CredentialUsed {
            server: used.server,
            kind: used.kind.as_str(),
            name: used.name,
            who: used.principal.map(who).unwrap_or_default(),
            call: of.as_deref(),
        });
        if let Err(unwritten) = written {
            tracing::error!(target: "gatepost::audit", %unwritten, server = used.server, "the use of a secret could not be recorded");
        }
    }
}
