//! Taking over what the rsync loop has left, and what is left when the catalog is lost: nothing that is there is copied again.

use std::collections::BTreeMap;
use std::fs;
use std::time::{Duration, SystemTime};

use e2e::carried_bytes;
use e2e::scene::{Scene, noise};
use e2e::truth::{assert_all_true, manifests_hold};
use local_fleet::Fleet;

use crate::count;

const DAYS: u64 = 30;
const DAY: Duration = Duration::from_secs(86_400);

/// What the loop has made of two Pis in a month: `rsync -a --remove-source-files pi:beephotos storage/`, so that all of it lies
/// below `beephotos/` and each Pi's names must differ.
struct Month {
    scene: Scene,
    now: SystemTime,
    /// What must be in the storage in the end, by path.
    expected: BTreeMap<String, Vec<u8>>,
}

impl Month {
    fn in_storage(&mut self, path: &str, content: &[u8], age: Duration) {
        let path = format!("beephotos/{path}");
        let file = self.scene.fleet.storage().join(&path);
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        fs::write(&file, content).unwrap();
        fs::File::options().append(true).open(&file).unwrap().set_modified(self.now - age).unwrap();
        self.expected.insert(path, content.to_vec());
    }

    /// Files that the loop is through with, and files that it has copied and was killed before it could remove.
    fn copied(&mut self) -> (u64, u64) {
        let (mut still_there, mut bytes) = (0, 0);
        for pi in 1..=2 {
            for day in 0..DAYS {
                for photo in 0..3_u64 {
                    let (path, age) =
                        (format!("day {day}/pi{pi}-{photo}.jpg"), DAY * u32::try_from(DAYS - day).unwrap());
                    let content = noise(2000 + usize::try_from(photo).unwrap() * 700, day * 10 + photo + pi * 1000);
                    self.in_storage(&path, &content, age);
                    if day >= 20 {
                        let number = usize::try_from(pi).unwrap();
                        self.scene.fleet.write(number, path.as_bytes(), &content, self.now - age).unwrap();
                        still_there += 1;
                        bytes += content.len() as u64;
                    }
                }
            }
        }
        (still_there, bytes)
    }

    fn assert_as_expected(&self) {
        for (path, content) in &self.expected {
            let found =
                fs::read(self.scene.fleet.storage().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"));
            assert!(found == *content, "{path}: {} bytes, expected {}", found.len(), content.len());
        }
    }
}

#[test]
fn a_month_of_the_rsync_loop_is_taken_over_without_copying_a_byte_twice() {
    let config = "layout: \"{source_name}/{path}\"\nsettle: 0s\n";
    let scene = Scene::bare(Fleet::builder().pis(2).pipeline_config(config));
    let mut month = Month { scene, now: SystemTime::now(), expected: BTreeMap::new() };
    let (still_there, still_there_bytes) = month.copied();
    let age = DAY / 2;
    // A film, which shows that nothing is copied: it is more than all the rest.
    let film = noise(6 << 20, 1);
    month.in_storage("film.h264", &film, age);
    let modified = month.now - age;
    let pi = |path: &str, content: &[u8]| month.scene.fleet.write(1, path.as_bytes(), content, modified).unwrap();
    pi("film.h264", &film);
    // A log that has grown since, and a file of the same size and time with other content, which rsync takes for the same.
    let log = noise(300_000, 2);
    let torn = [&film[..1000], &noise(1000, 3)].concat();
    pi("log.csv", &log);
    pi("torn.jpg", &film[..2000]);
    // What the loop has not got to yet, and what it was just receiving when it was killed.
    let new = noise(5000, 4);
    pi("new.jpg", &new);
    month.in_storage("log.csv", &log[..250_000], age);
    month.in_storage("torn.jpg", &torn, age);
    month.in_storage("old, of a Pi that is gone.jpg", b"kept", DAY * 40);
    month.in_storage(".new.jpg.Xa81bc", &new[..3000], age);

    month.scene.pipeline(&["init"]).expect(0);
    let sync = month.scene.sync().expect(0);
    // The film and the photos, whole; of the log its new end.
    assert_eq!(carried_bytes(&sync), 50_000 + 2000 + 5000, "{sync}");
    assert_eq!(count(&sync, "adopted"), still_there + 1, "{sync}");
    assert_eq!(count(&sync, "adopted_bytes"), still_there_bytes + film.len() as u64, "{sync}");
    assert_eq!((count(&sync, "versions"), count(&sync, "clashes"), count(&sync, "failed")), (1, 0, 0), "{sync}");
    assert_eq!(month.scene.offered().len(), 0);
    month.expected.extend([
        ("beephotos/log.csv".to_owned(), log.clone()),
        ("beephotos/torn.jpg".to_owned(), film[..2000].to_vec()),
        ("beephotos/new.jpg".to_owned(), new.clone()),
    ]);
    month.assert_as_expected();
    let rows = assert_all_true(&month.scene.fleet);
    // The log's shorter self was in nobody's catalog: now it is part of what is.
    let whole = rows.iter().filter(|row| row.kept == "whole");
    assert_eq!(whole.count() as u64, still_there + 5, "film, log, both contents of the torn file, the new file");
    let version =
        rows.iter().find(|row| row.archive_path.starts_with(b".pipeline/versions/beephotos/torn.jpg~")).unwrap();
    let version = fs::read(month.scene.fleet.storage().join(str::from_utf8(&version.archive_path).unwrap())).unwrap();
    assert!(version == torn);

    // The catalog is lost. A card that was read out before comes back with the same files, and there is something new.
    for name in ["catalog.db", "catalog.db-wal", "catalog.db-shm"] {
        fs::remove_file(month.scene.fleet.state_dir().join(name)).ok();
    }
    let pi = |path: &str, content: &[u8]| month.scene.fleet.write(1, path.as_bytes(), content, modified).unwrap();
    pi("film.h264", &film);
    pi("log.csv", &[&log[..], &noise(1000, 5)].concat());
    pi("torn.jpg", &film[..2000]);
    let lost = month.scene.sync().expect(78);
    assert!(lost.stderr.contains("pipeline catalog rebuild"), "{lost}");
    let rebuilt = month.scene.pipeline(&["catalog", "rebuild", "--json"]).expect(0);
    let report = rebuilt.events().pop().unwrap();
    assert_eq!(report["event"], "catalog_rebuilt");
    assert_eq!((report["files"].as_u64(), report["problems"].as_u64()), (Some(still_there + 5), Some(0)), "{report}");
    assert_all_true(&month.scene.fleet);
    let again = month.scene.sync().expect(0);
    assert_eq!((carried_bytes(&again), count(&again, "adopted")), (1000, 2), "{again}");
    assert_eq!((count(&again, "versions"), count(&again, "clashes")), (0, 0), "{again}");
    assert_eq!(month.scene.offered().len(), 0);
    month.expected.insert("beephotos/log.csv".to_owned(), [&log[..], &noise(1000, 5)].concat());
    month.assert_as_expected();
    assert_all_true(&month.scene.fleet);

    // Without it, and without its being made anew, the same holds; only what nobody offers is not catalogued.
    let listed = manifests_hold(&month.scene.fleet);
    fs::remove_file(month.scene.fleet.state_dir().join("catalog.db")).unwrap();
    month.scene.pipeline(&["init"]).expect(0);
    let pi = |path: &str, content: &[u8]| month.scene.fleet.write(1, path.as_bytes(), content, modified).unwrap();
    pi("film.h264", &film);
    let last = month.scene.sync().expect(0);
    assert_eq!((carried_bytes(&last), count(&last, "adopted")), (0, 1), "{last}");
    assert_eq!(month.scene.offered().len(), 0);
    month.assert_as_expected();
    assert_eq!(manifests_hold(&month.scene.fleet), listed);
}
