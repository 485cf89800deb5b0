//! What the catalog tells about the past, row by row. Times are nanoseconds since 1970 by our clock unless said otherwise.

use crate::archive::ArchivePath;
use crate::digest::Digest;
use crate::entry::Identity;
use crate::error::Class;
use crate::path::{DeviceName, RelPath};

/// Nanoseconds in a day.
pub const DAY_NS: i64 = 86_400_000_000_000;

/// One directory of one device, and what its last visit found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Source {
    /// Its row.
    pub id: i64,
    /// The device.
    pub device: DeviceName,
    /// The directory there; empty where a rebuilt catalog does not know it.
    pub path: Vec<u8>,
    /// When it last answered.
    pub visited_ns: Option<i64>,
    /// When a visit last did all that was to be done.
    pub succeeded_ns: Option<i64>,
    /// When a new content was last received, or found in the storage.
    pub newest_ns: Option<i64>,
    /// The device's clock minus ours.
    pub clock_offset_ns: Option<i64>,
    /// Size of the card; 0 where unknown.
    pub total_bytes: u64,
    /// Free on the card.
    pub free_bytes: u64,
    /// Whether the last try got no answer.
    pub unreachable: bool,
    /// Files that the last visit left and that are not listed as outstanding, because they are too many.
    pub unlisted: u64,
}

/// A clock that is being set right may step back by so much: what was noted just before is no less true.
const STEP_NS: i64 = 60_000_000_000;

/// Whether it can be true that something happened then, if it is `now_ns` now. A clock that was ahead once wrote down moments
/// that have yet to come: nobody knows when they were.
pub fn is_past(ns: i64, now_ns: i64) -> bool {
    ns <= now_ns.saturating_add(STEP_NS)
}

impl Source {
    /// The same without moments that have [yet to come](is_past).
    pub fn as_of(&self, now_ns: i64) -> Source {
        let past = |ns: Option<i64>| ns.filter(|ns| is_past(*ns, now_ns));
        Source {
            visited_ns: past(self.visited_ns),
            succeeded_ns: past(self.succeeded_ns),
            newest_ns: past(self.newest_ns),
            ..self.clone()
        }
    }
}

/// How visits ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// The device answered, and all was done.
    Reached,
    /// The device was not there.
    Offline,
    /// The device answered or refused us, and something failed or broke off.
    Failed,
}

impl State {
    /// Its word in the catalog and in JSON.
    pub fn word(self) -> &'static str {
        match self {
            State::Reached => "reached",
            State::Offline => "offline",
            State::Failed => "failed",
        }
    }

    pub(super) fn of_word(word: &str) -> Option<State> {
        [State::Reached, State::Offline, State::Failed].into_iter().find(|state| state.word() == word)
    }
}

/// Consecutive visits of a source that ended in the same way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Spell {
    /// The source's row.
    pub source: i64,
    /// The device.
    pub device: DeviceName,
    /// How they ended.
    pub state: State,
    /// What kind of failure; none where all was done.
    pub class: Option<Class>,
    /// Why, in the words of the last of them.
    pub reason: Option<String>,
    /// What to do.
    pub hint: Option<String>,
    /// The first of these visits.
    pub began_ns: i64,
    /// The last of them. Between two spells that are further apart than the visits in them, nobody looked.
    pub last_ns: i64,
    /// How many.
    pub visits: u64,
    /// How many of them ended in another way: not 0 only on a day with too many changes to write each down.
    pub others: u64,
    /// Whether they came to their end, and tried each removal that was due. One that failed all the same has met single files that it
    /// could not handle.
    pub whole: bool,
}

/// Sums of a source and a day (UTC).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Day {
    /// The source's row.
    pub source: i64,
    /// The device.
    pub device: DeviceName,
    /// Days since 1970.
    pub day: i32,
    /// Visits that did all that was to be done.
    pub reached: u64,
    /// Visits that got no answer.
    pub offline: u64,
    /// Visits that failed or broke off.
    pub failed: u64,
    /// Files received.
    pub received: u64,
    /// Their bytes.
    pub received_bytes: u64,
    /// Files found in the storage, and catalogued without a transfer.
    pub adopted: u64,
    /// Their bytes.
    pub adopted_bytes: u64,
    /// Files removed from the device.
    pub removed: u64,
    /// Their bytes.
    pub removed_bytes: u64,
    /// Contents that got a second name.
    pub versions: u64,
    /// Files stored beside what has their place.
    pub clashes: u64,
    /// The most files that one visit left for later.
    pub deferred: u64,
    /// The most files that failed in one visit.
    pub failures: u64,
    /// The first visit, or what else was noted first.
    pub first_ns: i64,
    /// The last one.
    pub last_ns: i64,
}

impl Day {
    /// All visits. 0 on days before anybody counted them.
    pub fn visits(&self) -> u64 {
        self.reached.saturating_add(self.offline).saturating_add(self.failed)
    }

    /// When the day began.
    pub fn start_ns(&self) -> i64 {
        i64::from(self.day) * DAY_NS
    }
}

/// How a device was at a moment, as far as somebody asked.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Reading {
    /// When.
    #[serde(rename = "at", serialize_with = "crate::clock::moment")]
    pub at_ns: i64,
    /// Size of the card.
    pub total_bytes: Option<u64>,
    /// Free on the card.
    pub free_bytes: Option<u64>,
    /// Inodes of the card.
    pub total_files: Option<u64>,
    /// Free inodes.
    pub free_files: Option<u64>,
    /// Bytes below the source that the filters let through.
    pub data_bytes: Option<u64>,
    /// Files of these.
    pub data_files: Option<u64>,
    /// Bytes that are not received yet.
    pub waiting_bytes: Option<u64>,
    /// Files of these.
    pub waiting_files: Option<u64>,
    /// Bytes that were received and are on the device still.
    pub kept_bytes: Option<u64>,
    /// Files of these.
    pub kept_files: Option<u64>,
    /// Modification time of the oldest file that waits, by our clock as far as the device's is known.
    #[serde(rename = "oldest_waiting", serialize_with = "crate::clock::moment_or_none")]
    pub oldest_waiting_ns: Option<i64>,
    /// The device's clock minus ours.
    pub clock_offset_ns: Option<i64>,
    /// Of the processor, in thousandths of a degree Celsius.
    pub temperature_mdeg: Option<i64>,
    /// The firmware's bits for throttling and under-voltage.
    pub throttled: Option<u64>,
    /// Seconds since the device started.
    pub uptime_s: Option<u64>,
    /// Load over a minute, in thousandths.
    pub load_milli: Option<u64>,
    /// Memory of the device.
    pub memory_total_bytes: Option<u64>,
    /// What programs may still have of it.
    pub memory_available_bytes: Option<u64>,
    /// Whether its root can't be written.
    pub read_only: Option<bool>,
    /// Errors of the card in the kernel's log.
    pub sd_errors: Option<u64>,
    /// What served it: the agent's name, or how it was done without.
    pub agent: Option<String>,
}

impl Reading {
    /// In use on the card; none where unknown.
    pub fn used_bytes(&self) -> Option<u64> {
        Some(self.total_bytes?.saturating_sub(self.free_bytes?))
    }
}

/// The readings of a source and a day (UTC), for a chart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DayReading {
    /// The source's row.
    pub source: i64,
    /// The device.
    pub device: DeviceName,
    /// Days since 1970.
    pub day: i32,
    /// How many readings.
    pub readings: u64,
    /// The day's last one that knew the card: when.
    pub at_ns: i64,
    /// Size of the card then.
    pub total_bytes: u64,
    /// Free on the card then.
    pub free_bytes: u64,
    /// The least that was free on the card that day.
    pub least_free_bytes: u64,
    /// The most that was.
    pub most_free_bytes: u64,
    /// The most bytes that waited to be received.
    pub most_waiting_bytes: Option<u64>,
    /// The highest temperature, in thousandths of a degree Celsius.
    pub highest_mdeg: Option<i64>,
}

/// The storage's room at a moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StorageReading {
    /// When.
    pub at_ns: i64,
    /// Its size.
    pub total_bytes: u64,
    /// What we may still write.
    pub free_bytes: u64,
    /// Files that it can hold; 0 where it does not count them.
    pub total_files: u64,
    /// How many more.
    pub free_files: u64,
}

/// What is left on a device, and why.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum LeftKind {
    /// For a later run: it is being written, or changed under our hands.
    Deferred,
    /// There is no place for it in the storage.
    Kept,
    /// It could not be handled.
    Failed,
    /// It is no regular file.
    Skipped,
    /// Received, due for removal, and on hold.
    Held,
}

impl LeftKind {
    pub(in crate::catalog) const ALL: [LeftKind; 5] =
        [LeftKind::Deferred, LeftKind::Kept, LeftKind::Failed, LeftKind::Skipped, LeftKind::Held];

    /// Its word in the catalog and in JSON.
    pub fn word(self) -> &'static str {
        match self {
            LeftKind::Deferred => "deferred",
            LeftKind::Kept => "kept",
            LeftKind::Failed => "failed",
            LeftKind::Skipped => "skipped",
            LeftKind::Held => "held",
        }
    }

    pub(in crate::catalog) fn of_word(word: &str) -> Option<LeftKind> {
        LeftKind::ALL.into_iter().find(|kind| kind.word() == word)
    }
}

/// A file that the last visit left on its device, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outstanding {
    /// The source's row.
    pub source: i64,
    /// The device.
    pub device: DeviceName,
    /// Which; none for the source directory itself.
    pub path: Option<RelPath>,
    /// What became of it.
    pub kind: LeftKind,
    /// Why, in words.
    pub reason: String,
    /// Since when each visit found it so.
    pub first_ns: i64,
    /// The run that found it so first.
    pub run: i64,
}

/// One run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RunRow {
    /// Its number.
    pub run: i64,
    /// When it began.
    pub started_ns: i64,
    /// When it ended; none where it is under way, or was killed.
    pub finished_ns: Option<i64>,
    /// Whether a later run began, though this one never ended.
    pub killed: bool,
    /// The version of the program, and what else it was if not a sync.
    pub program: String,
    /// What it did; none where nobody wrote that down.
    pub sums: Option<RunSums>,
}

/// How the runs of a period ended, in sum.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RunEndings {
    /// How many began.
    pub runs: u64,
    /// How many of them never ended, though a later one began.
    pub killed: u64,
    /// How many ended before their time, by what they said of it.
    pub stopped: Vec<(String, u64)>,
    /// When the last one began.
    pub last_ns: Option<i64>,
}

/// What a run did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RunSums {
    /// Devices that it was to visit.
    pub devices: u64,
    /// Devices where all was done.
    pub done: u64,
    /// Devices that were not there.
    pub offline: u64,
    /// Devices where something failed. The rest was left by a stop.
    pub failed: u64,
    /// Files received.
    pub received: u64,
    /// Their bytes.
    pub received_bytes: u64,
    /// Files found in the storage, and catalogued without a transfer.
    pub adopted: u64,
    /// Their bytes.
    pub adopted_bytes: u64,
    /// Files removed from devices.
    pub removed: u64,
    /// Their bytes.
    pub removed_bytes: u64,
    /// Files left for a later run.
    pub deferred: u64,
    /// Contents that got a second name.
    pub versions: u64,
    /// Files stored beside what has their place.
    pub clashes: u64,
    /// Files that failed.
    pub failures: u64,
    /// Files that were due for removal, and on hold.
    pub held: u64,
    /// Whether removals were on hold.
    pub on_hold: bool,
    /// What ended it before its time.
    pub stopped_by: Option<String>,
    /// What kind of thing that was.
    pub class: Option<Class>,
    /// What to do about it.
    pub hint: Option<String>,
}

/// How a content lies in the storage.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Kept {
    /// It lies at its place, and nothing else does.
    Whole,
    /// It is the beginning of what lies there: the file has grown since.
    Prefix,
    /// It is no longer kept.
    Dropped,
}

impl Kept {
    /// Its word in the catalog and in JSON.
    pub fn word(self) -> &'static str {
        match self {
            Kept::Whole => "whole",
            Kept::Prefix => "prefix",
            Kept::Dropped => "dropped",
        }
    }

    pub(super) fn of_word(word: &str) -> Option<Kept> {
        [Kept::Whole, Kept::Prefix, Kept::Dropped].into_iter().find(|kept| kept.word() == word)
    }
}

/// One content that was received from a file of a device: all that the catalog has of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileRow {
    /// Its row. A file that came later has a greater one.
    pub row: i64,
    /// The source's row.
    pub source: i64,
    /// The device.
    pub device: DeviceName,
    /// The path below the source.
    pub path: RelPath,
    /// Which file it was, by the device's clock. `dev`, `ino` and `ctime_ns` are 0 where nobody knows.
    pub identity: Identity,
    /// The device's clock minus ours then.
    pub clock_offset_ns: i64,
    /// Of its content.
    pub digest: Digest,
    /// Where it lies in the storage.
    pub archive_path: ArchivePath,
    /// How.
    pub kept: Kept,
    /// When it was received.
    pub received_ns: i64,
    /// Since when it is known to have left the device, or to be another file; none while it is there.
    pub removed_ns: Option<i64>,
    /// The run that received it.
    pub run: i64,
}

impl FileRow {
    /// Whether nobody knows which file of the device it was: the row was made from the storage, not from a transfer.
    pub fn is_found(&self) -> bool {
        self.identity.dev == 0 && self.identity.ino == 0 && self.identity.ctime_ns == 0
    }

    /// When it was modified, by our clock.
    pub fn modified_ns(&self) -> i64 {
        self.identity.mtime_ns.saturating_sub(self.clock_offset_ns)
    }
}
