//! The contents that some devices brought in some time, each place once: for whoever copies or lists them ([`crate::export`]).
//!
//! Guarantees that the list stays as it was when it was begun, whatever arrives meanwhile; that what moves meanwhile is not missed,
//! since rows are walked by their numbers; that memory stays flat, and nobody who writes waits for who reads here, however
//! long that takes. Writes nothing.

use std::path::PathBuf;

use rusqlite::{Connection, OptionalExtension as _, Row, params};

use super::{Catalog, CatalogError, connect, sqlite, visit};
use crate::archive::ArchivePath;
use crate::digest::Digest;
use crate::entry::Prefix;
use crate::path::RelPath;

/// One content, where it is now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Content {
    /// Its row.
    pub row: i64,
    /// The device that it came from.
    pub device: String,
    /// The directory there.
    pub source: Vec<u8>,
    /// The path below it.
    pub path: RelPath,
    /// Where it is.
    pub archive_path: ArchivePath,
    /// Size and digest.
    pub content: Prefix,
    /// Nothing else lies there; else it is the beginning of what lies there.
    pub whole: bool,
    /// When it was last changed, by the device's clock set right by its offset.
    pub modified_ns: i64,
    /// When it was received.
    pub received_ns: i64,
}

/// A list of contents.
pub struct Contents {
    file: PathBuf,
    conn: Connection,
    from_ns: i64,
    until_ns: i64,
    /// What comes later is not on the list.
    last: i64,
}

/// Files, and the bytes of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sums {
    /// How many.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
    /// How many were received in that time and are kept no longer.
    pub dropped: u64,
}

/// On the list: `?1` from, `?2` until, `?3` the last row.
const LISTED: &str = "{f}.source IN (SELECT id FROM temp.chosen) AND {f}.id <= ?3
    AND {f}.received_ns >= ?1 AND {f}.received_ns < ?2";

/// What lies at one place is one chain of beginnings: the longest that is on the list stands for all of them.
fn listed() -> String {
    let (file, other) = (LISTED.replace("{f}", "file"), LISTED.replace("{f}", "longer"));
    format!(
        "{file} AND file.kept <> 'dropped' AND NOT EXISTS (
            SELECT 1 FROM file AS longer WHERE longer.archive_path = file.archive_path AND longer.kept <> 'dropped' AND {other}
            AND (longer.kept = 'whole', longer.size, longer.id) > (file.kept = 'whole', file.size, file.id))"
    )
}

const COLUMNS: &str = "file.id, device, source.path, file.path, archive_path, size, sha256, kept = 'whole',
    mtime_ns, file.clock_offset_ns, received_ns";

impl Catalog {
    /// Begins a list: what came from these sources, by their rows, from one moment up to another.
    pub fn contents(&self, sources: &[i64], (from_ns, until_ns): (i64, i64)) -> Result<Contents, CatalogError> {
        let conn = connect(&self.file)?;
        let begin = || {
            conn.execute_batch("CREATE TEMP TABLE chosen (id INTEGER PRIMARY KEY)")?;
            for source in sources {
                conn.prepare_cached("INSERT OR IGNORE INTO temp.chosen VALUES (?1)")?.execute([source])?;
            }
            conn.query_row("SELECT coalesce(max(id), 0) FROM file", [], |row| row.get(0))
        };
        let last = begin().map_err(|e| self.sqlite("listing contents", e))?;
        Ok(Contents { file: self.file.clone(), conn, from_ns, until_ns, last })
    }
}

impl Contents {
    /// How much there is on the list now.
    pub fn sums(&self) -> Result<Sums, CatalogError> {
        let query = || {
            let sql = format!("SELECT count(*), coalesce(sum(size), 0) FROM file WHERE {}", listed());
            let period = params![self.from_ns, self.until_ns, self.last];
            let (files, bytes) =
                self.conn.query_row(&sql, period, |row| Ok((row.get::<_, i64>(0)?, row.get::<_, i64>(1)?)))?;
            let sql = format!("SELECT count(*) FROM file WHERE kept = 'dropped' AND {}", LISTED.replace("{f}", "file"));
            let dropped: i64 = self.conn.query_row(&sql, period, |row| row.get(0))?;
            Ok(Sums { files: files.cast_unsigned(), bytes: bytes.cast_unsigned(), dropped: dropped.cast_unsigned() })
        };
        query().map_err(|e| self.failed(e))
    }

    /// The next contents after this row, at most so many.
    pub fn after(&self, row: i64, most: usize) -> Result<Vec<Content>, CatalogError> {
        let query = || {
            let sql = format!(
                "SELECT {COLUMNS} FROM file JOIN source ON source.id = file.source
                 WHERE {} AND file.id > ?4 ORDER BY file.id LIMIT ?5",
                listed()
            );
            let most = i64::try_from(most).unwrap_or(i64::MAX);
            let values = params![self.from_ns, self.until_ns, self.last, row, most];
            self.conn.prepare_cached(&sql)?.query_map(values, content)?.collect::<Result<Vec<_>, _>>()
        };
        query().map_err(|e| self.failed(e))
    }

    /// What a row says now; none where its content is kept no longer.
    pub fn again(&self, row: i64) -> Result<Option<Content>, CatalogError> {
        let query = || {
            let sql = format!(
                "SELECT {COLUMNS} FROM file JOIN source ON source.id = file.source
                 WHERE file.id = ?1 AND kept <> 'dropped'"
            );
            self.conn.prepare_cached(&sql)?.query_row([row], content).optional()
        };
        query().map_err(|e| self.failed(e))
    }

    fn failed(&self, source: rusqlite::Error) -> CatalogError {
        sqlite(&self.file, "listing contents", source)
    }
}

fn content(row: &Row<'_>) -> rusqlite::Result<Content> {
    let content = Prefix { bytes: row.get::<_, i64>(5)?.cast_unsigned(), digest: Digest::from_bytes(row.get(6)?) };
    Ok(Content {
        row: row.get(0)?,
        device: row.get(1)?,
        source: row.get(2)?,
        path: visit::path(row, 3)?,
        archive_path: visit::archive_path(row, 4)?,
        content,
        whole: row.get(7)?,
        // Not in SQL, where a number that is too large becomes a REAL: a device may say anything of its times.
        modified_ns: row.get::<_, i64>(8)?.saturating_sub(row.get(9)?),
        received_ns: row.get(10)?,
    })
}
