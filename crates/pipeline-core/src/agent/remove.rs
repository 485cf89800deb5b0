//! Removes files, each after its own check (invariant I2).
//!
//! Guarantees that a file is unlinked only if device, inode, size, mtime and ctime are those of the request, and nobody is
//! known to have it open for writing. Whatever is in doubt stays. Leaves to the collector the proof that the content is stored.
//!
//! The directory is not synced: if a power cut brings a file back, the next scan finds it again with its old identity, and it
//! is released again, or received again. That costs time, never data.

use std::fs::File;
use std::io::Write;
use std::time::Duration;

use rustix::fs::{AtFlags, Mode, OFlags, fstat, openat, statat, unlinkat};
use rustix::io::{Errno, Result};

use super::lease::{self, Lease};
use super::outbox::Outbox;
use super::vitals::{identity, words};
use super::writers::Writers;
use crate::rooted::{Rooted, file_type};
use crate::wire::{FileRef, RemoveEnd, Reply, WireError};

/// Where a lease can't be had, the look at open files is all there is, and must be fresh.
const OLDEST_LOOK: Duration = Duration::from_millis(50);

/// Neither the lease nor the look can tell: the file belongs to somebody else, or its file system has no leases, and other
/// users' processes are not ours to look into.
const UNSEEN: &str = "it belongs to another user, so it can't be told whether somebody writes to it: kept";

/// Answers one `Remove`.
pub(super) fn answer<W: Write>(
    root: Result<&Rooted>,
    files: &[FileRef],
    out: &mut Outbox<W>,
) -> std::result::Result<(), WireError> {
    let mut writers = Writers::of(files.iter().map(|file| &file.identity));
    for file in files {
        let end = match root {
            Ok(root) => remove(root, file, &mut writers, lease::take),
            // It says nothing about the file that the directory it was in can't be opened.
            Err(error) => RemoveEnd::Failed(words(error)),
        };
        out.push(&Reply::Removed { id: file.id, end })?;
    }
    Ok(())
}

/// Removes one file, or says why not.
pub(super) fn remove(
    root: &Rooted,
    file: &FileRef,
    writers: &mut Writers,
    take_lease: fn(&File) -> Lease,
) -> RemoveEnd {
    match try_remove(root, file, writers, take_lease) {
        Ok(end) => end,
        Err(Errno::NOENT | Errno::NOTDIR) => RemoveEnd::Gone,
        // A link, a directory or something else has taken its place.
        Err(Errno::LOOP | Errno::ISDIR | Errno::NXIO) => RemoveEnd::Changed,
        Err(error) => RemoveEnd::Failed(words(error)),
    }
}

fn try_remove(
    root: &Rooted,
    file: &FileRef,
    writers: &mut Writers,
    take_lease: fn(&File) -> Lease,
) -> Result<RemoveEnd> {
    let (parent, name) = root.parent(&file.path)?;
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    let opened = File::from(openat(&parent, name, flags, Mode::empty())?);
    let is_the_same = |stat| identity(&stat) == file.identity && file_type(&stat).is_file();
    if !is_the_same(fstat(&opened)?) {
        return Ok(RemoveEnd::Changed);
    }
    let lease = take_lease(&opened);
    if lease == Lease::Unknown {
        writers.refresh(OLDEST_LOOK);
    }
    if lease == Lease::Refused || writers.have(&file.identity) {
        return Ok(RemoveEnd::Busy);
    }
    if lease == Lease::Unknown && writers.is_blind() {
        return Ok(RemoveEnd::Failed(UNSEEN.into()));
    }
    // Whoever wrote and closed before the lease has left a new ctime. From here on, where the lease is held, nobody writes:
    // who tries to waits, and breaks it.
    // RACE: without a lease, who opens the file after the look may write until the unlink and after it.
    if !is_the_same(fstat(&opened)?) || !is_the_same(statat(&parent, name, AtFlags::SYMLINK_NOFOLLOW)?) {
        return Ok(RemoveEnd::Changed);
    }
    if lease == Lease::Held && !lease::is_whole(&opened) {
        return Ok(RemoveEnd::Busy);
    }
    // RACE: between the last two checks and this call, some microseconds, somebody may rename another file over the name, which
    // is then the one that goes, or open this one for writing, who then writes to a file without a name. The system has
    // no call that unlinks a name only if it is a given file. Such a program would have left the file alone for `settle`
    // before. Moving the file aside first would close the window and open a worse one: killed in between, the agent would
    // leave the user's file under a name of ours.
    unlinkat(&parent, name, AtFlags::empty())?;
    Ok(RemoveEnd::Removed)
    // The lease ends with `opened`.
}
