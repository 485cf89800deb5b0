//! Takes machines in: from a host key that nobody vouched for to a login with the written config alone.
//!
//! | room | concern |
//! |---|---|
//! | [`fingerprints`] | host keys that somebody wrote down |
//! | [`trust`] | is it the machine that it should be |
//! | [`visit`] | one look at a machine, in the order of trust |
//! | [`batch`] | many machines: look, ask, write, install, test |
//! | [`row`] | what became of each |
//!
//! Guarantees: nothing is written on either side before the person said yes, or a list of fingerprints did; one machine that fails
//! keeps no other; whatever ends it, running it again does what is missing and no more. Leaves to others: what is written on
//! this machine ([`crate::local`]), and how a person is asked.

pub mod batch;
pub mod error;
pub mod fingerprints;
pub mod row;
pub mod trust;
pub mod visit;

pub use error::OnboardError;
