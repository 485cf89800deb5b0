//! Why a file, or a device, is as it is: what is known of it, and what that means.
//!
//! [`about`] finds what was asked for and gathers the facts, `decide` judges them and is pure, and whoever asked finds the words.
//! Guarantees: reads only, keeps no run out, and needs neither network nor storage: what the storage could add is said to be
//! unknown where it is not there. What it says of a device is what the last visit found. Leaves to others: to read contents
//! again ([`crate::verify`]), and the words.

mod decide;
mod error;
mod facts;
mod query;
#[cfg(test)]
mod tests;

use serde::Serialize;

use crate::archive::ArchivePath;
use crate::digest::Digest;
use crate::hold::Hold;
use crate::path::RelPath;

pub use decide::{
    DeviceFacts, FileFacts, Left, Policy, Row, SourceFacts, Spell, Verdict, Visits, decide, decide_device,
};
pub use error::ExplainError;
pub use facts::about;
pub use query::Question;

/// A moment by our clock, in nanoseconds since 1970; in JSON as text in UTC (RFC 3339, milliseconds).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct When(pub i64);

impl When {
    /// For whoever formats it.
    pub fn timestamp(self) -> jiff::Timestamp {
        jiff::Timestamp::from_nanosecond(self.0.into()).unwrap_or_default()
    }
}

impl Serialize for When {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&format_args!("{:.3}", self.timestamp()))
    }
}

/// What was found out.
#[derive(Clone, Debug, Serialize)]
#[serde(tag = "about", rename_all = "snake_case")]
pub enum Explanation {
    /// One file of one device.
    File(Box<FileExplanation>),
    /// A device as a whole.
    Device(Box<DeviceExplanation>),
}

/// One file of one device.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct FileExplanation {
    /// Whose.
    pub device: String,
    /// The source directory there, readable.
    pub source: String,
    /// The path below it.
    pub path: RelPath,
    /// The short answer.
    #[serde(flatten)]
    pub outcome: Outcome,
    /// The newest content that was received from this path.
    pub content: Option<Content>,
    /// Older ones, newest first.
    pub earlier: Vec<Content>,
    /// Whether the newest received content is still on the device, and why.
    pub on_device: Presence,
    /// The hold that keeps every file on its device.
    pub hold: Option<Hold>,
    /// What is known of the device.
    pub visits: Visits,
}

/// The short answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "outcome", rename_all = "snake_case")]
pub enum Outcome {
    /// The newest content that is known of it is in the storage.
    Stored,
    /// Something lies there that was not received: the last visit left it.
    NotReceived(Left),
    /// Nothing was received: the filters leave it out.
    LeftOut {
        /// The glob of `exclude` that does; none where no glob of `include` takes it.
        exclude: Option<String>,
    },
    /// It was stored, and what was stored is kept no longer.
    Dropped,
    /// No visit has seen it.
    NeverSeen,
}

/// One content that was received.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Content {
    /// The row of the catalog, which is the receipt.
    pub receipt: i64,
    /// The run that received it.
    pub run: i64,
    /// Its size.
    pub bytes: u64,
    /// Its digest.
    #[serde(serialize_with = "as_text")]
    pub sha256: Digest,
    /// When it was received, or found in the storage.
    pub received: When,
    /// When it was last changed, by the device's clock, set right by its offset then.
    pub modified: When,
    /// Where it is now, below the storage.
    #[serde(serialize_with = "as_text")]
    pub archive_path: ArchivePath,
    /// As what it lies there.
    pub kept: Kept,
    /// Its row was made from what lay in the storage: which file of the device it was, and when that left, is not known.
    pub from_storage: bool,
    /// Who has the place that it would have had: it clashed, and has a name of its own.
    pub clashed_with: Option<Rival>,
    /// What a look at the storage says.
    pub lies: Lies,
    /// When it left the device, or another content was found there.
    pub left: Option<When>,
}

/// As what a content lies at its place.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Kept {
    /// As a file of its own under the plain name.
    Plain,
    /// As a file of its own, under the name of a version.
    Version,
    /// As the beginning of what the file has grown to.
    Beginning,
    /// Not at all.
    Dropped,
}

/// A file that has the place which another would have had.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Rival {
    /// Its device.
    pub device: String,
    /// Its path there.
    pub path: RelPath,
    /// The place.
    #[serde(serialize_with = "as_text")]
    pub archive_path: ArchivePath,
}

/// What a look at the storage says of one place. No content was read.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "look", rename_all = "snake_case")]
pub enum Lies {
    /// A file of the right size.
    AsCatalogued,
    /// Nothing.
    Missing,
    /// Something else.
    Otherwise {
        /// What, in words.
        found: String,
    },
    /// Nobody could look.
    Unknown {
        /// Why, in words; empty where there is nothing to look at.
        reason: String,
    },
}

/// Whether a received content is still on the device.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "is", rename_all = "snake_case")]
pub enum Presence {
    /// Nothing was received from there.
    Unknown,
    /// It is gone, or other content has taken its place there.
    Gone {
        /// Since when at the latest; none where nobody knows.
        since: Option<When>,
    },
    /// As far as the last visit knows, it is there.
    There {
        /// Why it did not leave.
        because: Staying,
    },
}

/// Why a received file stays on its device. The first that holds, in this order.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "why", rename_all = "snake_case")]
pub enum Staying {
    /// The configuration no longer names the device, or this directory of it.
    NotConfigured,
    /// The filters leave it out by now, and what they leave out is not touched.
    LeftOut {
        /// See [`Outcome::LeftOut`].
        exclude: Option<String>,
    },
    /// The last visit left it.
    Left(Left),
    /// `delete.after` is `never`.
    Never {
        /// Above so many percent of the card in use it goes all the same.
        high_water: Option<u8>,
    },
    /// `delete.after` is not over.
    Until {
        /// When it is.
        due: When,
        /// Above so many percent of the card in use it goes early.
        high_water: Option<u8>,
    },
    /// Removals are on hold.
    Held,
    /// It is due, and the device can't be reached.
    Offline,
    /// It is due, and the brake stopped the removals.
    Brake {
        /// In the words of that visit.
        reason: String,
    },
    /// It is due, and visits fail.
    Failing,
    /// It was due when a visit did all that it was to do: a run that was told to remove nothing.
    NotAsked {
        /// That visit.
        visited: When,
    },
    /// It is due, and the next run removes it.
    Due {
        /// Since when.
        since: When,
    },
}

/// A device as a whole.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct DeviceExplanation {
    /// Which.
    pub device: String,
    /// Whether the configuration names it.
    pub configured: bool,
    /// Each directory that was visited.
    pub sources: Vec<SourceExplanation>,
    /// The hold that keeps every file on its device.
    pub hold: Option<Hold>,
}

/// One directory of a device.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct SourceExplanation {
    /// Where, readable.
    pub source: String,
    /// What is known of the visits.
    pub visits: Visits,
    /// When something new was last received.
    pub newest: Option<When>,
    /// Received files that are still there.
    pub kept_files: u64,
    /// Their bytes.
    pub kept_bytes: u64,
    /// Why the one that was received first stays.
    pub because: Option<Staying>,
    /// How many files the last visit left, by kind, with one of each.
    pub left: Vec<LeftFiles>,
    /// And how many more, of which nobody wrote down why.
    pub unlisted: u64,
}

/// Files that a visit left for one kind of reason.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct LeftFiles {
    /// How many.
    pub files: u64,
    /// Why one of them was left.
    #[serde(flatten)]
    pub left: Left,
}

fn as_text<S: serde::Serializer>(value: &impl std::fmt::Display, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(value)
}
