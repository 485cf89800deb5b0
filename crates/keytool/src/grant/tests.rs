#![allow(clippy::unwrap_used)]

use super::*;
use crate::shell::tests::shells;

const ALICE: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJ0kt/FwBgh/P55Xn63t1yKc6G332TZpyanZM2lRXOLS";
const OURS: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIEYd1r1NgIK6sUBKvnIGlo8y7eWRyOtw5dQuIj6LIZdR";

fn key(text: &str) -> Key {
    Key::parse(text).unwrap().0
}

fn at(text: &str) -> End {
    End::Local(text.parse().unwrap())
}

fn keys(text: &str) -> AuthorizedKeys {
    AuthorizedKeys::new(text.into())
}

#[test]
fn given_extended_and_taken_without_touching_other_lines() {
    let others = format!("# Who may come in\n{OURS} pipeline raspberry31\nrestrict \"odd\n");
    let first = give(&keys(&others), &key(ALICE), "alice@laptop", &at("2026-11-29T05:00")).unwrap();
    let line = format!("expiry-time=\"20261129050000\" {ALICE} keytool-grant alice@laptop\n");
    assert_eq!(String::from_utf8_lossy(first.as_bytes()), others.clone() + &line);
    let longer = give(&first, &key(ALICE), "alice@laptop", &at("2026-12-24T18:30:15")).unwrap();
    let expected = others.clone() + &line.replace("20261129050000", "20261224183015");
    assert_eq!(String::from_utf8_lossy(longer.as_bytes()), expected);
    assert_eq!(all(&longer).remove(0).ends, [at("2026-12-24T18:30:15")]);
    assert_eq!(take(&longer, |_| true).as_bytes(), others.as_bytes());
}

#[test]
fn what_is_let_in_without_us_is_left_alone() {
    let permanent = keys(&format!("{ALICE} alice, for ever\n"));
    let refused = give(&permanent, &key(ALICE), "alice", &at("2026-11-29T05:00"));
    assert!(matches!(refused, Err(GrantError::LetInAlready)), "{refused:?}");
    assert_eq!(all(&permanent), []);
    assert_eq!(take(&permanent, |_| true), permanent);
}

#[test]
fn it_is_over_when_the_machine_says_so() {
    // In winter in Ohio.
    let now = "2026-11-29T10:00:00Z".parse().unwrap();
    let clock = Clock { now, local: "2026-11-29T05:00".parse().unwrap(), end: at("2026-11-29T05:00") };
    let left = |ends: &[&str]| {
        let options = ends.iter().fold(Options::default(), |options, end| options.value("expiry-time", end));
        let entry = Entry { options, ..Entry::plain(key(ALICE), "keytool-grant alice") };
        Grant::of(&entry).unwrap().left(&clock)
    };
    assert_eq!(left(&["20261129050001"]), Left::For(Duration::from_secs(1)));
    assert_eq!(left(&["20261129050000"]), Left::Over);
    assert_eq!(left(&["20200101"]), Left::Over);
    assert_eq!(left(&["20261129100001Z"]), Left::For(Duration::from_secs(1)));
    assert_eq!(left(&["20261129100000Z"]), Left::Over);
    assert_eq!(left(&["20261129050002", "20261129100001Z"]), Left::For(Duration::from_secs(1)));
    assert_eq!(left(&["20200101", "soon"]), Left::Unknown);
    assert_eq!(left(&[]), Left::Endless);
}

#[test]
fn what_lets_a_key_in_beside_its_grant_is_found() {
    let text = format!(
        "# {ALICE}\nexpiry-time=\"20270101\" {ALICE} keytool-grant alice\nrestrict {ALICE} al\nexpiry-time=\"20200101\" {ALICE} old\n{OURS} x\n"
    );
    let now = "2026-11-29T10:00:00Z".parse().unwrap();
    let clock = Clock { now, local: "2026-11-29T05:00".parse().unwrap(), end: at("2026-11-29T05:00") };
    let found = beside(&[("one", keys(&text)), ("two", keys(ALICE))], &clock, |wanted| *wanted == key(ALICE));
    assert_eq!(found.iter().map(Beside::to_string).collect::<Vec<_>>(), ["one:3 ('al')", "two:1"]);
}

#[test]
fn a_clock_is_asked_and_must_be_right() {
    let (home, tools) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let now = Timestamp::now();
    let end: Timestamp = "2026-11-29T05:00:00Z".parse().unwrap();
    let zone = jiff::tz::TimeZone::system();
    for shell in shells(home.path(), tools.path()) {
        let clock = Clock::trusted(&shell, end, now).unwrap();
        // Without a version nothing but the zone's own form is sure to be read.
        assert!([End::Utc(end), End::Local(zone.to_datetime(end))].contains(&clock.end), "{clock:?}");
        let wrong = Clock::trusted(&shell, end, now + jiff::Span::new().hours(3).minutes(30)).unwrap_err();
        assert!(matches!(wrong, GrantError::Clock { behind: true, .. }));
        assert_eq!(wrong.to_string(), "the machine's clock is 3 hours behind");
        let wrong = Clock::trusted(&shell, end, now - jiff::Span::new().hours(100)).unwrap_err();
        assert_eq!(wrong.to_string(), "the machine's clock is 4 days ahead");
    }
    let of = |version: &str| {
        let answer = format!("clock 1795946400 20261129050000 20261129000000 {version}");
        Clock::parse(&answer, end).unwrap().end
    };
    for version in ["-", "8.4", "9.0"] {
        assert_eq!(of(version), at("2026-11-29T00:00"), "{version}");
    }
    for version in ["9.1", "9.10", "10.0"] {
        assert_eq!(of(version), End::Utc(end), "{version}");
    }
    for noise in ["", "clock", "clock 1 2 3 4", "clock x 20261129050000 20261129050000 9.2"] {
        assert_eq!(Clock::parse(noise, end), None, "{noise}");
    }
}
