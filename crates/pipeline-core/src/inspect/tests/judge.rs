//! What a person is called for, fact by fact.

use super::super::judge::{Facts, Stays, concerns, hop};
use super::*;
use crate::catalog::history::{RunRow, RunSums};
use crate::check::WithoutAgent;
use crate::health::Health;
use Severity::{Critical, Note, Warning};

const NOW: i64 = 1_800_000_000_000_000_000;
const DAY: Duration = Duration::from_secs(86_400);

const HEALTHY: Health = Health {
    load_milli: None,
    uptime_s: None,
    memory_total_bytes: None,
    memory_available_bytes: None,
    temperature_mdeg: None,
    throttled: Some(0),
    root_read_only: Some(false),
    source_read_only: Some(false),
    sd_errors: Some(0),
    sd_last: None,
};

fn hours_ago(hours: i64) -> Option<i64> {
    Some(NOW - hours * HOUR_NS)
}

fn card(percent: u64) -> Reading {
    let (total_bytes, free_bytes) = (Some(100 * GIB), Some((100 - percent) * GIB));
    Reading { at_ns: NOW, total_bytes, free_bytes, clock_offset_ns: Some(0), ..Reading::default() }
}

/// A healthy device, but for what `change` does to it.
fn judged<'a>(state: &'a State, reading: Option<&'a Reading>, change: impl FnOnce(&mut Facts<'a>)) -> Vec<Concern> {
    let mut facts = Facts {
        now_ns: NOW,
        alert_after: Some(DAY),
        state,
        behind_a_hop: false,
        trouble: None,
        reading,
        found: None,
        health: &HEALTHY,
        full_in: None,
        silent: None,
        answered_ns: hours_ago(0),
        succeeded_ns: hours_ago(1),
        first_try_ns: hours_ago(9000),
        without_agent: None,
        stays: None,
    };
    change(&mut facts);
    concerns(&facts)
}

fn ready(reading: &Reading) -> Vec<(Severity, Kind)> {
    kinds(&judged(&State::Ready, Some(reading), |_| {}))
}

#[test]
fn a_healthy_device_is_no_concern() {
    assert_eq!(ready(&card(89)), []);
    assert_eq!(ready(&Reading::default()), []);
}

fn failed(class: Class, whole: bool) -> Spell {
    Spell {
        source: 1,
        device: DeviceName::new("pi").unwrap(),
        state: history::State::Failed,
        class: Some(class),
        reason: Some("so".into()),
        hint: Some("do".into()),
        began_ns: NOW - 5 * HOUR_NS,
        last_ns: NOW - 3 * HOUR_NS,
        visits: 2,
        others: 0,
        whole,
    }
}

#[test]
fn what_a_visit_has_met_counts_though_a_look_does_not_show_it() {
    let offline = State::Offline { reason: "no tunnel".into(), hint: None };
    let broke = |class| State::Failed { class, reason: "broke".into(), hint: None };
    let now = [State::Ready, offline, broke(Class::Transient), State::Stopped];
    let none = [None; 4];
    let table = [
        (failed(Class::Integrity, true), [Some(Critical); 4]),
        (failed(Class::Brake, true), [Some(Warning); 4]),
        (failed(Class::Config, false), [Some(Warning); 4]),
        (failed(Class::Internal, false), [Some(Warning); 4]),
        // Whoever is looked at has shown the right key.
        (failed(Class::HostKey, false), [None, Some(Critical), Some(Critical), Some(Critical)]),
        // The run's own trouble.
        (failed(Class::Storage, false), [Some(Warning), None, None, None]),
        (failed(Class::Transient, true), [Some(Note), None, None, None]),
        (failed(Class::Transient, false), none),
    ];
    for (trouble, expected) in &table {
        for (state, expected) in now.iter().zip(expected) {
            let all = judged(state, None, |facts| facts.trouble = Some(trouble));
            let told = all.iter().find(|concern| concern.kind == Kind::VisitFailed);
            assert_eq!(told.map(|concern| concern.severity), *expected, "{trouble:?} {state:?}");
            assert!(told.is_none_or(|told| told.text == "its visit 3 h ago failed: so" && told.hint.is_some()));
        }
    }
    // The look says it better.
    let (same, trouble) = (broke(Class::HostKey), failed(Class::HostKey, false));
    assert_eq!(kinds(&judged(&same, None, |facts| facts.trouble = Some(&trouble))), [(Critical, Kind::Failed)]);
}

#[test]
fn the_last_run_is_a_concern_where_a_person_must_end_what_stopped_it() {
    let run = |class: Option<Class>| RunRow {
        run: 7,
        started_ns: NOW - 2 * HOUR_NS,
        finished_ns: Some(NOW - 2 * HOUR_NS),
        killed: false,
        program: "1".into(),
        sums: Some(RunSums {
            stopped_by: class.map(|_| "so".into()),
            class,
            hint: Some("do".into()),
            ..RunSums::default()
        }),
    };
    let braked = failed(Class::Brake, true);
    let told = |class| last_run(&run(class), [None].into_iter(), NOW).map(|concern| (concern.severity, concern.text));
    let text = || "the last run, 2 h ago: so".to_owned();
    assert_eq!(told(Some(Class::Storage)), Some((Critical, text())));
    assert_eq!(told(Some(Class::Brake)), Some((Warning, text())));
    assert_eq!(told(Some(Class::Config)), Some((Warning, text())));
    assert_eq!((told(Some(Class::Interrupted)), told(None)), (None, None));
    assert_eq!(last_run(&RunRow { sums: None, ..run(None) }, [].into_iter(), NOW), None);
    assert_eq!(last_run(&run(Some(Class::Brake)), [Some(&braked)].into_iter(), NOW), None, "the devices say it");
}

#[test]
fn a_jump_host_that_can_not_be_used_is_one_concern() {
    let state = State::Offline { reason: "jump host 'awsbox' can't be used: refused".into(), hint: None };
    let told = |devices, minutes: i64| {
        let concern = hop("awsbox", &state, devices, Some(NOW - minutes * HOUR_NS / 60), NOW).unwrap();
        (concern.severity, concern.text)
    };
    let text = |behind| format!("jump host 'awsbox' can't be used: refused; {behind} behind 'awsbox'");
    assert_eq!(told(50, 14), (Note, text("50 devices are")));
    assert_eq!(told(1, 15), (Warning, text("1 device is")));
    assert_eq!(hop("awsbox", &state, 2, None, NOW).unwrap().severity, Warning, "nobody has ever come through");
    // And the same words of each device behind it, however long it has been away.
    let said = |hours| {
        let all = judged(&state, None, |facts| (facts.behind_a_hop, facts.answered_ns) = (true, hours_ago(hours)));
        all[0].text.clone()
    };
    let offline = || "offline: jump host 'awsbox' can't be used: refused".to_owned();
    assert_eq!((said(1), said(20)), (offline(), offline()));
}

#[test]
fn who_is_away_for_a_moment_calls_nobody() {
    let offline = State::Offline { reason: "no tunnel".into(), hint: None };
    /// Answered and first tried so many hours ago; for so long may it be away.
    type Case = (Option<i64>, Option<i64>, Option<Duration>, Severity, &'static str);
    let table: [Case; 7] = [
        (Some(1), Some(99), Some(DAY), Note, "offline for 60 min: no tunnel"),
        (Some(24), Some(99), Some(DAY), Note, "offline for 24 h: no tunnel"),
        (Some(25), Some(99), Some(DAY), Warning, "offline for 25 h: no tunnel"),
        (Some(2500), Some(9000), None, Note, "offline for 104 d: no tunnel"),
        (None, None, Some(DAY), Note, "has never answered: no tunnel"),
        (None, Some(3), Some(DAY), Note, "has not answered once in 3 h: no tunnel"),
        (None, Some(30), Some(DAY), Warning, "has not answered once in 30 h: no tunnel"),
    ];
    for (answered, tried, alert_after, severity, text) in table {
        let concerns = judged(&offline, None, |facts| {
            facts.answered_ns = answered.and_then(hours_ago);
            facts.first_try_ns = tried.and_then(hours_ago);
            facts.succeeded_ns = facts.answered_ns;
            facts.alert_after = alert_after;
            // That it brings nothing either is no news.
            facts.silent = Some(99 * DAY);
        });
        assert_eq!(kinds(&concerns), [(severity, Kind::Offline)], "{text}");
        assert_eq!(concerns[0].text, text);
    }
}

#[test]
fn what_only_a_person_can_mend_calls_one_at_once() {
    let table = [
        (Class::HostKey, Critical),
        (Class::Integrity, Critical),
        (Class::Config, Warning),
        (Class::Internal, Warning),
        (Class::Transient, Note),
    ];
    for (class, severity) in table {
        let failed = State::Failed { class, reason: "why".into(), hint: Some("do".into()) };
        let concerns = judged(&failed, None, |_| {});
        let expected = Concern { severity, kind: Kind::Failed, text: "why".into(), hint: Some("do".into()) };
        assert_eq!(concerns, [expected], "{class:?}");
    }
    // What breaks off again and again gets no work done: that calls one in the end.
    let failed = State::Failed { class: Class::Transient, reason: "why".into(), hint: None };
    let concerns = judged(&failed, None, |facts| facts.succeeded_ns = hours_ago(26));
    assert_eq!(kinds(&concerns), [(Warning, Kind::NotSynced), (Note, Kind::Failed)]);
    assert_eq!(concerns[0].text, "no visit has done all its work for 26 h");
}

#[test]
fn a_card_fills() {
    let hours = |hours: u64| Some(Duration::from_secs(hours * 3600));
    let table = [
        (89, None, None, ""),
        (90, None, Some((Warning, Kind::CardFull)), "card 90 % full"),
        (96, hours(72), Some((Warning, Kind::CardFull)), "card 96 % full"),
        (96, hours(47), Some((Warning, Kind::CardFull)), "card 96 % full, full in 47 h"),
        (97, None, Some((Critical, Kind::CardFull)), "card 97 % full"),
        (100, hours(0), Some((Critical, Kind::CardFull)), "card full"),
        (50, hours(48), None, ""),
        (50, hours(47), Some((Warning, Kind::FullSoon)), "card 50 % full, full in 47 h"),
        (50, hours(5), Some((Critical, Kind::FullSoon)), "card 50 % full, full in 5 h"),
    ];
    for (percent, full_in, expected, text) in table {
        let concerns = judged(&State::Ready, Some(&card(percent)), |facts| facts.full_in = full_in);
        assert_eq!(kinds(&concerns), Vec::from_iter(expected), "{percent} {full_in:?}");
        assert_eq!(concerns.first().map_or("", |concern| &concern.text), text);
    }
    let hint = |stays| {
        let concerns = judged(&State::Ready, Some(&card(95)), |facts| facts.stays = stays);
        concerns[0].hint.clone().unwrap()
    };
    assert!(hint(Some(Stays::Hold)).contains("pipeline release"));
    assert!(hint(Some(Stays::Never)).contains("delete.after"));
    assert!(hint(None).contains("pipeline sync"));
    // Of one that is away it is a guess.
    let offline = State::Offline { reason: "no tunnel".into(), hint: None };
    for (full_in, alert_after, severity, text) in [
        (hours(5), Some(DAY), Warning, "by what it records, the card is full in 5 h"),
        (hours(0), Some(DAY), Warning, "by what it records, the card is full by now"),
        (hours(0), None, Note, "by what it records, the card is full by now"),
    ] {
        let concerns = judged(&offline, None, |facts| (facts.full_in, facts.alert_after) = (full_in, alert_after));
        let full = concerns.iter().find(|concern| concern.kind == Kind::FullSoon).unwrap();
        assert_eq!((full.severity, &full.text[..]), (severity, text));
    }
    let inodes = Reading { total_files: Some(1000), free_files: Some(30), ..card(10) };
    assert_eq!(ready(&inodes), [(Critical, Kind::InodesFull)]);
}

#[test]
fn work_that_is_not_done_and_data_that_does_not_come() {
    let table = [
        (hours_ago(24), None, vec![]),
        (hours_ago(25), None, vec![(Warning, Kind::NotSynced)]),
        (None, hours_ago(5), vec![(Note, Kind::NotSynced)]),
        (None, None, vec![(Note, Kind::NotSynced)]),
        (None, hours_ago(25), vec![(Warning, Kind::NotSynced)]),
    ];
    for (succeeded_ns, first_try_ns, expected) in table {
        let concerns = judged(&State::Ready, Some(&card(10)), |facts| {
            (facts.succeeded_ns, facts.first_try_ns) = (succeeded_ns, first_try_ns);
        });
        assert_eq!(kinds(&concerns), expected, "{succeeded_ns:?} {first_try_ns:?}");
    }
    let concerns = judged(&State::Ready, Some(&card(10)), |facts| facts.silent = Some(3 * DAY));
    assert_eq!((kinds(&concerns), &concerns[0].text[..]), (vec![(Warning, Kind::Silent)], "no new data for 3 d"));
}

#[test]
fn a_device_that_is_not_well() {
    let clock = |seconds: i64| Reading { clock_offset_ns: Some(seconds * 1_000_000_000), ..card(10) };
    assert_eq!((ready(&clock(300)), ready(&clock(-300))), (vec![], vec![]));
    assert_eq!(ready(&clock(301)), [(Warning, Kind::Clock)]);
    let days = Reading { clock_offset_ns: Some(-3 * 86_400 * 1_000_000_000 + 1), ..card(10) };
    let said = judged(&State::Ready, Some(&days), |_| {});
    assert_eq!(said[0].text, "its clock is 3 d behind", "to the second");
    assert_eq!(ready(&Reading { clock_offset_ns: Some(i64::MIN), ..card(10) }), [(Warning, Kind::Clock)]);
    let throttled = |bits| Reading { throttled: Some(bits), ..card(10) };
    assert_eq!(ready(&throttled(0x5_0005)), [(Warning, Kind::UnderVoltage), (Note, Kind::Throttled)]);
    assert_eq!(ready(&throttled(0x5_0000)), [(Note, Kind::UnderVoltage)]);
    assert_eq!(ready(&throttled(0x8_0008)), [(Note, Kind::Throttled)]);
    assert_eq!(ready(&Reading { temperature_mdeg: Some(79_999), ..card(10) }), []);
    assert_eq!(ready(&Reading { temperature_mdeg: Some(80_000), ..card(10) }), [(Warning, Kind::Hot)]);
    let memory = |free| Reading { memory_total_bytes: Some(1000), memory_available_bytes: Some(free), ..card(10) };
    assert_eq!((ready(&memory(50)), ready(&memory(40))), (vec![], vec![(Note, Kind::Memory)]));

    let health = |root, source, sd_errors, sd_last: Option<&str>| {
        let sd_last = sd_last.map(str::to_owned);
        let health = Health { root_read_only: root, source_read_only: source, sd_errors, sd_last, ..HEALTHY };
        judged(&State::Ready, Some(&card(10)), |facts| facts.health = &health)
    };
    assert_eq!(kinds(&health(None, None, None, None)), []);
    assert_eq!(kinds(&health(Some(true), Some(false), Some(0), None)), [(Warning, Kind::ReadOnly)]);
    assert_eq!(kinds(&health(Some(false), Some(true), None, None)), [(Critical, Kind::ReadOnly)]);
    let failing = health(Some(true), Some(false), Some(2), Some("mmc0: error -110"));
    assert_eq!(kinds(&failing), [(Critical, Kind::ReadOnly), (Warning, Kind::SdErrors)]);
    assert_eq!(failing[1].text, "its kernel tells of 2 errors of the card, the last: mmc0: error -110");

    let without = WithoutAgent { reason: "/home is mounted noexec".into(), hint: None };
    let concerns = judged(&State::Ready, Some(&card(10)), |facts| facts.without_agent = Some(&without));
    assert_eq!(kinds(&concerns), [(Note, Kind::WithoutAgent)]);
}
