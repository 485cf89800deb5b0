//! Lines of known_hosts files, read as OpenSSH reads them: as bytes, whatever their encoding. A line that it reads and we did not
//! could be the one that revokes a key.

use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use sha1::Sha1;

use super::key::word;
use super::{HostKey, Place};

/// One line that holds a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Where it stands.
    pub place: Place,
    /// What it says of the key.
    pub marker: Marker,
    /// Whose key it is, as written: a list of patterns, or hashed (`|1|SALT|HASH`).
    pub names: Vec<u8>,
    /// The key.
    pub key: HostKey,
}

/// What a line says of its key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Marker {
    /// It is the host's.
    None,
    /// `@revoked`: never accept it.
    Revoked,
    /// `@cert-authority`: it signs host keys.
    Authority,
}

impl Entry {
    /// Whether the line is about a host, given by the name under which it is looked up.
    pub fn is_about(&self, name: &str) -> bool {
        match self.names.strip_prefix(b"|1|") {
            Some(hashed) => is_hash_of(hashed, name).unwrap_or(false),
            None => is_listed(&self.names, name),
        }
    }

    /// Whether the name is hashed, so that it can only be compared with others.
    pub fn is_hashed(&self) -> bool {
        self.names.starts_with(b"|1|")
    }
}

/// The lines of one file.
pub(super) fn parse(text: &[u8], file: &Path) -> Vec<Entry> {
    let mut found = Vec::new();
    for (index, line) in text.split(|&byte| byte == b'\n').enumerate() {
        let place = Place { file: file.to_owned(), line: index + 1 };
        found.extend(entry(line, place));
    }
    found
}

/// None for lines that OpenSSH would skip.
fn entry(line: &[u8], place: Place) -> Option<Entry> {
    let start = line.iter().position(|byte| !matches!(byte, b' ' | b'\t'))?;
    // Its lines are strings of C.
    let end = line.iter().position(|&byte| byte == 0).unwrap_or(line.len());
    let (first, rest) = word(line.get(start..end)?);
    let (marker, names, rest) = match first {
        b"@revoked" => (Marker::Revoked, word(rest).0, word(rest).1),
        b"@cert-authority" => (Marker::Authority, word(rest).0, word(rest).1),
        [b'@' | b'#', ..] => return None,
        names => (Marker::None, names, rest),
    };
    let (key, _) = HostKey::read(rest)?;
    Some(Entry { place, marker, names: names.to_owned(), key })
}

/// Whether `SALT|HASH` is what `ssh-keygen -H` makes of a name, in lower case; none where it is not of that form.
fn is_hash_of(hashed: &[u8], name: &str) -> Option<bool> {
    let (salt, hash) = std::str::from_utf8(hashed).ok()?.split_once('|')?;
    let (salt, hash) = (STANDARD.decode(salt).ok()?, STANDARD.decode(hash).ok()?);
    let mut mac = Hmac::<Sha1>::new_from_slice(&salt).ok()?;
    mac.update(name.to_lowercase().as_bytes());
    Some(mac.verify_slice(&hash).is_ok())
}

/// Whether a list of patterns matches: at least one does, and none that starts with `!`.
fn is_listed(patterns: &[u8], name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    let mut listed = false;
    for pattern in patterns.split(|&byte| byte == b',') {
        let (negated, pattern) = match pattern.strip_prefix(b"!") {
            Some(pattern) => (true, pattern),
            None => (false, pattern),
        };
        if matches(&pattern.to_ascii_lowercase(), name.as_bytes()) {
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
