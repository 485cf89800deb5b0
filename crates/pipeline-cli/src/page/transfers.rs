//! What came in and what left the devices: by day, and by device.

use maud::{Markup, html};
use pipeline_core::report::{Amount, Device, Report, Sums};
use program::words::bytes;

use super::chart::{self, Bar};
use super::words::{amount, day, number, or_dash, percent};
use super::{heading, numbers};

/// Bytes of each day.
pub fn by_day(report: &Report) -> Markup {
    let sizes: Vec<u64> = report.days.iter().map(|day| day.received.bytes).collect();
    let total = report.days.iter().map(|day| day.received).sum::<Amount>().bytes;
    let rows: Vec<Vec<String>> = stretches(report).into_iter().map(|(name, sums)| row(name, &sums, None)).collect();
    let title = format!("Bytes received a day, {} in all", bytes(total));
    html! {
        (heading("received", "Received a day", "Bytes that were verified and are durable in the storage. A bar that stands for \
            several days shows their mean."))
        @if total == 0 { p.empty { "Nothing was received in this period." } } @else {
            (chart::by_day(&title, report.first_day, &sizes))
        }
        (numbers("Received as numbers", &["Days", "Received", "Bytes", "Already there", "Removed", "Versions", "Clashes", "Failed"], 1, &rows))
    }
}

/// The period in months, or in days where it has few, the newest first.
fn stretches(report: &Report) -> Vec<(String, Sums)> {
    let days: Vec<(i32, Sums)> = (report.first_day..).zip(report.days.iter().copied()).collect();
    let by_day = days.len() <= 62;
    let same = |a: &(i32, Sums), b: &(i32, Sums)| {
        let month = |day: i32| (chart::date_of(day).year(), chart::date_of(day).month());
        !by_day && month(a.0) == month(b.0)
    };
    let mut stretches: Vec<(String, Sums)> = days
        .chunk_by(same)
        .map(|chunk| {
            let name = if by_day { day(chunk[0].0) } else { chart::date_of(chunk[0].0).strftime("%B %Y").to_string() };
            let mut sums = Sums::default();
            chunk.iter().for_each(|(_, day)| sums += *day);
            (name, sums)
        })
        .collect();
    stretches.reverse();
    stretches
}

/// Bytes of each device, the most first.
pub fn by_device(report: &Report) -> Markup {
    let mut devices: Vec<&Device> = report.devices.iter().collect();
    devices.sort_by(|a, b| b.sums.received.bytes.cmp(&a.sums.received.bytes).then_with(|| a.name.cmp(&b.name)));
    let bars: Vec<Bar<'_>> = devices
        .iter()
        .map(|device| {
            let value = device.sums.received.bytes;
            Bar { name: &device.name, value, words: bytes(value) }
        })
        .collect();
    let rows: Vec<Vec<String>> =
        devices.iter().map(|device| row(device.name.clone(), &device.sums, Some(device.answered))).collect();
    html! {
        (heading("devices", "Transfers by device", "Bytes received from each device in this period."))
        @if bars.is_empty() { p.empty { "No device has been visited yet." } } @else {
            (chart::across("Bytes received from each device", &bars))
            (numbers("Transfers as numbers", &["Device", "Received", "Bytes", "Already there", "Removed", "Versions", "Clashes", "Failed", "Answered"], 1, &rows))
        }
    }
}

fn row(name: String, sums: &Sums, answered: Option<Option<f64>>) -> Vec<String> {
    let mut row = vec![
        name,
        number(sums.received.files),
        bytes(sums.received.bytes),
        number(sums.adopted.files),
        amount(sums.removed),
        number(sums.versions),
        number(sums.clashes),
        number(sums.failed),
    ];
    row.extend(answered.map(|part| or_dash(part.map(percent))));
    row
}
