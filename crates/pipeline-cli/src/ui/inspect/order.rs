//! In which order devices are shown.

use std::cmp::{Ordering, Reverse};

use pipeline_core::inspect::{DeviceView, FleetReport, Reading};

use super::columns;
use crate::cli::SortKey;

/// Sorts the devices of a report. Those that a key says nothing of come last; equals stay as the configuration has them.
pub fn sort(report: &mut FleetReport, key: SortKey) {
    let devices = &mut report.devices;
    match key {
        SortKey::Config => {}
        SortKey::Urgency => devices.sort_by_key(|view| (Reverse(view.severity()), soonest(view))),
        SortKey::Name => devices.sort_by(|one, other| natural(one.device.as_str(), other.device.as_str())),
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

/// Numbers in a name as numbers: `pi9` before `pi10`.
fn natural(one: &str, other: &str) -> Ordering {
    let (mut one, mut other) = (one, other);
    loop {
        let (number, rest) = split(one);
        let (other_number, other_rest) = split(other);
        let (word, one_rest) = rest.split_at(rest.find(|c: char| c.is_ascii_digit()).unwrap_or(rest.len()));
        let word_end = other_rest.find(|c: char| c.is_ascii_digit()).unwrap_or(other_rest.len());
        let (other_word, other_rest) = other_rest.split_at(word_end);
        match number.cmp(&other_number).then_with(|| word.cmp(other_word)) {
            Ordering::Equal if one_rest.is_empty() || other_rest.is_empty() => return one_rest.cmp(other_rest),
            Ordering::Equal => (one, other) = (one_rest, other_rest),
            order => return order,
        }
    }
}

/// The digits that it begins with, by value: how many there are without zeros in front, then which; before what begins with none.
/// And the rest.
fn split(text: &str) -> ((bool, usize, &str), &str) {
    let (digits, rest) = text.split_at(text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len()));
    let value = digits.trim_start_matches('0');
    ((digits.is_empty(), value.len(), value), rest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_in_names_are_numbers() {
        let sorted =
            ["1", "9", "a", "pi", "pi1", "pi9", "pi10", "pi10a", "pi10b2", "pi10b10", "pi-9-b", "pi-10-a", "q"];
        for (i, one) in sorted.iter().enumerate() {
            for (j, other) in sorted.iter().enumerate() {
                assert_eq!(natural(one, other), i.cmp(&j), "{one} {other}");
            }
        }
    }
}
