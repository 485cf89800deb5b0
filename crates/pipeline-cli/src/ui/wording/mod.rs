//! Each event in plain words: pure, no matter who listens and how much they want to hear.

use std::time::Duration;

use pipeline_core::event::{DeviceReport, Event, Outcome, PlannedAction};
use program::streams::Level;
use program::words::{bytes, count, duration};

pub mod explain;
mod hold;
mod run;
mod storage;
#[cfg(test)]
mod tests;

pub use hold::{held_words, hold_ended_line, hold_line};
pub use run::{readings, run_line};
pub use storage::{fault_word, rebuild_line, verify_lines};

use run::{counts_words, devices_word, plan_words};
use storage::{amount, fault_line};

/// The line of a plan: what would be done with one file.
pub fn plan_line(event: &Event) -> Option<String> {
    let line = match event {
        Event::FilePlanned { device, path, bytes: size, action, reason } => {
            let reason = reason.as_ref().map(|reason| format!(": {reason}")).unwrap_or_default();
            let size = if *action == PlannedAction::Prune { String::new() } else { format!(" ({})", bytes(*size)) };
            format!("{device}: {} {path}{size}{reason}", action_word(*action))
        }
        Event::FileDeferred { device, path, reason } => format!("{device}: defer {path}: {reason}"),
        Event::FileKept { device, path, reason } => format!("{device}: keep {path}: {reason}"),
        Event::OtherSkipped { device, path, kind } => format!("{device}: leave alone {path}: {}", kind.words()),
        _ => return None,
    };
    Some(line)
}

/// How much an event matters, and its line; none where it is not worth one.
pub fn describe(event: &Event, dry_run: bool) -> Option<(Level, String)> {
    let line = match event {
        Event::RunStarted { devices, dry_run: true, .. } => {
            (Level::Info, format!("planning for {}: nothing is changed on either side", devices_word(*devices)))
        }
        Event::RunStarted { run, devices, .. } => (Level::Info, format!("run {run} began: {}", devices_word(*devices))),
        // Nobody can read it: that is a fault.
        Event::DeletionsHeld(hold) if hold.since.is_none() => (Level::Warning, hold_line(hold)),
        Event::DeletionsHeld(hold) => (Level::Notice, hold_line(hold)),
        Event::HoldEnded(hold) => (Level::Notice, hold_ended_line(hold)),
        Event::DeviceStarted { device } => (Level::Debug, format!("{device}: connecting")),
        Event::AgentInstalled { device, name, bytes: size } => {
            (Level::Info, format!("{device}: agent installed: {name}, {}", bytes(*size)))
        }
        Event::FellBack { device, reason, hint, .. } => {
            let hint = hint.as_ref().map(|hint| format!(" (hint: {hint})")).unwrap_or_default();
            (Level::Notice, format!("{device}: served without the agent, with fewer guarantees: {reason}{hint}"))
        }
        Event::DeviceConnected { device, clock_offset_ms, total_bytes, free_bytes } => {
            (Level::Debug, format!("{device}: connected: {}", readings(*clock_offset_ms, *total_bytes, *free_bytes)))
        }
        Event::DevicePlanned { device, plan } => (Level::Debug, format!("{device}: planned: {}", plan_words(plan))),
        Event::FileStarted { device, path, bytes: size } => {
            (Level::Debug, format!("{device}: receiving {path} ({})", bytes(*size)))
        }
        // A plan is told by `plan_line`, and exists in a dry run alone.
        Event::BytesReceived { .. } | Event::FilePlanned { .. } => return None,
        Event::BatchCommitted { device, files, bytes: size, adopted } => {
            let received = format!("received {}, {}", count(*files, "file"), bytes(*size));
            let adopted_words = format!("{} already in the storage", count(*adopted, "file"));
            let words = match (files, adopted) {
                (_, 0) => received,
                (0, _) => adopted_words,
                _ => format!("{received}, and {adopted_words}"),
            };
            (Level::Info, format!("{device}: {words}"))
        }
        Event::FileVersioned { device, path, version } => {
            (Level::Info, format!("{device}: {path} has other content now: the earlier one is {version}"))
        }
        Event::FileClashed { device, path, archive_path } => {
            (Level::Notice, format!("{device}: another file has the place of {path}: stored as {archive_path}"))
        }
        Event::FilesRemoved { device, files, bytes: size } => {
            (Level::Info, format!("{device}: removed {}, {}", count(*files, "file"), bytes(*size)))
        }
        Event::FileDeferred { device, path, reason } => (Level::Debug, format!("{device}: deferred {path}: {reason}")),
        Event::FileKept { device, path, reason } => (Level::Notice, format!("{device}: kept {path}: {reason}")),
        Event::OtherSkipped { device, path, kind } => {
            (Level::Debug, format!("{device}: left alone {path}: {}", kind.words()))
        }
        Event::FileFailed { device, path: Some(path), reason } => {
            (Level::Warning, format!("{device}: failed {path}: {reason}"))
        }
        Event::FileFailed { device, path: None, reason } => {
            (Level::Warning, format!("{device}: failed the source directory: {reason}"))
        }
        Event::DirectoriesPruned { device, dirs } => {
            (Level::Info, format!("{device}: pruned {}", count(*dirs, "empty directory")))
        }
        Event::JumpReconnecting { host, reason } => {
            (Level::Warning, format!("{host}: the jump connection broke and is being made again: {reason}"))
        }
        Event::Noted { device: Some(device), message } => (Level::Notice, format!("{device}: {message}")),
        Event::Noted { device: None, message } => (Level::Notice, message.clone()),
        Event::ManifestLineSkipped { device, manifest, line, reason } => {
            (Level::Warning, format!("{device}: skipped line {line} of {manifest}: {reason}"))
        }
        Event::ListedFileSkipped { device, path, reason } => {
            (Level::Warning, format!("{device}: skipped {path}: {reason}"))
        }
        // Told on standard output, as what was asked for.
        Event::CatalogRebuilt(_) => return None,
        Event::VerifyStarted { files, bytes: size } => (Level::Info, format!("verifying {}", amount(*files, *size))),
        Event::ExportStarted { files, bytes: size } => {
            (Level::Info, format!("copying {} ({})", count(*files, "file"), bytes(*size)))
        }
        Event::ArchiveRead { .. } => return None,
        Event::ArchiveFault(fault) => (Level::Warning, fault_line(fault)),
        Event::ArchiveVerified(_) => return None,
        Event::DeviceFinished(report) => device_line(report, dry_run),
        Event::RunFinished(report) => (Level::Info, run_line(report, dry_run)),
    };
    Some(line)
}

fn device_line(report: &DeviceReport, dry_run: bool) -> (Level, String) {
    let device = &report.device;
    let time = duration(Duration::from_millis(report.elapsed_ms));
    let counts = counts_words(&report.counts, dry_run);
    match &report.outcome {
        Outcome::Done if dry_run => (Level::Info, format!("{device}: planned in {time}: {counts}")),
        Outcome::Done => (Level::Info, format!("{device}: done in {time}: {counts}")),
        Outcome::Offline { reason, .. } => (Level::Info, format!("{device}: offline: {reason}")),
        Outcome::Failed { reason, hint, .. } => {
            let hint = hint.as_ref().map(|hint| format!(" (hint: {hint})")).unwrap_or_default();
            (Level::Error, format!("{device}: failed after {time}: {reason}{hint}"))
        }
        Outcome::Stopped => (Level::Notice, format!("{device}: stopped before it was done: {counts}")),
    }
}

fn action_word(action: PlannedAction) -> &'static str {
    match action {
        PlannedAction::ReceiveAndRemove => "receive and remove",
        PlannedAction::Receive => "receive",
        PlannedAction::UpdateAndRemove => "update and remove",
        PlannedAction::Update => "update",
        PlannedAction::AdoptAndRemove => "take over and remove",
        PlannedAction::Adopt => "take over",
        PlannedAction::Remove => "remove",
        PlannedAction::Defer => "defer",
        PlannedAction::Keep => "keep",
        PlannedAction::Prune => "prune",
    }
}
