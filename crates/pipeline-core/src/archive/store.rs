//! One opened storage, as the rooms of the archive share it: the directory, its marker, and what was learnt on the way.
//!
//! Guarantees that nobody who reads a long file here misses the wish to stop: all reading is through [`Store::reader`].
//! Leaves to others: every rule about which file goes where and when it counts as stored.

use std::collections::{HashMap, HashSet};
use std::fs::File;
use std::io::Read;
use std::ops::Deref;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU8, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rustix::fd::AsFd;
use rustix::fs::{Advice, Mode, fadvise, fstat, fsync};
use rustix::io::Errno;
use rustix::process::{Resource, getrlimit};

use crate::archive::ReadBack;
use crate::archive::error::{ArchiveError, failed, shown};
use crate::archive::lying::Listing;
use crate::archive::marker::Marker;
use crate::archive::probe::FileSystem;
use crate::cancel::{Cancel, Reader};
use crate::digest::{Digest, Hasher};
use crate::path::{DeviceName, RelPath};
use crate::rooted::Rooted;

/// Permissions of new files, before the umask: who may read the archive is the user's choice.
pub(super) const NEW_FILE: Mode = Mode::from_raw_mode(0o666);

/// Permissions of new directories, before the umask.
pub(super) const NEW_DIR: Mode = Mode::from_raw_mode(0o777);

/// Names remembered as being on disk. Beyond that all are forgotten, which costs another sync.
const MAX_REMEMBERED: usize = 65_536;

/// Memory for one reading of a file.
pub(super) const READ_BYTES: usize = 128 * 1024;

/// An opened storage, as one visit uses it.
#[derive(Debug)]
pub(super) struct Store {
    opened: Arc<Opened>,
    /// Nobody waits any more for what is read here.
    cancel: Cancel,
}

/// What all visits share.
#[derive(Debug)]
pub(super) struct Opened {
    pub root: Rooted,
    pub path: PathBuf,
    pub marker: Marker,
    /// Device number of the root when it was opened.
    pub dev: u64,
    /// Whose staging directory is ours.
    pub collector: String,
    /// Stored bytes are read back past the page cache before they count.
    pub read_back: bool,
    /// How to rename without replacing; see [`super::rename`].
    pub rename: AtomicU8,
    /// Names known to be on disk, as digests of their paths: a hostile device could make many long ones.
    durable: Mutex<HashSet<Digest>>,
    /// One at a time for each device's manifest.
    manifests: Mutex<HashMap<DeviceName, Arc<Mutex<()>>>>,
    /// Names as directories list them, where the storage takes one name for another; the oldest first.
    pub listings: Mutex<Vec<Listing>>,
    /// Only its holder replaces a file, so that what he looked at just before is what he replaces.
    pub replacing: Mutex<()>,
    /// Staged files that are held open.
    held: AtomicUsize,
    max_held: usize,
}

impl Deref for Store {
    type Target = Opened;

    fn deref(&self) -> &Opened {
        &self.opened
    }
}

impl Store {
    pub fn open(path: &Path, collector: &str, read_back: ReadBack) -> Result<Store, ArchiveError> {
        let (root, dev) = open_root(path)?;
        let marker = Marker::read(&root, path)?;
        let capabilities = marker.capabilities();
        if !capabilities.sync_files {
            return Err(ArchiveError::CannotSync { storage: shown(path, b"") });
        }
        // The marker was written through some mount; what counts is also the one in use now.
        let network = capabilities.network || FileSystem::of(&root, path)?.network;
        let method = super::rename::Method::of(capabilities);
        let opened = Opened {
            root,
            path: path.to_owned(),
            dev,
            collector: collector.to_owned(),
            read_back: network || read_back == ReadBack::Always,
            rename: AtomicU8::new(method as u8),
            durable: Mutex::default(),
            manifests: Mutex::default(),
            listings: Mutex::default(),
            replacing: Mutex::default(),
            held: AtomicUsize::new(0),
            max_held: max_held(),
            marker,
        };
        Ok(Store { opened: Arc::new(opened), cancel: Cancel::new() })
    }

    /// The same storage; who reads there heeds this wish to stop.
    pub fn heeding(&self, cancel: &Cancel) -> Store {
        Store { opened: self.opened.clone(), cancel: cancel.clone() }
    }

    /// Reads what may be long. An error of it that is given to [`Store::failed`] says so where it was a wish to stop.
    pub fn reader<R>(&self, content: R) -> Reader<R> {
        self.cancel.reader(content)
    }

    pub fn failed(&self, op: &'static str, path: &RelPath, error: impl Into<std::io::Error>) -> ArchiveError {
        failed(&self.path, op, path.as_bytes(), error)
    }

    /// `path` as the names of this storage allow it.
    pub fn escaped(&self, path: &RelPath) -> Result<RelPath, ArchiveError> {
        let escaped = self.marker.capabilities().names.escape(path);
        escaped.map_err(|e| self.failed("name", path, std::io::Error::other(e)))
    }

    /// Syncs a directory. Where the storage can't, as its marker says, a rename counts once the server has answered.
    pub fn sync_dir(&self, dir: impl AsFd, path: &[u8]) -> Result<(), ArchiveError> {
        match rustix::io::retry_on_intr(|| fsync(dir.as_fd())) {
            Ok(()) => Ok(()),
            Err(e) if is_unsupported(e) && !self.marker.capabilities().sync_directories => Ok(()),
            Err(e) => Err(failed(&self.path, "sync the directory", path, e)),
        }
    }

    /// Whether the name of this file or directory is known to be on disk.
    pub fn is_durable(&self, path: &RelPath) -> bool {
        lock(&self.durable).contains(&Digest::of(path.as_bytes()))
    }

    /// Remembers names that are on disk.
    pub fn set_durable<'p>(&self, paths: impl IntoIterator<Item = &'p RelPath>) {
        let mut durable = lock(&self.durable);
        for path in paths {
            if durable.len() >= MAX_REMEMBERED {
                durable.clear();
            }
            durable.insert(Digest::of(path.as_bytes()));
        }
    }

    /// Forgets a name that turned out not to be there.
    pub fn forget_durable(&self, path: &RelPath) {
        lock(&self.durable).remove(&Digest::of(path.as_bytes()));
    }

    /// Digest and length of what the file holds now: with `read_back`, on disk or server, not in memory.
    pub fn digest(&self, file: &File) -> std::io::Result<(Digest, u64)> {
        self.digest_with(file, |_| ()).map(|(digest, bytes, ())| (digest, bytes))
    }

    /// The same, while somebody else sees as much as he likes of what is read.
    pub fn digest_with<T>(
        &self,
        file: &File,
        see: impl FnOnce(&mut dyn Read) -> T,
    ) -> std::io::Result<(Digest, u64, T)> {
        if self.read_back {
            forget_cached(file);
        }
        let mut content = Hashed { inner: self.reader(file), hasher: Hasher::new() };
        let seen = see(&mut content);
        let Hashed { inner, mut hasher } = content;
        hasher.update_from(inner, &mut vec![0; READ_BYTES])?;
        let (digest, bytes) = hasher.finish();
        Ok((digest, bytes, seen))
    }

    /// Digest and length of all that comes.
    pub fn digest_of(&self, content: impl Read) -> std::io::Result<(Digest, u64)> {
        Digest::of_reader(self.reader(content), &mut vec![0; READ_BYTES])
    }

    /// The lock of one device's manifests.
    pub fn manifest_lock(&self, device: &DeviceName) -> Arc<Mutex<()>> {
        lock(&self.manifests).entry(device.clone()).or_default().clone()
    }

    /// Asks to hold one more staged file open until it is synced.
    pub fn hold(&self) -> Option<Hold> {
        let room = self.held.fetch_add(1, Ordering::Relaxed) < self.max_held;
        let hold = Hold(self.opened.clone());
        room.then_some(hold)
    }
}

/// Hashes what is read.
struct Hashed<R> {
    inner: R,
    hasher: Hasher,
}

impl<R: Read> Read for Hashed<R> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let bytes = self.inner.read(buffer)?;
        self.hasher.update(&buffer[..bytes]);
        Ok(bytes)
    }
}

/// The right to keep one file open.
#[derive(Debug)]
pub(super) struct Hold(Arc<Opened>);

impl Drop for Hold {
    fn drop(&mut self) {
        self.0.held.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Half of the files that this process may open: connections, catalog and directories need theirs.
fn max_held() -> usize {
    let limit = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
    usize::try_from(limit / 2).unwrap_or(usize::MAX).min(4096)
}

/// Opens a storage's directory and says on which device it lies.
pub(super) fn open_root(path: &Path) -> Result<(Rooted, u64), ArchiveError> {
    let open = || {
        let root = Rooted::open(path)?;
        let dev = fstat(&root)?.st_dev;
        Ok((root, dev))
    };
    open().map_err(|e: Errno| ArchiveError::NotThere { storage: shown(path, b""), source: e.into() })
}

/// Drops what memory holds of a file, so that the next read asks disk or server. What is not yet written stays.
pub(super) fn forget_cached(file: impl AsFd) {
    // Only advice: a file system without a page cache has nothing to drop.
    fadvise(file, 0, None, Advice::DontNeed).ok();
}

/// Whether an error says that the storage does not know the call at all.
pub(super) fn is_unsupported(error: Errno) -> bool {
    matches!(error, Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP)
}

/// A mutex whose holder panicked guards nothing that could be half done.
pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The path of names that are fixed or made of hex digits.
pub(super) fn below(names: &[&str]) -> RelPath {
    RelPath::new(names.join("/")).expect("names of our own make a path")
}

/// 128 random bits as 32 hex digits.
pub(super) fn random_hex(storage: &Path) -> Result<String, ArchiveError> {
    let mut bytes = [0; 16];
    // Linux gives up to 256 bytes at once or none.
    rustix::io::retry_on_intr(|| rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty()))
        .map_err(|e| failed(storage, "draw random numbers for", b"", e))?;
    Ok(bytes.iter().map(|b| format!("{b:02x}")).collect())
}
