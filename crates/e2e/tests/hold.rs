//! `pipeline hold` and `release`: stops removals and nothing else, from the instant it is placed.

#![allow(clippy::unwrap_used)]

use std::fs::{self, File, FileTimes};
use std::time::{Duration, SystemTime};

use e2e::Ended;
use e2e::moments::{HeldCatalog, until};
use e2e::scene::{Scene, noise};
use local_fleet::Fleet;

/// What was received, removed, and held.
#[track_caller]
fn moved(ended: &Ended) -> [u64; 3] {
    let summary = ended.summary();
    ["received", "removed", "held"].map(|name| summary[name].as_u64().unwrap_or_else(|| panic!("no {name}: {ended}")))
}

#[test]
fn hold_stops_removals_and_nothing_else() {
    // Also a brake, which would end the held runs with 6, were removals due.
    let scene = Scene::bare(Fleet::builder().pipeline_config("delete: { max_files: 4 }\n"));
    let metrics = scene.fleet.root().join("pipeline.prom");
    let mut config = fs::read_to_string(scene.fleet.config_file()).unwrap();
    config.push_str(&format!("metrics: {}\n", metrics.display()));
    fs::write(scene.fleet.config_file(), config).unwrap();
    let gauge = |value: u8| fs::read_to_string(&metrics).unwrap().contains(&format!("\npipeline_held {value}\n"));
    let says = |ended: &Ended, words: &str| assert!(ended.stdout.contains(words), "{words}: {ended}");

    scene.pipeline(&["init"]).expect(0);
    says(&scene.pipeline(&["release"]).expect(0), "there is no hold");
    for bad in ["yesterday", "2020-01-01"] {
        scene.pipeline(&["hold", "--until", bad]).expect(2);
    }
    says(&scene.pipeline(&["release"]).expect(0), "there is no hold");
    assert!(!scene.pipeline(&["check"]).expect(0).stdout.contains("on hold"));

    let write = |name: &str| scene.write(1, &format!("2026/{name}.jpg"), &noise(1000, name.len() as u64));
    for name in ["a", "bb", "ccc"] {
        write(name);
    }
    let source = scene.fleet.pi(1).source();
    fs::create_dir(source.join("empty")).unwrap();
    let offered = scene.offered();
    let held = scene.pipeline(&["hold", "--reason", "the cards are being copied", "--until", "3d"]).expect(0);
    says(&held, "removals are on hold since 2");
    says(&held, ": the cards are being copied; 'pipeline release' ends it");

    let first = scene.sync().expect(0);
    assert_eq!(moved(&first), [3, 0, 3], "{first}");
    assert_eq!((scene.archived(), scene.offered()), (offered.clone(), offered.clone()));
    let told = first.events_of("deletions_held");
    assert_eq!(told.len(), 1, "{first}");
    assert_eq!(told[0]["reason"], "the cards are being copied");
    assert!(["since", "by", "until"].iter().all(|name| told[0][name].is_string()), "{first}");
    assert_eq!(first.summary()["hold"]["reason"], "the cards are being copied");
    assert!(gauge(1));

    // By then what is due is above the brake, and a plan names it.
    write("dddd");
    write("eeeee");
    let ever_offered = scene.offered();
    let planned = scene.pipeline(&["sync", "--dry-run"]).expect(0);
    says(&planned, "raspberry1: remove 2026/a.jpg");
    says(&planned, "removals are on hold since 2");
    let second = scene.pipeline(&["sync"]).expect(0);
    says(&second, "removals are on hold since 2");
    assert_eq!((scene.archived(), scene.offered()), (ever_offered.clone(), ever_offered.clone()));
    says(&scene.pipeline(&["check"]).expect(0), "- removals are on hold since 2");

    // A second one takes the place of the first, which is named; and one that nobody can read still holds.
    let replaced = scene.pipeline(&["hold", "--reason", "not yet"]).expect(0);
    says(&replaced, "replaced the hold since 2");
    says(&replaced, "the cards are being copied");
    fs::write(scene.fleet.state_dir().join("hold.json"), b"{ \"since\":").unwrap();
    let torn = scene.sync().expect(0);
    assert_eq!(moved(&torn), [0, 0, 5], "{torn}");
    assert!(torn.events_of("deletions_held")[0]["remark"].as_str().unwrap().contains("can't be understood"), "{torn}");

    // The brake was there all the time.
    says(&scene.pipeline(&["release"]).expect(0), "removals go on with the next run");
    assert_eq!(moved(&scene.sync().expect(6))[1], 0);
    assert!(gauge(0));
    scene.reconfigure("max_files: 4", "max_files: 5");
    assert_eq!(moved(&scene.sync().expect(0)), [0, 5, 0]);
    scene.assert_all_received(&ever_offered);

    // Nor does a directory go that the removals have left empty.
    scene.reconfigure("max_files: 5", "max_files: null");
    let old = SystemTime::now() - Duration::from_secs(7200);
    File::open(source.join("2026")).unwrap().set_times(FileTimes::new().set_modified(old)).unwrap();
    scene.pipeline(&["hold"]).expect(0);
    assert_eq!(scene.sync().expect(0).summary()["pruned"], 0);
    assert!(source.join("2026").exists());
    scene.pipeline(&["release"]).expect(0);
    assert_eq!(scene.sync().expect(0).summary()["pruned"], 1);
}

#[test]
fn a_hold_while_a_run_stores_a_file_keeps_it_on_the_pi() {
    let scene =
        Scene::new(Fleet::builder().pipeline_config("bandwidth: 1MiB/s\ntimeouts: { connect: 60s, idle: 60s }\n"));
    scene.write(1, "a.jpg", &noise(3 << 20, 1));
    let offered = scene.offered();

    let mut sync = scene.start_sync();
    // It takes three seconds to arrive, and not one to take hold of the catalog.
    sync.until_event("file_started");
    let catalog = HeldCatalog::hold(&scene.fleet.state_dir());
    until("the file has its final name", || (scene.archived() == offered).then_some(()));
    // The run has the lock, and is about to catalogue and remove.
    scene.pipeline(&["hold"]).expect(0);
    drop(catalog);
    let ended = sync.end().expect(0);
    assert_eq!(moved(&ended), [1, 0, 1], "{ended}");
    assert_eq!((scene.archived(), scene.offered()), (offered.clone(), offered.clone()));
    assert_eq!(ended.events_of("deletions_held").len(), 1, "{ended}");

    scene.pipeline(&["release"]).expect(0);
    assert_eq!(moved(&scene.sync().expect(0)), [0, 1, 0]);
    scene.assert_all_received(&offered);
}
