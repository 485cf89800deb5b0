//! What the catalog holds of each device, gathered.

use std::collections::BTreeMap;

use super::UseDay;
use crate::catalog::CatalogError;
use crate::catalog::history::{DAY_NS, Day, DayReading, Filter, History, Source, Spell};
use crate::forecast::Past;
use crate::period::Period;

/// The days that a report covers: both ends included, and the moment it is made.
#[derive(Clone, Copy, Debug)]
pub struct Window {
    pub first_day: i32,
    pub last_day: i32,
    pub at_ns: i64,
}

impl Window {
    pub fn begin_ns(&self) -> i64 {
        i64::from(self.first_day) * DAY_NS
    }

    pub fn holds(&self, day: i32) -> bool {
        (self.first_day..=self.last_day).contains(&day)
    }

    /// How many days.
    pub fn len(&self) -> usize {
        usize::try_from(self.last_day - self.first_day).map_or(0, |days| days + 1)
    }

    fn filter(&self) -> Filter {
        let period = Period { from_ns: Some(self.begin_ns()), until_ns: Some(self.at_ns.saturating_add(1)) };
        Filter { period, ..Filter::default() }
    }
}

/// One device. A directory that it had before another counts as the same.
#[derive(Clone, Debug, Default)]
pub struct Facts {
    /// Its directories.
    pub sources: Vec<Source>,
    /// How its visits ended, in the order of time: those that reach into the window, and the newest.
    pub spells: Vec<Spell>,
    /// What keeps its visits from getting their work done.
    pub trouble: Option<Spell>,
    /// Its sums by day, of all time.
    pub days: Vec<Day>,
    /// How its card was used, in the window.
    pub uses: Vec<UseDay>,
    /// What a forecast is made of, and its newest reading.
    pub past: Past,
}

impl Facts {
    /// The directory that was visited last.
    pub fn newest_source(&self) -> Option<&Source> {
        self.sources.iter().max_by_key(|source| source.visited_ns)
    }

    /// When it last answered.
    pub fn visited_ns(&self) -> Option<i64> {
        self.newest_source()?.visited_ns
    }
}

/// Everything by device.
pub fn gather(history: &History, window: &Window) -> Result<BTreeMap<String, Facts>, CatalogError> {
    let mut devices: BTreeMap<String, Facts> = BTreeMap::new();
    for source in history.sources() {
        devices.entry(source.device.as_str().to_owned()).or_default().sources.push(source.as_of(window.at_ns));
    }
    let mut add = |device: &str, add: &mut dyn FnMut(&mut Facts)| {
        if let Some(facts) = devices.get_mut(device) {
            add(facts);
        }
    };
    for spell in history.spells(&window.filter())? {
        add(spell.device.as_str(), &mut |facts| facts.spells.push(spell.clone()));
    }
    for day in history.days(&Filter::default())? {
        add(day.device.as_str(), &mut |facts| facts.days.push(day.clone()));
    }
    for reading in history.readings_by_day(&window.filter())? {
        add(reading.device.as_str(), &mut |facts| facts.uses.push(use_day(&reading)));
    }
    for facts in devices.values_mut() {
        facts.spells.sort_by_key(|spell| spell.began_ns);
        facts.days.sort_by_key(|day| day.day);
        facts.uses.sort_by_key(|day| day.day);
        if let Some(source) = facts.newest_source() {
            (facts.past, facts.trouble) = (Past::of_card(history, source, window.at_ns)?, history.trouble(source)?);
        }
    }
    Ok(devices)
}

fn use_day(reading: &DayReading) -> UseDay {
    UseDay {
        day: reading.day,
        total_bytes: reading.total_bytes,
        lowest_bytes: reading.total_bytes.saturating_sub(reading.most_free_bytes),
        highest_bytes: reading.total_bytes.saturating_sub(reading.least_free_bytes),
    }
}
