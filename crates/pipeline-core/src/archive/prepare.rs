//! The first half of a commit: contents are on disk, and what has to make room for them has a second name.
//!
//! Guarantees: nothing in the archive has lost its name or its bytes; what [`Prepared::superseded`] says becomes true with the
//! second half, or is true already. Leaves to others: to write that down (the catalog, whose token the second half takes), and the
//! second half itself ([`super::commit`]).

use std::sync::Arc;

use crate::archive::commit::{Commit, Step};
use crate::archive::error::ArchiveError;
use crate::archive::held::Held;
use crate::archive::incoming::{Staged, Target};
use crate::archive::layout::ArchivePath;
use crate::archive::store::Store;
use crate::archive::workers;
use crate::digest::Digest;
use crate::entry::{Identity, Prefix};
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

    /// Where the file lies on the device.
    pub fn source(&self) -> &RelPath {
        match self {
            Arrived::Staged(staged) => &staged.source,
            Arrived::Held { source, .. } => source,
        }
    }
}

/// Archived content that makes room for a new one at its path.
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
    /// It is there already.
    Held { held: Held, source: RelPath, identity: Identity },
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
    _store: &Arc<Store>,
    device: &DeviceName,
    arrived: Vec<Arrived>,
    passed: &dyn Fn(Step),
) -> Result<Prepared, ArchiveError> {
    workers::each(&arrived, |file| match file {
        Arrived::Staged(staged) => staged.harden(),
        Arrived::Held { .. } => Ok(()),
    })?;
    let mut files = Vec::with_capacity(arrived.len());
    for file in arrived {
        files.push(match file {
            Arrived::Staged(mut staged) => {
                // Before the rename: some servers don't rename what is open. After the sync nothing can fail to be written.
                staged.close();
                match staged.target {
                    Target::New(_) => Ready::New(staged),
                    Target::Over(..) => Ready::Out(Commit::Occupied(staged.source)),
                }
            }
            Arrived::Held { held, source, identity, digest } => {
                if held.prefix() != (Prefix { bytes: identity.size, digest }) {
                    let (path, expected, found) = (source, digest, held.prefix().digest);
                    return Err(ArchiveError::DigestMismatch { path, side: "stored", expected, found });
                }
                Ready::Held { held, source, identity }
            }
        });
    }
    passed(Step::Hardened);
    Ok(Prepared { device: device.clone(), files, superseded: Vec::new() })
}
