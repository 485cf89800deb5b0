//! Where an export is written: a file or a directory that was not there before.
//!
//! Guarantees: whole or absent, also if the power fails: what is written has another name until it is on disk, and takes its own
//! name without replacing anything. Nothing is written into the storage or the state directory, whatever
//! name they are called by. Killed in between, it leaves
//! `.NAME.NUMBER.partial` beside the name, which anybody may delete; an error leaves nothing.

use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, RenameFlags, renameat_with, syncfs};
use rustix::io::Errno;

use super::ExportError;
use crate::config::Config;

/// Directories that nothing is exported into. Neither need be there.
#[derive(Clone, Copy, Debug)]
pub struct Kept<'a> {
    /// What was received.
    pub storage: &'a Path,
    /// What pipeline remembers.
    pub state_dir: &'a Path,
}

impl<'a> From<&'a Config> for Kept<'a> {
    fn from(config: &'a Config) -> Kept<'a> {
        Kept { storage: &config.storage, state_dir: &config.state_dir }
    }
}

/// Where something new may be written.
#[derive(Debug)]
pub(super) struct Destination {
    path: PathBuf,
    partial: PathBuf,
    dir: PathBuf,
}

impl Destination {
    /// Looks whether `path` is free, and not in one of `kept`.
    pub(super) fn new(path: &Path, kept: Kept<'_>) -> Result<Destination, ExportError> {
        let destination = Destination::at(path, kept)?;
        if destination.path.symlink_metadata().is_ok() {
            return Err(ExportError::Exists(destination.path));
        }
        Ok(destination)
    }

    /// Looks whether `path` is not in one of `kept`, whatever is there.
    pub(super) fn at(path: &Path, kept: Kept<'_>) -> Result<Destination, ExportError> {
        let name = path.file_name().ok_or_else(|| ExportError::Exists(path.to_owned()))?;
        let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let dir = parent.canonicalize().map_err(ExportError::io("find", parent))?;
        let path = dir.join(name);
        if lies_in(&dir, kept.storage) {
            return Err(ExportError::InStorage(path));
        }
        if lies_in(&dir, kept.state_dir) {
            return Err(ExportError::InStateDir(path));
        }
        let mut hidden = OsString::from(".");
        hidden.push(name);
        hidden.push(OsStr::new(&format!(".{}.partial", std::process::id())));
        Ok(Destination { path, partial: dir.join(hidden), dir })
    }

    /// What it is written under until it is whole.
    pub(super) fn partial(&self) -> &Path {
        &self.partial
    }

    /// What it will be called.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// The directory that it will be in.
    pub(super) fn dir(&self) -> &Path {
        &self.dir
    }

    /// Gives what was written its name, once it is on disk.
    pub(super) fn publish(&self) -> Result<PathBuf, ExportError> {
        let written = File::open(&self.partial).map_err(ExportError::io("open", &self.partial))?;
        // All of it at once: a sync for each of a million files would take hours.
        syncfs(&written).map_err(|e| ExportError::io("sync", &self.partial)(e.into()))?;
        match without_replacing(&self.partial, &self.path) {
            Ok(()) => {}
            Err(Errno::EXIST) => return Err(ExportError::Exists(self.path.clone())),
            Err(error) => return Err(ExportError::io("write", &self.path)(error.into())),
        }
        let sync = File::open(&self.dir).and_then(|dir| dir.sync_all());
        sync.map_err(ExportError::io("sync", &self.dir))?;
        Ok(self.path.clone())
    }

    /// Takes away what was written.
    pub(super) fn discard(&self) {
        let is_dir = self.partial.symlink_metadata().is_ok_and(|found| found.is_dir());
        // Best effort: what ended the export is what is told.
        if is_dir {
            fs::remove_dir_all(&self.partial).ok()
        } else {
            fs::remove_file(&self.partial).ok()
        };
    }
}

/// RACE: on a file system that can't rename without replacing, what another program puts there between the look and the rename is
/// replaced, unless it is a directory with something in it.
fn without_replacing(from: &Path, to: &Path) -> rustix::io::Result<()> {
    match renameat_with(CWD, from, CWD, to, RenameFlags::NOREPLACE) {
        Err(Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP) => {}
        result => return result,
    }
    if to.symlink_metadata().is_ok() { Err(Errno::EXIST) } else { rustix::fs::rename(from, to) }
}

/// Whether a directory is that one, or below it: by identity, so that a second mount or a link does not hide it.
fn lies_in(dir: &Path, kept: &Path) -> bool {
    let identity = |path: &Path| fs::metadata(path).map(|found| (found.dev(), found.ino())).ok();
    let by_name = kept.canonicalize().is_ok_and(|kept| dir.starts_with(kept)) || dir.starts_with(kept);
    let wanted = identity(kept);
    by_name || wanted.is_some() && dir.ancestors().any(|above| identity(above) == wanted)
}

/// A new file that takes its name when it is finished.
#[derive(Debug)]
pub struct NewFile {
    destination: Destination,
    out: Option<BufWriter<File>>,
}

impl NewFile {
    /// Begins a file that must not be there, outside `kept`.
    pub fn create(path: &Path, kept: Kept<'_>) -> Result<NewFile, ExportError> {
        let destination = Destination::new(path, kept)?;
        let partial = destination.partial();
        let file = File::create_new(partial).map_err(ExportError::io("write", partial))?;
        Ok(NewFile { out: Some(BufWriter::new(file)), destination })
    }

    /// What it means that it can't be written.
    pub fn failed(&self, error: io::Error) -> ExportError {
        ExportError::io("write", self.destination.partial())(error)
    }

    /// Gives it its name, once it is on disk. Returns where it is.
    pub fn finish(mut self) -> Result<PathBuf, ExportError> {
        let flushed = self.flush();
        flushed.map_err(|error| self.failed(error))?;
        let published = self.destination.publish()?;
        self.out = None;
        Ok(published)
    }
}

impl Write for NewFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.out.as_mut().map_or(Ok(0), |out| out.write(bytes))
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.as_mut().map_or(Ok(()), BufWriter::flush)
    }
}

impl Drop for NewFile {
    fn drop(&mut self) {
        if self.out.take().is_some() {
            self.destination.discard();
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::os::unix::fs::symlink;

    use super::*;

    fn names(dir: &Path) -> Vec<String> {
        let name = |entry: io::Result<fs::DirEntry>| entry.unwrap().file_name().into_string().unwrap();
        let mut names: Vec<_> = fs::read_dir(dir).unwrap().map(name).collect();
        names.sort();
        names
    }

    #[test]
    fn a_file_is_there_when_it_is_whole_and_replaces_nothing() {
        let (dir, storage) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let kept = Kept { storage: storage.path(), state_dir: storage.path() };
        let path = dir.path().join("list");
        let mut dropped = NewFile::create(&path, kept).unwrap();
        dropped.write_all(b"half").unwrap();
        drop(dropped);
        assert_eq!(names(dir.path()), [""; 0]);

        let mut file = NewFile::create(&path, kept).unwrap();
        file.write_all(b"whole").unwrap();
        assert!(!path.exists());
        // Somebody else is faster.
        fs::write(&path, b"another").unwrap();
        assert!(matches!(file.finish(), Err(ExportError::Exists(_))));
        assert_eq!((names(dir.path()), fs::read(&path).unwrap()), (vec!["list".to_owned()], b"another".to_vec()));
        assert!(matches!(NewFile::create(&path, kept), Err(ExportError::Exists(_))));

        fs::remove_file(&path).unwrap();
        let mut file = NewFile::create(&path, kept).unwrap();
        file.write_all(b"whole").unwrap();
        assert_eq!(file.finish().unwrap(), path.canonicalize().unwrap());
        assert_eq!((names(dir.path()), fs::read(&path).unwrap()), (vec!["list".to_owned()], b"whole".to_vec()));
    }

    #[test]
    fn storage_and_state_directory_are_known_by_any_name() {
        let (dir, storage) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        fs::create_dir(storage.path().join("pi")).unwrap();
        fs::create_dir(dir.path().join("state")).unwrap();
        let state_dir = dir.path().join("state");
        let kept = Kept { storage: storage.path(), state_dir: &state_dir };
        symlink(storage.path().join("pi"), dir.path().join("link")).unwrap();
        for path in [storage.path().join("list"), storage.path().join("pi/list"), dir.path().join("link/list")] {
            assert!(matches!(NewFile::create(&path, kept), Err(ExportError::InStorage(_))), "{path:?}");
        }
        assert_eq!(names(storage.path()), ["pi"]);
        symlink(&state_dir, dir.path().join("remembered")).unwrap();
        for path in [state_dir.join("list"), dir.path().join("remembered/list")] {
            assert!(matches!(NewFile::create(&path, kept), Err(ExportError::InStateDir(_))), "{path:?}");
        }
        assert_eq!(names(&state_dir), [""; 0]);
        let not_there = dir.path().join("not mounted");
        assert!(NewFile::create(&dir.path().join("list"), Kept { storage: &not_there, ..kept }).is_ok());
        assert!(NewFile::create(&dir.path().join("none/list"), kept).is_err());
    }
}
