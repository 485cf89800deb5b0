//! What this machine needs to reach a host: key pair, entry, the line that includes it, pinned host keys. All of it decided here,
//! none of it made: that is [`crate::changes`]'s.
//!
//! Guarantees the order: a key is there before the entry that names it, and the entry before the line that includes it.

use std::path::{Path, PathBuf};

use pipeline_core::config::Onboarding;
use pipeline_core::error::{Class, Classified};
use pipeline_core::path::DeviceName;
use pipeline_core::ssh::host_key::HostKey;
use pipeline_core::ssh_config::HostParams;

use crate::changes::{Change, ChangeError};
use crate::key::{self, KeyError, KeyType, NewKey};
use crate::known_hosts::{self, Known, KnownHostsError};
use crate::places::Places;
use crate::registry::{Entry, Pi};
use crate::rotation::Removal;
use crate::ssh_config::{self, EntryError, Owned};

/// Why it can't be decided, or made.
#[derive(Debug, thiserror::Error)]
pub enum LocalError {
    /// See [`ChangeError`].
    #[error(transparent)]
    Change(#[from] ChangeError),
    /// See [`KeyError`].
    #[error(transparent)]
    Key(#[from] KeyError),
    /// See [`KnownHostsError`].
    #[error(transparent)]
    KnownHosts(#[from] KnownHostsError),
    /// See [`EntryError`].
    #[error(transparent)]
    Entry(#[from] EntryError),
}

impl Classified for LocalError {
    fn class(&self) -> Class {
        match self {
            LocalError::Change(error) => error.class(),
            LocalError::Key(error) => error.class(),
            LocalError::KnownHosts(error) => error.class(),
            LocalError::Entry(error) => error.class(),
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            LocalError::Change(error) => error.hint(),
            LocalError::Key(error) => error.hint(),
            LocalError::KnownHosts(error) => error.hint(),
            LocalError::Entry(error) => error.hint(),
        }
    }
}

/// The directories that everything else lies in.
pub fn directories(places: &Places) -> Vec<Change> {
    [&places.ssh_dir, &places.owned_dir].into_iter().filter_map(|dir| Change::make_dir(dir, 0o700, places)).collect()
}

/// The jump host, as an entry names it.
#[derive(Clone, Debug)]
pub struct Jump {
    /// Its alias.
    pub alias: DeviceName,
    /// Name or address.
    pub hostname: String,
    /// Port of its sshd.
    pub port: u16,
    /// Login there.
    pub user: String,
    /// The private key for it.
    pub key: PathBuf,
}

/// Key and entry of the jump host. An entry that the user wrote stays; then the key it names is made, should it be missing.
pub fn jump(jump: &Jump, known: &Entry, new: &NewKey, places: &Places) -> Result<Vec<Change>, LocalError> {
    let mut changes = directories(places);
    changes.extend(key::ensure(&jump.key, new, places)?);
    let mut owned = Owned::load(places)?;
    if !matches!(known, Entry::HandWritten { .. }) {
        let identity_file = identity_file(&jump.key, places);
        let Jump { alias, hostname, port, user, .. } = jump;
        owned.set(&ssh_config::Entry::of_jump(alias, hostname, *port, user, &identity_file)?);
    }
    changes.extend(owned.change(places));
    changes.extend(ssh_config::include(&ssh_config::included(places)?, places)?);
    Ok(changes)
}

/// Keys and entries of Pis.
pub fn pis(
    pis: &[Pi],
    onboarding: &Onboarding,
    kind: KeyType,
    passphrase: Option<&zeroize::Zeroizing<String>>,
    places: &Places,
) -> Result<Vec<Change>, LocalError> {
    let mut changes = directories(places);
    for pi in pis {
        let comment = format!("pipeline {}", pi.name);
        changes.extend(key::ensure(&pi.key, &NewKey { kind, comment, passphrase: passphrase.cloned() }, places)?);
        // Who takes it in again does not want it removed any more.
        changes.extend(Removal::of(&pi.key).end(places));
    }
    let mut owned = Owned::load(places)?;
    for pi in pis.iter().filter(|pi| !matches!(pi.entry, Entry::HandWritten { .. })) {
        owned.set(&ssh_config::Entry::of_pi(pi, onboarding, &identity_file(&pi.key, places))?);
    }
    changes.extend(owned.change(places));
    changes.extend(ssh_config::include(&ssh_config::included(places)?, places)?);
    Ok(changes)
}

/// Host keys of a machine that a person has accepted, unless `fleet` has them by now.
pub fn pin(host: &HostParams, keys: &[HostKey], fleet: &[Known], places: &Places) -> Result<Vec<Change>, LocalError> {
    let mut changes = directories(places);
    changes.extend(known_hosts::pin(host, keys, fleet, places)?);
    Ok(changes)
}

/// The path of a key as an entry has it: `~/.ssh/raspberry31`, so that a home may move.
pub fn identity_file(key: &Path, places: &Places) -> String {
    places.show(key)
}
