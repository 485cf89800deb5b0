//! One file that is arriving: written and hashed in staging.
//!
//! Guarantees: a [`Staged`] file holds exactly the bytes that the device says it read, and says truly whether they begin with
//! those that lie at its target now. Leaves to others: names in staging and what stays there ([`super::staging`]); to make a
//! file durable ([`super::commit`]).

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::num::NonZeroU64;

use rustix::fd::AsFd;
use rustix::fs::{Advice, Mode, OFlags, Timespec, Timestamps, fadvise, fstat, futimens, openat};

use crate::archive::commit::Commit;
use crate::archive::error::ArchiveError;
use crate::archive::held::Held;
use crate::archive::layout::ArchivePath;
use crate::archive::lying::Stamp;
use crate::archive::rename::At;
use crate::archive::staging::Place;
use crate::archive::store::{Hold, READ_BYTES, forget_cached};
use crate::digest::{Digest, Hasher};
use crate::entry::{Identity, Prefix};
use crate::path::RelPath;

/// So many bytes of a large file are handed to the disk at a time, so that the sync at the end finds little left to do.
const WRITE_BEHIND_BYTES: u64 = 8 * 1024 * 1024;

/// Where a file is to go.
#[derive(Clone, Debug)]
pub enum Target {
    /// To a path where nothing lies.
    New(ArchivePath),
    /// To the path of an archived file of the same device and source path, which makes room.
    Over(Held, Yields),
}

/// What becomes of archived content that the new content does not begin with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Yields {
    /// It is kept under `.pipeline/versions`.
    Version,
    /// It is replaced, as the user has asked for files like this one. Content that nobody had catalogued becomes a version all the
    /// same.
    Replace,
}

impl Target {
    /// The path.
    pub fn path(&self) -> &ArchivePath {
        match self {
            Target::New(path) => path,
            Target::Over(held, _) => held.path(),
        }
    }

    pub(super) fn held(&self) -> Option<&Held> {
        match self {
            Target::New(_) => None,
            Target::Over(held, _) => Some(held),
        }
    }
}

/// A file that is arriving. Dropped before it is finished, it is removed; one of a [part's size](super::PART_BYTES) stays as a part.
#[derive(Debug)]
pub struct Incoming {
    source: RelPath,
    identity: Identity,
    target: Target,
    place: Place,
    file: File,
    hasher: Hasher,
    written: u64,
    /// What the disk has been told to begin writing.
    begun: u64,
    /// Whether the content begins with what lies at the target; none until so many bytes have arrived.
    begins: Option<bool>,
}

impl Incoming {
    pub(super) fn new(source: RelPath, identity: Identity, target: Target, place: Place, file: File) -> Incoming {
        let (hasher, begins) = (Hasher::new(), None);
        let mut incoming = Incoming { source, identity, target, place, file, hasher, written: 0, begun: 0, begins };
        incoming.compare(&[]);
        incoming
    }

    /// Goes on after `bytes` that are in the file already.
    pub(super) fn go_on(&mut self, hasher: Hasher, bytes: u64, begins: Option<bool>) -> Result<(), ArchiveError> {
        if bytes > self.identity.size {
            return Err(self.size_mismatch(bytes));
        }
        (self.hasher, self.written, self.begun) = (hasher, bytes, bytes);
        self.begins = begins.or(self.begins);
        Ok(())
    }

    /// How many bytes it holds.
    pub fn bytes(&self) -> u64 {
        self.written
    }

    /// Adds content. Refuses more bytes than the device announced.
    pub fn write(&mut self, bytes: &[u8]) -> Result<(), ArchiveError> {
        let sent = self.written + bytes.len() as u64;
        if sent > self.identity.size {
            return Err(self.size_mismatch(sent));
        }
        if let Err(error) = self.file.write_all(bytes) {
            // A storage that is full, say, must not stay so with what can't be completed.
            self.place.remove();
            return Err(self.failed("write", error));
        }
        self.compare(bytes);
        self.hasher.update(bytes);
        self.written = sent;
        if let Some(ready) = NonZeroU64::new(self.written - self.begun).filter(|n| n.get() >= WRITE_BEHIND_BYTES) {
            // In Linux this advice begins to write what is dirty, without waiting, and frees what is written.
            fadvise(&self.file, self.begun, Some(ready), Advice::DontNeed).ok();
            self.begun = self.written;
        }
        Ok(())
    }

    /// Compares the beginning with the content at the target, at the instant when `bytes` complete it.
    fn compare(&mut self, bytes: &[u8]) {
        let Some(Prefix { bytes: wanted, digest }) = self.target.held().map(Held::prefix) else { return };
        let missing = wanted.checked_sub(self.written).and_then(|n| usize::try_from(n).ok());
        if let (None, Some(last)) = (self.begins, missing.and_then(|n| bytes.get(..n))) {
            let mut hasher = self.hasher.clone();
            hasher.update(last);
            self.begins = Some(hasher.finish().0 == digest);
        }
    }

    /// Copies what lies at the target, all of it.
    pub(super) fn copy_held(&mut self) -> Result<(), ArchiveError> {
        let Target::Over(held, _) = &self.target else { return Ok(()) };
        let (mut basis, bytes) = (held.basis()?, held.prefix().bytes);
        let before = self.stamp(&basis)?;
        if before.bytes() != bytes {
            return Err(self.damaged("its size has changed"));
        }
        let mut buffer = vec![0; READ_BYTES];
        while self.written < bytes {
            match basis.read(&mut buffer) {
                Ok(0) => break,
                Ok(n) => self.write(&buffer[..n])?,
                Err(e) if e.kind() == std::io::ErrorKind::Interrupted => {}
                Err(e) => return Err(self.failed("read", e)),
            }
        }
        if self.begins != Some(true) || self.written != bytes {
            return Err(self.damaged("it no longer holds what was stored"));
        }
        let after = self.stamp(&basis)?;
        if after == before
            && let Target::Over(held, _) = &mut self.target
        {
            held.set_read(after);
        }
        Ok(())
    }

    fn stamp(&self, file: impl AsFd) -> Result<Stamp, ArchiveError> {
        fstat(file).map(|stat| Stamp::of(&stat)).map_err(|e| self.failed("look at", e.into()))
    }

    fn damaged(&self, reason: &str) -> ArchiveError {
        ArchiveError::Damaged { path: self.target.path().as_rel_path().clone(), reason: reason.into() }
    }

    /// Ends the file: the bytes written must be those that the device says it read.
    pub fn finish(mut self, sent: &Digest) -> Result<Staged, ArchiveError> {
        if self.written != self.identity.size {
            // Removed even where it is a part: something is wrong with it.
            let error = self.size_mismatch(self.written);
            self.place.remove();
            return Err(error);
        }
        let (digest, _) = std::mem::take(&mut self.hasher).finish();
        if digest != *sent {
            self.place.remove();
            let (path, expected) = (self.source, *sent);
            return Err(ArchiveError::DigestMismatch { path, side: "received", expected, found: digest });
        }
        set_mtime(&self.file, self.identity.mtime_ns);
        let store = &self.place.store;
        let open = match store.hold() {
            Some(hold) => Some((self.file, hold)),
            // Too many are open. It must not be closed unsynced: an error in writing it back could then go unnoticed.
            None => {
                if let Err(error) = self.file.sync_all() {
                    let error = store.failed("sync", self.target.path().as_rel_path(), error);
                    self.place.remove();
                    return Err(error);
                }
                None
            }
        };
        let begins = self.begins == Some(true);
        let (source, identity, target, place) = (self.source, self.identity, Box::new(self.target), self.place);
        Ok(Staged { source, identity, target, digest, begins, place, open })
    }

    /// Removes it, also what would stay as a part.
    pub fn discard(mut self) {
        self.place.remove();
    }

    fn failed(&self, op: &'static str, error: std::io::Error) -> ArchiveError {
        self.place.store.failed(op, self.target.path().as_rel_path(), error)
    }

    fn size_mismatch(&self, sent: u64) -> ArchiveError {
        ArchiveError::SizeMismatch { path: self.source.clone(), announced: self.identity.size, sent }
    }
}

/// A file that has arrived whole in staging; its digest is the one the device sent. Not yet durable. Dropped before it is
/// committed, it is removed; a large one stays as a part.
#[derive(Debug)]
pub struct Staged {
    pub(super) source: RelPath,
    pub(super) identity: Identity,
    pub(super) target: Box<Target>,
    pub(super) digest: Digest,
    /// The content begins with what lay at the target when it was read, or with what the catalog says of it.
    pub(super) begins: bool,
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
        let failed = |op, e: std::io::Error| store.failed(op, self.target.path().as_rel_path(), e);
        if let Some((file, _)) = &self.open {
            file.sync_all().map_err(|e| {
                // Also where it is a part. The kernel tells of a failed write once, and from then on memory looks as if it were on disk.
                self.place.unlink();
                failed("sync", e)
            })?;
        }
        if !store.read_back {
            return Ok(());
        }
        if let Some((file, _)) = &self.open {
            forget_cached(file);
        }
        // A new opening: servers may answer an old one from what they remember of it.
        let (dir, name) = self.at();
        let file = openat(dir, name, OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty());
        let file = file.map_err(|e| failed("open again", e.into()))?.into();
        let (found, _) = store.digest(&file).map_err(|e| failed("read back", e))?;
        if found != self.digest {
            // Also where it is a part: nobody could go on from there.
            self.place.unlink();
            let (path, expected) = (self.source.clone(), self.digest);
            return Err(ArchiveError::DigestMismatch { path, side: "stored", expected, found });
        }
        Ok(())
    }

    /// Ends the use of its content.
    pub(super) fn close(&mut self) {
        self.open = None;
    }

    /// Its name in staging.
    pub(super) fn at(&self) -> At<'_> {
        self.place.at()
    }

    /// It has its name in the archive, and none here.
    pub(super) fn moved(&mut self) {
        self.place.moved();
    }

    /// Removes it, also what would stay as a part.
    pub(super) fn remove(&mut self) {
        self.place.remove();
    }

    /// Its outcome where its target is not what it was aimed at.
    pub(super) fn occupied(mut self) -> Commit {
        self.remove();
        Commit::Occupied(self.source)
    }

    /// Its outcome where the storage can't take it.
    pub(super) fn refused(mut self, reason: &str) -> Commit {
        self.remove();
        Commit::Refused(self.source, reason.to_owned())
    }
}

/// Best effort: the catalog has the exact time, and nothing is decided by this one.
fn set_mtime(file: &File, ns: i64) {
    let time = Timespec { tv_sec: ns.div_euclid(1_000_000_000), tv_nsec: ns.rem_euclid(1_000_000_000) };
    futimens(file, &Timestamps { last_access: time, last_modification: time }).ok();
}
