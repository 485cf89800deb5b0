//! The second half of a commit: from staging into the archive, for good (invariants I3 and I4).
//!
//! Guarantees: under a final name there is either nothing, or what was there before, or a whole file that is on disk; a
//! [`Stored`] file is on disk under its name and listed in the manifest; nothing in the archive is replaced but what was made ready
//! for it ([`super::prepare`]) and still looks as it did then. A kill or a power cut at any point leaves each file in staging (swept,
//! or a part), or whole under its name and unclaimed: the next run meets it there, reads it and takes it over. Leaves to others: the catalog, and with it the receipt.

use std::os::fd::AsFd;
use std::sync::Arc;

use rustix::fd::BorrowedFd;
use rustix::fs::renameat;
use rustix::io::Errno;

use crate::archive::directories::{Blocked, Directories};
use crate::archive::error::ArchiveError;
use crate::archive::held::{self, Held, open_regular};
use crate::archive::incoming::Staged;
use crate::archive::layout::ArchivePath;
use crate::archive::lying::Stamp;
use crate::archive::prepare::{Prepared, Ready, Superseded};
use crate::archive::store::{Store, forget_cached, lock};
use crate::archive::{manifest, rename};
use crate::catalog::Noted;
use crate::digest::Digest;
use crate::entry::Identity;
use crate::path::RelPath;

/// A file that is durable under its archive path: synced, renamed, directory synced, in the manifest.
#[derive(Debug)]
pub struct Stored {
    source: RelPath,
    identity: Identity,
    target: ArchivePath,
    digest: Digest,
    placed: Placed,
}

/// How a stored file came to its path.
#[derive(Debug)]
pub(super) enum Placed {
    /// Nothing lay there.
    New,
    /// It lay there.
    There,
    /// Other content made room.
    Over(Superseded),
}

impl Stored {
    /// Where it lies on the device.
    pub fn source(&self) -> &RelPath {
        &self.source
    }

    /// Which file the device read.
    pub fn identity(&self) -> &Identity {
        &self.identity
    }

    /// Of its content, on both sides.
    pub fn digest(&self) -> &Digest {
        &self.digest
    }

    /// Where it lies in the archive.
    pub fn archive_path(&self) -> &ArchivePath {
        &self.target
    }

    /// Whether the very content was there before: left by a killed run, or put there by somebody else.
    pub fn adopted(&self) -> bool {
        matches!(self.placed, Placed::There)
    }

    /// The content that made room for it.
    pub fn superseded(&self) -> Option<&Superseded> {
        match &self.placed {
            Placed::Over(superseded) => Some(superseded),
            Placed::New | Placed::There => None,
        }
    }

    pub(super) fn placed(&self) -> &Placed {
        &self.placed
    }

    fn new(file: Staged, placed: Placed) -> Stored {
        let Staged { source, identity, target, digest, .. } = file;
        Stored { source, identity, target: target.path().clone(), digest, placed }
    }
}

/// What became of one file.
#[derive(Debug)]
pub enum Commit {
    /// It is durable.
    Stored(Stored),
    /// Something else lies at its archive path than when it was aimed there: the file stays on the device, staging is cleaned.
    Occupied(RelPath),
    /// The storage can't take a file of this name, or something that is no directory lies in its way; why, in words. The file
    /// stays on the device, staging is cleaned.
    Refused(RelPath, String),
}

/// A point that a commit has passed. For tests that end the process there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// Every content is on disk and was read back where that is asked for.
    Hardened,
    /// What makes room has a second name where it needs one, and that is on disk.
    Kept,
    /// One more file has its name, or will not get it.
    Placed,
    /// The names are on disk.
    Synced,
    /// The manifest is on disk.
    Listed,
}

/// Makes prepared files durable under their names, as one group. `date` names the manifest.
pub(super) fn commit(
    store: &Arc<Store>,
    date: &str,
    prepared: Prepared,
    _noted: Noted,
    passed: &dyn Fn(Step),
) -> Result<Vec<Commit>, ArchiveError> {
    let mut directories = Directories::new(store);
    let mut commits = Vec::with_capacity(prepared.files.len());
    for file in prepared.files {
        commits.push(match file {
            Ready::New(staged) => place(store, &mut directories, staged)?,
            Ready::Over { staged, stamp, superseded } => replace(store, &mut directories, staged, &stamp, superseded)?,
            Ready::Held { held, source, identity } => take_over(store, &mut directories, &held, source, identity)?,
            Ready::Out(commit) => commit,
        });
        passed(Step::Placed);
    }
    directories.sync()?;
    passed(Step::Synced);

    let stored = commits.iter().filter_map(|commit| match commit {
        Commit::Stored(stored) => Some(stored),
        Commit::Occupied(_) | Commit::Refused(..) => None,
    });
    manifest::list(store, &prepared.device, date, stored)?;
    passed(Step::Listed);
    Ok(commits)
}

/// Today's date in UTC, as manifests are named.
pub(super) fn today() -> String {
    jiff::Timestamp::now().strftime("%Y-%m-%d").to_string()
}

/// Gives one file its name. What is there already is somebody's, whatever it holds: whose, is not ours to know.
fn place(store: &Store, directories: &mut Directories<'_>, mut file: Staged) -> Result<Commit, ArchiveError> {
    let path = file.target.path().clone();
    let target = path.as_rel_path();
    let parent = target.parent();
    let dir = match directories.touch(parent.as_ref()) {
        Ok(dir) => dir.as_fd(),
        Err(blocked) => return refused_by(file, blocked),
    };
    match rename::without_replacing(&store.rename, file.at(), (dir, target.file_name())) {
        Ok(()) => {
            file.moved();
            Ok(Commit::Stored(Stored::new(file, Placed::New)))
        }
        // A file server repeats a request whose answer got lost, and no longer finds what it has renamed.
        Err(Errno::NOENT) if is_there(store, dir, &file)? => {
            file.moved();
            Ok(Commit::Stored(Stored::new(file, Placed::New)))
        }
        Err(Errno::EXIST) => Ok(file.occupied()),
        Err(error @ (Errno::NAMETOOLONG | Errno::INVAL | Errno::ILSEQ)) => Ok(file.refused(&cant_hold(error))),
        Err(error) => Err(store.failed("rename a file to", target, error)),
    }
}

fn refused_by(file: Staged, blocked: Blocked) -> Result<Commit, ArchiveError> {
    Ok(match blocked {
        Blocked::Storage(error) => return Err(error),
        Blocked::File => file.refused("in the archive, a file lies where its directory should be"),
        Blocked::Symlink => file.refused("in the archive, a symbolic link lies where its directory should be"),
        Blocked::Name(error) => file.refused(&cant_hold(error)),
    })
}

fn cant_hold(error: Errno) -> String {
    let reason = match error {
        Errno::NAMETOOLONG => "its path is too long",
        _ => "it refuses the name",
    };
    format!("the storage can't hold it: {reason}")
}

/// Whether the file that has the name holds the same content, for good.
fn is_there(store: &Store, dir: BorrowedFd<'_>, file: &Staged) -> Result<bool, ArchiveError> {
    let target = file.target.path().as_rel_path();
    let failed = |op, error: std::io::Error| store.failed(op, target, error);
    let there = match open_regular(dir, target.file_name()) {
        Ok(Some(there)) => there,
        Ok(None) | Err(Errno::LOOP | Errno::NOENT) => return Ok(false),
        Err(error) => return Err(held::unusable(store, target, error)),
    };
    if there.metadata().map_err(|e| failed("look at", e))?.len() != file.bytes() {
        return Ok(false);
    }
    // Synced first, so that what is compared is what stays. RACE: a program that writes to this file at this moment.
    there.sync_all().map_err(|e| failed("sync", e))?;
    forget_cached(&there);
    let (digest, _) = store.digest(&there).map_err(|e| failed("read", e))?;
    Ok(digest == file.digest)
}

/// Gives one file the name of another, if that is still the one that was made ready to yield.
fn replace(
    store: &Store,
    directories: &mut Directories<'_>,
    mut file: Staged,
    stamp: &Stamp,
    superseded: Superseded,
) -> Result<Commit, ArchiveError> {
    let path = file.target.path().clone();
    let target = path.as_rel_path();
    let dir = match directories.touch(target.parent().as_ref()) {
        Ok(dir) => dir.as_fd(),
        Err(blocked) => return refused_by(file, blocked),
    };
    let renamed = {
        // RACE: what another program, or another collector, puts there between this look and the rename is lost. Visits of this
        // collector can't meet: one looks and renames at a time.
        let _turn = lock(&store.replacing);
        match held::stamp_at(store, target) {
            Ok(found) if found.as_ref() == Some(stamp) => renameat(file.at().0, file.at().1, dir, target.file_name()),
            Ok(_) | Err(ArchiveError::Damaged { .. }) => return Ok(file.occupied()),
            Err(error) => return Err(error),
        }
    };
    match renamed {
        Ok(()) => {
            file.moved();
            Ok(Commit::Stored(Stored::new(file, Placed::Over(superseded))))
        }
        // A file server repeats a request whose answer got lost, and no longer finds what it has renamed.
        Err(Errno::NOENT) if is_there(store, dir, &file)? => {
            file.moved();
            Ok(Commit::Stored(Stored::new(file, Placed::Over(superseded))))
        }
        Err(Errno::ISDIR | Errno::NOTEMPTY) => Ok(file.occupied()),
        // A Windows server replaces nothing that a program has open.
        Err(Errno::ACCESS | Errno::PERM | Errno::BUSY | Errno::TXTBSY) => {
            Ok(file.refused("the storage does not let it replace the archived file: is that open in another program?"))
        }
        Err(error) => Err(store.failed("rename a file to", target, error)),
    }
}

/// Counts an archived file as received, if it still holds the content.
fn take_over(
    store: &Arc<Store>,
    directories: &mut Directories<'_>,
    held: &Held,
    source: RelPath,
    identity: Identity,
) -> Result<Commit, ArchiveError> {
    let path = held.path().as_rel_path();
    // Whoever put it there may not have synced its name.
    match directories.touch(path.parent().as_ref()) {
        Ok(_) => {}
        Err(Blocked::Storage(error)) => return Err(error),
        Err(Blocked::File | Blocked::Symlink | Blocked::Name(_)) => return Ok(Commit::Occupied(source)),
    }
    if !held::looks_as_read(held) {
        match held::as_it_lies(store, held) {
            Ok(Some(found)) if found.prefix() == held.prefix() => {}
            Ok(_) | Err(ArchiveError::Damaged { .. } | ArchiveError::Unsteady { .. }) => {
                return Ok(Commit::Occupied(source));
            }
            Err(error) => return Err(error),
        }
    }
    let (target, digest) = (held.path().clone(), held.prefix().digest);
    Ok(Commit::Stored(Stored { source, identity, target, digest, placed: Placed::There }))
}
