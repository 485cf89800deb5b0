//! The Prometheus text format, as far as it is needed: gauges and counters, with the labels `device` and `class`. Pure.
//!
//! <https://prometheus.io/docs/instrumenting/exposition_formats/#text-based-format>

use std::collections::HashMap;
use std::fmt::Write as _;
use std::time::Duration;

use crate::error::Class;

/// A page under construction.
#[derive(Debug, Default)]
pub(super) struct Page(String);

/// What a sample is of; of the run itself, where it has neither.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Of<'a> {
    pub device: Option<&'a str>,
    pub class: Option<Class>,
}

impl<'a> Of<'a> {
    pub(super) fn device(name: &'a str) -> Of<'a> {
        Of { device: Some(name), class: None }
    }

    pub(super) fn class(self, class: Class) -> Of<'a> {
        Of { class: Some(class), ..self }
    }
}

impl Page {
    /// A metric and its samples. One whose name ends in `_total` is a counter, any other a gauge. Without samples it is left out.
    pub(super) fn metric(&mut self, name: &str, help: &str, samples: Vec<(Of<'_>, String)>) {
        if samples.is_empty() {
            return;
        }
        let kind = if name.ends_with("_total") { "counter" } else { "gauge" };
        let add = || {
            writeln!(self.0, "# HELP {name} {help}\n# TYPE {name} {kind}")?;
            samples.into_iter().try_for_each(|(of, value)| writeln!(self.0, "{} {value}", series(name, of)))
        };
        let added: std::fmt::Result = add();
        debug_assert!(added.is_ok(), "a String takes everything");
    }

    pub(super) fn into_bytes(self) -> Vec<u8> {
        self.0.into_bytes()
    }
}

/// A metric's name with its labels, the device first.
fn series(name: &str, of: Of<'_>) -> String {
    let device = of.device.map(|device| format!("device=\"{}\"", escaped(device)));
    let class = of.class.map(|class| format!("class=\"{}\"", class.word()));
    let labels: Vec<String> = device.into_iter().chain(class).collect();
    if labels.is_empty() { name.to_owned() } else { format!("{name}{{{}}}", labels.join(",")) }
}

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
            // Names of devices hold nothing that would have been escaped.
            let device = series.split_once("{device=\"").and_then(|(_, label)| Some(label.split_once('"')?.0));
            if let Some(device) = device.filter(|device| !earlier.devices.iter().any(|known| known == device)) {
                earlier.devices.push(device.to_owned());
            }
            earlier.values.insert(series.to_owned(), value.to_owned());
        }
        earlier
    }

    pub(super) fn value(&self, name: &str, of: Of<'_>) -> Option<String> {
        self.values.get(&series(name, of)).cloned()
    }

    pub(super) fn devices(&self) -> &[String] {
        &self.devices
    }
}

/// A point in time in seconds since 1970, or a span of nanoseconds in seconds.
pub(super) fn seconds(ns: i64) -> String {
    let ms = ns / 1_000_000;
    let sign = if ms < 0 { "-" } else { "" };
    format!("{sign}{}.{:03}", (ms / 1000).abs(), (ms % 1000).abs())
}

/// A span in whole seconds.
pub(super) fn span(span: Duration) -> String {
    span.as_secs().to_string()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn a_label_can_hold_anything() {
        assert_eq!(series("up", Of::device("a\\b\"c\nd")), r#"up{device="a\\b\"c\nd"}"#);
        assert_eq!(series("up", Of::device("a").class(Class::HostKey)), r#"up{device="a",class="host_key"}"#);
        assert_eq!(series("up", Of::default().class(Class::HostKey)), r#"up{class="host_key"}"#);
        assert_eq!(series("up", Of::default()), "up");
    }

    #[test]
    fn an_earlier_page_is_read_as_it_was_written() {
        let mut page = Page::default();
        page.metric("last", "Last.", vec![(Of::default(), seconds(1_763_719_200_045_000_000))]);
        page.metric("up", "Up.", vec![(Of::device("pi1"), "1".into()), (Of::device("pi2"), "0".into())]);
        page.metric("failed_total", "Failed.", vec![(Of::device("pi3").class(Class::Config), "1".into())]);
        page.metric("none", "None.", vec![]);
        let text = String::from_utf8(page.into_bytes()).unwrap();
        let expected = "\
# HELP last Last.
# TYPE last gauge
last 1763719200.045
# HELP up Up.
# TYPE up gauge
up{device=\"pi1\"} 1
up{device=\"pi2\"} 0
# HELP failed_total Failed.
# TYPE failed_total counter
failed_total{device=\"pi3\",class=\"config\"} 1
";
        assert_eq!(text, expected);
        let earlier = Earlier::read(&text);
        assert_eq!(earlier.value("last", Of::default()).as_deref(), Some("1763719200.045"));
        assert_eq!(earlier.value("up", Of::device("pi2")).as_deref(), Some("0"));
        assert_eq!(earlier.value("up", Of::device("pi3")), None);
        assert_eq!(earlier.value("failed_total", Of::device("pi3").class(Class::Config)).as_deref(), Some("1"));
        assert_eq!(earlier.devices(), ["pi1", "pi2", "pi3"]);
    }

    #[test]
    fn what_is_no_number_is_not_handed_on() {
        let earlier = Earlier::read("last\nup{device=\"pi1\"} much\nup{device=\"pi2\"} NaN\nlast +Inf\n\n# last 3\n");
        assert_eq!(earlier.value("up", Of::device("pi1")), None);
        assert_eq!(earlier.value("up", Of::device("pi2")), None);
        assert_eq!(earlier.value("last", Of::default()), None);
    }

    #[test]
    fn times_before_the_beginning_and_clocks_behind_are_negative() {
        assert_eq!([1_500_000_000, -1_500_000_000, -2_000_000, 0].map(seconds), ["1.500", "-1.500", "-0.002", "0.000"]);
    }
}
