//! What happened: one stream of typed facts in the past tense, for the terminal, JSON lines and the report alike.
//!
//! The engine emits; whoever listens throttles and draws. In JSON each event is an object with `event` and the fields below;
//! paths are in the readable form of [`RelPath`], byte counts are plain numbers. `docs/scripting.md` lists them.

mod report;
mod verified;

use serde::Serialize;

use crate::entry::OtherKind;
use crate::hold::Hold;
use crate::path::{DeviceName, RelPath};
pub use report::{Counts, DeviceReport, Outcome, RebuildReport, RunReport, StopReason, files, size};
pub use verified::{ArchiveFault, Fault, RoundReport, VerifyReport};

/// Version of the JSON form. Grows when a field changes its meaning or goes.
pub const SCHEMA: u32 = 1;

/// Listens to a run. Called from many threads; must be quick.
pub trait Observer: Send + Sync {
    /// Takes note of one event.
    fn event(&self, event: &Event);
}

/// For those who do not care.
impl Observer for () {
    fn event(&self, _: &Event) {}
}

/// One fact.
#[derive(Clone, Debug, Serialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum Event {
    /// A run began.
    RunStarted {
        /// The catalog's number of this run; 0 for a dry run.
        run: i64,
        /// How many devices it will visit.
        devices: usize,
        /// Whether it only plans.
        dry_run: bool,
    },
    /// Removals are on hold: at the beginning of a run, or from here on. Told once in a run.
    DeletionsHeld(Hold),
    /// There was a hold, and its time is over: removals go on. Told by each run until somebody takes it away.
    HoldEnded(Hold),
    /// A visit began: the device is being connected to.
    DeviceStarted {
        /// Which.
        device: DeviceName,
    },
    /// The agent was put on a device.
    AgentInstalled {
        /// Where.
        device: DeviceName,
        /// File name of the agent, with version and architecture.
        name: String,
        /// Its size.
        bytes: u64,
    },
    /// The device is served without the agent.
    FellBack {
        /// Which.
        device: DeviceName,
        /// Why, in words.
        reason: String,
        /// What would bring the agent.
        #[serde(skip_serializing_if = "Option::is_none")]
        hint: Option<String>,
        /// The guarantees that are missing, each in words.
        caveats: Vec<String>,
    },
    /// The device answered.
    DeviceConnected {
        /// Which.
        device: DeviceName,
        /// Its clock minus ours, in milliseconds; none where nobody can ask it.
        clock_offset_ms: Option<i64>,
        /// Size of the card.
        total_bytes: u64,
        /// Free on the card.
        free_bytes: u64,
    },
    /// The source was listed and it was decided what to do.
    DevicePlanned {
        /// Which.
        device: DeviceName,
        /// What is to be done.
        plan: PlanCounts,
    },
    /// A dry run: this file would be received, removed, deferred or kept.
    FilePlanned {
        /// Where.
        device: DeviceName,
        /// Which file.
        path: RelPath,
        /// Its size.
        bytes: u64,
        /// What would happen.
        action: PlannedAction,
        /// Why, where it is not plain.
        #[serde(skip_serializing_if = "Option::is_none")]
        reason: Option<String>,
    },
    /// Content arrived. Sent often.
    BytesReceived {
        /// From where.
        device: DeviceName,
        /// Content bytes since the last such event.
        bytes: u64,
    },
    /// The reading of one file began.
    FileStarted {
        /// From where.
        device: DeviceName,
        /// Which.
        path: RelPath,
        /// Its size.
        bytes: u64,
    },
    /// Files were verified, stored durably and catalogued: they are received.
    BatchCommitted {
        /// From where.
        device: DeviceName,
        /// How many files.
        files: u64,
        /// Their bytes.
        bytes: u64,
        /// How many more were in the storage already, the very same content, and are catalogued without a transfer.
        adopted: u64,
    },
    /// The storage held another content of this file, which lies under a second name now.
    FileVersioned {
        /// From where.
        device: DeviceName,
        /// Which file.
        path: RelPath,
        /// Where the earlier content lies now, below the storage.
        version: RelPath,
    },
    /// Something else has the file's place in the storage: it was stored under a name of its own.
    FileClashed {
        /// From where.
        device: DeviceName,
        /// Which file.
        path: RelPath,
        /// Where it lies, below the storage.
        archive_path: RelPath,
    },
    /// Files left the device, each against its receipt.
    FilesRemoved {
        /// From where.
        device: DeviceName,
        /// How many.
        files: u64,
        /// Their bytes.
        bytes: u64,
    },
    /// A file was left for a later run: it is being written, or changed while it was read.
    FileDeferred {
        /// Where.
        device: DeviceName,
        /// Which.
        path: RelPath,
        /// Why, in words.
        reason: String,
    },
    /// A file stays on the device on purpose, and somebody may want to know.
    FileKept {
        /// Where.
        device: DeviceName,
        /// Which.
        path: RelPath,
        /// Why, in words.
        reason: String,
    },
    /// Something that is not a regular file was left where it is.
    OtherSkipped {
        /// Where.
        device: DeviceName,
        /// Which.
        path: RelPath,
        /// What it is.
        kind: OtherKind,
    },
    /// One file, or a directory, could not be handled.
    FileFailed {
        /// Where.
        device: DeviceName,
        /// Which; none for the source itself.
        path: Option<RelPath>,
        /// Why, in words.
        reason: String,
    },
    /// Empty directories were removed.
    DirectoriesPruned {
        /// Where.
        device: DeviceName,
        /// How many.
        dirs: u64,
    },
    /// The jump connection broke and is being made again, once.
    JumpReconnecting {
        /// The first hop.
        host: String,
        /// What broke.
        reason: String,
    },
    /// Something worth a line that concerns no single file.
    Noted {
        /// Where, if it concerns a device.
        device: Option<DeviceName>,
        /// The line.
        message: String,
    },
    /// A catalog is being made anew: a line of a manifest could not be understood.
    ManifestLineSkipped {
        /// Whose manifest.
        device: DeviceName,
        /// Where it lies below the archive root.
        manifest: RelPath,
        /// Which line, from 1.
        line: u64,
        /// Why, in words.
        reason: String,
    },
    /// A catalog is being made anew: a file that a manifest lists is not in the storage.
    ListedFileSkipped {
        /// The device that it came from.
        device: DeviceName,
        /// Its path below the archive root.
        path: RelPath,
        /// Why, in words.
        reason: String,
    },
    /// A catalog was made anew.
    CatalogRebuilt(RebuildReport),
    /// The storage is being read again.
    VerifyStarted {
        /// How many files will be read; none where their bytes alone decide.
        files: Option<u64>,
        /// About how many bytes; none where nobody can tell.
        bytes: Option<u64>,
    },
    /// What was received is being copied for others.
    ExportStarted {
        /// How many files.
        files: u64,
        /// Their bytes.
        bytes: u64,
    },
    /// Something of the storage was read again. Sent often.
    ArchiveRead {
        /// Files read to their end since the last such event.
        files: u64,
        /// Bytes read since then.
        bytes: u64,
    },
    /// Something in the storage is not as the catalog says.
    ArchiveFault(ArchiveFault),
    /// The storage, or a part of it, was read again.
    ArchiveVerified(VerifyReport),
    /// A visit ended.
    DeviceFinished(DeviceReport),
    /// The run ended.
    RunFinished(RunReport),
}

/// What a plan holds, as counts and bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct PlanCounts {
    /// Files in the source that the filters let through.
    pub files: u64,
    /// To be received.
    pub receive: u64,
    /// Their bytes.
    pub receive_bytes: u64,
    /// Received earlier and to be removed now.
    pub release: u64,
    /// Their bytes.
    pub release_bytes: u64,
    /// Left for a later run.
    pub defer: u64,
    /// Received and to stay until `delete.after`.
    pub wait: u64,
    /// Empty directories to prune.
    pub prune: u64,
}

/// The words of a dry run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum PlannedAction {
    /// Receive, and remove once received.
    ReceiveAndRemove,
    /// Receive and leave.
    Receive,
    /// The storage holds an earlier content of it: receive what is new, and remove once received.
    UpdateAndRemove,
    /// The same, and leave.
    Update,
    /// The storage holds a file of this size that the catalog does not know: take it over if it is the same, else receive what
    /// differs; then remove.
    AdoptAndRemove,
    /// The same, and leave.
    Adopt,
    /// Remove: received earlier.
    Remove,
    /// Leave for a later run.
    Defer,
    /// Keep on purpose.
    Keep,
    /// Prune an empty directory.
    Prune,
}
