//! No more bytes a second than the user allows, and an open ear for the wish to stop.

use std::time::{Duration, Instant};

use crate::cancel::{Cancel, Stopped};

/// How long a wish to stop may wait for a pause to end.
const SLICE: Duration = Duration::from_millis(100);

/// What was not read may be made up for, but no longer than this: a disk that hung must not be hurried afterwards.
const CREDIT: Duration = Duration::from_secs(1);

/// Holds up whoever reads too fast.
pub(super) struct Pace<'a> {
    cancel: &'a Cancel,
    bytes_per_second: Option<u64>,
    /// When the bytes read so far may have been read.
    due: Instant,
}

impl<'a> Pace<'a> {
    pub(super) fn new(cancel: &'a Cancel, bytes_per_second: Option<u64>) -> Pace<'a> {
        Pace { cancel, bytes_per_second, due: Instant::now() }
    }

    /// So much was read. Returns when more may be.
    pub(super) fn pay(&mut self, bytes: u64) -> Result<(), Stopped> {
        self.charge(bytes, Instant::now());
        loop {
            if self.cancel.is_set() {
                return Err(Stopped);
            }
            let pause = self.due.saturating_duration_since(Instant::now());
            if pause.is_zero() {
                return Ok(());
            }
            std::thread::sleep(pause.min(SLICE));
        }
    }

    fn charge(&mut self, bytes: u64, now: Instant) {
        let Some(rate) = self.bytes_per_second.filter(|&rate| rate > 0) else { return };
        #[allow(clippy::cast_precision_loss)] // a rate limit
        let cost = Duration::from_secs_f64(bytes as f64 / rate as f64);
        self.due = self.due.max(now.checked_sub(CREDIT).unwrap_or(now)) + cost;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_due_at_the_rate_and_idleness_is_not_saved_up() {
        let cancel = Cancel::new();
        let mut pace = Pace::new(&cancel, Some(1000));
        let begun = pace.due;
        (0..10).for_each(|_| pace.charge(500, begun));
        assert_eq!(pace.due - begun, Duration::from_secs(5));
        let much_later = begun + Duration::from_secs(3600);
        pace.charge(3000, much_later);
        assert_eq!(pace.due - much_later, Duration::from_secs(2));
        let mut unbounded = Pace::new(&cancel, None);
        let begun = unbounded.due;
        unbounded.charge(u64::MAX, begun);
        assert_eq!(unbounded.due, begun);
    }

    #[test]
    fn a_pause_of_hours_ends_with_the_wish_to_stop() {
        let cancel = Cancel::new();
        cancel.set();
        assert!(Pace::new(&cancel, Some(1)).pay(1 << 20).is_err());
    }
}
