//! The end of a run: one row for each device, sums, and below it why for each that failed or is offline.
//!
//! Guarantees: fits the width it is given, [`WIDTH`] where there is none, by shortening names first and then leaving out columns
//! that hold nothing; nothing in it but text, unless colours are wanted.

use std::time::Duration;

use console::Style;
use pipeline_core::event::{Counts, Outcome, RunReport};
use program::words::{bytes, duration, printable, shorten};
use tabled::builder::Builder;
use tabled::settings::object::Columns;
use tabled::settings::{Alignment, Modify, Padding, Style as Borders};

/// Columns of a page, where no terminal says otherwise.
pub const WIDTH: usize = 100;

/// The shortest that a device's name is cut to.
const SHORTEST_NAME: usize = 10;

/// Between two columns.
const GAP: usize = 2;

const HEADS: [&str; 11] = [
    "device", "outcome", "received", "bytes", "adopted", "removed", "deferred", "versions", "clashes", "failed", "time",
];

/// Which columns may be left out where they hold nothing, the first to go first.
const OPTIONAL: [usize; 5] = [4, 7, 8, 6, 9];

type Row = [String; HEADS.len()];

/// The table, with a row of sums where there is more than one device.
pub fn table(report: &RunReport, width: usize, colors: bool) -> String {
    let mut rows: Vec<Row> =
        report.devices.iter().map(|d| row(d.device.as_str(), word(&d.outcome), &d.counts, d.elapsed_ms)).collect();
    if rows.len() > 1 {
        rows.push(row("all", "", &report.counts, report.elapsed_ms));
    }
    let shown = fit(&mut rows, width);
    let mut builder = Builder::default();
    let bold = Style::new().bold().force_styling(colors);
    builder.push_record(shown.iter().map(|&column| bold.apply_to(HEADS[column]).to_string()));
    for row in &rows {
        builder.push_record(shown.iter().map(|&column| paint(column, &row[column], colors)));
    }
    let mut table = builder.build();
    table
        .with(Borders::empty())
        .with(Padding::new(0, GAP, 0, 0))
        .with(Modify::new(Columns::new(2..)).with(Alignment::right()))
        .with(Modify::new(Columns::last()).with(Padding::zero()));
    table.to_string().lines().map(str::trim_end).collect::<Vec<_>>().join("\n")
}

fn row(name: &str, outcome: &str, counts: &Counts, elapsed_ms: u64) -> Row {
    let number = |n: u64| if n == 0 { "-".to_owned() } else { n.to_string() };
    [
        name.to_owned(),
        outcome.to_owned(),
        number(counts.received),
        if counts.received == 0 { "-".to_owned() } else { bytes(counts.received_bytes) },
        number(counts.adopted),
        number(counts.removed),
        number(counts.deferred),
        number(counts.versions),
        number(counts.clashes),
        number(counts.failed),
        duration(Duration::from_millis(elapsed_ms)),
    ]
}

fn word(outcome: &Outcome) -> &'static str {
    match outcome {
        Outcome::Done => "done",
        Outcome::Offline { .. } => "offline",
        Outcome::Failed { .. } => "failed",
        Outcome::Stopped => "stopped",
    }
}

fn paint(column: usize, text: &str, colors: bool) -> String {
    let style = Style::new().force_styling(colors);
    let style = match (column, text) {
        (_, "-") | (1, "offline") => style.dim(),
        (1, "done") => style.green(),
        (1, "failed") => style.red(),
        (1, "stopped") => style.yellow(),
        (7..=9, _) => style.yellow(),
        _ => return text.to_owned(),
    };
    style.apply_to(text).to_string()
}

/// Makes the rows fit: returns the columns to show and shortens the names in `rows`.
fn fit(rows: &mut [Row], width: usize) -> Vec<usize> {
    let wide = |rows: &[Row], column: usize| {
        let cells = rows.iter().map(|row| row[column].chars().count());
        cells.chain([HEADS[column].len()]).max().unwrap_or(0)
    };
    let others = |rows: &[Row], shown: &[usize]| shown[1..].iter().map(|&c| wide(rows, c) + GAP).sum::<usize>();
    let mut shown: Vec<usize> = (0..HEADS.len()).collect();
    for column in OPTIONAL {
        if SHORTEST_NAME.min(wide(rows, 0)) + others(rows, &shown) <= width {
            break;
        }
        if rows.iter().all(|row| row[column] == "-") {
            shown.retain(|&c| c != column);
        }
    }
    let room = width.saturating_sub(others(rows, &shown)).max(SHORTEST_NAME);
    for row in rows {
        row[0] = shorten(&row[0], room).into_owned();
    }
    shown
}

/// Why, for each device that failed or is offline: devices with the same reason together, and what to do about it.
pub fn reasons(report: &RunReport, colors: bool) -> Vec<String> {
    let mut groups: Vec<(&Outcome, Vec<&str>)> = Vec::new();
    for device in &report.devices {
        if why(&device.outcome).is_none() {
            continue;
        }
        match groups.iter_mut().find(|(outcome, _)| *outcome == &device.outcome) {
            Some((_, names)) => names.push(device.device.as_str()),
            None => groups.push((&device.outcome, vec![device.device.as_str()])),
        }
    }
    // What failed matters more.
    groups.sort_by_key(|(outcome, _)| matches!(outcome, Outcome::Offline { .. }));
    let mut lines = Vec::new();
    for (index, (outcome, names)) in groups.iter().enumerate() {
        let Some((reason, hint)) = why(outcome) else { continue };
        lines.push(format!("{} {}: {}", names.join(", "), paint(1, word(outcome), colors), printable(reason)));
        // Ten devices without a tunnel need the same advice once.
        let repeated = groups.get(index + 1).and_then(|(next, _)| why(next)).is_some_and(|(_, next)| next == hint);
        lines.extend(hint.filter(|_| !repeated).map(|hint| format!("  hint: {}", printable(hint))));
    }
    lines
}

fn why(outcome: &Outcome) -> Option<(&str, Option<&str>)> {
    match outcome {
        Outcome::Failed { reason, hint, .. } | Outcome::Offline { reason, hint } => Some((reason, hint.as_deref())),
        Outcome::Done | Outcome::Stopped => None,
    }
}

#[cfg(test)]
mod tests {
    use console::{measure_text_width, strip_ansi_codes};
    use pipeline_core::error::Class;
    use pipeline_core::event::DeviceReport;
    use pipeline_core::path::DeviceName;

    use super::*;

    fn report(devices: &[(&str, Outcome, Counts)]) -> RunReport {
        let mut sum = Counts::default();
        let device = |(name, outcome, counts): &(&str, Outcome, Counts)| DeviceReport {
            device: DeviceName::new(*name).unwrap(),
            outcome: outcome.clone(),
            counts: *counts,
            elapsed_ms: 12_000,
        };
        devices.iter().for_each(|(_, _, counts)| sum += *counts);
        let devices = devices.iter().map(device).collect();
        RunReport { run: 7, devices, counts: sum, hold: None, stopped_by: None, elapsed_ms: 61_000 }
    }

    fn busy() -> Counts {
        Counts { received: 120, received_bytes: 5 << 20, removed: 118, deferred: 2, ..Counts::default() }
    }

    fn offline(reason: &str, hint: &str) -> Outcome {
        Outcome::Offline { reason: reason.into(), hint: Some(hint.into()) }
    }

    fn failed(reason: &str) -> Outcome {
        Outcome::Failed { class: Class::HostKey, reason: reason.into(), hint: None }
    }

    #[test]
    fn a_row_for_each_device_and_the_sum() {
        let report = report(&[
            ("raspberry31", Outcome::Done, busy()),
            ("raspberry32", offline("no tunnel", "look"), Counts::default()),
            ("raspberry33", failed("wrong key"), Counts { failed: 3, ..Counts::default() }),
        ]);
        let expected = "\
device       outcome  received     bytes  removed  deferred  versions  clashes  failed       time
raspberry31  done          120  5.00 MiB      118         2         -        -       -       12 s
raspberry32  offline         -         -        -         -         -        -       -       12 s
raspberry33  failed          -         -        -         -         -        -       3       12 s
all                        120  5.00 MiB      118         2         -        -       3  1 min 1 s";
        assert_eq!(table(&report, WIDTH, false), expected);
    }

    #[test]
    fn fits_whatever_the_names_and_numbers() {
        let name = "a-very-long-name-of-a-device-in-the-far-corner-of-the-orchard-31";
        let huge = Counts {
            received: 12_345_678,
            received_bytes: 1 << 60,
            adopted: 12_345_678,
            removed: 12_345_678,
            deferred: 12_345_678,
            versions: 12_345_678,
            clashes: 12_345_678,
            failed: 12_345_678,
            ..Counts::default()
        };
        for colors in [false, true] {
            for (counts, width) in [(huge, 115), (busy(), WIDTH), (busy(), 80), (Counts::default(), 70)] {
                let table =
                    table(&report(&[(name, Outcome::Done, counts), ("b", Outcome::Done, counts)]), width, colors);
                let widest = table.lines().map(measure_text_width).max().unwrap();
                assert!(widest <= width, "{widest} > {width}:\n{table}");
                assert!(strip_ansi_codes(&table).contains("-31  done"), "{table}");
            }
        }
    }

    #[test]
    fn a_column_that_holds_something_is_never_left_out() {
        let counts = Counts { adopted: 1, versions: 1, clashes: 1, deferred: 1, failed: 1, ..Counts::default() };
        let table = table(&report(&[("pi", Outcome::Done, counts)]), 40, false);
        assert!(HEADS.iter().all(|head| table.contains(head)), "{table}");
    }

    #[test]
    fn colours_change_nothing_but_colours() {
        let report = report(&[("pi", Outcome::Done, busy()), ("pj", failed("x"), Counts::default())]);
        let colored = table(&report, WIDTH, true);
        assert!(colored.contains("\x1b["));
        let stripped: Vec<String> = colored.lines().map(|l| strip_ansi_codes(l).trim_end().to_owned()).collect();
        assert_eq!(stripped.join("\n"), table(&report, WIDTH, false));
    }

    #[test]
    fn reasons_are_grouped_and_advice_is_given_once() {
        let none = Counts::default();
        let report = report(&[
            ("a", offline("no tunnel on port 1", "is it up?"), none),
            ("b", offline("no tunnel on port 2", "is it up?"), none),
            ("c", failed("wrong key"), none),
            ("d", failed("wrong key"), none),
            ("e", Outcome::Done, none),
            ("f", offline("half-open\x1b[2J", "set ClientAliveInterval"), none),
        ]);
        let expected = [
            "c, d failed: wrong key",
            "a offline: no tunnel on port 1",
            "b offline: no tunnel on port 2",
            "  hint: is it up?",
            "f offline: half-open\\x1b[2J",
            "  hint: set ClientAliveInterval",
        ];
        assert_eq!(reasons(&report, false), expected);
    }
}
