//! Looks at devices in this process, beside a catalog and a storage that are real.

#![allow(clippy::unwrap_used)]

mod judge;

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::{Instant, SystemTime};

use super::*;
use crate::catalog::history::{DAY_NS, Filter};
use crate::config::Surroundings;
use crate::entry::{Entry, Prefix, Vitals};
use crate::health::{Piece, Texts};
use crate::path::{DeviceName, RelPath};
use crate::receipt::Receipt;
use crate::remote::agent::AgentRemote;
use crate::remote::{Answer, ConnectError, Intent, Link, Options as LinkOptions, Remote, RemoteError, Scanned};
use crate::run::{self, Lock, Setup};

const HOUR_NS: i64 = 3_600_000_000_000;
const GIB: u64 = 1 << 30;

/// A storage, a state directory, and the sources of devices.
struct Scene {
    dir: tempfile::TempDir,
    config: Config,
    devices: Vec<Device>,
}

impl Scene {
    /// `delete` is that section of the configuration.
    fn new(devices: &[&str], delete: &str) -> Scene {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().display();
        fs::create_dir(dir.path().join("storage")).unwrap();
        let own: String = devices.iter().map(|name| format!("  {name}: {{ source: {root}/{name} }}\n")).collect();
        let yaml = format!(
            "hosts: [{}]\nsource: /data\nstorage: {root}/storage\nstate_dir: {root}/state\nsettle: 0s\ndelete: {delete}\ndevices:\n{own}",
            devices.join(", ")
        );
        let home = dir.path().into();
        let surroundings =
            Surroundings { home, user: "pi".into(), uid: 1000, xdg_state_home: None, env: BTreeMap::new() };
        let config = Config::parse(&yaml, Path::new("pipeline.yaml"), &surroundings).unwrap();
        run::init(&config).unwrap();
        let device = |name: &&str| {
            fs::create_dir(dir.path().join(name)).unwrap();
            let name = DeviceName::new(*name).unwrap();
            Device { settings: config.device(&name), name }
        };
        let devices = devices.iter().map(device).collect();
        Scene { dir, config, devices }
    }

    fn write(&self, path: &str, content: &str, hours_old: u64) {
        let path = self.dir.path().join(path);
        fs::write(&path, content).unwrap();
        let modified = SystemTime::now() - Duration::from_secs(hours_old * 3600);
        fs::File::open(path).unwrap().set_modified(modified).unwrap();
    }

    fn sync(&self) -> crate::event::RunReport {
        let setup =
            Setup { config: &self.config, devices: &self.devices, connect: &Fleet, dry_run: false, delete: true };
        run::sync(&setup, &(), &Cancel::new()).unwrap()
    }

    fn inspect(&self, record: bool) -> FleetReport {
        let options = Options { jobs: 4, record };
        inspect(&self.config, &self.devices, &Fleet, options, &(), &Cancel::new()).unwrap()
    }

    fn catalog(&self) -> Catalog {
        Catalog::open(&self.config.state_dir).unwrap()
    }

    fn readings(&self) -> Vec<(String, Reading)> {
        let mut readings = Vec::new();
        let history = self.catalog().history().unwrap();
        history.readings(&Filter::default(), &mut |s, r| readings.push((s.device.to_string(), r))).unwrap();
        readings
    }

    fn note(&self, device: &str, reading: &Reading) {
        let source = self.dir.path().join(device);
        let name = DeviceName::new(device).unwrap();
        self.catalog().note_reading(&name, source.as_os_str().as_bytes(), reading).unwrap();
    }

    fn sql(&self, sql: &str) {
        let conn = rusqlite::Connection::open(self.config.state_dir.join("catalog.db")).unwrap();
        conn.execute_batch(sql).unwrap();
    }
}

/// Connects to an agent in this process, or to trouble: the name of the device says which.
struct Fleet;

#[derive(Debug, thiserror::Error)]
#[error("no tunnel")]
struct Trouble(Class);

impl Classified for Trouble {
    fn class(&self) -> Class {
        self.0
    }

    fn hint(&self) -> Option<String> {
        Some("look at the tunnel".into())
    }
}

impl Connect for Fleet {
    fn connect(&self, device: &Device, _: &dyn Observer, _: Intent) -> Result<Box<dyn Remote>, ConnectError> {
        match device.name.as_str() {
            "offline" => return Err(Box::new(Trouble(Class::Unreachable))),
            "stranger" => return Err(Box::new(Trouble(Class::HostKey))),
            "hung" => return Ok(Box::new(Made { silent: true, texts: Texts::default() })),
            "sick" => {
                let mounts = b"/dev/mmcblk0p2 / ext4 ro 0 0\n".to_vec();
                let texts = Texts(vec![(Piece::Mounts, mounts), (Piece::Throttled, b"50005".to_vec())]);
                return Ok(Box::new(Made { silent: false, texts }));
            }
            _ => {}
        }
        let (ours, theirs) = UnixStream::pair().unwrap();
        let source = device.settings.source.clone();
        // It ends with the connection, and says so.
        std::thread::spawn(move || crate::agent::serve(theirs.try_clone().unwrap(), theirs, &[source]).ok());
        let link = Link { stream: ours, errors: std::sync::Arc::default(), guard: Box::new(()) };
        let idle = Duration::from_secs(60);
        let options = LinkOptions { idle, bandwidth: None, until: Instant::now() + 10 * idle, cancel: Cancel::new() };
        Ok(Box::new(AgentRemote::open(link, &device.settings.source, options).unwrap()))
    }

    fn shared_connection_broke(&self, _: &Device, _: Instant) -> bool {
        false
    }
}

/// A device whose card is full, whose clock is three days behind, and that may say nothing after its greeting.
struct Made {
    silent: bool,
    texts: Texts,
}

impl Remote for Made {
    fn vitals(&self) -> &Vitals {
        &Vitals { clock_ns: 0, total_bytes: 32 * GIB, free_bytes: GIB / 4, total_files: 1000, free_files: 40 }
    }

    fn clock_offset_ns(&self) -> Option<i64> {
        Some(-3 * DAY_NS)
    }

    fn until(&self) -> Instant {
        panic!("a look is no visit")
    }

    fn agent(&self) -> Option<&str> {
        None
    }

    fn health(&mut self) -> Result<Texts, RemoteError> {
        Ok(self.texts.clone())
    }

    fn scan(&mut self, each: &mut dyn FnMut(Scanned) -> Result<(), RemoteError>) -> Result<(), RemoteError> {
        if self.silent {
            return Err(RemoteError::Silent(Duration::from_secs(60)));
        }
        each(Scanned::Unreadable(Some(RelPath::new("raw").unwrap()), "permission denied".into()))
    }

    fn fetch(&mut self, _: u32, _: &Entry, _: &[Prefix]) -> Result<(), RemoteError> {
        panic!("a look fetches nothing")
    }

    fn delta(&mut self, _: u32, _: &Entry, _: &[u8]) -> Result<(), RemoteError> {
        panic!("a look fetches nothing")
    }

    fn can_delta(&self) -> bool {
        false
    }

    fn caveats(&self) -> &[String] {
        &[]
    }

    fn remove(&mut self, _: Vec<(u32, Receipt)>) -> Result<(), RemoteError> {
        panic!("a look removes nothing")
    }

    fn prune(&mut self, _: Vec<RelPath>, _: Duration) -> Result<(), RemoteError> {
        panic!("a look prunes nothing")
    }

    fn answer(&mut self) -> Result<Answer<'_>, RemoteError> {
        panic!("a look asks nothing that is answered so")
    }
}

fn kinds(concerns: &[Concern]) -> Vec<(Severity, Kind)> {
    concerns.iter().map(|concern| (concern.severity, concern.kind)).collect()
}

#[test]
fn data_is_judged_as_a_visit_would_and_nothing_is_changed() {
    let scene = Scene::new(&["pi"], "{ after: 2h }");
    for (name, hours) in [("old", 30), ("grows", 20)] {
        scene.write(&format!("pi/{name}"), name, hours);
    }
    assert_eq!(scene.sync().counts.received, 2);
    scene.write("pi/grows", "grows more", 3);
    scene.write("pi/new", "new", 5);
    scene.write("pi/new.tmp", "left out", 5);
    scene.sql(&format!("UPDATE source SET newest_ns = {}", now_ns()));
    // Beside a run.
    let lock = Lock::acquire(&scene.config.state_dir).unwrap();
    let before = scene.readings().len();
    let report = scene.inspect(false);
    assert_eq!(scene.readings().len(), before, "nothing was to be written");
    let view = &report.devices[0];
    let reading = view.reading.as_ref().unwrap();
    assert_eq!(view.state, State::Ready);
    assert_eq!((reading.waiting_files, reading.waiting_bytes), (Some(2), Some(13)));
    assert_eq!((reading.kept_files, reading.kept_bytes), (Some(1), Some(3)));
    assert_eq!((reading.data_files, reading.data_bytes), (Some(3), Some(16)));
    let age_ns = |ns: Option<i64>| report.at_ns - ns.unwrap();
    assert!((age_ns(reading.oldest_waiting_ns) - 5 * HOUR_NS).abs() < HOUR_NS / 60);
    // The newest of what waits and what was received, which was a moment ago.
    assert!(age_ns(view.newest_data_ns) < HOUR_NS / 60 && view.silent.is_none());
    assert!(reading.total_bytes > Some(0) && reading.free_bytes <= reading.total_bytes && reading.uptime_s.is_some());
    assert_eq!(reading.agent.as_deref(), Some(env!("CARGO_PKG_VERSION")));
    let Some(KeptUntil::Time { first_ns, last_ns }) = view.kept else { panic!("{:?}", view.kept) };
    assert!(first_ns == last_ns && (first_ns - report.at_ns - 2 * HOUR_NS).abs() < HOUR_NS / 60);
    assert_eq!(report.storage.state, StorageState::Ready);
    assert!(report.storage.total_bytes > Some(0) && report.hold.is_none());

    // Kept: one reading for each device, and the storage's.
    let report = scene.inspect(true);
    drop(lock);
    let readings = scene.readings();
    assert_eq!(readings.len(), before + 1);
    assert_eq!(readings.last(), Some(&("pi".to_owned(), report.devices[0].reading.clone().unwrap())));
    let storage = scene.catalog().history().unwrap().storage_readings(&crate::period::Period::default()).unwrap();
    assert_eq!(storage.last().map(|reading| reading.at_ns), Some(report.at_ns));

    // A hold keeps what is received, and is said; it needs nobody.
    hold::place(&scene.config.state_dir, "alice", Some("moving"), None).unwrap();
    let report = scene.inspect(false);
    assert_eq!(report.devices[0].kept, Some(KeptUntil::Hold));
    assert_eq!(kinds(&report.concerns), [(Severity::Note, Kind::Hold)]);
    assert!(report.concerns[0].text.ends_with(" by alice: moving"), "{}", report.concerns[0].text);
    assert_eq!(report.hold.and_then(|hold| hold.by).as_deref(), Some("alice"));

    // Neither here nor there was anything done: the next visit does it.
    hold::release(&scene.config.state_dir).unwrap();
    let counts = scene.sync().counts;
    assert_eq!((counts.received, counts.removed), (2, 0));
}

#[test]
fn each_trouble_is_told_apart_and_one_keeps_no_other() {
    let scene = Scene::new(&["offline", "sick", "hung", "stranger", "fine"], "{ after: 0s }");
    scene.write("fine/a", "a", 1);
    let report = scene.inspect(true);
    let names: Vec<_> = report.devices.iter().map(|view| view.device.as_str()).collect();
    assert_eq!(names, ["offline", "sick", "hung", "stranger", "fine"]);
    let [offline, sick, hung, stranger, fine] = &report.devices[..] else { panic!() };
    let hint = Some("look at the tunnel".to_owned());
    assert_eq!(offline.state, State::Offline { reason: "no tunnel".into(), hint: hint.clone() });
    assert_eq!(kinds(&offline.concerns), [(Severity::Note, Kind::Offline)]);
    assert_eq!((&offline.reading, offline.last_answer_ns), (&None, None));
    assert_eq!(stranger.state, State::Failed { class: Class::HostKey, reason: "no tunnel".into(), hint });
    assert_eq!(stranger.severity(), Some(Severity::Critical));
    // It said how it is before it fell silent.
    let State::Failed { class: Class::Transient, reason, hint } = &hung.state else { panic!("{:?}", hung.state) };
    assert_eq!(reason, "the device said nothing for 60 s");
    assert!(hint.as_ref().is_some_and(|hint| hint.contains("pipeline check")), "{hint:?}");
    let reading = hung.reading.as_ref().unwrap();
    assert_eq!((reading.total_bytes, reading.data_bytes), (Some(32 * GIB), None));
    use Severity::{Critical, Note, Warning};
    let expected = [
        (Critical, Kind::CardFull),
        (Critical, Kind::ReadOnly),
        (Warning, Kind::Unreadable),
        (Warning, Kind::InodesFull),
        (Warning, Kind::Clock),
        (Warning, Kind::UnderVoltage),
        (Note, Kind::NotSynced),
        (Note, Kind::Throttled),
    ];
    assert_eq!(kinds(&sick.concerns), expected);
    assert_eq!(sick.concerns[0].text, "card 99 % full");
    assert_eq!(sick.concerns[2].text, "raw can't be read: permission denied");
    assert_eq!(sick.concerns[4].text, "its clock is 3 d behind");
    assert_eq!(fine.state, State::Ready);
    assert_eq!(fine.reading.as_ref().unwrap().waiting_files, Some(1));
    assert!(report.needs_a_person());
    // Of those that answered there is a reading.
    let noted: Vec<String> = scene.readings().into_iter().map(|(device, _)| device).collect();
    assert_eq!(noted, ["fine", "hung", "sick"]);

    // In JSON: moments as text, spans in seconds, what is not known as null.
    let json = serde_json::to_value(&report).unwrap();
    assert!(json["at"].as_str().unwrap().ends_with('Z') && json["elapsed_ms"].is_u64());
    let (offline, sick) = (&json["devices"][0], &json["devices"][1]);
    assert_eq!((&offline["state"], &offline["reason"]), (&"offline".into(), &"no tunnel".into()));
    assert!(offline["full_in_s"].is_null() && offline["last_answer"].is_null());
    assert_eq!(sick["concerns"][0]["severity"], "critical");
    assert_eq!(sick["reading"]["free_bytes"], GIB / 4);
    assert!(sick["reading"]["at"].as_str().is_some_and(|at| at.ends_with('Z')));
    assert_eq!(json["storage"]["state"], "ready");
}

#[test]
fn a_device_that_is_away_is_told_of_as_it_was_and_as_it_will_be() {
    let scene = Scene::new(&["offline"], "{ after: 0s }");
    let now = now_ns();
    // Two days away. Until then 2 GiB a day were recorded and received; 5 GiB were free.
    let at_ns = now - 2 * DAY_NS;
    let reading = Reading {
        at_ns,
        total_bytes: Some(32 * GIB),
        free_bytes: Some(5 * GIB),
        waiting_bytes: Some(0),
        temperature_mdeg: Some(50_000),
        ..Reading::default()
    };
    scene.note("offline", &reading);
    let day = at_ns.div_euclid(DAY_NS);
    let part_ns = u64::try_from(at_ns - day * DAY_NS).unwrap();
    for (day, bytes) in
        (day - 20..=day).map(|d| (d, if d < day { 2 * GIB } else { 2 * GIB * (part_ns >> 20) / (DAY_NS as u64 >> 20) }))
    {
        scene.sql(&format!(
            "INSERT INTO day (source, day, reached, added_bytes, first_ns, last_ns) SELECT id, {day}, 1, {bytes}, {0}, {0} FROM source",
            day * DAY_NS
        ));
    }
    scene.sql(&format!("UPDATE source SET visited_ns = {at_ns}, succeeded_ns = {at_ns}, newest_ns = {at_ns}, total_bytes = 1, free_bytes = 1"));
    let report = scene.inspect(false);
    let view = &report.devices[0];
    assert_eq!(
        (view.reading.as_ref(), view.last_answer_ns, view.last_success_ns),
        (Some(&reading), Some(at_ns), Some(at_ns))
    );
    let recorded = view.recorded_bytes_per_day.unwrap();
    assert!(recorded.abs_diff(2 * GIB) < GIB / 1000, "{recorded}");
    // 1 GiB is left by now: half a day.
    let hours = view.full_in.unwrap().as_secs_f64() / 3600.0;
    assert!((hours - 12.0).abs() < 0.2, "{hours}");
    assert_eq!(view.silent.map(|silent| silent.as_secs() / 3600), Some(48));
    assert_eq!(kinds(&view.concerns), [(Severity::Warning, Kind::Offline), (Severity::Warning, Kind::FullSoon)]);
    assert_eq!(view.concerns[0].text, "offline for 2 d: no tunnel");
    assert!(
        view.concerns[1].text.starts_with("by what it records, the card is full in 1"),
        "{}",
        view.concerns[1].text
    );
    // A visit that was later, and wrote less down, counts for what it says.
    let visited_ns = at_ns + DAY_NS;
    scene.sql(&format!(
        "UPDATE source SET visited_ns = {visited_ns}, total_bytes = {}, free_bytes = {}",
        32 * GIB,
        20 * GIB
    ));
    let view = &scene.inspect(false).devices[0];
    let reading = view.reading.as_ref().unwrap();
    assert_eq!((reading.at_ns, reading.free_bytes, reading.temperature_mdeg), (visited_ns, Some(20 * GIB), None));
    // The last day of its two weeks brought nothing: less than 2 GiB a day, and of the 20 more than 18 are left by now.
    assert_eq!(view.full_in.map(|full_in| (full_in.as_secs() + 43_200) / 86_400), Some(10));
}

#[test]
fn what_a_clock_that_was_ahead_wrote_down_hides_nothing() {
    let scene = Scene::new(&["offline"], "{ after: 0s }");
    let now = now_ns();
    let (then, ahead) = (now - 3 * DAY_NS, now + 30 * DAY_NS);
    for (at_ns, free) in [(then, 5 * GIB), (ahead, 31 * GIB)] {
        let (total_bytes, free_bytes) = (Some(32 * GIB), Some(free));
        scene.note("offline", &Reading { at_ns, total_bytes, free_bytes, ..Reading::default() });
        let day = at_ns.div_euclid(DAY_NS);
        scene.sql(&format!(
            "INSERT INTO day (source, day, reached, added_bytes, first_ns, last_ns) SELECT id, {day}, 1, 5, {at_ns}, {at_ns} FROM source"
        ));
    }
    let visited = format!("UPDATE source SET visited_ns = {ahead}, succeeded_ns = {ahead}, newest_ns = {ahead}");
    scene.sql(&format!("{visited}, total_bytes = {}, free_bytes = {}", 32 * GIB, 31 * GIB));
    scene.catalog().note_storage(&history::StorageReading { at_ns: ahead, ..Default::default() }).unwrap();
    let view = &scene.inspect(false).devices[0];
    assert_eq!((view.last_answer_ns, view.last_success_ns), (Some(then), None));
    assert_eq!(view.reading.as_ref().map(|reading| (reading.at_ns, reading.free_bytes)), Some((then, Some(5 * GIB))));
    // Of the last day that brought something the end counts: later than that it can't have been.
    assert_eq!(view.newest_data_ns, Some((then.div_euclid(DAY_NS) + 1) * DAY_NS));
    assert!(view.silent.is_some());
    assert_eq!(kinds(&view.concerns), [(Severity::Warning, Kind::Offline)]);
    assert_eq!(view.concerns[0].text, "offline for 3 d: no tunnel");
}

#[test]
fn the_storage_has_its_line() {
    let scene = Scene::new(&["pi"], "{ after: 0s }");
    let report = scene.inspect(true);
    assert!(report.storage.concerns.iter().all(|concern| concern.kind == Kind::StorageFull));
    // It is full in so many days as its readings say.
    let (total, free) = (report.storage.total_bytes.unwrap(), report.storage.free_bytes.unwrap());
    let room = |days: i64, free: u64| crate::catalog::history::StorageReading {
        at_ns: report.at_ns - days * DAY_NS,
        total_bytes: total,
        free_bytes: free,
        total_files: 0,
        free_files: 0,
    };
    // A tenth of what is free was taken each day.
    for days in 1..=4 {
        scene.catalog().note_storage(&room(days, free + free / 10 * days.unsigned_abs())).unwrap();
    }
    let storage = scene.inspect(false).storage;
    let days = storage.full_in.unwrap().as_secs_f64() / 86_400.0;
    assert!((days - 10.0).abs() < 0.5, "{days}");
    assert_eq!(storage.concerns[0].kind, Kind::StorageFull);
    assert!(storage.concerns[0].text.contains(" % full, full in "), "{}", storage.concerns[0].text);
    // Without its marker it is not ours, and the devices are seen all the same.
    let marker = fs::read_dir(scene.config.storage.join(".pipeline")).unwrap();
    marker.for_each(|entry| drop(fs::remove_file(entry.unwrap().path())));
    let report = scene.inspect(true);
    assert_eq!(kinds(&report.storage.concerns), [(Severity::Critical, Kind::StorageUnusable)]);
    assert!(matches!(&report.storage.state, StorageState::Unusable { hint: Some(_), .. }));
    assert_eq!((report.storage.total_bytes, &report.devices[0].state), (None, &State::Ready));
    assert!(report.needs_a_person());
}

#[test]
fn who_may_only_read_the_catalog_is_told_so_and_needs_nobody() {
    let scene = Scene::new(&["pi"], "{ after: 0s }");
    let file = scene.config.state_dir.join("catalog.db");
    let failed = |flags, sql| {
        let conn = rusqlite::Connection::open_with_flags(&file, flags).unwrap();
        let source = conn.execute_batch(sql).unwrap_err();
        not_kept(&CatalogError::Sqlite { file: file.clone(), doing: "noting a reading", source })
    };
    let (read, write) = (rusqlite::OpenFlags::SQLITE_OPEN_READ_ONLY, rusqlite::OpenFlags::default());
    let note = failed(read, "UPDATE source SET newest_ns = 1");
    assert_eq!((note.severity, note.kind), (Severity::Note, Kind::Catalog));
    assert_eq!(note.text, "this look was not kept: the catalog can only be read from here");
    let other = failed(write, "UPDATE nowhere SET newest_ns = 1");
    assert_eq!(other.severity, Severity::Warning, "{}", other.text);
    assert!(other.text.contains("no such table"), "{}", other.text);
}

#[test]
fn a_look_bears_less_silence_than_a_visit_and_never_more() {
    let timeouts = |connect, idle| Timeouts { connect: Duration::from_secs(connect), idle: Duration::from_secs(idle) };
    assert_eq!(patience(timeouts(15, 60)), timeouts(8, 8));
    assert_eq!(patience(timeouts(3, 5)), timeouts(3, 5));
}

#[test]
fn a_wish_to_stop_leaves_the_rest() {
    let scene = Scene::new(&["pi", "offline"], "{ after: 0s }");
    let cancel = Cancel::new();
    cancel.set();
    let options = Options { jobs: 1, record: true };
    let report = inspect(&scene.config, &scene.devices, &Fleet, options, &(), &cancel).unwrap();
    assert!(report.devices.iter().all(|view| view.state == State::Stopped && view.concerns.is_empty()));
    assert!(scene.readings().is_empty());
    // And without a catalog there is nothing to compare with.
    fs::remove_dir_all(&scene.config.state_dir).unwrap();
    let error = inspect(&scene.config, &scene.devices, &Fleet, options, &(), &Cancel::new()).unwrap_err();
    assert_eq!(error.class(), Class::Config);
    assert!(error.hint().unwrap().contains("pipeline init"));
}
