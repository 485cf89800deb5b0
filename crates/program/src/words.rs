//! Numbers, durations and names as people read them. Pure.

use std::borrow::Cow;
use std::fmt::Write as _;
use std::time::Duration;

/// Bytes in IEC units, three digits: `0 B`, `812 B`, `1.21 KiB`, `12.1 MiB`, `121 GiB`.
pub fn bytes(bytes: u64) -> String {
    const UNITS: [&str; 6] = ["KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
    if bytes < 1024 {
        return format!("{bytes} B");
    }
    // Exact enough: three digits of a number with 53 good bits.
    #[allow(clippy::cast_precision_loss)]
    let mut value = bytes as f64 / 1024.0;
    let mut unit = 0;
    while value >= 999.5 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    let decimals = if value < 9.995 { 2 } else { usize::from(value < 99.95) };
    format!("{value:.decimals$} {}", UNITS[unit])
}

/// A duration in at most two units: `0.4 s`, `12 s`, `3 min 4 s`, `2 h 5 min`, `3 d 4 h`.
pub fn duration(duration: Duration) -> String {
    let seconds = duration.as_secs();
    let two = |large: u64, large_unit, small: u64, small_unit| match small {
        0 => format!("{large} {large_unit}"),
        small => format!("{large} {large_unit} {small} {small_unit}"),
    };
    match seconds {
        0..10 => format!("{:.1} s", duration.as_secs_f64()),
        10..60 => format!("{seconds} s"),
        60..3600 => two(seconds / 60, "min", seconds % 60, "s"),
        3600..86_400 => two(seconds / 3600, "h", seconds % 3600 / 60, "min"),
        _ => two(seconds / 86_400, "d", seconds % 86_400 / 3600, "h"),
    }
}

/// A duration in one unit, for a column of a table: `90 s`, `12 min`, `5 h`, `3 d`, `4 y`. Rounded down, so that what is said to be
/// left is left; a unit begins at two of it.
pub fn brief(duration: Duration) -> String {
    const DAY: u64 = 86_400;
    let seconds = duration.as_secs();
    let (unit_s, unit) = match seconds {
        0..120 => (1, "s"),
        120..7_200 => (60, "min"),
        7_200..172_800 => (3_600, "h"),
        172_800..63_072_000 => (DAY, "d"),
        _ => (365 * DAY, "y"),
    };
    format!("{} {unit}", seconds / unit_s)
}

/// A clock's offset: `right`, `3 min ahead`, `2 h 5 min behind`.
pub fn clock_offset(offset_ms: i64) -> String {
    let size = duration(Duration::from_millis(offset_ms.unsigned_abs()));
    match offset_ms {
        ..=-1000 => format!("{size} behind"),
        -999..=999 => "right".into(),
        1000.. => format!("{size} ahead"),
    }
}

/// A number and its noun: `1 file`, `2 files`. The noun is given in the singular.
pub fn count(number: u64, noun: &str) -> String {
    let stem = noun.strip_suffix('y').filter(|stem| !stem.ends_with(['a', 'e', 'i', 'o', 'u']));
    let plural = match (number, stem) {
        (1, _) => return format!("1 {noun}"),
        (_, Some(stem)) => format!("{stem}ies"),
        (_, None) => format!("{noun}s"),
    };
    format!("{number} {plural}")
}

/// Shortens a name in the middle to at most `width` columns, so that both the common start and the number at the end stay.
/// For ASCII names; `width` is at least 3.
pub fn shorten(name: &str, width: usize) -> Cow<'_, str> {
    if name.chars().count() <= width {
        return name.into();
    }
    let tail = (width - 1) / 2;
    let head = width - 1 - tail;
    let start: String = name.chars().take(head).collect();
    let end: String = name.chars().skip(name.chars().count() - tail).collect();
    format!("{start}…{end}").into()
}

/// Headings and what is said of each, as lines with the second part aligned. Headings are ASCII.
pub fn columns(lines: &[(&str, String)]) -> Vec<String> {
    let width = lines.iter().map(|(heading, _)| heading.len()).max().unwrap_or(0);
    lines.iter().map(|(heading, text)| format!("  {heading:width$}  {}", printable(text))).collect()
}

/// Text that can't move a cursor, change colours, or turn the direction of the line: such characters are written as `\x1b` or
/// `\u{202e}`. For everything whose words may come from a device.
pub fn printable(text: &str) -> Cow<'_, str> {
    if !text.contains(unsafe_on_screen) {
        return text.into();
    }
    let mut safe = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        let escaped = match c {
            '\n' => write!(safe, "\\n"),
            '\t' => write!(safe, "\\t"),
            '\r' => write!(safe, "\\r"),
            c if unsafe_on_screen(c) && c.is_ascii() => write!(safe, "\\x{:02x}", u32::from(c)),
            c if unsafe_on_screen(c) => write!(safe, "\\u{{{:x}}}", u32::from(c)),
            c => write!(safe, "{c}"),
        };
        debug_assert!(escaped.is_ok(), "a String takes everything");
    }
    safe.into()
}

fn unsafe_on_screen(c: char) -> bool {
    // Controls, and Unicode's bidirectional marks, embeddings, overrides and isolates, and line and paragraph separators.
    c.is_control()
        || matches!(c, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_have_three_digits() {
        let table = [
            (0, "0 B"),
            (1023, "1023 B"),
            (1024, "1.00 KiB"),
            (10_230, "9.99 KiB"),
            (10_240, "10.0 KiB"),
            (123_456, "121 KiB"),
            (1_023_900, "0.98 MiB"),
            (5 << 30, "5.00 GiB"),
            (u64::MAX, "16.0 EiB"),
        ];
        for (number, text) in table {
            assert_eq!(bytes(number), text);
        }
    }

    #[test]
    fn durations_have_two_units() {
        let table = [
            (0, "0.0 s"),
            (430, "0.4 s"),
            (12_900, "12 s"),
            (60_000, "1 min"),
            (184_000, "3 min 4 s"),
            (7_500_000, "2 h 5 min"),
            (273_600_000, "3 d 4 h"),
        ];
        for (ms, text) in table {
            assert_eq!(duration(Duration::from_millis(ms)), text);
        }
        assert_eq!(clock_offset(-999), "right");
        assert_eq!(clock_offset(-7_500_000), "2 h 5 min behind");
        assert_eq!(clock_offset(184_000), "3 min 4 s ahead");
    }

    #[test]
    fn a_brief_duration_has_one_unit() {
        let table = [
            (0, "0 s"),
            (119, "119 s"),
            (120, "2 min"),
            (7_199, "119 min"),
            (7_200, "2 h"),
            (172_799, "47 h"),
            (172_800, "2 d"),
            (729 * 86_400, "729 d"),
            (730 * 86_400, "2 y"),
        ];
        for (seconds, text) in table {
            assert_eq!(brief(Duration::from_secs(seconds)), text);
        }
    }

    #[test]
    fn nouns_agree_with_their_number() {
        assert_eq!([0, 1, 2].map(|n| count(n, "file")), ["0 files", "1 file", "2 files"]);
        assert_eq!(count(2, "empty directory"), "2 empty directories");
        assert_eq!(count(2, "host key"), "2 host keys");
    }

    #[test]
    fn a_shortened_name_keeps_both_ends() {
        assert_eq!(shorten("raspberry31", 11), "raspberry31");
        assert_eq!(shorten("raspberry31", 8), "rasp…y31");
        assert_eq!(shorten("raspberry31", 3), "r…1");
    }

    #[test]
    fn nothing_from_a_device_moves_the_cursor() {
        assert_eq!(printable("a\x1b[2Jb\nc"), "a\\x1b[2Jb\\nc");
        assert_eq!(printable("photo\u{202e}gpj.exe"), "photo\\u{202e}gpj.exe");
        assert_eq!(printable("\u{85}"), "\\u{85}");
        assert!(matches!(printable("Bienenstöcke 🐝"), Cow::Borrowed(_)));
    }
}
