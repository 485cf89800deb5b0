//! The table: a row for each device.
//!
//! Guarantees that it fits the width from 30 columns on: names are shortened, and columns find a place by their rank.

use console::{Style, measure_text_width};
use pipeline_core::inspect::{FleetReport, Kind, Severity, State};
use program::words::{printable, shorten};

use super::columns::{COLUMNS, CORE, Column, Row};
use super::{Look, style};

/// The shortest that a device's name is cut to.
const SHORTEST_NAME: usize = 10;

/// Between two columns.
const GAP: usize = 2;

const NOTHING: &str = "-";

/// One column of this page: the heading, then a cell for each row.
struct Filled {
    column: &'static Column,
    cells: Vec<String>,
    width: usize,
}

/// Heading and rows.
pub(super) fn table(report: &FleetReport, look: Look) -> Vec<String> {
    let rows: Vec<Row<'_>> = report.devices.iter().map(|view| Row { view, at_ns: report.at_ns }).collect();
    let widest = rows.iter().map(|row| row.view.device.as_str().chars().count()).chain(["device".len()]).max();
    let columns = fit(COLUMNS.iter().map(|column| fill(column, &rows)), widest.unwrap_or(0), look.width);
    let others: usize = columns.iter().map(|filled| filled.width + GAP).sum();
    let name_width = look.width.saturating_sub(others).max(SHORTEST_NAME).min(widest.unwrap_or(0));

    let bold = Style::new().bold().force_styling(look.colors);
    let mut lines = Vec::with_capacity(rows.len() + 1);
    let heads = columns.iter().map(|filled| (pad(filled.column.head, filled), bold.clone()));
    lines.push(join([(format!("{:name_width$}", "device"), bold.clone())].into_iter().chain(heads)));
    for (index, row) in rows.iter().enumerate() {
        let name = shorten(row.view.device.as_str(), name_width).into_owned();
        let name = (format!("{name:name_width$}"), style(row.view.severity(), look.colors));
        let cells = columns.iter().map(|filled| {
            let cell = &filled.cells[index];
            (pad(cell, filled), paint(row, filled.column, cell, look.colors))
        });
        lines.push(join([name].into_iter().chain(cells)));
    }
    lines
}

fn fill(column: &'static Column, rows: &[Row<'_>]) -> Filled {
    let cell = |row| (column.cell)(row).map_or_else(|| NOTHING.to_owned(), |text| printable(&text).into_owned());
    let cells: Vec<String> = rows.iter().map(cell).collect();
    let widths = cells.iter().map(|cell| measure_text_width(cell));
    let width = widths.chain([column.head.len()]).max().unwrap_or(0);
    Filled { column, cells, width }
}

/// The columns that find a place, in the order in which they are shown. Names give way to the core columns alone.
fn fit(all: impl Iterator<Item = Filled>, widest_name: usize, width: usize) -> Vec<Filled> {
    let mut by_rank: Vec<(usize, Filled)> = all
        .enumerate()
        .filter(|(_, filled)| filled.column.rank < CORE || filled.cells.iter().any(|cell| cell != NOTHING))
        .collect();
    by_rank.sort_by_key(|(_, filled)| filled.column.rank);
    let mut used = 0;
    let fitting = by_rank.iter().take_while(|(_, filled)| {
        let name = if filled.column.rank < CORE { widest_name.min(SHORTEST_NAME) } else { widest_name };
        used += GAP + filled.width;
        name + used <= width
    });
    let count = fitting.count();
    by_rank.truncate(count);
    by_rank.sort_by_key(|(place, _)| *place);
    by_rank.into_iter().map(|(_, filled)| filled).collect()
}

fn pad(text: &str, filled: &Filled) -> String {
    let space = " ".repeat(filled.width.saturating_sub(measure_text_width(text)));
    if filled.column.left { format!("{text}{space}") } else { format!("{space}{text}") }
}

/// The worst concern that it is about; what is old, or nothing, is faint.
fn paint(row: &Row<'_>, column: &Column, cell: &str, colors: bool) -> Style {
    let about = |kind: &Kind| column.about.contains(kind);
    let worst = row.view.concerns.iter().filter(|concern| about(&concern.kind)).map(|concern| concern.severity).max();
    match worst {
        Some(Severity::Critical | Severity::Warning) => style(worst, colors),
        _ if cell == NOTHING || row.view.state != State::Ready => style(None, colors).dim(),
        _ => style(None, colors),
    }
}

/// Spaces at the end are nobody's.
fn join(cells: impl Iterator<Item = (String, Style)>) -> String {
    let mut cells: Vec<_> = cells.collect();
    if let Some((last, _)) = cells.last_mut() {
        last.truncate(last.trim_end().len());
    }
    let painted: Vec<String> = cells.iter().map(|(text, style)| paint_words(text, style)).collect();
    painted.join(&" ".repeat(GAP)).trim_end().to_owned()
}

/// Spaces have no colour: an underline, or another terminal's idea of bold, would show.
fn paint_words(text: &str, style: &Style) -> String {
    let words = text.trim();
    let start = text.len() - text.trim_start().len();
    let end = start + words.len();
    format!("{}{}{}", &text[..start], style.apply_to(words), &text[end..])
}
