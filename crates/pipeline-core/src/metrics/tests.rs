#![allow(clippy::unwrap_used)]

use std::fs::{File, Permissions};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};

use super::*;
use crate::event::StopReason;
use crate::path::DeviceName;

const SECOND: i64 = 1_000_000_000;

fn report(name: &str, outcome: Outcome, counts: Counts) -> DeviceReport {
    DeviceReport { device: DeviceName::new(name).unwrap(), outcome, counts, elapsed_ms: 5 }
}

fn run(devices: Vec<DeviceReport>) -> RunReport {
    RunReport {
        run: 7,
        devices,
        counts: Counts::default(),
        hold: None,
        stopped_by: None::<StopReason>,
        elapsed_ms: 2_000,
    }
}

fn ended(exit_code: u8, at: i64, report: Option<&RunReport>) -> Ended<'_> {
    Ended { exit_code, at_ns: at * SECOND, took: Duration::from_millis(2_500), held: false, report }
}

fn offline() -> Outcome {
    Outcome::Offline { reason: "no tunnel".into(), hint: None }
}

fn busy() -> Counts {
    Counts {
        received: 1,
        received_bytes: 2,
        transferred_bytes: 13,
        adopted: 14,
        adopted_bytes: 15,
        removed: 3,
        removed_bytes: 4,
        deferred: 5,
        waiting: 6,
        held: 16,
        kept: 7,
        versions: 8,
        clashes: 9,
        failed: 10,
        skipped: 11,
        pruned: 12,
    }
}

fn visit(succeeded: Option<i64>) -> LastVisit {
    let succeeded_ns = succeeded.map(|at| at * SECOND);
    LastVisit { total_bytes: 32_000, free_bytes: 8_000, unreachable: false, succeeded_ns }
}

/// The samples of a page: its lines without the comments.
fn samples(page: &[u8]) -> Vec<String> {
    let lines = std::str::from_utf8(page).unwrap().lines();
    lines.filter(|line| !line.starts_with('#')).map(|line| line.replace("pipeline_", "")).collect()
}

/// The samples of one device, without the metrics that say the same.
fn of_device(page: &[u8], device: &str) -> Vec<String> {
    let label = format!("{{device=\"{device}\"}}");
    let samples = samples(page).into_iter().filter(|line| line.contains(&label));
    samples.map(|line| line.replace(&label, "").replace("device_", "")).collect()
}

#[test]
fn the_whole_page() {
    let visits = [("pi1".to_owned(), visit(Some(90)))].into_iter().collect();
    let run = run(vec![report("pi1", Outcome::Done, busy()), report("pi2", offline(), Counts::default())]);
    let page =
        page(&visits, &Earlier::default(), Some(&["pi1", "pi2"]), &Ended { held: true, ..ended(0, 100, Some(&run)) });
    let expected = "\
# HELP pipeline_last_run_timestamp_seconds When pipeline sync last ended, however it ended.
# TYPE pipeline_last_run_timestamp_seconds gauge
pipeline_last_run_timestamp_seconds 100.000
# HELP pipeline_last_success_timestamp_seconds When pipeline sync last ended with exit code 0.
# TYPE pipeline_last_success_timestamp_seconds gauge
pipeline_last_success_timestamp_seconds 100.000
# HELP pipeline_run_duration_seconds How long the last run took.
# TYPE pipeline_run_duration_seconds gauge
pipeline_run_duration_seconds 2.500
# HELP pipeline_exit_code Exit code of the last run; docs/scripting.md has their meanings.
# TYPE pipeline_exit_code gauge
pipeline_exit_code 0
# HELP pipeline_held Whether removals are on hold: 1 until somebody ends that, or its time is over.
# TYPE pipeline_held gauge
pipeline_held 1
# HELP pipeline_device_reachable Whether the last visit found the device: 0 where it was offline.
# TYPE pipeline_device_reachable gauge
pipeline_device_reachable{device=\"pi1\"} 1
pipeline_device_reachable{device=\"pi2\"} 0
# HELP pipeline_device_last_success_timestamp_seconds When a visit to the device last did all that was to be done.
# TYPE pipeline_device_last_success_timestamp_seconds gauge
pipeline_device_last_success_timestamp_seconds{device=\"pi1\"} 90.000
";
    let page = String::from_utf8(page).unwrap();
    assert!(page.starts_with(expected), "{page}");
    let of_pi1 = [
        "reachable 1",
        "last_success_timestamp_seconds 90.000",
        "received_files 1",
        "received_bytes 2",
        "removed_files 3",
        "deferred_files 5",
        "waiting_files 6",
        "held_files 16",
        "kept_files 7",
        "failed_files 10",
        "card_bytes 32000",
        "card_free_bytes 8000",
    ];
    assert_eq!(of_device(page.as_bytes(), "pi1"), of_pi1);
}

#[test]
fn what_a_run_did_not_find_out_is_not_forgotten() {
    let fleet: &[&str] = &["pi1", "pi2"];
    let first_run = run(vec![report("pi1", Outcome::Done, busy()), report("pi2", Outcome::Done, busy())]);
    let visits = [("pi1", 90), ("pi2", 91)].map(|(name, at)| (name.to_owned(), visit(Some(at)))).into_iter().collect();
    let first = page(&visits, &Earlier::default(), Some(fleet), &ended(0, 100, Some(&first_run)));
    let earlier = Earlier::read(std::str::from_utf8(&first).unwrap());

    // A run by hand over one device, which is offline now.
    let by_hand = run(vec![report("pi1", offline(), Counts::default())]);
    let second = page(&visits, &earlier, Some(fleet), &ended(4, 200, Some(&by_hand)));
    let expected = [
        "last_run_timestamp_seconds 200.000",
        "last_success_timestamp_seconds 100.000",
        "run_duration_seconds 2.500",
        "exit_code 4",
    ];
    assert_eq!(samples(&second)[..4], expected);
    assert_eq!(of_device(&second, "pi2"), of_device(&first, "pi2"), "not visited");
    let pi1 = of_device(&second, "pi1");
    for (sample, known) in [
        ("reachable 0", true),
        ("received_files 0", true),
        ("last_success_timestamp_seconds 90.000", true),
        ("card_free_bytes 8000", true),
        ("reachable 1", false),
    ] {
        assert_eq!(pi1.contains(&sample.to_owned()), known, "{sample}: {pi1:?}");
    }

    // A run that did not begin, so that not even the fleet is known, and without a catalog.
    let third = page(&HashMap::new(), &earlier, None, &ended(78, 300, None));
    assert_eq!(samples(&third)[4..], samples(&first)[4..]);
    assert_eq!(samples(&third)[..2], ["last_run_timestamp_seconds 300.000", "last_success_timestamp_seconds 100.000"]);

    // A device that has left the fleet.
    let fourth = page(&visits, &earlier, Some(&["pi2"]), &ended(0, 400, None));
    assert_eq!(of_device(&fourth, "pi1"), [""; 0]);
}

#[test]
fn a_device_whose_turn_did_not_come_is_not_said_to_be_empty() {
    let earlier =
        Earlier::read("pipeline_device_kept_files{device=\"pi1\"} 3\npipeline_device_kept_files{device=\"pi2\"} 3\n");
    let half = Counts { received: 9, ..Counts::default() };
    let stopped = run(vec![report("pi1", Outcome::Stopped, Counts::default()), report("pi2", Outcome::Stopped, half)]);
    let page = page(&HashMap::new(), &earlier, Some(&["pi1", "pi2"]), &ended(143, 100, Some(&stopped)));
    assert_eq!(of_device(&page, "pi1"), ["kept_files 3"]);
    let pi2 = of_device(&page, "pi2");
    assert!(pi2.contains(&"received_files 9".to_owned()) && pi2.contains(&"kept_files 0".to_owned()), "{pi2:?}");
}

#[test]
fn a_failure_is_never_a_success() {
    for code in [1, 3, 4, 5, 6, 78, 130, 143] {
        let page = page(&HashMap::new(), &Earlier::default(), None, &ended(code, 100, None));
        assert!(!samples(&page).iter().any(|line| line.contains("success")), "{code}");
    }
}

#[test]
fn the_file_is_replaced_as_a_whole_and_everybody_may_read_it() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("pipeline.prom");
    let write = |code| write(&file, dir.path(), Some(&["pi1"]), &ended(code, 100, None));
    write(0).unwrap();
    fs::set_permissions(&file, Permissions::from_mode(0o600)).unwrap();
    let (mut open, inode) = (File::open(&file).unwrap(), fs::metadata(&file).unwrap().ino());
    write(5).unwrap();
    let metadata = fs::metadata(&file).unwrap();
    assert_ne!(metadata.ino(), inode, "written in place: a reader could see half of it");
    assert_eq!(metadata.mode() & 0o777, 0o644);
    let before = io::read_to_string(&mut open).unwrap();
    assert!(before.contains("pipeline_exit_code 0\n"), "{before}");
    assert!(fs::read_to_string(&file).unwrap().contains("pipeline_exit_code 5\n"));
    let left: Vec<_> = fs::read_dir(dir.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(left, ["pipeline.prom"]);
}

#[test]
fn what_a_killed_run_left_beside_it_is_in_nobodys_way() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("pipeline.prom");
    let left = dir.path().join(format!(".pipeline.prom.{}.tmp", std::process::id()));
    let elsewhere = dir.path().join("elsewhere");
    std::os::unix::fs::symlink(&elsewhere, &left).unwrap();
    write(&file, dir.path(), None, &ended(0, 100, None)).unwrap();
    assert!(fs::symlink_metadata(&file).unwrap().is_file());
    assert!(!elsewhere.exists(), "a link that lies there must not be followed");
}

#[test]
fn a_file_that_can_not_be_written_is_an_error_in_words() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("missing/pipeline.prom");
    let error = write(&file, dir.path(), None, &ended(0, 100, None)).unwrap_err();
    let expected = format!("can't write the metrics to {}: no such file or directory", file.display());
    assert_eq!(crate::error::one_line(&error), expected);
    // A directory in its place stays, and nothing is left beside it.
    let taken = dir.path().join("taken.prom");
    fs::create_dir(&taken).unwrap();
    write(&taken, dir.path(), None, &ended(0, 100, None)).unwrap_err();
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
}
