//! Each event in plain words: pure, no matter who listens and how much they want to hear.

use std::time::Duration;

use pipeline_core::entry::OtherKind;
use pipeline_core::event::{
    ArchiveFault, Counts, DeviceReport, Event, Fault, Outcome, PlanCounts, PlannedAction, RebuildReport, RoundReport,
    RunReport, VerifyReport,
};
use pipeline_core::hold::Hold;
use program::streams::Level;
use program::words::{bytes, clock_offset, count, duration};

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
        Event::OtherSkipped { device, path, kind } => format!("{device}: leave alone {path}: {}", kind_word(*kind)),
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
            (Level::Debug, format!("{device}: left alone {path}: {}", kind_word(*kind)))
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

/// The line of a hold that stands.
pub fn hold_line(hold: &Hold) -> String {
    format!("removals are on hold {}; 'pipeline release' ends it", held_words(hold))
}

/// The line of a hold whose time is over.
pub fn hold_ended_line(hold: &Hold) -> String {
    format!("removals go on: the hold {} is over; 'pipeline release' forgets it", held_words(hold))
}

/// Since when, until when, by whom and why.
pub fn held_words(hold: &Hold) -> String {
    let part = |word: &str, text: &Option<String>| text.as_ref().map(|text| format!("{word} {text}"));
    let parts = [part("since", &hold.since), part("until", &hold.until), part("by", &hold.by)];
    let words = parts.into_iter().flatten().collect::<Vec<_>>().join(" ");
    let reason = hold.reason.as_ref().map(|reason| format!(": {reason}")).unwrap_or_default();
    let remark = hold.remark.as_ref().map(|remark| format!("({remark})"));
    [Some(format!("{words}{reason}")).filter(|words| !words.is_empty()), remark]
        .into_iter()
        .flatten()
        .collect::<Vec<_>>()
        .join(" ")
}

/// The line of a catalog that was made anew.
pub fn rebuild_line(report: &RebuildReport) -> String {
    let RebuildReport { manifests, lines, files, bytes: size, problems } = report;
    let from = format!("{} of {}", count(*lines, "line"), count(*manifests, "manifest"));
    let problems = if *problems == 0 { "no problem".to_owned() } else { count(*problems, "problem") };
    format!("the catalog holds {} ({}) now, from {from}; {problems}", count(*files, "file"), bytes(*size))
}

fn amount(files: Option<u64>, size: Option<u64>) -> String {
    match (files, size) {
        (Some(files), Some(size)) => format!("{} ({})", count(files, "file"), bytes(size)),
        (Some(files), None) => count(files, "file"),
        (None, Some(size)) => format!("about {}", bytes(size)),
        (None, None) => "the storage".to_owned(),
    }
}

/// How something in the storage differs, in a word.
pub fn fault_word(fault: Fault) -> &'static str {
    match fault {
        Fault::Missing => "missing",
        Fault::Changed => "changed",
        Fault::Unreadable => "unreadable",
        Fault::Unknown => "unknown",
    }
}

fn fault_line(fault: &ArchiveFault) -> String {
    let ArchiveFault { fault, path, reason, device, source_path, on_device } = fault;
    let copy = match (device, source_path) {
        (Some(device), Some(path)) if *on_device => format!("; {device} still has it: {path}"),
        (Some(device), _) => format!("; it came from {device}, which no longer has it"),
        (None, _) => String::new(),
    };
    format!("{} {path}: {reason}{copy}", fault_word(*fault))
}

/// What a verification has shown.
pub fn verify_lines(report: &VerifyReport) -> Vec<String> {
    let time = duration(Duration::from_millis(report.elapsed_ms));
    let (read, size) = (count(report.files, "file"), bytes(report.bytes));
    let how = if report.stopped { "stopped after" } else { "in" };
    let mut lines = vec![format!("as the catalog says: {read} ({size}), {how} {time}")];
    let faults = [
        (report.missing, Fault::Missing),
        (report.changed, Fault::Changed),
        (report.unreadable, Fault::Unreadable),
        (report.unknown, Fault::Unknown),
    ];
    let faults: Vec<String> =
        faults.iter().filter(|(n, _)| *n > 0).map(|(n, fault)| format!("{n} {}", fault_word(*fault))).collect();
    lines.push(match (faults.is_empty(), report.on_device) {
        (true, _) => "not so: nothing".to_owned(),
        (false, 0) => format!("not so: {}", faults.join(", ")),
        (false, copies) => format!("not so: {}; of {copies} the device still has a copy", faults.join(", ")),
    });
    lines.extend(report.round.map(|RoundReport { finished, left_files, left_bytes }| match finished {
        true => "this round is complete: every file was read once".to_owned(),
        false => format!("left in this round: {} ({})", count(left_files, "file"), bytes(left_bytes)),
    }));
    lines
}

/// The counts of a visit or a run that are not zero, in words: of what was done, or would be.
fn counts_words(counts: &Counts, dry_run: bool) -> String {
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

fn plan_words(plan: &PlanCounts) -> String {
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

fn kind_word(kind: OtherKind) -> &'static str {
    match kind {
        OtherKind::Symlink => "a symbolic link",
        OtherKind::Special => "a socket, pipe or device node",
        OtherKind::MountPoint => "another file system is mounted there",
    }
}

fn devices_word(number: usize) -> String {
    count(number as u64, "device")
}

#[cfg(test)]
mod tests {
    use pipeline_core::error::Class;
    use pipeline_core::path::{DeviceName, RelPath};

    use super::*;

    fn pi() -> DeviceName {
        DeviceName::new("pi").unwrap()
    }

    fn path() -> RelPath {
        RelPath::new(&b"2026-11-21/a\xff.jpg"[..]).unwrap()
    }

    fn hold() -> Hold {
        let text = |text: &str| Some(text.to_owned());
        Hold {
            since: text("10:00"),
            by: text("alice"),
            reason: text("card swap"),
            until: text("18:00"),
            remark: text("so it is"),
        }
    }

    fn finished(outcome: Outcome, counts: Counts) -> Event {
        Event::DeviceFinished(DeviceReport { device: pi(), outcome, counts, elapsed_ms: 12_000 })
    }

    fn fault(fault: Fault, on_device: bool) -> Event {
        let (device, source_path) = (Some(pi()), Some(path()));
        Event::ArchiveFault(ArchiveFault { fault, path: path(), reason: "why".into(), device, source_path, on_device })
    }

    #[test]
    fn a_verification_in_plain_words() {
        let sound = VerifyReport { files: 2, bytes: 1024, elapsed_ms: 65_000, ..VerifyReport::default() };
        let lines = ["as the catalog says: 2 files (1.00 KiB), in 1 min 5 s", "not so: nothing"];
        assert_eq!(verify_lines(&sound), lines);
        let round = Some(RoundReport { finished: false, left_files: 7, left_bytes: 5 });
        let worse = VerifyReport { missing: 2, changed: 1, unknown: 3, on_device: 1, round, stopped: true, ..sound };
        let lines = [
            "as the catalog says: 2 files (1.00 KiB), stopped after 1 min 5 s",
            "not so: 2 missing, 1 changed, 3 unknown; of 1 the device still has a copy",
            "left in this round: 7 files (5 B)",
        ];
        assert_eq!(verify_lines(&worse), lines);
    }

    #[test]
    fn each_event_in_plain_words() {
        let counts = Counts {
            received: 2,
            received_bytes: 3 << 20,
            transferred_bytes: 1 << 20,
            adopted: 1,
            adopted_bytes: 5 << 10,
            removed: 1,
            removed_bytes: 1 << 20,
            deferred: 4,
            waiting: 5,
            held: 12,
            kept: 6,
            versions: 7,
            clashes: 8,
            failed: 9,
            skipped: 10,
            pruned: 11,
        };
        let failed = Outcome::Failed {
            class: Class::HostKey,
            reason: "the host key of pi is another one".into(),
            hint: Some("run keytool check".into()),
        };
        let offline = Outcome::Offline { reason: "no tunnel".into(), hint: Some("not shown".into()) };
        let run = |run| RunReport {
            run,
            devices: [Outcome::Done, offline.clone(), failed.clone()]
                .map(|outcome| DeviceReport { device: pi(), outcome, counts: Counts::default(), elapsed_ms: 1 })
                .to_vec(),
            counts: Counts { received: 1, received_bytes: 5, ..Counts::default() },
            hold: None,
            stopped_by: None,
            elapsed_ms: 65_000,
        };
        let batch = |files, adopted| Event::BatchCommitted { device: pi(), files, bytes: 1024 * files, adopted };
        let plan = PlanCounts {
            files: 9,
            receive: 1,
            receive_bytes: 10,
            release: 2,
            release_bytes: 20,
            defer: 3,
            wait: 4,
            prune: 1,
        };
        let table = [
            (Event::RunStarted { run: 7, devices: 30, dry_run: false }, 6, "run 7 began: 30 devices"),
            (
                Event::RunStarted { run: 0, devices: 1, dry_run: true },
                6,
                "planning for 1 device: nothing is changed on either side",
            ),
            (
                Event::DeletionsHeld(hold()),
                5,
                "removals are on hold since 10:00 until 18:00 by alice: card swap (so it is); 'pipeline release' ends it",
            ),
            (
                Event::DeletionsHeld(Hold { remark: Some("torn".into()), ..Hold::default() }),
                4,
                "removals are on hold (torn); 'pipeline release' ends it",
            ),
            (
                Event::HoldEnded(Hold { remark: None, reason: None, ..hold() }),
                5,
                "removals go on: the hold since 10:00 until 18:00 by alice is over; 'pipeline release' forgets it",
            ),
            (Event::DeviceStarted { device: pi() }, 7, "pi: connecting"),
            (
                Event::FellBack {
                    device: pi(),
                    reason: "its home is noexec".into(),
                    hint: Some("mount it".into()),
                    caveats: vec!["x".into()],
                },
                5,
                "pi: served without the agent, with fewer guarantees: its home is noexec (hint: mount it)",
            ),
            (
                Event::AgentInstalled { device: pi(), name: "pipeline-agent-0.1.0-aarch64".into(), bytes: 2048 },
                6,
                "pi: agent installed: pipeline-agent-0.1.0-aarch64, 2.00 KiB",
            ),
            (
                Event::DeviceConnected {
                    device: pi(),
                    clock_offset_ms: Some(-65_000),
                    total_bytes: 1 << 35,
                    free_bytes: 5,
                },
                7,
                "pi: connected: clock 1 min 5 s behind, card 32.0 GiB, 5 B free",
            ),
            (
                Event::DevicePlanned { device: pi(), plan },
                7,
                "pi: planned: 9 files in the source: receive 1 file (10 B), remove 2 files (20 B), defer 3, \
                 leave 4 until delete.after, prune 1 empty directory",
            ),
            (
                Event::FileStarted { device: pi(), path: path(), bytes: 1 },
                7,
                "pi: receiving 2026-11-21/a\\xff.jpg (1 B)",
            ),
            (batch(1, 0), 6, "pi: received 1 file, 1.00 KiB"),
            (batch(0, 2), 6, "pi: 2 files already in the storage"),
            (batch(1, 2), 6, "pi: received 1 file, 1.00 KiB, and 2 files already in the storage"),
            (
                Event::FileVersioned { device: pi(), path: path(), version: RelPath::new("v").unwrap() },
                6,
                "pi: 2026-11-21/a\\xff.jpg has other content now: the earlier one is v",
            ),
            (
                Event::FileClashed { device: pi(), path: path(), archive_path: RelPath::new("c").unwrap() },
                5,
                "pi: another file has the place of 2026-11-21/a\\xff.jpg: stored as c",
            ),
            (Event::FilesRemoved { device: pi(), files: 2, bytes: 1024 }, 6, "pi: removed 2 files, 1.00 KiB"),
            (
                Event::FileDeferred { device: pi(), path: path(), reason: "it is being written".into() },
                7,
                "pi: deferred 2026-11-21/a\\xff.jpg: it is being written",
            ),
            (
                Event::FileKept { device: pi(), path: path(), reason: "the archive holds another".into() },
                5,
                "pi: kept 2026-11-21/a\\xff.jpg: the archive holds another",
            ),
            (
                Event::OtherSkipped { device: pi(), path: path(), kind: OtherKind::Symlink },
                7,
                "pi: left alone 2026-11-21/a\\xff.jpg: a symbolic link",
            ),
            (
                Event::FileFailed { device: pi(), path: None, reason: "permission denied".into() },
                4,
                "pi: failed the source directory: permission denied",
            ),
            (Event::VerifyStarted { files: Some(2), bytes: Some(1024) }, 6, "verifying 2 files (1.00 KiB)"),
            (Event::VerifyStarted { files: None, bytes: Some(1024) }, 6, "verifying about 1.00 KiB"),
            (
                fault(Fault::Changed, true),
                4,
                "changed 2026-11-21/a\\xff.jpg: why; pi still has it: 2026-11-21/a\\xff.jpg",
            ),
            (
                fault(Fault::Missing, false),
                4,
                "missing 2026-11-21/a\\xff.jpg: why; it came from pi, which no longer has it",
            ),
            (Event::DirectoriesPruned { device: pi(), dirs: 1 }, 6, "pi: pruned 1 empty directory"),
            (
                Event::JumpReconnecting { host: "awsbox".into(), reason: "it went silent".into() },
                4,
                "awsbox: the jump connection broke and is being made again: it went silent",
            ),
            (Event::Noted { device: Some(pi()), message: "hm".into() }, 5, "pi: hm"),
            (finished(Outcome::Done, Counts::default()), 6, "pi: done in 12 s: nothing to do"),
            (
                finished(Outcome::Done, counts),
                6,
                "pi: done in 12 s: received 2 files (3.00 MiB), took over 1 file (5.00 KiB), removed 1 file (1.00 MiB), 4 deferred, \
                 5 waiting for delete.after, 12 on hold, 6 kept, 7 earlier contents under a second name, 8 stored beside what has their place, \
                 9 failed, 10 not regular and left alone, 11 empty directories pruned",
            ),
            (finished(offline.clone(), Counts::default()), 6, "pi: offline: no tunnel"),
            (
                finished(failed.clone(), Counts::default()),
                3,
                "pi: failed after 12 s: the host key of pi is another one (hint: run keytool check)",
            ),
            (finished(Outcome::Stopped, Counts::default()), 5, "pi: stopped before it was done: nothing to do"),
            (
                Event::RunFinished(run(7)),
                6,
                "run 7 ended after 1 min 5 s: 1 of 3 devices done, 1 offline, 1 failed; received 1 file (5 B)",
            ),
        ];
        for (event, level, text) in table {
            let told = describe(&event, false).map(|(level, text)| (level as u8, text));
            assert_eq!(told, Some((level, text.to_owned())));
        }
        assert_eq!(describe(&Event::BytesReceived { device: pi(), bytes: 1 }, false), None);
    }

    #[test]
    fn a_plan_in_the_same_words() {
        let planned = |action, reason: Option<&str>| Event::FilePlanned {
            device: pi(),
            path: path(),
            bytes: 1536,
            action,
            reason: reason.map(str::to_owned),
        };
        let kind = OtherKind::Special;
        let table = [
            (planned(PlannedAction::ReceiveAndRemove, None), "pi: receive and remove 2026-11-21/a\\xff.jpg (1.50 KiB)"),
            (planned(PlannedAction::Receive, None), "pi: receive 2026-11-21/a\\xff.jpg (1.50 KiB)"),
            (planned(PlannedAction::Remove, None), "pi: remove 2026-11-21/a\\xff.jpg (1.50 KiB)"),
            (planned(PlannedAction::Keep, Some("why")), "pi: keep 2026-11-21/a\\xff.jpg (1.50 KiB): why"),
            (planned(PlannedAction::Prune, None), "pi: prune 2026-11-21/a\\xff.jpg"),
            (
                Event::FileDeferred { device: pi(), path: path(), reason: "it is being written".into() },
                "pi: defer 2026-11-21/a\\xff.jpg: it is being written",
            ),
            (
                Event::FileKept { device: pi(), path: path(), reason: "the archive holds another".into() },
                "pi: keep 2026-11-21/a\\xff.jpg: the archive holds another",
            ),
            (
                Event::OtherSkipped { device: pi(), path: path(), kind },
                "pi: leave alone 2026-11-21/a\\xff.jpg: a socket, pipe or device node",
            ),
        ];
        for (event, text) in table {
            assert_eq!(plan_line(&event).as_deref(), Some(text));
        }
        let counts = Counts { received: 2, received_bytes: 5, removed: 1, deferred: 3, pruned: 1, ..Counts::default() };
        let (_, line) = describe(&finished(Outcome::Done, counts), true).unwrap();
        let expected = "pi: planned in 12 s: receive 2 files (5 B), remove 1 file (0 B), 3 to defer, \
                        1 empty directory to prune";
        assert_eq!(line, expected);
        let report = RunReport { run: 0, devices: vec![], counts, hold: None, stopped_by: None, elapsed_ms: 1000 };
        let (_, line) =
            describe(&Event::RunFinished(RunReport { hold: Some(hold()), ..report.clone() }), true).unwrap();
        assert!(line.ends_with("1 empty directory to prune; removals are on hold"), "{line}");
        let (_, line) = describe(&Event::RunFinished(report), true).unwrap();
        assert!(line.starts_with("plan ended after 1.0 s: 0 of 0 devices planned; receive 2 files"), "{line}");
    }
}
