//! A host key as it goes over the wire, and the forms in which people and files know it.

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD};
use sha2::{Digest, Sha256};

/// The public key of a machine. Displays as type and fingerprint: `ssh-ed25519 SHA256:…`.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct HostKey {
    blob: Vec<u8>,
}

impl HostKey {
    /// A key in the form of the protocol; none for bytes that do not begin with the name of their type.
    pub fn from_blob(blob: &[u8]) -> Option<HostKey> {
        let kind = key_type(blob);
        let plain = !kind.is_empty() && kind.bytes().all(|byte| byte.is_ascii_graphic());
        plain.then(|| HostKey { blob: blob.to_vec() })
    }

    /// Reads `TYPE BASE64 [comment]`, as a `.pub` file has it; the base64 must be of that type.
    pub fn parse(line: &str) -> Option<HostKey> {
        HostKey::read(line.trim_ascii_start().as_bytes()).map(|(key, _)| key)
    }

    /// Reads `TYPE BASE64` at the beginning of a line, and gives what comes after it: as OpenSSH's `sshkey_read` does, to which
    /// only blanks and tabs end a word, and white space within the base64 is none of it. A comment may be in any encoding.
    pub fn read(line: &[u8]) -> Option<(HostKey, &[u8])> {
        let (kind, rest) = word(line);
        let (base64, rest) = word(rest);
        let base64: Vec<u8> = base64.iter().copied().filter(|&byte| !is_c_space(byte)).collect();
        let key = HostKey::from_blob(&STANDARD.decode(base64).ok()?)?;
        (key.algorithm().as_bytes() == kind).then_some((key, rest))
    }

    /// `ssh-ed25519`, `ecdsa-sha2-nistp256`, `ssh-rsa`, …
    pub fn algorithm(&self) -> &str {
        key_type(&self.blob)
    }

    /// As `ssh-keygen -l` shows it: `SHA256:…`.
    pub fn fingerprint(&self) -> String {
        fingerprint(&self.blob)
    }

    /// As known_hosts has it: `TYPE BASE64`.
    pub fn openssh(&self) -> String {
        format!("{} {}", self.algorithm(), STANDARD.encode(&self.blob))
    }

    /// The form of the protocol.
    pub fn blob(&self) -> &[u8] {
        &self.blob
    }
}

impl std::fmt::Display for HostKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&describe(&self.blob))
    }
}

impl std::fmt::Debug for HostKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "HostKey({self})")
    }
}

/// A word, and what comes after it and the blanks that end it.
pub(super) fn word(line: &[u8]) -> (&[u8], &[u8]) {
    let is_blank = |byte: &u8| matches!(byte, b' ' | b'\t');
    let (word, rest) = line.split_at(line.iter().position(is_blank).unwrap_or(line.len()));
    (word, &rest[rest.iter().position(|byte| !is_blank(byte)).unwrap_or(rest.len())..])
}

/// C's `isspace`.
fn is_c_space(byte: u8) -> bool {
    byte.is_ascii_whitespace() || byte == 0x0b
}

/// The fingerprint of a public key in the form of the protocol, as `ssh-keygen -l` shows it.
fn fingerprint(blob: &[u8]) -> String {
    format!("SHA256:{}", STANDARD_NO_PAD.encode(Sha256::digest(blob)))
}

/// Type, and fingerprint as `ssh-keygen -l` shows it.
pub(super) fn describe(blob: &[u8]) -> String {
    format!("{} {}", key_type(blob), fingerprint(blob))
}

/// The type that a key itself names; empty for bytes that are no key.
pub(super) fn key_type(blob: &[u8]) -> &str {
    let name = blob.split_first_chunk().and_then(|(length, rest)| rest.get(..u32::from_be_bytes(*length) as usize));
    name.and_then(|name| std::str::from_utf8(name).ok()).unwrap_or_default()
}
