//! The writing itself: beside the place, synced, then renamed to it.

use std::ffi::OsString;
use std::fs::{DirBuilder, File, OpenOptions, Permissions};
use std::io::{self, ErrorKind, Write as _};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt, fchown};
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, RenameFlags, renameat_with};
use rustix::io::Errno;

use super::original::Identity;
use super::{ChangeError, Original};
use crate::places::Places;

/// Whether new files there would belong to whoever owns the others. Only root can make files where they would not.
pub(super) fn is_own(places: &Places) -> Result<(), ChangeError> {
    let dir = if places.ssh_dir.exists() { &places.ssh_dir } else { &places.home };
    let is_anothers = rustix::process::geteuid().is_root() && dir.metadata().is_ok_and(|found| found.uid() != 0);
    if is_anothers { Err(ChangeError::OtherOwner { path: dir.clone() }) } else { Ok(()) }
}

/// Makes one directory; the one above must be there. One that is there by now will do.
pub(super) fn make_dir(path: &Path, mode: u32) -> Result<(), ChangeError> {
    let fail = |source| ChangeError::Write { path: path.to_owned(), source };
    match DirBuilder::new().mode(mode).create(path) {
        Ok(()) => sync_dir_of(path).map_err(fail),
        Err(error) if error.kind() == ErrorKind::AlreadyExists && path.is_dir() => Ok(()),
        Err(error) => Err(fail(error)),
    }
}

/// Makes a file that was not there.
pub(super) fn create(path: &Path, mode: u32, content: &[u8]) -> Result<(), ChangeError> {
    let fail = |source| ChangeError::Write { path: path.to_owned(), source };
    let beside = beside(path);
    write_synced(&beside, mode, None, content).map_err(fail)?;
    rename_new(&beside, path).map_err(|error| {
        // It may be a private key, and has no place now.
        std::fs::remove_file(&beside).ok();
        match error.kind() {
            ErrorKind::AlreadyExists => ChangeError::Exists { path: path.to_owned() },
            _ => fail(error),
        }
    })?;
    sync_dir_of(path).map_err(fail)
}

/// Gives a file other content.
pub(super) fn replace(original: &Original, mode: u32, content: &[u8]) -> Result<(), ChangeError> {
    let path = original.target();
    let fail = |source| ChangeError::Write { path: path.to_owned(), source };
    let beside = beside(path);
    write_synced(&beside, mode, original.identity(), content).map_err(fail)?;
    let placed = put(original, &beside);
    if placed.is_err() {
        // It would lie about until the next change of this file.
        std::fs::remove_file(&beside).ok();
    }
    placed?;
    sync_dir_of(path).map_err(fail)
}

/// Renames over what was read, if it is there still.
fn put(original: &Original, beside: &Path) -> Result<(), ChangeError> {
    let path = original.target();
    let fail = |source| ChangeError::Write { path: path.to_owned(), source };
    // RACE: what another program writes between this look and the rename is lost. ssh itself appends to known_hosts without
    // a lock, so there is no better way.
    if Identity::of(path).map_err(fail)? != original.identity() {
        return Err(ChangeError::Changed { path: path.to_owned() });
    }
    std::fs::rename(beside, path).map_err(fail)
}

/// Gives a file a name that nothing has.
pub(super) fn move_aside(from: &Path, to: &Path) -> Result<(), ChangeError> {
    rename_new(from, to).map_err(|error| match error.kind() {
        ErrorKind::AlreadyExists => ChangeError::Exists { path: to.to_owned() },
        _ => ChangeError::Write { path: from.to_owned(), source: error },
    })?;
    sync_dir_of(to).map_err(|source| ChangeError::Write { path: to.to_owned(), source })
}

/// Gives what is at `path` the second name `old`, unless it has it already, and puts `new` in its place.
pub(super) fn supersede(new: &Path, path: &Path, old: &Path) -> Result<(), ChangeError> {
    let failed = |source| ChangeError::Write { path: path.to_owned(), source };
    match std::fs::hard_link(path, old) {
        Ok(()) => {}
        Err(error) if error.kind() == ErrorKind::AlreadyExists => {
            let (one, other) = (path.metadata().map_err(failed)?, old.metadata().map_err(failed)?);
            if (one.dev(), one.ino()) != (other.dev(), other.ino()) {
                return Err(ChangeError::Exists { path: old.to_owned() });
            }
        }
        Err(source) => return Err(ChangeError::Write { path: old.to_owned(), source }),
    }
    sync_dir_of(path).map_err(failed)?;
    std::fs::rename(new, path).map_err(failed)?;
    sync_dir_of(path).map_err(failed)
}

/// Removes a file; one that is gone will do.
pub(super) fn drop_note(path: &Path) -> Result<(), ChangeError> {
    let failed = |source| ChangeError::Write { path: path.to_owned(), source };
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => return Err(failed(error)),
        _ => {}
    }
    sync_dir_of(path).map_err(failed)
}

/// Hidden, in the same directory, and always the same: what an interrupted keytool left is taken for the next try. The lock
/// keeps others away.
fn beside(path: &Path) -> PathBuf {
    let mut name = OsString::from(".");
    name.push(path.file_name().unwrap_or_default());
    name.push(".keytool");
    path.with_file_name(name)
}

fn write_synced(path: &Path, mode: u32, like: Option<Identity>, content: &[u8]) -> io::Result<()> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let written = write_new(path, mode, like, content);
    if written.is_err() {
        // Half a file on a full disk is in the way. The error that is told is the first.
        std::fs::remove_file(path).ok();
    }
    written
}

fn write_new(path: &Path, mode: u32, like: Option<Identity>, content: &[u8]) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    file.write_all(content)?;
    if let Some(like) = like {
        // Only root may give files away: then it stays ours.
        match fchown(&file, Some(like.owner.0), Some(like.owner.1)) {
            Err(error) if error.kind() != ErrorKind::PermissionDenied => return Err(error),
            _ => {}
        }
    }
    // After the owner, whose change takes bits away; and without the umask.
    file.set_permissions(Permissions::from_mode(like.map_or(mode, |like| like.mode)))?;
    file.sync_all()
}

/// Renames without replacing.
fn rename_new(from: &Path, to: &Path) -> io::Result<()> {
    match renameat_with(CWD, from, CWD, to, RenameFlags::NOREPLACE) {
        Ok(()) => Ok(()),
        // A file system that can't: a second name can't replace either.
        Err(Errno::INVAL | Errno::NOSYS) => {
            std::fs::hard_link(from, to)?;
            std::fs::remove_file(from)
        }
        Err(error) => Err(error.into()),
    }
}

fn sync_dir_of(path: &Path) -> io::Result<()> {
    let dir = path.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."));
    File::open(dir)?.sync_all()
}
