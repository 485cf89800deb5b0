//! keytool killed, or out of room, at any step: nothing is half done, and the same command run again does the rest.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use local_fleet::{Fleet, Machine, account};

use crate::scene::{FOREIGN, JUMP_PASSWORD, PI_PASSWORD, Scene, authorized, content, fingerprint, public_key, run};

/// Files here, and steps there: each connection and each step has threads of its own.
const CALLS: [&str; 4] = ["mkdir", "renameat2", "rename", "clone3"];

const CONFIG: &str = "# mine\nHost other\n  HostName iot.example.org\n";
const KNOWN_HOSTS: &str =
    "iot.example.org ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJ0kt/FwBgh/P55Xn63t1yKc6G332TZpyanZM2lRXOLS";

/// A command that is killed again and again, each time from the same beginning.
struct Trial<'a> {
    scene: &'a Scene,
    args: Vec<&'a str>,
    password: &'a str,
    /// Where it is killed.
    calls: Vec<&'static str>,
    /// Whose authorized_keys it changes, and what was in there.
    there: (&'a Machine, String),
    start: PathBuf,
}

impl<'a> Trial<'a> {
    /// Begins with what is there now.
    fn new(scene: &'a Scene, args: Vec<&'a str>, password: &'a str, machine: &'a Machine) -> Trial<'a> {
        let start = scene.fleet.root().join("start");
        copy(&scene.fleet.home(), &start);
        Trial { scene, args, password, calls: CALLS.to_vec(), there: (machine, authorized(machine)), start }
    }

    fn reset(&self) {
        copy(&self.start, &self.scene.fleet.home());
        account::authorize(&self.there.0.home(), &self.there.1).unwrap();
    }

    /// Kills it at each step; `torn` looks at what it left, `done` at what the next run made of it. Returns how often.
    fn at_each_step(&self, torn: impl Fn(), done: impl Fn()) -> BTreeMap<&'static str, u32> {
        let mut kills = BTreeMap::new();
        for &call in &self.calls {
            for count in 1.. {
                self.reset();
                if !self.scene.killed(&self.args, self.password, call, count) {
                    break;
                }
                self.what_was_there_stays();
                torn();
                self.scene.keytool(&self.args, self.password).expect(0);
                self.what_was_there_stays();
                self.nothing_is_left_over();
                done();
                *kills.entry(call).or_insert(0) += 1;
            }
        }
        // A third time there is nothing to do.
        let before = content(&self.scene.fleet.home());
        self.scene.keytool(&self.args, self.password).expect(0);
        assert_eq!(content(&self.scene.fleet.home()), before);
        kills
    }

    /// The user's lines, and those of others on the machine.
    fn what_was_there_stays(&self) {
        let read = |name: &str| fs::read_to_string(self.scene.home(name)).unwrap();
        let (config, known_hosts, there) = (read(".ssh/config"), read(".ssh/known_hosts"), authorized(self.there.0));
        let included = format!("Include config.d/pipeline.conf\n{CONFIG}");
        assert!(config == CONFIG || config == included, "{config}");
        assert!(known_hosts.starts_with(KNOWN_HOSTS), "{known_hosts}");
        assert!(there == FOREIGN || there.starts_with(&format!("{FOREIGN}\n")), "{there}");
        for (name, mode) in [("", 0o700), ("/config", 0o640), ("/known_hosts", 0o600)] {
            let metadata = fs::metadata(self.scene.home(&format!(".ssh{name}"))).unwrap();
            assert_eq!(metadata.permissions().mode() & 0o777, mode, "{name}");
        }
    }

    /// Every key has its other half, is private, and lies under its name.
    fn nothing_is_left_over(&self) {
        for entry in fs::read_dir(self.scene.home(".ssh")).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_str().unwrap();
            assert!(!name.starts_with('.'), "{name}");
            if let Some(private) = name.strip_suffix(".pub") {
                let mode = fs::metadata(path.with_file_name(private)).unwrap().permissions().mode();
                assert_eq!(mode & 0o777, 0o600, "{private}");
            } else if fs::read_to_string(&path).is_ok_and(|text| text.contains("PRIVATE KEY")) {
                assert!(path.with_file_name(format!("{name}.pub")).exists(), "{name}");
            }
        }
    }
}

fn copy(from: &Path, to: &Path) {
    if to.exists() {
        fs::remove_dir_all(to).unwrap();
    }
    let mut cp = Command::new("cp");
    cp.arg("-a").arg(from).arg(to);
    run(cp, "").expect(0);
}

/// A fleet of one, whose collector has a config of its own, and others' lines in its authorized_keys.
fn scene() -> Scene {
    let scene = Scene::new(Fleet::builder().pis(1).ids(&[31]));
    fs::create_dir_all(scene.home(".ssh")).unwrap();
    for (name, text, mode) in [("config", CONFIG, 0o640), ("known_hosts", KNOWN_HOSTS, 0o600)] {
        let file = scene.home(&format!(".ssh/{name}"));
        fs::write(&file, text).unwrap();
        fs::set_permissions(file, PermissionsExt::from_mode(mode)).unwrap();
    }
    fs::set_permissions(scene.home(".ssh"), PermissionsExt::from_mode(0o700)).unwrap();
    for machine in [scene.fleet.jump(), scene.fleet.pi(31)] {
        account::authorize(&machine.home(), FOREIGN).unwrap();
    }
    scene
}

/// How often a name is in known_hosts, by OpenSSH's own word.
fn pins(scene: &Scene, name: &str) -> usize {
    let mut keygen = Command::new("ssh-keygen");
    keygen.args(["-F", name, "-f"]).arg(scene.home(".ssh/known_hosts"));
    run(keygen, "").stdout().lines().filter(|line| line.starts_with("# Host ")).count()
}

fn entries(scene: &Scene) -> String {
    fs::read_to_string(scene.home(".ssh/config.d/pipeline.conf")).unwrap_or_default()
}

#[test]
fn init() {
    let scene = scene();
    let (jump, init, listed) = (scene.fleet.jump(), scene.init_args(), fingerprint(scene.fleet.jump()));
    let mut args: Vec<&str> = init.iter().map(String::as_str).collect();
    args.extend(["--fingerprint", &listed, "--password-stdin"]);
    let trial = Trial::new(&scene, args, JUMP_PASSWORD, jump);
    let name = format!("[127.0.0.1]:{}", jump.port());
    let torn = || {
        if !scene.home(".ssh/awsbox.pub").exists() {
            assert_eq!((authorized(jump).as_str(), entries(&scene).as_str()), (FOREIGN, ""));
        }
        // Pis are taken in by a jump host that works.
        assert!(!scene.fleet.config_file().exists() || authorized(jump).ends_with(&public_key(&scene, "awsbox")));
    };
    let done = || {
        assert_eq!(authorized(jump), format!("{FOREIGN}\n{}", public_key(&scene, "awsbox")));
        assert_eq!((pins(&scene, &name), entries(&scene).matches("Host awsbox\n").count()), (1, 1));
        let yaml = fs::read_to_string(scene.fleet.config_file()).unwrap();
        assert_eq!(yaml.matches("onboarding:").count(), 1, "{yaml}");
    };
    let kills = trial.at_each_step(torn, done);
    // For entries and configuration; a pair and the configuration; known_hosts, the entries, the line that includes them.
    assert_eq!((kills["mkdir"], kills["renameat2"], kills["rename"]), (3, 3, 3), "{kills:?}");
    assert!(kills["clone3"] >= 5, "{kills:?}");
    scene.ssh(&["awsbox", "true"]).expect(0);
}

#[test]
fn add_pi_and_remove_pi() {
    let scene = scene();
    scene.init(&[]).expect(0);
    let (pi, list) = (scene.fleet.pi(31), scene.fingerprints());
    let (jump_pins, jump_entry) = (fs::read_to_string(scene.home(".ssh/known_hosts")).unwrap(), entries(&scene));
    let add = vec!["add-pi", "31", "--fingerprints", list.to_str().unwrap(), "--password-stdin"];
    let trial = Trial::new(&scene, add, PI_PASSWORD, pi);
    let torn = || {
        if !scene.home(".ssh/raspberry31.pub").exists() {
            assert_eq!((authorized(pi), entries(&scene)), (FOREIGN.to_owned(), jump_entry.clone()));
        }
    };
    let done = || {
        assert_eq!(authorized(pi), format!("{FOREIGN}\n{}", public_key(&scene, "raspberry31")));
        assert_eq!((pins(&scene, "raspberry31"), entries(&scene).matches("Host raspberry31\n").count()), (1, 1));
    };
    let kills = trial.at_each_step(torn, done);
    // A pair; known_hosts and the entries.
    assert_eq!((kills.get("mkdir"), kills["renameat2"], kills["rename"]), (None, 2, 2), "{kills:?}");
    assert!(kills["clone3"] >= 5, "{kills:?}");
    scene.ssh(&["raspberry31", "true"]).expect(0);

    let (private, public) = (fs::read(scene.home(".ssh/raspberry31")).unwrap(), public_key(&scene, "raspberry31"));
    let mut trial = Trial::new(&scene, vec!["remove-pi", "31"], "", pi);
    trial.calls.extend(["unlink", "flock"]);
    // Wherever it is by then.
    let keys_left = || {
        let files = fs::read_dir(scene.home(".ssh")).unwrap().map(|entry| entry.unwrap().path());
        files.filter(|file| fs::read(file).is_ok_and(|bytes| bytes == private)).collect::<Vec<PathBuf>>()
    };
    let torn = || {
        let keys = keys_left();
        assert_eq!(keys.len(), 1, "{keys:?}");
        let in_place = keys[0].ends_with("raspberry31");
        assert!(in_place || (authorized(pi) == format!("{FOREIGN}\n") && entries(&scene) == jump_entry));
    };
    let done = || {
        assert_eq!(authorized(pi), format!("{FOREIGN}\n"));
        assert_eq!(fs::read_to_string(scene.home(".ssh/known_hosts")).unwrap(), jump_pins);
        assert_eq!(entries(&scene), jump_entry);
        let [key] = &keys_left()[..] else { panic!("{:?}", keys_left()) };
        assert!(key.to_str().unwrap().contains("/raspberry31.removed-"), "{key:?}");
        assert_eq!(
            fs::read_to_string(key.with_file_name(format!("{}.pub", key.file_name().unwrap().to_str().unwrap())))
                .unwrap(),
            public
        );
        assert!(
            !scene.home(".ssh/raspberry31.pub").exists() && !scene.home(".ssh/raspberry31.keytool-removing").exists()
        );
    };
    let kills = trial.at_each_step(torn, done);
    // The pair; the note that it has begun, or the entries, and known_hosts.
    assert_eq!((kills["renameat2"], kills["rename"]), (2, 2), "{kills:?}");
    // What follows when its line is gone there; and when all but the note is.
    assert!(kills["flock"] >= 2 && kills["unlink"] >= 3, "{kills:?}");
    assert!(kills["clone3"] >= 3, "{kills:?}");
}

/// In a namespace of its own: a small disk below `~/.ssh`, filled up, then given room again.
const FULL_DISK: &str = r#"
    cp -a "$HOME/.ssh" "$HOME/kept" && mount -t tmpfs -o size=64k tmpfs "$HOME/.ssh" && cp -a "$HOME/kept/." "$HOME/.ssh" || exit 99
    head -c 1000000 /dev/zero > "$HOME/.ssh/filler" 2> /dev/null
    printf %s "$PASSWORD" | "$@"; echo "full: exit $?"
    cat "$PI/.ssh/authorized_keys"; echo "(end)"; ls "$HOME/.ssh"
    rm "$HOME/.ssh/filler"
    printf %s "$PASSWORD" | "$@"; echo "with room: exit $?"
"#;

#[test]
fn without_room() {
    let scene = scene();
    scene.init(&[]).expect(0);
    let (pi, home, list) = (scene.fleet.pi(31), scene.fleet.home(), scene.fingerprints());
    let args = ["add-pi", "31", "--fingerprints", list.to_str().unwrap(), "--password-stdin"];
    let program = scene.fleet.command("keytool").unwrap();
    let mut shell = Command::new("unshare");
    shell.args(["--user", "--map-root-user", "--mount", "--", "sh", "-c", FULL_DISK, "sh"]);
    shell.arg(program.get_program()).args(args).env("HOME", &home).env("PI", pi.home()).env("PASSWORD", PI_PASSWORD);
    let ended = run(shell, "").expect(0);
    let (full, room) = ended.stdout().split_once("(end)").map(|(a, b)| (a.to_owned(), b.to_owned())).unwrap();
    assert!(
        full.contains("full: exit 5") && full.contains(FOREIGN) && !full.contains("raspberry31\n"),
        "{}",
        ended.text()
    );
    assert!(room.contains("with room: exit 0"), "{}", ended.text());
    assert_eq!(authorized(pi).lines().count(), FOREIGN.lines().count() + 1);
}
