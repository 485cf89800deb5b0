//! Who has a file open for writing, as `/proc` tells.
//!
//! Sees the processes that the agent may look into: all of them for root, those of the same user otherwise. Leaves the rest, and
//! files that are only mapped, to the [`lease`](super::lease).

use std::collections::HashSet;
use std::time::{Duration, Instant};

use rustix::fs::{AtFlags, CWD, Dir, Mode, OFlags, openat, statat};
use rustix::io::Errno;

use crate::entry::Identity;

/// Device and inode.
type FileId = (u64, u64);

/// A look at all open files. It costs a few milliseconds, so one serves many files.
pub(super) struct Writers {
    wanted: HashSet<FileId>,
    found: HashSet<FileId>,
    looked: Instant,
    /// Some process could not be looked into.
    blind: bool,
}

impl Writers {
    /// Looks for writers of any of the files.
    pub(super) fn of<'a>(files: impl Iterator<Item = &'a Identity>) -> Writers {
        let mut writers = Writers {
            wanted: files.map(file_id).collect(),
            found: HashSet::new(),
            looked: Instant::now(),
            blind: false,
        };
        writers.look();
        writers
    }

    /// Looks again if the last look is older than this.
    pub(super) fn refresh(&mut self, oldest: Duration) {
        if self.looked.elapsed() > oldest {
            self.look();
        }
    }

    /// Whether somebody had the file open for writing when we looked.
    pub(super) fn have(&self, file: &Identity) -> bool {
        self.found.contains(&file_id(file))
    }

    /// Whether there are processes that may not be looked into, so that nobody found does not mean nobody.
    pub(super) fn is_blind(&self) -> bool {
        self.blind
    }

    fn look(&mut self) {
        self.looked = Instant::now();
        self.found.clear();
        self.blind = false;
        // Processes and descriptors come and go meanwhile: whatever is not there any more is passed over.
        let listed = open_dir(CWD, b"/proc").and_then(|fd| Ok((Dir::read_from(&fd)?, fd)));
        let Ok((names, processes)) = listed else {
            self.blind = true;
            return;
        };
        for process in names.flatten() {
            let name = process.file_name().to_bytes();
            if name.iter().all(u8::is_ascii_digit) {
                self.look_at(&processes, name);
            }
        }
    }

    fn look_at(&mut self, processes: &rustix::fd::OwnedFd, process: &[u8]) -> Option<()> {
        let descriptors = match open_dir(processes, &[process, b"/fd"].concat()) {
            Ok(descriptors) => descriptors,
            Err(error) => {
                self.blind |= matches!(error, Errno::ACCESS | Errno::PERM);
                return None;
            }
        };
        let names = match Dir::read_from(&descriptors) {
            Ok(names) => names,
            Err(error) => {
                self.blind |= matches!(error, Errno::ACCESS | Errno::PERM);
                return None;
            }
        };
        for descriptor in names.flatten() {
            let name = descriptor.file_name();
            // The owner's permissions on these links are those that the file was opened with: proc(5), fs/proc/fd.c.
            let link = statat(&descriptors, name, AtFlags::SYMLINK_NOFOLLOW);
            if !link.is_ok_and(|link| Mode::from_raw_mode(link.st_mode).contains(Mode::WUSR)) {
                continue;
            }
            if let Ok(file) = statat(&descriptors, name, AtFlags::empty()) {
                let id = file_id(&super::vitals::identity(&file));
                if self.wanted.contains(&id) {
                    self.found.insert(id);
                }
            }
        }
        Some(())
    }
}

fn file_id(identity: &Identity) -> FileId {
    (identity.dev, identity.ino)
}

fn open_dir(dir: impl rustix::fd::AsFd, name: &[u8]) -> Result<rustix::fd::OwnedFd, Errno> {
    openat(dir, name, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::fs::File;

    use super::*;

    #[test]
    fn sees_who_writes_and_not_who_reads() {
        let dir = tempfile::tempdir().unwrap();
        let path = |name: &str| dir.path().join(name);
        let identity = |name: &str| {
            std::fs::write(path(name), name).unwrap();
            super::super::vitals::identity(&rustix::fs::stat(path(name)).unwrap())
        };
        let (written, appended, updated, read) = (identity("w"), identity("a"), identity("u"), identity("r"));
        let all = [written, appended, updated, read];
        let open = [
            File::options().write(true).open(path("w")).unwrap(),
            File::options().append(true).open(path("a")).unwrap(),
            File::options().read(true).write(true).open(path("u")).unwrap(),
            File::open(path("r")).unwrap(),
        ];
        let mut writers = Writers::of(all.iter());
        assert_eq!(all.map(|file| writers.have(&file)), [true, true, true, false]);
        assert!(!Writers::of([read].iter()).have(&written), "only what was asked for is kept");
        drop(open);
        writers.refresh(Duration::MAX);
        assert!(writers.have(&written), "a look that is fresh enough is not repeated");
        writers.refresh(Duration::ZERO);
        assert_eq!(all.map(|file| writers.have(&file)), [false; 4]);
    }
}
