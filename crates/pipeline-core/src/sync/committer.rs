//! Whole files become durable and known, in a thread beside the visit.
//!
//! Everything between a whole file and its catalog row happens here, in this order: marker, fsync, read-back, a second name for what
//! makes room (all [`Archive::prepare`]), the catalog's word on that, rename, directory, manifest ([`Archive::commit`]), the catalog.

use std::collections::HashMap;
use std::sync::mpsc::{Receiver, Sender};

use super::SyncError;
use super::claims::Claims;
use super::crew::News;
use crate::archive::{Archive, ArchiveError, ArchivePath, Arrived, Became, Commit, Lying};
use crate::cancel::Cancel;
use crate::catalog::{Catalogued, Known, Recorder};
use crate::entry::Entry;
use crate::error::{Class, Classified as _, one_line};
use crate::path::{DeviceName, RelPath};

/// What the disk is asked for.
pub(super) enum Work {
    /// Make these files durable under these paths, and catalogue them.
    Commit(Vec<(ArchivePath, Arrived)>),
    /// Read and hash these stored files again: an earlier run received them.
    Verify(Vec<(Known, RelPath)>),
}

/// What the disk did.
pub(super) enum Done {
    /// A batch was committed.
    Committed(Committed),
    /// Stored files were read again.
    Verified(Verified),
}

/// What became of a batch.
#[derive(Default)]
pub(super) struct Committed {
    /// Durable, verified and catalogued. With `true`, the very content was there before.
    pub(super) catalogued: Vec<(Catalogued, bool)>,
    /// Earlier contents of some of these, and where they are now.
    pub(super) versions: Vec<(RelPath, ArchivePath)>,
    /// Something else lies at their path than when they were aimed there.
    pub(super) occupied: Vec<RelPath>,
    /// The storage can't take them, and why.
    pub(super) refused: Vec<(RelPath, String)>,
}

/// What became of stored files.
#[derive(Default)]
pub(super) struct Verified {
    /// As they were stored.
    pub(super) catalogued: Vec<Catalogued>,
    /// Their stored copy is gone: they are to be received again.
    pub(super) gone: Vec<Entry>,
    /// Their stored bytes are not what was stored, and why.
    pub(super) damaged: Vec<(RelPath, String)>,
}

/// Works through the queue until it ends, or to the first error, which is the last that is told.
pub(super) fn serve(
    archive: &Archive,
    claims: &Claims,
    over: &Cancel,
    device: &DeviceName,
    mut recorder: Recorder,
    work: &Receiver<Work>,
    told: &Sender<Result<News, SyncError>>,
) {
    for work in work {
        let result = match work {
            Work::Commit(files) => commit(archive, claims, device, &mut recorder, files).map(Done::Committed),
            Work::Verify(files) => verify(archive, &recorder, files, over).map(Done::Verified),
        };
        let failed = result.is_err();
        if told.send(result.map(News::Done)).is_err() || failed {
            return;
        }
    }
}

fn commit(
    archive: &Archive,
    claims: &Claims,
    device: &DeviceName,
    recorder: &mut Recorder,
    files: Vec<(ArchivePath, Arrived)>,
) -> Result<Committed, SyncError> {
    // I6: nothing is put into a storage that is not the one this archive was opened on.
    archive.confirm()?;
    let mut done = Committed::default();
    // Given back at the end, when the rows are committed.
    let mut claimed = claims.begin(device);
    let (mut sources, mut arrived) = (HashMap::new(), Vec::with_capacity(files.len()));
    for (path, mut file) in files {
        let source = file.source().clone();
        // Since it was aimed there, another file may have got there and have its row.
        let free =
            claimed.claim(&path, &source) && recorder.holder(&path)?.is_none_or(|holder| holder.is_of(device, &source));
        if free {
            // A killed run may have left a row of another device there: what is no longer of use to one may be the other's only copy.
            if file.may_drop() && recorder.is_shared(&path)? {
                file.drop_nothing();
            }
            sources.insert(path, source);
            arrived.push(file);
        } else {
            file.discard();
            done.occupied.push(source);
        }
    }
    let prepared = archive.prepare(device, arrived)?;
    let superseded = prepared.superseded().to_vec();
    let noted = recorder.supersede(&superseded, &sources)?;
    let mut stored = Vec::new();
    for commit in archive.commit(prepared, noted)? {
        match commit {
            Commit::Stored(file) => stored.push(file),
            Commit::Occupied(path) => done.occupied.push(path),
            Commit::Refused(path, reason) => done.refused.push((path, reason)),
        }
    }
    let adopted: Vec<bool> = stored.iter().map(crate::archive::Stored::adopted).collect();
    let catalogued = recorder.record(stored)?;
    for one in superseded {
        if let (Became::Version(version), Some(source)) = (one.became, sources.get(&one.path))
            && catalogued.iter().any(|file| file.path() == source)
        {
            done.versions.push((source.clone(), version));
        }
    }
    done.catalogued = catalogued.into_iter().zip(adopted).collect();
    Ok(done)
}

/// The content of a row that licenses lies whole at its path: one that is only the beginning of what lies there licenses nothing.
fn verify(
    archive: &Archive,
    recorder: &Recorder,
    files: Vec<(Known, RelPath)>,
    over: &Cancel,
) -> Result<Verified, SyncError> {
    let mut done = Verified::default();
    for (known, path) in files {
        // Large files take their time, and nobody waits for it any more.
        if over.is_set() {
            break;
        }
        match archive.verify(&known.archive_path, &known.digest, known.identity.size) {
            Ok(verified) => done.catalogued.push(recorder.renew(&known, path, &verified)),
            Err(ArchiveError::Stopped) => break,
            // Somebody moved it away: the device still has it, and its place is free.
            Err(_) if archive.look(&known.archive_path)? == Lying::Nothing => {
                done.gone.push(Entry { path, identity: known.identity });
            }
            Err(error) if error.class() == Class::Integrity => done.damaged.push((path, one_line(&error))),
            Err(error) => return Err(error.into()),
        }
    }
    Ok(done)
}
