//! How long to wait for something, and whether to go on waiting.
//!
//! Guarantees that nothing here waits beyond its deadline, and that a wish to stop is seen within [`LOOK`]. Measures; what a
//! time-out means is for the caller to say.

use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::io::Errno;

use crate::cancel::Cancel;

/// How often a waiting thread looks whether it should stop.
pub const LOOK: Duration = Duration::from_millis(200);

/// A deadline and a wish to stop.
#[derive(Clone, Debug)]
pub struct Patience {
    until: Instant,
    cancel: Cancel,
}

/// Why waiting ended without a result.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Impatience {
    /// The deadline passed.
    TimedOut,
    /// Somebody asked to stop.
    Cancelled,
}

impl Patience {
    /// Waits for `limit` from now on, or until somebody asks to stop.
    pub fn new(limit: Duration, cancel: &Cancel) -> Patience {
        Patience { until: Instant::now() + limit, cancel: cancel.clone() }
    }

    /// The same wish to stop, with a deadline of its own that is not later than this one's.
    pub fn at_most(&self, limit: Duration) -> Patience {
        Patience { until: self.until.min(Instant::now() + limit), cancel: self.cancel.clone() }
    }

    /// What is left until the deadline.
    pub fn left(&self) -> Duration {
        self.until.saturating_duration_since(Instant::now())
    }

    /// How long to wait before looking again.
    pub fn slice(&self) -> Result<Duration, Impatience> {
        if self.cancel.is_set() {
            return Err(Impatience::Cancelled);
        }
        match self.left() {
            Duration::ZERO => Err(Impatience::TimedOut),
            left => Ok(left.min(LOOK)),
        }
    }

    /// Waits until one of `wanted`, or an error or hang-up, can be seen on `fd`.
    pub fn wait_for(&self, fd: impl AsFd, wanted: PollFlags) -> Result<PollFlags, Impatience> {
        loop {
            let seen = poll_one(&fd, wanted, self.slice()?);
            if !seen.is_empty() {
                return Ok(seen);
            }
        }
    }

    /// Does nothing for the whole time, unless somebody asks to stop.
    pub fn pause(&self) -> Result<(), Impatience> {
        loop {
            match self.slice() {
                Ok(slice) => std::thread::sleep(slice),
                Err(Impatience::TimedOut) => return Ok(()),
                Err(Impatience::Cancelled) => return Err(Impatience::Cancelled),
            }
        }
    }
}

/// One look at `fd`, waiting at most `limit`. Empty where nothing was seen.
pub fn poll_one(fd: impl AsFd, wanted: PollFlags, limit: Duration) -> PollFlags {
    let mut fds = [PollFd::new(&fd, wanted)];
    match poll(&mut fds, limit) {
        Ok(()) => fds[0].revents(),
        // What is wrong with the descriptor will show when it is used.
        Err(_) => PollFlags::ERR,
    }
}

/// Waits at most `limit` for any of `fds`. A signal ends the waiting early.
pub fn poll(fds: &mut [PollFd<'_>], limit: Duration) -> Result<(), Errno> {
    // A millisecond more, so that a timer has expired when poll says so.
    let limit = if limit.is_zero() { limit } else { limit + Duration::from_millis(1) };
    let limit = Timespec::try_from(limit).ok();
    match rustix::event::poll(fds, limit.as_ref()) {
        Ok(_) => Ok(()),
        Err(Errno::INTR) => {
            fds.iter_mut().for_each(PollFd::clear_revents);
            Ok(())
        }
        Err(error) => Err(error),
    }
}
