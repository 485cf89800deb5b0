//! Lines of earlier manifests that are no longer true.
//!
//! What a killed run did not come to is put right with the file that it was about. Guarantees: a manifest is written anew beside the archive, synced and renamed: at every instant there is the old one or the new
//! one. Memory is that of one line and of the files in hand. Leaves to others: lines that are new ([`super::manifest`]).
//!
//! A path is listed once, so the search begins at the newest manifest and ends where all that is sought was found: for a file that
//! grows every minute, at today's. A file that no manifest lists has all of its device's manifests read, once: one that the
//! collector did not store itself. Manifests of other devices are not read: two devices share an archive path only where a lost
//! catalog was not rebuilt, and then one of their manifests may keep a line that is no longer true.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufRead as _, BufReader, BufWriter, Write as _};
use std::os::fd::AsFd as _;

use rustix::fs::{AtFlags, Mode, OFlags, openat, renameat, unlinkat};
use rustix::io::Errno;

use crate::archive::commit::{Placed, Stored};
use crate::archive::error::ArchiveError;
use crate::archive::layout::{ArchivePath, MANIFEST_DIR};
use crate::archive::listing::{Line, parse};
use crate::archive::manifest::write_line;
use crate::archive::prepare::{Became, Superseded};
use crate::archive::probe::names_in;
use crate::archive::staging::staging_path;
use crate::archive::store::{NEW_FILE, Store, below, random_hex};
use crate::archive::versions;
use crate::digest::Digest;
use crate::path::{DeviceName, RelPath};

/// Lines to be taken back and lines to be added, for one group of files.
pub(super) struct Relisting<'a> {
    store: &'a Store,
    device: &'a DeviceName,
    /// Paths that nothing is listed under yet.
    new: Vec<(Digest, RelPath)>,
    /// The others.
    sought: BTreeMap<ArchivePath, Sought>,
    /// How many of them were not met yet.
    missing: usize,
}

/// What the manifests are to say of a path that they may list already.
struct Sought {
    /// What lies there now.
    content: Digest,
    /// What lay there, and where it lies now.
    version: Option<(Digest, ArchivePath)>,
    met: bool,
    content_listed: bool,
    version_listed: bool,
}

/// What becomes of one line.
enum Fate<'a> {
    Stays,
    /// It is no longer true.
    Goes,
    /// It lists its content here from now on.
    Moves(&'a ArchivePath),
}

impl Sought {
    fn decide(&mut self, listed: &Digest) -> Fate<'_> {
        match &self.version {
            _ if *listed == self.content && !self.content_listed => {
                self.content_listed = true;
                Fate::Stays
            }
            Some((content, path)) if content == listed && !self.version_listed => {
                self.version_listed = true;
                Fate::Moves(path)
            }
            _ => Fate::Goes,
        }
    }
}

impl<'a> Relisting<'a> {
    pub fn new(store: &'a Store, device: &'a DeviceName) -> Relisting<'a> {
        Relisting { store, device, new: Vec::new(), sought: BTreeMap::new(), missing: 0 }
    }

    /// Sees to it that the manifests say of this file what is true, and nothing else.
    pub fn add(&mut self, file: &Stored) {
        let version = match file.placed() {
            Placed::New => {
                self.new.push((*file.digest(), file.archive_path().as_rel_path().clone()));
                return;
            }
            Placed::Over(Superseded { held, became: Became::Version(path), .. }) => Some((held.digest, path.clone())),
            Placed::There | Placed::Over(_) => None,
        };
        let (content, met, content_listed, version_listed) = (*file.digest(), false, false, false);
        let sought = Sought { content, version, met, content_listed, version_listed };
        if self.sought.insert(file.archive_path().clone(), sought).is_none() {
            self.missing += 1;
        }
    }

    pub fn is_empty(&self) -> bool {
        self.new.is_empty() && self.sought.is_empty()
    }

    /// Takes lines back that are not true, and returns those that are missing.
    pub fn take_back(mut self) -> Result<Vec<(Digest, RelPath)>, ArchiveError> {
        if !self.sought.is_empty() {
            let dir = self.store.escaped(&below(&[MANIFEST_DIR, self.device.as_str()]))?;
            for name in self.manifests(&dir)? {
                if self.missing == 0 {
                    break;
                }
                // The names are from a listing.
                if let Ok(path) = dir.join(&name)
                    && self.mentions(&path)?
                {
                    self.rewrite(&dir, &path)?;
                }
            }
        }
        let mut lines = self.new;
        for (path, sought) in self.sought {
            if let (Some((content, version)), false) = (&sought.version, sought.version_listed) {
                lines.push((*content, version.as_rel_path().clone()));
            }
            if !sought.content_listed {
                lines.push((sought.content, path.as_rel_path().clone()));
            }
        }
        Ok(lines)
    }

    /// The names of the device's manifests, newest first.
    fn manifests(&self, dir: &RelPath) -> Result<Vec<Vec<u8>>, ArchiveError> {
        let mut names = match self.store.root.open_dir(dir) {
            Ok(fd) => names_in(fd).map_err(|e| self.store.failed("list", dir, e))?,
            Err(Errno::NOENT) => Vec::new(),
            Err(error) => return Err(self.store.failed("open", dir, error)),
        };
        names.retain(|name| name.ends_with(b".sha256"));
        names.sort_unstable();
        names.reverse();
        Ok(names)
    }

    fn open(&self, path: &RelPath) -> Result<BufReader<File>, ArchiveError> {
        let file = self.store.root.open_file(path, OFlags::RDONLY, Mode::empty());
        file.map(BufReader::new).map_err(|e| self.store.failed("open", path, e))
    }

    /// Whether a manifest lists any path that is sought.
    fn mentions(&self, path: &RelPath) -> Result<bool, ArchiveError> {
        let (mut text, mut line) = (self.open(path)?, Vec::new());
        loop {
            line.clear();
            let read = text.read_until(b'\n', &mut line).map_err(|e| self.store.failed("read", path, e))?;
            if read == 0 {
                return Ok(false);
            }
            if listed(&line).is_some_and(|(path, _)| self.sought.contains_key(&path)) {
                return Ok(true);
            }
        }
    }

    /// Writes a manifest anew, where it lists what is not true.
    fn rewrite(&mut self, dir: &RelPath, path: &RelPath) -> Result<(), ArchiveError> {
        let (store, text) = (self.store, self.open(path)?);
        let staging = staging_path(store, self.device)?;
        let staging_dir = match store.root.make_dirs(&staging).and_then(|_| store.root.open_dir(&staging)) {
            Ok(dir) => dir,
            Err(error) => return Err(store.failed("open", &staging, error)),
        };
        // Swept at the device's next visit, should this one end here.
        let name = format!("manifest-{}", random_hex(&store.path)?);
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = openat(&staging_dir, name.as_str(), flags, NEW_FILE);
        let file: File = file.map_err(|e| store.failed("create a file in", &staging, e))?.into();
        let renamed = self.edit(path, text, &file).and_then(|changed| {
            if !changed {
                return Ok(false);
            }
            let rename = || {
                let to = store.root.open_dir(dir)?;
                renameat(&staging_dir, name.as_str(), &to, path.file_name()).map(|()| to)
            };
            file.sync_all().map_err(|e| store.failed("sync", path, e))?;
            let to = rename().map_err(|e| store.failed("write", path, e))?;
            store.sync_dir(to.as_fd(), dir.as_bytes()).map(|()| true)
        });
        if !matches!(renamed, Ok(true)) {
            unlinkat(&staging_dir, name.as_str(), AtFlags::empty()).ok();
        }
        renamed.map(drop)
    }

    /// Copies the lines that stay. Says whether there are others. A last line without an end is none.
    fn edit(&mut self, manifest: &RelPath, mut text: BufReader<File>, to: &File) -> Result<bool, ArchiveError> {
        let store = self.store;
        let (mut out, mut line, mut changed) = (BufWriter::new(to), Vec::new(), false);
        let failed = |e| store.failed("write", manifest, e);
        loop {
            line.clear();
            if text.read_until(b'\n', &mut line).map_err(|e| store.failed("read", manifest, e))? == 0 {
                break;
            }
            let Some((path, digest)) = listed(&line) else {
                if line.ends_with(b"\n") {
                    out.write_all(&line).map_err(failed)?;
                } else {
                    changed = true;
                }
                continue;
            };
            let Some(sought) = self.sought.get_mut(&path) else {
                out.write_all(&line).map_err(failed)?;
                continue;
            };
            if !std::mem::replace(&mut sought.met, true) {
                self.missing -= 1;
            }
            let version = match sought.decide(&digest) {
                Fate::Stays => {
                    out.write_all(&line).map_err(failed)?;
                    continue;
                }
                Fate::Moves(version) => Some(version.clone()),
                // A run that was killed may have made a version of it, and not come to the manifest.
                Fate::Goes => versions::find(store, &path, &digest)?,
            };
            changed = true;
            if let Some(version) = version {
                write_line(&mut out, &digest, version.as_bytes()).map_err(failed)?;
            }
        }
        out.flush().map_err(failed)?;
        Ok(changed)
    }
}

/// What a line lists; none where it is no line of ours, or has no end.
fn listed(line: &[u8]) -> Option<(ArchivePath, Digest)> {
    match parse(line.strip_suffix(b"\n")?) {
        Line::File { path, digest } => Some((path, digest)),
        Line::Bad(_) => None,
    }
}
