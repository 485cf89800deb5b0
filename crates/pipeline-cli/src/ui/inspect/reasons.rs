//! Below the table: what needs a person and why, the worst first; then what is good to know.
//!
//! Guarantees that devices of which the same is said stand together, and that advice is given once.

use pipeline_core::inspect::{Concern, FleetReport, Kind, Severity};
use program::streams::Level;
use program::words::printable;

use super::style;

/// One line, about one device or more.
struct Saying<'a> {
    severity: Severity,
    /// Empty where it is about no device.
    names: Vec<&'a str>,
    text: String,
    hints: Vec<&'a str>,
}

/// The lines of all concerns that are at least this bad.
pub(super) fn reasons(report: &FleetReport, colors: bool, least: Severity) -> Vec<(Level, String)> {
    let severities = [Severity::Critical, Severity::Warning, Severity::Note];
    let mut sayings = Vec::new();
    for severity in severities.into_iter().filter(|severity| *severity >= least) {
        let of = |concern: &&Concern| concern.severity == severity;
        // A hold has a line of its own on the page.
        let general = report.concerns.iter().filter(|concern| least > Severity::Note || concern.kind != Kind::Hold);
        add(&mut sayings, severity, None, &general.filter(of).collect::<Vec<_>>());
        add(&mut sayings, severity, None, &report.storage.concerns.iter().filter(of).collect::<Vec<_>>());
        for view in &report.devices {
            let concerns: Vec<&Concern> = view.concerns.iter().filter(of).collect();
            add(&mut sayings, severity, Some(view.device.as_str()), &concerns);
        }
    }
    lines(&sayings, colors)
}

/// All that is said of one thing is one line; it joins the line that says the same of others.
fn add<'a>(sayings: &mut Vec<Saying<'a>>, severity: Severity, name: Option<&'a str>, concerns: &[&'a Concern]) {
    if concerns.is_empty() {
        return;
    }
    let text = concerns.iter().map(|concern| concern.text.as_str()).collect::<Vec<_>>().join("; ");
    let mut hints: Vec<&str> = Vec::new();
    for hint in concerns.iter().filter_map(|concern| concern.hint.as_deref()) {
        if !hints.contains(&hint) {
            hints.push(hint);
        }
    }
    let same = |saying: &&mut Saying<'_>| {
        saying.severity == severity && saying.text == text && saying.hints == hints && !saying.names.is_empty()
    };
    match (name, sayings.iter_mut().find(same)) {
        (Some(name), Some(saying)) => saying.names.push(name),
        (name, _) => sayings.push(Saying { severity, names: name.into_iter().collect(), text, hints }),
    }
}

fn lines(sayings: &[Saying<'_>], colors: bool) -> Vec<(Level, String)> {
    let mut lines = Vec::new();
    for (index, saying) in sayings.iter().enumerate() {
        let style = style(Some(saying.severity), colors);
        let text = printable(&saying.text);
        let (mark, level) = mark(saying.severity);
        let line = match saying.names.as_slice() {
            [] => format!("{} {text}", style.apply_to(mark)),
            names => format!("{} {}: {text}", style.apply_to(mark), style.apply_to(names.join(", "))),
        };
        lines.push((level, line));
        // Ten devices without a tunnel need the same advice once.
        let next = sayings.get(index + 1);
        let hints = saying.hints.iter().filter(|hint| !next.is_some_and(|next| next.hints.contains(hint)));
        lines.extend(hints.map(|hint| (level, format!("  hint: {}", printable(hint)))));
    }
    lines
}

/// What tells them apart where there is no colour, on a screen and in a journal.
fn mark(severity: Severity) -> (char, Level) {
    match severity {
        Severity::Critical => ('✗', Level::Error),
        Severity::Warning => ('!', Level::Warning),
        Severity::Note => ('-', Level::Info),
    }
}
