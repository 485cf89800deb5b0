//! keytool killed on its way: what others have stays, no line is half there, and the same command run again does the rest.

use std::fs;
use std::process::Stdio;

use local_fleet::{Fleet, Machine};

use crate::scene::{FOREIGN, Scene};
use crate::support::{KILLED, strace, was_killed};

/// One command, and the file that it changes.
struct Trial<'a> {
    scene: &'a Scene,
    args: Vec<&'a str>,
    machine: &'a Machine,
    /// Of so many packets it is killed at one.
    every: usize,
}

impl Trial<'_> {
    /// Kills it as it sends a packet or begins a thread; what it comes to in the end must be what a run comes to that nobody has
    /// killed. Returns how often it was killed.
    fn at_steps(&self, is_done: impl Fn(&str) -> bool) -> usize {
        let file = self.machine.home().join(".ssh/authorized_keys");
        let before = fs::read_to_string(&file).unwrap();
        assert!(!is_done(&before), "{before}");
        let mut kills = 0;
        // Packets of a login, of a command, of what the script there reads: each at another place.
        for (call, every) in [("clone3", 2), ("sendto", self.every)] {
            // Every single one was tried once; a few of them tell.
            for count in (every..).step_by(every) {
                let count = u32::try_from(count).unwrap();
                fs::write(&file, &before).unwrap();
                let program = self.scene.command(&self.args);
                let mut command = strace(&program, call, KILLED, count);
                let status = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).status().unwrap();
                if !was_killed(status) {
                    break;
                }
                kills += 1;
                // What the machine does of it ends by itself: it is whole at every instant.
                let torn = fs::read_to_string(&file).unwrap();
                assert!(torn == before || is_done(&torn), "{call} {count}: {torn}");
                let (code, said) = self.scene.run(&self.args, "");
                assert_eq!(code, 0, "{call} {count}: {said}");
                let after = fs::read_to_string(&file).unwrap();
                assert!(is_done(&after) && after.starts_with(FOREIGN), "{call} {count}: {after}");
            }
        }
        let names = fs::read_dir(file.parent().unwrap()).unwrap().map(|entry| entry.unwrap().file_name());
        let names: Vec<_> = names.filter(|name| name.to_str().unwrap().starts_with(".authorized")).collect();
        assert!(names.is_empty(), "{names:?}");
        kills
    }
}

#[test]
fn grants_and_tunnels() {
    let scene = Scene::new(Fleet::builder().ids(&[31]), &[31]);
    let (pi, jump) = (scene.fleet.pi(31), scene.fleet.jump());
    let [alice, tunnel] = ["alice", "raspberry31-tunnel"].map(|name| {
        let file = scene.fleet.home().join(".ssh").join(name);
        scene.make_key(&file);
        file.with_extension("pub").to_str().unwrap().to_owned()
    });
    // One of the files goes aside on the way.
    let words = |file: &str| fs::read_to_string(file).unwrap().split(' ').nth(1).unwrap().to_owned();
    let (alice_key, tunnel_key) = (words(&alice), words(&tunnel));
    let has = |text: &str, key: &str| text.lines().filter(|line| line.contains(key)).count();
    for (args, machine, key, count) in [
        (vec!["grant", "31", "--key", &alice, "--expires", "7d"], pi, &alice_key, 1),
        (vec!["revoke", "31", "--key", &alice], pi, &alice_key, 0),
        (vec!["tunnel", "31", "--install-jump"], jump, &tunnel_key, 1),
        (vec!["tunnel", "31", "--revoke-jump"], jump, &tunnel_key, 0),
    ] {
        // The way to a Pi is two logins long.
        let every = if machine.name() == pi.name() { 11 } else { 6 };
        let trial = Trial { scene: &scene, args, machine, every };
        let kills = trial.at_steps(|text| has(text, key) == count);
        assert!(kills >= 3, "{:?}: {kills}", trial.args);
    }
}
