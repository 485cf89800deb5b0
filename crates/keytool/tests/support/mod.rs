//! A home of its own for the built program, and OpenSSH's own programs in it.

#![allow(dead_code)] // each test file uses its part

pub mod terminal;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Output};

/// A home directory that nothing of the machine's user leaks into.
pub struct Home {
    dir: tempfile::TempDir,
}

/// OpenSSH takes `~` from the user database and not from `HOME`. So its programs run in namespaces of their own, where they are
/// root, and this home lies over root's.
const AT_HOME: &str = r#"mount --bind "$1" "$(getent passwd 0 | cut -d : -f 6)" && cd / && shift && exec "$@""#;

impl Home {
    /// An empty one.
    pub fn new() -> Home {
        Home { dir: tempfile::tempdir().unwrap() }
    }

    /// The directory.
    pub fn root(&self) -> &Path {
        self.dir.path()
    }

    /// A path in it.
    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Writes a file, with its directories.
    pub fn write(&self, name: &str, text: impl AsRef<[u8]>, mode: u32) {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, text).unwrap();
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    }

    /// The text of a file.
    pub fn read(&self, name: &str) -> String {
        fs::read_to_string(self.path(name)).unwrap()
    }

    /// Every file below it with its content, but for what may differ between runs that did the same: the lock.
    pub fn files(&self) -> Vec<(String, Vec<u8>)> {
        let mut found = Vec::new();
        let mut dirs = vec![self.root().to_owned()];
        while let Some(dir) = dirs.pop() {
            for entry in fs::read_dir(&dir).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    dirs.push(path);
                    continue;
                }
                let name = path.strip_prefix(self.root()).unwrap().to_str().unwrap().to_owned();
                found.push((name, fs::read(&path).unwrap()));
            }
        }
        found.sort();
        found
    }

    /// The program with arguments, in this home and no other environment.
    pub fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(assert_cmd::cargo::cargo_bin!("keytool"));
        command.args(args).env_clear().env("HOME", self.dir.path()).current_dir(self.dir.path());
        command
    }

    /// Runs it to its end.
    pub fn run(&self, args: &[&str]) -> Output {
        self.command(args).output().unwrap()
    }

    /// Runs it to its end, which must be good, and gives what it wrote.
    #[track_caller]
    pub fn ok(&self, args: &[&str]) -> String {
        let output = self.run(args);
        assert_eq!(output.status.code(), Some(0), "{}", self.seen(&output));
        String::from_utf8(output.stdout).unwrap()
    }

    /// A program of OpenSSH for which this is home.
    pub fn at_home(&self, program: &str, args: &[&str]) -> Command {
        let mut command = Command::new("unshare");
        command.args(["--user", "--map-root-user", "--mount", "--", "sh", "-c", AT_HOME, "sh"]);
        command.arg(self.root()).arg(program).args(args);
        command.env_remove("SSH_AUTH_SOCK");
        command
    }

    /// What `ssh -G` says of an alias.
    #[track_caller]
    pub fn ssh_g(&self, alias: &str) -> String {
        good(self.at_home("ssh", &["-G", alias]))
    }

    /// What was seen and how it ended, with this home as `$HOME`.
    pub fn seen(&self, output: &Output) -> String {
        let code = output.status.code().map_or_else(|| "none".to_owned(), |code| code.to_string());
        let mut text = String::new();
        for (name, bytes) in [("stdout", &output.stdout), ("stderr", &output.stderr)] {
            if !bytes.is_empty() {
                text.push_str(&format!("--- {name}\n{}", String::from_utf8_lossy(bytes)));
            }
        }
        text.push_str(&format!("--- exit {code}\n"));
        text.replace(self.root().to_str().unwrap(), "$HOME")
    }
}

/// What becomes of a program at a call.
pub const KILLED: &str = "signal=KILL";
/// The same, of a disk that is full.
pub const NO_ROOM: &str = "error=ENOSPC";

/// A program under strace, to which this happens when it makes this call for the `count`th time; a kill is before the call. strace
/// counts for each thread by itself.
pub fn strace(program: &Command, call: &str, happens: &str, count: u32) -> Command {
    // One of them is there on every machine.
    let calls = match call {
        "mkdir" => "?mkdir,mkdirat",
        "unlink" => "?unlink,unlinkat",
        "rename" => "?rename,?renameat",
        call => call,
    };
    let mut strace = Command::new("strace");
    strace.args(["-f", "-qq", "-o", "/dev/null", "-e", "signal=none", "-e"]).arg(format!("trace={calls}"));
    strace.arg("-e").arg(format!("inject={calls}:{happens}:when={count}"));
    strace.arg("--").arg(program.get_program()).args(program.get_args());
    strace.env_clear().envs(program.get_envs().filter_map(|(name, value)| Some((name, value?))));
    strace
}

/// Whether it was killed; the program must have ended well where it was not. strace ends as the program did.
#[track_caller]
pub fn was_killed(status: ExitStatus) -> bool {
    assert!(status.success() || status.signal() == Some(9), "{status}");
    !status.success()
}

/// Runs a program to its end, which must be good, and gives what it wrote.
#[track_caller]
pub fn good(mut command: Command) -> String {
    let output = command.output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{command:?}: {said}");
    String::from_utf8(output.stdout).unwrap()
}

/// `ssh-keygen` with arguments.
#[track_caller]
pub fn ssh_keygen(args: &[&str], file: &Path) -> String {
    let mut command = Command::new("ssh-keygen");
    command.args(args).arg(file);
    good(command)
}
