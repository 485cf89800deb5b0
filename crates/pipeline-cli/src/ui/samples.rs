//! One of each event, for tests of the listeners.

use pipeline_core::entry::OtherKind;
use pipeline_core::error::Class;
use pipeline_core::event::{
    ArchiveFault, Counts, DeviceReport, Event, Fault, Outcome, PlanCounts, PlannedAction, RebuildReport, RoundReport,
    RunReport, StopReason, VerifyReport,
};
use pipeline_core::hold::Hold;
use pipeline_core::path::{DeviceName, RelPath};

/// Every kind of event, with every optional field filled in.
pub fn every_event() -> Vec<Event> {
    let device = || DeviceName::new("pi").unwrap();
    let path = || RelPath::new("a.jpg").unwrap();
    let text = || "words".to_owned();
    let hint = Some(text());
    let hold = || Hold {
        since: Some(text()),
        by: Some(text()),
        reason: Some(text()),
        until: Some(text()),
        remark: Some(text()),
    };
    let outcomes = [
        Outcome::Done,
        Outcome::Offline { reason: text(), hint: hint.clone() },
        Outcome::Failed { class: Class::HostKey, reason: text(), hint: hint.clone() },
        Outcome::Stopped,
    ];
    let report = |outcome| DeviceReport { device: device(), outcome, counts: Counts::default(), elapsed_ms: 1 };
    let stopped_by = Some(StopReason { class: Class::Storage, reason: text(), hint });
    let run_report = RunReport {
        run: 1,
        devices: outcomes.iter().cloned().map(report).collect(),
        counts: Counts::default(),
        hold: Some(hold()),
        stopped_by,
        elapsed_ms: 1,
    };
    let action = PlannedAction::ReceiveAndRemove;
    let mut events = vec![
        Event::RunStarted { run: 1, devices: 4, dry_run: false },
        Event::DeletionsHeld(hold()),
        Event::HoldEnded(hold()),
        Event::DeviceStarted { device: device() },
        Event::AgentInstalled { device: device(), name: text(), bytes: 1 },
        Event::DeviceConnected { device: device(), clock_offset_ms: Some(1), total_bytes: 2, free_bytes: 1 },
        Event::DevicePlanned { device: device(), plan: PlanCounts::default() },
        Event::FilePlanned { device: device(), path: path(), bytes: 1, action, reason: Some(text()) },
        Event::BytesReceived { device: device(), bytes: 1 },
        Event::FileStarted { device: device(), path: path(), bytes: 1 },
        Event::BatchCommitted { device: device(), files: 1, bytes: 1, adopted: 1 },
        Event::FileVersioned { device: device(), path: path(), version: path() },
        Event::FileClashed { device: device(), path: path(), archive_path: path() },
        Event::FilesRemoved { device: device(), files: 1, bytes: 1 },
        Event::FileDeferred { device: device(), path: path(), reason: text() },
        Event::FileKept { device: device(), path: path(), reason: text() },
        Event::OtherSkipped { device: device(), path: path(), kind: OtherKind::Symlink },
        Event::FileFailed { device: device(), path: Some(path()), reason: text() },
        Event::DirectoriesPruned { device: device(), dirs: 1 },
        Event::JumpReconnecting { host: text(), reason: text() },
        Event::Noted { device: Some(device()), message: text() },
        Event::ManifestLineSkipped { device: device(), manifest: path(), line: 1, reason: text() },
        Event::ListedFileSkipped { device: device(), path: path(), reason: text() },
        Event::CatalogRebuilt(RebuildReport::default()),
        Event::VerifyStarted { files: Some(1), bytes: Some(1) },
        Event::ArchiveRead { files: 1, bytes: 1 },
        Event::ArchiveFault(ArchiveFault {
            fault: Fault::Missing,
            path: path(),
            reason: text(),
            device: Some(device()),
            source_path: Some(path()),
            on_device: true,
        }),
        Event::ArchiveVerified(VerifyReport { round: Some(RoundReport::default()), ..VerifyReport::default() }),
        Event::ExportStarted { files: 1, bytes: 1 },
        Event::FellBack { device: device(), reason: text(), hint: Some(text()), caveats: vec![text()] },
    ];
    events.extend(outcomes.into_iter().map(report).map(Event::DeviceFinished));
    events.push(Event::RunFinished(run_report));
    let mut kinds: Vec<usize> = events.iter().map(kind).collect();
    kinds.dedup();
    assert!(kinds.into_iter().eq(0..KINDS), "one of each, in order");
    events
}

const KINDS: usize = 32;

/// A new event does not compile here; then it belongs into the list above, too.
fn kind(event: &Event) -> usize {
    match event {
        Event::RunStarted { .. } => 0,
        Event::DeletionsHeld(_) => 1,
        Event::HoldEnded(_) => 2,
        Event::DeviceStarted { .. } => 3,
        Event::AgentInstalled { .. } => 4,
        Event::DeviceConnected { .. } => 5,
        Event::DevicePlanned { .. } => 6,
        Event::FilePlanned { .. } => 7,
        Event::BytesReceived { .. } => 8,
        Event::FileStarted { .. } => 9,
        Event::BatchCommitted { .. } => 10,
        Event::FileVersioned { .. } => 11,
        Event::FileClashed { .. } => 12,
        Event::FilesRemoved { .. } => 13,
        Event::FileDeferred { .. } => 14,
        Event::FileKept { .. } => 15,
        Event::OtherSkipped { .. } => 16,
        Event::FileFailed { .. } => 17,
        Event::DirectoriesPruned { .. } => 18,
        Event::JumpReconnecting { .. } => 19,
        Event::Noted { .. } => 20,
        Event::ManifestLineSkipped { .. } => 21,
        Event::ListedFileSkipped { .. } => 22,
        Event::CatalogRebuilt(_) => 23,
        Event::VerifyStarted { .. } => 24,
        Event::ArchiveRead { .. } => 25,
        Event::ArchiveFault(_) => 26,
        Event::ArchiveVerified(_) => 27,
        Event::ExportStarted { .. } => 28,
        Event::FellBack { .. } => 29,
        Event::DeviceFinished(_) => 30,
        Event::RunFinished(_) => KINDS - 1,
    }
}
