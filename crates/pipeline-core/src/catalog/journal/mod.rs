//! What is written down for whoever looks back: how visits and runs ended, how devices and storage were.
//!
//! Guarantees that none of it ever licenses anything, that nothing grows by a row for each visit, and that a visit costs one
//! transaction for all of it, at its end. Leaves to others: to read it ([`super::history`]).

mod day;
mod left;
mod look;
mod spell;
#[cfg(test)]
mod tests;

use rusqlite::{Connection, OptionalExtension as _, TransactionBehavior, params, params_from_iter};

pub(super) use day::DaySums;
pub use left::Left;
use spell::Ended;

use super::history::{LEARNT_BY_A_VISIT, READING_COLUMNS, Reading, StorageReading, reading_values};
use super::{Catalog, CatalogError, Visit, connect};
use crate::clock::now_ns;
use crate::entry::Vitals;
use crate::error::Class;
use crate::event::{Counts, Outcome, RunReport};
use crate::path::DeviceName;

/// Of the readings of visits, and of the storage, one is kept in this time: one for each minute would be half a million rows a year and
/// device.
const BETWEEN_READINGS_NS: i64 = 3_600 * 1_000_000_000;

/// What a visit leaves behind.
#[derive(Debug)]
pub struct VisitEnd<'a> {
    /// When it ended.
    pub ended_ns: i64,
    /// How it ended. A part of a visit that went well says nothing: none; nor does one whose end
    /// [is not known yet](Catalog::note_outcome).
    pub outcome: Option<&'a Outcome>,
    /// Whether it came to its end, and tried each removal that was due: what failed, if anything did, are single files.
    pub whole: bool,
    /// How the device was, and its clock minus ours; none where it did not answer.
    pub vitals: Option<(&'a Vitals, Option<i64>)>,
    /// Whether all was done that was to be done.
    pub succeeded: bool,
    /// What was done.
    pub counts: &'a Counts,
    /// How the device was when it ended, if that is known.
    pub reading: Option<&'a Reading>,
    /// What was left there.
    pub left: &'a Left,
    /// Whether that is all that is left there.
    pub left_all: bool,
}

impl Visit {
    /// Writes down how the visit went, all of it or nothing, synced. Ends a list of tasks that was begun.
    pub fn note_end(&mut self, end: &VisitEnd<'_>) -> Result<(), CatalogError> {
        let (source, run) = (self.source, self.run);
        let mut note = || {
            // A scan that broke off has left its list of tasks open, and nobody needs it any more.
            if !self.conn.is_autocommit() {
                self.conn.execute_batch("ROLLBACK")?;
            }
            let transaction = self.conn.transaction_with_behavior(TransactionBehavior::Immediate)?;
            let now_ns = end.ended_ns;
            end.note_source(&transaction, source, now_ns)?;
            let sums = DaySums {
                versions: end.counts.versions,
                clashes: end.counts.clashes,
                deferred: end.counts.deferred,
                failures: end.counts.failed,
                ..DaySums::default()
            };
            sums.add(&transaction, source, now_ns)?;
            if let Some(ended) = end.outcome.and_then(|outcome| Ended::of(outcome, end.whole)) {
                ended.count(&transaction, source, now_ns)?;
            }
            // Of a device that was not reached, the last that was seen still holds.
            if end.vitals.is_some() {
                end.left.note(&transaction, (source, run), end.left_all, now_ns)?;
            }
            if let Some(reading) = end.reading {
                take_back(&transaction, source, reading.at_ns)?;
                add_reading(&transaction, source, reading)?;
            }
            transaction.commit()
        };
        note().map_err(|e| super::sqlite(&self.file, "noting a visit", e))
    }
}

impl VisitEnd<'_> {
    fn note_source(&self, conn: &Connection, source: i64, now_ns: i64) -> rusqlite::Result<()> {
        if let Some((vitals, offset_ns)) = self.vitals {
            let sql = "UPDATE source SET visited_ns = ?2, clock_offset_ns = ?3, total_bytes = ?4, free_bytes = ?5,
                           unreachable = 0, unlisted = ?6, succeeded_ns = iif(?7, ?2, succeeded_ns) WHERE id = ?1";
            let (total, free) = (vitals.total_bytes.cast_signed(), vitals.free_bytes.cast_signed());
            let unlisted = self.left.unlisted().cast_signed();
            conn.prepare_cached(sql)?.execute(params![
                source,
                now_ns,
                offset_ns,
                total,
                free,
                unlisted,
                self.succeeded
            ])?;
        } else if let Some(Outcome::Offline { .. }) = self.outcome {
            conn.prepare_cached("UPDATE source SET unreachable = 1 WHERE id = ?1")?.execute([source])?;
        }
        Ok(())
    }
}

impl Catalog {
    /// Notes that a run has ended, what it did, and how much room the storage has; of the latter one in an hour is kept.
    pub fn finish_run(&self, report: &RunReport, storage: Option<&StorageReading>) -> Result<(), CatalogError> {
        let mut conn = connect(&self.file)?;
        let mut finish = || {
            let transaction = conn.transaction_with_behavior(TransactionBehavior::Immediate)?;
            end_run(&transaction, report)?;
            if let Some(reading) = storage {
                let sql = "SELECT EXISTS (SELECT 1 FROM storage_reading WHERE at_ns > ?1 AND at_ns <= ?2)";
                let bounds = [reading.at_ns - BETWEEN_READINGS_NS, reading.at_ns];
                if !transaction.query_row(sql, bounds, |row| row.get::<_, bool>(0))? {
                    add_storage(&transaction, reading)?;
                }
            }
            transaction.commit()
        };
        finish().map_err(|e| self.sqlite("noting the end of the run", e))
    }

    /// Writes down how a visit ended of which that was left open: what came of it was decided with the rest of the run. It came to
    /// its end, since only such a visit waits for that; `whole` says whether each removal that was due was tried or decided about.
    pub fn note_outcome(
        &self,
        device: &DeviceName,
        source: &[u8],
        outcome: &Outcome,
        whole: bool,
        now_ns: i64,
    ) -> Result<(), CatalogError> {
        let Some(ended) = Ended::of(outcome, whole) else { return Ok(()) };
        let mut conn = connect(&self.file)?;
        let mut note = || {
            let transaction = conn.transaction_with_behavior(TransactionBehavior::Immediate)?;
            let sql = "SELECT id FROM source WHERE device = ?1 AND path = ?2";
            let known = transaction.query_row(sql, params![device.as_str(), source], |row| row.get(0)).optional()?;
            if let Some(id) = known {
                ended.count(&transaction, id, now_ns)?;
            }
            transaction.commit()
        };
        note().map_err(|e| self.sqlite("noting how a visit ended", e))
    }

    /// Writes down how a device is by a look, in place of what an earlier look of the same ten minutes has read. A source that no visit
    /// has been to is new.
    pub fn note_reading(&self, device: &DeviceName, source: &[u8], reading: &Reading) -> Result<(), CatalogError> {
        let mut conn = connect(&self.file)?;
        let mut note = || {
            let transaction = conn.transaction_with_behavior(TransactionBehavior::Immediate)?;
            let key = params![device.as_str(), source];
            let sql = "SELECT id FROM source WHERE device = ?1 AND path = ?2";
            let known = transaction.query_row(sql, key, |row| row.get(0)).optional()?;
            let id = match known {
                Some(id) => id,
                None => {
                    transaction.execute("INSERT INTO source (device, path) VALUES (?1, ?2)", key)?;
                    transaction.last_insert_rowid()
                }
            };
            look::make_room(&transaction, id, reading)?;
            add_reading(&transaction, id, reading)?;
            transaction.commit()
        };
        note().map_err(|e| self.sqlite("noting how a device is", e))
    }

    /// Writes down how much room the storage has by a look, alike.
    pub fn note_storage(&self, reading: &StorageReading) -> Result<(), CatalogError> {
        let mut conn = connect(&self.file)?;
        let mut note = || {
            let transaction = conn.transaction_with_behavior(TransactionBehavior::Immediate)?;
            look::make_room_of_storage(&transaction, reading.at_ns)?;
            add_storage(&transaction, reading)?;
            transaction.commit()
        };
        note().map_err(|e| self.sqlite("noting the storage's room", e))
    }
}

fn end_run(conn: &Connection, report: &RunReport) -> rusqlite::Result<()> {
    let number = |of: fn(&Outcome) -> bool| report.devices.iter().filter(|device| of(&device.outcome)).count() as u64;
    let counts = &report.counts;
    let stop = report.stopped_by.as_ref();
    let sql = "UPDATE run SET finished_ns = ?2, devices = ?3, done = ?4, offline = ?5, failed = ?6, received = ?7,
                   received_bytes = ?8, adopted = ?9, adopted_bytes = ?10, removed = ?11, removed_bytes = ?12, deferred = ?13,
                   versions = ?14, clashes = ?15, failures = ?16, held = ?17, on_hold = ?18, stopped_by = ?19, class = ?20,
                   hint = ?21
               WHERE id = ?1";
    conn.execute(
        sql,
        params![
            report.run,
            now_ns(),
            (report.devices.len() as u64).cast_signed(),
            number(|outcome| *outcome == Outcome::Done).cast_signed(),
            number(|outcome| matches!(outcome, Outcome::Offline { .. })).cast_signed(),
            number(|outcome| matches!(outcome, Outcome::Failed { .. })).cast_signed(),
            counts.received.cast_signed(),
            counts.received_bytes.cast_signed(),
            counts.adopted.cast_signed(),
            counts.adopted_bytes.cast_signed(),
            counts.removed.cast_signed(),
            counts.removed_bytes.cast_signed(),
            counts.deferred.cast_signed(),
            counts.versions.cast_signed(),
            counts.clashes.cast_signed(),
            counts.failed.cast_signed(),
            counts.held.cast_signed(),
            report.hold.is_some(),
            stop.map(|stop| &stop.reason),
            stop.map(|stop| Class::word(stop.class)),
            stop.and_then(|stop| stop.hint.as_ref()),
        ],
    )
    .map(drop)
}

/// Takes back what an earlier visit of the same hour (UTC) has read: the later one knows what is left by now. What `inspect` reads has
/// more in it, and stays.
fn take_back(conn: &Connection, source: i64, at_ns: i64) -> rusqlite::Result<()> {
    let sql =
        format!("DELETE FROM reading WHERE source = ?1 AND at_ns >= ?2 AND at_ns < ?2 + ?3 AND {LEARNT_BY_A_VISIT}");
    let hour_ns = at_ns - at_ns.rem_euclid(BETWEEN_READINGS_NS);
    conn.prepare_cached(&sql)?.execute([source, hour_ns, BETWEEN_READINGS_NS]).map(drop)
}

fn add_reading(conn: &Connection, source: i64, reading: &Reading) -> rusqlite::Result<()> {
    let values = reading_values(reading);
    let places: Vec<String> = (2..values.len() + 2).map(|n| format!("?{n}")).collect();
    let sql = format!("INSERT OR REPLACE INTO reading (source, {READING_COLUMNS}) VALUES (?1, {})", places.join(", "));
    let all = std::iter::once(source.into()).chain(values);
    conn.prepare_cached(&sql)?.execute(params_from_iter(all)).map(drop)
}

fn add_storage(conn: &Connection, reading: &StorageReading) -> rusqlite::Result<()> {
    let StorageReading { at_ns, total_bytes, free_bytes, total_files, free_files } = *reading;
    let [total, free, files, free_files] = [total_bytes, free_bytes, total_files, free_files].map(u64::cast_signed);
    let sql = "INSERT OR REPLACE INTO storage_reading (at_ns, total_bytes, free_bytes, total_files, free_files)
               VALUES (?1, ?2, ?3, ?4, ?5)";
    conn.execute(sql, params![at_ns, total, free, files, free_files]).map(drop)
}
