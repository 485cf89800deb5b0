//! A made-up fleet with one of each trouble, for tests.

use std::time::Duration;

use pipeline_core::error::Class;
use pipeline_core::hold::Hold;
use pipeline_core::inspect::{
    Concern, DeviceView, FleetReport, KeptUntil, Kind, Reading, Severity, State, StorageState, StorageView,
};
use pipeline_core::path::DeviceName;

const SECOND_NS: i64 = 1_000_000_000;
const HOUR_NS: i64 = 3600 * SECOND_NS;
const DAY_NS: i64 = 24 * HOUR_NS;
const GIB: u64 = 1 << 30;

/// 2026-11-22T08:00:00Z.
pub(super) const AT_NS: i64 = 1_795_334_400 * SECOND_NS;

pub(super) fn concern(severity: Severity, kind: Kind, text: &str, hint: &str) -> Concern {
    let hint = Some(hint.to_owned()).filter(|hint| !hint.is_empty());
    Concern { severity, kind, text: text.into(), hint }
}

/// A device that is well, with every field filled in.
pub(super) fn well(name: &str) -> DeviceView {
    DeviceView {
        device: DeviceName::new(name).unwrap(),
        state: State::Ready,
        reading: Some(Reading {
            at_ns: AT_NS,
            total_bytes: Some(64 * GIB),
            free_bytes: Some(41 * GIB),
            total_files: Some(1_000_000),
            free_files: Some(920_000),
            data_bytes: Some(9 * GIB),
            data_files: Some(4_321),
            waiting_bytes: Some(300 << 20),
            waiting_files: Some(120),
            kept_bytes: Some(8 * GIB),
            kept_files: Some(4_201),
            oldest_waiting_ns: Some(AT_NS - 12 * 60 * SECOND_NS),
            clock_offset_ns: Some(-40_000_000),
            temperature_mdeg: Some(51_600),
            throttled: Some(0),
            uptime_s: Some(23 * 86_400),
            load_milli: Some(420),
            memory_total_bytes: Some(4 * GIB),
            memory_available_bytes: Some(3 * GIB),
            read_only: Some(false),
            sd_errors: Some(0),
            agent: Some("0.1.0".into()),
        }),
        kept: Some(KeptUntil::Time { first_ns: AT_NS + HOUR_NS, last_ns: AT_NS + 7 * DAY_NS }),
        growth_bytes_per_day: Some(1_300_000_000),
        recorded_bytes_per_day: Some(2_600_000_000),
        full_in: Some(Duration::from_secs(33 * 86_400)),
        newest_data_ns: Some(AT_NS - 90 * SECOND_NS),
        silent: None,
        last_answer_ns: Some(AT_NS),
        last_success_ns: Some(AT_NS - 60 * SECOND_NS),
        without_agent: None,
        concerns: vec![],
        elapsed_ms: 730,
    }
}

/// One that is as [`well`] says but for this.
fn but(name: &str, change: impl FnOnce(&mut DeviceView, &mut Reading)) -> DeviceView {
    let mut view = well(name);
    let mut reading = view.reading.take().unwrap();
    change(&mut view, &mut reading);
    view.reading = Some(reading);
    view
}

fn offline(view: &mut DeviceView, reading: &mut Reading, since_ns: i64, reason: &str, hint: &str) {
    view.state = State::Offline { reason: reason.into(), hint: Some(hint.into()) };
    (view.last_answer_ns, view.last_success_ns) = (Some(AT_NS - since_ns), Some(AT_NS - since_ns));
    (view.newest_data_ns, reading.at_ns) = (Some(AT_NS - since_ns), AT_NS - since_ns);
    view.kept = None;
}

/// One of each trouble, in no order.
pub(super) fn troubled() -> FleetReport {
    use Kind::{
        CardFull, Clock, Hold as Held, NotSynced, Offline, ReadOnly, SdErrors, Silent, Throttled, UnderVoltage,
        WithoutAgent,
    };
    use Severity::{Critical, Note, Warning};
    let tunnel = "is the Pi up, and its tunnel? 'systemctl status ssh-tunnel' on it says why not";
    let devices = vec![
        well("raspberry9"),
        but("raspberry31", |view, reading| {
            reading.free_bytes = Some(2 * GIB);
            view.full_in = Some(Duration::from_secs(5 * 3600 + 40));
            view.concerns = vec![
                concern(
                    Critical,
                    CardFull,
                    "card 96 % full, full in 5 h",
                    "`pipeline sync` makes room of what it has received",
                ),
                concern(Note, Throttled, "its processor is slowed down", ""),
            ];
            reading.temperature_mdeg = Some(74_300);
        }),
        but("raspberry32", |view, reading| {
            (view.newest_data_ns, view.silent) = (Some(AT_NS - 3 * DAY_NS), Some(Duration::from_secs(3 * 86_400)));
            (reading.waiting_bytes, reading.waiting_files, reading.oldest_waiting_ns) = (Some(0), Some(0), None);
            view.concerns = vec![concern(Warning, Silent, "no new data for 3 d", "is the camera running?")];
        }),
        but("raspberry33", |view, reading| offline_lately(view, reading, tunnel)),
        but("raspberry34", |view, reading| {
            let reason = "its tunnel is there and nobody answers behind it";
            offline(view, reading, 2 * DAY_NS, reason, tunnel);
            let text = format!("offline for 2 d: {reason}");
            view.concerns =
                vec![concern(Warning, Offline, &text, tunnel), concern(Warning, NotSynced, "not synced for 2 d", "")];
        }),
        but("raspberry35", |view, reading| {
            reading.clock_offset_ns = Some(-3 * DAY_NS - HOUR_NS);
            view.concerns = vec![concern(Warning, Clock, "its clock is 3 d behind", "has it a network time server?")];
        }),
        but("raspberry36", |view, reading| {
            (reading.read_only, reading.sd_errors, reading.throttled) = (Some(true), Some(17), Some(0x5_0001));
            view.concerns = vec![
                concern(Critical, ReadOnly, "its root file system is read-only", "the card may be dying: replace it"),
                concern(
                    Critical,
                    SdErrors,
                    "17 errors of the card in the kernel log",
                    "the card may be dying: replace it",
                ),
                concern(Warning, UnderVoltage, "under-voltage", "a stronger supply, or a shorter cable"),
            ];
        }),
        but("raspberry37", |view, reading| {
            *reading = Reading {
                at_ns: AT_NS,
                total_bytes: Some(32 * GIB),
                free_bytes: Some(30 * GIB),
                waiting_bytes: Some(812),
                waiting_files: Some(2),
                ..Reading::default()
            };
            (view.kept, view.growth_bytes_per_day, view.full_in) = (None, Some(-5_000_000), None);
            view.without_agent = Some("the configuration says 'agent: never'".into());
            let text = "asked without the agent: the configuration says 'agent: never'";
            view.concerns = vec![concern(Note, WithoutAgent, text, "")];
        }),
        never_heard("raspberry38"),
    ];
    let text = |text: &str| Some(text.to_owned());
    FleetReport {
        at_ns: AT_NS,
        devices,
        storage: StorageView {
            path: "/mnt/san/shared/Shared".into(),
            state: StorageState::Ready,
            total_bytes: Some(4096 * GIB),
            free_bytes: Some(412 * GIB),
            total_files: None,
            free_files: None,
            growth_bytes_per_day: Some(12_400_000_000),
            full_in: Some(Duration::from_secs(35 * 86_400)),
            concerns: vec![],
        },
        hold: Some(Hold {
            since: text("2026-11-20T10:00:00Z"),
            by: text("alice"),
            reason: text("card swap"),
            until: None,
            remark: None,
        }),
        concerns: vec![concern(Note, Held, "removals are on hold", "'pipeline release' ends it")],
        elapsed_ms: 5_400,
    }
}

fn never_heard(name: &str) -> DeviceView {
    let reason = "host key of raspberry38 is unknown \x1b[2J";
    DeviceView {
        state: State::Failed { class: Class::HostKey, reason: reason.into(), hint: None },
        reading: None,
        kept: None,
        growth_bytes_per_day: None,
        recorded_bytes_per_day: None,
        full_in: None,
        newest_data_ns: None,
        last_answer_ns: None,
        last_success_ns: None,
        concerns: vec![concern(Severity::Warning, Kind::Failed, reason, "keytool add-pi 38")],
        ..well(name)
    }
}

fn offline_lately(view: &mut DeviceView, reading: &mut Reading, hint: &str) {
    let reason = "no tunnel on port 5033 of the jump host";
    offline(view, reading, 2 * HOUR_NS, reason, hint);
    view.concerns = vec![concern(Severity::Note, Kind::Offline, &format!("offline for 2 h: {reason}"), hint)];
}

/// Two that are well, and a storage that is too.
pub(super) fn calm() -> FleetReport {
    let report = troubled();
    FleetReport { devices: vec![well("raspberry9"), well("raspberry10")], hold: None, concerns: vec![], ..report }
}
