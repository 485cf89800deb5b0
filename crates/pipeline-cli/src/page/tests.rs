//! The page of a made report: what stands in it, and what must not.

use std::time::Duration;

use pipeline_core::hold::{Hold, Standing};
use pipeline_core::inspect::{Concern, Kind, Severity};
use pipeline_core::report::*;

use plotters::style::RGBColor;

use super::chart::Ink;
use super::*;

const DAY_NS: i64 = 86_400_000_000_000;

fn made() -> Report {
    let (first_day, last_day) = (20_000, 20_364);
    let devices = (1..=14_i32).map(|n| device(n, first_day, last_day)).collect();
    Report {
        at_ns: i64::from(last_day) * DAY_NS + DAY_NS / 3,
        first_day,
        last_day,
        root: "/mnt/archive".into(),
        hold: Standing::Held(Hold {
            by: Some("alice".into()),
            reason: Some("moving <i>the storage</i>\n&co".into()),
            ..Hold::default()
        }),
        devices,
        days: (0..365).map(|n| sums((n * 7919 % 31 + 5) << 30, n % 9)).collect(),
        archived: Amount { files: 4_200_000, bytes: 9 << 40 },
        storage: space(14, first_day, last_day, false),
        outages: vec![
            outage("raspberry3", last_day - 9, i64::from(last_day) * DAY_NS + DAY_NS / 3, End::Now),
            outage("raspberry7", last_day - 40, i64::from(last_day - 38) * DAY_NS, End::Change),
            outage("raspberry9", last_day - 20, i64::from(last_day - 19) * DAY_NS, End::Pause),
        ],
        more_outages: 12,
        failures: vec![Failure {
            class: "host_key".into(),
            reason: "the host key of <b>raspberry5</b> has changed".into(),
            hint: Some("if the card was replaced, run `keytool add-pi`".into()),
            devices: (1..=9).map(|n| format!("raspberry{n}")).collect(),
            visits: 1234,
            first_ns: i64::from(first_day) * DAY_NS,
            last_ns: i64::from(last_day) * DAY_NS,
            lasting: vec!["raspberry5".into()],
        }],
        more_failures: 0,
        runs: Runs {
            total: 525_000,
            killed: 3,
            stopped: vec![("the storage is full".into(), 4)],
            last_ns: Some(i64::from(last_day) * DAY_NS + DAY_NS / 3 - 60_000_000_000),
        },
        concerns: vec![Concern {
            severity: Severity::Critical,
            kind: Kind::RunFailed,
            text: "the last run, 60 s ago: no marker in /mnt/archive".into(),
            hint: None,
        }],
    }
}

fn outage(device: &str, began_day: i32, ended_ns: i64, end: End) -> Outage {
    let began_ns = i64::from(began_day) * DAY_NS;
    Outage {
        device: device.into(),
        began_ns,
        ended_ns,
        end,
        lasted: Duration::from_nanos((ended_ns - began_ns).unsigned_abs()),
        reason: Some("the jump host can't connect to it: connection refused".into()),
    }
}

fn sums(bytes: u64, failed: u64) -> Sums {
    Sums {
        visits: 1440,
        reached: 1400,
        received: Amount { files: bytes >> 22, bytes },
        removed: Amount { files: bytes >> 22, bytes },
        failed,
        ..Sums::default()
    }
}

fn space(n: i32, first_day: i32, last_day: i32, saw: bool) -> Space {
    let total: u64 = 58 << 30;
    let days: Vec<UseDay> = (first_day..=last_day)
        .filter(|day| !(n == 3 && (day - first_day) % 90 > 70))
        .map(|day| {
            let part = if saw {
                u64::from(((day * n) % 40).unsigned_abs()) + 8
            } else {
                u64::from((day - first_day).unsigned_abs()) * 80 / 365 + 10
            };
            UseDay { day, total_bytes: total, lowest_bytes: total * part / 130, highest_bytes: total * part / 100 }
        })
        .collect();
    let last = days.last().copied();
    Space {
        at_ns: last.map(|day| i64::from(day.day) * DAY_NS + DAY_NS / 4),
        total_bytes: Some(total),
        free_bytes: last.map(|day| total - day.highest_bytes),
        days,
        growth_bytes_per_day: Some(300 << 20),
        full_in: Some(Duration::from_secs(86_400 * 9 * n.unsigned_abs() as u64)),
    }
}

fn device(n: i32, first_day: i32, last_day: i32) -> Device {
    let state = match n {
        3 => State::Offline,
        5 => State::Failed,
        _ => State::Ready,
    };
    let at = i64::from(last_day) * DAY_NS;
    Device {
        name: format!("raspberry{n}"),
        state,
        since_ns: Some(at - 9 * DAY_NS),
        reason: None,
        hint: None,
        succeeded_ns: Some(at),
        newest_ns: Some(at - DAY_NS * i64::from(n % 4)),
        silent: (n == 3).then_some(Duration::from_secs(9 * 86_400)),
        concerns: if n == 3 {
            vec![
                Concern {
                    kind: Kind::FullSoon,
                    severity: Severity::Critical,
                    text: "card 97 % full, full in 5 h".into(),
                    hint: Some("bring the device back, or change its card".into()),
                },
                Concern {
                    kind: Kind::Offline,
                    severity: Severity::Warning,
                    text: "no answer for 9 d".into(),
                    hint: None,
                },
            ]
        } else {
            vec![]
        },
        waiting: Some(Amount { files: 12, bytes: 33 << 20 }),
        kept: Some(Amount { files: 1200, bytes: 3 << 30 }),
        card: space(n, first_day, last_day, true),
        sums: sums((u64::from(n.unsigned_abs()) * 40) << 30, 0),
        calendar: (first_day..=last_day)
            .map(|day| match (day * n) % 57 {
                0..4 => DayState::Offline,
                4 => DayState::Partly,
                5 if n == 5 => DayState::Failed,
                _ if day - first_day < 5 * n => DayState::Unknown,
                _ => DayState::Ready,
            })
            .collect(),
        answered: Some(0.93),
    }
}

#[test]
fn what_a_device_says_is_text_and_nothing_is_loaded_or_run() {
    let page = render(&made(), &TimeZone::UTC);
    assert!(page.starts_with(OPENING), "a later page could not replace it");
    assert!(page.contains("the host key of &lt;b&gt;raspberry5&lt;/b&gt; has changed"));
    assert!(page.contains("All devices</strong><p>the last run, 60 s ago: no marker in /mnt/archive</p>"));
    assert!(page.contains("moving &lt;i&gt;the storage&lt;/i&gt;\\n&amp;co"));
    for loaded in ["<script", "<img", "<iframe", "<object", " src=", "url(", "@import", "http://", "https://"] {
        assert!(!page.contains(loaded), "{loaded}");
    }
    assert_eq!(
        page.matches(" href=").count(),
        page.matches(" href=\"#").count() + 1,
        "the icon, and ways within the page"
    );
}

#[test]
fn each_picture_has_a_name_and_its_numbers() {
    let report = made();
    let page = render(&report, &TimeZone::UTC);
    let pictures = page.matches("<svg").count();
    // Two sizes of days, calendar, transfers and storage.
    assert_eq!(pictures, report.devices.len() + 2 * 4);
    assert_eq!(page.matches("role=\"img\" aria-label=\"").count(), pictures);
    assert!(page.contains("aria-label=\"raspberry2: 16 % of 58.0 GiB, full in 18 d\""));
    // Cards, days, outages, transfers, and two of the storage.
    assert_eq!(page.matches("<details>").count(), 6);
    assert!(!page.contains("no picture"));
}

#[test]
fn an_outage_ends_with_an_answer_or_when_nobody_looked_any_more_or_not_yet() {
    let page = render(&made(), &TimeZone::UTC);
    let list = page.rsplit("The longest outages").next().and_then(|rest| rest.split("</table>").next()).unwrap();
    let ends: Vec<&str> = list.split("<td class=\"\">").skip(1).map(|cell| cell.split('<').next().unwrap()).collect();
    let ends: Vec<&str> = ends.chunks(4).map(|row| row[1]).collect();
    assert_eq!(ends, ["now", "26 Aug 2025, 00:00", "14 Sep 2025, 00:00, then nobody looked"]);
}

#[test]
fn an_empty_catalog_makes_a_page_too() {
    let report = Report {
        devices: Vec::new(),
        days: vec![Sums::default(); 7],
        hold: Standing::Free,
        storage: Space::default(),
        outages: Vec::new(),
        failures: Vec::new(),
        runs: Runs::default(),
        first_day: 20_358,
        ..made()
    };
    let page = render(&report, &TimeZone::UTC);
    assert!(page.contains("There is no device.") && page.contains("Nothing failed."));
    assert!(!page.contains("<svg") && !page.contains("NaN") && !page.contains("on hold"));
}

#[test]
fn a_device_that_says_too_much_costs_nobody_the_page() {
    let mut report = made();
    let most = Amount { files: u64::MAX, bytes: u64::MAX };
    for device in &mut report.devices {
        (device.waiting, device.kept) = (Some(most), Some(most));
        device.sums = Sums { visits: u64::MAX, received: most, removed: most, ..Sums::default() };
        device.card.total_bytes = Some(u64::MAX);
    }
    report.days = vec![Sums { reached: u64::MAX, failed: u64::MAX, ..report.devices[0].sums }; 365];
    report.archived = most;
    let page = render(&report, &TimeZone::UTC);
    assert!(page.contains("16.0 EiB") && page.contains("raspberry14"));
    assert!(!page.contains("no picture") && !page.contains("NaN") && !page.contains("inf"));
}

#[test]
fn a_card_with_one_reading_has_a_dot_no_later_than_now() {
    let mut report = made();
    report.devices.truncate(1);
    let card = &mut report.devices[0].card;
    card.days = card.days.split_off(card.days.len() - 1);
    card.full_in = None;
    let page = render(&report, &TimeZone::UTC);
    let figure = page.split("<figure>").nth(1).and_then(|rest| rest.split("</figure>").next()).unwrap_or_default();
    let number = |text: &str, name: &str| -> f64 {
        let value = text.split(&format!(" {name}=\"")).nth(1).and_then(|rest| rest.split('"').next());
        value.and_then(|value| value.parse().ok()).unwrap_or(f64::NAN)
    };
    let dot = figure.split("<circle").nth(1).unwrap_or_default();
    let now = figure.split("<polyline").find(|line| line.contains("#8C959F")).unwrap_or_default();
    let now = now.split("points=\"").nth(1).and_then(|points| points.split(',').next()?.trim().parse::<f64>().ok());
    assert_eq!(Some(number(dot, "cx")), now, "{figure}");
    assert!(number(dot, "r") > 0.0);
}

#[test]
fn every_ink_has_a_dark_one() {
    for ink in Ink::ALL {
        let RGBColor(r, g, b) = ink.rgb();
        let of_picture = format!("=\"#{r:02X}{g:02X}{b:02X}\"]");
        let dark =
            STYLE.split("@media (prefers-color-scheme: dark)").nth(1).and_then(|rest| rest.split("\n}\n").next());
        assert!(dark.is_some_and(|dark| dark.contains(&of_picture)), "{ink:?}: {of_picture}");
    }
}
