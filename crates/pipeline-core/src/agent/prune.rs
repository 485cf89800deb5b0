//! Removes directories that are empty and that nobody has touched for a while.
//!
//! Guarantees: never the source itself (no path names it), never a directory that holds anything, never one that changed within
//! the quiet time or whose time lies in the future. Leaves to the collector which directories, and in which order.

use std::io::Write;

use rustix::fs::{AtFlags, FileType, statat, unlinkat};
use rustix::io::{Errno, Result};

use super::outbox::Outbox;
use super::vitals::{identity, now_ns};
use crate::path::RelPath;
use crate::rooted::{Rooted, file_type};
use crate::wire::{Reply, WireError};

/// Answers one `Prune`.
pub(super) fn answer<W: Write>(
    root: Result<&Rooted>,
    dirs: Vec<RelPath>,
    quiet_ns: u64,
    out: &mut Outbox<W>,
) -> std::result::Result<(), WireError> {
    for path in dirs {
        let removed = match root.map(|root| remove(root, &path, quiet_ns)) {
            Ok(Ok(removed)) => removed,
            Ok(Err(error)) => error == Errno::NOENT,
            Err(_) => false,
        };
        out.push(&Reply::Pruned { path, removed })?;
    }
    Ok(())
}

fn remove(root: &Rooted, path: &RelPath, quiet_ns: u64) -> Result<bool> {
    let (parent, name) = root.parent(path)?;
    let stat = statat(&parent, name, AtFlags::SYMLINK_NOFOLLOW)?;
    let quiet = now_ns().checked_sub(identity(&stat).mtime_ns).and_then(|age| u64::try_from(age).ok());
    if file_type(&stat) != FileType::Directory || quiet.is_none_or(|quiet| quiet < quiet_ns) {
        return Ok(false);
    }
    // RACE: somebody may put a file into the directory, or another directory in its place, after the look at its time. Then
    // the call fails, or removes a directory that is empty: nothing is lost in either.
    unlinkat(&parent, name, AtFlags::REMOVEDIR)?;
    Ok(true)
}
