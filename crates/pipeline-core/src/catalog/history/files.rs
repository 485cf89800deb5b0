//! Files that were received, and files that were left where they are.

use std::ops::ControlFlow;

use rusqlite::{Row, params};

use super::{FileRow, Filter, History, Kept, LeftKind, Order, Outstanding, Source, unknown_word};
use crate::catalog::CatalogError;
use crate::catalog::visit::{IDENTITY, archive_path, identity, invalid, path};
use crate::digest::Digest;
use crate::path::RelPath;

impl History {
    /// Contents that were received in a period, by that time, until `each` has had enough.
    pub fn files(
        &self,
        filter: &Filter,
        order: Order,
        each: &mut dyn FnMut(FileRow) -> ControlFlow<()>,
    ) -> Result<(), CatalogError> {
        let chosen = self.chosen(&filter.devices);
        let mut query = || {
            let direction = if order == Order::NewestFirst { "DESC" } else { "ASC" };
            let sql = format!(
                "SELECT id, source, path, {IDENTITY}, clock_offset_ns, sha256, archive_path, kept, received_ns, removed_ns, run
                 FROM file WHERE received_ns >= ?1 AND received_ns < ?2
                 ORDER BY received_ns {direction}, id {direction}"
            );
            let (from, until) = filter.period.bounds_ns();
            let mut statement = self.conn.prepare(&sql)?;
            let mut rows = statement.query(params![from, until])?;
            while let Some(row) = rows.next()? {
                let id: i64 = row.get(1)?;
                let Some(source) = chosen.iter().find(|source| source.id == id) else { continue };
                let path = path(row, 2)?;
                if filter.paths.as_ref().is_some_and(|globs| !globs.matches(&path)) {
                    continue;
                }
                if each(file(row, source, path)?).is_break() {
                    break;
                }
            }
            Ok(())
        };
        query().map_err(self.failed("listing files"))
    }

    /// What the last visits left on the devices, by device and path. The period is that since when it is so.
    pub fn outstanding(&self, filter: &Filter) -> Result<Vec<Outstanding>, CatalogError> {
        let query = || {
            let sql = "SELECT path, kind, reason, first_ns, run FROM outstanding WHERE source = ?1 ORDER BY path";
            let mut statement = self.conn.prepare(sql)?;
            let mut all = Vec::new();
            for source in self.chosen(&filter.devices) {
                let mut rows = statement.query([source.id])?;
                while let Some(row) = rows.next()? {
                    let left = outstanding(row, source)?;
                    let wanted = match (&filter.paths, &left.path) {
                        (None, _) => true,
                        (Some(globs), Some(path)) => globs.matches(path),
                        (Some(_), None) => false,
                    };
                    if wanted && filter.period.holds(left.first_ns) {
                        all.push(left);
                    }
                }
            }
            Ok(all)
        };
        query().map_err(self.failed("listing what is left"))
    }
}

pub(super) fn file(row: &Row<'_>, source: &Source, path: RelPath) -> rusqlite::Result<FileRow> {
    Ok(FileRow {
        row: row.get(0)?,
        source: source.id,
        device: source.device.clone(),
        path,
        identity: identity(row, 3)?,
        clock_offset_ns: row.get(8)?,
        digest: Digest::from_bytes(row.get(9)?),
        archive_path: archive_path(row, 10)?,
        kept: Kept::of_word(row.get_ref(11)?.as_str()?).ok_or_else(|| unknown_word(11))?,
        received_ns: row.get(12)?,
        removed_ns: row.get(13)?,
        run: row.get(14)?,
    })
}

pub(super) fn outstanding(row: &Row<'_>, source: &Source) -> rusqlite::Result<Outstanding> {
    let path = row.get::<_, Vec<u8>>(0)?;
    // The source itself has no path below itself.
    let path = if path.is_empty() { None } else { Some(RelPath::new(path).map_err(|e| invalid(0, e))?) };
    Ok(Outstanding {
        source: source.id,
        device: source.device.clone(),
        path,
        kind: LeftKind::of_word(row.get_ref(1)?.as_str()?).ok_or_else(|| unknown_word(1))?,
        reason: row.get(2)?,
        first_ns: row.get(3)?,
        run: row.get(4)?,
    })
}
