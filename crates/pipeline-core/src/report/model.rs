//! What a report says, as numbers and names: no words, no pictures. Serves whoever draws it.
//!
//! Days are days of UTC, counted from 1970-01-01, as in the catalog; times are nanoseconds since 1970. Whatever is unknown is
//! `None`, never 0.

use std::path::PathBuf;
use std::time::Duration;

use crate::catalog::history::End;
use crate::hold::Standing;
use crate::inspect::Concern;

/// The fleet, its storage and a stretch of their past.
#[derive(Clone, Debug)]
pub struct Report {
    /// When it was made.
    pub at_ns: i64,
    /// The first day that it covers.
    pub first_day: i32,
    /// The last one, which may not be over yet.
    pub last_day: i32,
    /// The archive's root.
    pub root: PathBuf,
    /// Whether removals are on hold.
    pub hold: Standing,
    /// The devices, the most urgent first.
    pub devices: Vec<Device>,
    /// The fleet's sums, one for each day from `first_day` to `last_day`.
    pub days: Vec<Sums>,
    /// All that was received, ever: files and bytes.
    pub archived: Amount,
    /// The storage.
    pub storage: Space,
    /// Stretches without an answer, the longest first; at most [`MAX_OUTAGES`](super::MAX_OUTAGES).
    pub outages: Vec<Outage>,
    /// How many shorter ones are left out.
    pub more_outages: usize,
    /// What went wrong at devices that answered, the most recent first; at most [`MAX_FAILURES`](super::MAX_FAILURES).
    pub failures: Vec<Failure>,
    /// How many kinds of failure are left out.
    pub more_failures: usize,
    /// How the runs of the period ended.
    pub runs: Runs,
    /// What concerns no single device.
    pub concerns: Vec<Concern>,
}

/// Files and their bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Amount {
    /// Files.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
}

/// One device: how it is, and what it did in the period.
#[derive(Clone, Debug)]
pub struct Device {
    /// Its name.
    pub name: String,
    /// How the last visit found it.
    pub state: State,
    /// Since when it has been found so.
    pub since_ns: Option<i64>,
    /// Why it is not [`State::Ready`].
    pub reason: Option<String>,
    /// What to do about that.
    pub hint: Option<String>,
    /// When it last answered and all was done.
    pub succeeded_ns: Option<i64>,
    /// When it last had something new.
    pub newest_ns: Option<i64>,
    /// How long it has had nothing new, where that is longer than its `alert_after`.
    pub silent: Option<Duration>,
    /// What needs a person, or may soon, the gravest first.
    pub concerns: Vec<Concern>,
    /// Files that the archive does not have yet, when last looked.
    pub waiting: Option<Amount>,
    /// Received files that are still on the card, when last looked.
    pub kept: Option<Amount>,
    /// The card.
    pub card: Space,
    /// What it did in the period.
    pub sums: Sums,
    /// How each day from `first_day` to `last_day` went.
    pub calendar: Vec<DayState>,
    /// The part of the period, since it was first visited, in which it answered; 0 to 1.
    pub answered: Option<f64>,
}

/// How a visit found a device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// It answered, and all was done.
    Ready,
    /// It did not answer.
    Offline,
    /// It answered, and something failed.
    Failed,
    /// No visit yet.
    Unknown,
    /// The configuration does not name it any more.
    Retired,
}

/// A card or the storage, and how it fills.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Space {
    /// When it was last looked at.
    pub at_ns: Option<i64>,
    /// Its size then.
    pub total_bytes: Option<u64>,
    /// Free then.
    pub free_bytes: Option<u64>,
    /// How it was used, by day; days without a reading are left out.
    pub days: Vec<UseDay>,
    /// Growth of its use.
    pub growth_bytes_per_day: Option<i64>,
    /// How long until it is full, from the moment of the report; none where that is not in sight.
    pub full_in: Option<Duration>,
}

impl Space {
    /// The part in use when it was last looked at, 0 to 1.
    pub fn used(&self) -> Option<f64> {
        #[allow(clippy::cast_precision_loss)] // a ratio
        let used = |total: u64, free: u64| 1.0 - free.min(total) as f64 / total as f64;
        Some(used(self.total_bytes.filter(|total| *total > 0)?, self.free_bytes?))
    }
}

/// How a card or the storage was used on one day.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UseDay {
    /// Which.
    pub day: i32,
    /// Its size.
    pub total_bytes: u64,
    /// The least that was in use.
    pub lowest_bytes: u64,
    /// The most that was in use.
    pub highest_bytes: u64,
}

/// Sums of one day or of many.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sums {
    /// Visits.
    pub visits: u64,
    /// Those that got an answer.
    pub reached: u64,
    /// Received.
    pub received: Amount,
    /// Found in the storage already, and taken into the catalog.
    pub adopted: Amount,
    /// Removed from devices against a receipt.
    pub removed: Amount,
    /// Files that became another version of one that was known.
    pub versions: u64,
    /// Files that met another device's at their place.
    pub clashes: u64,
    /// Files and directories that could not be handled.
    pub failed: u64,
}

/// How a device's day went, the gravest last.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum DayState {
    /// Nobody looked.
    Unknown,
    /// It answered, and all was done.
    Ready,
    /// It did not answer in a part of the day's visits that counts.
    Partly,
    /// It answered, and something failed in a part of its visits that counts.
    Failed,
    /// It did not answer in most of the day's visits.
    Offline,
}

/// A stretch without an answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outage {
    /// Which device.
    pub device: String,
    /// When it first did not answer.
    pub began_ns: i64,
    /// When it answered again, or up to when it is known not to have answered.
    pub ended_ns: i64,
    /// Which of these.
    pub end: End,
    /// How long.
    pub lasted: Duration,
    /// Why, as the connection told.
    pub reason: Option<String>,
}

/// One thing that went wrong, however often.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// Its class, as in the events.
    pub class: String,
    /// Why.
    pub reason: String,
    /// What to do about it.
    pub hint: Option<String>,
    /// Where: in the order of their names.
    pub devices: Vec<String>,
    /// How many visits ended so.
    pub visits: u64,
    /// The first one.
    pub first_ns: i64,
    /// The last one.
    pub last_ns: i64,
    /// Those of the devices that are so now.
    pub lasting: Vec<String>,
}

/// How runs of `pipeline sync` ended.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Runs {
    /// All.
    pub total: u64,
    /// Killed, or cut off by a power failure.
    pub killed: u64,
    /// Ended before their time, by reason, the most frequent first.
    pub stopped: Vec<(String, u64)>,
    /// When the newest one began.
    pub last_ns: Option<i64>,
}

// Amounts are what devices say: one that says too much costs nobody the page, so sums end at the largest number.
impl std::ops::AddAssign for Amount {
    fn add_assign(&mut self, other: Amount) {
        self.files = self.files.saturating_add(other.files);
        self.bytes = self.bytes.saturating_add(other.bytes);
    }
}

impl std::iter::Sum for Amount {
    fn sum<I: Iterator<Item = Amount>>(amounts: I) -> Amount {
        amounts.fold(Amount::default(), |mut sum, amount| {
            sum += amount;
            sum
        })
    }
}

impl std::ops::AddAssign for Sums {
    fn add_assign(&mut self, other: Sums) {
        self.received += other.received;
        self.adopted += other.adopted;
        self.removed += other.removed;
        let numbers = [
            (&mut self.visits, other.visits),
            (&mut self.reached, other.reached),
            (&mut self.versions, other.versions),
            (&mut self.clashes, other.clashes),
            (&mut self.failed, other.failed),
        ];
        numbers.into_iter().for_each(|(sum, number)| *sum = sum.saturating_add(number));
    }
}
