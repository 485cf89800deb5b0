#![allow(clippy::unwrap_used)]

use std::fs;
use std::path::Path;
use std::sync::Mutex;

use rusqlite::Connection;

use super::*;
use crate::catalog::Catalog;
use crate::config::Surroundings;
use crate::digest::Digest;
use crate::run;

/// A storage that lost its catalog, and the configuration of its collector.
struct Scene {
    dir: tempfile::TempDir,
    config: Config,
}

/// Remembers what was told.
#[derive(Default)]
struct Told(Mutex<Vec<String>>);

impl Observer for Told {
    fn event(&self, event: &Event) {
        let line = match event {
            Event::ManifestLineSkipped { manifest, line, reason, .. } => format!("{manifest}:{line}: {reason}"),
            Event::ListedFileSkipped { device, path, reason } => format!("{device}: {path}: {reason}"),
            Event::CatalogRebuilt(report) => format!("{} files", report.files),
            other => panic!("{other:?}"),
        };
        self.0.lock().unwrap().push(line);
    }
}

impl Scene {
    fn new(layout: &str) -> Scene {
        let dir = tempfile::tempdir().unwrap();
        let (storage, state) = (dir.path().join("storage"), dir.path().join("state"));
        fs::create_dir(&storage).unwrap();
        let yaml = format!(
            "hosts: [pi1, pi2]\nsource: /home/pi/photos\nstorage: {}\nstate_dir: {}\nlayout: '{layout}'\n",
            storage.display(),
            state.display()
        );
        let surroundings = Surroundings {
            home: "/home/bee".into(),
            user: "bee".into(),
            uid: 1000,
            xdg_state_home: None,
            env: std::collections::BTreeMap::new(),
        };
        let config = Config::parse(&yaml, Path::new("p.yaml"), &surroundings).unwrap();
        run::init(&config).unwrap();
        for lost in ["catalog.db", "catalog.db-wal", "catalog.db-shm"] {
            fs::remove_file(state.join(lost)).unwrap();
        }
        Scene { dir, config }
    }

    /// Puts a file into the storage, without a line in a manifest.
    fn put(&self, path: &str, content: &str) {
        let path = self.config.storage.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }

    /// Writes a manifest with these lines: of the digest of a content, and a path.
    fn manifest(&self, device: &str, date: &str, lines: &[(&str, &str)]) {
        let line = |(path, content): &(&str, &str)| format!("{}  {path}\n", Digest::of(content.as_bytes()));
        self.put(&format!("SHA256SUMS/{device}/{date}.sha256"), &lines.iter().map(line).collect::<String>());
    }

    fn rebuild(&self) -> (Result<RebuildReport, RebuildError>, Vec<String>) {
        let told = Told::default();
        let report = rebuild(&self.config, &told, &Cancel::new());
        (report, told.0.into_inner().unwrap())
    }

    /// Whether there is a catalog, or what is left of one in the making.
    fn state(&self) -> Vec<String> {
        let names = fs::read_dir(self.dir.path().join("state")).unwrap();
        let mut names: Vec<_> = names.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    /// Device, source, path, size, digest, archive path of each row, by archive path.
    fn rows(&self) -> Vec<[String; 6]> {
        let conn = Connection::open(self.config.state_dir.join("catalog.db")).unwrap();
        let sql = "SELECT device, source.path, file.path, size, sha256, archive_path FROM file
                   JOIN source ON source.id = file.source
                   WHERE dev = 0 AND ino = 0 AND ctime_ns = 0 AND removed_ns IS NOT NULL AND kept = 'whole' ORDER BY archive_path";
        let mut statement = conn.prepare(sql).unwrap();
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        let rows = statement.query_map([], |row| {
            Ok([
                row.get(0)?,
                text(row.get(1)?),
                text(row.get(2)?),
                row.get::<_, i64>(3)?.to_string(),
                Digest::from_bytes(row.get(4)?).to_string(),
                text(row.get(5)?),
            ])
        });
        let rows: Vec<_> = rows.unwrap().map(Result::unwrap).collect();
        let all: i64 = conn.query_row("SELECT count(*) FROM file", [], |row| row.get(0)).unwrap();
        assert_eq!(usize::try_from(all), Ok(rows.len()), "a row that could license a removal");
        rows
    }
}

fn row(device: &str, source: &str, path: &str, content: &str, archive_path: &str) -> [String; 6] {
    let (size, digest) = (content.len().to_string(), Digest::of(content.as_bytes()).to_string());
    [device.to_owned(), source.to_owned(), path.to_owned(), size, digest, archive_path.to_owned()]
}

#[test]
fn every_listed_file_that_is_there_has_a_row_that_licenses_nothing() {
    let scene = Scene::new("{source_name}/{path}");
    scene.put("photos/a.jpg", "first");
    scene.put("photos/day 1/log.csv", "grown and grown");
    scene.put("photos/a~pi2.jpg", "second");
    scene.put("photos/b~pi2.jpg", "called so");
    scene.put("old/layout.jpg", "elsewhere");
    let version = format!("day 1/log.csv~20261120T101500Z~{}", &Digest::of(b"before").to_string()[..8]);
    scene.put(&format!(".pipeline/versions/photos/{version}"), "before");
    scene.put("photos/never listed.jpg", "not ours");
    fs::create_dir(scene.config.storage.join("photos/directory")).unwrap();
    // Not in the order of days, and the younger line counts.
    scene.manifest("pi1", "2026-11-22", &[("photos/day 1/log.csv", "grown and grown")]);
    scene.manifest(
        "pi1",
        "2026-11-21",
        &[
            ("photos/day 1/log.csv", "grown"),
            ("photos/a.jpg", "first"),
            ("photos/gone.jpg", "gone"),
            (&format!(".pipeline/versions/photos/{version}"), "before"),
        ],
    );
    scene.manifest("pi2", "2026-11-20", &[("photos/a~pi2.jpg", "second"), ("photos/b~pi2.jpg", "called so")]);
    scene.manifest("pi2", "2026-11-21", &[("photos/directory", "x"), ("old/layout.jpg", "elsewhere")]);
    scene.put("SHA256SUMS/pi2/2026-11-22.sha256", "something else\nand a torn li");
    scene.put("SHA256SUMS/pi2/notes.txt", "no manifest");
    scene.put("SHA256SUMS/README", "no device");

    let (report, told) = scene.rebuild();
    let source = "/home/pi/photos";
    assert_eq!(
        scene.rows(),
        [
            row("pi1", source, "day 1/log.csv", "before", &format!(".pipeline/versions/photos/{version}")),
            row("pi2", "", "old/layout.jpg", "elsewhere", "old/layout.jpg"),
            row("pi1", source, "a.jpg", "first", "photos/a.jpg"),
            row("pi2", source, "a.jpg", "second", "photos/a~pi2.jpg"),
            row("pi2", source, "b~pi2.jpg", "called so", "photos/b~pi2.jpg"),
            row("pi1", source, "day 1/log.csv", "grown and grown", "photos/day 1/log.csv"),
        ]
    );
    let bytes = scene.rows().iter().map(|row| row[3].parse::<u64>().unwrap()).sum();
    assert_eq!(report.unwrap(), RebuildReport { manifests: 5, lines: 11, files: 6, bytes, problems: 4 });
    assert_eq!(
        told,
        [
            "SHA256SUMS/pi2/2026-11-22.sha256:1: it is too short",
            "SHA256SUMS/pi2/2026-11-22.sha256:2: it has no end: its writer was killed",
            "pi2: photos/directory: a manifest lists it, and it is no plain file",
            "pi1: photos/gone.jpg: a manifest lists it, and it is gone",
            "6 files",
        ]
    );

    // It is a catalog like any other, whose rows say whose a place is and no more.
    let (archive, catalog) = run::open(&scene.config).unwrap();
    let visit = catalog.visit("pi1", source.as_bytes(), catalog.begin_run().unwrap()).unwrap();
    let (device, path) = (DeviceName::new("pi1").unwrap(), RelPath::new("a.jpg").unwrap());
    assert_eq!(visit.known(&path).unwrap(), None);
    let place = archive.place("{source_name}/{path}", &device, b"photos", &path).unwrap();
    let holder = visit.holder(&place).unwrap().unwrap();
    assert!(holder.rebuilt && holder.device == "pi1" && holder.path == path, "{holder:?}");
    assert_eq!(holder.prefix.digest, Digest::of(b"first"));
}

#[test]
fn a_catalog_that_is_there_is_left_alone() {
    let scene = Scene::new("{host}/{path}");
    let catalog = scene.config.state_dir.join("catalog.db");
    run::init(&scene.config).unwrap();
    let before = fs::read(&catalog).unwrap();
    let error = scene.rebuild().0.unwrap_err();
    assert_eq!(error.class(), Class::Config);
    assert!(error.hint().unwrap().contains(&format!("mv {}* ", catalog.display())), "{error:?}");
    assert_eq!(fs::read(&catalog).unwrap(), before);
    // One that can't be read may still be worth more to its owner than a new one.
    fs::write(&catalog, "not a database, and longer than the header of one: ".repeat(10)).unwrap();
    assert!(matches!(scene.rebuild().0, Err(RebuildError::Catalog(CatalogError::Exists(_)))));
}

#[test]
fn what_is_left_of_a_lost_catalog_and_of_a_killed_attempt_is_not_taken_for_its_own() {
    let scene = Scene::new("{host}/{path}");
    scene.put("pi1/a", "a");
    scene.manifest("pi1", "2026-11-21", &[("pi1/a", "a")]);
    let state = &scene.config.state_dir;
    // A log that holds rows, without its catalog.
    run::init(&scene.config).unwrap();
    let catalog = Catalog::open(state).unwrap();
    let runs = |conn: &Connection| conn.query_row("SELECT count(*) FROM run", [], |row| row.get::<_, i64>(0)).unwrap();
    let kept_open = Connection::open(state.join("catalog.db")).unwrap();
    assert_eq!(runs(&kept_open), 0);
    for _ in 0..7 {
        catalog.begin_run().unwrap();
    }
    fs::copy(state.join("catalog.db-wal"), state.join("log")).unwrap();
    drop(kept_open);
    fs::remove_file(state.join("catalog.db")).unwrap();
    fs::rename(state.join("log"), state.join("catalog.db-wal")).unwrap();
    assert!(fs::metadata(state.join("catalog.db-wal")).unwrap().len() > 0);
    fs::write(state.join("catalog.db.new"), "half").unwrap();

    assert_eq!(scene.rebuild().0.unwrap().files, 1);
    assert_eq!(runs(&Connection::open(state.join("catalog.db")).unwrap()), 1);
    assert_eq!(scene.rows(), [row("pi1", "/home/pi/photos", "a", "a", "pi1/a")]);
    assert!(!state.join("catalog.db.new").exists());
}

/// Does something at the first problem.
struct Meanwhile<F>(F);

impl<F: Fn() + Send + Sync> Observer for Meanwhile<F> {
    fn event(&self, _: &Event) {
        (self.0)();
    }
}

#[test]
fn there_is_a_whole_catalog_or_none() {
    let scene = Scene::new("{host}/{path}");
    scene.manifest("pi1", "2026-11-21", &[("pi1/gone", "gone")]);
    let none = ["catalog.db.new", "lock"];

    let cancel = Cancel::new();
    let stop = Meanwhile(|| cancel.set());
    let error = rebuild(&scene.config, &stop, &cancel).unwrap_err();
    assert_eq!((error.class(), scene.state()), (Class::Interrupted, none.map(String::from).to_vec()));

    // A share that goes away in the middle has no files, and a catalog without them would be a lie.
    let marker = scene.config.storage.join(".pipeline/marker.json");
    let unmount = Meanwhile(|| fs::rename(&marker, marker.with_extension("away")).unwrap());
    let error = rebuild(&scene.config, &unmount, &Cancel::new()).unwrap_err();
    assert_eq!((error.class(), scene.state()), (Class::Storage, none.map(String::from).to_vec()));
    assert_eq!(scene.rebuild().0.unwrap_err().class(), Class::Storage);
    fs::rename(marker.with_extension("away"), &marker).unwrap();

    let lock = Lock::acquire(&scene.config.state_dir).unwrap();
    assert_eq!(scene.rebuild().0.unwrap_err().class(), Class::Locked);
    drop(lock);
    assert_eq!(scene.rebuild().0.unwrap().problems, 1);
    assert_eq!(scene.state(), ["catalog.db", "lock"]);
}

#[test]
fn a_wish_to_stop_waits_neither_for_a_long_manifest_nor_for_many_files() {
    let scene = Scene::new("{host}/{path}");
    let stop_at_the_first_word = || {
        let (cancel, told) = (Cancel::new(), Mutex::new(0));
        let stop = Meanwhile(|| {
            *told.lock().unwrap() += 1;
            cancel.set();
        });
        let error = rebuild(&scene.config, &stop, &cancel).unwrap_err();
        assert_eq!((error.class(), *told.lock().unwrap()), (Class::Interrupted, 1));
    };
    scene.manifest("pi1", "2026-11-21", &[("pi1/gone", "gone"), ("pi1/gone too", "gone")]);
    stop_at_the_first_word();
    scene.put("SHA256SUMS/pi1/2026-11-20.sha256", "no line\nno line\n");
    stop_at_the_first_word();
}

#[test]
fn second_names_lead_back_to_first_ones() {
    let device = DeviceName::new("pi2").unwrap();
    let path = |path: &str| RelPath::new(path).unwrap();
    for plain in ["d/a.jpg", "a", "a~b.tar.gz", "~.x", "a~pi2.jpg", ".hidden"] {
        for second in beside(&path(plain), &device) {
            assert_eq!(unmarked(&second, &device), Some(path(plain)), "{second}");
        }
    }
    for own in ["d/a.jpg", "a~pi22.jpg", "d~pi2/a.jpg", "~pi2", "a~pi2~0123abcd.jpg"] {
        assert_eq!(unmarked(&path(own), &device), None, "{own}");
    }
}
