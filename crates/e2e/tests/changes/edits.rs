//! Every way in which a file can change between two visits, small files and large ones, and what is kept of the earlier contents.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File, FileTimes};
use std::path::PathBuf;

use e2e::scene::{Scene, noise};
use e2e::truth::assert_all_true;
use e2e::{Ended, carried_bytes};
use local_fleet::{Fleet, snapshot};
use sha2::{Digest, Sha256};

use crate::count;

/// Whole files, as no delta is asked for.
const SMALL: usize = 3000;
/// Deltas.
const LARGE: usize = 700_000;

type Edit = fn(&[u8]) -> Vec<u8>;

/// By name: what is there later.
const EDITS: [(&str, Edit); 11] = [
    ("append", |old| [old, &noise(500, 1)].concat()),
    ("prepend", |old| [&noise(500, 2), old].concat()),
    ("insert", |old| [&old[..old.len() / 3], &noise(500, 3), &old[old.len() / 3..]].concat()),
    ("cut out", |old| [&old[..old.len() / 3], &old[old.len() / 2..]].concat()),
    ("truncate", |old| old[..old.len() * 2 / 3].to_vec()),
    ("swap halves", |old| [&old[old.len() / 2..], &old[..old.len() / 2]].concat()),
    ("overwrite", |old| [&old[..old.len() / 2], &noise(100, 4), &old[old.len() / 2 + 100..]].concat()),
    ("double", |old| [old, old].concat()),
    ("other", |old| noise(old.len(), 5)),
    ("empty", |_| Vec::new()),
    ("same", <[u8]>::to_vec),
];

/// How the new content comes to be there.
#[derive(Clone, Copy, Debug)]
enum Way {
    /// Into the same file, as most programs write. The times are put back, as `cp -p` does.
    InPlace,
    /// Renamed over it, as careful programs write.
    RenamedOver,
}

/// The files of one Pi, and every content that each has had.
struct Story {
    scene: Scene,
    now: BTreeMap<String, Vec<u8>>,
    /// What the archive must have kept under a second name.
    versions: BTreeSet<(String, Vec<u8>)>,
    /// What became the beginning of a longer content, or came again.
    others: BTreeSet<(String, Vec<u8>)>,
}

impl Story {
    fn path(&self, name: &str) -> PathBuf {
        self.scene.fleet.pi(1).source().join(name)
    }

    fn create(&mut self, name: &str, content: Vec<u8>) {
        self.scene.write(1, name, &content);
        if let Some(old) = self.now.insert(name.to_owned(), content) {
            self.remember(name, old);
        }
    }

    fn change(&mut self, name: &str, way: Way, content: Vec<u8>) {
        let path = self.path(name);
        let times = FileTimes::new().set_modified(fs::metadata(&path).unwrap().modified().unwrap());
        match way {
            Way::InPlace => fs::write(&path, &content).unwrap(),
            Way::RenamedOver => {
                fs::write(path.with_extension("part"), &content).unwrap();
                fs::rename(path.with_extension("part"), &path).unwrap();
            }
        }
        File::options().append(true).open(&path).unwrap().set_times(times).unwrap();
        let old = self.now.insert(name.to_owned(), content).unwrap();
        self.remember(name, old);
    }

    fn remember(&mut self, name: &str, old: Vec<u8>) {
        let kept = if self.now[name].starts_with(&old) { &mut self.others } else { &mut self.versions };
        kept.insert((name.to_owned(), old));
    }

    fn sync(&self) -> Ended {
        self.scene.sync().expect(0)
    }

    /// Asserts that the newest content of each file lies under its plain name, each earlier one under the name of a version that
    /// says so, and nothing else anywhere.
    fn assert_all_kept(&self) {
        for (name, content) in &self.now {
            let found = fs::read(self.scene.fleet.storage().join("raspberry1").join(name)).unwrap();
            assert!(found == *content, "{name}: {} bytes, expected {}", found.len(), content.len());
        }
        assert_eq!(self.scene.archived().len(), self.now.len());
        let versions = snapshot(&self.scene.fleet.storage().join(".pipeline/versions")).unwrap_or_default();
        let found: BTreeSet<_> = versions
            .iter()
            .map(|(path, facts)| {
                let path = str::from_utf8(path).unwrap();
                let (rest, digest) = path.rsplit_once('~').unwrap();
                let (name, modified) = rest.rsplit_once('~').unwrap();
                assert_eq!(digest, &facts.sha256[..8], "{path}");
                let digits = modified.strip_suffix('Z').and_then(|time| time.split_once('T')).unwrap();
                assert_eq!((digits.0.len(), digits.1.len()), (8, 6), "{path}");
                (name.strip_prefix("raspberry1/").unwrap().to_owned(), facts.sha256.clone())
            })
            .collect();
        let hex = |content: &[u8]| Sha256::digest(content).iter().map(|byte| format!("{byte:02x}")).collect::<String>();
        let expected = self.versions.iter().map(|(name, content)| (name.clone(), hex(content))).collect();
        assert_eq!(found, expected, "the versions: {:?}", versions.keys());

        let rows = assert_all_true(&self.scene.fleet);
        for (name, content) in self.versions.iter().chain(&self.others) {
            let digest: [u8; 32] = Sha256::digest(content).into();
            let known =
                rows.iter().any(|row| row.path == name.as_bytes() && row.sha256 == digest && row.kept != "dropped");
            assert!(known, "no row knows where {} bytes of {name} are: {rows:?}", content.len());
        }
        self.scene.assert_nothing_staged();
    }
}

#[test]
fn every_edit_of_small_and_large_files_leaves_both_contents() {
    let after = "delete: { after: never }";
    let scene = Scene::new(Fleet::builder().pipeline_config(&format!("settle: 0s\n{after}\n")));
    let mut story = Story { scene, now: BTreeMap::new(), versions: BTreeSet::new(), others: BTreeSet::new() };
    let mut seed = 10;
    for (edit, _) in EDITS {
        for (size, bytes) in [("small", SMALL), ("large", LARGE)] {
            for way in [Way::InPlace, Way::RenamedOver] {
                seed += 1;
                story.create(&format!("{edit} {size} {way:?}.bin"), noise(bytes, seed));
            }
        }
    }
    story.create("was empty.csv", Vec::new());
    let first = story.sync();
    let files = story.now.len() as u64;
    assert_eq!((count(&first, "received"), count(&first, "versions")), (files, 0), "{first}");
    story.assert_all_kept();

    for (edit, apply) in EDITS {
        for size in ["small", "large"] {
            for way in [Way::InPlace, Way::RenamedOver] {
                let name = format!("{edit} {size} {way:?}.bin");
                let content = apply(&story.now[&name]);
                story.change(&name, way, content);
            }
        }
    }
    story.change("was empty.csv", Way::InPlace, b"time,degrees\n".to_vec());
    let expected = story.versions.len() as u64;
    assert_eq!(expected, 4 * 8, "all but those that append, double, or leave it the same");
    let second = story.sync();
    story.assert_all_kept();
    // Those that are as they were are not sent.
    let counts = ["received", "adopted", "versions"].map(|name| count(&second, name));
    assert_eq!(counts, [files - 4, 4, expected], "{second}");
    let told: BTreeSet<_> = second.events_of("file_versioned").iter().map(|event| event["path"].to_string()).collect();
    assert_eq!(told.len() as u64, expected, "{second}");
    // Of the large ones, those that double and those that are all other are most of what came.
    let most = 2 * LARGE + 2 * LARGE * 2 + 2 * 11 * 2 * SMALL + 400_000;
    let (carried, all) = (carried_bytes(&second), story.now.values().map(Vec::len).sum::<usize>());
    assert!(usize::try_from(carried).unwrap() < most && most < all * 2 / 3, "{carried} of {all}, at most {most}");

    let third = story.sync();
    assert_eq!((carried_bytes(&third), count(&third, "received"), count(&third, "versions")), (0, 0, 0), "{third}");

    // There and back again: a version that is there already is not made twice.
    let name = "other large InPlace.bin".to_owned();
    let (other, before) = (story.now[&name].clone(), noise(LARGE, seed));
    for content in [&before, &other, &before] {
        story.change(&name, Way::InPlace, content.clone());
        story.sync();
        story.assert_all_kept();
    }

    // All leave the Pi. What comes there later under an old name is another version, or grown, as if it had never been away.
    story.scene.reconfigure(after, "delete: { after: 0s }");
    let released = story.sync();
    assert_eq!(count(&released, "removed"), files, "{released}");
    let (grown, new) = ("append large RenamedOver.bin", "same small InPlace.bin");
    let content = [&story.now[grown][..], b"more"].concat();
    story.create(grown, content);
    story.create(new, noise(SMALL, 99));
    let last = story.sync();
    assert_eq!((count(&last, "received"), count(&last, "versions"), count(&last, "removed")), (2, 1, 2), "{last}");
    assert_eq!(carried_bytes(&last), 4 + SMALL as u64, "{last}");
    assert_eq!(story.scene.offered().len(), 0);
    story.assert_all_kept();
}
