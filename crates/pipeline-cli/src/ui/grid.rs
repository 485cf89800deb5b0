//! A plain table: heads, and rows of text. Guarantees nothing but text in it, unless colours are wanted; and that it fits a width, if it
//! has to: columns from the last one on then stand below their row.

use console::{Style, measure_text_width};
use program::words::printable;
use tabled::builder::Builder;
use tabled::settings::object::Columns;
use tabled::settings::{Alignment, Modify, Padding, Style as Borders};

use super::inspect::folded;

/// Between two columns.
const GAP: usize = 2;

/// How far in stands what is below its row.
const INDENT: &str = "    ";

/// So many columns stay, whatever the width.
const FEWEST: usize = 2;

/// A column of a table.
#[derive(Clone, Copy, Debug)]
pub struct Column {
    head: &'static str,
    right: bool,
}

impl Column {
    /// Of text.
    pub const fn left(head: &'static str) -> Column {
        Column { head, right: false }
    }

    /// Of numbers.
    pub const fn right(head: &'static str) -> Column {
        Column { head, right: true }
    }
}

/// The table. A column in which no row has more than a `-` is left out, and so is a row's end of blanks.
pub fn grid(columns: &[Column], rows: &[Vec<String>], width: Option<usize>, colors: bool) -> String {
    let rows: Vec<Vec<String>> =
        rows.iter().map(|row| row.iter().map(|cell| printable(cell).into_owned()).collect()).collect();
    let mut shown: Vec<usize> = (0..columns.len()).filter(|&at| rows.iter().any(|row| row[at] != "-")).collect();
    let wide = |&at: &usize| {
        let cells = rows.iter().map(|row| measure_text_width(&row[at]));
        cells.chain([columns[at].head.len()]).max().unwrap_or(0)
    };
    let mut below = Vec::new();
    while width.is_some_and(|width| shown.iter().map(wide).sum::<usize>() + GAP * shown.len().saturating_sub(1) > width)
        && shown.len() > FEWEST
    {
        below.extend(shown.pop());
    }
    below.reverse();
    let lines = drawn(columns, &rows, &shown, colors);
    let Some(width) = width.filter(|_| !below.is_empty()) else { return lines.join("\n") };
    let more = |row: &Vec<String>| -> Vec<String> {
        let told = below.iter().filter(|&&at| row[at] != "-");
        let line = |&at: &usize| format!("{INDENT}{}: {}", columns[at].head, row[at]);
        told.flat_map(|at| folded(&line(at), width)).collect()
    };
    let rows = [Vec::new()].into_iter().chain(rows.iter().map(more));
    lines.into_iter().zip(rows).flat_map(|(line, more)| [vec![line], more].concat()).collect::<Vec<_>>().join("\n")
}

/// A line for the heads and one for each row.
fn drawn(columns: &[Column], rows: &[Vec<String>], shown: &[usize], colors: bool) -> Vec<String> {
    let bold = Style::new().bold().force_styling(colors);
    let dim = Style::new().dim().force_styling(colors);
    let mut builder = Builder::default();
    builder.push_record(shown.iter().map(|&at| bold.apply_to(columns[at].head).to_string()));
    for row in rows {
        builder.push_record(shown.iter().map(|&at| match row[at].as_str() {
            "-" => dim.apply_to("-").to_string(),
            text => text.to_owned(),
        }));
    }
    let mut table = builder.build();
    table.with(Borders::empty()).with(Padding::new(0, GAP, 0, 0));
    for (place, &at) in shown.iter().enumerate() {
        if columns[at].right {
            table.with(Modify::new(Columns::one(place)).with(Alignment::right()));
        }
    }
    table.with(Modify::new(Columns::last()).with(Padding::zero()));
    table.to_string().lines().map(|line| line.trim_end().to_owned()).collect()
}
