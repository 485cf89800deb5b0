//! Private keys on disk: may this file be used, and what is in it?
//!
//! Guarantees that a key which others can read is refused, as OpenSSH refuses it, and that every way in which a file can't be
//! used has its own [`KeyProblem`]. Only looks at the envelope: libssh2 does the rest. Passphrases are never asked for. What was
//! read of a private key is erased from memory when dropped, and no `Debug` shows it.

use std::fs::File;
use std::io::{self, ErrorKind, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use zeroize::Zeroizing;

/// Larger than any private key.
const MAX_KEY_BYTES: u64 = 128 * 1024;

/// One `IdentityFile`.
pub struct Identity {
    /// Where it is.
    pub path: PathBuf,
    /// The public key, as in the protocol, where it can be known without the private one.
    pub public: Option<Vec<u8>>,
    /// The private key as text, or why it can't be used. The ssh agent may hold it nevertheless.
    pub private: Result<Zeroizing<String>, KeyProblem>,
}

impl std::fmt::Debug for Identity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let private = self.private.as_ref().map(|_| "…");
        f.debug_struct("Identity").field("path", &self.path).field("private", &private).finish_non_exhaustive()
    }
}

/// Why a private key can't be used.
#[derive(Debug, thiserror::Error)]
pub enum KeyProblem {
    /// There is no such file.
    #[error("no such file")]
    Missing,
    /// It can't be read.
    #[error("can't be read: {}", .0.kind())]
    Unreadable(#[source] io::Error),
    /// Others can read it, or write to it.
    #[error("mode {0:04o}: others have access to it")]
    TooOpen(u32),
    /// It has a passphrase.
    #[error("has a passphrase")]
    Encrypted,
    /// It is the socket of an ssh agent that can't be used; why, in words.
    #[error("{0}")]
    NoAgent(String),
    /// It is no private key of a form that is known.
    #[error("not a private key")]
    NotAKey,
    /// libssh2 can't use it; its words.
    #[error("{0}")]
    Unusable(String),
}

impl Identity {
    /// Looks at one file, and at `FILE.pub` beside it where the public key is not in the file itself.
    pub fn load(path: &Path) -> Identity {
        let (private, public) = match read(path) {
            Ok(text) => match Envelope::of(&text) {
                Envelope::Plain(public) => (Ok(text), public),
                Envelope::Encrypted(public) => (Err(KeyProblem::Encrypted), public),
                // Such a file chooses one of the agent's keys.
                Envelope::Public(public) => (Err(KeyProblem::NotAKey), Some(public)),
                Envelope::Unknown => (Err(KeyProblem::NotAKey), None),
            },
            Err(problem) => (Err(problem), None),
        };
        let public = public.or_else(|| public_file(path));
        Identity { path: path.to_owned(), public, private }
    }
}

fn read(path: &Path) -> Result<Zeroizing<String>, KeyProblem> {
    let unreadable = |error: io::Error| match error.kind() {
        ErrorKind::NotFound | ErrorKind::NotADirectory => KeyProblem::Missing,
        _ => KeyProblem::Unreadable(error),
    };
    let file = File::open(path).map_err(unreadable)?;
    let metadata = file.metadata().map_err(unreadable)?;
    // Large enough from the beginning: a buffer that grows leaves copies behind.
    let mut text = Zeroizing::new(String::with_capacity(usize::try_from(MAX_KEY_BYTES).unwrap_or(usize::MAX)));
    file.take(MAX_KEY_BYTES).read_to_string(&mut text).map_err(|error| match error.kind() {
        ErrorKind::InvalidData => KeyProblem::NotAKey,
        _ => unreadable(error),
    })?;
    // As OpenSSH has it: the mode matters where the file is one's own. A public key may be seen by anybody.
    let own = metadata.uid() == rustix::process::getuid().as_raw();
    if own && metadata.mode() & 0o077 != 0 && text.contains("PRIVATE KEY-----") {
        return Err(KeyProblem::TooOpen(metadata.mode() & 0o7777));
    }
    Ok(text)
}

/// What can be seen of a key file from outside.
#[derive(Debug, PartialEq, Eq)]
enum Envelope {
    Plain(Option<Vec<u8>>),
    Encrypted(Option<Vec<u8>>),
    Public(Vec<u8>),
    Unknown,
}

impl Envelope {
    fn of(text: &str) -> Envelope {
        if let Some(public) = public_line(text) {
            return Envelope::Public(public);
        }
        let Some((label, body)) = pem(text) else { return Envelope::Unknown };
        match label {
            "OPENSSH PRIVATE KEY" => openssh(body).unwrap_or(Envelope::Unknown),
            "ENCRYPTED PRIVATE KEY" => Envelope::Encrypted(None),
            "PRIVATE KEY" => Envelope::Plain(None),
            label if label.ends_with(" PRIVATE KEY") && body.contains("ENCRYPTED") => Envelope::Encrypted(None),
            label if label.ends_with(" PRIVATE KEY") => Envelope::Plain(None),
            _ => Envelope::Unknown,
        }
    }
}

/// Label and body of the first PEM block.
fn pem(text: &str) -> Option<(&str, &str)> {
    let (label, rest) = text.split_once("-----BEGIN ")?.1.split_once("-----")?;
    let (body, _) = rest.split_once("-----END ")?;
    Some((label, body))
}

/// OpenSSH's own form: the `PROTOCOL.key` file of its sources.
fn openssh(body: &str) -> Option<Envelope> {
    let mut base64 = Zeroizing::new(String::with_capacity(body.len()));
    base64.extend(body.split_ascii_whitespace());
    let bytes = Zeroizing::new(STANDARD.decode(&*base64).ok()?);
    let rest = bytes.strip_prefix(b"openssh-key-v1\0")?;
    let (cipher, rest) = string(rest)?;
    let (_kdf, rest) = string(rest)?;
    let (_kdf_options, rest) = string(rest)?;
    let (_keys, rest) = rest.split_first_chunk::<4>()?;
    let public = Some(string(rest)?.0.to_vec());
    Some(if cipher == b"none" { Envelope::Plain(public) } else { Envelope::Encrypted(public) })
}

/// A length and that many bytes; what follows.
fn string(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (length, rest) = bytes.split_first_chunk::<4>()?;
    rest.split_at_checked(u32::from_be_bytes(*length) as usize)
}

fn public_file(path: &Path) -> Option<Vec<u8>> {
    let mut name = path.as_os_str().to_owned();
    name.push(".pub");
    let mut text = String::new();
    File::open(name).ok()?.take(MAX_KEY_BYTES).read_to_string(&mut text).ok()?;
    public_line(&text)
}

/// `TYPE BASE64 comment`, where the base64 names that very type.
fn public_line(text: &str) -> Option<Vec<u8>> {
    let mut words = text.split_ascii_whitespace();
    let (kind, key) = (words.next()?, words.next()?);
    let key = STANDARD.decode(key).ok()?;
    (string(&key)?.0 == kind.as_bytes()).then_some(key)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::os::unix::fs::PermissionsExt;
    use std::process::{Command, Stdio};

    use super::*;

    /// Makes a key as a user would, in a directory of its own.
    fn made_by_ssh_keygen(arguments: &[&str]) -> (tempfile::TempDir, PathBuf) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("id");
        let mut command = Command::new("ssh-keygen");
        command.args(["-q", "-f"]).arg(&path).args(arguments).stdout(Stdio::null());
        assert!(command.status().unwrap().success());
        (dir, path)
    }

    fn public_of(path: &Path) -> Vec<u8> {
        public_file(path).unwrap()
    }

    #[test]
    fn every_form_is_recognised() {
        let openssh = made_by_ssh_keygen(&["-t", "ed25519", "-N", ""]);
        let identity = Identity::load(&openssh.1);
        let shown = format!("{identity:?}");
        assert_eq!(identity.public.unwrap(), public_of(&openssh.1));
        let private = identity.private.unwrap();
        assert!(shown.contains("Ok") && private.lines().all(|line| !shown.contains(line)), "{shown}");

        for form in ["PEM", "PKCS8"] {
            let plain = made_by_ssh_keygen(&["-t", "ecdsa", "-m", form, "-N", ""]);
            let identity = Identity::load(&plain.1);
            assert_eq!(identity.public.unwrap(), public_of(&plain.1), "{form}");
            assert!(identity.private.is_ok(), "{form}");
            let encrypted = made_by_ssh_keygen(&["-t", "ecdsa", "-m", form, "-N", "secret"]);
            assert!(matches!(Identity::load(&encrypted.1).private, Err(KeyProblem::Encrypted)), "{form}");
        }
    }

    #[test]
    fn the_public_half_of_an_encrypted_key_is_in_the_file() {
        let (_dir, path) = made_by_ssh_keygen(&["-t", "ed25519", "-N", "secret"]);
        let public = public_of(&path);
        std::fs::remove_file(path.with_extension("pub")).unwrap();
        let identity = Identity::load(&path);
        assert_eq!(identity.public.unwrap(), public);
        assert!(matches!(identity.private, Err(KeyProblem::Encrypted)));
    }

    #[test]
    fn a_key_that_others_can_read_is_refused() {
        let (_dir, path) = made_by_ssh_keygen(&["-t", "ed25519", "-N", ""]);
        std::fs::set_permissions(&path, PermissionsExt::from_mode(0o640)).unwrap();
        assert!(matches!(Identity::load(&path).private, Err(KeyProblem::TooOpen(0o640))));
    }

    #[test]
    fn a_public_key_chooses_without_a_private_one() {
        let (_dir, path) = made_by_ssh_keygen(&["-t", "ed25519", "-N", ""]);
        let public = public_of(&path);
        std::fs::remove_file(&path).unwrap();
        let by_name = Identity::load(&path);
        assert_eq!(by_name.public.as_ref(), Some(&public));
        assert!(matches!(by_name.private, Err(KeyProblem::Missing)));
        assert_eq!(Identity::load(&path.with_extension("pub")).public, Some(public));
    }

    #[test]
    fn what_is_no_key_is_said_to_be_none() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("notes");
        std::fs::write(&path, "-----BEGIN OPENSSH PRIVATE KEY-----\nAAAA\n-----END OPENSSH PRIVATE KEY-----\n")
            .unwrap();
        std::fs::set_permissions(&path, PermissionsExt::from_mode(0o600)).unwrap();
        let identity = Identity::load(&path);
        assert!(identity.public.is_none());
        assert!(matches!(identity.private, Err(KeyProblem::NotAKey)));
    }
}
