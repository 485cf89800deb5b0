//! What can go wrong with the storage.

use std::fmt::Write as _;
use std::io;
use std::path::Path;

use rustix::io::Errno;

use crate::cancel::Stopped;
use crate::digest::Digest;
use crate::error::{Class, Classified};
use crate::path::{PathError, RelPath, write_escaped};

/// What can go wrong with the storage. Paths are in the readable form of [`RelPath`], below the storage's own path.
#[derive(Debug, thiserror::Error)]
pub enum ArchiveError {
    /// The storage's path is no directory that can be opened.
    #[error("the storage {storage} can't be opened")]
    NotThere {
        /// Its path.
        storage: String,
        /// Why.
        source: io::Error,
    },
    /// The directory is there, the marker is not: not initialised, or something else is mounted there, or nothing.
    #[error("the storage {storage} has no marker")]
    NoMarker {
        /// Its path.
        storage: String,
    },
    /// The marker is there and says nothing.
    #[error("the marker of the storage {storage} can't be understood: {reason}")]
    BadMarker {
        /// Its path.
        storage: String,
        /// Why, in words.
        reason: String,
    },
    /// The marker is that of a later program.
    #[error("the marker of the storage {storage} is of version {version}, this program knows version {known}")]
    Version {
        /// Its path.
        storage: String,
        /// Of the marker.
        version: u32,
        /// The one that is known.
        known: u32,
    },
    /// The marker has another id than it had.
    #[error("the storage {storage} is another one than before: its marker says {found}, expected {expected}")]
    Another {
        /// Its path.
        storage: String,
        /// The id remembered.
        expected: String,
        /// The id found.
        found: String,
    },
    /// The same marker on another mount than at the start of the run.
    #[error("the storage {storage} was mounted anew during the run")]
    Remounted {
        /// Its path.
        storage: String,
    },
    /// The storage can't promise that a file is on disk.
    #[error("the storage {storage} can't sync files to disk")]
    CannotSync {
        /// Its path.
        storage: String,
    },
    /// No bytes, no inodes, or no quota left.
    #[error("the storage {storage} is full: {reason}")]
    Full {
        /// Its path.
        storage: String,
        /// What is missing, in words.
        reason: String,
    },
    /// It can't be written to at all.
    #[error("the storage {storage} is read-only")]
    ReadOnly {
        /// Its path.
        storage: String,
    },
    /// Anything else that the storage refuses.
    #[error("could not {op} {path}")]
    Failed {
        /// What was tried, as in "could not sync".
        op: &'static str,
        /// What with.
        path: String,
        /// Why.
        source: io::Error,
    },
    /// The bytes that arrived or were stored are not those that the device read.
    #[error("{path}: the {side} bytes are not the ones that the device sent: SHA-256 {found}, expected {expected}")]
    DigestMismatch {
        /// The file on the device.
        path: RelPath,
        /// Which bytes: "received" or "stored".
        side: &'static str,
        /// What the device says.
        expected: Digest,
        /// What we have.
        found: Digest,
    },
    /// The device sent fewer or more bytes than the file has.
    #[error("{path}: the device announced {announced} bytes and sent {sent}")]
    SizeMismatch {
        /// The file on the device.
        path: RelPath,
        /// By its scan.
        announced: u64,
        /// So far.
        sent: u64,
    },
    /// What lies in the archive is not what was stored there.
    #[error("the archived file {path} is damaged: {reason}")]
    Damaged {
        /// Where, below the storage.
        path: RelPath,
        /// How it differs, in words.
        reason: String,
    },
    /// Somebody wrote to an archived file while it was read.
    #[error("the archived file {path} changed while it was read")]
    Unsteady {
        /// Where, below the storage.
        path: RelPath,
    },
    /// Somebody asked to stop while a long file was read.
    #[error("stopped while the storage was read")]
    Stopped,
    /// The layout gives no usable path for this file.
    #[error("the layout '{layout}' gives no place for {path}")]
    NoPlace {
        /// As configured.
        layout: String,
        /// The file on the device.
        path: RelPath,
        /// Why.
        source: PlaceError,
    },
    /// The collector's name can't be that of a directory.
    #[error("'{0}' can't name a collector: up to 64 letters, digits, '_' and '-'")]
    Collector(String),
}

/// Why a layout gives no place for a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PlaceError {
    /// A `{` without its `}`.
    #[error("a '{{' is not closed")]
    Unclosed,
    /// A name in braces other than `host`, `path` and `source_name`.
    #[error("only {{host}}, {{path}} and {{source_name}} can stand in braces")]
    Unknown,
    /// The result is no path below the archive root.
    #[error(transparent)]
    Path(PathError),
}

impl Classified for ArchiveError {
    fn class(&self) -> Class {
        match self {
            ArchiveError::NotThere { .. }
            | ArchiveError::NoMarker { .. }
            | ArchiveError::BadMarker { .. }
            | ArchiveError::Version { .. }
            | ArchiveError::Another { .. }
            | ArchiveError::Remounted { .. }
            | ArchiveError::CannotSync { .. }
            | ArchiveError::Full { .. }
            | ArchiveError::ReadOnly { .. }
            | ArchiveError::Failed { .. } => Class::Storage,
            ArchiveError::DigestMismatch { .. } | ArchiveError::SizeMismatch { .. } | ArchiveError::Damaged { .. } => {
                Class::Integrity
            }
            ArchiveError::Unsteady { .. } => Class::Transient,
            ArchiveError::Stopped => Class::Interrupted,
            ArchiveError::NoPlace { .. } => Class::Config,
            ArchiveError::Collector(_) => Class::Internal,
        }
    }

    fn hint(&self) -> Option<String> {
        let hint = match self {
            ArchiveError::NotThere { .. } => "is the share mounted? the directory must exist: it is never created",
            ArchiveError::NoMarker { .. } => {
                "is the share mounted? an unmounted share looks empty; a new storage needs `pipeline init` once"
            }
            ArchiveError::BadMarker { .. } => {
                "restore .pipeline/marker.json from a backup of the storage; nothing is copied or removed until then"
            }
            ArchiveError::Version { .. } => "a later version of pipeline uses this storage: install that one here too",
            ArchiveError::Another { .. } => {
                "is the right share mounted? if the storage was replaced on purpose, use a new state_dir with it"
            }
            ArchiveError::Remounted { .. } => "the next run goes on from here; check the mount if this happens again",
            ArchiveError::CannotSync { .. } => "use a file system or mount options that support fsync",
            ArchiveError::Full { .. } => {
                "make room or raise the quota; nothing is lost and nothing is removed from a device until then"
            }
            ArchiveError::ReadOnly { .. } => "check the mount: file systems turn read-only after an error",
            ArchiveError::Failed { source, .. } if source.kind() == io::ErrorKind::PermissionDenied => {
                "the user that runs pipeline must own the storage or be allowed to write to all of it"
            }
            ArchiveError::Failed { source, .. } if source.kind() == io::ErrorKind::CrossesDevices => {
                "another file system is mounted inside the storage: files can't be moved into it as a whole"
            }
            ArchiveError::Failed { .. } => "check the mount and the system's log",
            ArchiveError::DigestMismatch { side: "stored", .. } | ArchiveError::Damaged { .. } => {
                "the storage or its server returns other bytes than were written: check its disks and memory"
            }
            ArchiveError::DigestMismatch { .. } | ArchiveError::SizeMismatch { .. } => {
                "the device or the way to it alters data: check the device's card and memory"
            }
            ArchiveError::Unsteady { .. } => "does another program write to the storage? the next run looks again",
            ArchiveError::Stopped | ArchiveError::NoPlace { .. } | ArchiveError::Collector(_) => return None,
        };
        Some(hint.into())
    }
}

/// What `error` means for the storage, when it came of `op` on `path` below it.
pub(super) fn failed(storage: &Path, op: &'static str, path: &[u8], error: impl Into<io::Error>) -> ArchiveError {
    let source = error.into();
    if Stopped::is_why(&source) {
        return ArchiveError::Stopped;
    }
    let full = |reason: &str| ArchiveError::Full { storage: shown(storage, b""), reason: reason.into() };
    match Errno::from_io_error(&source) {
        Some(Errno::NOSPC) => full("no space is left"),
        Some(Errno::DQUOT) => full("the quota is used up"),
        Some(Errno::FBIG) => full("the file is larger than it allows"),
        Some(Errno::ROFS) => ArchiveError::ReadOnly { storage: shown(storage, b"") },
        _ => ArchiveError::Failed { op, path: shown(storage, path), source },
    }
}

/// A path below the storage, on one line.
pub(super) fn shown(storage: &Path, path: &[u8]) -> String {
    let mut text = String::new();
    // Writing to a string can't fail.
    let written = write_escaped(&mut text, storage.as_os_str().as_encoded_bytes()).and_then(|()| {
        if path.is_empty() {
            return Ok(());
        }
        text.write_char('/')?;
        write_escaped(&mut text, path)
    });
    debug_assert!(written.is_ok());
    text
}
