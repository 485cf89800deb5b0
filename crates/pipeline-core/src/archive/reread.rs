//! Reading an archived file once more, long after it was stored, to learn whether it is still what it was.
//!
//! Guarantees: asks disk or server and not memory, changes nothing, and leaves nothing of what it read in memory, so that reading
//! a whole archive does not push out what others need. Says [`Reread::Same`] only of bytes with the expected digest. Leaves to
//! others: what ought to lie there (the catalog), and whether the storage itself is there
//! ([`Archive::confirm`]): a share that went away looks as if its files were gone.

use std::fs::File;
use std::io::{ErrorKind, Read as _};

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;

use crate::archive::Archive;
use crate::archive::error::{ArchiveError, failed};
use crate::archive::layout::ArchivePath;
use crate::archive::store::{READ_BYTES, Store, forget_cached};
use crate::cancel::Stopped;
use crate::digest::Hasher;
use crate::entry::Prefix;

/// What reading a file again has shown. Reasons are in words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reread {
    /// It holds what it should.
    Same,
    /// Nothing lies there.
    Missing,
    /// Something else lies there.
    Changed(String),
    /// Something lies there that can't be read.
    Unreadable(String),
}

/// Hears of the bytes that were just read, and may hold up the reading, or end it.
pub type Pace<'a> = dyn FnMut(u64) -> Result<(), Stopped> + 'a;

/// Sees the bytes that were just read, and may end the reading.
pub type See<'a> = dyn FnMut(&[u8]) -> Result<(), Stopped> + 'a;

impl Archive {
    /// Reads the file at an archive path, which should begin with `content` or, where it is `whole`, hold nothing else.
    ///
    /// An error is the storage's affair, not this file's, or [`ArchiveError::Stopped`].
    pub fn reread(
        &self,
        path: &ArchivePath,
        content: Prefix,
        whole: bool,
        pace: &mut Pace<'_>,
    ) -> Result<Reread, ArchiveError> {
        self.read_out(path, content, whole, &mut |bytes| pace(bytes.len() as u64))
    }

    /// The same, and somebody sees the bytes as they are read: a copy, say. Nothing vouches for them before it says
    /// [`Reread::Same`].
    pub fn read_out(
        &self,
        path: &ArchivePath,
        content: Prefix,
        whole: bool,
        see: &mut See<'_>,
    ) -> Result<Reread, ArchiveError> {
        let store = &*self.store;
        let at = path.as_rel_path();
        let file = match store.root.open_file(at, OFlags::RDONLY, Mode::empty()) {
            Ok(file) => file,
            Err(error) => return of_errno(error).ok_or_else(|| store.failed("open", at, error)),
        };
        forget_cached(&file);
        let read = read(store, &file, content, whole, see);
        forget_cached(&file);
        read.or_else(|error| {
            let errno = error.raw_os_error().map(Errno::from_raw_os_error);
            errno.and_then(of_errno).ok_or_else(|| failed(&store.path, "read", at.as_bytes(), error))
        })
    }
}

/// What an error says of one file; none where it says something of the storage.
fn of_errno(error: Errno) -> Option<Reread> {
    match error {
        // What can't be named can't be there.
        Errno::NOENT | Errno::NAMETOOLONG => Some(Reread::Missing),
        Errno::NOTDIR => Some(Reread::Changed("something that is no directory lies in its way".into())),
        Errno::LOOP | Errno::ISDIR | Errno::NXIO => Some(Reread::Changed("it is no plain file".into())),
        Errno::IO => Some(Reread::Unreadable("the storage can't read it any more".into())),
        Errno::ACCESS | Errno::PERM => {
            Some(Reread::Unreadable("the user that runs pipeline is not allowed to read it".into()))
        }
        _ => None,
    }
}

fn read(store: &Store, file: &File, content: Prefix, whole: bool, see: &mut See<'_>) -> std::io::Result<Reread> {
    let lying_bytes = file.metadata()?.len();
    if lying_bytes < content.bytes || whole && lying_bytes != content.bytes {
        return Ok(Reread::Changed(format!("it holds {lying_bytes} bytes, {} were stored", content.bytes)));
    }
    let mut reader = store.reader(file).take(content.bytes);
    let (mut hasher, mut buffer) = (Hasher::new(), vec![0; READ_BYTES]);
    loop {
        match reader.read(&mut buffer) {
            Ok(0) => break,
            Ok(bytes) => {
                hasher.update(&buffer[..bytes]);
                see(&buffer[..bytes]).map_err(std::io::Error::other)?;
            }
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    let (digest, bytes) = hasher.finish();
    Ok(match (bytes == content.bytes, digest == content.digest) {
        (true, true) => Reread::Same,
        (true, false) => Reread::Changed(format!("its SHA-256 is {digest}, {} was stored", content.digest)),
        (false, _) => Reread::Changed("it became shorter while it was read".into()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_files_affair_is_told_from_the_storages() {
        let word = |error| match of_errno(error) {
            None => "storage",
            Some(Reread::Missing) => "missing",
            Some(Reread::Changed(_)) => "changed",
            Some(Reread::Unreadable(_)) => "unreadable",
            Some(Reread::Same) => "same",
        };
        let table = [
            ("missing", &[Errno::NOENT, Errno::NAMETOOLONG][..]),
            ("changed", &[Errno::NOTDIR, Errno::LOOP, Errno::ISDIR, Errno::NXIO]),
            ("unreadable", &[Errno::IO, Errno::ACCESS, Errno::PERM]),
            ("storage", &[Errno::STALE, Errno::NOTCONN, Errno::HOSTDOWN, Errno::MFILE]),
        ];
        for (expected, errors) in table {
            errors.iter().for_each(|&error| assert_eq!(word(error), expected, "{error}"));
        }
    }
}
