//! `SHA256SUMS/<device>/<date>.sha256`: what was stored on that day (UTC), for `sha256sum -c` from the archive root.
//!
//! Guarantees: a line is on disk before its file counts as stored, and every line is whole: one that a crash tore is cut off
//! before the next is added. No line of this device lists content that made room for other: it is taken out, or lists the
//! version from then on ([`super::relist`]). A line may stand there twice, where a killed run came back to its files, or where
//! content came and went. Leaves to others: that the line is true.

use std::fs::File;
use std::io::{BufWriter, Read, Seek, SeekFrom, Write};

use rustix::fs::OFlags;

use crate::archive::commit::Stored;
use crate::archive::directories::{Blocked, Directories};
use crate::archive::error::ArchiveError;
use crate::archive::layout::MANIFEST_DIR;
use crate::archive::relist::Relisting;
use crate::archive::store::{NEW_FILE, Store, below, lock};
use crate::digest::Digest;
use crate::path::{DeviceName, RelPath};

/// How far back the end of the last whole line is looked for at a time.
const BLOCK_BYTES: u64 = 16 * 1024;

/// Makes the manifests true for files that are stored now, and synced: what is new gets a line in the manifest of `date`.
pub(super) fn list<'f>(
    store: &Store,
    device: &DeviceName,
    date: &str,
    files: impl Iterator<Item = &'f Stored>,
) -> Result<(), ArchiveError> {
    let mut relisting = Relisting::new(store, device);
    for file in files {
        relisting.add(file);
    }
    if relisting.is_empty() {
        return Ok(());
    }
    // RACE: another collector that visits the same device could add lines while this one cuts a torn one or writes the
    // manifest anew, and they would be gone. Its files are stored and in its catalog all the same.
    let mutex = store.manifest_lock(device);
    let _one_at_a_time = lock(&mutex);
    // What is no longer true goes first: a kill in between leaves a file without a line, which the next run finds and lists.
    let lines = relisting.take_back()?;
    if lines.is_empty() { Ok(()) } else { append(store, device, date, &lines) }
}

/// Adds lines to the manifest of `date` and syncs it.
fn append(store: &Store, device: &DeviceName, date: &str, lines: &[(Digest, RelPath)]) -> Result<(), ArchiveError> {
    let dir = store.escaped(&below(&[MANIFEST_DIR, device.as_str()]))?;
    let path = store.escaped(&below(&[MANIFEST_DIR, device.as_str(), &format!("{date}.sha256")]))?;
    let failed = |op, error: std::io::Error| store.failed(op, &path, error);

    let mut directories = Directories::new(store);
    directories.touch(Some(&dir)).map_err(|blocked| match blocked {
        Blocked::Storage(error) => error,
        Blocked::File | Blocked::Symlink => failed("create", rustix::io::Errno::NOTDIR.into()),
        Blocked::Name(error) => failed("create", error.into()),
    })?;
    let file = store.root.open_file(&path, OFlags::RDWR | OFlags::CREATE, NEW_FILE);
    let mut file = file.map_err(|e| failed("open", e.into()))?;
    let end = whole_lines(&mut file).map_err(|e| failed("read", e))?;
    let mut write = || {
        file.set_len(end)?;
        file.seek(SeekFrom::Start(end))?;
        let mut out = BufWriter::new(&file);
        for (digest, path) in lines {
            write_line(&mut out, digest, path.as_bytes())?;
        }
        out.flush()
    };
    if let Err(error) = write() {
        // A torn line would be cut next time anyway.
        file.set_len(end).ok();
        return Err(failed("write", error));
    }
    file.sync_all().map_err(|e| failed("sync", e))?;
    // Also where the file was there already: whoever made it may have been killed before this sync.
    if end == 0 || !store.is_durable(&path) {
        directories.sync()?;
        store.set_durable([&path]);
    }
    Ok(())
}

/// The length of the file without a last line that has no end.
fn whole_lines(file: &mut File) -> std::io::Result<u64> {
    let mut end = file.metadata()?.len();
    let mut block = Vec::new();
    while end > 0 {
        let start = end.saturating_sub(BLOCK_BYTES);
        block.clear();
        file.seek(SeekFrom::Start(start))?;
        file.take(end - start).read_to_end(&mut block)?;
        match block.iter().rposition(|&b| b == b'\n') {
            Some(at) => return Ok(start + at as u64 + 1),
            None => end = start,
        }
    }
    Ok(0)
}

/// One line as GNU `sha256sum` writes it: a name with a backslash or a line's end in it is escaped, and the line begins with
/// a backslash then.
pub(crate) fn write_line(out: &mut impl Write, digest: &Digest, path: &[u8]) -> std::io::Result<()> {
    let escape = path.iter().any(|b| matches!(b, b'\\' | b'\n' | b'\r'));
    if escape {
        out.write_all(b"\\")?;
    }
    write!(out, "{digest}  ")?;
    if path == b"-" {
        // By itself it means standard input.
        out.write_all(b"./")?;
    }
    for &byte in path {
        match byte {
            b'\\' => out.write_all(b"\\\\")?,
            b'\n' => out.write_all(b"\\n")?,
            b'\r' => out.write_all(b"\\r")?,
            byte => out.write_all(&[byte])?,
        }
    }
    out.write_all(b"\n")
}
