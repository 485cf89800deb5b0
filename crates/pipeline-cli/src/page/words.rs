//! Times, shares and amounts as the page says them. Pure.

use std::time::Duration;

use jiff::Timestamp;
use jiff::tz::TimeZone;
use pipeline_core::report::Amount;
use program::words::{bytes, count};

use super::chart::date_of;

/// Says when something was, seen from the moment of the report.
pub struct Times {
    at_ns: i64,
    zone: TimeZone,
}

impl Times {
    pub fn new(at_ns: i64, zone: TimeZone) -> Times {
        Times { at_ns, zone }
    }

    fn format(&self, ns: i64, form: &str) -> String {
        match Timestamp::from_nanosecond(i128::from(ns)) {
            Ok(time) => time.to_zoned(self.zone.clone()).strftime(form).to_string(),
            Err(_) => "?".to_owned(),
        }
    }

    /// `22 Nov 2026`
    pub fn date(&self, ns: i64) -> String {
        self.format(ns, "%-d %b %Y")
    }

    /// `22 Nov 2026, 08:05`
    pub fn moment(&self, ns: i64) -> String {
        self.format(ns, "%-d %b %Y, %H:%M")
    }

    /// The same of a time that is no number.
    pub fn moment_of(&self, time: Timestamp) -> String {
        time.to_zoned(self.zone.clone()).strftime("%-d %b %Y, %H:%M").to_string()
    }

    /// `Europe/London (GMT)`
    pub fn zone_name(&self) -> String {
        let short = self.format(self.at_ns, "%Z");
        match self.zone.iana_name() {
            Some(name) if !name.ends_with(&short) => format!("{name} ({short})"),
            _ => short,
        }
    }

    /// `3 d 4 h ago`; of times to come, `now`.
    pub fn ago(&self, ns: i64) -> String {
        match self.since(ns) {
            since if since < Duration::from_secs(60) => "now".to_owned(),
            since => format!("{} ago", long(since)),
        }
    }

    /// How long ago.
    pub fn since(&self, ns: i64) -> Duration {
        Duration::from_nanos(u64::try_from(self.at_ns.saturating_sub(ns)).unwrap_or(0))
    }
}

/// A time that is told no closer than matters: `5 min`, `2 h 5 min`, `26 h`, `3 d 4 h`, `40 d`.
pub fn long(duration: Duration) -> String {
    let unit = match duration.as_secs() {
        0..36_000 => 60,
        36_000..864_000 => 3600,
        _ => 86_400,
    };
    match duration.as_secs() / unit * unit {
        0 => "under 1 min".to_owned(),
        rounded @ 36_000..172_800 => format!("{} h", rounded / 3600),
        // Ten years: nobody plans that far.
        315_360_000.. => "years".to_owned(),
        rounded => program::words::duration(Duration::from_secs(rounded)),
    }
}

/// `22 Nov 2026`, of a day of UTC.
pub fn day(day: i32) -> String {
    date_of(day).strftime("%-d %b %Y").to_string()
}

/// `83 %`, rounded down as everywhere; `<1 %` and `>99 %` where a round number would say what is not so.
pub fn percent(part: f64) -> String {
    match part * 100.0 {
        percent if percent > 0.0 && percent < 1.0 => "<1 %".to_owned(),
        percent if percent > 99.0 && percent < 100.0 => ">99 %".to_owned(),
        // What is computed as 28.999999 was 29.
        percent => format!("{:.0} %", (percent + 1e-6).floor()),
    }
}

/// `1,234,567`
pub fn number(number: u64) -> String {
    let digits = number.to_string();
    let groups: Vec<&str> =
        digits.as_bytes().rchunks(3).rev().map(|group| std::str::from_utf8(group).unwrap_or_default()).collect();
    groups.join(",")
}

/// `12 files, 3.00 MiB`; a dash for none.
pub fn amount(amount: Amount) -> String {
    match amount.files {
        0 => "–".to_owned(),
        files => format!("{}, {}", many(files, "file"), bytes(amount.bytes)),
    }
}

/// `1 file`, `2,345 files`
pub fn many(number: u64, noun: &str) -> String {
    if number < 1000 { count(number, noun) } else { format!("{} {noun}s", self::number(number)) }
}

/// What is known, or a dash.
pub fn or_dash(text: Option<String>) -> String {
    text.unwrap_or_else(|| "–".to_owned())
}

/// `+1.20 GiB` or `-300 MiB` a day.
pub fn growth(bytes_per_day: i64) -> String {
    let sign = if bytes_per_day < 0 { "−" } else { "+" };
    format!("{sign}{} a day", bytes(bytes_per_day.unsigned_abs()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_said_as_people_read_them() {
        assert_eq!([0, 999, 1000, 1_234_567].map(number), ["0", "999", "1,000", "1,234,567"]);
        assert_eq!([0.0, 0.004, 0.5, 0.995, 1.0].map(percent), ["0 %", "<1 %", "50 %", ">99 %", "100 %"]);
        assert_eq!(growth(-(300 << 20)), "−300 MiB a day");
        let long = |seconds| super::long(Duration::from_secs(seconds));
        assert_eq!([59, 119, 7_500, 3 * 86_400 + 3600].map(long), ["under 1 min", "1 min", "2 h 5 min", "3 d 1 h"]);
        assert_eq!([40 * 86_400 + 3600, 26 * 3600 + 61].map(long), ["40 d", "26 h"]);
        assert_eq!(long(20 * 365 * 86_400), "years");
    }

    #[test]
    fn times_are_told_in_the_zone_and_from_now() {
        let at: Timestamp = "2026-11-22T08:05:00Z".parse().unwrap();
        let ns = i64::try_from(at.as_nanosecond()).unwrap();
        let times = Times::new(ns, TimeZone::fixed(jiff::tz::offset(-5)));
        assert_eq!(times.moment(ns), "22 Nov 2026, 03:05");
        assert_eq!(times.ago(ns - 7_500_000_000_000), "2 h 5 min ago");
        assert_eq!(times.ago(ns + 1), "now");
        assert_eq!(day(20_000), "4 Oct 2024");
    }
}
