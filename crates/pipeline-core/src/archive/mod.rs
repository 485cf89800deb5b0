//! The storage: marker, layout, staging, commit, manifests.

use std::path::Path;

use crate::digest::Digest;
use crate::entry::Identity;
use crate::path::{DeviceName, RelPath};

/// Proof that the storage's marker was read a moment ago and is the one the archive was opened with (invariant I6).
#[derive(Debug)]
pub struct Confirmed(());

/// A path below the archive root: escaped, laid out, never inside `.pipeline`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ArchivePath(RelPath);

/// What the storage can do, and whose it is.
#[derive(Clone, Debug)]
pub struct Marker {}

/// An opened archive. Shared by all devices of a run.
#[derive(Debug)]
pub struct Archive {}

/// One device's staging directory.
#[derive(Debug)]
pub struct Staging {}

/// A file that is arriving.
#[derive(Debug)]
pub struct Incoming {}

/// A file that has arrived whole in staging; its digest is the one the device sent. Not yet durable.
#[derive(Debug)]
pub struct Staged {}

/// A file that is durable under its archive path: synced, renamed, directory synced, in the manifest.
#[derive(Debug)]
pub struct Stored {}

/// What became of one staged file.
#[derive(Debug)]
pub enum Commit {
    /// It is durable.
    Stored(Stored),
    /// Its archive path holds other content: the file stays on the device, staging is cleaned.
    Occupied(RelPath),
}

/// The stored bytes were read and hashed a moment ago.
#[derive(Debug)]
pub struct Verified(());

#[derive(Debug, thiserror::Error)]
#[error("archive")]
pub struct ArchiveError;

#[allow(unused_variables, missing_docs)]
impl Archive {
    pub fn open(storage: &Path, collector: &str) -> Result<Archive, ArchiveError> {
        unimplemented!()
    }
    pub fn confirm(&self) -> Result<Confirmed, ArchiveError> {
        unimplemented!()
    }
    pub fn place(
        &self,
        layout: &str,
        device: &DeviceName,
        source_name: &[u8],
        path: &RelPath,
    ) -> Result<ArchivePath, ArchiveError> {
        unimplemented!()
    }
    pub fn find(&self, path: &ArchivePath) -> Result<Option<u64>, ArchiveError> {
        unimplemented!()
    }
    pub fn check_room(&self, bytes: u64, files: u64) -> Result<(), ArchiveError> {
        unimplemented!()
    }
    pub fn staging(&self, device: &DeviceName) -> Result<Staging, ArchiveError> {
        unimplemented!()
    }
    pub fn commit(&self, device: &DeviceName, files: Vec<Staged>) -> Result<Vec<Commit>, ArchiveError> {
        unimplemented!()
    }
    pub fn verify(&self, path: &ArchivePath, digest: &Digest, bytes: u64) -> Result<Verified, ArchiveError> {
        unimplemented!()
    }
}

#[allow(unused_variables, missing_docs)]
impl Staging {
    pub fn create(
        &mut self,
        source: RelPath,
        identity: Identity,
        target: ArchivePath,
    ) -> Result<Incoming, ArchiveError> {
        unimplemented!()
    }
}

#[allow(unused_variables, missing_docs)]
impl Incoming {
    pub fn write(&mut self, bytes: &[u8]) -> Result<(), ArchiveError> {
        unimplemented!()
    }
    pub fn finish(self, sent: &Digest) -> Result<Staged, ArchiveError> {
        unimplemented!()
    }
}

#[allow(missing_docs)]
impl Stored {
    pub fn source(&self) -> &RelPath {
        unimplemented!()
    }
    pub fn identity(&self) -> &Identity {
        unimplemented!()
    }
    pub fn digest(&self) -> &Digest {
        unimplemented!()
    }
    pub fn archive_path(&self) -> &ArchivePath {
        unimplemented!()
    }
}

#[allow(missing_docs)]
impl ArchivePath {
    pub fn as_bytes(&self) -> &[u8] {
        self.0.as_bytes()
    }
    /// From the catalog.
    pub fn from_bytes(bytes: &[u8]) -> Result<ArchivePath, crate::path::PathError> {
        RelPath::new(bytes).map(ArchivePath)
    }
}
