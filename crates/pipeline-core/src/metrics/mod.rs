//! How the last run went, as a textfile for Prometheus (`node_exporter --collector.textfile.directory`).
//!
//! Guarantees that whoever reads the file sees the whole page of one run, never half a page; that it can be read by every user;
//! and that no page forgets what a run did not find out: when a run last succeeded, and what is known of devices that it did
//! not visit. All metrics are gauges: they tell of the last visit, and a counter would have to survive what a textfile does
//! not. Leaves to others: when to write, and that a failure to write is no failure of the run.

#[cfg(test)]
mod tests;
mod text;

use std::collections::HashMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::catalog::{Catalog, LastVisit};
use crate::error::{Class, Classified};
use crate::event::{Counts, DeviceReport, Outcome, RunReport};
use crate::replace::replace;
use text::{Earlier, Page, seconds};

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

/// Writes the page of a run. `fleet` names every device of the configuration, visited or not; none where that is not known, and
/// then the devices are those of the earlier page.
///
/// What the catalog in `state_dir` knows counts more than the earlier page. A catalog that can't be read is no error here: it
/// has ended the run, and was told.
pub fn write(file: &Path, state_dir: &Path, fleet: Option<&[&str]>, ended: &Ended<'_>) -> Result<(), MetricsError> {
    let visits = Catalog::open(state_dir).and_then(|catalog| catalog.last_visits()).unwrap_or_default();
    // Missing the first time. If it can't be read for another reason, most likely it can't be replaced either.
    let earlier = Earlier::read(&fs::read_to_string(file).unwrap_or_default());
    let page = page(&visits, &earlier, fleet, ended);
    replace(file, MODE, &page).map_err(|source| MetricsError::Write { file: file.to_owned(), source })
}

/// What is known of one device.
struct Device<'a> {
    name: &'a str,
    /// What this run did there; none where it did not get there.
    report: Option<&'a DeviceReport>,
    visit: Option<&'a LastVisit>,
}

impl Device<'_> {
    fn reachable(&self) -> Option<String> {
        let reachable = !matches!(self.report?.outcome, Outcome::Offline { .. });
        Some(u8::from(reachable).to_string())
    }

    fn last_success(&self) -> Option<String> {
        self.visit?.succeeded_ns.map(seconds)
    }

    fn count(&self, count: fn(&Counts) -> u64) -> Option<String> {
        Some(count(&self.report?.counts).to_string())
    }

    fn card(&self, bytes: fn(&LastVisit) -> u64) -> Option<String> {
        self.visit.filter(|visit| visit.total_bytes > 0).map(|visit| bytes(visit).to_string())
    }
}

/// A metric of each device: name, help, and its value as far as this run and the catalog know it.
type DeviceGauge = (&'static str, &'static str, fn(&Device<'_>) -> Option<String>);

const DEVICE_GAUGES: [DeviceGauge; 12] = [
    ("pipeline_device_reachable", "Whether the last visit found the device: 0 where it was offline.", |device| {
        device.reachable()
    }),
    (
        "pipeline_device_last_success_timestamp_seconds",
        "When a visit to the device last did all that was to be done.",
        |device| device.last_success(),
    ),
    ("pipeline_device_received_files", "Files received in the last visit: verified and durable.", |device| {
        device.count(|counts| counts.received)
    }),
    ("pipeline_device_received_bytes", "Bytes of the files received in the last visit.", |device| {
        device.count(|counts| counts.received_bytes)
    }),
    ("pipeline_device_removed_files", "Files removed from the device in the last visit.", |device| {
        device.count(|counts| counts.removed)
    }),
    ("pipeline_device_deferred_files", "Files that the last visit left for later: being written.", |device| {
        device.count(|counts| counts.deferred)
    }),
    ("pipeline_device_waiting_files", "Received files that wait on the device for delete.after.", |device| {
        device.count(|counts| counts.waiting)
    }),
    ("pipeline_device_held_files", "Received files that are due for removal and stay because of a hold.", |device| {
        device.count(|counts| counts.held)
    }),
    ("pipeline_device_kept_files", "Files that stay on the device: their place is taken by others.", |device| {
        device.count(|counts| counts.kept)
    }),
    ("pipeline_device_failed_files", "Files and directories that the last visit could not handle.", |device| {
        device.count(|counts| counts.failed)
    }),
    ("pipeline_device_card_bytes", "Size of the card, when the device was last reached.", |device| {
        device.card(|visit| visit.total_bytes)
    }),
    ("pipeline_device_card_free_bytes", "Free on the card, when the device was last reached.", |device| {
        device.card(|visit| visit.free_bytes)
    }),
];

fn page(visits: &HashMap<String, LastVisit>, earlier: &Earlier, fleet: Option<&[&str]>, ended: &Ended<'_>) -> Vec<u8> {
    const LAST_SUCCESS: &str = "pipeline_last_success_timestamp_seconds";
    let now = seconds(ended.at_ns);
    let last_success = if ended.exit_code == 0 { Some(now.clone()) } else { earlier.value(LAST_SUCCESS, None) };
    let mut page = Page::default();
    let mut run = |name, help, value: Option<String>| {
        page.gauge(name, help, value.map(|value| (None, value)).into_iter().collect());
    };
    run("pipeline_last_run_timestamp_seconds", "When pipeline sync last ended, however it ended.", Some(now));
    run(LAST_SUCCESS, "When pipeline sync last ended with exit code 0.", last_success);
    let took = format!("{:.3}", ended.took.as_secs_f64());
    run("pipeline_run_duration_seconds", "How long the last run took.", Some(took));
    let code = ended.exit_code.to_string();
    run("pipeline_exit_code", "Exit code of the last run; docs/scripting.md has their meanings.", Some(code));
    let held = u8::from(ended.held).to_string();
    run("pipeline_held", "Whether removals are on hold: 1 until somebody ends that, or its time is over.", Some(held));

    let devices = devices(visits, earlier, fleet, ended.report);
    for (name, help, value) in DEVICE_GAUGES {
        let known = |device: &Device<'_>| value(device).or_else(|| earlier.value(name, Some(device.name)));
        let samples = devices.iter().filter_map(|device| Some((Some(device.name), known(device)?))).collect();
        page.gauge(name, help, samples);
    }
    page.into_bytes()
}

fn devices<'a>(
    visits: &'a HashMap<String, LastVisit>,
    earlier: &'a Earlier,
    fleet: Option<&'a [&'a str]>,
    report: Option<&'a RunReport>,
) -> Vec<Device<'a>> {
    let reports = report.map(|report| report.devices.as_slice()).unwrap_or_default();
    let reports: HashMap<&str, &DeviceReport> =
        reports.iter().filter(|report| visited(report)).map(|report| (report.device.as_str(), report)).collect();
    let names = match fleet {
        Some(fleet) => fleet.to_vec(),
        None => earlier.devices().iter().map(String::as_str).collect(),
    };
    let device = |name| Device { name, report: reports.get(name).copied(), visit: visits.get(name) };
    names.into_iter().map(device).collect()
}

/// A run that is stopped reports nothing but zeros of devices whose turn did not come, and they mean nothing.
fn visited(report: &DeviceReport) -> bool {
    report.outcome != Outcome::Stopped || report.counts != Counts::default()
}
