//! How devices and storage were: days, readings.

use rusqlite::types::Value;
use rusqlite::{Row, params};

use super::{DAY_NS, Day, DayReading, Filter, History, Reading, Source, StorageReading, unsigned, unsigned_or_none};
use crate::catalog::CatalogError;
use crate::period::Period;

/// What a look learns of a device and a visit does not, of the columns of a reading.
macro_rules! learnt_by_a_look {
    () => {
        "temperature_mdeg, throttled, uptime_s, load_milli, memory_total_bytes, memory_available_bytes, read_only, sd_errors, agent"
    };
}

/// Every column of a reading, in the order of [`reading`] and [`reading_values`].
pub(in crate::catalog) const READING_COLUMNS: &str = concat!(
    "at_ns, total_bytes, free_bytes, total_files, free_files, data_bytes, data_files, waiting_bytes, waiting_files,
    kept_bytes, kept_files, oldest_waiting_ns, clock_offset_ns, ",
    learnt_by_a_look!()
);

/// In SQL: whether a reading says nothing that only a look learns.
pub(in crate::catalog) const LEARNT_BY_A_VISIT: &str = concat!("coalesce(", learnt_by_a_look!(), ") IS NULL");

impl History {
    /// Sums by day, by device and time: of each day that the period touches.
    pub fn days(&self, filter: &Filter) -> Result<Vec<Day>, CatalogError> {
        let query = || {
            let sql = "SELECT day, reached, offline, failed, received, received_bytes, adopted, adopted_bytes, removed,
                           removed_bytes, versions, clashes, deferred, failures, first_ns, last_ns FROM day
                       WHERE source = ?1 AND day >= ?2 AND day <= ?3 ORDER BY day";
            let (from, until) = filter.period.bounds_ns();
            let bounds = (from.div_euclid(DAY_NS), until.saturating_sub(1).div_euclid(DAY_NS));
            self.of_each(filter, sql, bounds, day)
        };
        query().map_err(self.failed("listing days"))
    }

    /// Each reading, by device and time.
    pub fn readings(&self, filter: &Filter, each: &mut dyn FnMut(&Source, Reading)) -> Result<(), CatalogError> {
        let mut query = || {
            let sql = format!(
                "SELECT {READING_COLUMNS} FROM reading WHERE source = ?1 AND at_ns >= ?2 AND at_ns < ?3 ORDER BY at_ns"
            );
            let (from, until) = filter.period.bounds_ns();
            let mut statement = self.conn.prepare(&sql)?;
            for source in self.chosen(&filter.devices) {
                let mut rows = statement.query(params![source.id, from, until])?;
                while let Some(row) = rows.next()? {
                    each(source, reading(row)?);
                }
            }
            Ok(())
        };
        query().map_err(self.failed("reading how devices were"))
    }

    /// Readings of the card summed up by day, by device and time: a year of a fleet in a moment.
    pub fn readings_by_day(&self, filter: &Filter) -> Result<Vec<DayReading>, CatalogError> {
        let query = || {
            let sql = "SELECT at_ns, total_bytes, free_bytes, waiting_bytes, temperature_mdeg FROM reading
                       WHERE source = ?1 AND at_ns >= ?2 AND at_ns < ?3 AND total_bytes > 0 AND free_bytes IS NOT NULL
                       ORDER BY at_ns";
            let (from, until) = filter.period.bounds_ns();
            let mut statement = self.conn.prepare(sql)?;
            let mut days: Vec<DayReading> = Vec::new();
            for source in self.chosen(&filter.devices) {
                let mut rows = statement.query(params![source.id, from, until])?;
                while let Some(row) = rows.next()? {
                    add_to_day(&mut days, source, row)?;
                }
            }
            Ok(days)
        };
        query().map_err(self.failed("reading how devices were"))
    }

    /// The storage's room, by time.
    pub fn storage_readings(&self, period: &Period) -> Result<Vec<StorageReading>, CatalogError> {
        let query = || {
            let sql = "SELECT at_ns, total_bytes, free_bytes, total_files, free_files FROM storage_reading
                       WHERE at_ns >= ?1 AND at_ns < ?2 ORDER BY at_ns";
            let (from, until) = period.bounds_ns();
            let mut statement = self.conn.prepare(sql)?;
            let rows = statement.query_map(params![from, until], |row| {
                Ok(StorageReading {
                    at_ns: row.get(0)?,
                    total_bytes: unsigned(row, 1)?,
                    free_bytes: unsigned(row, 2)?,
                    total_files: unsigned(row, 3)?,
                    free_files: unsigned(row, 4)?,
                })
            })?;
            rows.collect::<Result<Vec<_>, _>>()
        };
        query().map_err(self.failed("reading how the storage was"))
    }

    fn of_each<T>(
        &self,
        filter: &Filter,
        sql: &str,
        (from, until): (i64, i64),
        of: fn(&Row<'_>, &Source) -> rusqlite::Result<T>,
    ) -> rusqlite::Result<Vec<T>> {
        let mut statement = self.conn.prepare(sql)?;
        let mut all = Vec::new();
        for source in self.chosen(&filter.devices) {
            let mut rows = statement.query(params![source.id, from, until])?;
            while let Some(row) = rows.next()? {
                all.push(of(row, source)?);
            }
        }
        Ok(all)
    }
}

fn day(row: &Row<'_>, source: &Source) -> rusqlite::Result<Day> {
    Ok(Day {
        source: source.id,
        device: source.device.clone(),
        day: row.get(0)?,
        reached: unsigned(row, 1)?,
        offline: unsigned(row, 2)?,
        failed: unsigned(row, 3)?,
        received: unsigned(row, 4)?,
        received_bytes: unsigned(row, 5)?,
        adopted: unsigned(row, 6)?,
        adopted_bytes: unsigned(row, 7)?,
        removed: unsigned(row, 8)?,
        removed_bytes: unsigned(row, 9)?,
        versions: unsigned(row, 10)?,
        clashes: unsigned(row, 11)?,
        deferred: unsigned(row, 12)?,
        failures: unsigned(row, 13)?,
        first_ns: row.get(14)?,
        last_ns: row.get(15)?,
    })
}

pub(super) fn reading(row: &Row<'_>) -> rusqlite::Result<Reading> {
    let number = |at| unsigned_or_none(row, at);
    Ok(Reading {
        at_ns: row.get(0)?,
        total_bytes: number(1)?,
        free_bytes: number(2)?,
        total_files: number(3)?,
        free_files: number(4)?,
        data_bytes: number(5)?,
        data_files: number(6)?,
        waiting_bytes: number(7)?,
        waiting_files: number(8)?,
        kept_bytes: number(9)?,
        kept_files: number(10)?,
        oldest_waiting_ns: row.get(11)?,
        clock_offset_ns: row.get(12)?,
        temperature_mdeg: row.get(13)?,
        throttled: number(14)?,
        uptime_s: number(15)?,
        load_milli: number(16)?,
        memory_total_bytes: number(17)?,
        memory_available_bytes: number(18)?,
        read_only: row.get(19)?,
        sd_errors: number(20)?,
        agent: row.get(21)?,
    })
}

/// The values of [`READING_COLUMNS`].
pub(in crate::catalog) fn reading_values(reading: &Reading) -> [Value; 22] {
    let number = |number: Option<u64>| Value::from(number.map(u64::cast_signed));
    [
        reading.at_ns.into(),
        number(reading.total_bytes),
        number(reading.free_bytes),
        number(reading.total_files),
        number(reading.free_files),
        number(reading.data_bytes),
        number(reading.data_files),
        number(reading.waiting_bytes),
        number(reading.waiting_files),
        number(reading.kept_bytes),
        number(reading.kept_files),
        reading.oldest_waiting_ns.into(),
        reading.clock_offset_ns.into(),
        reading.temperature_mdeg.into(),
        number(reading.throttled),
        number(reading.uptime_s),
        number(reading.load_milli),
        number(reading.memory_total_bytes),
        number(reading.memory_available_bytes),
        reading.read_only.into(),
        number(reading.sd_errors),
        reading.agent.clone().into(),
    ]
}

/// Whether a reading says anything that only a look learns.
pub(in crate::catalog) fn is_of_a_look(reading: &Reading) -> bool {
    let learnt = learnt_by_a_look!().split(',').count();
    reading_values(reading).iter().rev().take(learnt).any(|value| *value != Value::Null)
}

fn add_to_day(days: &mut Vec<DayReading>, source: &Source, row: &Row<'_>) -> rusqlite::Result<()> {
    let at_ns: i64 = row.get(0)?;
    // Days since 1970 fit for as long as nanoseconds do.
    let day = i32::try_from(at_ns.div_euclid(DAY_NS)).unwrap_or_default();
    let (total_bytes, free_bytes) = (unsigned(row, 1)?, unsigned(row, 2)?);
    let (waiting, mdeg) = (unsigned_or_none(row, 3)?, row.get::<_, Option<i64>>(4)?);
    match days.last_mut().filter(|last| last.source == source.id && last.day == day) {
        Some(last) => {
            last.readings += 1;
            (last.at_ns, last.total_bytes, last.free_bytes) = (at_ns, total_bytes, free_bytes);
            last.least_free_bytes = last.least_free_bytes.min(free_bytes);
            last.most_free_bytes = last.most_free_bytes.max(free_bytes);
            last.most_waiting_bytes = last.most_waiting_bytes.max(waiting);
            last.highest_mdeg = last.highest_mdeg.max(mdeg);
        }
        None => days.push(DayReading {
            source: source.id,
            device: source.device.clone(),
            day,
            readings: 1,
            at_ns,
            total_bytes,
            free_bytes,
            least_free_bytes: free_bytes,
            most_free_bytes: free_bytes,
            most_waiting_bytes: waiting,
            highest_mdeg: mdeg,
        }),
    }
    Ok(())
}
