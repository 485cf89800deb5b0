//! How visits ended, stretch by stretch.
//!
//! Guarantees one order: the spells of a source do not overlap, and one that was written later is later. A clock of the collector that
//! was ahead once wrote down moments that other visits have come to since: what was written later is right about them.

use std::collections::BTreeMap;

use rusqlite::{OptionalExtension as _, Row};

use super::{Filter, History, Source, Spell, State, unknown_word, unsigned};
use crate::catalog::CatalogError;
use crate::error::Class;

const COLUMNS: &str = "state, class, reason, hint, began_ns, last_ns, visits, others, whole";

impl History {
    /// How visits ended, stretch by stretch: those that reach into the period, by device and time.
    pub fn spells(&self, filter: &Filter) -> Result<Vec<Spell>, CatalogError> {
        let query = || {
            let sql = format!("SELECT {COLUMNS} FROM spell WHERE source = ?1 ORDER BY id");
            let mut statement = self.conn.prepare(&sql)?;
            let mut all = Vec::new();
            for source in self.chosen(&filter.devices) {
                let written = statement.query_map([source.id], |row| spell(row, source))?;
                // Whether one is right can be said only beside those that were written after it, of whatever time they are.
                all.extend(in_order(written.collect::<Result<Vec<_>, _>>()?));
            }
            let (from, until) = filter.period.bounds_ns();
            all.retain(|spell| spell.began_ns < until && spell.last_ns >= from);
            Ok(all)
        };
        query().map_err(self.failed("listing visits"))
    }

    /// The newest stretch of visits to a source: the one that was written last.
    pub fn last_spell(&self, source: &Source) -> Result<Option<Spell>, CatalogError> {
        let query = || {
            let sql = format!("SELECT {COLUMNS} FROM spell WHERE source = ?1 ORDER BY id DESC LIMIT 1");
            self.conn.prepare_cached(&sql)?.query_row([source.id], |row| spell(row, source)).optional()
        };
        query().map_err(self.failed("looking up visits"))
    }

    /// What keeps a source from being done as far as visits can tell; none where it is well, or nobody knows.
    ///
    /// What [stands](Class::stands) does so until a visit has come past it: that the device is away, or that a connection broke, says
    /// nothing of it, and a visit whose removals were on hold or not asked for says nothing of damaged contents and of the brake. Anything
    /// else is a trouble as long as it is how the last visit failed.
    pub fn trouble(&self, source: &Source) -> Result<Option<Spell>, CatalogError> {
        let query = || {
            let sql = format!("SELECT {COLUMNS} FROM spell WHERE source = ?1 ORDER BY id DESC");
            let mut statement = self.conn.prepare_cached(&sql)?;
            let (mut is_newest, mut reached, mut latest) = (true, false, None);
            let mut rows = statement.query([source.id])?;
            while let Some(row) = rows.next()? {
                let spell = spell(row, source)?;
                let is_newest = std::mem::replace(&mut is_newest, false);
                let passed = match spell.class {
                    // Nobody looked: they are met where something is to be removed.
                    Some(Class::Integrity | Class::Brake) => false,
                    // Whoever has answered since has shown the right key.
                    Some(Class::HostKey) => reached || source.visited_ns > Some(spell.last_ns),
                    _ => reached,
                };
                match spell.state {
                    State::Reached if spell.whole => break,
                    State::Reached => reached = true,
                    State::Failed if spell.class.is_some_and(Class::stands) => {
                        if !passed {
                            return Ok(Some(spell));
                        }
                    }
                    // It has come past whatever was before.
                    State::Failed if spell.whole && !is_newest => break,
                    State::Failed if spell.whole => return Ok(Some(spell)),
                    State::Failed if is_newest => latest = Some(spell),
                    State::Failed | State::Offline => {}
                }
            }
            Ok(latest)
        };
        query().map_err(self.failed("looking up what keeps a device from being done"))
    }
}

/// The spells of a source as they were written, by time and without overlaps. One ends where a later one begins, and one that begins
/// within a later one is left out.
fn in_order(written: Vec<Spell>) -> Vec<Spell> {
    let mut right: BTreeMap<i64, Spell> = BTreeMap::new();
    for spell in written {
        let began_ns = spell.began_ns;
        let wrong: Vec<i64> =
            right.range(began_ns..=spell.last_ns.max(began_ns)).map(|(&began_ns, _)| began_ns).collect();
        for began_ns in wrong {
            right.remove(&began_ns);
        }
        if let Some((_, before)) = right.range_mut(..began_ns).next_back() {
            before.last_ns = before.last_ns.min(began_ns);
        }
        right.insert(began_ns, spell);
    }
    right.into_values().collect()
}

fn spell(row: &Row<'_>, source: &Source) -> rusqlite::Result<Spell> {
    Ok(Spell {
        source: source.id,
        device: source.device.clone(),
        state: State::of_word(row.get_ref(0)?.as_str()?).ok_or_else(|| unknown_word(0))?,
        class: row.get::<_, Option<String>>(1)?.and_then(|word| Class::of_word(&word)),
        reason: row.get(2)?,
        hint: row.get(3)?,
        began_ns: row.get(4)?,
        last_ns: row.get(5)?,
        visits: unsigned(row, 6)?,
        others: unsigned(row, 7)?,
        whole: row.get(8)?,
    })
}
