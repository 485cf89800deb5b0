//! The messages, their order of numbers and fields included: postcard writes them as they stand here.

use serde::{Deserialize, Serialize};

use crate::digest::Digest;
use crate::entry::{Entry, Identity, OtherKind, Prefix, Vitals};
use crate::health::Texts;
use crate::path::RelPath;

/// What the collector asks. The agent answers in the order of the requests.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Request {
    /// The first message: which source to serve. The agent refuses a root that it was not started with.
    Open {
        /// [`PROTOCOL`](super::PROTOCOL) of the collector.
        protocol: u16,
        /// Absolute path of the source directory, as bytes.
        root: Vec<u8>,
    },
    /// List everything below the source. Answered by any number of `Found`, `Other`, `EmptyDir` and `Unreadable`, then `Scanned`.
    Scan,
    /// Read one file. Answered by any number of `Data`, then `Fetched`.
    Fetch {
        /// Which file.
        file: FileRef,
        /// What the collector holds already is the last of these: only what comes after it is sent, and nothing where the file begins
        /// otherwise. Shorter beginnings of it may come first, each longer than the one before: a file that differs there is not
        /// read further.
        known: Vec<Prefix>,
    },
    /// Remove files against receipts, each after its own check. Answered by one `Removed` for each.
    Remove(Vec<FileRef>),
    /// Remove directories that are still empty and that nobody changed for `quiet_ns`. Answered by one `Pruned` for each.
    Prune {
        /// The directories, deepest first.
        dirs: Vec<RelPath>,
        /// Nanoseconds by the device's clock.
        quiet_ns: u64,
    },
    /// Read one file and say how it differs from what the collector holds. Followed at once by its signature in
    /// [`Signature`](Request::Signature) pieces; answered by any number of `Data`, which are a delta, then `Fetched`.
    Delta {
        /// Which file.
        file: FileRef,
        /// Length of the signature in bytes.
        signature_bytes: u64,
    },
    /// The next piece of the signature that the last `Delta` announced. No answer of its own.
    Signature(#[serde(serialize_with = "as_bytes")] Vec<u8>),
    /// Say how the device is. Answered by one `Health`.
    Health,
}

/// One file that a request is about. `id` is the collector's own and comes back with the answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileRef {
    /// Chosen by the collector.
    pub id: u32,
    /// Where the file lies.
    pub path: RelPath,
    /// Which file it must be.
    pub identity: Identity,
}

/// What the agent answers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Reply<'a> {
    /// To `Open`.
    Opened {
        /// The agent's version.
        version: &'a str,
        /// Clock and disk.
        vitals: Vitals,
    },
    /// A regular file.
    Found(Entry),
    /// Something that is not copied.
    Other {
        /// Where.
        path: RelPath,
        /// What.
        kind: OtherKind,
    },
    /// A directory with nothing in it.
    EmptyDir {
        /// Where.
        path: RelPath,
        /// When it last changed.
        mtime_ns: i64,
    },
    /// A directory or file that could not be looked at.
    Unreadable {
        /// Where; none for the source itself.
        path: Option<RelPath>,
        /// Why, in words.
        reason: &'a str,
    },
    /// The scan is complete.
    Scanned {
        /// How many `Found` it sent.
        files: u64,
    },
    /// Content of the file whose `Fetched` comes next, or a delta for it.
    Data(#[serde(borrow, serialize_with = "as_bytes")] &'a [u8]),
    /// The end of a `Fetch` or a `Delta`.
    Fetched {
        /// Of the request.
        id: u32,
        /// How it ended.
        end: FetchEnd,
    },
    /// The end of one removal.
    Removed {
        /// Of the request.
        id: u32,
        /// How it ended.
        end: RemoveEnd,
    },
    /// The end of one pruning.
    Pruned {
        /// Which directory.
        path: RelPath,
        /// Whether it is gone.
        removed: bool,
    },
    /// The agent can't go on and ends.
    Refused {
        /// Why, in words.
        reason: &'a str,
    },
    /// The agent is at work and has nothing to send yet. May come before any answer; means nothing else.
    Working,
    /// How the device is, in its kernel's words.
    Health(Texts),
}

/// Serde writes a slice byte by byte; this writes it at once, in the same form.
fn as_bytes<S: serde::Serializer>(bytes: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_bytes(bytes)
}

/// How the reading of a file ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum FetchEnd {
    /// Everything was sent. The digest is of the whole content that was read, what the collector held already included; the
    /// identity was the requested one before and after the read.
    Complete(Digest),
    /// The file is not, or no longer, the one that was asked for.
    Changed,
    /// No such file.
    Gone,
    /// It can't be read; why, in words.
    Failed(String),
    /// To a `Fetch`: the file does not begin with what the collector holds. To a `Delta`: the file itself is cheaper to send.
    Differs,
}

/// How a removal ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum RemoveEnd {
    /// The file was the one of the receipt and is gone.
    Removed,
    /// There was no such file: an earlier removal was finished.
    Gone,
    /// The file is not the one of the receipt: kept.
    Changed,
    /// Somebody has it open for writing: kept.
    Busy,
    /// It can't be removed; why, in words.
    Failed(String),
}
