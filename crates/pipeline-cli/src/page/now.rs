//! The top of the page: how the fleet is at this moment, and what needs a person.

use maud::{Markup, html};
use pipeline_core::hold::{Hold, Standing};
use pipeline_core::inspect::{Concern, Severity};
use pipeline_core::report::{Amount, Device, Report, State};
use program::words::{bytes, count, printable};

use super::heading;
use super::words::{Times, day, long, many, number, or_dash, percent};

/// From here on a card is drawn as full, in per cent.
const FULL: f64 = 0.9;

/// A name of so many characters stays on one line, at a phone too: in two, `raspberry10` reads as `raspberry1`.
const WHOLE_NAME: usize = 20;

/// The title, in a sentence how it is, and the hold.
pub fn head(report: &Report, times: &Times) -> Markup {
    let ready = report.devices.iter().filter(|device| matches!(device.state, State::Ready | State::Failed)).count();
    let needy = report.devices.iter().filter(|device| grave(device)).count();
    let all = report.devices.iter().filter(|device| device.state != State::Retired).count() as u64;
    html! {
        h1 { "Fleet report" }
        p.period { (day(report.first_day)) " to " (times.moment(report.at_ns)) }
        p.verdict {
            @if all == 0 { "There is no device." } @else {
                strong { (ready) " of " (count(all, "device")) } " answered when last visited. "
                @if needy == 0 {
                    @if report.concerns.iter().any(is_grave) { "Something needs a person." } @else { "Nothing needs a person." }
                } @else {
                    strong { (needy) } @if needy == 1 { " needs a person." } @else { " need a person." }
                }
            }
        }
        @if let Standing::Held(hold) = &report.hold { (held(hold, times)) }
    }
}

fn held(hold: &Hold, times: &Times) -> Markup {
    let time = |text: &Option<String>| {
        text.as_ref().map(|text| text.parse().map_or_else(|_| text.clone(), |time| times.moment_of(time)))
    };
    let part = |word: &str, text: &Option<String>| text.as_ref().map(|text| format!(" {word} {}", printable(text)));
    html! {
        p.held role="status" {
            strong { "Removals are on hold" }
            @for words in [part("since", &time(&hold.since)), part("by", &hold.by), part("until", &time(&hold.until))] {
                @if let Some(words) = words { (words) }
            }
            "."
            @if let Some(reason) = &hold.reason { " “" (printable(reason)) "”" }
            @if let Some(remark) = &hold.remark { " " (printable(remark)) "." }
            " Files are received as ever, and stay on the devices."
        }
    }
}

/// The few numbers that say most.
pub fn tiles(report: &Report, times: &Times) -> Markup {
    let received: Amount = report.days.iter().map(|day| day.received).sum();
    let waiting: Amount = report.devices.iter().filter_map(|device| device.waiting).sum();
    let fullest = report.devices.iter().filter_map(|device| Some((device.card.used()?, device)));
    let fullest = fullest.max_by(|a, b| a.0.total_cmp(&b.0));
    let storage = &report.storage;
    html! {
        div.tiles {
            (tile("Received", &bytes(received.bytes), &many(received.files, "file")))
            (tile("In the archive", &bytes(report.archived.bytes), &many(report.archived.files, "file")))
            (tile("Waiting on cards", &bytes(waiting.bytes), &many(waiting.files, "file")))
            @if let Some((used, device)) = fullest {
                (tile("Fullest card", &percent(used), &device_words(device)))
            }
            @if let (Some(free), Some(used)) = (storage.free_bytes, storage.used()) {
                @let full_in = storage.full_in.map_or_else(|| format!("{} used", percent(used)), |time| format!("full in {}", long(time)));
                (tile("Free in the storage", &bytes(free), &full_in))
            }
            @if let Some(last) = report.runs.last_ns {
                @let runs = number(report.runs.total);
                (tile("Last run", &times.ago(last), &format!("{runs} in all")))
            }
        }
    }
}

fn device_words(device: &Device) -> String {
    match device.card.full_in {
        Some(time) => format!("{}, full in {}", device.name, long(time)),
        None => device.name.clone(),
    }
}

fn tile(what: &str, value: &str, more: &str) -> Markup {
    html! {
        div.tile { p.what { (what) } p.value { (value) } p.more { (more) } }
    }
}

/// What needs a person, and what to do about it.
pub fn concerns(report: &Report) -> Markup {
    let needy: Vec<&Device> = report.devices.iter().filter(|device| grave(device)).collect();
    if needy.is_empty() && !report.concerns.iter().any(is_grave) {
        return html! {};
    }
    html! {
        section.concerns aria-labelledby="concerns-title" {
            (heading("concerns", "Needs a person", ""))
            ul {
                (needs("All devices", &report.concerns))
                @for device in needy { (needs(&device.name, &device.concerns)) }
            }
        }
    }
}

fn needs(whom: &str, concerns: &[Concern]) -> Markup {
    let grave: Vec<&Concern> = concerns.iter().filter(|concern| is_grave(concern)).collect();
    let Some(worst) = grave.iter().map(|concern| concern.severity).max() else { return html! {} };
    html! {
        li class=(severity_class(worst)) {
            span.mark { (severity_word(worst)) }
            div {
                strong { (whom) }
                @for concern in grave {
                    p { (printable(&concern.text)) @if let Some(hint) = &concern.hint { span.hint { " — " (printable(hint)) } } }
                }
            }
        }
    }
}

fn grave(device: &Device) -> bool {
    device.concerns.iter().any(is_grave)
}

fn is_grave(concern: &Concern) -> bool {
    concern.severity > Severity::Note
}

fn severity_class(severity: Severity) -> &'static str {
    match severity {
        Severity::Critical => "critical",
        Severity::Warning => "warning",
        Severity::Note => "note",
    }
}

fn severity_word(severity: Severity) -> &'static str {
    match severity {
        Severity::Critical => "Critical",
        Severity::Warning => "Warning",
        Severity::Note => "Note",
    }
}

/// All devices, the most urgent first.
pub fn table(report: &Report, times: &Times) -> Markup {
    html! {
        (heading("now", "The fleet now", "As the last visit found each device, the most urgent first."))
        table.fleet {
            thead {
                tr {
                    th scope="col" { "Device" }
                    th.wide scope="col" { "State" }
                    th scope="col" { "Card" }
                    th.n scope="col" { "Full in" }
                    th.n.more scope="col" { "Waiting" }
                    th.n.more scope="col" { "Received," br; "still on it" }
                    th.n.more scope="col" { "Last new file" }
                    th.n.more scope="col" { "Last success" }
                }
            }
            tbody {
                @for device in &report.devices { (row(device, times)) }
            }
        }
    }
}

fn row(device: &Device, times: &Times) -> Markup {
    let since = device.since_ns.filter(|_| device.state != State::Ready).map(|since| long(times.since(since)));
    // Where there is no room for a column it stands below the name.
    let state = html! { (state(device.state)) @if let Some(since) = since { " " span.since { (since) } } };
    let long_name = device.name.chars().count() > WHOLE_NAME;
    html! {
        tr {
            th scope="row" class=[long_name.then_some("long")] { (device.name) div.narrow { (state) } }
            td.wide { (state) }
            td { (meter(device)) }
            td.n { (or_dash(device.card.full_in.map(long))) }
            td.n.more { (size(device.waiting)) }
            td.n.more { (size(device.kept)) }
            td.n.more.new { span.age { (or_dash(device.newest_ns.map(|ns| times.ago(ns)))) } @if device.silent.is_some() { " " span.flag { "silent" } } }
            td.n.more { span.age { (or_dash(device.succeeded_ns.map(|ns| times.ago(ns)))) } }
        }
    }
}

fn size(amount: Option<Amount>) -> String {
    or_dash(amount.filter(|amount| amount.files > 0).map(|amount| bytes(amount.bytes)))
}

fn state(state: State) -> Markup {
    let (class, word) = match state {
        State::Ready => ("ready", "Ready"),
        State::Offline => ("offline", "Offline"),
        State::Failed => ("failed", "Failed"),
        State::Unknown => ("unknown", "Not visited"),
        State::Retired => ("unknown", "Retired"),
    };
    html! { span class={ "state " (class) } { (word) } }
}

/// How full the card is, as a bar and in words.
fn meter(device: &Device) -> Markup {
    let (Some(used), Some(total)) = (device.card.used(), device.card.total_bytes) else { return html! { "–" } };
    let style = format!("width:{:.1}%", used * 100.0);
    html! {
        span.meter.full[used >= FULL] aria-hidden="true" { span style=(style) {} }
        span.used { (percent(used)) } span.of { " of " (bytes(total)) }
    }
}
