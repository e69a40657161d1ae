//! Is there room for this call? Asks the limits and quotas that need to know what is called; those that need only the caller
//! were asked before (`admit`).

use std::sync::Arc;

use gatepost_protocol::method::Method;

use crate::{
    authorize::Authorized,
    gate::Gate,
    limits::{Exceeded, Permit},
    refusal::{Limited, Refusal},
};

/// An authorized call for which there is room. Only `charge` makes it.
pub struct Charged {
    authorized: Authorized,
    permit: Permit,
}

impl Charged {
    pub(crate) fn into_parts(self) -> (Authorized, Permit) {
        (self.authorized, self.permit)
    }
}

/// Takes a place under every limit that the call falls under, or under none.
pub(crate) fn charge(gate: &Gate, authorized: Authorized) -> Result<Charged, Refusal> {
    let inbound = authorized.inbound();
    let charged = gate.governance.limits.call(
        inbound.client.principal(),
        inbound.address(),
        &authorized.action(),
    );
    match charged {
        Ok(permit) => Ok(Charged { authorized, permit }),
        Err(exceeded) => Err(limited(&authorized, exceeded)),
    }
}

#[cold]
fn limited(authorized: &Authorized, exceeded: Exceeded) -> Refusal {
    let (request, there) = (&authorized.inbound().request, authorized.there());
    let target = request.known_method().and_then(|method| method.facts().target);
    let original: Arc<str> = authorized.action().name.into();
    Refusal::Limited {
        exceeded: Box::new(exceeded),
        target: Some(Box::new(Limited {
            server: Arc::clone(there.server.name()),
            name: target
                .and_then(|target| request.param_text(target.param()))
                .map_or_else(|| (*original).into(), |name| name.into_owned().into()),
            original,
            tool: there.method == Some(Method::ToolsCall),
        })),
    }
}
