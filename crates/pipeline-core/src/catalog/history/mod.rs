//! The catalog for whoever looks back: which runs there were, how the devices were, what came from where.
//!
//! Guarantees: one read-only connection with one snapshot, so that all answers agree with one another while runs go on writing, and
//! nobody waits for anybody. Where rows may be many they are handed out one by one. Writes nothing, and licenses nothing. As long as
//! a [`History`] lives, the catalog's log keeps what was written since: it is for seconds, not for hours.

mod files;
mod health;
mod lookup;
mod recent;
mod rows;
mod runs;
mod spells;
mod stretch;

use std::path::{Path, PathBuf};

use rusqlite::{Connection, OpenFlags, Row};

pub use lookup::OnDevice;
pub use recent::{CardReading, DayBytes, Totals};
pub use rows::{
    DAY_NS, Day, DayReading, FileRow, Kept, LeftKind, Outstanding, Reading, RunEndings, RunRow, RunSums, Source, Spell,
    State, StorageReading, is_past,
};
pub use stretch::{End, LONGEST_PAUSE_NS, Stretch, stretches};

use super::{BUSY, Catalog, CatalogError, FILE_NAME, sqlite};
use crate::config::{Globs, HostPattern};
use crate::path::DeviceName;
use crate::period::Period;

pub(super) use health::{LEARNT_BY_A_VISIT, READING_COLUMNS, is_of_a_look, reading_values};

/// Which rows are wanted: by default all.
#[derive(Clone, Debug, Default)]
pub struct Filter {
    /// Of these devices: what a pattern matches, less what one behind `!` does. Empty: all.
    pub devices: Vec<HostPattern>,
    /// Of this time.
    pub period: Period,
    /// Of files whose path below the source matches; none: all.
    pub paths: Option<Globs>,
}

/// Which rows come first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// The oldest.
    OldestFirst,
    /// The newest.
    NewestFirst,
}

/// A view of the catalog as it was when it was opened.
#[derive(Debug)]
pub struct History {
    file: PathBuf,
    conn: Connection,
    /// By device, then directory.
    sources: Vec<Source>,
}

impl Catalog {
    /// Opens a view of what there is now.
    pub fn history(&self) -> Result<History, CatalogError> {
        History::begin(&self.file)
    }
}

impl History {
    /// Opens a view of the catalog in `state_dir`. One of an older layout is brought to the newest first.
    pub fn open(state_dir: &Path) -> Result<History, CatalogError> {
        Catalog::open(state_dir)?;
        History::begin(&state_dir.join(FILE_NAME))
    }

    fn begin(file: &Path) -> Result<History, CatalogError> {
        let begin = || {
            let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
            let conn = Connection::open_with_flags(file, flags)?;
            conn.busy_timeout(BUSY)?;
            // 16 MiB of cache: one reader, who may go through all there is.
            conn.execute_batch("PRAGMA temp_store = FILE; PRAGMA cache_size = -16384; BEGIN")?;
            // The first look is what the snapshot is of.
            let sources = sources(&conn)?;
            Ok((conn, sources))
        };
        let (conn, sources) = begin().map_err(|e| sqlite(file, "opening it", e))?;
        Ok(History { file: file.to_owned(), conn, sources })
    }

    /// Every directory of every device, by device and directory.
    pub fn sources(&self) -> &[Source] {
        &self.sources
    }

    /// The first of these patterns that no device has a name for, a `!` aside: most likely it is mistyped.
    pub fn stranger<'a>(&self, devices: &'a [HostPattern]) -> Option<&'a HostPattern> {
        let matches = |pattern: &HostPattern| self.sources.iter().any(|source| pattern.matches(source.device.as_str()));
        devices.iter().find(|pattern| !pattern.is_negated() && !matches(pattern))
    }

    /// The sources of the wanted devices.
    fn chosen(&self, devices: &[HostPattern]) -> Vec<&Source> {
        let (without, with): (Vec<_>, Vec<_>) = devices.iter().partition(|pattern| pattern.is_negated());
        let wanted = |device: &DeviceName| {
            let fits = |pattern: &&HostPattern| pattern.matches(device.as_str());
            (with.is_empty() || with.iter().any(fits)) && !without.iter().any(fits)
        };
        self.sources.iter().filter(|source| wanted(&source.device)).collect()
    }

    fn failed(&self, doing: &'static str) -> impl Fn(rusqlite::Error) -> CatalogError {
        let file = self.file.clone();
        move |source| sqlite(&file, doing, source)
    }
}

fn sources(conn: &Connection) -> rusqlite::Result<Vec<Source>> {
    let sql = "SELECT id, device, path, visited_ns, succeeded_ns, newest_ns, clock_offset_ns, total_bytes, free_bytes,
                   unreachable, unlisted FROM source";
    let mut statement = conn.prepare(sql)?;
    let rows = statement.query_map([], |row| {
        Ok(Source {
            id: row.get(0)?,
            device: DeviceName::new(row.get::<_, String>(1)?).map_err(|e| super::visit::invalid(1, e))?,
            path: row.get(2)?,
            visited_ns: row.get(3)?,
            succeeded_ns: row.get(4)?,
            newest_ns: row.get(5)?,
            clock_offset_ns: row.get(6)?,
            total_bytes: unsigned(row, 7)?,
            free_bytes: unsigned(row, 8)?,
            unreachable: row.get(9)?,
            unlisted: unsigned(row, 10)?,
        })
    })?;
    let mut sources = rows.collect::<Result<Vec<_>, _>>()?;
    sources.sort_by(|a, b| (a.device.as_str(), &a.path).cmp(&(b.device.as_str(), &b.path)));
    Ok(sources)
}

/// SQLite has no unsigned 64-bit integers: bits are kept as they are.
fn unsigned(row: &Row<'_>, at: usize) -> rusqlite::Result<u64> {
    Ok(row.get::<_, i64>(at)?.cast_unsigned())
}

fn unsigned_or_none(row: &Row<'_>, at: usize) -> rusqlite::Result<Option<u64>> {
    Ok(row.get::<_, Option<i64>>(at)?.map(i64::cast_unsigned))
}

/// A word that this program can't have written.
fn unknown_word(at: usize) -> rusqlite::Error {
    super::visit::invalid(at, std::io::Error::other("unknown word"))
}
