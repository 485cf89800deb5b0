//! What the SSH tests share: connectors to a fleet on loopback, and their own ssh configs.

#![allow(dead_code)] // each test file uses its part

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use local_fleet::{Fleet, Machine};
use pipeline_core::cancel::Cancel;
use pipeline_core::config::{AgentMode, DeletePolicy, DeviceSettings, Surroundings, Timeouts, VersionPolicy};
use pipeline_core::event::{Event, Observer};
use pipeline_core::fleet::Device;
use pipeline_core::path::DeviceName;
use pipeline_core::ssh::host_key::HostKeys;
use pipeline_core::ssh::mux::{ErrorTail, MIN_WINDOW, Mux, Options as MuxOptions};
use pipeline_core::ssh::patience::Patience;
use pipeline_core::ssh::session::Transport;
use pipeline_core::ssh::{Connector, Options, auth};
use pipeline_core::ssh_config::{HostParams, SshConfig};

/// Long enough for a busy computer, short enough to fail.
pub const LONG: Duration = Duration::from_secs(60);

pub fn patience() -> Patience {
    Patience::new(LONG, &Cancel::new())
}

pub fn name(alias: &str) -> DeviceName {
    DeviceName::new(alias).unwrap()
}

/// Nobody's home: no agent, no default keys.
pub fn surroundings(home: &Path) -> Surroundings {
    Surroundings {
        home: home.into(),
        user: "nobody".into(),
        uid: rustix::process::getuid().as_raw(),
        xdg_state_home: None,
        env: BTreeMap::new(),
    }
}

pub fn options() -> Options {
    Options {
        timeouts: Timeouts { connect: LONG, idle: LONG },
        jobs: 8,
        agent: AgentMode::Auto,
        agent_dirs: Vec::new(),
        cancel: Cancel::new(),
    }
}

/// As the fleet's own ssh config has it.
pub fn connector(fleet: &Fleet, options: Options) -> Connector {
    Connector::new(SshConfig::load(&fleet.ssh_config(), &surroundings(fleet.root())).unwrap(), options)
}

/// With a config of the test's own. `{home}` stands for the fleet's directory.
pub fn connector_with(fleet: &Fleet, config: &str, options: Options) -> Connector {
    Connector::new(ssh_config(fleet, config), options)
}

pub fn ssh_config(fleet: &Fleet, text: &str) -> SshConfig {
    let file = tempfile::NamedTempFile::new_in(fleet.root()).unwrap();
    let root = fleet.root().display().to_string();
    std::fs::write(file.path(), text.replace("{root}", &root)).unwrap();
    SshConfig::load(file.path(), &surroundings(fleet.root())).unwrap()
}

/// The last machine of a route.
pub fn host(config: &SshConfig, alias: &str) -> HostParams {
    config.route(alias).unwrap().pop().unwrap()
}

/// A session with one machine of the fleet, without a connector.
pub fn mux(fleet: &Fleet, machine: &Machine, silence: Duration) -> Mux {
    let stream = TcpStream::connect(("127.0.0.1", machine.port())).unwrap();
    mux_over(fleet, machine.name(), stream, silence)
}

/// The same over a stream that the test made.
pub fn mux_over(fleet: &Fleet, alias: &str, stream: TcpStream, silence: Duration) -> Mux {
    let config = SshConfig::load(&fleet.ssh_config(), &surroundings(fleet.root())).unwrap();
    let host = host(&config, alias);
    let transport = Transport::handshake(stream, &HostKeys::load(&host).unwrap(), &patience()).unwrap();
    auth::authenticate(&transport, &host, &auth::Credentials::Config, &patience()).unwrap();
    Mux::start(transport, MuxOptions { name: "test".into(), window: MIN_WINDOW, silence }).unwrap()
}

/// All that a lane says until its end.
pub fn read_all(mut stream: &UnixStream) -> Vec<u8> {
    stream.set_read_timeout(Some(LONG)).unwrap();
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).unwrap();
    bytes
}

/// Writes everything and ends that direction.
pub fn write_all(mut stream: &UnixStream, bytes: &[u8]) {
    stream.set_write_timeout(Some(LONG)).unwrap();
    stream.write_all(bytes).unwrap();
    stream.shutdown(Shutdown::Write).unwrap();
}

pub fn text(tail: &ErrorTail) -> String {
    String::from_utf8(tail.lock().unwrap().clone()).unwrap()
}

/// The same bytes for the same seed, and hardly any twice.
pub fn noise(seed: u64, length: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut bytes = Vec::with_capacity(length + 8);
    while bytes.len() < length {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend(state.to_le_bytes());
    }
    bytes.truncate(length);
    bytes
}

/// Waits for what must come; the deadline is only there to fail.
pub fn eventually(what: &str, condition: impl Fn() -> bool) {
    let start = Instant::now();
    while !condition() {
        assert!(start.elapsed() < LONG, "{what}: not within {LONG:?}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Remembers every event.
#[derive(Default)]
pub struct Recorder(pub Mutex<Vec<Event>>);

impl Observer for Recorder {
    fn event(&self, event: &Event) {
        self.0.lock().unwrap().push(event.clone());
    }
}

impl Recorder {
    pub fn count(&self, wanted: impl Fn(&Event) -> bool) -> usize {
        self.0.lock().unwrap().iter().filter(|event| wanted(event)).count()
    }
}

/// Makes a key pair as a user would; returns the private file. Its public half is beside it.
pub fn keygen(dir: &Path, name: &str, arguments: &[&str]) -> PathBuf {
    let path = dir.join(name);
    let mut command = std::process::Command::new("ssh-keygen");
    command.args(["-q", "-C", name, "-f"]).arg(&path).args(arguments);
    assert!(command.status().unwrap().success());
    path
}

/// A device with this source and settings that do not matter here.
pub fn device(alias: &str, source: &Path) -> Device {
    let settings = DeviceSettings {
        source: source.into(),
        layout: "{host}/{path}".into(),
        include: Vec::new(),
        exclude: Vec::new(),
        settle: Duration::ZERO,
        delete: DeletePolicy { after: None, high_water: None, low_water: None, max_files: None },
        versions: VersionPolicy::default(),
        alert_after: None,
        bandwidth: None,
    };
    Device { name: name(alias), settings }
}
