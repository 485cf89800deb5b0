//! One visit's view of the catalog: what is known of a file, what is to be done, what was done.
//!
//! The list of what is to be done lies in a temporary table on disk, so that memory stays flat however many files there are.

use std::path::PathBuf;

use rusqlite::{Connection, OptionalExtension as _, Row, TransactionBehavior, params};

use super::journal::DaySums;
use super::recorder::Recorder;
use super::{CatalogError, sqlite};
use crate::archive::ArchivePath;
use crate::clock::now_ns;
use crate::digest::Digest;
use crate::entry::{Entry, Identity, Prefix};
use crate::path::{DeviceName, RelPath};

/// The newest file that was received from a path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Known {
    /// Its row.
    pub row: i64,
    /// Which file it was.
    pub identity: Identity,
    /// Digest of its content.
    pub digest: Digest,
    /// Where it is stored.
    pub archive_path: ArchivePath,
    /// When, by our clock.
    pub received_ns: i64,
}

/// Whose content lies whole at an archive path, as far as the catalog knows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Holder {
    /// Its row.
    pub row: i64,
    /// The device that it came from.
    pub device: String,
    /// The source directory there.
    pub source: Vec<u8>,
    /// The path below it.
    pub path: RelPath,
    /// Size and digest of the whole content.
    pub prefix: Prefix,
    /// The row was made from the storage's manifests: which file of the device it was is not known.
    pub rebuilt: bool,
}

impl Holder {
    pub(super) fn of(conn: &Connection, at: &ArchivePath) -> rusqlite::Result<Option<Holder>> {
        let sql =
            "SELECT file.id, device, source.path, file.path, size, sha256, dev, ino, ctime_ns, removed_ns IS NOT NULL
                   FROM file JOIN source ON source.id = file.source
                   WHERE archive_path = ?1 AND kept = 'whole' ORDER BY file.id DESC LIMIT 1";
        let holder = |row: &Row<'_>| {
            let nowhere = row.get::<_, i64>(6)? == 0 && row.get::<_, i64>(7)? == 0 && row.get::<_, i64>(8)? == 0;
            let bytes = row.get::<_, i64>(4)?.cast_unsigned();
            Ok(Holder {
                row: row.get(0)?,
                device: row.get(1)?,
                source: row.get(2)?,
                path: path(row, 3)?,
                prefix: Prefix { bytes, digest: Digest::from_bytes(row.get(5)?) },
                rebuilt: nowhere && row.get(9)?,
            })
        };
        conn.prepare_cached(sql)?.query_row([at.as_bytes()], holder).optional()
    }

    /// Whether it is this very file's content. The source may have moved on the device. Which file a rebuilt row is of, nobody
    /// knows for certain; but its device does not share the place with another.
    pub fn is_of(&self, device: &DeviceName, path: &RelPath) -> bool {
        self.device == device.as_str() && (self.path == *path || self.rebuilt)
    }
}

/// Something that is to be done with a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Task {
    /// Grows with each task of a visit.
    pub id: i64,
    /// The file.
    pub entry: Entry,
}

/// What is to be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TaskKind {
    /// Receive a new file.
    Receive = 0,
    /// Remove a file that was received earlier.
    Release = 1,
    /// Nothing yet: it was received and waits for `delete.after`, or for its card to fill.
    Wait = 2,
}

/// What waits on a device to be received.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Unreceived {
    /// How many files.
    pub files: u64,
    /// Their sizes.
    pub bytes: u64,
    /// When the oldest of them was modified, by the device's clock.
    pub oldest_ns: Option<i64>,
}

impl Unreceived {
    /// Adds a file.
    pub fn add(&mut self, bytes: u64, mtime_ns: i64) {
        self.merge(&Unreceived { files: 1, bytes, oldest_ns: Some(mtime_ns) });
    }

    /// Adds other files.
    pub fn merge(&mut self, others: &Unreceived) {
        self.files += others.files;
        // Sizes are what a device says.
        self.bytes = self.bytes.saturating_add(others.bytes);
        self.oldest_ns = self.oldest_ns.into_iter().chain(others.oldest_ns).min();
    }
}

/// One visit to one source of one device.
pub struct Visit {
    pub(super) file: PathBuf,
    pub(super) conn: Connection,
    pub(super) source: i64,
    pub(super) run: i64,
    last_offset_ns: Option<i64>,
    /// Whether `temp.missed` may hold a row.
    any_missed: bool,
    /// The last row of a file when the list of tasks was begun.
    last_row: i64,
}

pub(super) const IDENTITY: &str = "size, mtime_ns, ctime_ns, dev, ino";

/// Reads [`IDENTITY`] from the columns from `at` on. SQLite has no unsigned 64-bit integers: bits are kept as they are.
pub(super) fn identity(row: &Row<'_>, at: usize) -> rusqlite::Result<Identity> {
    Ok(Identity {
        size: row.get::<_, i64>(at)?.cast_unsigned(),
        mtime_ns: row.get(at + 1)?,
        ctime_ns: row.get(at + 2)?,
        dev: row.get::<_, i64>(at + 3)?.cast_unsigned(),
        ino: row.get::<_, i64>(at + 4)?.cast_unsigned(),
    })
}

pub(super) fn invalid<E: std::error::Error + Send + Sync + 'static>(column: usize, error: E) -> rusqlite::Error {
    rusqlite::Error::FromSqlConversionFailure(column, rusqlite::types::Type::Blob, Box::new(error))
}

pub(super) fn path(row: &Row<'_>, at: usize) -> rusqlite::Result<RelPath> {
    RelPath::new(row.get::<_, Vec<u8>>(at)?).map_err(|e| invalid(at, e))
}

pub(super) fn archive_path(row: &Row<'_>, at: usize) -> rusqlite::Result<ArchivePath> {
    ArchivePath::from_bytes(row.get_ref(at)?.as_blob()?).map_err(|e| invalid(at, e))
}

impl Visit {
    pub(super) fn new(
        file: PathBuf,
        conn: Connection,
        source: i64,
        run: i64,
        last_offset_ns: Option<i64>,
    ) -> Result<Visit, CatalogError> {
        let sql = "CREATE TEMP TABLE task (
                id INTEGER PRIMARY KEY, kind INTEGER NOT NULL, path BLOB NOT NULL, size INTEGER NOT NULL,
                mtime_ns INTEGER NOT NULL, ctime_ns INTEGER NOT NULL, dev INTEGER NOT NULL, ino INTEGER NOT NULL,
                received_ns INTEGER NOT NULL);
            CREATE TEMP TABLE seen (
                path BLOB NOT NULL, size INTEGER NOT NULL, mtime_ns INTEGER NOT NULL, ctime_ns INTEGER NOT NULL,
                dev INTEGER NOT NULL, ino INTEGER NOT NULL, first_ns INTEGER NOT NULL);
            CREATE TEMP TABLE missed (id INTEGER PRIMARY KEY, path BLOB NOT NULL);
            CREATE INDEX temp.missed_by_path ON missed (path);";
        let made = conn.execute_batch(sql);
        let visit = Visit { file, conn, source, run, last_offset_ns, any_missed: false, last_row: 0 };
        made.map_err(|e| visit.sqlite("beginning a visit", e))?;
        Ok(visit)
    }

    /// The device's clock minus ours at the visit before this one.
    pub fn last_offset_ns(&self) -> Option<i64> {
        self.last_offset_ns
    }

    /// The newest file that was received from `from` and is, as far as we know, still there.
    ///
    /// What has left the device says nothing of what lies there now, even where all five fields agree: a device without a clock
    /// of its own begins each day at the same time, and file systems use inodes again.
    pub fn known(&self, from: &RelPath) -> Result<Option<Known>, CatalogError> {
        let query = || {
            let sql = "SELECT id, size, mtime_ns, ctime_ns, dev, ino, sha256, archive_path, received_ns
                       FROM file WHERE source = ?1 AND path = ?2 AND removed_ns IS NULL ORDER BY id DESC LIMIT 1";
            let mut statement = self.conn.prepare_cached(sql)?;
            let known = |row: &Row<'_>| {
                Ok(Known {
                    row: row.get(0)?,
                    identity: identity(row, 1)?,
                    digest: Digest::from_bytes(row.get(6)?),
                    archive_path: archive_path(row, 7)?,
                    received_ns: row.get(8)?,
                })
            };
            statement.query_row(params![self.source, from.as_bytes()], known).optional()
        };
        query().map_err(|e| self.sqlite("looking up a file", e))
    }

    /// Whose content lies whole at an archive path: the newest row that says so.
    pub fn holder(&self, at: &ArchivePath) -> Result<Option<Holder>, CatalogError> {
        Holder::of(&self.conn, at).map_err(|e| self.sqlite("looking up an archive path", e))
    }

    /// Where the newest content that was received from `from` was stored, whether it is still on the device or not.
    pub fn stored_at(&self, from: &RelPath) -> Result<Option<ArchivePath>, CatalogError> {
        let query = || {
            let sql = "SELECT archive_path FROM file WHERE source = ?1 AND path = ?2 ORDER BY id DESC LIMIT 1";
            let mut statement = self.conn.prepare_cached(sql)?;
            statement.query_row(params![self.source, from.as_bytes()], |row| archive_path(row, 0)).optional()
        };
        query().map_err(|e| self.sqlite("looking up a file", e))
    }

    /// When this very file was first seen, by our clock; from now on where it is new. Kept by [`end_tasks`](Visit::end_tasks).
    pub fn sighted(&self, entry: &Entry, now_ns: i64) -> Result<i64, CatalogError> {
        let sight = || {
            let first = self.sighting(entry)?.unwrap_or(now_ns);
            let sql = format!("INSERT INTO temp.seen (path, {IDENTITY}, first_ns) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)");
            let id = &entry.identity;
            self.conn.prepare_cached(&sql)?.execute(params![
                entry.path.as_bytes(),
                id.size.cast_signed(),
                id.mtime_ns,
                id.ctime_ns,
                id.dev.cast_signed(),
                id.ino.cast_signed(),
                first
            ])?;
            Ok(first)
        };
        sight().map_err(|e| self.sqlite("noting a sighting", e))
    }

    fn sighting(&self, entry: &Entry) -> rusqlite::Result<Option<i64>> {
        let sql = format!("SELECT {IDENTITY}, first_ns FROM sighting WHERE source = ?1 AND path = ?2");
        let mut statement = self.conn.prepare_cached(&sql)?;
        let found = statement
            .query_row(params![self.source, entry.path.as_bytes()], |row| Ok((identity(row, 0)?, row.get(5)?)));
        Ok(found.optional()?.filter(|(seen, _)| *seen == entry.identity).map(|(_, first)| first))
    }

    /// Begins to write the list of tasks; [`end_tasks`](Visit::end_tasks) must follow. Until then the catalog is only read, so
    /// that a slow card keeps no other device from committing.
    pub fn begin_tasks(&mut self) -> Result<(), CatalogError> {
        let begin = || {
            self.conn.execute_batch("DELETE FROM temp.task; DELETE FROM temp.seen; DELETE FROM temp.missed")?;
            // Who writes nothing notes no removals, and a card may hold a million files.
            let on_device = match self.run {
                0 => 0,
                _ => {
                    let sql =
                        "INSERT INTO temp.missed SELECT id, path FROM file WHERE source = ?1 AND removed_ns IS NULL";
                    self.conn.execute(sql, [self.source])?
                }
            };
            let last_row = self.conn.query_row("SELECT ifnull(max(id), 0) FROM file", [], |row| row.get(0))?;
            self.conn.execute_batch("BEGIN DEFERRED")?;
            Ok((on_device > 0, last_row))
        };
        (self.any_missed, self.last_row) = begin().map_err(|e| self.sqlite("listing tasks", e))?;
        Ok(())
    }

    /// Notes that the scan has met a file, wanted or not.
    pub fn met(&self, path: &RelPath) -> Result<(), CatalogError> {
        if !self.any_missed {
            return Ok(());
        }
        let meet = || self.conn.prepare_cached("DELETE FROM temp.missed WHERE path = ?1")?.execute([path.as_bytes()]);
        meet().map(drop).map_err(|e| self.sqlite("noting a sighting", e))
    }

    /// Adds a task.
    pub fn add_task(&self, kind: TaskKind, entry: &Entry, received_ns: i64) -> Result<(), CatalogError> {
        let add = || {
            let sql = format!(
                "INSERT INTO temp.task (kind, path, {IDENTITY}, received_ns) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)"
            );
            let id = &entry.identity;
            self.conn.prepare_cached(&sql)?.execute(params![
                kind as i64,
                entry.path.as_bytes(),
                id.size.cast_signed(),
                id.mtime_ns,
                id.ctime_ns,
                id.dev.cast_signed(),
                id.ino.cast_signed(),
                received_ns
            ])
        };
        add().map(drop).map_err(|e| self.sqlite("listing tasks", e))
    }

    /// Ends the list of tasks, and keeps the sightings of this scan alone. Where the scan saw the whole source, received files
    /// that it has not [met](Visit::met) are noted as removed: a run that was killed after a removal could not write it down.
    pub fn end_tasks(&mut self, scan_was_whole: bool) -> Result<(), CatalogError> {
        let mut end = || {
            self.conn.execute_batch("COMMIT")?;
            if self.run == 0 {
                return Ok(());
            }
            let transaction = self.conn.transaction_with_behavior(TransactionBehavior::Immediate)?;
            transaction.execute("DELETE FROM sighting WHERE source = ?1", [self.source])?;
            let sql = format!("INSERT INTO sighting (source, path, {IDENTITY}, first_ns) SELECT ?1, * FROM temp.seen");
            transaction.execute(&sql, [self.source])?;
            if scan_was_whole && self.any_missed {
                let sql = "UPDATE file SET removed_ns = ?1 WHERE id IN (SELECT id FROM temp.missed)";
                transaction.execute(sql, [now_ns()])?;
            }
            transaction.commit()
        };
        end().map_err(|source| sqlite(&self.file, "listing tasks", source))
    }

    /// Turns waiting files into releases, longest received first, until their sizes sum up to `bytes`. Returns how many and their bytes.
    pub fn release_oldest(&self, bytes: u64) -> Result<(u64, u64), CatalogError> {
        let select = || {
            let sql = "SELECT id, size FROM temp.task WHERE kind = ?1 ORDER BY received_ns, id";
            let mut statement = self.conn.prepare(sql)?;
            let mut rows = statement.query([TaskKind::Wait as i64])?;
            let (mut files, mut sum) = (0, 0);
            let mut update = self.conn.prepare("UPDATE temp.task SET kind = ?2 WHERE id = ?1")?;
            // Read first, then write: SQLite does not define what a SELECT sees of changes made under it.
            let mut chosen = Vec::new();
            while sum < bytes {
                let Some(row) = rows.next()? else { break };
                chosen.push(row.get::<_, i64>(0)?);
                sum += row.get::<_, i64>(1)?.cast_unsigned();
                files += 1;
            }
            drop(rows);
            for id in chosen {
                update.execute([id, TaskKind::Release as i64])?;
            }
            Ok((files, sum))
        };
        select().map_err(|e| self.sqlite("choosing files to release", e))
    }

    /// The next tasks of a kind after the one with id `after`, at most `limit`.
    pub fn tasks(&self, kind: TaskKind, after: i64, limit: usize) -> Result<Vec<Task>, CatalogError> {
        let query = || {
            let sql =
                format!("SELECT id, path, {IDENTITY} FROM temp.task WHERE kind = ?1 AND id > ?2 ORDER BY id LIMIT ?3");
            let mut statement = self.conn.prepare_cached(&sql)?;
            let task = |row: &Row<'_>| {
                Ok(Task { id: row.get(0)?, entry: Entry { path: path(row, 1)?, identity: identity(row, 2)? } })
            };
            let limit = i64::try_from(limit).unwrap_or(i64::MAX);
            statement.query_map(params![kind as i64, after, limit], task)?.collect::<Result<Vec<Task>, _>>()
        };
        query().map_err(|e| self.sqlite("reading tasks", e))
    }

    /// What was to be received and has not been, by now.
    pub fn unreceived(&self) -> Result<Unreceived, CatalogError> {
        let query = || {
            // Rows without an identity are of contents that made room in the storage.
            let sql = "SELECT size, mtime_ns FROM temp.task AS task WHERE kind = ?1 AND NOT EXISTS (
                           SELECT 1 FROM file WHERE source = ?2 AND path = task.path AND id > ?3
                           AND (dev <> 0 OR ino <> 0 OR ctime_ns <> 0))";
            let mut statement = self.conn.prepare_cached(sql)?;
            let mut rows = statement.query(params![TaskKind::Receive as i64, self.source, self.last_row])?;
            let mut sum = Unreceived::default();
            while let Some(row) = rows.next()? {
                sum.add(row.get::<_, i64>(0)?.cast_unsigned(), row.get(1)?);
            }
            Ok(sum)
        };
        query().map_err(|e| self.sqlite("listing tasks", e))
    }

    /// Whether a file below `dir` was received and removed from this device.
    pub fn emptied(&self, dir: &RelPath) -> Result<bool, CatalogError> {
        let mut first = dir.as_bytes().to_vec();
        first.push(b'/');
        let mut end = dir.as_bytes().to_vec();
        end.push(b'/' + 1);
        let query = || {
            let sql = "SELECT EXISTS (SELECT 1 FROM file WHERE source = ?1 AND path > ?2 AND path < ?3 AND removed_ns IS NOT NULL)";
            self.conn.prepare_cached(sql)?.query_row(params![self.source, first, end], |row| row.get(0))
        };
        query().map_err(|e| self.sqlite("looking up a directory", e))
    }

    /// Notes that files are gone from the device, by their rows, and their bytes; and the rows of files that are other files by now.
    /// Neither license anything any more.
    pub fn note_removed(&mut self, removed: &[i64], bytes: u64, ended: &[i64]) -> Result<(), CatalogError> {
        let mut note = || {
            let transaction = self.conn.transaction_with_behavior(TransactionBehavior::Immediate)?;
            let now = now_ns();
            {
                let mut update = transaction.prepare_cached("UPDATE file SET removed_ns = ?2 WHERE id = ?1")?;
                for row in removed.iter().chain(ended) {
                    update.execute([*row, now])?;
                }
            }
            let sums = DaySums { removed: removed.len() as u64, removed_bytes: bytes, ..DaySums::default() };
            sums.add(&transaction, self.source, now)?;
            transaction.commit()
        };
        note().map_err(|e| self.sqlite("noting removals", e))
    }

    /// A second connection for the thread that commits.
    pub fn recorder(&self, clock_offset_ns: i64) -> Result<Recorder, CatalogError> {
        Recorder::new(self.file.clone(), self.source, self.run, clock_offset_ns)
    }

    fn sqlite(&self, doing: &'static str, source: rusqlite::Error) -> CatalogError {
        sqlite(&self.file, doing, source)
    }
}
