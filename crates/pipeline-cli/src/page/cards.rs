//! Cards and storage: how they were used, and how they will be.

use maud::{Markup, html};
use pipeline_core::report::{Device, Report, Space};
use program::words::bytes;

use super::chart::{Frame, Size, days, space};
use super::words::{Times, day, growth, long, or_dash, percent};
use super::{heading, numbers};

/// A picture for each card, the most urgent first.
pub fn cards(report: &Report, times: &Times) -> Markup {
    let seen: Vec<&Device> = report.devices.iter().filter(|device| !device.card.days.is_empty()).collect();
    let rows: Vec<Vec<String>> = seen.iter().map(|device| row(&device.name, &device.card, times)).collect();
    html! {
        (heading("cards", "Disk use of each card", "The line is the most that was in use on a day, the band reaches down to the \
            least; received files leave the card, so it falls again. Dashed: the forecast, with a dot where the card is full. \
            The upright line is the moment of this report."))
        @if seen.is_empty() { p.empty { "No card has been looked at in this period." } } @else {
            div.grid {
                @for device in &seen {
                    figure {
                        figcaption { strong { (device.name) } span { (summary(&device.card)) } }
                        (space(&frame(report, Size { width: 350, height: 132 }, &title(&device.name, &device.card)), &device.card))
                    }
                }
            }
            (numbers("Cards as numbers", &HEADS, 1, &rows))
        }
    }
}

/// The storage, as one picture.
pub fn storage(report: &Report, times: &Times) -> Markup {
    let storage = &report.storage;
    let months: Vec<Vec<String>> = storage
        .days
        .chunk_by(|a, b| month(a.day) == month(b.day))
        .filter_map(|days| {
            let (first, last) = (days.first()?, days.last()?);
            let span = format!("{} to {}", day(first.day), day(last.day));
            Some(vec![span, bytes(last.total_bytes), bytes(first.lowest_bytes), bytes(last.highest_bytes)])
        })
        .collect();
    html! {
        (heading("storage", "Storage growth", &format!("{}.", summary(storage))))
        @if storage.days.is_empty() { p.empty { "The storage has not been measured in this period." } } @else {
            div.wide { (space(&frame(report, Size { width: 1080, height: 240 }, &title("The storage", storage)), storage)) }
            div.narrow { (space(&frame(report, Size { width: 350, height: 200 }, &title("The storage", storage)), storage)) }
            (numbers("Storage by month", &["Days", "Size", "Used at first", "Used at last"], 1, &months))
            (numbers("Storage now", &HEADS, 1, &[row("Storage", storage, times)]))
        }
    }
}

fn month(day: i32) -> (i16, i8) {
    let date = super::chart::date_of(day);
    (date.year(), date.month())
}

const HEADS: [&str; 8] = ["Name", "Looked at", "Size", "Free", "Used", "Most used", "Growth", "Full in"];

fn row(name: &str, space: &Space, times: &Times) -> Vec<String> {
    vec![
        name.to_owned(),
        or_dash(space.at_ns.map(|at| times.moment(at))),
        or_dash(space.total_bytes.map(bytes)),
        or_dash(space.free_bytes.map(bytes)),
        or_dash(space.used().map(percent)),
        or_dash(space.days.iter().map(|day| day.highest_bytes).max().map(bytes)),
        or_dash(space.growth_bytes_per_day.map(growth)),
        or_dash(space.full_in.map(long)),
    ]
}

fn frame<'a>(report: &Report, size: Size, title: &'a str) -> Frame<'a> {
    Frame { size, title, first_day: report.first_day, last_day: report.last_day, now: days(report.at_ns) }
}

/// `83 % of 58.4 GiB, full in 5 d`
fn summary(space: &Space) -> String {
    let (Some(used), Some(total)) = (space.used(), space.total_bytes) else { return "Never looked at".to_owned() };
    let full = space.full_in.map(|time| format!(", full in {}", long(time))).unwrap_or_default();
    format!("{} of {}{full}", percent(used), bytes(total))
}

/// What a screen reader says in place of the picture.
fn title(name: &str, space: &Space) -> String {
    format!("{name}: {}", summary(space))
}
