//! What is here of a file before it is asked for: what lies at its place, what an earlier transfer left, and the signature of a basis.
//!
//! All of it reads the storage, up to the whole of a large file, so it is done beside the visit. Changes nothing there, but that
//! staging forgets a part that can't be the beginning of the file.

use super::SyncError;
use crate::archive::{Archive, ArchiveError, PART_BYTES, Staging};
use crate::cancel::Stopped;
use crate::delta::{self, DeltaError};
use crate::error::{Class, Classified as _, one_line};
use crate::path::RelPath;
use crate::plan::{Ask, Setback};
use crate::transfer::Wanted;

/// A file that changed all over shows that in so many bytes at its beginning. To hash them takes a device no time that matters.
const GLANCE_BYTES: u64 = 4 << 20;
/// To hash a file of this size takes a device a second.
const GLANCED_AT_BYTES: u64 = 16 * GLANCE_BYTES;

/// What a scout is sent for.
pub(super) enum Errand {
    /// Find out what is here. With `true`, read what lies at its place: nobody has catalogued it.
    Find(Box<Wanted>, bool),
    /// Make the signature for the next ask.
    Sign(Box<Wanted>),
}

/// What a scout comes back with.
pub(super) enum Scouted {
    /// It is known what is here.
    Found(Box<Wanted>),
    /// The signature is made, or can't be, and then another ask was chosen.
    Signed(Box<Wanted>),
    /// What lies at its place is of no use, and why.
    Unusable(RelPath, String),
    /// The visit was over before all of it was read.
    Stopped,
}

/// Does an errand. Only a storage that fails is an error.
pub(super) fn run(archive: &Archive, staging: &Staging, errand: Errand) -> Result<Scouted, SyncError> {
    match errand {
        Errand::Find(mut wanted, examine) => match find(archive, staging, &mut wanted, examine) {
            Ok(()) => Ok(Scouted::Found(wanted)),
            Err(error) if error.class() == Class::Storage => Err(error.into()),
            Err(ArchiveError::Stopped) => Ok(Scouted::Stopped),
            Err(error) => Ok(Scouted::Unusable(wanted.entry.path, one_line(&error))),
        },
        Errand::Sign(mut wanted) => {
            let signed = sign(&mut wanted);
            Ok(if signed.is_ok() { Scouted::Signed(wanted) } else { Scouted::Stopped })
        }
    }
}

fn find(archive: &Archive, staging: &Staging, wanted: &mut Wanted, examine: bool) -> Result<(), ArchiveError> {
    if examine {
        wanted.held = archive.examine(&wanted.place.path)?;
    }
    if wanted.entry.identity.size >= PART_BYTES {
        wanted.part = staging.part(&wanted.place.path)?;
    }
    if wanted.part.as_ref().is_some_and(|part| part.prefix().bytes > wanted.entry.identity.size)
        && let Some(part) = wanted.part.take()
    {
        staging.discard(part);
    }
    if let Some(held) = wanted.held.as_ref().filter(|held| held.prefix().bytes >= GLANCED_AT_BYTES) {
        wanted.glance = held.beginning(GLANCE_BYTES).ok();
    }
    wanted.begin();
    Ok(())
}

/// Makes the signature of what is held. What can't be read now is no basis; whether it is damaged is found out where it counts.
fn sign(wanted: &mut Wanted) -> Result<(), Stopped> {
    let basis = wanted.held.as_ref().and_then(|held| Some((held.basis().ok()?, held.prefix().bytes)));
    wanted.signature = match basis.map(|(basis, bytes)| delta::signature(basis, bytes)) {
        Some(Ok(signature)) => Some(signature),
        Some(Err(DeltaError::Content(error))) if Stopped::is_why(&error) => return Err(Stopped),
        Some(Err(_)) | None => None,
    };
    if wanted.signature.is_none() && !wanted.go_on(Setback::Differs) {
        // After a delta there is always the whole file.
        wanted.ask = Ask::Whole;
    }
    Ok(())
}
