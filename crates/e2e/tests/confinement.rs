//! The programs under what the systemd units leave them, read from the units themselves: whatever is added there is tried here.
//!
//! There need be no systemd: the mounts are made as it would make them, the capabilities are taken away, and each system call
//! that was made is held against the unit's filter. Not tried: the user, devices, and what only systemd itself can set.

#![allow(clippy::unwrap_used)]

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use e2e::mounts::among_own_mounts;
use e2e::scene::{Scene, noise};
use e2e::{Ended, run};
use local_fleet::Fleet;

/// A unit, as far as this test understands it.
struct Unit(String);

impl Unit {
    fn read(name: &str) -> Unit {
        let systemd = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../systemd");
        Unit(fs::read_to_string(systemd.join(name)).unwrap())
    }

    /// What a key is set to, all its lines; panics where it is not there, since then the unit grants what this test relies on.
    fn words(&self, key: &str) -> Vec<&str> {
        let lines = self.0.lines().filter_map(|line| line.strip_prefix(key)?.strip_prefix('='));
        let words: Vec<_> = lines.flat_map(str::split_whitespace).collect();
        assert!(self.0.contains(&format!("\n{key}=")), "the unit does not set {key}=");
        words
    }

    /// What the shell does before the program starts. `writable` and `readable` are put back, as the drop-in has it.
    fn script(&self, fleet: &Path, writable: &[&Path], readable: &[&Path]) -> String {
        assert_eq!(self.words("ProtectSystem"), ["strict"]);
        assert_eq!(self.words("ProtectHome"), ["tmpfs"]);
        assert_eq!(self.words("PrivateTmp"), ["yes"]);
        assert_eq!(self.words("NoNewPrivileges"), ["yes"]);
        assert!(self.words("CapabilityBoundingSet").is_empty() && self.words("AmbientCapabilities").is_empty());
        let mut script = "set -eu\nmount -t tmpfs tmpfs /mnt\n".to_owned();
        let back = [fleet].into_iter().chain(writable.iter().copied()).chain(readable.iter().copied());
        for (number, path) in back.clone().enumerate() {
            let path = path.display();
            script += &format!("mkdir /mnt/{number}; mount --bind {path} /mnt/{number}\n");
        }
        script += "for at in $(findmnt -rno TARGET | grep -vE '^/(proc|sys|dev|mnt)(/|$)'); do mount -o remount,bind,ro $at; done\n";
        script += "for at in /tmp /var/tmp; do mount -t tmpfs tmpfs $at; done\n";
        script += "for at in /home /root; do mount -t tmpfs -o ro tmpfs $at; done\n";
        for (number, path) in back.enumerate() {
            let path = path.display();
            script += &format!("mkdir -p {path}; mount --bind /mnt/{number} {path}\n");
            if !writable.iter().any(|writable| writable.display().to_string() == path.to_string()) {
                script += &format!("mount -o remount,bind,ro {path}\n");
            }
        }
        for place in self.words("TemporaryFileSystem") {
            let (at, options) = place.split_once(':').unwrap();
            script += &format!("[ ! -d {at} ] || mount -t tmpfs -o {options} tmpfs {at}\n");
        }
        script += "exec setpriv --bounding-set=-all --inh-caps=-all --ambient-caps=-all --no-new-privs \"$@\"\n";
        script
    }

    /// Every system call that the filter lets through, as systemd on this machine understands it.
    fn allowed(&self) -> BTreeSet<String> {
        let mut allowed = BTreeSet::new();
        for word in self.words("SystemCallFilter") {
            match word.strip_prefix('~') {
                Some(word) => expand(word).iter().for_each(|call| _ = allowed.remove(call)),
                None => allowed.extend(expand(word)),
            }
        }
        allowed
    }

    /// Runs the program of the unit with `arguments` instead of its own, confined, and holds what it did against the filters.
    fn run(&self, scene: &Scene, arguments: &[&str], writable: &[&Path], readable: &[&Path]) -> Ended {
        let trace = Path::new("/dev/shm").join(format!("confined.{}", std::process::id()));
        let script = self.script(scene.fleet.root(), writable, readable);
        let program = scene.command();
        let mut confined = Command::new("unshare");
        confined
            .args(["--mount", "sh", "-c", &script, "sh", "strace", "-f", "-qq", "-e", "signal=none", "-o"])
            .arg(&trace);
        confined
            .arg("--")
            .arg(installed(scene, program.get_program()))
            .args(program.get_args())
            .args(arguments)
            .env_clear();
        confined.envs(program.get_envs().filter_map(|(name, value)| Some((name, value?))));
        let ended = run(&mut confined);
        let calls = fs::read_to_string(&trace).unwrap();
        fs::remove_file(&trace).unwrap();
        self.judge(&calls);
        ended
    }

    fn judge(&self, calls: &str) {
        let families = self.words("RestrictAddressFamilies");
        assert_eq!(self.words("MemoryDenyWriteExecute"), ["yes"]);
        let allowed = self.allowed();
        let mut made = BTreeSet::new();
        for line in calls.lines() {
            let call = line.split_once(' ').map_or("", |(_, call)| call.trim_start());
            let Some((name, args)) = call.split_once('(') else { continue };
            if name.starts_with('<') || !name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_') {
                continue;
            }
            made.insert(name.to_owned());
            if name == "socket" {
                assert!(families.iter().any(|family| args.starts_with(&format!("{family},"))), "{line}");
            }
            assert!(!(args.contains("PROT_WRITE") && args.contains("PROT_EXEC")), "{line}");
        }
        // SQLite hands its files over to their owner when it is root, as it may be here and never is in the unit.
        made.remove("fchown");
        assert!(made.len() > 20, "the trace says nothing: {made:?}");
        let forbidden: Vec<_> = made.difference(&allowed).collect();
        assert!(forbidden.is_empty(), "the unit's filter forbids {forbidden:?}");
    }
}

/// The program in a directory that the unit leaves in sight, with the agent beside it: where they were built may be hidden.
fn installed(scene: &Scene, built: &OsStr) -> PathBuf {
    let dir = scene.fleet.root().join("programs");
    fs::create_dir_all(&dir).unwrap();
    for name in ["pipeline", "pipeline-agent"] {
        fs::copy(Path::new(built).with_file_name(name), dir.join(name)).unwrap();
    }
    dir.join("pipeline")
}

/// The calls of a set, and of the sets in it; a call is a set of itself.
fn expand(word: &str) -> BTreeSet<String> {
    if !word.starts_with('@') {
        return BTreeSet::from([word.to_owned()]);
    }
    let said = Command::new("systemd-analyze").args(["--no-pager", "syscall-filter", word]).output().unwrap();
    let said = String::from_utf8(said.stdout).unwrap();
    // The first line is the set itself, and # begins a comment.
    let words = said.lines().skip(1).map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
    words.flat_map(expand).collect()
}

#[test]
fn sync_and_verify_do_their_work_in_what_the_units_leave_them() {
    if Command::new("systemd-analyze").arg("--version").output().is_err() {
        #[allow(clippy::print_stderr)] // how a test says that it tested nothing
        return eprintln!("not tested: systemd-analyze, which knows what the filters hold, is not here");
    }
    among_own_mounts(|| {
        let scene = Scene::new(Fleet::builder().pis(2));
        (1..=2).for_each(|pi| _ = scene.write(pi, "2026/a.jpg", &noise(300_000, pi as u64)));
        scene.write(1, "log.csv", b"time,weight\n");
        let ever_offered = scene.offered();
        let (storage, state) = (scene.fleet.storage(), scene.fleet.state_dir());
        let sync = Unit::read("pipeline-sync.service");

        // Without its drop-in the unit knows no storage it may write to.
        let refused = sync.run(&scene, &["sync", "--json"], &[&state], &[]).expect(5);
        assert!(refused.stderr.contains("read-only") || refused.stderr.contains("Read-only"), "{refused}");
        assert_eq!(scene.offered(), ever_offered);

        sync.run(&scene, &["sync", "--json"], &[&state, &storage], &[]).expect(0);
        scene.assert_all_received(&ever_offered);

        // The audit writes into the catalog alone.
        let verify = Unit::read("pipeline-verify.service");
        let words: Vec<&str> = verify.words("ExecStart").into_iter().skip(1).collect();
        assert_eq!(words[..2], ["verify", "--budget"]);
        verify.run(&scene, &words, &[&state], &[&storage]).expect(0);
    });
}
