//! Versions that don't understand each other: an upgraded collector meets Pis with the old agent, an old one meets Pis with a newer
//! agent, and a person goes back. The newer version is this one, built a second time with another number of the protocol.

#![allow(clippy::unwrap_used)]

use std::fs;
use std::io::{Seek, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, SystemTime};

use e2e::scene::{Scene, noise};
use e2e::truth::assert_all_true;
use e2e::{Ended, report, run, run_with};
use local_fleet::{Fleet, Machine, account};
use pipeline_core::wire::PROTOCOL;

const JUMP_PASSWORD: &str = "open sesame";
const PI_PASSWORD: &str = "raspberry-7f3a";

/// What lies where `pipeline` puts agents.
fn agents_on(pi: &Machine) -> Vec<String> {
    let entries = fs::read_dir(pi.home().join(".cache/pipeline")).into_iter().flatten();
    entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
}

/// What an agent of one protocol says to a collector of another.
fn refusal(collector: u16, agent: u16) -> String {
    format!("the collector speaks protocol {collector}, this agent {agent}")
}

#[test]
fn collectors_of_two_versions_serve_one_pi_in_turns() {
    let mut scene = Scene::new(Fleet::builder().pis(2).pipeline_config("settle: 1s\n"));
    let mut ever = scene.offered();
    let mut names = Vec::new();
    // Whether the newer version runs, and whether the agent has to be replaced for that.
    for (visit, (newer, replaced)) in
        [(false, true), (true, true), (true, false), (false, true), (false, false), (true, true)]
            .into_iter()
            .enumerate()
    {
        for pi in [1, 2] {
            scene.write(pi, &format!("visit {visit}.jpg"), &noise(200_000, visit as u64));
            scene.write(pi, "grows.csv", &noise(50_000 * (visit + 1), 9));
        }
        ever.extend(scene.offered());
        scene.fleet.upgrade(newer);
        let synced = scene.sync().expect(0);
        assert_eq!(synced.events_of("agent_installed").len(), if replaced { 2 } else { 0 }, "{synced}");
        assert!(synced.events_of("fell_back").is_empty(), "{synced}");
        scene.assert_all_received(&ever);
        assert_all_true(&scene.fleet);
        let there = agents_on(scene.fleet.pi(1));
        assert_eq!((there.len(), &there), (1, &agents_on(scene.fleet.pi(2))));
        names.extend(there);
    }
    assert_eq!((&names[0], &names[1]), (&names[3], &names[5]));
    assert_ne!(names[0], names[1]);

    // An upgrade that has left the old agents where they were: nothing is taken, and nothing lost.
    let old = scene.fleet.root().join("old agents");
    fs::create_dir(&old).unwrap();
    scene.fleet.upgrade(false);
    let agent = scene.fleet.command("pipeline-agent").unwrap();
    fs::copy(agent.get_program(), old.join("pipeline-agent")).unwrap();
    scene.reconfigure("settle: 1s\n", &format!("settle: 1s\nagent_dir: {}\n", old.display()));
    scene.fleet.upgrade(true);
    scene.write(1, "one more.jpg", b"bee");
    let before = scene.offered();
    let failed = scene.sync().expect(3);
    let of_first = report(&failed.summary(), "raspberry1").clone();
    let words = refusal(PROTOCOL + 1, PROTOCOL);
    assert_eq!(of_first["reason"], format!("the agent that we put there does not serve us: {words}"), "{failed}");
    let hint = of_first["hint"].as_str().unwrap();
    assert!(hint.contains(&format!("into {}, or take `agent_dir` out", old.display())), "{hint}");
    assert_eq!(scene.offered(), before);
    scene.reconfigure(&format!("agent_dir: {}\n", old.display()), "");
    scene.sync().expect(0);
    ever.extend(before);
    scene.assert_all_received(&ever);
}

/// What a person reads on the machine's own screen.
fn fingerprint(machine: &Machine) -> String {
    let key = machine.log().with_file_name("host_key.pub");
    let said = run(Command::new("ssh-keygen").arg("-lf").arg(key)).expect(0).stdout;
    said.split(' ').nth(1).unwrap().to_owned()
}

/// A program as the collector's user runs it, with `input` on stdin.
fn at_home(fleet: &Fleet, program: &str, args: &[&str], input: &str) -> Ended {
    let mut stdin = tempfile::tempfile().unwrap();
    stdin.write_all(input.as_bytes()).unwrap();
    stdin.rewind().unwrap();
    run_with(fleet.at_home(program).unwrap().args(args), Stdio::from(stdin))
}

/// A jump host and a Pi whose key is bound to the agent of this version.
fn with_bound_key() -> Fleet {
    let builder = Fleet::builder().pis(1).ids(&[31]).tunnels(false).passwords(JUMP_PASSWORD, PI_PASSWORD);
    let fleet = builder.start().unwrap();
    let (port, base_port) = (fleet.jump().port().to_string(), fleet.base_port().to_string());
    let (source, storage) = (fleet.pi(31).source(), fleet.storage());
    let text = |path: &Path| path.to_str().unwrap().to_owned();
    let (source, storage) = (text(&source), text(&storage));
    let shown = fingerprint(fleet.jump());
    let mut args = vec!["init", "--host", "127.0.0.1", "--port", &port, "--user", account::JUMP_USER];
    args.extend(["--password-stdin", "--fingerprint", &shown, "--base-port", &base_port]);
    args.extend(["--source", &source, "--storage", &storage]);
    at_home(&fleet, "keytool", &args, JUMP_PASSWORD).expect(0);
    let list = fleet.root().join("fingerprints");
    fs::write(&list, format!("raspberry31 {}\n", fingerprint(fleet.pi(31)))).unwrap();
    let list = text(&list);
    let add = ["add-pi", "31", "--restrict", &source, "--fingerprints", &list, "--yes", "--password-stdin"];
    at_home(&fleet, "keytool", &add, PI_PASSWORD).expect(0);
    at_home(&fleet, "pipeline", &["init"], "").expect(0);
    fleet
}

#[test]
fn a_bound_key_says_which_version_it_starts_until_it_is_bound_again() {
    let mut scene = Scene { fleet: with_bound_key() };
    let source = scene.fleet.pi(31).source();
    let write = |scene: &Scene, name: &str| {
        let two_hours_ago = SystemTime::now() - Duration::from_secs(7200);
        scene.fleet.write(31, name.as_bytes(), name.as_bytes(), two_hours_ago).unwrap();
    };
    write(&scene, "before.jpg");
    let mut ever = scene.offered();
    at_home(&scene.fleet, "pipeline", &["sync"], "").expect(0);
    scene.assert_all_received(&ever);

    // After an upgrade, and after going back from one.
    for (newer, ours, theirs) in [(true, PROTOCOL + 1, PROTOCOL), (false, PROTOCOL, PROTOCOL + 1)] {
        scene.fleet.upgrade(newer);
        write(&scene, if newer { "after.jpg" } else { "back.jpg" });
        let waits = scene.offered();
        let reason = format!("the agent that the key is bound to does not serve us: {}", refusal(ours, theirs));
        for command in ["check", "sync"] {
            let failed = at_home(&scene.fleet, "pipeline", &[command], "").expect(3);
            let said = format!("{}{}", failed.stdout, failed.stderr);
            assert!(said.contains(&reason) && said.contains("`keytool add-pi` with --restrict"), "{failed}");
        }
        assert_eq!(scene.offered(), waits);
        let checked = at_home(&scene.fleet, "keytool", &["check", "31"], "").expect(3);
        assert!(checked.stdout.contains(&reason) || checked.stderr.contains(&reason), "{checked}");
        // What the hint says, and nobody was at the Pi.
        let again = ["add-pi", "31", "--restrict", source.to_str().unwrap(), "--password-stdin"];
        at_home(&scene.fleet, "keytool", &again, PI_PASSWORD).expect(0);
        at_home(&scene.fleet, "pipeline", &["sync"], "").expect(0);
        ever.extend(waits);
        scene.assert_all_received(&ever);
    }
}
