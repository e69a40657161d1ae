//! Is there room for this call? Asks the limits and quotas that need to know what is called; those that need only the caller
//! were asked before (`admit`).

use gatepost_protocol::method::Method;

use crate::{authorize::Authorized, gate::Gate, limits::Permit, refusal::Refusal};

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
        Err(exceeded) => Err(Refusal::Limited {
            tool: authorized.there().method == Some(Method::ToolsCall),
            exceeded: Box::new(exceeded),
        }),
    }
}
