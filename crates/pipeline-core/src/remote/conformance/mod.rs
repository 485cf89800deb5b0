//! What every [`Remote`] must do: one list of checks, and the ways to a device that pass it.
//!
//! A way that can't give something says so in [`Caps`], and the check then holds it to what it promises instead.

#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::io::Write;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use super::{Answer, Remote, Scanned};
use crate::digest::Digest;
use crate::entry::{Entry, Identity, OtherKind, Prefix};
use crate::health::{self, MAX_TEXT_BYTES, Piece, Texts};
use crate::path::RelPath;
use crate::receipt::Receipt;
use crate::wire::{FetchEnd, RemoveEnd};

mod checks;
mod ways;

/// What a way to a device can give.
#[derive(Clone, Copy, Debug)]
struct Caps {
    /// All five fields of an identity; otherwise size and time in seconds.
    identity: bool,
    /// Who has a file open for writing.
    writers: bool,
    /// Whether deltas are computed.
    delta: bool,
    /// The guarantees that it says it lacks.
    caveats: usize,
}

const AGENT: Caps = Caps { identity: true, writers: true, delta: true, caveats: 0 };

/// A connected device and its files, which lie on this computer.
struct Subject {
    remote: Box<dyn Remote>,
    source: PathBuf,
    caps: Caps,
    next_id: u32,
}

/// An answer, owned.
#[derive(Debug, PartialEq, Eq)]
enum Answered {
    Fetched(u32, Vec<u8>, FetchEnd),
    Removed(u32, RemoveEnd),
    Pruned(RelPath, bool),
}

/// Holds a way to a device to all checks.
fn conforms(remote: Box<dyn Remote>, source: &Path, caps: Caps) {
    let mut subject = Subject { remote, source: source.to_owned(), caps, next_id: 0 };
    assert_eq!(subject.remote.can_delta(), caps.delta);
    assert_eq!(subject.remote.caveats().len(), caps.caveats, "{:?}", subject.remote.caveats());
    // The first list may have been made when the connection was.
    subject.remote.scan(&mut |_| Ok(())).unwrap();
    for check in checks::ALL {
        for entry in std::fs::read_dir(source).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() && !path.is_symlink() {
                std::fs::remove_dir_all(path).unwrap();
            } else {
                std::fs::remove_file(path).unwrap();
            }
        }
        check(&mut subject);
    }
}

impl Subject {
    /// Writes a file that was left alone for an hour.
    fn write(&self, path: impl AsRef<[u8]>, content: &[u8]) -> Entry {
        let at = self.at(path.as_ref());
        std::fs::create_dir_all(at.parent().unwrap()).unwrap();
        std::fs::write(&at, content).unwrap();
        self.age(&at);
        self.entry(path)
    }

    fn age(&self, at: &Path) {
        // What SFTP says of it has no fractions of a second.
        let whole = std::time::UNIX_EPOCH
            + Duration::from_secs(SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs() - 3600);
        std::fs::File::open(at).unwrap().set_modified(whole).unwrap();
    }

    fn append(&self, path: &str, bytes: &[u8]) -> Entry {
        let at = self.at(path.as_bytes());
        std::fs::File::options().append(true).open(&at).unwrap().write_all(bytes).unwrap();
        self.age(&at);
        self.entry(path)
    }

    fn at(&self, path: &[u8]) -> PathBuf {
        self.source.join(std::ffi::OsStr::from_bytes(path))
    }

    /// What a scan must say of a file.
    fn entry(&self, path: impl AsRef<[u8]>) -> Entry {
        let there = std::fs::symlink_metadata(self.at(path.as_ref())).unwrap();
        let ns = |seconds: i64, ns: i64| seconds * 1_000_000_000 + ns;
        let mut identity = Identity {
            dev: there.dev(),
            ino: there.ino(),
            size: there.size(),
            mtime_ns: ns(there.mtime(), there.mtime_nsec()),
            ctime_ns: ns(there.ctime(), there.ctime_nsec()),
        };
        if !self.caps.identity {
            identity = Identity { dev: 0, ino: 0, ctime_ns: 0, mtime_ns: ns(there.mtime(), 0), ..identity };
        }
        Entry { path: RelPath::new(path.as_ref()).unwrap(), identity }
    }

    fn scan(&mut self) -> Vec<Scanned> {
        let mut all = Vec::new();
        self.remote
            .scan(&mut |item| {
                all.push(item);
                Ok(())
            })
            .unwrap();
        all
    }

    fn id(&mut self) -> u32 {
        self.next_id += 1;
        self.next_id
    }

    fn ask(&mut self, entry: &Entry, known: Option<&Prefix>) -> u32 {
        let id = self.id();
        self.remote.fetch(id, entry, known.map(std::slice::from_ref).unwrap_or_default()).unwrap();
        id
    }

    fn ask_delta(&mut self, entry: &Entry, signature: &[u8]) -> u32 {
        let id = self.id();
        self.remote.delta(id, entry, signature).unwrap();
        id
    }

    fn ask_removal(&mut self, entry: &Entry, digest: Digest) -> u32 {
        let id = self.id();
        let receipt = Receipt::unproven(entry.path.clone(), entry.identity, digest);
        self.remote.remove(vec![(id, receipt)]).unwrap();
        id
    }

    fn answer(&mut self) -> Answered {
        let mut content = Vec::new();
        loop {
            match self.remote.answer().unwrap() {
                Answer::Data(bytes) => content.extend_from_slice(bytes),
                Answer::Fetched(id, end) => return Answered::Fetched(id, content, end),
                Answer::Removed(id, end) => return Answered::Removed(id, end),
                Answer::Pruned(path, removed) => return Answered::Pruned(path, removed),
            }
        }
    }

    /// Fetches one file.
    fn fetch(&mut self, entry: &Entry, known: Option<&Prefix>) -> (Vec<u8>, FetchEnd) {
        let asked = self.ask(entry, known);
        match self.answer() {
            Answered::Fetched(id, content, end) if id == asked => (content, end),
            other => panic!("{other:?}"),
        }
    }

    /// Removes one file.
    fn remove(&mut self, entry: &Entry, content: &[u8]) -> RemoveEnd {
        let asked = self.ask_removal(entry, Digest::of(content));
        match self.answer() {
            Answered::Removed(id, end) if id == asked => end,
            other => panic!("{other:?}"),
        }
    }

    fn exists(&self, path: &str) -> bool {
        std::fs::symlink_metadata(self.at(path.as_bytes())).is_ok()
    }
}

/// What a scan said of each path: its kind, and which file it is.
fn by_path(items: Vec<Scanned>) -> BTreeMap<Vec<u8>, (&'static str, Option<Identity>)> {
    let mut all = BTreeMap::new();
    for item in items {
        let (path, what) = match item {
            Scanned::File(entry) => (entry.path, ("file", Some(entry.identity))),
            Scanned::Other(path, OtherKind::Symlink) => (path, ("link", None)),
            Scanned::Other(path, OtherKind::Special) => (path, ("special", None)),
            Scanned::Other(path, OtherKind::MountPoint) => (path, ("mount", None)),
            Scanned::EmptyDir(path, _) => (path, ("empty", None)),
            Scanned::Unreadable(path, reason) => panic!("{path:?}: {reason}"),
        };
        assert!(all.insert(path.as_bytes().to_vec(), what).is_none(), "{path} twice");
    }
    all
}

/// Bytes that no compression makes smaller.
fn noise(bytes: usize) -> Vec<u8> {
    let mut x = 88_172_645_463_325_252_u64;
    let mut next = || {
        x ^= x << 13;
        x ^= x >> 7;
        x ^= x << 17;
        x.to_le_bytes()[4]
    };
    (0..bytes).map(|_| next()).collect()
}
