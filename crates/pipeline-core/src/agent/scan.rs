//! Lists everything below the source.
//!
//! Depth first, by directory descriptors: a path is never handed to the system, so no path is too long. Sends while it
//! reads and keeps no names but those of the directories that it stands in: memory does not grow with the number of files.
//! Leaves to the collector which of the files to take.

use std::io::Write;
use std::os::fd::OwnedFd;

use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags, fstat, openat, statat};
use rustix::io::{Errno, Result};

use super::outbox::Outbox;
use super::vitals::{identity, words};
use crate::entry::{Entry, OtherKind};
use crate::path::{MAX_PATH_BYTES, RelPath};
use crate::rooted::{Rooted, file_type};
use crate::wire::{Reply, WireError};

/// Answers one `Scan`.
pub(super) fn answer<W: Write>(root: Result<&Rooted>, out: &mut Outbox<W>) -> std::result::Result<(), WireError> {
    let mut scan = Scan { out, path: Vec::new(), levels: Vec::new(), dev: 0, files: 0 };
    match root.and_then(|root| Level::open(openat(root, ".", DIRECTORY, Mode::empty())?, 0)) {
        Ok((level, dev)) => {
            scan.dev = dev;
            scan.levels.push(level);
            scan.run()?;
        }
        Err(error) => scan.unreadable(0, &words(error))?,
    }
    let files = scan.files;
    out.push(&Reply::Scanned { files })
}

const DIRECTORY: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

struct Scan<'o, W> {
    out: &'o mut Outbox<W>,
    /// The path of the entry in hand; each level knows how much of it is its own.
    path: Vec<u8>,
    levels: Vec<Level>,
    /// The file system of the source.
    dev: u64,
    files: u64,
}

/// A directory that is being read.
struct Level {
    dir: Dir,
    path_bytes: usize,
    mtime_ns: i64,
    /// Nothing was seen in it, not even an error.
    empty: bool,
    /// It was reported that names in it are too long.
    told_too_long: bool,
}

impl Level {
    /// And the file system that it is on.
    fn open(dir: OwnedFd, path_bytes: usize) -> Result<(Level, u64)> {
        let identity = identity(&fstat(&dir)?);
        let level =
            Level { dir: Dir::new(dir)?, path_bytes, mtime_ns: identity.mtime_ns, empty: true, told_too_long: false };
        Ok((level, identity.dev))
    }
}

impl<W: Write> Scan<'_, W> {
    fn run(&mut self) -> std::result::Result<(), WireError> {
        while let Some(level) = self.levels.last_mut() {
            let path_bytes = level.path_bytes;
            match level.dir.read() {
                Some(Ok(entry)) => {
                    let name = entry.file_name().to_bytes();
                    if name == b"." || name == b".." {
                        continue;
                    }
                    level.empty = false;
                    self.path.truncate(path_bytes);
                    if path_bytes > 0 {
                        self.path.push(b'/');
                    }
                    self.path.extend_from_slice(name);
                    self.look_at(name)?;
                }
                Some(Err(error)) => {
                    level.empty = false;
                    self.unreadable(path_bytes, &words(error))?;
                }
                None => self.leave()?,
            }
        }
        Ok(())
    }

    /// Looks at the entry whose path is in `self.path`. What has vanished since it was read is nobody's business.
    fn look_at(&mut self, name: &[u8]) -> std::result::Result<(), WireError> {
        let Some(level) = self.levels.last_mut() else { return Ok(()) };
        let Ok(path) = RelPath::new(&self.path[..]) else {
            let path_bytes = level.path_bytes;
            if std::mem::replace(&mut level.told_too_long, true) {
                return Ok(());
            }
            return self.unreadable(path_bytes, &format!("it holds paths of more than {MAX_PATH_BYTES} bytes"));
        };
        let dir = level.dir.fd();
        let stat = match dir.and_then(|dir| statat(dir, name, AtFlags::SYMLINK_NOFOLLOW)) {
            Ok(stat) => stat,
            Err(Errno::NOENT) => return Ok(()),
            Err(error) => return self.unreadable(self.path.len(), &words(error)),
        };
        let identity = identity(&stat);
        match file_type(&stat) {
            FileType::RegularFile => {
                self.files += 1;
                self.out.push(&Reply::Found(Entry { path, identity }))
            }
            FileType::Directory if identity.dev != self.dev => {
                self.out.push(&Reply::Other { path, kind: OtherKind::MountPoint })
            }
            FileType::Directory => self.enter(path, name),
            FileType::Symlink => self.out.push(&Reply::Other { path, kind: OtherKind::Symlink }),
            _ => self.out.push(&Reply::Other { path, kind: OtherKind::Special }),
        }
    }

    fn enter(&mut self, path: RelPath, name: &[u8]) -> std::result::Result<(), WireError> {
        let Some(above) = self.levels.last() else { return Ok(()) };
        let opened = above
            .dir
            .fd()
            .and_then(|dir| openat(dir, name, DIRECTORY, Mode::empty()))
            .and_then(|fd| Level::open(fd, self.path.len()));
        match opened {
            // Something was mounted there a moment ago.
            Ok((_, dev)) if dev != self.dev => self.out.push(&Reply::Other { path, kind: OtherKind::MountPoint }),
            Ok((level, _)) => {
                self.levels.push(level);
                Ok(())
            }
            // It is gone, or a file or link has taken its place: the next scan sees what.
            Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => Ok(()),
            Err(error) => self.unreadable(self.path.len(), &words(error)),
        }
    }

    fn leave(&mut self) -> std::result::Result<(), WireError> {
        let Some(level) = self.levels.pop() else { return Ok(()) };
        match RelPath::new(&self.path[..level.path_bytes]) {
            Ok(path) if level.empty => self.out.push(&Reply::EmptyDir { path, mtime_ns: level.mtime_ns }),
            // Something is in it, or it is the source itself, whose path is empty.
            _ => Ok(()),
        }
    }

    /// Reports the first bytes of `self.path`; none are the source itself.
    fn unreadable(&mut self, path_bytes: usize, reason: &str) -> std::result::Result<(), WireError> {
        self.out.push(&Reply::Unreadable { path: RelPath::new(&self.path[..path_bytes]).ok(), reason })
    }
}
