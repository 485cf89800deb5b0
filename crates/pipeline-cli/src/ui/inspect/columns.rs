//! The columns of the table: what each is called, what stands in it, and which concerns it is about.

use std::time::Duration;

use pipeline_core::inspect::{DeviceView, KeptUntil, Kind, Reading, State};
use program::words::{brief, bytes};

/// One column.
pub(super) struct Column {
    pub head: &'static str,
    /// The order in which columns find a place, the smallest first.
    pub rank: u8,
    pub left: bool,
    /// What stands there; none where nobody knows, or there is nothing.
    pub cell: fn(&Row<'_>) -> Option<String>,
    /// A concern of these kinds gives it its colour.
    pub about: &'static [Kind],
}

/// What a row is made of.
pub(super) struct Row<'a> {
    pub view: &'a DeviceView,
    /// When the fleet was looked at.
    pub at_ns: i64,
}

/// So many fit 80 columns: they are shown even where they hold nothing, so that the page looks the same from day to day.
pub(super) const CORE: u8 = 8;

/// In the order in which they are shown, behind the device's name.
pub(super) static COLUMNS: [Column; 27] = [
    text("state", 0, |row| Some(state(&row.view.state).to_owned()), &[Kind::Offline, Kind::Failed, Kind::Unreadable]),
    number("used", 1, |row| percent(used_ppm(row.view)), &[Kind::CardFull]),
    number("free", 2, |row| row.reading()?.free_bytes.map(bytes), &[]),
    number("in use", 12, |row| row.bytes(Reading::used_bytes), &[]),
    number("size", 11, |row| row.bytes(|reading| reading.total_bytes), &[]),
    number("a day", 10, |row| row.view.growth_bytes_per_day.map(growth), &[]),
    number("full in", 3, |row| row.view.full_in.map(full_in), &[Kind::FullSoon, Kind::CardFull]),
    number("inodes", 17, |row| percent(row.inodes_ppm()), &[Kind::InodesFull]),
    number("data", 18, |row| row.bytes(|reading| reading.data_bytes), &[]),
    number("files", 21, |row| row.number(|reading| reading.data_files), &[]),
    number("waiting", 4, |row| row.bytes(|reading| reading.waiting_bytes), &[]),
    number("files", 20, |row| row.number(|reading| reading.waiting_files), &[]),
    number("oldest", 5, |row| row.age(row.reading()?.oldest_waiting_ns), &[]),
    number("kept", 13, |row| row.bytes(|reading| reading.kept_bytes), &[]),
    number("files", 23, |row| row.number(|reading| reading.kept_files), &[]),
    text("until", 14, |row| row.view.kept.as_ref().map(|kept| until(kept, row.at_ns)), &[]),
    number("newest", 8, |row| row.age(row.view.newest_data_ns), &[Kind::Silent]),
    number("synced", 6, |row| row.age(row.view.last_success_ns), &[Kind::NotSynced]),
    number("heard", 19, |row| row.age(row.view.last_answer_ns), &[]),
    number("clock", 9, |row| row.reading()?.clock_offset_ns.map(clock), &[Kind::Clock]),
    number("temp", 7, |row| row.reading()?.temperature_mdeg.map(|mdeg| format!("{} °C", mdeg / 1000)), &[Kind::Hot]),
    text(
        "power",
        15,
        |row| row.reading()?.throttled.map(|bits| power(bits).to_owned()),
        &[Kind::UnderVoltage, Kind::Throttled],
    ),
    text("disk", 16, |row| disk(row.reading()?), &[Kind::ReadOnly, Kind::SdErrors]),
    number("uptime", 24, |row| row.reading()?.uptime_s.map(|s| brief(Duration::from_secs(s))), &[]),
    number("load", 25, |row| row.reading()?.load_milli.map(load), &[]),
    number("memory", 22, |row| percent(row.memory_ppm()), &[Kind::Memory]),
    text("agent", 26, |row| agent(row.view), &[Kind::WithoutAgent]),
];

const fn text(head: &'static str, rank: u8, cell: fn(&Row<'_>) -> Option<String>, about: &'static [Kind]) -> Column {
    Column { head, rank, left: true, cell, about }
}

const fn number(head: &'static str, rank: u8, cell: fn(&Row<'_>) -> Option<String>, about: &'static [Kind]) -> Column {
    Column { head, rank, left: false, cell, about }
}

impl Row<'_> {
    fn reading(&self) -> Option<&Reading> {
        self.view.reading.as_ref()
    }

    fn bytes(&self, of: impl Fn(&Reading) -> Option<u64>) -> Option<String> {
        self.reading().and_then(of).filter(|&size| size > 0).map(bytes)
    }

    fn number(&self, of: impl Fn(&Reading) -> Option<u64>) -> Option<String> {
        self.reading().and_then(of).filter(|&number| number > 0).map(|number| number.to_string())
    }

    /// How long ago that was. What a wrong clock dates into the future has just been.
    fn age(&self, ns: Option<i64>) -> Option<String> {
        ns.map(|ns| brief(span(ns, self.at_ns)))
    }

    fn inodes_ppm(&self) -> Option<u64> {
        let reading = self.reading()?;
        ppm(reading.total_files?, reading.free_files?)
    }

    fn memory_ppm(&self) -> Option<u64> {
        let reading = self.reading()?;
        ppm(reading.memory_total_bytes?, reading.memory_available_bytes?)
    }
}

/// How much of the card is in use, in millionths.
pub(super) fn used_ppm(view: &DeviceView) -> Option<u64> {
    let reading = view.reading.as_ref()?;
    ppm(reading.total_bytes?, reading.free_bytes?)
}

/// None where there is no whole.
fn ppm(total: u64, free: u64) -> Option<u64> {
    let share = u128::from(total.saturating_sub(free)) * 1_000_000;
    share.checked_div(u128::from(total)).and_then(|ppm| u64::try_from(ppm).ok())
}

/// Rounded down: 100 % is said of nothing that has room.
pub(super) fn percent(ppm: Option<u64>) -> Option<String> {
    ppm.map(|ppm| format!("{} %", ppm / 10_000))
}

pub(super) fn span(from_ns: i64, to_ns: i64) -> Duration {
    Duration::from_nanos(u64::try_from(to_ns.saturating_sub(from_ns)).unwrap_or(0))
}

fn state(state: &State) -> &'static str {
    match state {
        State::Ready => "ready",
        State::Offline { .. } => "offline",
        State::Failed { .. } => "failed",
        State::Stopped => "stopped",
    }
}

/// What changes in a day, with its sign.
pub(super) fn growth(bytes_per_day: i64) -> String {
    let sign = if bytes_per_day < 0 { "-" } else { "+" };
    format!("{sign}{}", bytes(bytes_per_day.unsigned_abs()))
}

/// Nobody plans for more than a year.
pub(super) fn full_in(left: Duration) -> String {
    const YEAR: Duration = Duration::from_secs(365 * 86_400);
    match left {
        Duration::ZERO => "now".into(),
        left if left > YEAR => "> 1 y".into(),
        left => brief(left),
    }
}

fn until(kept: &KeptUntil, at_ns: i64) -> String {
    match kept {
        KeptUntil::NextSync => "next sync".into(),
        KeptUntil::Time { last_ns, .. } => format!("in {}", brief(span(at_ns, *last_ns))),
        KeptUntil::Hold => "hold ends".into(),
        KeptUntil::HighWater { percent } => format!("{percent} % used"),
        KeptUntil::Never => "for ever".into(),
    }
}

/// Right to the second is right enough.
fn clock(offset_ns: i64) -> String {
    let offset = Duration::from_secs(offset_ns.unsigned_abs().saturating_add(500_000_000) / 1_000_000_000);
    match offset.as_secs() {
        0 => "right".into(),
        _ if offset_ns < 0 => format!("-{}", brief(offset)),
        _ => format!("+{}", brief(offset)),
    }
}

/// What the firmware says of the supply, in a word. Bits 0 to 3 are how it is, 16 to 19 how it was at some time since the start:
/// <https://www.raspberrypi.com/documentation/computers/os.html#get_throttled>.
fn power(bits: u64) -> &'static str {
    const WEAK: u64 = 1;
    const SLOWED: u64 = 0b1110;
    match bits {
        bits if bits & WEAK != 0 => "weak",
        bits if bits & SLOWED != 0 => "slowed",
        bits if bits >> 16 & WEAK != 0 => "was weak",
        bits if bits >> 16 & SLOWED != 0 => "was slowed",
        _ => "ok",
    }
}

fn disk(reading: &Reading) -> Option<String> {
    match (reading.read_only, reading.sd_errors) {
        (Some(true), _) => Some("read-only".into()),
        (_, Some(errors @ 1..)) => Some(format!("{errors} err")),
        (None, None) => None,
        _ => Some("ok".into()),
    }
}

fn load(milli: u64) -> String {
    format!("{}.{:02}", milli / 1000, milli % 1000 / 10)
}

fn agent(view: &DeviceView) -> Option<String> {
    match &view.without_agent {
        Some(_) => Some("none".into()),
        None => view.reading.as_ref()?.agent.clone(),
    }
}
