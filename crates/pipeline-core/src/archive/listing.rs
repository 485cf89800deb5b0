//! The way back: what the manifests list, and which file of a device an archive path is the place of.
//!
//! Guarantees: every line of every manifest comes once, the oldest day first and each day in the order of its file; what is no
//! line of ours is said to be none, and never guessed at. Memory is that of one line and the names of the manifests. Leaves to
//! others: whether a line is true ([`Archive::look`](super::Archive::look) says what lies there), and what to make of it.

use std::fs::File;
use std::io::{BufRead, BufReader, Read};

use jiff::civil::Date;
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;

use crate::archive::Archive;
use crate::archive::capabilities::Capabilities;
use crate::archive::error::ArchiveError;
use crate::archive::layout::{ArchivePath, MANIFEST_DIR, VERSION_DIR, version_time};
use crate::archive::probe::names_in;
use crate::archive::store::{Store, below};
use crate::archive::versions::MAX_NAMES;
use crate::digest::Digest;
use crate::path::{DeviceName, MAX_PATH_BYTES, RelPath};

/// A name that was shortened to fit is at most so much shorter than it could be.
const SLACK_BYTES: usize = 8;

/// The longest line of a manifest: a path of which every byte is escaped.
const MAX_LINE_BYTES: u64 = 2 * MAX_PATH_BYTES as u64 + 70;

/// One manifest: what was stored from one device on one day.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Manifest {
    date: Date,
    device: DeviceName,
    path: RelPath,
}

impl Manifest {
    /// Of which device.
    pub fn device(&self) -> &DeviceName {
        &self.device
    }

    /// Of which day, UTC.
    pub fn date(&self) -> Date {
        self.date
    }

    /// Where it lies below the archive root.
    pub fn path(&self) -> &RelPath {
        &self.path
    }
}

/// One line of a manifest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Line {
    /// A file, by its word.
    File {
        /// Where it lies.
        path: ArchivePath,
        /// Of its content.
        digest: Digest,
    },
    /// Something else; why, in words.
    Bad(String),
}

impl Archive {
    /// All manifests, oldest first.
    pub fn manifests(&self) -> Result<Vec<Manifest>, ArchiveError> {
        manifests(&self.store)
    }

    /// The lines of one of them.
    pub fn lines<'a>(&'a self, manifest: &'a Manifest) -> Result<Lines<'a>, ArchiveError> {
        Lines::open(&self.store, manifest)
    }

    /// The path on the device that this layout gives this place in the archive; none where it gives it to no path. Undoes
    /// [`place`](Archive::place).
    pub fn source_of(
        &self,
        layout: &str,
        device: &DeviceName,
        source_name: &[u8],
        place: &ArchivePath,
    ) -> Option<RelPath> {
        source_of(self.store.marker.capabilities(), layout, device, source_name, place)
    }

    /// Where the content of this version lay before it made room; none where the path is no version's, or its name was shortened.
    pub fn unversioned(&self, version: &ArchivePath, content: &Digest) -> Option<ArchivePath> {
        unversioned(self.store.marker.capabilities(), version, content)
    }
}

fn manifests(store: &Store) -> Result<Vec<Manifest>, ArchiveError> {
    let names = |path: &RelPath| match store.root.open_dir(path) {
        // Not a directory: nothing of ours.
        Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => Ok(Vec::new()),
        Err(error) => Err(store.failed("open", path, error)),
        Ok(dir) => names_in(dir).map_err(|e| store.failed("list", path, e)),
    };
    let top = store.escaped(&below(&[MANIFEST_DIR]))?;
    let mut manifests = Vec::new();
    for name in names(&top)? {
        let Some(device) = device(store, &name) else { continue };
        let dir = store.escaped(&below(&[MANIFEST_DIR, device.as_str()]))?;
        for name in names(&dir)? {
            let date = name.strip_suffix(b".sha256").and_then(|date| std::str::from_utf8(date).ok()?.parse().ok());
            if let (Some(date), Ok(path)) = (date, dir.join(&name)) {
                manifests.push(Manifest { date, device: device.clone(), path });
            }
        }
    }
    manifests.sort();
    Ok(manifests)
}

/// The device whose manifests lie in a directory of this name.
fn device(store: &Store, name: &[u8]) -> Option<DeviceName> {
    let plain = store.marker.capabilities().names.unescape(&RelPath::new(name).ok()?)?;
    DeviceName::new(std::str::from_utf8(plain.as_bytes()).ok()?).ok()
}

/// The lines of a manifest, one after the other.
#[derive(Debug)]
pub struct Lines<'a> {
    store: &'a Store,
    manifest: &'a Manifest,
    text: BufReader<File>,
    line: Vec<u8>,
}

impl<'a> Lines<'a> {
    fn open(store: &'a Store, manifest: &'a Manifest) -> Result<Lines<'a>, ArchiveError> {
        let file = store.root.open_file(&manifest.path, OFlags::RDONLY, Mode::empty());
        let file = file.map_err(|e| store.failed("open", &manifest.path, e))?;
        Ok(Lines { store, manifest, text: BufReader::new(file), line: Vec::new() })
    }

    fn read(&mut self) -> std::io::Result<Option<Line>> {
        self.line.clear();
        let read = self.text.by_ref().take(MAX_LINE_BYTES).read_until(b'\n', &mut self.line)?;
        if read == 0 {
            return Ok(None);
        }
        if self.line.pop_if(|byte| *byte == b'\n').is_some() {
            return Ok(Some(parse(&self.line)));
        }
        let torn = read as u64 != MAX_LINE_BYTES;
        skip_line(&mut self.text)?;
        Ok(Some(Line::Bad(if torn { "it has no end: its writer was killed" } else { "it is too long" }.into())))
    }
}

impl Iterator for Lines<'_> {
    type Item = Result<Line, ArchiveError>;

    fn next(&mut self) -> Option<Self::Item> {
        self.read().map_err(|e| self.store.failed("read", &self.manifest.path, e)).transpose()
    }
}

fn skip_line(text: &mut impl BufRead) -> std::io::Result<()> {
    loop {
        let buffer = text.fill_buf()?;
        let end = buffer.iter().position(|&byte| byte == b'\n');
        let used = end.map_or(buffer.len(), |at| at + 1);
        text.consume(used);
        if end.is_some() || used == 0 {
            return Ok(());
        }
    }
}

/// Reads a line, without its end, as GNU `sha256sum` and we write it.
pub(super) fn parse(line: &[u8]) -> Line {
    let bad = |why: &str| Line::Bad(why.to_owned());
    let (line, escaped) = match line.strip_prefix(b"\\") {
        Some(rest) => (rest, true),
        None => (line, false),
    };
    let Some((hex, rest)) = line.split_at_checked(64) else { return bad("it is too short") };
    let Some(digest) = digest(hex) else { return bad("it does not begin with a SHA-256") };
    // A star says that the file was read as binary, which Linux does not tell from text.
    let Some(name) = rest.strip_prefix(b"  ").or_else(|| rest.strip_prefix(b" *")) else {
        return bad("it has no name");
    };
    let name = if escaped { unescape(name) } else { Some(name.to_vec()) };
    let Some(name) = name else { return bad("its name is escaped in a way that nobody writes") };
    // By itself a dash means standard input.
    let path = ArchivePath::from_bytes(if name == b"./-" { b"-" } else { &name });
    match path {
        Ok(path) => Line::File { path, digest },
        Err(error) => Line::Bad(error.to_string()),
    }
}

fn digest(hex: &[u8]) -> Option<Digest> {
    let mut bytes = [0; 32];
    let mut digits = hex.iter().map(|&digit| char::from(digit).to_digit(16));
    for byte in &mut bytes {
        *byte = u8::try_from(digits.next()?? * 16 + digits.next()??).ok()?;
    }
    Some(Digest::from_bytes(bytes))
}

fn unescape(name: &[u8]) -> Option<Vec<u8>> {
    let mut bytes = name.iter();
    let mut plain = Vec::with_capacity(name.len());
    while let Some(&byte) = bytes.next() {
        plain.push(match (byte, byte == b'\\') {
            (_, true) => match bytes.next()? {
                b'\\' => b'\\',
                b'n' => b'\n',
                b'r' => b'\r',
                _ => return None,
            },
            (byte, false) => byte,
        });
    }
    Some(plain)
}

fn source_of(
    storage: &Capabilities,
    layout: &str,
    device: &DeviceName,
    source_name: &[u8],
    place: &ArchivePath,
) -> Option<RelPath> {
    let (before, after) = layout.split_once("{path}")?;
    let fill = |part: &str| {
        let host = part.replace("{host}", device.as_str());
        let mut pieces = host.split("{source_name}").map(str::as_bytes);
        let first = pieces.next().unwrap_or_default().to_vec();
        pieces.fold(first, |filled, piece| [&filled, source_name, piece].concat())
    };
    let plain = storage.names.unescape(place.as_rel_path())?;
    let path = plain.as_bytes().strip_prefix(&*fill(before))?.strip_suffix(&*fill(after))?;
    let path = RelPath::new(path).ok()?;
    // Going there again is what makes it certain.
    let again = ArchivePath::place(layout, device, source_name, &path, storage).ok()?;
    (again == *place).then_some(path)
}

fn unversioned(storage: &Capabilities, version: &ArchivePath, content: &Digest) -> Option<ArchivePath> {
    let name = version.as_bytes().strip_prefix(VERSION_DIR.as_bytes())?.strip_prefix(b"/")?;
    // As long as one that was shortened, of which no more than a character or an escape sequence is missing.
    if version.as_rel_path().file_name().len() + SLACK_BYTES > storage.names.max_bytes {
        return None;
    }
    let time = version_time(version.as_rel_path().file_name())?;
    let plain = ArchivePath::from_bytes(name.rsplitn(3, |&byte| byte == b'~').nth(2)?).ok()?;
    // Going there again is what makes it certain.
    let again = |nth| plain.version(content, time, nth, storage.names.max_bytes) == *version;
    (0..MAX_NAMES).any(again).then_some(plain)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use crate::archive::NameRules;

    const ABC: &str = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";

    #[test]
    fn lines_as_sha256sum_writes_them() {
        let path = |line: &str| match parse(line.as_bytes()) {
            Line::File { path, digest } if digest == Digest::of(b"abc") => path.as_bytes().to_vec(),
            other => panic!("{line}: {other:?}"),
        };
        assert_eq!(path(&format!("{ABC}  pi/a b.jpg")), b"pi/a b.jpg");
        assert_eq!(path(&format!("{ABC} *pi/a.jpg")), b"pi/a.jpg");
        assert_eq!(path(&format!("{ABC}   pi")), b" pi");
        assert_eq!(path(&format!("\\{ABC}  a\\\\b\\nc\\rd")), b"a\\b\nc\rd");
        assert_eq!(path(&format!("{ABC}  a\\nb")), b"a\\nb", "not escaped, as there is no backslash before the digest");
        assert_eq!(path(&format!("{ABC}  ./-")), b"-");
    }

    #[test]
    fn what_is_no_line_of_ours_is_not_guessed_at() {
        let no_digest = format!("{}g  pi/a", &ABC[1..]);
        for (line, why) in [
            ("", "too short"),
            (&ABC[..63], "too short"),
            (ABC, "no name"),
            (&*format!("{ABC} pi/a"), "no name"),
            (&no_digest, "SHA-256"),
            (&format!("\\{ABC}  a\\tb"), "escaped"),
            (&format!("\\{ABC}  a\\"), "escaped"),
            (&format!("{ABC}  "), "empty"),
            (&format!("{ABC}  ../x"), ".."),
            (&format!("{ABC}  /etc/passwd"), "absolute"),
            (&format!("{ABC}  .pipeline/marker.json"), "reserved"),
            (&format!("{ABC}  SHA256SUMS/pi/x"), "reserved"),
        ] {
            match parse(line.as_bytes()) {
                Line::Bad(reason) => assert!(reason.contains(why), "{line}: {reason}"),
                Line::File { .. } => panic!("{line}"),
            }
        }
    }

    #[test]
    fn a_place_leads_back_to_the_path_that_it_was_given_to() {
        let device = DeviceName::new("raspberry31").unwrap();
        let cifs = Capabilities {
            names: NameRules { characters: ":".into(), max_bytes: 64, ..NameRules::none() },
            ..Capabilities::all()
        };
        let long = format!("{}:%/{{host}}", "é".repeat(60));
        for storage in [Capabilities::all(), cifs] {
            for layout in ["{host}/{path}", "{source_name}/{path}", "{path}", "a/{path}.{host}-{source_name}"] {
                for path in [&b"2026/a.jpg"[..], b"photos/raspberry31", b"a\nb", b"{path}", long.as_bytes()] {
                    let path = RelPath::new(path).unwrap();
                    let place = ArchivePath::place(layout, &device, b"photos", &path, &storage).unwrap();
                    assert_eq!(source_of(&storage, layout, &device, b"photos", &place), Some(path), "{layout}");
                }
            }
        }
        let none = |layout, place: &str| {
            let place = ArchivePath::from_bytes(place.as_bytes()).unwrap();
            source_of(&Capabilities::all(), layout, &device, b"photos", &place)
        };
        assert_eq!(none("{host}/{path}", "raspberry3/a.jpg"), None);
        assert_eq!(none("{host}/{path}", "raspberry31"), None);
        assert_eq!(none("{path}.jpg", "a.jpg.png"), None);
    }

    #[test]
    fn a_version_leads_back_to_its_place() {
        let (content, second) = (Digest::of(b"abc"), 1_700_000_000);
        let storage = Capabilities::all();
        for place in ["a.jpg", "pi/day 1/a~b.csv", "pi/a~20261122T013200Z~0123abcd"] {
            let place = ArchivePath::from_bytes(place.as_bytes()).unwrap();
            for nth in 0..MAX_NAMES {
                let version = place.version(&content, second, nth, 255);
                assert_eq!(unversioned(&storage, &version, &content), Some(place.clone()), "{version}");
            }
            let version = place.version(&content, second, 0, 255);
            assert_eq!(unversioned(&storage, &version, &Digest::of(b"other")), None);
            assert_eq!(unversioned(&storage, &place, &content), None);
        }
        let long = ArchivePath::from_bytes(&[b'x'; 250]).unwrap().version(&content, second, 0, 255);
        assert_eq!(unversioned(&storage, &long, &content), None, "what was cut off is nowhere");
    }
}
