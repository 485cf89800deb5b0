//! `--until`: when a hold is to end by itself, as people write it. Pure.

use jiff::Timestamp;
use jiff::tz::TimeZone;

use crate::config::duration;
use crate::error::{Class, Classified};
use crate::period::{Side, moment};

/// Why there is no such end.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum UntilError {
    /// It is no time.
    #[error("'{0}' is no time")]
    NotATime(String),
    /// It would be over at once.
    #[error("'{text}' is over: it is {now} now")]
    Past {
        /// What was asked for.
        text: String,
        /// Our clock, in the zone of who asked.
        now: String,
    },
}

impl Classified for UntilError {
    fn class(&self) -> Class {
        Class::Config
    }

    fn hint(&self) -> Option<String> {
        Some("'3d' or '12h' from now, '2026-11-25' (its end), '2026-11-25 18:00' (local time), or '2026-11-25T18:00:00Z'".into())
    }
}

/// Reads a duration from now (`3d`, `1h30m`), a time with its offset (RFC 3339), or a local time or date in `zone`.
///
/// In doubt the later: a date ends with its day, and of an hour that the clocks go through twice, or skip, it is the later.
pub fn parse_until(text: &str, now: Timestamp, zone: &TimeZone) -> Result<Timestamp, UntilError> {
    let text = text.trim();
    let until = read(text, now, zone).ok_or_else(|| UntilError::NotATime(text.to_owned()))?;
    if until <= now {
        let now = now.to_zoned(zone.clone()).strftime("%Y-%m-%d %H:%M:%S %Z").to_string();
        return Err(UntilError::Past { text: text.to_owned(), now });
    }
    Ok(until)
}

fn read(text: &str, now: Timestamp, zone: &TimeZone) -> Option<Timestamp> {
    match duration(text) {
        Some(duration) => now.checked_add(duration).ok(),
        None => moment(text, zone, Side::End),
    }
}
