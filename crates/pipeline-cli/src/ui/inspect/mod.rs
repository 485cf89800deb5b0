//! An inspection as people and spreadsheets want it: the table, below it what needs a person and why, the hold, the storage.
//!
//! Pure: a report and a width to lines. Guarantees: every line of the table fits the width; colours change nothing but colours; nothing
//! that a device says can do more to a terminal than be read. [`csv`] and [`json`] are for programs.

use std::time::Duration;

use console::{Style, measure_text_width};
use jiff::Timestamp;
use jiff::tz::TimeZone;
use pipeline_core::inspect::{FleetReport, Severity, State};
use program::streams::Level;
use program::words::{brief, count, duration, printable};

use super::wording::hold_line;

mod columns;
pub mod csv;
pub mod json;
mod order;
mod reasons;
#[cfg(test)]
mod samples;
mod screen;
mod storage;
mod table;
#[cfg(test)]
mod tests;

pub use order::sort;
pub use screen::frame;

/// Columns of a page, where neither a terminal nor the environment says otherwise.
pub const WIDTH: usize = 80;

/// What is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// For people.
    Page,
    /// One line of JSON.
    Json,
    /// A row for each device.
    Csv,
}

/// How to draw.
#[derive(Clone, Copy, Debug)]
pub struct Look {
    /// Columns of the page.
    pub width: usize,
    /// Whether to write colours.
    pub colors: bool,
    /// Whether lines below the table are broken between words: for a person's eyes, and not for `grep`.
    pub folds: bool,
}

/// The whole page. Devices stand as the report has them.
pub fn page(report: &FleetReport, look: Look) -> Vec<String> {
    let mut lines = table::table(report, look);
    let reasons = reasons::reasons(report, look.colors, Severity::Note);
    if !reasons.is_empty() {
        lines.push(String::new());
    }
    let fold = |line: String| if look.folds { folded(&line, look.width) } else { vec![line] };
    lines.extend(reasons.into_iter().flat_map(|(_, line)| fold(line)));
    lines.push(String::new());
    lines.extend(fold(storage::line(&report.storage, look.colors)));
    lines.extend(report.hold.iter().flat_map(|hold| fold(printable(&hold_line(hold)).into_owned())));
    lines.extend(fold(summary(report)));
    lines
}

/// Breaks a line between words; what follows the first is set in.
pub(super) fn folded(line: &str, width: usize) -> Vec<String> {
    const INDENT: &str = "    ";
    let mut lines: Vec<String> = Vec::new();
    // Of two blanks at its beginning each ends an empty word.
    for word in line.split(' ') {
        match lines.last_mut() {
            Some(line) if measure_text_width(line) + 1 + measure_text_width(word) <= width => {
                line.push(' ');
                line.push_str(word);
            }
            Some(_) => lines.push(format!("{INDENT}{word}")),
            None => lines.push(word.to_owned()),
        }
    }
    lines
}

/// The page of somebody who watches: when it is from comes first.
pub fn watched_page(report: &FleetReport, look: Look, every: Duration) -> Vec<String> {
    let took = duration(Duration::from_millis(report.elapsed_ms));
    let at = Timestamp::from_nanosecond(i128::from(report.at_ns)).unwrap_or_default();
    let at = at.to_zoned(TimeZone::system()).strftime("%Y-%m-%d %H:%M:%S").to_string();
    let heading = format!("{at}, asked in {took}; {} until the next look; Ctrl-C ends it", brief(every));
    [heading, String::new()].into_iter().chain(page(report, look)).collect()
}

/// What needs a person, and nothing else: no line where all is well. Each with how much it matters in a journal.
pub fn problems(report: &FleetReport, colors: bool) -> Vec<(Level, String)> {
    reasons::reasons(report, colors, Severity::Warning)
}

/// Devices by how they answered, and how many need somebody.
pub fn summary(report: &FleetReport) -> String {
    let words = |word: &str, is: fn(&State) -> bool| {
        let number = report.devices.iter().filter(|view| is(&view.state)).count();
        (number > 0).then(|| format!("{number} {word}"))
    };
    let states = [
        words("ready", |state| matches!(state, State::Ready)),
        words("offline", |state| matches!(state, State::Offline { .. })),
        words("failed", |state| matches!(state, State::Failed { .. })),
        words("not asked", |state| matches!(state, State::Stopped)),
    ];
    let states = states.into_iter().flatten().collect::<Vec<_>>().join(", ");
    let urgent = report.devices.iter().filter(|view| view.severity() >= Some(Severity::Warning)).count();
    let verdict = match (report.needs_a_person(), urgent) {
        (false, _) => "nothing needs a person".to_owned(),
        (true, 0) => "something needs a person: see above".to_owned(),
        (true, 1) => "1 needs a person".to_owned(),
        (true, urgent) => format!("{urgent} need a person"),
    };
    format!("{}: {states}; {verdict}", count(report.devices.len() as u64, "device"))
}

/// What is this bad looks like this.
fn style(severity: Option<Severity>, colors: bool) -> Style {
    let style = Style::new().force_styling(colors);
    match severity {
        Some(Severity::Critical) => style.red().bold(),
        Some(Severity::Warning) => style.yellow(),
        Some(Severity::Note) | None => style,
    }
}
