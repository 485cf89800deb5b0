//! The storage: plain files under a layout, and the proof that it is the right storage.
//!
//! Guarantees (invariants I3, I4 and I6): a path in the archive is complete from the moment it exists; archived bytes lose their
//! name only to bytes that begin with them, or once they have another name, or where the user has asked for it and the catalog
//! knows what they are; nothing is stored in, or confirmed of, a directory without the marker that the archive was opened with.
//! Every path is resolved below the archive root and never through a symbolic link. Leaves to others: what to store
//! ([`crate::plan`]), what is remembered of it ([`crate::catalog`]), what may be removed for it ([`crate::receipt`]).
//!
//! | room | concern |
//! |---|---|
//! | `marker`, `probe`, `capabilities` | whose storage it is, what it can do, and that in words |
//! | `layout`, `names` | a device's path to an archive path; names that a storage can't hold |
//! | `lying`, `held` | what lies at an archive path, and what it holds |
//! | `staging`, `incoming` | files that are arriving, and what is left of those that broke off |
//! | `prepare`, `commit` | durable, and what lies there has made room; under their final names |
//! | `versions`, `directories`, `rename` | what a commit is made of |
//! | `manifest`, `relist` | what is listed; what is no longer true is taken back |
//! | `reread`, `walk` | whether a file is still what it was; every file that lies there |
//! | `listing` | from the manifests back to paths and digests |
//! | `store`, `workers` | what the rooms share |

mod capabilities;
mod commit;
mod directories;
mod error;
mod held;
mod incoming;
mod layout;
mod listing;
mod lying;
mod manifest;
mod marker;
mod names;
mod prepare;
mod probe;
mod relist;
mod rename;
mod reread;
mod staging;
mod store;
#[cfg(test)]
mod tests;
mod versions;
mod walk;
mod workers;

use std::io::Read;
use std::path::Path;
use std::sync::Arc;

use rustix::fs::fstatvfs;

pub use self::capabilities::Capabilities;
pub use self::commit::{Commit, Stored};
pub use self::error::{ArchiveError, PlaceError};
pub use self::held::Held;
pub use self::incoming::{Incoming, Staged, Target, Yields};
pub use self::layout::{ArchivePath, MANIFEST_DIR, PRIVATE_DIR, VERSION_DIR};
pub use self::listing::{Line, Lines, Manifest};
pub use self::lying::{Lying, Stamp};
pub(crate) use self::manifest::write_line;
pub use self::marker::Marker;
pub use self::names::NameRules;
pub use self::prepare::{Arrived, Became, Prepared, Superseded};
pub use self::reread::{Pace, Reread, See};
pub use self::staging::{PART_BYTES, Part, Staging};
use self::store::Store;
pub use self::walk::{Lies, Walk};
use crate::cancel::Cancel;
use crate::catalog::Noted;
use crate::digest::Digest;
use crate::entry::{Prefix, usable};
use crate::path::{DeviceName, RelPath};

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

/// The room of a storage, as `df` counts it. 0 where it does not count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Room {
    /// Its size for ordinary users: [used and free](crate::entry::usable).
    pub total_bytes: u64,
    /// What we may still write.
    pub free_bytes: u64,
    /// Files that it can hold.
    pub total_files: u64,
    /// How many more.
    pub free_files: u64,
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

    /// The same archive for one visit: whatever reads a long file there ends with [`ArchiveError::Stopped`] once this is set, and
    /// nothing counts of what it has read.
    #[must_use]
    pub fn heeding(&self, cancel: &Cancel) -> Archive {
        Archive { store: Arc::new(self.store.heeding(cancel)) }
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

    /// What lies at an archive path: one look, no reading. Where the storage takes one name for another, directories are listed
    /// besides.
    pub fn look(&self, path: &ArchivePath) -> Result<Lying, ArchiveError> {
        lying::look(&self.store, path)
    }

    /// The file at an archive path, of which the catalog says that it holds `whole`; none where no plain file of this size lies
    /// there. Reads nothing: that is done before it counts.
    pub fn held(&self, path: &ArchivePath, whole: Prefix) -> Result<Option<Held>, ArchiveError> {
        held::held(&self.store, path, whole)
    }

    /// Syncs, reads and hashes the file at an archive path, past the page cache where this storage is read back: for one that nobody
    /// has catalogued. None where no plain file lies there.
    ///
    /// A file that can't be read is [`ArchiveError::Damaged`], one that somebody writes to [`ArchiveError::Unsteady`].
    pub fn examine(&self, path: &ArchivePath) -> Result<Option<Held>, ArchiveError> {
        held::examine(&self.store, path)
    }

    /// The same, while `see` sees the bytes as they are read, with how many there will be: one reading serves two. Nothing vouches for
    /// them before the end, which may be an error.
    pub fn examine_with<T>(
        &self,
        path: &ArchivePath,
        see: impl FnOnce(&mut dyn Read, u64) -> T,
    ) -> Result<Option<(Held, T)>, ArchiveError> {
        held::examine_with(&self.store, path, see)
    }

    /// How large the storage is, and how much more it takes.
    pub fn room(&self) -> Result<Room, ArchiveError> {
        let stat = fstatvfs(&self.store.root)
            .map_err(|e| error::failed(&self.store.path, "ask for the free space of", b"", e))?;
        Ok(Room {
            total_bytes: usable(stat.f_blocks, stat.f_bfree, stat.f_bavail).saturating_mul(stat.f_frsize),
            free_bytes: stat.f_bavail.saturating_mul(stat.f_frsize),
            total_files: stat.f_files,
            free_files: stat.f_favail,
        })
    }

    /// Fails if there is no room for so much more. A file system that does not count is taken at its word when it is full.
    pub fn check_room(&self, bytes: u64, files: u64) -> Result<(), ArchiveError> {
        let storage = || error::shown(&self.store.path, b"");
        let Room { total_bytes: total, free_bytes: free, total_files, free_files } = self.room()?;
        if total > 0 && bytes.saturating_add((total / 100).min(MAX_RESERVE_BYTES)) > free {
            let reason = format!("{bytes} bytes are to come and {free} are free");
            return Err(ArchiveError::Full { storage: storage(), reason });
        }
        if total_files > 0 && files.saturating_add((total_files / 100).min(MAX_RESERVE_FILES)) > free_files {
            let reason = format!("{files} files are to come and {free_files} more can be made");
            return Err(ArchiveError::Full { storage: storage(), reason });
        }
        Ok(())
    }

    /// Opens the device's staging directory and sweeps what an earlier visit left there. One at a time for each device.
    pub fn staging(&self, device: &DeviceName) -> Result<Staging, ArchiveError> {
        Staging::open(&self.store, device)
    }

    /// The first half of a commit: makes contents durable in staging and, for those that take the place of others, gives what lies
    /// there its second name. Changes nothing that anybody can see under an archive path.
    ///
    /// After an error nothing is claimed.
    pub fn prepare(&self, device: &DeviceName, files: Vec<Arrived>) -> Result<Prepared, ArchiveError> {
        prepare::prepare(&self.store, device, files, &|_| ())
    }

    /// The second half: gives prepared files their archive paths, as one group; the outcomes are in their order. The token says
    /// that the catalog has noted what [`Prepared::superseded`] says.
    ///
    /// After an error nothing is claimed: some files may be in the archive, whole, and the next run takes them over.
    pub fn commit(&self, prepared: Prepared, noted: Noted) -> Result<Vec<Commit>, ArchiveError> {
        commit::commit(&self.store, &commit::today(), prepared, noted, &|_| ())
    }

    /// Reads and hashes a stored file; where the storage is read back, past the page cache.
    ///
    /// Anything but these very bytes in a plain file is [`ArchiveError::Damaged`].
    pub fn verify(&self, path: &ArchivePath, digest: &Digest, bytes: u64) -> Result<Verified, ArchiveError> {
        held::verify(&self.store, path.as_rel_path(), digest, bytes)?;
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
