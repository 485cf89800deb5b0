//! An archived file that a new content may be received onto, or that holds that content already.
//!
//! Guarantees: what [`Archive::examine`](super::Archive::examine) returns was synced and read from disk or server, whole, while
//! nobody changed it. Leaves to others: whose it is (the catalog), and that it is still so when it counts
//! ([`super::commit`]).

use std::fs::File;
use std::io::Read;
use std::sync::Arc;

use rustix::fd::BorrowedFd;
use rustix::fs::{FileType, Mode, OFlags, fstat, openat};
use rustix::io::Errno;

use crate::archive::error::ArchiveError;
use crate::archive::layout::ArchivePath;
use crate::archive::lying::Stamp;
use crate::archive::store::{READ_BYTES, Store, forget_cached};
use crate::cancel::Reader;
use crate::digest::Digest;
use crate::entry::Prefix;
use crate::path::RelPath;
use crate::rooted::file_type;

/// An archived file and its content: what a device may be asked to go on from.
#[derive(Clone, Debug)]
pub struct Held {
    store: Arc<Store>,
    path: ArchivePath,
    prefix: Prefix,
    stamp: Stamp,
    origin: Origin,
    /// Whether the bytes were read and hashed while the file looked like `stamp`.
    read: bool,
}

/// Who says what the file holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Origin {
    /// The catalog.
    Catalog,
    /// We, who read it: nobody knows whose it is.
    Examined,
}

impl Held {
    /// Where it lies.
    pub fn path(&self) -> &ArchivePath {
        &self.path
    }

    /// Its whole content: the beginning of what is to be received, if all goes well.
    pub fn prefix(&self) -> Prefix {
        self.prefix
    }

    /// Opens it to be read, as the basis of a delta. Nothing vouches for the bytes but the digest of what is made of them.
    ///
    /// Reading it ends with [`Stopped`](crate::cancel::Stopped) where nobody waits for it any more.
    pub fn basis(&self) -> Result<Reader<File>, ArchiveError> {
        let path = self.path.as_rel_path();
        let file = self.store.root.open_file(path, OFlags::RDONLY, Mode::empty());
        file.map(|file| self.store.reader(file)).map_err(|e| unusable(&self.store, path, e))
    }

    /// Reads and hashes its first bytes. As with [`basis`](Held::basis), nothing vouches for them.
    pub fn beginning(&self, bytes: u64) -> Result<Prefix, ArchiveError> {
        let mut buffer = vec![0; READ_BYTES];
        let read = Digest::of_reader(self.basis()?.take(bytes), &mut buffer);
        let (digest, bytes) = read.map_err(|e| self.store.failed("read", self.path.as_rel_path(), e))?;
        Ok(Prefix { bytes, digest })
    }

    pub(super) fn origin(&self) -> Origin {
        self.origin
    }

    pub(super) fn stamp(&self) -> &Stamp {
        &self.stamp
    }

    /// The same, to be read once more before it counts: where it was read to be copied, memory may have answered.
    pub(super) fn unread(self) -> Held {
        Held { read: false, ..self }
    }

    /// Notes that all bytes were read from a file that looked like this, before and after, and have the digest.
    pub(super) fn set_read(&mut self, stamp: Stamp) {
        self.stamp = stamp;
        self.read = true;
    }
}

/// See [`super::Archive::held`].
pub(super) fn held(store: &Arc<Store>, path: &ArchivePath, prefix: Prefix) -> Result<Option<Held>, ArchiveError> {
    let stamp = match store.root.stat(path.as_rel_path()) {
        Ok(stat) if file_type(&stat) == FileType::RegularFile => Stamp::of(&stat),
        Ok(_) | Err(Errno::NOTDIR | Errno::LOOP | Errno::NOENT | Errno::NAMETOOLONG) => return Ok(None),
        Err(error) => return Err(store.failed("look at", path.as_rel_path(), error)),
    };
    if stamp.bytes() != prefix.bytes {
        return Ok(None);
    }
    let (store, path) = (store.clone(), path.clone());
    Ok(Some(Held { store, path, prefix, stamp, origin: Origin::Catalog, read: false }))
}

/// See [`super::Archive::examine`].
pub(super) fn examine(store: &Arc<Store>, path: &ArchivePath) -> Result<Option<Held>, ArchiveError> {
    Ok(examine_with(store, path, |_, _| ())?.map(|(held, ())| held))
}

/// See [`super::Archive::examine_with`].
pub(super) fn examine_with<T>(
    store: &Arc<Store>,
    path: &ArchivePath,
    see: impl FnOnce(&mut dyn Read, u64) -> T,
) -> Result<Option<(Held, T)>, ArchiveError> {
    let at = path.as_rel_path();
    let opened = store.root.parent(at).and_then(|(dir, name)| open_regular(rustix::fd::AsFd::as_fd(&dir), name));
    let file = match opened {
        Ok(Some(file)) => file,
        Ok(None) | Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP | Errno::NAMETOOLONG) => return Ok(None),
        Err(error) => return Err(unusable(store, at, error)),
    };
    // Synced first, so that what is read is what stays; and read from disk, since of a write that failed before, memory still holds
    // what never got there.
    file.sync_all().map_err(|e| store.failed("sync", at, e))?;
    forget_cached(&file);
    let (prefix, stamp, seen) = read_with(store, &file, at, see)?;
    let (store, path) = (store.clone(), path.clone());
    Ok(Some((Held { store, path, prefix, stamp, origin: Origin::Examined, read: true }, seen)))
}

/// Reads and hashes a file that looks the same before and after.
pub(super) fn read(store: &Store, file: &File, path: &RelPath) -> Result<(Prefix, Stamp), ArchiveError> {
    read_with(store, file, path, |_, _| ()).map(|(prefix, stamp, ())| (prefix, stamp))
}

/// The same, while somebody else sees what is read, of so many bytes.
fn read_with<T>(
    store: &Store,
    file: &File,
    path: &RelPath,
    see: impl FnOnce(&mut dyn Read, u64) -> T,
) -> Result<(Prefix, Stamp, T), ArchiveError> {
    let stamp = || fstat(file).map(|stat| Stamp::of(&stat)).map_err(|e| store.failed("look at", path, e));
    let before = stamp()?;
    let read = store.digest_with(file, |content| see(content, before.bytes()));
    let (digest, bytes, seen) = read.map_err(|e| match e.raw_os_error().map(Errno::from_raw_os_error) {
        Some(errno) => unusable(store, path, errno),
        None => store.failed("read", path, e),
    })?;
    if stamp()? != before || before.bytes() != bytes {
        return Err(ArchiveError::Unsteady { path: path.clone() });
    }
    Ok((Prefix { bytes, digest }, before, seen))
}

/// Opens a file that may be anything; none where it is no regular file.
pub(super) fn open_regular(dir: BorrowedFd<'_>, name: &[u8]) -> rustix::io::Result<Option<File>> {
    let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    // To write, since a server may take a sync of a file that is only read for nothing; nothing is written.
    let fd = match openat(dir, name, flags | OFlags::RDWR, Mode::empty()) {
        Err(Errno::ACCESS | Errno::PERM | Errno::ROFS | Errno::TXTBSY) => {
            openat(dir, name, flags | OFlags::RDONLY, Mode::empty())
        }
        Err(Errno::ISDIR | Errno::NXIO) => return Ok(None),
        result => result,
    }?;
    let regular = file_type(&fstat(&fd)?) == FileType::RegularFile;
    Ok(regular.then(|| File::from(fd)))
}

/// What an error in opening or reading an archived file says: one that is this file's affair does not end the run.
pub(super) fn unusable(store: &Store, path: &RelPath, error: Errno) -> ArchiveError {
    let damaged = |reason: &str| ArchiveError::Damaged { path: path.clone(), reason: reason.into() };
    match error {
        Errno::NOENT => damaged("it is gone"),
        Errno::NOTDIR | Errno::LOOP | Errno::ISDIR | Errno::NXIO => damaged("it is no longer a plain file"),
        // One bad sector is this file's affair; a storage that is gone shows in the next look at the marker.
        Errno::IO => damaged("it can't be read any more"),
        Errno::ACCESS | Errno::PERM => damaged("the user that runs pipeline is not allowed to read it"),
        error => store.failed("read", path, error),
    }
}

/// Reads a stored file and compares it. Anything but these very bytes in a plain file is [`ArchiveError::Damaged`].
pub(super) fn verify(store: &Store, path: &RelPath, digest: &Digest, bytes: u64) -> Result<(), ArchiveError> {
    let damaged = |reason: String| Err(ArchiveError::Damaged { path: path.clone(), reason });
    let file = store.root.open_file(path, OFlags::RDONLY, Mode::empty()).map_err(|e| unusable(store, path, e))?;
    let (found, _) = match read(store, &file, path) {
        Err(ArchiveError::Unsteady { .. }) => return damaged("it changes while it is read".into()),
        result => result?,
    };
    if found.bytes != bytes {
        return damaged(format!("it holds {} bytes, {bytes} were stored", found.bytes));
    }
    if found.digest != *digest {
        return damaged(format!("its SHA-256 is {}, {digest} was stored", found.digest));
    }
    Ok(())
}

/// The file as it lies there now: looked at where it was read before and nobody touched it since, else synced and read. What it
/// holds may be something else than before; none where no plain file lies there.
pub(super) fn as_it_lies(store: &Arc<Store>, held: &Held) -> Result<Option<Held>, ArchiveError> {
    if held.read && stamp_at(store, held.path.as_rel_path())? == Some(held.stamp) {
        return Ok(Some(held.clone()));
    }
    let found = examine(store, &held.path)?;
    Ok(found.map(|found| if found.prefix == held.prefix { Held { origin: held.origin, ..found } } else { found }))
}

/// Whether it was read, and looks as it did then: by a look that may be answered from memory, for what was read a moment ago.
pub(super) fn looks_as_read(held: &Held) -> bool {
    held.read && held.store.root.stat(held.path.as_rel_path()).is_ok_and(|stat| Stamp::of(&stat) == held.stamp)
}

/// The stamp of the plain file at a path, none where there is none. By opening it, since a network file system looks at its server
/// then, and otherwise tells what it remembers.
pub(super) fn stamp_at(store: &Store, path: &RelPath) -> Result<Option<Stamp>, ArchiveError> {
    let stamp = |file: File| fstat(file).map(|stat| Stamp::of(&stat));
    match store.root.open_file(path, OFlags::RDONLY, Mode::empty()).and_then(stamp) {
        Ok(stamp) => Ok(Some(stamp)),
        Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP | Errno::ISDIR | Errno::NXIO | Errno::NAMETOOLONG) => Ok(None),
        Err(error) => Err(unusable(store, path, error)),
    }
}
