//! The page of `pipeline report`: a [`Report`] as one file of HTML that needs nothing else.
//!
//! Guarantees: nothing is loaded and nothing runs, which the page itself tells the browser; whatever a device says is text and
//! never markup; the page fits a desk, a phone and paper, light and dark; beside each picture stand its numbers. Leaves to
//! others: what is so, and what is urgent.

use jiff::tz::TimeZone;
use maud::{DOCTYPE, Markup, PreEscaped, html};
use pipeline_core::report::Report;

mod cards;
mod chart;
mod now;
mod outages;
#[cfg(test)]
mod tests;
mod transfers;
mod words;

const STYLE: &str = include_str!("page.css");

/// Nothing but the style that stands in the page.
const POLICY: &str =
    "default-src 'none'; style-src 'unsafe-inline'; img-src data:; base-uri 'none'; form-action 'none'";

/// How each page begins, and nothing else: so it is known what a new page may replace.
pub const OPENING: &str = "<!DOCTYPE html><html lang=\"en\"><head><meta charset=\"utf-8\">\
                           <meta name=\"generator\" content=\"pipeline report\">";

/// A part of the page: its anchor, what the way to it is called, and what it shows.
struct Section {
    id: &'static str,
    name: &'static str,
    body: Markup,
}

/// Draws the page; times are told in `zone`.
pub fn render(report: &Report, zone: &TimeZone) -> String {
    let times = words::Times::new(report.at_ns, zone.clone());
    let sections = [
        Section { id: "now", name: "Fleet now", body: now::table(report, &times) },
        Section { id: "cards", name: "Cards", body: cards::cards(report, &times) },
        Section { id: "received", name: "Received", body: transfers::by_day(report) },
        Section { id: "outages", name: "Outages", body: outages::calendar(report, &times) },
        Section { id: "devices", name: "Transfers", body: transfers::by_device(report) },
        Section { id: "failures", name: "Failures", body: outages::failures(report, &times) },
        Section { id: "storage", name: "Storage", body: cards::storage(report, &times) },
    ];
    let page = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="generator" content="pipeline report";
                meta http-equiv="Content-Security-Policy" content=(POLICY);
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                // Else a browser asks for one.
                link rel="icon" href="data:,";
                title { "Fleet report, " (times.date(report.at_ns)) }
                style { (PreEscaped(STYLE)) }
            }
            body {
                header {
                    (now::head(report, &times))
                    nav aria-label="Parts of this page" {
                        @for section in &sections { a href={ "#" (section.id) } { (section.name) } }
                    }
                }
                main {
                    (now::tiles(report, &times))
                    (now::concerns(report))
                    @for section in &sections {
                        section id=(section.id) aria-labelledby={ (section.id) "-title" } { (section.body) }
                    }
                }
                footer { (about(report, &times)) }
            }
        }
    };
    page.into_string()
}

/// A heading that names its section.
fn heading(id: &str, title: &str, note: &str) -> Markup {
    html! {
        h2 id={ (id) "-title" } { (title) }
        @if !note.is_empty() { p.note { (note) } }
    }
}

/// A table that is opened by who wants the numbers of a picture. Columns after the first `left` hold numbers.
fn numbers(summary: &str, heads: &[&str], left: usize, rows: &[Vec<String>]) -> Markup {
    let class = |column: usize| if column < left { "" } else { "n" };
    html! {
        details {
            summary { (summary) }
            div.scroll role="region" aria-label=(summary) tabindex="0" {
                table {
                    thead { tr { @for (column, head) in heads.iter().enumerate() { th scope="col" class=(class(column)) { (head) } } } }
                    tbody {
                        @for row in rows {
                            tr {
                                @for (column, cell) in row.iter().enumerate() {
                                    @if column == 0 { th scope="row" { (cell) } } @else { td class=(class(column)) { (cell) } }
                                }
                            }
                        }
                    }
                }
            }
        }
    }
}

fn about(report: &Report, times: &words::Times) -> Markup {
    html! {
        p {
            "Made by pipeline " (env!("CARGO_PKG_VERSION")) " on " (times.moment(report.at_ns))
            ", from the catalog alone: no device was asked. Times are in " (times.zone_name())
            "; days begin at midnight UTC. The archive is " code { (report.root.display()) } "."
        }
        p {
            "A forecast goes on from the last look at the rate of the past days, and is no promise. "
            "KiB, MiB, GiB and TiB are powers of 1024."
        }
    }
}
