//! What a device says of its files.

use serde::{Deserialize, Serialize};

use crate::digest::Digest;
use crate::path::RelPath;

/// Tells whether a file is still the one that was looked at. All five fields must agree.
///
/// The inode alone is not enough (ext4 uses one again within seconds), nor size and mtime (a program can restore
/// both); ctime can't be set back by a program. Times are nanoseconds since 1970 by the device's own clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Identity {
    /// Device number of the file system.
    pub dev: u64,
    /// Inode number.
    pub ino: u64,
    /// Bytes.
    pub size: u64,
    /// Last change of the content.
    pub mtime_ns: i64,
    /// Last change of content or metadata.
    pub ctime_ns: i64,
}

/// A regular file, as a scan found it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// Where it lies below the source.
    pub path: RelPath,
    /// Which file it is.
    pub identity: Identity,
}

/// The first bytes of a content: what a longer content may begin with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Prefix {
    /// How many bytes they are.
    pub bytes: u64,
    /// Their digest.
    pub digest: Digest,
}

/// What lies below the source and is not a regular file: reported, never copied.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OtherKind {
    /// A symbolic link, whatever it points to.
    Symlink,
    /// A socket, FIFO or device node.
    Special,
    /// A directory on another file system than the source.
    MountPoint,
}

impl OtherKind {
    /// What it is, in words.
    pub fn words(self) -> &'static str {
        match self {
            OtherKind::Symlink => "a symbolic link",
            OtherKind::Special => "a socket, pipe or device node",
            OtherKind::MountPoint => "another file system is mounted there",
        }
    }
}

/// How much of a file system ordinary users may fill: what is in use, and what is `available` to them of what is `free`. ext4 keeps
/// 5 % for root. With that as the whole, what is in use, and how many percent that is, are those of `df`.
pub fn usable(size: u64, free: u64, available: u64) -> u64 {
    size.saturating_sub(free).saturating_add(available)
}

/// State of the device that a visit begins with.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Vitals {
    /// The device's clock, nanoseconds since 1970.
    pub clock_ns: i64,
    /// What the file system that holds the source has for ordinary users, [used](usable) and free, in bytes; 0 where unknown.
    pub total_bytes: u64,
    /// Bytes that an ordinary user may still write; 0 where unknown.
    pub free_bytes: u64,
    /// Inodes of that file system; 0 where it does not count them.
    pub total_files: u64,
    /// Free inodes.
    pub free_files: u64,
}
