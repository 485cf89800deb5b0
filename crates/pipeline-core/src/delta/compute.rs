//! A signature as it came in, and how a file is shared out to those who compare it.

use std::io::{self, Read};

use super::{
    BLOCK_UNIT_BYTES, DeltaError, HEADER_BYTES, MAGIC, MAX_BLOCK_BYTES, MAX_BLOCKS, MAX_STRONG_BYTES, MIN_STRONG_BYTES,
    Parameters,
};

/// A whole signature, of which it is known that it is one.
#[derive(Debug)]
pub struct Signature {
    bytes: Vec<u8>,
    parameters: Parameters,
}

impl Signature {
    /// Takes in a signature of `bytes` bytes. Errors: `Signature` where it is none or not as long, `Input` where it can't be read.
    pub fn read(mut signature: impl Read, bytes: u64) -> Result<Signature, DeltaError> {
        let mut header = [0; HEADER_BYTES];
        read(&mut signature, &mut header)?;
        let parameters = check(&header, bytes)?;
        // At most the longest there is: that has been checked.
        let length = usize::try_from(bytes).map_err(|_| DeltaError::TooLarge(bytes))?;
        let mut bytes = vec![0; length];
        bytes[..HEADER_BYTES].copy_from_slice(&header);
        read(&mut signature, &mut bytes[HEADER_BYTES..])?;
        Ok(Signature { bytes, parameters })
    }

    pub(super) fn block_bytes(&self) -> usize {
        self.parameters.block_bytes as usize
    }

    /// How many blocks it has the sums of.
    pub(super) fn blocks(&self) -> usize {
        (self.bytes.len() - HEADER_BYTES) / self.sum_bytes()
    }

    /// Both sums of a block.
    pub(super) fn sum(&self, block: usize) -> &[u8] {
        &self.bytes[HEADER_BYTES + block * self.sum_bytes()..][..self.sum_bytes()]
    }

    /// The weak sum of a block, and the strong one.
    pub(super) fn sums(&self, block: usize) -> (&[u8], &[u8]) {
        let strong_bytes = self.parameters.strong_bytes as usize;
        let both = self.sum(block);
        both.split_at(both.len() - strong_bytes)
    }

    fn sum_bytes(&self) -> usize {
        size_of::<u32>() + self.parameters.strong_bytes as usize
    }
}

fn read(signature: &mut impl Read, buffer: &mut [u8]) -> Result<(), DeltaError> {
    signature.read_exact(buffer).map_err(|e| match e.kind() {
        io::ErrorKind::UnexpectedEof => DeltaError::Signature("it is cut"),
        _ => DeltaError::Input(e),
    })
}

/// Lets through only what [`parameters`](super::parameters) may have chosen, and a length that is as the header says.
fn check(header: &[u8; HEADER_BYTES], signature_bytes: u64) -> Result<Parameters, DeltaError> {
    let number = |at: usize| u32::from_be_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]]);
    let parameters = Parameters { block_bytes: number(4), strong_bytes: number(8) };
    if number(0) != MAGIC {
        return Err(DeltaError::Signature("its kind is unknown"));
    }
    if !(BLOCK_UNIT_BYTES..=MAX_BLOCK_BYTES).contains(&u64::from(parameters.block_bytes)) {
        return Err(DeltaError::Signature("its blocks have an impossible length"));
    }
    if !(MIN_STRONG_BYTES..=MAX_STRONG_BYTES).contains(&parameters.strong_bytes) {
        return Err(DeltaError::Signature("its sums have an impossible length"));
    }
    let sums = signature_bytes.saturating_sub(HEADER_BYTES as u64);
    if sums == 0 || !sums.is_multiple_of(parameters.sum_bytes()) || sums / parameters.sum_bytes() > MAX_BLOCKS {
        return Err(DeltaError::Signature("it has an impossible length"));
    }
    Ok(parameters)
}

/// How a file is shared out: in segments, to so many workers in turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shares {
    /// How many work at a time.
    pub workers: usize,
    /// How much of the file one compares before it is the next one's turn.
    pub segment_bytes: u64,
}

impl Shares {
    /// All of the file to one.
    pub const ONE: Shares = Shares { workers: 1, segment_bytes: u64::MAX };

    /// What suits a file of `bytes` bytes on a device of so many processors.
    ///
    /// A block of the old content that lies across a cut of the new one is not found: one block more is sent for each cut,
    /// unless the blocks lie where they did, because cuts are at multiples of their length. So segments have many blocks,
    /// and where blocks are large, one worker has the file for itself. Each holds a segment that waits, and what it made of
    /// the one before.
    pub fn of(bytes: u64, signature: &Signature, processors: usize) -> Shares {
        let block = u64::from(signature.parameters.block_bytes);
        let segment_bytes = SEGMENT_BYTES / block * block;
        let segments = usize::try_from(bytes / segment_bytes.max(1)).unwrap_or(usize::MAX);
        let workers = processors.min(MAX_WORKERS).min(segments);
        if workers < 2 || segment_bytes / block < MIN_SEGMENT_BLOCKS {
            return Shares::ONE;
        }
        Shares { workers, segment_bytes }
    }
}

/// Large enough that a cut costs a two-thousandth at the most where blocks have the usual length.
const SEGMENT_BYTES: u64 = 4 << 20;
/// A cut may cost a thousandth.
const MIN_SEGMENT_BLOCKS: u64 = 1024;
/// One processor is for reading, hashing and sending.
const MAX_WORKERS: usize = 3;

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn processors_and_large_blocks_bound_the_workers() {
        const MIB: u64 = 1 << 20;
        // Bytes, processors, workers.
        let table = [
            (MIB, 4, 1),
            (8 * MIB, 4, 2),
            (100 * MIB, 1, 1),
            (100 * MIB, 2, 2),
            (100 * MIB, 4, 3),
            (512 * MIB, 4, 3),
            (2048 * MIB, 4, 3),
            (2049 * MIB, 4, 1),
            (10_240 * MIB, 4, 1),
        ];
        for (bytes, processors, workers) in table {
            let parameters = super::super::parameters(bytes).unwrap();
            let length = usize::try_from(parameters.signature_bytes(bytes)).unwrap();
            let signature = Signature { bytes: vec![0; length], parameters };
            let shares = Shares::of(bytes, &signature, processors);
            assert_eq!(shares.workers, workers, "{bytes} bytes, {processors} processors");
            if workers == 1 {
                assert_eq!(shares, Shares::ONE);
            } else {
                assert!(shares.segment_bytes.is_multiple_of(parameters.block_bytes.into()));
                assert!((SEGMENT_BYTES - 4096..=SEGMENT_BYTES).contains(&shares.segment_bytes));
            }
        }
    }
}
