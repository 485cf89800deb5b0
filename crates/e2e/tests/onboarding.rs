//! From nothing to files in the storage: `keytool init`, `keytool add-pi`, `pipeline init`, `pipeline sync`.
//!
//! The collector is an ordinary user with an empty home, the machines let people in by password, and each Pi holds its tunnel.
//! What keytool writes is all that there is, for OpenSSH's own `ssh` as for `pipeline`.

#![allow(clippy::unwrap_used)]

use std::fs;
use std::io::{Seek, Write};
use std::process::{Command, Stdio};
use std::time::{Duration, SystemTime};

use e2e::scene::{Scene, Tree};
use e2e::{Ended, run, run_with};
use local_fleet::{Fleet, Machine, account};

const JUMP_PASSWORD: &str = "open sesame, bitte schön";
const PI_PASSWORD: &str = "raspberry-7f3a";
const IDS: [u16; 3] = [31, 34, 35];

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

#[test]
fn from_nothing_to_a_sync_with_keytool_alone() {
    let fleet = Fleet::builder().pis(IDS.len()).ids(&IDS).passwords(JUMP_PASSWORD, PI_PASSWORD).start().unwrap();
    let scene = Scene { fleet };
    let fleet = &scene.fleet;
    let two_hours_ago = SystemTime::now() - Duration::from_secs(7200);
    for id in IDS {
        let photo = vec![u8::try_from(id).unwrap(); 100_000];
        fleet.write(id.into(), b"2026-11-21/bee 1.jpg", &photo, two_hours_ago).unwrap();
        fleet.write(id.into(), b"temperature.csv", b"12:00,21.5\n", two_hours_ago).unwrap();
    }
    let offered: Tree = scene.offered();
    let tunnels = fs::read_to_string(fleet.jump().home().join(".ssh/authorized_keys")).unwrap();
    assert_eq!(tunnels.lines().count(), IDS.len());

    // The jump host, and the configuration for both programs.
    let (port, base_port) = (fleet.jump().port().to_string(), fleet.base_port().to_string());
    let storage = fleet.storage().display().to_string();
    let mut args =
        vec!["init", "--host", "127.0.0.1", "--port", &port, "--user", account::JUMP_USER, "--password-stdin"];
    let shown = fingerprint(fleet.jump());
    args.extend(["--fingerprint", &shown, "--base-port", &base_port]);
    args.extend(["--source", "/home/pi/beephotos", "--storage", &storage]);
    at_home(fleet, "keytool", &args, JUMP_PASSWORD).expect(0);
    let authorized = fs::read_to_string(fleet.jump().home().join(".ssh/authorized_keys")).unwrap();
    assert!(authorized.starts_with(&tunnels), "the keys of the tunnels are as they were: {authorized}");

    // The Pis.
    let list = fleet.root().join("fingerprints");
    let lines = fleet.pis().iter().map(|pi| format!("{} {}\n", pi.name(), fingerprint(pi)));
    fs::write(&list, lines.collect::<String>()).unwrap();
    let add = ["add-pi", "31", "34", "35", "--fingerprints", list.to_str().unwrap(), "--yes", "--password-stdin"];
    at_home(fleet, "keytool", &add, PI_PASSWORD).expect(0);
    for pi in fleet.pis() {
        at_home(fleet, "ssh", &["-o", "BatchMode=yes", pi.name(), "true"], "").expect(0);
    }

    // On real Pis the source is the same directory everywhere.
    let sources = fleet.pis().iter().map(|pi| format!("  {}: {{ source: {} }}\n", pi.name(), pi.source().display()));
    let config = fs::read_to_string(fleet.config_file()).unwrap();
    fs::write(fleet.config_file(), format!("{config}\ndevices:\n{}", sources.collect::<String>())).unwrap();

    at_home(fleet, "pipeline", &["init"], "").expect(0);
    let sync = at_home(fleet, "pipeline", &["sync", "--json"], "").expect(0);
    let summary = sync.summary();
    assert_eq!((&summary["received"], &summary["removed"]), (&offered.len().into(), &offered.len().into()), "{sync}");
    scene.assert_all_received(&offered);

    // A second time there is nothing left to do, for either program.
    at_home(fleet, "keytool", &["add-pi", "31", "34", "35"], "").expect(0);
    at_home(fleet, "pipeline", &["sync"], "").expect(0);
    scene.assert_all_received(&offered);
    let secrets = [JUMP_PASSWORD, PI_PASSWORD].map(str::as_bytes);
    for (path, _) in local_fleet::snapshot(&fleet.home()).unwrap() {
        let path = fleet.home().join(String::from_utf8(path).unwrap());
        let content = fs::read(&path).unwrap();
        let holds = |secret: &[u8]| content.windows(secret.len()).any(|window| window == secret);
        assert!(!secrets.into_iter().any(holds), "a password is in {}", path.display());
    }
}
