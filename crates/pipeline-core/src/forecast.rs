//! When a card, or the storage, will be full: rates from what was read of it, and the time that is left.
//!
//! Pure, and without a clock of its own; [`Past`] gathers what it needs from the catalog. A card's use goes up with what is recorded
//! and down with what is removed, so that it looks like a saw; two rates are told apart:
//!
//! - *Recorded*: what the device records each day; the storage has no such rate. All that came new of it in the last [`RECORDED_DAYS`] days and what waits on it
//!   now, less what waited on it when these days began where that was read, divided by how long these days are. The day of the first
//!   visit is left out, because what a device brings then was recorded before. An average, not a median: what is brought late, all at
//!   once, was recorded on the days before.
//! - *Trend*: how its use moves from day to day, teeth and all. Of the readings of the last [`TREND_DAYS`] days, counted back from the
//!   latest, each day's use is averaged, which takes a day's teeth away; the trend is the median of the slopes between all pairs of
//!   these days (Theil and Sen), so that one odd day does not count. Where there is but one day, it is the same of its readings, if they
//!   span [`MIN_SPAN_NS`]. Readings before a card was replaced by one of another size, from the future, or out of order do not count.
//!
//! While files leave the device as they are received, its card fills by the trend. While nothing leaves (it is away, on hold, or
//! nothing is to be removed), it fills by what is recorded, or by the trend if that is more. Of a device that is away, what it has
//! recorded since the last reading is taken off what was free then.
//!
//! Limits: a rate is that of the last days; nobody knows of the next. A card that was replaced by one of the same size looks like one
//! that was emptied. What takes more than [`HORIZON`] is not in sight.

mod past;
#[cfg(test)]
mod tests;

use std::time::Duration;

pub use past::{Past, is_drained};

/// Days of what was received that a rate is taken from: two weeks, so that a weekend counts as often as it comes.
pub const RECORDED_DAYS: i32 = 14;
/// Days of readings that a trend is taken from.
pub const TREND_DAYS: i64 = 7;
/// Readings that lie closer together than this in all tell of one tooth of the saw, not of its trend.
pub const MIN_SPAN_NS: i64 = 6 * HOUR_NS;
/// Beyond it nothing is said.
pub const HORIZON: Duration = Duration::from_secs(3 * 365 * 86_400);

const HOUR_NS: i64 = 3_600_000_000_000;
const DAY_NS: i64 = 24 * HOUR_NS;
/// More readings of one day than these are thinned out evenly: pairs grow with the square.
const MAX_SAMPLES: usize = 100;
/// A day of recording, at the least, before a rate per day is said.
const MIN_RECORDED_NS: i64 = DAY_NS;
/// A file system may say a little more or less of its size; a card is another one beyond this part of it.
const SAME_SIZE_PART: u64 = 100;

/// One reading of a card or of the storage.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sample {
    /// When, in nanoseconds since 1970.
    pub at_ns: i64,
    /// Its size.
    pub total_bytes: u64,
    /// Free.
    pub free_bytes: u64,
    /// What waited there to be received, where that was read.
    pub waiting_bytes: Option<u64>,
}

/// What was received in one day.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Received {
    /// Days since 1970, UTC.
    pub day: i32,
    /// Bytes that came new that day: of a file that has grown, what was added.
    pub bytes: u64,
}

/// What is known.
#[derive(Clone, Copy, Debug)]
pub struct History<'a> {
    /// Now, in nanoseconds since 1970.
    pub now_ns: i64,
    /// Readings, oldest first; the last one is the latest that there is.
    pub samples: &'a [Sample],
    /// What was received, oldest first. Days without anything may be left out.
    pub received: &'a [Received],
    /// The day of the first visit, in days since 1970; none where there was none.
    pub first_day: Option<i32>,
    /// Whether files leave it as they are received.
    pub drained: bool,
}

/// What is to be expected.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Forecast {
    /// By how much it fills each day; negative where it empties.
    pub growth_bytes_per_day: Option<i64>,
    /// What is recorded each day.
    pub recorded_bytes_per_day: Option<u64>,
    /// When it is full; zero where it is already. None where that is not in sight, or not known.
    pub full_in: Option<Duration>,
}

/// What is to be expected, from what is known.
pub fn forecast(history: &History<'_>) -> Forecast {
    let samples = of_this_card(history);
    let recorded = recorded(history, samples.first());
    let trend = trend(&samples);
    let recorded_growth = recorded.map(|bytes| i64::try_from(bytes).unwrap_or(i64::MAX));
    let growth = if history.drained { trend } else { trend.max(recorded_growth) };
    let full_in = samples.first().and_then(|last| full_in(history.now_ns, last, growth.unwrap_or(0)));
    Forecast { growth_bytes_per_day: growth, recorded_bytes_per_day: recorded, full_in }
}

/// The readings that count, latest first.
fn of_this_card(history: &History<'_>) -> Vec<Sample> {
    let mut counted: Vec<Sample> = Vec::new();
    for sample in history.samples.iter().rev().filter(|sample| sample.at_ns <= history.now_ns && sample.total_bytes > 0)
    {
        if let (Some(latest), Some(later)) = (counted.first(), counted.last()) {
            if sample.total_bytes.abs_diff(latest.total_bytes) > latest.total_bytes / SAME_SIZE_PART {
                break;
            }
            if sample.at_ns >= later.at_ns {
                continue;
            }
        }
        counted.push(*sample);
    }
    counted
}

/// What is recorded each day, up to the latest reading: nobody has heard anything since.
fn recorded(history: &History<'_>, latest: Option<&Sample>) -> Option<u64> {
    let end_ns = latest.map_or(history.now_ns, |latest| latest.at_ns);
    let last_day = i32::try_from(end_ns.div_euclid(DAY_NS)).ok()?;
    let first_day = (last_day - RECORDED_DAYS + 1).max(history.first_day?.saturating_add(1));
    let begin_ns = i64::from(first_day).checked_mul(DAY_NS)?;
    let span_ns = end_ns.saturating_sub(begin_ns);
    if span_ns < MIN_RECORDED_NS {
        return None;
    }
    let days = first_day..=last_day;
    let received: u128 = history.received.iter().filter(|r| days.contains(&r.day)).map(|r| u128::from(r.bytes)).sum();
    let waited = |sample: &Sample| sample.waiting_bytes.map(u128::from);
    let waits = latest.and_then(waited).unwrap_or(0);
    let just_before = (begin_ns - DAY_NS)..=begin_ns;
    let waited = history.samples.iter().rev().filter(|s| just_before.contains(&s.at_ns)).find_map(waited).unwrap_or(0);
    let bytes = (received + waits).saturating_sub(waited);
    u64::try_from(bytes * DAY_NS.unsigned_abs() as u128 / span_ns.unsigned_abs() as u128).ok()
}

/// A moment, and how much is in use.
type Point = (i128, i128);

/// By how much the use moves each day. `samples` are latest first.
fn trend(samples: &[Sample]) -> Option<i64> {
    let latest = samples.first()?;
    let mut days: Vec<Vec<Point>> = Vec::new();
    for sample in samples {
        let age = (latest.at_ns - sample.at_ns) / DAY_NS;
        if age >= TREND_DAYS {
            break;
        }
        let used = i128::from(sample.total_bytes) - i128::from(sample.free_bytes);
        let day = usize::try_from(age).unwrap_or(0);
        days.resize_with(days.len().max(day + 1), Vec::new);
        days[day].push((i128::from(sample.at_ns), used));
    }
    days.retain(|day| !day.is_empty());
    if let [day] = &days[..] {
        let step = day.len().div_ceil(MAX_SAMPLES);
        let span_ns = day.first()?.0 - day.last()?.0;
        let thinned: Vec<Point> = day.iter().step_by(step).copied().collect();
        return if span_ns < i128::from(MIN_SPAN_NS) { None } else { median_slope(&thinned) };
    }
    let mean = |day: &Vec<Point>| {
        let count = i128::try_from(day.len()).unwrap_or(1);
        (day.iter().map(|point| point.0).sum::<i128>() / count, day.iter().map(|point| point.1).sum::<i128>() / count)
    };
    median_slope(&days.iter().map(mean).collect::<Vec<_>>())
}

/// The median of the slopes between all pairs, per day. The moments differ.
fn median_slope(points: &[Point]) -> Option<i64> {
    let mut slopes = Vec::new();
    for (at, (t1, used1)) in points.iter().enumerate() {
        let pairs = points[at + 1..].iter().filter(|(t2, _)| t1 != t2);
        slopes.extend(pairs.map(|(t2, used2)| (used1 - used2) * i128::from(DAY_NS) / (t1 - t2)));
    }
    slopes.sort_unstable();
    let middle = slopes.len() / 2;
    let upper = *slopes.get(middle)?;
    let median = if slopes.len() % 2 == 1 { upper } else { (slopes[middle - 1] + upper) / 2 };
    i64::try_from(median).ok()
}

/// How long until it is full, with what has been added since the latest reading.
fn full_in(now_ns: i64, latest: &Sample, growth: i64) -> Option<Duration> {
    let (day, growth) = (i128::from(DAY_NS), i128::from(growth.max(0)));
    let since_ns = i128::from(now_ns) - i128::from(latest.at_ns);
    let free = i128::from(latest.free_bytes) - growth * since_ns / day;
    if free <= 0 {
        return Some(Duration::ZERO);
    }
    if growth == 0 {
        return None;
    }
    let seconds = u64::try_from(free * (day / 1_000_000_000) / growth).ok()?;
    Some(Duration::from_secs(seconds)).filter(|span| *span <= HORIZON)
}
