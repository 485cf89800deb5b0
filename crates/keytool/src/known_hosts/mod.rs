//! The user's known_hosts: pinned keys in, forgotten names out.
//!
//! Guarantees: names are written hashed, as `ssh-keygen -H` does; all other lines stay byte for byte; a key that is pinned already
//! is not pinned twice; what is pinned for a host is pinned where OpenSSH looks it up. Leaves to others: whether a key is the right
//! one, and reading for strict checks ([`host_key`]).

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use pipeline_core::ssh::host_key::{self, Entry, HostKey, HostKeyError, Marker, known_hosts_files, lookup_name};
use pipeline_core::ssh_config::HostParams;
use sha1::Sha1;
use ssh_key::rand_core::{OsRng, RngCore as _};

use crate::changes::{Change, ChangeError, Original};
use crate::places::Places;

/// The keys that are pinned for a host, in whichever of its files.
pub fn pinned(host: &HostParams) -> Result<Vec<HostKey>, HostKeyError> {
    let name = lookup_name(host);
    let mut keys = Vec::new();
    for entry in host_key::entries(&known_hosts_files(host))? {
        if entry.marker == Marker::None && entry.is_about(&name) && !keys.contains(&entry.key) {
            keys.push(entry.key);
        }
    }
    Ok(keys)
}

/// Pins keys for hosts, each in the first of the files that the OpenSSH config has it looked up in.
pub fn pin(pins: &[(HostParams, Vec<HostKey>)], places: &Places) -> Result<Vec<Change>, KnownHostsError> {
    let mut files: BTreeMap<&PathBuf, KnownHosts> = BTreeMap::new();
    for (host, keys) in pins.iter().filter(|(_, keys)| !keys.is_empty()) {
        let no_file = || KnownHostsError::NoFile(host.alias.clone());
        let path = host.user_known_hosts_files.first().ok_or_else(no_file)?;
        let file = match files.remove(path) {
            Some(file) => file,
            None => KnownHosts::load(path)?,
        };
        files.entry(path).or_insert(file).pin(&lookup_name(host), keys);
    }
    Ok(files.into_values().filter_map(|file| file.change(places)).collect())
}

/// Takes the keys of a host out of the user's files that it is looked up in.
pub fn forget(host: &HostParams, places: &Places) -> Result<Vec<Change>, KnownHostsError> {
    let name = lookup_name(host);
    let mut changes = Vec::new();
    for path in &host.user_known_hosts_files {
        // One that says nothing of it need not be one that can be replaced: /dev/null is none.
        if !host_key::entries(std::slice::from_ref(path))?.iter().any(|entry| entry.is_about(&name)) {
            continue;
        }
        let mut file = KnownHosts::load(path)?;
        file.forget(&name);
        changes.extend(file.change(places));
    }
    Ok(changes)
}

/// One file, and what is to become of it.
#[derive(Clone, Debug)]
struct KnownHosts {
    path: PathBuf,
    original: Original,
    /// All lines with their line breaks.
    lines: Vec<Vec<u8>>,
    /// The lines that hold a key; their line numbers are those of the file as it was read.
    entries: Vec<Entry>,
    done: Vec<String>,
}

impl KnownHosts {
    /// Reads it; a missing one is empty.
    fn load(path: &Path) -> Result<KnownHosts, KnownHostsError> {
        let path = path.to_owned();
        let original = Original::read(&path)?;
        let entries = host_key::entries(std::slice::from_ref(&path))?;
        let bytes = original.bytes().map_or(&[][..], Vec::as_slice);
        let lines = bytes.split_inclusive(|&byte| byte == b'\n').map(<[u8]>::to_vec).collect();
        Ok(KnownHosts { path, original, lines, entries, done: Vec::new() })
    }

    /// The keys that are pinned for a name.
    fn keys(&self, name: &str) -> Vec<&HostKey> {
        let about = self.entries.iter().filter(|entry| entry.marker == Marker::None && entry.is_about(name));
        about.map(|entry| &entry.key).collect()
    }

    /// Pins keys for a name, those that are not pinned yet.
    fn pin(&mut self, name: &str, keys: &[HostKey]) {
        let known = self.keys(name);
        let new: Vec<HostKey> = keys.iter().filter(|key| !known.contains(key)).cloned().collect();
        if new.is_empty() {
            return;
        }
        if let Some(last) = self.lines.last_mut()
            && !last.ends_with(b"\n")
        {
            last.push(b'\n');
        }
        self.done.push(format!("pin {} of {name}", count(new.len(), "host key")));
        self.lines.extend(new.iter().map(|key| format!("{} {}\n", hashed(name), key.openssh()).into_bytes()));
    }

    /// Takes all keys of a name out, and says how many there were. Revocations stay, and so do lines that are about more hosts
    /// than this one.
    fn forget(&mut self, name: &str) -> usize {
        let only = |entry: &&Entry| {
            let one = entry.is_hashed() || entry.names.eq_ignore_ascii_case(name.as_bytes());
            entry.marker == Marker::None && one && entry.is_about(name)
        };
        let numbers: Vec<usize> = self.entries.iter().filter(only).map(|entry| entry.place.line).collect();
        for number in &numbers {
            // Emptied, not removed: the numbers of the lines below must stay true until the file is written.
            if let Some(line) = self.lines.get_mut(number - 1) {
                line.clear();
            }
        }
        self.entries.retain(|entry| !numbers.contains(&entry.place.line));
        if !numbers.is_empty() {
            self.done.push(format!("forget {} of {name}", count(numbers.len(), "host key")));
        }
        numbers.len()
    }

    /// The change that makes it so; none where nothing was done.
    fn change(self, places: &Places) -> Option<Change> {
        if self.done.is_empty() {
            return None;
        }
        let words = format!("{} in {}", self.done.join(", "), places.show(&self.path));
        Change::replace(self.original, 0o600, self.lines.concat(), words)
    }
}

/// Why no file can be used.
#[derive(Debug, thiserror::Error)]
pub enum KnownHostsError {
    /// A host that the OpenSSH config has looked up nowhere.
    #[error("the OpenSSH config names no file that a host key of '{0}' could be pinned in")]
    NoFile(String),
    /// See [`ChangeError`].
    #[error(transparent)]
    Change(#[from] ChangeError),
    /// See [`HostKeyError`].
    #[error(transparent)]
    HostKey(#[from] HostKeyError),
}

impl pipeline_core::error::Classified for KnownHostsError {
    fn class(&self) -> pipeline_core::error::Class {
        match self {
            KnownHostsError::NoFile(_) => pipeline_core::error::Class::Config,
            KnownHostsError::Change(error) => error.class(),
            KnownHostsError::HostKey(error) => error.class(),
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            KnownHostsError::NoFile(_) => Some("let UserKnownHostsFile name a file for it, not 'none'".into()),
            KnownHostsError::Change(error) => error.hint(),
            KnownHostsError::HostKey(error) => error.hint(),
        }
    }
}

/// `|1|SALT|HASH`, as `ssh-keygen -H` writes it. OpenSSH looks names up in lower case.
fn hashed(name: &str) -> String {
    let mut salt = [0; 20];
    OsRng.fill_bytes(&mut salt);
    // HMAC takes keys of every length.
    let Ok(mut mac) = Hmac::<Sha1>::new_from_slice(&salt) else { return name.to_owned() };
    mac.update(name.to_lowercase().as_bytes());
    format!("|1|{}|{}", STANDARD.encode(salt), STANDARD.encode(mac.finalize().into_bytes()))
}

fn count(number: usize, noun: &str) -> String {
    program::words::count(number as u64, noun)
}
