//! Times and stretches of time as people type them. Pure: the clock and the zone are the caller's.
//!
//! In doubt a stretch is the longer one: a date as its end ends with that day, and of an hour that the clocks go through twice, or
//! skip, the beginning is the earlier and the end the later.

use jiff::civil::{Date, DateTime, Time};
use jiff::tz::TimeZone;
use jiff::{Timestamp, ToSpan as _};

use crate::config::duration;
use crate::error::{Class, Classified};

/// A stretch of time, its beginning included and its end not. Open where nothing is said.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Period {
    /// From here on, nanoseconds since 1970.
    pub from_ns: Option<i64>,
    /// Up to here.
    pub until_ns: Option<i64>,
}

/// Why there is no such period.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PeriodError {
    /// It is no time.
    #[error("'{0}' is no time")]
    NotATime(String),
    /// It ends before it begins.
    #[error("'{until}' is not after '{since}'")]
    Backwards {
        /// The beginning, as it was typed.
        since: String,
        /// The end, as it was typed.
        until: String,
    },
}

impl Classified for PeriodError {
    fn class(&self) -> Class {
        Class::Config
    }

    fn hint(&self) -> Option<String> {
        Some("'7d' or '12h' ago, '2026-11-25' (all of that day), '2026-11-25 18:00' (local time), or '2026-11-25T18:00:00Z'".into())
    }
}

impl Period {
    /// Whether it is all of time: nobody has named one.
    pub fn is_unbounded(&self) -> bool {
        self.from_ns.is_none() && self.until_ns.is_none()
    }

    /// Reads `--since` and `--until`: a duration back from now (`7d`, `1h30m`), a time with its offset (RFC 3339), or a local time or
    /// date in `zone`.
    pub fn parse(
        since: Option<&str>,
        until: Option<&str>,
        now: Timestamp,
        zone: &TimeZone,
    ) -> Result<Period, PeriodError> {
        let read = |text: Option<&str>, side| {
            let read = |text: &str| {
                let text = text.trim();
                let time = match duration(text) {
                    Some(ago) => now.checked_sub(ago).ok(),
                    None => moment(text, zone, side),
                };
                // No file was ever received beyond 1677 and 2262: their edges stand for all that lies there.
                let edge = |ns: i128| i64::try_from(ns).unwrap_or(if ns < 0 { i64::MIN } else { i64::MAX });
                time.map(|time| edge(time.as_nanosecond())).ok_or_else(|| PeriodError::NotATime(text.to_owned()))
            };
            text.map(read).transpose()
        };
        let period = Period { from_ns: read(since, Side::Begin)?, until_ns: read(until, Side::End)? };
        match (period.from_ns, period.until_ns, since, until) {
            (Some(from), Some(end), Some(since), Some(until)) if from >= end => {
                Err(PeriodError::Backwards { since: since.to_owned(), until: until.to_owned() })
            }
            _ => Ok(period),
        }
    }

    /// Whether a moment lies in it.
    pub fn holds(&self, at_ns: i64) -> bool {
        self.from_ns.is_none_or(|from| from <= at_ns) && self.until_ns.is_none_or(|until| at_ns < until)
    }

    /// Whether all of time lies in it.
    pub fn is_open(&self) -> bool {
        *self == Period::default()
    }

    /// Its ends, as numbers to compare with.
    pub fn bounds_ns(&self) -> (i64, i64) {
        (self.from_ns.unwrap_or(i64::MIN), self.until_ns.unwrap_or(i64::MAX))
    }
}

/// Which end of a stretch a time is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Side {
    Begin,
    End,
}

/// Reads a time with its offset, or a local time or date in `zone`; none where it is neither.
pub(crate) fn moment(text: &str, zone: &TimeZone, side: Side) -> Option<Timestamp> {
    // A zone by name would be overlooked below.
    if text.contains('[') {
        return None;
    }
    if let Ok(time) = text.parse::<Timestamp>() {
        return Some(time);
    }
    let local = match text.parse::<Date>() {
        // With a time behind it, it is longer.
        Ok(day) if matches!(text.len(), 8 | 10) => {
            let day = if side == Side::End { day.checked_add(1.day()).ok()? } else { day };
            day.to_datetime(Time::midnight())
        }
        _ => text.parse::<DateTime>().ok()?,
    };
    let ambiguous = zone.to_ambiguous_timestamp(local);
    match side {
        Side::Begin => ambiguous.earlier().ok(),
        Side::End => ambiguous.later().ok(),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn parse(since: Option<&str>, until: Option<&str>) -> Result<(Option<String>, Option<String>), String> {
        let now = "2026-11-25T12:00:00Z".parse().unwrap();
        let zone = TimeZone::get("America/New_York").unwrap();
        let time = |ns: i64| Timestamp::from_nanosecond(ns.into()).unwrap().to_string();
        let period = Period::parse(since, until, now, &zone).map_err(|error| error.to_string())?;
        Ok((period.from_ns.map(time), period.until_ns.map(time)))
    }

    #[test]
    fn beginnings_and_ends_as_people_type_them() {
        let table = [
            ("7d", "2026-11-18T12:00:00Z", "2026-11-18T12:00:00Z"),
            ("1h30m", "2026-11-25T10:30:00Z", "2026-11-25T10:30:00Z"),
            ("2026-11-20", "2026-11-20T05:00:00Z", "2026-11-21T05:00:00Z"),
            ("20261120", "2026-11-20T05:00:00Z", "2026-11-21T05:00:00Z"),
            (" 2026-11-20 18:00 ", "2026-11-20T23:00:00Z", "2026-11-20T23:00:00Z"),
            ("2026-11-20T18:00:00+01:00", "2026-11-20T17:00:00Z", "2026-11-20T17:00:00Z"),
            // The clocks go through this hour twice, and skip the other.
            ("2026-11-01 01:30", "2026-11-01T05:30:00Z", "2026-11-01T06:30:00Z"),
            ("2026-03-08 02:30", "2026-03-08T06:30:00Z", "2026-03-08T07:30:00Z"),
        ];
        for (text, since, until) in table {
            assert_eq!(parse(Some(text), None), Ok((Some(since.to_owned()), None)), "{text}");
            assert_eq!(parse(None, Some(text)), Ok((None, Some(until.to_owned()))), "{text}");
        }
        assert_eq!(parse(None, None), Ok((None, None)));
        // One day is a whole one.
        let day = (Some("2026-11-20T05:00:00Z".to_owned()), Some("2026-11-21T05:00:00Z".to_owned()));
        assert_eq!(parse(Some("2026-11-20"), Some("2026-11-20")), Ok(day));
    }

    #[test]
    fn what_lies_beyond_all_files_holds_none_of_them() {
        let now = "2026-11-25T12:00:00Z".parse().unwrap();
        let period = |since, until| Period::parse(since, until, now, &TimeZone::UTC).unwrap();
        let today = i64::try_from(now.as_nanosecond()).unwrap();
        assert!(!period(Some("9999-01-01"), None).holds(today));
        assert!(!period(None, Some("1500-01-01")).holds(today));
        assert!(period(Some("1500-01-01"), Some("9999-01-01")).holds(today));
    }

    #[test]
    fn what_is_no_period() {
        for text in ["", "yesterday", "2026-13-01", "2026-11-20[Europe/London]", "7", "-7d"] {
            assert_eq!(parse(Some(text), None), Err(format!("'{text}' is no time")), "{text}");
        }
        assert_eq!(parse(Some("1d"), Some("2d")), Err("'2d' is not after '1d'".to_owned()));
    }

    #[test]
    fn a_period_is_half_open() {
        let period = Period { from_ns: Some(5), until_ns: Some(7) };
        assert_eq!([4, 5, 6, 7].map(|at| period.holds(at)), [false, true, true, false]);
        assert!(Period::default().is_open() && Period::default().holds(i64::MIN));
    }
}
