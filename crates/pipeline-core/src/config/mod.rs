//! YAML to settings: the one file that both programs read.
//!
//! Unknown keys and impossible values are errors with line and column. Nothing here reads the environment: the caller says
//! where home is.

mod filter;
mod surroundings;

use std::path::PathBuf;
use std::time::Duration;

pub use filter::{Filter, FilterError};
pub use surroundings::Surroundings;

/// Everything the file says, with defaults filled in and `~` expanded.
#[derive(Clone, Debug)]
pub struct Config {
    /// Patterns of OpenSSH aliases: names, `[1-9,12]` ranges, `*`, `!name`.
    pub hosts: Vec<String>,
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
    /// Prometheus textfile to write after each run.
    pub metrics: Option<PathBuf>,
    /// URL to call after each run.
    pub ping: Option<String>,
    /// What holds for a device unless overridden.
    pub defaults: DeviceSettings,
    /// Overrides by host pattern, in the order of the file; later ones win.
    pub devices: Vec<(String, Overrides)>,
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
    /// Bytes per second for the device; none: as fast as the link.
    pub bandwidth: Option<u64>,
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
    /// See [`DeviceSettings::delete`].
    pub delete: Option<DeletePolicy>,
    /// See [`DeviceSettings::bandwidth`].
    pub bandwidth: Option<u64>,
}

/// Bounds on waiting.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Timeouts {
    /// For a connection, its key exchange and authentication, each hop.
    pub connect: Duration,
    /// For silence on a connection that is up.
    pub idle: Duration,
}

/// Whether the agent may be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AgentMode {
    /// Where the device can run it.
    Auto,
    /// Not at all.
    Never,
}

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
