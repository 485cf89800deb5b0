//! A bag as BagIt 1.0 has it (RFC 8493): copies of what some devices brought in some time, with digests and where all of it is from.
//!
//! Guarantees: each file in it has the digest that its device computed when it sent it; the digests in the manifest are those, and
//! none that was computed from the copy. There is a whole bag, on disk, or none. A run may go on meanwhile: what it moves is found
//! where it is then.

use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, UNIX_EPOCH};

use jiff::Timestamp;

use super::about::{self, BagInfo};
use super::destination::Destination;
use super::names::payload;
use super::{ExportError, PAGE, contents};
use crate::archive::{Archive, ArchiveError, Reread};
use crate::cancel::{Cancel, Stopped};
use crate::catalog::history::Filter;
use crate::catalog::{Content, Contents, Sums};
use crate::config::Config;
use crate::digest::{Digest, Hasher};
use crate::event::{Event, Observer};
use crate::path::{DeviceName, write_escaped};
use crate::run;

const DECLARATION: &str = "BagIt-Version: 1.0\nTag-File-Character-Encoding: UTF-8\n";

/// What was put into a bag.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bag {
    /// Where it is.
    pub path: PathBuf,
    /// The devices that were asked for.
    pub devices: usize,
    /// Files.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Received in that time, and kept no longer.
    pub dropped: u64,
}

/// Makes a bag at `to`, where nothing may be.
pub fn write_bag(
    config: &Config,
    filter: &Filter,
    info: &[BagInfo],
    to: &Path,
    observer: &dyn Observer,
    cancel: &Cancel,
) -> Result<Bag, ExportError> {
    let (archive, catalog) = run::open(config)?;
    let archive = archive.heeding(cancel);
    let destination = Destination::new(to, config.into())?;
    let (devices, contents) = contents(&catalog, filter)?;
    let sums = contents.sums()?;
    if sums.files == 0 {
        return Err(ExportError::Nothing { in_a_time: !filter.period.is_unbounded() });
    }
    check_room(destination.dir(), &sums)?;
    observer.event(&Event::ExportStarted { files: sums.files, bytes: sums.bytes });
    let partial = destination.partial().to_owned();
    fs::create_dir(&partial).map_err(ExportError::io("make", &partial))?;
    let mut filling = Filling { archive: &archive, contents: &contents, observer, cancel, dir: &partial };
    let made = filling.fill(&devices, filter, info).and_then(|bag| {
        // Whatever was read was read of this storage.
        archive.confirm()?;
        Ok(Bag { path: destination.publish()?, ..bag })
    });
    if made.is_err() {
        destination.discard();
    }
    match made {
        Err(ExportError::Archive(ArchiveError::Stopped)) => Err(ExportError::Stopped),
        made => made,
    }
}

fn check_room(dir: &Path, sums: &Sums) -> Result<(), ExportError> {
    let found = rustix::fs::statvfs(dir).map_err(|e| ExportError::io("ask for the free space of", dir)(e.into()))?;
    let free = found.f_bavail.saturating_mul(found.f_frsize);
    if free < sums.bytes {
        return Err(ExportError::NoRoom { dir: dir.to_owned(), free, needed: sums.bytes });
    }
    Ok(())
}

struct Filling<'a> {
    archive: &'a Archive,
    contents: &'a Contents,
    observer: &'a dyn Observer,
    cancel: &'a Cancel,
    dir: &'a Path,
}

impl Filling<'_> {
    fn fill(&mut self, devices: &[DeviceName], filter: &Filter, info: &[BagInfo]) -> Result<Bag, ExportError> {
        let mut manifest = Tag::create(self.dir, "manifest-sha256.txt")?;
        let mut files = Tag::create(self.dir, "files.csv")?;
        files.line("file,device,source,path,bytes,sha256,modified,received,receipt")?;
        let (mut count, mut bytes, mut last) = (0, 0, 0);
        loop {
            let page = self.contents.after(last, PAGE)?;
            let Some(end) = page.last() else { break };
            last = end.row;
            for content in page {
                let Some(copied) = self.copy(content)? else { continue };
                let name = format!("data/{}", payload(&copied.archive_path));
                manifest.line(&format!("{}  {name}", copied.content.digest))?;
                files.line(&row(&name, &copied))?;
                count += 1;
                bytes += copied.content.bytes;
            }
        }
        // What was dropped meanwhile is in no manifest.
        let dropped = self.contents.sums()?.dropped;
        let bag = Bag { path: PathBuf::new(), devices: devices.len(), files: count, bytes, dropped };
        let mut about = Tag::create(self.dir, "bag-info.txt")?;
        for line in about::lines(&bag, devices, filter, info) {
            about.line(&line)?;
        }
        let mut declaration = Tag::create(self.dir, "bagit.txt")?;
        declaration.write(DECLARATION.as_bytes())?;
        let mut tags = Tag::create(self.dir, "tagmanifest-sha256.txt")?;
        for tag in [declaration, about, manifest, files] {
            let name = tag.name;
            tags.line(&format!("{}  {name}", tag.finish()?))?;
        }
        tags.finish()?;
        Ok(bag)
    }

    /// Copies one content, from wherever it is by now. None where it is kept no longer.
    fn copy(&mut self, mut content: Content) -> Result<Option<Content>, ExportError> {
        loop {
            if self.cancel.is_set() {
                return Err(ExportError::Stopped);
            }
            let reason = match self.copy_from(&content)? {
                Reread::Same => {
                    self.observer.event(&Event::ArchiveRead { files: 1, bytes: 0 });
                    return Ok(Some(content));
                }
                Reread::Missing => "nothing lies there".to_owned(),
                Reread::Changed(reason) | Reread::Unreadable(reason) => reason,
            };
            // A share that went away looks as if its files were gone.
            self.archive.confirm()?;
            // A run writes down where content is going before it moves it: if that is the same as before, nobody has moved it.
            match self.contents.again(content.row)? {
                None => return Ok(None),
                Some(now) if now == content => {
                    let path = content.archive_path.as_rel_path().clone();
                    return Err(ExportError::Damaged { path, device: content.device, reason });
                }
                Some(now) => content = now,
            }
        }
    }

    /// Copies what lies where the row says. What is not [`Reread::Same`] leaves nothing.
    fn copy_from(&self, content: &Content) -> Result<Reread, ExportError> {
        let path = self.dir.join("data").join(payload(&content.archive_path));
        if let Some(dir) = path.parent() {
            fs::create_dir_all(dir).map_err(ExportError::io("make", dir))?;
        }
        let mut file = File::create_new(&path).map_err(ExportError::io("write", &path))?;
        let mut failure = None;
        let read = self.archive.read_out(&content.archive_path, content.content, content.whole, &mut |bytes| {
            self.observer.event(&Event::ArchiveRead { files: 0, bytes: bytes.len() as u64 });
            if self.cancel.is_set() {
                return Err(Stopped);
            }
            file.write_all(bytes).map_err(|error| {
                failure = Some(error);
                Stopped
            })
        });
        if let Some(error) = failure {
            return Err(ExportError::io("write", &path)(error));
        }
        let read = read?;
        if read == Reread::Same {
            // Best effort: the time is in `files.csv` as well.
            let since = Duration::from_nanos(u64::try_from(content.modified_ns).unwrap_or(0));
            file.set_modified(UNIX_EPOCH + since).ok();
        } else {
            fs::remove_file(&path).map_err(ExportError::io("remove", &path))?;
        }
        Ok(read)
    }
}

/// A line of `files.csv`.
fn row(name: &str, content: &Content) -> String {
    let readable = |bytes: &[u8]| {
        let mut text = String::new();
        // A String takes everything.
        write_escaped(&mut text, bytes).unwrap_or_default();
        text
    };
    let (source, path) = (readable(&content.source), readable(content.path.as_bytes()));
    let (modified, received) = (utc(content.modified_ns).to_string(), utc(content.received_ns).to_string());
    let (bytes, digest) = (content.content.bytes.to_string(), content.content.digest.to_string());
    let receipt = content.row.to_string();
    let fields = [name, &content.device, &source, &path, &bytes, &digest, &modified, &received, &receipt];
    fields.map(quoted).join(",")
}

/// A field of RFC 4180.
fn quoted(field: &str) -> String {
    let plain = !field.contains([',', '"', '\n', '\r']);
    if plain { field.to_owned() } else { format!("\"{}\"", field.replace('"', "\"\"")) }
}

pub(super) fn utc(ns: i64) -> Timestamp {
    Timestamp::from_nanosecond(ns.into()).unwrap_or_default()
}

/// A tag file, and the digest of what was written to it.
struct Tag {
    name: &'static str,
    path: PathBuf,
    out: BufWriter<File>,
    hasher: Hasher,
}

impl Tag {
    fn create(dir: &Path, name: &'static str) -> Result<Tag, ExportError> {
        let path = dir.join(name);
        let file = File::create_new(&path).map_err(ExportError::io("write", &path))?;
        Ok(Tag { name, path, out: BufWriter::new(file), hasher: Hasher::new() })
    }

    fn write(&mut self, bytes: &[u8]) -> Result<(), ExportError> {
        self.hasher.update(bytes);
        self.out.write_all(bytes).map_err(ExportError::io("write", &self.path))
    }

    fn line(&mut self, line: &str) -> Result<(), ExportError> {
        self.write(line.as_bytes())?;
        self.write(b"\n")
    }

    fn finish(mut self) -> Result<Digest, ExportError> {
        let flushed: io::Result<()> = self.out.flush();
        flushed.map_err(ExportError::io("write", &self.path))?;
        Ok(self.hasher.finish().0)
    }
}
