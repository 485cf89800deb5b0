//! What the texts of a device mean.
//!
//! Pure. Whatever a text holds, the outcome is a number in a range that makes sense, or none.

use std::path::Path;

use super::{MAX_TEXT_BYTES, Piece, Texts, tells_of_the_card};

/// Characters of a line of the log that is shown.
const MAX_LINE_CHARS: usize = 160;
/// A hundred years.
const MAX_UPTIME_S: u64 = 100 * 365 * 86_400;
/// More than any kernel counts.
const MAX_LOAD: u64 = 1_000_000;
/// What the firmware has a meaning for.
const THROTTLED_BITS: u32 = 0x000f_000f;
/// No sensor of a running device says less, or more.
const TEMPERATURES: std::ops::RangeInclusive<i64> = -60_000..=200_000;

/// How a device is, as far as it said so.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Health {
    /// Load average of one minute, in thousandths.
    pub load_milli: Option<u64>,
    /// Seconds since the start.
    pub uptime_s: Option<u64>,
    /// Memory.
    pub memory_total_bytes: Option<u64>,
    /// Of it, what programs may still have.
    pub memory_available_bytes: Option<u64>,
    /// Thousandths of a degree Celsius.
    pub temperature_mdeg: Option<i64>,
    /// What the firmware says, bit by bit: 0 the supply is too weak now, 1 the clock is capped, 2 throttled, 3 near the limit of
    /// temperature; 16 to 19 the same since the start.
    pub throttled: Option<u32>,
    /// Whether the root file system can't be written.
    pub root_read_only: Option<bool>,
    /// Whether the file system that holds the source can't be written.
    pub source_read_only: Option<bool>,
    /// Errors of the card: what the kernel's log has of late, or what its file systems have counted, whichever is more.
    pub sd_errors: Option<u64>,
    /// The newest line of the log that tells of one.
    pub sd_last: Option<String>,
}

/// Understands the texts of a device with this source directory.
pub fn parse(texts: &Texts, source: &Path) -> Health {
    let text = |piece: Piece| {
        let (_, text) = texts.0.iter().find(|(named, _)| *named == piece)?;
        let text = &text[..text.len().min(MAX_TEXT_BYTES)];
        Some((String::from_utf8_lossy(text).into_owned(), text.len() == MAX_TEXT_BYTES))
    };
    let word = |piece| text(piece).and_then(|(text, _)| text.split_ascii_whitespace().next().map(str::to_owned));
    let memory = text(Piece::Memory).map(|(text, _)| text).unwrap_or_default();
    let (root_read_only, source_read_only) =
        text(Piece::Mounts).map_or((None, None), |(text, cut)| mounts(&text, cut, source));
    let (log, counts) = (text(Piece::Log).map(|(text, _)| text), text(Piece::Ext4Errors).map(|(text, _)| text));
    let (sd_errors, sd_last) = card(log.as_deref(), counts.as_deref());
    Health {
        load_milli: word(Piece::Load).and_then(|load| thousandths(&load)).filter(|&load| load <= MAX_LOAD * 1000),
        uptime_s: word(Piece::Uptime)
            .and_then(|up| thousandths(&up))
            .map(|up| up / 1000)
            .filter(|&s| s <= MAX_UPTIME_S),
        memory_total_bytes: kib(&memory, "MemTotal:"),
        memory_available_bytes: kib(&memory, "MemAvailable:"),
        temperature_mdeg: word(Piece::Temperature).and_then(|t| t.parse().ok()).filter(|t| TEMPERATURES.contains(t)),
        throttled: word(Piece::Throttled)
            .and_then(|bits| u32::from_str_radix(bits.trim_start_matches("0x"), 16).ok())
            .map(|bits| bits & THROTTLED_BITS),
        root_read_only,
        source_read_only,
        sd_errors,
        sd_last,
    }
}

/// `12.34` as 12340. What comes after the third digit is dropped.
fn thousandths(number: &str) -> Option<u64> {
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if !fraction.bytes().all(|b| b.is_ascii_digit()) || !whole.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let fraction: u64 = format!("{fraction:0<3}").get(..3)?.parse().ok()?;
    whole.parse::<u64>().ok()?.checked_mul(1000)?.checked_add(fraction)
}

/// `MemTotal:   948304 kB`, in bytes.
fn kib(text: &str, name: &str) -> Option<u64> {
    let rest = text.lines().find_map(|line| line.strip_prefix(name))?;
    let kib: u64 = rest.trim().strip_suffix("kB")?.trim().parse().ok()?;
    // What the catalog can hold.
    kib.checked_mul(1024).filter(|&bytes| bytes <= i64::MAX.unsigned_abs())
}

/// Whether root, and what holds the source, can't be written. The last of several at one place is on top.
fn mounts(text: &str, cut: bool, source: &Path) -> (Option<bool>, Option<bool>) {
    let whole = if cut { text.rsplit_once('\n').map_or("", |(whole, _)| whole) } else { text };
    let (mut root, mut holder) = (None, None);
    for line in whole.lines() {
        let mut fields = line.split(' ');
        let (Some(place), Some(options)) = (fields.nth(1), fields.nth(1)) else { continue };
        let place = unescaped(place);
        // The kernel says it first of all.
        let read_only = match options.split(',').next() {
            Some("ro") => true,
            Some("rw") => false,
            _ => continue,
        };
        if place == "/" {
            root = Some(read_only);
        }
        if source.starts_with(&place) && holder.as_ref().is_none_or(|(longest, _)| place.len() >= *longest) {
            holder = Some((place.len(), read_only));
        }
    }
    (root, holder.map(|(_, read_only)| read_only))
}

/// A blank, a tab, a newline and a backslash are written as octal numbers.
fn unescaped(place: &str) -> String {
    let codes = [("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")];
    codes.iter().fold(place.to_owned(), |place, (code, char)| place.replace(code, char))
}

fn card(log: Option<&str>, counts: Option<&str>) -> (Option<u64>, Option<String>) {
    let lines = log.map(|log| log.lines().filter(|line| tells_of_the_card(line.as_bytes())));
    let last = lines.clone().and_then(|mut lines| lines.next_back().map(shown));
    let counted = counts.map(|counts| {
        let counts = counts.lines().filter_map(|count| count.trim().parse::<u64>().ok());
        counts.fold(0, |sum: u64, count| sum.saturating_add(count)).min(u64::from(u32::MAX))
    });
    (lines.map(|lines| lines.count() as u64).max(counted), last)
}

/// A line that does no harm to a terminal or a table.
fn shown(line: &str) -> String {
    let line: String = line.chars().filter(|c| !c.is_control()).take(MAX_LINE_CHARS).collect();
    line.trim().to_owned()
}
