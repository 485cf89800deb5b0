//! The last days of a source or of the storage, and the sums of all its days.

use rusqlite::{OptionalExtension as _, params};

use super::health::{READING_COLUMNS, reading};
use super::{DAY_NS, History, Reading, Source, StorageReading, unsigned, unsigned_or_none};
use crate::catalog::CatalogError;
use crate::period::Period;

/// Sums of all days of a source. They only ever grow, but for a catalog that was lost.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// The source's row.
    pub source: i64,
    /// Files received.
    pub received: u64,
    /// Their bytes.
    pub received_bytes: u64,
    /// Files removed from the device.
    pub removed: u64,
    /// Their bytes.
    pub removed_bytes: u64,
    /// Contents that got a second name.
    pub versions: u64,
    /// Files stored beside what has their place.
    pub clashes: u64,
}

/// What a day brought.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DayBytes {
    /// Days since 1970.
    pub day: i32,
    /// Bytes received, or found in the storage, that day.
    pub bytes: u64,
}

/// What a reading says of a card: as much of it as a forecast is made of, of which many are read at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CardReading {
    /// When, in nanoseconds since 1970.
    pub at_ns: i64,
    /// The card's size.
    pub total_bytes: u64,
    /// Free.
    pub free_bytes: u64,
    /// What waited to be received, where that was read.
    pub waiting_bytes: Option<u64>,
}

impl History {
    /// Sums of all days, source by source. One without a day is left out.
    pub fn totals(&self) -> Result<Vec<Totals>, CatalogError> {
        let query = || {
            let sql =
                "SELECT source, sum(received), sum(received_bytes), sum(removed), sum(removed_bytes), sum(versions),
                           sum(clashes) FROM day GROUP BY source";
            let mut statement = self.conn.prepare(sql)?;
            let rows = statement.query_map([], |row| {
                Ok(Totals {
                    source: row.get(0)?,
                    received: unsigned(row, 1)?,
                    received_bytes: unsigned(row, 2)?,
                    removed: unsigned(row, 3)?,
                    removed_bytes: unsigned(row, 4)?,
                    versions: unsigned(row, 5)?,
                    clashes: unsigned(row, 6)?,
                })
            })?;
            rows.collect::<Result<Vec<_>, _>>()
        };
        query().map_err(self.failed("summing up days"))
    }

    /// The latest reading of a source up to `until_ns`.
    pub fn latest_reading(&self, source: &Source, until_ns: i64) -> Result<Option<Reading>, CatalogError> {
        let query = || {
            let sql = format!(
                "SELECT {READING_COLUMNS} FROM reading WHERE source = ?1 AND at_ns <= ?2 ORDER BY at_ns DESC LIMIT 1"
            );
            self.conn.prepare_cached(&sql)?.query_row([source.id, until_ns], reading).optional()
        };
        query().map_err(self.failed("reading how a device was"))
    }

    /// What was read of a source's card in the time before its latest reading, that one included; oldest first. Readings that say
    /// nothing of the card, and those from after `until_ns`, are left out.
    pub fn recent_card_readings(
        &self,
        source: &Source,
        span_ns: i64,
        until_ns: i64,
    ) -> Result<Vec<CardReading>, CatalogError> {
        let query = || {
            let sql = "SELECT at_ns, total_bytes, free_bytes, waiting_bytes FROM reading
                       WHERE source = ?1 AND at_ns <= ?3
                       AND at_ns >= (SELECT max(at_ns) FROM reading WHERE source = ?1 AND at_ns <= ?3) - ?2
                       AND total_bytes > 0 AND free_bytes IS NOT NULL ORDER BY at_ns";
            let mut statement = self.conn.prepare_cached(sql)?;
            let rows = statement.query_map(params![source.id, span_ns, until_ns], |row| {
                Ok(CardReading {
                    at_ns: row.get(0)?,
                    total_bytes: unsigned(row, 1)?,
                    free_bytes: unsigned(row, 2)?,
                    waiting_bytes: unsigned_or_none(row, 3)?,
                })
            })?;
            rows.collect::<Result<Vec<_>, _>>()
        };
        query().map_err(self.failed("reading how a device was"))
    }

    /// The same of the storage.
    pub fn recent_storage_readings(&self, span_ns: i64, until_ns: i64) -> Result<Vec<StorageReading>, CatalogError> {
        let sql = "SELECT max(at_ns) FROM storage_reading WHERE at_ns <= ?1";
        let latest = || self.conn.query_row(sql, [until_ns], |row| row.get(0));
        let latest: Option<i64> = latest().map_err(self.failed("reading how the storage was"))?;
        let from_ns = latest.map(|latest| latest.saturating_sub(span_ns));
        self.storage_readings(&Period { from_ns, until_ns: Some(until_ns.saturating_add(1)) })
    }

    /// What each day brought of a source that was new, from `since_ns` on, oldest first.
    pub fn day_bytes(&self, source: &Source, since_ns: i64) -> Result<Vec<DayBytes>, CatalogError> {
        let query = || {
            let sql = "SELECT day, added_bytes FROM day WHERE source = ?1 AND day >= ?2 ORDER BY day";
            let mut statement = self.conn.prepare_cached(sql)?;
            let since = since_ns.div_euclid(DAY_NS);
            let rows = statement.query_map(params![source.id, since], |row| {
                Ok(DayBytes { day: row.get(0)?, bytes: unsigned(row, 1)? })
            })?;
            rows.collect::<Result<Vec<_>, _>>()
        };
        query().map_err(self.failed("listing days"))
    }

    /// The first day on which a device answered, in days since 1970: of a source, or of all where none is named.
    pub fn first_day(&self, source: Option<&Source>) -> Result<Option<i32>, CatalogError> {
        let sql = "SELECT min((SELECT day FROM day WHERE day.source = source.id
                           AND (reached > 0 OR received_bytes + adopted_bytes > 0) ORDER BY day LIMIT 1))
                   FROM source WHERE ?1 IS NULL OR source.id = ?1";
        let query = || self.conn.prepare_cached(sql)?.query_row([source.map(|source| source.id)], |row| row.get(0));
        query().map_err(self.failed("listing days"))
    }

    /// When a source was first tried, whether it answered or not.
    pub fn first_try_ns(&self, source: &Source) -> Result<Option<i64>, CatalogError> {
        let sql = "SELECT first_ns FROM day WHERE source = ?1 ORDER BY day LIMIT 1";
        let query = || self.conn.prepare_cached(sql)?.query_row([source.id], |row| row.get(0)).optional();
        query().map_err(self.failed("listing days"))
    }
}
