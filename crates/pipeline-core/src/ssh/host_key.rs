//! Is it the right machine? Host keys against known_hosts files.
//!
//! Guarantees (invariant I5): a key is accepted only where a line of the files that the OpenSSH config names holds exactly these
//! bytes for exactly this name; a revoked key never is; nothing is ever learnt. Lines are read as OpenSSH reads them: lists,
//! `*` and `?`, `!`, hashed names, `[host]:port`. One thing is stricter: a host on another port than 22 is never looked up
//! without its port, because a fleet behind reverse tunnels is one `localhost` with a hundred ports.
//!
//! Leaves to others: which files and which name (`ssh_config`), and the proof that the peer owns the key (libssh2).
//! Certificates (`@cert-authority`) are not supported; a refusal says so where such a line exists.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD};
use hmac::{Hmac, KeyInit, Mac};
use sha1::Sha1;
use sha2::{Digest, Sha256};

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
    lines: Vec<Line>,
}

/// One line that is about the host.
#[derive(Debug)]
struct Line {
    place: Place,
    marker: Marker,
    key: Vec<u8>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Marker {
    None,
    Revoked,
    Authority,
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
        let files: Vec<PathBuf> =
            host.user_known_hosts_files.iter().chain(&host.global_known_hosts_files).cloned().collect();
        let mut lines = Vec::new();
        for file in &files {
            match std::fs::read(file) {
                Ok(text) => lines.extend(matching_lines(&text, file, &name)),
                Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => {}
                Err(source) => return Err(HostKeyError::Read { path: file.clone(), source }),
            }
        }
        Ok(HostKeys { name, files, lines })
    }

    /// The algorithms to offer, in libssh2's form: first those whose keys are known, so that a server with several keys shows
    /// one that can be compared. The others follow: a wrong key makes a better message than no common algorithm.
    pub fn algorithms(&self) -> String {
        let known: Vec<&str> = self.plain().map(|line| key_type(&line.key)).collect();
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
        if let Some(line) = self.lines.iter().find(|line| line.marker == Marker::Revoked && line.key == key) {
            return Err(HostKeyError::Revoked { name, shown, place: line.place.clone() });
        }
        if self.plain().any(|line| line.key == key) {
            return Ok(());
        }
        let same_type = self.plain().find(|line| key_type(&line.key) == key_type(key));
        if let Some(line) = same_type.or_else(|| self.plain().next()) {
            let (place, expected) = (line.place.clone(), describe(&line.key));
            return Err(HostKeyError::Changed { name, shown, place, expected });
        }
        let authority = self.lines.iter().find(|line| line.marker == Marker::Authority);
        let authority = authority.map(|line| line.place.clone());
        Err(HostKeyError::Unknown { name, shown, files: self.files.clone(), authority })
    }

    fn plain(&self) -> impl Iterator<Item = &Line> {
        self.lines.iter().filter(|line| line.marker == Marker::None)
    }
}

/// `HostKeyAlias` alone, without a port; else the host, with its port unless that is 22.
fn lookup_name(host: &HostParams) -> String {
    match &host.host_key_alias {
        Some(alias) => alias.clone(),
        None if host.port == 22 => host.hostname.to_lowercase(),
        None => format!("[{}]:{}", host.hostname.to_lowercase(), host.port),
    }
}

/// Type, and fingerprint as `ssh-keygen -l` shows it.
fn describe(key: &[u8]) -> String {
    format!("{} SHA256:{}", key_type(key), STANDARD_NO_PAD.encode(Sha256::digest(key)))
}

/// The type that a key itself names; empty for bytes that are no key.
fn key_type(key: &[u8]) -> &str {
    let name = key.split_first_chunk().and_then(|(length, rest)| rest.get(..u32::from_be_bytes(*length) as usize));
    name.and_then(|name| std::str::from_utf8(name).ok()).unwrap_or_default()
}

fn matching_lines(text: &[u8], file: &Path, name: &str) -> Vec<Line> {
    let mut found = Vec::new();
    for (index, line) in text.split(|&byte| byte == b'\n').enumerate() {
        let Ok(line) = std::str::from_utf8(line) else { continue };
        if let Some((marker, key)) = matching_line(line, name) {
            let place = Place { file: file.to_owned(), line: index + 1 };
            found.push(Line { place, marker, key });
        }
    }
    found
}

/// Marker and key of a line that is about `name`; lines that OpenSSH would skip are skipped.
fn matching_line(line: &str, name: &str) -> Option<(Marker, Vec<u8>)> {
    let mut words = line.split_ascii_whitespace();
    let mut names = words.next().filter(|word| !word.starts_with('#'))?;
    let marker = match names {
        "@revoked" => Marker::Revoked,
        "@cert-authority" => Marker::Authority,
        word if word.starts_with('@') => return None,
        _ => Marker::None,
    };
    if marker != Marker::None {
        names = words.next()?;
    }
    let (kind, key) = (words.next()?, words.next()?);
    let about_it = match names.strip_prefix("|1|") {
        Some(hashed) => is_hash_of(hashed, name)?,
        None => is_listed(names, name),
    };
    let key = STANDARD.decode(key).ok().filter(|_| about_it)?;
    (key_type(&key) == kind).then_some((marker, key))
}

/// Whether `SALT|HASH` is what `ssh-keygen -H` makes of a name; none where it is not of that form.
fn is_hash_of(hashed: &str, name: &str) -> Option<bool> {
    let (salt, hash) = hashed.split_once('|')?;
    let (salt, hash) = (STANDARD.decode(salt).ok()?, STANDARD.decode(hash).ok()?);
    let mut mac = Hmac::<Sha1>::new_from_slice(&salt).ok()?;
    mac.update(name.as_bytes());
    Some(mac.verify_slice(&hash).is_ok())
}

/// Whether a list of patterns matches: at least one does, and none that starts with `!`.
fn is_listed(patterns: &str, name: &str) -> bool {
    let name = name.to_lowercase();
    let mut listed = false;
    for pattern in patterns.split(',') {
        let (negated, pattern) = match pattern.strip_prefix('!') {
            Some(pattern) => (true, pattern),
            None => (false, pattern),
        };
        if matches(pattern.to_lowercase().as_bytes(), name.as_bytes()) {
            if negated {
                return false;
            }
            listed = true;
        }
    }
    listed
}

/// `*` is any run of characters, `?` is any one. Brackets mean themselves.
fn matches(pattern: &[u8], name: &[u8]) -> bool {
    let (mut p, mut n) = (0, 0);
    // Where the last star was, and how much of the name it covers so far.
    let mut star = None;
    while n < name.len() {
        match pattern.get(p) {
            Some(b'*') => {
                star = Some((p, n));
                p += 1;
            }
            Some(&c) if c == b'?' || c == name[n] => (p, n) = (p + 1, n + 1),
            _ => match star {
                Some((at, covered)) => {
                    (p, n) = (at + 1, covered + 1);
                    star = Some((at, covered + 1));
                }
                None => return false,
            },
        }
    }
    pattern[p..].iter().all(|&c| c == b'*')
}
