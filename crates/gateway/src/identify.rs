//! Who is calling? The answer comes before a single byte of the body is read.
//!
//! Without a configured identity the listener is a loopback address, a private socket, or this process's own standard
//! input; whoever can reach those is the principal `local` (the configuration refuses to start otherwise).

use std::sync::Arc;

use gatepost_policy::{Caller, Principal};

use crate::{gate::Gate, inbound::Arrival, refusal::Refusal};

/// Proof that somebody answered for this message. Only `identify` makes it.
///
/// ```compile_fail
/// use gatepost_gateway::stages::Identified;
/// fn forge(arrival: gatepost_gateway::stages::Arrival, caller: std::sync::Arc<gatepost_policy::Caller>) -> Identified {
///     Identified { arrival, caller }
/// }
/// ```
#[derive(Clone)]
pub struct Identified {
    arrival: Arrival,
    caller: Arc<Caller>,
}

impl Identified {
    /// Who is calling.
    pub fn principal(&self) -> &Principal {
        self.caller.principal()
    }

    /// The same, with what the configuration gives them.
    pub(crate) fn caller(&self) -> &Arc<Caller> {
        &self.caller
    }

    pub(crate) fn arrival(&self) -> &Arrival {
        &self.arrival
    }
}

/// Finds the principal. Credentials that are presented where none are configured prove nothing and change nothing.
pub(crate) async fn identify(gate: &Gate, arrival: Arrival) -> Result<Identified, Refusal> {
    Ok(local(gate, arrival))
}

/// Whoever started this process and speaks to it through a pipe or from inside: it could read every secret of the
/// configuration anyway.
pub(crate) fn local(gate: &Gate, arrival: Arrival) -> Identified {
    Identified {
        arrival,
        caller: Arc::clone(&gate.local),
    }
}
