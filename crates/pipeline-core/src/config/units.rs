//! Durations, rates and percentages as people write them.

use std::time::Duration;

/// Longer is a slip of the pen. Also keeps sums of nanoseconds far from the end of 64 bits.
const MAX_SECONDS: u64 = 100 * 365 * 86_400;

pub(super) const DURATION: &str = "a duration such as 10s, 5m, 2h, 1h30m or 30d";
pub(super) const RATE: &str = "bytes per second such as 500KiB/s or 1MB/s";
pub(super) const PERCENT: &str = "a percentage from 1% to 100%";

/// Reads `10s`, `5m`, `2h`, `30d`, or several of them from the largest to the smallest: `1h30m`. At most a hundred years.
pub fn duration(text: &str) -> Option<Duration> {
    let mut total: u64 = 0;
    let mut smaller_than = u64::MAX;
    let mut rest = text;
    loop {
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        let number: u64 = rest[..digits].parse().ok()?;
        let unit = match rest[digits..].chars().next()? {
            's' => 1,
            'm' => 60,
            'h' => 3_600,
            'd' => 86_400,
            _ => return None,
        };
        if unit >= smaller_than {
            return None;
        }
        smaller_than = unit;
        total = total.checked_add(number.checked_mul(unit)?).filter(|&total| total <= MAX_SECONDS)?;
        rest = &rest[digits + 1..];
        if rest.is_empty() {
            return Some(Duration::from_secs(total));
        }
    }
}

/// Reads `500KiB/s`, `1MB/s`, `1.5MB/s`: bytes per second. At least 1 KiB/s, below which no time-out could be kept.
pub fn rate(text: &str) -> Option<u64> {
    let size = text.strip_suffix("/s")?;
    let unit_at = size.find(|c: char| !(c.is_ascii_digit() || c == '.'))?;
    let (number, unit) = size.split_at(unit_at);
    let unit: u64 = match unit.trim_start() {
        "B" => 1,
        "kB" | "KB" => 1_000,
        "KiB" => 1 << 10,
        "MB" => 1_000_000,
        "MiB" => 1 << 20,
        "GB" => 1_000_000_000,
        "GiB" => 1 << 30,
        _ => return None,
    };
    let (whole, fraction) = number.split_once('.').unwrap_or((number, "0"));
    if fraction.is_empty() || fraction.len() > 3 {
        return None;
    }
    let thousandths = fraction.parse::<u64>().ok()? * 10_u64.pow(3 - u32::try_from(fraction.len()).ok()?);
    let bytes = whole.parse::<u64>().ok()?.checked_mul(unit)?.checked_add(thousandths.checked_mul(unit)? / 1_000)?;
    Some(bytes).filter(|&bytes| bytes >= 1 << 10)
}

/// Reads `80%`, 1 to 100.
pub(super) fn percent(text: &str) -> Option<u8> {
    let digits = text.strip_suffix('%').filter(|digits| digits.bytes().all(|b| b.is_ascii_digit()))?;
    digits.parse().ok().filter(|percent| (1..=100).contains(percent))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations() {
        let table = [
            ("0s", Some(0)),
            ("10s", Some(10)),
            ("5m", Some(300)),
            ("2h", Some(7_200)),
            ("30d", Some(2_592_000)),
            ("1h30m", Some(5_400)),
            ("36500d", Some(3_153_600_000)),
            ("36501d", None),
            ("99999999999999999999d", None),
            ("30m1h", None),
            ("1m1m", None),
            ("10", None),
            ("", None),
            ("s", None),
            ("-1s", None),
            ("1.5h", None),
            ("1 h", None),
            ("1y", None),
            ("1é", None),
            ("10s ", None),
        ];
        for (text, expected) in table {
            assert_eq!(duration(text).map(|duration| duration.as_secs()), expected, "{text}");
        }
    }

    #[test]
    fn rates() {
        let table = [
            ("500KiB/s", Some(512_000)),
            ("1MB/s", Some(1_000_000)),
            ("1 MB/s", Some(1_000_000)),
            ("1.5MB/s", Some(1_500_000)),
            ("0.125MiB/s", Some(131_072)),
            ("2GiB/s", Some(2_147_483_648)),
            ("2000B/s", Some(2_000)),
            ("1KiB/s", Some(1_024)),
            ("1kB/s", None),
            ("0MB/s", None),
            ("500KiB", None),
            ("500K/s", None),
            ("500", None),
            ("/s", None),
            ("MB/s", None),
            ("1.MB/s", None),
            (".5MB/s", None),
            ("1.2345MB/s", None),
            ("1.2.3MB/s", None),
            ("-1MB/s", None),
            ("99999999999GiB/s", None),
            ("1Mbit/s", None),
        ];
        for (text, expected) in table {
            assert_eq!(rate(text), expected, "{text}");
        }
    }

    #[test]
    fn percentages() {
        let table = [
            ("80%", Some(80)),
            ("1%", Some(1)),
            ("100%", Some(100)),
            ("0%", None),
            ("101%", None),
            ("256%", None),
            ("80", None),
            ("%", None),
            ("+8%", None),
            ("8.5%", None),
        ];
        for (text, expected) in table {
            assert_eq!(percent(text), expected, "{text}");
        }
    }
}
