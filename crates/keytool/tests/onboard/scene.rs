//! A fleet with passwords, and a collector that has nothing.

use std::fmt::Write as _;
use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use local_fleet::{Fleet, Machine, account};

use crate::support::terminal::Terminal;
use crate::support::{KILLED, strace, was_killed};

pub const JUMP_PASSWORD: &str = "open sesame, bitte schön";
pub const PI_PASSWORD: &str = "raspberry-7f3a";

/// Three keys with options and comments, and no line break at the end.
pub const FOREIGN: &str = "# of the house\n\
    from=\"10.0.0.0/8\",command=\"echo \\\"hi, you\\\"\"  ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIHrdV4yNWBkQ7zJdC0qyv4kn6Eqzqpz9giqA8VEUqjRF bob's key\r\n\
    \n\
    restrict,port-forwarding ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJ0kt/FwBgh/P55Xn63t1yKc6G332TZpyanZM2lRXOLS x  y\n\
    ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIHrdV4yNWBkQ7zJdC0qyv4kn6Eqzqpz9giqA8VEUqjRG 'quoted' $(reboot)";

/// A fleet whose collector has nothing.
pub struct Scene {
    pub fleet: Fleet,
}

/// A program that has ended.
pub struct Ended {
    pub shown: String,
    pub output: Output,
}

impl Ended {
    #[track_caller]
    pub fn expect(self, code: i32) -> Ended {
        assert_eq!(self.output.status.code(), Some(code), "{}", self.text());
        self
    }

    /// Asserts that all of these are in what it said.
    #[track_caller]
    pub fn says(self, words: &[&str]) -> Ended {
        let text = self.text();
        for word in words {
            assert!(text.contains(word), "'{word}' is not in:\n{text}");
        }
        self
    }

    pub fn stdout(&self) -> String {
        String::from_utf8(self.output.stdout.clone()).unwrap()
    }

    pub fn text(&self) -> String {
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

pub fn run(mut command: Command, stdin: &str) -> Ended {
    let shown = format!("{command:?}");
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    // One that fails early reads nothing.
    let _closed = child.stdin.take().unwrap().write_all(stdin.as_bytes());
    Ended { shown, output: child.wait_with_output().unwrap() }
}

/// What ssh-keygen says of a machine's own host key: the fingerprint.
pub fn fingerprint(machine: &Machine) -> String {
    let key = machine.log().with_file_name("host_key.pub");
    let mut keygen = Command::new("ssh-keygen");
    keygen.arg("-lf").arg(key);
    run(keygen, "").expect(0).stdout().split(' ').nth(1).unwrap().to_owned()
}

impl Scene {
    pub fn new(builder: local_fleet::Builder) -> Scene {
        Scene { fleet: builder.tunnels(false).passwords(JUMP_PASSWORD, PI_PASSWORD).start().unwrap() }
    }

    pub fn keytool(&self, args: &[&str], stdin: &str) -> Ended {
        let mut command = self.fleet.command("keytool").unwrap();
        command.args(args);
        run(command, stdin)
    }

    /// What `init` must be told here.
    pub fn init_args(&self) -> Vec<String> {
        let (port, base_port) = (self.fleet.jump().port().to_string(), self.fleet.base_port().to_string());
        let (source, storage) = (self.fleet.pis()[0].source(), self.fleet.storage());
        let args = ["init", "--host", "127.0.0.1", "--port", &port, "--user", account::JUMP_USER];
        let config = ["--base-port", &base_port, "--source", source.to_str().unwrap()];
        let storage = ["--storage", storage.to_str().unwrap()];
        [&args[..], &config, &storage].concat().iter().map(|&arg| arg.to_owned()).collect()
    }

    /// Sets the jump host up.
    pub fn init(&self, more: &[&str]) -> Ended {
        let (args, fingerprint) = (self.init_args(), fingerprint(self.fleet.jump()));
        let args: Vec<&str> = args.iter().map(String::as_str).collect();
        self.keytool(&[&args[..], &["--fingerprint", &fingerprint, "--password-stdin"], more].concat(), JUMP_PASSWORD)
    }

    /// Starts it for somebody who sits there.
    pub fn at_terminal(&self, args: &[String]) -> Terminal {
        let mut command = self.fleet.command("keytool").unwrap();
        command.args(args);
        Terminal::start(command)
    }

    /// A list of the Pis' own fingerprints.
    pub fn fingerprints(&self) -> PathBuf {
        let mut list = String::from("# as read from the screens\n");
        for pi in self.fleet.pis() {
            writeln!(list, "{} {}", pi.name(), fingerprint(pi)).unwrap();
        }
        let file = self.fleet.root().join("fingerprints");
        fs::write(&file, list).unwrap();
        file
    }

    pub fn add_pi(&self, args: &[&str], password: &str) -> Ended {
        let list = self.fingerprints();
        let fixed = ["add-pi", "--fingerprints", list.to_str().unwrap(), "--password-stdin"];
        self.keytool(&[&fixed, args].concat(), password)
    }

    /// Runs it under strace, which kills it when it enters this call for the `count`th time. False where it never did.
    pub fn killed(&self, args: &[&str], password: &str, call: &str, count: u32) -> bool {
        let mut program = self.fleet.command("keytool").unwrap();
        program.args(args);
        let ended = run(strace(&program, call, KILLED, count), password);
        let status = ended.output.status;
        assert!(status.success() || status.code().is_none(), "{}", ended.text());
        was_killed(status)
    }

    /// Compares what went to standard error with its golden file. What differs from fleet to fleet is made alike.
    #[track_caller]
    pub fn golden(&self, name: &str, ended: &Ended) {
        let mut text = String::from_utf8(ended.output.stderr.clone()).unwrap();
        for (path, shown) in [(self.fleet.home(), "~"), (self.fleet.root().to_owned(), "$FLEET")] {
            text = text.replace(path.to_str().unwrap(), shown);
        }
        for id in 31..40 {
            text = text.replace(&format!(":{}", self.fleet.base_port() + id), &format!(":50{id}"));
        }
        text = text.replace(&format!(":{}", self.fleet.jump().port()), ":22");
        let mut parts = text.split("SHA256:");
        let mut alike = parts.next().unwrap().to_owned();
        parts.for_each(|part| alike += &format!("SHA256:…{}", &part[43..]));
        insta::assert_snapshot!(name, alike);
    }

    /// OpenSSH's own client with what keytool wrote and nothing else.
    pub fn ssh(&self, args: &[&str]) -> Ended {
        let mut command = self.fleet.at_home("ssh").unwrap();
        command.args(["-o", "BatchMode=yes"]).args(args);
        run(command, "")
    }

    pub fn home(&self, path: &str) -> PathBuf {
        self.fleet.home().join(path)
    }
}

pub fn authorized(machine: &Machine) -> String {
    fs::read_to_string(machine.home().join(".ssh/authorized_keys")).unwrap_or_default()
}

pub fn public_key(scene: &Scene, name: &str) -> String {
    fs::read_to_string(scene.home(&format!(".ssh/{name}.pub"))).unwrap()
}

/// Everything below a directory, byte for byte.
pub fn content(dir: &Path) -> Vec<(Vec<u8>, String)> {
    local_fleet::snapshot(dir).unwrap().into_iter().map(|(path, facts)| (path, facts.sha256)).collect()
}
