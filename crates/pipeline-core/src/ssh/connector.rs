//! [`Connector`]: what a run connects its devices with.
//!
//! Guarantees that devices with the same hops on their way share one connection through them, and that every error says which
//! of the many ways a device can be away this is. Leaves the order of a visit, and whether to try again, to the engine.

use std::io::ErrorKind;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Instant;

use super::deploy::{Agents, DeployError, Deployment, one_line};
use super::error::SshError;
use super::hop::{Connection, Hop, Terms, connect};
use super::mux::{ExecLane, MIN_WINDOW};
use crate::cancel::Cancel;
use crate::config::Timeouts;
use crate::event::Observer;
use crate::fleet::Device;
use crate::path::DeviceName;
use crate::remote::agent::{self, AgentRemote, Link};
use crate::remote::{Connect, ConnectError, Intent, LONGEST_VISIT, Remote, RemoteError};
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
    /// Where to look for the agents to put on devices; the first directory that has one counts.
    pub agent_dirs: Vec<PathBuf>,
    /// The wish to stop.
    pub cancel: Cancel,
}

/// Connects to devices over SSH, as the OpenSSH config says. One serves a whole run.
pub struct Connector {
    config: SshConfig,
    terms: Terms,
    agents: Agents,
    hops: Mutex<Vec<Arc<Hop>>>,
}

impl Connector {
    /// Connects nowhere yet.
    pub fn new(config: SshConfig, options: Options) -> Connector {
        let share = WINDOW_BUDGET_BYTES / options.jobs.max(1);
        let max_window = u32::try_from(share).unwrap_or(u32::MAX).max(MIN_WINDOW);
        let terms = Terms { timeouts: options.timeouts, max_window, cancel: options.cancel };
        Connector { config, terms, agents: Agents::new(options.agent_dirs), hops: Mutex::default() }
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
        let mut hops = self.hops.lock().unwrap_or_else(|e| e.into_inner());
        let mut before: Option<Arc<Hop>> = None;
        for host in route {
            let known = hops.iter().find(|hop| hop.is(&host, before.as_ref())).cloned();
            let hop = known.unwrap_or_else(|| {
                let hop = Arc::new(Hop::new(host, before.take()));
                hops.push(hop.clone());
                hop
            });
            before = Some(hop);
        }
        Ok((before, last))
    }

    fn deployment<'a>(
        &'a self,
        device: &'a Device,
        connection: &'a Connection,
        observer: &'a dyn Observer,
    ) -> Deployment<'a> {
        Deployment {
            agents: &self.agents,
            mux: &connection.mux,
            device: &device.name,
            cancel: &self.terms.cancel,
            observer,
            limit: self.terms.timeouts.idle,
        }
    }

    fn open(&self, device: &Device, observer: &dyn Observer) -> Result<AgentRemote, SshError> {
        let connection = self.reach(&device.name, observer)?;
        let deployment = self.deployment(device, &connection, observer);
        let (lane, fresh) = deployment.start(source(device))?;
        match self.greet(device, lane, &connection) {
            // A card that lost power while it wrote: the name is right and the content is not.
            Err(Greeting::NoAgent(_)) if !fresh => {
                self.greet(device, deployment.reinstall(source(device))?, &connection).map_err(SshError::from)
            }
            greeted => greeted.map_err(SshError::from),
        }
    }

    fn greet(&self, device: &Device, lane: ExecLane, connection: &Arc<Connection>) -> Result<AgentRemote, Greeting> {
        let options = agent::Options {
            idle: self.terms.timeouts.idle,
            bandwidth: device.settings.bandwidth,
            until: Instant::now() + LONGEST_VISIT,
            cancel: self.terms.cancel.clone(),
        };
        let errors = lane.errors.clone();
        let link = Link { stream: lane.stream, errors: lane.errors, guard: Box::new(connection.clone()) };
        AgentRemote::open(link, &device.settings.source, options).map_err(|error| match error {
            RemoteError::NotStarted(words) if connection.mux.failure().is_some() => {
                Greeting::Failed(RemoteError::Ended(words))
            }
            RemoteError::NotStarted(words) => Greeting::NoAgent(words),
            // Whether reading or writing met the end first is chance. With the connection up, it was the command that ended.
            RemoteError::Broken(_) if connection.mux.failure().is_none() => {
                Greeting::NoAgent(one_line(&errors.lock().unwrap_or_else(|e| e.into_inner())))
            }
            error => Greeting::Failed(error),
        })
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
        _intent: Intent,
    ) -> Result<Box<dyn Remote>, ConnectError> {
        match self.open(device, observer) {
            Ok(remote) => Ok(Box::new(remote)),
            Err(error) => Err(Box::new(error)),
        }
    }

    fn shared_connection_broke(&self, device: &Device, since: Instant) -> bool {
        matches!(self.route(&device.name), Ok((Some(hop), _)) if hop.broke_after(since))
    }
}

fn source(device: &Device) -> &[u8] {
    device.settings.source.as_os_str().as_bytes()
}
