//! Machines taken in for real: sshds with password checks by PAM, an OpenSSH `ssh` that judges what was written, and everything
//! that can go wrong on the way.

#![allow(clippy::unwrap_used)]

mod support;

use std::fmt::Write as _;
use std::fs;
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use local_fleet::{Fleet, Machine, account};
use support::terminal::Terminal;

const JUMP_PASSWORD: &str = "open sesame, bitte schön";
const PI_PASSWORD: &str = "raspberry-7f3a";

/// Three keys with options and comments, and no line break at the end.
const FOREIGN: &str = "# of the house\n\
    from=\"10.0.0.0/8\",command=\"echo \\\"hi, you\\\"\"  ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIHrdV4yNWBkQ7zJdC0qyv4kn6Eqzqpz9giqA8VEUqjRF bob's key\r\n\
    \n\
    restrict,port-forwarding ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJ0kt/FwBgh/P55Xn63t1yKc6G332TZpyanZM2lRXOLS x  y\n\
    ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIHrdV4yNWBkQ7zJdC0qyv4kn6Eqzqpz9giqA8VEUqjRG 'quoted' $(reboot)";

/// A fleet whose collector has nothing.
struct Scene {
    fleet: Fleet,
}

/// A program that has ended.
struct Ended {
    shown: String,
    output: Output,
}

impl Ended {
    #[track_caller]
    fn expect(self, code: i32) -> Ended {
        assert_eq!(self.output.status.code(), Some(code), "{}", self.text());
        self
    }

    /// Asserts that all of these are in what it said.
    #[track_caller]
    fn says(self, words: &[&str]) -> Ended {
        let text = self.text();
        for word in words {
            assert!(text.contains(word), "'{word}' is not in:\n{text}");
        }
        self
    }

    fn stdout(&self) -> String {
        String::from_utf8(self.output.stdout.clone()).unwrap()
    }

    fn text(&self) -> String {
        let (out, err) = (&self.output.stdout, &self.output.stderr);
        format!(
            "{}\n{}\n{}{}",
            self.shown,
            self.output.status,
            String::from_utf8_lossy(out),
            String::from_utf8_lossy(err)
        )
    }
}

fn run(mut command: Command, stdin: &str) -> Ended {
    let shown = format!("{command:?}");
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    // One that fails early reads nothing.
    let _closed = child.stdin.take().unwrap().write_all(stdin.as_bytes());
    Ended { shown, output: child.wait_with_output().unwrap() }
}

/// What ssh-keygen says of a machine's own host key: the fingerprint.
fn fingerprint(machine: &Machine) -> String {
    let key = machine.log().with_file_name("host_key.pub");
    let mut keygen = Command::new("ssh-keygen");
    keygen.arg("-lf").arg(key);
    run(keygen, "").expect(0).stdout().split(' ').nth(1).unwrap().to_owned()
}

impl Scene {
    fn new(builder: local_fleet::Builder) -> Scene {
        Scene { fleet: builder.tunnels(false).passwords(JUMP_PASSWORD, PI_PASSWORD).start().unwrap() }
    }

    fn keytool(&self, args: &[&str], stdin: &str) -> Ended {
        let mut command = self.fleet.command("keytool").unwrap();
        command.args(args);
        run(command, stdin)
    }

    /// What `init` must be told here.
    fn init_args(&self) -> Vec<String> {
        let (port, base_port) = (self.fleet.jump().port().to_string(), self.fleet.base_port().to_string());
        let (source, storage) = (self.fleet.pis()[0].source(), self.fleet.storage());
        let args = ["init", "--host", "127.0.0.1", "--port", &port, "--user", account::JUMP_USER];
        let config = ["--base-port", &base_port, "--source", source.to_str().unwrap()];
        let storage = ["--storage", storage.to_str().unwrap()];
        [&args[..], &config, &storage].concat().iter().map(|&arg| arg.to_owned()).collect()
    }

    /// Sets the jump host up.
    fn init(&self, more: &[&str]) -> Ended {
        let (args, fingerprint) = (self.init_args(), fingerprint(self.fleet.jump()));
        let args: Vec<&str> = args.iter().map(String::as_str).collect();
        self.keytool(&[&args[..], &["--fingerprint", &fingerprint, "--password-stdin"], more].concat(), JUMP_PASSWORD)
    }

    /// Starts it for somebody who sits there.
    fn at_terminal(&self, args: &[String]) -> Terminal {
        let mut command = self.fleet.command("keytool").unwrap();
        command.args(args);
        Terminal::start(command)
    }

    /// A list of the Pis' own fingerprints.
    fn fingerprints(&self) -> PathBuf {
        let mut list = String::from("# as read from the screens\n");
        for pi in self.fleet.pis() {
            writeln!(list, "{} {}", pi.name(), fingerprint(pi)).unwrap();
        }
        let file = self.fleet.root().join("fingerprints");
        fs::write(&file, list).unwrap();
        file
    }

    fn add_pi(&self, args: &[&str], password: &str) -> Ended {
        let list = self.fingerprints();
        let fixed = ["add-pi", "--fingerprints", list.to_str().unwrap(), "--password-stdin"];
        self.keytool(&[&fixed, args].concat(), password)
    }

    /// Runs it under strace, which kills it when it enters this call for the `count`th time. False where it never did.
    fn killed(&self, args: &[&str], call: &str, count: u32) -> bool {
        let program = self.fleet.command("keytool").unwrap();
        let mut strace = Command::new("strace");
        strace.args(["-f", "-qq", "-o", "/dev/null", "-e", "signal=none", "-e"]).arg(format!("trace={call}"));
        strace.arg("-e").arg(format!("inject={call}:signal=KILL:when={count}")).arg("--").arg(program.get_program());
        strace.args(args).env_clear().env("HOME", self.fleet.home());
        let ended = run(strace, PI_PASSWORD);
        // strace ends as the program did.
        let killed = ended.output.status.signal() == Some(9);
        assert!(killed || ended.output.status.success(), "{}", ended.text());
        killed
    }

    /// OpenSSH's own client with what keytool wrote and nothing else.
    fn ssh(&self, args: &[&str]) -> Ended {
        let mut command = self.fleet.at_home("ssh").unwrap();
        command.args(["-o", "BatchMode=yes"]).args(args);
        run(command, "")
    }

    fn home(&self, path: &str) -> PathBuf {
        self.fleet.home().join(path)
    }
}

fn authorized(machine: &Machine) -> String {
    fs::read_to_string(machine.home().join(".ssh/authorized_keys")).unwrap_or_default()
}

fn public_key(scene: &Scene, name: &str) -> String {
    fs::read_to_string(scene.home(&format!(".ssh/{name}.pub"))).unwrap()
}

/// Everything below a directory, byte for byte.
fn content(dir: &Path) -> Vec<(Vec<u8>, String)> {
    local_fleet::snapshot(dir).unwrap().into_iter().map(|(path, facts)| (path, facts.sha256)).collect()
}

#[test]
fn from_nothing_to_logins_that_openssh_makes_by_itself() {
    let scene = Scene::new(Fleet::builder().pis(2).ids(&[31, 34]));
    let (jump, pi) = (scene.fleet.jump(), scene.fleet.pi(31));
    account::authorize(&pi.home(), FOREIGN).unwrap();

    // A dry run and a wrong password leave no trace on either side.
    scene.init(&["--dry-run"]).expect(0).says(&["make private ed25519 key", "append the public key"]);
    assert_eq!(content(&scene.fleet.home()), []);
    let port = jump.port().to_string();
    let other = "SHA256:OQwzHNaJf+yRKYeKJagzYdnXYje+xqBSfHhDDjupeOg";
    let host = ["init", "--host", "127.0.0.1", "--port", &port, "--user", account::JUMP_USER, "--password-stdin"];
    let refused = scene.keytool(&[&host[..], &["--fingerprint", other]].concat(), JUMP_PASSWORD).expect(3);
    refused.says(&["'awsbox' shows ssh-ed25519 SHA256:", "which is not what --fingerprint has for it"]);
    scene.keytool(&[&host[..], &["--fingerprint", &fingerprint(jump)]].concat(), "wrong").expect(3).says(&["refused"]);
    scene.keytool(&host, JUMP_PASSWORD).expect(2).says(&["nobody can be asked", "--fingerprint"]);
    assert_eq!(content(&scene.fleet.home()), []);
    assert_eq!(authorized(jump), "");

    // A person who says no: the password was not even asked for.
    let mut terminal = scene.at_terminal(&scene.init_args());
    terminal.wait_for(&fingerprint(jump));
    terminal.wait_for("Is this awsbox?");
    terminal.press(b'n');
    let (status, shown) = terminal.end();
    assert!(status.code() == Some(3) && shown.contains("not confirmed") && !shown.contains("Password"), "{shown}");
    assert_eq!(content(&scene.fleet.home()), []);
    // Nor of one who gives up, who gets the terminal back.
    let mut terminal = scene.at_terminal(&scene.init_args());
    terminal.wait_for("Is this awsbox?");
    terminal.press_ctrl_c();
    let (status, shown) = terminal.end();
    assert!(status.code() == Some(130) && !shown.contains("\x1b[?25l") && !shown.contains("Password"), "{shown}");
    assert_eq!(content(&scene.fleet.home()), []);
    // And one who says yes.
    let mut terminal = scene.at_terminal(&scene.init_args());
    terminal.wait_for("Is this awsbox?");
    terminal.press(b'y');
    terminal.wait_for("Password of data-pipeline-svc on awsbox");
    terminal.type_unseen(JUMP_PASSWORD);
    let (status, shown) = terminal.end();
    assert!(status.success() && !shown.contains(JUMP_PASSWORD), "{shown}");
    assert_eq!(authorized(jump), public_key(&scene, "awsbox"));
    scene.ssh(&["awsbox", "true"]).expect(0);
    let before = content(&scene.fleet.home());
    scene.init(&[]).expect(0).says(&["was there"]);
    assert_eq!(content(&scene.fleet.home()), before);

    let source = scene.fleet.pi(34).source();
    let config = scene.fleet.config_file();
    let devices = format!("devices:\n  \"raspberry34\": {{ source: {} }}\n", source.display());
    fs::write(&config, fs::read_to_string(&config).unwrap() + &devices).unwrap();

    let before = content(&scene.fleet.home());
    scene.add_pi(&["31", "34", "--dry-run"], PI_PASSWORD).expect(0).says(&["would be done", "raspberry34"]);
    scene.add_pi(&["31"], "wrong").expect(3).says(&["the password for user 'pi' is refused"]);
    // With nobody there to say that it is the right Pi, no password is sent: a wrong one would be refused.
    scene.keytool(&["add-pi", "31", "--password-stdin"], "wrong").expect(2).says(&["--fingerprints FILE"]);
    // A yes to whatever answers is none.
    let blind = ["add-pi", "31", "--yes", "--password-stdin"];
    scene.keytool(&blind, PI_PASSWORD).expect(2).says(&["not provided", "--fingerprints <FILE>"]);
    assert_eq!(content(&scene.fleet.home()), before);
    assert_eq!(authorized(pi), FOREIGN);

    for (key, code) in [(b'n', 3), (b'y', 0)] {
        let mut terminal = scene.at_terminal(&["add-pi".to_owned(), "34".to_owned()]);
        // What can be known without a login is shown before the password is asked for.
        terminal.wait_for(&format!("  raspberry34  ssh-ed25519 {}", fingerprint(scene.fleet.pi(34))));
        terminal.wait_for("Password of pi on raspberry34");
        terminal.type_unseen(PI_PASSWORD);
        for shown in [&fingerprint(scene.fleet.pi(34)), "hostname", "Is this raspberry34?"] {
            terminal.wait_for(shown);
        }
        assert_eq!(authorized(scene.fleet.pi(34)), "");
        assert_eq!(content(&scene.fleet.home()), before);
        terminal.press(key);
        let (status, shown) = terminal.end();
        assert!(status.code() == Some(code) && !shown.contains(PI_PASSWORD), "{shown}");
    }
    // Who sits there is asked about the box even where its fingerprint was written down, unless he said yes before.
    let list = scene.fingerprints();
    let listed = ["add-pi", "31", "--fingerprints", list.to_str().unwrap(), "--yes"].map(str::to_owned);
    for (args, code) in [(&listed[..4], 3), (&listed[..], 0)] {
        let mut terminal = scene.at_terminal(args);
        terminal.wait_for("Password of pi on raspberry31");
        terminal.type_unseen(PI_PASSWORD);
        if code == 3 {
            terminal.wait_for("Is this raspberry31?");
            terminal.press(b'n');
        }
        let (status, shown) = terminal.end();
        assert!(status.code() == Some(code) && (code == 3 || !shown.contains("Is this")), "{shown}");
    }
    let both = scene.add_pi(&["60000", "31", "34"], PI_PASSWORD).expect(3);
    both.says(&["raspberry31", "raspberry34", "was there", "60000 would need port"]);
    assert_eq!(authorized(pi), format!("{FOREIGN}\n{}", public_key(&scene, "raspberry31")));
    assert_eq!(authorized(scene.fleet.pi(34)), public_key(&scene, "raspberry34"));
    for name in ["raspberry31", "raspberry34"] {
        let said = scene.ssh(&[name, "echo $HOME"]).expect(0).stdout();
        assert!(said.contains(name), "{said}");
    }
    // Again there is nothing to do, and no password is needed.
    let before = content(&scene.fleet.home());
    let again = scene.keytool(&["add-pi", "31", "34"], "").expect(0);
    assert!(!again.stdout().contains("done done"), "{}", again.text());
    assert_eq!(content(&scene.fleet.home()), before);
    assert_eq!(authorized(pi), format!("{FOREIGN}\n{}", public_key(&scene, "raspberry31")));
}

#[test]
fn one_that_is_not_what_it_should_be_keeps_no_other() {
    let fleet = Fleet::builder().pis(3).offline(1).ids(&[31, 34, 35, 36]).cloned(35, 31);
    let scene = Scene::new(fleet);
    // Pis have a file of their own for host keys, and the jump host has not.
    fs::create_dir_all(scene.home(".ssh")).unwrap();
    fs::write(scene.home(".ssh/config"), "Host raspberry*\n  UserKnownHostsFile ~/.ssh/known_pis\n").unwrap();
    scene.init(&[]).expect(0);

    // Two cards of one image in one batch: nobody can tell which of them is the copy.
    let all = scene.add_pi(&["31", "34", "35", "36"], PI_PASSWORD).expect(3);
    let text = all.text();
    assert!(
        text.contains("'raspberry31' shows ssh-ed25519 SHA256:") && text.contains("of 'raspberry35' too"),
        "{text}"
    );
    assert!(text.contains("sudo dpkg-reconfigure openssh-server"), "{text}");
    assert!(text.contains("raspberry36"), "{text}");
    for (id, lines) in [(31, 0), (34, 1), (35, 0)] {
        assert_eq!(authorized(scene.fleet.pi(id)).lines().count(), lines, "{id}");
        assert_eq!(scene.home(&format!(".ssh/raspberry{id}")).exists(), lines == 1, "{id}");
    }
    scene.ssh(&["raspberry34", "true"]).expect(0);

    // And one after the other. sshd passes the file over while others may write to the home.
    let home = scene.fleet.pi(31).home();
    fs::set_permissions(&home, PermissionsExt::from_mode(0o777)).unwrap();
    scene.add_pi(&["31"], PI_PASSWORD).expect(3).says(&["is installed, but is not let in", "chmod go-w ~"]);
    fs::set_permissions(&home, PermissionsExt::from_mode(0o755)).unwrap();
    scene.add_pi(&["31"], PI_PASSWORD).expect(0);
    scene.add_pi(&["35"], PI_PASSWORD).expect(3).says(&["which is the host key of 'raspberry31' too", "known_pis:"]);
    scene.add_pi(&["36"], PI_PASSWORD).expect(4).says(&["raspberry36", "the device is off"]);

    // Another machine answers in the place of 34: it gets no password, and stays out.
    let known_hosts = scene.home(".ssh/known_pis");
    let pinned = fs::read_to_string(&known_hosts).unwrap();
    let mut keygen = Command::new("ssh-keygen");
    keygen.args(["-R", "raspberry34", "-f"]).arg(&known_hosts);
    run(keygen, "").expect(0);
    let wrong = "raspberry34 ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJ0kt/FwBgh/P55Xn63t1yKc6G332TZpyanZM2lRXOLS\n";
    fs::write(&known_hosts, fs::read_to_string(&known_hosts).unwrap() + wrong).unwrap();
    scene.add_pi(&["34"], PI_PASSWORD).expect(3).says(&["'raspberry34' shows ssh-ed25519", "known_pis:"]);
    scene.keytool(&["fingerprint", "34"], "").expect(3).says(&["shown now, not pinned", "pinned for it"]);
    let json = scene.keytool(&["check", "--json"], "").expect(3).stdout();
    let report: serde_json::Value = serde_json::from_str(&json).unwrap();
    let pi = |name: &str| report["pis"].as_array().unwrap().iter().find(|pi| pi["name"] == name).unwrap().clone();
    assert_eq!(report["schema"], 1);
    assert_eq!(
        (&pi("raspberry34")["host_key"], &pi("raspberry34")["login"]),
        (&false.into(), &serde_json::Value::Null)
    );
    assert_eq!((&pi("raspberry31")["reachable"], &pi("raspberry31")["login"]), (&true.into(), &true.into()));
    assert!(!json.contains("PRIVATE"), "{json}");
    fs::write(&known_hosts, pinned).unwrap();
    scene.keytool(&["check", "31", "34"], "").expect(0).says(&["works", "right"]);

    // An entry that somebody wrote by hand holds, and is not written again.
    let config = scene.home(".ssh/config");
    let by_hand = format!(
        "{}Host other\n  HostName 127.0.0.1\n  Port {}\n  User {}\n  IdentityFile ~/.ssh/other\n  HostKeyAlias Other\n",
        fs::read_to_string(&config).unwrap(),
        scene.fleet.jump().port(),
        account::JUMP_USER
    );
    fs::write(&config, &by_hand).unwrap();
    scene
        .keytool(&["init", "--alias", "other", "--port", "22"], "")
        .expect(2)
        .says(&["entry of other in ~/.ssh/config:"]);
    let yaml = fs::read(scene.fleet.config_file()).unwrap();
    let listed = fingerprint(scene.fleet.jump());
    let other = ["init", "--alias", "other", "--password-stdin", "--fingerprint", &listed];
    scene.keytool(&other, JUMP_PASSWORD).expect(0).says(&["stays as it is"]);
    // Whatever the case of the name: ssh looks it up in lower case, and its hash has only one.
    scene.ssh(&["other", "true"]).expect(0);
    assert_eq!(fs::read_to_string(&config).unwrap(), by_hand);
    assert!(!fs::read_to_string(scene.home(".ssh/config.d/pipeline.conf")).unwrap().contains("other"));
    assert_eq!(authorized(scene.fleet.jump()).lines().count(), 2);
    fs::write(scene.fleet.config_file(), yaml).unwrap();

    // Without the jump host nothing can be reached.
    let impatient = scene.home("impatient.yaml");
    let config = fs::read_to_string(scene.fleet.config_file()).unwrap();
    fs::write(&impatient, config + "timeouts: { connect: 1s, idle: 5s }\n").unwrap();
    scene.fleet.jump().stop();
    let check = ["--config", impatient.to_str().unwrap(), "check", "31", "34"];
    let down = scene.keytool(&check, "").expect(4).says(&["awsbox"]);
    assert_eq!(down.text().matches("error:").count(), 1, "{}", down.text());
    scene.fleet.jump().cont();
}

/// What a line of `authorized_keys` lets its key do.
fn options_of(line: &str) -> &str {
    line.split_once("ssh-ed25519").unwrap().0
}

#[test]
fn keys_that_may_do_one_thing_and_keys_that_take_anothers_place() {
    let scene = Scene::new(Fleet::builder().pis(2).ids(&[31, 34]));
    scene.init(&[]).expect(0);
    let (bound, plain) = (scene.fleet.pi(31), scene.fleet.pi(34));
    let source = bound.source();
    let restrict = ["--restrict", source.to_str().unwrap()];

    scene.add_pi(&[&["31"], &restrict[..]].concat(), PI_PASSWORD).expect(0);
    let line = authorized(bound);
    assert!(line.starts_with("restrict,command=\"exec ~/.local/lib/pipeline/pipeline-agent serve --root '"), "{line}");
    let touched = bound.home().join("touched");
    scene.ssh(&["raspberry31", &format!("touch {}", touched.display())]);
    assert!(!touched.exists(), "the key runs commands");
    // The agent answers; nothing is left to do, and no password is needed.
    scene.keytool(&[&["add-pi", "31"], &restrict[..]].concat(), "").expect(0);
    scene.keytool(&["check", "31"], "").expect(0).says(&["works"]);
    assert_eq!(authorized(bound), line);
    let refused = scene.keytool(&["grants", "31"], "").expect(3).says(&["as one that is bound to the agent"]);
    assert!(!refused.text().contains("nobody"), "{}", refused.text());
    // It can't change its own line, so somebody else has to get in.
    scene.keytool(&["rotate", "31"], "").expect(2).says(&["nobody can be asked", "--password-stdin"]);
    // A number that leads to no Pi keeps no other.
    let rotated = scene.keytool(&["rotate", "99", "31", "--password-stdin"], PI_PASSWORD);
    rotated.expect(3).says(&["raspberry99 has no entry", "raspberry31: new key SHA256:"]);
    let rotated = authorized(bound);
    assert_eq!((options_of(&rotated), rotated.lines().count()), (options_of(&line), 1));
    assert_ne!(rotated, line);
    scene.keytool(&[&["add-pi", "31"], &restrict[..]].concat(), "").expect(0);

    // An agent of another version does not serve us: it is replaced, which needs another way in.
    let place = bound.home().join(".local/lib/pipeline/pipeline-agent");
    let agent = fs::read(&place).unwrap();
    // The last session may still be running the one that is there.
    fs::remove_file(&place).unwrap();
    fs::write(&place, "#!/bin/sh\n").unwrap();
    fs::set_permissions(&place, PermissionsExt::from_mode(0o700)).unwrap();
    scene.keytool(&[&["add-pi", "31"], &restrict[..]].concat(), "").expect(2);
    scene.add_pi(&[&["31"], &restrict[..]].concat(), PI_PASSWORD).expect(0);
    assert_eq!((fs::read(&place).unwrap(), authorized(bound)), (agent, rotated));

    // Killed before any step, the key in use is let in, and the next rotation ends the work.
    // Taken in by a key that is let in there already.
    let admin = scene.fleet.root().join("admin");
    let mut keygen = Command::new("ssh-keygen");
    keygen.args(["-q", "-t", "ed25519", "-N", "", "-C", "admin", "-f"]).arg(&admin);
    run(keygen, "").expect(0);
    let public = fs::read_to_string(admin.with_extension("pub")).unwrap();
    let theirs = format!("{FOREIGN}\n{}", public.trim_end());
    account::authorize(&plain.home(), &theirs).unwrap();
    let list = scene.fingerprints();
    let by_key = ["--fingerprints", list.to_str().unwrap(), "--identity", admin.to_str().unwrap()];
    scene.keytool(&[&["add-pi", "34"], &by_key[..]].concat(), "").expect(0);
    assert_eq!(authorized(plain), format!("{theirs}\n{}", public_key(&scene, "raspberry34")));
    // What people keep beside a key is no rotation that was begun: neither a copy of the one in use, nor another.
    let backups = [("raspberry34", "raspberry34.old"), ("raspberry31", "raspberry34.new")];
    for (key, backup) in backups {
        for half in ["", ".pub"] {
            let [key, backup] = [key, backup].map(|name| scene.home(&format!(".ssh/{name}{half}")));
            fs::copy(key, backup).unwrap();
        }
    }
    let first = public_key(&scene, "raspberry34");
    let mut kills = 0;
    for call in ["renameat2", "linkat", "rename"] {
        for count in 1.. {
            let before = public_key(&scene, "raspberry34");
            if !scene.killed(&["rotate", "34"], call, count) {
                break;
            }
            scene.ssh(&["raspberry34", "true"]).expect(0);
            let swapped = !scene.home(".ssh/raspberry34.keytool-new").exists()
                && ["", ".pub"].iter().any(|half| scene.home(&format!(".ssh/raspberry34.keytool-old{half}")).exists());
            let said = scene.keytool(&["rotate", "34"], "").expect(0).says(&["new key SHA256:"]).text();
            assert_eq!(said.contains("an interrupted rotation was finished"), swapped, "{said}");
            let after = public_key(&scene, "raspberry34");
            assert_ne!(before, after, "{call} {count}");
            assert_eq!(authorized(plain), format!("{theirs}\n{after}"), "{call} {count}");
            kills += 1;
        }
    }
    // Both halves of the new pair, of the swap and of what is set aside; the second name of the old one; its replacement.
    assert_eq!(kills, 8);
    let names =
        fs::read_dir(scene.home(".ssh")).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let left: Vec<String> = names.filter(|name| name.contains(".keytool")).collect();
    assert!(left.is_empty(), "{left:?}");
    assert_eq!(public_key(&scene, "raspberry34.old"), first);
    assert_eq!(public_key(&scene, "raspberry34.new"), public_key(&scene, "raspberry31"));
    // Wherever a copy lies: the key in use is never shut out.
    let (key, copy) = (scene.home(".ssh/raspberry34"), scene.home(".ssh/raspberry34.keytool-old"));
    fs::copy(&key, &copy).unwrap();
    let in_use = authorized(plain);
    scene.keytool(&["rotate", "34"], "").expect(3).says(&["is the key in use, and was not shut out"]);
    assert_eq!(authorized(plain), in_use);
    fs::remove_file(copy).unwrap();
    // Nor is the old one while the login that everybody makes fails: by the entries as they are written.
    let entries = scene.home(".ssh/config.d/pipeline.conf");
    let written = fs::read_to_string(&entries).unwrap();
    let mistaken = written.replace("    User pi\n", "    User nobody\n");
    assert_ne!(mistaken, written);
    fs::write(&entries, mistaken).unwrap();
    scene.keytool(&["rotate", "34"], "").expect(3).says(&["is not let in"]);
    assert_eq!(authorized(plain), in_use + &public_key(&scene, "raspberry34"));
    fs::write(&entries, written).unwrap();
    scene.keytool(&["rotate", "34"], "").expect(0).says(&["an interrupted rotation was finished"]);
    assert_eq!(authorized(plain), format!("{theirs}\n{}", public_key(&scene, "raspberry34")));

    // One that is let in nowhere takes no place: the Pi's disk is full, or its authorized_keys is not ours.
    let before = public_key(&scene, "raspberry34");
    let keys = plain.home().join(".ssh/authorized_keys");
    fs::remove_file(&keys).unwrap();
    fs::create_dir(&keys).unwrap();
    scene.keytool(&["rotate", "34", "--password-stdin"], PI_PASSWORD).expect(3).says(&["is not a file"]);
    assert_eq!(public_key(&scene, "raspberry34"), before);
    fs::remove_dir(&keys).unwrap();
    account::authorize(&plain.home(), &format!("{theirs}\n{before}")).unwrap();

    // Nobody is there to unlock a key with a passphrase.
    let key = scene.home(".ssh/raspberry34");
    let plain_key = fs::read(&key).unwrap();
    let mut keygen = Command::new("ssh-keygen");
    keygen.args(["-q", "-p", "-P", "", "-N", "three bees", "-f"]).arg(&key);
    run(keygen, "").expect(0);
    scene.keytool(&["rotate", "34"], "").expect(3).says(&["has a passphrase"]);
    scene.add_pi(&["34"], PI_PASSWORD).expect(0).says(&["the login was not tried"]);
    fs::write(&key, plain_key).unwrap();

    scene.keytool(&["remove-pi", "34", "--dry-run"], "").expect(0).says(&["remove entry raspberry34"]);
    assert_eq!(authorized(plain), format!("{theirs}\n{before}"));
    scene.keytool(&["remove-pi", "31", "--dry-run"], "").expect(0).says(&["was left: the key is bound to the agent"]);
    scene.keytool(&["remove-pi", "31", "--password-stdin"], PI_PASSWORD).expect(0).says(&["removed the public key"]);
    assert_eq!(authorized(bound), "");
    scene.keytool(&["remove-pi", "34"], "").expect(0);
    assert_eq!(authorized(plain), format!("{theirs}\n"));
    assert_eq!(fs::read_to_string(scene.home(".ssh/config.d/pipeline.conf")).unwrap().matches("Host ").count(), 1);
    assert!(!scene.home(".ssh/raspberry34").exists());
    scene.keytool(&["check"], "").expect(0);
    scene.keytool(&["remove-pi", "34"], "").expect(0).says(&["nothing to do here"]);
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
fn killed_or_without_room_at_any_step_the_next_run_ends_the_work() {
    let scene = Scene::new(Fleet::builder().pis(1).ids(&[31]));
    scene.init(&[]).expect(0);
    let pi = scene.fleet.pi(31);
    let (home, start) = (scene.fleet.home(), scene.fleet.root().join("start"));
    let copy = |from: &Path, to: &Path| {
        if to.exists() {
            fs::remove_dir_all(to).unwrap();
        }
        let mut cp = Command::new("cp");
        cp.arg("-a").arg(from).arg(to);
        run(cp, "").expect(0);
    };
    copy(&home, &start);
    let list = scene.fingerprints();
    let args = ["add-pi", "31", "--fingerprints", list.to_str().unwrap(), "--password-stdin"];
    let mut kills = std::collections::BTreeMap::new();
    // Files here, and steps there: each lane of a connection is a pair of sockets, and each step has threads of its own. strace
    // counts for each thread by itself.
    for call in ["renameat2", "rename", "socketpair", "clone3"] {
        for count in 1.. {
            copy(&start, &home);
            account::authorize(&pi.home(), FOREIGN).unwrap();
            if !scene.killed(&args, call, count) {
                break;
            }
            let installed = authorized(pi);
            assert!(installed == FOREIGN || installed.starts_with(&format!("{FOREIGN}\n")), "{installed}");
            if !scene.home(".ssh/raspberry31.pub").exists() {
                assert_eq!(installed, FOREIGN, "{call} {count}");
            }
            scene.keytool(&args, PI_PASSWORD).expect(0);
            assert_eq!(authorized(pi), format!("{FOREIGN}\n{}", public_key(&scene, "raspberry31")), "{call} {count}");
            *kills.entry(call).or_insert(0) += 1;
        }
    }
    // A pair; known_hosts and the entries.
    assert_eq!((kills["renameat2"], kills["rename"]), (2, 2));
    assert!(kills["socketpair"] >= 3 && kills["clone3"] >= 5, "{kills:?}");
    scene.ssh(&["raspberry31", "true"]).expect(0);

    copy(&start, &home);
    account::authorize(&pi.home(), FOREIGN).unwrap();
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
