//! What was asked for: a device, a place in the storage, or a path on a device.
//!
//! People paste what they have before them: the path of a stored file, what is in a log, what `ls` on the Pi says. So each reading is
//! tried, the one that needs no guess first, and the one that the catalog knows is it. Leaves to others: what is known of it.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use super::ExplainError;
use crate::archive::{Archive, ArchivePath};
use crate::catalog::history::{History, Source};
use crate::config::{Config, nearest};
use crate::path::{DeviceName, RelPath};

/// What was asked.
#[derive(Clone, Copy, Debug)]
pub struct Question<'a> {
    /// A device, or a path.
    pub subject: &'a OsStr,
    /// With a device: a path on it, or below the storage.
    pub path: Option<&'a OsStr>,
    /// Where the asker is: a relative path may be meant from there.
    pub current_dir: Option<&'a Path>,
}

/// One thing to explain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Subject {
    Device(DeviceName),
    /// A file below a directory of a device, which the catalog may not know.
    File {
        device: DeviceName,
        directory: Vec<u8>,
        known: Option<Source>,
        path: RelPath,
    },
}

/// More files of one name than this are not explained at once.
const MAX_SUBJECTS: usize = 20;

/// What questions are answered from.
pub(super) struct Known<'a> {
    pub config: &'a Config,
    pub history: &'a History,
    /// None where the storage is not there.
    pub archive: Option<&'a Archive>,
}

impl Known<'_> {
    /// Whether the configuration names this device.
    pub fn is_configured(&self, device: &str) -> bool {
        let fits = |negated| self.config.hosts.iter().any(|host| host.is_negated() == negated && host.matches(device));
        fits(false) && !fits(true)
    }

    /// The device of this name, if there is one.
    fn device(&self, name: &OsStr) -> Option<DeviceName> {
        let device = DeviceName::new(name.to_str()?).ok()?;
        let visited = self.history.sources().iter().any(|source| source.device == device);
        (visited || self.is_configured(device.as_str())).then_some(device)
    }

    /// What is meant, at least one.
    pub fn subjects(&self, question: &Question<'_>) -> Result<Vec<Subject>, ExplainError> {
        match (self.device(question.subject), question.path) {
            (Some(device), None) => Ok(vec![Subject::Device(device)]),
            (Some(device), Some(path)) => self.on(&device, path, question.current_dir),
            (None, None) => self.anywhere(question),
            (None, Some(_)) => Err(self.no_device(question.subject)),
        }
    }

    fn no_device(&self, name: &OsStr) -> ExplainError {
        let name = shown(name.as_bytes());
        ExplainError::NoDevice { near: self.near(&name), name }
    }

    /// Devices that are nearly called so.
    fn near(&self, name: &str) -> Vec<String> {
        let visited = self.history.sources().iter().map(|source| source.device.as_str());
        let configured = self.config.hosts.iter().flat_map(|host| host.names().unwrap_or_default());
        let mut known: Vec<&str> = visited.chain(configured.map(DeviceName::as_str)).collect();
        known.sort_unstable();
        known.dedup();
        nearest(name, known).into_iter().map(str::to_owned).collect()
    }

    /// A path of one device.
    fn on(&self, device: &DeviceName, path: &OsStr, current_dir: Option<&Path>) -> Result<Vec<Subject>, ExplainError> {
        for bytes in readings(path.as_bytes()) {
            let mut found = Vec::new();
            for place in self.places(&bytes, current_dir) {
                found.extend(self.stored(&place)?.into_iter().filter(|subject| subject.is_of(device)));
            }
            if found.is_empty() {
                found = self.known_only(self.below(&bytes, Some(device)))?;
            }
            if !found.is_empty() {
                return Ok(found);
            }
        }
        // Nothing is known of it: it is taken as it stands, and of the directory that is visited now.
        let bytes = path.as_bytes();
        if let Some(subject) = self.below(bytes, Some(device)).into_iter().next() {
            self.refuse_directory(bytes, &subject)?;
            if is_glob(bytes) {
                return Err(ExplainError::Glob { path: shown(bytes), device: Some(device.to_string()) });
            }
            return Ok(vec![subject]);
        }
        let path = shown(bytes);
        if !bytes.starts_with(b"/") {
            return Err(ExplainError::NotAPath { path });
        }
        let sources = self.sources(Some(device)).iter().map(|(_, directory, _)| shown(directory)).collect();
        Err(ExplainError::Outside { device: device.to_string(), path, sources })
    }

    fn refuse_directory(&self, bytes: &[u8], subject: &Subject) -> Result<(), ExplainError> {
        match self.files_below(subject)? {
            0 => Ok(()),
            files => Err(ExplainError::Directory { path: shown(bytes), files }),
        }
    }

    /// How many files came from below there.
    fn files_below(&self, subject: &Subject) -> Result<u64, ExplainError> {
        match subject {
            Subject::File { known: Some(source), path, .. } => Ok(self.history.files_below(source, path)?),
            _ => Ok(0),
        }
    }

    /// Whether it is the storage's own directory, from where the asker is.
    fn is_storage(&self, path: &OsStr, current_dir: Option<&Path>) -> bool {
        let path = current_dir.unwrap_or(Path::new("/")).join(path);
        let same = |path: std::path::PathBuf| self.config.storage.canonicalize().is_ok_and(|storage| storage == path);
        path == self.config.storage || path.canonicalize().is_ok_and(same)
    }

    /// A path, of whatever device.
    fn anywhere(&self, question: &Question<'_>) -> Result<Vec<Subject>, ExplainError> {
        let bytes = question.subject.as_bytes();
        for bytes in readings(bytes) {
            for place in self.places(&bytes, question.current_dir) {
                let found = self.stored(&place)?;
                if !found.is_empty() {
                    return Ok(found);
                }
            }
            let found = self.known_only(self.below(&bytes, None))?;
            if !found.is_empty() {
                return Ok(found);
            }
        }
        for place in self.places(bytes, question.current_dir) {
            let files = self.history.files_below_place(&place)?;
            if files > 0 {
                return Err(ExplainError::Directory { path: shown(bytes), files });
            }
        }
        // The same directory on several devices.
        let mut files = 0_u64;
        for subject in self.below(bytes, None) {
            files = files.saturating_add(self.files_below(&subject)?);
        }
        if files > 0 {
            return Err(ExplainError::Directory { path: shown(bytes), files });
        }
        let path = shown(bytes);
        if self.is_storage(question.subject, question.current_dir) {
            return Err(ExplainError::Storage { path });
        }
        if is_glob(bytes) {
            return Err(ExplainError::Glob { path, device: None });
        }
        // Nothing ever lay there. If one device alone would have its file there, it is that one.
        let mut found = Vec::new();
        for place in self.places(bytes, question.current_dir) {
            found.extend(self.would_be(&place));
        }
        found.dedup();
        match found.len() {
            1 => Ok(found),
            _ => Err(ExplainError::Unknown { near: self.near(&path), path }),
        }
    }

    /// The places in the storage that a path may mean.
    fn places(&self, bytes: &[u8], current_dir: Option<&Path>) -> Vec<ArchivePath> {
        let storage = self.config.storage.as_os_str().as_bytes();
        let mut places = Vec::new();
        if bytes.starts_with(b"/") {
            places.extend(below(storage, bytes));
            // As the kernel sees it: the asker may have come through a link.
            if let (Ok(storage), Some(path)) = (self.config.storage.canonicalize(), canonical(bytes)) {
                places.extend(below(storage.as_os_str().as_bytes(), &path));
            }
        } else {
            places.extend(plain(bytes));
            if let (Some(dir), Ok(storage)) = (current_dir, self.config.storage.canonicalize())
                && dir.starts_with(&storage)
            {
                let from_here = [dir.as_os_str().as_bytes(), b"/", bytes].concat();
                places.extend(below(storage.as_os_str().as_bytes(), &from_here));
            }
        }
        let mut places: Vec<ArchivePath> =
            places.iter().filter_map(|path| ArchivePath::from_bytes(path.as_bytes()).ok()).collect();
        places.dedup();
        places
    }

    /// The files whose content is at a place.
    fn stored(&self, place: &ArchivePath) -> Result<Vec<Subject>, ExplainError> {
        let found = self.history.files_at(place)?.into_iter().take(MAX_SUBJECTS);
        let subject = |(source, path): (&Source, RelPath)| Subject::File {
            device: source.device.clone(),
            directory: source.path.clone(),
            known: Some(source.clone()),
            path,
        };
        Ok(found.map(subject).collect())
    }

    /// The files that a path may mean on devices: below each of their directories.
    fn below(&self, bytes: &[u8], device: Option<&DeviceName>) -> Vec<Subject> {
        let subject = |(device, directory, known): (DeviceName, Vec<u8>, Option<Source>)| {
            let path = match bytes.starts_with(b"/") {
                // A rebuilt catalog may not know where its files lay.
                true if directory.is_empty() => None,
                true => below(&directory, bytes),
                false => plain(bytes),
            }?;
            Some(Subject::File { device, directory, known, path })
        };
        self.sources(device).into_iter().filter_map(subject).collect()
    }

    /// Every directory of one device, or of all that were visited; first the one that is visited now.
    fn sources(&self, device: Option<&DeviceName>) -> Vec<(DeviceName, Vec<u8>, Option<Source>)> {
        let visited =
            self.history.sources().iter().filter(|source| device.is_none_or(|device| source.device == *device));
        let mut sources: Vec<_> =
            visited.map(|source| (source.device.clone(), source.path.clone(), Some(source.clone()))).collect();
        if let Some(device) = device {
            let directory = self.config.device(device).source.as_os_str().as_bytes().to_vec();
            match sources.iter().position(|(_, known, _)| *known == directory) {
                Some(at) => sources.swap(0, at),
                None => sources.insert(0, (device.clone(), directory, None)),
            }
        }
        sources
    }

    /// Those of which the catalog knows anything.
    fn known_only(&self, subjects: Vec<Subject>) -> Result<Vec<Subject>, ExplainError> {
        let mut known = Vec::new();
        for subject in subjects {
            if let Subject::File { known: Some(source), path, .. } = &subject
                && known.len() < MAX_SUBJECTS
                && self.history.mentions(source, path)?
            {
                known.push(subject);
            }
        }
        Ok(known)
    }

    /// The files that the layout would store at a place.
    fn would_be(&self, place: &ArchivePath) -> Vec<Subject> {
        let Some(archive) = self.archive else { return Vec::new() };
        let visited = self.history.sources().iter().map(|source| &source.device);
        let configured = self.config.hosts.iter().flat_map(|host| host.names().unwrap_or_default());
        let names: BTreeSet<&DeviceName> = visited.chain(configured).collect();
        let would_be = |device: &DeviceName| {
            let settings = self.config.device(device);
            let source_name = settings.source.file_name().unwrap_or_default().as_bytes();
            let path = archive.source_of(&settings.layout, device, source_name, place)?;
            let directory = settings.source.as_os_str().as_bytes().to_vec();
            let is_it = |source: &&Source| source.device == *device && source.path == directory;
            let known = self.history.sources().iter().find(is_it).cloned();
            Some(Subject::File { device: device.clone(), directory, known, path })
        };
        names.into_iter().filter(|name| self.is_configured(name.as_str())).filter_map(would_be).collect()
    }
}

impl Subject {
    fn is_of(&self, name: &DeviceName) -> bool {
        match self {
            Subject::Device(device) | Subject::File { device, .. } => device == name,
        }
    }
}

/// Whether it can hardly be one file's name: a shell hands on a glob that fits nothing.
fn is_glob(bytes: &[u8]) -> bool {
    bytes.iter().any(|byte| matches!(byte, b'*' | b'?'))
}

/// As it was typed, and as it would be if it was copied from what we print.
fn readings(bytes: &[u8]) -> Vec<Vec<u8>> {
    let mut readings = vec![bytes.to_vec()];
    readings.extend(unescaped(bytes).filter(|plain| plain != bytes));
    readings
}

/// Undoes [`crate::path::write_escaped`], and what turns characters that a terminal takes for orders into `\u{202e}`; none where nothing
/// there can be from it.
fn unescaped(bytes: &[u8]) -> Option<Vec<u8>> {
    let mut plain = Vec::with_capacity(bytes.len());
    let mut rest = bytes;
    while let Some((&byte, after)) = rest.split_first() {
        if byte != b'\\' {
            plain.push(byte);
            rest = after;
            continue;
        }
        let (&kind, after) = after.split_first()?;
        rest = after;
        plain.push(match kind {
            b'n' => b'\n',
            b'r' => b'\r',
            b't' => b'\t',
            b'\\' => b'\\',
            b'x' => {
                let (hex, after) = rest.split_at_checked(2)?;
                rest = after;
                u8::from_str_radix(std::str::from_utf8(hex).ok()?, 16).ok()?
            }
            b'u' => {
                let (c, after) = unicode(rest)?;
                rest = after;
                plain.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
                continue;
            }
            _ => return None,
        });
    }
    Some(plain)
}

/// What is between the braces of `\u{202e}`, and what follows.
fn unicode(bytes: &[u8]) -> Option<(char, &[u8])> {
    let bytes = bytes.strip_prefix(b"{")?;
    let (hex, after) = bytes.split_at_checked(bytes.iter().take(7).position(|&byte| byte == b'}')?)?;
    let code = u32::from_str_radix(std::str::from_utf8(hex).ok()?, 16).ok()?;
    Some((char::from_u32(code)?, after.strip_prefix(b"}")?))
}

/// A relative path without `.`, `//` and what `..` takes back; none where nothing is left, or it leads out.
fn plain(bytes: &[u8]) -> Option<RelPath> {
    let mut parts: Vec<&[u8]> = Vec::new();
    for part in bytes.split(|&byte| byte == b'/') {
        match part {
            b"" | b"." => {}
            b".." => drop(parts.pop()?),
            part => parts.push(part),
        }
    }
    RelPath::new(parts.join(&b'/')).ok()
}

/// What is left of an absolute path below a directory.
fn below(dir: &[u8], path: &[u8]) -> Option<RelPath> {
    let (dir, path) = (plain(dir), plain(path)?);
    let Some(dir) = dir else { return Some(path) };
    let rest = path.as_bytes().strip_prefix(dir.as_bytes())?.strip_prefix(b"/")?;
    RelPath::new(rest).ok()
}

/// An absolute path with its directory as the kernel sees it: the file itself may be gone.
fn canonical(bytes: &[u8]) -> Option<Vec<u8>> {
    let path = Path::new(OsStr::from_bytes(bytes));
    let (dir, name) = (path.parent()?.canonicalize().ok()?, path.file_name()?);
    Some(dir.join(name).into_os_string().as_bytes().to_vec())
}

/// On one line.
pub(super) fn shown(bytes: &[u8]) -> String {
    let mut text = String::new();
    // A String takes everything.
    crate::path::write_escaped(&mut text, bytes).unwrap_or_default();
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_printed_can_be_typed() {
        let name = b"a\n\xff\\ b";
        assert_eq!(unescaped(shown(name).as_bytes()).as_deref(), Some(&name[..]));
        // A terminal must not be told to turn the line.
        assert_eq!(unescaped(b"photo\\u{202e}gpj\\\\").as_deref(), Some("photo\u{202e}gpj\\".as_bytes()));
        for torn in ["\\u", "\\u{", "\\u{}", "\\u{202e", "\\u202e", "\\u{d800}", "\\u{00000041}"] {
            assert_eq!(unescaped(torn.as_bytes()), None, "{torn}");
        }
        assert_eq!(unescaped(b"a\\q"), None);
        assert_eq!(unescaped(b"a\\xf"), None);
    }

    #[test]
    fn paths_are_read_as_people_write_them() {
        let text = |path: Option<RelPath>| path.map(|path| path.to_string());
        assert_eq!(text(plain(b"./a//b/../c/")), Some("a/c".into()));
        assert_eq!(text(plain(b"../a")), None);
        assert_eq!(text(plain(b"./")), None);
        assert_eq!(text(below(b"/mnt/san/", b"/mnt//san/./x/y")), Some("x/y".into()));
        assert_eq!(text(below(b"/mnt/san", b"/mnt/sandbox/y")), None);
        assert_eq!(text(below(b"/", b"/y")), Some("y".into()));
    }
}
