//! The first half of a commit: contents are on disk, and what has to make room for them has a second name.
//!
//! Guarantees: nothing in the archive has lost its name or its bytes; what [`Prepared::superseded`] says becomes true with the
//! second half, or is true already. Leaves to others: to write that down (the catalog, whose token the second half takes), and the
//! second half itself ([`super::commit`]).

use std::sync::{Arc, Mutex, PoisonError};

use crate::archive::commit::{Commit, Step};
use crate::archive::directories::Directories;
use crate::archive::error::ArchiveError;
use crate::archive::held::{self, Held, Origin};
use crate::archive::incoming::{Staged, Target, Yields};
use crate::archive::layout::ArchivePath;
use crate::archive::lying::Stamp;
use crate::archive::store::{Store, lock};
use crate::archive::versions::{self, Keep};
use crate::archive::workers;
use crate::digest::Digest;
use crate::entry::{Identity, Prefix};
use crate::error::one_line;
use crate::path::{DeviceName, RelPath};

/// A file of the device whose whole content is here.
#[derive(Debug)]
pub enum Arrived {
    /// In staging.
    Staged(Staged),
    /// In the archive already: the device's file and the archived one have one digest, and nothing was transferred.
    Held {
        /// The archived file.
        held: Held,
        /// Where the file lies on the device.
        source: RelPath,
        /// Which file the device read.
        identity: Identity,
        /// Of the content that it read.
        digest: Digest,
    },
}

impl Arrived {
    /// The size of the content.
    pub fn bytes(&self) -> u64 {
        match self {
            Arrived::Staged(staged) => staged.bytes(),
            Arrived::Held { identity, .. } => identity.size,
        }
    }

    /// Gives it up. What is staged is removed, also where it would stay as a part.
    pub fn discard(self) {
        if let Arrived::Staged(mut staged) = self {
            staged.remove();
        }
    }

    /// Where the file lies on the device.
    pub fn source(&self) -> &RelPath {
        match self {
            Arrived::Staged(staged) => &staged.source,
            Arrived::Held { source, .. } => source,
        }
    }

    /// Whether it may take the place of earlier content that is not kept then.
    pub fn may_drop(&self) -> bool {
        matches!(self, Arrived::Staged(staged) if matches!(*staged.target, Target::Over(_, Yields::Replace)))
    }

    /// Has earlier content kept, whatever the user has asked for.
    pub fn drop_nothing(&mut self) {
        if let Arrived::Staged(staged) = self
            && let Target::Over(_, yields) = &mut *staged.target
        {
            *yields = Yields::Version;
        }
    }

    fn held(&self) -> Option<&Held> {
        match self {
            Arrived::Staged(staged) => staged.target.held(),
            Arrived::Held { held, .. } => Some(held),
        }
    }
}

/// Archived content that makes room for a new one at its path.
///
/// It was read a moment ago. What the catalog says of other content at this path is no longer true, but for the beginnings of
/// this one, which go where it goes. What another device has a row for is never dropped: see [`Arrived::drop_nothing`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Superseded {
    /// Where it lay.
    pub path: ArchivePath,
    /// What it is.
    pub held: Prefix,
    /// What becomes of it.
    pub became: Became,
}

/// What becomes of archived content that makes room.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Became {
    /// It is the beginning of what lies at its path.
    Prefix,
    /// It lies here, under `.pipeline/versions`.
    Version(ArchivePath),
    /// It is no longer kept, as the user has asked for.
    Dropped,
}

/// Files that are ready to get their names.
#[derive(Debug)]
pub struct Prepared {
    pub(super) device: DeviceName,
    pub(super) files: Vec<Ready>,
    pub(super) superseded: Vec<Superseded>,
}

/// One file between the two halves.
#[derive(Debug)]
pub(super) enum Ready {
    /// To be placed where nothing lies.
    New(Staged),
    /// To be placed over this file, as it looks now.
    Over {
        /// What takes the place.
        staged: Staged,
        /// What lies there.
        stamp: Stamp,
        /// What becomes of that.
        superseded: Superseded,
    },
    /// It is there already.
    Held {
        /// The archived file.
        held: Held,
        /// Where the file lies on the device.
        source: RelPath,
        /// Which file the device read.
        identity: Identity,
    },
    /// It will not be stored.
    Out(Commit),
}

impl Prepared {
    /// What makes room, to be written down before the second half.
    pub fn superseded(&self) -> &[Superseded] {
        &self.superseded
    }
}

/// See [`super::Archive::prepare`].
pub(super) fn prepare(
    store: &Arc<Store>,
    device: &DeviceName,
    mut arrived: Vec<Arrived>,
    passed: &dyn Fn(Step),
) -> Result<Prepared, ArchiveError> {
    let lying: Vec<Mutex<Lies>> = arrived.iter().map(|_| Mutex::default()).collect();
    let pairs: Vec<_> = arrived.iter().zip(&lying).collect();
    workers::each(&pairs, |(file, lying)| {
        if let Arrived::Staged(staged) = file {
            staged.harden()?;
        }
        if let Some(held) = file.held() {
            *lock(lying) = lies(store, held)?;
        }
        Ok(())
    })?;
    drop(pairs);
    for file in &mut arrived {
        if let Arrived::Staged(staged) = file {
            // Before the rename: some servers don't rename what is open. After the sync nothing can fail to be written.
            staged.close();
        }
    }
    passed(Step::Hardened);

    let mut directories = Directories::new(store);
    let (mut files, mut superseded) = (Vec::with_capacity(arrived.len()), Vec::new());
    for (file, lying) in arrived.into_iter().zip(lying) {
        let lying = lying.into_inner().unwrap_or_else(PoisonError::into_inner);
        let ready = ready(store, &mut directories, device, file, lying)?;
        if let Ready::Over { superseded: makes_room, .. } = &ready {
            superseded.push(makes_room.clone());
        }
        files.push(ready);
    }
    directories.sync()?;
    passed(Step::Kept);
    Ok(Prepared { device: device.clone(), files, superseded })
}

/// What lies at a path that a held file was to be at.
#[derive(Debug, Default)]
enum Lies {
    /// No plain file.
    #[default]
    Nothing,
    /// This, as it was read.
    Held(Held),
    /// What nobody can read now; why, in words.
    Unusable(String),
}

/// Nothing makes room, and nothing counts as received, that was not read: what was read before is looked at, and what was not, or
/// looks otherwise by now, is read.
fn lies(store: &Arc<Store>, held: &Held) -> Result<Lies, ArchiveError> {
    match held::as_it_lies(store, held) {
        Ok(found) => Ok(found.map_or(Lies::Nothing, Lies::Held)),
        Err(error @ (ArchiveError::Damaged { .. } | ArchiveError::Unsteady { .. })) => {
            Ok(Lies::Unusable(one_line(&error)))
        }
        Err(error) => Err(error),
    }
}

fn ready(
    store: &Arc<Store>,
    directories: &mut Directories<'_>,
    device: &DeviceName,
    file: Arrived,
    lying: Lies,
) -> Result<Ready, ArchiveError> {
    match file {
        Arrived::Held { held, source, identity, digest } => {
            let content = Prefix { bytes: identity.size, digest };
            if held.prefix() != content {
                let (path, found) = (source, held.prefix().digest);
                return Err(ArchiveError::DigestMismatch { path, side: "stored", expected: digest, found });
            }
            Ok(match lying {
                Lies::Held(held) if held.prefix() == content => Ready::Held { held, source, identity },
                Lies::Held(_) | Lies::Nothing => Ready::Out(Commit::Occupied(source)),
                Lies::Unusable(reason) => Ready::Out(Commit::Refused(source, reason)),
            })
        }
        Arrived::Staged(staged) => match &*staged.target {
            Target::New(_) => Ok(Ready::New(staged)),
            Target::Over(held, yields) => {
                let (expected, yields) = (held.clone(), *yields);
                match lying {
                    Lies::Held(found) => make_room(store, directories, device, staged, &expected, yields, found),
                    Lies::Nothing => Ok(Ready::Out(staged.occupied())),
                    Lies::Unusable(reason) => Ok(Ready::Out(staged.refused(&reason))),
                }
            }
        },
    }
}

/// Decides what becomes of what lies at the target, and gives it a second name where it needs one.
fn make_room(
    store: &Arc<Store>,
    directories: &mut Directories<'_>,
    device: &DeviceName,
    mut staged: Staged,
    expected: &Held,
    yields: Yields,
    found: Held,
) -> Result<Ready, ArchiveError> {
    if found.prefix() == (Prefix { bytes: staged.bytes(), digest: staged.digest }) {
        staged.remove();
        return Ok(Ready::Held { held: found.unread(), source: staged.source, identity: staged.identity });
    }
    let as_expected = found.prefix() == expected.prefix();
    let (became, stamp) = if as_expected && staged.begins {
        (Became::Prefix, *found.stamp())
    } else if as_expected && yields == Yields::Replace && expected.origin() == Origin::Catalog {
        (Became::Dropped, *found.stamp())
    } else {
        match versions::keep(store, directories, device, &found)? {
            Keep::Version(version, stamp) => (Became::Version(version), stamp),
            Keep::Moved => return Ok(Ready::Out(staged.occupied())),
            Keep::Refused(reason) => return Ok(Ready::Out(staged.refused(&reason))),
        }
    };
    let superseded = Superseded { path: found.path().clone(), held: found.prefix(), became };
    Ok(Ready::Over { staged, stamp, superseded })
}
