//! Directories that a commit touches: made where missing, held open, and synced once.
//!
//! Guarantees: after [`Directories::sync`], every directory that was asked for is on disk under its path, and so is every
//! name that was put into it before. Leaves to others: what is put there.
//!
//! If power fails before the sync, a new directory and what is in it may be gone. Nothing is claimed for them until then.

use std::collections::{HashMap, HashSet};
use std::os::fd::OwnedFd;

use rustix::io::Errno;

use crate::archive::error::{ArchiveError, failed};
use crate::archive::store::Store;
use crate::archive::workers;
use crate::path::RelPath;

/// Directories held open at once; then they are synced early. Each device's commit has its own.
const MAX_OPEN: usize = 32;

/// The directories of one commit.
pub(super) struct Directories<'a> {
    store: &'a Store,
    /// Touched and not yet synced. The key of the root is empty.
    open: HashMap<Vec<u8>, OwnedFd>,
    /// On disk under their paths as soon as what is open is synced.
    soon: HashSet<RelPath>,
}

/// Why a directory can't be had.
pub(super) enum Blocked {
    /// A file lies where a directory is needed.
    File,
    /// A symbolic link lies where a directory is needed.
    Symlink,
    /// The storage can't hold such a path.
    Name(Errno),
    /// The storage failed.
    Storage(ArchiveError),
}

impl<'a> Directories<'a> {
    pub fn new(store: &'a Store) -> Directories<'a> {
        Directories { store, open: HashMap::new(), soon: HashSet::new() }
    }

    /// The directory `path` (none: the root), for a name to be put into it before the next [`sync`](Directories::sync).
    pub fn touch(&mut self, path: Option<&RelPath>) -> Result<&OwnedFd, Blocked> {
        let key = path.map_or(&b""[..], RelPath::as_bytes);
        if !self.open.contains_key(key) {
            if let Some(path) = path {
                self.make(path)?;
            }
            self.hold(path)?;
        }
        Ok(&self.open[key])
    }

    /// Syncs what was touched.
    pub fn sync(&mut self) -> Result<(), ArchiveError> {
        let open: Vec<_> = self.open.drain().collect();
        workers::each(&open, |(path, fd)| self.store.sync_dir(fd, path))?;
        self.store.set_durable(&self.soon);
        self.soon.clear();
        Ok(())
    }

    /// Makes `path` and what is missing above it, and sees to it that all their names get synced: also of those that were
    /// there, since whoever made them may have been killed before its sync.
    fn make(&mut self, path: &RelPath) -> Result<(), Blocked> {
        let made = self.store.root.make_dirs(path).map_err(|e| self.blocked("create the directory", path, e))?;
        for dir in made {
            // Somebody else removed it meanwhile.
            self.soon.remove(&dir);
            self.store.forget_durable(&dir);
        }
        let mut unsure = Vec::new();
        let mut next = Some(path.clone());
        while let Some(dir) = next {
            if self.soon.contains(&dir) || self.store.is_durable(&dir) {
                break;
            }
            next = dir.parent();
            unsure.push(dir);
        }
        // From the top: each name is synced with the directory that holds it.
        for dir in unsure.into_iter().rev() {
            let above = dir.parent();
            if !self.open.contains_key(above.as_ref().map_or(&b""[..], RelPath::as_bytes)) {
                self.hold(above.as_ref())?;
            }
            self.soon.insert(dir);
        }
        Ok(())
    }

    fn hold(&mut self, path: Option<&RelPath>) -> Result<(), Blocked> {
        if self.open.len() >= MAX_OPEN {
            self.sync().map_err(Blocked::Storage)?;
        }
        let (key, fd) = match path {
            Some(path) => {
                let fd = self.store.root.open_dir(path);
                (path.as_bytes().to_vec(), fd.map_err(|e| self.blocked("open the directory", path, e))?)
            }
            None => {
                let fd = rustix::io::fcntl_dupfd_cloexec(&self.store.root, 0);
                (Vec::new(), fd.map_err(|e| Blocked::Storage(failed(&self.store.path, "open", b"", e)))?)
            }
        };
        self.open.insert(key, fd);
        Ok(())
    }

    fn blocked(&self, op: &'static str, path: &RelPath, error: Errno) -> Blocked {
        match error {
            Errno::NOTDIR => Blocked::File,
            Errno::LOOP => Blocked::Symlink,
            Errno::NAMETOOLONG | Errno::INVAL | Errno::ILSEQ => Blocked::Name(error),
            error => Blocked::Storage(self.store.failed(op, path, error)),
        }
    }
}
