//! What is told of the storage when it is read again: facts as they are in JSON, no more.

use serde::Serialize;

use crate::path::{DeviceName, RelPath};

/// How what lies in the storage differs from what the catalog says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Fault {
    /// A file is gone.
    Missing,
    /// Something else lies there.
    Changed,
    /// It can't be read.
    Unreadable,
    /// The catalog does not know it.
    Unknown,
}

/// Something in the storage that is not as the catalog says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ArchiveFault {
    /// How it differs.
    pub fault: Fault,
    /// Where, below the archive root.
    pub path: RelPath,
    /// How, in words.
    pub reason: String,
    /// Where the content came from; none where nobody knows.
    pub device: Option<DeviceName>,
    /// Where it lay there, below the source directory.
    pub source_path: Option<RelPath>,
    /// As far as the catalog knows, that device still has it.
    pub on_device: bool,
}

/// What reading the storage again has shown.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct VerifyReport {
    /// Files that are as the catalog says.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Files that are gone.
    pub missing: u64,
    /// Files that have other content.
    pub changed: u64,
    /// Files and directories that can't be read.
    pub unreadable: u64,
    /// Files that the catalog does not know.
    pub unknown: u64,
    /// How many of those that are gone, changed or unreadable their device still has, as far as the catalog knows.
    pub on_device: u64,
    /// Where a share of a round was read: how far that has come.
    pub round: Option<RoundReport>,
    /// Somebody asked to stop.
    pub stopped: bool,
    /// How long it took.
    pub elapsed_ms: u64,
}

impl VerifyReport {
    /// How many things are not as the catalog says.
    pub fn faults(&self) -> u64 {
        self.missing + self.changed + self.unreadable + self.unknown
    }
}

/// How far a round through the whole storage has come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct RoundReport {
    /// Everything has been read once.
    pub finished: bool,
    /// Files that are still to be read.
    pub left_files: u64,
    /// Their bytes.
    pub left_bytes: u64,
}
