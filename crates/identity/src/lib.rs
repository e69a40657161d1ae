//! Who is calling.
//!
//! A request presents one credential, and [`Identity`] says whose it is, or refuses: a JSON Web Token of a configured issuer
//! ([`Identity`] keeps the issuers' keys), or an API key of the gate itself ([`gatepost_store::KeyRing`]). What is presented and wrong is refused; nothing
//! falls through to another method or to anybody. [`Resource`] is what clients are told of where tokens come from (RFC 9728),
//! as pure values.
//!
//! Nothing here says what a caller may do. It gives [`gatepost_policy::Facts`], and the rules make something of them.

mod cache;
mod clock;
mod credential;
mod identity;
mod json;
mod keys;
mod refusal;
mod resource;
mod token;

#[cfg(test)]
mod rig;

pub use clock::Clock;
pub use identity::{Identity, IdentityError, Verified};
pub use keys::{BadKeySet, IssuerHealth, KeysError};
pub use refusal::{Refusal, Ruling};
pub use resource::{Resource, WELL_KNOWN, endpoint_of};
