use std::time::Duration;

use pipeline_core::archive::ArchivePath;
use pipeline_core::digest::Digest;
use pipeline_core::error::Class;
use pipeline_core::explain::{DeviceFacts, Rival, SourceFacts};
use pipeline_core::explain::{FileFacts, LeftFiles, Policy, Row, Spell, Verdict, decide, decide_device};
use pipeline_core::hold::{Hold, Standing};
use pipeline_core::path::RelPath;

use super::*;

/// 2026-11-22 03:00:00 in Ohio.
const NOW: When = When(1_795_334_400_000_000_000);

fn ago(seconds: i64) -> When {
    When(NOW.0 - seconds * 1_000_000_000)
}

fn path(path: &str) -> RelPath {
    RelPath::new(path).unwrap()
}

fn row(archive_path: &str) -> Row {
    Row {
        id: 88_123,
        run: 1234,
        bytes: 1_268_123,
        digest: Digest::of(b"abc"),
        archive_path: ArchivePath::from_bytes(archive_path.as_bytes()).unwrap(),
        beginning: false,
        dropped: false,
        received: ago(7200),
        removed: Some(ago(7198)),
        modified: ago(9000),
        from_storage: false,
        rival: None,
        lies: Lies::AsCatalogued,
    }
}

fn visits(state: State, reason: Option<&str>) -> Visits {
    let spell = Spell {
        state,
        class: reason.map(|_| Class::Unreachable),
        reason: reason.map(str::to_owned),
        hint: reason.map(|_| "look at the tunnel".to_owned()),
        since: ago(3600),
        last: ago(60),
    };
    let trouble = Some(spell.clone()).filter(|spell| spell.state == State::Failed);
    Visits { last: Some(ago(3660)), succeeded: Some(ago(7200)), now: Some(spell), trouble }
}

fn facts(rows: Vec<Row>) -> FileFacts {
    FileFacts {
        device: "raspberry31".into(),
        source: "/home/pi/beephotos".into(),
        path: path("cam 1/a.jpg"),
        rows,
        left: None,
        visits: visits(State::Reached, None),
        policy: Some(Policy { delete_after: Some(Duration::ZERO), high_water: None, filter: Verdict::Wanted }),
    }
}

fn told(explanation: &Explanation) -> String {
    let zone = TimeZone::posix("EST5EDT,M3.2.0,M11.1.0").unwrap();
    Reader { zone: &zone, storage: Path::new("/mnt/bees") }.sentences(explanation).join("\n")
}

fn file(facts: &FileFacts, hold: &Standing) -> String {
    told(&Explanation::File(Box::new(decide(facts, hold, NOW))))
}

fn left(kind: LeftKind, of: Option<&str>) -> Left {
    Left { kind, reason: "permission denied".into(), of: of.map(path), since: ago(5400) }
}

#[test]
fn a_file_that_is_where_it_should_be() {
    let expected = "cam 1/a.jpg of raspberry31 was received at 2026-11-22 01:00:00 EST in run 1234 and is stored as \
        /mnt/bees/raspberry31/cam 1/a.jpg: 1.21 MiB (1268123 bytes), SHA-256 \
        ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad.\n\
        Row 88123 of the catalog is its receipt.\n\
        A file of that size lies there now; nobody has read it for this answer.\n\
        It left raspberry31 at 2026-11-22 01:00:02 EST.";
    assert_eq!(file(&facts(vec![row("raspberry31/cam 1/a.jpg")]), &Standing::Free), expected);
}

#[test]
fn a_file_that_is_still_on_its_device() {
    let there = Row { removed: None, ..row("raspberry31/cam 1/a.jpg") };
    let hold =
        Standing::Held(Hold { since: Some("2026-11-22T07:00:00Z".into()), by: Some("ada".into()), ..Hold::default() });
    let ending = |change: fn(&mut FileFacts), hold: &Standing| {
        let mut facts = facts(vec![there.clone()]);
        change(&mut facts);
        let text = file(&facts, hold);
        text.split_once("for this answer.\nIt is still on raspberry31: ").unwrap().1.to_owned()
    };
    let answered = "raspberry31 last answered at 2026-11-22 01:59:00 EST.";
    assert_eq!(
        ending(|_| (), &Standing::Free),
        format!("it has been due since 2026-11-22 01:00:00 EST, and goes at the next visit.\n{answered}")
    );
    assert_eq!(
        ending(|_| (), &hold),
        format!(
            "it is due, and removals are on hold.\n{answered}\n\
             Removals are on hold since 2026-11-22 02:00:00 EST by ada; 'pipeline release' ends it."
        )
    );
    let until = |facts: &mut FileFacts| {
        let policy = facts.policy.as_mut().unwrap();
        (policy.delete_after, policy.high_water) = (Some(Duration::from_secs(3 * 86_400)), Some(80));
    };
    assert_eq!(
        ending(until, &Standing::Free),
        format!(
            "`delete.after` keeps it there until 2026-11-25 01:00:00 EST, or until more than 80 % of the card is in use.\n\
             {answered}"
        )
    );
    assert_eq!(
        ending(|facts| facts.visits = visits(State::Offline, Some("no tunnel")), &Standing::Free),
        format!(
            "it is due, and goes at the first visit that reaches the device.\n{answered}\n\
             It has been offline since 2026-11-22 02:00:00 EST, at the last try of 2026-11-22 02:59:00 EST too: no tunnel.\n\
             What to do: look at the tunnel."
        )
    );
    let busy = |facts: &mut FileFacts| facts.left = Some(left(LeftKind::Deferred, Some("cam 1/a.jpg")));
    assert_eq!(
        ending(busy, &Standing::Free),
        format!("the last visit left it for later: permission denied.\n{answered}")
    );
}

#[test]
fn a_file_that_was_not_received() {
    let mut facts = facts(vec![]);
    assert!(
        file(&facts, &Standing::Free)
            .starts_with("No visit has seen cam 1/a.jpg of raspberry31, below /home/pi/beephotos.\n")
    );
    facts.left = Some(left(LeftKind::Failed, Some("cam 1")));
    assert_eq!(
        file(&facts, &Standing::Free),
        "cam 1/a.jpg of raspberry31 has not been received: the last visit could not handle the directory cam 1: permission denied.\n\
         It has been so since 2026-11-22 01:30:00 EST.\nThe next visit tries again.\n\
         raspberry31 last answered at 2026-11-22 01:59:00 EST."
    );
    facts.left = Some(left(LeftKind::Failed, None));
    assert!(file(&facts, &Standing::Free).contains("the whole directory /home/pi/beephotos: "));
    facts.left = None;
    facts.policy.as_mut().unwrap().filter = Verdict::NotIncluded;
    assert!(
        file(&facts, &Standing::Free).starts_with(
            "cam 1/a.jpg of raspberry31 is neither received nor removed: no glob of `include` takes it.\n"
        )
    );
}

#[test]
fn what_is_damaged_here_may_be_whole_on_its_device() {
    let lying = |lies: Lies, removed: Option<When>| {
        file(&facts(vec![Row { lies, removed, ..row("bees/a.jpg") }]), &Standing::Free)
    };
    let otherwise = Lies::Otherwise { found: "a file of 0 bytes, where 3 were stored".into() };
    let kept = lying(otherwise.clone(), None);
    let advice = "But there is a file of 0 bytes, where 3 were stored. raspberry31 still has it: move what lies there out of the storage; \
         once it is due to leave raspberry31 it is received again, or copy it from there by hand under the very same name.";
    assert!(kept.contains(advice) && !kept.contains("backup"), "{kept}");
    let kept = lying(Lies::Missing, None);
    assert!(kept.contains("But nothing lies there now. raspberry31 still has it: once it is due"), "{kept}");
    let left = lying(otherwise, Some(NOW));
    assert!(left.contains("look for it in a backup of the storage.") && !left.contains("still has it"), "{left}");
}

#[test]
fn contents_that_are_elsewhere() {
    let rival = Rival {
        device: "raspberry32".into(),
        path: path("cam 1/a.jpg"),
        archive_path: ArchivePath::from_bytes(b"bees/a.jpg").unwrap(),
    };
    let version = ".pipeline/versions/bees/a.jpg~20261121T000000Z~0123abcd";
    let rows = vec![
        Row { rival: Some(rival), lies: Lies::Missing, ..row("bees/a~raspberry31.jpg") },
        row(version),
        Row { dropped: true, from_storage: true, bytes: 1, ..row("bees/a.jpg") },
    ];
    let text = file(&facts(rows), &Standing::Free);
    for words in [
        "because cam 1/a.jpg of raspberry32 has the place bees/a.jpg: both are whole.\n",
        "\nBut nothing lies there now: run `pipeline verify`, and look for it in a backup of the storage.\n",
        &format!(" was received at 2026-11-22 01:00:00 EST and is kept as /mnt/bees/{version}.\n"),
        "\nAn earlier content, 1 byte, SHA-256 ba7816bf",
        " was found in the storage at 2026-11-22 01:00:00 EST and is kept no longer.",
    ] {
        assert!(text.contains(words), "{words} in {text}");
    }
}

#[test]
fn a_device_as_a_whole() {
    let leftover = |files, kind, of| LeftFiles { files, left: left(kind, of) };
    let source = SourceFacts {
        source: "/home/pi/beephotos".into(),
        visits: visits(State::Failed, Some("the card is read-only")),
        newest: Some(ago(7200)),
        kept_files: 2,
        kept_bytes: 2048,
        oldest_received: Some(ago(7200)),
        left: vec![leftover(3, LeftKind::Deferred, Some("x.jpg")), leftover(1, LeftKind::Failed, None)],
        unlisted: 0,
        policy: facts(vec![]).policy,
    };
    let facts = DeviceFacts { device: "raspberry31".into(), configured: true, sources: vec![source] };
    let expected = "raspberry31 last answered at 2026-11-22 01:59:00 EST.\n\
        Visits have failed since 2026-11-22 02:00:00 EST, the last one at 2026-11-22 02:59:00 EST: the card is read-only.\n\
        What to do: look at the tunnel.\n\
        A visit last did all there was to do at 2026-11-22 01:00:00 EST.\n\
        The newest data from /home/pi/beephotos came at 2026-11-22 01:00:00 EST.\n\
        Still on it: 2 received files (2.00 KiB); of the oldest: it is due, and visits fail.\n\
        The last visit left 3 files such as x.jpg for later: permission denied.\n\
        The last visit could not handle the directory itself: permission denied.";
    assert_eq!(told(&Explanation::Device(Box::new(decide_device(&facts, &Standing::Free, NOW)))), expected);
}

#[test]
fn lines_are_broken_between_words() {
    assert_eq!(wrapped("a bb ccc dddddddd", 4), ["a bb", "ccc", "dddddddd"]);
}
