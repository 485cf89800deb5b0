//! A catalog that is being made anew, from what the manifests of a storage list.
//!
//! Guarantees: it is written beside its place and becomes the catalog only when it is whole and synced; killed before, it leaves
//! nothing but a file that the next attempt begins by removing. No row of it can license a removal: `dev`, `ino` and `ctime_ns`
//! are 0, which no file on a device has, and `removed_ns` is set. A row holds a place and a digest, so that the next visit takes
//! the file there for what it is; the stored bytes are read before they count. Memory is flat: what the manifests list is
//! sorted in a table on disk. Leaves to others: to read the manifests, and to look at the files ([`crate::rebuild`]).

use std::fs::{self, File};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use rusqlite::{Connection, OptionalExtension as _, params};

use super::{Catalog, CatalogError, FILE_NAME, make, sqlite};
use crate::archive::ArchivePath;
use crate::clock::now_ns;
use crate::digest::Digest;
use crate::path::RelPath;

const DRAFT_NAME: &str = "catalog.db.new";

/// A catalog in the making. Dropped, it leaves no catalog.
pub struct Draft {
    state_dir: PathBuf,
    conn: Connection,
    now_ns: i64,
}

/// A file that a manifest lists: the last line that names its path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed {
    /// Where it lies.
    pub path: ArchivePath,
    /// Of its content.
    pub digest: Digest,
    /// Which device it came from.
    pub device: String,
    /// The beginning of the day on which it was stored.
    pub stored_ns: i64,
}

/// Where a listed file came from, as far as that can be told, and what lies there now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origin<'a> {
    /// The source directory on the device; empty where it is not known.
    pub source: &'a [u8],
    /// The path below it; that in the archive where the source is not known.
    pub path: &'a RelPath,
    /// The file's size.
    pub bytes: u64,
    /// When it was modified, by the device's clock.
    pub mtime_ns: i64,
}

impl Draft {
    /// Begins a catalog for the storage with this id. Fails where there is a catalog already.
    pub fn begin(state_dir: &Path, storage: &str) -> Result<Draft, CatalogError> {
        match Catalog::open(state_dir) {
            Err(CatalogError::Missing(_)) => {}
            // Also one that can't be read: it is the user's to give up.
            _ => return Err(CatalogError::Exists(state_dir.join(FILE_NAME))),
        }
        let state_error = |source| CatalogError::StateDir { dir: state_dir.to_owned(), source };
        let file = state_dir.join(DRAFT_NAME);
        remove(&file).map_err(state_error)?;
        File::create_new(&file).map_err(state_error)?;
        let begin = || {
            let conn = Connection::open(&file)?;
            // Nothing of it is ever rolled back, and all of it is synced at the end: a kill costs the whole file.
            conn.execute_batch(
                "PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF; PRAGMA foreign_keys = ON; PRAGMA temp_store = FILE;
                 PRAGMA cache_size = -8192; BEGIN",
            )?;
            make(&conn, storage)?;
            conn.execute_batch(
                "CREATE TEMP TABLE listed (path BLOB PRIMARY KEY, sha256 BLOB NOT NULL, device TEXT NOT NULL,
                    stored_ns INTEGER NOT NULL) STRICT, WITHOUT ROWID",
            )?;
            let program = concat!(env!("CARGO_PKG_VERSION"), " catalog rebuild");
            conn.execute("INSERT INTO run (started_ns, program) VALUES (?1, ?2)", params![now_ns(), program])?;
            Ok(Draft { state_dir: state_dir.to_owned(), conn, now_ns: now_ns() })
        };
        begin().map_err(|e| sqlite(&file, "making the tables", e))
    }

    /// Notes a line of a manifest. Lines come oldest first: a later one for the same path takes the place of an earlier.
    pub fn list(&self, listed: &Listed) -> Result<(), CatalogError> {
        let list = || {
            let sql = "INSERT OR REPLACE INTO temp.listed (path, sha256, device, stored_ns) VALUES (?1, ?2, ?3, ?4)";
            let (path, digest) = (listed.path.as_bytes(), listed.digest.as_bytes());
            self.conn.prepare_cached(sql)?.execute(params![path, digest, listed.device, listed.stored_ns])
        };
        list().map(drop).map_err(|e| self.failed("listing files", e))
    }

    /// The next listed files after this path, by their bytes, at most `limit`.
    pub fn listed_after(&self, path: Option<&ArchivePath>, limit: usize) -> Result<Vec<Listed>, CatalogError> {
        let query = || {
            let sql = "SELECT path, sha256, device, stored_ns FROM temp.listed WHERE path > ?1 ORDER BY path LIMIT ?2";
            let mut statement = self.conn.prepare_cached(sql)?;
            let limit = i64::try_from(limit).unwrap_or(i64::MAX);
            let after = path.map_or(&b""[..], ArchivePath::as_bytes);
            let listed = |row: &rusqlite::Row<'_>| {
                Ok(Listed {
                    path: super::visit::archive_path(row, 0)?,
                    digest: Digest::from_bytes(row.get(1)?),
                    device: row.get(2)?,
                    stored_ns: row.get(3)?,
                })
            };
            statement.query_map(params![after, limit], listed)?.collect::<Result<Vec<_>, _>>()
        };
        query().map_err(|e| self.failed("reading what is listed", e))
    }

    /// The device that a path is listed for; none where it is not listed.
    pub fn device_of(&self, path: &ArchivePath) -> Result<Option<String>, CatalogError> {
        let query = || {
            let mut statement = self.conn.prepare_cached("SELECT device FROM temp.listed WHERE path = ?1")?;
            statement.query_row([path.as_bytes()], |row| row.get(0)).optional()
        };
        query().map_err(|e| self.failed("reading what is listed", e))
    }

    /// Adds a row for a listed file.
    pub fn add(&self, listed: &Listed, origin: &Origin<'_>) -> Result<(), CatalogError> {
        let add = || {
            let source = params![listed.device, origin.source];
            self.conn
                .prepare_cached("INSERT INTO source (device, path) VALUES (?1, ?2) ON CONFLICT DO NOTHING")?
                .execute(source)?;
            let sql = "INSERT INTO file (source, path, size, mtime_ns, ctime_ns, dev, ino, clock_offset_ns, sha256, archive_path,
                           kept, received_ns, removed_ns, run)
                       SELECT id, ?3, ?4, ?5, 0, 0, 0, 0, ?6, ?7, 'whole', ?8, ?9, 1
                       FROM source WHERE device = ?1 AND path = ?2";
            self.conn.prepare_cached(sql)?.execute(params![
                listed.device,
                origin.source,
                origin.path.as_bytes(),
                origin.bytes.cast_signed(),
                origin.mtime_ns,
                listed.digest.as_bytes(),
                listed.path.as_bytes(),
                listed.stored_ns,
                self.now_ns,
            ])
        };
        add().map(drop).map_err(|e| self.failed("recording files", e))
    }

    /// Makes it the catalog.
    pub fn finish(self) -> Result<(), CatalogError> {
        let file = self.state_dir.join(DRAFT_NAME);
        let Draft { state_dir, conn, .. } = self;
        let commit = || {
            super::migrate::backfill(&conn)?;
            conn.execute("UPDATE run SET finished_ns = ?1", [now_ns()])?;
            conn.execute_batch("COMMIT")
        };
        commit().map_err(|e| sqlite(&file, "ending it", e))?;
        conn.close().map_err(|(_, e)| sqlite(&file, "ending it", e))?;
        let put = || {
            File::open(&file)?.sync_all()?;
            let place = state_dir.join(FILE_NAME);
            // The log of a catalog that is lost would be taken for this one's.
            remove(&place)?;
            // RACE: `pipeline init` does not take the lock, and the catalog that it makes in this instant knows nothing yet.
            fs::rename(&file, &place)?;
            File::open(&state_dir)?.sync_all()
        };
        put().map_err(|source| CatalogError::StateDir { dir: state_dir.clone(), source })
    }

    /// What it holds can't have been written by this program.
    pub fn damaged(&self) -> CatalogError {
        CatalogError::Damaged { file: self.state_dir.join(DRAFT_NAME), table: "listed" }
    }

    fn failed(&self, doing: &'static str, source: rusqlite::Error) -> CatalogError {
        sqlite(&self.state_dir.join(DRAFT_NAME), doing, source)
    }
}

/// Removes a database with what SQLite keeps beside it, where it is there.
fn remove(file: &Path) -> std::io::Result<()> {
    for beside in ["", "-wal", "-shm", "-journal"] {
        let mut name = file.as_os_str().to_owned();
        name.push(beside);
        match fs::remove_file(PathBuf::from(name)) {
            Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    Ok(())
}
