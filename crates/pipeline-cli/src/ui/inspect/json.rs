//! An inspection as one line of JSON. `docs/scripting.md` and `docs/schema/inspect.json` say what is in it.

use pipeline_core::inspect::FleetReport;
use serde::Serialize;

/// Grows when a field changes its meaning or goes.
const SCHEMA: u32 = 1;

#[derive(Serialize)]
struct Record<'a> {
    schema: u32,
    needs_a_person: bool,
    #[serde(flatten)]
    report: &'a FleetReport,
}

/// The line.
pub fn line(report: &FleetReport) -> String {
    let record = Record { schema: SCHEMA, needs_a_person: report.needs_a_person(), report };
    match serde_json::to_string(&record) {
        Ok(line) => line,
        // Derived types with string keys: serde_json has no reason to fail.
        Err(error) => unreachable!("a report that is no JSON: {error}"),
    }
}
