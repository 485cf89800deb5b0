//! Spells: consecutive visits that ended in the same way.
//!
//! A visit makes a row only where something has changed. Reasons are the same if they differ in numbers alone, and on a day with
//! [`MOST_A_DAY`] changes the last but one takes up the rest, and counts what it does not tell: the newest is always how it is now.

use rusqlite::{Connection, OptionalExtension as _, params};

use super::DaySums;
use crate::catalog::history::{DAY_NS, LONGEST_PAUSE_NS, State};
use crate::error::Class;
use crate::event::Outcome;

/// Changes of a source that are told for one day. A device that comes and goes each minute would fill the disk otherwise.
pub(super) const MOST_A_DAY: i64 = 100;

/// How one visit ended.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ended<'a> {
    state: State,
    class: Option<Class>,
    reason: Option<&'a str>,
    hint: Option<&'a str>,
    whole: bool,
}

impl<'a> Ended<'a> {
    /// None where a stop ended it, which says nothing of the device. `whole`: whether it came to its end, and tried each removal that was due.
    pub(super) fn of(outcome: &'a Outcome, whole: bool) -> Option<Ended<'a>> {
        let with = |state, class, reason: &'a str, hint: &'a Option<String>, whole| {
            Some(Ended { state, class: Some(class), reason: Some(reason), hint: hint.as_deref(), whole })
        };
        match outcome {
            Outcome::Done => Some(Ended { state: State::Reached, class: None, reason: None, hint: None, whole }),
            Outcome::Offline { reason, hint } => with(State::Offline, Class::Unreachable, reason, hint, false),
            Outcome::Failed { class, reason, hint } => with(State::Failed, *class, reason, hint, whole),
            Outcome::Stopped => None,
        }
    }

    /// Counts the visit: in its day, and in the newest spell of its source, or in a new one.
    pub(super) fn count(&self, conn: &Connection, source: i64, now_ns: i64) -> rusqlite::Result<()> {
        let visits = |state| u64::from(self.state == state);
        let sums = DaySums {
            reached: visits(State::Reached),
            offline: visits(State::Offline),
            failed: visits(State::Failed),
            ..DaySums::default()
        };
        sums.add(conn, source, now_ns)?;
        self.note(conn, source, now_ns)
    }

    /// Adds the visit to the newest spell of its source, or begins one.
    pub(super) fn note(&self, conn: &Connection, source: i64, now_ns: i64) -> rusqlite::Result<()> {
        let Some(newest) = Newest::of(conn, source)? else { return self.begin(conn, source, now_ns) };
        // So far in the time to come it was written by a clock that was ahead: nobody knows when it was.
        let goes_on = now_ns.abs_diff(newest.last_ns) <= LONGEST_PAUSE_NS.cast_unsigned();
        if goes_on && newest.is_like(self) {
            return self.extend(conn, &newest, now_ns);
        }
        let sql = "SELECT count(*) FROM spell WHERE source = ?1 AND began_ns >= ?2";
        let midnight_ns = now_ns.div_euclid(DAY_NS) * DAY_NS;
        let today: i64 = conn.prepare_cached(sql)?.query_row([source, midnight_ns], |row| row.get(0))?;
        if today >= MOST_A_DAY {
            newest.give_way(conn, source)?;
        }
        self.begin(conn, source, now_ns)
    }

    fn begin(&self, conn: &Connection, source: i64, now_ns: i64) -> rusqlite::Result<()> {
        let sql = "INSERT INTO spell (source, state, class, reason, hint, began_ns, last_ns, visits, whole)
                   VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?6, 1, ?7)";
        let class = self.class.map(Class::word);
        let values = params![source, self.state.word(), class, self.reason, self.hint, now_ns, self.whole];
        conn.prepare_cached(sql)?.execute(values).map(drop)
    }

    fn extend(&self, conn: &Connection, newest: &Newest, now_ns: i64) -> rusqlite::Result<()> {
        // Our own clock may have been set back a little.
        let sql = "UPDATE spell SET last_ns = max(last_ns, ?2), visits = visits + 1 WHERE id = ?1";
        conn.prepare_cached(sql)?.execute(params![newest.id, now_ns])?;
        if newest.reason.as_deref() != self.reason {
            let sql = "UPDATE spell SET class = ?2, reason = ?3, hint = ?4 WHERE id = ?1";
            let class = self.class.map(Class::word);
            conn.prepare_cached(sql)?.execute(params![newest.id, class, self.reason, self.hint])?;
        }
        Ok(())
    }
}

/// The newest spell of a source.
struct Newest {
    id: i64,
    state: String,
    class: Option<String>,
    reason: Option<String>,
    last_ns: i64,
    whole: bool,
}

impl Newest {
    fn of(conn: &Connection, source: i64) -> rusqlite::Result<Option<Newest>> {
        let sql =
            "SELECT id, state, class, reason, last_ns, whole FROM spell WHERE source = ?1 ORDER BY id DESC LIMIT 1";
        let newest = |row: &rusqlite::Row<'_>| {
            Ok(Newest {
                id: row.get(0)?,
                state: row.get(1)?,
                class: row.get(2)?,
                reason: row.get(3)?,
                last_ns: row.get(4)?,
                whole: row.get(5)?,
            })
        };
        conn.prepare_cached(sql)?.query_row([source], newest).optional()
    }

    /// Goes into the spell before it, which is of the same day.
    fn give_way(&self, conn: &Connection, source: i64) -> rusqlite::Result<()> {
        let sql =
            "UPDATE spell SET last_ns = max(spell.last_ns, newest.last_ns), visits = spell.visits + newest.visits,
                       others = spell.others + iif(newest.state = spell.state, newest.others, newest.visits)
                   FROM (SELECT * FROM spell WHERE id = ?1) AS newest
                   WHERE spell.id = (SELECT max(id) FROM spell WHERE source = ?2 AND id < ?1)";
        conn.prepare_cached(sql)?.execute([self.id, source])?;
        conn.prepare_cached("DELETE FROM spell WHERE id = ?1")?.execute([self.id]).map(drop)
    }

    fn is_like(&self, ended: &Ended<'_>) -> bool {
        self.state == ended.state.word()
            && self.whole == ended.whole
            && self.class.as_deref() == ended.class.map(Class::word)
            && self.reason.as_deref().map(shape) == ended.reason.map(shape)
    }
}

/// A text with each number in it as one sign.
fn shape(text: &str) -> String {
    let mut shape = String::with_capacity(text.len());
    for c in text.chars() {
        if !c.is_ascii_digit() {
            shape.push(c);
        } else if !shape.ends_with('0') {
            shape.push('0');
        }
    }
    shape
}

#[cfg(test)]
mod tests {
    use super::shape;

    #[test]
    fn numbers_make_no_other_reason() {
        assert_eq!(shape("3 files could not be handled"), shape("120 files could not be handled"));
        assert_eq!(shape("port 5031: 10.5 s"), "port 0: 0.0 s");
        assert_ne!(shape("no answer"), shape("no tunnel"));
    }
}
