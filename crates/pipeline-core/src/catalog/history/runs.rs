//! Runs, one by one.

use std::collections::HashSet;
use std::ops::ControlFlow;

use rusqlite::{OptionalExtension as _, Row, params};

use super::{History, Order, RunEndings, RunRow, RunSums, unsigned, unsigned_or_none};
use crate::catalog::CatalogError;
use crate::config::HostPattern;
use crate::error::Class;
use crate::period::Period;

const COLUMNS: &str =
    "id, started_ns, finished_ns, program, devices, done, offline, failed, received, received_bytes, adopted,
    adopted_bytes, removed, removed_bytes, deferred, versions, clashes, failures, held, on_hold, stopped_by, class, hint";

impl History {
    /// Runs that began in a period, until `each` has had enough.
    pub fn runs(
        &self,
        period: &Period,
        order: Order,
        each: &mut dyn FnMut(RunRow) -> ControlFlow<()>,
    ) -> Result<(), CatalogError> {
        let mut query = || {
            let newest: Option<i64> = self.conn.query_row("SELECT max(id) FROM run", [], |row| row.get(0))?;
            let direction = if order == Order::NewestFirst { "DESC" } else { "ASC" };
            let sql =
                format!("SELECT {COLUMNS} FROM run WHERE started_ns >= ?1 AND started_ns < ?2 ORDER BY id {direction}");
            let (from, until) = period.bounds_ns();
            let mut statement = self.conn.prepare(&sql)?;
            let mut rows = statement.query(params![from, until])?;
            while let Some(row) = rows.next()? {
                if each(run(row, newest)?).is_break() {
                    break;
                }
            }
            Ok(())
        };
        query().map_err(self.failed("listing runs"))
    }

    /// The runs that received files from these devices.
    pub fn runs_of(&self, devices: &[HostPattern]) -> Result<HashSet<i64>, CatalogError> {
        let query = || {
            let mut statement = self.conn.prepare("SELECT DISTINCT run FROM file WHERE source = ?1")?;
            let mut runs = HashSet::new();
            for source in self.chosen(devices) {
                for run in statement.query_map([source.id], |row| row.get(0))? {
                    runs.insert(run?);
                }
            }
            Ok(runs)
        };
        query().map_err(self.failed("looking for the runs of a device"))
    }

    /// The newest run that has ended and wrote down how; one of `pipeline sync` always does.
    pub fn last_run(&self) -> Result<Option<RunRow>, CatalogError> {
        let query = || {
            let sql = format!("SELECT {COLUMNS} FROM run WHERE devices IS NOT NULL ORDER BY id DESC LIMIT 1");
            self.conn.query_row(&sql, [], |row| run(row, None)).optional()
        };
        query().map_err(self.failed("looking up the last run"))
    }

    /// How the runs that began in a period ended, counted: a year has half a million of them.
    pub fn run_endings(&self, period: &Period) -> Result<RunEndings, CatalogError> {
        let query = || {
            let bounds = period.bounds_ns();
            let sql = "SELECT count(*), coalesce(sum(finished_ns IS NULL AND id < (SELECT max(id) FROM run)), 0), max(started_ns)
                       FROM run WHERE started_ns >= ?1 AND started_ns < ?2";
            let mut endings = self.conn.query_row(sql, bounds, |row| {
                let (runs, killed) = (unsigned(row, 0)?, unsigned(row, 1)?);
                Ok(RunEndings { runs, killed, stopped: Vec::new(), last_ns: row.get(2)? })
            })?;
            let sql = "SELECT stopped_by, count(*) FROM run
                       WHERE started_ns >= ?1 AND started_ns < ?2 AND stopped_by IS NOT NULL GROUP BY stopped_by";
            let mut statement = self.conn.prepare(sql)?;
            let rows = statement.query_map(bounds, |row| Ok((row.get(0)?, unsigned(row, 1)?)))?;
            endings.stopped = rows.collect::<Result<_, _>>()?;
            Ok(endings)
        };
        query().map_err(self.failed("counting runs"))
    }
}

fn run(row: &Row<'_>, newest: Option<i64>) -> rusqlite::Result<RunRow> {
    let number = row.get(0)?;
    let finished_ns = row.get(2)?;
    Ok(RunRow {
        run: number,
        started_ns: row.get(1)?,
        finished_ns,
        killed: finished_ns.is_none() && newest != Some(number),
        program: row.get(3)?,
        sums: unsigned_or_none(row, 4)?.map(|devices| sums(row, devices)).transpose()?,
    })
}

fn sums(row: &Row<'_>, devices: u64) -> rusqlite::Result<RunSums> {
    Ok(RunSums {
        devices,
        done: unsigned(row, 5)?,
        offline: unsigned(row, 6)?,
        failed: unsigned(row, 7)?,
        received: unsigned(row, 8)?,
        received_bytes: unsigned(row, 9)?,
        adopted: unsigned(row, 10)?,
        adopted_bytes: unsigned(row, 11)?,
        removed: unsigned(row, 12)?,
        removed_bytes: unsigned(row, 13)?,
        deferred: unsigned(row, 14)?,
        versions: unsigned(row, 15)?,
        clashes: unsigned(row, 16)?,
        failures: unsigned(row, 17)?,
        held: unsigned(row, 18)?,
        on_hold: row.get(19)?,
        stopped_by: row.get(20)?,
        class: row.get::<_, Option<String>>(21)?.and_then(|word| Class::of_word(&word)),
        hint: row.get(22)?,
    })
}
