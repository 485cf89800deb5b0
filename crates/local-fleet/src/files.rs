//! Writing and listing trees of files, whatever their names and however deep.
//!
//! Names are bytes, and a path may be longer than the 4,096 bytes that one system call takes: everything is opened in steps,
//! relative to a directory that is open. No symbolic link is followed.

use std::collections::BTreeMap;
use std::fs::{File, FileTimes};
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::SystemTime;

use rustix::fs::{AtFlags, CWD, Dir, FileType, Mode, OFlags, mkdirat, openat, statat};
use rustix::io::Errno;
use sha2::{Digest, Sha256};

use crate::{Error, Result};

/// The longest path that is given to one system call.
const STEP_BYTES: usize = 2048;

const DIRECTORY: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

/// What there is to know of a file, so that two trees can be compared.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileFacts {
    /// Its length.
    pub bytes: u64,
    /// SHA-256 of its content, in hex.
    pub sha256: String,
    /// When it was modified, in nanoseconds since 1970.
    pub mtime_ns: i128,
}

/// Lists every regular file below `dir`, by its path relative to it. What vanishes meanwhile is left out.
pub fn snapshot(dir: &Path) -> Result<BTreeMap<Vec<u8>, FileFacts>> {
    let failed = |cause: io::Error| Error::File { doing: "list", path: dir.into(), cause };
    let root = openat(CWD, dir, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
        .map_err(|errno| failed(errno.into()))?;
    let mut found = BTreeMap::new();
    let mut pending = vec![Vec::new()];
    while let Some(path) = pending.pop() {
        match list(root.as_fd(), &path, &mut pending, &mut found) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(failed(error)),
            _ => {}
        }
    }
    Ok(found)
}

/// Lists one directory: its files into `found`, its directories into `pending`.
fn list(
    root: BorrowedFd<'_>,
    path: &[u8],
    pending: &mut Vec<Vec<u8>>,
    found: &mut BTreeMap<Vec<u8>, FileFacts>,
) -> io::Result<()> {
    let dir = open_below(root, path)?;
    for entry in Dir::read_from(&dir)? {
        let entry = entry?;
        let name = entry.file_name();
        if matches!(name.to_bytes(), b"." | b"..") {
            continue;
        }
        let mut below = path.to_vec();
        if !below.is_empty() {
            below.push(b'/');
        }
        below.extend_from_slice(name.to_bytes());
        let kind = match statat(&dir, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => FileType::from_raw_mode(stat.st_mode),
            Err(Errno::NOENT) => continue,
            Err(errno) => return Err(errno.into()),
        };
        match kind {
            FileType::Directory => pending.push(below),
            FileType::RegularFile => {
                match openat(&dir, name, OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty()) {
                    Ok(file) => drop(found.insert(below, facts(File::from(file))?)),
                    Err(Errno::NOENT) => {}
                    Err(errno) => return Err(errno.into()),
                }
            }
            _ => {}
        }
    }
    Ok(())
}

fn facts(mut file: File) -> io::Result<FileFacts> {
    let mut digest = Sha256::new();
    let mut buffer = vec![0; 64 * 1024];
    let mut bytes = 0;
    loop {
        let read = file.read(&mut buffer)?;
        if read == 0 {
            break;
        }
        bytes += read as u64;
        digest.update(&buffer[..read]);
    }
    let metadata = file.metadata()?;
    let sha256 = digest.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
    let mtime_ns = i128::from(metadata.mtime()) * 1_000_000_000 + i128::from(metadata.mtime_nsec());
    Ok(FileFacts { bytes, sha256, mtime_ns })
}

/// Writes a file below `dir`, parents included, and gives it that modification time.
pub fn write(dir: &Path, path: &[u8], content: &[u8], modified: SystemTime) -> Result<()> {
    let write = || -> io::Result<()> {
        let mut parent = openat(CWD, dir, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
        let (parents, name) = match path.iter().rposition(|&byte| byte == b'/') {
            Some(slash) => (&path[..slash], &path[slash + 1..]),
            None => (&b""[..], path),
        };
        for component in parents.split(|&byte| byte == b'/').filter(|component| !component.is_empty()) {
            match mkdirat(&parent, component, Mode::from_raw_mode(0o755)) {
                Ok(()) | Err(Errno::EXIST) => {}
                Err(errno) => return Err(errno.into()),
            }
            parent = openat(&parent, component, DIRECTORY, Mode::empty())?;
        }
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::TRUNC | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let mut file = File::from(openat(&parent, name, flags, Mode::from_raw_mode(0o644))?);
        file.write_all(content)?;
        file.set_times(FileTimes::new().set_modified(modified))
    };
    write().map_err(Error::file("write below", dir))
}

/// Opens a directory below `root`, in steps that a system call can take.
fn open_below(root: BorrowedFd<'_>, path: &[u8]) -> io::Result<OwnedFd> {
    let mut dir = openat(root, ".", DIRECTORY, Mode::empty())?;
    let mut rest = path;
    while !rest.is_empty() {
        let end = if rest.len() <= STEP_BYTES {
            rest.len()
        } else {
            // A component is at most 255 bytes, so there is a slash.
            rest[..STEP_BYTES].iter().rposition(|&byte| byte == b'/').unwrap_or(rest.len())
        };
        dir = openat(&dir, &rest[..end], DIRECTORY, Mode::empty())?;
        rest = rest.get(end + 1..).unwrap_or_default();
    }
    Ok(dir)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::time::{Duration, UNIX_EPOCH};

    use super::*;

    #[test]
    fn a_tree_is_listed_as_it_was_written() {
        let dir = tempfile::tempdir().unwrap();
        let modified = UNIX_EPOCH + Duration::new(1_700_000_000, 123_456_789);
        let deep = vec![b"0123456789abcde".as_slice(); 312].join(&b'/');
        let names: [&[u8]; 5] = [b"-rf", b"a\nb/\xff\xfe", b"a\nb/c d ", b"...", &deep];
        for name in names {
            write(dir.path(), name, b"bees\n", modified).unwrap();
        }
        std::os::unix::fs::symlink("-rf", dir.path().join("link")).unwrap();

        let found = snapshot(dir.path()).unwrap();
        // echo bees | sha256sum
        let sha256 = "0c07e067bf83d961931e366611e6079053a952954aa441d9a506c21dc1be681a";
        let facts = FileFacts { bytes: 5, sha256: sha256.into(), mtime_ns: 1_700_000_000_123_456_789 };
        let expected = names.iter().map(|name| (name.to_vec(), facts.clone())).collect();
        assert_eq!(found, expected);
        assert!(deep.len() > 4096, "longer than one call takes");
    }
}
