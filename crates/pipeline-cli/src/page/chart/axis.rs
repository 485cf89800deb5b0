//! An axis whose marks are given with their words.

use std::ops::Range;

use plotters::chart::ChartContext;
use plotters::coord::ranged1d::{KeyPointHint, NoDefaultFormatting, ValueFormatter};
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, VPos};

use super::{Area, Fault, Ink, px, stroke, text};

/// From one number to another, with marks between them.
pub struct Axis {
    from: f64,
    until: f64,
    marks: Vec<(f64, String)>,
}

impl Axis {
    pub fn new(from: f64, until: f64, marks: Vec<(f64, String)>) -> Axis {
        Axis { from, until, marks }
    }

    /// With days as marks.
    pub fn of_days(from: f64, until: f64, marks: Vec<(i32, String)>) -> Axis {
        Axis::new(from, until, marks.into_iter().map(|(day, words)| (f64::from(day), words)).collect())
    }
}

impl Ranged for Axis {
    type FormatOption = NoDefaultFormatting;
    type ValueType = f64;

    fn map(&self, value: &f64, limit: (i32, i32)) -> i32 {
        let part = (value - self.from) / (self.until - self.from);
        #[allow(clippy::cast_possible_truncation)] // within the picture
        let along = (part * f64::from(limit.1 - limit.0)).round() as i32;
        limit.0 + along
    }

    fn key_points<Hint: KeyPointHint>(&self, hint: Hint) -> Vec<f64> {
        // Lines between the marks there are none.
        if hint.weight().allow_light_points() { Vec::new() } else { self.marks.iter().map(|(at, _)| *at).collect() }
    }

    fn range(&self) -> Range<f64> {
        self.from..self.until
    }
}

impl ValueFormatter<f64> for Axis {
    fn format_ext(&self, value: &f64) -> String {
        let mark = self.marks.iter().find(|(at, _)| at == value);
        mark.map(|(_, words)| words.clone()).unwrap_or_default()
    }
}

/// A chart with lines across at the marks of `y`, whose words take `left` pixels.
pub type Chart<'a, 'b> = ChartContext<'a, SVGBackend<'b>, Cartesian2d<Axis, Axis>>;

/// Draws the axes, and returns where the rest is to be drawn.
pub fn axes<'a, 'b>(area: &'a Area<'b>, left: u32, x: Axis, y: Axis) -> Result<Chart<'a, 'b>, Fault> {
    let mut chart = ChartBuilder::on(area)
        .margin_top(px(8))
        .margin_right(px(6))
        .x_label_area_size(px(20))
        .y_label_area_size(px(left))
        .build_cartesian_2d(x, y)?;
    chart
        .configure_mesh()
        .disable_x_mesh()
        .light_line_style(TRANSPARENT)
        .bold_line_style(stroke(Ink::Grid, 1.0))
        .axis_style(stroke(Ink::Grid, 1.0))
        .set_all_tick_mark_size(px(4))
        .label_style(text(11.0, Ink::Text, HPos::Center, VPos::Center))
        .draw()?;
    Ok(chart)
}
