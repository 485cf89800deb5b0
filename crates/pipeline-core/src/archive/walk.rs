//! Every file in the storage that could be an archived one, in no particular order.
//!
//! Guarantees: follows no symbolic link, changes nothing, and leaves out what is the pipeline's own: marker, staging, manifests.
//! Memory is that of the directories that are still to be looked at, however many files they hold. Leaves to others: which of the
//! files are known (the catalog). A file that is made, moved or removed meanwhile may be told or not.

use rustix::fs::{AtFlags, Dir, FileType, statat};
use rustix::io::Errno;

use crate::archive::Archive;
use crate::archive::error::{ArchiveError, failed};
use crate::archive::layout::{MANIFEST_DIR, PRIVATE_DIR, VERSION_DIR};
use crate::archive::store::{Store, below};
use crate::path::RelPath;
use crate::rooted::file_type;

/// Made by `mkfs` at the top of a file system, for nobody but root.
const LOST_AND_FOUND: &str = "lost+found";

/// One thing that lies in the storage.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Lies {
    /// A file, or a link or a special file.
    File(RelPath),
    /// A directory of which not everything can be seen; why, in words.
    Hidden(RelPath, String),
}

/// See [`Archive::walk`].
pub struct Walk<'a> {
    store: &'a Store,
    /// Directories to look at; none is the root.
    pending: Vec<Option<RelPath>>,
    here: Option<(Option<RelPath>, Dir)>,
}

impl Archive {
    /// Goes through the whole storage. An error is the storage's affair.
    pub fn walk(&self) -> Walk<'_> {
        Walk { store: &self.store, pending: vec![Some(below(&[VERSION_DIR])), None], here: None }
    }
}

impl Walk<'_> {
    /// Begins with the next directory. Where that is not possible: what is to be said of it, if anything.
    fn enter(&mut self, dir: Option<RelPath>) -> Result<Option<Lies>, ArchiveError> {
        let opened = match &dir {
            Some(path) => self.store.root.open_dir(path),
            None => rustix::io::fcntl_dupfd_cloexec(&self.store.root, 0),
        };
        match (opened.and_then(Dir::read_from), dir) {
            (Ok(open), dir) => self.here = Some((dir, open)),
            // Gone meanwhile, or never there, as the directory of versions.
            (Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP), Some(_)) => {}
            (Err(Errno::ACCESS | Errno::PERM), Some(path)) => {
                let why = "the user that runs pipeline is not allowed to list it";
                return Ok(Some(Lies::Hidden(path, why.into())));
            }
            (Err(error), dir) => return Err(self.failed(dir.as_ref(), error)),
        }
        Ok(None)
    }

    /// The next thing in the directory at hand; none at its end, or where there is nothing to say of it.
    fn step(&mut self) -> Result<Option<Lies>, ArchiveError> {
        let Some((dir, open)) = &mut self.here else { return Ok(None) };
        let entry = match open.next() {
            None => {
                self.here = None;
                return Ok(None);
            }
            Some(Err(error)) => {
                let dir = dir.clone();
                return Err(self.failed(dir.as_ref(), error));
            }
            Some(Ok(entry)) => entry,
        };
        let name = entry.file_name().to_bytes();
        let ours = [PRIVATE_DIR, MANIFEST_DIR, LOST_AND_FOUND];
        if matches!(name, b"." | b"..") || dir.is_none() && ours.iter().any(|ours| ours.as_bytes() == name) {
            return Ok(None);
        }
        let path = match dir {
            Some(dir) => dir.join(name),
            None => RelPath::new(name),
        };
        let Ok(path) = path else {
            let here =
                dir.clone().map(|dir| Lies::Hidden(dir, "a path in it is longer than any that was stored".into()));
            return Ok(here);
        };
        let kind = match entry.file_type() {
            // Some file systems don't say it in the list.
            FileType::Unknown => match open.fd().and_then(|fd| statat(fd, name, AtFlags::SYMLINK_NOFOLLOW)) {
                Ok(stat) => file_type(&stat),
                Err(Errno::NOENT) => return Ok(None),
                Err(error) => return Err(self.failed(Some(&path), error)),
            },
            kind => kind,
        };
        if kind == FileType::Directory {
            self.pending.push(Some(path));
            return Ok(None);
        }
        Ok(Some(Lies::File(path)))
    }

    fn failed(&self, path: Option<&RelPath>, error: Errno) -> ArchiveError {
        failed(&self.store.path, "list", path.map_or(&b""[..], RelPath::as_bytes), error)
    }
}

impl Iterator for Walk<'_> {
    type Item = Result<Lies, ArchiveError>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let lies = if self.here.is_some() {
                self.step()
            } else {
                let dir = self.pending.pop()?;
                self.enter(dir)
            };
            if let Some(lies) = lies.transpose() {
                if lies.is_err() {
                    // Nothing can be said of the rest.
                    self.here = None;
                    self.pending.clear();
                }
                return Some(lies);
            }
        }
    }
}
