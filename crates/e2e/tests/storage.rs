//! Storages that are full, read-only, somebody else's, or gone; and the same for the state directory.
//!
//! Whatever befalls them: the run says so and ends with its code, no file leaves a Pi that is not stored, nothing is put where it
//! does not belong, and once the cause is gone the next run finishes.

#![allow(clippy::unwrap_used)]

use std::ffi::OsString;
use std::fs;
use std::os::unix::ffi::OsStringExt;
use std::path::Path;
use std::process::Command;

use e2e::moments::{HeldCatalog, freeze_while_reading, until};
use e2e::mounts::{Disk, among_own_mounts};
use e2e::scene::{Scene, Tree, noise};
use e2e::strace::under_strace;
use e2e::{Ended, run};
use local_fleet::{Fleet, snapshot};
use rustix::process::Signal;

const MIB: u64 = 1 << 20;
/// Patient enough for a machine that is frozen for a while.
const PATIENT: &str = "timeouts: { connect: 60s, idle: 60s }\n";
/// Slow enough for a test to act while the file arrives.
const SLOW: &str = "bandwidth: 8MiB/s\ntimeouts: { connect: 60s, idle: 60s }\n";
const SLOWER: &str = "bandwidth: 512KiB/s\ntimeouts: { connect: 60s, idle: 60s }\n";

/// Asserts an exit code, and that the error is said once, with what to do about it.
#[track_caller]
fn refused(ended: Ended, code: i32, error: &str, hint: &str) -> Ended {
    let ended = ended.expect(code);
    let errors: Vec<_> = ended.stderr.lines().filter(|line| line.contains("error: ")).collect();
    assert!(errors.len() == 1 && errors[0].contains(error), "{ended}");
    assert!(ended.stderr.lines().any(|line| line.contains("hint: ") && line.contains(hint)), "{ended}");
    ended
}

/// Asserts that the storage stopped a run that had begun.
#[track_caller]
fn stopped(ended: Ended, error: &str, hint: &str) -> Ended {
    let ended = refused(ended, 5, error, hint);
    let by = &ended.summary()["stopped_by"];
    assert!(by["class"] == "storage" && by["reason"].as_str().is_some_and(|reason| reason.contains(error)), "{by}");
    ended
}

/// Asserts that now the next run finishes the work.
#[track_caller]
fn next_run_finishes(scene: &Scene, ever_offered: &Tree) {
    scene.sync().expect(0);
    scene.assert_all_received(ever_offered);
}

#[test]
fn full_before_a_batch() {
    among_own_mounts(|| {
        let scene = Scene::bare(Fleet::builder().pis(2));
        let disk = Disk::mount(&scene.fleet.storage(), 12 * MIB);
        scene.pipeline(&["init"]).expect(0);
        for (pi, number) in [1, 2].into_iter().flat_map(|pi| (0..10).map(move |number| (pi, number))) {
            scene.write(pi, &format!("2026/{number}.jpg"), &noise(1 << 20, pi as u64 * 100 + number));
        }
        let ever_offered = scene.offered();
        stopped(scene.sync(), "is full: ", "make room");
        scene.assert_nothing_lost(&ever_offered);
        assert!(scene.archived().len() <= 10 && scene.offered().len() >= 10);
        stopped(scene.sync(), "is full: ", "make room");
        scene.assert_nothing_lost(&ever_offered);

        disk.resize(64 * MIB);
        next_run_finishes(&scene, &ever_offered);
    });
}

#[test]
fn full_in_the_middle_of_a_file() {
    among_own_mounts(|| {
        let scene = Scene::bare(Fleet::builder().pipeline_config(SLOW));
        let disk = Disk::mount(&scene.fleet.storage(), 48 * MIB);
        scene.pipeline(&["init"]).expect(0);
        let file = scene.write(1, "bees.mp4", &noise(16 << 20, 1));
        let ever_offered = scene.offered();
        let sync = scene.start_sync();
        freeze_while_reading(scene.fleet.pi(1), &file);
        let filler = disk.fill();
        scene.fleet.pi(1).cont();
        stopped(sync.end(), "is full: no space is left", "make room");
        assert_eq!(scene.offered(), ever_offered);
        assert!(!scene.fleet.storage().join("raspberry1/bees.mp4").exists());
        scene.assert_nothing_staged();

        fs::remove_file(filler).unwrap();
        next_run_finishes(&scene, &ever_offered);
    });
}

/// A disk tells once that a write failed, and afterwards memory looks as if it had not. What arrived must not be gone on from, let
/// alone counted as stored.
#[test]
fn a_write_that_failed_is_not_believed_later() {
    let scene = Scene::new(Fleet::builder().pipeline_config(SLOW));
    let file = scene.write(1, "bees.mp4", &noise(8 << 20, 1));
    let ever_offered = scene.offered();
    let sync = scene.start_sync();
    freeze_while_reading(scene.fleet.pi(1), &file);
    let staging = scene.fleet.storage().join(".pipeline/staging");
    let part = until("a part is in staging", || {
        let paths = snapshot(&staging).unwrap().into_keys().map(OsString::from_vec).collect::<Vec<_>>();
        paths.into_iter().find(|path| path.as_encoded_bytes().windows(6).any(|six| six == b"/part-"))
    });
    sync.signal(Signal::KILL);
    sync.end();
    scene.fleet.pi(1).cont();

    let mut command = scene.command();
    command.args(["sync", "--json"]);
    let fails = "-f -qq -o /dev/null -e signal=none -e trace=fsync -e inject=fsync:error=EIO -P".split(' ');
    let fails = fails.map(OsString::from).chain([staging.join(part).into_os_string()]);
    stopped(run(&mut under_strace(&command, fails)), "sync", "");
    assert_eq!(scene.offered(), ever_offered);
    scene.assert_nothing_staged();
    next_run_finishes(&scene, &ever_offered);
}

#[test]
fn a_file_larger_than_the_storage_allows() {
    let scene = Scene::new(Fleet::builder());
    scene.write(1, "large.mp4", &noise(2 << 20, 1));
    (0..5).for_each(|number| drop(scene.write(1, &format!("{number}.jpg"), &noise(1000, number))));
    let ever_offered = scene.offered();
    // 2,048 blocks of 512 bytes. Without the trap the signal would end the run, as any other may.
    let whole = scene.command();
    let mut limited = Command::new("/bin/sh");
    limited.args(["-c", r#"trap "" XFSZ; ulimit -f 2048; exec "$0" "$@""#]).arg(whole.get_program());
    limited.args(whole.get_args()).args(["sync", "--json"]).env_clear();
    limited.envs(whole.get_envs().filter_map(|(name, value)| Some((name, value?))));
    stopped(run(&mut limited), "is full: the file is larger than it allows", "raise the quota");
    scene.assert_nothing_lost(&ever_offered);
    assert!(scene.offered().contains_key(b"raspberry1/large.mp4".as_slice()));
    next_run_finishes(&scene, &ever_offered);
}

#[test]
fn read_only() {
    among_own_mounts(|| {
        let scene = Scene::bare(Fleet::builder());
        let disk = Disk::mount(&scene.fleet.storage(), 8 * MIB);
        scene.pipeline(&["init"]).expect(0);
        scene.write(1, "a.jpg", b"bees");
        let ever_offered = scene.offered();
        disk.set_read_only(true);
        stopped(scene.sync(), "is read-only", "check the mount");
        assert_eq!((scene.offered(), scene.archived()), (ever_offered.clone(), Tree::new()));
        disk.set_read_only(false);
        next_run_finishes(&scene, &ever_offered);
    });
}

/// What befalls the storage. Returns how it is undone.
type Trouble = fn(&Path) -> Box<dyn FnOnce()>;

/// Each with the words of its error and of its hint.
const TROUBLES: [(&str, &str, Trouble); 4] = [
    ("has no marker", "is the share mounted?", |storage| {
        let (marker, aside) = (storage.join(".pipeline/marker.json"), storage.with_extension("marker"));
        fs::rename(&marker, &aside).unwrap();
        Box::new(move || fs::rename(aside, marker).unwrap())
    }),
    ("is another one than before", "is the right share mounted?", |storage| {
        let marker = storage.join(".pipeline/marker.json");
        let text = fs::read_to_string(&marker).unwrap();
        let id = text.split("\"id\": \"").nth(1).unwrap().split('"').next().unwrap();
        fs::write(&marker, text.replace(id, &id.chars().rev().collect::<String>())).unwrap();
        Box::new(move || fs::write(marker, text).unwrap())
    }),
    // As an unmounted share looks, though open descriptors go on working.
    ("has no marker", "is the share mounted?", |storage| {
        let (storage, aside) = (storage.to_owned(), storage.with_extension("aside"));
        fs::rename(&storage, &aside).unwrap();
        fs::create_dir(&storage).unwrap();
        Box::new(move || {
            // Nothing was put there, or this fails.
            fs::remove_dir(&storage).unwrap();
            fs::rename(aside, storage).unwrap();
        })
    }),
    ("can't be opened", "the directory must exist", |storage| {
        let (storage, aside) = (storage.to_owned(), storage.with_extension("aside"));
        fs::rename(&storage, &aside).unwrap();
        Box::new(move || fs::rename(aside, storage).unwrap())
    }),
];

#[test]
fn not_ours_from_the_beginning() {
    let scene = Scene::new(Fleet::builder());
    scene.write(1, "a.jpg", b"bees");
    let ever_offered = scene.offered();
    for (error, hint, trouble) in TROUBLES {
        let undo = trouble(&scene.fleet.storage());
        refused(scene.sync(), 5, error, hint);
        assert_eq!(scene.offered(), ever_offered);
        undo();
        assert_eq!(scene.archived(), Tree::new());
    }
    next_run_finishes(&scene, &ever_offered);
}

#[test]
fn gone_in_the_middle_of_a_file() {
    let scene = Scene::new(Fleet::builder().pipeline_config(SLOW));
    for (number, (error, hint, trouble)) in TROUBLES.into_iter().enumerate() {
        let before = scene.archived();
        let file = scene.write(1, &format!("{number}.mp4"), &noise(16 << 20, number as u64));
        let offered = scene.offered();
        let sync = scene.start_sync();
        freeze_while_reading(scene.fleet.pi(1), &file);
        let undo = trouble(&scene.fleet.storage());
        scene.fleet.pi(1).cont();
        stopped(sync.end(), error, hint);
        assert_eq!(scene.offered(), offered);
        undo();
        assert_eq!(scene.archived(), before);
        next_run_finishes(&scene, &before.into_iter().chain(offered).collect());
    }
}

#[test]
fn gone_between_copying_and_deleting() {
    for (error, hint, trouble) in TROUBLES {
        gone_between_copying_and_deleting_by(error, hint, trouble);
    }
}

/// One file is stored and waits for its row while another is still arriving from another Pi; then the trouble comes.
fn gone_between_copying_and_deleting_by(error: &str, hint: &str, trouble: Trouble) {
    let scene = Scene::new(Fleet::builder().pis(2).pipeline_config(SLOWER));
    scene.sync().expect(0);
    scene.write(1, "stored.mp4", &noise(3 << 20, 1));
    scene.write(2, "arriving.mp4", &noise(64 << 20, 2));
    let offered = scene.offered();
    let mut sync = scene.start_sync();
    (0..2).for_each(|_| drop(sync.until_event("file_started")));
    let catalog = HeldCatalog::hold(&scene.fleet.state_dir());
    let stored = scene.fleet.storage().join("raspberry1/stored.mp4");
    until("the file has its final name", || stored.exists().then_some(()));
    let undo = trouble(&scene.fleet.storage());
    drop(catalog);

    let ended = stopped(sync.end(), error, hint);
    let summary = ended.summary();
    assert_eq!((&summary["received"], &summary["removed"]), (&1.into(), &0.into()), "{ended}");
    assert_eq!(summary["devices"][1]["outcome"], "stopped", "{ended}");
    assert_eq!(scene.offered(), offered, "nothing was removed");
    undo();
    assert_eq!(scene.archived().len(), 1);
    scene.assert_nothing_lost(&offered);
    scene.reconfigure("bandwidth: 512KiB/s", "bandwidth: 1GiB/s");
    next_run_finishes(&scene, &offered);
}

#[test]
fn unmounted_between_copying_and_deleting() {
    among_own_mounts(|| {
        let scene = Scene::bare(Fleet::builder().pipeline_config(SLOWER));
        let server = scene.fleet.root().join("server");
        fs::create_dir(&server).unwrap();
        let server = Disk::mount(&server, 16 * MIB);
        let share = server.bind(&scene.fleet.storage());
        scene.pipeline(&["init"]).expect(0);
        scene.write(1, "a.mp4", &noise(3 << 20, 1));
        let offered = scene.offered();
        let mut sync = scene.start_sync();
        sync.until_event("file_started");
        let catalog = HeldCatalog::hold(&scene.fleet.state_dir());
        let stored = scene.fleet.storage().join("raspberry1/a.mp4");
        until("the file has its final name", || stored.exists().then_some(()));
        drop(share);
        drop(catalog);
        stopped(sync.end(), "has no marker", "is the share mounted?");
        assert_eq!(scene.offered(), offered);
        refused(scene.sync(), 5, "has no marker", "is the share mounted?");
        assert!(snapshot(&scene.fleet.storage()).unwrap().is_empty(), "nothing is put below the mount point");

        let _share = server.bind(&scene.fleet.storage());
        next_run_finishes(&scene, &offered);
    });
}

#[test]
fn a_full_state_directory() {
    among_own_mounts(|| {
        let scene = Scene::bare(Fleet::builder().pipeline_config(SLOW));
        let disk = Disk::mount(&scene.fleet.state_dir(), 2 * MIB);
        scene.pipeline(&["init"]).expect(0);
        scene.write(1, "0.jpg", b"bees");
        let mut ever_offered = scene.offered();
        let filler = disk.fill();
        refused(scene.sync(), 5, "no space left on device", "make room on the disk that holds `state_dir`");
        assert_eq!((scene.offered(), scene.archived()), (ever_offered.clone(), Tree::new()));
        fs::remove_file(filler).unwrap();
        next_run_finishes(&scene, &ever_offered);

        // Full once files are on their way: stored, but not catalogued, and so not removed.
        let file = scene.write(1, "1.mp4", &noise(16 << 20, 1));
        ever_offered.extend(scene.offered());
        let sync = scene.start_sync();
        freeze_while_reading(scene.fleet.pi(1), &file);
        let filler = disk.fill();
        scene.fleet.pi(1).cont();
        let ended = stopped(sync.end(), "the catalog", "is the disk that holds `state_dir` full?");
        assert_eq!(ended.summary()["removed"], 0, "{ended}");
        assert!(file.exists());
        scene.assert_nothing_lost(&ever_offered);
        fs::remove_file(filler).unwrap();
        next_run_finishes(&scene, &ever_offered);
    });
}

#[test]
fn a_read_only_state_directory() {
    among_own_mounts(|| {
        let scene = Scene::bare(Fleet::builder().pipeline_config(PATIENT));
        let disk = Disk::mount(&scene.fleet.state_dir(), 2 * MIB);
        scene.pipeline(&["init"]).expect(0);
        scene.write(1, "a.jpg", b"bees");
        let ever_offered = scene.offered();
        disk.set_read_only(true);
        refused(scene.sync(), 5, "read-only file system", "make room on the disk that holds `state_dir`, or see why");
        assert_eq!((scene.offered(), scene.archived()), (ever_offered.clone(), Tree::new()));
        disk.set_read_only(false);
        next_run_finishes(&scene, &ever_offered);
    });
}
