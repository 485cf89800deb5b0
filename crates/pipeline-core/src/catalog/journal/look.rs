//! Readings of looks, which a timer may make each minute: of each ten minutes one is kept for two days, and of each hour one from then on.
//!
//! Guarantees that the tables of readings grow with the hours, not with the looks, and that a look takes back nothing of a visit but
//! what says less than itself.

use rusqlite::{Connection, params};

use crate::catalog::history::{DAY_NS, LEARNT_BY_A_VISIT, Reading, is_of_a_look};

const MINUTE_NS: i64 = 60 * 1_000_000_000;
const HOUR_NS: i64 = 60 * MINUTE_NS;
/// Of the looks in such a stretch of the clock the last is kept.
const WINDOW_NS: i64 = 10 * MINUTE_NS;
/// What is older is thinned out to one an hour.
const DENSE_NS: i64 = 2 * DAY_NS;
/// How far back it is looked for what is to be thinned out, before that: what was dense when looks paused is found again in this time.
const BEFORE_NS: i64 = 30 * DAY_NS;

/// Rows of one device, whose source is the first parameter.
const OF_DEVICE: &str = "reading WHERE source = ?1";
/// Rows of the storage: without a first parameter.
const OF_STORAGE: &str = "storage_reading WHERE ?1 IS NULL";

/// Makes room for the reading of a look at a device.
pub(super) fn make_room(conn: &Connection, source: i64, reading: &Reading) -> rusqlite::Result<()> {
    // A look that learns nothing of its health reads what a visit does.
    let visits_stay = format!("AND (waiting_files IS NULL OR NOT ({LEARNT_BY_A_VISIT}))");
    let visits_stay = if is_of_a_look(reading) { visits_stay.as_str() } else { "" };
    replace(conn, (OF_DEVICE, visits_stay), Some(source), reading.at_ns)
}

/// The same of the storage.
pub(super) fn make_room_of_storage(conn: &Connection, at_ns: i64) -> rusqlite::Result<()> {
    replace(conn, (OF_STORAGE, ""), None, at_ns)
}

fn replace(conn: &Connection, (rows, only): (&str, &str), source: Option<i64>, at_ns: i64) -> rusqlite::Result<()> {
    let latest = format!("SELECT max(at_ns) FROM {rows}");
    let latest: Option<i64> = conn.prepare_cached(&latest)?.query_row([source], |row| row.get(0))?;
    let window_ns = at_ns - at_ns.rem_euclid(WINDOW_NS);
    let delete = format!("DELETE FROM {rows} AND at_ns >= ?2 AND at_ns < ?3 {only}");
    let replaced = conn.prepare_cached(&delete)?.execute(params![source, window_ns, window_ns + WINDOW_NS])?;
    // Once for each window is enough.
    if replaced > 0 {
        return Ok(());
    }
    let end_ns = at_ns.saturating_sub(DENSE_NS);
    let end_ns = end_ns - end_ns.rem_euclid(HOUR_NS);
    let from_ns = latest.map_or(end_ns, |latest| latest.saturating_sub(DENSE_NS).min(end_ns)).saturating_sub(BEFORE_NS);
    let from_ns = from_ns - from_ns.rem_euclid(HOUR_NS);
    let thin = format!(
        "DELETE FROM {rows} AND at_ns >= ?2 AND at_ns < ?3 AND at_ns NOT IN
             (SELECT max(at_ns) FROM {rows} AND at_ns >= ?2 AND at_ns < ?3 GROUP BY at_ns / {HOUR_NS})"
    );
    conn.prepare_cached(&thin)?.execute(params![source, from_ns, end_ns]).map(drop)
}
