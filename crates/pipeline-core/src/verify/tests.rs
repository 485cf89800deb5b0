#![allow(clippy::unwrap_used)]

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::sync::Mutex;

use rusqlite::{Connection, params};

use super::*;
use crate::archive::MANIFEST_DIR;
use crate::catalog::Catalog;
use crate::config::Surroundings;
use crate::digest::Digest;
use crate::event::RunReport;
use crate::rebuild::rebuild;

/// A storage with some files, and its catalog.
struct Scene {
    _dir: tempfile::TempDir,
    config: Config,
}

/// Remembers the faults that were told, and at the first file that was read does something.
struct Told<'a> {
    faults: Mutex<Vec<ArchiveFault>>,
    read: Mutex<u64>,
    meanwhile: &'a (dyn Fn() + Sync),
}

impl Observer for Told<'_> {
    fn event(&self, event: &Event) {
        match event {
            Event::ArchiveFault(fault) => self.faults.lock().unwrap().push(fault.clone()),
            Event::ArchiveRead { files, .. } => {
                let mut read = self.read.lock().unwrap();
                *read += files;
                if *read == 1 && *files == 1 {
                    (self.meanwhile)();
                }
            }
            _ => {}
        }
    }
}

const ALL: Options<'_> = Options { scope: Scope::All, hosts: &[], unknown: true, bandwidth: None };

impl Scene {
    /// Files by device: `pi1/a` came from `pi1`, and holds its own path.
    fn new(files: &[&str]) -> Scene {
        let dir = tempfile::tempdir().unwrap();
        let (storage, state) = (dir.path().join("storage"), dir.path().join("state"));
        fs::create_dir(&storage).unwrap();
        let (at, state_at) = (storage.display(), state.display());
        let yaml = format!("hosts: [pi1, pi2]\nsource: /data\nstorage: {at}\nstate_dir: {state_at}\n");
        let surroundings = Surroundings {
            home: "/home/bee".into(),
            user: "bee".into(),
            uid: 1000,
            xdg_state_home: None,
            env: std::collections::BTreeMap::new(),
        };
        let config = Config::parse(&yaml, Path::new("p.yaml"), &surroundings).unwrap();
        run::init(&config).unwrap();
        fs::remove_file(state.join("catalog.db")).unwrap();
        let scene = Scene { _dir: dir, config };
        for path in files {
            scene.put(path, path);
            scene.list(path, path);
        }
        rebuild(&scene.config, &(), &Cancel::new()).unwrap();
        let run = scene.catalog().begin_run().unwrap();
        scene.catalog().finish_run(&RunReport { run, ..RunReport::default() }, None).unwrap();
        scene
    }

    fn put(&self, path: &str, content: &str) {
        let path = self.config.storage.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }

    fn take(&self, path: &str) {
        fs::remove_file(self.config.storage.join(path)).unwrap();
    }

    fn list(&self, path: &str, content: &str) {
        let device = path.strip_prefix(".pipeline/versions/").unwrap_or(path).split('/').next().unwrap();
        let dir = self.config.storage.join(MANIFEST_DIR).join(device);
        fs::create_dir_all(&dir).unwrap();
        let manifest = dir.join("2026-11-21.sha256");
        let before = fs::read_to_string(&manifest).unwrap_or_default();
        fs::write(manifest, format!("{before}{}  {path}\n", Digest::of(content.as_bytes()))).unwrap();
    }

    fn catalog(&self) -> Catalog {
        Catalog::open(&self.config.state_dir).unwrap()
    }

    fn sql(&self, sql: &str, path: &str) {
        let conn = Connection::open(self.config.state_dir.join("catalog.db")).unwrap();
        assert_eq!(conn.execute(sql, params![path.as_bytes()]).unwrap(), 1, "{sql}");
    }

    /// A row like that of another file, for this path.
    fn add_row(&self, like: &str, path: &str) {
        let sql = "INSERT INTO file SELECT NULL, source, path, size, mtime_ns, ctime_ns, dev, ino, clock_offset_ns, sha256, ?2, kept,
                   received_ns, removed_ns, run FROM file WHERE archive_path = ?1";
        let conn = Connection::open(self.config.state_dir.join("catalog.db")).unwrap();
        assert_eq!(conn.execute(sql, params![like.as_bytes(), path.as_bytes()]).unwrap(), 1);
    }

    fn verify_while(
        &self,
        options: &Options<'_>,
        cancel: &Cancel,
        meanwhile: &(dyn Fn() + Sync),
    ) -> (Result<VerifyReport, VerifyError>, Vec<String>) {
        let told = Told { faults: Mutex::default(), read: Mutex::default(), meanwhile };
        let report = verify(&self.config, options, &told, cancel);
        let told = told.faults.into_inner().unwrap().into_iter();
        let mut told: Vec<String> = told.map(|fault| format!("{:?} {}", fault.fault, fault.path)).collect();
        told.sort();
        (report, told)
    }

    fn verify(&self, options: &Options<'_>) -> (VerifyReport, Vec<String>) {
        let (report, told) = self.verify_while(options, &Cancel::new(), &|| ());
        (report.unwrap(), told)
    }

    /// Everything that lies in the storage, and when it was last touched.
    fn state(&self) -> Vec<(std::path::PathBuf, u64, i64, i64)> {
        let entries = walkdir::WalkDir::new(&self.config.storage).sort_by_file_name().into_iter().map(Result::unwrap);
        let touched = entries.map(|entry| {
            let metadata = entry.path().symlink_metadata().unwrap();
            (entry.path().to_owned(), metadata.len(), metadata.ctime(), metadata.ctime_nsec())
        });
        touched.collect()
    }
}

#[test]
fn a_flipped_bit_a_missing_and_an_extra_file_are_found_and_nothing_is_changed() {
    let version = ".pipeline/versions/pi1/v~20261120T101500Z~0123abcd";
    let scene = Scene::new(&["pi1/a", "pi1/b", "pi1/c", "pi1/d/e", "pi2/f", "pi2/g", version]);
    let (report, told) = scene.verify(&ALL);
    assert_eq!((report.files, report.faults(), told), (7, 0, vec![]));

    // Of the same size; gone; other sizes; a link in its place; a version.
    scene.put("pi1/a", "pi1/`");
    scene.take("pi1/b");
    scene.put("pi1/d/e", "pi1/d/e more");
    scene.take("pi2/f");
    std::os::unix::fs::symlink("g", scene.config.storage.join("pi2/f")).unwrap();
    scene.put(version, "x");
    scene.put("pi1/extra", "pi1/extra");
    scene.put(".pipeline/versions/pi1/extra", "");
    scene.put(".pipeline/staging/ours", "");
    // Known once, and no longer kept.
    scene.put("pi1/dropped", "");
    scene.add_row("pi1/c", "pi1/dropped");
    scene.sql("UPDATE file SET kept = 'dropped' WHERE archive_path = ?1", "pi1/dropped");
    scene.sql("UPDATE file SET removed_ns = NULL WHERE archive_path = ?1", "pi1/b");
    let before = scene.state();
    let (report, told) = scene.verify(&ALL);
    assert_eq!(
        told,
        [
            &*format!("Changed {version}"),
            "Changed pi1/a",
            "Changed pi1/d/e",
            "Changed pi2/f",
            "Missing pi1/b",
            "Unknown .pipeline/versions/pi1/extra",
            "Unknown pi1/dropped",
            "Unknown pi1/extra",
        ]
    );
    let VerifyReport { files, missing, changed, unknown, on_device, .. } = report;
    assert_eq!((files, missing, changed, unknown, on_device), (2, 1, 4, 3, 1));
    assert_eq!(scene.state(), before);
    let (report, told) = scene.verify(&Options { unknown: false, ..ALL });
    assert_eq!((report.unknown, told.len()), (0, 5));
}

#[test]
fn what_a_run_moves_meanwhile_is_no_fault() {
    let scene = Scene::new(&["pi1/a", "pi1/dropped", "pi1/grown", "pi1/moved", "pi1/rotten"]);
    // A place whose only row is that of a beginning: its run was killed.
    scene.put("pi1/half", "beginning and more");
    scene.add_row("pi1/a", "pi1/half");
    let half = "UPDATE file SET kept = 'prefix', size = 9, sha256 = x'HASH' WHERE archive_path = ?1";
    scene.sql(&half.replace("HASH", &Digest::of(b"beginning").to_string()), "pi1/half");
    // By then the page is read, and the first file on it.
    let (report, told) = scene.verify_while(&ALL, &Cancel::new(), &|| {
        scene.sql("UPDATE file SET kept = 'dropped' WHERE archive_path = ?1", "pi1/dropped");
        scene.take("pi1/dropped");
        scene.sql("UPDATE file SET kept = 'prefix' WHERE archive_path = ?1", "pi1/grown");
        scene.put("pi1/grown", "pi1/grown and grown");
        scene.put(".pipeline/versions/moved", "pi1/moved");
        scene.sql(
            "UPDATE file SET archive_path = CAST('.pipeline/versions/moved' AS BLOB) WHERE archive_path = ?1",
            "pi1/moved",
        );
        scene.take("pi1/moved");
        scene.put(".pipeline/versions/rotten", "pi1/r0tten");
        scene.sql(
            "UPDATE file SET archive_path = CAST('.pipeline/versions/rotten' AS BLOB) WHERE archive_path = ?1",
            "pi1/rotten",
        );
        scene.take("pi1/rotten");
    });
    assert_eq!((report.unwrap().files, told), (4, vec!["Changed .pipeline/versions/rotten".to_owned()]));
    // What has rotted of a beginning is found as well.
    scene.put("pi1/half", "beginnimg and more");
    let (_, told) = scene.verify(&ALL);
    assert_eq!(told, ["Changed .pipeline/versions/rotten", "Changed pi1/half"]);
}

#[test]
fn a_storage_that_is_not_there_is_an_error_and_no_list_of_missing_files() {
    let scene = Scene::new(&["pi1/a", "pi1/b", "pi1/c"]);
    let storage = &scene.config.storage;
    let away = storage.with_extension("away");
    let class_of = |unmount: &(dyn Fn() + Sync)| {
        let (error, told) = scene.verify_while(&ALL, &Cancel::new(), unmount);
        assert_eq!(told, Vec::<String>::new());
        error.unwrap_err().class()
    };
    // Its files and its marker are gone, as behind a server that lost them; or another directory lies there.
    let marker = storage.join(".pipeline/marker.json");
    let lose = || {
        fs::rename(&marker, storage.join(".pipeline/away")).unwrap();
        fs::rename(storage.join("pi1"), storage.join("away")).unwrap();
    };
    assert_eq!(class_of(&lose), Class::Storage);
    fs::rename(storage.join(".pipeline/away"), &marker).unwrap();
    fs::rename(storage.join("away"), storage.join("pi1")).unwrap();
    let unmount = || {
        fs::rename(storage, &away).unwrap();
        fs::create_dir(storage).unwrap();
    };
    assert_eq!(class_of(&unmount), Class::Storage);
    assert_eq!(class_of(&|| panic!("nothing is read there")), Class::Storage);
}

#[test]
fn a_round_goes_on_where_it_ended_and_reads_everything_once() {
    let files: Vec<String> = (0..12).map(|number| format!("pi1/{number:02}")).collect();
    let scene = Scene::new(&files.iter().map(String::as_str).collect::<Vec<_>>());
    let share = Options { scope: Scope::Share("1/3".parse().unwrap()), unknown: false, ..ALL };
    // Each part that is read finds what is missing in it, once in a round.
    files.iter().for_each(|path| scene.take(path));
    let (report, first) = scene.verify(&share);
    assert_eq!((report.round, first.len()), (Some(RoundReport { finished: false, left_files: 8, left_bytes: 48 }), 4));
    // A second one beside it is kept out; a run is not, and keeps nobody out.
    let lock = Lock::acquire_for(Work::Verification, &scene.config.state_dir).unwrap();
    let (locked, _) = scene.verify_while(&share, &Cancel::new(), &|| ());
    assert_eq!(locked.unwrap_err().class(), Class::Locked);
    drop(lock);
    let _run = Lock::acquire(&scene.config.state_dir).unwrap();
    // Stopped after a file, it goes on behind that.
    let cancel = Cancel::new();
    let (report, second) = scene.verify_while(&share, &cancel, &|| cancel.set());
    let report = report.unwrap();
    assert_eq!((report.stopped, report.round.unwrap().left_files, second.len()), (true, 7, 1));
    let (report, third) = scene.verify(&share);
    assert_eq!((report.round, third.len()), (Some(RoundReport { finished: true, left_files: 0, left_bytes: 0 }), 7));
    let told: Vec<String> = [first.clone(), second, third].concat();
    assert_eq!(told, files.iter().map(|path| format!("Missing {path}")).collect::<Vec<_>>());
    let (_, again) = scene.verify(&share);
    assert_eq!(again, first, "the next round begins at the beginning");
    let round = scene.catalog().places().unwrap().round().unwrap();
    assert!(round.finished_ns.is_some() && round.begun_ns >= round.finished_ns && round.runs == 1, "{round:?}");
}

#[test]
fn a_part_by_device_or_by_chance() {
    let scene = Scene::new(&["pi1/a", "pi1/b", "pi1/c", "pi2/a"]);
    let read = |patterns: &[&str], scope| {
        let hosts: Vec<_> = patterns.iter().map(|text| HostPattern::parse(text).unwrap()).collect();
        let (report, _) = scene.verify_while(&Options { scope, hosts: &hosts, ..ALL }, &Cancel::new(), &|| ());
        report.map(|report| report.files).map_err(|error| error.class())
    };
    assert_eq!(read(&["pi[1-9]"], Scope::All), Ok(4));
    assert_eq!(read(&["pi1"], Scope::All), Ok(3));
    assert_eq!(read(&["!pi1"], Scope::All), Ok(1));
    assert_eq!(read(&["pi3"], Scope::All), Err(Class::Config));
    assert_eq!(read(&[], Scope::Sample(Sample::Files(2))), Ok(2));
    assert_eq!(read(&["pi1"], Scope::Sample(Sample::Percent(100))), Ok(3));
}

#[test]
fn where_the_storage_ignores_case_a_known_file_in_another_case_is_not_unknown() {
    let scene = Scene::new(&["pi1/a"]);
    scene.put("Pi1/A", "pi1/a");
    scene.put("Pi1/b", "");
    let unknown = || {
        let (_, mut told) = scene.verify(&ALL);
        told.retain(|told| told.starts_with("Unknown"));
        told
    };
    assert_eq!(unknown(), ["Unknown Pi1/A", "Unknown Pi1/b"]);
    let marker = scene.config.storage.join(".pipeline/marker.json");
    let text = fs::read_to_string(&marker).unwrap();
    fs::write(&marker, text.replace("\"case_sensitive\": true", "\"case_sensitive\": false")).unwrap();
    assert_eq!(unknown(), ["Unknown Pi1/b"]);
}

#[test]
fn what_a_run_is_just_storing_is_not_unknown() {
    let scene = Scene::new(&["pi1/a"]);
    scene.put("pi1/new", "pi1/a");
    let (archive, catalog) = run::open(&scene.config).unwrap();
    let places = catalog.places().unwrap();
    let look = |patience| {
        let mut told = Vec::new();
        let mut tell = |fault: ArchiveFault| told.push(fault.path.to_string());
        unknown::look_for_unknown(&archive, &places, &Cancel::new(), patience, &mut tell).unwrap();
        told
    };
    let run = catalog.begin_run().unwrap();
    assert_eq!(look(Duration::ZERO), ["pi1/new"], "a run that was killed is not waited for without an end");
    std::thread::scope(|scope| {
        let looking = scope.spawn(|| {
            let places = scene.catalog().places().unwrap();
            let mut told = Vec::new();
            let mut tell = |fault: ArchiveFault| told.push(fault.path.to_string());
            let hours = Duration::from_secs(36_000);
            unknown::look_for_unknown(&archive, &places, &Cancel::new(), hours, &mut tell).unwrap();
            told
        });
        scene.add_row("pi1/a", "pi1/new");
        catalog.finish_run(&RunReport { run, ..RunReport::default() }, None).unwrap();
        assert_eq!(looking.join().unwrap(), Vec::<String>::new());
    });
}
