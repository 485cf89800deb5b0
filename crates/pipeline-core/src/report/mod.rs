//! The fleet and its past, as a report shows them: from the catalog and the hold alone, so that no device is asked and no storage
//! is touched.
//!
//! Guarantees: all numbers are of one moment, whatever runs meanwhile; nothing is written, and nobody waits for it; what is not
//! known is said to be unknown; it takes under a second for a year of fifty devices, because no file is looked at, only the
//! sums that visits leave. Leaves to others: words and pictures.

mod device;
mod facts;
mod failures;
mod model;
mod outages;
#[cfg(test)]
mod tests;

pub use crate::catalog::history::End;
pub use model::{Amount, DayState, Device, Failure, Outage, Report, Runs, Space, State, Sums, UseDay};

use std::borrow::Cow;

use crate::catalog::CatalogError;
use crate::catalog::history::{DAY_NS, Day, History, StorageReading};
use crate::config::Config;
use crate::error::{Class, Classified};
use crate::fleet;
use crate::forecast::Past;
use crate::hold;
use crate::inspect::last_run;
use crate::period::Period;
use facts::{Facts, Window};

/// More would not be read.
pub const MAX_OUTAGES: usize = 100;

/// More would not be read.
pub const MAX_FAILURES: usize = 50;

/// What a report covers if nobody says otherwise.
pub const DEFAULT_DAYS: i32 = 365;

/// Fewer make no picture.
const FEWEST_DAYS: i32 = 7;

/// What keeps a report from being made.
#[derive(Debug, thiserror::Error)]
pub enum ReportError {
    /// There is no catalog, or it can't be read.
    #[error(transparent)]
    Catalog(#[from] CatalogError),
    /// What is yet to come.
    #[error("that time is yet to come")]
    NotYet,
}

impl Classified for ReportError {
    fn class(&self) -> Class {
        match self {
            ReportError::Catalog(error) => error.class(),
            ReportError::NotYet => Class::Config,
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            ReportError::Catalog(error) => error.hint(),
            ReportError::NotYet => Some("a report looks back: `--since 30d`, or a date that has been".into()),
        }
    }
}

/// What there is to say, at the moment `at_ns`, of `fleet` and of the time since `since_ns`; without that, of the last
/// [`DEFAULT_DAYS`], or what the catalog has of them.
///
/// Devices that the catalog knows and `fleet` does not were taken out of the configuration: they count for sums, and come last. Where nobody
/// can tell what the fleet is, it is [what is remembered of it](fleet::remembered).
pub fn report(
    config: &Config,
    fleet: Option<&[fleet::Device]>,
    since_ns: Option<i64>,
    at_ns: i64,
) -> Result<Report, ReportError> {
    if since_ns.is_some_and(|since| since > at_ns) {
        return Err(ReportError::NotYet);
    }
    let history = History::open(&config.state_dir)?;
    let remembered = || fleet::remembered(config, history.sources().iter().map(|source| &source.device)).into();
    let fleet: Cow<'_, [fleet::Device]> = fleet.map_or_else(remembered, Cow::Borrowed);
    let window = window(&history, since_ns, at_ns)?;
    let mut known = facts::gather(&history, &window)?;
    let hold = hold::read(&config.state_dir);
    let (days, archived) = fleet_sums(known.values().flat_map(|facts| &facts.days), &window);
    let (storage, runs) = (storage(&history, &window)?, runs(&history, &window)?);

    let in_fleet = fleet.iter().map(|device| {
        let facts = known.remove(device.name.as_str()).unwrap_or_default();
        (device.name.as_str().to_owned(), Some(&device.settings), facts)
    });
    let mut all: Vec<_> = in_fleet.collect();
    let retired = known.into_iter().filter(|(_, facts)| facts.days.iter().any(|day| window.holds(day.day)));
    all.extend(retired.map(|(name, facts)| (name, None, facts)));

    let is_lasting =
        |settings: &Option<&_>, facts: &Facts, at: usize| settings.is_some() && at + 1 == facts.spells.len();
    let spells = all.iter().flat_map(|(_, settings, facts)| {
        facts.spells.iter().enumerate().map(move |(at, spell)| (spell, is_lasting(settings, facts, at)))
    });
    let mut failures = failures::failures(spells);
    let mut outages: Vec<Outage> =
        all.iter().flat_map(|(_, _, facts)| outages::outages(&facts.spells, &window)).collect();
    outages.sort_by(|a, b| b.lasted.cmp(&a.lasted).then_with(|| b.began_ns.cmp(&a.began_ns)));
    let (more_outages, more_failures) =
        (outages.len().saturating_sub(MAX_OUTAGES), failures.len().saturating_sub(MAX_FAILURES));
    outages.truncate(MAX_OUTAGES);
    failures.truncate(MAX_FAILURES);

    let troubles = all.iter().filter(|(_, settings, _)| settings.is_some()).map(|(_, _, facts)| facts.trouble.as_ref());
    let concerns = history.last_run()?.and_then(|run| last_run(&run, troubles, at_ns)).into_iter().collect();
    let held = hold.is_held();
    let mut devices: Vec<Device> =
        all.iter().map(|(name, settings, facts)| device::device(name, *settings, facts, &window, held)).collect();
    devices.sort_by_key(device::urgency);
    Ok(Report {
        at_ns,
        first_day: window.first_day,
        last_day: window.last_day,
        root: config.storage.clone(),
        hold,
        devices,
        days,
        archived,
        storage,
        outages,
        more_outages,
        failures,
        more_failures,
        runs,
        concerns,
    })
}

/// The days that are shown.
fn window(history: &History, since_ns: Option<i64>, at_ns: i64) -> Result<Window, CatalogError> {
    let day = |ns: i64| i32::try_from(ns.div_euclid(DAY_NS)).unwrap_or(i32::MAX);
    let last_day = day(at_ns);
    let first_day = match since_ns {
        Some(since_ns) => day(since_ns).min(last_day),
        None => {
            let earliest = history.first_day(None)?.unwrap_or(last_day);
            earliest.clamp(last_day - DEFAULT_DAYS + 1, last_day - FEWEST_DAYS + 1)
        }
    };
    Ok(Window { first_day, last_day, at_ns })
}

/// The fleet's sums for each day of the window, and all that was received, ever.
fn fleet_sums<'a>(all: impl Iterator<Item = &'a Day>, window: &Window) -> (Vec<Sums>, Amount) {
    let mut archived = Amount::default();
    let mut days = vec![Sums::default(); window.len()];
    for day in all {
        let sums = device::sums(day);
        archived += sums.received;
        archived += sums.adopted;
        if window.holds(day.day)
            && let Ok(at) = usize::try_from(day.day - window.first_day)
        {
            days[at] += sums;
        }
    }
    (days, archived)
}

fn storage(history: &History, window: &Window) -> Result<Space, CatalogError> {
    let until_ns = Some(window.at_ns.saturating_add(1));
    let readings = history.storage_readings(&Period { from_ns: Some(window.begin_ns()), until_ns })?;
    let day_of = |reading: &StorageReading| i32::try_from(reading.at_ns.div_euclid(DAY_NS)).unwrap_or(i32::MAX);
    let used = |reading: &StorageReading| reading.total_bytes.saturating_sub(reading.free_bytes);
    let days = readings.chunk_by(|a, b| day_of(a) == day_of(b)).map(|day| UseDay {
        day: day_of(&day[0]),
        total_bytes: day[day.len() - 1].total_bytes,
        lowest_bytes: day.iter().map(used).min().unwrap_or(0),
        highest_bytes: day.iter().map(used).max().unwrap_or(0),
    });
    let past = Past::of_storage(history, window.at_ns)?;
    // Nothing ever leaves it.
    let forecast = past.forecast(window.at_ns, false);
    let room = past.room();
    Ok(Space {
        at_ns: room.map(|room| room.at_ns),
        total_bytes: room.map(|room| room.total_bytes),
        free_bytes: room.map(|room| room.free_bytes),
        days: days.collect(),
        growth_bytes_per_day: forecast.growth_bytes_per_day,
        full_in: forecast.full_in,
    })
}

fn runs(history: &History, window: &Window) -> Result<Runs, CatalogError> {
    let endings = history.run_endings(&Period { from_ns: Some(window.begin_ns()), until_ns: None })?;
    let mut stopped = endings.stopped;
    stopped.sort_by(|a, b| b.1.cmp(&a.1).then_with(|| a.0.cmp(&b.0)));
    Ok(Runs { total: endings.runs, killed: endings.killed, stopped, last_ns: endings.last_ns })
}
