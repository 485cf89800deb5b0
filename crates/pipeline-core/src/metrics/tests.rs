#![allow(clippy::unwrap_used)]

mod examples;

use std::fs::{File, Permissions};
use std::io::Write as _;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::process::{Command, Stdio};

use super::known::{KnownDevice, Room, Visits};
use super::*;
use crate::catalog::history::Totals;
use crate::config::{Config, Surroundings};
use crate::event::{Counts, StopReason};
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

fn failed(class: Class) -> Outcome {
    Outcome::Failed { class, reason: "broke".into(), hint: None }
}

fn busy() -> Counts {
    Counts { deferred: 5, waiting: 6, held: 16, kept: 7, failed: 10, ..Counts::default() }
}

/// A fleet with these devices; the second one may be silent for ever.
pub(super) fn fleet(names: &[&str]) -> Vec<Device> {
    let text = "hosts: [a]\nsource: /data\nstorage: /srv\nalert_after: 1d\ndevices: { pi2: { alert_after: never } }\n";
    let surroundings = Surroundings {
        home: "/root".into(),
        user: "root".into(),
        uid: 0,
        xdg_state_home: None,
        env: std::collections::BTreeMap::new(),
    };
    let config = Config::parse(text, Path::new("p.yaml"), &surroundings).unwrap();
    let names = names.iter().map(|name| DeviceName::new(*name).unwrap());
    names.map(|name| Device { settings: config.device(&name), name }).collect()
}

fn device(succeeded: i64) -> KnownDevice {
    KnownDevice {
        visits: None,
        succeeded_ns: Some(succeeded * SECOND),
        newest_ns: Some(70 * SECOND),
        clock_offset_ns: Some(-2_500 * 1_000_000),
        card: Some(Room { total_bytes: 32_000, free_bytes: 8_000, full_in: Some(Duration::from_secs(86_400)) }),
        waiting: Some((17, 18)),
        kept: Some((19, 20)),
        totals: Totals {
            source: 1,
            received: 1,
            received_bytes: 2,
            removed: 3,
            removed_bytes: 4,
            versions: 8,
            clashes: 9,
        },
    }
}

fn known(devices: &[(&str, i64)]) -> Known {
    let devices = devices.iter().map(|(name, succeeded)| ((*name).to_owned(), device(*succeeded)));
    let storage = Some(Room { total_bytes: 900, free_bytes: 300, full_in: None });
    Known { devices: devices.collect(), storage }
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
    let run = run(vec![report("pi1", Outcome::Done, busy()), report("pi2", offline(), Counts::default())]);
    let fleet = fleet(&["pi1", "pi2"]);
    let ended = Ended { held: true, ..ended(0, 100, Some(&run)) };
    let page = page(Some(&known(&[("pi1", 90)])), &Earlier::default(), Some(&fleet), &ended);
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
# HELP pipeline_storage_bytes Size of the storage.
# TYPE pipeline_storage_bytes gauge
pipeline_storage_bytes 900
# HELP pipeline_storage_free_bytes Free in the storage for us.
# TYPE pipeline_storage_free_bytes gauge
pipeline_storage_free_bytes 300
# HELP pipeline_failed_devices How many devices failed in the last visit that could tell, by the class of the failure.
# TYPE pipeline_failed_devices gauge
pipeline_failed_devices{class=\"transient\"} 0
";
    let page = String::from_utf8(page).unwrap();
    assert!(page.starts_with(expected), "{page}");
    let of_pi1 = [
        "reachable 1",
        "last_success_timestamp_seconds 90.000",
        "silent_seconds 30.000",
        "alert_after_seconds 86400",
        "waiting_files 17",
        "waiting_bytes 18",
        "kept_files 19",
        "kept_bytes 20",
        "card_bytes 32000",
        "card_free_bytes 8000",
        "card_full_seconds 86400",
        "clock_offset_seconds -2.500",
        "deferred_files 5",
        "delayed_files 6",
        "held_files 16",
        "unplaced_files 7",
        "failed_files 10",
        "received_files_total 1",
        "received_bytes_total 2",
        "removed_files_total 3",
        "removed_bytes_total 4",
        "versions_total 8",
        "clashes_total 9",
    ];
    assert_eq!(of_device(page.as_bytes(), "pi1"), of_pi1);
    assert_eq!(of_device(page.as_bytes(), "pi2"), ["reachable 0"]);
    checked_by_promtool(&page);
}

/// What Prometheus itself says of a page.
fn checked_by_promtool(page: &str) {
    let said = promtool(&["check", "metrics"], Some(page));
    assert!(said.trim().is_empty(), "{said}\n{page}");
}

/// Runs promtool to its end and returns what it said; nothing where there is none.
#[track_caller]
#[allow(clippy::print_stderr)] // what is skipped is said
fn promtool(args: &[&str], input: Option<&str>) -> String {
    let mut promtool = Command::new("promtool");
    promtool.args(args).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = match promtool.spawn() {
        Ok(child) => child,
        Err(error) => {
            eprintln!("skipped: promtool {args:?}: {error}");
            return String::new();
        }
    };
    // It says little before it has read all.
    child.stdin.take().unwrap().write_all(input.unwrap_or_default().as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{args:?}: {said}");
    said.into_owned()
}

#[test]
fn failures_are_counted_by_class_and_stay_until_the_next_visit() {
    let fleet = fleet(&["pi1", "pi2", "pi3"]);
    let first = run(vec![
        report("pi1", failed(Class::HostKey), Counts::default()),
        report("pi2", failed(Class::HostKey), Counts::default()),
        report("pi3", failed(Class::Integrity), Counts::default()),
    ]);
    let failures = |page: &[u8]| -> Vec<String> {
        samples(page).into_iter().filter(|line| line.contains("class=") && !line.ends_with(" 0")).collect()
    };
    let first = page(Some(&known(&[])), &Earlier::default(), Some(&fleet), &ended(6, 100, Some(&first)));
    let expected = [
        r#"failed_devices{class="host_key"} 2"#,
        r#"failed_devices{class="integrity"} 1"#,
        r#"device_failure{device="pi1",class="host_key"} 1"#,
        r#"device_failure{device="pi2",class="host_key"} 1"#,
        r#"device_failure{device="pi3",class="integrity"} 1"#,
    ];
    assert_eq!(failures(&first), expected);
    checked_by_promtool(std::str::from_utf8(&first).unwrap());
    // One is well again, one is not visited, and one is unplugged, which mends nothing.
    let earlier = Earlier::read(std::str::from_utf8(&first).unwrap());
    let second =
        run(vec![report("pi1", Outcome::Done, Counts::default()), report("pi3", offline(), Counts::default())]);
    let second = page(Some(&known(&[])), &earlier, Some(&fleet), &ended(0, 200, Some(&second)));
    assert_eq!(failures(&second), [expected[0].replace('2', "1").as_str(), expected[1], expected[3], expected[4]]);
}

#[test]
fn a_failure_ends_where_something_says_that_it_is_over() {
    let fleet = fleet(&["pi1"]);
    let after = |outcomes: Vec<Outcome>| -> Option<String> {
        let mut text = String::new();
        for outcome in outcomes {
            let run = run(vec![report("pi1", outcome, Counts::default())]);
            let page = page(None, &Earlier::read(&text), Some(&fleet), &ended(3, 100, Some(&run)));
            text = String::from_utf8(page).unwrap();
        }
        let class = text.lines().find_map(|line| line.strip_prefix("pipeline_device_failure{device=\"pi1\",class=\""));
        class.map(|class| class.trim_end_matches("\"} 1").to_owned())
    };
    let told = |class: Class| Some(class.word().to_owned());
    for class in [Class::HostKey, Class::Integrity, Class::Config, Class::Internal] {
        let broke = || failed(Class::Transient);
        assert_eq!(after(vec![failed(class), offline(), Outcome::Stopped, broke(), offline()]), told(class));
        assert_eq!(after(vec![failed(class), offline(), Outcome::Done]), None);
    }
    // It may pass, and what is told of the device now says so.
    for class in [Class::Transient, Class::Storage] {
        assert_eq!(after(vec![failed(class), offline()]), None);
        assert_eq!(after(vec![failed(class), Outcome::Stopped]), told(class));
    }
    assert_eq!(after(vec![failed(Class::Transient), failed(Class::HostKey)]), told(Class::HostKey));
}

#[test]
fn what_the_catalog_says_of_a_trouble_counts_more_than_the_earlier_page() {
    let fleet = fleet(&["pi1"]);
    let earlier = run(vec![report("pi1", failed(Class::HostKey), Counts::default())]);
    let earlier = page(None, &Earlier::default(), Some(&fleet), &ended(3, 100, Some(&earlier)));
    let earlier = Earlier::read(std::str::from_utf8(&earlier).unwrap());
    let told = |visits: Option<Visits>, outcome: Option<(Outcome, u64)>| {
        let known =
            Known { devices: [("pi1".into(), KnownDevice { visits, ..KnownDevice::default() })].into(), storage: None };
        let run =
            outcome.map(|(outcome, failed)| run(vec![report("pi1", outcome, Counts { failed, ..Counts::default() })]));
        let page = page(Some(&known), &earlier, Some(&fleet), &ended(3, 200, run.as_ref()));
        Class::ALL.into_iter().find(|class| {
            let sample = format!(r#"device_failure{{device="pi1",class="{}"}} 1"#, class.word());
            samples(&page).contains(&sample)
        })
    };
    let visits = |trouble| Some(Visits { trouble });
    assert_eq!(told(None, None), Some(Class::HostKey), "nobody has visited it since visits are written down");
    assert_eq!(told(visits(None), None), None, "another run mended it");
    assert_eq!(told(visits(Some(Class::Brake)), Some((offline(), 0))), Some(Class::Brake));
    assert_eq!(told(visits(Some(Class::HostKey)), Some((failed(Class::Transient), 0))), Some(Class::HostKey));
    assert_eq!(told(None, Some((failed(Class::Transient), 2))), Some(Class::Transient), "it has come past the key");
}

#[test]
fn what_was_counted_stands_until_a_visit_counts_again() {
    let fleet = fleet(&["pi1"]);
    let first = run(vec![report("pi1", Outcome::Done, busy())]);
    let first = page(None, &Earlier::default(), Some(&fleet), &ended(0, 100, Some(&first)));
    let earlier = Earlier::read(std::str::from_utf8(&first).unwrap());
    let counted = |outcome, counts| -> [String; 3] {
        let run = run(vec![report("pi1", outcome, counts)]);
        let page = page(None, &earlier, Some(&fleet), &ended(3, 200, Some(&run)));
        let samples = of_device(&page, "pi1");
        ["held_files ", "unplaced_files ", "failed_files "]
            .map(|name| samples.iter().find_map(|sample| sample.strip_prefix(name)).unwrap().to_owned())
    };
    let none = Counts::default();
    assert_eq!(counted(offline(), none), ["16", "7", "10"], "unplugged");
    assert_eq!(counted(failed(Class::HostKey), none), ["16", "7", "10"], "not let in");
    let half = Counts { held: 2, ..Counts::default() };
    assert_eq!(counted(failed(Class::Transient), half), ["2", "7", "10"], "broke off");
    let with_failures = Counts { failed: 1, ..Counts::default() };
    assert_eq!(counted(failed(Class::Transient), with_failures), ["0", "0", "1"], "came to its end");
    assert_eq!(counted(Outcome::Done, none), ["0", "0", "0"]);
}

#[test]
fn what_a_run_did_not_find_out_is_not_forgotten() {
    let both = fleet(&["pi1", "pi2"]);
    let first_run = run(vec![report("pi1", Outcome::Done, busy()), report("pi2", Outcome::Done, busy())]);
    let catalog = known(&[("pi1", 90), ("pi2", 91)]);
    let first = page(Some(&catalog), &Earlier::default(), Some(&both), &ended(0, 100, Some(&first_run)));
    let earlier = Earlier::read(std::str::from_utf8(&first).unwrap());

    // A run by hand over one device, which is offline now.
    let by_hand = run(vec![report("pi1", offline(), Counts::default())]);
    let second = page(Some(&catalog), &earlier, Some(&both), &ended(4, 200, Some(&by_hand)));
    let expected = [
        "last_run_timestamp_seconds 200.000",
        "last_success_timestamp_seconds 100.000",
        "run_duration_seconds 2.500",
        "exit_code 4",
    ];
    assert_eq!(samples(&second)[..4], expected);
    let but_silence = |page: &[u8], device: &str| -> Vec<String> {
        of_device(page, device).into_iter().filter(|line| !line.starts_with("silent")).collect()
    };
    assert_eq!(but_silence(&second, "pi2"), but_silence(&first, "pi2"), "not visited");
    assert!(of_device(&second, "pi2").contains(&"silent_seconds 130.000".to_owned()));
    let pi1 = of_device(&second, "pi1");
    for (sample, is_there) in [
        ("reachable 0", true),
        ("deferred_files 5", true),
        ("last_success_timestamp_seconds 90.000", true),
        ("card_free_bytes 8000", true),
        ("reachable 1", false),
    ] {
        assert_eq!(pi1.contains(&sample.to_owned()), is_there, "{sample}: {pi1:?}");
    }

    // A run that did not begin, so that not even the fleet is known, and without a catalog.
    let third = page(None, &earlier, None, &ended(78, 300, None));
    assert_eq!(samples(&third)[4..], samples(&first)[4..]);
    assert_eq!(samples(&third)[..2], ["last_run_timestamp_seconds 300.000", "last_success_timestamp_seconds 100.000"]);

    // A device that has left the fleet, and a card that is no longer expected to be full.
    let mut catalog = catalog;
    catalog.devices.get_mut("pi2").unwrap().card.as_mut().unwrap().full_in = None;
    let fourth = page(Some(&catalog), &earlier, Some(&both[1..]), &ended(0, 400, None));
    assert_eq!(of_device(&fourth, "pi1"), [""; 0]);
    let pi2 = of_device(&fourth, "pi2");
    assert!(!pi2.iter().any(|line| line.starts_with("card_full")) && pi2.contains(&"card_bytes 32000".to_owned()));
}

#[test]
fn a_device_whose_turn_did_not_come_is_not_said_to_be_empty() {
    let earlier =
        Earlier::read("pipeline_device_held_files{device=\"pi1\"} 3\npipeline_device_held_files{device=\"pi2\"} 3\n");
    let half = Counts { deferred: 9, ..Counts::default() };
    let stopped = run(vec![report("pi1", Outcome::Stopped, Counts::default()), report("pi2", Outcome::Stopped, half)]);
    let page = page(None, &earlier, Some(&fleet(&["pi1", "pi2"])), &ended(143, 100, Some(&stopped)));
    assert_eq!(of_device(&page, "pi1"), ["alert_after_seconds 86400", "held_files 3"]);
    let pi2 = of_device(&page, "pi2");
    assert!(pi2.contains(&"deferred_files 9".to_owned()) && pi2.contains(&"held_files 3".to_owned()), "{pi2:?}");
}

#[test]
fn a_failure_is_never_a_success() {
    for code in [1, 3, 4, 5, 6, 78, 130, 143] {
        let page = page(None, &Earlier::default(), None, &ended(code, 100, None));
        assert!(!samples(&page).iter().any(|line| line.contains("success")), "{code}");
    }
    // Nor is one that a clock dated into the future, and that would hide all failures until then.
    for (at, stands) in [(99, true), (999, false)] {
        let earlier = format!(
            "pipeline_last_success_timestamp_seconds {at}\npipeline_device_last_success_timestamp_seconds{{device=\"pi1\"}} {at}\n"
        );
        let page = page(None, &Earlier::read(&earlier), Some(&fleet(&["pi1"])), &ended(1, 100, None));
        let kept = samples(&page).iter().filter(|line| line.contains("success")).count();
        assert_eq!(kept, if stands { 2 } else { 0 }, "{at}");
    }
}

#[test]
fn the_file_is_replaced_as_a_whole_and_everybody_may_read_it() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("pipeline.prom");
    let write = |code| write(&file, dir.path(), Some(&fleet(&["pi1"])), &ended(code, 100, None));
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
