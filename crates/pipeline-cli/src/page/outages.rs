//! When devices did not answer, and what failed where they did.

use maud::{Markup, html};
use pipeline_core::path::by_number;
use pipeline_core::report::{DayState, End, Failure, Outage, Report};
use program::words::printable;

use super::chart;
use super::words::{Times, long, many, number, or_dash, percent};
use super::{heading, numbers};

/// Names that a failure lists; a fleet that fails as one would fill the page.
const NAMES: usize = 6;

/// A row for each device, and the outages as a table.
pub fn calendar(report: &Report, times: &Times) -> Markup {
    let mut devices: Vec<_> = report.devices.iter().collect();
    devices.sort_by_key(|device| by_number(&device.name));
    let rows: Vec<(&str, &[DayState])> =
        devices.iter().map(|device| (device.name.as_str(), device.calendar.as_slice())).collect();
    let known = report.devices.iter().filter_map(|device| device.answered);
    let answered = known.clone().sum::<f64>() / f64::from(u32::try_from(known.count()).unwrap_or(0).max(1));
    let title = format!("Outages by device and day; devices answered {} of the time", percent(answered));
    let list: Vec<Vec<String>> = report.outages.iter().map(|outage| outage_row(outage, times)).collect();
    let left_out = match report.more_outages {
        0 => String::new(),
        more => format!("; {} shorter ones are left out", number(more as u64)),
    };
    html! {
        (heading("outages", "Outages", "A row for each device, a column for each day; on a narrow page for each week, as its worst day was. Time in which nobody looked is no outage."))
        @if rows.is_empty() { p.empty { "No device has been visited yet." } } @else {
            (chart::key())
            (chart::calendar(&title, report.first_day, &rows))
        }
        @if list.is_empty() { p.empty { "No device was out for more than an hour." } } @else {
            (numbers(&format!("The longest outages{left_out}"), &["Device", "From", "Until", "Lasted", "Why"], 5, &list))
        }
    }
}

fn outage_row(outage: &Outage, times: &Times) -> Vec<String> {
    vec![
        outage.device.clone(),
        times.moment(outage.began_ns),
        match outage.end {
            End::Change => times.moment(outage.ended_ns),
            End::Pause => format!("{}, then nobody looked", times.moment(outage.ended_ns)),
            End::Now => "now".to_owned(),
        },
        long(outage.lasted),
        or_dash(outage.reason.as_deref().map(|reason| printable(reason).into_owned())),
    ]
}

/// What failed, why, and what to do about it.
pub fn failures(report: &Report, times: &Times) -> Markup {
    html! {
        (heading("failures", "Failures and their reasons", "Devices that answered, and could not be served in full."))
        @if report.failures.is_empty() { p.empty { "Nothing failed." } } @else {
            div.failures { @for failure in &report.failures { (item(failure, times)) } }
        }
        @if report.more_failures > 0 {
            p.note { (number(report.more_failures as u64)) " older kinds are left out." }
        }
        @if report.runs.killed > 0 || !report.runs.stopped.is_empty() { (runs(report)) }
    }
}

fn item(failure: &Failure, times: &Times) -> Markup {
    html! {
        div.failure {
            p { span.class { (failure.class.replace('_', " ")) } " " strong { (printable(&failure.reason)) } }
            @if let Some(hint) = &failure.hint { p.hint { (printable(hint)) } }
            p.facts {
                @if !failure.lasting.is_empty() { strong { "Now: " (names(&failure.lasting)) } " · " }
                @if failure.lasting != failure.devices { (names(&failure.devices)) " · " }
                (many(failure.visits, "visit")) " · " (times.moment(failure.first_ns)) " to " (times.moment(failure.last_ns))
            }
        }
    }
}

fn names(devices: &[String]) -> String {
    let named: Vec<&str> = devices.iter().take(NAMES).map(String::as_str).collect();
    match devices.len().saturating_sub(NAMES) {
        0 => named.join(", "),
        more => format!("{} and {more} more", named.join(", ")),
    }
}

fn runs(report: &Report) -> Markup {
    html! {
        h3 { "Runs that ended before their time" }
        ul.plain {
            @for (reason, times) in &report.runs.stopped { li { (number(*times)) " × " (printable(reason)) } }
            @if report.runs.killed > 0 { li { (number(report.runs.killed)) " × killed, or cut off by a power failure" } }
        }
    }
}
