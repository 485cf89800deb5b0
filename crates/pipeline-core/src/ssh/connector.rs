//! [`Connector`]: what a run connects its devices with.
//!
//! Guarantees that devices with the same hops on their way share one connection through them, and that every error says which
//! of the many ways a device can be away this is. Leaves the order of a visit, and whether to try again, to the engine.

use std::io::ErrorKind;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::deploy::{Agents, DeployError, Deployment, Origin, Started, one_line};
use super::error::SshError;
use super::hop::{Connection, Hop, Hops, Terms, connect};
use super::mux::{ExecLane, MIN_WINDOW, OpenError};
use super::patience::Patience;
use crate::cancel::Cancel;
use crate::config::{AgentMode, Timeouts};
use crate::error::{Class, Classified};
use crate::event::{Event, Observer};
use crate::fleet::Device;
use crate::path::DeviceName;
use crate::remote::agent::AgentRemote;
use crate::remote::sftp::{Channels, SftpRemote};
use crate::remote::{self, Connect, ConnectError, Intent, LONGEST_VISIT, Link, Remote, RemoteError};
use crate::ssh_config::{HostParams, SshConfig};

/// What all devices together may have under way beyond their default windows. A device whose consumer stalls costs its
/// window in memory.
const WINDOW_BUDGET_BYTES: usize = 24 * 1024 * 1024;

/// What holds for all connections of a run.
#[derive(Clone, Debug)]
pub struct Options {
    /// Bounds on waiting.
    pub timeouts: Timeouts,
    /// How many devices are connected at once: they share a budget of memory.
    pub jobs: usize,
    /// Whether the agent may be used at all.
    pub agent: AgentMode,
    /// Where to look for the agents to put on devices; the first directory that has one counts.
    pub agent_dirs: Vec<PathBuf>,
    /// The wish to stop.
    pub cancel: Cancel,
}

/// Connects to devices over SSH, as the OpenSSH config says. One serves a whole run.
pub struct Connector {
    config: SshConfig,
    terms: Terms,
    /// None where no agent is to be used.
    agents: Option<Agents>,
    hops: Hops,
}

impl Connector {
    /// Connects nowhere yet.
    pub fn new(config: SshConfig, options: Options) -> Connector {
        let share = WINDOW_BUDGET_BYTES / options.jobs.max(1);
        let max_window = u32::try_from(share).unwrap_or(u32::MAX).max(MIN_WINDOW);
        let terms = Terms { timeouts: options.timeouts, max_window, cancel: options.cancel };
        let agents = (options.agent == AgentMode::Auto).then(|| Agents::new(options.agent_dirs));
        Connector { config, terms, agents, hops: Hops::default() }
    }

    /// Connects to a device without starting anything there.
    pub fn reach(&self, device: &DeviceName, observer: &dyn Observer) -> Result<Arc<Connection>, SshError> {
        let (before, host) = self.route(device)?;
        connect(&host, before.as_deref(), &self.terms, observer).map(Arc::new)
    }

    /// The hops on the way to a device, and the device itself. Hops are shared.
    fn route(&self, device: &DeviceName) -> Result<(Option<Arc<Hop>>, HostParams), SshError> {
        let mut route = self.config.route(device.as_str())?;
        let nowhere = || SshError::Local { doing: "find a route", source: ErrorKind::NotFound.into() };
        let last = route.pop().ok_or_else(nowhere)?;
        Ok((self.hops.last_of(&route), last))
    }

    fn open(&self, device: &Device, observer: &dyn Observer, intent: Intent) -> Result<Box<dyn Remote>, SshError> {
        let connection = self.reach(&device.name, observer)?;
        let opened = self.open_over(device, &connection, observer, intent);
        // Whatever it looked like: if the connection has gone, that is the reason.
        match (opened, connection.mux.failure()) {
            (Err(error), Some(failure)) if error.class() != Class::Interrupted => {
                let source = OpenError::Lost(failure.error.clone());
                Err(SshError::Lost { host: device.name.to_string(), source })
            }
            (opened, _) => opened,
        }
    }

    /// By the agent where it can be had, otherwise without.
    fn open_over(
        &self,
        device: &Device,
        connection: &Arc<Connection>,
        observer: &dyn Observer,
        intent: Intent,
    ) -> Result<Box<dyn Remote>, SshError> {
        let why = match &self.agents {
            None => None,
            Some(agents) => match self.open_agent(agents, device, connection, observer, intent) {
                Ok(remote) => return Ok(Box::new(remote)),
                Err(SshError::Deploy(error)) if error.leaves_sftp() && connection.mux.failure().is_none() => {
                    Some(error)
                }
                Err(error) => return Err(error),
            },
        };
        let channels = DeviceChannels {
            connection: connection.clone(),
            limit: self.terms.timeouts.idle,
            cancel: self.terms.cancel.clone(),
        };
        let remote = match SftpRemote::open(Box::new(channels), &device.settings.source, self.options(device)) {
            Ok(remote) => remote,
            // Without the one and the other, what keeps the agent away is what can be mended.
            Err(RemoteError::NoSftp(_) | RemoteError::NoChannel(_)) if why.is_some() => {
                return Err(why.map_or(SshError::Stopped, SshError::Deploy));
            }
            Err(error) => return Err(error.into()),
        };
        let (reason, hint) = match &why {
            Some(error) => (crate::error::one_line(error), error.hint()),
            None => ("the configuration says 'agent: never'".into(), Some("'agent: auto' puts the agent there".into())),
        };
        let caveats = remote.caveats().to_vec();
        observer.event(&Event::FellBack { device: device.name.clone(), reason, hint, caveats });
        Ok(Box::new(remote))
    }

    fn open_agent(
        &self,
        agents: &Agents,
        device: &Device,
        connection: &Arc<Connection>,
        observer: &dyn Observer,
        intent: Intent,
    ) -> Result<AgentRemote, SshError> {
        let deployment = Deployment {
            agents,
            mux: &connection.mux,
            device: &device.name,
            cancel: &self.terms.cancel,
            observer,
            limit: self.terms.timeouts.idle,
            intent,
        };
        let Started { lane, origin } = deployment.start(source(device))?;
        match (self.greet(device, lane, connection), origin) {
            // A card that lost power while it wrote: the name is right and the content is not.
            (Err(Greeting::NoAgent(_)), Origin::Found) => match intent {
                Intent::Change => {
                    self.greet(device, deployment.reinstall(source(device))?, connection).map_err(SshError::from)
                }
                // It is as good as none, and as easily put there.
                Intent::Look => Err(DeployError::NotThere.into()),
            },
            (Err(Greeting::NoAgent(words)), Origin::Bound) => Err(DeployError::Bound(words).into()),
            (Err(Greeting::Failed(RemoteError::Refused(words))), Origin::Bound) => {
                Err(DeployError::Bound(words).into())
            }
            (Err(Greeting::Failed(error @ RemoteError::Garbled(_))), Origin::Bound) => {
                Err(DeployError::Bound(crate::error::one_line(&error)).into())
            }
            // The name tells contents apart: what refuses is what we have.
            (Err(Greeting::Failed(RemoteError::Refused(words))), Origin::Found | Origin::Installed) => {
                Err(DeployError::OtherVersion { words, dirs: agents.homes() }.into())
            }
            (greeted, _) => greeted.map_err(SshError::from),
        }
    }

    fn options(&self, device: &Device) -> remote::Options {
        remote::Options {
            idle: self.terms.timeouts.idle,
            bandwidth: device.settings.bandwidth,
            until: Instant::now() + LONGEST_VISIT,
            cancel: self.terms.cancel.clone(),
        }
    }

    fn greet(&self, device: &Device, lane: ExecLane, connection: &Arc<Connection>) -> Result<AgentRemote, Greeting> {
        let errors = lane.errors.clone();
        let link = link(lane, connection);
        AgentRemote::open_to_scan(link, &device.settings.source, self.options(device)).map_err(|error| match error {
            RemoteError::NotStarted(words) => Greeting::NoAgent(words),
            // Whether reading or writing met the end first is chance: it was the command that ended.
            RemoteError::Broken(_) => Greeting::NoAgent(one_line(&errors.lock().unwrap_or_else(|e| e.into_inner()))),
            error => Greeting::Failed(error),
        })
    }
}

/// The streams of a command over a device's connection.
fn link(lane: ExecLane, connection: &Arc<Connection>) -> Link {
    Link { stream: lane.stream, errors: lane.errors, guard: Box::new(connection.clone()) }
}

/// Opens channels over the connection to one device.
struct DeviceChannels {
    connection: Arc<Connection>,
    limit: Duration,
    cancel: Cancel,
}

impl DeviceChannels {
    fn opened(&self, lane: Result<ExecLane, OpenError>) -> Result<Link, RemoteError> {
        lane.map(|lane| link(lane, &self.connection)).map_err(|error| match error {
            OpenError::Cancelled => RemoteError::Stopped,
            OpenError::TimedOut | OpenError::Busy => RemoteError::Silent(self.limit),
            OpenError::Refused | OpenError::Prohibited | OpenError::Denied(_) => {
                RemoteError::NoChannel(crate::error::one_line(&error))
            }
            OpenError::Local(_) | OpenError::Lost(_) => RemoteError::Lost(crate::error::one_line(&error)),
        })
    }
}

impl Channels for DeviceChannels {
    fn sftp(&self) -> Result<Link, RemoteError> {
        self.opened(self.connection.mux.subsystem("sftp", &Patience::new(self.limit, &self.cancel)))
    }

    fn exec(&self, command: &str) -> Result<Link, RemoteError> {
        self.opened(self.connection.mux.exec(command, &Patience::new(self.limit, &self.cancel)))
    }
}

/// Why what was started is no agent that can be talked to.
enum Greeting {
    /// It is none; what was said instead.
    NoAgent(String),
    /// It is one, and something else went wrong.
    Failed(RemoteError),
}

impl From<Greeting> for SshError {
    fn from(greeting: Greeting) -> SshError {
        match greeting {
            Greeting::NoAgent(words) => DeployError::of_start(words).into(),
            Greeting::Failed(error) => error.into(),
        }
    }
}

impl Connect for Connector {
    fn connect(
        &self,
        device: &Device,
        observer: &dyn Observer,
        intent: Intent,
    ) -> Result<Box<dyn Remote>, ConnectError> {
        self.open(device, observer, intent).map_err(|error| Box::new(error) as ConnectError)
    }

    fn shared_connection_broke(&self, device: &Device, since: Instant) -> bool {
        matches!(self.route(&device.name), Ok((Some(hop), _)) if hop.broke_after(since))
    }
}

fn source(device: &Device) -> &[u8] {
    device.settings.source.as_os_str().as_bytes()
}
