//! Files that somebody changes: while they are read, between receipt and removal, and between two runs.
//!
//! Whatever is done to a file, what was received stays in the archive, what the change left stays on the Pi until it is received
//! too, and no mixture of the two is ever seen under a final name.

#![allow(clippy::unwrap_used)]

use std::collections::BTreeSet;
use std::fs::{self, File, FileTimes};
use std::io::Write;
use std::path::PathBuf;

use e2e::Ended;
use e2e::moments::{HeldCatalog, freeze_while_reading, until};
use e2e::scene::{Scene, Tree, noise};
use e2e::truth::assert_all_true;
use local_fleet::{Fleet, Machine, snapshot};

/// What somebody does to a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Change {
    Append,
    /// In place, to the same length, and the times put back.
    Rewrite,
    Truncate,
    /// By renaming another file of the same length and times over it.
    Replace,
    Delete,
    /// Opened before the run, and written during it.
    HeldAndWritten,
    /// Opened before the run, and left open.
    Held,
}

use Change::{Append, Delete, Held, HeldAndWritten, Replace, Rewrite, Truncate};

const ALL: [Change; 7] = [Append, Rewrite, Truncate, Replace, Delete, HeldAndWritten, Held];

/// A file, and whoever is going to change it.
struct Victim {
    pi: usize,
    change: Change,
    path: PathBuf,
    writer: Option<File>,
}

impl Victim {
    fn new(scene: &Scene, pi: usize, change: Change, bytes: usize) -> Victim {
        let path = scene.write(pi, &format!("{change:?}.jpg"), &noise(bytes, change as u64));
        let held = matches!(change, Held | HeldAndWritten);
        let writer = held.then(|| File::options().append(true).open(&path).unwrap());
        Victim { pi, change, path, writer }
    }

    /// Its path in the storage.
    fn archive_path(&self) -> String {
        format!("raspberry{}/{:?}.jpg", self.pi, self.change)
    }

    fn change(&mut self) {
        let path = &self.path;
        let metadata = fs::metadata(path).unwrap();
        let length = usize::try_from(metadata.len()).unwrap();
        let times = FileTimes::new().set_modified(metadata.modified().unwrap());
        match self.change {
            Append => File::options().append(true).open(path).unwrap().write_all(b"more").unwrap(),
            Rewrite => {
                let mut file = File::options().write(true).open(path).unwrap();
                file.write_all(&noise(length, 77)).unwrap();
                file.set_times(times).unwrap();
            }
            Truncate => File::options().write(true).open(path).unwrap().set_len(metadata.len() / 2).unwrap(),
            Replace => {
                // Excluded by default, should a scan meet it.
                let other = path.with_extension("part");
                fs::write(&other, noise(length, 78)).unwrap();
                File::options().append(true).open(&other).unwrap().set_times(times).unwrap();
                fs::rename(&other, path).unwrap();
            }
            Delete => fs::remove_file(path).unwrap(),
            HeldAndWritten => self.writer.as_mut().unwrap().write_all(b"more").unwrap(),
            Held => {}
        }
    }
}

/// The paths and reasons of one kind of event.
fn told<'a>(ended: &Ended, event: &str, victims: impl IntoIterator<Item = &'a (Change, &'a str)>) {
    let told: BTreeSet<_> = ended
        .events_of(event)
        .iter()
        .map(|value| (value["path"].as_str().unwrap().to_owned(), value["reason"].as_str().unwrap().to_owned()))
        .collect();
    let expected = victims.into_iter().map(|(change, reason)| (format!("{change:?}.jpg"), (*reason).to_owned()));
    assert_eq!(told, expected.collect(), "{ended}");
}

/// A run into whose reading of the victim the change falls.
fn sync_with_change_while_read(scene: &Scene, victim: &mut Victim) -> Ended {
    let sync = scene.start_sync();
    freeze_while_reading(scene.fleet.pi(1), &victim.path);
    victim.change();
    scene.fleet.pi(1).cont();
    sync.end()
}

#[test]
fn a_file_that_changes_while_it_is_read_is_received_by_a_later_run() {
    let config = "settle: 0s\nbandwidth: 8MiB/s\ntimeouts: { connect: 60s, idle: 60s }\n";
    let scene = Scene::new(Fleet::builder().pipeline_config(config));
    let mut ever_offered = scene.offered();
    for change in [Append, Rewrite, Truncate, Replace, Delete, HeldAndWritten] {
        // More than twice what pipes, sockets and windows hold (6 MiB), so that the agent is not through before it is frozen.
        let mut victim = Victim::new(&scene, 1, change, 16 << 20);
        let torn = sync_with_change_while_read(&scene, &mut victim).expect(0);
        told(&torn, "file_deferred", &[(change, "changed while it was read")]);
        let summary = torn.summary();
        assert_eq!((&summary["received"], &summary["removed"]), (&0.into(), &0.into()), "{torn}");
        // What came of it is kept to go on from, should the file still begin so.
        assert_eq!(scene.archived(), ever_offered, "{change:?}: nothing new, and nothing torn");

        let changed = scene.offered();
        assert_eq!(changed.len(), usize::from(change != Delete), "what the change left is left");
        scene.reconfigure("bandwidth: 8MiB/s", "bandwidth: 1GiB/s");
        let next = scene.sync().expect(0);
        ever_offered.extend(changed);
        assert_eq!(scene.archived(), ever_offered, "{change:?}: received as the change left it");
        if let Some(writer) = victim.writer.take() {
            told(&next, "file_deferred", &[(change, "open for writing: kept")]);
            assert!(victim.path.exists());
            drop(writer);
            assert_eq!(scene.sync().expect(0).summary()["removed"], 1);
        }
        scene.assert_all_received(&ever_offered);
        scene.reconfigure("bandwidth: 1GiB/s", "bandwidth: 8MiB/s");
    }
}

#[test]
fn a_file_that_changes_between_receipt_and_removal_stays() {
    // Seconds for each file, in which the catalog's lock is taken.
    let config = "settle: 0s\nbandwidth: 512KiB/s\ntimeouts: { connect: 60s, idle: 60s }\n";
    let scene = Scene::new(Fleet::builder().pis(ALL.len()).pipeline_config(config));
    // Puts the agents in place, so that all visits begin together.
    scene.sync().expect(0);
    let victim = |(at, change)| Victim::new(&scene, at + 1, change, 3 << 20);
    let mut victims: Vec<_> = ALL.into_iter().enumerate().map(victim).collect();
    let received = scene.offered();

    let mut sync = scene.start_sync();
    for _ in &victims {
        sync.until_event("file_started");
    }
    let catalog = HeldCatalog::hold(&scene.fleet.state_dir());
    until("the files have their final names", || {
        let storage = scene.fleet.storage();
        victims.iter().all(|victim| storage.join(victim.archive_path()).exists()).then_some(())
    });
    scene.fleet.pis().iter().for_each(Machine::stop);
    drop(catalog);
    for _ in &victims {
        assert_eq!(sync.until_event("batch_committed")["files"], 1);
    }
    victims.iter_mut().for_each(Victim::change);
    let changed = scene.offered();
    scene.fleet.pis().iter().for_each(Machine::cont);

    let sync = sync.end().expect(0);
    const CHANGED: &str = "changed after it was received: kept";
    let kept = [
        (Append, CHANGED),
        (Rewrite, CHANGED),
        (Truncate, CHANGED),
        (Replace, CHANGED),
        (HeldAndWritten, CHANGED),
        (Held, "open for writing: kept"),
    ];
    told(&sync, "file_deferred", &kept);
    assert_eq!((scene.archived(), scene.offered()), (received.clone(), changed.clone()));

    victims.iter_mut().for_each(|victim| victim.writer = None);
    scene.reconfigure("bandwidth: 512KiB/s", "bandwidth: 1GiB/s");
    let last = scene.sync().expect(0).summary();
    let counts = ["received", "removed", "versions", "deferred", "kept", "failed"].map(|count| last[count].as_u64());
    assert_eq!(counts, [5, 6, 3, 0, 0, 0].map(Some), "{last}");
    assert_both_are_kept(&scene, &received, &changed);
}

#[test]
fn a_file_that_changes_between_two_runs_is_received_again() {
    for (first, after) in [(&["sync", "--json", "--no-delete"][..], "after: 0s"), (&["sync", "--json"], "after: 1h")] {
        let scene = Scene::new(Fleet::builder().pipeline_config(&format!("settle: 0s\ndelete: {{ {after} }}\n")));
        let mut victims: Vec<_> = ALL.into_iter().map(|change| Victim::new(&scene, 1, change, 1000)).collect();
        let steady = scene.write(1, "steady.jpg", b"that nobody touches");
        let received = scene.offered();
        let summary = scene.pipeline(first).expect(0).summary();
        assert_eq!((&summary["received"], &summary["removed"]), (&8.into(), &0.into()), "{summary}");
        assert_eq!((scene.archived(), scene.offered()), (received.clone(), received.clone()));

        victims.iter_mut().for_each(Victim::change);
        scene.reconfigure(after, "after: 0s");
        let mut changed = scene.offered();
        let sync = scene.sync().expect(0);
        const OPEN: &str = "open for writing: kept";
        told(&sync, "file_deferred", &[(HeldAndWritten, OPEN), (Held, OPEN)]);
        let summary = sync.summary();
        let counts = ["received", "removed", "versions", "kept", "failed"].map(|count| summary[count].as_u64());
        assert_eq!(counts, [5, 5, 3, 0, 0].map(Some), "{sync}");
        assert!(changed.remove(b"raspberry1/steady.jpg".as_slice()).is_some() && !steady.exists());
        assert_eq!(scene.offered().len(), 2);

        victims.iter_mut().for_each(|victim| victim.writer = None);
        assert_eq!(scene.sync().expect(0).summary()["removed"], 2);
        assert_both_are_kept(&scene, &received, &changed);
    }
}

/// Under its plain name each file lies as the change left it, and what that does not hold of what was received before has become
/// a version. The Pis are empty.
#[track_caller]
fn assert_both_are_kept(scene: &Scene, received: &Tree, changed: &Tree) {
    let mut newest = received.clone();
    newest.extend(changed.clone());
    scene.assert_all_received(&newest);
    let versions = snapshot(&scene.fleet.storage().join(".pipeline/versions")).unwrap();
    let versioned = |change: &Change| {
        let (_, before) =
            received.iter().find(|(path, _)| path.ends_with(format!("/{change:?}.jpg").as_bytes())).unwrap();
        let found = versions.values().filter(|version| version.sha256 == before.sha256).count();
        assert!(found <= 1, "{change:?}: {versions:?}");
        found == 1
    };
    assert_eq!(ALL.into_iter().filter(versioned).collect::<Vec<_>>(), [Rewrite, Truncate, Replace]);
    assert_eq!(versions.len(), 3, "{versions:?}");
    assert_all_true(&scene.fleet);
}
