#![allow(clippy::unwrap_used)]

use std::os::unix::fs::symlink;
use std::sync::Mutex;

use jiff::tz::TimeZone;

use super::*;
use crate::event::{Event, Observer};

const BOOT: &str = "7d1c";
const HOUR: u64 = 3600;

/// This long after the hold was placed by the clock, with the machine up for so long.
fn moment(hours: i64, boot: &str, up_seconds: u64) -> Moment {
    let now = "2026-11-22T10:00:00Z".parse::<Timestamp>().unwrap() + jiff::SignedDuration::from_hours(hours);
    Moment { now, boot: Some(boot.into()), up: Duration::from_secs(up_seconds) }
}

/// Placed at 10:00, ten hours after the machine was started, for a day.
fn text() -> String {
    format!(
        r#"{{ "about": "", "since": "2026-11-22T10:00:00Z", "by": "alice", "reason": "card swap", "until": "2026-11-23T10:00:00Z",
             "boot": "{BOOT}", "up_seconds": {} }}"#,
        10 * HOUR
    )
}

fn hold(remark: Option<&str>) -> Hold {
    let text = |text: &str| Some(text.to_owned());
    Hold {
        since: text("2026-11-22T10:00:00Z"),
        by: text("alice"),
        reason: text("card swap"),
        until: text("2026-11-23T10:00:00Z"),
        remark: remark.map(str::to_owned),
    }
}

#[test]
fn its_end_comes_by_a_clock_that_can_be_right() {
    let forward = Some("its end has come by the clock, but less time has passed: the clock was set forward");
    let started = Some("its end has come by the clock, but this machine has just started: its clock may be wrong");
    let table = [
        (moment(0, BOOT, 10 * HOUR), Standing::Held(hold(None))),
        (moment(23, BOOT, 33 * HOUR), Standing::Held(hold(None))),
        (moment(24, BOOT, 34 * HOUR), Standing::Over(hold(None))),
        // Set forward by hand, or by a server that is wrong.
        (moment(24, BOOT, 34 * HOUR - 1), Standing::Held(hold(forward))),
        (moment(9000, BOOT, 11 * HOUR), Standing::Held(hold(forward))),
        // Set back.
        (moment(-9000, BOOT, 99 * HOUR), Standing::Held(hold(None))),
        // Another start of the machine: its clock is worth something once there was time to set it.
        (moment(23, "other", 99 * HOUR), Standing::Held(hold(None))),
        (moment(24, "other", 60), Standing::Held(hold(started))),
        (moment(9000, "other", HOUR / 4 - 1), Standing::Held(hold(started))),
        (moment(24, "other", HOUR / 4), Standing::Over(hold(None))),
    ];
    for (moment, expected) in table {
        assert_eq!(stands(text().as_bytes(), &moment), Ok(expected), "{moment:?}");
    }
    // Who can't tell the starts apart waits, too.
    let nameless = Moment { boot: None, ..moment(24, BOOT, 60) };
    assert_eq!(
        stands(text().replace(&format!("\"{BOOT}\""), "null").as_bytes(), &nameless),
        Ok(Standing::Held(hold(started)))
    );
    // Without an end nothing ends it.
    let forever = text().replace("\"2026-11-23T10:00:00Z\"", "null");
    let held = stands(forever.as_bytes(), &moment(90_000, "other", 90_000 * HOUR)).unwrap();
    assert_eq!(held, Standing::Held(Hold { until: None, ..hold(None) }));
}

#[test]
fn what_can_not_be_understood_is_a_hold() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join(FILE_NAME);
    let remark = || match read(dir.path()) {
        Standing::Held(Hold { since: None, by: None, reason: None, until: None, remark: Some(remark) }) => remark,
        other => panic!("{other:?}"),
    };
    assert_eq!(read(dir.path()), Standing::Free);
    let (good, end) = (text(), "\"2026-11-23T10:00:00Z\"");
    let damaged = [
        String::new(),
        good[..good.len() / 2].to_owned(),
        "\0".repeat(good.len()),
        good.replace("until", "untill"),
        good.replace(end, "\"tomorrow\""),
        good.replace(end, "\"2026-11-23 10:00\""),
        format!("{good}{}", " ".repeat(100_000)) + "}",
        good.replace("card swap", &"x".repeat(100_000)),
    ];
    for text in damaged {
        fs::write(&file, &text).unwrap();
        let remark = remark();
        assert!(remark.contains("hold.json can't be understood: "), "{remark}");
    }
    // What is no file, and a directory that has gone away, as where its mount has.
    fs::remove_file(&file).unwrap();
    symlink("/nowhere", &file).unwrap();
    assert!(remark().contains("can't be read: "), "{}", remark());
    fs::remove_file(&file).unwrap();
    fs::create_dir(&file).unwrap();
    assert!(remark().contains("can't be read: is a directory"), "{}", remark());
    assert!(read(&dir.path().join("gone")).is_held());
}

#[test]
fn placed_replaced_released() {
    let dir = tempfile::tempdir().unwrap();
    let at = dir.path();
    assert_eq!(release(at).unwrap(), Standing::Free);
    assert_eq!(place(at, "alice", Some("  card swap\n"), None).unwrap(), Standing::Free);
    let first = read(at);
    let Standing::Held(Hold { since: Some(_), by: Some(by), reason: Some(reason), until: None, remark: None }) = &first
    else {
        panic!("{first:?}")
    };
    assert_eq!((by.as_str(), reason.as_str()), ("alice", "card swap"));
    assert_eq!(fs::metadata(at.join(FILE_NAME)).unwrap().permissions().mode() & 0o777, 0o644);

    let until = Timestamp::now() + Duration::from_secs(HOUR);
    assert_eq!(place(at, "bob", Some(" "), Some(until)).unwrap(), first);
    let second = read(at);
    assert!(matches!(&second, Standing::Held(Hold { reason: None, until: Some(_), remark: None, .. })), "{second:?}");

    let long = "x".repeat(MAX_REASON_BYTES + 1);
    assert!(matches!(place(at, "carol", Some(&long), None), Err(HoldError::LongReason)));
    assert_eq!(read(at), second, "what can't be placed changes nothing");
    // The longest there is can be read, whatever it is made of.
    place(at, "carol", Some(&"\u{1}".repeat(MAX_REASON_BYTES - 1).replacen('\u{1}', "x", 1)), None).unwrap();
    assert!(matches!(read(at), Standing::Held(Hold { reason: Some(_), .. })));

    fs::write(at.join(FILE_NAME), "").unwrap();
    assert!(release(at).unwrap().is_held());
    assert_eq!(read(at), Standing::Free);
    assert_eq!(fs::read_dir(at).unwrap().count(), 0, "nothing is left beside it");
}

#[test]
fn a_directory_of_its_name_is_moved_aside_and_kept() {
    let dir = tempfile::tempdir().unwrap();
    for number in 1..=2 {
        let file = dir.path().join(FILE_NAME);
        fs::create_dir_all(file.join("somebody's")).unwrap();
        assert!(read(dir.path()).is_held());
        let hint = place(dir.path(), "alice", None, None).unwrap_err().hint().unwrap();
        assert!(hint.contains("a directory has the name of the hold") && hint.contains("pipeline release"), "{hint}");
        assert!(release(dir.path()).unwrap().is_held());
        assert_eq!(read(dir.path()), Standing::Free);
        assert!(dir.path().join(format!("{FILE_NAME}.{number}/somebody's")).is_dir());
    }
}

#[test]
fn where_nothing_can_be_written_it_says_so() {
    let dir = tempfile::tempdir().unwrap();
    let gone = dir.path().join("gone");
    for error in [place(&gone, "alice", None, None).unwrap_err(), release(&gone).unwrap_err()] {
        assert_eq!(error.class(), Class::Config);
        assert!(error.to_string().ends_with("gone/hold.json"), "{error}");
    }
}

#[test]
fn a_run_that_has_seen_a_hold_keeps_to_it() {
    #[derive(Default)]
    struct Told(Mutex<Vec<String>>);
    impl Observer for Told {
        fn event(&self, event: &Event) {
            let kind = serde_json::to_value(event).unwrap()["event"].as_str().unwrap().to_owned();
            self.0.lock().unwrap().push(kind);
        }
    }
    let dir = tempfile::tempdir().unwrap();
    let told = Told::default();
    let watch = Watch::begin(dir.path(), &told);
    assert!(watch.look().is_some() && watch.held().is_none());
    place(dir.path(), "alice", None, None).unwrap();
    assert!(watch.held().is_none(), "nobody has looked");
    assert!(watch.look().is_none());
    release(dir.path()).unwrap();
    assert!(watch.look().is_none() && watch.held().is_some());
    assert_eq!(*told.0.lock().unwrap(), ["deletions_held"]);

    // Over: told by the next run, which removes.
    let Moment { boot: Some(boot), .. } = Moment::now() else { panic!("the kernel names no start") };
    let over = text().replace(BOOT, &boot).replace("36000", "0").replace("11-22", "11-23").replace("2026", "2020");
    fs::write(dir.path().join(FILE_NAME), &over).unwrap();
    assert!(Watch::begin(dir.path(), &told).look().is_some());
    assert_eq!(told.0.lock().unwrap()[1..], ["hold_ended"]);
    assert_eq!(fs::read_to_string(dir.path().join(FILE_NAME)).unwrap(), over, "a run takes nothing away");
}

#[test]
fn ends_as_people_write_them() {
    let zone = TimeZone::get("Europe/London").unwrap();
    let now: Timestamp = "2026-10-20T12:00:00Z".parse().unwrap();
    let read = |text: &str| parse_until(text, now, &zone).map(|until| until.to_string());
    let table = [
        ("3d", "2026-10-23T12:00:00Z"),
        (" 1h30m ", "2026-10-20T13:30:00Z"),
        ("2026-11-25T18:00:00Z", "2026-11-25T18:00:00Z"),
        ("2026-11-25 18:00+02:00", "2026-11-25T16:00:00Z"),
        // British summer time until the 25th of October, 02:00.
        ("2026-10-24 18:00", "2026-10-24T17:00:00Z"),
        ("2026-10-25T18:00:30", "2026-10-25T18:00:30Z"),
        ("2026-10-24", "2026-10-24T23:00:00Z"),
        ("2026-10-20", "2026-10-20T23:00:00Z"),
        // Twice on that night, and never in the one in March.
        ("2026-10-25 01:30", "2026-10-25T01:30:00Z"),
        ("2027-03-28 01:30", "2027-03-28T01:30:00Z"),
    ];
    for (text, expected) in table {
        assert_eq!(read(text).as_deref(), Ok(expected), "{text}");
    }
    for text in ["", "soon", "18:00", "3", "3 days", "2026-13-01", "2026-11-25T18:00[America/New_York]", "9999999d"] {
        assert_eq!(read(text), Err(UntilError::NotATime(text.into())), "{text}");
    }
    for text in ["0s", "2026-10-20T12:00:00Z", "2026-10-19", "2020-01-01 10:00"] {
        assert_eq!(
            read(text),
            Err(UntilError::Past { text: text.into(), now: "2026-10-20 13:00:00 BST".into() }),
            "{text}"
        );
    }
}
