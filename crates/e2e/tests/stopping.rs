//! Runs that are stopped, and runs that meet one another.

#![allow(clippy::unwrap_used)]

use std::fs::{self, File};
use std::time::{Duration, Instant};

use e2e::moments::{HeldCatalog, freeze_while_reading, position_in, until};
use e2e::scene::{Scene, Tree, noise};
use local_fleet::Fleet;
use rustix::process::Signal;

/// Minutes for the file of [`stops`], seconds for one of 3 MiB.
const SLOW: &str = "bandwidth: 512KiB/s\ntimeouts: { connect: 60s, idle: 60s }\n";

/// Stops a run in the middle of a large file, with the device as it is or frozen.
fn stops(signal: Signal, code: i32, frozen: bool) {
    let scene = Scene::new(Fleet::builder().pipeline_config(SLOW));
    (0..3).for_each(|number| drop(scene.write(1, &format!("{number}.jpg"), &noise(1000, number))));
    let large = scene.write(1, "large.mp4", &noise(64 << 20, 7));
    let ever_offered = scene.offered();
    let sync = scene.start_sync();
    freeze_while_reading(scene.fleet.pi(1), &large);
    if !frozen {
        scene.fleet.pi(1).cont();
    }
    let signalled = Instant::now();
    sync.signal(signal);
    let sync = sync.end().expect(code);
    assert!(signalled.elapsed() < Duration::from_secs(5), "{:?}: {sync}", signalled.elapsed());
    assert_eq!(sync.summary()["devices"][0]["outcome"], "stopped", "{sync}");
    scene.fleet.pi(1).cont();
    assert!(large.exists());
    scene.assert_nothing_lost(&ever_offered);
    assert!(!scene.archived().contains_key(b"raspberry1/large.mp4".as_slice()));
    scene.assert_nothing_staged();

    scene.reconfigure("bandwidth: 512KiB/s", "bandwidth: 1GiB/s");
    scene.sync().expect(0);
    scene.assert_all_received(&ever_offered);
}

#[test]
fn sigint_in_the_middle_of_a_file() {
    stops(Signal::INT, 130, false);
}

#[test]
fn sigterm_in_the_middle_of_a_file() {
    stops(Signal::TERM, 143, false);
}

#[test]
fn sigterm_while_the_device_says_nothing() {
    stops(Signal::TERM, 143, true);
}

#[test]
fn sigterm_while_the_disk_hangs() {
    let scene = Scene::new(Fleet::builder().pipeline_config(SLOW));
    scene.write(1, "a.mp4", &noise(3 << 20, 1));
    let ever_offered = scene.offered();
    let mut sync = scene.start_sync();
    sync.until_event("file_started");
    let catalog = HeldCatalog::hold(&scene.fleet.state_dir());
    let stored = scene.fleet.storage().join("raspberry1/a.mp4");
    until("the file has its final name", || stored.exists().then_some(()));
    // It can't be catalogued, so the run can't end cleanly: it ends all the same, which is safe at any instant.
    let signalled = Instant::now();
    sync.signal(Signal::TERM);
    sync.end().expect(143);
    assert!(signalled.elapsed() < Duration::from_secs(5), "{:?}", signalled.elapsed());
    drop(catalog);
    assert_eq!((scene.archived(), scene.offered()), (ever_offered.clone(), ever_offered.clone()));
    let next = scene.sync().expect(0).summary();
    // It is there already: taken over as it is.
    assert_eq!((&next["adopted"], &next["removed"]), (&1.into(), &1.into()), "{next}");
    scene.assert_all_received(&ever_offered);
}

/// Nobody reads so much within the time of a test.
const ENDLESS_BYTES: u64 = 64 << 30;

#[test]
fn sigterm_while_a_stored_file_is_read() {
    let scene = Scene::new(Fleet::builder());
    let file = scene.write(1, "a.mp4", &noise(1 << 20, 1));
    let (ever_offered, stored) = (scene.offered(), scene.fleet.storage().join("raspberry1/a.mp4"));
    let stop_while_reading = || {
        let sync = scene.start_sync();
        let read = || position_in(sync.pid(), &stored).filter(|&bytes| bytes > 16 << 20);
        until("the stored file is read", read);
        let signalled = Instant::now();
        sync.signal(Signal::TERM);
        let sync = sync.end().expect(143);
        assert!(signalled.elapsed() < Duration::from_secs(5), "{:?}: {sync}", signalled.elapsed());
        // It ended by itself: who is ended after those seconds says nothing more.
        let summary = sync.summary();
        assert_eq!((&summary["devices"][0]["outcome"], &summary["removed"]), (&"stopped".into(), &0.into()), "{sync}");
        assert!(file.exists());
        scene.assert_nothing_staged();
    };

    // Adoption: nobody knows what it holds.
    fs::create_dir(stored.parent().unwrap()).unwrap();
    File::create(&stored).unwrap().set_len(ENDLESS_BYTES).unwrap();
    stop_while_reading();
    assert_eq!(fs::metadata(&stored).unwrap().len(), ENDLESS_BYTES);
    fs::remove_file(&stored).unwrap();
    assert_eq!(scene.pipeline(&["sync", "--no-delete", "--json"]).expect(0).summary()["received"], 1);

    // Verification, before the file may leave its device.
    let (archived, time) = (scene.archived(), fs::metadata(&stored).unwrap().modified().unwrap());
    let resize = |bytes| File::options().write(true).open(&stored).unwrap().set_len(bytes).unwrap();
    let bytes = fs::metadata(&stored).unwrap().len();
    resize(ENDLESS_BYTES);
    stop_while_reading();
    resize(bytes);
    File::options().write(true).open(&stored).unwrap().set_modified(time).unwrap();
    assert_eq!(scene.archived(), archived);
    assert_eq!(scene.sync().expect(0).summary()["removed"], 1);
    scene.assert_all_received(&ever_offered);
}

#[test]
fn a_second_run_is_told_who_holds_the_lock_and_harms_nobody() {
    let scene =
        Scene::new(Fleet::builder().pipeline_config("timeouts: { connect: 60s, idle: 60s }\nbandwidth: 8MiB/s\n"));
    let file = scene.write(1, "large.mp4", &noise(16 << 20, 1));
    let ever_offered = scene.offered();
    let first = scene.start_sync();
    freeze_while_reading(scene.fleet.pi(1), &file);

    let second = scene.sync().expect(7);
    let holder = format!("another run is under way: process {} since ", first.pid());
    assert!(second.stderr.contains(&holder) && second.stderr.contains("hint: wait until it ends"), "{second}");
    assert_eq!(second.stdout, "");
    // One that changes nothing may look meanwhile.
    scene.fleet.pi(1).cont();
    let looked = scene.pipeline(&["sync", "--dry-run", "--json"]).expect(0);
    assert_eq!(looked.summary()["devices"][0]["outcome"], "done", "{looked}");

    let summary = first.end().expect(0).summary();
    assert_eq!((&summary["received"], &summary["removed"]), (&1.into(), &1.into()), "{summary}");
    scene.assert_all_received(&ever_offered);
    assert_eq!(scene.sync().expect(0).summary()["received"], 0);
    assert_eq!(scene.offered(), Tree::new());
}
