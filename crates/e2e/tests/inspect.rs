//! `pipeline inspect` on a fleet with one of each trouble: what it says of each, that it tells them apart, and that it changes nothing.

#![allow(clippy::unwrap_used)]

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::time::{Duration, SystemTime};

use e2e::Ended;
use e2e::mounts::{Disk, among_own_mounts};
use e2e::scene::{Scene, Tree, noise};
use e2e::schema::assert_described;
use e2e::stand_in::{AS_ASKED, Kernel, PI_CONFIG, behave_under};
use local_fleet::{Fleet, snapshot};
use rusqlite::Connection;
use serde_json::Value;

const MIB: u64 = 1 << 20;
const DAY_NS: i64 = 86_400 * 1_000_000_000;

/// Six Pis that answer, each on a card of its own, one that is offline and one that hangs.
const WELL: usize = 1;
const FULL: usize = 2;
const SILENT: usize = 3;
const WRONG_CLOCK: usize = 4;
const READ_ONLY: usize = 5;
const WITHOUT_AGENT: usize = 6;
const OFFLINE: usize = 7;
const HUNG: usize = 8;

/// Those that keep nobody waiting.
const ANSWERING: &str = "raspberry[1-6]";

/// A `date` that lives three days ago.
const THREE_DAYS_AGO: &str = "#!/bin/sh\nexec /bin/date -d '-3 days' \"$@\"\n";

/// The fleet, synced once, with what has happened since. The cards, and the storage, which has room, are file systems of their own.
fn troubled() -> (Scene, Vec<Disk>) {
    let settings = "settle: 0s\ndelete: { after: 30d }\n";
    let fleet = Fleet::builder().pis(6).offline(1).silent(1).pi_config(PI_CONFIG).pipeline_config(settings);
    let scene = Scene::bare(fleet);
    let mut disks: Vec<Disk> = (1..=6).map(|pi| Disk::mount(&scene.fleet.pi(pi).source(), 16 * MIB)).collect();
    disks.push(Disk::mount(&scene.fleet.storage(), 256 * MIB));
    scene.pipeline(&["init"]).expect(0);
    for pi in 1..=6 {
        behave_under(scene.fleet.pi(pi), &Kernel::default(), AS_ASKED);
        let days = if pi == SILENT { 3 } else { 0 };
        let modified = SystemTime::now() - Duration::from_secs(7200 + days * 86_400);
        scene.fleet.write(pi, b"2026-11-21/a.jpg", &noise(300_000, pi as u64), modified).unwrap();
    }
    // The agent finds no place below what is no directory.
    for pi in [WRONG_CLOCK, WITHOUT_AGENT] {
        fs::write(scene.fleet.pi(pi).home().join(".cache"), "").unwrap();
    }
    scene.sync().expect(0);

    scene.write(WELL, "2026-11-22/b.jpg", &noise(200_000, 11));
    scene.write(WELL, "2026-11-22/c.jpg", &noise(100_000, 12));
    disks[FULL - 1].fill();
    as_if_days_ago(&scene, scene.fleet.pi(SILENT).name(), 3);
    let bin = scene.fleet.pi(WRONG_CLOCK).home().join("bin");
    write_program(&bin.join("date"), THREE_DAYS_AGO);
    let wrong = format!("PATH={}:$PATH; export PATH; {AS_ASKED}", bin.display());
    behave_under(scene.fleet.pi(WRONG_CLOCK), &Kernel::default(), &wrong);
    let dying = Kernel {
        temperature_mdeg: 58_900,
        throttled: "50005",
        log: "3,812,99000000,-;mmcblk0: error -110 sending status command, retrying\n\
              2,813,99100000,-;EXT4-fs (mmcblk0p2): Remounting filesystem read-only\n",
        mounts: "mount -o remount,bind,ro / || exit",
    };
    behave_under(scene.fleet.pi(READ_ONLY), &dying, AS_ASKED);
    (scene, disks)
}

fn write_program(path: &Path, text: &str) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, text).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
}

/// As if all that a device has brought had come so many days earlier.
fn as_if_days_ago(scene: &Scene, device: &str, days: i64) {
    let catalog = Connection::open(scene.fleet.state_dir().join("catalog.db")).unwrap();
    let of = "source IN (SELECT id FROM source WHERE device = ?2)";
    let earlier = format!("UPDATE file SET received_ns = received_ns - ?1 WHERE {of}");
    assert_eq!(catalog.execute(&earlier, (days * DAY_NS, device)).unwrap(), 1);
    let newest = "(SELECT max(received_ns) FROM file WHERE file.source = source.id)";
    let newest = format!("UPDATE source SET newest_ns = {newest} WHERE device = ?1");
    assert_eq!(catalog.execute(&newest, [device]).unwrap(), 1);
}

/// How many readings the catalog has of each device that it has one of.
fn readings(scene: &Scene) -> Vec<(String, i64)> {
    let catalog = Connection::open(scene.fleet.state_dir().join("catalog.db")).unwrap();
    let select = "SELECT device, count(*) FROM reading JOIN source ON source.id = reading.source GROUP BY device ORDER BY device";
    let mut statement = catalog.prepare(select).unwrap();
    statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?))).unwrap().map(Result::unwrap).collect()
}

/// The report that a look has written, which is as the schema says.
#[track_caller]
fn report(ended: &Ended) -> Value {
    let value: Value = serde_json::from_str(&ended.stdout).unwrap_or_else(|error| panic!("{error}: {ended}"));
    assert_described("inspect", &value);
    value
}

#[track_caller]
fn device(report: &Value, pi: usize) -> &Value {
    let name = format!("raspberry{pi}");
    report["devices"].as_array().unwrap().iter().find(|device| device["device"] == name).unwrap()
}

/// What somebody may want to know of a device: how bad, and what it is about.
fn concerns(device: &Value) -> Vec<(&str, &str)> {
    let concerns = device["concerns"].as_array().unwrap();
    concerns.iter().map(|one| (one["severity"].as_str().unwrap(), one["kind"].as_str().unwrap())).collect()
}

#[track_caller]
fn assert_concerned(device: &Value, severity: &str, kind: &str) {
    assert!(concerns(device).contains(&(severity, kind)), "no {severity} {kind}: {device:#}");
}

/// All that must not change: what is on each Pi, and what is stored.
fn everything(scene: &Scene) -> (Vec<Tree>, Tree) {
    (scene.fleet.pis().iter().map(|pi| snapshot(&pi.home()).unwrap()).collect(), scene.archived())
}

#[test]
fn one_of_each_trouble() {
    among_own_mounts(|| {
        let (scene, _disks) = troubled();
        let (before, known) = (everything(&scene), readings(&scene));
        // A visit may wait for a minute. Whoever looks does not wait so long for the one that hangs.
        scene.reconfigure("timeouts: { connect: 5s, idle: 10s }", "timeouts: { connect: 60s, idle: 60s }");
        let ended = scene.pipeline(&["inspect", "--json"]).expect(3);
        let fleet = report(&ended);
        let waited_ms = device(&fleet, HUNG)["elapsed_ms"].as_u64().unwrap();
        assert!(waited_ms < 60_000, "{waited_ms}");
        assert_eq!(fleet["needs_a_person"], true, "{ended}");

        let well = device(&fleet, WELL);
        assert_eq!(well["state"], "ready");
        assert_eq!(concerns(well), [], "{well:#}");
        let reading = &well["reading"];
        for (field, value) in [
            ("total_bytes", 16 * MIB),
            ("used_bytes", 16 * MIB - reading["free_bytes"].as_u64().unwrap()),
            ("data_files", 3),
            ("data_bytes", 600_000),
            ("waiting_files", 2),
            ("waiting_bytes", 300_000),
            ("kept_files", 1),
            ("kept_bytes", 300_000),
            ("temperature_mdeg", 51_540),
            ("throttled", 0),
            ("uptime_s", 1_987_200),
            ("load_milli", 420),
            ("memory_total_bytes", 3_884_440 << 10),
            ("memory_available_bytes", 3_000_000 << 10),
            ("sd_errors", 0),
        ] {
            assert_eq!(reading[field], value, "{field}: {well:#}");
        }
        assert_eq!(reading["read_only"], false);
        assert!(reading["agent"].is_string() && well["without_agent"].is_null(), "{well:#}");
        assert!(reading["clock_offset_ns"].as_i64().unwrap().abs() < 60_000_000_000, "{well:#}");
        assert_eq!(well["kept"]["until"], "time", "{well:#}");
        assert!(well["last_success"].is_string() && well["oldest_waiting"].is_null(), "{well:#}");

        let full = device(&fleet, FULL);
        assert_concerned(full, "critical", "card_full");
        assert_eq!((&full["reading"]["free_bytes"], &full["reading"]["used_percent"]), (&0.into(), &100.into()));
        assert_concerned(device(&fleet, SILENT), "warning", "silent");
        let silent_s = device(&fleet, SILENT)["silent_s"].as_i64().unwrap();
        assert!((3 * 86_400..3 * 86_400 + 3600).contains(&silent_s), "{silent_s}");
        let wrong = device(&fleet, WRONG_CLOCK);
        assert!(concerns(wrong).iter().any(|(_, kind)| *kind == "clock"), "{wrong:#}");
        let offset_ns = wrong["reading"]["clock_offset_ns"].as_i64().unwrap();
        assert!((offset_ns + 3 * DAY_NS).abs() < 3600 * 1_000_000_000, "{offset_ns}");
        let dying = device(&fleet, READ_ONLY);
        for kind in ["read_only", "sd_errors", "under_voltage"] {
            assert!(concerns(dying).iter().any(|(_, found)| *found == kind), "{kind}: {dying:#}");
        }
        assert_eq!((&dying["reading"]["read_only"], &dying["reading"]["sd_errors"]), (&true.into(), &2.into()));
        let without = device(&fleet, WITHOUT_AGENT);
        assert_eq!(concerns(without), [("note", "without_agent")], "{without:#}");
        for field in ["temperature_mdeg", "uptime_s", "load_milli", "memory_available_bytes", "throttled"] {
            assert_eq!(without["reading"][field], reading[field], "{field} without the agent");
        }

        for (pi, words) in [(OFFLINE, "no tunnel"), (HUNG, "says nothing")] {
            let away = device(&fleet, pi);
            assert_eq!(away["state"], "offline", "{away:#}");
            assert!(away["reason"].as_str().unwrap().contains(words), "{away:#}");
            assert!(
                away["reading"].is_null() && away["last_answer"].is_null(),
                "nothing was ever heard of it: {away:#}"
            );
        }
        assert_eq!(fleet["storage"]["state"], "ready");
        assert_eq!(fleet["storage"]["total_bytes"], 256 * MIB);

        // One reading more of each that answered, and nothing else anywhere.
        let expected: Vec<(String, i64)> = (1..=6).map(|pi| (format!("raspberry{pi}"), 1)).collect();
        let more = |(name, count): (String, i64)| {
            let had = known.iter().find(|(known, _)| *known == name).map_or(0, |(_, count)| *count);
            (name, count - had)
        };
        assert_eq!(readings(&scene).into_iter().map(more).collect::<Vec<_>>(), expected);
        assert_eq!(everything(&scene), before);
        as_people_see_it(&scene);
    });
}

/// The same fleet in a table, in a spreadsheet, and of the one that is well.
fn as_people_see_it(scene: &Scene) {
    let page = scene.pipeline(&["inspect"]).expect(3);
    let lines: Vec<&str> = page.stdout.lines().collect();
    let place = |pi: usize| lines.iter().position(|line| line.starts_with(&format!("raspberry{pi} "))).unwrap();
    assert!(lines[0].starts_with("device ") && lines[0].contains("full in"), "{page}");
    assert!(lines[..9].iter().all(|line| line.chars().count() <= 80), "{page}");
    assert!([FULL, READ_ONLY, SILENT].iter().all(|&pi| place(pi) < place(WELL)), "the urgent ones first: {page}");
    assert!(page.stdout.contains(&format!("✗ raspberry{FULL}: card full")), "{page}");
    assert!(!page.stdout.contains('\x1b') && page.stderr.is_empty(), "{page}");

    let quiet = scene.pipeline(&["inspect", "-q", ANSWERING]).expect(3);
    assert!(quiet.stdout.lines().all(|line| ["✗ ", "! ", "  "].iter().any(|begin| line.starts_with(begin))), "{quiet}");

    let sheet = scene.pipeline(&["inspect", "--csv", "--sort", "name", ANSWERING]).expect(3);
    let names: Vec<&str> = sheet.stdout.lines().map(|line| line.split(',').nth(1).unwrap()).collect();
    assert_eq!(names[0], "device");
    assert!(names[1..].iter().eq(&(1..=6).map(|pi| format!("raspberry{pi}")).collect::<Vec<_>>()), "{sheet}");

    let calm = scene.pipeline(&["inspect", "raspberry1"]).expect(0);
    assert!(calm.stdout.ends_with("1 device: 1 ready; nothing needs a person\n"), "{calm}");
    scene.pipeline(&["hold", "--reason", "card swap"]).expect(0);
    let held = scene.pipeline(&["inspect", "raspberry1"]).expect(0);
    assert!(held.stdout.contains("removals are on hold since ") && held.stdout.contains(": card swap"), "{held}");
    scene.pipeline(&["inspect", "nobody"]).expect(2);
}

/// The state directory as whoever sees it that may read it and not write to it: another user than the one that syncs, or anybody once
/// the disk has turned read-only.
#[test]
fn who_may_only_read_sees_the_fleet_and_its_past() {
    among_own_mounts(|| {
        let scene = Scene::bare(Fleet::builder().pis(1));
        let state = Disk::mount(&scene.fleet.state_dir(), 16 * MIB);
        // With room, whatever is left on this computer's own disk.
        let _disks = [scene.fleet.pi(1).source(), scene.fleet.storage()].map(|place| Disk::mount(&place, 16 * MIB));
        scene.pipeline(&["init"]).expect(0);
        scene.write(1, "a.jpg", b"one");
        scene.sync().expect(0);
        state.set_read_only(true);
        let before = snapshot(&scene.fleet.state_dir()).unwrap();

        let look = report(&scene.pipeline(&["inspect", "--json"]).expect(0));
        assert_eq!(look["devices"][0]["state"], "ready", "{look:#}");
        assert_eq!(
            (&look["concerns"][0]["severity"], &look["concerns"][0]["kind"]),
            (&"note".into(), &"catalog".into())
        );
        let page = scene.pipeline(&["inspect"]).expect(0);
        assert!(page.stdout.contains("- this look was not kept: the catalog can only be read from here\n"), "{page}");
        for history in ["runs", "devices", "visits", "files"] {
            let told = scene.pipeline(&["history", history, "--json"]).expect(0);
            assert!(!told.stdout.is_empty() && told.stderr.is_empty(), "{told}");
        }
        let why = scene.pipeline(&["explain", "raspberry1", "a.jpg"]).expect(0);
        assert!(why.stdout.contains("7692c3ad3540bb803c020b3aee66cd8887123234ea0c6e7143c0add73ff431ed"), "{why}");
        let listed = scene.pipeline(&["export", "manifest"]).expect(0);
        assert!(listed.stdout.contains("raspberry1/a.jpg"), "{listed}");
        let written = scene.pipeline(&["report", "-o", "-"]).expect(0);
        assert!(written.stdout.contains("raspberry1"), "{written}");
        // Who syncs says what is wrong, and receives nothing that could not be written down.
        scene.write(1, "b.jpg", b"two");
        let refused = scene.sync().expect(5);
        assert_eq!(scene.offered().len(), 1, "{refused}");
        assert_eq!(snapshot(&scene.fleet.state_dir()).unwrap(), before);
    });
}

#[test]
fn whoever_watches_gets_one_look_after_the_other_until_he_leaves() {
    let scene = Scene::new(Fleet::builder().pis(1));
    scene.sync().expect(0);
    let known = readings(&scene).first().map_or(0, |(_, count)| *count);
    let program = scene.command();
    let mut watch = std::process::Command::new("sh");
    // The reader leaves after the second look.
    watch.args(["-c", "\"$0\" \"$@\" inspect --watch 5 --json | head -n 2"]).arg(program.get_program());
    watch.args(program.get_args()).env_clear();
    watch.envs(program.get_envs().filter_map(|(name, value)| Some((name, value?))));
    let ended = e2e::run(&mut watch).expect(0);
    let looks: Vec<Value> = ended.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(looks.len(), 2);
    looks.iter().for_each(|look| assert_described("inspect", look));
    assert_eq!(readings(&scene), [("raspberry1".to_owned(), known + 1)], "no more than one in a minute");
}
