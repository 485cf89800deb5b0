//! Where an export is written: a file or a directory that was not there before.
//!
//! Guarantees: whole or absent, also if the power fails: what is written has another name until it is on disk, and takes its own
//! name without replacing anything. Nothing is written into the storage, whatever name it is called by. Killed in between, it leaves
//! `.NAME.NUMBER.partial` beside the name, which anybody may delete; an error leaves nothing.

use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, RenameFlags, renameat_with, syncfs};
use rustix::io::Errno;

use super::ExportError;

/// Where something new may be written.
#[derive(Debug)]
pub(super) struct Destination {
    path: PathBuf,
    partial: PathBuf,
    dir: PathBuf,
}

impl Destination {
    /// Looks whether `path` is free, and not below `storage`, which need not be there.
    pub(super) fn new(path: &Path, storage: &Path) -> Result<Destination, ExportError> {
        let destination = Destination::at(path, storage)?;
        if destination.path.symlink_metadata().is_ok() {
            return Err(ExportError::Exists(destination.path));
        }
        Ok(destination)
    }

    /// Looks whether `path` is not below `storage`, whatever is there.
    pub(super) fn at(path: &Path, storage: &Path) -> Result<Destination, ExportError> {
        let name = path.file_name().ok_or_else(|| ExportError::Exists(path.to_owned()))?;
        let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let dir = parent.canonicalize().map_err(ExportError::io("find", parent))?;
        let path = dir.join(name);
        if lies_in(&dir, storage) {
            return Err(ExportError::InStorage(path));
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

/// Whether a directory is the storage, or below it: by identity, so that a second mount or a link does not hide it.
pub(super) fn lies_in(dir: &Path, storage: &Path) -> bool {
    let identity = |path: &Path| fs::metadata(path).map(|found| (found.dev(), found.ino())).ok();
    let by_name = storage.canonicalize().is_ok_and(|storage| dir.starts_with(storage)) || dir.starts_with(storage);
    let wanted = identity(storage);
    by_name || wanted.is_some() && dir.ancestors().any(|above| identity(above) == wanted)
}

/// A new file that takes its name when it is finished.
#[derive(Debug)]
pub struct NewFile {
    destination: Destination,
    out: Option<BufWriter<File>>,
}

impl NewFile {
    /// Begins a file that must not be there, outside `storage`.
    pub fn create(path: &Path, storage: &Path) -> Result<NewFile, ExportError> {
        let destination = Destination::new(path, storage)?;
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
        let path = dir.path().join("list");
        let mut dropped = NewFile::create(&path, storage.path()).unwrap();
        dropped.write_all(b"half").unwrap();
        drop(dropped);
        assert_eq!(names(dir.path()), [""; 0]);

        let mut file = NewFile::create(&path, storage.path()).unwrap();
        file.write_all(b"whole").unwrap();
        assert!(!path.exists());
        // Somebody else is faster.
        fs::write(&path, b"another").unwrap();
        assert!(matches!(file.finish(), Err(ExportError::Exists(_))));
        assert_eq!((names(dir.path()), fs::read(&path).unwrap()), (vec!["list".to_owned()], b"another".to_vec()));
        assert!(matches!(NewFile::create(&path, storage.path()), Err(ExportError::Exists(_))));

        fs::remove_file(&path).unwrap();
        let mut file = NewFile::create(&path, storage.path()).unwrap();
        file.write_all(b"whole").unwrap();
        assert_eq!(file.finish().unwrap(), path.canonicalize().unwrap());
        assert_eq!((names(dir.path()), fs::read(&path).unwrap()), (vec!["list".to_owned()], b"whole".to_vec()));
    }

    #[test]
    fn the_storage_is_known_by_any_name() {
        let (dir, storage) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        fs::create_dir(storage.path().join("pi")).unwrap();
        std::os::unix::fs::symlink(storage.path().join("pi"), dir.path().join("link")).unwrap();
        for path in [storage.path().join("list"), storage.path().join("pi/list"), dir.path().join("link/list")] {
            assert!(matches!(NewFile::create(&path, storage.path()), Err(ExportError::InStorage(_))), "{path:?}");
        }
        assert_eq!(names(storage.path()), ["pi"]);
        assert!(NewFile::create(&dir.path().join("list"), &dir.path().join("not mounted")).is_ok());
        assert!(NewFile::create(&dir.path().join("none/list"), storage.path()).is_err());
    }
}
