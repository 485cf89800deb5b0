//! What an inspection says: the fleet, device by device, and what needs a person.
//!
//! In JSON an object for each, with the names below; bytes are plain numbers, spans of time whole seconds (`_s`), moments RFC 3339 in
//! UTC. What is not known is `null`.

use std::time::Duration;

use serde::{Serialize, Serializer};

use super::words::percent_used;
use crate::catalog::history::Reading;
use crate::clock::{moment, moment_or_none};
use crate::error::Class;
use crate::hold::Hold;
use crate::path::DeviceName;

/// The fleet at one moment.
#[derive(Clone, Debug, Serialize)]
pub struct FleetReport {
    /// When it was looked at, by our clock, in nanoseconds since 1970.
    #[serde(rename = "at", serialize_with = "moment")]
    pub at_ns: i64,
    /// Every device, in the order of the configuration.
    pub devices: Vec<DeviceView>,
    /// Where the data goes.
    #[serde(serialize_with = "storage_in_use")]
    pub storage: StorageView,
    /// The hold on removals, if there is one.
    pub hold: Option<Hold>,
    /// What concerns neither a device nor the storage.
    pub concerns: Vec<Concern>,
    /// How long the inspection took.
    pub elapsed_ms: u64,
}

impl FleetReport {
    /// Every concern, with the device that it is about.
    pub fn concerns(&self) -> impl Iterator<Item = (Option<&DeviceName>, &Concern)> {
        let devices = self.devices.iter().flat_map(|view| view.concerns.iter().map(|c| (Some(&view.device), c)));
        devices.chain(self.storage.concerns.iter().chain(&self.concerns).map(|concern| (None, concern)))
    }

    /// Whether a person has to do something.
    pub fn needs_a_person(&self) -> bool {
        self.concerns().any(|(_, concern)| concern.severity >= Severity::Warning)
    }
}

/// One device.
#[derive(Clone, Debug, Serialize)]
pub struct DeviceView {
    /// Which.
    pub device: DeviceName,
    /// Whether it answered.
    #[serde(flatten)]
    pub state: State,
    /// How it is; of one that did not answer, how it was when it last did. None where nothing was ever heard of it.
    #[serde(serialize_with = "reading_in_use")]
    pub reading: Option<Reading>,
    /// Until when received files stay on it; none where there are none, or nobody could look.
    pub kept: Option<KeptUntil>,
    /// By how much its card fills each day; negative where it empties. None where there is too little history.
    pub growth_bytes_per_day: Option<i64>,
    /// What it records each day. None where there is too little history.
    pub recorded_bytes_per_day: Option<u64>,
    /// When the card is full if nothing changes; none where that is not in sight.
    #[serde(rename = "full_in_s", serialize_with = "span")]
    pub full_in: Option<Duration>,
    /// Since when it has brought, or holds, nothing newer. None where it never had anything.
    #[serde(rename = "newest_data", serialize_with = "moment_or_none")]
    pub newest_data_ns: Option<i64>,
    /// How long that has been, where it is longer than `alert_after`.
    #[serde(rename = "silent_s", serialize_with = "span")]
    pub silent: Option<Duration>,
    /// When it last answered, this time included; none where it never has.
    #[serde(rename = "last_answer", serialize_with = "moment_or_none")]
    pub last_answer_ns: Option<i64>,
    /// When a visit last did all that was to be done.
    #[serde(rename = "last_success", serialize_with = "moment_or_none")]
    pub last_success_ns: Option<i64>,
    /// Why it was asked without the agent, if it was.
    pub without_agent: Option<String>,
    /// What a person may want to know, the worst first.
    pub concerns: Vec<Concern>,
    /// How long the look at it took.
    pub elapsed_ms: u64,
}

impl DeviceView {
    /// How bad the worst concern is; none where all is well.
    pub fn severity(&self) -> Option<Severity> {
        self.concerns.iter().map(|concern| concern.severity).max()
    }
}

/// Whether a device answered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "state", rename_all = "snake_case")]
pub enum State {
    /// It did, and was looked at.
    Ready,
    /// It is not there.
    Offline {
        /// Why, in words.
        reason: String,
        /// What to do.
        hint: Option<String>,
    },
    /// It is there, and can't be looked at, or not to the end.
    Failed {
        /// What kind of failure.
        class: Class,
        /// Why, in words.
        reason: String,
        /// What to do.
        hint: Option<String>,
    },
    /// The inspection was stopped before its turn.
    Stopped,
}

/// Until when received files stay on a device.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "until", rename_all = "snake_case")]
pub enum KeptUntil {
    /// All of them are due: the next `sync` removes them.
    NextSync,
    /// Until their `delete.after` is over.
    Time {
        /// When the first of them may leave.
        #[serde(rename = "first", serialize_with = "moment")]
        first_ns: i64,
        /// When the last of them may.
        #[serde(rename = "last", serialize_with = "moment")]
        last_ns: i64,
    },
    /// Until a person ends the hold, or its time is over.
    Hold,
    /// Until the card is fuller than `high_water`.
    HighWater {
        /// Percent of the card in use.
        percent: u8,
    },
    /// The configuration says `never`.
    Never,
}

/// The storage.
#[derive(Clone, Debug, Serialize)]
pub struct StorageView {
    /// Where, as the configuration says.
    pub path: String,
    /// Whether it is there, and the one that it should be.
    #[serde(flatten)]
    pub state: StorageState,
    /// Its size; none where it can't be told.
    pub total_bytes: Option<u64>,
    /// Free for us.
    pub free_bytes: Option<u64>,
    /// Its inodes; none where it does not count them.
    pub total_files: Option<u64>,
    /// Free ones.
    pub free_files: Option<u64>,
    /// By how much it fills each day. None where there is too little history.
    pub growth_bytes_per_day: Option<i64>,
    /// When it is full if nothing changes; none where that is not in sight.
    #[serde(rename = "full_in_s", serialize_with = "span")]
    pub full_in: Option<Duration>,
    /// What a person may want to know, the worst first.
    pub concerns: Vec<Concern>,
}

/// Whether the storage can be used.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "state", rename_all = "snake_case")]
pub enum StorageState {
    /// It is there, with the right marker.
    Ready,
    /// It is not, or is another one.
    Unusable {
        /// Why, in words.
        reason: String,
        /// What to do.
        hint: Option<String>,
    },
    /// It did not answer in time, as a server does that is gone.
    Hung,
}

/// Something that a person may want to know.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Concern {
    /// How bad it is.
    pub severity: Severity,
    /// What it is about.
    pub kind: Kind,
    /// In words: one line, without the device's name.
    pub text: String,
    /// What to do.
    pub hint: Option<String>,
}

/// How bad it is. Larger is worse.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// Good to know; nobody has to do anything.
    Note,
    /// A person has to do something, in days.
    Warning,
    /// A person has to do something now: data is about to be lost, or the device is not to be trusted.
    Critical,
}

/// What a concern is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// The device is not there.
    Offline,
    /// It could not be looked at.
    Failed,
    /// A visit has failed, and none has come past that since.
    VisitFailed,
    /// Its source can't be read, or not all of it.
    Unreadable,
    /// No visit has done all that was to be done for too long.
    NotSynced,
    /// No new data for too long.
    Silent,
    /// The card is nearly full.
    CardFull,
    /// Nearly no files may be made on the card any more.
    InodesFull,
    /// The card will be full soon.
    FullSoon,
    /// The clock is off.
    Clock,
    /// What should be writable is not.
    ReadOnly,
    /// The kernel's log tells of errors of the card.
    SdErrors,
    /// The supply is too weak.
    UnderVoltage,
    /// The processor is slowed down.
    Throttled,
    /// It is hot.
    Hot,
    /// There is little memory left.
    Memory,
    /// It is served without the agent.
    WithoutAgent,
    /// A jump host can't be used.
    JumpHost,
    /// The last run was stopped, or could not begin.
    RunFailed,
    /// The storage can't be used.
    StorageUnusable,
    /// The storage is full, or will be soon.
    StorageFull,
    /// Removals are on hold.
    Hold,
    /// The catalog can't be written.
    Catalog,
}

/// What has a size and free room, with what follows from the two, so that nobody has to compute it.
#[derive(Serialize)]
struct InUse<'a, T> {
    #[serde(flatten)]
    of: &'a T,
    used_bytes: Option<u64>,
    used_percent: Option<u64>,
}

#[allow(clippy::ref_option)] // what serde hands over
fn reading_in_use<S: Serializer>(reading: &Option<Reading>, serializer: S) -> Result<S::Ok, S::Error> {
    let in_use = reading.as_ref().map(|reading| InUse {
        of: reading,
        used_bytes: reading.used_bytes(),
        used_percent: percent_used(reading.total_bytes, reading.free_bytes),
    });
    in_use.serialize(serializer)
}

fn storage_in_use<S: Serializer>(storage: &StorageView, serializer: S) -> Result<S::Ok, S::Error> {
    let StorageView { total_bytes, free_bytes, .. } = *storage;
    let used_bytes = total_bytes.zip(free_bytes).map(|(total, free)| total.saturating_sub(free));
    InUse { of: storage, used_bytes, used_percent: percent_used(total_bytes, free_bytes) }.serialize(serializer)
}

#[allow(clippy::ref_option)] // what serde hands over
fn span<S: Serializer>(span: &Option<Duration>, serializer: S) -> Result<S::Ok, S::Error> {
    span.map(|span| span.as_secs()).serialize(serializer)
}
