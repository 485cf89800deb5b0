//! In which order devices are shown.

use std::cmp::Reverse;

use pipeline_core::inspect::{DeviceView, FleetReport, Reading};
use pipeline_core::path::by_number;

use super::columns;
use crate::cli::SortKey;

/// Sorts the devices of a report. Those that a key says nothing of come last; equals stay as the configuration has them.
pub fn sort(report: &mut FleetReport, key: SortKey) {
    let devices = &mut report.devices;
    match key {
        SortKey::Config => {}
        SortKey::Urgency => devices.sort_by_key(|view| (Reverse(view.severity()), soonest(view))),
        SortKey::Name => devices.sort_by_cached_key(|view| by_number(view.device.as_str())),
        SortKey::Used => devices.sort_by_key(|view| most(columns::used_ppm(view))),
        SortKey::Full => devices.sort_by_key(soonest),
        SortKey::Waiting => devices.sort_by_key(|view| most(of(view, |reading| reading.waiting_bytes))),
        SortKey::Oldest => devices.sort_by_key(|view| earliest(of(view, |reading| reading.oldest_waiting_ns))),
        SortKey::Silent => devices.sort_by_key(|view| earliest(view.newest_data_ns)),
        SortKey::Synced => devices.sort_by_key(|view| earliest(view.last_success_ns)),
        SortKey::Clock => {
            devices.sort_by_key(|view| most(of(view, |reading| reading.clock_offset_ns).map(i64::unsigned_abs)));
        }
        SortKey::Temperature => devices.sort_by_key(|view| most(of(view, |reading| reading.temperature_mdeg))),
    }
}

fn of<T>(view: &DeviceView, what: impl Fn(&Reading) -> Option<T>) -> Option<T> {
    view.reading.as_ref().and_then(what)
}

fn soonest(view: &DeviceView) -> impl Ord + use<> {
    (view.full_in.is_none(), view.full_in)
}

/// The largest first.
fn most<T: Ord>(value: Option<T>) -> impl Ord {
    Reverse(value)
}

fn earliest(ns: Option<i64>) -> impl Ord {
    (ns.is_none(), ns)
}
