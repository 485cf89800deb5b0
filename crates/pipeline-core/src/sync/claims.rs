//! Which archive paths are being stored to, over all visits of a run.
//!
//! Between the look at a place and the row that says whose content lies there, another device's file may get there first. So each
//! place is claimed for one file before anything is done there, and given back once its row is committed: whoever claims it after
//! that sees the row, and whoever looks before that sees the claim. Guarantees that no two files are stored to one place at the same
//! time. Only one run at a time works with a state directory, so nobody else needs to know.

use std::collections::HashMap;
use std::collections::hash_map::Entry::{Occupied, Vacant};
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::archive::ArchivePath;
use crate::path::{DeviceName, RelPath};

/// The claims of a run.
#[derive(Debug, Default)]
pub struct Claims(Mutex<HashMap<ArchivePath, (DeviceName, RelPath)>>);

/// Claims of one batch; given back when dropped.
pub(super) struct Claimed<'a> {
    claims: &'a Claims,
    device: &'a DeviceName,
    paths: Vec<ArchivePath>,
}

impl Claims {
    /// Whether another file than this one is being stored there.
    pub(super) fn is_taken(&self, at: &ArchivePath, device: &DeviceName, path: &RelPath) -> bool {
        self.lock().get(at).is_some_and(|(whose, which)| (whose, which) != (device, path))
    }

    /// Claims of a batch, none yet.
    pub(super) fn begin<'a>(&'a self, device: &'a DeviceName) -> Claimed<'a> {
        Claimed { claims: self, device, paths: Vec::new() }
    }

    /// A thread that panicked left nothing half done here.
    fn lock(&self) -> MutexGuard<'_, HashMap<ArchivePath, (DeviceName, RelPath)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Claimed<'_> {
    /// Claims a place for a file; false where another has it.
    pub(super) fn claim(&mut self, at: &ArchivePath, path: &RelPath) -> bool {
        match self.claims.lock().entry(at.clone()) {
            Occupied(_) => false,
            Vacant(free) => {
                free.insert((self.device.clone(), path.clone()));
                self.paths.push(at.clone());
                true
            }
        }
    }
}

impl Drop for Claimed<'_> {
    fn drop(&mut self) {
        let mut claims = self.claims.lock();
        for path in &self.paths {
            claims.remove(path);
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn a_place_is_one_files_until_it_is_given_back() {
        let (pi, pj) = (DeviceName::new("pi").unwrap(), DeviceName::new("pj").unwrap());
        let (a, b) = (RelPath::new("a").unwrap(), RelPath::new("b").unwrap());
        let place = ArchivePath::from_bytes(b"data/a").unwrap();
        let claims = Claims::default();
        let mut first = claims.begin(&pi);
        let mut second = claims.begin(&pj);
        assert!(first.claim(&place, &a) && !first.claim(&place, &b) && !second.claim(&place, &a));
        assert!(!claims.is_taken(&place, &pi, &a));
        assert!(claims.is_taken(&place, &pi, &b) && claims.is_taken(&place, &pj, &a));
        // Who got nothing gives nothing back.
        drop(second);
        assert!(claims.is_taken(&place, &pj, &a));
        drop(first);
        assert!(!claims.is_taken(&place, &pj, &a) && claims.begin(&pj).claim(&place, &a));
    }
}
