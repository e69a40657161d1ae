//! The data path of Gatepost: transport, identity, pipeline, routing, upstream.
//!
//! A [`Gate`] is built from a checked configuration, opened, and served over HTTP ([`http`]) or a pair of pipes
//! ([`stdio`]). The journey of a message is one file, `path.rs`.

// The futures of a call nest deeper than the compiler looks by itself.
#![recursion_limit = "256"]

mod admit;
mod answer;
mod authorize;
mod bridge;
mod catalog;
mod charge;
mod conversation;
mod deliver;
mod explain;
mod gate;
mod governance;
mod here;
mod identify;
mod inbound;
mod limits;
mod listen;
mod metrics;
mod module;
mod notice;
mod ops;
mod path;
mod receive;
mod record;
mod refusal;
mod resolve;
mod respond;
#[cfg(test)]
mod rig;
mod seal;
mod session;
mod stored;
mod streams;
mod task;
mod transport;
mod upstream;

pub use explain::{Explained, Found, Question, Thing, Unseen, Verdict};
pub use gate::{BuildError, Gate, Modules, Phase, Snapshot};
pub use module::{Module, Serving};
pub use seal::SealError;
pub use transport::{
    connection::{Connection, OpenError},
    http, stdio,
};
pub use upstream::{
    CallError, Cause, ContextError, CredentialKind, Health, HealthState, SecretUse, Server, StoredTokens,
    Used,
};

/// The stages whose order the compiler keeps, and the proofs they leave behind. A proof can be named here, and made
/// nowhere but in its stage.
pub mod stages {
    pub use crate::{
        admit::{Admitted, Occupancy, admit},
        authorize::{Authorized, authorize},
        charge::Charged,
        identify::Identified,
        inbound::{Arrival, Inbound},
        record::Permitted,
        resolve::Resolved,
        upstream::Called,
    };
}
