//! Devices that lie: what answers is no agent of ours, or one that breaks every rule.
//!
//! Each is met by the real program, over a real sshd. It costs that device its visit and nobody else anything.

#![allow(clippy::unwrap_used)]

mod collector_side;
mod speech;

use std::collections::BTreeMap;
use std::process::Command;
use std::time::UNIX_EPOCH;

use e2e::stand_in::{PI_CONFIG, impersonate_agent, misbehave};
use e2e::{Ended, report, run};
use local_fleet::{Fleet, snapshot};
use pipeline_core::wire::{FetchEnd, RemoveEnd, Reply};
use serde_json::Value;
use speech::*;

/// What the collector may hold in memory, in KiB, the reserved stacks of its threads included.
const DATA_LIMIT_KIB: usize = 128 * 1024;

/// Content that an honest device holds.
const HONEST: &[u8] = b"honey\n";

/// `pipeline`, with a bound on its memory: beyond it, it is aborted.
fn bounded(fleet: &Fleet, args: &[&str]) -> Ended {
    let pipeline = fleet.command("pipeline").unwrap();
    let mut command = Command::new("/bin/sh");
    command.args(["-c", &format!("ulimit -d {DATA_LIMIT_KIB}; exec \"$0\" \"$@\"")]);
    command.env_clear().envs(pipeline.get_envs().filter_map(|(name, value)| Some((name, value?))));
    run(command.arg(pipeline.get_program()).args(pipeline.get_args()).args(args))
}

/// A device that misbehaves, and what is said about it.
struct Case {
    /// For the reader of a failure.
    name: &'static str,
    /// What it sends in place of an agent; none: `afterwards` is all.
    speech: Option<Vec<u8>>,
    /// The shell script that comes after it.
    afterwards: &'static str,
    outcome: &'static str,
    /// Of an outcome `failed`.
    class: Value,
    /// Somewhere in the reason, or in that of a file that failed.
    words: &'static str,
}

/// Waits until the collector has gone.
const LISTEN: &str = "exec cat > /dev/null";

fn breaks(name: &'static str, words: &'static str, speech: Vec<u8>) -> Case {
    Case { name, speech: Some(speech), afterwards: LISTEN, outcome: "failed", class: "integrity".into(), words }
}

fn cases() -> Vec<Case> {
    let garbled = "a message could not be decoded";
    let mut cases = vec![
        breaks("a path that leads out", garbled, scan_of_path(b"../x")),
        breaks("a path that leads out in the middle", garbled, scan_of_path(b"a/../../x")),
        breaks("an absolute path", garbled, scan_of_path(b"/etc/x")),
        breaks("a path with a NUL", garbled, scan_of_path(b"a\0b")),
        breaks("an empty path", garbled, scan_of_path(b"")),
        breaks("a path beyond all limits", garbled, scan_of_path(&[b'x'; 4097])),
        breaks("an unknown message", garbled, [opened(), frame(0, 1, 1, &[0x7f])].concat()),
        breaks("a huge frame", "breaks the protocol", [opened(), frame(0, u32::MAX, u32::MAX, b"")].concat()),
        breaks("an empty frame", "breaks the protocol", [opened(), frame(0, 0, 0, b"")].concat()),
        breaks("a frame of no kind", "breaks the protocol", [opened(), frame(9, 1, 1, b"x")].concat()),
        breaks("a bomb", "could not be decompressed", [opened(), bomb(256 * 1024)].concat()),
        breaks("an announced bomb", "breaks the protocol", [opened(), bomb(1 << 30)].concat()),
        breaks("a short list", "its list of files is incomplete", session(&[found("a", 1), scanned(2)])),
        breaks("no greeting", "it did not greet", [MAGIC.to_vec(), messages(&[scanned(0)])].concat()),
        breaks("content in place of a list", "something else than a scan", session(&[Reply::Data(b"x")])),
        breaks(
            "content beyond the announced size",
            "the device announced 1 bytes and sent 2",
            session(&[found("a", 1), scanned(1), Reply::Data(b"ab")]),
        ),
        breaks(
            "less content than announced",
            "the device announced 3 bytes and sent 2",
            session(&[found("a", 3), scanned(1), Reply::Data(b"ab"), complete(1, b"ab")]),
        ),
        breaks(
            "a digest of other content",
            "are not the ones that the device sent",
            session(&[found("a", 2), scanned(1), Reply::Data(b"ab"), complete(1, b"ba")]),
        ),
        breaks(
            "content where nothing is due",
            "it sent content that nobody asked for",
            session(&[found("a", 2), scanned(1), Reply::Data(b"ab"), complete(1, b"ab"), Reply::Data(b"more")]),
        ),
        breaks(
            "the end of another file",
            "it ended a file that nobody asked for",
            session(&[found("a", 2), scanned(1), Reply::Data(b"ab"), complete(7, b"ab")]),
        ),
        breaks(
            "a removal that nobody asked for",
            "it removed what nobody asked for",
            session(&[found("a", 2), scanned(1), Reply::Removed { id: 1, end: RemoveEnd::Removed }]),
        ),
        breaks(
            "a pruning that nobody asked for",
            "it pruned what nobody asked for",
            session(&[found("a", 2), scanned(1), Reply::Pruned { path: rel("a"), removed: true }]),
        ),
        breaks(
            "a list where content is due",
            "a question that was not asked",
            session(&[found("a", 2), scanned(1), found("b", 2)]),
        ),
        breaks(
            "a size that no file has",
            "larger files than a device can hold",
            session(&[found("a", u64::MAX), scanned(1)]),
        ),
        breaks(
            "sizes that overflow when they are added up",
            "larger files than a device can hold",
            session(&[found("a", u64::MAX / 2), found("b", u64::MAX / 2), found("c", u64::MAX / 2), scanned(3)]),
        ),
    ];
    cases.push(Case {
        name: "sizes beyond the storage",
        speech: Some(session(&[found("a", HUGE), found("b", HUGE), found("c", HUGE), scanned(3)])),
        afterwards: LISTEN,
        outcome: "failed",
        class: "transient".into(),
        words: "the storage has no room for its",
    });
    cases.push(Case {
        name: "a file and a file below it, a file twice, and a failure with a long and coloured reason",
        speech: Some(session(&[
            found("a", 2),
            found("a/b", 2),
            found("a", 3),
            found("c", 4),
            scanned(4),
            Reply::Data(b"aa"),
            complete(1, b"aa"),
            Reply::Data(b"ab"),
            complete(2, b"ab"),
            Reply::Data(b"aaa"),
            complete(3, b"aaa"),
            Reply::Fetched { id: 4, end: FetchEnd::Failed(format!("\x1b[2J{}", "so sorry ".repeat(20_000))) },
            Reply::Removed { id: 5, end: RemoveEnd::Removed },
        ])),
        afterwards: LISTEN,
        outcome: "failed",
        class: "transient".into(),
        words: "so sorry",
    });
    cases.push(Case {
        name: "times and sizes from the edge of the world",
        speech: Some(from_the_edge()),
        afterwards: LISTEN,
        outcome: "done",
        class: Value::Null,
        words: "",
    });
    cases.push(Case {
        name: "a long refusal",
        speech: Some(session(&[Reply::Refused { reason: &"go away\n".repeat(20_000) }])),
        afterwards: LISTEN,
        outcome: "failed",
        class: "config".into(),
        words: "the agent refused: go away",
    });
    let endless = |name, speech, afterwards, class: &str, words| Case {
        name,
        speech,
        afterwards,
        outcome: "failed",
        class: class.into(),
        words,
    };
    cases.push(endless(
        "content without an end",
        Some(session(&[found("a", HUGE), scanned(1)])),
        "exec cat /dev/zero",
        "transient",
        "the storage has no room for its",
    ));
    cases.push(endless(
        "zeros without an end",
        Some(opened()),
        "exec cat /dev/zero",
        "integrity",
        "breaks the protocol",
    ));
    cases.push(endless("noise without an end", None, "exec yes noise", "config", "answers something else: noise"));
    cases.push(endless("silence", None, LISTEN, "transient", "the device's shell does not answer"));
    cases
}

#[test]
fn a_hostile_device_harms_nobody() {
    let cases = cases();
    let honest = [1, cases.len() + 2];
    let fleet = Fleet::builder()
        .pis(cases.len() + 2)
        .tunnels(false)
        .pi_config(PI_CONFIG)
        .pipeline_config("settle: 0s\ntimeouts: { connect: 60s, idle: 5s }\n")
        .start()
        .unwrap();
    for number in 1..=cases.len() + 2 {
        fleet.write(number, b"2026/bee.jpg", HONEST, UNIX_EPOCH).unwrap();
    }
    for (pi, case) in fleet.pis()[1..].iter().zip(&cases) {
        match &case.speech {
            Some(speech) => impersonate_agent(pi, speech, case.afterwards),
            None => misbehave(pi, case.afterwards),
        }
    }
    bounded(&fleet, &["init"]).expect(0);
    let before = outside(&fleet);

    let sync = bounded(&fleet, &["sync", "--json"]).expect(6);
    let summary = sync.summary();
    let events = sync.events();
    for number in honest {
        let report = report(&summary, &format!("raspberry{number}"));
        assert_eq!((&report["outcome"], &report["removed"]), (&"done".into(), &1.into()), "{report}");
    }
    let mut unlike = Vec::new();
    for (pi, case) in fleet.pis()[1..].iter().zip(&cases) {
        let report = report(&summary, pi.name());
        let said: Vec<_> = events
            .iter()
            .filter(|event| event["device"] == pi.name() && event["event"] == "file_failed")
            .chain([report])
            .filter_map(|event| event["reason"].as_str())
            .collect();
        assert!(said.iter().all(|reason| reason.len() < 1000), "{}: a reason fills the screen", case.name);
        let as_expected = report["outcome"] == case.outcome
            && report["class"] == case.class
            && (case.words.is_empty() || said.iter().any(|reason| reason.contains(case.words)));
        if !as_expected {
            unlike.push(format!("{}: {said:?} {report}", case.name));
        }
    }
    assert!(unlike.is_empty(), "{}", unlike.join("\n"));

    // What it says in its next run is no better, and nothing is stuck.
    let again = bounded(&fleet, &["sync", "--json"]).expect(6).summary();
    assert_eq!(again["devices"].as_array().unwrap().len(), cases.len() + 2);

    assert_eq!(outside(&fleet), before, "nothing outside the storage is touched");
    for (pi, case) in fleet.pis()[1..].iter().zip(&cases) {
        assert_eq!(snapshot(&pi.source()).unwrap().len(), 1, "{}: nothing was asked to be removed", case.name);
    }
    let archived = fleet.archived().unwrap();
    let expected = archived.iter().filter(|(path, _)| path.ends_with(b"/2026/bee.jpg"));
    assert_eq!(expected.count(), honest.len());
    // What three of them sent whole is stored: it is theirs to name.
    let others: Vec<_> = archived.keys().filter(|path| !path.ends_with(b"/2026/bee.jpg")).collect();
    assert_eq!(others.len(), 4, "{others:?}");
    let staging = snapshot(&fleet.storage().join(".pipeline/staging")).unwrap();
    assert!(staging.is_empty(), "{:?}", staging.keys());
}

/// Every file that is neither the collector's own nor a log, outside the storage and the honest sources.
fn outside(fleet: &Fleet) -> BTreeMap<Vec<u8>, local_fleet::FileFacts> {
    let mut files = snapshot(fleet.root()).unwrap();
    files.retain(|path, _| {
        let inside = [&b"storage/"[..], b"state/"].iter().any(|dir| path.starts_with(dir));
        let agent = path.windows(16).any(|window| window == b".cache/pipeline/");
        let honest_file = path.ends_with(b"/beephotos/2026/bee.jpg");
        !inside && !agent && !honest_file && !path.ends_with(b".log")
    });
    files
}
