//! How the last run went, as a textfile for Prometheus (`node_exporter --collector.textfile.directory`).
//!
//! Guarantees that whoever reads the file sees the whole page of one run, never half a page; that it can be read by every user;
//! and that no page forgets what a run did not find out: when a run last succeeded, and what is known of devices that it did
//! not visit. Gauges tell how it is, or how the last visit found it; counters are sums of the catalog, and survive the file.
//! Leaves to others: when to write, and that a failure to write is no failure of the run.

mod known;
mod page;
#[cfg(test)]
mod tests;
mod text;

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::catalog::history::History;
use crate::error::{Class, Classified};
use crate::event::{Counts, DeviceReport, Outcome, RunReport};
use crate::fleet::Device;
use crate::replace::replace;
use known::Known;
use page::page;
use text::Earlier;

/// Whoever collects the file runs as another user, and may be of no group of ours; the umask of a service is often stricter.
const MODE: u32 = 0o644;

/// What keeps the page from being written.
#[derive(Debug, thiserror::Error)]
pub enum MetricsError {
    /// The file, or the one beside it that is to take its place, can't be written.
    #[error("can't write the metrics to {}", .file.display())]
    Write {
        /// The file.
        file: PathBuf,
        /// Why.
        source: io::Error,
    },
}

impl Classified for MetricsError {
    fn class(&self) -> Class {
        Class::Config
    }

    fn hint(&self) -> Option<String> {
        Some("its directory must exist, and the user that runs pipeline must be allowed to make files in it".into())
    }
}

/// A run that has ended, or could not begin.
#[derive(Clone, Copy, Debug)]
pub struct Ended<'a> {
    /// How the program ends.
    pub exit_code: u8,
    /// When, by our clock.
    pub at_ns: i64,
    /// How long it took.
    pub took: Duration,
    /// Whether removals are on hold now.
    pub held: bool,
    /// What it did; none where it could not begin.
    pub report: Option<&'a RunReport>,
}

/// Writes the page of a run. `fleet` is every device of the configuration, visited or not; none where that is not known, and
/// then the devices are those of the earlier page.
///
/// What the catalog in `state_dir` knows counts more than the earlier page. A catalog that can't be read is no error here: it
/// has ended the run, and was told.
pub fn write(file: &Path, state_dir: &Path, fleet: Option<&[Device]>, ended: &Ended<'_>) -> Result<(), MetricsError> {
    let history = History::open(state_dir);
    let known = history.and_then(|history| Known::read(&history, fleet, ended.held, ended.at_ns)).ok();
    // Missing the first time. If it can't be read for another reason, most likely it can't be replaced either.
    let earlier = Earlier::read(&fs::read_to_string(file).unwrap_or_default());
    let page = page(known.as_ref(), &earlier, fleet, ended);
    replace(file, MODE, &page).map_err(|source| MetricsError::Write { file: file.to_owned(), source })
}

/// A run that is stopped reports nothing but zeros of devices whose turn did not come, and they mean nothing.
fn visited(report: &DeviceReport) -> bool {
    report.outcome != Outcome::Stopped || report.counts != Counts::default()
}
