//! What is written down of files that have just become durable, and of those that made room for them.
//!
//! Guarantees that a [`Catalogued`] file's row is committed and synced, and that no row of an earlier content of the same path can
//! license a removal from then on. Leaves the order of storing and recording to [`crate::sync`].

use std::path::PathBuf;

use rusqlite::{Connection, Transaction, TransactionBehavior, params};

use super::journal::DaySums;
use super::visit::{Holder, IDENTITY, Known};
use super::{CatalogError, connect, sqlite};
use crate::archive::{ArchivePath, Stored, Verified};
use crate::clock::now_ns;
use crate::digest::Digest;
use crate::entry::Identity;
use crate::path::RelPath;

/// A stored file whose row is committed.
#[derive(Debug)]
pub struct Catalogued {
    row: i64,
    path: RelPath,
    identity: Identity,
    digest: Digest,
    received_ns: i64,
}

impl Catalogued {
    pub(crate) fn into_parts(self) -> (i64, RelPath, Identity, Digest, i64) {
        (self.row, self.path, self.identity, self.digest, self.received_ns)
    }

    /// Where the file lies on the device.
    pub fn path(&self) -> &RelPath {
        &self.path
    }

    /// The size of the file, in bytes.
    pub fn bytes(&self) -> u64 {
        self.identity.size
    }
}

/// Writes rows for files that have just become durable.
pub struct Recorder {
    pub(super) file: PathBuf,
    pub(super) conn: Connection,
    pub(super) source: i64,
    pub(super) run: i64,
    clock_offset_ns: i64,
}

impl Recorder {
    pub(super) fn new(file: PathBuf, source: i64, run: i64, clock_offset_ns: i64) -> Result<Recorder, CatalogError> {
        let conn = connect(&file)?;
        Ok(Recorder { file, conn, source, run, clock_offset_ns })
    }

    /// Whose content lies whole at an archive path; see [`Visit::holder`](super::Visit::holder).
    pub fn holder(&self, at: &ArchivePath) -> Result<Option<Holder>, CatalogError> {
        Holder::of(&self.conn, at).map_err(|e| sqlite(&self.file, "looking up an archive path", e))
    }

    /// A file that an earlier run received, whose stored bytes were just verified: as good as one catalogued now.
    pub fn renew(&self, known: &Known, from: RelPath, _verified: &Verified) -> Catalogued {
        let Known { row, identity, digest, received_ns, .. } = *known;
        Catalogued { row, path: from, identity, digest, received_ns }
    }

    /// Commits a row for each file, all or none, synced. What comes back may be removed on the device. Rows of earlier contents of
    /// the same paths license no removal from then on. No files change nothing.
    pub fn record(&mut self, files: Vec<Stored>) -> Result<Vec<Catalogued>, CatalogError> {
        if files.is_empty() {
            return Ok(Vec::new());
        }
        let record = || {
            let transaction = self.conn.transaction_with_behavior(TransactionBehavior::Immediate)?;
            let now = now_ns();
            // Taken apart here: a stored file becomes one catalogued file, once.
            let mut done = Vec::with_capacity(files.len());
            let mut sums = DaySums::default();
            for file in files {
                let (number, bytes) = match file.adopted() {
                    true => (&mut sums.adopted, &mut sums.adopted_bytes),
                    false => (&mut sums.received, &mut sums.received_bytes),
                };
                *number += 1;
                *bytes += file.identity().size;
                let place = Place { source: self.source, path: file.source(), archive_path: file.archive_path() };
                let sql = format!(
                    "INSERT INTO file
                     (source, path, {IDENTITY}, clock_offset_ns, sha256, archive_path, kept, received_ns, run)
                     VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, 'whole', ?11, ?12)"
                );
                let id = file.identity();
                transaction.prepare_cached(&sql)?.execute(params![
                    self.source,
                    file.source().as_bytes(),
                    id.size.cast_signed(),
                    id.mtime_ns,
                    id.ctime_ns,
                    id.dev.cast_signed(),
                    id.ino.cast_signed(),
                    self.clock_offset_ns,
                    file.digest().as_bytes(),
                    file.archive_path().as_bytes(),
                    now,
                    self.run
                ])?;
                let row = transaction.last_insert_rowid();
                sums.added_bytes += id.size.saturating_sub(place.came_before(&transaction, row, file.digest())?);
                place.end_earlier(&transaction, row, now)?;
                place.end_untrue(&transaction, file.digest())?;
                transaction
                    .prepare_cached("DELETE FROM sighting WHERE source = ?1 AND path = ?2")?
                    .execute(params![self.source, file.source().as_bytes()])?;
                let (path, identity, digest) = (file.source().clone(), *id, *file.digest());
                done.push(Catalogued { row, path, identity, digest, received_ns: now });
            }
            sums.add(&transaction, self.source, now)?;
            transaction
                .prepare_cached("UPDATE source SET newest_ns = ?2 WHERE id = ?1")?
                .execute(params![self.source, now])?;
            transaction.commit()?;
            Ok(done)
        };
        record().map_err(|e| sqlite(&self.file, "recording files", e))
    }
}

/// Where a file has just been stored, and from where.
struct Place<'a> {
    source: i64,
    path: &'a RelPath,
    archive_path: &'a ArchivePath,
}

impl Place<'_> {
    /// Rows of what the path held before can license nothing more: the device was seen with another file there.
    fn end_earlier(&self, transaction: &Transaction<'_>, newest: i64, now: i64) -> rusqlite::Result<usize> {
        let sql = "UPDATE file SET removed_ns = ?3 WHERE source = ?1 AND path = ?2 AND removed_ns IS NULL AND id <> ?4";
        transaction.prepare_cached(sql)?.execute(params![self.source, self.path.as_bytes(), now, newest])
    }

    /// How much of the content has come from the same file before: all of it, or what it has grown from.
    fn came_before(&self, transaction: &Transaction<'_>, newest: i64, digest: &Digest) -> rusqlite::Result<u64> {
        let sql =
            "SELECT ifnull(max(size), 0) FROM file WHERE source = ?1 AND path = ?2 AND archive_path = ?3 AND id <> ?4
                   AND (kept = 'prefix' OR sha256 = ?5)";
        let key = params![self.source, self.path.as_bytes(), self.archive_path.as_bytes(), newest, digest.as_bytes()];
        transaction.prepare_cached(sql)?.query_row(key, |row| row.get::<_, i64>(0)).map(i64::cast_unsigned)
    }

    /// Rows that claim the archive path for another content are no longer true: somebody took that content away there, or changed
    /// it, behind our back. What makes room with our knowledge has been noted before.
    fn end_untrue(&self, transaction: &Transaction<'_>, digest: &Digest) -> rusqlite::Result<()> {
        let at = self.archive_path.as_bytes();
        let sql = "SELECT EXISTS (SELECT 1 FROM file WHERE archive_path = ?1 AND kept = 'whole' AND sha256 <> ?2)";
        if transaction.prepare_cached(sql)?.query_row(params![at, digest.as_bytes()], |row| row.get(0))? {
            let sql = "UPDATE file SET kept = 'dropped' WHERE archive_path = ?1 AND sha256 <> ?2";
            transaction.prepare_cached(sql)?.execute(params![at, digest.as_bytes()])?;
        }
        Ok(())
    }
}
