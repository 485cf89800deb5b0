//! Visits to devices in this process.

#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::Ordering;
use std::time::Duration;

use super::crew::{Crew, MAX_SCOUTS, News};
use super::receiving::MAX_SIGNATURE_BYTES;
use super::scout::{Errand, Reading, Scouted};
use super::*;
use crate::archive::Yields;
use crate::catalog::history::Filter;
use crate::config::{Config, Surroundings};
use crate::entry::{Entry, Identity};
use crate::event::RunReport;
use crate::hold;
use crate::remote::agent::AgentRemote;
use crate::remote::{Link, Options};
use crate::run::{self, Setup};
use crate::transfer::{Place, Transfer, Wanted};

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
        self.sync_all(&[device], longest, observer)
    }

    fn sync_all(&self, devices: &[&str], longest: Duration, observer: &dyn Observer) -> RunReport {
        let device = |name: &&str| {
            let name = DeviceName::new(*name).unwrap();
            Device { settings: self.config.device(&name), name }
        };
        let devices: Vec<Device> = devices.iter().map(device).collect();
        let setup =
            Setup { config: &self.config, devices: &devices, connect: &Local(longest), dry_run: false, delete: true };
        run::sync(&setup, observer, &Cancel::new()).unwrap()
    }
}

/// Does something with the path of each file that begins to arrive.
struct AsItBegins<F>(F);

impl<F: Fn(&RelPath) + Send + Sync> Observer for AsItBegins<F> {
    fn event(&self, event: &Event) {
        if let Event::FileStarted { path, .. } = event {
            (self.0)(path);
        }
    }
}

/// Puts removals on hold when files of this device have been received: nothing but their removal is left to do.
struct HoldsWhenReceived<'a>(&'a str, &'a Path);

impl Observer for HoldsWhenReceived<'_> {
    fn event(&self, event: &Event) {
        if matches!(event, Event::BatchCommitted { device, .. } if device.as_str() == self.0) {
            hold::place(self.1, "alice", None, None).unwrap();
        }
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
    const BYTES: u32 = 65 << 20;
    let basis: Vec<u8> = (0..BYTES / 4).flat_map(|i| i.wrapping_mul(2_654_435_761).to_le_bytes()).collect();
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

/// Memory is for one signature at a time here. One that can't be made gives its share back, as does one that was sent.
#[test]
fn a_basis_that_ends_early_leaves_memory_for_the_next_signature() {
    const BYTES: u64 = 3 << 20;
    let scene = Scene::new();
    let (offered, stored) = (scene.dir.path().join("pi/data"), scene.dir.path().join("storage/data"));
    assert!(2 * crate::delta::parameters(BYTES).unwrap().signature_bytes(BYTES) > MAX_SIGNATURE_BYTES);
    for name in ["a", "b", "short", "shorter"] {
        File::create(stored.join(name)).unwrap().set_len(BYTES).unwrap();
        let mut content = vec![0; usize::try_from(BYTES).unwrap()];
        content[..100].fill(1);
        fs::write(offered.join(name), content).unwrap();
    }
    // Somebody cuts them off after they were looked at, and before a signature is made.
    let cut = AsItBegins(|path: &RelPath| {
        if path.as_bytes().starts_with(b"short") {
            File::options().write(true).open(stored.join(path.as_path())).unwrap().set_len(1).unwrap();
        }
    });
    let report = scene.sync_told("pi", Duration::from_secs(60), &cut);
    let counts = report.counts;
    assert_eq!((&report.devices[0].outcome, counts.received, counts.versions), (&Outcome::Done, 4, 4), "{report:?}");
    // Two came whole, and two as deltas.
    assert!((2 * BYTES..3 * BYTES).contains(&counts.transferred_bytes), "{report:?}");
}

#[test]
fn a_hold_in_the_middle_of_a_run_stops_the_removals_that_follow() {
    let mut scene = Scene::new();
    scene.config.jobs = 1;
    let (state_dir, both) = (scene.config.state_dir.clone(), ["pi", "pj"]);
    let write = |device: &str, name: &str| {
        let path = scene.dir.path().join(device).join("data").join(name);
        fs::write(&path, name).unwrap();
        path
    };
    let (first, second) = (write("pi", "a"), write("pj", "b"));
    let report = scene.sync_all(&both, LONG, &HoldsWhenReceived("pj", &state_dir));
    let told = |report: &RunReport| {
        let Counts { received, removed, held, .. } = report.counts;
        (report.hold.is_some(), report.stopped_by.clone(), [received, removed, held])
    };
    assert_eq!(told(&report), (true, None, [2, 1, 1]), "{report:?}");
    assert!(!first.exists() && second.exists());

    // What is on hold from the beginning is not even read again; the next run after it goes on where it ended.
    let third = write("pi", "c");
    assert_eq!(told(&scene.sync_all(&both, LONG, &())), (true, None, [1, 0, 2]));
    hold::release(&state_dir).unwrap();
    assert_eq!(told(&scene.sync_all(&both, LONG, &())), (false, None, [0, 2, 0]));
    assert!(!second.exists() && !third.exists());

    // With a brake, removals wait for the end of all visits: a hold that comes before that is none of the brake's business.
    let (fourth, fifth) = (write("pi", "d"), write("pj", "e"));
    let brake = |scene: &mut Scene, most| scene.config.defaults.delete.max_files = most;
    brake(&mut scene, Some(1));
    let report = scene.sync_all(&both, LONG, &HoldsWhenReceived("pi", &state_dir));
    assert_eq!(told(&report), (true, None, [2, 0, 2]), "{report:?}");
    assert_eq!(told(&scene.sync_all(&both, LONG, &())), (true, None, [0, 0, 2]));
    hold::release(&state_dir).unwrap();
    let report = scene.sync_all(&both, LONG, &());
    assert_eq!((report.counts.removed, report.stopped_by.map(|stop| stop.class)), (0, Some(Class::Brake)));
    assert!(fourth.exists() && fifth.exists());
    brake(&mut scene, Some(2));
    assert_eq!(told(&scene.sync_all(&both, LONG, &())), (false, None, [0, 2, 0]));
}

/// What is written down of a device is what a visit leaves there, not what it found; and the next visit of the same hour corrects it.
#[test]
fn a_reading_says_what_is_left_at_the_end_of_a_visit() {
    let mut scene = Scene::new();
    let data = scene.dir.path().join("pi/data");
    let (_, catalog) = run::open(&scene.config).unwrap();
    let latest = || {
        let mut latest = None;
        catalog.history().unwrap().readings(&Filter::default(), &mut |_, reading| latest = Some(reading)).unwrap();
        let latest = latest.unwrap();
        let of = |files: Option<u64>, bytes: Option<u64>| (files.unwrap(), bytes.unwrap());
        let (data, waiting) =
            (of(latest.data_files, latest.data_bytes), of(latest.waiting_files, latest.waiting_bytes));
        (data, waiting, of(latest.kept_files, latest.kept_bytes), latest.oldest_waiting_ns.is_some())
    };
    let write = |name: &str, bytes: usize| fs::write(data.join(name), vec![7; bytes]).unwrap();
    write("a", 100);
    scene.sync("pi", LONG);
    assert_eq!(latest(), ((0, 0), (0, 0), (0, 0), false));

    // Nothing leaves.
    scene.config.defaults.delete.after = None;
    write("b", 20);
    scene.sync("pi", LONG);
    assert_eq!(latest(), ((1, 20), (0, 0), (1, 20), false));
    scene.config.defaults.settle = LONG;
    write("d", 4000);
    scene.sync("pi", LONG);
    assert_eq!(latest(), ((2, 4020), (1, 4000), (1, 20), true));

    // With a brake, what leaves leaves in a second visit.
    scene.config.defaults.delete.after = Some(Duration::ZERO);
    scene.config.defaults.delete.max_files = Some(9);
    scene.sync("pi", LONG);
    assert_eq!(latest(), ((1, 4000), (1, 4000), (0, 0), true));
}

/// A log that grows comes again and again, and each time only its end is new.
#[test]
fn what_came_before_is_not_added_again() {
    let mut scene = Scene::new();
    scene.config.defaults.delete.after = None;
    let path = scene.dir.path().join("pi/data/log");
    let (_, catalog) = run::open(&scene.config).unwrap();
    let added = || {
        let history = catalog.history().unwrap();
        history.day_bytes(&history.sources()[0], 0).unwrap().iter().map(|day| day.bytes).sum::<u64>()
    };
    let bring = |content: &[u8]| {
        fs::write(&path, content).unwrap();
        let counts = scene.sync("pi", LONG).counts;
        ([counts.received, counts.received_bytes, counts.adopted_bytes, counts.versions], added())
    };
    let log = [7; 1200];
    assert_eq!(bring(&log[..1000]), ([1, 1000, 0, 0], 1000));
    assert_eq!(bring(&log[..1010]), ([1, 1010, 0, 0], 1010));
    assert_eq!(bring(&log), ([1, 1200, 0, 0], 1200));
    // The same again, as far as its times tell nothing.
    assert_eq!(bring(&log), ([0, 0, 1200, 0], 1200));
    // Something else under its name.
    assert_eq!(bring(&[8; 30]), ([1, 30, 0, 1], 1230));
    assert_eq!(bring(&[8; 35]), ([1, 35, 0, 0], 1235));
}

/// Hears what is noted, and that the run is over.
#[derive(Default)]
struct Notes(Mutex<Vec<String>>);

impl Observer for Notes {
    fn event(&self, event: &Event) {
        match event {
            Event::Noted { message, .. } => self.0.lock().unwrap().push(message.clone()),
            Event::RunFinished(_) => self.0.lock().unwrap().push("finished".into()),
            _ => {}
        }
    }
}

#[test]
fn what_can_not_be_written_down_for_later_changes_nothing_of_what_was_done() {
    let scene = Scene::new();
    let offered = scene.dir.path().join("pi/data/a");
    fs::write(&offered, b"data").unwrap();
    let conn = rusqlite::Connection::open(scene.config.state_dir.join("catalog.db")).unwrap();
    let sql = "CREATE TRIGGER no_spell BEFORE INSERT ON spell BEGIN SELECT RAISE(ABORT, 'no visits'); END;
               CREATE TRIGGER no_end BEFORE UPDATE OF finished_ns ON run BEGIN SELECT RAISE(ABORT, 'no runs'); END";
    conn.execute_batch(sql).unwrap();
    let notes = Notes::default();
    let report = scene.sync_told("pi", LONG, &notes);
    assert_eq!(
        (&report.devices[0].outcome, report.counts.received, report.counts.removed, offered.exists()),
        (&Outcome::Done, 1, 1, false)
    );
    let notes = notes.0.into_inner().unwrap();
    let told: Vec<_> = notes.iter().map(|note| note.split(": ").next().unwrap()).collect();
    let expected = ["how the visit went is not written down", "what the run did is not written down", "finished"];
    assert_eq!(told, expected, "{notes:?}");
    assert!(notes[0].contains("no visits") && notes[1].contains("no runs"), "{notes:?}");
    let succeeded: Option<i64> = conn.query_row("SELECT succeeded_ns FROM source", [], |row| row.get(0)).unwrap();
    assert_eq!(succeeded, None);
}

#[test]
fn errands_that_no_scout_has_set_out_on_are_taken_back() {
    let scene = Scene::new();
    let (archive, catalog) = run::open(&scene.config).unwrap();
    let (over, claims, name) = (Cancel::new(), Claims::default(), DeviceName::new("pi").unwrap());
    let archive = archive.heeding(&over);
    let staging = archive.staging(&name).unwrap();
    let recorder = catalog.visit("pi", b"/data", 1).unwrap().recorder(0).unwrap();
    let (transfer, building) = Transfer::new(&staging);
    // Each scout has a file to read that has no end.
    let stored = |number: usize| scene.dir.path().join(format!("storage/data/{number}"));
    let errand = |number: usize| {
        File::create(stored(number)).unwrap().set_len(1 << 40).unwrap();
        let path = RelPath::new(number.to_string()).unwrap();
        let place = archive.place("data/{path}", &name, b"data", &path).unwrap();
        let place = Place { path: place, yields: Yields::Version, clash: false, again: false };
        let identity = Identity { dev: 1, ino: 1, size: 1, mtime_ns: 1, ctime_ns: 1 };
        Errand::Find(Box::new(Wanted::new(Entry { path, identity }, place, true)), Reading::Whole)
    };
    let is_read = |number: usize| {
        let open = fs::read_dir("/proc/self/fd").unwrap().flatten().map(|fd| fs::read_link(fd.path()));
        open.flatten().any(|path| path == stored(number))
    };
    std::thread::scope(|scope| {
        let mut crew = Crew::start(scope, (&archive, &staging, &claims, &over), &name, recorder, building);
        // Dropped before the crew, as in a visit: the builder ends with it.
        let _transfer = transfer;
        (0..11).for_each(|number| crew.send_out(errand(number)));
        while !(0..MAX_SCOUTS).all(is_read) {
            std::thread::yield_now();
        }
        assert_eq!(crew.scouting(), 11);
        crew.recall();
        assert_eq!(crew.scouting(), MAX_SCOUTS);
        over.set();
        for _ in 0..MAX_SCOUTS {
            let news = crew.wait(LONG).unwrap();
            assert!(matches!(news, Some(News::Scouted(Scouted::Stopped))));
        }
        assert_eq!(crew.scouting(), 0);
        assert!(crew.poll().unwrap().is_none());
    });
}
