//! A file that is open to be read to its end.
//!
//! Guarantees that `Complete` is said only of a file that was the requested one before the first and after the last byte was
//! read, and that a later change shows. Leaves to others what is read and sent.

use std::fs::File;
use std::io::{self, Read};
use std::time::Duration;

use rustix::fs::{Advice, Mode, OFlags, fadvise, fdatasync, fstat};
use rustix::io::{Errno, Result};

use super::lease::{self, Lease};
use super::vitals::{identity, now_ns, words};
use crate::digest::Hasher;
use crate::entry::Identity;
use crate::rooted::Rooted;
use crate::wire::{FetchEnd, FileRef, MAX_DATA_BYTES};

/// Whether files may be read without a new access time, which spares a card its writes. Only the owner may ask for that.
#[derive(Default)]
pub(super) struct Atime {
    refused: bool,
}

/// Longer than a tick of the kernel's clock: 10 ms where it is slowest, on 32-bit boards.
const TICK_NS: i64 = 20_000_000;
/// The same for file systems that count in seconds, such as FAT, which counts in twos.
const COARSE_TICK_NS: i64 = 2_000_000_000;

/// The open file.
pub(super) struct Content {
    file: File,
    identity: Identity,
}

impl Content {
    /// Opens a file if it is the requested one; otherwise the answer to the request.
    pub(super) fn open(
        root: Result<&Rooted>,
        file: &FileRef,
        atime: &mut Atime,
    ) -> std::result::Result<Content, FetchEnd> {
        // It says nothing about the file that the directory it was in can't be opened.
        let root = root.map_err(|error| FetchEnd::Failed(words(error)))?;
        let opened = open(root, file, atime).map_err(not_opened)?;
        make_changes_visible(&opened, file.identity.ctime_ns);
        let content = Content { file: opened, identity: file.identity };
        content.still_the_same()?;
        if content.size() > MAX_DATA_BYTES as u64 {
            // A hint; reading works as well without.
            fadvise(&content.file, 0, None, Advice::Sequential).ok();
        }
        Ok(content)
    }

    /// How long it is.
    pub(super) fn size(&self) -> u64 {
        self.identity.size
    }

    /// Reads on until the buffer is full or the file ends.
    pub(super) fn read_full(&self, buffer: &mut [u8]) -> io::Result<usize> {
        let mut filled = 0;
        while filled < buffer.len() {
            match (&self.file).read(&mut buffer[filled..]) {
                Ok(0) => break,
                Ok(bytes) => filled += bytes,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(e),
            }
        }
        Ok(filled)
    }

    /// The end of the answer, once all of it has been read and hashed.
    pub(super) fn end(&self, hasher: Hasher) -> FetchEnd {
        // What is written after this has another ctime, which the removal sees.
        match self.still_the_same() {
            Ok(()) => FetchEnd::Complete(hasher.finish().0),
            Err(end) => end,
        }
    }

    fn still_the_same(&self) -> std::result::Result<(), FetchEnd> {
        match fstat(&self.file) {
            Ok(stat) if identity(&stat) == self.identity => Ok(()),
            Ok(_) => Err(FetchEnd::Changed),
            Err(error) => Err(FetchEnd::Failed(words(error))),
        }
    }
}

fn open(root: &Rooted, file: &FileRef, atime: &mut Atime) -> Result<File> {
    if !atime.refused {
        match root.open_file(&file.path, OFlags::RDONLY | OFlags::NOATIME, Mode::empty()) {
            Err(Errno::PERM) => atime.refused = true,
            result => return result,
        }
    }
    root.open_file(&file.path, OFlags::RDONLY, Mode::empty())
}

fn not_opened(error: Errno) -> FetchEnd {
    match error {
        Errno::NOENT | Errno::NOTDIR => FetchEnd::Gone,
        // A link, a directory or something else has taken its place.
        Errno::LOOP | Errno::ISDIR | Errno::NXIO => FetchEnd::Changed,
        error => FetchEnd::Failed(words(error)),
    }
}

/// Sees to it that whatever is written from now on shows in ctime, or in a writer that the removal meets.
///
/// Two kinds of change would not. A kernel before Linux 6.13 gives changes within one tick of its clock the same time. And a
/// program that has mapped the file changes a page that is not yet on the card without any new time.
fn make_changes_visible(opened: &File, ctime_ns: i64) {
    let tick_ns = if ctime_ns % 1_000_000_000 == 0 { COARSE_TICK_NS } else { TICK_NS };
    let age_ns = now_ns().saturating_sub(ctime_ns);
    // Just before its time, too: the clock may have been set back by a little.
    if (-tick_ns..tick_ns).contains(&age_ns) {
        std::thread::sleep(Duration::from_nanos((tick_ns - age_ns).unsigned_abs()));
    }
    match lease::take(opened) {
        Lease::Held => lease::give_up(opened),
        // After this the pages are protected, and the next change to a mapped one is noticed. An error will come again when
        // the file is read.
        Lease::Refused => fdatasync(opened).unwrap_or(()),
        // RACE: a file of somebody else, or on a file system without leases, that is mapped, changed and closed in between.
        Lease::Unknown => {}
    }
}
