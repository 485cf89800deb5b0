//! The storage: plain files under a layout, and the proof that it is the right storage.
//!
//! Guarantees (invariants I3, I4 and I6): a path in the archive is complete from the moment it exists; archived bytes are
//! never replaced; nothing is stored in, or confirmed of, a directory without the marker that the archive was opened with.
//! Every path is resolved below the archive root and never through a symbolic link. Leaves to others: what to store
//! ([`crate::plan`]), what is remembered of it ([`crate::catalog`]), what may be removed for it ([`crate::receipt`]).
//!
//! | room | concern |
//! |---|---|
//! | `marker`, `probe`, `capabilities` | whose storage it is, what it can do, and that in words |
//! | `layout`, `names` | a device's path to an archive path; names that a storage can't hold |
//! | `staging` | files that are arriving |
//! | `commit`, `directories`, `rename`, `manifest` | durable under their final names, and listed |
//! | `listing` | from the manifests back to paths and digests |
//! | `store`, `workers` | what the rooms share |

mod capabilities;
mod commit;
mod directories;
mod error;
mod layout;
mod listing;
mod manifest;
mod marker;
mod names;
mod probe;
mod rename;
mod staging;
mod store;
#[cfg(test)]
mod tests;
mod workers;

use std::path::Path;
use std::sync::Arc;

use rustix::fs::{FileType, Mode, OFlags, fstatvfs};
use rustix::io::Errno;

pub use self::capabilities::Capabilities;
pub use self::commit::{Commit, Stored};
pub use self::error::{ArchiveError, PlaceError};
pub use self::layout::{ArchivePath, MANIFEST_DIR, PRIVATE_DIR};
pub use self::listing::{Line, Lines, Manifest};
pub use self::marker::Marker;
pub use self::names::NameRules;
pub use self::staging::{Incoming, Staged, Staging};
use self::store::Store;
use crate::digest::Digest;
use crate::path::{DeviceName, RelPath};
use crate::rooted::file_type;

/// What [`Archive::find`] says of a path that holds something other than a regular file. No file has this size.
pub const NOT_A_FILE: u64 = u64::MAX;

/// Bytes that are left free, so that catalogs and manifests on the same file system don't meet the end: a hundredth of the
/// storage, but no more than this.
const MAX_RESERVE_BYTES: u64 = 64 * 1024 * 1024;

/// Files (inodes) that are left free for directories and manifests: a hundredth, but no more than this.
const MAX_RESERVE_FILES: u64 = 1000;

/// When stored bytes are read back past the page cache before they count.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ReadBack {
    /// On network file systems, and wherever the kind is unknown.
    #[default]
    Auto,
    /// Everywhere.
    Always,
}

/// Proof that the storage's marker was read a moment ago and is the one the archive was opened with (invariant I6).
#[derive(Debug)]
pub struct Confirmed(());

/// Proof that the stored bytes were read and hashed a moment ago.
#[derive(Debug)]
pub struct Verified(());

/// What [`Archive::init`] did.
#[derive(Clone, Debug)]
pub struct Init {
    /// The marker as it stands now.
    pub marker: Marker,
    /// The storage had none before.
    pub created: bool,
}

/// An opened archive. Shared by all devices of a run.
#[derive(Clone, Debug)]
pub struct Archive {
    store: Arc<Store>,
}

impl Archive {
    /// Makes the marker of a new storage, or looks again at what a known one can do; its id stays.
    ///
    /// The directory must exist: an unmounted share looks like a missing or empty one, and its mount point is never created.
    /// Safe to repeat, and to be killed at any point.
    pub fn init(storage: &Path) -> Result<Init, ArchiveError> {
        let (root, _) = store::open_root(storage)?;
        let known = match Marker::read(&root, storage) {
            Ok(marker) => Some(marker),
            Err(ArchiveError::NoMarker { .. }) => None,
            Err(error) => return Err(error),
        };
        marker::make_private_dir(&root, storage)?;
        let capabilities = probe::probe(&root, storage)?;
        if !capabilities.sync_files {
            return Err(ArchiveError::CannotSync { storage: error::shown(storage, b"") });
        }
        if known.is_none() {
            let marker = Marker::new(store::random_hex(storage)?, capabilities.clone());
            if marker.create(&root, storage)? {
                return Ok(Init { marker, created: true });
            }
        }
        // Known before, or another `init` was faster.
        let old = known.map_or_else(|| Marker::read(&root, storage), Ok)?;
        let marker = old.with(capabilities);
        if marker != old {
            marker.replace(&root, storage)?;
        }
        Ok(Init { marker, created: false })
    }

    /// Opens a storage that has its marker. Changes nothing.
    ///
    /// `collector` is this collector's own id, up to 64 letters, digits, `_` and `-`: it names its staging directory.
    pub fn open(storage: &Path, collector: &str, read_back: ReadBack) -> Result<Archive, ArchiveError> {
        let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-');
        if collector.is_empty() || collector.len() > 64 || !collector.chars().all(plain) {
            return Err(ArchiveError::Collector(collector.into()));
        }
        Ok(Archive { store: Arc::new(Store::open(storage, collector, read_back)?) })
    }

    /// The marker's id.
    pub fn id(&self) -> &str {
        self.store.marker.id()
    }

    /// The marker, as it was when the archive was opened.
    pub fn marker(&self) -> &Marker {
        &self.store.marker
    }

    /// Whether stored bytes are read back past the page cache before they count.
    pub fn reads_back(&self) -> bool {
        self.store.read_back
    }

    /// Fails if the storage is not the one with this id, which the catalog remembers.
    pub fn expect(&self, id: &str) -> Result<(), ArchiveError> {
        self.same_id(id, self.id())
    }

    /// Reads the marker again, through a fresh opening of the storage's path: an unmounted, replaced or newly mounted share
    /// is an error even while our own descriptors still work.
    pub fn confirm(&self) -> Result<Confirmed, ArchiveError> {
        let (root, dev) = store::open_root(&self.store.path)?;
        let marker = Marker::read(&root, &self.store.path)?;
        self.same_id(self.id(), marker.id())?;
        if dev != self.store.dev {
            return Err(ArchiveError::Remounted { storage: error::shown(&self.store.path, b"") });
        }
        Ok(Confirmed(()))
    }

    /// Where a file goes. `source_name` is the last component of the device's source directory.
    ///
    /// Fails where the layout gives this file no path below the archive root; other files are not concerned.
    pub fn place(
        &self,
        layout: &str,
        device: &DeviceName,
        source_name: &[u8],
        path: &RelPath,
    ) -> Result<ArchivePath, ArchiveError> {
        ArchivePath::place(layout, device, source_name, path, self.store.marker.capabilities())
            .map_err(|source| ArchiveError::NoPlace { layout: layout.into(), path: path.clone(), source })
    }

    /// The size of the file at an archive path, none if nothing is there, [`NOT_A_FILE`] if something else is, or lies where a
    /// directory of the path should be.
    pub fn find(&self, path: &ArchivePath) -> Result<Option<u64>, ArchiveError> {
        match self.store.root.stat(path.as_rel_path()) {
            Ok(stat) if file_type(&stat) == FileType::RegularFile => Ok(Some(stat.st_size.unsigned_abs())),
            Ok(_) | Err(Errno::NOTDIR | Errno::LOOP) => Ok(Some(NOT_A_FILE)),
            // What can't be named can't be there.
            Err(Errno::NOENT | Errno::NAMETOOLONG) => Ok(None),
            Err(error) => Err(self.store.failed("look at", path.as_rel_path(), error)),
        }
    }

    /// Fails if there is no room for so much more. A file system that does not count is taken at its word when it is full.
    pub fn check_room(&self, bytes: u64, files: u64) -> Result<(), ArchiveError> {
        let storage = || error::shown(&self.store.path, b"");
        let stat = fstatvfs(&self.store.root)
            .map_err(|e| error::failed(&self.store.path, "ask for the free space of", b"", e))?;
        let total = stat.f_blocks.saturating_mul(stat.f_frsize);
        let free = stat.f_bavail.saturating_mul(stat.f_frsize);
        if total > 0 && bytes.saturating_add((total / 100).min(MAX_RESERVE_BYTES)) > free {
            let reason = format!("{bytes} bytes are to come and {free} are free");
            return Err(ArchiveError::Full { storage: storage(), reason });
        }
        if stat.f_files > 0 && files.saturating_add((stat.f_files / 100).min(MAX_RESERVE_FILES)) > stat.f_favail {
            let reason = format!("{files} files are to come and {} more can be made", stat.f_favail);
            return Err(ArchiveError::Full { storage: storage(), reason });
        }
        Ok(())
    }

    /// Opens the device's staging directory and sweeps what an earlier visit left there. One at a time for each device.
    pub fn staging(&self, device: &DeviceName) -> Result<Staging, ArchiveError> {
        Staging::open(&self.store, device)
    }

    /// Makes staged files durable under their archive paths, as one group; the outcomes are in their order.
    ///
    /// After an error nothing is claimed: some files may be in the archive, whole, and the next run takes them over.
    pub fn commit(&self, device: &DeviceName, files: Vec<Staged>) -> Result<Vec<Commit>, ArchiveError> {
        commit::commit(&self.store, device, &commit::today(), files, &|_| ())
    }

    /// Reads and hashes a stored file; where the storage is read back, past the page cache.
    ///
    /// Anything but these very bytes in a plain file is [`ArchiveError::Damaged`].
    pub fn verify(&self, path: &ArchivePath, digest: &Digest, bytes: u64) -> Result<Verified, ArchiveError> {
        let path = path.as_rel_path();
        let damaged = |reason: String| Err(ArchiveError::Damaged { path: path.clone(), reason });
        let file = match self.store.root.open_file(path, OFlags::RDONLY, Mode::empty()) {
            Ok(file) => file,
            Err(Errno::NOENT) => return damaged("it is gone".into()),
            Err(Errno::NOTDIR | Errno::LOOP | Errno::ISDIR | Errno::NXIO) => {
                return damaged("it is no longer a plain file".into());
            }
            Err(error) => return Err(self.store.failed("open", path, error)),
        };
        let (found, found_bytes) = match self.store.digest(&file) {
            Ok(read) => read,
            // One bad sector is this file's affair; a storage that is gone shows in the next look at the marker.
            Err(error) if error.raw_os_error() == Some(Errno::IO.raw_os_error()) => {
                return damaged("it can't be read any more".into());
            }
            Err(error) => return Err(self.store.failed("read", path, error)),
        };
        if found_bytes != bytes {
            return damaged(format!("it holds {found_bytes} bytes, {bytes} were stored"));
        }
        if found != *digest {
            return damaged(format!("its SHA-256 is {found}, {digest} was stored"));
        }
        Ok(Verified(()))
    }

    fn same_id(&self, expected: &str, found: &str) -> Result<(), ArchiveError> {
        if expected == found {
            return Ok(());
        }
        let (expected, found) = (expected.into(), found.into());
        Err(ArchiveError::Another { storage: error::shown(&self.store.path, b""), expected, found })
    }
}
