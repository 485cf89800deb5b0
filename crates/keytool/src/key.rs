//! Key pairs of this machine: made, read, told apart.
//!
//! Guarantees: a private key is written with mode 0600 before its public half, and never over anything; a pair whose public half is
//! missing gets it from the private one; secrets are zeroised and have no `Debug` of their content. Leaves to others: what the
//! key is for.

use std::fs::Metadata;
use std::io::ErrorKind;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use clap::ValueEnum;
use pipeline_core::error::{Class, Classified};
use ssh_key::private::{KeypairData, RsaKeypair};
use ssh_key::rand_core::OsRng;
use ssh_key::{Algorithm, EcdsaCurve, HashAlg, LineEnding, PrivateKey, PublicKey};
use zeroize::Zeroizing;

use crate::changes::{Change, ChangeError};
use crate::places::Places;

/// What kinds of keys can be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum KeyType {
    /// Short, fast, and what OpenSSH makes by default
    Ed25519,
    /// On the curve P-256
    Ecdsa,
    /// 3072 bits, for very old servers
    Rsa,
}

/// As `ssh-keygen` has it by default.
const RSA_BITS: usize = 3072;

/// What a new key is to be.
#[derive(Clone)]
pub struct NewKey {
    /// Its kind.
    pub kind: KeyType,
    /// What stands behind the public key.
    pub comment: String,
    /// What the private half is encrypted with, if at all.
    pub passphrase: Option<Zeroizing<String>>,
}

/// The public half of a pair that is there, and what is to be known of the private one.
#[derive(Clone, Debug)]
pub struct Key {
    /// The private half.
    pub path: PathBuf,
    /// The public half.
    pub public: PublicKey,
    /// Whether it asks for a passphrase.
    pub encrypted: bool,
    /// Mode of the private file.
    pub mode: u32,
    /// When the private file was written.
    pub written: SystemTime,
}

/// Why a key can't be used.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// A file can't be read.
    #[error("can't read the key {}", path.display())]
    Read {
        /// Which.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A file that is no key.
    #[error("{} is not an OpenSSH key: {problem}", path.display())]
    Form {
        /// Which.
        path: PathBuf,
        /// What is wrong with it.
        problem: String,
    },
    /// The private half, where the public one is wanted.
    #[error("{} looks like a private key", path.display())]
    Private {
        /// Which.
        path: PathBuf,
    },
    /// Two halves that are not of one pair.
    #[error("{} and {} are not a pair", private.display(), public.display())]
    NoPair {
        /// The private half.
        private: PathBuf,
        /// The public half.
        public: PathBuf,
    },
    /// A private half that OpenSSH passes over, as others can read it.
    #[error("others can read the private key {}", path.display())]
    Open {
        /// The private half.
        path: PathBuf,
    },
    /// There is a public half and no private one.
    #[error("{} is there, but its private half {} is not", public.display(), private.display())]
    NoPrivate {
        /// The private half.
        private: PathBuf,
        /// The public half.
        public: PathBuf,
    },
    /// See [`ChangeError`].
    #[error(transparent)]
    Change(#[from] ChangeError),
}

impl Classified for KeyError {
    fn class(&self) -> Class {
        match self {
            KeyError::Change(error) => error.class(),
            _ => Class::Config,
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            KeyError::Read { path, source } if source.kind() == ErrorKind::NotFound => {
                Some(format!("see whether {} is the right path", path.display()))
            }
            KeyError::Private { path } if path.extension().is_some_and(|end| end == "pub") => Some(
                "that file must hold the public half, one line: 'ssh-keygen -yf' of the private one prints it".into(),
            ),
            KeyError::Private { path } => Some(format!(
                "give its public half, {}; where that is missing, 'ssh-keygen -yf {}' prints it",
                public_path(path).display(),
                path.display()
            )),
            KeyError::Open { path } => Some(format!("'chmod 600 {}'", path.display())),
            KeyError::Form { path, .. } if path.extension().is_some_and(|end| end == "pub") => {
                Some("a public key is one line, 'ssh-ed25519 AAAA… comment', with nothing in front of it".into())
            }
            KeyError::Read { path, .. } => Some(format!("make {} readable for this user", path.display())),
            KeyError::Form { path, .. } => Some(format!(
                "look at it with 'ssh-keygen -lf {0}'; 'ssh-keygen -p -f {0}' rewrites a key in OpenSSH's form",
                path.display()
            )),
            KeyError::NoPair { private, public } => Some(format!(
                "if {} is the right one, remove {}: keytool makes it anew",
                private.display(),
                public.display()
            )),
            KeyError::NoPrivate { public, .. } => {
                Some(format!("bring the private half back, or move {} away to have a new pair made", public.display()))
            }
            KeyError::Change(error) => error.hint(),
        }
    }
}

/// Where the public half of a private key lies.
pub fn public_path(private: &Path) -> PathBuf {
    let mut path = private.as_os_str().to_owned();
    path.push(".pub");
    path.into()
}

/// Reads the pair whose private half is `path`; none where neither half is there. A missing public half is made up for in memory.
pub fn load(path: &Path) -> Result<Option<Key>, KeyError> {
    let public_path = public_path(path);
    let public = match read(&public_path)? {
        Some(bytes) => Some(parse_public(&public_path, &bytes)?),
        None => None,
    };
    let Some(pem) = read(path)? else {
        return match public {
            None => Ok(None),
            Some(_) => Err(KeyError::NoPrivate { private: path.to_owned(), public: public_path }),
        };
    };
    let private = PrivateKey::from_openssh(&*pem).map_err(|error| form(path, &error))?;
    if public.as_ref().is_some_and(|public| public.key_data() != private.public_key().key_data()) {
        return Err(KeyError::NoPair { private: path.to_owned(), public: public_path });
    }
    let metadata = path.metadata().map_err(|source| KeyError::Read { path: path.to_owned(), source })?;
    Ok(Some(Key {
        path: path.to_owned(),
        // The file has the comment even where that of the private half is encrypted.
        public: public.unwrap_or_else(|| private.public_key().clone()),
        encrypted: private.is_encrypted(),
        mode: metadata.mode() & 0o7777,
        written: written(&metadata),
    }))
}

/// Reads a public key that somebody else owns.
pub fn load_public(path: &Path) -> Result<PublicKey, KeyError> {
    // By mistake it may be a private one.
    let bytes = std::fs::read(path).map(Zeroizing::new);
    parse_public(path, &bytes.map_err(|source| KeyError::Read { path: path.to_owned(), source })?)
}

/// The changes after which the pair is there: none where it is.
pub fn ensure(path: &Path, new: &NewKey, places: &Places) -> Result<Vec<Change>, KeyError> {
    let public_path = public_path(path);
    let words = |what: &str, path: &Path| format!("make {what} key {}", places.show(path));
    let public = |path: PathBuf, comment: String| {
        move || {
            // Made a moment ago, or long ago without its other half.
            let found = load(&path).map_err(|error| error.to_string())?;
            let mut public = found.ok_or("its private half is gone")?.public;
            public.set_comment(comment.as_str());
            let line = public.to_openssh().map_err(|error| error.to_string())?;
            Ok(Zeroizing::new(format!("{line}\n").into_bytes()))
        }
    };
    let public_half = || {
        Change::create_later(
            &public_path,
            0o644,
            words("public", &public_path),
            public(path.into(), new.comment.clone()),
        )
    };
    match load(path)? {
        // It leads nowhere. What it is for is the user's to say.
        None if path.is_symlink() => Err(ChangeError::Exists { path: path.to_owned() }.into()),
        None => {
            let maker = new.clone();
            let kind = new.kind.name();
            let private =
                Change::create_later(path, 0o600, words(&format!("private {kind}"), path), move || generate(&maker));
            Ok(vec![private, public_half()])
        }
        Some(key) if !key.is_private() => Err(KeyError::Open { path: key.path }),
        Some(_) if public_path.symlink_metadata().is_err() => Ok(vec![public_half()]),
        Some(_) => Ok(Vec::new()),
    }
}

/// A private key in OpenSSH's form.
fn generate(new: &NewKey) -> Result<Zeroizing<Vec<u8>>, String> {
    let text = |error: ssh_key::Error| error.to_string();
    let mut key = match new.kind {
        KeyType::Ed25519 => PrivateKey::random(&mut OsRng, Algorithm::Ed25519),
        KeyType::Ecdsa => PrivateKey::random(&mut OsRng, Algorithm::Ecdsa { curve: EcdsaCurve::NistP256 }),
        KeyType::Rsa => RsaKeypair::random(&mut OsRng, RSA_BITS)
            .and_then(|pair| PrivateKey::new(KeypairData::from(pair), String::new())),
    }
    .map_err(text)?;
    key.set_comment(new.comment.as_str());
    if let Some(passphrase) = &new.passphrase {
        key = key.encrypt(&mut OsRng, passphrase.as_bytes()).map_err(text)?;
    }
    let pem = key.to_openssh(LineEnding::LF).map_err(text)?;
    Ok(Zeroizing::new(pem.as_bytes().to_vec()))
}

impl KeyType {
    /// As the configuration and `--type` spell it.
    pub fn name(self) -> &'static str {
        match self {
            KeyType::Ed25519 => "ed25519",
            KeyType::Ecdsa => "ecdsa",
            KeyType::Rsa => "rsa",
        }
    }

    /// What the configuration says, which has been checked.
    pub fn of_config(name: &str) -> KeyType {
        match name {
            "ecdsa" => KeyType::Ecdsa,
            "rsa" => KeyType::Rsa,
            _ => KeyType::Ed25519,
        }
    }
}

impl Key {
    /// `ssh-ed25519 AAAA… comment`, as it stands in `authorized_keys`.
    pub fn line(&self) -> String {
        // A key that was parsed can be written.
        self.public.to_openssh().unwrap_or_default()
    }

    /// `SHA256:…`
    pub fn fingerprint(&self) -> String {
        fingerprint(&self.public)
    }

    /// The kind as `ssh-keygen -l` says it, with the number of bits: `ED25519 256`.
    pub fn kind(&self) -> String {
        kind(&self.public)
    }

    /// Whether nobody else can read the private half, as OpenSSH demands.
    pub fn is_private(&self) -> bool {
        self.mode & 0o077 == 0
    }

    /// How old the private file is; zero where it is from the future.
    pub fn age(&self, now: SystemTime) -> Duration {
        now.duration_since(self.written).unwrap_or_default()
    }
}

/// `SHA256:…` of any public key.
pub fn fingerprint(key: &PublicKey) -> String {
    key.fingerprint(HashAlg::Sha256).to_string()
}

/// The picture that `ssh-keygen -lv` draws.
pub fn randomart(key: &PublicKey) -> String {
    key.fingerprint(HashAlg::Sha256).to_randomart(&format!("[{}]", kind(key)))
}

/// `ED25519 256`
pub fn kind(key: &PublicKey) -> String {
    match key.algorithm() {
        Algorithm::Ed25519 => "ED25519 256".into(),
        Algorithm::Ecdsa { curve: EcdsaCurve::NistP256 } => "ECDSA 256".into(),
        Algorithm::Ecdsa { curve: EcdsaCurve::NistP384 } => "ECDSA 384".into(),
        Algorithm::Ecdsa { curve: EcdsaCurve::NistP521 } => "ECDSA 521".into(),
        Algorithm::Rsa { .. } => {
            let modulus = key.key_data().rsa().and_then(|key| key.n.as_positive_bytes());
            let bits = modulus.and_then(|n| Some(n.len() * 8 - n.first()?.leading_zeros() as usize));
            format!("RSA {}", bits.unwrap_or_default())
        }
        other => other.to_string(),
    }
}

fn read(path: &Path) -> Result<Option<Zeroizing<Vec<u8>>>, KeyError> {
    match std::fs::read(path) {
        Ok(bytes) => Ok(Some(Zeroizing::new(bytes))),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(source) => Err(KeyError::Read { path: path.to_owned(), source }),
    }
}

fn parse_public(path: &Path, bytes: &[u8]) -> Result<PublicKey, KeyError> {
    let text = String::from_utf8_lossy(bytes);
    let text = text.trim();
    // In all forms that `ssh-keygen` writes.
    if text.starts_with("-----BEGIN ") && text.contains("PRIVATE KEY-----") {
        return Err(KeyError::Private { path: path.to_owned() });
    }
    // The decoder would take what follows for a comment, and authorized_keys for another key.
    if text.contains(['\n', '\r']) {
        return Err(KeyError::Form { path: path.to_owned(), problem: "it has more than one line".into() });
    }
    PublicKey::from_openssh(text).map_err(|error| form(path, &error))
}

fn form(path: &Path, error: &ssh_key::Error) -> KeyError {
    let problem = match error {
        // What the decoder says is for those who wrote it.
        ssh_key::Error::Encoding(_) => "it is damaged, or in another form".into(),
        error => error.to_string(),
    };
    KeyError::Form { path: path.to_owned(), problem }
}

fn written(metadata: &Metadata) -> SystemTime {
    metadata.modified().unwrap_or(SystemTime::UNIX_EPOCH)
}
