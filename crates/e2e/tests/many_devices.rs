//! Thirty devices behind one jump host with the limits that Debian ships: one connection serves them all.

#![allow(clippy::unwrap_used)]

use std::fs;
use std::time::UNIX_EPOCH;

use e2e::run;
use local_fleet::Fleet;

const DEVICES: usize = 30;
/// `MaxStartups` and `MaxSessions`, where sshd_config does not say otherwise. The jump host's does not.
const DEFAULTS: [&str; 2] = ["maxstartups 10:30:100", "maxsessions 10"];

/// How many connections the jump host has let in, and how many it has turned away.
fn connections(fleet: &Fleet) -> (usize, usize) {
    let log = fs::read_to_string(fleet.jump().log()).unwrap();
    (log.matches("Accepted publickey").count(), log.matches("MaxStartups").count())
}

#[test]
fn one_connection_serves_thirty_devices() {
    // Time-outs are not what this is about: thirty key exchanges at once take their time on a busy computer.
    let settings = "timeouts: { connect: 90s, idle: 90s }\nsettle: 0s\n";
    let fleet = Fleet::builder().pis(DEVICES).tunnels(false).pipeline_config(settings).start().unwrap();
    let mut effective = std::process::Command::new("/usr/sbin/sshd");
    let config = fleet.jump().log().with_file_name("sshd_config");
    let effective = run(effective.args(["-T", "-f"]).arg(config)).expect(0).stdout;
    assert!(DEFAULTS.iter().all(|line| effective.lines().any(|effective| effective == *line)), "{effective}");

    run(fleet.command("pipeline").unwrap().arg("init")).expect(0);
    for jobs in [8, DEVICES] {
        for number in 1..=DEVICES {
            fleet.write(number, format!("jobs{jobs}.jpg").as_bytes(), b"bees\n", UNIX_EPOCH).unwrap();
        }
        let offered = fleet.offered().unwrap();
        assert_eq!(offered.len(), DEVICES);
        let before = connections(&fleet);
        let sync = run(fleet.command("pipeline").unwrap().args(["sync", "--json", "--jobs", &jobs.to_string()]));
        let summary = sync.expect(0).summary();
        for device in summary["devices"].as_array().unwrap() {
            assert_eq!((&device["outcome"], &device["removed"]), (&"done".into(), &1.into()), "{device}");
        }
        let archived = fleet.archived().unwrap();
        assert!(offered.iter().all(|(path, facts)| archived.get(path) == Some(facts)), "{archived:?}");
        assert!(fleet.offered().unwrap().is_empty());
        assert_eq!(connections(&fleet), (before.0 + 1, before.1), "{jobs} jobs, one connection, none turned away");
    }
}
