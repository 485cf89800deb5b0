//! The facts of a file, one by one, and what they mean.

#![allow(clippy::unwrap_used)]

use std::time::Duration;

use super::*;
use crate::catalog::history::{LeftKind, State};
use crate::error::Class;
use crate::hold::Standing;

const SECOND: i64 = 1_000_000_000;
const NOW: When = When(1_800_000_000 * SECOND);

fn ago(seconds: i64) -> When {
    When(NOW.0 - seconds * SECOND)
}

fn path(path: &str) -> RelPath {
    RelPath::new(path).unwrap()
}

/// A file that was received a minute ago and removed at once.
fn row() -> Row {
    Row {
        id: 7,
        run: 3,
        bytes: 5,
        digest: Digest::of(b"bees!"),
        archive_path: ArchivePath::from_bytes(b"pi/a.jpg").unwrap(),
        beginning: false,
        dropped: false,
        received: ago(60),
        removed: Some(ago(59)),
        modified: ago(600),
        from_storage: false,
        rival: None,
        lies: Lies::AsCatalogued,
    }
}

fn there() -> Row {
    Row { removed: None, ..row() }
}

fn left(kind: LeftKind) -> Left {
    Left { kind, reason: "why".into(), of: Some(path("a.jpg")), since: ago(50) }
}

fn facts(rows: Vec<Row>) -> FileFacts {
    let spell = Spell { state: State::Reached, class: None, reason: None, hint: None, since: ago(1000), last: ago(10) };
    FileFacts {
        device: "pi".into(),
        source: "/home/pi/bees".into(),
        path: path("a.jpg"),
        rows,
        left: None,
        visits: Visits { last: Some(ago(10)), succeeded: Some(ago(100)), now: Some(spell), trouble: None },
        policy: Some(Policy { delete_after: Some(Duration::ZERO), high_water: None, filter: Verdict::Wanted }),
    }
}

fn failed(class: Class) -> Spell {
    Spell {
        state: State::Failed,
        class: Some(class),
        reason: Some("why".into()),
        hint: None,
        since: ago(900),
        last: ago(20),
    }
}

fn held() -> Standing {
    Standing::Held(Hold { reason: Some("a card is copied".into()), ..Hold::default() })
}

#[test]
fn the_short_answer() {
    let with = |rows: Vec<Row>, change: fn(&mut FileFacts)| {
        let mut facts = facts(rows);
        change(&mut facts);
        decide(&facts, &Standing::Free, NOW).outcome
    };
    let filter = |verdict: Verdict| {
        let mut facts = facts(vec![]);
        facts.policy.as_mut().unwrap().filter = verdict;
        decide(&facts, &Standing::Free, NOW).outcome
    };
    assert_eq!(with(vec![row()], |_| ()), Outcome::Stored);
    assert_eq!(with(vec![there()], |_| ()), Outcome::Stored);
    assert_eq!(with(vec![Row { dropped: true, ..row() }, row()], |_| ()), Outcome::Dropped);
    assert_eq!(with(vec![], |_| ()), Outcome::NeverSeen);
    for kind in [LeftKind::Deferred, LeftKind::Kept, LeftKind::Failed, LeftKind::Skipped] {
        let mut facts = facts(vec![]);
        facts.left = Some(left(kind));
        assert_eq!(decide(&facts, &Standing::Free, NOW).outcome, Outcome::NotReceived(left(kind)));
        // Other content lies where a file was that has left.
        facts.rows = vec![row()];
        assert_eq!(decide(&facts, &Standing::Free, NOW).outcome, Outcome::NotReceived(left(kind)));
        // Of one that has not left, it is why.
        facts.rows = vec![there()];
        let told = decide(&facts, &Standing::Free, NOW);
        let because = Staying::Left(left(kind));
        assert_eq!((told.outcome, told.on_device), (Outcome::Stored, Presence::There { because }));
    }
    assert_eq!(with(vec![], |facts| facts.left = Some(left(LeftKind::Held))), Outcome::NeverSeen);
    assert_eq!(filter(Verdict::Excluded("*.tmp".into())), Outcome::LeftOut { exclude: Some("*.tmp".into()) });
    assert_eq!(filter(Verdict::NotIncluded), Outcome::LeftOut { exclude: None });
    assert_eq!(with(vec![], |facts| facts.policy = None), Outcome::NeverSeen);
}

#[test]
fn why_a_received_file_is_still_there() {
    type Change = fn(&mut FileFacts);
    let table: [(&str, Change, Standing, Staying); 14] = [
        ("due", |_| (), Standing::Free, Staying::Due { since: ago(60) }),
        ("unknown device", |facts| facts.policy = None, held(), Staying::NotConfigured),
        (
            "filtered, whatever else",
            |facts| {
                facts.policy.as_mut().unwrap().filter = Verdict::Excluded("*.jpg".into());
                facts.left = Some(left(LeftKind::Deferred));
            },
            held(),
            Staying::LeftOut { exclude: Some("*.jpg".into()) },
        ),
        (
            "open for writing",
            |facts| facts.left = Some(left(LeftKind::Deferred)),
            held(),
            Staying::Left(left(LeftKind::Deferred)),
        ),
        (
            "never",
            |facts| {
                let policy = facts.policy.as_mut().unwrap();
                (policy.delete_after, policy.high_water) = (None, Some(80));
            },
            held(),
            Staying::Never { high_water: Some(80) },
        ),
        (
            "not yet",
            |facts| facts.policy.as_mut().unwrap().delete_after = Some(Duration::from_secs(3600)),
            held(),
            Staying::Until { due: When(ago(60).0 + 3600 * SECOND), high_water: None },
        ),
        (
            "exactly due",
            |facts| facts.policy.as_mut().unwrap().delete_after = Some(Duration::from_secs(60)),
            held(),
            Staying::Held,
        ),
        ("on hold", |facts| facts.left = Some(left(LeftKind::Held)), held(), Staying::Held),
        (
            "offline",
            |facts| facts.visits.now.as_mut().unwrap().state = State::Offline,
            Standing::Over(Hold::default()),
            Staying::Offline,
        ),
        (
            "the brake",
            |facts| facts.visits.trouble = Some(failed(Class::Brake)),
            Standing::Free,
            Staying::Brake { reason: "why".into() },
        ),
        ("failing", |facts| facts.visits.trouble = Some(failed(Class::HostKey)), Standing::Free, Staying::Failing),
        (
            "failing, and away since: what a person can change comes before what passes",
            |facts| {
                facts.visits.now.as_mut().unwrap().state = State::Offline;
                facts.visits.trouble = Some(failed(Class::HostKey));
            },
            Standing::Free,
            Staying::Failing,
        ),
        (
            "a run that was to remove nothing",
            |facts| facts.visits.succeeded = Some(ago(10)),
            Standing::Free,
            Staying::NotAsked { visited: ago(10) },
        ),
        (
            "a hold that is over since the last visit",
            |facts| {
                facts.left = Some(left(LeftKind::Held));
                facts.visits.succeeded = Some(ago(10));
            },
            Standing::Free,
            Staying::Due { since: ago(60) },
        ),
    ];
    for (what, change, hold, because) in table {
        let mut facts = facts(vec![there()]);
        change(&mut facts);
        let told = decide(&facts, &hold, NOW);
        assert_eq!(told.on_device, Presence::There { because }, "{what}");
        assert_eq!(told.hold.is_some(), hold.is_held(), "{what}");
        assert_eq!(told.outcome, Outcome::Stored, "{what}");
    }
}

#[test]
fn what_became_of_each_content() {
    let version = ArchivePath::from_bytes(b".pipeline/versions/pi/a.jpg~20261122T000000Z~0123abcd").unwrap();
    let rows = vec![
        Row { removed: Some(ago(5)), ..row() },
        Row { archive_path: version, ..row() },
        Row { beginning: true, ..row() },
        Row { dropped: true, ..row() },
    ];
    let told = decide(&facts(rows), &Standing::Free, NOW);
    assert_eq!(told.content.as_ref().unwrap().kept, Kept::Plain);
    assert_eq!(told.on_device, Presence::Gone { since: Some(ago(5)) });
    let kept: Vec<Kept> = told.earlier.iter().map(|content| content.kept).collect();
    assert_eq!(kept, [Kept::Version, Kept::Beginning, Kept::Dropped]);
    let rebuilt = decide(&facts(vec![Row { from_storage: true, ..row() }]), &Standing::Free, NOW);
    assert_eq!(rebuilt.on_device, Presence::Gone { since: None });
}

#[test]
fn a_device_as_a_whole() {
    let source = SourceFacts {
        source: "/home/pi/bees".into(),
        visits: facts(vec![]).visits,
        newest: Some(ago(60)),
        kept_files: 2,
        kept_bytes: 10,
        oldest_received: Some(ago(60)),
        left: vec![],
        unlisted: 0,
        policy: facts(vec![]).policy,
    };
    let empty = SourceFacts { oldest_received: None, kept_files: 0, kept_bytes: 0, ..source.clone() };
    let facts = DeviceFacts { device: "pi".into(), configured: true, sources: vec![source, empty] };
    let told = decide_device(&facts, &held(), NOW);
    let because: Vec<_> = told.sources.iter().map(|source| source.because.clone()).collect();
    assert_eq!(because, [Some(Staying::Held), None]);
    assert!(told.hold.is_some());
}

#[test]
fn in_json_times_are_text_and_each_answer_names_its_kind() {
    let mut facts = facts(vec![there()]);
    facts.policy.as_mut().unwrap().delete_after = Some(Duration::from_secs(3600));
    let told = Explanation::File(Box::new(decide(&facts, &Standing::Free, NOW)));
    let json = serde_json::to_value(&told).unwrap();
    assert_eq!(json["about"], "file");
    assert_eq!(json["outcome"], "stored");
    assert_eq!(json["content"]["received"], "2027-01-15T07:59:00.000Z");
    assert_eq!(json["content"]["archive_path"], "pi/a.jpg");
    assert_eq!(json["on_device"]["is"], "there");
    assert_eq!(json["on_device"]["because"]["why"], "until");
    assert_eq!(json["on_device"]["because"]["due"], "2027-01-15T08:59:00.000Z");
    facts.rows.clear();
    facts.left = Some(left(LeftKind::Failed));
    let json = serde_json::to_value(decide(&facts, &Standing::Free, NOW)).unwrap();
    assert_eq!(
        (&json["outcome"], &json["kind"], &json["reason"]),
        (&"not_received".into(), &"failed".into(), &"why".into())
    );
}
