//! SQLite: what was received, from where, and when it was removed.
//!
//! Guarantees that a [`Catalogued`] file's row is committed and synced (WAL, `synchronous=FULL`). Lies on local disk, never on the
//! storage. Rows are changed only to
//! say where their content is now and that it left the device, so the catalog is also the history. `docs/catalog.md` explains every
//! column. Each visit has connections of its own; SQLite orders their writes.

mod contents;
mod draft;
pub mod history;
mod journal;
mod log;
mod migrate;
mod noted;
mod places;
mod recorder;
#[cfg(test)]
mod tests;
mod visit;

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::config::DbConfig;
use rusqlite::{Connection, OptionalExtension as _, params};

pub use contents::{Content, Contents, Sums};
pub use draft::{Draft, Listed, Origin};
pub use journal::{Left, VisitEnd};
pub use noted::Noted;
pub use places::{Place, Places, Provenance, Round};
pub use recorder::{Catalogued, Recorder};
pub use visit::{Holder, Known, Task, TaskKind, Unreceived, Visit};

use migrate::LAYOUT;

use crate::clock::now_ns;
use crate::error::{Class, Classified, STATE_DISK_HINT};

const FILE_NAME: &str = "catalog.db";
/// How long one writer waits for another. Commits take milliseconds; a minute means that something is broken.
const BUSY: Duration = Duration::from_secs(60);

/// What goes wrong with the catalog.
#[derive(Debug, thiserror::Error)]
pub enum CatalogError {
    /// There is none yet.
    #[error("no catalog in {}", .0.display())]
    Missing(PathBuf),
    /// There is one, where a new one was to be made.
    #[error("there is a catalog already: {}", .0.display())]
    Exists(PathBuf),
    /// A newer program made it.
    #[error("the catalog {} is of version {found}, this program knows {LAYOUT}", .file.display())]
    Version {
        /// The catalog.
        file: PathBuf,
        /// Its version.
        found: i64,
    },
    /// It belongs to another storage.
    #[error("the catalog {} belongs to storage {recorded}, but the storage's marker says {found}", .file.display())]
    OtherStorage {
        /// The catalog.
        file: PathBuf,
        /// The id that it remembers.
        recorded: String,
        /// The id in the marker.
        found: String,
    },
    /// It may be there, and not for us.
    #[error("can't read the catalog {}", .file.display())]
    Unreadable {
        /// The catalog.
        file: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The state directory can't be used.
    #[error("can't use the state directory {}", .dir.display())]
    StateDir {
        /// Which.
        dir: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// SQLite failed.
    #[error("the catalog {} failed: {doing}", .file.display())]
    Sqlite {
        /// The catalog.
        file: PathBuf,
        /// What was being done.
        doing: &'static str,
        /// Why.
        source: rusqlite::Error,
    },
    /// What was to be dropped is another device's as well, which nobody has [looked at](Recorder::is_shared): a defect.
    #[error("{path} belongs to another device as well")]
    Shared {
        /// Where it lies, below the storage.
        path: crate::archive::ArchivePath,
    },
    /// A row that this program can't have written.
    #[error("the catalog {} holds a damaged row in {table}", .file.display())]
    Damaged {
        /// The catalog.
        file: PathBuf,
        /// Where.
        table: &'static str,
    },
}

impl CatalogError {
    /// Whether it is only that we may not, or can't, write to it.
    pub fn is_read_only(&self) -> bool {
        let CatalogError::Sqlite { source, .. } = self else { return false };
        source.sqlite_error_code() == Some(rusqlite::ErrorCode::ReadOnly)
    }
}

impl Classified for CatalogError {
    fn class(&self) -> Class {
        match self {
            CatalogError::Missing(_) | CatalogError::Exists(_) | CatalogError::Version { .. } => Class::Config,
            CatalogError::StateDir { source, .. } | CatalogError::Unreadable { source, .. } => {
                Class::of_state_dir(source)
            }
            CatalogError::Shared { .. } => Class::Internal,
            CatalogError::OtherStorage { .. } | CatalogError::Sqlite { .. } | CatalogError::Damaged { .. } => {
                Class::Storage
            }
        }
    }

    fn hint(&self) -> Option<String> {
        Some(match self {
            CatalogError::Missing(_) => {
                "run `pipeline init` once; a catalog that was lost is made anew by `pipeline catalog rebuild`".into()
            }
            CatalogError::Exists(file) => format!(
                "it knows more than a new one could; if it is damaged, move it away with its log: mv {0}* /somewhere/else/",
                file.display()
            ),
            CatalogError::Version { .. } => "use the newer program".into(),
            CatalogError::OtherStorage { .. } => {
                "is the right share mounted? A new storage needs a `state_dir` of its own".into()
            }
            CatalogError::Unreadable { source, .. } if source.kind() == std::io::ErrorKind::PermissionDenied => {
                "run it as the user that runs `pipeline sync`; to look, it is enough to be in that user's group".into()
            }
            CatalogError::StateDir { .. } if self.class() == Class::Storage => STATE_DISK_HINT.into(),
            CatalogError::StateDir { .. } | CatalogError::Unreadable { .. } => {
                "make the directory and give it to the user that runs pipeline, or set `state_dir`".into()
            }
            CatalogError::Sqlite { .. } if self.is_read_only() => {
                "only the user that runs `pipeline sync` writes to it; others may read it once that user's next run has ended"
                    .into()
            }
            CatalogError::Sqlite { .. } => {
                "is the disk that holds `state_dir` full? Nothing was removed that is not catalogued".into()
            }
            CatalogError::Shared { .. } => "this is a defect of pipeline; nothing was dropped or removed".into(),
            CatalogError::Damaged { .. } => "restore the catalog from a backup; nothing was removed".into(),
        })
    }
}

/// The catalog of one collector.
#[derive(Debug)]
pub struct Catalog {
    file: PathBuf,
    collector: String,
    storage: String,
}

/// What the last visit of a device found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LastVisit {
    /// Size of the card; 0 where unknown.
    pub total_bytes: u64,
    /// Free on the card.
    pub free_bytes: u64,
    /// Whether it could not be reached.
    pub unreachable: bool,
    /// When a visit last did all that was to be done.
    pub succeeded_ns: Option<i64>,
}

impl LastVisit {
    /// Part of the card in use, 0 to 1; none where unknown.
    pub fn used(&self) -> Option<f64> {
        #[allow(clippy::cast_precision_loss)] // a ratio
        (self.total_bytes > 0).then(|| 1.0 - self.free_bytes as f64 / self.total_bytes as f64)
    }
}

impl Catalog {
    /// Makes the catalog in `state_dir` for the storage with this id, or opens the one that is there, which must be for it too.
    pub fn create(state_dir: &Path, storage: &str) -> Result<Catalog, CatalogError> {
        let state_error = |source| CatalogError::StateDir { dir: state_dir.to_owned(), source };
        std::fs::create_dir_all(state_dir).map_err(state_error)?;
        let file = state_dir.join(FILE_NAME);
        // A file in the way, or a directory that can't be written, is said in the words of the operating system.
        match std::fs::OpenOptions::new().create_new(true).append(true).open(&file) {
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {
                rustix::fs::access(&file, rustix::fs::Access::WRITE_OK).map_err(|error| state_error(error.into()))?;
                if file.is_dir() {
                    return Err(state_error(std::io::ErrorKind::IsADirectory.into()));
                }
            }
            made => drop(made.map_err(state_error)?),
        }
        let mut conn = connect(&file)?;
        let sql = |source| CatalogError::Sqlite { file: file.clone(), doing: "making the tables", source };
        let transaction = conn.transaction_with_behavior(rusqlite::TransactionBehavior::Immediate).map_err(sql)?;
        if migrate::layout(&transaction).map_err(sql)? == 0 {
            make(&transaction, storage).map_err(sql)?;
        }
        transaction.commit().map_err(sql)?;
        drop(conn);
        let catalog = Catalog::open(state_dir)?;
        if catalog.storage != storage {
            let (file, recorded) = (catalog.file, catalog.storage);
            return Err(CatalogError::OtherStorage { file, recorded, found: storage.to_owned() });
        }
        Ok(catalog)
    }

    /// Opens the catalog in `state_dir`. One of an older layout is brought to the newest.
    pub fn open(state_dir: &Path) -> Result<Catalog, CatalogError> {
        let file = state_dir.join(FILE_NAME);
        // Asked, and not tried: to close the file would take away the locks that other connections of this process hold on it.
        match rustix::fs::access(&file, rustix::fs::Access::READ_OK) {
            Err(rustix::io::Errno::NOENT) => return Err(CatalogError::Missing(state_dir.to_owned())),
            asked => asked.map_err(|error| CatalogError::Unreadable { file: file.clone(), source: error.into() })?,
        }
        let mut conn = connect(&file)?;
        let sql = |source| CatalogError::Sqlite { file: file.clone(), doing: "opening it", source };
        if migrate::layout(&conn).map_err(sql)? == 0 {
            return Err(CatalogError::Missing(state_dir.to_owned()));
        }
        migrate::migrate(&mut conn, &file)?;
        let meta =
            |key: &str| conn.query_row("SELECT value FROM meta WHERE key = ?1", [key], |row| row.get::<_, String>(0));
        let (collector, storage) = (meta("collector").map_err(sql)?, meta("storage").map_err(sql)?);
        Ok(Catalog { file, collector, storage })
    }

    /// This collector's random id.
    pub fn collector(&self) -> &str {
        &self.collector
    }

    /// The id of the storage that this catalog describes.
    pub fn storage(&self) -> &str {
        &self.storage
    }

    /// Notes that a run begins; returns its number.
    pub fn begin_run(&self) -> Result<i64, CatalogError> {
        let conn = connect(&self.file)?;
        let sql = "INSERT INTO run (started_ns, program) VALUES (?1, ?2)";
        conn.execute(sql, params![now_ns(), env!("CARGO_PKG_VERSION")])
            .map_err(|e| self.sqlite("noting the run", e))?;
        Ok(conn.last_insert_rowid())
    }

    /// What the last visits found, by device name.
    pub fn last_visits(&self) -> Result<HashMap<String, LastVisit>, CatalogError> {
        let conn = connect(&self.file)?;
        let query = || {
            let sql =
                "SELECT device, total_bytes, free_bytes, unreachable, succeeded_ns FROM source ORDER BY visited_ns";
            let mut statement = conn.prepare(sql)?;
            let rows = statement.query_map([], |row| {
                let last = LastVisit {
                    total_bytes: row.get::<_, i64>(1)?.cast_unsigned(),
                    free_bytes: row.get::<_, i64>(2)?.cast_unsigned(),
                    unreachable: row.get(3)?,
                    succeeded_ns: row.get(4)?,
                };
                Ok((row.get(0)?, last))
            })?;
            rows.collect::<Result<HashMap<_, _>, _>>()
        };
        query().map_err(|e| self.sqlite("reading the last visits", e))
    }

    /// Begins a visit to one source of one device. With `run` 0 (a dry run) nothing is written.
    pub fn visit(&self, device: &str, source: &[u8], run: i64) -> Result<Visit, CatalogError> {
        let conn = connect(&self.file)?;
        let doing = |e| self.sqlite("beginning a visit", e);
        if run != 0 {
            let sql = "INSERT INTO source (device, path) VALUES (?1, ?2) ON CONFLICT DO NOTHING";
            conn.execute(sql, params![device, source]).map_err(doing)?;
        }
        let sql = "SELECT id, clock_offset_ns FROM source WHERE device = ?1 AND path = ?2";
        let row = conn
            .query_row(sql, params![device, source], |row| Ok((row.get(0)?, row.get(1)?)))
            .optional()
            .map_err(doing)?;
        // No source has row 0: nothing is known of it.
        let (id, last_offset_ns) = row.unwrap_or((0, None));
        Visit::new(self.file.clone(), conn, id, run, last_offset_ns)
    }

    fn sqlite(&self, doing: &'static str, source: rusqlite::Error) -> CatalogError {
        CatalogError::Sqlite { file: self.file.clone(), doing, source }
    }
}

/// Makes the tables of an empty catalog for the storage with this id, and draws a collector's id.
fn make(conn: &Connection, storage: &str) -> rusqlite::Result<()> {
    migrate::bring_forward(conn, 0)?;
    let insert = "INSERT INTO meta (key, value) VALUES ('collector', lower(hex(randomblob(6)))), ('storage', ?1)";
    conn.execute(insert, [storage]).map(drop)
}

/// A connection with the settings that the promise needs.
fn connect(file: &Path) -> Result<Connection, CatalogError> {
    let open = || {
        let conn = Connection::open_with_flags(
            file,
            rusqlite::OpenFlags::SQLITE_OPEN_READ_WRITE | rusqlite::OpenFlags::SQLITE_OPEN_NO_MUTEX,
        )?;
        conn.busy_timeout(BUSY)?;
        // Without this SQLite plans most lookups anew for every value, which takes longer than the lookup.
        conn.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true)?;
        // cache_size: half a MiB for each of two connections for each device at once.
        conn.execute_batch(
            "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA foreign_keys = ON;
             PRAGMA temp_store = FILE; PRAGMA cache_size = -512;",
        )?;
        log::keep(&conn)?;
        Ok(conn)
    };
    open().map_err(|source| CatalogError::Sqlite { file: file.to_owned(), doing: "opening it", source })
}

fn sqlite(file: &Path, doing: &'static str, source: rusqlite::Error) -> CatalogError {
    match source {
        rusqlite::Error::FromSqlConversionFailure(..) => CatalogError::Damaged { file: file.to_owned(), table: "file" },
        source => CatalogError::Sqlite { file: file.to_owned(), doing, source },
    }
}
