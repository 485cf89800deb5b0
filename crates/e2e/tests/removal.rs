//! When a received file leaves its Pi: at once, later, never, early because the card fills, or not at all because a brake holds
//! or the stored copy has rotted; and the directories that are left empty.

#![allow(clippy::unwrap_used)]

use std::fs::{self, File, FileTimes};
use std::path::Path;
use std::time::{Duration, SystemTime};

use e2e::moments::until;
use e2e::mounts::{Disk, among_own_mounts};
use e2e::scene::{Scene, Tree, noise};
use local_fleet::Fleet;
use serde_json::Value;

const MIB: u64 = 1 << 20;

fn with(config: &str) -> Scene {
    Scene::new(Fleet::builder().pipeline_config(config))
}

/// Writes so many small files on a Pi.
fn photos(scene: &Scene, pi: usize, files: u64) {
    (0..files).for_each(|number| drop(scene.write(pi, &format!("2026/{number}.jpg"), &noise(1000, number))));
}

/// These counts of a summary.
#[track_caller]
fn counts<const N: usize>(summary: &Value, names: [&str; N]) -> [u64; N] {
    names.map(|name| summary[name].as_u64().unwrap_or_else(|| panic!("no {name}: {summary}")))
}

const MOVED: [&str; 3] = ["received", "removed", "waiting"];

#[test]
fn delete_after_keeps_files_and_then_releases_them() {
    let scene = with("delete: { after: 1h }\n");
    photos(&scene, 1, 3);
    let offered = scene.offered();
    assert_eq!(counts(&scene.sync().expect(0).summary(), MOVED), [3, 0, 3]);
    assert_eq!((scene.archived(), scene.offered()), (offered.clone(), offered.clone()));
    assert_eq!(counts(&scene.sync().expect(0).summary(), MOVED), [0, 0, 3]);

    scene.reconfigure("after: 1h", "after: 1s");
    until("the second is over, and a run releases them", || {
        let removed = scene.sync().expect(0).summary()["removed"].as_u64().unwrap();
        (removed > 0).then(|| assert_eq!(removed, 3))
    });
    scene.assert_all_received(&offered);
}

#[test]
fn delete_after_counts_from_the_receipt() {
    // The files are two hours old; they were received a moment ago.
    let scene = with("delete: { after: 1h }\n");
    photos(&scene, 1, 1);
    let path = scene.fleet.pi(1).source().join("2026/0.jpg");
    scene.sync().expect(0);
    scene.sync().expect(0);
    assert!(path.exists());
}

#[test]
fn delete_after_never_keeps_all() {
    let scene = with("delete: { after: never }\n");
    photos(&scene, 1, 3);
    let offered = scene.offered();
    assert_eq!(counts(&scene.sync().expect(0).summary(), MOVED), [3, 0, 3]);
    assert_eq!(counts(&scene.sync().expect(0).summary(), MOVED), [0, 0, 3]);
    assert_eq!((scene.archived(), scene.offered()), (offered.clone(), offered));
}

#[test]
fn no_delete_keeps_what_is_due() {
    let scene = with("");
    photos(&scene, 1, 3);
    let offered = scene.offered();
    let summary = scene.pipeline(&["sync", "--json", "--no-delete"]).expect(0).summary();
    assert_eq!(counts(&summary, ["received", "removed"]), [3, 0]);
    assert_eq!(scene.offered(), offered);
    assert_eq!(counts(&scene.sync().expect(0).summary(), ["received", "removed"]), [0, 3]);
    scene.assert_all_received(&offered);
}

#[test]
fn a_card_above_high_water_is_relieved_of_the_oldest_down_to_low_water() {
    among_own_mounts(|| {
        let scene = with("delete:\n  after: never\n  high_water: 80%\n  low_water: 50%\n");
        let card = Disk::mount(&scene.fleet.pi(1).source(), 20 * MIB);
        let write = |number: u64| scene.write(1, &format!("{number}.mp4"), &noise(3 << 20, number));
        // Received one after the other, so that it is known which is the oldest.
        for number in 0..5 {
            write(number);
            assert_eq!(counts(&scene.sync().expect(0).summary(), ["received", "removed"]), [1, 0], "75 % or less");
        }
        write(5);
        let ever_offered = scene.offered();
        // 90 %: too full. Three files are what it takes to get below 50 %. A hold holds them, however full the card is.
        scene.pipeline(&["hold"]).expect(0);
        assert_eq!(counts(&scene.sync().expect(0).summary(), ["received", "removed", "held"]), [1, 0, 3]);
        scene.pipeline(&["release"]).expect(0);
        assert_eq!(counts(&scene.sync().expect(0).summary(), ["received", "removed", "held"]), [0, 3, 0]);
        let youngest: Tree = ever_offered.clone().into_iter().skip(3).collect();
        assert_eq!((scene.archived(), scene.offered()), (ever_offered.clone(), youngest), "the oldest are gone");
        assert_eq!(counts(&scene.sync().expect(0).summary(), ["received", "removed"]), [0, 0]);

        // Full of what is none of ours: all that was received goes, that is not enough, and somebody is told.
        fs::rename(card.fill(), scene.fleet.pi(1).source().join("excluded.part")).unwrap();
        let last = scene.sync().expect(0);
        assert_eq!(counts(&last.summary(), ["received", "removed"]), [0, 3]);
        let noted = last.events_of("noted");
        assert!(noted.iter().any(|event| event["message"].as_str().unwrap().contains("above high_water")), "{last}");
        assert_eq!((scene.archived(), scene.offered().len()), (ever_offered, 1));
    });
}

#[test]
fn the_brake_holds_all_removals_back() {
    let scene = Scene::new(Fleet::builder().pis(2).pipeline_config("delete: { max_files: 5 }\n"));
    photos(&scene, 1, 3);
    photos(&scene, 2, 3);
    let offered = scene.offered();
    for received in [6, 0] {
        let braked = scene.sync().expect(6);
        assert_eq!(counts(&braked.summary(), ["received", "removed"]), [received, 0]);
        assert_eq!(braked.summary()["stopped_by"]["class"], "brake", "{braked}");
        assert!(braked.stderr.contains("6 files are due for removal, more than delete.max_files: 5"), "{braked}");
        assert!(braked.stderr.contains("hint: nothing was removed"), "{braked}");
        assert_eq!((scene.archived(), scene.offered()), (offered.clone(), offered.clone()));
    }
    scene.reconfigure("max_files: 5", "max_files: 6");
    assert_eq!(counts(&scene.sync().expect(0).summary(), ["received", "removed"]), [0, 6]);
    scene.assert_all_received(&offered);
}

#[test]
fn the_brake_lets_a_run_below_it_receive_and_remove() {
    let scene = with("delete: { max_files: 3 }\n");
    photos(&scene, 1, 3);
    let offered = scene.offered();
    assert_eq!(counts(&scene.sync().expect(0).summary(), ["received", "removed"]), [3, 3]);
    scene.assert_all_received(&offered);
}

/// Gives a directory the time of two hours ago.
fn age(dir: &Path) {
    let old = SystemTime::now() - Duration::from_secs(7200);
    File::open(dir).unwrap().set_times(FileTimes::new().set_modified(old)).unwrap();
}

#[test]
fn only_directories_that_our_removals_left_empty_are_pruned() {
    let scene = with("");
    let source = scene.fleet.pi(1).source();
    for path in ["2026/11/a.jpg", "2026/12/b.jpg", "busy/c.jpg", "mixed/d.jpg"] {
        scene.write(1, path, path.as_bytes());
    }
    fs::create_dir(source.join("theirs")).unwrap();
    fs::write(source.join("mixed/e.part"), b"excluded").unwrap();
    scene.sync().expect(0);
    let there = |paths: &[&str]| paths.iter().map(|path| source.join(path).exists()).collect::<Vec<_>>();
    let all = ["2026/11", "2026/12", "busy", "mixed/e.part", "theirs"];
    assert_eq!(there(&all), [true; 5], "all changed within the hour: our own removals did that");
    assert_eq!(counts(&scene.sync().expect(0).summary(), ["pruned"]), [0]);

    for dir in ["2026/11", "2026/12", "2026", "mixed", "theirs", ""] {
        age(&source.join(dir));
    }
    let dry_run = scene.pipeline(&["sync", "--dry-run", "--json"]).expect(0);
    assert_eq!(counts(&dry_run.summary(), ["pruned"]), [2], "{dry_run}");
    assert_eq!(counts(&scene.sync().expect(0).summary(), ["pruned"]), [2]);
    assert_eq!(there(&all), [false, false, true, true, true], "not what was busy, holds something, or is theirs");
    assert!(source.join("2026").exists(), "it changed just now, when it lost its directories");

    // The source itself stays, however empty and old.
    for dir in ["2026", "busy", "theirs", "mixed"] {
        age(&source.join(dir));
    }
    fs::remove_file(source.join("mixed/e.part")).unwrap();
    age(&source.join("mixed"));
    assert_eq!(counts(&scene.sync().expect(0).summary(), ["pruned"]), [3]);
    assert_eq!(there(&["2026", "busy", "mixed", "theirs"]), [false, false, false, true]);
    fs::remove_dir(source.join("theirs")).unwrap();
    age(&source);
    assert_eq!(counts(&scene.sync().expect(0).summary(), ["pruned"]), [0]);
    assert!(source.is_dir());
}

#[test]
fn no_delete_prunes_nothing() {
    let scene = with("");
    scene.write(1, "2026/a.jpg", b"bees");
    scene.sync().expect(0);
    let dir = scene.fleet.pi(1).source().join("2026");
    age(&dir);
    scene.pipeline(&["sync", "--no-delete"]).expect(0);
    assert!(dir.exists());
    assert_eq!(counts(&scene.sync().expect(0).summary(), ["pruned"]), [1]);
    assert!(!dir.exists());
}

#[test]
fn a_stored_copy_that_has_rotted_releases_nothing() {
    let scene = with("delete: { after: 1h }\n");
    photos(&scene, 1, 3);
    let offered = scene.offered();
    scene.sync().expect(0);
    assert_eq!(scene.archived(), offered);
    // One bit, with all times as they were; and one that is gone altogether.
    let storage = scene.fleet.storage();
    let rotted = storage.join("raspberry1/2026/1.jpg");
    let mut content = fs::read(&rotted).unwrap();
    let times = FileTimes::new().set_modified(fs::metadata(&rotted).unwrap().modified().unwrap());
    content[500] ^= 1;
    fs::write(&rotted, &content).unwrap();
    File::options().append(true).open(&rotted).unwrap().set_times(times).unwrap();
    fs::remove_file(storage.join("raspberry1/2026/2.jpg")).unwrap();

    scene.reconfigure("after: 1h", "after: 0s");
    // The one that is gone is received again, and then released like any other.
    for (received, removed) in [(1, 2), (0, 0)] {
        let sync = scene.sync().expect(6);
        assert_eq!(counts(&sync.summary(), ["received", "removed", "failed"]), [received, removed, 1], "{sync}");
        let report = &sync.summary()["devices"][0];
        assert_eq!((&report["outcome"], &report["class"]), (&"failed".into(), &"integrity".into()), "{sync}");
        assert!(report["hint"].as_str().unwrap().contains("the devices keep these files"), "{sync}");
        let reasons: String = sync.events_of("file_failed").iter().map(|event| event["reason"].to_string()).collect();
        assert!(reasons.contains("SHA-256"), "{reasons}");
        let left: Tree = scene.offered();
        assert_eq!(left.keys().map(|path| path[path.len() - 5]).collect::<Vec<_>>(), [b'1']);
        assert!(left.iter().all(|(path, facts)| offered[path] == *facts), "the Pi keeps the good one");
    }

    // A copy that is put back, as from a backup, releases its file.
    fs::copy(scene.fleet.pi(1).source().join("2026/1.jpg"), storage.join("raspberry1/2026/1.jpg")).unwrap();
    assert_eq!(counts(&scene.sync().expect(0).summary(), ["received", "removed"]), [0, 1]);
    assert_eq!(scene.offered(), Tree::new());
}
