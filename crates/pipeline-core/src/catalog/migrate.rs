//! The layouts of the catalog, and how an older one becomes the newest.
//!
//! A new catalog is made by the same steps that an old one goes through, so the two can't differ. Guarantees that a catalog is of one
//! layout at every instant: all steps are one transaction, and killed before its end it leaves the old catalog whole. Rows that license a
//! removal are never touched. A newer layout than the newest known is left to the newer program.

use std::path::Path;

use rusqlite::{Connection, TransactionBehavior};

use super::{CatalogError, sqlite};

/// The newest layout, which this program writes: `PRAGMA user_version`.
pub(super) const LAYOUT: i64 = 2;

/// From each layout to the next, beginning with nothing at all.
const STEPS: [&str; 2] =
    [include_str!("schema/1.sql"), concat!(include_str!("schema/2.sql"), include_str!("schema/backfill.sql"))];
#[allow(clippy::cast_possible_truncation)] // a small number
const _: () = assert!(STEPS.len() == LAYOUT as usize);

/// Makes a catalog of layout `from` one of the newest. Inside a transaction of the caller's.
pub(super) fn bring_forward(conn: &Connection, from: i64) -> rusqlite::Result<()> {
    let done = usize::try_from(from).unwrap_or_default();
    for step in STEPS.iter().skip(done) {
        conn.execute_batch(step)?;
    }
    conn.pragma_update(None, "user_version", LAYOUT)
}

/// Sums up by day what the rows of files tell. Once, where nobody has taken these sums.
pub(super) fn backfill(conn: &Connection) -> rusqlite::Result<()> {
    conn.execute_batch(include_str!("schema/backfill.sql"))
}

/// The catalog's layout; 0 where there are no tables yet.
pub(super) fn layout(conn: &Connection) -> rusqlite::Result<i64> {
    conn.query_row("PRAGMA user_version", [], |row| row.get(0))
}

/// Makes sure that an existing catalog is of the newest layout.
pub(super) fn migrate(conn: &mut Connection, file: &Path) -> Result<(), CatalogError> {
    let sql = |source| sqlite(file, "bringing it to a newer layout", source);
    match layout(conn).map_err(|e| sqlite(file, "opening it", e))? {
        LAYOUT => return Ok(()),
        1..LAYOUT => {}
        found => return Err(CatalogError::Version { file: file.to_owned(), found }),
    }
    let transaction = conn.transaction_with_behavior(TransactionBehavior::Immediate).map_err(sql)?;
    // Another program may have done it while we waited.
    let from = layout(&transaction).map_err(sql)?;
    if from < LAYOUT {
        bring_forward(&transaction, from).map_err(sql)?;
    }
    transaction.commit().map_err(sql)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::PathBuf;

    use super::*;
    use crate::catalog::history::{Filter, Order, RunRow};
    use crate::catalog::{Catalog, FILE_NAME, connect};
    use crate::error::Classified as _;
    use crate::period::Period;

    /// As the program made it that knew no other layout.
    fn old(dir: &Path) -> PathBuf {
        let file = dir.join(FILE_NAME);
        let conn = Connection::open(&file).unwrap();
        conn.execute_batch("PRAGMA journal_mode = WAL").unwrap();
        conn.execute_batch(include_str!("../../tests/data/catalog-v1.sql")).unwrap();
        file
    }

    /// Every row of the tables that decide, as text.
    fn rows_that_decide(conn: &Connection) -> Vec<String> {
        let of = |table: &str, columns: &str| -> Vec<String> {
            let sql = format!("SELECT concat_ws('|', {columns}) FROM {table} ORDER BY 1");
            let mut statement = conn.prepare(&sql).unwrap();
            statement.query_map([], |row| row.get(0)).unwrap().map(Result::unwrap).collect()
        };
        let file = "id, source, hex(path), size, mtime_ns, ctime_ns, dev, ino, clock_offset_ns, hex(sha256), hex(archive_path),
                    kept, received_ns, ifnull(removed_ns, 'there'), run";
        let source = "id, device, hex(path), ifnull(visited_ns, '-'), ifnull(succeeded_ns, '-'),
                      ifnull(clock_offset_ns, '-'), total_bytes, free_bytes, unreachable";
        let tables = [
            ("file", file),
            ("source", source),
            ("meta", "key, value"),
            ("run", "id, started_ns, ifnull(finished_ns, '-'), program"),
            ("sighting", "source, hex(path), size, mtime_ns, ctime_ns, dev, ino, first_ns"),
            ("verify_round", "id, begun_ns, hex(up_to), runs, parts, ifnull(finished_ns, '-')"),
        ];
        tables.iter().flat_map(|(table, columns)| of(table, columns)).collect()
    }

    #[test]
    fn an_old_catalog_keeps_all_that_decides_and_tells_what_it_can() {
        let dir = tempfile::tempdir().unwrap();
        let file = old(dir.path());
        let before = rows_that_decide(&Connection::open(&file).unwrap());
        assert_eq!(before.len(), 29 + 4 + 2 + 4 + 1 + 1);
        let catalog = Catalog::open(dir.path()).unwrap();
        let conn = connect(&file).unwrap();
        assert_eq!((layout(&conn).unwrap(), rows_that_decide(&conn)), (LAYOUT, before));

        let history = catalog.history().unwrap();
        let days = history.days(&Filter::default()).unwrap();
        let sums: Vec<_> =
            days.iter().map(|day| (day.device.as_str(), day.day, day.received, day.removed, day.visits())).collect();
        assert_eq!(sums, [("raspberry1", 20779, 3, 3, 0), ("raspberry2", 20779, 26, 24, 0)]);
        assert_eq!(days[0].received_bytes, 466_594 + 440_650 + 656_274);
        let newest: Vec<_> = history.sources().iter().map(|source| source.newest_ns).collect();
        let (first, second) = (Some(1_795_334_685_261_762_137), Some(1_795_334_686_536_147_329));
        assert_eq!(newest, [first, second, None, None]);
        let mut runs: Vec<RunRow> = Vec::new();
        let mut each = |run| {
            runs.push(run);
            std::ops::ControlFlow::Continue(())
        };
        history.runs(&Period::default(), Order::OldestFirst, &mut each).unwrap();
        let told: Vec<_> = runs.iter().map(|run| (run.run, run.killed, run.sums.is_some())).collect();
        assert_eq!(told, [(1, false, false), (2, false, false), (3, true, false), (4, false, false)]);
        // Once is enough.
        Catalog::open(dir.path()).unwrap();
        assert_eq!(catalog.history().unwrap().days(&Filter::default()).unwrap(), days);
    }

    #[test]
    fn a_new_catalog_has_the_tables_of_one_that_was_brought_forward() {
        let tables = |conn: &Connection| -> Vec<(String, Option<String>)> {
            let mut statement = conn.prepare("SELECT name, sql FROM sqlite_schema ORDER BY name").unwrap();
            statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?))).unwrap().map(Result::unwrap).collect()
        };
        let (new, brought) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        Catalog::create(new.path(), "id").unwrap();
        old(brought.path());
        Catalog::open(brought.path()).unwrap();
        let [new, brought] = [new, brought].map(|dir| tables(&connect(&dir.path().join(FILE_NAME)).unwrap()));
        assert_eq!(new, brought);
    }

    #[test]
    fn killed_before_its_end_it_leaves_the_old_catalog_whole() {
        let dir = tempfile::tempdir().unwrap();
        let file = old(dir.path());
        let mut conn = connect(&file).unwrap();
        let before = rows_that_decide(&conn);
        // What is not committed reaches the log all the same.
        conn.execute_batch("PRAGMA cache_size = 1; PRAGMA cache_spill = 1").unwrap();
        let transaction = conn.transaction_with_behavior(TransactionBehavior::Immediate).unwrap();
        bring_forward(&transaction, 1).unwrap();
        // The files as they would be after a kill in this instant.
        let after = tempfile::tempdir().unwrap();
        for name in ["catalog.db", "catalog.db-wal"] {
            fs::copy(dir.path().join(name), after.path().join(name)).unwrap();
        }
        assert!(fs::metadata(after.path().join("catalog.db-wal")).unwrap().len() > 0);
        let left = Connection::open(after.path().join(FILE_NAME)).unwrap();
        assert_eq!((layout(&left).unwrap(), rows_that_decide(&left)), (1, before.clone()));
        drop(left);
        Catalog::open(after.path()).unwrap();
        let left = Connection::open(after.path().join(FILE_NAME)).unwrap();
        assert_eq!((layout(&left).unwrap(), rows_that_decide(&left)), (LAYOUT, before));
    }

    #[test]
    fn a_newer_layout_is_left_to_the_newer_program() {
        let dir = tempfile::tempdir().unwrap();
        let file = old(dir.path());
        Connection::open(&file).unwrap().pragma_update(None, "user_version", LAYOUT + 1).unwrap();
        let error = Catalog::open(dir.path()).unwrap_err();
        assert!(error.to_string().ends_with("is of version 3, this program knows 2"), "{error}");
        assert_eq!(error.hint().as_deref(), Some("use the newer program"));
        let conn = Connection::open(&file).unwrap();
        assert!(conn.prepare("SELECT * FROM spell").is_err());
    }
}
