//! The delta of a new content against a signature.

use std::io::{self, BufReader, Read};

use super::input::{Failure, Input};
use super::{
    BLOCK_UNIT_BYTES, DeltaError, HEADER_BYTES, INPUT_BYTES, MAGIC, MAX_BLOCK_BYTES, MAX_BLOCKS, MAX_STRONG_BYTES,
    MIN_STRONG_BYTES, PIECE_BYTES, Parameters,
};

/// A delta in the making.
pub struct Delta<R> {
    job: librsync::Delta<BufReader<Input<R>>>,
    failure: Failure,
    piece: Vec<u8>,
}

impl<R: Read> Delta<R> {
    /// Takes in a whole signature of `signature_bytes` bytes, and nothing yet of the new content.
    ///
    /// Holds the signature and 24 bytes for each of its blocks. Errors: `Signature` where it is none or not as long,
    /// `Input` where it can't be read.
    pub fn start(mut signature: impl Read, signature_bytes: u64, new: R) -> Result<Delta<R>, DeltaError> {
        let (mut signature, signature_failure) = Input::new(signature.by_ref().take(signature_bytes));
        let mut header = [0; HEADER_BYTES];
        signature.read_exact(&mut header).map_err(|e| match signature_failure.take() {
            Some(error) => DeltaError::Input(error),
            None => {
                DeltaError::Signature(if e.kind() == io::ErrorKind::UnexpectedEof { "it is cut" } else { "no header" })
            }
        })?;
        check(&header, signature_bytes)?;
        // A load that fails would leak what it has loaded. Its end is no failure to the library.
        let mut sums = EndsWithoutError(signature.by_ref());
        let (new, failure) = Input::new(new);
        let new = BufReader::with_capacity(INPUT_BYTES, new);
        let job = librsync::Delta::with_buf_read(new, &mut header.as_slice().chain(&mut sums));
        if let Some(error) = signature_failure.take() {
            return Err(DeltaError::Input(error));
        }
        if signature.into_inner().limit() > 0 {
            return Err(DeltaError::Signature("it is cut"));
        }
        let job = job.map_err(|e| DeltaError::Library(io::Error::other(e)))?;
        Ok(Delta { job, failure, piece: vec![0; PIECE_BYTES] })
    }

    /// The next bytes of the delta; none at its end. Reads of the new content as much as it takes to find them, which may be all.
    pub fn piece(&mut self) -> Result<&[u8], DeltaError> {
        let bytes = self.job.read(&mut self.piece).map_err(|e| match self.failure.take() {
            Some(error) => DeltaError::Content(error),
            None => DeltaError::Library(e),
        })?;
        Ok(&self.piece[..bytes])
    }

    /// Gives the new content back.
    pub fn into_content(self) -> R {
        self.job.into_inner().into_inner().into_inner()
    }
}

/// Lets through only what [`parameters`](super::parameters) may have chosen, and a length that is as the header says.
fn check(header: &[u8; HEADER_BYTES], signature_bytes: u64) -> Result<(), DeltaError> {
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
    Ok(())
}

/// An error is the end; who cares asks the input for it.
struct EndsWithoutError<R>(R);

impl<R: Read> Read for EndsWithoutError<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        Ok(self.0.read(buffer).unwrap_or(0))
    }
}
