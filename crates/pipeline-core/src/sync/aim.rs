//! Where a file goes in the archive: to its own place, or beside what has it.
//!
//! A place is the file's own where nothing lies there, where the catalog says that an earlier content of this very file does, or where
//! nobody has catalogued what does: that is then found out by its content. What belongs to another file, of this device or another,
//! is left alone (invariant I4).

use std::os::unix::ffi::OsStrExt;

use super::{Session, SyncError};
use crate::archive::{ArchiveError, ArchivePath, Lying};
use crate::catalog::Visit;
use crate::entry::{Entry, Prefix};
use crate::error::one_line;
use crate::path::RelPath;
use crate::plan;

/// Why a file stays that has no place left.
const TAKEN: &str = "the archive holds other files at its path and at those beside it";

/// Where a file goes.
#[derive(Debug)]
pub(super) struct Aim {
    pub(super) path: ArchivePath,
    /// Its own path is taken.
    pub(super) clash: bool,
    pub(super) lies: Lies,
}

/// What lies there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Lies {
    /// Nothing.
    Nothing,
    /// An earlier content of the file, as the catalog says.
    Ours(Prefix),
    /// A file of this size that nobody has catalogued, or that somebody has changed since.
    Unknown(u64),
}

impl Session<'_> {
    /// Finds the place of a file; none where there is none, which is told. Costs one look for a new file.
    pub(super) fn aim(&mut self, visit: &Visit, entry: &Entry) -> Result<Option<Aim>, SyncError> {
        let Some(own) = self.place(entry)? else { return Ok(None) };
        // What went beside its own path once stays there, also when that gets free: the catalog knows one place for each file.
        let last = visit.stored_at(&entry.path)?.filter(|last| *last != own);
        let beside = plan::beside(&entry.path, self.name());
        if let Some(last) = last
            && self.beside(&beside)?.contains(&last)
            && let Some(lies) = self.lies(visit, entry, &last)?
        {
            return Ok(Some(Aim { path: last, clash: true, lies }));
        }
        if let Some(lies) = self.lies(visit, entry, &own)? {
            return Ok(Some(Aim { path: own, clash: false, lies }));
        }
        for path in self.beside(&beside)? {
            if let Some(lies) = self.lies(visit, entry, &path)? {
                return Ok(Some(Aim { path, clash: true, lies }));
            }
        }
        self.kept(entry.path.clone(), TAKEN);
        Ok(None)
    }

    /// Every place that a file may have.
    pub(super) fn places(&self, path: &RelPath) -> Result<Vec<ArchivePath>, SyncError> {
        let mut paths = vec![path.clone()];
        paths.extend(plan::beside(path, self.name()));
        self.beside(&paths)
    }

    /// The path that the layout gives; none where it gives none, which is told.
    fn place(&mut self, entry: &Entry) -> Result<Option<ArchivePath>, SyncError> {
        match self.lay_out(&entry.path) {
            Ok(path) => Ok(Some(path)),
            Err(error @ ArchiveError::NoPlace { .. }) => {
                self.failed(Some(entry.path.clone()), one_line(&error));
                Ok(None)
            }
            Err(error) => Err(error.into()),
        }
    }

    fn lay_out(&self, path: &RelPath) -> Result<ArchivePath, ArchiveError> {
        let settings = self.settings();
        let source_name = settings.source.file_name().map(OsStrExt::as_bytes).unwrap_or_default();
        self.run.archive.place(&settings.layout, self.name(), source_name, path)
    }

    /// The places that the layout gives, of those that it gives one.
    fn beside(&self, paths: &[RelPath]) -> Result<Vec<ArchivePath>, SyncError> {
        let mut places = Vec::with_capacity(paths.len());
        for path in paths {
            match self.lay_out(path) {
                Ok(place) => places.push(place),
                Err(ArchiveError::NoPlace { .. }) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(places)
    }

    /// What lies at a place; none where it is another file's. Where the catalog says so that holds even if nothing is there: whatever
    /// became of it, its device may bring it again.
    fn lies(&self, visit: &Visit, entry: &Entry, path: &ArchivePath) -> Result<Option<Lies>, SyncError> {
        let lying = self.run.archive.look(path)?;
        // Before the catalog: a claim is given back once its row is there.
        if self.run.claims.is_taken(path, self.name(), &entry.path) {
            return Ok(None);
        }
        let holder = match visit.holder(path)? {
            Some(holder) if !holder.is_of(self.name(), &entry.path) => return Ok(None),
            holder => holder,
        };
        Ok(match (lying, holder) {
            (Lying::Nothing, _) => Some(Lies::Nothing),
            (Lying::NotAFile, _) | (Lying::OtherCase(_), None) => None,
            // A row that does not know the path is believed about the device alone.
            (Lying::File(stamp) | Lying::OtherCase(stamp), Some(holder))
                if holder.prefix.bytes == stamp.bytes() && holder.path == entry.path =>
            {
                Some(Lies::Ours(holder.prefix))
            }
            (Lying::File(stamp) | Lying::OtherCase(stamp), _) => Some(Lies::Unknown(stamp.bytes())),
        })
    }
}
