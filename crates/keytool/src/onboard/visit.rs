//! One look at a machine: what it shows, whether it lets our own key in, and what it says of itself.
//!
//! Guarantees: the order of trust. A host key is judged before anybody authenticates. Our own key reveals nothing and may be
//! offered to a machine that is pinned; a password goes only to a machine whose host key is pinned or on the list, or that shows
//! it now and holds the tunnel's port on the pinned jump host. That last case is the risk that a list of fingerprints takes
//! away.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use pipeline_core::cancel::Cancel;
use pipeline_core::path::DeviceName;
use pipeline_core::ssh::access::Access;
use pipeline_core::ssh::{Connection, Credentials, HostKey, SshError, Target, Trust};

use super::error::OnboardError;
use super::fingerprints::Fingerprints;
use super::trust::{self, Verdict};
use crate::facts::{self, Facts};
use crate::known_hosts::Known;
use crate::shell::Remote;

/// A machine to be taken in, and what it is to be called.
#[derive(Clone, Debug)]
pub struct Machine {
    /// Its alias in the OpenSSH config.
    pub name: DeviceName,
    /// How to get there, as its entry says or is going to say.
    pub target: Target,
    /// Our private key for it. May not exist yet.
    pub key: PathBuf,
}

/// How a person who sets up a machine gets into it.
#[derive(Clone, Debug)]
pub enum Entrance {
    /// By password.
    Password(Credentials),
    /// By a private key that is let in already.
    Key(PathBuf),
}

/// What is needed to look at machines.
pub struct Visitor<'a> {
    /// Makes connections.
    pub access: &'a Access,
    /// How long a command may take.
    pub limit: Duration,
    /// The wish to stop.
    pub cancel: &'a Cancel,
}

/// A login that may run commands, as far as it is known.
pub struct Login {
    /// Runs commands.
    pub remote: Remote,
    /// What the machine says of itself; none where it runs no commands for us.
    pub facts: Option<Facts>,
    /// Whether it is our own key that was let in.
    pub own_key: bool,
}

impl Visitor<'_> {
    /// The host keys that a machine shows. Trusts none of them.
    pub fn shown(&self, machine: &Machine) -> Result<Vec<HostKey>, OnboardError> {
        Ok(self.access.host_keys(&machine.target, &())?)
    }

    /// What is to be made of them.
    pub fn judge(
        &self,
        machine: &Machine,
        shown: &[HostKey],
        fleet: &[Known],
        listed: Option<&Fingerprints>,
    ) -> Result<Verdict, OnboardError> {
        Ok(trust::judge(&machine.target.host, shown, fleet, listed)?)
    }

    /// Logs in with our own key, where it exists and the machine is pinned; none where it is not let in.
    pub fn with_own_key(&self, machine: &Machine, verdict: &Verdict) -> Result<Option<Login>, OnboardError> {
        let Verdict::Pinned(keys) = verdict else { return Ok(None) };
        if !machine.key.exists() {
            return Ok(None);
        }
        match self.log_in(machine, keys, &Entrance::Key(machine.key.clone())) {
            Ok(connection) => self.login(connection, true).map(Some),
            Err(SshError::Auth { .. }) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// Logs in on somebody's word.
    pub fn enter(&self, machine: &Machine, verdict: &Verdict, entrance: &Entrance) -> Result<Login, OnboardError> {
        self.login(self.log_in(machine, verdict.keys(), entrance)?, false)
    }

    /// Whether a key is let in.
    pub fn try_key(&self, machine: &Machine, verdict: &Verdict, key: &Entrance) -> Result<(), OnboardError> {
        self.log_in(machine, verdict.keys(), key)?;
        Ok(())
    }

    fn log_in(&self, machine: &Machine, keys: &[HostKey], entrance: &Entrance) -> Result<Arc<Connection>, SshError> {
        let mut target = machine.target.clone();
        let credentials = match entrance {
            Entrance::Password(password) => password.clone(),
            Entrance::Key(key) => {
                target.host.identity_files = vec![key.clone()];
                target.host.default_identities = false;
                // An agent may hold it where it has a passphrase; no other key of his is offered.
                target.host.identities_only = true;
                Credentials::Config
            }
        };
        self.access.log_in(&target, Trust::Exactly(keys), &credentials, &())
    }

    fn login(&self, connection: Arc<Connection>, own_key: bool) -> Result<Login, OnboardError> {
        let remote = Remote { connection, limit: self.limit, cancel: self.cancel.clone() };
        let facts = facts::ask_for(&remote)?;
        Ok(Login { remote, facts, own_key })
    }
}
