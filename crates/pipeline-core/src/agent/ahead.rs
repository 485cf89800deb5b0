//! Takes requests in while the agent is busy with an earlier one.
//!
//! Guarantees that a collector may leave up to [`MAX_UNANSWERED_BYTES`] of requests unanswered without being blocked, whatever
//! carries them, and that no more than this is held. Leaves the meaning of the bytes to [`FrameReader`](crate::wire::FrameReader).

use std::collections::VecDeque;
use std::io::{self, Read};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use crate::wire::MAX_UNANSWERED_BYTES;

/// Read from the stream at once.
const CHUNK_BYTES: usize = 64 * 1024;

/// The reading end. Blocks only while nothing has come.
pub(super) struct Ahead {
    shared: Arc<Shared>,
}

struct Shared {
    state: Mutex<State>,
    /// Bytes came or went, or an end did.
    changed: Condvar,
}

#[derive(Default)]
struct State {
    bytes: VecDeque<u8>,
    /// How the stream ended, once it has.
    end: Option<io::Result<()>>,
    /// Nobody reads any more.
    dropped: bool,
}

impl Ahead {
    /// Starts to read `input` on a thread of its own. The thread ends with the stream.
    pub(super) fn start(input: impl Read + Send + 'static) -> io::Result<Ahead> {
        let shared = Arc::new(Shared { state: Mutex::default(), changed: Condvar::new() });
        let ours = Arc::clone(&shared);
        std::thread::Builder::new().name("requests".into()).spawn(move || ours.fill_from(input))?;
        Ok(Ahead { shared })
    }

    /// Whether something has come that was not read yet.
    pub(super) fn has_more(&self) -> bool {
        !self.shared.lock().bytes.is_empty()
    }
}

impl Read for Ahead {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let mut state = self.shared.lock();
        while state.bytes.is_empty() {
            match state.end.take() {
                Some(Ok(())) => {
                    state.end = Some(Ok(()));
                    return Ok(0);
                }
                Some(Err(error)) => {
                    state.end = Some(Ok(()));
                    return Err(error);
                }
                None => state = self.shared.wait(state),
            }
        }
        let read = state.bytes.read(buffer);
        self.shared.changed.notify_all();
        read
    }
}

impl Drop for Ahead {
    fn drop(&mut self) {
        self.shared.lock().dropped = true;
        self.shared.changed.notify_all();
    }
}

impl Shared {
    fn fill_from(&self, mut input: impl Read) {
        let mut chunk = vec![0; CHUNK_BYTES];
        loop {
            let read = match input.read(&mut chunk) {
                Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
                read => read,
            };
            let mut state = self.lock();
            match read {
                Ok(0) => state.end = Some(Ok(())),
                Ok(n) => {
                    while !state.dropped && state.bytes.len() + n > MAX_UNANSWERED_BYTES {
                        state = self.wait(state);
                    }
                    state.bytes.extend(&chunk[..n]);
                }
                Err(error) => state.end = Some(Err(error)),
            }
            self.changed.notify_all();
            if state.dropped || state.end.is_some() {
                return;
            }
        }
    }

    /// A thread that panicked leaves at worst bytes unread: the state is whole at every unlock.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wait<'s>(&self, state: MutexGuard<'s, State>) -> MutexGuard<'s, State> {
        self.changed.wait(state).unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::io::Write;

    use super::*;

    /// Endless; tells how many bytes were taken from it.
    struct Endless(Arc<Mutex<usize>>);

    impl Read for Endless {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            buffer.fill(7);
            *self.0.lock().unwrap() += buffer.len();
            Ok(buffer.len())
        }
    }

    #[test]
    fn takes_all_that_may_be_unanswered_and_no_more() {
        let taken = Arc::new(Mutex::new(0));
        let ahead = Ahead::start(Endless(Arc::clone(&taken))).unwrap();
        let mut state = ahead.shared.lock();
        while state.bytes.len() < MAX_UNANSWERED_BYTES {
            state = ahead.shared.wait(state);
        }
        assert_eq!(state.bytes.len(), MAX_UNANSWERED_BYTES);
        drop(state);
        assert!(*taken.lock().unwrap() <= MAX_UNANSWERED_BYTES + CHUNK_BYTES);
        assert!(ahead.has_more());
    }

    #[test]
    fn bytes_and_the_end_come_through() {
        let (mut theirs, ours) = std::os::unix::net::UnixStream::pair().unwrap();
        let mut ahead = Ahead::start(ours).unwrap();
        assert!(!ahead.has_more());
        theirs.write_all(b"request").unwrap();
        let mut seen = [0; 7];
        ahead.read_exact(&mut seen).unwrap();
        assert_eq!(&seen, b"request");
        assert!(!ahead.has_more());
        drop(theirs);
        assert_eq!(ahead.read(&mut seen).unwrap(), 0);
        assert_eq!(ahead.read(&mut seen).unwrap(), 0);
    }

    #[test]
    fn an_error_comes_through_after_the_bytes_before_it() {
        struct Broken;
        impl Read for Broken {
            fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
                Err(io::ErrorKind::ConnectionReset.into())
            }
        }
        let mut ahead = Ahead::start(b"ab".chain(Broken)).unwrap();
        let mut seen = [0; 2];
        ahead.read_exact(&mut seen).unwrap();
        assert_eq!(ahead.read(&mut seen).unwrap_err().kind(), io::ErrorKind::ConnectionReset);
    }
}
