//! How a card or the storage was used: the day's range as a band, its most as a line, and how it will go on.

use maud::Markup;
use pipeline_core::report::{Space, UseDay};
use plotters::prelude::*;

use super::axis::{Axis, axes};
use super::{Ink, Size, picture, px, stroke, ticks};

/// Two points for each pixel would not be seen.
const POINTS: usize = 160;

/// What is drawn of a [`Space`].
pub struct Frame<'a> {
    pub size: Size,
    /// What it is a picture of, in words.
    pub title: &'a str,
    /// Days of the period.
    pub first_day: i32,
    pub last_day: i32,
    /// When the report was made, in days.
    pub now: f64,
}

/// The use of `space` in per cent of its size.
pub fn space(frame: &Frame<'_>, space: &Space) -> Markup {
    let mut points = points(&space.days, POINTS);
    // A day is drawn at its noon; what was measured today was not measured later than now.
    points.iter_mut().for_each(|point| point.at = point.at.min(frame.now));
    let span = f64::from(frame.last_day - frame.first_day + 1);
    let ahead = (span / 5.0).max(2.0);
    let (from, until) = (f64::from(frame.first_day), frame.now + ahead);
    picture(frame.size, "chart", frame.title, |area| {
        let marks = ticks::dates(frame.first_day, frame.last_day, (frame.size.width / 80) as usize);
        let percents = [0.0, 50.0, 100.0].map(|percent| (percent, format!("{percent:.0} %")));
        let x = Axis::of_days(from, until, marks);
        let mut chart = axes(area, 46, x, Axis::new(0.0, 100.0, percents.to_vec()))?;
        for stretch in stretches(&points) {
            let upper = stretch.iter().map(|point| (point.at, point.highest));
            let lower = stretch.iter().rev().map(|point| (point.at, point.lowest));
            let band: Vec<(f64, f64)> = upper.clone().chain(lower).collect();
            chart.draw_series([Polygon::new(band, Ink::Band.rgb().filled())])?;
            let line: Vec<(f64, f64)> = upper.collect();
            // One day alone would be a line without length.
            if let [only] = line[..] {
                chart.draw_series([Circle::new(only, px(3), Ink::Main.rgb().filled())])?;
            } else {
                chart.draw_series([PathElement::new(line, stroke(Ink::Main, 1.5))])?;
            }
        }
        chart.draw_series([PathElement::new(vec![(frame.now, 0.0), (frame.now, 100.0)], stroke(Ink::Now, 1.0))])?;
        let line = forecast(space, frame.now, until);
        if line.len() > 1 {
            chart.draw_series([PathElement::new(line.clone(), stroke(Ink::Forecast, 1.5))])?;
        }
        if let Some(&(at, 100.0)) = line.last() {
            chart.draw_series([Circle::new((at, 100.0), px(3), Ink::Full.rgb().filled())])?;
        }
        Ok(())
    })
}

/// Where it will go from the last look on, as far as the picture goes.
fn forecast(space: &Space, now: f64, until: f64) -> Vec<(f64, f64)> {
    let (Some(at_ns), Some(used), Some(full_in)) = (space.at_ns, space.used(), space.full_in) else {
        return Vec::new();
    };
    let (at, used) = (days(at_ns), used * 100.0);
    let full = now + full_in.as_secs_f64() / 86_400.0;
    if full <= until {
        vec![(at, used), (full.max(at), 100.0)]
    } else {
        vec![(at, used), (until, used + (100.0 - used) * (until - at) / (full - at))]
    }
}

/// A time as days since 1970.
#[allow(clippy::cast_precision_loss)] // a picture
pub fn days(ns: i64) -> f64 {
    ns as f64 / 86_400e9
}

#[derive(Clone, Copy, Debug, PartialEq)]
struct Point {
    at: f64,
    /// How many days it stands for.
    days: f64,
    lowest: f64,
    highest: f64,
}

/// The days as at most so many points: of several days the range of all.
fn points(days: &[UseDay], most: usize) -> Vec<Point> {
    let (Some(first), Some(last)) = (days.first(), days.last()) else { return Vec::new() };
    let span = usize::try_from(last.day - first.day).unwrap_or(0) + 1;
    let step = i32::try_from(span.div_ceil(most)).unwrap_or(1).max(1);
    let of = |day: &UseDay| (day.day - first.day) / step;
    #[allow(clippy::cast_precision_loss)] // a ratio
    let percent = |part: u64, whole: u64| if whole == 0 { 0.0 } else { 100.0 * part.min(whole) as f64 / whole as f64 };
    days.chunk_by(|a, b| of(a) == of(b))
        .map(|chunk| Point {
            at: f64::from(first.day + of(&chunk[0]) * step) + f64::from(step) / 2.0,
            days: f64::from(step),
            lowest: chunk.iter().map(|day| percent(day.lowest_bytes, day.total_bytes)).fold(100.0, f64::min),
            highest: chunk.iter().map(|day| percent(day.highest_bytes, day.total_bytes)).fold(0.0, f64::max),
        })
        .collect()
}

/// Points without a hole between them: what nobody measured is not drawn.
fn stretches(points: &[Point]) -> impl Iterator<Item = &[Point]> {
    points.chunk_by(|a, b| b.at - a.at < 1.5 * a.days.max(1.0))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn day(day: i32, lowest_bytes: u64, highest_bytes: u64) -> UseDay {
        UseDay { day, total_bytes: 200, lowest_bytes, highest_bytes }
    }

    #[test]
    fn several_days_become_the_range_of_all_and_holes_stay() {
        let days = [day(10, 20, 40), day(11, 60, 180), day(12, 0, 10), day(40, 2, 4)];
        let one_each = points(&days, 100);
        assert_eq!(one_each[1], Point { at: 11.5, days: 1.0, lowest: 30.0, highest: 90.0 });
        assert_eq!(stretches(&one_each).map(<[Point]>::len).collect::<Vec<_>>(), [3, 1]);
        let few = points(&days, 16);
        assert_eq!(few[0], Point { at: 11.0, days: 2.0, lowest: 10.0, highest: 90.0 });
        assert_eq!(few.len(), 3);
        assert_eq!(points(&[], 16), []);
    }

    #[test]
    fn a_forecast_ends_where_it_is_full_or_the_picture_ends() {
        let mut space = Space {
            at_ns: Some(100 * 86_400_000_000_000),
            total_bytes: Some(200),
            free_bytes: Some(100),
            full_in: Some(Duration::from_secs(10 * 86_400)),
            ..Space::default()
        };
        assert_eq!(forecast(&space, 100.0, 130.0), [(100.0, 50.0), (110.0, 100.0)]);
        assert_eq!(forecast(&space, 100.0, 105.0), [(100.0, 50.0), (105.0, 75.0)]);
        // Nobody has looked for ten days.
        assert_eq!(forecast(&space, 110.0, 130.0), [(100.0, 50.0), (120.0, 100.0)]);
        space.full_in = None;
        assert_eq!(forecast(&space, 100.0, 130.0), []);
    }
}
