//! A made catalog, and what a person reads from it by hand.
#![allow(clippy::unwrap_used)]

use std::time::Duration;

use super::facts::Window;
use super::outages::{day_state, outages};
use super::*;
use crate::catalog::Catalog;
use crate::catalog::history::{Day, End, Spell, State as SpellState};
use crate::config::{Config, Surroundings};
use crate::error::Class;
use crate::inspect::{Kind, Severity};
use crate::path::DeviceName;

const HOUR_NS: i64 = DAY_NS / 24;
const TODAY: i64 = 20_000;
/// Noon.
const NOW_NS: i64 = TODAY * DAY_NS + 12 * HOUR_NS;

fn spell(state: SpellState, began_h: i64, last_h: i64, reason: Option<&str>) -> Spell {
    Spell {
        source: 1,
        device: DeviceName::new("pi1").unwrap(),
        state,
        class: reason.map(|_| Class::Transient),
        reason: reason.map(str::to_owned),
        hint: None,
        began_ns: began_h * HOUR_NS,
        last_ns: last_h * HOUR_NS,
        visits: 10,
        others: 1,
        whole: false,
    }
}

#[test]
fn an_outage_is_from_the_first_visit_without_an_answer_to_the_first_with_one() {
    use SpellState::{Failed, Offline, Reached};
    let spells = [
        spell(Offline, 0, 3, Some("long ago")),
        spell(Reached, 4, 50, None),
        spell(Offline, 51, 52, Some("no tunnel")),
        spell(Offline, 53, 54, Some("no jump host")),
        spell(Failed, 56, 57, Some("broke")),
        spell(Offline, 58, 58, Some("a moment")),
        spell(Reached, 58, 70, None),
        spell(Offline, 71, 99, Some("gone")),
    ];
    let window = Window { first_day: 1, last_day: 4, at_ns: 100 * HOUR_NS };
    let expected = [(51, 56, End::Change, 5, Some("no jump host")), (71, 100, End::Now, 29, Some("gone"))];
    assert_eq!(told(&outages(&spells, &window)), expected);
}

fn told(outages: &[Outage]) -> Vec<(i64, i64, End, u64, Option<&str>)> {
    let hours =
        |outage: &Outage| (outage.began_ns / HOUR_NS, outage.ended_ns / HOUR_NS, outage.lasted.as_secs() / 3600);
    let told = outages.iter().map(|outage| (hours(outage), outage.end, outage.reason.as_deref()));
    told.map(|((began, ended, lasted), end, reason)| (began, ended, end, lasted, reason)).collect()
}

#[test]
fn while_nobody_looked_there_is_no_outage_as_there_is_no_day_in_the_calendar() {
    use SpellState::{Offline, Reached};
    // The collector was off on the third and fourth day, for the evening of the sixth, and since the noon of the seventh.
    let spells = [
        spell(Reached, 0, 20, None),
        spell(Offline, 24, 47, Some("no tunnel")),
        spell(Offline, 96, 130, Some("no tunnel")),
        spell(Offline, 140, 156, Some("no jump host")),
    ];
    let window = Window { first_day: 0, last_day: 8, at_ns: 200 * HOUR_NS };
    let found = outages(&spells, &window);
    let expected = [
        (24, 47, End::Pause, 23, Some("no tunnel")),
        (96, 130, End::Pause, 34, Some("no tunnel")),
        (140, 156, End::Pause, 16, Some("no jump host")),
    ];
    assert_eq!(told(&found), expected);
    // As the catalog counts the visits of such days.
    let day_of = |hour: i64| i32::try_from(hour / 24).unwrap();
    let visited = |day: i32| {
        let in_spell =
            |spell: &&Spell| (day_of(spell.began_ns / HOUR_NS)..=day_of(spell.last_ns / HOUR_NS)).contains(&day);
        spells.iter().find(in_spell).map(|spell| u64::from(spell.state == Offline))
    };
    for number in 0..=8 {
        let state = visited(number)
            .map_or(DayState::Unknown, |offline| day_state(&Day { reached: 1 - offline, offline, ..day(number) }));
        let (begin_ns, end_ns) = (i64::from(number) * DAY_NS, i64::from(number + 1) * DAY_NS);
        let is_out = found.iter().any(|outage| outage.began_ns < end_ns && outage.ended_ns > begin_ns);
        assert_eq!(is_out, state == DayState::Offline, "day {number} is {state:?}");
    }
}

fn day(day: i32) -> Day {
    Day {
        source: 1,
        device: DeviceName::new("pi1").unwrap(),
        day,
        reached: 0,
        offline: 0,
        failed: 0,
        received: 0,
        received_bytes: 0,
        adopted: 0,
        adopted_bytes: 0,
        removed: 0,
        removed_bytes: 0,
        versions: 0,
        clashes: 0,
        deferred: 0,
        failures: 0,
        first_ns: 0,
        last_ns: 0,
    }
}

#[test]
fn a_failure_is_told_once_whatever_numbers_are_in_it() {
    use SpellState::{Failed, Reached};
    let mut other = spell(Failed, 5, 30, Some("17 files failed"));
    other.device = DeviceName::new("pi0").unwrap();
    let spells = [
        (spell(Failed, 0, 3, Some("2 files failed")), false),
        (spell(Reached, 4, 9, None), false),
        (spell(Failed, 10, 12, Some("its key is wrong")), true),
        (other, false),
    ];
    let failures = failures::failures(spells.iter().map(|(spell, lasting)| (spell, *lasting)));
    assert_eq!(failures.len(), 2);
    assert_eq!((failures[0].reason.as_str(), &failures[0].lasting[..]), ("its key is wrong", &["pi1".to_owned()][..]));
    let Failure { class, reason, devices, visits, first_ns, last_ns, lasting, .. } = &failures[1];
    assert_eq!((class.as_str(), reason.as_str(), *visits), ("transient", "17 files failed", 18));
    assert_eq!((devices.join(" "), first_ns / HOUR_NS, last_ns / HOUR_NS), ("pi0 pi1".to_owned(), 0, 30));
    assert!(lasting.is_empty());
}

#[test]
fn a_day_is_as_the_most_of_its_visits() {
    let state = |reached, offline, failed, received| day_state(&Day { reached, offline, failed, received, ..day(0) });
    assert_eq!(state(0, 0, 0, 0), DayState::Unknown);
    assert_eq!(state(0, 0, 0, 7), DayState::Ready, "before visits were counted");
    assert_eq!(state(1400, 40, 0, 0), DayState::Ready);
    assert_eq!(state(1340, 100, 0, 0), DayState::Partly);
    assert_eq!(state(1200, 140, 100, 0), DayState::Failed);
    assert_eq!(state(10, 1000, 100, 0), DayState::Offline);
}

/// A state directory with three devices of the configuration and one that was taken out; `pi2` was never visited.
fn made(dir: &std::path::Path) -> (Config, Vec<fleet::Device>) {
    let surroundings = Surroundings {
        home: dir.to_owned(),
        user: "pi".into(),
        uid: 1000,
        xdg_state_home: None,
        env: Default::default(),
    };
    let text = format!(
        "hosts: [pi1, pi2, pi3]\nsource: /data\nstorage: {0}/storage\nstate_dir: {0}/state\nssh_config: {0}/ssh\n",
        dir.display()
    );
    let config = Config::parse(&text, std::path::Path::new("pipeline.yaml"), &surroundings).unwrap();
    let settings = |name: &str| config.device(&DeviceName::new(name).unwrap());
    let fleet = ["pi1", "pi2", "pi3"]
        .map(|name| fleet::Device { name: DeviceName::new(name).unwrap(), settings: settings(name) });
    Catalog::create(&config.state_dir, "an id").unwrap();
    let conn = rusqlite::Connection::open(config.state_dir.join("catalog.db")).unwrap();
    let at = |days_ago: i64| NOW_NS - days_ago * DAY_NS;
    let sources = [("pi1", 0, 0), ("pi3", 3, 1), ("old", 9, 0)];
    for (number, (name, visited, unreachable)) in (1..).zip(sources) {
        conn.execute(
            "INSERT INTO source (id, device, path, visited_ns, succeeded_ns, newest_ns, total_bytes, free_bytes, unreachable)
             VALUES (?1, ?2, CAST('/data' AS BLOB), ?3, ?3, ?3, 1000, 400, ?4)",
            rusqlite::params![number, name, at(visited), unreachable],
        )
        .unwrap();
    }
    for (source, state, began, last) in
        [(1, "reached", 20, 0), (2, "reached", 20, 3), (2, "offline", 3, 0), (3, "reached", 20, 9)]
    {
        let reason = (state == "offline").then_some("connection refused");
        conn.execute(
            "INSERT INTO spell (source, state, class, reason, began_ns, last_ns, visits) VALUES (?1, ?2, NULL, ?3, ?4, ?5, 100)",
            rusqlite::params![source, state, reason, at(began), at(last)],
        )
        .unwrap();
    }
    for (source, days_ago, reached, offline) in
        [(1, 20, 24, 0), (1, 1, 24, 0), (1, 0, 12, 0), (2, 4, 24, 0), (2, 1, 0, 24), (3, 9, 5, 0)]
    {
        conn.execute(
            "INSERT INTO day (source, day, reached, offline, received, received_bytes, adopted, adopted_bytes, first_ns, last_ns)
             VALUES (?1, ?2, ?3, ?4, 10, 100, 1, 7, 0, 0)",
            rusqlite::params![source, TODAY - days_ago, reached, offline],
        )
        .unwrap();
    }
    for (hours_ago, free) in [(30, 700), (26, 500), (2, 400)] {
        conn.execute(
            "INSERT INTO reading (source, at_ns, total_bytes, free_bytes, waiting_files, waiting_bytes) VALUES (1, ?1, 1000, ?2, 3, 50)",
            rusqlite::params![NOW_NS - hours_ago * HOUR_NS, free],
        )
        .unwrap();
        conn.execute(
            "INSERT INTO storage_reading VALUES (?1, 90000, ?2, 0, 0)",
            [NOW_NS - hours_ago * HOUR_NS, free + 50_000],
        )
        .unwrap();
    }
    for (started, finished, stopped) in
        [(30, Some(30), None), (3, None, None), (2, Some(2), Some("the storage is full")), (1, None, None)]
    {
        conn.execute(
            "INSERT INTO run (started_ns, finished_ns, program, stopped_by) VALUES (?1, ?2, '1', ?3)",
            rusqlite::params![at(started), finished.map(at), stopped],
        )
        .unwrap();
    }
    (config, fleet.to_vec())
}

#[test]
fn all_that_a_page_shows_is_what_the_catalog_has() {
    let dir = tempfile::tempdir().unwrap();
    let (config, fleet) = made(dir.path());
    let report = report(&config, Some(&fleet), None, NOW_NS).unwrap();
    let today = i32::try_from(TODAY).unwrap();
    assert_eq!(
        (report.first_day, report.last_day, report.days.len()),
        (today - 20, today, 21),
        "no more than there is"
    );
    assert_eq!(report.archived, Amount { files: 66, bytes: 642 }, "what was taken over counts");
    assert_eq!(report.days[19].received, Amount { files: 20, bytes: 200 });
    assert_eq!(report.days[18], Sums::default());
    assert_eq!(
        (report.storage.total_bytes, report.storage.free_bytes, report.storage.days.len()),
        (Some(90_000), Some(50_400), 2)
    );

    let names: Vec<_> = report.devices.iter().map(|device| (device.name.as_str(), device.state)).collect();
    let expected = [("pi3", State::Offline), ("pi1", State::Ready), ("pi2", State::Unknown), ("old", State::Retired)];
    assert_eq!(names, expected, "the most urgent first, and last who is not there any more");
    let [away, ready, unknown, old] = &report.devices[..] else { panic!() };
    assert_eq!(
        away.concerns.iter().map(|c| (c.severity, c.kind)).collect::<Vec<_>>(),
        [(Severity::Warning, Kind::Offline)]
    );
    assert!(away.concerns[0].text.contains("connection refused"), "{:?}", away.concerns);
    assert_eq!(away.silent, Some(Duration::from_secs(3 * 86_400)));
    assert_eq!(away.answered, Some(0.5));
    assert_eq!(
        (away.calendar[16], away.calendar[19], away.calendar[20]),
        (DayState::Ready, DayState::Offline, DayState::Unknown)
    );
    assert!(
        ready.concerns.is_empty() && ready.silent.is_none() && unknown.concerns.is_empty() && old.concerns.is_empty()
    );
    assert_eq!((ready.waiting, ready.kept), (Some(Amount { files: 3, bytes: 50 }), None));
    let uses = [(today - 1, 300, 500), (today, 600, 600)].map(|(day, lowest_bytes, highest_bytes)| UseDay {
        day,
        total_bytes: 1000,
        lowest_bytes,
        highest_bytes,
    });
    assert_eq!((&ready.card.days[..], ready.card.used()), (&uses[..], Some(0.6)));
    assert_eq!(unknown.card, Space::default());

    let stopped = vec![("the storage is full".to_owned(), 1)];
    assert_eq!(report.runs, Runs { total: 3, killed: 1, stopped, last_ns: Some(NOW_NS - DAY_NS) });
    let outage = &report.outages[0];
    assert_eq!((outage.device.as_str(), outage.end, outage.lasted.as_secs()), ("pi3", End::Now, 3 * 86_400));
    assert!(report.failures.is_empty() && report.outages.len() == 1);

    let last_days = super::report(&config, None, Some(NOW_NS - 2 * DAY_NS), NOW_NS).unwrap();
    assert_eq!((last_days.first_day, last_days.devices.len()), (today - 2, 3), "nobody has heard of the old one since");
    assert_eq!(last_days.archived, report.archived);
    assert_eq!(last_days.devices[0].sums.visits, 24);
}
