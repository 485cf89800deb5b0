//! The new content, made of the old one and a delta.

use std::io::{self, BufReader, Read, Seek, Write};

// Named only so that its version is the one that was tried.
use librsync_sys as _;

use super::input::{Failure, Input};
use super::{DeltaError, INPUT_BYTES};

/// What is written at once.
const OUTPUT_BYTES: usize = 128 * 1024;
/// A delta may be so much longer than what it makes: the commands around the bytes.
const SLACK_BYTES: u64 = 64 * 1024;

/// Writes what `delta` makes of `basis`, and returns how many bytes that is.
///
/// Never more than `most` bytes are written. After an error what was written is the beginning of something that nobody can
/// vouch for. Errors: `TooLong` where there would be more, or where the delta itself is longer than that; `Delta` where it is none, or
/// refers to what the basis has not; `Input`, `Basis` and `Output` where reading or writing failed.
pub fn patch(basis: impl Read + Seek, delta: impl Read, mut out: impl Write, most: u64) -> Result<u64, DeltaError> {
    let (basis, basis_failure) = Input::new(basis);
    let longest = most.saturating_add(SLACK_BYTES);
    let (delta, delta_failure) = Input::new(Limited { inner: delta, left: longest });
    let failed = |error: io::Error, basis: &Failure, delta: &Failure| match (basis.take(), delta.take()) {
        (Some(error), _) => DeltaError::Basis(error),
        (None, Some(error)) if error.get_ref().is_some_and(|inner| inner.is::<Exceeded>()) => DeltaError::TooLong(most),
        (None, Some(error)) => DeltaError::Input(error),
        (None, None) => DeltaError::Delta(error),
    };
    let delta = BufReader::with_capacity(INPUT_BYTES, delta);
    let mut job = librsync::Patch::with_buf_read(basis, delta).map_err(|e| DeltaError::Library(io::Error::other(e)))?;
    let mut buffer = vec![0; OUTPUT_BYTES];
    let mut written = 0;
    loop {
        // One read more after the last: only then the library notices what comes after the end of a delta.
        let bytes = job.read(&mut buffer).map_err(|e| failed(e, &basis_failure, &delta_failure))?;
        if bytes == 0 {
            return Ok(written);
        }
        if bytes as u64 > most - written {
            return Err(DeltaError::TooLong(most));
        }
        out.write_all(&buffer[..bytes]).map_err(DeltaError::Output)?;
        written += bytes as u64;
    }
}

/// Fails where the inner one goes on after so many bytes.
struct Limited<R> {
    inner: R,
    left: u64,
}

#[derive(Debug, thiserror::Error)]
#[error("too long")]
struct Exceeded;

impl<R: Read> Read for Limited<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let bytes = self.inner.read(buffer)?;
        self.left = self.left.checked_sub(bytes as u64).ok_or_else(|| io::Error::other(Exceeded))?;
        Ok(bytes)
    }
}
