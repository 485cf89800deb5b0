//! A collector's home of its own for the built program: nothing of the machine's user leaks in, nothing is left behind.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// A home directory, and the program run in it.
pub struct Home {
    dir: tempfile::TempDir,
}

impl Home {
    /// With a storage and an OpenSSH config that knows `raspberry1`, on a port where nobody listens.
    pub fn new() -> Home {
        let home = Home { dir: tempfile::tempdir().unwrap() };
        std::fs::create_dir_all(home.path("storage")).unwrap();
        std::fs::create_dir(home.path(".ssh")).unwrap();
        let key = ["-q", "-t", "ed25519", "-N", "", "-f"];
        assert!(Command::new("ssh-keygen").args(key).arg(home.path(".ssh/id")).status().unwrap().success());
        home.write(
            ".ssh/config",
            "Host raspberry1\n  HostName 127.0.0.1\n  Port 1\n  User pi\n  IdentityFile ~/.ssh/id\n  IdentityAgent none\n",
            0o600,
        );
        home
    }

    /// A path in it.
    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Writes a file, with its directories.
    pub fn write(&self, name: &str, text: &str, mode: u32) {
        let path = self.path(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, text).unwrap();
        self.mode(name, mode);
    }

    /// Writes the configuration where it is looked for.
    pub fn config(&self, text: &str) {
        self.write(".config/pipeline/pipeline.yaml", text, 0o600);
    }

    /// Sets the mode of a file.
    pub fn mode(&self, name: &str, mode: u32) {
        std::fs::set_permissions(self.path(name), std::fs::Permissions::from_mode(mode)).unwrap();
    }

    /// The configuration that everything is right with.
    pub fn good_config(&self) {
        self.config("hosts: [raspberry1]\nsource: /data\nstorage: ~/storage\nstate_dir: ~/state\n");
    }

    /// The program with arguments, in this home and no other environment.
    pub fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(assert_cmd::cargo::cargo_bin!("pipeline"));
        command.args(args).env_clear().env("HOME", self.dir.path()).current_dir(self.dir.path());
        command
    }

    /// Runs it to its end.
    pub fn run(&self, args: &[&str]) -> Output {
        self.command(args).output().unwrap()
    }

    /// What was seen and how it ended, with this home as `$HOME` and other things that differ from run to run made alike.
    pub fn seen(&self, output: &Output) -> String {
        let code = output.status.code().map_or_else(|| "none".to_owned(), |code| code.to_string());
        let mut text = String::new();
        for (name, bytes) in [("stdout", &output.stdout), ("stderr", &output.stderr)] {
            if !bytes.is_empty() {
                text.push_str(&format!("--- {name}\n{}", String::from_utf8_lossy(bytes)));
            }
        }
        text.push_str(&format!("--- exit {code}\n"));
        text.replace(&path_text(self.dir.path()), "$HOME")
    }
}

fn path_text(path: &Path) -> String {
    path.to_str().unwrap().to_owned()
}
