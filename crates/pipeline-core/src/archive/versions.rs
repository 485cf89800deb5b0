//! A second name for content that makes room: `.pipeline/versions/<archive path>~<time>~<8 digits of its SHA-256>`.
//!
//! Guarantees: at every instant the content lies whole under its archive path, and from the end of [`keep`] on under its version's
//! name too, synced but for the directory. Nothing is replaced. The name follows from path, time and content, so that whoever
//! comes again after a kill finds it, and a content that comes and goes is kept once. Leaves to others: to sync the directory, to
//! write the name down, and to put other content under the archive path.

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::os::fd::AsFd as _;
use std::sync::Arc;

use rustix::fd::BorrowedFd;
use rustix::fs::{AtFlags, Mode, OFlags, Timestamps, fstat, futimens, linkat, openat, statat, unlinkat};
use rustix::io::Errno;

use crate::archive::directories::{Blocked, Directories};
use crate::archive::error::ArchiveError;
use crate::archive::held::{Held, examine, stamp_at};
use crate::archive::layout::{self, ArchivePath};
use crate::archive::lying::Stamp;
use crate::archive::probe::names_in;
use crate::archive::rename;
use crate::archive::staging::staging_path;
use crate::archive::store::{NEW_FILE, READ_BYTES, Store, is_unsupported, random_hex};
use crate::digest::{Digest, Hasher};
use crate::path::{DeviceName, RelPath};

/// Names that are tried for one content, each with more digits of its digest: at most 32 of them, which fit every storage. More than
/// one is needed only where another content has the time and the first digits, or a version was damaged.
pub(super) const MAX_NAMES: usize = 4;

const NAME_REFUSED: &str = "the storage can't hold the name of its version";

/// What came of [`keep`].
pub(super) enum Keep {
    /// The content has this name too. The stamp is the one that its file at the archive path has now.
    Version(ArchivePath, Stamp),
    /// It is no longer the content that was held.
    Moved,
    /// The storage can't give it a second name; why, in words.
    Refused(String),
}

/// Gives what `held` holds, as it was read, its second name.
pub(super) fn keep(
    store: &Arc<Store>,
    directories: &mut Directories<'_>,
    device: &DeviceName,
    held: &Held,
) -> Result<Keep, ArchiveError> {
    for nth in 0..MAX_NAMES {
        let version = held.path().version(
            &held.prefix().digest,
            held.stamp().mtime_seconds(),
            nth,
            store.marker.capabilities().names.max_bytes,
        );
        let dir = match directories.touch(version.as_rel_path().parent().as_ref()) {
            Ok(dir) => dir.as_fd(),
            Err(Blocked::Storage(error)) => return Err(error),
            Err(Blocked::Name(_)) => return Ok(Keep::Refused(NAME_REFUSED.into())),
            Err(Blocked::File | Blocked::Symlink) => {
                return Ok(Keep::Refused("something lies where the directory of its version should be".into()));
            }
        };
        let name = version.as_rel_path().file_name();
        let linked =
            if store.marker.capabilities().hard_links { link(store, held, (dir, name)) } else { Err(Errno::PERM) };
        let made = match linked {
            Ok(()) => Made::Yes,
            Err(Errno::EXIST) => Made::Taken,
            Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => Made::Moved,
            Err(Errno::NAMETOOLONG | Errno::ILSEQ) => Made::Refused,
            // No links there, or none here.
            Err(error) if matches!(error, Errno::PERM | Errno::MLINK | Errno::XDEV) || is_unsupported(error) => {
                copy(store, device, held, dir, &version)?
            }
            Err(error) => return Err(store.failed("link", version.as_rel_path(), error)),
        };
        match made {
            Made::Moved => return Ok(Keep::Moved),
            Made::Refused => return Ok(Keep::Refused(NAME_REFUSED.into())),
            Made::Taken if !holds_the_same(store, held, &version)? => {}
            Made::Yes | Made::Taken => return as_before(store, held, version),
        }
    }
    Ok(Keep::Refused("too many versions of it have one name".into()))
}

/// A version that this content, once at `path`, has by its name; none where it has none. Nothing is read.
pub(super) fn find(store: &Store, path: &ArchivePath, content: &Digest) -> Result<Option<ArchivePath>, ArchiveError> {
    let max_bytes = store.marker.capabilities().names.max_bytes;
    let Some(dir) = path.version(content, 0, 0, max_bytes).as_rel_path().parent() else { return Ok(None) };
    let names = match store.root.open_dir(&dir).and_then(names_in) {
        Ok(names) => names,
        Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP | Errno::NAMETOOLONG) => return Ok(None),
        Err(error) => return Err(store.failed("list", &dir, error)),
    };
    for name in names {
        let Some(mtime_seconds) = layout::version_time(&name) else { continue };
        for nth in 0..MAX_NAMES {
            let version = path.version(content, mtime_seconds, nth, max_bytes);
            if version.as_rel_path().file_name() == name {
                return Ok(Some(version));
            }
        }
    }
    Ok(None)
}

enum Made {
    /// The version's name is there now, and is of the content.
    Yes,
    /// Something has the name already.
    Taken,
    /// The content is no longer there.
    Moved,
    /// The storage can't hold the name.
    Refused,
}

fn link(store: &Store, held: &Held, to: rename::At<'_>) -> rustix::io::Result<()> {
    let (dir, name) = store.root.parent(held.path().as_rel_path())?;
    linkat(&dir, name, to.0, to.1, AtFlags::empty())
}

/// Whether the file that has the version's name holds the content, for good.
fn holds_the_same(store: &Arc<Store>, held: &Held, version: &ArchivePath) -> Result<bool, ArchiveError> {
    match examine(store, version) {
        Ok(found) => Ok(found.is_some_and(|found| found.prefix() == held.prefix())),
        Err(ArchiveError::Damaged { .. } | ArchiveError::Unsteady { .. }) => Ok(false),
        Err(error) => Err(error),
    }
}

/// Looks whether the file at the archive path is the one that was read. A link has changed its ctime, and only that.
fn as_before(store: &Store, held: &Held, version: ArchivePath) -> Result<Keep, ArchiveError> {
    let stamp = match stamp_at(store, held.path().as_rel_path()) {
        Ok(Some(stamp)) => stamp,
        Ok(None) | Err(ArchiveError::Damaged { .. }) => return Ok(Keep::Moved),
        Err(error) => return Err(error),
    };
    Ok(if stamp.is_unwritten_since(held.stamp()) { Keep::Version(version, stamp) } else { Keep::Moved })
}

/// For a storage without links. Renaming the file away and back would be cheaper, but at every instant its rows in the catalog
/// must be true, and after a power cut in between they would not be.
fn copy(
    store: &Arc<Store>,
    device: &DeviceName,
    held: &Held,
    dir: BorrowedFd<'_>,
    version: &ArchivePath,
) -> Result<Made, ArchiveError> {
    let to = (dir, version.as_rel_path().file_name());
    match statat(to.0, to.1, AtFlags::SYMLINK_NOFOLLOW) {
        Err(Errno::NOENT) => {}
        Ok(_) => return Ok(Made::Taken),
        Err(Errno::NAMETOOLONG | Errno::INVAL | Errno::ILSEQ) => return Ok(Made::Refused),
        Err(error) => return Err(store.failed("look at", version.as_rel_path(), error)),
    }
    // Swept at the device's next visit, should this one end here.
    let staging = staging_path(store, device)?;
    let staging_dir = match store.root.make_dirs(&staging).and_then(|_| store.root.open_dir(&staging)) {
        Ok(dir) => dir,
        Err(error) => return Err(store.failed("open", &staging, error)),
    };
    let name = format!("version-{}", random_hex(&store.path)?);
    let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let file = openat(&staging_dir, name.as_str(), flags, NEW_FILE);
    let file: File = file.map_err(|e| store.failed("create a file in", &staging, e))?.into();
    let from = (staging_dir.as_fd(), name.as_bytes());
    let made = match fill(store, held, file, from) {
        Ok(true) => match rename::without_replacing(&store.rename, from, to) {
            Ok(()) => return Ok(Made::Yes),
            Err(Errno::EXIST) => Ok(Made::Taken),
            Err(Errno::NAMETOOLONG | Errno::INVAL | Errno::ILSEQ) => Ok(Made::Refused),
            Err(error) => Err(store.failed("rename a file to", version.as_rel_path(), error)),
        },
        Ok(false) => Ok(Made::Moved),
        Err(error) => Err(error),
    };
    unlinkat(from.0, from.1, AtFlags::empty()).ok();
    made
}

/// Copies the held content to a new file, for good. False where it is no longer the content that was held.
fn fill(store: &Arc<Store>, held: &Held, mut to: File, at: rename::At<'_>) -> Result<bool, ArchiveError> {
    let path: &RelPath = held.path().as_rel_path();
    let failed = |op, e: std::io::Error| store.failed(op, path, e);
    let mut from = match held.basis() {
        Ok(file) => file,
        Err(ArchiveError::Damaged { .. }) => return Ok(false),
        Err(error) => return Err(error),
    };
    let stat = fstat(&from).map_err(|e| failed("look at", e.into()))?;
    let (mut hasher, mut buffer) = (Hasher::new(), vec![0; READ_BYTES]);
    loop {
        match from.read(&mut buffer) {
            Ok(0) => break,
            Ok(n) => {
                hasher.update(&buffer[..n]);
                to.write_all(&buffer[..n]).map_err(|e| failed("copy", e))?;
            }
            Err(e) if e.kind() == std::io::ErrorKind::Interrupted => {}
            Err(e) => return Err(failed("read", e)),
        }
    }
    let (digest, bytes) = hasher.finish();
    if (digest, bytes) != (held.prefix().digest, held.prefix().bytes) {
        return Ok(false);
    }
    // Best effort: nothing is decided by it.
    #[allow(clippy::unnecessary_cast, clippy::cast_possible_wrap)] // the types differ by architecture
    let time = rustix::fs::Timespec { tv_sec: stat.st_mtime as i64, tv_nsec: stat.st_mtime_nsec as _ };
    futimens(&to, &Timestamps { last_access: time, last_modification: time }).ok();
    to.sync_all().map_err(|e| failed("sync", e))?;
    if store.read_back {
        drop(to);
        let copy = openat(at.0, at.1, OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty());
        let copy = copy.map_err(|e| failed("open again", e.into()))?.into();
        let (found, _) = store.digest(&copy).map_err(|e| failed("read back", e))?;
        if found != digest {
            let path = path.clone();
            return Err(ArchiveError::DigestMismatch { path, side: "stored", expected: digest, found });
        }
    }
    Ok(true)
}
