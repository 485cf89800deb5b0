use std::ops::ControlFlow;

use super::*;
use crate::catalog::history::{Day, FileRow, Filter, LeftKind, Order, RunRow, RunSums, Spell, State};
use crate::catalog::{TaskKind, Unreceived};
use crate::config::{Globs, HostPattern};
use crate::entry::{Entry, Identity};
use crate::event::{DeviceReport, StopReason};
use crate::path::RelPath;
use crate::period::Period;

const SECOND_NS: i64 = 1_000_000_000;
/// Of the looks in it one is kept.
const WINDOW_NS: i64 = 600 * SECOND_NS;
/// Some midnight (UTC).
const DAY: i64 = 20_000;
const MIDNIGHT_NS: i64 = DAY * crate::catalog::history::DAY_NS;

struct Place {
    _dir: tempfile::TempDir,
    catalog: Catalog,
}

impl Place {
    fn new() -> Place {
        let dir = tempfile::tempdir().unwrap();
        let catalog = Catalog::create(dir.path(), "id").unwrap();
        Place { _dir: dir, catalog }
    }

    fn visit(&self, device: &str) -> Visit {
        let run = self.catalog.begin_run().unwrap();
        self.catalog.visit(device, b"/data", run).unwrap()
    }

    /// Spells of a source whose visits end so, at these seconds after midnight.
    fn spells(&self, visits: impl IntoIterator<Item = (i64, Outcome)>) -> Vec<Spell> {
        let visit = self.visit("pi");
        // All of them at once: a sync for each would take minutes.
        visit.conn.execute_batch("BEGIN").unwrap();
        for (at_s, outcome) in visits {
            let ended = Ended::of(&outcome, outcome == Outcome::Done || outcome == some_files()).unwrap();
            ended.note(&visit.conn, visit.source, MIDNIGHT_NS + at_s * SECOND_NS).unwrap();
        }
        visit.conn.execute_batch("COMMIT").unwrap();
        self.catalog.history().unwrap().spells(&Filter::default()).unwrap()
    }

    fn outstanding(&self) -> Vec<(String, &'static str, String, i64)> {
        let left = self.catalog.history().unwrap().outstanding(&Filter::default()).unwrap();
        let path = |path: Option<RelPath>| path.map_or_else(|| "source".to_owned(), |path| path.to_string());
        left.into_iter().map(|left| (path(left.path), left.kind.word(), left.reason, left.first_ns)).collect()
    }
}

fn offline(reason: &str) -> Outcome {
    Outcome::Offline { reason: reason.into(), hint: Some("wait".into()) }
}

fn failed(class: Class, reason: &str) -> Outcome {
    Outcome::Failed { class, reason: reason.into(), hint: None }
}

/// Of a visit that came to its end.
fn some_files() -> Outcome {
    failed(Class::Transient, "2 files could not be handled")
}

fn rel(path: &str) -> RelPath {
    RelPath::new(path).unwrap()
}

#[test]
fn visits_that_end_in_the_same_way_are_one_row() {
    let place = Place::new();
    let minute = |at: i64| at * 60;
    let visits = [
        (minute(0), Outcome::Done),
        (minute(1), Outcome::Done),
        (minute(2), offline("port 5031: no tunnel since 3 min")),
        (minute(3), offline("port 5031: no tunnel since 4 min")),
        (minute(4), failed(Class::HostKey, "another key")),
        (minute(5), failed(Class::Transient, "another key")),
        (minute(6), Outcome::Done),
        // Nobody looked for four hours.
        (minute(246), Outcome::Done),
        // Our own clock was set back.
        (minute(240), Outcome::Done),
    ];
    let told: Vec<_> = place
        .spells(visits)
        .into_iter()
        .map(|spell| {
            let second = |ns: i64| (ns - MIDNIGHT_NS) / SECOND_NS / 60;
            let class = spell.class.map(Class::word);
            (spell.state.word(), class, spell.reason, second(spell.began_ns), second(spell.last_ns), spell.visits)
        })
        .collect();
    let reason = |text: &str| Some(text.to_owned());
    let expected = [
        ("reached", None, None, 0, 1, 2),
        ("offline", Some("unreachable"), reason("port 5031: no tunnel since 4 min"), 2, 3, 2),
        ("failed", Some("host_key"), reason("another key"), 4, 4, 1),
        ("failed", Some("transient"), reason("another key"), 5, 5, 1),
        ("reached", None, None, 6, 6, 1),
        ("reached", None, None, 246, 246, 2),
    ];
    assert_eq!(told, expected);
    assert!(Ended::of(&Outcome::Stopped, false).is_none());
}

#[test]
fn a_trouble_stands_until_a_visit_has_come_past_it() {
    let broke = || failed(Class::Transient, "broke");
    let key = || failed(Class::HostKey, "another key");
    let storage = || failed(Class::Storage, "full");
    let table: [(&[Outcome], Option<Class>); 14] = [
        (&[], None),
        (&[key(), Outcome::Done], None),
        (&[key()], Some(Class::HostKey)),
        (&[key(), offline("gone"), broke(), offline("gone")], Some(Class::HostKey)),
        (&[key(), storage(), offline("gone")], Some(Class::HostKey)),
        (&[key(), failed(Class::Integrity, "lies"), offline("gone")], Some(Class::Integrity)),
        (&[failed(Class::Brake, "too many"), offline("gone")], Some(Class::Brake)),
        (&[key(), some_files()], Some(Class::Transient)),
        (&[key(), some_files(), broke()], Some(Class::Transient)),
        (&[key(), some_files(), offline("gone")], None),
        (&[broke(), offline("gone")], None),
        (&[storage(), offline("gone")], None),
        (&[storage()], Some(Class::Storage)),
        (&[offline("gone"), broke()], Some(Class::Transient)),
    ];
    for (visits, expected) in table {
        let place = Place::new();
        place.spells((0..).zip(visits.iter().cloned()));
        let history = place.catalog.history().unwrap();
        let trouble = history.trouble(&history.sources()[0]).unwrap();
        assert_eq!(trouble.and_then(|spell| spell.class), expected, "{visits:?}");
    }
    // Who has answered since the key was wrong, and broke off, has shown the right one.
    let place = Place::new();
    place.spells([(0, key()), (2, broke()), (3, offline("gone"))]);
    let visited = |at_s: i64| {
        let sql = "UPDATE source SET visited_ns = ?1";
        place.visit("pi").conn.execute(sql, [MIDNIGHT_NS + at_s * SECOND_NS]).unwrap();
        let history = place.catalog.history().unwrap();
        history.trouble(&history.sources()[0]).unwrap().and_then(|spell| spell.class)
    };
    assert_eq!((visited(-1), visited(2)), (Some(Class::HostKey), None));
    let place = Place::new();
    place.spells([(0, key())]);
    let sql = "UPDATE source SET visited_ns = ?1";
    place.visit("pi").conn.execute(sql, [MIDNIGHT_NS + SECOND_NS]).unwrap();
    let history = place.catalog.history().unwrap();
    assert_eq!(history.trouble(&history.sources()[0]).unwrap(), None);
}

#[test]
fn a_visit_whose_removals_were_held_has_not_come_past_what_only_a_removal_meets() {
    let table = [
        (failed(Class::Integrity, "rotten"), Some(Class::Integrity)),
        (failed(Class::Brake, "too many"), Some(Class::Brake)),
        (failed(Class::HostKey, "another key"), None),
        (some_files(), None),
        (Outcome::Done, None),
    ];
    let pi = DeviceName::new("pi").unwrap();
    for (before, expected) in table {
        let place = Place::new();
        place.visit("pi");
        for (at_s, outcome, whole, expected) in
            [(0, &before, true, None), (1, &Outcome::Done, false, expected), (2, &Outcome::Done, true, None)]
        {
            place.catalog.note_outcome(&pi, b"/data", outcome, whole, MIDNIGHT_NS + at_s * SECOND_NS).unwrap();
            let history = place.catalog.history().unwrap();
            let trouble = history.trouble(&history.sources()[0]).unwrap().and_then(|spell| spell.class);
            assert!(at_s == 0 || trouble == expected, "{before:?} {at_s}: {trouble:?}");
        }
    }
}

#[test]
fn a_visit_whose_end_was_left_open_counts_once_it_is_known() {
    let place = Place::new();
    place.visit("pi");
    let pi = DeviceName::new("pi").unwrap();
    for (at_s, outcome) in [(0, Outcome::Done), (1, failed(Class::Brake, "too many")), (2, Outcome::Stopped)] {
        place.catalog.note_outcome(&pi, b"/data", &outcome, true, MIDNIGHT_NS + at_s * SECOND_NS).unwrap();
    }
    let history = place.catalog.history().unwrap();
    let day = &history.days(&Filter::default()).unwrap()[0];
    assert_eq!((day.reached, day.failed, day.offline), (1, 1, 0));
    assert_eq!(history.trouble(&history.sources()[0]).unwrap().and_then(|spell| spell.class), Some(Class::Brake));
}

#[test]
fn a_device_that_comes_and_goes_each_minute_does_not_fill_the_disk() {
    let place = Place::new();
    let visits = (0..2 * 1440).map(|minute| match minute % 2 {
        0 => (minute * 60, Outcome::Done),
        _ => (minute * 60, offline("gone")),
    });
    let spells = place.spells(visits);
    assert_eq!(spells.len(), 2 * usize::try_from(spell::MOST_A_DAY).unwrap());
    let (visits, others): (u64, u64) = (spells.iter().map(|s| s.visits).sum(), spells.iter().map(|s| s.others).sum());
    assert_eq!(visits, 2 * 1440);
    let most = usize::try_from(spell::MOST_A_DAY).unwrap();
    let [rest, newest] = &spells[most - 2..most] else { panic!("{spells:?}") };
    // The last spell but one of the first day has the rest of it, half of which ended as it says.
    assert_eq!((rest.state, rest.visits, rest.others), (State::Reached, 1440 - 99, 670));
    assert_eq!((newest.state, newest.visits, newest.others), (State::Offline, 1, 0));
    assert_eq!(others, 2 * 670);
}

#[test]
fn the_newest_spell_is_how_it_is_on_a_day_of_changes_too() {
    let place = Place::new();
    let flapping = (0..300).map(|minute| match minute % 2 {
        0 => (minute * 60, Outcome::Done),
        _ => (minute * 60, offline("gone")),
    });
    let well_again = (300..303).map(|minute| (minute * 60, Outcome::Done));
    let denied = (303..305).map(|minute| (minute * 60, failed(Class::HostKey, "another key")));
    let mut spells = place.spells(flapping.clone().chain(well_again.clone()));
    let newest = spells.pop().unwrap();
    let minutes = |ns: i64| (ns - MIDNIGHT_NS) / SECOND_NS / 60;
    assert_eq!((newest.state, newest.visits, newest.others), (State::Reached, 3, 0), "{newest:?}");
    assert_eq!((minutes(newest.began_ns), minutes(newest.last_ns), newest.reason), (300, 302, None));
    // Nothing overlaps, and no visit is lost.
    assert!(spells.windows(2).all(|two| two[0].last_ns < two[1].began_ns));
    assert_eq!(spells.iter().map(|spell| spell.visits).sum::<u64>(), 300);

    let spells = Place::new().spells(flapping.chain(well_again).chain(denied));
    let newest = spells.last().unwrap();
    assert_eq!((newest.state, newest.class, newest.visits), (State::Failed, Some(Class::HostKey), 2));
    assert_eq!((newest.reason.as_deref(), newest.others), (Some("another key"), 0));
}

#[test]
fn a_visit_leaves_what_it_found_in_one_go() {
    let place = Place::new();
    let mut visit = place.visit("pi");
    let vitals = Vitals { clock_ns: 0, total_bytes: 100, free_bytes: 40, total_files: 0, free_files: 0 };
    let counts = Counts { deferred: 2, failed: 1, versions: 3, clashes: 4, ..Counts::default() };
    let reading = |at_s| Reading { at_ns: MIDNIGHT_NS + at_s * SECOND_NS, free_bytes: Some(40), ..Reading::default() };
    // What inspect reads has more in it.
    let pi = DeviceName::new("pi").unwrap();
    place.catalog.note_reading(&pi, b"/data", &Reading { uptime_s: Some(5), ..reading(7) }).unwrap();
    let visits = [
        (Outcome::Done, 0, Some(reading(0))),
        (Outcome::Done, 3599, Some(reading(3599))),
        (Outcome::Stopped, 3600, Some(reading(3600))),
        (offline("gone"), 3601, None),
    ];
    for (outcome, ended_s, reading) in visits {
        // As it is where the scan broke off.
        visit.begin_tasks().unwrap();
        let end = VisitEnd {
            ended_ns: MIDNIGHT_NS + ended_s * SECOND_NS,
            outcome: Some(&outcome),
            vitals: reading.as_ref().map(|_| (&vitals, Some(7))),
            succeeded: outcome == Outcome::Done,
            counts: &counts,
            reading: reading.as_ref(),
            left: &Left::default(),
            left_all: true,
            whole: true,
        };
        visit.note_end(&end).unwrap();
    }
    let history = place.catalog.history().unwrap();
    let source = &history.sources()[0];
    let at = |at_s| Some(MIDNIGHT_NS + at_s * SECOND_NS);
    assert_eq!((source.visited_ns, source.succeeded_ns), (at(3600), at(3599)));
    assert_eq!((source.free_bytes, source.clock_offset_ns, source.unreachable), (40, Some(7), true));
    let days = history.days(&Filter::default()).unwrap();
    let sum = |of: fn(&Day) -> u64| days.iter().map(of).sum::<u64>();
    assert_eq!((sum(|d| d.reached), sum(|d| d.offline), sum(|d| d.failed)), (2, 1, 0));
    assert_eq!((sum(|d| d.versions), sum(|d| d.clashes)), (4 * 3, 4 * 4));
    assert_eq!(days.iter().map(|day| (day.deferred, day.failures)).max(), Some((2, 1)));
    let mut at = Vec::new();
    history.readings(&Filter::default(), &mut |_, reading| at.push(reading.at_ns)).unwrap();
    // Of the visits of an hour, the last: it knows what is left by now.
    assert_eq!(at, [7, 3599, 3600].map(|at_s| MIDNIGHT_NS + at_s * SECOND_NS));
    let spells = history.spells(&Filter::default()).unwrap();
    let states: Vec<_> = spells.iter().map(|spell| (spell.state, spell.visits)).collect();
    assert_eq!(states, [(State::Reached, 2), (State::Offline, 1)]);
}

#[test]
fn what_was_to_be_received_and_was_not_waits() {
    let place = Place::new();
    let source = place.visit("pi");
    let entry = |path: &str, size, mtime_ns| Entry {
        path: rel(path),
        identity: Identity { size, mtime_ns, ctime_ns: 1, dev: 1, ino: 1 },
    };
    let received = |path: &str, ino: i64| {
        let sql = "INSERT INTO file (source, path, size, mtime_ns, ctime_ns, dev, ino, clock_offset_ns, sha256, archive_path, kept,
                       received_ns, run) VALUES (?1, ?2, 1, 0, 0, 0, ?3, 0, zeroblob(32), ?2, 'whole', 0, ?4)";
        source.conn.execute(sql, params![source.source, path.as_bytes(), ino, source.run]).unwrap();
    };
    // Another content of it came earlier.
    received("a", 5);
    let mut visit = place.visit("pi");
    visit.begin_tasks().unwrap();
    for (path, size, mtime_ns) in [("a", 100, 7), ("b", 20, 5), ("c", u64::MAX, 6)] {
        visit.add_task(TaskKind::Receive, &entry(path, size, mtime_ns), 0).unwrap();
    }
    visit.add_task(TaskKind::Release, &entry("d", 1, 1), 0).unwrap();
    visit.end_tasks(true).unwrap();
    let waits = |files, bytes, oldest| Unreceived { files, bytes, oldest_ns: Some(oldest) };
    assert_eq!(visit.unreceived().unwrap(), waits(3, u64::MAX, 5));
    // What made room for it is no receipt.
    received("a", 0);
    received("b", 5);
    received("c", 5);
    assert_eq!(visit.unreceived().unwrap(), waits(1, 100, 7));
    received("a", 5);
    assert_eq!(visit.unreceived().unwrap(), Unreceived::default());
}

#[test]
fn what_is_left_keeps_its_first_time_and_goes_when_it_is_gone() {
    let place = Place::new();
    let visit = place.visit("pi");
    let note = |files: &[(&str, LeftKind, &str)], all, now| {
        let mut left = Left::default();
        files.iter().for_each(|(path, kind, reason)| left.add(Some(&rel(path)), *kind, reason));
        visit.conn.execute_batch("BEGIN").unwrap();
        left.note(&visit.conn, (visit.source, visit.run), all, now).unwrap();
        visit.conn.execute_batch("COMMIT").unwrap();
    };
    let row = |path: &str, kind, reason: &str, first| (path.to_owned(), kind, reason.to_owned(), first);
    note(&[("a", LeftKind::Deferred, "written"), ("b", LeftKind::Failed, "denied")], true, 1);
    note(&[("a", LeftKind::Deferred, "young"), ("b", LeftKind::Kept, "no place")], true, 2);
    assert_eq!(place.outstanding(), [row("a", "deferred", "young", 1), row("b", "kept", "no place", 2)]);
    // A visit that broke off takes nothing away.
    note(&[("c", LeftKind::Failed, "denied")], false, 3);
    assert_eq!(place.outstanding().len(), 3);
    let before = visit.conn.total_changes();
    note(
        &[("a", LeftKind::Deferred, "young"), ("b", LeftKind::Kept, "no place"), ("c", LeftKind::Failed, "denied")],
        true,
        4,
    );
    assert_eq!(visit.conn.total_changes(), before, "what did not change was written");
    note(&[], true, 5);
    assert_eq!(place.outstanding(), []);
    let mut many = Left::default();
    (0..300).for_each(|n| many.add(Some(&rel(&format!("{n:03}"))), LeftKind::Skipped, "link"));
    many.add(None, LeftKind::Failed, "denied");
    visit.conn.execute_batch("BEGIN").unwrap();
    many.note(&visit.conn, (visit.source, visit.run), true, 6).unwrap();
    visit.conn.execute_batch("COMMIT").unwrap();
    let rows = place.outstanding();
    assert_eq!((rows.len(), many.unlisted(), rows[0].0.as_str()), (201, 100, "source"));
}

#[test]
fn a_run_says_what_it_did_and_one_that_never_ended_was_killed() {
    let place = Place::new();
    let [killed, ended] = [(); 2].map(|()| place.catalog.begin_run().unwrap());
    let device = |outcome| {
        let (device, counts) = (DeviceName::new("pi").unwrap(), Counts::default());
        DeviceReport { device, outcome, counts, elapsed_ms: 0 }
    };
    let outcomes = [Outcome::Done, offline("gone"), failed(Class::Config, "no"), Outcome::Stopped, Outcome::Done];
    let counts = Counts { received: 2, received_bytes: 5, held: 3, failed: 1, ..Counts::default() };
    let stop = StopReason { class: Class::Brake, reason: "too many".into(), hint: Some("look".into()) };
    let report = RunReport {
        run: ended,
        devices: outcomes.map(device).to_vec(),
        counts,
        stopped_by: Some(stop),
        ..RunReport::default()
    };
    let room = |at_ns| StorageReading { at_ns, total_bytes: 10, free_bytes: 5, total_files: 0, free_files: 0 };
    for at_s in [0, 3599, 3600] {
        place.catalog.finish_run(&report, Some(&room(MIDNIGHT_NS + at_s * SECOND_NS))).unwrap();
    }
    place.catalog.begin_run().unwrap();
    let history = place.catalog.history().unwrap();
    let mut runs: Vec<RunRow> = Vec::new();
    let mut each = |run| {
        runs.push(run);
        ControlFlow::Continue(())
    };
    history.runs(&Period::default(), Order::NewestFirst, &mut each).unwrap();
    let told: Vec<_> = runs.iter().map(|run| (run.run, run.finished_ns.is_some(), run.killed)).collect();
    assert_eq!(told, [(3, false, false), (ended, true, false), (killed, false, true)]);
    let sums = RunSums {
        devices: 5,
        done: 2,
        offline: 1,
        failed: 1,
        received: 2,
        received_bytes: 5,
        failures: 1,
        held: 3,
        stopped_by: Some("too many".into()),
        class: Some(Class::Brake),
        hint: Some("look".into()),
        ..RunSums::default()
    };
    assert_eq!(runs[1].sums, Some(sums));
    assert_eq!(history.last_run().unwrap().map(|run| run.run), Some(ended), "the one that has ended");
    let room = history.storage_readings(&Period { from_ns: Some(MIDNIGHT_NS + 1), until_ns: None }).unwrap();
    assert_eq!(room.iter().map(|room| room.at_ns).collect::<Vec<_>>(), [MIDNIGHT_NS + 3600 * SECOND_NS]);
}

#[test]
fn looks_of_each_minute_leave_one_reading_in_ten_minutes_and_later_one_an_hour() {
    let place = Place::new();
    let visit = place.visit("pi");
    let source = visit.source;
    let look = |at_ns| Reading { at_ns, waiting_files: Some(1), uptime_s: Some(1), ..Reading::default() };
    visit.conn.execute_batch("BEGIN").unwrap();
    let visited = Reading { at_ns: MIDNIGHT_NS, waiting_files: Some(1), ..Reading::default() };
    add_reading(&visit.conn, source, &visited).unwrap();
    let days = 4;
    for minute in 0..days * 1440 {
        // One in three breaks off, and says nothing of what waits.
        let reading = look(MIDNIGHT_NS + minute * 60 * SECOND_NS + 1);
        let reading = if minute % 3 == 0 { Reading { at_ns: reading.at_ns, ..Reading::default() } } else { reading };
        look::make_room(&visit.conn, source, &reading).unwrap();
        add_reading(&visit.conn, source, &reading).unwrap();
        let room = StorageReading { at_ns: reading.at_ns, ..StorageReading::default() };
        look::make_room_of_storage(&visit.conn, room.at_ns).unwrap();
        add_storage(&visit.conn, &room).unwrap();
    }
    visit.conn.execute_batch("COMMIT").unwrap();
    let mut at = Vec::new();
    let history = place.catalog.history().unwrap();
    history
        .readings(&Filter::default(), &mut |_, reading| at.push((reading.at_ns - MIDNIGHT_NS) / SECOND_NS / 60))
        .unwrap();
    // Two days of ten minutes, and the hours before, each by its last look.
    let end = (days * 1440 - 10 - 2 * 1440) / 60 * 60;
    let expected: Vec<i64> =
        (0..days * 1440).filter(|minute| if *minute < end { minute % 60 == 59 } else { minute % 10 == 9 }).collect();
    assert_eq!(at, expected);
    let storage = history.storage_readings(&Period::default()).unwrap();
    let storage: Vec<i64> = storage.iter().map(|room| (room.at_ns - MIDNIGHT_NS) / SECOND_NS / 60).collect();
    assert_eq!(storage, expected);

    // What a visit has read stays beside what a look says of the device's health.
    let later_ns = MIDNIGHT_NS + days * crate::catalog::history::DAY_NS;
    let visited = Reading { at_ns: later_ns, ..visited };
    add_reading(&visit.conn, source, &visited).unwrap();
    look::make_room(&visit.conn, source, &look(later_ns + 1)).unwrap();
    assert_eq!(history_of(&place, later_ns), [later_ns]);
    look::make_room(&visit.conn, source, &Reading { at_ns: later_ns + 1, ..Reading::default() }).unwrap();
    assert_eq!(history_of(&place, later_ns), [0; 0]);
}

fn history_of(place: &Place, from_ns: i64) -> Vec<i64> {
    let mut at = Vec::new();
    let period = Period { from_ns: Some(from_ns), until_ns: None };
    let filter = Filter { period, ..Filter::default() };
    place.catalog.history().unwrap().readings(&filter, &mut |_, reading| at.push(reading.at_ns)).unwrap();
    at
}

#[test]
fn readings_come_back_as_they_were_and_by_day() {
    let place = Place::new();
    let full = Reading {
        at_ns: MIDNIGHT_NS + 1,
        total_bytes: Some(1),
        free_bytes: Some(2),
        total_files: Some(3),
        free_files: Some(4),
        data_bytes: Some(5),
        data_files: Some(6),
        waiting_bytes: Some(7),
        waiting_files: Some(8),
        kept_bytes: Some(9),
        kept_files: Some(10),
        oldest_waiting_ns: Some(-11),
        clock_offset_ns: Some(-12),
        temperature_mdeg: Some(-13),
        throttled: Some(14),
        uptime_s: Some(15),
        load_milli: Some(16),
        memory_total_bytes: Some(17),
        memory_available_bytes: Some(18),
        read_only: Some(true),
        sd_errors: Some(20),
        agent: Some("21".into()),
    };
    let pi = DeviceName::new("pi").unwrap();
    let later =
        Reading { at_ns: MIDNIGHT_NS + 2 * WINDOW_NS, free_bytes: Some(1), waiting_bytes: Some(9), ..full.clone() };
    let unknown = Reading { at_ns: MIDNIGHT_NS + 3 * WINDOW_NS, ..Reading::default() };
    for reading in [&later, &full, &unknown] {
        place.catalog.note_reading(&pi, b"/data", reading).unwrap();
    }
    let history = place.catalog.history().unwrap();
    let mut readings = Vec::new();
    history
        .readings(&Filter::default(), &mut |source, reading| readings.push((source.device.clone(), reading)))
        .unwrap();
    assert_eq!(readings, [full, later, unknown].map(|reading| (pi.clone(), reading)));
    let days = history.readings_by_day(&Filter::default()).unwrap();
    assert_eq!((days.len(), days[0].readings, days[0].free_bytes, days[0].least_free_bytes), (1, 2, 1, 1));
    assert_eq!((i64::from(days[0].day), days[0].most_waiting_bytes, days[0].highest_mdeg), (DAY, Some(9), Some(-13)));
    // What a period leaves out, and a device that is not meant.
    let filter = Filter { devices: vec![HostPattern::parse("!pi").unwrap()], ..Filter::default() };
    assert_eq!(history.readings_by_day(&filter).unwrap(), []);
    let period = Period { from_ns: Some(MIDNIGHT_NS + 2 * WINDOW_NS), until_ns: Some(MIDNIGHT_NS + 3 * WINDOW_NS) };
    let days = history.readings_by_day(&Filter { period, ..Filter::default() }).unwrap();
    assert_eq!(days.iter().map(|day| day.readings).sum::<u64>(), 1);
}

#[test]
fn files_come_by_time_and_only_those_that_are_meant() {
    let place = Place::new();
    for (device, path, received_ns) in [("pi1", "b/1.jpg", 30), ("pi2", "a.csv", 10), ("pi1", "a/2.jpg", 20)] {
        let visit = place.visit(device);
        let sql = "INSERT INTO file (source, path, size, mtime_ns, ctime_ns, dev, ino, clock_offset_ns, sha256, archive_path, kept,
                       received_ns, run) VALUES (?1, ?2, 1, 9, 3, 4, 5, 2, zeroblob(32), ?2, 'whole', ?3, ?4)";
        visit.conn.execute(sql, params![visit.source, path.as_bytes(), received_ns, visit.run]).unwrap();
    }
    let history = place.catalog.history().unwrap();
    let told = |filter: &Filter, order, most: usize| {
        let mut files: Vec<FileRow> = Vec::new();
        let mut each = |file| {
            files.push(file);
            if files.len() == most { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        };
        history.files(filter, order, &mut each).unwrap();
        files.iter().map(|file| format!("{}:{}", file.device, file.path)).collect::<Vec<_>>()
    };
    let all = Filter::default();
    assert_eq!(told(&all, Order::OldestFirst, 9), ["pi2:a.csv", "pi1:a/2.jpg", "pi1:b/1.jpg"]);
    assert_eq!(told(&all, Order::NewestFirst, 2), ["pi1:b/1.jpg", "pi1:a/2.jpg"]);
    let devices = vec![HostPattern::parse("pi[1-1]").unwrap()];
    let paths = Some(Globs::new(&["a/".to_owned()]).unwrap());
    assert_eq!(told(&Filter { devices, paths, ..Filter::default() }, Order::OldestFirst, 9), ["pi1:a/2.jpg"]);
    let period = Period { from_ns: Some(10), until_ns: Some(30) };
    assert_eq!(told(&Filter { period, ..Filter::default() }, Order::NewestFirst, 9), ["pi1:a/2.jpg", "pi2:a.csv"]);
    assert_eq!(history.stranger(&[HostPattern::parse("pi[1-3]").unwrap()]), None);
    let stranger = HostPattern::parse("pj").unwrap();
    assert_eq!(history.stranger(std::slice::from_ref(&stranger)), Some(&stranger));
}

#[test]
fn a_clock_that_was_ahead_once_takes_no_later_visit_for_an_earlier_one() {
    let place = Place::new();
    let hour = |at: i64| at * 3600;
    let visits = [
        (hour(0), Outcome::Done),
        // Three days ahead, for two visits.
        (hour(72), Outcome::Done),
        (hour(73), Outcome::Done),
        (hour(2), Outcome::Done),
        (hour(3), Outcome::Done),
        (hour(4), offline("no tunnel")),
    ];
    let told = |spells: &[Spell]| -> Vec<(&'static str, i64, i64, u64)> {
        let hour = |ns: i64| (ns - MIDNIGHT_NS) / SECOND_NS / 3600;
        spells.iter().map(|s| (s.state.word(), hour(s.began_ns), hour(s.last_ns), s.visits)).collect()
    };
    let spells = place.spells(visits.clone());
    // Of what has yet to come, nobody can say more for now.
    let ahead = [("reached", 72, 73, 2)];
    assert_eq!(
        told(&spells),
        [&[("reached", 0, 0, 1), ("reached", 2, 3, 2), ("offline", 4, 4, 1)], &ahead[..]].concat()
    );
    let history = place.catalog.history().unwrap();
    let last = history.last_spell(&history.sources()[0]).unwrap().unwrap();
    assert_eq!(told(&[last]), [("offline", 4, 4, 1)]);

    // Visits go on until that time has come, and past it.
    let until_then = (2..40).map(|at| (hour(2 * at + 1), offline("no tunnel")));
    let spells = place.spells(until_then);
    assert_eq!(told(&spells), [("reached", 0, 0, 1), ("reached", 2, 3, 2), ("offline", 4, 79, 39)]);
}

#[test]
fn a_spell_that_a_clock_drew_out_ends_where_the_next_began() {
    let place = Place::new();
    // The clock was ahead by two hours and a half at the second visit, which made one spell with the first.
    let visits = [(0, Outcome::Done), (9_000, Outcome::Done), (120, offline("gone")), (180, offline("gone"))];
    let told: Vec<_> = place
        .spells(visits)
        .iter()
        .map(|s| (s.state.word(), (s.began_ns - MIDNIGHT_NS) / SECOND_NS, (s.last_ns - MIDNIGHT_NS) / SECOND_NS))
        .collect();
    assert_eq!(told, [("reached", 0, 120), ("offline", 120, 180)]);
}
