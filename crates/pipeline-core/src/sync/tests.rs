//! Visits that are over before their work is done, to a device in this process.

#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use super::*;
use crate::config::{Config, Surroundings};
use crate::event::RunReport;
use crate::remote::agent::AgentRemote;
use crate::remote::{Link, Options};
use crate::run::{self, Setup};

/// A device and a storage.
struct Scene {
    dir: tempfile::TempDir,
    config: Config,
}

impl Scene {
    fn new() -> Scene {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path();
        ["pi", "storage/pi"].iter().for_each(|dir| fs::create_dir_all(root.join(dir)).unwrap());
        let yaml = format!(
            "hosts: [pi]\nsource: {0}/pi\nstorage: {0}/storage\nstate_dir: {0}/state\nsettle: 0s\n",
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

    fn sync(&self, longest: Duration) -> RunReport {
        let name = DeviceName::new("pi").unwrap();
        let devices = [Device { settings: self.config.device(&name), name }];
        let setup =
            Setup { config: &self.config, devices: &devices, connect: &Local(longest), dry_run: false, delete: true };
        run::sync(&setup, &(), &Cancel::new()).unwrap()
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
    let (offered, stored) = (scene.dir.path().join("pi/a"), scene.dir.path().join("storage/pi/a"));
    fs::write(&offered, b"data").unwrap();
    // To read it takes minutes.
    File::create(&stored).unwrap().set_len(1 << 40).unwrap();
    let began = Instant::now();
    let report = scene.sync(Duration::from_secs(1));
    let Outcome::Failed { class: Class::Transient, reason, hint: Some(_) } = &report.devices[0].outcome else {
        panic!("{report:?}")
    };
    assert!(reason.starts_with("the visit took longer than"), "{reason}");
    assert!(began.elapsed() < Duration::from_secs(60), "{:?}", began.elapsed());
    assert!(offered.exists() && stored.exists());

    fs::remove_file(&stored).unwrap();
    let report = scene.sync(Duration::from_secs(600));
    assert_eq!((report.counts.received, report.counts.removed, offered.exists()), (1, 1, false), "{report:?}");
}
