//! Is it the right machine? Host keys against known_hosts files.
//!
//! Guarantees (invariant I5): a key is accepted only where a line of the files that the OpenSSH config names holds exactly these
//! bytes for exactly this name; a revoked key never is; nothing is ever learnt. Lines are read as OpenSSH reads them: lists,
//! `*` and `?`, `!`, hashed names, `[host]:port`. One thing is stricter: a host on another port than 22 is never looked up
//! without its port, because a fleet behind reverse tunnels is one `localhost` with a hundred ports.
//!
//! Leaves to others: which files and which name (`ssh_config`), and the proof that the peer owns the key (libssh2).
//! Certificates (`@cert-authority`) are not supported; a refusal says so where such a line exists.

mod key;
mod line;

use std::io::ErrorKind;
use std::path::PathBuf;

use key::{describe, key_type};

pub use key::HostKey;
pub use line::{Entry, Marker};

use crate::error::{Class, Classified};
use crate::ssh_config::HostParams;

/// Why a host key was not accepted.
#[derive(Debug, thiserror::Error)]
pub enum HostKeyError {
    /// A known_hosts file exists and can't be read.
    #[error("can't read {}", path.display())]
    Read {
        /// Which.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// No file has a key of this host.
    #[error("no known_hosts file has a key for '{name}', which shows {shown}")]
    Unknown {
        /// The name that was looked up.
        name: String,
        /// Where.
        files: Vec<PathBuf>,
        /// Type and fingerprint of the key that the host showed.
        shown: String,
        /// A certificate authority is trusted for the host, which is not supported.
        authority: Option<Place>,
    },
    /// The files have other keys for this host.
    #[error("'{name}' shows {shown}, but {place} says {expected}")]
    Changed {
        /// The name that was looked up.
        name: String,
        /// Type and fingerprint of the key that the host showed.
        shown: String,
        /// The line that says otherwise.
        place: Place,
        /// Type and fingerprint there.
        expected: String,
    },
    /// It is none of the keys that a person has confirmed.
    #[error("'{name}' shows {shown}, which is not {}", expected.join(" or "))]
    Unexpected {
        /// The name of the host in known_hosts.
        name: String,
        /// Type and fingerprint of the key that the host showed.
        shown: String,
        /// Types and fingerprints of those that were confirmed.
        expected: Vec<String>,
    },
    /// The key is marked as revoked.
    #[error("'{name}' shows {shown}, which {place} revokes")]
    Revoked {
        /// The name that was looked up.
        name: String,
        /// Type and fingerprint of the key that the host showed.
        shown: String,
        /// The line that revokes it.
        place: Place,
    },
}

/// A line of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// The file.
    pub file: PathBuf,
    /// The line, from 1.
    pub line: usize,
}

impl std::fmt::Display for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}:{}", self.file.display(), self.line)
    }
}

impl Classified for HostKeyError {
    fn class(&self) -> Class {
        match self {
            HostKeyError::Read { .. } => Class::Config,
            _ => Class::HostKey,
        }
    }

    fn hint(&self) -> Option<String> {
        Some(match self {
            HostKeyError::Read { path, .. } => format!("make {} readable for this user", path.display()),
            HostKeyError::Unknown { authority: Some(place), .. } => {
                format!("{place} trusts a certificate authority, which is not supported: add the host's own key")
            }
            HostKeyError::Unknown { files, .. } => {
                let file = files.first().map_or("known_hosts".into(), |file| file.display().to_string());
                format!(
                    "log in once with ssh, compare the fingerprint with what 'ssh-keygen -lf' shows on the machine itself, and accept \
                     it into {file}"
                )
            }
            HostKeyError::Changed { name, place, .. } => format!(
                "either the machine was set up anew or another one answers in its place; once you know which, \
                 \"ssh-keygen -R '{name}' -f {}\" forgets the old key",
                place.file.display()
            ),
            HostKeyError::Unexpected { .. } => {
                "another machine answers in its place, or it was set up anew a moment ago: compare with what \
                 'ssh-keygen -lf' shows on the machine itself"
                    .into()
            }
            HostKeyError::Revoked { .. } => {
                "somebody marked this key as stolen: do not use the machine before it has new keys".into()
            }
        })
    }
}

/// What the known_hosts files say of one host.
#[derive(Debug)]
pub struct HostKeys {
    name: String,
    files: Vec<PathBuf>,
    /// Those that are about the host.
    lines: Vec<Entry>,
    /// Where a person has said which keys they must be, whatever the files say.
    exactly: Option<Vec<HostKey>>,
}

/// libssh2's names for host-key algorithms, best first.
const ALGORITHMS: [&str; 6] = [
    "ssh-ed25519",
    "ecdsa-sha2-nistp256",
    "ecdsa-sha2-nistp384",
    "ecdsa-sha2-nistp521",
    "rsa-sha2-512",
    "rsa-sha2-256",
];

impl HostKeys {
    /// Reads the files that `host` names. Missing ones are empty.
    pub fn load(host: &HostParams) -> Result<HostKeys, HostKeyError> {
        let name = lookup_name(host);
        let files = known_hosts_files(host);
        let mut lines = entries(&files)?;
        lines.retain(|line| line.is_about(&name));
        Ok(HostKeys { name, files, lines, exactly: None })
    }

    /// Accepts `keys` and no others, whatever the files that `host` names say; but what they revoke stays revoked.
    pub fn exactly(host: &HostParams, keys: &[HostKey]) -> Result<HostKeys, HostKeyError> {
        Ok(HostKeys { exactly: Some(keys.to_vec()), ..HostKeys::load(host)? })
    }

    /// The algorithms to offer, in libssh2's form: first those whose keys are known, so that a server with several keys shows
    /// one that can be compared. The others follow: a wrong key makes a better message than no common algorithm.
    pub fn algorithms(&self) -> String {
        let known: Vec<&str> = match &self.exactly {
            Some(keys) => keys.iter().map(HostKey::algorithm).collect(),
            None => self.plain().map(|line| line.key.algorithm()).collect(),
        };
        let is_known = |algorithm: &&str| match *algorithm {
            "rsa-sha2-512" | "rsa-sha2-256" => known.contains(&"ssh-rsa"),
            other => known.contains(&other),
        };
        let (mut offered, others): (Vec<&str>, Vec<&str>) = ALGORITHMS.iter().partition(|a| is_known(a));
        offered.extend(others);
        offered.join(",")
    }

    /// Accepts a key, given as in the protocol, or says why not.
    pub fn verify(&self, key: &[u8]) -> Result<(), HostKeyError> {
        let (name, shown) = (self.name.clone(), describe(key));
        if let Some(line) = self.lines.iter().find(|line| line.marker == Marker::Revoked && line.key.blob() == key) {
            return Err(HostKeyError::Revoked { name, shown, place: line.place.clone() });
        }
        if let Some(keys) = &self.exactly {
            if keys.iter().any(|one| one.blob() == key) {
                return Ok(());
            }
            let expected = keys.iter().map(HostKey::to_string).collect();
            return Err(HostKeyError::Unexpected { name, shown, expected });
        }
        if self.plain().any(|line| line.key.blob() == key) {
            return Ok(());
        }
        let same_type = self.plain().find(|line| line.key.algorithm() == key_type(key));
        if let Some(line) = same_type.or_else(|| self.plain().next()) {
            let (place, expected) = (line.place.clone(), line.key.to_string());
            return Err(HostKeyError::Changed { name, shown, place, expected });
        }
        let authority = self.lines.iter().find(|line| line.marker == Marker::Authority);
        let authority = authority.map(|line| line.place.clone());
        Err(HostKeyError::Unknown { name, shown, files: self.files.clone(), authority })
    }

    fn plain(&self) -> impl Iterator<Item = &Entry> {
        self.lines.iter().filter(|line| line.marker == Marker::None)
    }
}

/// The name under which a host's keys stand in known_hosts: `HostKeyAlias` alone, without a port; else the host, with its port
/// unless that is 22. In lower case, as OpenSSH looks it up: a hashed name has only one.
pub fn lookup_name(host: &HostParams) -> String {
    match &host.host_key_alias {
        Some(alias) => alias.to_lowercase(),
        None if host.port == 22 => host.hostname.to_lowercase(),
        None => format!("[{}]:{}", host.hostname.to_lowercase(), host.port),
    }
}

/// The files that a host's keys may stand in, in the order of the OpenSSH config.
pub fn known_hosts_files(host: &HostParams) -> Vec<PathBuf> {
    host.user_known_hosts_files.iter().chain(&host.global_known_hosts_files).cloned().collect()
}

/// Every line of these files that holds a key, in order; lines that OpenSSH would skip are skipped. Missing files are empty.
pub fn entries(files: &[PathBuf]) -> Result<Vec<Entry>, HostKeyError> {
    let mut found = Vec::new();
    for file in files {
        match std::fs::read(file) {
            Ok(text) => found.extend(line::parse(&text, file)),
            Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => {}
            Err(source) => return Err(HostKeyError::Read { path: file.clone(), source }),
        }
    }
    Ok(found)
}

/// The lines of these files that hold this key for another host than `name`: the sign of a cloned card.
///
/// Names may be hashed: [`Entry::is_about`] tells for a name at hand.
pub fn others_with(key: &HostKey, name: &str, files: &[PathBuf]) -> Result<Vec<Entry>, HostKeyError> {
    let mut found = entries(files)?;
    found.retain(|entry| entry.marker == Marker::None && entry.key == *key && !entry.is_about(name));
    Ok(found)
}
