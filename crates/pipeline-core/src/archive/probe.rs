//! Finds out what a storage can do, by trying it in a directory of its own.
//!
//! Guarantees: touches nothing outside `.pipeline/probe-*`, and leaves nothing there. An error that has nothing to do with
//! abilities (no room, read-only, the mount went away) ends the probe instead of being taken for a missing ability: what is
//! found here is kept. Leaves to others: what follows from it ([`super::capabilities`]).

use std::fs::File;
use std::io::Write;
use std::path::Path;

use rustix::fd::{AsFd, OwnedFd};
use rustix::fs::{
    AtFlags, Dir, Mode, OFlags, RenameFlags, Timespec, Timestamps, fchmod, fstat, fstatfs, fsync, futimens, linkat,
    mkdirat, openat, renameat_with, statat, unlinkat,
};
use rustix::io::{Errno, Result};

use crate::archive::capabilities::Capabilities;
use crate::archive::error::{ArchiveError, failed};
use crate::archive::layout::PRIVATE_DIR;
use crate::archive::names::{MAX_NAME_BYTES, MIN_NAME_BYTES, NameRules, SUSPECT_CHARACTERS};
use crate::archive::store::{NEW_DIR, NEW_FILE, below, is_unsupported, random_hex};
use crate::rooted::Rooted;

const PREFIX: &str = "probe-";

/// A probe directory this much older than ours was left by a killed `init`, by the storage's own clock.
const LEFT_BEHIND_SECONDS: i64 = 3600;

/// A moment with nanoseconds, an odd second, and no zeros that a coarser clock would leave as they are.
const MOMENT: Timespec = Timespec { tv_sec: 1_000_000_001, tv_nsec: 123_456_789 };

/// What the system calls the kind of file system.
pub(super) struct FileSystem {
    pub name: String,
    /// Behind a network or another process, or unknown: its page cache says nothing about what is stored.
    pub network: bool,
}

impl FileSystem {
    /// Asks about the file system that `dir` lies on. The numbers are those of statfs(2) and `linux/magic.h`.
    pub fn of(dir: impl AsFd, storage: &Path) -> std::result::Result<FileSystem, ArchiveError> {
        let stat = fstatfs(dir).map_err(|e| failed(storage, "ask about the file system of", b"", e))?;
        #[allow(clippy::cast_possible_truncation)]
        // the word's size differs by architecture; the numbers are of 32 bits
        Ok(FileSystem::known(stat.f_type as u32))
    }

    fn known(magic: u32) -> FileSystem {
        let (name, network) = match magic {
            0x0000_EF53 => ("ext4", false),
            0x5846_5342 => ("xfs", false),
            0x9123_683E => ("btrfs", false),
            0x2FC1_2FC1 => ("zfs", false),
            0xF2F5_2010 => ("f2fs", false),
            0xCA45_1A4E => ("bcachefs", false),
            0x0102_1994 => ("tmpfs", false),
            0x794C_7630 => ("overlayfs", false),
            0x0000_4D44 => ("vfat", false),
            0x2011_BAB0 => ("exfat", false),
            0x7366_746E => ("ntfs", false),
            0x0000_F15F => ("ecryptfs", false),
            0x0000_6969 => ("nfs", true),
            0xFF53_4D42 => ("cifs", true),
            0xFE53_4D42 => ("smb2", true),
            0x0000_517B => ("smb", true),
            0x6573_5546 => ("fuse", true),
            0x0102_1997 => ("9p", true),
            0x00C3_6400 => ("ceph", true),
            0x0BD0_0BD0 => ("lustre", true),
            0x4750_4653 => ("gpfs", true),
            0x1983_0326 => ("beegfs", true),
            0x5346_414F | 0x6B41_4653 => ("afs", true),
            0x786F_4256 => ("vboxsf", true),
            _ => return FileSystem { name: format!("of type {magic:#x}"), network: true },
        };
        FileSystem { name: name.into(), network }
    }
}

/// Tries everything. `root` is the storage at `path`; `.pipeline` is there.
pub(super) fn probe(root: &Rooted, path: &Path) -> std::result::Result<Capabilities, ArchiveError> {
    let file_system = FileSystem::of(root, path)?;
    let name = format!("{PREFIX}{}", random_hex(path)?);
    let at = below(&[PRIVATE_DIR, &name]);
    let open = || {
        let private = root.open_dir(&below(&[PRIVATE_DIR]))?;
        mkdirat(&private, name.as_str(), NEW_DIR)?;
        let dir = root.open_dir(&at)?;
        Ok(Probe { private, name, dir })
    };
    let probe = open().map_err(|e: Errno| failed(path, "create", at.as_bytes(), e))?;
    let capabilities = probe.run(file_system).map_err(|e| failed(path, "try out", at.as_bytes(), e))?;
    probe.sweep_left_behind();
    Ok(capabilities)
}

/// A directory to try things in. Removed with all it holds when dropped.
struct Probe {
    private: OwnedFd,
    name: String,
    dir: OwnedFd,
}

impl Probe {
    fn run(&self, file_system: FileSystem) -> Result<Capabilities> {
        Ok(Capabilities {
            file_system: file_system.name,
            network: file_system.network,
            sync_files: can(fsync(self.create("sync")?))?,
            sync_directories: can(fsync(&self.dir))?,
            rename_without_replacing: self.renames_without_replacing()?,
            hard_links: self.links()?,
            exclusive_create: self.creates_exclusively()?,
            time_step_ns: self.time_step_ns()?,
            permissions: self.keeps_permissions()?,
            case_sensitive: self.tells_apart("case", "CASE")?,
            distinct_unicode_forms: self.tells_apart("\u{e9}", "e\u{301}")?,
            names: self.names()?,
        })
    }

    fn names(&self) -> Result<NameRules> {
        let mut characters = String::new();
        for c in SUSPECT_CHARACTERS.chars() {
            // In the middle, and where it ends the name: NTFS reads "n:x" as a stream of the file "n".
            if !self.holds(format!("n{c}x").as_bytes())? || !self.holds(format!("n{c}").as_bytes())? {
                characters.push(c);
            }
        }
        let holds_all = |names: &[&[u8]]| -> Result<bool> {
            for name in names {
                if !self.holds(name)? {
                    return Ok(false);
                }
            }
            Ok(true)
        };
        Ok(NameRules {
            characters,
            control_characters: !holds_all(&[b"n\x01x", b"n\nx", b"n\tx", b"n\x1fx", b"n\x7fx"])?,
            trailing_dot: !holds_all(&[b"n.", b"..."])?,
            trailing_space: !holds_all(&[b"n ", b" "])?,
            dos_names: !holds_all(&[b"aux.h", b"con", b"com1.txt", b"NUL"])?,
            non_utf8: !holds_all(&[b"n\xffx", b"n\xc3"])?,
            max_bytes: self.longest_name()?,
        })
    }

    /// Whether a file of this name can be made, is listed under exactly this name, and is found and removed by it.
    fn holds(&self, name: &[u8]) -> Result<bool> {
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = match openat(&self.dir, name, flags, NEW_FILE) {
            Ok(fd) => File::from(fd),
            Err(error) => return refusal(error).map(|()| false),
        };
        drop(file);
        let listed = self.list()?.iter().any(|listed| listed == name);
        let removed = can(unlinkat(&self.dir, name, AtFlags::empty()))?;
        let gone = !self.list()?.iter().any(|listed| listed == name);
        Ok(listed && removed && gone)
    }

    fn longest_name(&self) -> Result<usize> {
        let (mut held, mut refused) = (MIN_NAME_BYTES, MAX_NAME_BYTES + 1);
        let mut next = MAX_NAME_BYTES;
        while refused - held > 1 {
            let limit = if self.holds(&vec![b'n'; next])? { &mut held } else { &mut refused };
            *limit = next;
            next = usize::midpoint(held, refused);
        }
        Ok(held)
    }

    fn renames_without_replacing(&self) -> Result<bool> {
        self.create("from")?;
        self.create("taken")?;
        let rename = |to: &str| renameat_with(&self.dir, "from", &self.dir, to, RenameFlags::NOREPLACE);
        // A storage that ignores the flag is as good as one that does not know it.
        match rename("taken") {
            Err(Errno::EXIST) => can(rename("free")),
            Err(error) => refusal(error).map(|()| false),
            Ok(()) => Ok(false),
        }
    }

    fn links(&self) -> Result<bool> {
        self.create("linked")?;
        if !can(linkat(&self.dir, "linked", &self.dir, "link", AtFlags::empty()))? {
            return Ok(false);
        }
        // It must refuse to replace, too.
        Ok(linkat(&self.dir, "linked", &self.dir, "link", AtFlags::empty()) == Err(Errno::EXIST))
    }

    fn creates_exclusively(&self) -> Result<bool> {
        self.create("exclusive")?;
        match self.create("exclusive") {
            Err(Errno::EXIST) => Ok(true),
            Err(error) => refusal(error).map(|()| false),
            Ok(_) => Ok(false),
        }
    }

    /// The coarsest known step that explains what became of [`MOMENT`].
    fn time_step_ns(&self) -> Result<Option<u64>> {
        let file = self.create("time")?;
        if !can(futimens(&file, &Timestamps { last_access: MOMENT, last_modification: MOMENT }))? {
            return Ok(None);
        }
        drop(file);
        let stat = statat(&self.dir, "time", AtFlags::SYMLINK_NOFOLLOW)?;
        let ns = |sec: i64, nsec: u64| i128::from(sec) * 1_000_000_000 + i128::from(nsec);
        #[allow(clippy::unnecessary_cast)] // the types differ by architecture
        let got = ns(stat.st_mtime as i64, stat.st_mtime_nsec as u64);
        let set = ns(MOMENT.tv_sec, MOMENT.tv_nsec.unsigned_abs());
        let steps = [1, 100, 1_000, 1_000_000, 1_000_000_000, 2_000_000_000_u64];
        Ok(steps.into_iter().find(|&step| got.abs_diff(set) < u128::from(step)))
    }

    fn keeps_permissions(&self) -> Result<bool> {
        let file = self.create("mode")?;
        for mode in [0o640, 0o600] {
            if !can(fchmod(&file, Mode::from_raw_mode(mode)))? || fstat(&file)?.st_mode & 0o777 != mode {
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn tells_apart(&self, name: &str, other: &str) -> Result<bool> {
        self.create(name)?;
        match statat(&self.dir, other, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(_) => Ok(false),
            Err(Errno::NOENT) => Ok(true),
            Err(error) => refusal(error).map(|()| true),
        }
    }

    /// A new file with a byte in it.
    fn create(&self, name: &str) -> Result<File> {
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let mut file = File::from(openat(&self.dir, name, flags, NEW_FILE)?);
        file.write_all(b"x").map_err(|e| Errno::from_io_error(&e).unwrap_or(Errno::IO))?;
        Ok(file)
    }

    fn list(&self) -> Result<Vec<Vec<u8>>> {
        names_in(&self.dir)
    }

    /// Removes what earlier probes left when they were killed.
    fn sweep_left_behind(&self) {
        // Best effort: what stays is small, and the next `init` tries again.
        let Ok(ours) = fstat(&self.dir) else { return };
        for name in names_in(&self.private).unwrap_or_default() {
            let Ok(stat) = statat(&self.private, name.as_slice(), AtFlags::SYMLINK_NOFOLLOW) else { continue };
            #[allow(clippy::unnecessary_cast)] // the type differs by architecture
            let old = ours.st_mtime as i64 - stat.st_mtime as i64 > LEFT_BEHIND_SECONDS;
            if name.starts_with(PREFIX.as_bytes()) && old {
                remove(&self.private, &name);
            }
        }
    }
}

impl Drop for Probe {
    fn drop(&mut self) {
        remove(&self.private, self.name.as_bytes());
    }
}

/// Removes a directory of files, as far as that works.
fn remove(parent: &OwnedFd, name: &[u8]) {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    if let Ok(dir) = openat(parent, name, flags, Mode::empty()) {
        for file in names_in(&dir).unwrap_or_default() {
            unlinkat(&dir, file.as_slice(), AtFlags::empty()).ok();
        }
    }
    unlinkat(parent, name, AtFlags::REMOVEDIR).ok();
}

/// What a directory holds, without `.` and `..`.
pub(super) fn names_in(dir: impl AsFd) -> Result<Vec<Vec<u8>>> {
    let mut names = Vec::new();
    for entry in Dir::read_from(dir)? {
        let name = entry?.file_name().to_bytes().to_vec();
        if !matches!(&name[..], b"." | b"..") {
            names.push(name);
        }
    }
    Ok(names)
}

/// Whether a call worked, or the error if it says nothing about abilities.
fn can(result: Result<()>) -> Result<bool> {
    match result {
        Ok(()) => Ok(true),
        Err(error) => refusal(error).map(|()| false),
    }
}

/// Fine where the error is a storage's way to say no; otherwise the error.
fn refusal(error: Errno) -> Result<()> {
    let no = is_unsupported(error)
        || matches!(
            error,
            Errno::ACCESS
                | Errno::EXIST
                | Errno::ILSEQ
                | Errno::IO
                | Errno::ISDIR
                | Errno::MLINK
                | Errno::NAMETOOLONG
                | Errno::NOENT
                | Errno::NOTDIR
                | Errno::NOTTY
                | Errno::PERM
                | Errno::PROTO
        );
    if no { Ok(()) } else { Err(error) }
}
