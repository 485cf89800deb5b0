//! The sums by which librsync knows a block of a file: a weak one that can be rolled, and a strong one.
//!
//! librsync computes one block after the other, and one byte after the other. Here as many blocks are computed together as a
//! processor's vector instructions have room for, which takes a quarter of the time, and bytes that no block can begin with are
//! passed over before any table is asked. Guarantees the same numbers as librsync's, and that nothing but time depends on the
//! processor. Leaves to others what they are used for: a strong sum is MD4, which is broken as a cryptographic hash.
//!
//! A crate of its own so that tests, too, can have it optimised.

mod md4;
mod rabin_karp;

pub use md4::{LANES, STRONG_BYTES, Strong, strong, strong_of_each};
pub use rabin_karp::{Marks, Window, weak};
