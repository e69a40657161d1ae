//! Who is calling? The answer comes before a single byte of the body is read.
//!
//! Without a configured identity the listener is a loopback address, a private socket, or this process's own standard
//! input; whoever can reach those is the principal `local` (the configuration refuses to start otherwise).

use gatepost_policy::Principal;

use crate::{gate::Gate, inbound::Arrival, refusal::Refusal};

/// Proof that somebody answered for this message. Only `identify` makes it.
///
/// ```compile_fail
/// use gatepost_gateway::stages::Identified;
/// fn forge(arrival: gatepost_gateway::stages::Arrival, principal: gatepost_policy::Principal) -> Identified {
///     Identified { arrival, principal }
/// }
/// ```
pub struct Identified {
    arrival: Arrival,
    principal: Principal,
}

impl Identified {
    /// Who is calling.
    pub fn principal(&self) -> &Principal {
        &self.principal
    }

    pub(crate) fn arrival(&self) -> &Arrival {
        &self.arrival
    }
}

/// Finds the principal. Credentials that are presented where none are configured prove nothing and change nothing.
pub(crate) fn identify(gate: &Gate, arrival: Arrival) -> Result<Identified, Refusal> {
    Ok(Identified {
        arrival,
        principal: gate.local.clone(),
    })
}
