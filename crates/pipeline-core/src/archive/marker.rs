//! The marker: whose storage this is, and what it can do (invariant I6).
//!
//! `.pipeline/marker.json` is a text for people and programs. Its id is drawn once and never changes; a path without the
//! marker is not the storage, whatever else lies there. Guarantees: a marker appears whole, synced, and never replaces
//! another one's id. Leaves to others: when to look at it ([`super::Archive::confirm`]) and who remembers the id (the catalog).

use std::io::{Read, Write};
use std::path::Path;

use rustix::fd::OwnedFd;
use rustix::fs::{AtFlags, Mode, OFlags, RenameFlags, fsync, mkdirat, renameat, renameat_with, statat, unlinkat};
use rustix::io::Errno;
use serde::{Deserialize, Serialize};

use crate::archive::capabilities::Capabilities;
use crate::archive::error::{ArchiveError, failed, shown};
use crate::archive::layout::PRIVATE_DIR;
use crate::archive::store::{NEW_DIR, NEW_FILE, below, forget_cached, is_unsupported, random_hex};
use crate::rooted::Rooted;

/// The form of the marker that this program reads and writes.
pub const MARKER_VERSION: u32 = 1;

const MARKER: &str = "marker.json";
const MAX_MARKER_BYTES: u64 = 64 * 1024;
const ID_DIGITS: usize = 32;

const ABOUT: &[&str] = &[
    "This directory is an archive that the program 'pipeline' fills with files from a fleet of devices.",
    "It removes a file from a device only while this marker is here: please leave it in place.",
    "Without it, or with another id, nothing is copied and nothing is removed. The files themselves are plain files,",
    "and SHA256SUMS/ holds their digests: run 'sha256sum -c' on one from the directory above this one.",
];

/// Whose storage it is and what it can do.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Marker {
    about: Vec<String>,
    version: u32,
    id: String,
    created: String,
    capabilities: Capabilities,
}

impl Marker {
    /// The marker of a new storage.
    pub(super) fn new(id: String, capabilities: Capabilities) -> Marker {
        let about = ABOUT.iter().map(ToString::to_string).collect();
        let created = jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
        Marker { about, version: MARKER_VERSION, id, created, capabilities }
    }

    /// The same storage, looked at again. Rules for names only grow: what was escaped once can still be read back.
    pub(super) fn with(&self, mut capabilities: Capabilities) -> Marker {
        capabilities.names = capabilities.names.and(&self.capabilities.names);
        Marker { capabilities, ..self.clone() }
    }

    /// 32 hex digits, drawn when the storage was initialised.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// When that was, in UTC.
    pub fn created(&self) -> &str {
        &self.created
    }

    /// What the storage could do when it was last initialised.
    pub fn capabilities(&self) -> &Capabilities {
        &self.capabilities
    }

    /// Reads the marker of the storage at `path`, which is opened as `root`; from the disk or server, not from memory.
    pub(super) fn read(root: &Rooted, path: &Path) -> Result<Marker, ArchiveError> {
        let storage = || shown(path, b"");
        let bad = |reason: String| ArchiveError::BadMarker { storage: storage(), reason };
        let at = below(&[PRIVATE_DIR, MARKER]);
        let file = match root.open_file(&at, OFlags::RDONLY, Mode::empty()) {
            Ok(file) => file,
            Err(Errno::NOENT) => return Err(ArchiveError::NoMarker { storage: storage() }),
            Err(Errno::LOOP | Errno::NOTDIR | Errno::ISDIR | Errno::NXIO) => {
                return Err(bad(format!("{at} is not a plain file in a plain directory")));
            }
            Err(error) => return Err(failed(path, "open", at.as_bytes(), error)),
        };
        forget_cached(&file);
        let mut text = Vec::new();
        let read = file.take(MAX_MARKER_BYTES + 1).read_to_end(&mut text);
        let bytes = read.map_err(|e| failed(path, "read", at.as_bytes(), e))?;
        if bytes as u64 > MAX_MARKER_BYTES {
            return Err(bad(format!("it is larger than {MAX_MARKER_BYTES} bytes")));
        }
        Marker::parse(&text).map_err(|problem| match problem {
            Problem::Version(version) => ArchiveError::Version { storage: storage(), version, known: MARKER_VERSION },
            Problem::Text(reason) => bad(reason),
        })
    }

    fn parse(text: &[u8]) -> Result<Marker, Problem> {
        #[derive(Deserialize)]
        struct Form {
            version: u32,
        }
        let form: Form = serde_json::from_slice(text).map_err(|e| Problem::Text(e.to_string()))?;
        if form.version != MARKER_VERSION {
            return Err(Problem::Version(form.version));
        }
        let marker: Marker = serde_json::from_slice(text).map_err(|e| Problem::Text(e.to_string()))?;
        if marker.id.len() != ID_DIGITS || !marker.id.bytes().all(|b| b.is_ascii_hexdigit()) {
            return Err(Problem::Text(format!("its id is not {ID_DIGITS} hex digits")));
        }
        Ok(marker)
    }

    /// Writes the marker of a new storage. False, and nothing changed, where there is one already.
    pub(super) fn create(&self, root: &Rooted, path: &Path) -> Result<bool, ArchiveError> {
        self.write(root, path, |dir, from| {
            match renameat_with(dir, from, dir, MARKER, RenameFlags::NOREPLACE) {
                Err(e) if is_unsupported(e) => {}
                result => return result,
            }
            // RACE: two `init` of one new storage at the same instant, where it can't rename without replacing. The later
            // id stays, and whoever remembers the earlier one refuses the storage.
            match statat(dir, MARKER, AtFlags::SYMLINK_NOFOLLOW) {
                Err(Errno::NOENT) => renameat(dir, from, dir, MARKER),
                Ok(_) => Err(Errno::EXIST),
                Err(error) => Err(error),
            }
        })
    }

    /// Writes the marker in place of one with the same id.
    pub(super) fn replace(&self, root: &Rooted, path: &Path) -> Result<(), ArchiveError> {
        self.write(root, path, |dir, from| renameat(dir, from, dir, MARKER)).map(drop)
    }

    /// Writes and syncs a file beside the marker, renames it, and syncs the directory: at every instant there is no
    /// marker, the old one, or this one.
    fn write(
        &self,
        root: &Rooted,
        path: &Path,
        rename: impl Fn(&OwnedFd, &str) -> rustix::io::Result<()>,
    ) -> Result<bool, ArchiveError> {
        let dir_path = below(&[PRIVATE_DIR]);
        let name = format!("{MARKER}.{}", random_hex(path)?);
        let at = below(&[PRIVATE_DIR, &name]);
        let dir = root.open_dir(&dir_path).map_err(|e| failed(path, "open", dir_path.as_bytes(), e))?;
        let mut text = serde_json::to_vec_pretty(self).map_err(|e| failed(path, "encode", at.as_bytes(), e))?;
        text.push(b'\n');
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL;
        let mut file = root.open_file(&at, flags, NEW_FILE).map_err(|e| failed(path, "create", at.as_bytes(), e))?;
        let written = file.write_all(&text).and_then(|()| file.sync_all());
        let renamed = match written {
            Err(e) => Err(failed(path, "write", at.as_bytes(), e)),
            Ok(()) => match rename(&dir, &name) {
                Ok(()) => Ok(true),
                Err(Errno::EXIST) => Ok(false),
                Err(e) => Err(failed(path, "rename", at.as_bytes(), e)),
            },
        };
        if !matches!(renamed, Ok(true)) {
            // The error that matters is the first one; what is left here harms nothing.
            unlinkat(&dir, &name, AtFlags::empty()).ok();
            return renamed;
        }
        match fsync(&dir) {
            Err(e) if self.capabilities.sync_directories || !is_unsupported(e) => {
                Err(failed(path, "sync", dir_path.as_bytes(), e))
            }
            _ => Ok(true),
        }
    }
}

enum Problem {
    Version(u32),
    Text(String),
}

/// Makes the directory that holds marker and staging, where it is missing.
pub(super) fn make_private_dir(root: &Rooted, path: &Path) -> Result<(), ArchiveError> {
    match mkdirat(root, PRIVATE_DIR, NEW_DIR) {
        Ok(()) => match fsync(root) {
            Err(e) if !is_unsupported(e) => Err(failed(path, "sync", b"", e)),
            _ => Ok(()),
        },
        Err(Errno::EXIST) => Ok(()),
        Err(e) => Err(failed(path, "create", PRIVATE_DIR.as_bytes(), e)),
    }
}
