#![allow(clippy::unwrap_used)]

use super::*;
use crate::shell::tests::shells;

const ALICE: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJ0kt/FwBgh/P55Xn63t1yKc6G332TZpyanZM2lRXOLS";
const OURS: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIEYd1r1NgIK6sUBKvnIGlo8y7eWRyOtw5dQuIj6LIZdR";

fn key(text: &str) -> Key {
    Key::parse(text).unwrap().0
}

fn at(text: &str) -> DateTime {
    text.parse().unwrap()
}

fn keys(text: &str) -> AuthorizedKeys {
    AuthorizedKeys::new(text.into())
}

#[test]
fn given_extended_and_taken_without_touching_other_lines() {
    let others = format!("# Who may come in\n{OURS} pipeline raspberry31\nrestrict \"odd\n");
    let first = give(&keys(&others), &key(ALICE), "alice@laptop", at("2026-11-29T05:00")).unwrap();
    let line = format!("expiry-time=\"20261129050000\" {ALICE} keytool-grant alice@laptop\n");
    assert_eq!(String::from_utf8_lossy(first.as_bytes()), others.clone() + &line);
    let longer = give(&first, &key(ALICE), "alice@laptop", at("2026-12-24T18:30:15")).unwrap();
    let expected = others.clone() + &line.replace("20261129050000", "20261224183015");
    assert_eq!(String::from_utf8_lossy(longer.as_bytes()), expected);
    assert_eq!(all(&longer).iter().map(|grant| grant.end).collect::<Vec<_>>(), [Some(at("2026-12-24T18:30:15"))]);
    assert_eq!(take(&longer, |_| true).as_bytes(), others.as_bytes());
}

#[test]
fn what_is_let_in_without_us_is_left_alone() {
    let permanent = keys(&format!("{ALICE} alice, for ever\n"));
    let refused = give(&permanent, &key(ALICE), "alice", at("2026-11-29T05:00"));
    assert!(matches!(refused, Err(GrantError::LetInAlready)), "{refused:?}");
    assert_eq!(all(&permanent), []);
    assert_eq!(take(&permanent, |_| true), permanent);
}

#[test]
fn it_is_over_when_the_machine_says_so() {
    let clock = Clock { local: at("2026-11-29T05:00"), end: at("2026-11-29T05:00") };
    let left = |end: Option<&str>| {
        let grant = Grant { key: key(ALICE), who: String::new(), end: end.map(at) };
        grant.left(&clock)
    };
    assert_eq!(left(Some("2026-11-29T05:00:01")), Some(Duration::from_secs(1)));
    assert_eq!(left(Some("2026-11-29T05:00")), None);
    assert_eq!(left(Some("2020-01-01T00:00")), None);
    assert_eq!(left(None), Some(Duration::MAX));
}

#[test]
fn a_clock_is_asked_and_must_be_right() {
    let (home, tools) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let now = Timestamp::now();
    let end: Timestamp = "2026-11-29T05:00:00Z".parse().unwrap();
    let zone = jiff::tz::TimeZone::system();
    for shell in shells(home.path(), tools.path()) {
        let clock = Clock::trusted(&shell, end, now).unwrap();
        assert_eq!(clock.end, zone.to_datetime(end));
        let wrong = Clock::trusted(&shell, end, now + jiff::Span::new().hours(3).minutes(30)).unwrap_err();
        assert!(matches!(wrong, GrantError::Clock { behind: true, .. }));
        assert_eq!(wrong.to_string(), "the machine's clock is 3 hours behind");
        let wrong = Clock::trusted(&shell, end, now - jiff::Span::new().hours(100)).unwrap_err();
        assert_eq!(wrong.to_string(), "the machine's clock is 4 days ahead");
    }
    for noise in ["", "clock", "clock 1 2 3", "clock x 20261129050000 20261129050000"] {
        assert_eq!(Clock::parse(noise), None, "{noise}");
    }
}
