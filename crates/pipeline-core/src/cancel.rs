//! The wish to stop, seen by all threads of a run.
//!
//! Guarantees that whoever reads a long file [through it](Cancel::reader) sees the wish within one read. Leaves to others what is
//! done with what was read so far: nothing may count that was not read to its end.

use std::io::{self, Read, Seek, SeekFrom};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use rustix::fd::{AsFd, BorrowedFd};

/// So much of each file is read whatever is wished. It takes no time that anybody would notice, and most photos are no larger: what
/// has arrived whole of those still gets to its place.
const UNHEEDED_BYTES: u64 = 4 << 20;

/// Set once, by a signal handler or by the first error that ends a run. Clones share it.
#[derive(Clone, Debug, Default)]
pub struct Cancel(Arc<Wish>);

#[derive(Debug, Default)]
struct Wish {
    set: AtomicBool,
    /// Of the whole that this is a part of, and when the part is over by itself.
    whole: Option<(Cancel, Instant)>,
}

impl Cancel {
    /// Not set.
    pub fn new() -> Cancel {
        Cancel::default()
    }

    /// One for a part of the work: set with this one, at `until`, or by itself, which leaves this one as it is.
    pub fn part(&self, until: Instant) -> Cancel {
        Cancel(Arc::new(Wish { set: AtomicBool::new(false), whole: Some((self.clone(), until)) }))
    }

    /// Asks everybody to stop at the next safe place.
    pub fn set(&self) {
        self.0.set.store(true, Ordering::SeqCst);
    }

    /// Whether somebody asked.
    pub fn is_set(&self) -> bool {
        let by_whole = |(whole, until): &(Cancel, Instant)| whole.is_set() || Instant::now() >= *until;
        self.0.set.load(Ordering::SeqCst) || self.0.whole.as_ref().is_some_and(by_whole)
    }

    /// Reads `inner` until somebody asks to stop; then each read fails with [`Stopped`]. The first few megabytes come all the same.
    pub fn reader<R>(&self, inner: R) -> Reader<R> {
        Reader { inner, cancel: self.clone(), unheeded_bytes: UNHEEDED_BYTES }
    }
}

/// Somebody asked to stop while something long was read.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("stopped")]
pub struct Stopped;

impl Stopped {
    /// Whether this is why reading failed.
    pub fn is_why(error: &io::Error) -> bool {
        error.get_ref().is_some_and(|inner| inner.is::<Stopped>())
    }
}

/// See [`Cancel::reader`].
#[derive(Debug)]
pub struct Reader<R> {
    inner: R,
    cancel: Cancel,
    unheeded_bytes: u64,
}

impl<R: Read> Read for Reader<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.unheeded_bytes == 0 && self.cancel.is_set() {
            return Err(io::Error::other(Stopped));
        }
        let bytes = self.inner.read(buffer)?;
        self.unheeded_bytes = self.unheeded_bytes.saturating_sub(bytes as u64);
        Ok(bytes)
    }
}

impl<R: Seek> Seek for Reader<R> {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        self.inner.seek(to)
    }
}

impl<R: AsFd> AsFd for Reader<R> {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.inner.as_fd()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::time::Duration;

    use super::*;

    #[test]
    fn a_part_is_over_with_the_whole_by_its_time_or_by_itself() {
        let later = || Instant::now() + Duration::from_secs(3600);
        let whole = Cancel::new();
        assert!(!whole.part(later()).is_set());
        assert!(whole.part(Instant::now()).is_set());
        let (one, other) = (whole.part(later()), whole.part(later()));
        one.clone().set();
        assert!(one.is_set() && !other.is_set() && !whole.is_set());
        whole.set();
        assert!(other.is_set());
    }

    #[test]
    fn what_is_small_comes_to_its_end_and_what_is_long_does_not() {
        let cancel = Cancel::new();
        let read = |bytes: u64| {
            let mut long = cancel.reader(io::repeat(0).take(bytes));
            io::copy(&mut long, &mut io::sink())
        };
        assert_eq!(read(2 * UNHEEDED_BYTES).unwrap(), 2 * UNHEEDED_BYTES);
        cancel.set();
        assert_eq!(read(UNHEEDED_BYTES - 1).unwrap(), UNHEEDED_BYTES - 1);
        let error = read(u64::MAX).unwrap_err();
        assert!(Stopped::is_why(&error) && error.to_string() == "stopped", "{error}");
    }
}
