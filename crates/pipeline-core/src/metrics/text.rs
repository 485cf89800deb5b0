//! The Prometheus text format, as far as it is needed: gauges, with no label but `device`. Pure.
//!
//! <https://prometheus.io/docs/instrumenting/exposition_formats/#text-based-format>

use std::collections::HashMap;
use std::fmt::Write as _;

/// A page under construction.
#[derive(Debug, Default)]
pub(super) struct Page(String);

impl Page {
    /// A gauge and its samples, which are values by device; none for the run itself. A gauge without samples is left out.
    pub(super) fn gauge(&mut self, name: &str, help: &str, samples: Vec<(Option<&str>, String)>) {
        if samples.is_empty() {
            return;
        }
        let add = || {
            writeln!(self.0, "# HELP {name} {help}\n# TYPE {name} gauge")?;
            samples.into_iter().try_for_each(|(device, value)| writeln!(self.0, "{} {value}", series(name, device)))
        };
        let added: std::fmt::Result = add();
        debug_assert!(added.is_ok(), "a String takes everything");
    }

    pub(super) fn into_bytes(self) -> Vec<u8> {
        self.0.into_bytes()
    }
}

/// A metric's name with its label.
fn series(name: &str, device: Option<&str>) -> String {
    match device {
        Some(device) => format!("{name}{DEVICE}{}{END}", escaped(device)),
        None => name.to_owned(),
    }
}

const DEVICE: &str = "{device=\"";
const END: &str = "\"}";

fn escaped(label: &str) -> String {
    label.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

/// What an earlier page said. Lines that can't be from us are passed over: what is taken from here is written again.
#[derive(Debug, Default)]
pub(super) struct Earlier {
    values: HashMap<String, String>,
    /// In the order of the page.
    devices: Vec<String>,
}

impl Earlier {
    pub(super) fn read(page: &str) -> Earlier {
        let mut earlier = Earlier::default();
        for line in page.lines().filter(|line| !line.starts_with('#')) {
            let Some((series, value)) = line.rsplit_once(' ') else { continue };
            if !value.parse().is_ok_and(f64::is_finite) {
                continue;
            }
            let device = series.split_once(DEVICE).and_then(|(_, label)| label.strip_suffix(END));
            if let Some(device) = device.filter(|device| !earlier.devices.iter().any(|known| known == device)) {
                earlier.devices.push(device.to_owned());
            }
            earlier.values.insert(series.to_owned(), value.to_owned());
        }
        earlier
    }

    pub(super) fn value(&self, name: &str, device: Option<&str>) -> Option<String> {
        self.values.get(&series(name, device)).cloned()
    }

    pub(super) fn devices(&self) -> &[String] {
        &self.devices
    }
}

/// A point in time in seconds since 1970.
pub(super) fn seconds(ns: i64) -> String {
    let ms = ns / 1_000_000;
    format!("{}.{:03}", ms / 1000, ms % 1000)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn a_label_can_hold_anything() {
        assert_eq!(series("up", Some("a\\b\"c\nd")), r#"up{device="a\\b\"c\nd"}"#);
        assert_eq!(series("up", None), "up");
    }

    #[test]
    fn an_earlier_page_is_read_as_it_was_written() {
        let mut page = Page::default();
        page.gauge("last", "Last.", vec![(None, seconds(1_763_719_200_045_000_000))]);
        page.gauge("up", "Up.", vec![(Some("pi1"), "1".into()), (Some("pi2"), "0".into())]);
        page.gauge("none", "None.", vec![]);
        let text = String::from_utf8(page.into_bytes()).unwrap();
        let expected = "\
# HELP last Last.
# TYPE last gauge
last 1763719200.045
# HELP up Up.
# TYPE up gauge
up{device=\"pi1\"} 1
up{device=\"pi2\"} 0
";
        assert_eq!(text, expected);
        let earlier = Earlier::read(&text);
        assert_eq!(earlier.value("last", None).as_deref(), Some("1763719200.045"));
        assert_eq!(earlier.value("up", Some("pi2")).as_deref(), Some("0"));
        assert_eq!(earlier.value("up", Some("pi3")), None);
        assert_eq!(earlier.devices(), ["pi1", "pi2"]);
    }

    #[test]
    fn what_is_no_number_is_not_handed_on() {
        let earlier = Earlier::read("last\nup{device=\"pi1\"} much\nup{device=\"pi2\"} NaN\nlast +Inf\n\n# last 3\n");
        assert_eq!(earlier.value("up", Some("pi1")), None);
        assert_eq!(earlier.value("up", Some("pi2")), None);
        assert_eq!(earlier.value("last", None), None);
    }
}
