//! One file, one place, one source: for whoever asks why.

use std::collections::BTreeSet;

use rusqlite::{OptionalExtension as _, Row, params};

use super::files::{file, outstanding};
use super::{DAY_NS, FileRow, History, LeftKind, Outstanding, Source, unsigned};
use crate::archive::ArchivePath;
use crate::catalog::CatalogError;
use crate::catalog::visit::{Holder, IDENTITY, path};
use crate::config::HostPattern;
use crate::path::RelPath;

/// Received files that are still on their device.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct OnDevice {
    /// How many.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
    /// When the first of them was received.
    pub oldest_received_ns: Option<i64>,
}

impl History {
    /// The sources of the devices that these patterns name; all where there is none.
    pub fn sources_of(&self, devices: &[HostPattern]) -> Vec<&Source> {
        self.chosen(devices)
    }

    /// The source with this row.
    pub fn source(&self, id: i64) -> Option<&Source> {
        self.sources.iter().find(|source| source.id == id)
    }

    /// All contents that were received from a path, newest first.
    pub fn files_of(&self, source: &Source, at: &RelPath) -> Result<Vec<FileRow>, CatalogError> {
        let query = || {
            let sql = format!(
                "SELECT id, source, path, {IDENTITY}, clock_offset_ns, sha256, archive_path, kept, received_ns, removed_ns, run
                 FROM file WHERE source = ?1 AND path = ?2 ORDER BY id DESC"
            );
            let mut statement = self.conn.prepare_cached(&sql)?;
            let rows =
                statement.query_map(params![source.id, at.as_bytes()], |row| file(row, source, path(row, 2)?))?;
            rows.collect::<Result<Vec<_>, _>>()
        };
        query().map_err(self.failed("looking up a file"))
    }

    /// The files whose content is or was at a place in the storage, source and path; first those whose content is there now.
    pub fn files_at(&self, place: &ArchivePath) -> Result<Vec<(&Source, RelPath)>, CatalogError> {
        let query = || {
            let sql = "SELECT source, path FROM file WHERE archive_path = ?1
                       GROUP BY source, path ORDER BY max(kept <> 'dropped') DESC, max(id) DESC";
            let mut statement = self.conn.prepare_cached(sql)?;
            let rows = statement.query_map([place.as_bytes()], |row| Ok((row.get::<_, i64>(0)?, path(row, 1)?)))?;
            rows.collect::<Result<Vec<_>, _>>()
        };
        let found = query().map_err(self.failed("looking up a place"))?;
        Ok(found.into_iter().filter_map(|(id, path)| Some((self.source(id)?, path))).collect())
    }

    /// Whose content lies whole at a place, as far as the catalog knows.
    pub fn holder(&self, place: &ArchivePath) -> Result<Option<Holder>, CatalogError> {
        Holder::of(&self.conn, place).map_err(self.failed("looking up a place"))
    }

    /// Whether anything is known of a path.
    pub fn mentions(&self, source: &Source, path: &RelPath) -> Result<bool, CatalogError> {
        let sql = "SELECT EXISTS (SELECT 1 FROM file WHERE source = ?1 AND path = ?2)
                       OR EXISTS (SELECT 1 FROM outstanding WHERE source = ?1 AND path = ?2)";
        let query = || self.conn.prepare_cached(sql)?.query_row(params![source.id, path.as_bytes()], |row| row.get(0));
        query().map_err(self.failed("looking up a file"))
    }

    /// How many files' contents are below a directory of the storage.
    pub fn files_below_place(&self, place: &ArchivePath) -> Result<u64, CatalogError> {
        let (first, end) = below(place.as_bytes());
        let sql = "SELECT count(*) FROM (SELECT 1 FROM file WHERE archive_path > ?1 AND archive_path < ?2
                       AND kept <> 'dropped' GROUP BY archive_path)";
        let query = || self.conn.prepare_cached(sql)?.query_row(params![first, end], |row| unsigned(row, 0));
        query().map_err(self.failed("looking up a directory"))
    }

    /// How many files below a directory of a source were received.
    pub fn files_below(&self, source: &Source, dir: &RelPath) -> Result<u64, CatalogError> {
        let (first, end) = below(dir.as_bytes());
        let sql = "SELECT count(DISTINCT path) FROM file WHERE source = ?1 AND path > ?2 AND path < ?3";
        let query = || self.conn.prepare_cached(sql)?.query_row(params![source.id, first, end], |row| unsigned(row, 0));
        query().map_err(self.failed("looking up a directory"))
    }

    /// What the last visit says of a path, or else of the nearest directory above it that it could not look into.
    pub fn left(&self, source: &Source, path: &RelPath) -> Result<Option<Outstanding>, CatalogError> {
        let query = || {
            let sql = "SELECT path, kind, reason, first_ns, run FROM outstanding WHERE source = ?1 AND path = ?2";
            let mut statement = self.conn.prepare_cached(sql)?;
            let mut at = Some(path.clone());
            while let Some(here) = at {
                let row = |row: &Row<'_>| outstanding(row, source);
                let found = statement.query_row(params![source.id, here.as_bytes()], row).optional()?;
                if let Some(left) = found.filter(|left| here == *path || is_in_the_way(left.kind)) {
                    return Ok(Some(left));
                }
                at = here.parent();
            }
            let of_source = statement.query_row(params![source.id, b""], |row| outstanding(row, source)).optional()?;
            Ok(of_source.filter(|left| is_in_the_way(left.kind)))
        };
        query().map_err(self.failed("looking up what is left"))
    }

    /// What the last visit left of a source: for each kind of reason how many files are listed, and one of them, most first.
    pub fn left_by_kind(&self, source: &Source) -> Result<Vec<(u64, Outstanding)>, CatalogError> {
        let query = || {
            // With one max(), SQLite takes the other columns from the row that has it.
            let sql = "SELECT path, kind, reason, first_ns, run, count(*), max(path) FROM outstanding
                       WHERE source = ?1 GROUP BY kind ORDER BY count(*) DESC, kind";
            let mut statement = self.conn.prepare_cached(sql)?;
            let rows = statement.query_map([source.id], |row| Ok((unsigned(row, 5)?, outstanding(row, source)?)))?;
            rows.collect::<Result<Vec<_>, _>>()
        };
        query().map_err(self.failed("looking up what is left"))
    }

    /// Received files that are still on the device.
    pub fn on_device(&self, source: &Source) -> Result<OnDevice, CatalogError> {
        let query = || {
            let sql = "SELECT count(*), coalesce(sum(size), 0), min(received_ns) FROM file
                       WHERE source = ?1 AND removed_ns IS NULL";
            self.conn.prepare_cached(sql)?.query_row([source.id], |row| {
                Ok(OnDevice { files: unsigned(row, 0)?, bytes: unsigned(row, 1)?, oldest_received_ns: row.get(2)? })
            })
        };
        query().map_err(self.failed("looking up what is on a device"))
    }

    /// The days (since 1970, UTC) on which files of a source were last changed that have arrived by now: by the device's clock, set
    /// right by its offset.
    pub fn recorded_days(&self, source: &Source) -> Result<BTreeSet<i64>, CatalogError> {
        let query = || {
            // A content that was only found in the storage has no time. Set right here: in SQL a number that is too large becomes
            // a REAL, and a device may say anything of its times.
            let sql = "SELECT mtime_ns, clock_offset_ns FROM file WHERE source = ?1 AND mtime_ns > 0";
            let mut statement = self.conn.prepare_cached(sql)?;
            let day = |row: &Row<'_>| Ok(row.get::<_, i64>(0)?.saturating_sub(row.get(1)?).div_euclid(DAY_NS));
            let rows = statement.query_map([source.id], day)?;
            rows.collect::<Result<BTreeSet<_>, _>>()
        };
        query().map_err(self.failed("counting days"))
    }
}

/// All paths below a directory are between these two.
fn below(dir: &[u8]) -> (Vec<u8>, Vec<u8>) {
    ([dir, b"/"].concat(), [dir, &[b'/' + 1]].concat())
}

/// Whether a directory of which a visit says this hides what is below it.
fn is_in_the_way(kind: LeftKind) -> bool {
    matches!(kind, LeftKind::Failed | LeftKind::Skipped)
}
