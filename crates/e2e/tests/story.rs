//! The demo's story, as assertions, byte for byte.

#![allow(clippy::unwrap_used)]

use std::fs::{self, File};
use std::process::Command;
use std::time::{Duration, SystemTime};

use e2e::run;
use e2e::schema::assert_described;
use local_fleet::{Fleet, field, snapshot};
use serde_json::Value;

const CSV: &[u8] = b"raspberry1/temperature.csv";

/// The devices of a summary by how their visits ended.
fn with_outcome<'a>(summary: &'a Value, outcome: &str) -> Vec<&'a str> {
    let devices = summary["devices"].as_array().unwrap();
    devices
        .iter()
        .filter(|device| device["outcome"] == outcome)
        .map(|device| device["device"].as_str().unwrap())
        .collect()
}

#[test]
fn pull_verify_delete() {
    let fleet = Fleet::builder().pis(4).offline(1).silent(1).start().unwrap();
    field::fill(&fleet).unwrap();
    let mut offered = fleet.offered().unwrap();
    let bytes: u64 = offered.values().map(|facts| facts.bytes).sum();
    assert!(offered.len() > 50 && bytes > 15_000_000, "{} files, {bytes} bytes", offered.len());
    let logger = field::Logger::start(fleet.pi(1)).unwrap();
    let pipeline = |args: &[&str]| run(fleet.command("pipeline").unwrap().args(args));

    pipeline(&["init"]).expect(0);
    assert!(fleet.archived().unwrap().is_empty());

    let check = pipeline(&["check"]).expect(0);
    for number in 1..=6 {
        assert!(check.stdout.contains(&format!("raspberry{number}")), "{check}");
    }

    let dry_run = pipeline(&["sync", "--dry-run", "--json"]).expect(0);
    let planned: Vec<_> = dry_run.events().into_iter().filter(|event| event["event"] == "file_planned").collect();
    let to_come = planned.iter().filter(|event| event["action"] == "receive_and_remove");
    assert_eq!(to_come.count(), offered.len(), "{dry_run}");
    let mut still_offered = fleet.offered().unwrap();
    assert!(still_offered.remove(CSV).is_some());
    assert_eq!(still_offered, offered);
    assert!(fleet.archived().unwrap().is_empty());

    let sync = pipeline(&["sync", "--json"]).expect(0);
    let summary = sync.summary();
    assert_eq!(fleet.archived().unwrap(), offered, "content and modification time of each file");
    let left = fleet.offered().unwrap();
    assert_eq!(left.keys().collect::<Vec<_>>(), [CSV], "all but the file that is being written");
    assert_eq!(with_outcome(&summary, "done"), ["raspberry1", "raspberry2", "raspberry3", "raspberry4"]);
    assert_eq!(with_outcome(&summary, "offline"), ["raspberry5", "raspberry6"]);
    for (count, expected) in [
        ("received", offered.len() as u64),
        ("received_bytes", bytes),
        ("removed", offered.len() as u64),
        ("removed_bytes", bytes),
        ("deferred", 1),
        ("kept", 0),
        ("failed", 0),
    ] {
        assert_eq!(summary[count], expected, "{count}: {summary}");
    }

    // Whatever was installed is inside the fleet's directory.
    for pi in fleet.pis() {
        let installed = snapshot(&pi.home()).unwrap();
        let agents = installed.keys().filter(|path| path.windows(14).any(|window| window == b"pipeline-agent"));
        assert_eq!(agents.count(), 1, "{}: {:?}", pi.name(), installed.keys());
    }

    let again = pipeline(&["sync", "--json"]).expect(0).summary();
    assert_eq!(
        (&again["received"], &again["removed"], &again["deferred"]),
        (&0.into(), &0.into(), &1.into()),
        "{again}"
    );
    assert_eq!(fleet.archived().unwrap(), offered);

    manifests_hold(&fleet, offered.len());

    // Once the logger has ended and its file has settled, the file comes too, whole.
    let path = logger.path().to_owned();
    drop(logger);
    let content = fs::read(&path).unwrap();
    assert!(content.starts_with(field::CSV_HEADER.as_bytes()) && content.ends_with(b"\n"));
    File::options()
        .append(true)
        .open(&path)
        .unwrap()
        .set_modified(SystemTime::now() - Duration::from_secs(3600))
        .unwrap();
    offered.extend(fleet.offered().unwrap());
    let last = pipeline(&["sync", "--json"]).expect(0).summary();
    assert_eq!((&last["received"], &last["removed"]), (&1.into(), &1.into()), "{last}");
    assert_eq!(fleet.archived().unwrap(), offered);
    assert_eq!(fs::read(fleet.storage().join("raspberry1/temperature.csv")).unwrap(), content);
    assert!(fleet.offered().unwrap().is_empty());
    manifests_hold(&fleet, offered.len());
    the_past_is_told(&fleet, offered.len() as u64);
}

/// What the catalog says afterwards is what happened, and is described.
fn the_past_is_told(fleet: &Fleet, files: u64) {
    let history = |args: &[&str]| {
        let output = run(fleet.command("pipeline").unwrap().arg("history").args(args).arg("--json")).expect(0);
        let rows: Vec<Value> = output.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        rows.iter().for_each(|row| assert_described("history", row));
        rows
    };
    let runs = history(&["runs"]);
    let told: Vec<_> = runs.iter().map(|run| (run["received"].clone(), run["deferred"].clone())).collect();
    assert_eq!(told, [(files - 1, 1), (0, 1), (1, 0)].map(|(received, deferred)| (received.into(), deferred.into())));
    for run in &runs {
        assert_eq!(
            (&run["devices"], &run["done"], &run["offline"], &run["state"]),
            (&6.into(), &4.into(), &2.into(), &"ended".into())
        );
    }
    let devices = history(&["devices"]);
    let sum = |field: &str| devices.iter().map(|device| device[field].as_u64().unwrap()).sum::<u64>();
    assert_eq!((sum("received"), sum("removed"), sum("reached"), sum("offline")), (files, files, 12, 6), "{devices:?}");
    // The runs are moments apart: each device has been in one state all the time.
    let visits = history(&["visits"]);
    assert_eq!(visits.len(), 6, "{visits:?}");
    for spell in &visits {
        let away = ["raspberry5", "raspberry6"].contains(&spell["device"].as_str().unwrap());
        assert_eq!((&spell["visits"], spell["state"] == "offline"), (&3.into(), away), "{spell}");
        assert_eq!((spell["class"] == "unreachable", spell["reason"].is_string()), (away, away), "{spell}");
    }
    assert_eq!(history(&["files"]).len() as u64, files);
    assert_eq!(history(&["files", "raspberry1", "--path", "/temperature.csv"]).len(), 1);
}

/// Asserts that `sha256sum --check` accepts that many files, and that it would notice a changed one.
fn manifests_hold(fleet: &Fleet, files: usize) {
    let check = || {
        let mut shell = Command::new("sh");
        shell.current_dir(fleet.storage()).args(["-c", "sha256sum --check SHA256SUMS/*/*.sha256"]);
        // File names that are not UTF-8 are quoted in no locale: only the count of lines matters here.
        let output = shell.env("LC_ALL", "C").output().unwrap();
        (output.status.success(), String::from_utf8_lossy(&output.stdout).matches(": OK\n").count())
    };
    assert_eq!(check(), (true, files));
    let archived = fleet.archived().unwrap();
    let photo = archived.keys().find(|path| path.ends_with(b".jpg")).unwrap();
    let photo = fleet.storage().join(std::str::from_utf8(photo).unwrap());
    let content = fs::read(&photo).unwrap();
    let modified = fs::metadata(&photo).unwrap().modified().unwrap();
    fs::write(&photo, [&content[..content.len() - 1], b"?"].concat()).unwrap();
    assert_eq!(check(), (false, files - 1));
    fs::write(&photo, content).unwrap();
    File::options().append(true).open(&photo).unwrap().set_modified(modified).unwrap();
}
