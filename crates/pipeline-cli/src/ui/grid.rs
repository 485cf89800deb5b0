//! A plain table: heads, and rows of text. Guarantees nothing but text in it, unless colours are wanted.

use console::Style;
use program::words::printable;
use tabled::builder::Builder;
use tabled::settings::object::Columns;
use tabled::settings::{Alignment, Modify, Padding, Style as Borders};

/// Between two columns.
const GAP: usize = 2;

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
pub fn grid(columns: &[Column], rows: &[Vec<String>], colors: bool) -> String {
    let shown: Vec<usize> = (0..columns.len()).filter(|&at| rows.iter().any(|row| row[at] != "-")).collect();
    let bold = Style::new().bold().force_styling(colors);
    let dim = Style::new().dim().force_styling(colors);
    let mut builder = Builder::default();
    builder.push_record(shown.iter().map(|&at| bold.apply_to(columns[at].head).to_string()));
    for row in rows {
        builder.push_record(shown.iter().map(|&at| match row[at].as_str() {
            "-" => dim.apply_to("-").to_string(),
            text => printable(text).into_owned(),
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
    table.to_string().lines().map(str::trim_end).collect::<Vec<_>>().join("\n")
}
