//! What librsync may be given to read: never interrupted, and its errors kept where they can be found again.
//!
//! The library loses what it has put out when a read fails after it, and flattens an error of the basis to "I/O error".

use std::cell::RefCell;
use std::io::{self, Read, Seek, SeekFrom};
use std::rc::Rc;

/// The error that an input ended with.
#[derive(Clone, Debug, Default)]
pub(super) struct Failure(Rc<RefCell<Option<io::Error>>>);

impl Failure {
    /// Takes the error, if there was one.
    pub(super) fn take(&self) -> Option<io::Error> {
        self.0.borrow_mut().take()
    }

    /// Keeps an error, and gives one to pass on in its place.
    fn keep(&self, error: io::Error) -> io::Error {
        let kind = error.kind();
        *self.0.borrow_mut() = Some(error);
        kind.into()
    }
}

/// Reads on when interrupted, and keeps any other error.
#[derive(Debug)]
pub(super) struct Input<R> {
    inner: R,
    failure: Failure,
}

impl<R> Input<R> {
    pub(super) fn new(inner: R) -> (Input<R>, Failure) {
        let failure = Failure::default();
        (Input { inner, failure: failure.clone() }, failure)
    }
}

impl<R: Read> Read for Input<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            match self.inner.read(buffer) {
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(self.failure.keep(e)),
                Ok(bytes) => return Ok(bytes),
            }
        }
    }
}

impl<R: Seek> Seek for Input<R> {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        self.inner.seek(to).map_err(|e| self.failure.keep(e))
    }
}

/// Reads until the buffer is full or the input ends. The input is never interrupted.
pub(super) fn read_full(input: &mut impl Read, buffer: &mut [u8]) -> io::Result<usize> {
    let mut filled = 0;
    while filled < buffer.len() {
        match input.read(&mut buffer[filled..])? {
            0 => break,
            bytes => filled += bytes,
        }
    }
    Ok(filled)
}
