//! Pis that let us in already: a login to each, many at once.
//!
//! Guarantees that every login goes by the OpenSSH config and the pinned host keys alone, and that a Pi that fails or is away
//! keeps no other. Leaves to others: what is done there.

use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use pipeline_core::cancel::Cancel;
use pipeline_core::config::Setup;
use pipeline_core::ssh::access::{Access, Options};
use pipeline_core::ssh::{Connection, Credentials, SshError, Target, Trust};
use pipeline_core::ssh_config::SshConfig;
use program::exit::Exit;
use program::failure::Failure;

use crate::onboard::visit::Entrance;
use crate::registry::Pi;
use crate::shell::Remote;

/// How long a command on a machine may take: an SD card that is being written to syncs slowly.
const LIMIT: Duration = Duration::from_secs(60);

/// Logins of one command. Those that share a jump host share its connection.
pub struct Visits {
    access: Access,
    jobs: usize,
    cancel: Cancel,
    entrance: Option<Entrance>,
}

impl Visits {
    /// Connects nowhere yet.
    pub fn new(setup: &Setup, ssh_config: SshConfig, cancel: &Cancel) -> Visits {
        let options = Options { timeouts: setup.timeouts, cancel: cancel.clone() };
        Visits { access: Access::new(ssh_config, options), jobs: setup.jobs, cancel: cancel.clone(), entrance: None }
    }

    /// By another way than with our own key, which may be bound to the agent.
    pub fn by(self, entrance: Option<Entrance>) -> Visits {
        Visits { entrance, ..self }
    }

    /// What connections are made with.
    pub fn access(&self) -> &Access {
        &self.access
    }

    /// A login that runs commands.
    pub fn log_in(&self, target: &Target) -> Result<Remote, SshError> {
        let (target, credentials) = match &self.entrance {
            None => (target.clone(), Credentials::Config),
            Some(Entrance::Password(password)) => (target.clone(), password.clone()),
            Some(Entrance::Key(identity)) => (with_identity(target, identity), Credentials::Config),
        };
        let connection = self.access.log_in(&target, Trust::KnownHosts, &credentials, &())?;
        Ok(self.remote(connection))
    }

    /// Runs commands over a connection.
    pub fn remote(&self, connection: Arc<Connection>) -> Remote {
        Remote { connection, limit: LIMIT, cancel: self.cancel.clone() }
    }

    /// Logs in to every Pi and does something there. The results are in the order of the Pis.
    pub fn each<T: Send>(
        &self,
        pis: &[Pi],
        work: impl Fn(&Pi, &Remote) -> Result<T, Failure> + Sync,
    ) -> Vec<Result<T, Failure>> {
        let visit = |pi: &Pi| {
            let target = self.access.target(pi.name.as_str()).map_err(|error| Failure::of(&error))?;
            let remote = self.log_in(&target).map_err(|error| Failure::of(&error))?;
            work(pi, &remote)
        };
        let mut results: Vec<Option<Result<T, Failure>>> = pis.iter().map(|_| None).collect();
        let queue = Mutex::new(pis.iter().zip(&mut results));
        let next = || queue.lock().unwrap_or_else(|e| e.into_inner()).next();
        std::thread::scope(|scope| {
            for _ in 0..self.jobs.clamp(1, pis.len().max(1)) {
                scope.spawn(|| {
                    while let Some((pi, result)) = next() {
                        *result = Some(visit(pi));
                    }
                });
            }
        });
        // Every one has its result: the threads ended when the queue was empty.
        results.into_iter().flatten().collect()
    }
}

/// The same machine, by this key and no other.
pub fn with_identity(target: &Target, identity: &Path) -> Target {
    let mut target = target.clone();
    target.host.identity_files = vec![identity.to_owned()];
    target.host.default_identities = false;
    target.host.identities_only = true;
    target
}

/// How a command ends that did something on each of several machines.
pub fn exit<'a>(failures: impl IntoIterator<Item = Option<&'a Failure>>) -> Exit {
    let (mut all, mut failed, mut away) = (0, 0, 0);
    for failure in failures {
        all += 1;
        failed += usize::from(failure.is_some());
        away += usize::from(failure.is_some_and(|failure| failure.exit == Exit::Unreachable));
    }
    match (failed, away) {
        (0, _) => Exit::Done,
        (_, away) if away == all => Exit::Unreachable,
        _ => Exit::Partial,
    }
}
