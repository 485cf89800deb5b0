//! Amounts as bars: upright ones for days, lying ones for devices.

use maud::Markup;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, VPos};

use super::axis::{Axis, axes};
use super::{Ink, Size, both, picture, px, text, ticks};

/// Thinner ones can't be told apart.
const THINNEST: u32 = 2;

/// Bytes of each day from `first` on.
pub fn by_day(title: &str, first: i32, bytes: &[u64]) -> Markup {
    both(|wide| {
        let size = if wide { Size { width: 1080, height: 240 } } else { Size { width: 350, height: 200 } };
        picture(size, "chart", title, |area| {
            let left = 62;
            let step = step(bytes.len(), size.width - left);
            let bars = means(bytes, step);
            let highest = bars.iter().copied().fold(1.0, f64::max) * 1.05;
            let last = first + i32::try_from(bytes.len()).unwrap_or(0);
            let dates = ticks::dates(first, last - 1, (size.width / 70) as usize);
            let x = Axis::of_days(f64::from(first), f64::from(last), dates);
            let mut chart = axes(area, left, x, Axis::new(0.0, highest, ticks::sizes(highest)))?;
            let wide = f64::from(i32::try_from(step).unwrap_or(1));
            let mut at = f64::from(first);
            for bar in bars {
                if bar > 0.0 {
                    let until = (at + wide * 0.82).min(f64::from(last));
                    chart.draw_series([Rectangle::new([(at, 0.0), (until, bar)], Ink::Main.rgb().filled())])?;
                }
                at += wide;
            }
            Ok(())
        })
    })
}

/// How many days one bar stands for, where so many pixels are there for all.
fn step(days: usize, pixels: u32) -> usize {
    let most = (pixels / THINNEST) as usize;
    [1, 7, 14, 28, 91, 182].into_iter().find(|step| days.div_ceil(*step) <= most).unwrap_or(364)
}

/// Means of so many days each, so that the axis says the same whatever a bar stands for.
fn means(bytes: &[u64], step: usize) -> Vec<f64> {
    #[allow(clippy::cast_precision_loss)] // a picture
    bytes.chunks(step).map(|chunk| chunk.iter().map(|&bytes| bytes as f64).sum::<f64>() / chunk.len() as f64).collect()
}

/// One lying bar.
pub struct Bar<'a> {
    pub name: &'a str,
    pub value: u64,
    pub words: String,
}

/// Bars below each other, each with its name before and its value behind it.
pub fn across(title: &str, bars: &[Bar<'_>]) -> Markup {
    const ROW: u32 = 19;
    both(|wide| {
        let height = ROW * u32::try_from(bars.len()).unwrap_or(1).max(1) + 4;
        let size = Size { width: if wide { 1080 } else { 350 }, height };
        let (names, words) = if wide { (150, 90) } else { (104, 66) };
        let highest = bars.iter().map(|bar| bar.value).max().unwrap_or(0).max(1);
        picture(size, "chart", title, |area| {
            for (row, bar) in (0..).zip(bars) {
                let middle = px(row * ROW + ROW / 2 + 2);
                let name = program::words::shorten(bar.name, if wide { 20 } else { 14 });
                area.draw(&Text::new(
                    name.into_owned(),
                    (px(names - 8), middle),
                    text(11.5, Ink::Text, HPos::Right, VPos::Center),
                ))?;
                #[allow(clippy::cast_precision_loss, clippy::cast_possible_truncation)] // a picture
                let long = (f64::from(px(size.width - names - words)) * bar.value as f64 / highest as f64) as i32;
                if bar.value > 0 {
                    let corners = [(px(names), middle - px(5)), (px(names) + long.max(px(1)), middle + px(5))];
                    area.draw(&Rectangle::new(corners, Ink::Main.rgb().filled()))?;
                }
                area.draw(&Text::new(
                    bar.words.clone(),
                    (px(names) + long + px(6), middle),
                    text(11.0, Ink::Text, HPos::Left, VPos::Center),
                ))?;
            }
            Ok(())
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bars_are_means_and_never_too_thin() {
        assert_eq!(means(&[2, 4, 6, 9], 3), [4.0, 9.0]);
        assert_eq!([step(300, 1000), step(365, 300), step(4000, 300)], [1, 7, 28]);
    }
}
