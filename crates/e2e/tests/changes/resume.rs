//! `kill -9` in the middle of large files: of one that is new, of one that has grown, and of a delta.
//!
//! After each kill every content that was ever offered must be complete on the Pi or in the archive, and the next run goes on from
//! what the killed one has left. That runs do go on is counted, so that a test whose kills leave nothing to go on from fails.

// A test that fails shows what it printed: the seed, and what the kills had hit.
#![allow(clippy::print_stdout)]

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::process::Stdio;
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use e2e::carried_bytes;
use e2e::random::Random;
use e2e::scene::Scene;
use e2e::truth::{assert_all_true, rows};
use local_fleet::Fleet;
use sha2::{Digest, Sha256};

use crate::count;

const SEED: u64 = 20_261_122;
const KILLS: usize = 50;
const BYTES: usize = 4 << 20;

/// What is done to the file before a run that is killed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Work {
    /// A new file.
    New,
    /// More of the same.
    Grow,
    /// Many small changes all over it, so that the delta takes its time.
    Edit,
}

const WORKS: [Work; 4] = [Work::New, Work::Edit, Work::Grow, Work::Edit];

/// A large file, now this one and now another, and all that they have ever held.
struct Story {
    scene: Scene,
    random: Random,
    name: String,
    content: Vec<u8>,
    ever: BTreeSet<[u8; 32]>,
}

impl Story {
    fn offer(&mut self, work: Work) {
        match work {
            Work::New => {
                self.content = self.random.content(BYTES);
                self.name = format!("film {}.h264", self.ever.len());
            }
            Work::Grow => self.content.extend(self.random.content(BYTES / 2)),
            Work::Edit => {
                for _ in 0..150 {
                    let at = self.random.below(self.content.len() - 1000);
                    let piece = self.random.content(1000);
                    self.content[at..at + 1000].copy_from_slice(&piece);
                }
            }
        }
        let modified = SystemTime::now() - Duration::from_secs(3600);
        self.scene.fleet.write(1, self.name.as_bytes(), &self.content, modified).unwrap();
        self.ever.insert(Sha256::digest(&self.content).into());
    }

    /// Kills a run once so much of the file is in staging, or after this long. False where it was through before.
    fn kill_at(&self, bytes: u64, delay: Duration) -> bool {
        let mut pipeline = self.scene.command();
        pipeline.args(["sync", "-q"]).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let mut pipeline = pipeline.spawn().unwrap();
        let since = Instant::now();
        while since.elapsed() < delay && self.part_bytes() < bytes && pipeline.try_wait().unwrap().is_none() {
            thread::sleep(Duration::from_millis(1));
        }
        pipeline.kill().unwrap();
        pipeline.wait().unwrap().signal() == Some(9)
    }

    /// Asserts that each content that was ever complete on the Pi and received is where the catalog says, and that the newest is
    /// on the Pi or in the archive.
    fn look(&self) {
        let newest: [u8; 32] = Sha256::digest(&self.content).into();
        let on_pi = fs::read(self.scene.fleet.pi(1).source().join(&self.name));
        let rows = rows(&self.scene.fleet);
        let known = rows.iter().any(|row| row.sha256 == newest && row.kept == "whole");
        assert!(known || on_pi.is_ok_and(|content| content == self.content), "LOST: {rows:?}");
        for row in &rows {
            assert!(self.ever.contains(&row.sha256), "never offered: {row:?}");
        }
        // What has a final name is whole, whatever the catalog knows of it.
        if let Ok(archived) = fs::read(self.archived()) {
            let offered = self.ever.contains(&<[u8; 32]>::from(Sha256::digest(&archived)));
            assert!(offered, "{} of {} bytes under its final name", archived.len(), self.content.len());
        }
    }

    fn archived(&self) -> PathBuf {
        self.scene.fleet.storage().join("raspberry1").join(&self.name)
    }

    /// How much of a file lies in staging to go on from.
    fn part_bytes(&self) -> u64 {
        let staging = self.scene.fleet.storage().join(".pipeline/staging");
        let collectors = fs::read_dir(staging).into_iter().flatten().flatten();
        let names = collectors.flat_map(|dir| fs::read_dir(dir.path().join("raspberry1"))).flatten().flatten();
        let parts = names.filter(|entry| entry.file_name().as_encoded_bytes().starts_with(b"part-"));
        parts.filter_map(|part| Some(part.metadata().ok()?.len())).max().unwrap_or(0)
    }
}

#[test]
fn killed_at_fifty_instants_of_large_files_the_next_run_goes_on() {
    println!("seed {SEED}");
    let scene = Scene::new(Fleet::builder().pipeline_config("settle: 0s\nbandwidth: 10MiB/s\ndelete: { after: 0s }\n"));
    let mut story =
        Story { scene, random: Random::new(SEED), name: String::new(), content: Vec::new(), ever: BTreeSet::new() };
    // The agent is in its place, and how long a run takes for each work is known.
    story.offer(Work::New);
    story.scene.sync().expect(0);
    let spans = WORKS.map(|work| {
        story.offer(work);
        Duration::from_millis(story.scene.sync().expect(0).summary()["elapsed_ms"].as_u64().unwrap())
    });

    let (mut kills, mut resumed, mut deltas) = (0, 0, 0);
    for round in 0.. {
        assert!(round < KILLS, "only {kills} kills came before the ends of their runs");
        let (work, span) = (WORKS[round % WORKS.len()], spans[round % WORKS.len()]);
        story.offer(work);
        // One kill of this content, or two in a row; then a run to its end.
        for _ in 0..1 + story.random.below(2) {
            // Two of three by what has come, the others by the clock: anywhere, connecting and committing included.
            let (bytes, delay) = match story.random.below(3) {
                0 => (u64::MAX, story.random.instant(span)),
                _ => (1 + story.random.bits() % story.content.len() as u64, Duration::from_secs(60)),
            };
            kills += usize::from(story.kill_at(bytes, delay));
            story.look();
        }
        let (part, whole) = (story.part_bytes(), story.content.len() as u64);
        let sync = story.scene.sync().expect(0);
        let (carried, was_left) = (carried_bytes(&sync), count(&sync, "received") > 0);
        match work {
            Work::New | Work::Grow => resumed += usize::from(was_left && part > 0 && carried + part <= whole),
            Work::Edit => deltas += usize::from(was_left && part > 0 && carried <= whole / 2),
        }
        println!("{work:?}: {part} bytes were here, {carried} of {whole} came, left for the last run: {was_left}");
        assert!(carried <= whole, "{carried} of {whole} bytes for {work:?}: {sync}");
        assert_all_true(&story.scene.fleet);
        story.scene.assert_nothing_staged();
        assert!(fs::read(story.archived()).unwrap() == story.content, "{work:?}");
        if kills >= KILLS {
            break;
        }
    }
    println!("{kills} kills; {resumed} runs went on with a file, {deltas} made a delta again that had broken off");
    assert!(resumed >= 5 && deltas >= 3, "{resumed} {deltas}");
    // Every content is there still: none was a reason to drop another.
    let rows = assert_all_true(&story.scene.fleet);
    let kept: BTreeSet<_> = rows.iter().filter(|row| row.kept != "dropped").map(|row| row.sha256).collect();
    assert_eq!(kept, story.ever);
    assert_eq!(story.scene.offered().len(), 0);
}
