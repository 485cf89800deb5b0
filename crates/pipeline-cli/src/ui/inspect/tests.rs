//! The page at every width, the order, and what programs read.

use console::{measure_text_width, strip_ansi_codes};
use e2e::schema::assert_described;
use insta::assert_snapshot;
use pipeline_core::inspect::{KeptUntil, Kind, StorageState};
use serde_json::Value;

use super::samples::{calm, troubled, well};
use super::*;
use crate::cli::SortKey;

fn plain(width: usize) -> Look {
    Look { width, colors: false, folds: false }
}

fn urgent() -> FleetReport {
    let mut report = troubled();
    sort(&mut report, SortKey::Urgency);
    report
}

#[test]
fn the_page_at_80_columns() {
    assert_snapshot!(page(&urgent(), plain(80)).join("\n"));
}

#[test]
fn the_page_at_160_columns() {
    assert_snapshot!(page(&urgent(), plain(160)).join("\n"));
}

#[test]
fn a_calm_day() {
    assert_snapshot!(page(&calm(), plain(80)).join("\n"));
    assert!(problems(&calm(), false).is_empty());
}

#[test]
fn all_columns() {
    assert_snapshot!(table::table(&urgent(), plain(400)).join("\n"));
}

#[test]
fn every_line_of_the_table_fits_whatever_the_names() {
    let mut report = urgent();
    report.devices.push(well("a-very-long-name-of-a-device-in-the-far-corner-of-the-orchard-31"));
    for width in 30..250 {
        for colors in [false, true] {
            for line in table::table(&report, Look { width, colors, folds: false }) {
                assert!(measure_text_width(&line) <= width, "{width}: {line}");
            }
        }
    }
    let narrow = table::table(&report, plain(80)).join("\n");
    assert!(narrow.contains("-31") && narrow.contains("full in"), "{narrow}");
}

#[test]
fn a_person_gets_lines_that_are_broken_between_words() {
    for colors in [false, true] {
        let look = Look { width: 80, colors, folds: true };
        let lines = page(&urgent(), look);
        assert!(lines.iter().all(|line| measure_text_width(line) <= 80), "{lines:#?}");
        let words =
            |lines: &[String]| -> Vec<String> { lines.join(" ").split_whitespace().map(str::to_owned).collect() };
        assert_eq!(words(&lines), words(&page(&urgent(), Look { folds: false, ..look })), "none is lost");
    }
    let long = "- a: has never answered: localhost:33645 accepts the connection and says nothing";
    let expected =
        ["- a: has never answered:", "    localhost:33645 accepts", "    the connection and says", "    nothing"];
    assert_eq!(folded(long, 28), expected);
    assert_eq!(folded("  hint: look", 80), ["  hint: look"]);
}

#[test]
fn a_wider_page_shows_whatever_a_narrower_one_does() {
    let heads = |width| -> Vec<String> {
        let table = table::table(&urgent(), plain(width));
        table[0].split("  ").map(|head| head.trim().to_owned()).filter(|head| !head.is_empty()).collect()
    };
    for width in [80, 100, 120, 160, 200] {
        let wider = heads(width + 20);
        assert!(heads(width).iter().all(|head| wider.contains(head)), "{width}");
        assert!(wider.len() >= heads(width).len(), "{width}");
    }
}

#[test]
fn colours_change_nothing_but_colours() {
    let look = Look { width: 160, colors: true, folds: false };
    let colored = page(&urgent(), look);
    let stripped: Vec<String> = colored.iter().map(|line| strip_ansi_codes(line).into_owned()).collect();
    assert_eq!(stripped, page(&urgent(), plain(160)));
    let line = |name: &str| colored.iter().find(|line| line.contains(name)).unwrap();
    assert!(line("raspberry31").starts_with("\x1b[31m\x1b[1mraspberry31\x1b[0m"), "{:?}", line("raspberry31"));
    assert!(line("raspberry31").contains("\x1b[31m\x1b[1m96 %\x1b[0m"), "what it is about: {:?}", line("raspberry31"));
    assert!(line("raspberry32").starts_with("\x1b[33mraspberry32\x1b[0m"), "{:?}", line("raspberry32"));
    assert!(line("raspberry9").starts_with("raspberry9"), "{:?}", line("raspberry9"));
}

#[test]
fn what_needs_a_person_and_nothing_else() {
    let problems = problems(&urgent(), false);
    let lines: Vec<&str> = problems.iter().map(|(_, line)| line.as_str()).collect();
    assert_eq!(lines[0], "✗ raspberry31: card 96 % full, full in 5 h");
    assert!(lines.iter().all(|line| !line.starts_with('-')), "{lines:?}");
    assert_eq!(problems[0].0, Level::Error);
    let warning = problems.iter().find(|(_, line)| line.contains("raspberry32")).unwrap();
    assert_eq!(warning.0, Level::Warning);
}

#[test]
fn devices_of_which_the_same_is_said_stand_together() {
    let mut report = calm();
    let weak = || samples::concern(Severity::Warning, Kind::UnderVoltage, "under-voltage", "a stronger supply");
    let off = |port| samples::concern(Severity::Note, Kind::Offline, &format!("offline: no tunnel on {port}"), "look");
    report.devices = ["a", "b", "c", "d"].map(well).to_vec();
    for (index, concerns) in [vec![weak(), off(1)], vec![off(2)], vec![weak()], vec![off(2)]].into_iter().enumerate() {
        report.devices[index].concerns = concerns;
    }
    report.storage.concerns =
        vec![samples::concern(Severity::Critical, Kind::StorageFull, "storage full", "make room")];
    let lines: Vec<String> =
        reasons::reasons(&report, false, Severity::Note).into_iter().map(|(_, line)| line).collect();
    let expected = [
        "✗ storage full",
        "  hint: make room",
        "! a, c: under-voltage",
        "  hint: a stronger supply",
        "- a: offline: no tunnel on 1",
        "- b, d: offline: no tunnel on 2",
        "  hint: look",
    ];
    assert_eq!(lines, expected);
}

#[test]
fn the_storage_in_a_line() {
    let mut storage = calm().storage;
    assert_eq!(
        storage::line(&storage, false),
        "storage /mnt/san/shared/Shared: 412 GiB of 4.00 TiB free, 89 % used, +11.5 GiB a day, full in 35 d"
    );
    storage.state = StorageState::Hung;
    (storage.free_bytes, storage.growth_bytes_per_day, storage.full_in) = (None, None, None);
    assert_eq!(storage::line(&storage, false), "storage /mnt/san/shared/Shared: it does not answer");
    storage.state = StorageState::Ready;
    assert_eq!(storage::line(&storage, false), "storage /mnt/san/shared/Shared: ready");
}

fn sorted(key: SortKey) -> Vec<String> {
    let mut report = troubled();
    sort(&mut report, key);
    report.devices.iter().map(|view| view.device.as_str().trim_start_matches("raspberry").to_owned()).collect()
}

#[test]
fn every_key_sorts() {
    let table = [
        (SortKey::Urgency, "31 36 32 34 35 38 33 37 9"),
        (SortKey::Config, "9 31 32 33 34 35 36 37 38"),
        (SortKey::Name, "9 31 32 33 34 35 36 37 38"),
        (SortKey::Used, "31 9 32 33 34 35 36 37 38"),
        (SortKey::Full, "31 9 32 33 34 35 36 37 38"),
        (SortKey::Waiting, "9 31 33 34 35 36 37 32 38"),
        (SortKey::Oldest, "9 31 33 34 35 36 32 37 38"),
        (SortKey::Silent, "32 34 33 9 31 35 36 37 38"),
        (SortKey::Synced, "34 33 9 31 32 35 36 37 38"),
        (SortKey::Clock, "35 9 31 32 33 34 36 37 38"),
        (SortKey::Temperature, "31 9 32 33 34 35 36 37 38"),
    ];
    for (key, expected) in table {
        assert_eq!(sorted(key).join(" "), expected, "{key:?}");
    }
}

#[test]
fn the_json_is_as_its_schema_says() {
    for report in [troubled(), calm()] {
        let line = json::line(&report);
        assert!(!line.contains('\n'));
        assert_described("inspect", &serde_json::from_str(&line).unwrap());
    }
    let mut other = calm();
    other.storage.state = StorageState::Unusable { reason: "no marker".into(), hint: None };
    other.devices[0].state = State::Stopped;
    for kept in [KeptUntil::NextSync, KeptUntil::Hold, KeptUntil::Never, KeptUntil::HighWater { percent: 80 }] {
        other.devices[0].kept = Some(kept);
        assert_described("inspect", &serde_json::from_str(&json::line(&other)).unwrap());
    }
}

/// Where every value stands that is no object.
fn leaves(value: &Value, place: &str, found: &mut Vec<String>) {
    match value {
        Value::Object(fields) => {
            fields.iter().for_each(|(name, value)| leaves(value, &format!("{place}/{name}"), found));
        }
        _ => found.push(place.to_owned()),
    }
}

#[test]
fn a_row_has_all_that_the_json_has() {
    let report = troubled();
    for view in &report.devices {
        let mut found = Vec::new();
        leaves(&serde_json::to_value(view).unwrap(), "", &mut found);
        let missing: Vec<_> = found
            .iter()
            .filter(|place| !matches!(place.as_str(), "/reading" | "/kept"))
            .filter(|place| csv::COLUMNS.iter().all(|(_, column)| column != place))
            .collect();
        assert!(missing.is_empty(), "{missing:?}");
    }
}

#[test]
fn a_spreadsheet_reads_it() {
    let report = urgent();
    let text = [csv::heading()].into_iter().chain(csv::rows(&report)).collect::<Vec<_>>().join("\n");
    let mut reader = ::csv::Reader::from_reader(text.as_bytes());
    let heads = reader.headers().unwrap().clone();
    let rows: Vec<_> = reader.records().map(|row| row.unwrap()).collect();
    assert_eq!((rows.len(), heads.len()), (9, csv::COLUMNS.len() + 1));
    let cell = |device: &str, head: &str| -> String {
        let row = rows.iter().find(|row| &row[1] == device).unwrap();
        row[heads.iter().position(|h| h == head).unwrap()].to_owned()
    };
    assert_eq!(cell("raspberry31", "at"), "2026-11-22T08:00:00Z");
    assert_eq!(cell("raspberry31", "concerns"), "card 96 % full, full in 5 h; its processor is slowed down");
    assert_eq!(cell("raspberry31", "severity"), "critical");
    assert_eq!(cell("raspberry31", "full_in_s"), "18040");
    assert_eq!(cell("raspberry37", "temperature_mdeg"), "");
    assert_eq!(cell("raspberry38", "reason"), "host key of raspberry38 is unknown \\x1b[2J");
    assert_eq!(cell("raspberry36", "read_only"), "true");
    assert!(rows.iter().all(|row| row.len() == heads.len()));
}
