//! [`Access`]: to a machine that is still being set up, on a person's word.
//!
//! Where [`Connector`](super::Connector) takes everything from the OpenSSH config, here a person may have said which host key is
//! the right one ([`Trust::Exactly`]), and may have given a password ([`Credentials`]).
//!
//! Guarantees: what is only looked at ([`Access::host_keys`]) is not trusted, and nobody authenticates there; nothing secret is
//! sent before the host key was accepted; every hop on the way is checked against known_hosts, and uses its own keys. Targets
//! with the same hops share one connection through them. Leaves to others: asking the person, and writing anything down.

use std::sync::Arc;

use libssh2_sys as raw;

use super::auth::Credentials;
use super::error::SshError;
use super::hop::{Connection, Hops, Terms, host_key, log_in, untrusted};
use super::host_key::{HostKey, HostKeys, lookup_name};
use super::mux::MIN_WINDOW;
use super::session::error_code;
use crate::cancel::Cancel;
use crate::config::Timeouts;
use crate::event::Observer;
use crate::ssh_config::{HostParams, SshConfig};

/// Kinds of host keys, best first, with their algorithms in libssh2's form.
const KINDS: [&str; 3] =
    ["ssh-ed25519", "ecdsa-sha2-nistp256,ecdsa-sha2-nistp384,ecdsa-sha2-nistp521", "rsa-sha2-512,rsa-sha2-256"];

/// What holds for all machines.
#[derive(Clone, Debug)]
pub struct Options {
    /// Bounds on waiting.
    pub timeouts: Timeouts,
    /// The wish to stop.
    pub cancel: Cancel,
}

/// A machine, and the way to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// The machine.
    pub host: HostParams,
    /// The hops to pass through, first hop first.
    pub via: Vec<HostParams>,
}

impl Target {
    /// The name under which its host keys stand in known_hosts.
    pub fn known_as(&self) -> String {
        lookup_name(&self.host)
    }
}

/// Which host keys a machine may have.
#[derive(Clone, Copy, Debug)]
pub enum Trust<'a> {
    /// Those that known_hosts has for it.
    KnownHosts,
    /// These, whatever known_hosts has for it; but what known_hosts revokes stays revoked.
    Exactly(&'a [HostKey]),
}

/// Connects to machines on a person's word. One serves a whole command: a hop that failed has failed for all that follow.
pub struct Access {
    config: SshConfig,
    terms: Terms,
    hops: Hops,
}

impl Access {
    /// Connects nowhere yet.
    pub fn new(config: SshConfig, options: Options) -> Access {
        let terms = Terms { timeouts: options.timeouts, max_window: MIN_WINDOW, cancel: options.cancel };
        Access { config, terms, hops: Hops::default() }
    }

    /// What the OpenSSH config says of a machine.
    pub fn target(&self, alias: &str) -> Result<Target, SshError> {
        let mut via = self.config.route(alias)?;
        let nowhere = || SshError::Local { doing: "find a route", source: std::io::ErrorKind::NotFound.into() };
        let host = via.pop().ok_or_else(nowhere)?;
        Ok(Target { host, via })
    }

    /// The keys that a machine shows and has proven to own, one of each kind, best first. At least one.
    ///
    /// None of them is trusted by this: it tells what a person is to compare.
    pub fn host_keys(&self, target: &Target, observer: &dyn Observer) -> Result<Vec<HostKey>, SshError> {
        let before = self.hops.last_of(&target.via);
        let mut found: Vec<HostKey> = Vec::new();
        let mut left = &KINDS[..];
        while !left.is_empty() {
            // The server takes the first of these that it has: it has none of the better ones.
            match host_key(&target.host, &left.join(","), before.as_deref(), &self.terms, observer) {
                Ok(key) => {
                    let kind = left.iter().position(|kind| kind.starts_with(family(&key)));
                    left = &left[kind.map_or(left.len(), |kind| kind + 1)..];
                    found.push(key);
                }
                Err(SshError::Handshake { source, .. }) if !found.is_empty() && is_disagreement(&source) => break,
                Err(error) => return Err(error),
            }
        }
        Ok(found)
    }

    /// Logs in. The credentials are sent only after the host key was accepted.
    pub fn log_in(
        &self,
        target: &Target,
        trust: Trust<'_>,
        credentials: &Credentials,
        observer: &dyn Observer,
    ) -> Result<Arc<Connection>, SshError> {
        let keys = match trust {
            Trust::KnownHosts => HostKeys::load(&target.host),
            Trust::Exactly(keys) => HostKeys::exactly(&target.host, keys),
        };
        let keys = keys.map_err(|source| untrusted(&target.host, source))?;
        let before = self.hops.last_of(&target.via);
        log_in(&target.host, &keys, credentials, before.as_deref(), &self.terms, observer).map(Arc::new)
    }
}

/// How the algorithms of a key's kind begin.
fn family(key: &HostKey) -> &str {
    match key.algorithm() {
        "ssh-rsa" => "rsa-sha2-",
        kind if kind.starts_with("ecdsa-sha2-") => "ecdsa-sha2-",
        kind => kind,
    }
}

/// Whether the two sides have no algorithm in common: the server has no key of the kinds that it was asked for.
fn is_disagreement(error: &ssh2::Error) -> bool {
    error_code(error) == raw::LIBSSH2_ERROR_KEX_FAILURE
}
