//! What is here of a file before it is asked for: what lies at its place, what an earlier transfer left, and the signature of a basis.
//!
//! All of it reads the storage, up to the whole of a large file, so it is done beside the visit. Changes nothing there, but that
//! staging forgets a part that can't be the beginning of the file.

use std::io::Read;

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
    /// Find out what is here.
    Find(Box<Wanted>, Reading),
    /// Make the signature for the next ask.
    Sign(Box<Wanted>),
}

/// What of a file is read to find out what is here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reading {
    /// Nothing of what lies at its place: the catalog says what that is.
    Nothing,
    /// What lies there: nobody has catalogued it.
    Whole,
    /// The same, and its signature is made at the same time: it looks edited. The memory that was set apart for that, in bytes.
    Signed(u64),
}

impl Reading {
    /// What was set apart for a signature.
    pub(super) fn signature_bytes(self) -> u64 {
        if let Reading::Signed(bytes) = self { bytes } else { 0 }
    }
}

/// What a scout comes back with.
pub(super) enum Scouted {
    /// It is known what is here, after this reading.
    Found(Box<Wanted>, Reading),
    /// The signature is made, or can't be, and then another ask was chosen.
    Signed(Box<Wanted>),
    /// What lies at its place is of no use after this reading, and why.
    Unusable(RelPath, String, Reading),
    /// The visit was over before all of it was read.
    Stopped,
}

/// Whether a file of `bytes` bytes that lies here uncatalogued, and has `size` on the device, is hardly the same or its beginning, and
/// large enough that to find that out would take longer than a signature that is of no use. Equal files have one length; a file
/// that grew by half or more costs most by a delta.
pub(super) fn looks_edited(bytes: u64, size: u64) -> bool {
    bytes >= GLANCED_AT_BYTES && size != bytes && size <= bytes.saturating_add(bytes / 2)
}

/// Does an errand. Only a storage that fails is an error.
pub(super) fn run(archive: &Archive, staging: &Staging, errand: Errand) -> Result<Scouted, SyncError> {
    match errand {
        Errand::Find(mut wanted, reading) => match find(archive, staging, &mut wanted, reading) {
            Ok(()) => Ok(Scouted::Found(wanted, reading)),
            Err(error) if error.class() == Class::Storage => Err(error.into()),
            Err(ArchiveError::Stopped) => Ok(Scouted::Stopped),
            Err(error) => Ok(Scouted::Unusable(wanted.entry.path, one_line(&error), reading)),
        },
        Errand::Sign(mut wanted) => {
            let signed = sign(&mut wanted);
            Ok(if signed.is_ok() { Scouted::Signed(wanted) } else { Scouted::Stopped })
        }
    }
}

fn find(archive: &Archive, staging: &Staging, wanted: &mut Wanted, reading: Reading) -> Result<(), ArchiveError> {
    match reading {
        Reading::Nothing => {}
        Reading::Whole => wanted.held = archive.examine(&wanted.place.path)?,
        Reading::Signed(_) => examine_and_sign(archive, wanted)?,
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
    // A delta finds a beginning as well, and needs no answer first.
    if wanted.signature.is_some() && wanted.ask == Ask::AfterHeld && !wanted.go_on(Setback::Differs) {
        wanted.begin();
    }
    Ok(())
}

/// Makes the signature of what lies at a place of what is read for its digest.
fn examine_and_sign(archive: &Archive, wanted: &mut Wanted) -> Result<(), ArchiveError> {
    let sign = |content: &mut dyn Read, bytes| delta::signature(content, bytes).ok();
    let (held, signature) = archive.examine_with(&wanted.place.path, sign)?.unzip();
    // What could not be read, or was not so long, is an error of the examination.
    (wanted.held, wanted.signature) = (held, signature.flatten());
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

#[cfg(test)]
mod tests {
    use super::looks_edited;

    #[test]
    fn what_looks_edited() {
        const MIB: u64 = 1 << 20;
        // Bytes here, bytes on the device.
        let table = [
            (512 * MIB, 512 * MIB, false),
            (512 * MIB, 512 * MIB + 1, true),
            (512 * MIB, MIB, true),
            (512 * MIB, 768 * MIB, true),
            (512 * MIB, 768 * MIB + 1, false),
            (64 * MIB, 65 * MIB, true),
            (64 * MIB - 1, 65 * MIB, false),
            (u64::MAX, MIB, true),
        ];
        for (bytes, size, expected) in table {
            assert_eq!(looks_edited(bytes, size), expected, "{bytes} here, {size} there");
        }
    }
}
