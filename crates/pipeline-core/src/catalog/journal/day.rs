//! Sums by day. What was received or removed is added in the transaction that writes it down, so that no kill makes the two differ.

use rusqlite::{Connection, params};

use crate::catalog::history::DAY_NS;

/// What is added to the sums of a day.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in crate::catalog) struct DaySums {
    pub(in crate::catalog) reached: u64,
    pub(in crate::catalog) offline: u64,
    pub(in crate::catalog) failed: u64,
    pub(in crate::catalog) received: u64,
    pub(in crate::catalog) received_bytes: u64,
    pub(in crate::catalog) adopted: u64,
    pub(in crate::catalog) adopted_bytes: u64,
    /// Of what was received or adopted, what had not come from the same file before.
    pub(in crate::catalog) added_bytes: u64,
    pub(in crate::catalog) removed: u64,
    pub(in crate::catalog) removed_bytes: u64,
    pub(in crate::catalog) versions: u64,
    pub(in crate::catalog) clashes: u64,
    /// Of one visit: the day keeps the most.
    pub(in crate::catalog) deferred: u64,
    /// Of one visit: the day keeps the most.
    pub(in crate::catalog) failures: u64,
}

impl DaySums {
    /// Adds them to the day of `now_ns` (UTC).
    pub(in crate::catalog) fn add(&self, conn: &Connection, source: i64, now_ns: i64) -> rusqlite::Result<()> {
        if *self == DaySums::default() {
            return Ok(());
        }
        let sql =
            "INSERT INTO day (source, day, first_ns, last_ns, reached, offline, failed, received, received_bytes, adopted,
                 adopted_bytes, removed, removed_bytes, versions, clashes, deferred, failures, added_bytes)
             VALUES (?1, ?2, ?3, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17)
             ON CONFLICT DO UPDATE SET first_ns = min(first_ns, ?3), last_ns = max(last_ns, ?3),
                 reached = reached + ?4, offline = offline + ?5, failed = failed + ?6,
                 received = received + ?7, received_bytes = received_bytes + ?8,
                 adopted = adopted + ?9, adopted_bytes = adopted_bytes + ?10,
                 removed = removed + ?11, removed_bytes = removed_bytes + ?12,
                 versions = versions + ?13, clashes = clashes + ?14,
                 deferred = max(deferred, ?15), failures = max(failures, ?16),
                 added_bytes = added_bytes + ?17";
        conn.prepare_cached(sql)?
            .execute(params![
                source,
                now_ns.div_euclid(DAY_NS),
                now_ns,
                self.reached.cast_signed(),
                self.offline.cast_signed(),
                self.failed.cast_signed(),
                self.received.cast_signed(),
                self.received_bytes.cast_signed(),
                self.adopted.cast_signed(),
                self.adopted_bytes.cast_signed(),
                self.removed.cast_signed(),
                self.removed_bytes.cast_signed(),
                self.versions.cast_signed(),
                self.clashes.cast_signed(),
                self.deferred.cast_signed(),
                self.failures.cast_signed(),
                self.added_bytes.cast_signed(),
            ])
            .map(drop)
    }
}
