//! Files in the storage that no row of the catalog is for.
//!
//! Guarantees that what a run is storing at this moment is not told: a run gives a file its place an instant before it writes the
//! row, so a file without a row is looked up once more when no run is under way, or [`PATIENCE`] later. Memory is
//! bounded. Leaves to others: what is to become of such files.

use std::time::{Duration, Instant};

use crate::archive::{Archive, ArchiveError, ArchivePath, Lies, Lying};
use crate::cancel::Cancel;
use crate::catalog::Places;
use crate::event::{ArchiveFault, Fault};
use crate::path::RelPath;

use super::VerifyError;

/// How long after a file has its place its row is there, at the latest. It is a matter of milliseconds, but disks hang.
pub(super) const PATIENCE: Duration = Duration::from_secs(30);

const SLICE: Duration = Duration::from_millis(100);

/// So many files wait for the second look.
const MOST: usize = 10_000;

/// Tells the faults that are found to `tell`. `patience` is [`PATIENCE`].
pub(super) fn look_for_unknown(
    archive: &Archive,
    places: &Places,
    cancel: &Cancel,
    patience: Duration,
    tell: &mut dyn FnMut(ArchiveFault),
) -> Result<(), VerifyError> {
    let mut search = Search { archive, places, cancel, patience, waiting: Vec::new(), newest: Instant::now() };
    for lies in archive.walk() {
        search.go_on()?;
        match lies? {
            Lies::Hidden(path, reason) => tell(fault(Fault::Unreadable, path, reason)),
            Lies::File(path) if places.knows(&path)? => {}
            Lies::File(path) => {
                search.newest = Instant::now();
                search.waiting.push(path);
                if search.waiting.len() >= MOST {
                    search.look_again(tell)?;
                }
            }
        }
    }
    search.look_again(tell)
}

struct Search<'a> {
    archive: &'a Archive,
    places: &'a Places,
    cancel: &'a Cancel,
    patience: Duration,
    /// Not known at the first look.
    waiting: Vec<RelPath>,
    /// When the last of them was met.
    newest: Instant,
}

impl Search<'_> {
    fn look_again(&mut self, tell: &mut dyn FnMut(ArchiveFault)) -> Result<(), VerifyError> {
        if self.waiting.is_empty() {
            return Ok(());
        }
        while self.newest.elapsed() < self.patience && self.places.is_run_under_way()? {
            self.go_on()?;
            std::thread::sleep(SLICE);
        }
        let ignores_case = !self.archive.marker().capabilities().case_sensitive;
        if ignores_case {
            self.places.fold_cases()?;
        }
        for path in std::mem::take(&mut self.waiting) {
            self.go_on()?;
            let gone = match ArchivePath::from_bytes(path.as_bytes()) {
                Ok(at) => self.archive.look(&at)? == Lying::Nothing,
                // Not a place for a file of a device: nothing of ours.
                Err(_) => false,
            };
            let knows = self.places.knows(&path)? || ignores_case && self.places.knows_in_any_case(&path)?;
            if !gone && !knows {
                tell(fault(Fault::Unknown, path, "the catalog knows nothing of it".into()));
            }
        }
        Ok(())
    }

    fn go_on(&self) -> Result<(), ArchiveError> {
        if self.cancel.is_set() { Err(ArchiveError::Stopped) } else { Ok(()) }
    }
}

fn fault(fault: Fault, path: RelPath, reason: String) -> ArchiveFault {
    ArchiveFault { fault, path, reason, device: None, source_path: None, on_device: false }
}
