//! Is there room for one more? Bounds what needs no target to be bounded: the calls in flight on the whole gate.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering::Relaxed},
};

use gatepost_policy::{Caller, Principal};

use crate::{identify::Identified, inbound::Arrival, refusal::Refusal};

/// Calls at once on the whole gate: far above what two cores can do in a server's timeout, far below what fills memory
/// with waiting requests of the usual size.
pub(crate) const MAX_IN_FLIGHT: usize = 16_384;

/// Counts the calls in flight.
#[derive(Debug, Default)]
pub struct Occupancy(AtomicUsize);

impl Occupancy {
    /// How many there are now.
    pub(crate) fn now(&self) -> usize {
        self.0.load(Relaxed)
    }
}

/// A place among the calls in flight, given back when dropped.
struct Place(Arc<Occupancy>);

impl Drop for Place {
    fn drop(&mut self) {
        self.0.0.fetch_sub(1, Relaxed);
    }
}

/// Proof that an identified message has a place. Only [`admit`] makes it.
pub struct Admitted {
    identified: Identified,
    _place: Place,
}

impl Admitted {
    pub(crate) fn arrival(&self) -> &Arrival {
        self.identified.arrival()
    }

    /// Who was admitted, for what else they say in the same breath.
    pub(crate) fn identified(&self) -> &Identified {
        &self.identified
    }

    /// Who is calling, and what the configuration gives them.
    pub(crate) fn caller(&self) -> &Arc<Caller> {
        self.identified.caller()
    }

    /// Who is calling.
    pub fn principal(&self) -> &Principal {
        self.identified.principal()
    }
}

/// Takes a place, or refuses when there is none.
pub fn admit(occupancy: &Arc<Occupancy>, identified: Identified) -> Result<Admitted, Refusal> {
    // The place exists before the check, so that a refusal gives it back like anything else.
    let taken = occupancy.0.fetch_add(1, Relaxed);
    let admitted = Admitted {
        identified,
        _place: Place(Arc::clone(occupancy)),
    };
    if taken < MAX_IN_FLIGHT {
        Ok(admitted)
    } else {
        Err(Refusal::Overloaded { limit: MAX_IN_FLIGHT })
    }
}
