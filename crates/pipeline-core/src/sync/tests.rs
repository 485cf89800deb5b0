//! Visits to devices in this process.

#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::atomic::Ordering;
use std::time::Duration;

use super::*;
use crate::config::{Config, Surroundings};
use crate::event::RunReport;
use crate::remote::agent::AgentRemote;
use crate::remote::{Link, Options};
use crate::run::{self, Setup};

const LONG: Duration = Duration::from_secs(600);

/// Two devices with one place for a file, and a storage.
struct Scene {
    dir: tempfile::TempDir,
    config: Config,
}

impl Scene {
    fn new() -> Scene {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path();
        ["pi/data", "pj/data", "storage/data"].iter().for_each(|dir| fs::create_dir_all(root.join(dir)).unwrap());
        let yaml = format!(
            "hosts: [pi, pj]\nsource: {0}/pi/data\nstorage: {0}/storage\nstate_dir: {0}/state\nsettle: 0s\n\
             layout: \"{{source_name}}/{{path}}\"\nversions: {{ replace: [\"*.db\"] }}\n\
             devices: {{ pj: {{ source: {0}/pj/data }} }}\n",
            root.display()
        );
        let surroundings = Surroundings {
            home: root.into(),
            user: "pi".into(),
            uid: 1000,
            xdg_state_home: None,
            env: BTreeMap::new(),
        };
        let config = Config::parse(&yaml, Path::new("pipeline.yaml"), &surroundings).unwrap();
        run::init(&config).unwrap();
        Scene { dir, config }
    }

    fn sync(&self, device: &str, longest: Duration) -> RunReport {
        self.sync_told(device, longest, &())
    }

    fn sync_told(&self, device: &str, longest: Duration, observer: &dyn Observer) -> RunReport {
        let name = DeviceName::new(device).unwrap();
        let devices = [Device { settings: self.config.device(&name), name }];
        let setup =
            Setup { config: &self.config, devices: &devices, connect: &Local(longest), dry_run: false, delete: true };
        run::sync(&setup, observer, &Cancel::new()).unwrap()
    }
}

/// Connects to an agent in this process, for so long.
struct Local(Duration);

impl Connect for Local {
    fn connect(&self, device: &Device, _: &dyn Observer, _: Intent) -> Result<Box<dyn Remote>, ConnectError> {
        let (ours, theirs) = UnixStream::pair().unwrap();
        let source = device.settings.source.clone();
        // It ends with the connection, and says so.
        std::thread::spawn(move || crate::agent::serve(theirs.try_clone().unwrap(), theirs, &[source]).ok());
        let link = Link { stream: ours, errors: std::sync::Arc::default(), guard: Box::new(()) };
        let (idle, until) = (Duration::from_secs(60), Instant::now() + self.0);
        let options = Options { idle, bandwidth: None, until, cancel: Cancel::new() };
        Ok(Box::new(AgentRemote::open(link, &device.settings.source, options).unwrap()))
    }

    fn shared_connection_broke(&self, _: &Device, _: Instant) -> bool {
        false
    }
}

#[test]
fn a_stored_file_that_takes_long_does_not_hold_a_visit_beyond_its_end() {
    let scene = Scene::new();
    let (offered, stored) = (scene.dir.path().join("pi/data/a"), scene.dir.path().join("storage/data/a"));
    fs::write(&offered, b"data").unwrap();
    // To read it takes minutes.
    File::create(&stored).unwrap().set_len(1 << 40).unwrap();
    let began = Instant::now();
    let report = scene.sync("pi", Duration::from_secs(1));
    let Outcome::Failed { class: Class::Transient, reason, hint: Some(_) } = &report.devices[0].outcome else {
        panic!("{report:?}")
    };
    assert!(reason.starts_with("the visit took longer than"), "{reason}");
    assert!(began.elapsed() < Duration::from_secs(60), "{:?}", began.elapsed());
    assert!(offered.exists() && stored.exists());

    fs::remove_file(&stored).unwrap();
    let report = scene.sync("pi", LONG);
    assert_eq!((report.counts.received, report.counts.removed, offered.exists()), (1, 1, false), "{report:?}");
}

/// The beginning of what lies at a place is one device's, all of it another's: as a run leaves it that was killed between the two.
#[test]
fn what_the_user_would_have_dropped_is_kept_where_it_is_another_devices_too() {
    let scene = Scene::new();
    let path = |path: &str| scene.dir.path().join(path);
    let bring = |device: &str, content: &str| {
        fs::write(path(device).join("data/z.db"), content).unwrap();
        let report = scene.sync(device, LONG);
        assert_eq!((&report.devices[0].outcome, report.counts.removed), (&Outcome::Done, 1), "{report:?}");
        report.counts
    };
    bring("pj", "one");
    let catalog = rusqlite::Connection::open(path("state/catalog.db")).unwrap();
    assert_eq!(catalog.execute("UPDATE file SET kept = 'prefix'", []).unwrap(), 1);
    fs::write(path("storage/data/z.db"), "one two").unwrap();
    assert_eq!(bring("pi", "one two").adopted, 1);

    assert_eq!(bring("pi", "three").versions, 1);
    let rows = "SELECT device, CAST(archive_path AS TEXT) = 'data/z.db', kept FROM file JOIN source ON source.id = source ORDER BY file.id";
    let mut rows = catalog.prepare(rows).unwrap();
    let rows = rows.query_map([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?))).unwrap().map(Result::unwrap);
    let row = |device: &str, under_its_own_name, kept: &str| (device.to_owned(), under_its_own_name, kept.to_owned());
    assert_eq!(
        rows.collect::<Vec<_>>(),
        [row("pj", false, "prefix"), row("pi", false, "whole"), row("pi", true, "whole")]
    );
    let version = fs::read_dir(path("storage/.pipeline/versions/data")).unwrap().next().unwrap().unwrap();
    assert_eq!(fs::read_to_string(version.path()).unwrap(), "one two");

    // Nobody shares what is there now.
    assert_eq!(bring("pi", "four").versions, 0);
    assert_eq!(fs::read_to_string(path("storage/data/z.db")).unwrap(), "four");
}

/// Counts how often a large file is asked for.
#[derive(Default)]
struct Asked(AtomicU64);

impl Observer for Asked {
    fn event(&self, event: &Event) {
        if matches!(event, Event::FileStarted { .. }) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// What lies uncatalogued where a large file goes, and has another length, is read once for its digest and its signature: the first
/// question brings the delta. What may be the same file is asked for by its digest.
#[test]
fn a_large_file_that_looks_edited_is_asked_for_once() {
    const BYTES: usize = 65 << 20;
    let basis: Vec<u8> = (0..BYTES as u32 / 4).flat_map(|i| i.wrapping_mul(2_654_435_761).to_le_bytes()).collect();
    let edited = [&basis[..1 << 20], b"edited", &basis[2 << 20..], b"and longer"].concat();
    let grown = [&basis[..], b"and longer"].concat();
    // What is offered, how often it is asked for, how many bytes may come, and versions.
    let table = [(&edited, 1, 100_000, 1), (&grown, 1, 100_000, 0), (&basis, 1, 0, 0)];
    for (offered, asked, most, versions) in table {
        let scene = Scene::new();
        let stored = scene.dir.path().join("storage/data/a");
        fs::write(scene.dir.path().join("pi/data/a"), offered).unwrap();
        fs::write(&stored, &basis).unwrap();
        let seen = Asked::default();
        let report = scene.sync_told("pi", LONG, &seen);
        assert!(matches!(report.devices[0].outcome, Outcome::Done), "{report:?}");
        assert_eq!((seen.0.load(Ordering::Relaxed), report.counts.versions), (asked, versions), "{report:?}");
        assert!(report.counts.transferred_bytes <= most, "{report:?}");
        assert_eq!(report.counts.removed, 1);
        assert!(fs::read(&stored).unwrap() == *offered);
    }
}
