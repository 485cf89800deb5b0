//! The signature of an old content: a weak and a strong sum of each block.
//!
//! The sums of one block need nothing of any other, so blocks are shared out to several processors: a link that waits for the
//! signature of half a gigabyte would otherwise wait for more than a second.

use std::io::{self, Read};
use std::thread::{Builder, ScopedJoinHandle, available_parallelism};

use block_sums::{strong_of_each, weak};

use super::input::{Input, read_full};
use super::{DeltaError, MAGIC, Parameters, parameters};

/// What a processor is given at once, in whole blocks.
const SHARE_BYTES: usize = 1 << 20;
/// More would wait for the storage.
const MAX_SHARES: usize = 4;

/// Makes the signature of exactly `bytes` bytes of `basis`.
///
/// At most [`MAX_SIGNATURE_BYTES`](super::MAX_SIGNATURE_BYTES) long, mostly a hundred and fiftieth of the basis. Holds 8 MiB
/// besides it. Errors: `Content` where there are fewer bytes, `TooLarge` where there are too many.
pub fn signature(basis: impl Read, bytes: u64) -> Result<Vec<u8>, DeltaError> {
    let parameters = parameters(bytes).ok_or(DeltaError::TooLarge(bytes))?;
    let expected = usize::try_from(parameters.signature_bytes(bytes)).map_err(|_| DeltaError::TooLarge(bytes))?;
    let (mut basis, failure) = Input::new(basis.take(bytes));
    let block = parameters.block_bytes as usize;
    let share = (SHARE_BYTES / block).max(1) * block;
    let shares = available_parallelism().map_or(1, usize::from).min(MAX_SHARES);
    let mut read = |mut content: Vec<u8>| {
        content.resize(share * shares, 0);
        let filled =
            read_full(&mut basis, &mut content).map_err(|e| DeltaError::Content(failure.take().unwrap_or(e)))?;
        content.truncate(filled);
        Ok::<_, DeltaError>(content)
    };
    let mut signature = Vec::with_capacity(expected);
    for number in [MAGIC, parameters.block_bytes, parameters.strong_bytes] {
        signature.extend_from_slice(&number.to_be_bytes());
    }
    let (mut content, mut spare) = (read(Vec::new())?, Vec::new());
    let mut left = bytes;
    while !content.is_empty() {
        left -= content.len() as u64;
        let next = std::thread::scope(|scope| {
            let start = |blocks| Builder::new().spawn_scoped(scope, move || of_blocks(parameters, blocks));
            let workers = content.chunks(share).map(start).collect::<io::Result<Vec<_>>>();
            let workers = workers.map_err(DeltaError::Library)?;
            // The storage works while the processors do.
            let next = read(std::mem::take(&mut spare));
            for sums in workers.into_iter().map(join) {
                signature.extend(sums);
            }
            next
        });
        spare = std::mem::replace(&mut content, next?);
    }
    if left > 0 {
        return Err(DeltaError::Content(io::ErrorKind::UnexpectedEof.into()));
    }
    Ok(signature)
}

/// The sums of these blocks, of which only the last may be a short one.
fn of_blocks(parameters: Parameters, blocks: &[u8]) -> Vec<u8> {
    let mut sums = Vec::with_capacity(usize::try_from(parameters.signature_bytes(blocks.len() as u64)).unwrap_or(0));
    strong_of_each(blocks, parameters.block_bytes as usize, |block, strong| {
        sums.extend_from_slice(&weak(block).to_be_bytes());
        sums.extend_from_slice(&strong[..parameters.strong_bytes as usize]);
    });
    sums
}

fn join<T>(worker: ScopedJoinHandle<'_, T>) -> T {
    worker.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::super::HEADER_BYTES;
    use super::*;

    /// Who makes the sums of a block does not show: several rounds for all processors, and a last one that is not full.
    #[test]
    fn shared_work_makes_the_same_signature() {
        const WORDS: u32 = 2_500_000;
        let content = (0..WORDS).flat_map(|i| i.wrapping_mul(2_654_435_761).to_le_bytes()).collect::<Vec<_>>();
        for bytes in [content.len(), SHARE_BYTES * MAX_SHARES, SHARE_BYTES - 1] {
            let parameters = parameters(bytes as u64).unwrap();
            let alone = of_blocks(parameters, &content[..bytes]);
            let shared = signature(&content[..], bytes as u64).unwrap();
            assert!(shared.ends_with(&alone), "{bytes} bytes");
            assert_eq!(shared.len() as u64, parameters.signature_bytes(bytes as u64));
            assert_eq!(shared.len(), HEADER_BYTES + alone.len());
        }
    }
}
