//! What lies at an archive path.
//!
//! Guarantees: changes nothing, follows no symbolic link, reads no content. On a storage that takes `a` for `A`, or two forms of
//! one letter for each other, a file under another name than was asked for is never taken for the file itself. Leaves to others:
//! whose content it is (the catalog), and what it holds ([`super::held`]).

use std::collections::HashSet;

use rustix::fs::{FileType, Stat};
use rustix::io::Errno;

use crate::archive::ArchivePath;
use crate::archive::error::ArchiveError;
use crate::archive::probe::names_in;
use crate::archive::store::{Store, lock};
use crate::path::RelPath;
use crate::rooted::file_type;

/// What lies at an archive path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Lying {
    /// Nothing.
    Nothing,
    /// A plain file.
    File(Stamp),
    /// Something else, or something that is no directory lies in its way.
    NotAFile,
    /// A plain file that the storage takes for the one that was asked for, though some name of its path is written otherwise: in
    /// another case, or another form of a letter. It is another file, unless the catalog holds a row with this very path:
    /// then it is that row's, and lies in a directory that was there under another name before.
    OtherCase(Stamp),
}

/// Tells whether an archived file is still the one that was looked at, untouched: our side's counterpart of
/// [`Identity`](crate::entry::Identity).
///
/// Some file servers give their files new inode numbers as they like, so a stamp that differs is a reason to read the file
/// again, not a proof that its content changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stamp {
    dev: u64,
    ino: u64,
    bytes: u64,
    mtime: (i64, i64),
    ctime: (i64, i64),
}

impl Stamp {
    #[allow(clippy::unnecessary_cast, clippy::cast_lossless)] // the types differ by architecture
    #[allow(clippy::cast_possible_wrap)] // nanoseconds are below 2^30
    pub(super) fn of(stat: &Stat) -> Stamp {
        Stamp {
            dev: stat.st_dev as u64,
            ino: stat.st_ino as u64,
            bytes: stat.st_size.unsigned_abs(),
            mtime: (stat.st_mtime as i64, stat.st_mtime_nsec as i64),
            ctime: (stat.st_ctime as i64, stat.st_ctime_nsec as i64),
        }
    }

    /// The size of the file.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// The last change of its content, in nanoseconds since 1970: as its device said, where the storage could note that.
    pub fn mtime_ns(&self) -> i64 {
        self.mtime.0.saturating_mul(1_000_000_000).saturating_add(self.mtime.1)
    }

    /// The last change of its content, in seconds since 1970.
    pub(super) fn mtime_seconds(&self) -> i64 {
        self.mtime.0
    }

    /// Whether both are of one file that nobody has written to in between, though it may have got another name.
    pub(super) fn is_unwritten_since(&self, before: &Stamp) -> bool {
        Stamp { ctime: before.ctime, ..*self } == *before
    }
}

/// See [`super::Archive::look`].
pub(super) fn look(store: &Store, path: &ArchivePath) -> Result<Lying, ArchiveError> {
    let path = path.as_rel_path();
    let stamp = match store.root.stat(path) {
        Ok(stat) if file_type(&stat) == FileType::RegularFile => Stamp::of(&stat),
        Ok(_) | Err(Errno::NOTDIR | Errno::LOOP) => return Ok(Lying::NotAFile),
        // What can't be named can't be there.
        Err(Errno::NOENT | Errno::NAMETOOLONG) => return Ok(Lying::Nothing),
        Err(error) => return Err(store.failed("look at", path, error)),
    };
    let capabilities = store.marker.capabilities();
    if capabilities.case_sensitive && capabilities.distinct_unicode_forms || is_listed(store, path)? {
        return Ok(Lying::File(stamp));
    }
    Ok(Lying::OtherCase(stamp))
}

/// Whether every name of the path is listed exactly so in the directory that holds it.
fn is_listed(store: &Store, path: &RelPath) -> Result<bool, ArchiveError> {
    let mut next = Some(path.clone());
    while let Some(here) = next {
        let parent = here.parent();
        if !is_listed_in(store, parent.as_ref(), here.file_name())? {
            return Ok(false);
        }
        next = parent;
    }
    Ok(true)
}

/// The names of one directory, as they were listed when it looked like this.
#[derive(Debug)]
pub(super) struct Listing {
    /// Empty for the root.
    dir: Vec<u8>,
    stamp: Stamp,
    names: HashSet<Vec<u8>>,
}

/// Directories whose names are remembered: as many as a path with one directory below another commonly has.
const MAX_LISTINGS: usize = 8;

fn is_listed_in(store: &Store, dir: Option<&RelPath>, name: &[u8]) -> Result<bool, ArchiveError> {
    let key = dir.map_or(&b""[..], RelPath::as_bytes);
    let failed = |error| crate::archive::error::failed(&store.path, "list", key, error);
    let fd = match dir {
        Some(dir) => store.root.open_dir(dir),
        None => rustix::io::fcntl_dupfd_cloexec(&store.root, 0),
    }
    .map_err(failed)?;
    let stamp = Stamp::of(&rustix::fs::fstat(&fd).map_err(failed)?);
    let mut listings = lock(&store.listings);
    if let Some(at) = listings.iter().position(|listing| listing.dir == key) {
        // A name that is missing may have come since, within one step of a coarse clock: look again.
        if listings[at].stamp == stamp && listings[at].names.contains(name) {
            let known = listings.remove(at);
            listings.push(known);
            return Ok(true);
        }
        listings.remove(at);
    }
    let names: HashSet<Vec<u8>> = names_in(&fd).map_err(failed)?.into_iter().collect();
    let found = names.contains(name);
    if listings.len() >= MAX_LISTINGS {
        listings.remove(0);
    }
    listings.push(Listing { dir: key.to_vec(), stamp, names });
    Ok(found)
}
