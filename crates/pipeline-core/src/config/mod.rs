//! YAML to settings: the one file that both programs read.
//!
//! Guarantees that what comes out can be used as it is: every value was checked, `~` is expanded, defaults are filled in. What
//! can't be is one error with file, line and column: an unknown key at any depth, a wrong type, an impossible value. Nothing
//! here reads the environment: the caller passes its [`Surroundings`]. Whether the paths and hosts exist is left to others.

mod error;
mod filter;
mod hosts;
mod keys;
mod layout;
mod nearest;
mod section;
mod surroundings;
#[cfg(test)]
mod tests;
mod units;
mod yaml;

use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::path::DeviceName;

pub use error::{ConfigError, Place};
pub use filter::{Filter, FilterError, Globs};
pub use hosts::{HostPattern, HostPatternError, MAX_NAMES};
pub(crate) use nearest::nearest;
pub use surroundings::Surroundings;
pub use units::{duration, rate};

/// Everything the file says, with defaults filled in and `~` expanded.
#[derive(Clone, Debug)]
pub struct Config {
    /// Patterns of OpenSSH aliases: names, `[1-9,12]` ranges, `*`, `!name`.
    pub hosts: Vec<HostPattern>,
    /// Archive root.
    pub storage: PathBuf,
    /// OpenSSH client config that names the devices.
    pub ssh_config: PathBuf,
    /// How many devices at once.
    pub jobs: usize,
    /// Bounds on waiting.
    pub timeouts: Timeouts,
    /// Catalog, lock, agent cache: a directory on local disk.
    pub state_dir: PathBuf,
    /// Whether the agent may be used.
    pub agent: AgentMode,
    /// A directory of agents that counts before all others.
    pub agent_dir: Option<PathBuf>,
    /// When stored bytes are read back past the page cache before a receipt.
    pub read_back: ReadBack,
    /// Prometheus textfile to write after each run.
    pub metrics: Option<PathBuf>,
    /// URL of a dead-man's switch, to call at the beginning and end of each run.
    pub ping: Option<String>,
    /// A command that is told how a run ended.
    pub notify: Option<Notify>,
    /// What holds for a device unless overridden.
    pub defaults: DeviceSettings,
    /// Overrides by host pattern, in the order of the file; later ones win.
    pub devices: Vec<(HostPattern, Overrides)>,
    /// For `keytool`.
    pub onboarding: Onboarding,
}

/// Settings that may differ from device to device.
#[derive(Clone, Debug, PartialEq)]
pub struct DeviceSettings {
    /// Directory on the device.
    pub source: PathBuf,
    /// Where a file goes below the storage: `{host}`, `{path}`, `{source_name}`.
    pub layout: String,
    /// Globs on the path below the source; empty: everything.
    pub include: Vec<String>,
    /// Globs that leave files out; they win over `include`.
    pub exclude: Vec<String>,
    /// How long a file must have been left alone before it is taken.
    pub settle: Duration,
    /// When a received file leaves the device.
    pub delete: DeletePolicy,
    /// What becomes of archived content that another takes the place of.
    pub versions: VersionPolicy,
    /// Bytes per second for the device; none: as fast as the link.
    pub bandwidth: Option<u64>,
    /// A device that is away, brings nothing new or does not get its work done for longer needs a person; none: never.
    pub alert_after: Option<Duration>,
}

/// What becomes of archived content when its file on the device has other content now. A file that has grown is not concerned:
/// its longer self holds all that was archived.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct VersionPolicy {
    /// Globs on the path below the source, for [`Globs`]: of these files only the newest content is kept.
    pub replace: Vec<String>,
}

/// When received files leave the device.
#[derive(Clone, Debug, PartialEq)]
pub struct DeletePolicy {
    /// Keep a received file this long; none: for ever.
    pub after: Option<Duration>,
    /// Percent of the card in use above which the oldest received files go early.
    pub high_water: Option<u8>,
    /// Percent of the card in use at which that stops.
    pub low_water: Option<u8>,
    /// More removals than this in one run: nothing is removed.
    pub max_files: Option<u64>,
}

/// One entry of `devices`: only what differs.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Overrides {
    /// See [`DeviceSettings::source`].
    pub source: Option<PathBuf>,
    /// See [`DeviceSettings::layout`].
    pub layout: Option<String>,
    /// See [`DeviceSettings::include`].
    pub include: Option<Vec<String>>,
    /// See [`DeviceSettings::exclude`].
    pub exclude: Option<Vec<String>>,
    /// See [`DeviceSettings::settle`].
    pub settle: Option<Duration>,
    /// See [`DeviceSettings::delete`]; merged key by key.
    pub delete: DeleteOverrides,
    /// See [`VersionPolicy::replace`].
    pub replace: Option<Vec<String>>,
    /// See [`DeviceSettings::bandwidth`]; `Some(None)` takes the limit away.
    pub bandwidth: Option<Option<u64>>,
    /// See [`DeviceSettings::alert_after`]; `Some(None)` for never.
    pub alert_after: Option<Option<Duration>>,
}

/// What a `delete` section says; the rest stays as it was.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct DeleteOverrides {
    /// See [`DeletePolicy::after`].
    pub after: Option<Option<Duration>>,
    /// [`DeletePolicy::high_water`] and [`DeletePolicy::low_water`], which go together.
    pub water: Option<Option<(u8, u8)>>,
    /// See [`DeletePolicy::max_files`].
    pub max_files: Option<Option<u64>>,
}

/// Bounds on waiting.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Timeouts {
    /// For a connection, its key exchange and authentication, each hop.
    pub connect: Duration,
    /// For silence on a connection that is up.
    pub idle: Duration,
}

/// A command that is told how a run ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Notify {
    /// The program, by its full path.
    pub program: PathBuf,
    /// What stands behind it.
    pub arguments: Vec<String>,
    /// Of which runs it is told.
    pub when: NotifyWhen,
    /// How long it may take.
    pub timeout: Duration,
}

/// Of which runs the command of `notify` is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotifyWhen {
    /// Each that ends with another exit code than 0.
    Failure,
    /// Each that finds a trouble that was not told yet, or the end of one that was.
    Change,
    /// Each.
    Always,
}

/// Whether the agent may be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AgentMode {
    /// Where the device can run it.
    Auto,
    /// Not at all.
    Never,
}

pub use crate::archive::ReadBack;

/// For `keytool`; `pipeline` only checks the form.
#[derive(Clone, Debug, PartialEq)]
pub struct Onboarding {
    /// Alias of the jump host.
    pub jump: String,
    /// Alias of a device, with `{id}`.
    pub name: String,
    /// Login on a device.
    pub user: String,
    /// Tunnel port of device 0 on the jump host.
    pub base_port: u16,
    /// Type of new keys.
    pub key_type: String,
}

/// What `keytool` needs of the file. It may be used before `hosts`, `source` and `storage` are decided.
#[derive(Clone, Debug)]
pub struct Setup {
    /// See [`Config::ssh_config`].
    pub ssh_config: PathBuf,
    /// See [`Config::timeouts`].
    pub timeouts: Timeouts,
    /// See [`Config::jobs`].
    pub jobs: usize,
    /// How Pis are named, reached and logged in to.
    pub onboarding: Onboarding,
    /// Everything, where the file is complete.
    pub config: Option<Config>,
}

impl Setup {
    /// What holds without a file.
    pub fn without_file(surroundings: &Surroundings) -> Setup {
        Setup {
            ssh_config: surroundings.home.join(".ssh/config"),
            timeouts: Timeouts::default(),
            jobs: DEFAULT_JOBS,
            onboarding: Onboarding::default(),
            config: None,
        }
    }

    /// Reads a file, of which `hosts`, `source` and `storage` may be missing.
    pub fn load(file: &Path, surroundings: &Surroundings) -> Result<Setup, ConfigError> {
        Setup::parse(&read_text(file)?, file, surroundings)
    }

    /// Reads the text of a file; `file` is named in errors.
    pub fn parse(text: &str, file: &Path, surroundings: &Surroundings) -> Result<Setup, ConfigError> {
        keys::read_setup(&yaml::Document::parse(text, file)?, surroundings)
    }
}

impl From<Config> for Setup {
    fn from(config: Config) -> Setup {
        Setup {
            ssh_config: config.ssh_config.clone(),
            timeouts: config.timeouts,
            jobs: config.jobs,
            onboarding: config.onboarding.clone(),
            config: Some(config),
        }
    }
}

/// How many devices at once, where the file says nothing.
const DEFAULT_JOBS: usize = 8;

fn read_text(file: &Path) -> Result<String, ConfigError> {
    let bytes = std::fs::read(file).map_err(|source| ConfigError::Read { file: file.to_owned(), source })?;
    String::from_utf8(bytes).map_err(|error| {
        let line = 1 + error.as_bytes()[..error.utf8_error().valid_up_to()].iter().filter(|&&b| b == b'\n').count();
        let place = Place { file: file.to_owned(), position: Some((line, 1)) };
        ConfigError::Syntax { place, problem: "the line is not UTF-8".into() }
    })
}

impl Config {
    /// Reads a file.
    pub fn load(file: &Path, surroundings: &Surroundings) -> Result<Config, ConfigError> {
        Config::parse(&read_text(file)?, file, surroundings)
    }

    /// Reads the text of a file; `file` is named in errors.
    pub fn parse(text: &str, file: &Path, surroundings: &Surroundings) -> Result<Config, ConfigError> {
        keys::read(&yaml::Document::parse(text, file)?, surroundings)
    }

    /// What holds for one device: the defaults and, entry by entry, what `devices` says for patterns that match it.
    pub fn device(&self, name: &DeviceName) -> DeviceSettings {
        let matching = self.devices.iter().filter(|(pattern, _)| pattern.matches(name.as_str()));
        matching.fold(self.defaults.clone(), |settings, (_, overrides)| overrides.over(settings))
    }
}

impl Overrides {
    fn over(&self, settings: DeviceSettings) -> DeviceSettings {
        DeviceSettings {
            source: self.source.clone().unwrap_or(settings.source),
            layout: self.layout.clone().unwrap_or(settings.layout),
            include: self.include.clone().unwrap_or(settings.include),
            exclude: self.exclude.clone().unwrap_or(settings.exclude),
            settle: self.settle.unwrap_or(settings.settle),
            delete: self.delete.over(&settings.delete),
            versions: VersionPolicy { replace: self.replace.clone().unwrap_or(settings.versions.replace) },
            bandwidth: self.bandwidth.unwrap_or(settings.bandwidth),
            alert_after: self.alert_after.unwrap_or(settings.alert_after),
        }
    }
}

impl DeleteOverrides {
    fn over(&self, policy: &DeletePolicy) -> DeletePolicy {
        let water = self.water.unwrap_or_else(|| policy.high_water.zip(policy.low_water));
        DeletePolicy {
            after: self.after.unwrap_or(policy.after),
            high_water: water.map(|(high, _)| high),
            low_water: water.map(|(_, low)| low),
            max_files: self.max_files.unwrap_or(policy.max_files),
        }
    }
}

impl Default for DeletePolicy {
    fn default() -> DeletePolicy {
        DeletePolicy { after: Some(Duration::ZERO), high_water: None, low_water: None, max_files: None }
    }
}

impl Default for Timeouts {
    fn default() -> Timeouts {
        Timeouts { connect: Duration::from_secs(15), idle: Duration::from_secs(60) }
    }
}

impl Default for Onboarding {
    fn default() -> Onboarding {
        Onboarding {
            jump: "awsbox".into(),
            name: "raspberry{id}".into(),
            user: "pi".into(),
            base_port: 5000,
            key_type: "ed25519".into(),
        }
    }
}
