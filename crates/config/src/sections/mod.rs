//! The sections whose written form is not what is meant: each file has the form, and the way from it, with the checks that
//! need more than one value.

pub(crate) mod audit;
pub(crate) mod credentials;
pub(crate) mod identity;
pub(crate) mod limits;
pub(crate) mod roles;
pub(crate) mod servers;
pub(crate) mod views;
