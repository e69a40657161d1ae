//! The keys that issuers sign with: what a key is, where a set of them comes from, and how a set is kept fresh.

mod discovery;
mod jwk;
mod keeper;
mod set;
mod source;

pub(crate) use jwk::{Key, LONGEST_KID, algorithm};
pub use keeper::IssuerHealth;
pub(crate) use keeper::{Found, Keeper, Running};
pub use source::{BadKeySet, KeysError};
pub(crate) use source::{Source, read};
