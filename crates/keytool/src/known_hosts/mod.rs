//! The user's known_hosts: pinned keys in, forgotten names out.
//!
//! Guarantees: names are written hashed, as `ssh-keygen -H` does; all other lines stay byte for byte; a key that is pinned already
//! is not pinned twice; what is pinned for a host is pinned where OpenSSH looks it up; and no key is pinned that another machine of
//! the fleet has, nor beside another key of the same name, as the files are at that moment. Leaves to others: whether a key is the
//! right one, and reading for strict checks ([`host_key`]).

#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use pipeline_core::ssh::host_key::{self, Entry, HostKey, HostKeyError, Marker, Place, known_hosts_files, lookup_name};
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

/// What somebody accepted by hand at the port of a host, which is looked up by another name.
pub fn by_port(host: &HostParams) -> Result<Vec<Entry>, HostKeyError> {
    let (name, by_port) = (lookup_name(host), format!("[{}]:{}", host.hostname, host.port));
    let entries = host_key::entries(&known_hosts_files(host))?.into_iter();
    let is_it = |entry: &Entry| entry.marker == Marker::None && entry.is_about(&by_port) && !entry.is_about(&name);
    Ok(entries.filter(is_it).collect())
}

/// The lines about a host that [`forget`] leaves, because they are about others too or not in a file of the user's.
pub fn staying(host: &HostParams) -> Result<Vec<Place>, HostKeyError> {
    let name = lookup_name(host);
    let entries = host_key::entries(&known_hosts_files(host))?.into_iter();
    let stays = |entry: &Entry| {
        let is_forgotten = host.user_known_hosts_files.contains(&entry.place.file) && is_alone(entry, &name);
        entry.marker == Marker::None && entry.is_about(&name) && !is_forgotten
    };
    Ok(entries.filter(stays).map(|entry| entry.place).collect())
}

/// Whether a line is about this name and no other.
fn is_alone(entry: &Entry, name: &str) -> bool {
    let one = entry.is_hashed() || entry.names.eq_ignore_ascii_case(name.as_bytes());
    entry.marker == Marker::None && one && entry.is_about(name)
}

/// Names that machines of the fleet have in known_hosts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Known {
    /// One of them.
    Machine {
        /// The alias of the machine.
        host: String,
        /// The name.
        name: String,
        /// Where it is looked up.
        files: Vec<PathBuf>,
    },
    /// Those that numbers make, up to the last: of Pis that have no entry yet, or only their tunnel.
    Numbered {
        /// `raspberry{id}`.
        pattern: String,
        /// The last number.
        last: u16,
    },
}

impl Known {
    /// The machine that a line is about, if it is another than `host`.
    fn other(&self, entry: &Entry, host: &str) -> Option<String> {
        match self {
            Known::Machine { host: other, name, .. } => (other != host && entry.is_about(name)).then(|| other.clone()),
            Known::Numbered { pattern, last } => {
                let names = (0..=*last).map(|id| pattern.replacen("{id}", &id.to_string(), 1));
                names.filter(|name| name != host).find(|name| entry.is_about(name))
            }
        }
    }
}

/// Another machine of the fleet that has this key, and the line that says so: the sign of a cloned card.
pub fn other_with(key: &HostKey, host: &HostParams, fleet: &[Known]) -> Result<Option<(String, Place)>, HostKeyError> {
    let mut files = known_hosts_files(host);
    for known in fleet {
        if let Known::Machine { host: other, files: theirs, .. } = known
            && *other != host.alias
        {
            let new: Vec<PathBuf> = theirs.iter().filter(|file| !files.contains(file)).cloned().collect();
            files.extend(new);
        }
    }
    // What somebody accepted by hand, before there was a HostKeyAlias, is about the same machine.
    let by_port = format!("[{}]:{}", host.hostname, host.port);
    let elsewhere = host_key::others_with(key, &lookup_name(host), &files)?;
    let mut elsewhere = elsewhere.into_iter().filter(|entry| !entry.is_about(&by_port));
    Ok(elsewhere.find_map(|entry| {
        let other = fleet.iter().find_map(|known| known.other(&entry, &host.alias))?;
        Some((other, entry.place))
    }))
}

/// Pins keys for a host, in the first of the files that the OpenSSH config has it looked up in.
///
/// Whoever judged the keys did so before the lock was taken: what was pinned since then counts.
pub fn pin(
    host: &HostParams,
    keys: &[HostKey],
    fleet: &[Known],
    places: &Places,
) -> Result<Option<Change>, KnownHostsError> {
    if keys.is_empty() {
        return Ok(None);
    }
    let no_file = || KnownHostsError::NoFile(host.alias.clone());
    let path = host.user_known_hosts_files.first().ok_or_else(no_file)?;
    let name = lookup_name(host);
    let known = pinned(host)?;
    if let Some(other) = known.first().filter(|_| !known.iter().any(|key| keys.contains(key))) {
        let (host, key) = (host.alias.clone(), other.to_string());
        return Err(KnownHostsError::Taken { host, name, key });
    }
    for key in keys {
        if let Some((other, place)) = other_with(key, host, fleet)? {
            let (name, key) = (host.alias.clone(), key.to_string());
            return Err(KnownHostsError::Cloned { name, key, other, place });
        }
    }
    let mut file = KnownHosts::load(path)?;
    file.pin(&name, keys);
    Ok(file.change(places))
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
        let only = self.entries.iter().filter(|entry| is_alone(entry, name));
        let numbers: Vec<usize> = only.map(|entry| entry.place.line).collect();
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
    /// Another machine got the name meanwhile, or shares it.
    #[error("'{host}' is looked up as '{name}', for which {key} is pinned")]
    Taken {
        /// The machine.
        host: String,
        /// Its name in known_hosts.
        name: String,
        /// Kind and fingerprint of the key that stands there.
        key: String,
    },
    /// Another machine got the key meanwhile.
    #[error("'{name}' shows {key}, which is the host key of '{other}' too ({place})")]
    Cloned {
        /// The machine.
        name: String,
        /// Kind and fingerprint.
        key: String,
        /// The other machine.
        other: String,
        /// The line that says so.
        place: Place,
    },
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
            KnownHostsError::Taken { .. } | KnownHostsError::Cloned { .. } => pipeline_core::error::Class::HostKey,
            KnownHostsError::Change(error) => error.class(),
            KnownHostsError::HostKey(error) => error.class(),
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            KnownHostsError::NoFile(_) => Some("let UserKnownHostsFile name a file for it, not 'none'".into()),
            KnownHostsError::Taken { .. } => Some(
                "each machine needs a name of its own there: see HostKeyAlias, HostName and Port in its entry".into(),
            ),
            KnownHostsError::Cloned { .. } => Some(
                "one machine has two numbers, or one card is a copy of the other: 'keytool fingerprint' shows both"
                    .into(),
            ),
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
