//! Reads one file whole.
//!
//! Guarantees that `Complete` is said only of the bytes that were sent, all of them, of a file that was the requested one
//! before the first and after the last of them; and that never more is sent than the announced size. Leaves to the
//! collector what to do with a file that has changed.

use std::fs::File;
use std::io::{self, Read, Write};
use std::time::Duration;

use rustix::fs::{Advice, Mode, OFlags, fadvise, fdatasync, fstat};
use rustix::io::{Errno, Result};

use super::lease::{self, Lease};
use super::outbox::Outbox;
use super::vitals::{identity, now_ns, words};
use crate::digest::Hasher;
use crate::error::describe;
use crate::rooted::Rooted;
use crate::wire::{FetchEnd, FileRef, MAX_DATA_BYTES, Reply, WireError};

/// Whether files may be read without a new access time, which spares a card its writes. Only the owner may ask for that.
#[derive(Default)]
pub(super) struct Atime {
    refused: bool,
}

/// Longer than a tick of the kernel's clock: 10 ms where it is slowest, on 32-bit boards.
const TICK_NS: i64 = 20_000_000;
/// The same for file systems that count in seconds, such as FAT, which counts in twos.
const COARSE_TICK_NS: i64 = 2_000_000_000;

/// Answers one `Fetch`.
pub(super) fn answer<W: Write>(
    root: Result<&Rooted>,
    file: &FileRef,
    atime: &mut Atime,
    out: &mut Outbox<W>,
) -> std::result::Result<(), WireError> {
    let end = match root.map(|root| open(root, file, atime)) {
        Ok(Ok(opened)) => send(&opened, file, out)?,
        Ok(Err(error)) => not_opened(error),
        // It says nothing about the file that the directory it was in can't be opened.
        Err(error) => FetchEnd::Failed(words(error)),
    };
    out.push(&Reply::Fetched { id: file.id, end })
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

fn send<W: Write>(opened: &File, file: &FileRef, out: &mut Outbox<W>) -> std::result::Result<FetchEnd, WireError> {
    make_changes_visible(opened, file.identity.ctime_ns);
    let is_the_same = || fstat(opened).map(|stat| identity(&stat) == file.identity);
    match is_the_same() {
        Ok(true) => {}
        Ok(false) => return Ok(FetchEnd::Changed),
        Err(error) => return Ok(FetchEnd::Failed(words(error))),
    }
    let size = file.identity.size;
    if size > MAX_DATA_BYTES as u64 {
        // A hint; reading works as well without.
        fadvise(opened, 0, None, Advice::Sequential).ok();
    }
    let mut hasher = Hasher::new();
    let mut left = size;
    while left > 0 {
        let wanted = usize::try_from(left).unwrap_or(usize::MAX);
        let read = out.push_data(wanted, |room| {
            let bytes = read_full(opened, room)?;
            hasher.update(&room[..bytes]);
            Ok::<_, io::Error>(bytes)
        })?;
        match read {
            Ok(0) => return Ok(FetchEnd::Changed),
            Ok(bytes) => left -= bytes as u64,
            Err(error) => return Ok(FetchEnd::Failed(describe(&error))),
        }
    }
    // What is written after this has another ctime, which the removal sees.
    match is_the_same() {
        Ok(true) => Ok(FetchEnd::Complete(hasher.finish().0)),
        Ok(false) => Ok(FetchEnd::Changed),
        Err(error) => Ok(FetchEnd::Failed(words(error))),
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

/// Reads until the buffer is full or the file ends.
fn read_full(mut file: &File, buffer: &mut [u8]) -> io::Result<usize> {
    let mut filled = 0;
    while filled < buffer.len() {
        match file.read(&mut buffer[filled..]) {
            Ok(0) => break,
            Ok(bytes) => filled += bytes,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
    Ok(filled)
}
