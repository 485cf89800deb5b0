//! Every metric: its name, its help, and where its value comes from. Pure.

use std::collections::HashMap;
use std::time::Duration;

use super::known::{Known, KnownDevice, Room};
use super::text::{Earlier, Of, Page, seconds, span};
use super::{Ended, visited};
use crate::catalog::history::is_past;
use crate::error::Class;
use crate::event::{Counts, DeviceReport, Outcome};
use crate::fleet;

/// What is known of one device.
struct Device<'a> {
    name: &'a str,
    now_ns: i64,
    /// What this run did there; none where it did not get there.
    report: Option<&'a DeviceReport>,
    known: Option<&'a KnownDevice>,
    alert_after: Option<Duration>,
}

impl Device<'_> {
    fn reachable(&self) -> Option<String> {
        let reachable = !matches!(self.report?.outcome, Outcome::Offline { .. });
        Some(u8::from(reachable).to_string())
    }

    /// What kind of failure stands: as the catalog has it, and as this run has met it and could not write down. Where the catalog knows
    /// of no visit, `before` is what the earlier page had.
    fn failure(&self, before: Option<Class>) -> Option<Class> {
        let before = match self.known.and_then(|known| known.visits) {
            Some(visits) => visits.trouble,
            None => before,
        };
        // What only a person can end does not end because the device is away, or because a connection broke.
        let stands = before.filter(|class| class.stands());
        let Some(report) = self.report else { return before };
        match &report.outcome {
            // It was interrupted in the middle, and says nothing.
            Outcome::Stopped => before,
            Outcome::Done => None,
            Outcome::Offline { .. } => stands,
            Outcome::Failed { class, .. } if class.stands() || report.is_whole() => Some(*class),
            Outcome::Failed { class, .. } => stands.or(Some(*class)),
        }
    }

    /// Of a visit that did not come to its end, a zero says nothing.
    fn count(&self, count: fn(&Counts) -> u64) -> Option<String> {
        let report = self.report?;
        Some(count(&report.counts)).filter(|count| report.is_whole() || *count > 0).map(|count| count.to_string())
    }

    fn silent(&self) -> Option<String> {
        let since = self.now_ns.saturating_sub(self.known?.newest_ns?);
        Some(seconds(since.max(0)))
    }

    fn card(&self, value: fn(&Room) -> Option<String>) -> Option<String> {
        value(self.known?.card.as_ref()?)
    }

    fn waiting(&self, value: fn((u64, u64)) -> u64) -> Option<String> {
        Some(value(self.known?.waiting?).to_string())
    }

    fn kept(&self, value: fn((u64, u64)) -> u64) -> Option<String> {
        Some(value(self.known?.kept?).to_string())
    }

    fn total(&self, value: fn(&KnownDevice) -> u64) -> Option<String> {
        Some(value(self.known?).to_string())
    }
}

/// Where a value comes from, and so what is said where there is none.
#[derive(Clone, Copy, PartialEq, Eq)]
enum From {
    /// From a visit, or from the earlier page where there was none.
    Visit,
    /// From the catalog, or from the earlier page where that can't be read. What it does not know is not known any more.
    Catalog,
    /// From the configuration, alike.
    Config,
}

/// A metric of each device: name, help, where from, and its value as far as this run and the catalog know it.
type DeviceMetric = (&'static str, &'static str, From, fn(&Device<'_>) -> Option<String>);

const DEVICE_METRICS: [DeviceMetric; 23] = [
    (
        "pipeline_device_reachable",
        "Whether the last visit found the device: 0 where it was offline.",
        From::Visit,
        |device| device.reachable(),
    ),
    (
        "pipeline_device_last_success_timestamp_seconds",
        "When a visit to the device last did all that was to be done.",
        // A catalog that was lost and made anew has none yet.
        From::Visit,
        |device| device.known?.succeeded_ns.map(seconds),
    ),
    (
        "pipeline_device_silent_seconds",
        "How long ago the device last brought a file, or was first tried.",
        From::Catalog,
        |device| device.silent(),
    ),
    (
        "pipeline_device_alert_after_seconds",
        "How long it may be silent: alert_after of the configuration.",
        From::Config,
        |device| device.alert_after.map(span),
    ),
    ("pipeline_device_waiting_files", "Files on the device that are not received yet.", From::Catalog, |device| {
        device.waiting(|(files, _)| files)
    }),
    ("pipeline_device_waiting_bytes", "Bytes on the device that are not received yet.", From::Catalog, |device| {
        device.waiting(|(_, bytes)| bytes)
    }),
    ("pipeline_device_kept_files", "Files that are received and still on the device.", From::Catalog, |device| {
        device.kept(|(files, _)| files)
    }),
    ("pipeline_device_kept_bytes", "Bytes that are received and still on the device.", From::Catalog, |device| {
        device.kept(|(_, bytes)| bytes)
    }),
    ("pipeline_device_card_bytes", "Size of the card, when the device was last reached.", From::Catalog, |device| {
        device.card(|card| Some(card.total_bytes.to_string()))
    }),
    (
        "pipeline_device_card_free_bytes",
        "Free on the card, when the device was last reached.",
        From::Catalog,
        |device| device.card(|card| Some(card.free_bytes.to_string())),
    ),
    (
        "pipeline_device_card_full_seconds",
        "How long until the card is full, as it has filled lately; absent where that is not in sight.",
        From::Catalog,
        |device| device.card(|card| card.full_in.map(span)),
    ),
    (
        "pipeline_device_clock_offset_seconds",
        "The clock of the device minus ours, when it was last reached.",
        From::Catalog,
        |device| device.known?.clock_offset_ns.map(seconds),
    ),
    ("pipeline_device_deferred_files", "Files that the last visit left for later: being written.", From::Visit, |d| {
        d.count(|counts| counts.deferred)
    }),
    (
        "pipeline_device_delayed_files",
        "Received files that the last visit left on the device for delete.after.",
        From::Visit,
        |device| device.count(|counts| counts.waiting),
    ),
    (
        "pipeline_device_held_files",
        "Received files that are due for removal and stay because of a hold.",
        From::Visit,
        |device| device.count(|counts| counts.held),
    ),
    (
        "pipeline_device_unplaced_files",
        "Files that stay on the device: their place is taken by others.",
        From::Visit,
        |device| device.count(|counts| counts.kept),
    ),
    (
        "pipeline_device_failed_files",
        "Files and directories that the last visit could not handle.",
        From::Visit,
        |device| device.count(|counts| counts.failed),
    ),
    ("pipeline_device_received_files_total", "Files received: verified and durable.", From::Catalog, |device| {
        device.total(|known| known.totals.received)
    }),
    ("pipeline_device_received_bytes_total", "Bytes of the files received.", From::Catalog, |device| {
        device.total(|known| known.totals.received_bytes)
    }),
    ("pipeline_device_removed_files_total", "Files removed from the device.", From::Catalog, |device| {
        device.total(|known| known.totals.removed)
    }),
    ("pipeline_device_removed_bytes_total", "Bytes of the files removed from the device.", From::Catalog, |device| {
        device.total(|known| known.totals.removed_bytes)
    }),
    ("pipeline_device_versions_total", "Earlier contents that got a second name.", From::Catalog, |device| {
        device.total(|known| known.totals.versions)
    }),
    (
        "pipeline_device_clashes_total",
        "Files stored under a name of their own, because others have their place.",
        From::Catalog,
        |device| device.total(|known| known.totals.clashes),
    ),
];

const LAST_SUCCESS: &str = "pipeline_last_success_timestamp_seconds";
const FAILURE: &str = "pipeline_device_failure";

/// Why a visit can fail.
const CLASSES: [Class; 7] =
    [Class::Transient, Class::HostKey, Class::Config, Class::Storage, Class::Integrity, Class::Brake, Class::Internal];

/// Makes the page. `known` is none where the catalog can't be read.
pub(super) fn page(
    known: Option<&Known>,
    earlier: &Earlier,
    fleet: Option<&[fleet::Device]>,
    ended: &Ended<'_>,
) -> Vec<u8> {
    let mut page = Page::default();
    of_the_run(&mut page, earlier, ended);
    of_the_storage(&mut page, known, earlier);
    let devices = devices(known, earlier, fleet, ended);
    failures(&mut page, &devices, earlier);
    for (name, help, from, value) in DEVICE_METRICS {
        // Whether the earlier page knows better than nothing.
        let stands = match from {
            From::Visit => true,
            From::Catalog => known.is_none(),
            From::Config => fleet.is_none(),
        };
        let mut samples = Vec::new();
        for device in &devices {
            let of = Of::device(device.name);
            let value = value(device)
                .or_else(|| earlier.value(name, of).filter(|value| stands && can_be(name, value, ended.at_ns)));
            samples.extend(value.map(|value| (of, value)));
        }
        page.metric(name, help, samples);
    }
    page.into_bytes()
}

/// Whether an earlier value may stand: a moment that has yet to come, by a clock that was ahead, would hide an outage until then.
fn can_be(name: &str, value: &str, now_ns: i64) -> bool {
    #[allow(clippy::cast_possible_truncation)] // what is too large is not past
    let is_past = |value: &str| value.parse::<f64>().is_ok_and(|s| is_past((s * 1e9) as i64, now_ns));
    !name.ends_with("_timestamp_seconds") || is_past(value)
}

fn of_the_run(page: &mut Page, earlier: &Earlier, ended: &Ended<'_>) {
    let now = seconds(ended.at_ns);
    let last_success = match ended.exit_code {
        0 => Some(now.clone()),
        _ => earlier.value(LAST_SUCCESS, Of::default()).filter(|value| can_be(LAST_SUCCESS, value, ended.at_ns)),
    };
    let mut run = |name, help, value: Option<String>| {
        page.metric(name, help, value.map(|value| (Of::default(), value)).into_iter().collect());
    };
    run("pipeline_last_run_timestamp_seconds", "When pipeline sync last ended, however it ended.", Some(now));
    run(LAST_SUCCESS, "When pipeline sync last ended with exit code 0.", last_success);
    let took = format!("{:.3}", ended.took.as_secs_f64());
    run("pipeline_run_duration_seconds", "How long the last run took.", Some(took));
    let code = ended.exit_code.to_string();
    run("pipeline_exit_code", "Exit code of the last run; docs/scripting.md has their meanings.", Some(code));
    let held = u8::from(ended.held).to_string();
    run("pipeline_held", "Whether removals are on hold: 1 until somebody ends that, or its time is over.", Some(held));
}

fn of_the_storage(page: &mut Page, known: Option<&Known>, earlier: &Earlier) {
    let room = known.and_then(|known| known.storage);
    let mut storage = |name, help, value: Option<String>| {
        let value = value.or_else(|| earlier.value(name, Of::default()).filter(|_| known.is_none()));
        page.metric(name, help, value.map(|value| (Of::default(), value)).into_iter().collect());
    };
    let bytes = |bytes: fn(&Room) -> u64| room.as_ref().map(|room| bytes(room).to_string());
    storage("pipeline_storage_bytes", "Size of the storage.", bytes(|room| room.total_bytes));
    storage("pipeline_storage_free_bytes", "Free in the storage for us.", bytes(|room| room.free_bytes));
    storage(
        "pipeline_storage_full_seconds",
        "How long until the storage is full, as it has filled lately; absent where that is not in sight.",
        room.and_then(|room| room.full_in).map(span),
    );
}

/// What kinds of failure the last visits met, by device and summed up.
fn failures<'a>(page: &mut Page, devices: &[Device<'a>], earlier: &Earlier) {
    let failed = |device: &Device<'_>, class: Class| {
        let stood = |class: &Class| earlier.value(FAILURE, Of::device(device.name).class(*class)).is_some();
        device.failure(CLASSES.into_iter().find(stood)) == Some(class)
    };
    let of_all = |class| {
        let count = devices.iter().filter(|device| failed(device, class)).count();
        (Of::default().class(class), count.to_string())
    };
    let help = "How many devices failed in the last visit that could tell, by the class of the failure.";
    page.metric("pipeline_failed_devices", help, CLASSES.into_iter().map(of_all).collect());
    let of_each = |device: &Device<'a>| {
        let class = CLASSES.into_iter().find(|class| failed(device, *class))?;
        Some((Of::device(device.name).class(class), "1".to_owned()))
    };
    let help = "1 where the last visit that could tell has failed, by the class of the failure.";
    page.metric(FAILURE, help, devices.iter().filter_map(of_each).collect());
}

fn devices<'a>(
    known: Option<&'a Known>,
    earlier: &'a Earlier,
    fleet: Option<&'a [fleet::Device]>,
    ended: &Ended<'a>,
) -> Vec<Device<'a>> {
    let reports = ended.report.map(|report| report.devices.as_slice()).unwrap_or_default();
    let reports: HashMap<&str, &DeviceReport> =
        reports.iter().filter(|report| visited(report)).map(|report| (report.device.as_str(), report)).collect();
    let device = |name, alert_after| Device {
        name,
        now_ns: ended.at_ns,
        report: reports.get(name).copied(),
        known: known.and_then(|known| known.devices.get(name)),
        alert_after,
    };
    match fleet {
        Some(fleet) => fleet.iter().map(|it| device(it.name.as_str(), it.settings.alert_after)).collect(),
        None => earlier.devices().iter().map(|name| device(name, None)).collect(),
    }
}
