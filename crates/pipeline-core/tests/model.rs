//! The promise as one property, on the real engine and the real agent, joined by a socket instead of SSH.
//!
//! A user writes, appends, renames and deletes files; runs are made, some break off at a random byte, and while they work the user
//! goes on. After every step: what the user last wrote is on the device or in the archive, byte for byte; what left the device
//! stays in the archive for ever; and no archive path ever holds a torn copy.

#![allow(clippy::unwrap_used, missing_docs)]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::{Read, Write};
use std::os::unix::fs::MetadataExt as _;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use pipeline_core::cancel::Cancel;
use pipeline_core::config::{Config, Surroundings};
use pipeline_core::event::{Event, Observer, Outcome};
use pipeline_core::fleet::Device;
use pipeline_core::path::DeviceName;
use pipeline_core::remote::agent::{AgentRemote, Link, Options};
use pipeline_core::remote::{Connect, ConnectError, Intent, LONGEST_VISIT, Remote};
use pipeline_core::run::{self, Setup};
use proptest::prelude::*;

const NAMES: [&str; 6] = ["a", "b.csv", "day 1/x.jpg", "day 1/y.jpg", "-n", "deep/er/z"];

#[derive(Clone, Debug)]
enum Change {
    Write {
        name: usize,
        seed: u8,
        bytes: usize,
    },
    Append {
        name: usize,
        seed: u8,
        bytes: usize,
    },
    /// In place, same size, mtime put back: only ctime tells.
    Rewrite {
        name: usize,
        seed: u8,
    },
    RenameOver {
        from: usize,
        to: usize,
    },
    Delete {
        name: usize,
    },
}

#[derive(Clone, Debug)]
enum Step {
    Change(Change),
    Run { delete: bool, breaks_after: Option<usize>, meanwhile: Option<(usize, Change)> },
}

fn change() -> impl Strategy<Value = Change> {
    let name = 0..NAMES.len();
    let bytes = prop_oneof![Just(0usize), 1usize..2000, 250_000usize..700_000];
    prop_oneof![
        4 => (name.clone(), any::<u8>(), bytes.clone()).prop_map(|(name, seed, bytes)| Change::Write { name, seed, bytes }),
        2 => (name.clone(), any::<u8>(), bytes).prop_map(|(name, seed, bytes)| Change::Append { name, seed, bytes }),
        2 => (name.clone(), any::<u8>()).prop_map(|(name, seed)| Change::Rewrite { name, seed }),
        1 => (name.clone(), name.clone()).prop_map(|(from, to)| Change::RenameOver { from, to }),
        1 => name.prop_map(|name| Change::Delete { name }),
    ]
}

fn step() -> impl Strategy<Value = Step> {
    let breaks = prop_oneof![3 => Just(None), 2 => (0usize..400_000).prop_map(Some)];
    let run = (any::<bool>(), breaks, prop::option::of((0usize..12, change())));
    prop_oneof![
        3 => change().prop_map(Step::Change),
        2 => run.prop_map(|(delete, breaks_after, meanwhile)| Step::Run { delete, breaks_after, meanwhile }),
    ]
}

/// The user's view: what was last written under each name, and what every name ever held.
#[derive(Default)]
struct Model {
    live: BTreeMap<&'static str, Vec<u8>>,
    ever: BTreeMap<&'static str, BTreeSet<Vec<u8>>>,
    /// Left the device: the archive owes these.
    owed: BTreeMap<&'static str, Vec<u8>>,
}

struct World {
    _dir: tempfile::TempDir,
    source: PathBuf,
    storage: PathBuf,
    config: Config,
    device: Device,
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
    fn new() -> World {
        // Hundreds of runs, each with its syncs: where there is a disk in memory, that is the place.
        let memory = Path::new("/dev/shm");
        let dir = if memory.is_dir() { tempfile::tempdir_in(memory) } else { tempfile::tempdir() }.unwrap();
        let (source, storage, state) = (dir.path().join("pi"), dir.path().join("storage"), dir.path().join("state"));
        fs::create_dir(&source).unwrap();
        fs::create_dir(&storage).unwrap();
        let yaml = format!(
            "hosts: [pi]\nsource: {}\nstorage: {}\nstate_dir: {}\nsettle: 0s\nread_back: always\n",
            source.display(),
            storage.display(),
            state.display()
        );
        let config = Config::parse(&yaml, Path::new("pipeline.yaml"), &surroundings(dir.path())).unwrap();
        run::init(&config).unwrap();
        let name = DeviceName::new("pi").unwrap();
        let device = Device { settings: config.device(&name), name };
        World { source, storage, config, device, model: Mutex::default(), _dir: dir }
    }

    /// Does what a user does, on disk and in the model.
    fn apply(&self, change: &Change) {
        next_tick(self._dir.path());
        let mut model = self.model.lock().unwrap();
        let path = |name: usize| self.source.join(NAMES[name]);
        let held = |model: &mut Model, name: usize, bytes: Vec<u8>| {
            model.ever.entry(NAMES[name]).or_default().insert(bytes.clone());
            model.live.insert(NAMES[name], bytes);
        };
        match *change {
            Change::Write { name, seed, bytes } => {
                // As a careful program does: complete before it has its name.
                let new = self._dir.path().join("new");
                fs::write(&new, content(seed, bytes)).unwrap();
                fs::create_dir_all(path(name).parent().unwrap()).unwrap();
                self.leave(&mut model, name);
                fs::rename(&new, path(name)).unwrap();
                held(&mut model, name, content(seed, bytes));
            }
            Change::Append { name, seed, bytes } => {
                fs::create_dir_all(path(name).parent().unwrap()).unwrap();
                self.leave(&mut model, name);
                let mut file = fs::OpenOptions::new().append(true).create(true).open(path(name)).unwrap();
                file.write_all(&content(seed, bytes)).unwrap();
                drop(file);
                let now = fs::read(path(name)).unwrap();
                held(&mut model, name, now);
            }
            Change::Rewrite { name, seed } => {
                let Ok(mut file) = fs::OpenOptions::new().write(true).open(path(name)) else { return };
                let metadata = file.metadata().unwrap();
                let new = content(seed, usize::try_from(metadata.len()).unwrap());
                file.write_all(&new).unwrap();
                file.set_modified(metadata.modified().unwrap()).unwrap();
                drop(file);
                self.leave(&mut model, name);
                held(&mut model, name, new);
            }
            Change::RenameOver { from, to } => {
                if from == to || !path(from).exists() {
                    return;
                }
                fs::create_dir_all(path(to).parent().unwrap()).unwrap();
                self.leave(&mut model, to);
                let moved = fs::read(path(from)).unwrap();
                if fs::rename(path(from), path(to)).is_ok() {
                    model.live.remove(NAMES[from]);
                    held(&mut model, to, moved);
                }
            }
            Change::Delete { name } => {
                self.leave(&mut model, name);
                fs::remove_file(path(name)).ok();
                model.live.remove(NAMES[name]);
            }
        }
    }

    /// The user is about to give a name other content: if the file has left the device by now, the archive owes what it was.
    fn leave(&self, model: &mut Model, name: usize) {
        if let Some(bytes) = model.live.get(NAMES[name])
            && !self.source.join(NAMES[name]).exists()
        {
            model.owed.insert(NAMES[name], bytes.clone());
        }
    }

    fn run(&self, delete: bool, breaks_after: Option<usize>, meanwhile: Option<&(usize, Change)>) -> Outcome {
        let connect = Local { source: self.source.clone(), breaks_after };
        let observer = Meanwhile { world: self, at: meanwhile.cloned(), seen: Mutex::new(0) };
        let devices = [self.device.clone()];
        let setup = Setup { config: &self.config, devices: &devices, connect: &connect, dry_run: false, delete };
        let report = run::sync(&setup, &observer, &Cancel::new()).unwrap();
        report.devices[0].outcome.clone()
    }

    /// The promise.
    fn check(&self) -> Result<(), TestCaseError> {
        let model = self.model.lock().unwrap();
        let archived = |name: &str| fs::read(self.storage.join("pi").join(name)).ok();
        for (name, bytes) in &model.live {
            match fs::read(self.source.join(name)) {
                Ok(on_device) => prop_assert!(on_device == *bytes, "{name}: the device's copy is not the user's"),
                Err(_) => prop_assert!(archived(name).as_ref() == Some(bytes), "{name}: lost"),
            }
        }
        for (name, bytes) in &model.owed {
            prop_assert!(archived(name).as_ref() == Some(bytes), "{name}: the archive gave up what it had");
        }
        for name in NAMES {
            if let Some(bytes) = archived(name) {
                let whole = model.ever.get(name).is_some_and(|ever| ever.contains(&bytes));
                prop_assert!(whole, "{name}: a torn copy of {} bytes stands under the final name", bytes.len());
            }
        }
        Ok(())
    }
}

/// Connects to an agent in this process. The link may break after so many bytes.
struct Local {
    source: PathBuf,
    breaks_after: Option<usize>,
}

impl Connect for Local {
    fn connect(&self, device: &Device, _: &dyn Observer, _: Intent) -> Result<Box<dyn Remote>, ConnectError> {
        let (ours, mut near) = UnixStream::pair().unwrap();
        let (mut far, theirs) = UnixStream::pair().unwrap();
        let source = self.source.clone();
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

/// Changes a file on the device at the n-th event of a run.
struct Meanwhile<'a> {
    world: &'a World,
    at: Option<(usize, Change)>,
    seen: Mutex<usize>,
}

impl Observer for Meanwhile<'_> {
    fn event(&self, _: &Event) {
        let mut seen = self.seen.lock().unwrap();
        *seen += 1;
        if let Some((at, change)) = &self.at
            && *seen == at + 1
        {
            self.world.apply(change);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 120, max_shrink_iters: 200, ..ProptestConfig::default() })]

    #[test]
    fn every_byte_ever_offered_is_on_the_device_or_in_the_archive(steps in prop::collection::vec(step(), 1..25)) {
        let world = World::new();
        for step in &steps {
            match step {
                Step::Change(change) => world.apply(change),
                Step::Run { delete, breaks_after, meanwhile } => {
                    world.run(*delete, *breaks_after, meanwhile.as_ref());
                }
            }
            world.check()?;
        }
        // Whatever happened before: one undisturbed run comes to its end.
        prop_assert_eq!(world.run(true, None, None), Outcome::Done);
        world.check()?;
    }
}
