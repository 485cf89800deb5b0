//! An inspection for spreadsheets: a row for each device, with what its object in the JSON has.
//!
//! Guarantees that the two can't disagree: a cell is a value of the JSON. Bytes are plain numbers, and what is not known is empty.

use pipeline_core::inspect::FleetReport;
use program::words::printable;
use serde_json::Value;

/// Each column, and where its value stands in the object of a device.
pub(super) const COLUMNS: [(&str, &str); 44] = [
    ("device", "/device"),
    ("state", "/state"),
    ("class", "/class"),
    ("reason", "/reason"),
    ("hint", "/hint"),
    ("severity", "/concerns/0/severity"),
    ("read_at", "/reading/at"),
    ("total_bytes", "/reading/total_bytes"),
    ("free_bytes", "/reading/free_bytes"),
    ("used_bytes", "/reading/used_bytes"),
    ("used_percent", "/reading/used_percent"),
    ("total_files", "/reading/total_files"),
    ("free_files", "/reading/free_files"),
    ("data_bytes", "/reading/data_bytes"),
    ("data_files", "/reading/data_files"),
    ("waiting_bytes", "/reading/waiting_bytes"),
    ("waiting_files", "/reading/waiting_files"),
    ("kept_bytes", "/reading/kept_bytes"),
    ("kept_files", "/reading/kept_files"),
    ("kept_until", "/kept/until"),
    ("kept_until_first", "/kept/first"),
    ("kept_until_last", "/kept/last"),
    ("kept_until_percent", "/kept/percent"),
    ("oldest_waiting", "/reading/oldest_waiting"),
    ("growth_bytes_per_day", "/growth_bytes_per_day"),
    ("recorded_bytes_per_day", "/recorded_bytes_per_day"),
    ("full_in_s", "/full_in_s"),
    ("newest_data", "/newest_data"),
    ("silent_s", "/silent_s"),
    ("last_answer", "/last_answer"),
    ("last_success", "/last_success"),
    ("clock_offset_ns", "/reading/clock_offset_ns"),
    ("temperature_mdeg", "/reading/temperature_mdeg"),
    ("throttled", "/reading/throttled"),
    ("uptime_s", "/reading/uptime_s"),
    ("load_milli", "/reading/load_milli"),
    ("memory_total_bytes", "/reading/memory_total_bytes"),
    ("memory_available_bytes", "/reading/memory_available_bytes"),
    ("read_only", "/reading/read_only"),
    ("sd_errors", "/reading/sd_errors"),
    ("agent", "/reading/agent"),
    ("without_agent", "/without_agent"),
    ("elapsed_ms", "/elapsed_ms"),
    ("concerns", "/concerns"),
];

/// The names of the columns.
pub fn heading() -> String {
    row(["at"].into_iter().chain(COLUMNS.map(|(name, _)| name)))
}

/// A row for each device, in the order of the report, without a line break at its end.
pub fn rows(report: &FleetReport) -> Vec<String> {
    let Ok(report) = serde_json::to_value(report) else { unreachable!("a report that is no JSON") };
    let at = cell(report.get("at"));
    let devices = report["devices"].as_array().map(Vec::as_slice).unwrap_or_default();
    devices
        .iter()
        .map(|device| row([at.clone()].into_iter().chain(COLUMNS.map(|(_, place)| cell(device.pointer(place))))))
        .collect()
}

fn row<T: AsRef<[u8]>>(cells: impl Iterator<Item = T>) -> String {
    let mut writer = csv::WriterBuilder::new().terminator(csv::Terminator::Any(b'\n')).from_writer(Vec::new());
    let written = writer.write_record(cells).ok().and_then(|()| writer.into_inner().ok());
    // It is written to memory, cell by cell.
    let Some(line) = written else { unreachable!("a row that can't be written to memory") };
    String::from_utf8_lossy(&line).trim_end_matches('\n').to_owned()
}

/// Concerns are their words, the worst first. One line, whatever a device says.
fn cell(value: Option<&Value>) -> String {
    match value {
        None | Some(Value::Null) => String::new(),
        Some(Value::String(text)) => printable(text).into_owned(),
        Some(Value::Array(concerns)) => {
            let words = concerns.iter().map(|concern| cell(concern.get("text")));
            words.collect::<Vec<_>>().join("; ")
        }
        Some(other) => other.to_string(),
    }
}
