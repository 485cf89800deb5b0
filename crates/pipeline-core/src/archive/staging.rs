//! Files on their way in: written and hashed beside the archive, in the same file system.
//!
//! `.pipeline/staging/<collector>/<device>/` holds what is arriving from one device. Guarantees: nothing here has a name that
//! a reader of the archive would look at; a [`Staged`] file holds exactly the bytes that the device says it read; what is
//! dropped before its commit is removed, and what a kill leaves is swept at the device's next visit. Leaves to others: to make
//! a file durable and give it its name ([`super::commit`]).
//!
//! If power fails here, the file is still on the device: there is no receipt.

use std::fs::File;
use std::io::Write;
use std::num::NonZeroU64;
use std::sync::Arc;

use rustix::fd::{AsFd, OwnedFd};
use rustix::fs::{Advice, AtFlags, Mode, OFlags, Timespec, Timestamps, fadvise, futimens, openat, unlinkat};

use crate::archive::error::ArchiveError;
use crate::archive::layout::{ArchivePath, PRIVATE_DIR};
use crate::archive::probe::names_in;
use crate::archive::rename::At;
use crate::archive::store::{Hold, NEW_FILE, Store, below, forget_cached, random_hex};
use crate::digest::{Digest, Hasher};
use crate::entry::Identity;
use crate::path::{DeviceName, RelPath};

/// So many bytes of a large file are handed to the disk at a time, so that the sync at the end finds little left to do.
const WRITE_BEHIND_BYTES: u64 = 8 * 1024 * 1024;

/// One device's staging directory.
#[derive(Debug)]
pub struct Staging {
    store: Arc<Store>,
    dir: Arc<OwnedFd>,
    path: RelPath,
    /// Begins every name. No other visit uses it, so a name here always means the file that this visit wrote.
    prefix: String,
    next: u64,
}

impl Staging {
    /// Opens the device's directory, makes it where missing, and removes what an earlier visit left.
    pub(super) fn open(store: &Arc<Store>, device: &DeviceName) -> Result<Staging, ArchiveError> {
        let path = store.escaped(&below(&[PRIVATE_DIR, "staging", &store.collector, device.as_str()]))?;
        store.root.make_dirs(&path).map_err(|e| store.failed("create", &path, e))?;
        let dir = store.root.open_dir(&path).map_err(|e| store.failed("open", &path, e))?;
        for name in names_in(&dir).map_err(|e| store.failed("list", &path, e))? {
            // What can't be removed is in nobody's way: no name is used twice.
            unlinkat(&dir, name.as_slice(), AtFlags::empty()).ok();
        }
        let prefix = random_hex(&store.path)?;
        Ok(Staging { store: store.clone(), dir: Arc::new(dir), path, prefix, next: 0 })
    }

    /// Makes a file for the content of `source`, which will go to `target`.
    pub fn create(
        &mut self,
        source: RelPath,
        identity: Identity,
        target: ArchivePath,
    ) -> Result<Incoming, ArchiveError> {
        let name = format!("{}-{:03}", self.prefix, self.next);
        self.next += 1;
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = openat(&*self.dir, name.as_str(), flags, NEW_FILE);
        let file = file.map_err(|e| self.store.failed("create a file in", &self.path, e))?;
        let place = Place { store: self.store.clone(), dir: self.dir.clone(), name };
        Ok(Incoming { source, identity, target, place, file: file.into(), hasher: Hasher::new(), written: 0, begun: 0 })
    }
}

/// A file that is arriving. Dropped before it is finished, it is removed.
#[derive(Debug)]
pub struct Incoming {
    source: RelPath,
    identity: Identity,
    target: ArchivePath,
    place: Place,
    file: File,
    hasher: Hasher,
    written: u64,
    /// What the disk has been told to begin writing.
    begun: u64,
}

impl Incoming {
    /// Adds content. Refuses more bytes than the device announced.
    pub fn write(&mut self, bytes: &[u8]) -> Result<(), ArchiveError> {
        let sent = self.written + bytes.len() as u64;
        if sent > self.identity.size {
            return Err(self.size_mismatch(sent));
        }
        self.hasher.update(bytes);
        self.file.write_all(bytes).map_err(|e| self.place.store.failed("write", self.target.as_rel_path(), e))?;
        self.written = sent;
        if let Some(ready) = NonZeroU64::new(self.written - self.begun).filter(|n| n.get() >= WRITE_BEHIND_BYTES) {
            // In Linux this advice begins to write what is dirty, without waiting, and frees what is written.
            fadvise(&self.file, self.begun, Some(ready), Advice::DontNeed).ok();
            self.begun = self.written;
        }
        Ok(())
    }

    /// Ends the file: the bytes written must be those that the device says it sent.
    pub fn finish(self, sent: &Digest) -> Result<Staged, ArchiveError> {
        if self.written != self.identity.size {
            return Err(self.size_mismatch(self.written));
        }
        let (digest, _) = self.hasher.finish();
        if digest != *sent {
            let (path, expected) = (self.source, *sent);
            return Err(ArchiveError::DigestMismatch { path, side: "received", expected, found: digest });
        }
        set_mtime(&self.file, self.identity.mtime_ns);
        let store = &self.place.store;
        let open = match store.hold() {
            Some(hold) => Some((self.file, hold)),
            // Too many are open. It must not be closed unsynced: an error in writing it back could then go unnoticed.
            None => {
                self.file.sync_all().map_err(|e| store.failed("sync", self.target.as_rel_path(), e))?;
                None
            }
        };
        Ok(Staged {
            source: self.source,
            identity: self.identity,
            target: self.target,
            digest,
            place: self.place,
            open,
        })
    }

    fn size_mismatch(&self, sent: u64) -> ArchiveError {
        ArchiveError::SizeMismatch { path: self.source.clone(), announced: self.identity.size, sent }
    }
}

/// A file that has arrived whole in staging; its digest is the one the device sent. Not yet durable. Dropped before it is
/// committed, it is removed.
#[derive(Debug)]
pub struct Staged {
    source: RelPath,
    identity: Identity,
    pub(super) target: ArchivePath,
    pub(super) digest: Digest,
    place: Place,
    /// None: it is synced.
    open: Option<(File, Hold)>,
}

impl Staged {
    /// Its size.
    pub fn bytes(&self) -> u64 {
        self.identity.size
    }

    /// Syncs the content and, where this storage is read back, compares what it returns.
    pub(super) fn harden(&self) -> Result<(), ArchiveError> {
        let store = &self.place.store;
        let failed = |op, e: std::io::Error| store.failed(op, self.target.as_rel_path(), e);
        if let Some((file, _)) = &self.open {
            file.sync_all().map_err(|e| failed("sync", e))?;
        }
        if !store.read_back {
            return Ok(());
        }
        if let Some((file, _)) = &self.open {
            forget_cached(file);
        }
        // A new opening: servers may answer an old one from what they remember of it.
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = openat(&*self.place.dir, self.place.name.as_str(), flags, Mode::empty());
        let file = file.map_err(|e| failed("open again", e.into()))?.into();
        let (found, _) = store.digest(&file).map_err(|e| failed("read back", e))?;
        if found != self.digest {
            let (path, expected) = (self.source.clone(), self.digest);
            return Err(ArchiveError::DigestMismatch { path, side: "stored", expected, found });
        }
        Ok(())
    }

    /// Ends the use of its content.
    pub(super) fn close(&mut self) {
        self.open = None;
    }

    /// Source, identity, target and digest. Its name in staging, if it still has one, is removed.
    pub(super) fn into_parts(self) -> (RelPath, Identity, ArchivePath, Digest) {
        (self.source, self.identity, self.target, self.digest)
    }

    /// Its name in staging.
    pub(super) fn at(&self) -> At<'_> {
        (self.place.dir.as_fd(), self.place.name.as_bytes())
    }

    /// It has its name in the archive, and none here.
    pub(super) fn moved(&mut self) {
        self.place.name.clear();
    }
}

/// A name in staging, removed when dropped.
#[derive(Debug)]
struct Place {
    store: Arc<Store>,
    dir: Arc<OwnedFd>,
    /// Empty: there is nothing to remove.
    name: String,
}

impl Drop for Place {
    fn drop(&mut self) {
        if !self.name.is_empty() {
            // What stays is swept at the next visit.
            unlinkat(&*self.dir, self.name.as_str(), AtFlags::empty()).ok();
        }
    }
}

/// Best effort: the catalog has the exact time, and nothing is decided by this one.
fn set_mtime(file: &File, ns: i64) {
    let time = Timespec { tv_sec: ns.div_euclid(1_000_000_000), tv_nsec: ns.rem_euclid(1_000_000_000) };
    futimens(file, &Timestamps { last_access: time, last_modification: time }).ok();
}
