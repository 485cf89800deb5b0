//! Machines that hang, die or refuse in the middle of a run: the others finish, the run ends by its time-outs, and everybody is
//! told apart.

#![allow(clippy::unwrap_used)]

use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::time::UNIX_EPOCH;

use e2e::stand_in::{PI_CONFIG, misbehave};
use e2e::{Ended, Running, incompressible, report, run};
use local_fleet::{Builder, Fleet, Machine};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

/// Large enough for an event of its own when it begins, and at the rate of the tests for some seconds on the way.
const LARGE_BYTES: usize = 24 << 20;
const SETTINGS: &str = "settle: 0s\nbandwidth: 3MiB/s\n";

/// A fleet of Pis that work, and settings with this time-out for silence in the middle.
fn pis(count: usize, idle: &str) -> Builder {
    Fleet::builder().pis(count).pipeline_config(&format!("{SETTINGS}timeouts: {{ connect: 10s, idle: {idle} }}\n"))
}

fn pipeline(fleet: &Fleet, args: &[&str]) -> Ended {
    run(fleet.command("pipeline").unwrap().args(args))
}

fn sync(fleet: &Fleet) -> Running {
    Running::start(fleet.command("pipeline").unwrap().args(["sync", "--json"]))
}

/// Outcome and class of a device's visit.
fn outcome<'a>(summary: &'a Value, pi: &Machine) -> (&'a str, &'a str, &'a str) {
    let report = report(summary, pi.name());
    let text = |field: &str| report[field].as_str().unwrap_or_default();
    (text("outcome"), text("class"), text("reason"))
}

/// Waits until the large file of each of these devices has begun to arrive.
fn until_large_files_arrive(sync: &mut Running, pis: &[&Machine]) {
    let mut due: Vec<_> = pis.iter().map(|pi| pi.name()).collect();
    while !due.is_empty() {
        let event = sync.until(|event| event["event"] == "file_started");
        due.retain(|name| event["device"] != *name);
    }
}

/// Kills the agent that runs on a Pi, and nothing else.
fn kill_agent(pi: &Machine) {
    let agent = pi.home().join(".cache/pipeline/pipeline-agent-");
    let mut killed = 0;
    for process in fs::read_dir("/proc").unwrap().flatten() {
        let Some(pid) = process.file_name().to_str().and_then(|name| name.parse().ok()).and_then(Pid::from_raw) else {
            continue;
        };
        if fs::read(process.path().join("cmdline")).is_ok_and(|line| line.starts_with(agent.as_os_str().as_bytes())) {
            kill_process(pid, Signal::KILL).unwrap();
            killed += 1;
        }
    }
    assert_eq!(killed, 1, "agents on {}", pi.name());
}

/// Asserts that all that was offered is stored, and that no Pi holds anything more.
fn all_is_done(fleet: &Fleet, offered: &std::collections::BTreeMap<Vec<u8>, local_fleet::FileFacts>) {
    assert_eq!(&fleet.archived().unwrap(), offered);
    assert!(fleet.offered().unwrap().is_empty());
}

#[test]
fn devices_that_fall_silent_in_the_middle() {
    let fleet = pis(5, "4s").offline(1).silent(1).start().unwrap();
    let [honest, frozen, cut_off, without_agent, last] = [1, 2, 3, 4, 5].map(|number| fleet.pi(number));
    let large = incompressible(LARGE_BYTES);
    for (number, _) in (1..).zip(fleet.pis()) {
        fleet.write(number, b"small.jpg", b"bees\n", UNIX_EPOCH).unwrap();
    }
    for number in [2, 3, 4] {
        fleet.write(number, b"large.jpg", &large, UNIX_EPOCH).unwrap();
    }
    let offered = fleet.offered().unwrap();
    pipeline(&fleet, &["init"]).expect(0);

    let mut run = sync(&fleet);
    until_large_files_arrive(&mut run, &[frozen, cut_off, without_agent]);
    frozen.stop();
    assert!(cut_off.kill_sessions() > 0);
    kill_agent(without_agent);
    let ended = run.end().expect(3);
    let summary = ended.summary();

    for pi in [honest, last] {
        assert_eq!(outcome(&summary, pi).0, "done", "{summary}");
    }
    let told = [
        (frozen, "the device said nothing for 4 s"),
        (cut_off, "the connection was lost"),
        (without_agent, "the agent ended: killed by signal KILL"),
    ];
    for (pi, words) in told {
        let (outcome, class, reason) = outcome(&summary, pi);
        assert_eq!((outcome, class), ("failed", "transient"), "{}: {reason}", pi.name());
        assert!(reason.contains(words), "{}: {reason}", pi.name());
    }
    let hints = ["look at the tunnel's service on the device", "ClientAliveInterval"];
    for (name, hint) in fleet.absent().iter().zip(hints) {
        let report = report(&summary, name);
        assert_eq!(report["outcome"], "offline");
        assert!(report["hint"].as_str().unwrap().contains(hint), "{report}");
    }
    let large_path = |path: &&Vec<u8>| path.ends_with(b"large.jpg");
    assert_eq!(fleet.archived().unwrap().keys().filter(large_path).count(), 0, "no half file under a final name");
    assert_eq!(fleet.offered().unwrap().keys().filter(large_path).count(), 3);

    frozen.cont();
    pipeline(&fleet, &["sync", "--json"]).expect(0);
    all_is_done(&fleet, &offered);
}

/// Three Pis, each with a large file that is on its way when this returns.
fn three_in_the_middle() -> (Fleet, Running) {
    // The jump host's silence is noticed after 9 s, that of a device after 12 s.
    let fleet = pis(3, "12s").start().unwrap();
    let large = incompressible(LARGE_BYTES);
    for number in [1, 2, 3] {
        fleet.write(number, b"large.jpg", &large, UNIX_EPOCH).unwrap();
        fleet.write(number, b"small.jpg", b"bees\n", UNIX_EPOCH).unwrap();
    }
    pipeline(&fleet, &["init"]).expect(0);
    let mut run = sync(&fleet);
    until_large_files_arrive(&mut run, &fleet.pis().iter().collect::<Vec<_>>());
    (fleet, run)
}

#[test]
fn a_jump_host_that_dies_is_connected_once_more() {
    let (fleet, run) = three_in_the_middle();
    let offered = fleet.offered().unwrap();
    assert!(fleet.jump().kill_sessions() > 0);
    let ended = run.end().expect(0);
    let events = ended.events();
    let again: Vec<_> = events.iter().filter(|event| event["event"] == "jump_reconnecting").collect();
    assert_eq!(again.len(), 1, "{ended}");
    assert_eq!(again[0]["host"], "awsbox");
    for pi in fleet.pis() {
        assert_eq!(outcome(&ended.summary(), pi).0, "done", "{ended}");
    }
    all_is_done(&fleet, &offered);
}

#[test]
fn a_jump_host_that_freezes_ends_the_run_by_its_time_outs() {
    let (fleet, run) = three_in_the_middle();
    let mut offered = fleet.offered().unwrap();
    offered.extend(fleet.archived().unwrap());
    fleet.jump().stop();
    let summary = run.end().expect(4).summary();
    for pi in fleet.pis() {
        let (outcome, _, reason) = outcome(&summary, pi);
        assert_eq!(outcome, "offline", "{summary}");
        assert!(reason.starts_with("jump host 'awsbox' can't be used: "), "{reason}");
    }
    fleet.jump().cont();
    pipeline(&fleet, &["sync"]).expect(0);
    all_is_done(&fleet, &offered);
}

/// What a Pi does in place of its commands where its home is a small, or a noexec, file system of its own.
fn home_on(options: &str) -> String {
    format!(
        "exec unshare --map-root-user --mount sh -c \
         'mount -t tmpfs -o {options} tmpfs \"$HOME\" && exec /bin/sh -c \"$SSH_ORIGINAL_COMMAND\"'"
    )
}

#[test]
fn each_way_to_be_kept_out_names_what_to_do() {
    let settings = "settle: 0s\ntimeouts: { connect: 60s, idle: 60s }\n";
    let fleet = Fleet::builder().pis(8).tunnels(false).pi_config(PI_CONFIG).pipeline_config(settings).start().unwrap();
    for number in 1..=8 {
        fleet.write(number, b"bee.jpg", b"bees\n", UNIX_EPOCH).unwrap();
    }
    let offered = fleet.offered().unwrap();
    // Each Pi from the second on has trouble of its own; the last is fine.
    let known = fs::read_to_string(fleet.known_hosts()).unwrap();
    let key_of = |name: &str| known.lines().find_map(|line| line.strip_prefix(&format!("{name} "))).unwrap().to_owned();
    fs::write(fleet.known_hosts(), known.replace(&key_of("raspberry2"), &key_of("raspberry8"))).unwrap();
    fs::write(fleet.root().join("raspberry3/authorized_keys"), "").unwrap();
    misbehave(fleet.pi(4), &home_on("noexec"));
    misbehave(fleet.pi(5), &home_on("size=64k"));
    let shim = fleet.pi(6).home().join("uname");
    fs::write(&shim, "#!/bin/sh\necho armv6l\n").unwrap();
    fs::set_permissions(&shim, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    misbehave(fleet.pi(6), "PATH=\"$HOME:$PATH\" exec /bin/sh -c \"$SSH_ORIGINAL_COMMAND\"");
    misbehave(fleet.pi(7), "echo 'fortune: bees dance'; exit 0");

    pipeline(&fleet, &["init"]).expect(0);
    let summary = pipeline(&fleet, &["sync", "--json"]).expect(3).summary();
    let told = [
        (2, "host_key", "host 'raspberry2' is not trusted", "known_hosts"),
        (3, "config", "host 'raspberry3' does not let us in", "authorized_keys"),
        (4, "config", "programs in ~/.cache/pipeline can't be run", "without 'noexec'"),
        (5, "config", "there is no space for the agent", "free a few megabytes"),
        (6, "config", "no agent for a machine that calls itself 'armv6l'", "agents exist for"),
        (7, "config", "the device's shell answers something else: fortune: bees dance", "ssh HOST uname -m"),
    ];
    for (number, class, reason, hint) in told {
        let report = report(&summary, fleet.pi(number).name());
        let says = |field: &str, words: &str| report[field].as_str().is_some_and(|text| text.contains(words));
        assert_eq!((&report["outcome"], &report["class"]), (&"failed".into(), &class.into()), "{report}");
        assert!(says("reason", reason) && says("hint", hint), "{report}");
        assert!(!report["reason"].as_str().unwrap().contains('\n'), "{report}");
    }
    for number in [1, 8] {
        assert_eq!(outcome(&summary, fleet.pi(number)).0, "done", "{summary}");
    }
    let left = fleet.offered().unwrap();
    assert_eq!(left.len(), 6, "{:?}", left.keys());
    assert!(left.iter().all(|(path, facts)| offered.get(path) == Some(facts)));
}
