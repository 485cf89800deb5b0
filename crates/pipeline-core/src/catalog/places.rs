//! What should lie where in the storage, place by place, for whoever reads the storage again; and how far he has come.
//!
//! Guarantees that memory stays flat however many rows there are, and that nobody who writes waits for who reads here: each page
//! is a query of its own. Writes one thing, the position of a [`Round`]. Leaves to others: to read the files
//! ([`crate::verify`]).

use std::path::PathBuf;

use rusqlite::{Connection, OptionalExtension as _, Row, params};

use super::{Catalog, CatalogError, connect, sqlite, visit};
use crate::archive::ArchivePath;
use crate::digest::Digest;
use crate::entry::Prefix;
use crate::path::{DeviceName, RelPath};

/// A place in the storage, and what lies there by the word of one row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// The row.
    pub row: i64,
    /// Where.
    pub path: ArchivePath,
    /// Size and digest.
    pub content: Prefix,
    /// Whether nothing else lies there; else it is the beginning of what lies there.
    pub whole: bool,
}

/// Where the content of a place came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Provenance {
    /// The device.
    pub device: DeviceName,
    /// The path below its source directory.
    pub path: RelPath,
    /// As far as the catalog knows, it is still there.
    pub on_device: bool,
}

/// How far the reading of the whole storage has come, in several runs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Round {
    /// When it began; none where there is none yet.
    pub begun_ns: Option<i64>,
    /// All places up to this one, by their bytes, have been read; none at the beginning.
    pub up_to: Option<ArchivePath>,
    /// In so many runs.
    pub runs: u64,
    /// Of so many that it is to take.
    pub parts: u64,
    /// When the round before it ended, with the whole storage read.
    pub finished_ns: Option<i64>,
}

/// A view of the catalog by places.
pub struct Places {
    file: PathBuf,
    conn: Connection,
    /// Whether only rows of `temp.chosen` sources count.
    chosen: bool,
}

const COLUMNS: &str = "file.id, archive_path, size, sha256, kept = 'whole'";

/// `?1`: whether only the chosen ones count.
const KEPT: &str = "kept <> 'dropped' AND (?1 = 0 OR source IN (SELECT id FROM temp.chosen))";

impl Catalog {
    /// Opens the view by places.
    pub fn places(&self) -> Result<Places, CatalogError> {
        let conn = connect(&self.file)?;
        let made = conn.execute_batch("CREATE TEMP TABLE chosen (id INTEGER PRIMARY KEY)");
        made.map_err(|e| self.sqlite("listing places", e))?;
        Ok(Places { file: self.file.clone(), conn, chosen: false })
    }
}

impl Places {
    /// Every device that a file was ever received from, by name.
    pub fn devices(&self) -> Result<Vec<String>, CatalogError> {
        let query = || {
            let mut statement = self.conn.prepare("SELECT DISTINCT device FROM source ORDER BY device")?;
            statement.query_map([], |row| row.get(0))?.collect::<Result<Vec<String>, _>>()
        };
        query().map_err(|e| self.failed("listing devices", e))
    }

    /// From now on only places of these devices count.
    pub fn choose(&mut self, devices: &[String]) -> Result<(), CatalogError> {
        let choose = || {
            for device in devices {
                let sql = "INSERT OR IGNORE INTO temp.chosen SELECT id FROM source WHERE device = ?1";
                self.conn.prepare_cached(sql)?.execute([device])?;
            }
            Ok(())
        };
        choose().map_err(|e| self.failed("choosing devices", e))?;
        self.chosen = true;
        Ok(())
    }

    /// How many places there are after this one, and the bytes of what lies there.
    pub fn sum_after(&self, path: Option<&ArchivePath>) -> Result<(u64, u64), CatalogError> {
        let query = || {
            // What lies whole at a place is the longest that lies there.
            let sql = format!(
                "SELECT count(*), coalesce(sum(bytes), 0) FROM
                 (SELECT max(size) AS bytes FROM file WHERE archive_path > ?2 AND {KEPT} GROUP BY archive_path)"
            );
            self.conn.query_row(&sql, params![self.chosen, bytes(path)], |row| {
                Ok((row.get::<_, i64>(0)?.cast_unsigned(), row.get::<_, i64>(1)?.cast_unsigned()))
            })
        };
        query().map_err(|e| self.failed("adding up places", e))
    }

    /// The next places after this one, by their bytes: at least one while there is one, each once.
    pub fn after(&self, path: Option<&ArchivePath>, most: usize) -> Result<Vec<Place>, CatalogError> {
        let query = || {
            // What is whole comes first, and decides; else the longest beginning. A place that is cut off at the end of the page has
            // had its first row by then.
            let sql = format!(
                "SELECT {COLUMNS} FROM file WHERE archive_path > ?2 AND {KEPT}
                 ORDER BY archive_path, kept = 'whole' DESC, size DESC, id DESC LIMIT ?3"
            );
            let most = i64::try_from(most).unwrap_or(i64::MAX);
            let mut statement = self.conn.prepare_cached(&sql)?;
            statement.query_map(params![self.chosen, bytes(path), most], place)?.collect::<Result<Vec<_>, _>>()
        };
        let mut page = query().map_err(|e| self.failed("listing places", e))?;
        page.dedup_by(|next, first| next.path == first.path);
        Ok(page)
    }

    /// What the row of a place says now; none where it is no longer kept.
    pub fn again(&self, before: &Place) -> Result<Option<Place>, CatalogError> {
        let query = || {
            let sql = format!("SELECT {COLUMNS} FROM file WHERE id = ?1 AND kept <> 'dropped'");
            self.conn.prepare_cached(&sql)?.query_row([before.row], place).optional()
        };
        query().map_err(|e| self.failed("looking up a place", e))
    }

    /// Where the content of a place came from: a device that still has it, if there is one.
    pub fn origin(&self, of: &Place) -> Result<Provenance, CatalogError> {
        let query = || {
            let sql = "SELECT device, file.path, removed_ns IS NULL FROM file JOIN source ON source.id = file.source
                       WHERE archive_path = ?1 AND sha256 = ?2 AND kept <> 'dropped'
                       ORDER BY removed_ns IS NULL DESC, file.id DESC LIMIT 1";
            let values = params![of.path.as_bytes(), of.content.digest.as_bytes()];
            self.conn.prepare_cached(sql)?.query_row(values, |row| {
                let device: String = row.get(0)?;
                let device = DeviceName::new(device.as_str()).map_err(|e| visit::invalid(0, e))?;
                Ok(Provenance { device, path: visit::path(row, 1)?, on_device: row.get(2)? })
            })
        };
        query().map_err(|e| self.failed("looking up a place", e))
    }

    /// Whether anything that the catalog knows should lie at this path.
    pub fn knows(&self, path: &RelPath) -> Result<bool, CatalogError> {
        let query = || {
            let sql = "SELECT EXISTS (SELECT 1 FROM file WHERE archive_path = ?1 AND kept <> 'dropped')";
            self.conn.prepare_cached(sql)?.query_row([path.as_bytes()], |row| row.get(0))
        };
        query().map_err(|e| self.failed("looking up a place", e))
    }

    /// Makes ready for [`knows_in_any_case`](Places::knows_in_any_case): a list of all paths, on disk.
    pub fn fold_cases(&self) -> Result<(), CatalogError> {
        let fold = || {
            self.conn.execute_batch(
                "DROP TABLE IF EXISTS temp.folded; CREATE TEMP TABLE folded (path TEXT PRIMARY KEY) WITHOUT ROWID",
            )?;
            let mut insert = self.conn.prepare("INSERT OR IGNORE INTO temp.folded (path) VALUES (?1)")?;
            let mut paths = self.conn.prepare("SELECT DISTINCT archive_path FROM file WHERE kept <> 'dropped'")?;
            let mut rows = paths.query([])?;
            while let Some(row) = rows.next()? {
                insert.execute([folded(row.get_ref(0)?.as_blob()?)])?;
            }
            Ok(())
        };
        fold().map_err(|e| self.failed("listing places", e))
    }

    /// Whether anything that the catalog knew at [`fold_cases`](Places::fold_cases) should lie at this path, were it written in
    /// another case: a storage that ignores case lists a directory under the name that it had first.
    pub fn knows_in_any_case(&self, path: &RelPath) -> Result<bool, CatalogError> {
        let query = || {
            let sql = "SELECT EXISTS (SELECT 1 FROM temp.folded WHERE path = ?1)";
            self.conn.prepare_cached(sql)?.query_row([folded(path.as_bytes())], |row| row.get(0))
        };
        query().map_err(|e| self.failed("looking up a place", e))
    }

    /// Whether a run is under way, or was killed and none has ended since.
    pub fn is_run_under_way(&self) -> Result<bool, CatalogError> {
        let query = || {
            let sql = "SELECT finished_ns IS NULL FROM run ORDER BY id DESC LIMIT 1";
            self.conn.prepare_cached(sql)?.query_row([], |row| row.get(0)).optional()
        };
        Ok(query().map_err(|e| self.failed("looking up the last run", e))?.unwrap_or(false))
    }

    /// The round that is under way.
    pub fn round(&self) -> Result<Round, CatalogError> {
        let query = || {
            let sql = "SELECT begun_ns, up_to, runs, parts, finished_ns FROM verify_round";
            let round = |row: &Row<'_>| {
                let up_to = row.get_ref(1)?.as_blob_or_null()?.map(ArchivePath::from_bytes).transpose();
                Ok(Round {
                    begun_ns: row.get(0)?,
                    up_to: up_to.map_err(|e| visit::invalid(1, e))?,
                    runs: row.get::<_, i64>(2)?.cast_unsigned(),
                    parts: row.get::<_, i64>(3)?.cast_unsigned(),
                    finished_ns: row.get(4)?,
                })
            };
            self.conn.prepare_cached(sql)?.query_row([], round).optional()
        };
        Ok(query().map_err(|e| self.failed("reading how far the last one came", e))?.unwrap_or_default())
    }

    /// Remembers how far a round has come, synced.
    pub fn note_round(&self, round: &Round) -> Result<(), CatalogError> {
        let note = || {
            let sql = "INSERT OR REPLACE INTO verify_round (id, begun_ns, up_to, runs, parts, finished_ns)
                       VALUES (1, ?1, ?2, ?3, ?4, ?5)";
            let up_to = round.up_to.as_ref().map(ArchivePath::as_bytes);
            let (runs, parts) = (round.runs.cast_signed(), round.parts.cast_signed());
            self.conn.prepare_cached(sql)?.execute(params![round.begun_ns, up_to, runs, parts, round.finished_ns])
        };
        note().map(drop).map_err(|e| self.failed("noting how far it came", e))
    }

    fn failed(&self, doing: &'static str, source: rusqlite::Error) -> CatalogError {
        sqlite(&self.file, doing, source)
    }
}

/// The same for names that a server may take for each other. Upper case, since more letters meet there.
fn folded(path: &[u8]) -> String {
    String::from_utf8_lossy(path).to_uppercase()
}

/// Before every path is the empty one.
fn bytes(path: Option<&ArchivePath>) -> &[u8] {
    path.map_or(&b""[..], ArchivePath::as_bytes)
}

fn place(row: &Row<'_>) -> rusqlite::Result<Place> {
    let content = Prefix { bytes: row.get::<_, i64>(2)?.cast_unsigned(), digest: Digest::from_bytes(row.get(3)?) };
    Ok(Place { row: row.get(0)?, path: visit::archive_path(row, 1)?, content, whole: row.get(4)? })
}
