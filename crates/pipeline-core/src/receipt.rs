//! The proof without which nothing is removed from a device (invariants I1 and I6).
//!
//! A [`Receipt`] can't be made from parts. It comes out of [`issue`] alone, which takes a [`Catalogued`] file by value (so
//! the bytes were hashed on both sides, synced, renamed, synced again and catalogued) and a [`Confirmed`] storage (so the
//! marker was read a moment ago).

use crate::archive::Confirmed;
use crate::catalog::Catalogued;
use crate::digest::Digest;
use crate::entry::Identity;
use crate::path::RelPath;

/// Allows the removal of one file from one device, once.
#[derive(Debug)]
pub struct Receipt {
    path: RelPath,
    identity: Identity,
    digest: Digest,
    row: i64,
}

/// Issues receipts for files that the catalog holds, while the storage is the right one.
pub fn issue(files: Vec<Catalogued>, _storage: &Confirmed) -> Vec<Receipt> {
    let receipt = |file: Catalogued| {
        let (row, path, identity, digest) = file.into_parts();
        Receipt { path, identity, digest, row }
    };
    files.into_iter().map(receipt).collect()
}

impl Receipt {
    /// For tests of devices, which have no storage.
    #[cfg(test)]
    pub(crate) fn unproven(path: RelPath, identity: Identity, digest: Digest) -> Receipt {
        Receipt { path, identity, digest, row: 0 }
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

    /// The catalog's row.
    pub(crate) fn row(&self) -> i64 {
        self.row
    }
}
