//! The proof without which nothing is removed from a device (invariants I1 and I6).
//!
//! A [`Receipt`] can't be made from parts. It comes out of [`issue`] alone, which takes a [`Catalogued`] file by value (so
//! the bytes were hashed on both sides, synced, renamed, synced again and catalogued), a [`Confirmed`] storage (so the
//! marker was read a moment ago) and [`NotHeld`] (so nobody has put removals on hold).

use crate::archive::Confirmed;
use crate::catalog::Catalogued;
use crate::digest::Digest;
use crate::entry::Identity;
use crate::hold::NotHeld;
use crate::path::RelPath;

/// Allows the removal of one file from one device, once.
#[derive(Debug)]
pub struct Receipt {
    path: RelPath,
    identity: Identity,
    digest: Digest,
    row: i64,
    received_ns: i64,
}

/// Issues receipts for files that the catalog holds, while the storage is the right one and nobody holds removals.
pub fn issue(files: Vec<Catalogued>, _storage: &Confirmed, _free: &NotHeld) -> Vec<Receipt> {
    let receipt = |file: Catalogued| {
        let (row, path, identity, digest, received_ns) = file.into_parts();
        Receipt { path, identity, digest, row, received_ns }
    };
    files.into_iter().map(receipt).collect()
}

impl Receipt {
    /// For tests of devices, which have no storage: of a file that was received long ago.
    #[cfg(all(test, feature = "ssh"))]
    pub(crate) fn unproven(path: RelPath, identity: Identity, digest: Digest) -> Receipt {
        Receipt { path, identity, digest, row: 0, received_ns: 0 }
    }

    /// Where the file lies on the device.
    pub fn path(&self) -> &RelPath {
        &self.path
    }

    /// Which file was read and stored.
    pub fn identity(&self) -> &Identity {
        &self.identity
    }

    /// Digest of the content that was stored: for devices whose identities prove little.
    pub fn digest(&self) -> &Digest {
        &self.digest
    }

    /// When the file was received, by our clock: it was this one then.
    pub fn received_ns(&self) -> i64 {
        self.received_ns
    }

    /// The same, but received at this time.
    #[cfg(all(test, feature = "ssh"))]
    pub(crate) fn at(self, received_ns: i64) -> Receipt {
        Receipt { received_ns, ..self }
    }

    /// The catalog's row.
    pub(crate) fn row(&self) -> i64 {
        self.row
    }
}
