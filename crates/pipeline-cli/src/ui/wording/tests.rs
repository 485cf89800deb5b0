use pipeline_core::entry::OtherKind;
use pipeline_core::error::Class;
use pipeline_core::event::{ArchiveFault, Counts, Fault, PlanCounts, RoundReport, RunReport, VerifyReport};
use pipeline_core::hold::Hold;
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
        (Event::FileStarted { device: pi(), path: path(), bytes: 1 }, 7, "pi: receiving 2026-11-21/a\\xff.jpg (1 B)"),
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
        (Event::ExportStarted { files: 2, bytes: 1024 }, 6, "copying 2 files (1.00 KiB)"),
        (Event::VerifyStarted { files: None, bytes: Some(1024) }, 6, "verifying about 1.00 KiB"),
        (fault(Fault::Changed, true), 4, "changed 2026-11-21/a\\xff.jpg: why; pi still has it: 2026-11-21/a\\xff.jpg"),
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
    let (_, line) = describe(&Event::RunFinished(RunReport { hold: Some(hold()), ..report.clone() }), true).unwrap();
    assert!(line.ends_with("1 empty directory to prune; removals are on hold"), "{line}");
    let (_, line) = describe(&Event::RunFinished(report), true).unwrap();
    assert!(line.starts_with("plan ended after 1.0 s: 0 of 0 devices planned; receive 2 files"), "{line}");
}
