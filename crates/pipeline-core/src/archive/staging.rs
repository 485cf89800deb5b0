//! Files on their way in, beside the archive, in the same file system.
//!
//! `.pipeline/staging/<collector>/<device>/` holds what is arriving from one device. Guarantees: nothing here has a name that
//! a reader of the archive would look at; what a kill leaves is swept at the device's next visit, but for *parts*: what has
//! arrived so far of a large file, under a name made of its archive path, so that a later transfer may go on from there.
//! Leaves to others: what arrives ([`super::incoming`]), and how it gets its name in the archive ([`super::commit`]).
//!
//! If power fails here, the file is still on the device: there is no receipt. A part that it has torn is harmless: nothing is
//! believed of a part but what it is read to hold, and the device is asked whether its file begins with that.

use std::collections::HashSet;
use std::io::Read as _;
use std::os::unix::fs::FileExt as _;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use rustix::fd::{AsFd as _, OwnedFd};
use rustix::fs::{AtFlags, FileType, Mode, OFlags, fstat, openat, unlinkat};
use rustix::io::Errno;

use crate::archive::error::ArchiveError;
use crate::archive::held::Held;
use crate::archive::incoming::{Incoming, Target, Yields};
use crate::archive::layout::{ArchivePath, PRIVATE_DIR};
use crate::archive::probe::names_in;
use crate::archive::rename::At;
use crate::archive::store::{NEW_FILE, READ_BYTES, Store, below, forget_cached, lock, random_hex};
use crate::digest::{Digest, Hasher};
use crate::entry::{Identity, Prefix};
use crate::path::{DeviceName, RelPath};
use crate::rooted::file_type;

/// From this size on, what has arrived of a file is kept for a later transfer. Less is sent anew as fast as it is asked for.
pub const PART_BYTES: u64 = 1 << 20;

/// Begins the names of parts, and of nothing else.
const PART: &str = "part-";

/// Digits of the digest of an archive path in a part's name: 128 bits.
const PART_DIGITS: usize = 32;

/// One device's staging directory. Several threads of a visit may use it at the same time.
#[derive(Debug)]
pub struct Staging {
    store: Arc<Store>,
    dir: Arc<OwnedFd>,
    path: RelPath,
    /// Begins every name but those of parts. No other visit uses it, so such a name always means the file that this visit wrote.
    prefix: String,
    next: AtomicU64,
    /// Names of parts that something of this visit is called now.
    in_use: Arc<Mutex<HashSet<String>>>,
    /// Names of parts that this visit has asked for or made.
    asked: Mutex<HashSet<String>>,
}

impl Staging {
    /// Opens the device's directory, makes it where missing, and removes what an earlier visit left, but for parts.
    pub(super) fn open(store: &Arc<Store>, device: &DeviceName) -> Result<Staging, ArchiveError> {
        let path = staging_path(store, device)?;
        store.root.make_dirs(&path).map_err(|e| store.failed("create", &path, e))?;
        let dir = Arc::new(store.root.open_dir(&path).map_err(|e| store.failed("open", &path, e))?);
        let (prefix, store) = (random_hex(&store.path)?, store.clone());
        let staging = Staging {
            store,
            dir,
            path,
            prefix,
            next: AtomicU64::new(0),
            in_use: Arc::default(),
            asked: Mutex::default(),
        };
        staging.sweep(|name| !is_part(name))?;
        Ok(staging)
    }

    /// Makes a file for the whole content of `source`. Removes a part that was left for the same target.
    pub fn create(&self, source: RelPath, identity: Identity, target: Target) -> Result<Incoming, ArchiveError> {
        let (name, lease) = self.name(&identity, target.path());
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let failed = |e| self.store.failed("create a file in", &self.path, e);
        if lease.is_some() {
            self.remove(name.as_bytes()).map_err(failed)?;
        }
        let file = openat(&*self.dir, name.as_str(), flags, NEW_FILE).map_err(failed)?;
        let place = Place { store: self.store.clone(), dir: self.dir.clone(), name, lease };
        Ok(Incoming::new(source, identity, target, place, file.into()))
    }

    /// Makes a file for the content of `source` that begins with what `held` holds, and copies that.
    ///
    /// Where these are no longer the bytes that `held` says, it is [`ArchiveError::Damaged`], and nothing was done.
    pub fn onto(
        &self,
        held: &Held,
        yields: Yields,
        source: RelPath,
        identity: Identity,
    ) -> Result<Incoming, ArchiveError> {
        let mut incoming = self.create(source, identity, Target::Over(held.clone(), yields))?;
        match incoming.copy_held() {
            Ok(()) => Ok(incoming),
            Err(error) => {
                incoming.discard();
                Err(error)
            }
        }
    }

    /// What an earlier transfer to `target` left, read and hashed; none where it left nothing.
    pub fn part(&self, target: &ArchivePath) -> Result<Option<Part>, ArchiveError> {
        let name = part_name(target);
        lock(&self.asked).insert(name.clone());
        let Some(lease) = Lease::take(&self.in_use, &name) else { return Ok(None) };
        let failed = |op, e: std::io::Error| self.store.failed(op, &self.path, e);
        let flags = OFlags::RDWR | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
        let fd = match openat(&*self.dir, name.as_str(), flags, Mode::empty()) {
            Ok(fd) => fd,
            Err(Errno::NOENT) => return Ok(None),
            Err(Errno::LOOP | Errno::ISDIR | Errno::NXIO | Errno::ACCESS | Errno::PERM) => {
                self.remove(name.as_bytes()).map_err(|e| failed("remove a file in", e.into()))?;
                return Ok(None);
            }
            Err(error) => return Err(failed("open a file in", error.into())),
        };
        let stat = fstat(&fd).map_err(|e| failed("look at a file in", e.into()))?;
        // A second name: it was killed between getting its name in the archive and losing this one. What is there is never
        // written to.
        if file_type(&stat) != FileType::RegularFile || stat.st_nlink > 1 || stat.st_size == 0 {
            self.remove(name.as_bytes()).map_err(|e| failed("remove a file in", e.into()))?;
            return Ok(None);
        }
        let place = Place { store: self.store.clone(), dir: self.dir.clone(), name, lease: Some(lease) };
        let mut part = Part { place, file: fd.into(), hasher: Hasher::new(), bytes: 0 };
        match part.read() {
            Ok(()) => Ok(Some(part)),
            // One bad sector: what it held is sent again.
            Err(error) if error.raw_os_error() == Some(Errno::IO.raw_os_error()) => {
                part.place.remove();
                Ok(None)
            }
            Err(error) => Err(failed("read a file in", error)),
        }
    }

    /// Goes on after a part, whose bytes the device has said its file begins with.
    pub fn resume(
        &self,
        part: Part,
        source: RelPath,
        identity: Identity,
        target: Target,
    ) -> Result<Incoming, ArchiveError> {
        let begins = match target.held() {
            Some(held) if held.prefix().bytes <= part.bytes => {
                let digest = part.digest_of_first(held.prefix().bytes);
                let failed = |e| self.store.failed("read a file in", &self.path, e);
                Some(digest.map_err(failed)? == held.prefix().digest)
            }
            _ => None,
        };
        let mut incoming = Incoming::new(source, identity, target, part.place, part.file);
        incoming.go_on(part.hasher, part.bytes, begins)?;
        Ok(incoming)
    }

    /// Removes a part that is the beginning of nothing.
    pub fn discard(&self, mut part: Part) {
        part.place.remove();
    }

    /// Keeps what an earlier transfer to `target` left, though this visit does not ask for it.
    pub fn spare(&self, target: &ArchivePath) {
        lock(&self.asked).insert(part_name(target));
    }

    /// Removes the parts that nobody has asked for in this visit. To be called where it has asked for all that there is.
    pub fn sweep_parts(&self) -> Result<(), ArchiveError> {
        let asked = lock(&self.asked);
        self.sweep(|name| is_part(name) && !asked.iter().any(|asked| asked.as_bytes() == name))
    }

    fn sweep(&self, unwanted: impl Fn(&[u8]) -> bool) -> Result<(), ArchiveError> {
        for name in names_in(&self.dir).map_err(|e| self.store.failed("list", &self.path, e))? {
            if unwanted(&name) {
                // What can't be removed is in nobody's way: no name but a part's is used twice, and that one is tried again.
                self.remove(&name).ok();
            }
        }
        Ok(())
    }

    fn remove(&self, name: &[u8]) -> rustix::io::Result<()> {
        match unlinkat(&*self.dir, name, AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => Ok(()),
            // Nobody but us makes files here; somebody made a directory.
            Err(Errno::ISDIR | Errno::PERM) => unlinkat(&*self.dir, name, AtFlags::REMOVEDIR),
            Err(error) => Err(error),
        }
    }

    /// A name for what goes to `target`: a part's, if it is large, and nothing else is called so now.
    fn name(&self, identity: &Identity, target: &ArchivePath) -> (String, Option<Lease>) {
        if identity.size >= PART_BYTES {
            let name = part_name(target);
            if let Some(lease) = Lease::take(&self.in_use, &name) {
                lock(&self.asked).insert(name.clone());
                return (name, Some(lease));
            }
        }
        let name = format!("{}-{:03}", self.prefix, self.next.fetch_add(1, Ordering::Relaxed));
        (name, None)
    }
}

/// Where a device's files arrive.
pub(super) fn staging_path(store: &Store, device: &DeviceName) -> Result<RelPath, ArchiveError> {
    store.escaped(&below(&[PRIVATE_DIR, "staging", &store.collector, device.as_str()]))
}

fn part_name(target: &ArchivePath) -> String {
    let digest = Digest::of(target.as_bytes()).to_string();
    format!("{PART}{}", &digest[..PART_DIGITS])
}

fn is_part(name: &[u8]) -> bool {
    name.starts_with(PART.as_bytes())
}

/// What an earlier transfer left of a file. Dropped, it stays for a later one.
#[derive(Debug)]
pub struct Part {
    place: Place,
    file: std::fs::File,
    hasher: Hasher,
    bytes: u64,
}

impl Part {
    /// What it was read to hold.
    pub fn prefix(&self) -> Prefix {
        let (digest, bytes) = self.hasher.clone().finish();
        Prefix { bytes, digest }
    }

    fn read(&mut self) -> std::io::Result<()> {
        // From disk: a write that failed in an earlier run was told then, and memory still holds what never got there.
        self.file.sync_all()?;
        forget_cached(&self.file);
        self.hasher.update_from(self.place.store.reader(&self.file), &mut vec![0; READ_BYTES])?;
        self.bytes = self.hasher.bytes();
        Ok(())
    }

    /// Leaves the file's position where it is: at the end.
    fn digest_of_first(&self, bytes: u64) -> std::io::Result<Digest> {
        let (digest, read_bytes) = self.place.store.digest_of(FromStart { file: &self.file, at: 0 }.take(bytes))?;
        if read_bytes == bytes { Ok(digest) } else { Err(std::io::ErrorKind::UnexpectedEof.into()) }
    }
}

/// Reads a file from its beginning, wherever its own position is.
struct FromStart<'a> {
    file: &'a std::fs::File,
    at: u64,
}

impl std::io::Read for FromStart<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let bytes = self.file.read_at(buffer, self.at)?;
        self.at += bytes as u64;
        Ok(bytes)
    }
}

/// A name in staging. Dropped, it is removed, unless it is that of a part.
#[derive(Debug)]
pub(super) struct Place {
    pub(super) store: Arc<Store>,
    dir: Arc<OwnedFd>,
    /// Empty: there is nothing to remove.
    name: String,
    /// Where it is a part's.
    lease: Option<Lease>,
}

impl Place {
    /// The name, for calls that take it together with its directory.
    pub(super) fn at(&self) -> At<'_> {
        (self.dir.as_fd(), self.name.as_bytes())
    }

    /// The file has another name now, and none here.
    pub(super) fn moved(&mut self) {
        self.name.clear();
        self.lease = None;
    }

    /// Removes the file, also where it is a part.
    pub(super) fn remove(&mut self) {
        self.unlink();
        self.moved();
    }

    pub(super) fn unlink(&self) {
        if !self.name.is_empty() {
            // What stays is swept at the next visit, or is a part that the device will say no to.
            unlinkat(&*self.dir, self.name.as_str(), AtFlags::empty()).ok();
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if self.lease.is_none() {
            self.remove();
        }
    }
}

/// The right to the name of a part.
#[derive(Debug)]
struct Lease {
    in_use: Arc<Mutex<HashSet<String>>>,
    name: String,
}

impl Lease {
    fn take(in_use: &Arc<Mutex<HashSet<String>>>, name: &str) -> Option<Lease> {
        let free = lock(in_use).insert(name.to_owned());
        free.then(|| Lease { in_use: in_use.clone(), name: name.to_owned() })
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        lock(&self.in_use).remove(&self.name);
    }
}
