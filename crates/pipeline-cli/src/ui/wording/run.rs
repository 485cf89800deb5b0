//! How a visit, a run and a plan went, in words.

use std::time::Duration;

use pipeline_core::event::{Counts, Outcome, PlanCounts, RunReport};
use program::words::{bytes, clock_offset, count, duration};

/// The line of a run that has ended.
pub fn run_line(report: &RunReport, dry_run: bool) -> String {
    let number = |wanted: fn(&Outcome) -> bool| report.devices.iter().filter(|d| wanted(&d.outcome)).count();
    let done = if dry_run { "planned" } else { "done" };
    let mut parts =
        vec![format!("{} of {} {done}", number(|o| *o == Outcome::Done), devices_word(report.devices.len()))];
    let others = [
        (number(|o| matches!(o, Outcome::Offline { .. })), "offline"),
        (number(|o| matches!(o, Outcome::Failed { .. })), "failed"),
        (number(|o| *o == Outcome::Stopped), "stopped"),
    ];
    parts.extend(others.iter().filter(|(n, _)| *n > 0).map(|(n, word)| format!("{n} {word}")));
    let name = if dry_run { "plan".to_owned() } else { format!("run {}", report.run) };
    let time = duration(Duration::from_millis(report.elapsed_ms));
    let held = if report.hold.is_some() { "; removals are on hold" } else { "" };
    format!("{name} ended after {time}: {}; {}{held}", parts.join(", "), counts_words(&report.counts, dry_run))
}

/// The counts of a visit or a run that are not zero, in words: of what was done, or would be.
pub fn counts_words(counts: &Counts, dry_run: bool) -> String {
    let sized = |word, files, size| (files > 0).then(|| format!("{word} {} ({})", count(files, "file"), bytes(size)));
    let plain = |files: u64, words: &str| (files > 0).then(|| format!("{files} {words}"));
    let (receive, adopt, remove, defer, keep, prune) = match dry_run {
        false => ("received", "took over", "removed", "deferred", "kept", "pruned"),
        true => ("receive", "take over", "remove", "to defer", "to keep", "to prune"),
    };
    let parts = [
        sized(receive, counts.received, counts.received_bytes),
        sized(adopt, counts.adopted, counts.adopted_bytes),
        sized(remove, counts.removed, counts.removed_bytes),
        plain(counts.deferred, defer),
        plain(counts.waiting, "waiting for delete.after"),
        plain(counts.held, "on hold"),
        plain(counts.kept, keep),
        plain(counts.versions, "earlier contents under a second name"),
        plain(counts.clashes, "stored beside what has their place"),
        plain(counts.failed, "failed"),
        plain(counts.skipped, "not regular and left alone"),
        (counts.pruned > 0).then(|| format!("{} {prune}", count(counts.pruned, "empty directory"))),
    ];
    let parts: Vec<String> = parts.into_iter().flatten().collect();
    if parts.is_empty() { "nothing to do".into() } else { parts.join(", ") }
}

/// What is planned for a device, in words.
pub fn plan_words(plan: &PlanCounts) -> String {
    let parts = [
        (plan.receive, format!("receive {} ({})", count(plan.receive, "file"), bytes(plan.receive_bytes))),
        (plan.release, format!("remove {} ({})", count(plan.release, "file"), bytes(plan.release_bytes))),
        (plan.defer, format!("defer {}", plan.defer)),
        (plan.wait, format!("leave {} until delete.after", plan.wait)),
        (plan.prune, format!("prune {}", count(plan.prune, "empty directory"))),
    ];
    let parts: Vec<String> = parts.into_iter().filter(|(n, _)| *n > 0).map(|(_, words)| words).collect();
    let what = if parts.is_empty() { "nothing to do".into() } else { parts.join(", ") };
    format!("{} in the source: {what}", count(plan.files, "file"))
}

/// What a device says of itself when it is connected.
pub fn readings(clock_offset_ms: Option<i64>, total_bytes: u64, free_bytes: u64) -> String {
    let clock = clock_offset_ms.map_or_else(|| "unknown".to_owned(), clock_offset);
    match total_bytes {
        0 => format!("clock {clock}"),
        total => format!("clock {clock}, card {}, {} free", bytes(total), bytes(free_bytes)),
    }
}

/// So many devices.
pub fn devices_word(number: usize) -> String {
    count(number as u64, "device")
}
