//! Power cut: whatever is lost with the power, no file is lost that was unlinked on its Pi.
//!
//! The collector and the Pis' sessions run under strace, with one clock. From their system calls it is asserted for each file
//! that was unlinked that all which makes it durable had returned before, in its order: see [`e2e::strace::order`].

#![allow(clippy::unwrap_used)]

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::ffi::OsStrExt;

use e2e::ledger::Ledger;
use e2e::random::Random;
use e2e::run;
use e2e::strace::order::{History, Removal, removals};
use e2e::strace::{Arg, Call, parse, tracing_args, under_strace};
use local_fleet::{Fleet, field};

/// A fleet on which everything is traced.
struct Traced {
    fleet: Fleet,
    ledger: Ledger,
    random: Random,
    /// The collector's calls, in all its runs.
    calls: Vec<Call>,
    runs: usize,
}

impl Traced {
    fn begin(pis: usize, pipeline_config: &str) -> Traced {
        // $$ is the shell that strace replaces: each session has a trace of its own.
        let trace = tracing_args("$HOME/trace.$$".as_ref()).join(" ");
        let force = format!("ForceCommand exec strace {trace} -- /bin/sh -c \"$SSH_ORIGINAL_COMMAND\"\n");
        let fleet = Fleet::builder().pis(pis).tunnels(false).pi_config(&force).pipeline_config(pipeline_config);
        let fleet = fleet.start().unwrap();
        run(fleet.command("pipeline").unwrap().arg("init")).expect(0);
        Traced { fleet, ledger: Ledger::default(), random: Random::new(7), calls: Vec::new(), runs: 0 }
    }

    fn offer(&mut self, pi: usize, path: &[u8], bytes: usize) {
        let content = self.random.content(bytes);
        self.ledger.offer(&self.fleet, pi, path, &content);
    }

    fn sync(&mut self, args: &[&str]) {
        self.runs += 1;
        let trace = self.fleet.root().join(format!("trace.{}", self.runs));
        let mut pipeline = self.fleet.command("pipeline").unwrap();
        pipeline.arg("sync").args(args);
        run(&mut under_strace(&pipeline, tracing_args(&trace))).expect(0);
        self.calls.extend(parse(&fs::read_to_string(trace).unwrap()));
    }

    /// What was unlinked on the Pis.
    fn removals(&self) -> Vec<Removal> {
        let mut found = Vec::new();
        for pi in self.fleet.pis() {
            for entry in fs::read_dir(pi.home()).unwrap() {
                let entry = entry.unwrap();
                if entry.file_name().as_bytes().starts_with(b"trace.") {
                    let calls = parse(&fs::read_to_string(entry.path()).unwrap());
                    found.extend(removals(&calls, pi.name(), &pi.source()));
                }
            }
        }
        found.sort_by_key(|removal| removal.entered_ns);
        found
    }

    /// Asserts the order for each removal; returns the removals.
    fn prove(&mut self, reads_back: bool) -> Vec<Removal> {
        let (storage, state_dir) = (self.fleet.storage(), self.fleet.state_dir());
        let history = History::new(&self.calls, &storage, &state_dir, reads_back);
        let removals = self.removals();
        for removal in &removals {
            let proof = history.prove(removal);
            assert!(proof.is_ok(), "{}: {}", removal.path.escape_ascii(), proof.unwrap_err());
        }
        let paths: BTreeSet<_> = removals.iter().map(|removal| &removal.path).collect();
        assert_eq!(paths.len(), self.ledger.len(), "every file that was offered was unlinked, and seen to be");
        self.ledger.expect_finished(&self.fleet);
        removals
    }
}

#[test]
fn each_unlink_comes_after_all_that_makes_its_file_durable() {
    let mut traced = Traced::begin(2, "");
    for (number, name) in field::awkward_names().into_iter().enumerate() {
        traced.offer(1, &[b"new/deep/deeper/", name.as_slice()].concat(), number * 100);
    }
    traced.offer(2, b"empty", 0);
    traced.offer(2, b"large.jpg", 300_000);
    let adopted = traced.random.content(5000);
    traced.ledger.offer(&traced.fleet, 2, b"adopted/there before.jpg", &adopted);
    let there = traced.fleet.storage().join("raspberry2/adopted");
    fs::create_dir_all(&there).unwrap();
    fs::write(there.join("there before.jpg"), adopted).unwrap();
    traced.sync(&[]);

    // More than a batch, and at the same time new directories beside old ones.
    for number in 0..1100 {
        traced.offer(1, format!("new/deep/{:02}/{number:04}.csv", number % 20).as_bytes(), 20);
    }
    traced.offer(2, b"adopted/another.jpg", 2000);
    traced.sync(&[]);

    // Received by one run and removed by the next.
    traced.offer(1, b"later/kept for a while.jpg", 2000);
    traced.sync(&["--no-delete"]);
    traced.sync(&[]);

    traced.prove(false);
}

#[test]
fn what_is_read_back_is_read_between_its_sync_and_its_rename() {
    let mut traced = Traced::begin(1, "read_back: always\n");
    traced.offer(1, b"empty", 0);
    traced.offer(1, b"photos/large.jpg", 300_000);
    traced.sync(&[]);
    traced.offer(1, b"photos/another.jpg", 2000);
    traced.offer(1, b"films/one.h264", 2000);
    traced.sync(&[]);
    let removals = traced.prove(true);
    the_judge_would_notice(&traced, removals.iter().find(|removal| removal.path.ends_with(b"films/one.h264")).unwrap());
}

/// Steps that may come in any order among themselves: pages of one transaction, directories, and a new directory's name beside
/// what is put into it.
const UNORDERED: [&[&str]; 3] = [
    &["row written", "commit written"],
    &["sync of the directory", "sync of the parent of a new directory"],
    &["rename", "sync of the parent of a new directory"],
];

/// Whatever is missing before a removal, and whatever two steps change places, is an error.
fn the_judge_would_notice(traced: &Traced, removal: &Removal) {
    let (storage, state_dir) = (traced.fleet.storage(), traced.fleet.state_dir());
    let prove = |calls: &[Call]| History::new(calls, &storage, &state_dir, true).prove(removal);
    let steps = prove(&traced.calls).unwrap();
    let of = |what| steps.iter().filter(|step| step.what == what).map(|step| step.call).collect::<Vec<_>>();
    let directories = [of("sync of the directory"), of("sync of the parent of a new directory")].concat();
    assert_eq!(directories.len(), 3, "films, the device's and the storage itself: {steps:?}");

    // Only the steps themselves, and what they refer to. Nothing else can then stand in for one of them.
    let committed = of("commit written")[0];
    let refers = |at: usize, call: &Call| match (call.name.as_str(), &call.args[0]) {
        ("mkdirat", _) => true,
        ("write" | "pwrite64", Arg::Descriptor(path)) if path.ends_with(b"/catalog.db-wal") => at <= committed,
        ("write", Arg::Descriptor(path)) => path.starts_with(storage.as_os_str().as_bytes()),
        _ => false,
    };
    let step_at = |at: usize| steps.iter().find(|step| step.call == at);
    let kept: Vec<_> =
        traced.calls.iter().enumerate().filter(|(at, call)| step_at(*at).is_some() || refers(*at, call)).collect();
    let marks: Vec<_> = kept.iter().map(|(at, _)| step_at(*at).map(|step| step.what)).collect();
    let calls: Vec<Call> = kept.into_iter().map(|(_, call)| call.clone()).collect();
    prove(&calls).unwrap();

    let places: Vec<_> = (0..calls.len()).filter(|&at| marks[at].is_some()).collect();
    assert!(places.len() >= 9, "{steps:?}");
    for (number, &one) in places.iter().enumerate() {
        let mut without = calls.clone();
        without.remove(one);
        assert!(prove(&without).is_err(), "without the {}", marks[one].unwrap());

        let mut late = calls.clone();
        late[one].left_ns = removal.entered_ns + 1;
        assert!(prove(&late).is_err(), "late: {}", marks[one].unwrap());

        for &other in &places[number + 1..] {
            let what = (marks[one].unwrap(), marks[other].unwrap());
            if UNORDERED.iter().any(|kinds| kinds.contains(&what.0) && kinds.contains(&what.1)) {
                continue;
            }
            let mut swapped = calls.clone();
            (swapped[one].entered_ns, swapped[one].left_ns) = (calls[other].entered_ns, calls[other].left_ns);
            (swapped[other].entered_ns, swapped[other].left_ns) = (calls[one].entered_ns, calls[one].left_ns);
            swapped.sort_by_key(|call| call.entered_ns);
            assert!(prove(&swapped).is_err(), "{what:?} have changed places");
        }
    }
}
