//! The signature of an old content: a weak and a strong sum of each block.

use std::io::Read;

use super::input::{Input, read_full};
use super::rabin_karp::Job;
use super::{DeltaError, parameters};

/// Several blocks at once, so that the library need not collect them.
const BUFFER_BYTES: usize = 128 * 1024;

/// Makes the signature of exactly `bytes` bytes of `basis`.
///
/// At most [`MAX_SIGNATURE_BYTES`](super::MAX_SIGNATURE_BYTES) long, mostly a hundred and seventieth of the basis.
/// Errors: `Content` where there are fewer bytes, `TooLarge` where there are too many.
pub fn signature(basis: impl Read, bytes: u64) -> Result<Vec<u8>, DeltaError> {
    let parameters = parameters(bytes).ok_or(DeltaError::TooLarge(bytes))?;
    let expected = usize::try_from(parameters.signature_bytes(bytes)).map_err(|_| DeltaError::TooLarge(bytes))?;
    let mut job = Job::start(parameters).ok_or_else(|| DeltaError::Library(std::io::ErrorKind::OutOfMemory.into()))?;
    let (mut basis, failure) = Input::new(basis.take(bytes));
    let block = parameters.block_bytes as usize;
    let mut buffer = vec![0; (BUFFER_BYTES / block).max(1) * block];
    let mut signature = Vec::with_capacity(expected);
    let mut left = bytes;
    loop {
        let filled =
            read_full(&mut basis, &mut buffer).map_err(|e| DeltaError::Content(failure.take().unwrap_or(e)))?;
        left -= filled as u64;
        let last = filled < buffer.len();
        job.take(&buffer[..filled], last, &mut signature).map_err(DeltaError::Library)?;
        if last {
            break;
        }
    }
    if left > 0 {
        return Err(DeltaError::Content(std::io::ErrorKind::UnexpectedEof.into()));
    }
    Ok(signature)
}
