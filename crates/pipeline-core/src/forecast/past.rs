//! What the catalog knows of a card, or of the storage, that a forecast is made of.

use super::{Forecast, History, RECORDED_DAYS, Received, Sample, TREND_DAYS, forecast};
use crate::catalog::CatalogError;
use crate::catalog::history::{self, CardReading, DAY_NS, DayBytes, Reading, Source, is_past};
use crate::config::DeletePolicy;

/// The readings of these days count: for the trend, and one more day for what waited when the days of recording began.
const SPAN_NS: i64 = (max(RECORDED_DAYS as i64, TREND_DAYS) + 2) * DAY_NS;

const fn max(a: i64, b: i64) -> i64 {
    if a > b { a } else { b }
}

/// The past of a card or of the storage.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Past {
    samples: Vec<Sample>,
    received: Vec<Received>,
    first_day: Option<i32>,
    latest: Option<Reading>,
}

impl Past {
    /// Of a device's card. What a clock that was ahead dated later than now says nothing.
    pub fn of_card(history: &history::History, source: &Source, now_ns: i64) -> Result<Past, CatalogError> {
        let readings = history.recent_card_readings(source, SPAN_NS, now_ns)?;
        let mut samples = thinned(readings.iter().map(card_sample));
        let latest = history.latest_reading(source, now_ns)?;
        // What has come since that reading would count twice: as received, and as waiting. How much of it still waits nobody knows.
        let newest_ns = source.newest_ns.filter(|at_ns| is_past(*at_ns, now_ns));
        let is_stale = latest.as_ref().is_some_and(|latest| newest_ns.is_some_and(|at_ns| at_ns > latest.at_ns));
        if is_stale && let Some(last) = samples.last_mut() {
            last.waiting_bytes = None;
        }
        // Each visit asks for the room, and not each is worth a reading.
        let visited_ns = source.visited_ns.filter(|at_ns| source.total_bytes > 0 && is_past(*at_ns, now_ns));
        let newer = visited_ns.filter(|at_ns| samples.last().is_none_or(|last| last.at_ns < *at_ns));
        samples.extend(newer.map(|at_ns| Sample {
            at_ns,
            total_bytes: source.total_bytes,
            free_bytes: source.free_bytes,
            waiting_bytes: latest.as_ref().filter(|_| !is_stale).and_then(|reading| reading.waiting_bytes),
        }));
        let since_ns = samples.last().map_or(0, |last| last.at_ns.saturating_sub(SPAN_NS));
        let received = received(history.day_bytes(source, since_ns)?, now_ns);
        Ok(Past { samples, received, first_day: history.first_day(Some(source))?, latest })
    }

    /// Of the storage, likewise. How it fills is seen in it alone: what came may have been there already, and others store there too.
    pub fn of_storage(history: &history::History, now_ns: i64) -> Result<Past, CatalogError> {
        let readings = history.recent_storage_readings(SPAN_NS, now_ns)?;
        let sample = |reading: &history::StorageReading| Sample {
            at_ns: reading.at_ns,
            total_bytes: reading.total_bytes,
            free_bytes: reading.free_bytes,
            waiting_bytes: None,
        };
        let samples = thinned(readings.iter().map(sample));
        Ok(Past { samples, ..Past::default() })
    }

    /// Adds how a device is now.
    pub fn add(&mut self, reading: &Reading) {
        self.samples.extend(sample(reading));
    }

    /// Adds how much room the storage has now.
    pub fn add_room(&mut self, now: Sample) {
        self.samples.push(now);
    }

    /// The latest reading of the device.
    pub fn latest(&self) -> Option<&Reading> {
        self.latest.as_ref()
    }

    /// When it brought something for the last time, to the day: the end of that day, or now. None where it brought nothing lately.
    pub fn received_ns(&self, now_ns: i64) -> Option<i64> {
        let last = self.received.iter().rev().find(|received| received.bytes > 0)?;
        Some((i64::from(last.day) + 1).saturating_mul(DAY_NS).min(now_ns))
    }

    /// The latest that is known of its room.
    pub fn room(&self) -> Option<&Sample> {
        self.samples.last()
    }

    /// What is to be expected. Nothing ever leaves the storage; for a card see [`is_drained`].
    pub fn forecast(&self, now_ns: i64, drained: bool) -> Forecast {
        let (samples, received) = (&self.samples[..], &self.received[..]);
        forecast(&History { now_ns, samples, received, first_day: self.first_day, drained })
    }
}

/// Whether files leave a card as they are received: not where it is away, on hold, or they are to stay.
pub fn is_drained(policy: &DeletePolicy, held: bool, reachable: bool) -> bool {
    let leave = policy.after.is_some() || policy.high_water.is_some();
    leave && !held && reachable
}

/// Of readings that lie closer together only the last one counts: `inspect` keeps one in ten minutes.
const THIN_NS: i64 = 50 * 60 * 1_000_000_000;

fn thinned(samples: impl Iterator<Item = Sample>) -> Vec<Sample> {
    let mut thinned: Vec<Sample> = Vec::new();
    for sample in samples {
        if let [.., before, last] = thinned[..]
            && last.at_ns.saturating_sub(before.at_ns) < THIN_NS
        {
            thinned.pop();
        }
        thinned.push(sample);
    }
    thinned
}

fn sample(reading: &Reading) -> Option<Sample> {
    Some(Sample {
        at_ns: reading.at_ns,
        total_bytes: reading.total_bytes.filter(|bytes| *bytes > 0)?,
        free_bytes: reading.free_bytes?,
        waiting_bytes: reading.waiting_bytes,
    })
}

fn card_sample(reading: &CardReading) -> Sample {
    let CardReading { at_ns, total_bytes, free_bytes, waiting_bytes } = *reading;
    Sample { at_ns, total_bytes, free_bytes, waiting_bytes }
}

fn received(days: Vec<DayBytes>, now_ns: i64) -> Vec<Received> {
    let has_begun = |day: &DayBytes| is_past(i64::from(day.day).saturating_mul(DAY_NS), now_ns);
    days.into_iter().filter(has_begun).map(|day| Received { day: day.day, bytes: day.bytes }).collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::time::Duration;

    use super::*;
    use crate::catalog::Catalog;
    use crate::catalog::history::StorageReading;
    use crate::path::DeviceName;

    const GB: u64 = 1_000_000_000;

    #[test]
    fn the_last_days_are_gathered_and_the_last_visit_counts() {
        let dir = tempfile::tempdir().unwrap();
        let catalog = Catalog::create(dir.path(), "storage").unwrap();
        let device = DeviceName::new("pi1").unwrap();
        let reading = |day: i64, free_bytes| Reading {
            at_ns: day * DAY_NS,
            total_bytes: Some(32 * GB),
            free_bytes: Some(free_bytes),
            waiting_bytes: Some(7),
            ..Reading::default()
        };
        // A gigabyte a day, and one reading from long before.
        // The clock was ahead once.
        for (day, free) in [(900, 1), (1000, 20), (1001, 19), (1002, 18), (1040, 2)] {
            catalog.note_reading(&device, b"/data", &reading(day, free * GB)).unwrap();
        }
        catalog.note_reading(&DeviceName::new("pi2").unwrap(), b"/data", &reading(1002, GB)).unwrap();
        for at_ns in [1000, 1001, 1040].map(|day| day * DAY_NS) {
            let free_bytes = (5000 - at_ns.unsigned_abs() / DAY_NS.unsigned_abs()) * GB;
            catalog
                .note_storage(&StorageReading { at_ns, total_bytes: 9000 * GB, free_bytes, ..Default::default() })
                .unwrap();
        }
        let conn = rusqlite::Connection::open(dir.path().join("catalog.db")).unwrap();
        let sql = "INSERT INTO day (source, day, received_bytes, adopted_bytes, added_bytes, first_ns, last_ns) VALUES
                       (1, 700, 1, 0, 1, 0, 0), (1, 1000, 9000, 500, 2500, 0, 0), (1, 1040, 9, 9, 18, 0, 0), (2, 1000, 4, 0, 4, 0, 0);
                   UPDATE source SET visited_ns = 1003 * 86400000000000, total_bytes = 32000000000, free_bytes = 17000000000
                       WHERE device = 'pi1'";
        conn.execute_batch(sql).unwrap();

        let history = catalog.history().unwrap();
        let past = Past::of_card(&history, &history.sources()[0], 1003 * DAY_NS).unwrap();
        let sample = |day: i64, free: u64| Sample {
            at_ns: day * DAY_NS,
            total_bytes: 32 * GB,
            free_bytes: free * GB,
            waiting_bytes: Some(7),
        };
        let expected = Past {
            samples: vec![sample(1000, 20), sample(1001, 19), sample(1002, 18), sample(1003, 17)],
            received: vec![Received { day: 1000, bytes: 2500 }],
            first_day: Some(700),
            latest: Some(reading(1002, 18 * GB)),
        };
        assert_eq!(past, expected);
        let forecast = past.forecast(1003 * DAY_NS, true);
        assert_eq!(forecast.growth_bytes_per_day, Some(1_000_000_000));
        assert_eq!(forecast.full_in, Some(Duration::from_secs(17 * 86_400)));

        // A visit that did not see all has received since: what waited then may be among it.
        conn.execute("UPDATE source SET newest_ns = ?1 WHERE device = 'pi1'", [1002 * DAY_NS + 1]).unwrap();
        let history = catalog.history().unwrap();
        let past = Past::of_card(&history, &history.sources()[0], 1003 * DAY_NS).unwrap();
        let waiting: Vec<_> = past.samples.iter().map(|sample| sample.waiting_bytes).collect();
        assert_eq!(waiting, [Some(7), Some(7), None, None]);

        let storage = Past::of_storage(&history, 1003 * DAY_NS).unwrap();
        assert_eq!(storage.room().map(|room| room.free_bytes), Some(3999 * GB));
        let forecast = storage.forecast(1001 * DAY_NS, false);
        assert_eq!((forecast.growth_bytes_per_day, forecast.full_in), (Some(1_000_000_000), None), "not in sight");
        assert_eq!(forecast.recorded_bytes_per_day, None);
    }

    #[test]
    fn of_readings_of_each_minute_one_an_hour_counts_and_the_last() {
        let minute =
            |minute: i64| Sample { at_ns: minute * 60_000_000_000, total_bytes: 1, free_bytes: 1, waiting_bytes: None };
        let kept: Vec<i64> = thinned((0..200).map(minute)).iter().map(|s| s.at_ns / 60_000_000_000).collect();
        assert_eq!(kept, [0, 50, 100, 150, 199]);
        let hours: Vec<Sample> = (0..5).map(|hour| minute(hour * 60)).collect();
        assert_eq!(thinned(hours.iter().copied()), hours);
    }

    #[test]
    fn files_leave_only_where_nothing_is_in_the_way() {
        let mut policy = DeletePolicy::default();
        assert!(is_drained(&policy, false, true));
        assert!(!is_drained(&policy, true, true) && !is_drained(&policy, false, false));
        policy.after = None;
        assert!(!is_drained(&policy, false, true));
        (policy.high_water, policy.low_water) = (Some(80), Some(60));
        assert!(is_drained(&policy, false, true));
    }
}
