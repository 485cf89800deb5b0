//! Two devices, a storage, and what their users know of them.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::{Read, Write};
use std::os::unix::fs::{FileExt as _, MetadataExt as _};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use pipeline_core::cancel::Cancel;
use pipeline_core::config::{Config, Surroundings};
use pipeline_core::digest::Digest;
use pipeline_core::event::{Event, Observer, Outcome, PlannedAction};
use pipeline_core::fleet::Device;
use pipeline_core::path::DeviceName;
use pipeline_core::remote::agent::AgentRemote;

use pipeline_core::remote::{Connect, ConnectError, Intent, LONGEST_VISIT, Link, Options, Remote};
use pipeline_core::run::{self, Setup};
use proptest::prelude::*;

use super::catalog::{Row, rows};
use super::{Change, Disturbance, Kind};

pub const NAMES: [&str; 6] = ["a", "b.csv", "day 1/x.jpg", "day 1/y.jpg", "-n", "deep/er/z.db"];
/// The user wants only the newest content of this one.
const REPLACED: &str = "deep/er/z.db";
const DEVICES: [&str; 2] = ["pi", "pj"];

type Name = (usize, &'static str);

/// The users' view.
#[derive(Default)]
struct Model {
    /// What was last written under each name.
    live: BTreeMap<Name, Vec<u8>>,
    /// What all devices ever held.
    ever: BTreeSet<Digest>,
    /// Left its device: the archive owes it. Name, digest and size.
    owed: BTreeSet<(Name, Digest, usize)>,
    /// The catalog was lost: where earlier contents are, their own names tell.
    lost: bool,
}

pub struct World {
    dir: tempfile::TempDir,
    storage: PathBuf,
    config: Config,
    devices: Vec<Device>,
    model: Mutex<Model>,
}

fn content(seed: u8, bytes: usize) -> Vec<u8> {
    let mut x = u64::from(seed) + 1;
    (0..bytes)
        .map(|_| {
            x = x.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (x >> 56) as u8 & if seed.is_multiple_of(2) { 0x0f } else { 0xff }
        })
        .collect()
}

/// Waits until the file system gives a change a new ctime: older kernels have a clock tick of some milliseconds.
fn next_tick(dir: &Path) {
    let probe = dir.join("tick");
    fs::write(&probe, b"").unwrap();
    let stamp = || fs::metadata(&probe).map(|m| (m.ctime(), m.ctime_nsec())).unwrap();
    let (first, began) = (stamp(), Instant::now());
    while stamp() == first && began.elapsed() < Duration::from_secs(2) {
        fs::write(&probe, b"x").unwrap();
    }
}

fn surroundings(home: &Path) -> Surroundings {
    Surroundings { home: home.into(), user: "pi".into(), uid: 1000, xdg_state_home: None, env: BTreeMap::new() }
}

impl World {
    pub fn new() -> World {
        // Hundreds of runs, each with its syncs: where there is a disk in memory, that is the place.
        let memory = Path::new("/dev/shm");
        let dir = if memory.is_dir() { tempfile::tempdir_in(memory) } else { tempfile::tempdir() }.unwrap();
        let root = dir.path();
        let storage = root.join("storage");
        fs::create_dir(&storage).unwrap();
        DEVICES.iter().for_each(|device| fs::create_dir_all(root.join(device).join("data")).unwrap());
        // The layout of the rsync loop, in which devices meet.
        let yaml = format!(
            "hosts: [pi, pj]\nsource: {root}/pi/data\nstorage: {root}/storage\nstate_dir: {root}/state\nsettle: 0s\n\
             read_back: always\nlayout: \"{{source_name}}/{{path}}\"\nversions: {{ replace: [\"*.db\"] }}\n\
             devices: {{ pj: {{ source: {root}/pj/data }} }}\n",
            root = root.display()
        );
        let config = Config::parse(&yaml, Path::new("pipeline.yaml"), &surroundings(root)).unwrap();
        run::init(&config).unwrap();
        let device = |name: &&str| {
            let name = DeviceName::new(*name).unwrap();
            Device { settings: config.device(&name), name }
        };
        World { storage, devices: DEVICES.iter().map(device).collect(), config, model: Mutex::default(), dir }
    }

    fn path(&self, (device, name): Name) -> PathBuf {
        self.devices[device].settings.source.join(name)
    }

    /// Does what a user does, on disk and in the model.
    pub fn apply(&self, change: &Change) {
        next_tick(self.dir.path());
        let mut model = self.model.lock().unwrap();
        let at = (change.device, NAMES[change.name]);
        let path = self.path(at);
        let write = |model: &mut Model, bytes: Vec<u8>| {
            let new = self.dir.path().join("new");
            fs::write(&new, &bytes).unwrap();
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            self.leave(model, at);
            fs::rename(&new, &path).unwrap();
            model.holds(at, bytes);
        };
        match change.kind {
            Kind::Write { seed, bytes } => write(&mut model, content(seed, bytes)),
            Kind::Copy { seed } => write(&mut model, content(seed, 70_000)),
            Kind::Append { seed, bytes } => {
                fs::create_dir_all(path.parent().unwrap()).unwrap();
                self.leave(&mut model, at);
                let mut file = fs::OpenOptions::new().append(true).create(true).open(&path).unwrap();
                file.write_all(&content(seed, bytes)).unwrap();
                drop(file);
                model.holds(at, fs::read(&path).unwrap());
            }
            Kind::Rewrite { seed } => {
                self.in_place(&mut model, at, |file| {
                    let metadata = file.metadata().unwrap();
                    file.write_all_at(&content(seed, usize::try_from(metadata.len()).unwrap()), 0).unwrap();
                    file.set_modified(metadata.modified().unwrap()).unwrap();
                });
            }
            Kind::Edit { seed, at: place } => self.in_place(&mut model, at, |file| {
                let bytes = usize::try_from(file.metadata().unwrap().len()).unwrap();
                if bytes > 16 {
                    file.write_all_at(&content(seed, 16), (place % (bytes - 16)) as u64).unwrap();
                }
            }),
            Kind::Truncate => self.in_place(&mut model, at, |file| {
                file.set_len(file.metadata().unwrap().len() / 2).unwrap();
            }),
            Kind::Rename { to } => {
                let to = (change.device, NAMES[to]);
                if to == at || !path.exists() {
                    return;
                }
                fs::create_dir_all(self.path(to).parent().unwrap()).unwrap();
                self.leave(&mut model, to);
                let moved = fs::read(&path).unwrap();
                if fs::rename(&path, self.path(to)).is_ok() {
                    model.live.remove(&at);
                    model.holds(to, moved);
                }
            }
            Kind::Delete => {
                self.leave(&mut model, at);
                fs::remove_file(&path).ok();
                model.live.remove(&at);
            }
        }
    }

    fn in_place(&self, model: &mut Model, at: Name, change: impl FnOnce(&mut fs::File)) {
        let Ok(mut file) = fs::OpenOptions::new().write(true).open(self.path(at)) else { return };
        change(&mut file);
        drop(file);
        self.leave(model, at);
        // Removed on the device in the same instant, after it was received: then what was written went to a file without a name.
        if let Ok(now) = fs::read(self.path(at)) {
            model.holds(at, now);
        }
    }

    /// The user is about to give a name other content: if the file has left the device by now, the archive owes what it was.
    fn leave(&self, model: &mut Model, at: Name) {
        if let Some(bytes) = model.live.get(&at)
            && !self.path(at).exists()
        {
            let (digest, bytes) = (Digest::of(bytes), bytes.len());
            model.owed.insert((at, digest, bytes));
        }
    }

    pub fn run(&self, delete: bool, disturbance: &Disturbance) -> Vec<Outcome> {
        let connect = Local { breaks_after: disturbance.breaks_after };
        let cancel = Cancel::new();
        let observer = Disturbing { world: self, disturbance, cancel: &cancel, seen: Mutex::new(0) };
        let setup = Setup { config: &self.config, devices: &self.devices, connect: &connect, dry_run: false, delete };
        let report = run::sync(&setup, &observer, &cancel).unwrap();
        report.devices.into_iter().map(|device| device.outcome).collect()
    }

    /// What a run would do with each file of a device, and why.
    pub fn plan(&self, device: usize) -> Vec<(String, PlannedAction, Option<String>)> {
        let connect = Local { breaks_after: None };
        let devices = [self.devices[device].clone()];
        let setup = Setup { config: &self.config, devices: &devices, connect: &connect, dry_run: true, delete: true };
        let planned = Planned::default();
        run::sync(&setup, &planned, &Cancel::new()).unwrap();
        let mut planned = planned.0.into_inner().unwrap();
        planned.sort_by(|a, b| a.0.cmp(&b.0));
        planned
    }

    /// Puts a file into the storage that no catalog knows.
    pub fn store_by_hand(&self, name: usize, seed: u8, bytes: usize) {
        let path = self.storage.join("data").join(NAMES[name]);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, content(seed, bytes)).unwrap();
        self.model.lock().unwrap().ever.insert(Digest::of(&content(seed, bytes)));
    }

    /// Every file of devices and storage, with what tells whether it was touched.
    pub fn snapshot(&self) -> BTreeMap<PathBuf, (i64, i64, u64)> {
        let stamp = |path: PathBuf| {
            let metadata = fs::metadata(&path).unwrap();
            (path, (metadata.ctime(), metadata.ctime_nsec(), metadata.len()))
        };
        let dirs = ["storage", "pi", "pj"].map(|dir| self.dir.path().join(dir));
        dirs.iter().flat_map(|dir| files_below(dir)).map(stamp).collect()
    }

    /// The promise.
    pub fn check(&self) -> Result<(), TestCaseError> {
        let mut model = self.model.lock().unwrap();
        let rows = rows(&self.config.state_dir);
        let model = &mut *model;
        for (&at, bytes) in &model.live {
            match fs::read(self.path(at)) {
                Ok(on_device) => prop_assert!(on_device == *bytes, "{at:?}: the device's copy is not the user's"),
                Err(_) => {
                    model.owed.insert((at, Digest::of(bytes), bytes.len()));
                }
            }
        }
        for row in &rows {
            prop_assert!(row.is_true(&self.storage), "{row:?} is not true");
            prop_assert!(row.kept != "dropped" || row.path == REPLACED.as_bytes(), "{row:?}: given up");
        }
        for &((device, name), digest, bytes) in &model.owed {
            let is_it = |row: &Row| {
                row.device == DEVICES[device] && row.path == name.as_bytes() && row.digest == *digest.as_bytes()
            };
            let found = rows.iter().any(is_it) || model.lost && (name == REPLACED || self.is_stored(&digest, bytes));
            prop_assert!(found, "{name} of {}: lost {digest}", DEVICES[device]);
        }
        for path in files_below(&self.storage.join("data")) {
            let digest = Digest::of(&fs::read(&path).unwrap());
            prop_assert!(model.ever.contains(&digest), "{}: a torn copy stands under a final name", path.display());
        }
        Ok(())
    }

    /// Whether some archived file is this content, or begins with it.
    fn is_stored(&self, digest: &Digest, bytes: usize) -> bool {
        let dirs = ["data", ".pipeline/versions"].map(|dir| self.storage.join(dir));
        let begins = |path: &PathBuf| fs::read(path).unwrap().get(..bytes).is_some_and(|b| Digest::of(b) == *digest);
        dirs.iter().flat_map(|dir| files_below(dir)).any(|path| begins(&path))
    }

    /// The disk with the state directory is gone; the storage is all that there is.
    pub fn lose_catalog(&self) {
        self.check().unwrap();
        fs::remove_dir_all(&self.config.state_dir).unwrap();
        run::init(&self.config).unwrap();
        // What the lost collector had in staging is nobody's.
        fs::remove_dir_all(self.storage.join(".pipeline/staging")).ok();
        self.model.lock().unwrap().lost = true;
    }

    /// Every line of every manifest holds: `sha256sum -c` is content.
    pub fn check_manifests(&self) -> Result<(), TestCaseError> {
        // Of two devices that share a path, one does not know what the other's manifest says.
        if self.model.lock().unwrap().lost {
            return Ok(());
        }
        for manifest in files_below(&self.storage.join("SHA256SUMS")) {
            for line in fs::read_to_string(&manifest).unwrap().lines() {
                let (digest, path) = line.split_once("  ").unwrap();
                let content = fs::read(self.storage.join(path));
                prop_assert!(
                    content.is_ok_and(|c| Digest::of(&c).to_string() == digest),
                    "{}: {line}",
                    manifest.display()
                );
            }
        }
        Ok(())
    }

    /// Nothing stays in staging or on a device.
    pub fn check_nothing_is_left(&self) -> Result<(), TestCaseError> {
        let staged = files_below(&self.storage.join(".pipeline/staging"));
        prop_assert!(staged.is_empty(), "{staged:?}");
        let offered: Vec<_> = self.devices.iter().flat_map(|device| files_below(&device.settings.source)).collect();
        prop_assert!(offered.is_empty(), "{offered:?}");
        Ok(())
    }
}

impl Model {
    fn holds(&mut self, at: Name, bytes: Vec<u8>) {
        self.ever.insert(Digest::of(&bytes));
        self.live.insert(at, bytes);
    }
}

fn files_below(dir: &Path) -> Vec<PathBuf> {
    let entries = walkdir::WalkDir::new(dir).into_iter().filter_map(Result::ok);
    entries.filter(|entry| entry.file_type().is_file()).map(walkdir::DirEntry::into_path).collect()
}

/// Connects to an agent in this process. The link may break after so many bytes.
struct Local {
    breaks_after: Option<usize>,
}

impl Connect for Local {
    fn connect(&self, device: &Device, _: &dyn Observer, _: Intent) -> Result<Box<dyn Remote>, ConnectError> {
        let (ours, mut near) = UnixStream::pair().unwrap();
        let (mut far, theirs) = UnixStream::pair().unwrap();
        let source = device.settings.source.clone();
        std::thread::spawn(move || {
            let output = theirs.try_clone().unwrap();
            // The link breaks on purpose: whatever the agent says of it is fine.
            pipeline_core::agent::serve(theirs, output, &[source]).ok();
        });
        let (mut up_in, mut up_out) = (near.try_clone().unwrap(), far.try_clone().unwrap());
        std::thread::spawn(move || {
            std::io::copy(&mut up_in, &mut up_out).ok();
            up_out.shutdown(std::net::Shutdown::Both).ok();
        });
        let mut left = self.breaks_after.unwrap_or(usize::MAX);
        std::thread::spawn(move || {
            let mut buffer = vec![0; 16 * 1024];
            while left > 0 {
                let most = buffer.len().min(left);
                match far.read(&mut buffer[..most]) {
                    Ok(n) if n > 0 && near.write_all(&buffer[..n]).is_ok() => left -= n,
                    _ => break,
                }
            }
            far.shutdown(std::net::Shutdown::Both).ok();
            near.shutdown(std::net::Shutdown::Both).ok();
        });
        let link = Link { stream: ours, errors: Arc::default(), guard: Box::new(()) };
        let options = Options {
            idle: Duration::from_secs(20),
            bandwidth: None,
            until: Instant::now() + LONGEST_VISIT,
            cancel: Cancel::new(),
        };
        match AgentRemote::open(link, &device.settings.source, options) {
            Ok(remote) => Ok(Box::new(remote)),
            Err(error) => Err(Box::new(error)),
        }
    }

    fn shared_connection_broke(&self, _: &Device, _: Instant) -> bool {
        false
    }
}

/// Collects what a dry run says.
#[derive(Default)]
struct Planned(Mutex<Vec<(String, PlannedAction, Option<String>)>>);

impl Observer for Planned {
    fn event(&self, event: &Event) {
        if let Event::FilePlanned { path, action, reason, .. } = event {
            self.0.lock().unwrap().push((path.to_string(), *action, reason.clone()));
        }
    }
}

/// Changes a file, or stops the run, at the n-th event.
struct Disturbing<'a> {
    world: &'a World,
    disturbance: &'a Disturbance,
    cancel: &'a Cancel,
    seen: Mutex<usize>,
}

impl Observer for Disturbing<'_> {
    fn event(&self, _: &Event) {
        let mut seen = self.seen.lock().unwrap();
        *seen += 1;
        if let Some((at, change)) = &self.disturbance.meanwhile
            && *seen == at + 1
        {
            self.world.apply(change);
        }
        if self.disturbance.stops_at == Some(*seen) {
            self.cancel.set();
        }
    }
}
