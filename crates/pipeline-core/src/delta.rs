//! What changed in a file, as librsync tells it: the signature of an old content, the delta of a new one against it, and the patch
//! that makes the new one of the old one and the delta.
//!
//! Guarantees that memory is bounded whatever comes in, that no more is written than the caller allows, that a signature or
//! delta which is none ends in an error, and that an input which is interrupted is read on. Does not guarantee that a patched
//! content is the right one: sums of a few bytes can agree by chance, and a basis can change. The caller compares digests.
//!
//! Knows no transport and no agent. Signatures and deltas are librsync's to the byte, but most of the time that they take is its sums,
//! so they are made here on the crate `block-sums`, which computes several at a time. What makes a file, the patch, is the library
//! itself. It is C behind the crate `librsync`; what it, and its way of comparing, do and what stands against it:
//!
//! | what the library does | what stands against it |
//! |---|---|
//! | an interrupted read loses what was written before it | `input` reads on |
//! | a block length of 0 or of gigabytes runs without an end | [`parameters`] alone chooses, and what comes in is checked |
//! | a signature that is cut short is taken for a shorter one | its length is announced, and checked |
//! | bytes after the end of a delta are an error only sometimes | a patch is read until the library says so twice |
//! | a delta of a kilobyte can make gigabytes | the caller says how many bytes there may be |
//! | one block can collide with each byte of a file, and costs minutes | sums are Rabin-Karp ones |
//! | what is found nowhere piles up while nobody takes it | `sums` puts it out before it takes more in |
//! | sums that somebody made up crowd one place of the table | `sums` looks at so many places, and no further |

use std::io;

use crate::error::{Class, Classified};

#[cfg(feature = "agent")]
pub use compute::{Shares, Signature};
#[cfg(feature = "collector")]
pub use patch::patch;
#[cfg(feature = "collector")]
pub use signature::signature;
#[cfg(feature = "agent")]
pub use workers::{Feed, Made, Step, start};

#[cfg(feature = "agent")]
mod compute;
#[cfg(feature = "collector")]
mod input;
#[cfg(feature = "collector")]
mod patch;
#[cfg(feature = "collector")]
mod signature;
#[cfg(feature = "agent")]
mod sums;
#[cfg(feature = "agent")]
mod workers;

/// Below this a whole file costs hardly more than the question.
pub const MIN_BYTES: u64 = 64 * 1024;

/// The most blocks of a signature. The device holds the sums of each, and at most twelve bytes to find it by: 16 MiB in all.
pub const MAX_BLOCKS: u64 = 1 << 19;
/// Larger blocks than this are of no use, and larger files than [`MAX_BLOCKS`] of them are no subject for a delta.
const MAX_BLOCK_BYTES: u64 = 1 << 20;
/// A multiple of what the strong sum works on, 64 bytes.
const BLOCK_UNIT_BYTES: u64 = 128;
const MIN_STRONG_BYTES: u32 = 8;
/// All of an MD4 sum.
const MAX_STRONG_BYTES: u32 = 16;
/// Magic, block length and strong length, four bytes each, highest first.
const HEADER_BYTES: usize = 12;
const WEAK_BYTES: u64 = 4;
/// `RS_RK_MD4_SIG_MAGIC` of librsync: Rabin-Karp rolling sums, MD4 strong ones. MD4 is broken as a cryptographic hash, and is the
/// fastest here; what was patched is checked by SHA-256.
const MAGIC: u32 = 0x7273_0146;

/// The longest signature that there is, in bytes.
pub const MAX_SIGNATURE_BYTES: u64 = HEADER_BYTES as u64 + MAX_BLOCKS * (WEAK_BYTES + MAX_STRONG_BYTES as u64);

/// What the library works on at once.
#[cfg(feature = "collector")]
const INPUT_BYTES: usize = 32 * 1024;
/// What a worker compares at once, and makes before it says so.
#[cfg(feature = "agent")]
const PIECE_BYTES: usize = 64 * 1024;

/// What a delta begins with, `RS_DELTA_MAGIC` of librsync, and the command that ends it.
#[cfg(feature = "agent")]
const DELTA_BEGIN: [u8; 4] = 0x7273_0236_u32.to_be_bytes();
#[cfg(feature = "agent")]
const DELTA_END: [u8; 1] = [0];

/// How a content is cut into blocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Parameters {
    /// Length of a block.
    pub block_bytes: u32,
    /// Length of the strong sum of each.
    pub strong_bytes: u32,
}

/// Chooses what costs least for a basis of this many bytes; none where it is too large for a delta.
///
/// A signature goes up and a delta comes down. With N bytes, blocks of b, and c changed places, that is N/b sums of
/// twelve bytes, and about b bytes more than what changed for each place, because a place seldom begins where a block does. The
/// sum 12 N/b + c b is least at b = √(12 N/c). For c we take one record of 4 KiB in a hundred, as in a database or a capture file
/// that is edited here and there, but at least one: then b is the same for all but small files. It is rounded down, to what a device
/// caches well and what fits the pages of a database, and grows once there would be more than [`MAX_BLOCKS`].
///
/// The strong sum is librsync's own choice (`rs_sig_args` in its `sumset.c`, since 2.3.0): two bytes more than would let any
/// of the N possible places agree with any of the blocks by chance.
pub fn parameters(bytes: u64) -> Option<Parameters> {
    const SUM_BYTES: u64 = WEAK_BYTES + MIN_STRONG_BYTES as u64;
    const BYTES_FOR_EACH_CHANGE: u64 = 100 * 4096;
    const LARGEST_USEFUL_BYTES: u64 = 2048;
    let changes = (bytes / BYTES_FOR_EACH_CHANGE).max(1);
    let cheapest = (SUM_BYTES.saturating_mul(bytes) / changes).isqrt();
    let useful = (cheapest / BLOCK_UNIT_BYTES * BLOCK_UNIT_BYTES).clamp(BLOCK_UNIT_BYTES, LARGEST_USEFUL_BYTES);
    let block = useful.max(bytes.div_ceil(MAX_BLOCKS).next_multiple_of(BLOCK_UNIT_BYTES));
    if block > MAX_BLOCK_BYTES {
        return None;
    }
    let places = (bytes.saturating_add(1 << 24)).ilog2() + 1;
    let blocks = (bytes / block + 1).ilog2() + 1;
    let strong_bytes = (2 + (places + blocks).div_ceil(8)).clamp(MIN_STRONG_BYTES, MAX_STRONG_BYTES);
    u32::try_from(block).ok().map(|block_bytes| Parameters { block_bytes, strong_bytes })
}

impl Parameters {
    /// Length of the signature of so many bytes.
    pub fn signature_bytes(&self, bytes: u64) -> u64 {
        HEADER_BYTES as u64 + bytes.div_ceil(u64::from(self.block_bytes)) * self.sum_bytes()
    }

    fn sum_bytes(&self) -> u64 {
        WEAK_BYTES + u64::from(self.strong_bytes)
    }
}

/// What can go wrong.
#[derive(Debug, thiserror::Error)]
pub enum DeltaError {
    /// The content that a signature or a delta was to be made of could not be read.
    #[error("the content could not be read")]
    Content(#[source] io::Error),
    /// The signature or the delta that came in could not be read.
    #[error("the other side could not be read")]
    Input(#[source] io::Error),
    /// The old content could not be read while it was patched.
    #[error("the old content could not be read")]
    Basis(#[source] io::Error),
    /// The patched content could not be written.
    #[error("the new content could not be written")]
    Output(#[source] io::Error),
    /// A content that is larger than deltas are made for.
    #[error("{0} bytes are too many for a delta")]
    TooLarge(u64),
    /// A delta that makes more than it may, or is longer than what it makes.
    #[error("the delta makes more than {0} bytes")]
    TooLong(u64),
    /// Bytes that are no signature.
    #[error("the signature is none: {0}")]
    Signature(&'static str),
    /// Bytes that are no delta of this content.
    #[error("the delta does not fit")]
    Delta(#[source] io::Error),
    /// The library failed where nothing that came from outside can be the cause.
    #[error("librsync failed")]
    Library(#[source] io::Error),
}

impl Classified for DeltaError {
    fn class(&self) -> Class {
        match self {
            DeltaError::Content(_) | DeltaError::Basis(_) | DeltaError::Output(_) => Class::Storage,
            DeltaError::Input(_) => Class::Transient,
            DeltaError::TooLong(_) | DeltaError::Signature(_) | DeltaError::Delta(_) => Class::Integrity,
            DeltaError::TooLarge(_) | DeltaError::Library(_) => Class::Internal,
        }
    }
}

#[cfg(all(test, feature = "agent", feature = "collector"))]
pub(crate) mod tests;
