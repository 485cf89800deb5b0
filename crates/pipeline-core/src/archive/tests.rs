//! The archive on real directories.

#![allow(clippy::unwrap_used)]

mod commits;
mod crash;
mod crash_room;
mod fuse;
mod limits;
mod listing;
mod makes_room;
mod marker;
mod parts;
mod reading;
mod sequences;
mod share;
mod stopping;

use std::path::{Path, PathBuf};

use super::*;
use crate::entry::Identity;

/// A storage in a temporary directory, initialised.
struct Storage {
    temp: tempfile::TempDir,
}

impl Storage {
    fn new() -> Storage {
        Storage::within(&std::env::temp_dir())
    }

    fn within(dir: &Path) -> Storage {
        let temp = tempfile::tempdir_in(dir).unwrap();
        assert!(Archive::init(temp.path()).unwrap().created);
        Storage { temp }
    }

    /// One that knows neither links nor a rename without replacing: by its marker, so that these are not even tried.
    fn without_links() -> Storage {
        let storage = Storage::new();
        storage.say("\"hard_links\": true", "\"hard_links\": false");
        storage.say("\"rename_without_replacing\": true", "\"rename_without_replacing\": false");
        storage
    }

    /// Changes what the marker says.
    fn say(&self, was: &str, is: &str) {
        let marker = self.path().join(".pipeline/marker.json");
        let text = std::fs::read_to_string(&marker).unwrap();
        assert!(text.contains(was), "{text}");
        std::fs::write(marker, text.replace(was, is)).unwrap();
    }

    fn path(&self) -> &Path {
        self.temp.path()
    }

    /// What lies at an archive path.
    fn content(&self, path: &ArchivePath) -> Option<Vec<u8>> {
        std::fs::read(self.path().join(path.as_rel_path().as_path())).ok()
    }

    /// Paths and contents of all versions.
    fn versions(&self) -> Vec<(String, Vec<u8>)> {
        let dir = self.path().join(VERSION_DIR);
        let files = if dir.exists() { files_below(&dir) } else { Vec::new() };
        files.into_iter().map(|(path, content)| (path.to_str().unwrap().to_owned(), content)).collect()
    }

    fn open(&self) -> Archive {
        Archive::open(self.path(), "collector", ReadBack::Auto).unwrap()
    }

    /// Every path below the root that is not our own, with the content of files.
    fn files(&self) -> Vec<(PathBuf, Vec<u8>)> {
        files_below(self.path())
            .into_iter()
            .filter(|(path, _)| !path.starts_with(PRIVATE_DIR) && !path.starts_with(MANIFEST_DIR))
            .collect()
    }

    /// What lies in staging, of any device.
    fn staged(&self) -> usize {
        files_below(&self.path().join(PRIVATE_DIR).join("staging")).len()
    }

    /// All manifests of a device, one after the other.
    fn manifest(&self, device: &str) -> Vec<u8> {
        let mut files = files_below(&self.path().join(MANIFEST_DIR).join(device));
        files.sort();
        files.into_iter().flat_map(|(_, text)| text).collect()
    }

    /// Runs the real `sha256sum -c` on every manifest. Panics where it finds fault.
    fn sha256sum(&self) {
        let mut manifests = files_below(&self.path().join(MANIFEST_DIR));
        manifests.sort();
        assert!(!manifests.is_empty());
        for (manifest, _) in manifests {
            let mut command = std::process::Command::new("sha256sum");
            command.args(["-c", "--strict", "--quiet"]).arg(Path::new(MANIFEST_DIR).join(&manifest));
            let output = command.current_dir(self.path()).output().unwrap();
            assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        }
    }
}

/// Where a test that runs in a process of its own finds its storage.
const CHILD_DIR: &str = "PIPELINE_TEST_STORAGE";

/// Begins a process that runs one test of this binary by itself. It is marked `ignore` and does nothing elsewhere.
fn child(wrapper: &[&str], test: &str, storage: &Path) -> std::process::Command {
    let mut line: Vec<std::ffi::OsString> = wrapper.iter().map(Into::into).collect();
    line.push(std::env::current_exe().unwrap().into());
    line.extend(["--exact", &format!("archive::tests::{test}"), "--ignored", "--nocapture"].map(Into::into));
    let mut command = std::process::Command::new(&line[0]);
    command.args(&line[1..]).env(CHILD_DIR, storage);
    command
}

/// The storage of this process, if it is a child.
fn child_dir() -> Option<PathBuf> {
    std::env::var_os(CHILD_DIR).map(PathBuf::from)
}

/// Regular files below a directory, sorted, with paths relative to it.
fn files_below(dir: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let entries = walkdir::WalkDir::new(dir).sort_by_file_name().into_iter().map(Result::unwrap);
    let files = entries.filter(|entry| entry.file_type().is_file());
    files.map(|f| (f.path().strip_prefix(dir).unwrap().to_owned(), std::fs::read(f.path()).unwrap())).collect()
}

fn rel(path: impl AsRef<[u8]>) -> RelPath {
    RelPath::new(path.as_ref()).unwrap()
}

fn device() -> DeviceName {
    DeviceName::new("raspberry31").unwrap()
}

fn identity(content: &[u8]) -> Identity {
    let mtime_ns = 1_700_000_000_123_456_789;
    Identity { dev: 1, ino: 2, size: content.len() as u64, mtime_ns, ctime_ns: mtime_ns }
}

/// Where the default layout puts a file of [`device`].
fn target(archive: &Archive, path: impl AsRef<[u8]>) -> ArchivePath {
    archive.place("{host}/{path}", &device(), b"photos", &rel(path)).unwrap()
}

/// Brings a file to staging, in slices.
fn stage(archive: &Archive, staging: &Staging, path: impl AsRef<[u8]>, content: &[u8]) -> Staged {
    let target = target(archive, &path);
    let mut incoming = staging.create(rel(path), identity(content), Target::New(target)).unwrap();
    content.chunks(3).for_each(|slice| incoming.write(slice).unwrap());
    incoming.finish(&Digest::of(content)).unwrap()
}

/// Both halves of a commit, with a catalog that notes nothing.
fn commit_all(archive: &Archive, staged: Vec<Staged>) -> Result<Vec<Commit>, ArchiveError> {
    commit_on(archive, &commit::today(), staged, &|_| ())
}

fn commit_on(
    archive: &Archive,
    date: &str,
    staged: Vec<Staged>,
    passed: &dyn Fn(commit::Step),
) -> Result<Vec<Commit>, ArchiveError> {
    let arrived = staged.into_iter().map(Arrived::Staged).collect();
    let prepared = prepare::prepare(&archive.store, &device(), arrived, passed)?;
    commit::commit(&archive.store, date, prepared, Noted::by_nobody(), passed)
}

/// A file as the device says it is, and what it is to be received as.
fn receive(archive: &Archive, staging: &Staging, path: &str, content: &[u8], yields: Yields) -> Arrived {
    let target = target(archive, path);
    let over = match archive.look(&target).unwrap() {
        Lying::Nothing => Target::New(target),
        _ => Target::Over(archive.examine(&target).unwrap().unwrap(), yields),
    };
    arrive(staging, path, content, over)
}

fn arrive(staging: &Staging, path: &str, content: &[u8], target: Target) -> Arrived {
    let whole = Prefix { bytes: content.len() as u64, digest: Digest::of(content) };
    if let Target::Over(held, _) = &target
        && held.prefix() == whole
    {
        let (held, digest) = (held.clone(), whole.digest);
        return Arrived::Held { held, source: rel(path), identity: identity(content), digest };
    }
    let mut incoming = staging.create(rel(path), identity(content), target).unwrap();
    content.chunks(3).for_each(|slice| incoming.write(slice).unwrap());
    Arrived::Staged(incoming.finish(&whole.digest).unwrap())
}

/// What the catalog says of a file that was once stored.
#[derive(Clone, Debug)]
struct Row {
    path: ArchivePath,
    content: Vec<u8>,
    whole: bool,
}

/// The catalog's part, as far as the archive needs one.
#[derive(Debug, Default)]
struct Rows(Vec<Row>);

impl Rows {
    fn note(&mut self, superseded: &[Superseded]) -> Noted {
        for Superseded { path, became, .. } in superseded {
            match became {
                Became::Prefix => self.0.iter_mut().filter(|row| row.path == *path).for_each(|row| row.whole = false),
                Became::Version(version) => {
                    self.0.iter_mut().filter(|row| row.path == *path).for_each(|row| row.path = version.clone());
                }
                Became::Dropped => self.0.retain(|row| row.path != *path),
            }
        }
        Noted::by_nobody()
    }

    fn record(&mut self, path: &ArchivePath, content: &[u8]) {
        self.0.push(Row { path: path.clone(), content: content.to_vec(), whole: true });
    }

    /// Every row is true.
    fn check(&self, storage: &Storage) {
        for row in &self.0 {
            let there = storage.content(&row.path);
            let there = there.unwrap_or_else(|| panic!("{row:?} is gone"));
            assert!(there == row.content || !row.whole && there.starts_with(&row.content), "{row:?}: {there:?}");
        }
    }
}

/// The size of the plain file at an archive path.
fn bytes_at(archive: &Archive, path: &ArchivePath) -> Option<u64> {
    match archive.look(path).unwrap() {
        Lying::File(stamp) => Some(stamp.bytes()),
        _ => None,
    }
}

/// Brings files all the way. What lies there with their content is taken over.
fn store(archive: &Archive, files: &[(&str, &[u8])]) -> Vec<Commit> {
    let staging = archive.staging(&device()).unwrap();
    let arrived = files.iter().map(|(path, content)| aim(archive, &staging, path, content)).collect();
    let prepared = archive.prepare(&device(), arrived).unwrap();
    archive.commit(prepared, Noted::by_nobody()).unwrap()
}

fn aim(archive: &Archive, staging: &Staging, path: &str, content: &[u8]) -> Arrived {
    let target = target(archive, path);
    let whole = Prefix { bytes: content.len() as u64, digest: Digest::of(content) };
    match archive.examine(&target).unwrap() {
        Some(held) if held.prefix() == whole => arrive(staging, path, content, Target::Over(held, Yields::Version)),
        _ => arrive(staging, path, content, Target::New(target)),
    }
}

fn stored(commit: &Commit) -> &Stored {
    match commit {
        Commit::Stored(stored) => stored,
        other => panic!("not stored: {other:?}"),
    }
}
