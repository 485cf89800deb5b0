//! A file as it was when it was looked at.

use std::fs::Metadata;
use std::io::{self, ErrorKind};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::ChangeError;

/// Content and identity of a file, which may be missing.
#[derive(Clone, Debug)]
pub struct Original {
    /// Where it really lies: symlinks followed.
    target: PathBuf,
    found: Option<Found>,
}

#[derive(Clone, Debug)]
struct Found {
    bytes: Vec<u8>,
    identity: Identity,
}

/// What tells one state of a file from another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Identity {
    device: u64,
    inode: u64,
    size: u64,
    modified: (i64, i64),
    pub mode: u32,
    pub owner: (u32, u32),
}

/// As many as Linux follows.
const MAX_LINKS: usize = 40;

impl Original {
    /// Reads a file. A missing one is no error, nor is a symlink that leads nowhere yet. A device, a pipe or a directory is: what
    /// is written takes the place of what was read.
    pub fn read(path: &Path) -> Result<Original, ChangeError> {
        let fail = |source| ChangeError::Read { path: path.to_owned(), source };
        let target = follow(path).map_err(fail)?;
        // Identity first: what changes while we read is noticed when it is to be replaced.
        let found = match metadata(&target).map_err(fail)? {
            None => None,
            Some(metadata) if !metadata.is_file() => return Err(ChangeError::NotAFile { path: path.to_owned() }),
            Some(metadata) => {
                Some(Found { identity: Identity::from(&metadata), bytes: std::fs::read(&target).map_err(fail)? })
            }
        };
        Ok(Original { target, found })
    }

    /// What it held; none where it was not there.
    pub fn bytes(&self) -> Option<&Vec<u8>> {
        self.found.as_ref().map(|found| &found.bytes)
    }

    /// The same as text; bytes that are not UTF-8 are shown as `�`.
    pub fn text(&self) -> std::borrow::Cow<'_, str> {
        self.bytes().map_or_else(Default::default, |bytes| String::from_utf8_lossy(bytes))
    }

    /// The same for a file that is ours, and has to be UTF-8.
    pub fn utf8(&self) -> Result<&str, ChangeError> {
        let bytes = self.bytes().map_or(&[][..], Vec::as_slice);
        std::str::from_utf8(bytes).map_err(|_| ChangeError::Read {
            path: self.target.clone(),
            source: io::Error::new(ErrorKind::InvalidData, "a line is not UTF-8"),
        })
    }

    pub(super) fn target(&self) -> &Path {
        &self.target
    }

    pub(super) fn identity(&self) -> Option<Identity> {
        self.found.as_ref().map(|found| found.identity)
    }
}

impl Identity {
    /// None where there is nothing.
    pub(super) fn of(path: &Path) -> io::Result<Option<Identity>> {
        Ok(metadata(path)?.as_ref().map(Identity::from))
    }
}

fn metadata(path: &Path) -> io::Result<Option<Metadata>> {
    match path.metadata() {
        Ok(metadata) => Ok(Some(metadata)),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

impl From<&Metadata> for Identity {
    fn from(metadata: &Metadata) -> Identity {
        Identity {
            device: metadata.dev(),
            inode: metadata.ino(),
            size: metadata.size(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
            mode: metadata.mode() & 0o7777,
            owner: (metadata.uid(), metadata.gid()),
        }
    }
}

/// Where symlinks lead, to a file that need not be there.
fn follow(path: &Path) -> io::Result<PathBuf> {
    let mut path = path.to_owned();
    for _ in 0..MAX_LINKS {
        match std::fs::read_link(&path) {
            Ok(link) => path = path.parent().unwrap_or(Path::new("/")).join(link),
            Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::InvalidInput) => return Ok(path),
            Err(error) => return Err(error),
        }
    }
    Err(rustix::io::Errno::LOOP.into())
}
