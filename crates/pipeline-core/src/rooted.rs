//! Files opened below one directory, never through a symlink; used on both sides.
//!
//! Guarantees: whatever a [`RelPath`] says and whoever rearranges the tree meanwhile, a call resolves it component by
//! component from the root's descriptor, and meets `ELOOP` where a component is a symbolic link. Files that are not regular
//! are never read from and never waited for. The root's own path may hold symbolic links: it is the user's.
//!
//! Leaves to others: what to do about an error. Errors are the system's own numbers, without the path, which the caller
//! has: `NOENT` and `NOTDIR` (nothing there), `LOOP` (a symbolic link), `ISDIR` and `NXIO` (not a regular file).
//!
//! RACE: a directory that is moved out of the root after it was resolved is still served through its descriptor. Only
//! somebody who may write to the root can do that, and no path of a peer can ask for it.

use std::fs::File;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::fs::{self, AtFlags, CWD, FileType, Mode, OFlags, ResolveFlags, Stat};
use rustix::io::{Errno, Result};

use crate::path::RelPath;

/// What every directory on the way is opened with.
const DIRECTORY: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

/// What every file is opened with: a FIFO without a writer must not block, a terminal must not become ours.
const FILE: OFlags = OFlags::NOFOLLOW.union(OFlags::NONBLOCK).union(OFlags::NOCTTY).union(OFlags::CLOEXEC);

/// The kernel may ask to look a path up again when somebody renames at the same time.
const MAX_TRIES: usize = 32;

/// Permissions of new directories, before the umask.
const NEW_DIRECTORY: Mode = Mode::from_raw_mode(0o777);

/// A directory below which files are opened.
#[derive(Debug)]
pub struct Rooted {
    dir: OwnedFd,
}

impl Rooted {
    /// Opens the directory. Symbolic links in `path` itself are followed.
    pub fn open(path: &Path) -> Result<Rooted> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        Ok(Rooted { dir: fs::openat(CWD, path, flags, Mode::empty())? })
    }

    /// Opens a directory below this one.
    pub fn open_dir(&self, path: &RelPath) -> Result<OwnedFd> {
        resolve(self.dir.as_fd(), path, DIRECTORY, Mode::empty())
    }

    /// Opens, or with `CREATE` makes, a regular file below this one. `mode` counts only for a new file, before the umask.
    ///
    /// Anything but a regular file is `LOOP`, `ISDIR` or `NXIO`; nothing is read from it.
    pub fn open_file(&self, path: &RelPath, flags: OFlags, mode: Mode) -> Result<File> {
        let fd = resolve(self.dir.as_fd(), path, flags | FILE, mode)?;
        match file_type(&fs::fstat(&fd)?) {
            FileType::RegularFile => Ok(File::from(fd)),
            FileType::Directory => Err(Errno::ISDIR),
            _ => Err(Errno::NXIO),
        }
    }

    /// Opens the directory that holds `path`, and returns it with the last component: for calls that take both, such as
    /// `unlinkat` and `renameat2`.
    pub fn parent<'p>(&self, path: &'p RelPath) -> Result<(OwnedFd, &'p [u8])> {
        let dir = match path.parent() {
            Some(parent) => self.open_dir(&parent)?,
            None => self.dir.try_clone().map_err(|e| Errno::from_io_error(&e).unwrap_or(Errno::MFILE))?,
        };
        Ok((dir, path.file_name()))
    }

    /// Looks at what lies at `path`. A symbolic link there is what is looked at.
    pub fn stat(&self, path: &RelPath) -> Result<Stat> {
        let (dir, name) = self.parent(path)?;
        fs::statat(dir, name, AtFlags::SYMLINK_NOFOLLOW)
    }

    /// Makes the directory and those above it that are missing. Returns those that it made, topmost first; after an error
    /// some may have been made.
    pub fn make_dirs(&self, path: &RelPath) -> Result<Vec<RelPath>> {
        match self.open_dir(path) {
            Ok(_) => return Ok(Vec::new()),
            Err(Errno::NOENT) => {}
            Err(error) => return Err(error),
        }
        let mut made = Vec::new();
        let mut above: Option<(RelPath, OwnedFd)> = None;
        for name in path.components() {
            let dir = above.as_ref().map_or(self.dir.as_fd(), |(_, fd)| fd.as_fd());
            // The components of a path, joined again, are a path.
            let here = match &above {
                Some((path, _)) => path.join(name),
                None => RelPath::new(name),
            }
            .map_err(|_| Errno::INVAL)?;
            match fs::mkdirat(dir, name, NEW_DIRECTORY) {
                Ok(()) => made.push(here.clone()),
                Err(Errno::EXIST) => {}
                // A read-only or foreign directory may well hold the next one already.
                Err(error) => drop(step(dir, name).map_err(|_| error)?),
            }
            let fd = step(dir, name)?;
            above = Some((here, fd));
        }
        Ok(made)
    }
}

impl AsFd for Rooted {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.dir.as_fd()
    }
}

/// The directory is the root from now on.
impl From<OwnedFd> for Rooted {
    fn from(dir: OwnedFd) -> Rooted {
        Rooted { dir }
    }
}

/// What kind of file a `stat` is about.
pub fn file_type(stat: &Stat) -> FileType {
    FileType::from_raw_mode(stat.st_mode)
}

/// Opens `path` below `root`, by the kernel where it can and by our own steps where it can't.
fn resolve(root: BorrowedFd<'_>, path: &RelPath, flags: OFlags, mode: Mode) -> Result<OwnedFd> {
    match by_kernel(root, path, flags, mode) {
        // NOSYS: older than Linux 5.6. PERM: a sandbox that does not know the call (or an error that comes again).
        // NAMETOOLONG: a path of 4,096 bytes and its end don't fit a system call (or a component is too long).
        Err(Errno::NOSYS | Errno::PERM | Errno::NAMETOOLONG) => by_steps(root, path, flags, mode),
        result => result,
    }
}

fn by_kernel(root: BorrowedFd<'_>, path: &RelPath, flags: OFlags, mode: Mode) -> Result<OwnedFd> {
    let how = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
    // Unlike openat, openat2 refuses a mode that has no meaning.
    let mode = if flags.intersects(OFlags::CREATE | OFlags::TMPFILE) { mode } else { Mode::empty() };
    // NO_SYMLINKS covers the last component too, and with it alone a link is `LOOP` even where a directory is asked for.
    let flags = flags.difference(OFlags::NOFOLLOW);
    for _ in 1..MAX_TRIES {
        match fs::openat2(root, path.as_bytes(), flags, mode, how) {
            Err(Errno::AGAIN | Errno::INTR) => {}
            result => return result,
        }
    }
    fs::openat2(root, path.as_bytes(), flags, mode, how)
}

fn by_steps(root: BorrowedFd<'_>, path: &RelPath, flags: OFlags, mode: Mode) -> Result<OwnedFd> {
    let mut components = path.components().peekable();
    let mut above: Option<OwnedFd> = None;
    while let Some(name) = components.next() {
        let dir = above.as_ref().map_or(root, |fd| fd.as_fd());
        if components.peek().is_none() {
            return fs::openat(dir, name, flags | OFlags::NOFOLLOW, mode).map_err(|e| name_links(e, dir, name));
        }
        above = Some(step(dir, name)?);
    }
    Err(Errno::NOENT)
}

/// Opens the directory `name` in `dir`.
fn step(dir: BorrowedFd<'_>, name: &[u8]) -> Result<OwnedFd> {
    fs::openat(dir, name, DIRECTORY, Mode::empty()).map_err(|e| name_links(e, dir, name))
}

/// `openat` calls a link "not a directory" where one was asked for; [`by_kernel`] calls every link `LOOP`.
fn name_links(error: Errno, dir: BorrowedFd<'_>, name: &[u8]) -> Errno {
    let is_link = || fs::statat(dir, name, AtFlags::SYMLINK_NOFOLLOW).is_ok_and(|s| file_type(&s) == FileType::Symlink);
    if error == Errno::NOTDIR && is_link() { Errno::LOOP } else { error }
}

#[cfg(test)]
mod tests;
