//! How each day of each device went: a row for a device, a column for a day.

use maud::{Markup, html};
use pipeline_core::report::DayState;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, VPos};

use super::{Area, Fault, Ink, Size, both, picture, px, text, ticks};

const ROW: u32 = 16;
const TOP: u32 = 22;

/// The calendar of devices, by name, from the day `first` on.
pub fn calendar(title: &str, first: i32, rows: &[(&str, &[DayState])]) -> Markup {
    both(|wide| {
        let (width, left) = if wide { (1080, 150) } else { (350, 104) };
        let height = TOP + ROW * u32::try_from(rows.len()).unwrap_or(0) + 4;
        picture(Size { width, height }, "chart", title, |area| {
            let days = rows.iter().map(|(_, days)| days.len()).max().unwrap_or(0).max(1);
            let last = first + i32::try_from(days).unwrap_or(0) - 1;
            // Beyond this a day has less than two pixels.
            let step = if 2 * days > (width - left) as usize { 7 } else { 1 };
            #[allow(clippy::cast_precision_loss, clippy::cast_possible_truncation)] // a picture
            let at = |day: usize| px(left) + (f64::from(px(width - left)) * day.min(days) as f64 / days as f64) as i32;
            for (day, words) in ticks::dates(first, last, if wide { 12 } else { 3 }) {
                let place = (at(usize::try_from(day - first).unwrap_or(0)), px(TOP / 2 - 1));
                area.draw(&Text::new(words, place, text(11.0, Ink::Text, HPos::Left, VPos::Center)))?;
            }
            for (row, (name, days)) in (0..).zip(rows) {
                let name = program::words::shorten(name, if wide { 20 } else { 14 }).into_owned();
                let middle = px(TOP + row * ROW + ROW / 2);
                let style = text(11.5, Ink::Text, HPos::Right, VPos::Center);
                area.draw(&Text::new(name, (px(left - 8), middle), style))?;
                stripes(area, days, step, TOP + row * ROW, &at)?;
            }
            Ok(())
        })
    })
}

/// One row: neighbours that are alike are one stripe.
fn stripes(area: &Area<'_>, days: &[DayState], step: usize, top: u32, at: &dyn Fn(usize) -> i32) -> Result<(), Fault> {
    let cells: Vec<DayState> = days.chunks(step).map(gravest).collect();
    let mut from = 0;
    for stripe in cells.chunk_by(|a, b| a == b) {
        let until = from + stripe.len();
        if let Some(ink) = ink(stripe[0]) {
            let corners = [(at(from * step), px(top + 2)), (at(until * step), px(top + ROW - 2))];
            area.draw(&Rectangle::new(corners, ink.rgb().filled()))?;
        }
        from = until;
    }
    Ok(())
}

/// Of several days the gravest.
fn gravest(days: &[DayState]) -> DayState {
    days.iter().copied().max().unwrap_or(DayState::Unknown)
}

fn ink(state: DayState) -> Option<Ink> {
    match state {
        DayState::Unknown => None,
        DayState::Ready => Some(Ink::Ready),
        DayState::Failed => Some(Ink::Failed),
        DayState::Partly => Some(Ink::Partly),
        DayState::Offline => Some(Ink::Offline),
    }
}

/// What the colours mean.
pub fn key() -> Markup {
    let meanings = [
        ("ready", "answered, all done"),
        ("failed", "something failed"),
        ("partly", "no answer to a part of the day's visits"),
        ("offline", "no answer to most of them"),
    ];
    html! {
        ul.key {
            @for (class, words) in meanings { li { span class={ "swatch " (class) } {} (words) } }
            li { span."swatch" {} "no visit" }
        }
    }
}
