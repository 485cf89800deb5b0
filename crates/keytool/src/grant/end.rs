//! When a line of `authorized_keys` ends, read as sshd reads it. Pure.

use std::fmt;
use std::time::Duration;

use jiff::Timestamp;
use jiff::civil::{Date, DateTime};

use super::Clock;
use crate::authorized_keys::Options;

/// How sshd writes a time.
pub const STAMP: &str = "%Y%m%d%H%M%S";

/// What a line says of its end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum End {
    /// On the machine's clock, in its zone.
    Local(DateTime),
    /// At one moment, whatever the zone.
    Utc(Timestamp),
    /// Neither we nor sshd can read it, which then passes the line over.
    Unreadable(String),
}

/// How long a line holds yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Left {
    /// It is over.
    Over,
    /// For so long.
    For(Duration),
    /// For ever.
    Endless,
    /// Its end can't be read.
    Unknown,
}

impl End {
    /// All that the options of a line say, of which the first to come counts.
    pub fn all(options: &Options) -> Vec<End> {
        options.all("expiry-time").iter().map(|text| End::parse(text)).collect()
    }

    /// `YYYYMMDD`, with or without `HHMM` or `HHMMSS`, with or without `Z`.
    fn parse(text: &str) -> End {
        End::read(text).unwrap_or_else(|| End::Unreadable(text.to_owned()))
    }

    fn read(text: &str) -> Option<End> {
        let at = |count: usize| text.len().checked_sub(count).and_then(|at| text.split_at_checked(at));
        let without =
            |suffix: &str| at(suffix.len()).filter(|(_, end)| end.eq_ignore_ascii_case(suffix)).map(|(rest, _)| rest);
        let (digits, is_utc) = match without("Z").or_else(|| without("UTC")) {
            Some(digits) => (digits, true),
            None => (text, false),
        };
        if !digits.bytes().all(|byte| byte.is_ascii_digit()) {
            return None;
        }
        let time = match digits.len() {
            8 => Date::strptime("%Y%m%d", digits).ok()?.at(0, 0, 0, 0),
            12 => DateTime::strptime(STAMP, format!("{digits}00")).ok()?,
            14 => DateTime::strptime(STAMP, digits).ok()?,
            _ => return None,
        };
        match is_utc {
            true => Some(End::Utc(jiff::tz::TimeZone::UTC.to_timestamp(time).ok()?)),
            false => Some(End::Local(time)),
        }
    }

    /// How long it is until then.
    pub fn left(&self, clock: &Clock) -> Left {
        let left = match self {
            End::Local(end) => end.duration_since(clock.local),
            End::Utc(end) => end.duration_since(clock.now),
            End::Unreadable(_) => return Left::Unknown,
        };
        Duration::try_from(left).ok().filter(|left| !left.is_zero()).map_or(Left::Over, Left::For)
    }

    /// As sshd reads it.
    pub fn stamp(&self) -> String {
        match self {
            End::Local(end) => end.strftime(STAMP).to_string(),
            End::Utc(end) => format!("{}Z", end.strftime(STAMP)),
            End::Unreadable(text) => text.clone(),
        }
    }
}

/// As people read it: with a `Z` where it is in UTC, and without one where it is in the machine's zone.
impl fmt::Display for End {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const SHOWN: &str = "%Y-%m-%d %H:%M:%S";
        match self {
            End::Local(end) => write!(f, "{}", end.strftime(SHOWN)),
            End::Utc(end) => write!(f, "{}Z", end.strftime(SHOWN)),
            End::Unreadable(_) => f.write_str("unreadable"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_end_is_read_as_sshd_reads_it() {
        let local = |text: &str| End::Local(text.parse().unwrap());
        let utc = |text: &str| End::Utc(text.parse().unwrap());
        for (text, end) in [
            ("20250101", local("2025-01-01T00:00")),
            ("202501012359", local("2025-01-01T23:59")),
            ("20250101235958", local("2025-01-01T23:59:58")),
            ("20250101Z", utc("2025-01-01T00:00Z")),
            ("202501010102z", utc("2025-01-01T01:02Z")),
            ("20250101000000Z", utc("2025-01-01T00:00Z")),
            ("20250101UTC", utc("2025-01-01T00:00Z")),
        ] {
            assert_eq!(End::parse(text), end, "{text}");
        }
        for text in ["", "Z", "2025", "20251301", "2025010", "20250101000000ZZ", "next week", "2025-1-1", "äöüß"] {
            assert_eq!(End::parse(text), End::Unreadable(text.to_owned()));
        }
        assert_eq!(utc("2025-01-01T01:02:03Z").stamp(), "20250101010203Z");
        assert_eq!(local("2025-01-01T01:02:03").stamp(), "20250101010203");
    }
}
