//! Decides what to do with a file: snapshot × catalog × policy → decision.
//!
//! Pure: no I/O and no clock of its own, so that every rule is a line in a table of tests. Age decides only *when* a file is taken;
//! what decides its removal is the receipt, and the check on the device itself.

mod asks;
mod places;

use std::time::Duration;

pub use asks::{Ask, Here, Setback};
pub use places::beside;

use crate::catalog::Known;
use crate::entry::Entry;

/// Farther than this from the last visit's offset, or at a first visit from our clock, and a device's clock tells no ages.
/// Generous against the error of the measurement (half a round trip), small against any useful `settle`.
const CLOCK_TOLERANCE_NS: u64 = 5_000_000_000;

/// A device's clock, as measured at this visit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DeviceClock {
    /// Its clock minus ours, in nanoseconds; 0 where unknown.
    pub offset_ns: i64,
    /// Whether it is known, and has gone evenly since the last visit.
    pub trusted: bool,
}

impl DeviceClock {
    /// Compares the offset with that of the last visit; at a first visit, with our own clock. A clock that nobody can ask tells no
    /// ages.
    pub fn new(offset_ns: Option<i64>, last_offset_ns: Option<i64>) -> DeviceClock {
        let Some(offset_ns) = offset_ns else { return DeviceClock { offset_ns: 0, trusted: false } };
        let moved = offset_ns.abs_diff(last_offset_ns.unwrap_or(0));
        DeviceClock { offset_ns, trusted: moved <= CLOCK_TOLERANCE_NS }
    }
}

/// What the user wants, for one visit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Policy {
    /// A file is taken once it has been left alone this long.
    pub settle: Duration,
    /// A received file leaves the device this long after; none: never.
    pub delete_after: Option<Duration>,
}

/// The moment of a decision.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Moment {
    /// Our clock, nanoseconds since 1970.
    pub now_ns: i64,
    /// The device's.
    pub clock: DeviceClock,
}

/// What to do with one file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decision {
    /// Receive it: nothing, or an earlier content, is known of its path.
    Receive,
    /// Remove it: it was received and is due.
    Release,
    /// It was received and stays for now.
    Wait,
    /// Look again in a later run: it may be being written.
    Defer(Defer),
}

/// Why a file is looked at again later.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Defer {
    /// It changed too short a time ago by the device's clock.
    Young,
    /// The device's clock tells no ages, and our own looks do not span `settle` yet.
    ClockUntrusted,
}

impl Defer {
    /// In words.
    pub fn reason(self) -> &'static str {
        match self {
            Defer::Young => "changed a moment ago",
            Defer::ClockUntrusted => "the device's clock can't be trusted: looking twice",
        }
    }
}

/// Decides about a file of which the catalog knows `known`.
///
/// `first_seen_ns` (our clock) is asked for only where the device's clock can't tell the file's age.
pub fn decide<E>(
    entry: &Entry,
    known: Option<&Known>,
    policy: &Policy,
    moment: &Moment,
    first_seen_ns: impl FnOnce() -> Result<i64, E>,
) -> Result<Decision, E> {
    if let Some(known) = known.filter(|known| known.identity == entry.identity) {
        return Ok(if due(known, policy, moment) { Decision::Release } else { Decision::Wait });
    }
    let settle_ns = nanos(policy.settle);
    if settle_ns == 0 {
        return Ok(Decision::Receive);
    }
    let age_ns = moment.now_ns.saturating_add(moment.clock.offset_ns).saturating_sub(entry.identity.mtime_ns);
    if moment.clock.trusted && age_ns >= 0 {
        return Ok(if age_ns >= settle_ns { Decision::Receive } else { Decision::Defer(Defer::Young) });
    }
    let watched_ns = moment.now_ns.saturating_sub(first_seen_ns()?);
    Ok(if watched_ns >= settle_ns { Decision::Receive } else { Decision::Defer(Defer::ClockUntrusted) })
}

fn due(known: &Known, policy: &Policy, moment: &Moment) -> bool {
    policy.delete_after.is_some_and(|after| moment.now_ns.saturating_sub(known.received_ns) >= nanos(after))
}

fn nanos(duration: Duration) -> i64 {
    i64::try_from(duration.as_nanos()).unwrap_or(i64::MAX)
}

/// How many bytes of received files must leave a card: none while it is below `high` percent, else down to `low` percent.
pub fn pressure_bytes(total_bytes: u64, free_bytes: u64, high: Option<u8>, low: Option<u8>) -> u64 {
    let (Some(high), Some(low)) = (high, low) else { return 0 };
    let used = total_bytes.saturating_sub(free_bytes);
    let percent = |p: u8| u64::try_from(u128::from(total_bytes) * u128::from(p) / 100).unwrap_or(u64::MAX);
    if total_bytes == 0 || used <= percent(high) { 0 } else { used - percent(low) }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use crate::archive::ArchivePath;
    use crate::digest::Digest;
    use crate::entry::Identity;
    use crate::path::RelPath;

    const SECOND: i64 = 1_000_000_000;
    const NOW: i64 = 1_700_000_000 * SECOND;
    const STEADY: DeviceClock = DeviceClock { offset_ns: 0, trusted: true };
    const WILD: DeviceClock = DeviceClock { offset_ns: 0, trusted: false };

    fn entry(mtime_ns: i64) -> Entry {
        let identity = Identity { dev: 1, ino: 2, size: 3, mtime_ns, ctime_ns: mtime_ns };
        Entry { path: RelPath::new(*b"a").unwrap(), identity }
    }

    fn known(identity: Identity, received_ns: i64) -> Known {
        let archive_path = ArchivePath::from_bytes(b"pi/a").unwrap();
        Known { row: 1, identity, digest: Digest::of(b""), archive_path, received_ns }
    }

    fn policy(settle: u64, after: Option<u64>) -> Policy {
        Policy { settle: Duration::from_secs(settle), delete_after: after.map(Duration::from_secs) }
    }

    fn decision(
        entry: &Entry,
        known: Option<&Known>,
        policy: &Policy,
        clock: DeviceClock,
        first_seen_ns: i64,
    ) -> Decision {
        let moment = Moment { now_ns: NOW, clock };
        decide(entry, known, policy, &moment, || Ok::<_, ()>(first_seen_ns)).unwrap()
    }

    #[test]
    fn a_new_file_is_taken_once_it_has_settled() {
        let young = Decision::Defer(Defer::Young);
        let doubt = Decision::Defer(Defer::ClockUntrusted);
        let fast = DeviceClock { offset_ns: 100 * SECOND, trusted: true };
        let table = [
            // (what, settle, mtime, clock, first seen, decision)
            ("old", 10, NOW - 60 * SECOND, STEADY, NOW, Decision::Receive),
            ("exactly settled", 10, NOW - 10 * SECOND, STEADY, NOW, Decision::Receive),
            ("young", 10, NOW - 10 * SECOND + 1, STEADY, NOW - 60 * SECOND, young.clone()),
            ("from the future, first look", 10, NOW + 1, STEADY, NOW, doubt.clone()),
            ("from the future, looked twice", 10, NOW + 1, STEADY, NOW - 10 * SECOND, Decision::Receive),
            ("young by a fast clock", 10, NOW + 95 * SECOND, fast, NOW, young),
            ("old by a fast clock", 10, NOW + 80 * SECOND, fast, NOW, Decision::Receive),
            ("old, but the clock jumped", 10, NOW - 60 * SECOND, WILD, NOW, doubt),
            ("old, the clock jumped, looked twice", 10, NOW - 60 * SECOND, WILD, NOW - 11 * SECOND, Decision::Receive),
            ("no settling wanted", 0, NOW + 60 * SECOND, WILD, NOW, Decision::Receive),
        ];
        for (what, settle, mtime_ns, clock, first_seen, expected) in table {
            let got = decision(&entry(mtime_ns), None, &policy(settle, Some(0)), clock, first_seen);
            assert_eq!(got, expected, "{what}");
        }
    }

    #[test]
    fn a_received_file_is_released_when_due_and_another_at_its_path_is_received() {
        let file = entry(NOW - 3600 * SECOND);
        let received = known(file.identity, NOW - 60 * SECOND);
        let table = [
            ("at once", Some(0), Decision::Release),
            ("exactly due", Some(60), Decision::Release),
            ("not yet", Some(61), Decision::Wait),
            ("never", None, Decision::Wait),
        ];
        for (what, after, expected) in table {
            assert_eq!(decision(&file, Some(&received), &policy(10, after), STEADY, NOW), expected, "{what}");
        }
        type Change = fn(&mut Identity);
        let changes: [(&str, Change); 5] = [
            ("device", |i| i.dev += 1),
            ("inode", |i| i.ino += 1),
            ("size", |i| i.size += 1),
            ("mtime", |i| i.mtime_ns += 1),
            ("ctime", |i| i.ctime_ns += 1),
        ];
        for (field, change) in changes {
            let mut changed = file.clone();
            change(&mut changed.identity);
            let decide = |settle| decision(&changed, Some(&received), &policy(settle, Some(0)), STEADY, NOW);
            assert_eq!(decide(10), Decision::Receive, "{field}");
            assert_eq!(decide(3601), Decision::Defer(Defer::Young), "{field}");
        }
    }

    #[test]
    fn a_clock_is_trusted_while_it_goes_evenly() {
        let table = [
            (Some(0), None, true),
            (Some(4 * SECOND), None, true),
            (Some(6 * SECOND), None, false),
            (Some(3600 * SECOND), Some(3601 * SECOND), true),
            (Some(0), Some(3600 * SECOND), false),
            (Some(i64::MIN), Some(i64::MAX), false),
            (None, None, false),
            (None, Some(0), false),
        ];
        for (offset, last, trusted) in table {
            assert_eq!(DeviceClock::new(offset, last).trusted, trusted, "{offset:?} after {last:?}");
        }
    }

    #[test]
    fn pressure_is_relieved_from_the_high_mark_down_to_the_low_one() {
        let table = [
            ((1000, 300), (Some(80), Some(60)), 0),
            ((1000, 200), (Some(80), Some(60)), 0),
            ((1000, 199), (Some(80), Some(60)), 201),
            ((1000, 0), (Some(80), Some(60)), 400),
            ((1000, 0), (None, None), 0),
            ((0, 0), (Some(80), Some(60)), 0),
        ];
        for ((total, free), (high, low), bytes) in table {
            assert_eq!(pressure_bytes(total, free, high, low), bytes, "{total} {free} {high:?} {low:?}");
        }
    }
}
