//! What can go wrong on the way to a device.

use std::sync::Arc;
use std::time::Duration;

use super::auth::AuthError;
use super::command::CommandError;
use super::deploy::DeployError;
use super::host_key::HostKeyError;
use super::mux::{MuxError, OpenError};
use super::session::TcpError;
use crate::error::{Class, Classified};
use crate::remote::RemoteError;
use crate::ssh_config::SshConfigError;

/// Why there is no connection to a device.
#[derive(Debug, thiserror::Error)]
pub enum SshError {
    /// The OpenSSH config does not say how to reach it.
    #[error(transparent)]
    Config(#[from] SshConfigError),
    /// No TCP connection to a machine that is reached directly.
    #[error("host '{host}' can't be reached")]
    Tcp {
        /// Its alias.
        host: String,
        /// Why.
        source: TcpError,
    },
    /// Nothing listens where the hop before was asked to connect to.
    #[error("no tunnel: nothing listens at {address} on '{via}'")]
    NoTunnel {
        /// The hop before.
        via: String,
        /// Host and port, as seen from there.
        address: String,
    },
    /// The hop before may not, could not or did not connect.
    #[error("'{via}' can't connect to {address}")]
    NoLane {
        /// The hop before.
        via: String,
        /// Host and port, as seen from there.
        address: String,
        /// Why.
        source: OpenError,
    },
    /// The connection is accepted and nothing is said: the sign of a tunnel whose far end is gone.
    #[error("{address} accepts the connection and says nothing for {} s", waited.as_secs())]
    NoBanner {
        /// Where: host and port, and the hop before.
        address: Address,
        /// How long we listened.
        waited: Duration,
    },
    /// The connection is accepted and closed at once: a tunnel without an SSH server behind it.
    #[error("{address} closes the connection at once")]
    ClosedAtOnce {
        /// Where.
        address: Address,
    },
    /// It answered, and then took too long.
    #[error("host '{host}' does not finish {doing} within {} s", waited.as_secs())]
    TimedOut {
        /// Its alias.
        host: String,
        /// What was being done.
        doing: &'static str,
        /// How long we waited.
        waited: Duration,
    },
    /// No common language, or a broken connection, before we were in.
    #[error("host '{host}': the key exchange failed")]
    Handshake {
        /// Its alias.
        host: String,
        /// libssh2's words.
        source: ssh2::Error,
    },
    /// It is the wrong machine, or one that nobody has vouched for.
    #[error("host '{host}' is not trusted")]
    HostKey {
        /// Its alias.
        host: String,
        /// Why.
        source: Box<HostKeyError>,
    },
    /// It does not let us in.
    #[error("host '{host}' does not let us in")]
    Auth {
        /// Its alias.
        host: String,
        /// Why.
        source: AuthError,
    },
    /// A hop on the way can't be used. All devices behind it share this error.
    #[error("jump host '{hop}' can't be used")]
    Hop {
        /// Its alias.
        hop: String,
        /// Why.
        source: Arc<SshError>,
    },
    /// The connection to a hop on the way broke.
    #[error("the connection to jump host '{hop}' broke")]
    HopLost {
        /// Its alias.
        hop: String,
        /// How.
        source: MuxError,
    },
    /// The device's own connection broke before the visit could begin.
    #[error("the connection to '{host}' broke")]
    Lost {
        /// Its alias.
        host: String,
        /// How.
        source: OpenError,
    },
    /// A command on it did not come to its end.
    #[error("a command on '{host}' did not come to its end")]
    Command {
        /// Its alias.
        host: String,
        /// Why.
        source: CommandError,
    },
    /// There is no agent on the device, and none could be put there.
    #[error(transparent)]
    Deploy(#[from] DeployError),
    /// The agent was started, and does not answer as it should.
    #[error(transparent)]
    Remote(#[from] RemoteError),
    /// Something that every process needs could not be had here.
    #[error("can't {doing}")]
    Local {
        /// What was to be done.
        doing: &'static str,
        /// Why.
        source: std::io::Error,
    },
    /// Somebody asked to stop.
    #[error("stopped")]
    Stopped,
}

/// Host and port, and from where they are seen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Address {
    /// `host:port`.
    pub name: String,
    /// The hop before; none where it is reached directly.
    pub via: Option<String>,
}

impl std::fmt::Display for Address {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.name)?;
        self.via.as_ref().map_or(Ok(()), |via| write!(f, " on '{via}'"))
    }
}

impl Classified for SshError {
    fn class(&self) -> Class {
        match self {
            SshError::Config(error) => error.class(),
            SshError::Tcp { source, .. } => match source {
                TcpError::Cancelled => Class::Interrupted,
                _ => Class::Unreachable,
            },
            SshError::NoLane { source, .. } => match source {
                OpenError::Prohibited => Class::Config,
                OpenError::Cancelled => Class::Interrupted,
                OpenError::Local(_) => Class::Internal,
                OpenError::Lost(_) => Class::Transient,
                OpenError::Refused | OpenError::Denied(_) | OpenError::TimedOut | OpenError::Busy => Class::Unreachable,
            },
            SshError::NoTunnel { .. }
            | SshError::NoBanner { .. }
            | SshError::ClosedAtOnce { .. }
            | SshError::TimedOut { .. } => Class::Unreachable,
            SshError::Handshake { .. } | SshError::HopLost { .. } => Class::Transient,
            SshError::Lost { source, .. } => match source {
                OpenError::Prohibited | OpenError::Denied(_) | OpenError::Refused => Class::Config,
                OpenError::Cancelled => Class::Interrupted,
                OpenError::Local(_) => Class::Internal,
                OpenError::Lost(_) | OpenError::TimedOut | OpenError::Busy => Class::Transient,
            },
            SshError::HostKey { source, .. } => source.class(),
            SshError::Auth { source, .. } => source.class(),
            SshError::Hop { source, .. } => source.class(),
            SshError::Command { source, .. } => source.class(),
            SshError::Deploy(error) => error.class(),
            SshError::Remote(error) => error.class(),
            SshError::Local { .. } => Class::Internal,
            SshError::Stopped => Class::Interrupted,
        }
    }

    fn hop(&self) -> Option<&str> {
        match self {
            SshError::Hop { hop, .. } | SshError::HopLost { hop, .. } => Some(hop),
            _ => None,
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            SshError::Config(error) => error.hint(),
            SshError::NoTunnel { via, .. } => Some(format!(
                "the device is off, or its tunnel to '{via}' is down: look at the tunnel's service on the device"
            )),
            SshError::NoLane { via, source: OpenError::Prohibited, .. } => {
                Some(format!("sshd on '{via}' forbids it: see AllowTcpForwarding and PermitOpen in its sshd_config"))
            }
            SshError::NoBanner { address, .. } => Some(match &address.via {
                Some(via) => format!(
                    "a tunnel that has lost its far end; with 'ClientAliveInterval 30' and 'ClientAliveCountMax 3' in sshd_config on \
                     '{via}' such tunnels go away and can be made anew"
                ),
                None => "the machine is overloaded, or something that is no SSH server holds the port".into(),
            }),
            SshError::ClosedAtOnce { .. } => {
                Some("the tunnel is up but no SSH server answers behind it: is sshd running on the device?".into())
            }
            SshError::HostKey { source, .. } => source.hint(),
            SshError::Auth { source, .. } => source.hint(),
            SshError::Hop { source, .. } => source.hint(),
            SshError::Command { source, .. } => source.hint(),
            SshError::Deploy(error) => error.hint(),
            SshError::Remote(error) => error.hint(),
            SshError::Tcp { .. }
            | SshError::NoLane { .. }
            | SshError::TimedOut { .. }
            | SshError::Handshake { .. }
            | SshError::HopLost { .. }
            | SshError::Lost { .. }
            | SshError::Local { .. }
            | SshError::Stopped => None,
        }
    }
}
