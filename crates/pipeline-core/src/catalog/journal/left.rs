//! What a visit leaves on its device, by name.
//!
//! A few hundred names of each kind at most: they are for a person to look at, and for `explain`. The rest is a number.

use std::collections::BTreeMap;

use rusqlite::{Connection, params};

use crate::catalog::history::LeftKind;
use crate::path::RelPath;

/// Names of each kind that are kept.
const MOST_OF_A_KIND: usize = 200;

/// Files that a visit leaves, and why.
#[derive(Debug, Default)]
pub struct Left {
    /// By path; an empty one is the source itself.
    files: BTreeMap<Vec<u8>, (LeftKind, String)>,
    of_kind: [usize; LeftKind::ALL.len()],
    unlisted: u64,
}

impl Left {
    /// Adds a file, or the source itself. What is said of a file last counts.
    pub fn add(&mut self, path: Option<&RelPath>, kind: LeftKind, reason: &str) {
        let path = path.map_or(&b""[..], RelPath::as_bytes);
        if self.of_kind[kind as usize] == MOST_OF_A_KIND {
            self.unlisted += 1;
            return;
        }
        self.of_kind[kind as usize] += 1;
        if let Some((earlier, _)) = self.files.insert(path.to_vec(), (kind, reason.to_owned())) {
            self.of_kind[earlier as usize] -= 1;
        }
    }

    /// How many more there are than names.
    pub(super) fn unlisted(&self) -> u64 {
        self.unlisted
    }

    /// Writes down what has changed since the last visit. `all`: what is not named here is left no more.
    pub(super) fn note(
        &self,
        conn: &Connection,
        (source, run): (i64, i64),
        all: bool,
        now_ns: i64,
    ) -> rusqlite::Result<()> {
        let mut earlier = BTreeMap::new();
        {
            let sql = "SELECT path, kind, reason FROM outstanding WHERE source = ?1";
            let mut statement = conn.prepare_cached(sql)?;
            let mut rows = statement.query([source])?;
            while let Some(row) = rows.next()? {
                earlier.insert(row.get::<_, Vec<u8>>(0)?, (row.get::<_, String>(1)?, row.get::<_, String>(2)?));
            }
        }
        let mut room = (MOST_OF_A_KIND * LeftKind::ALL.len()).saturating_sub(earlier.len());
        if all {
            for path in earlier.keys().filter(|path| !self.files.contains_key(*path)) {
                let sql = "DELETE FROM outstanding WHERE source = ?1 AND path = ?2";
                conn.prepare_cached(sql)?.execute(params![source, path])?;
                room += 1;
            }
        }
        for (path, (kind, reason)) in &self.files {
            match earlier.get(path) {
                Some((was, why)) if was == kind.word() && why == reason => {}
                Some((was, _)) if was == kind.word() => {
                    let sql = "UPDATE outstanding SET reason = ?3 WHERE source = ?1 AND path = ?2";
                    conn.prepare_cached(sql)?.execute(params![source, path, reason])?;
                }
                // A visit that broke off has not seen which of the earlier ones are gone.
                None if room == 0 => {}
                before => {
                    let sql = "INSERT OR REPLACE INTO outstanding (source, path, kind, reason, first_ns, run)
                               VALUES (?1, ?2, ?3, ?4, ?5, ?6)";
                    conn.prepare_cached(sql)?.execute(params![source, path, kind.word(), reason, now_ns, run])?;
                    room -= usize::from(before.is_none());
                }
            }
        }
        Ok(())
    }
}
