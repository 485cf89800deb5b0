//! The new content, made of the old one and a delta.

use std::io::{self, BufReader, Read, Seek, Write};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::JoinHandle;

use super::input::{Failure, Input};
use super::{DeltaError, INPUT_BYTES};

/// What is written at once.
const OUTPUT_BYTES: usize = 128 * 1024;
/// A delta may be so much longer than what it makes: the commands around the bytes.
const SLACK_BYTES: u64 = 64 * 1024;
/// Pieces of a delta that wait for the disk.
const PIECES: usize = 8;

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

/// A [`patch`] whose delta comes in pieces. Works on a thread of its own; never has more than a few pieces waiting.
pub struct Patcher<W> {
    pieces: Option<SyncSender<Vec<u8>>>,
    thread: Option<JoinHandle<Result<(W, u64), DeltaError>>>,
}

impl<W: Write + Send + 'static> Patcher<W> {
    /// Begins; see [`patch`] for what holds.
    pub fn start(basis: impl Read + Seek + Send + 'static, mut out: W, most: u64) -> io::Result<Patcher<W>> {
        let (pieces, receiver) = sync_channel(PIECES);
        let work = move || {
            let delta = Pieces { receiver, piece: Vec::new(), at: 0 };
            let written = patch(basis, delta, &mut out, most)?;
            Ok((out, written))
        };
        let thread = std::thread::Builder::new().name("patch".into()).spawn(work)?;
        Ok(Patcher { pieces: Some(pieces), thread: Some(thread) })
    }

    /// Hands over the next bytes of the delta; waits while the disk is behind. Returns false once no more are wanted, because
    /// patching has failed: [`finish`](Patcher::finish) says why.
    pub fn write(&mut self, delta: &[u8]) -> bool {
        self.pieces.as_ref().is_some_and(|pieces| pieces.send(delta.to_vec()).is_ok())
    }

    /// Ends the delta, waits for the rest, and gives the output back, and how many bytes were written to it.
    ///
    /// After an error the output has been dropped; a delta that is not complete is an error, as it is in [`patch`].
    pub fn finish(mut self) -> Result<(W, u64), DeltaError> {
        self.pieces = None;
        match self.thread.take().map(JoinHandle::join) {
            Some(Ok(done)) => done,
            Some(Err(panic)) => std::panic::resume_unwind(panic),
            None => Err(DeltaError::Library(io::ErrorKind::BrokenPipe.into())),
        }
    }
}

/// Gives the patch up, and waits for the thread: afterwards nobody writes any more, and the output has been dropped.
impl<W> Drop for Patcher<W> {
    fn drop(&mut self) {
        self.pieces = None;
        if let Some(thread) = self.thread.take() {
            drop(thread.join());
        }
    }
}

/// A delta as it arrives.
struct Pieces {
    receiver: Receiver<Vec<u8>>,
    piece: Vec<u8>,
    at: usize,
}

impl Read for Pieces {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.at == self.piece.len() {
            match self.receiver.recv() {
                Ok(piece) => (self.piece, self.at) = (piece, 0),
                Err(_) => return Ok(0),
            }
        }
        let bytes = (&self.piece[self.at..]).read(buffer)?;
        self.at += bytes;
        Ok(bytes)
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
