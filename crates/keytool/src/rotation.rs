//! A key pair that takes another's place, as files of this machine tell how far it is.
//!
//! | `31.keytool-new` | `31` | `31.keytool-old` | how far |
//! |---|---|---|---|
//! | | in use | | nothing was begun |
//! | made | in use | | the new one is being let in, and tried |
//! | | new | in use before | the old one is still let in |
//!
//! Guarantees: at every instant the key in use is there and is one that was let in when it was tried; whoever is killed between two
//! rows is in one of them, or between the two halves of a pair, which [`Rotation::swap`] and [`aside`] finish. Nothing is ever
//! deleted. A file that is called so is taken for one of ours: people keep a `31.old`, and that is none. One keytool at a time
//! does this to a key: who has its [`Claim`].

use std::fs::{File, TryLockError};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use crate::changes::{Change, ChangeError, Original};
use crate::key::{self, Key, KeyError, public_path};
use crate::places::Places;

/// The names of the pairs.
#[derive(Clone, Debug)]
pub struct Rotation {
    /// The one that entries name.
    pub key: PathBuf,
    /// The one that is to take its place.
    pub new: PathBuf,
    /// The one that had its place.
    pub old: PathBuf,
}

/// How far it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// The new pair is to be made, let in and tried.
    Offer,
    /// The private half of the new pair is in its place, and the public one is not.
    Swap,
    /// The old pair is to be shut out.
    Retire,
}

impl Rotation {
    /// Of the pair whose private half is `key`.
    pub fn of(key: &Path) -> Rotation {
        Rotation { key: key.to_owned(), new: with(key, ".keytool-new"), old: with(key, ".keytool-old") }
    }

    /// How far it is.
    pub fn stage(&self) -> Stage {
        match (self.new.exists(), public_path(&self.new).exists(), self.old.exists() || public_path(&self.old).exists())
        {
            (true, _, _) => Stage::Offer,
            (false, true, true) => Stage::Swap,
            (false, false, true) => Stage::Retire,
            (false, _, false) => Stage::Offer,
        }
    }

    /// Puts the new pair in the place of the old one, as far as it is not there. In between there is no public half: ssh makes up
    /// for that, and would offer a key that it can't sign for if it were the other pair's.
    pub fn swap(&self, places: &Places) -> Vec<Change> {
        let (new_public, public, old_public) = (public_path(&self.new), public_path(&self.key), public_path(&self.old));
        let mut changes = Vec::new();
        if self.new.exists() {
            if public.exists() {
                changes.push(Change::move_aside(&public, &old_public, places));
            }
            changes.push(Change::supersede(&self.new, &self.key, &self.old, places));
        }
        if new_public.exists() {
            changes.push(Change::move_aside(&new_public, &public, places));
        }
        changes
    }

    /// The pair that had the place.
    pub fn retired(&self) -> Result<Option<ssh_key::PublicKey>, KeyError> {
        let public = public_path(&self.old);
        if public.exists() {
            return key::load_public(&public).map(Some);
        }
        Ok(key::load(&self.old)?.map(|Key { public, .. }| public))
    }

    /// Every pair that there is, each of which may be let in: of an interrupted rotation there are two.
    pub fn generations(&self) -> Result<Vec<ssh_key::PublicKey>, KeyError> {
        let mut found = Vec::new();
        for private in self.pairs() {
            let public = public_path(private);
            if public.exists() {
                found.push(key::load_public(&public)?);
            } else if let Some(key) = key::load(private)? {
                found.push(key.public);
            }
        }
        Ok(found)
    }

    /// Sets every pair aside, by names that no rotation looks for. `stamp` tells them from others.
    pub fn set_all_aside(&self, stamp: &str, places: &Places) -> Vec<Change> {
        let stems = [".removed-", ".removed-new-", ".removed-old-"].map(|suffix| with(&self.key, suffix));
        let to = |(private, stem): (&PathBuf, &PathBuf)| set_aside(private, &aside(private, stem, stamp), places);
        self.pairs().into_iter().zip(&stems).flat_map(to).collect()
    }

    fn pairs(&self) -> [&PathBuf; 3] {
        [&self.key, &self.new, &self.old]
    }

    /// Where the old pair lies in the end, by a name that no rotation looks for. `stamp` tells it from others.
    pub fn aside(&self, stamp: &str) -> PathBuf {
        aside(&self.old, &with(&self.key, ".retired-"), stamp)
    }
}

/// The note that the lines of a key are being taken out on its machine. It is there before they go: afterwards the key lets nobody
/// in who could see whether they are gone, so whoever is killed in between could not know. It says which keys it is about.
#[derive(Clone, Debug)]
pub struct Removal {
    note: PathBuf,
}

impl Removal {
    /// Of the pair whose private half is `key`.
    pub fn of(key: &Path) -> Removal {
        Removal { note: with(key, ".keytool-removing") }
    }

    /// Whether it has begun with this key, which was let in then.
    pub fn has_begun(&self, key: &ssh_key::PublicKey) -> bool {
        let noted = std::fs::read_to_string(&self.note).unwrap_or_default();
        noted.lines().any(|line| line == key::fingerprint(key))
    }

    /// Notes that it begins, with these keys.
    pub fn begin(&self, keys: &[ssh_key::PublicKey], places: &Places) -> Result<Option<Change>, ChangeError> {
        let text: String = keys.iter().map(|key| format!("{}\n", key::fingerprint(key))).collect();
        let words = format!("note in {} that it is being removed", places.show(&self.note));
        Ok(Change::replace(Original::read(&self.note)?, 0o600, text.into_bytes(), words))
    }

    /// It has ended, or has not begun after all.
    pub fn end(&self, places: &Places) -> Option<Change> {
        Change::drop_note(&self.note, places)
    }
}

/// Keeps other keytools from a key for as long as it lives: a lock of the operating system on the private half, which ends with
/// the process however that ends, and leaves nothing behind.
#[derive(Debug, Default)]
pub struct Claim {
    held: Vec<File>,
}

impl Claim {
    /// Of the key that lies there now; one that is not there has nothing to be kept from. None where another keytool has it.
    pub fn take(private: &Path) -> Option<Claim> {
        let mut claim = Claim::default();
        claim.extend(private).then_some(claim)
    }

    /// The same for one more key: the one that is to take the other's place, before it does. False where another keytool has it.
    pub fn extend(&mut self, private: &Path) -> bool {
        let identity = |metadata: std::io::Result<std::fs::Metadata>| {
            metadata.ok().map(|metadata| (metadata.dev(), metadata.ino()))
        };
        // What can't be opened, or locked, as on some shares, is not kept from anybody: whoever uses it says why.
        while let Ok(file) = File::open(private) {
            if let Err(TryLockError::WouldBlock) = file.try_lock() {
                return false;
            }
            // Another one may have taken its place before it was locked.
            if identity(file.metadata()) == identity(private.metadata()) {
                self.held.push(file);
                break;
            }
        }
        true
    }
}

/// The name that a pair is to have out of the way: `stem` and a time. Where an interrupted keytool has moved the private half
/// already, the public one belongs beside it.
pub fn aside(from: &Path, stem: &Path, stamp: &str) -> PathBuf {
    begun(from, stem).unwrap_or_else(|| with(stem, stamp))
}

fn begun(from: &Path, stem: &Path) -> Option<PathBuf> {
    let public = match from.exists() {
        true => return None,
        false => key::load_public(&public_path(from)).ok()?,
    };
    let is_other_half = |path: &PathBuf| {
        let named = path.as_os_str().as_encoded_bytes().starts_with(stem.as_os_str().as_encoded_bytes());
        let of_pair = |private: Option<Key>| private.is_some_and(|key| key.public.key_data() == public.key_data());
        named && !public_path(path).exists() && key::load(path).is_ok_and(of_pair)
    };
    std::fs::read_dir(stem.parent()?).ok()?.flatten().map(|entry| entry.path()).find(is_other_half)
}

/// A pair gets another name, as far as it is there: first the private half.
pub fn set_aside(from: &Path, to: &Path, places: &Places) -> Vec<Change> {
    let halves = [(from.to_owned(), to.to_owned()), (public_path(from), public_path(to))];
    let there = halves.into_iter().filter(|(from, _)| from.symlink_metadata().is_ok());
    there.map(|(from, to)| Change::move_aside(&from, &to, places)).collect()
}

/// A time that file names can carry, to the millisecond: a second is long enough for two of us.
pub fn stamp() -> String {
    jiff::Timestamp::now().strftime("%Y%m%dT%H%M%S%.3fZ").to_string()
}

/// A path with something added to the name.
pub fn with(path: &Path, suffix: &str) -> PathBuf {
    let mut path = path.as_os_str().to_owned();
    path.push(suffix);
    path.into()
}
