//! A collector that can log in to the jump host, and Pis in any state.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use local_fleet::{Builder, Fleet, account};

pub const PI_PASSWORD: &str = "raspberry 7f3a";

/// Somebody else's line, which must outlive whatever we do.
pub const FOREIGN: &str = "# added by the admin\n\
    from=\"10.0.0.*\",command=\"echo \\\"hi, you\\\"\" \
    ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIEYd1r1NgIK6sUBKvnIGlo8y7eWRyOtw5dQuIj6LIZdR back up, nightly\n";

pub struct Scene {
    pub fleet: Fleet,
}

impl Scene {
    /// The collector has a config and a pinned key for the jump host, and for the Pis `known` a config, a pinned key and a login.
    pub fn new(builder: Builder, known: &[u16]) -> Scene {
        let fleet = builder.tunnels(false).passwords("jump", PI_PASSWORD).start().unwrap_or_else(|e| panic!("{e}"));
        let scene = Scene { fleet };
        let ours = scene.make_key(&scene.fleet.home().join(".ssh/id"));
        let jump = scene.fleet.jump();
        account::authorize(&jump.home(), &format!("{FOREIGN}{ours}")).unwrap();
        let mut config = format!("Host awsbox\n HostName 127.0.0.1\n Port {}\n User data-pipeline-svc\n", jump.port());
        let mut known_hosts = format!("[127.0.0.1]:{} {}", jump.port(), scene.host_key("awsbox"));
        for id in known {
            let (name, port) = (format!("raspberry{id}"), scene.fleet.base_port() + id);
            config += &format!(
                "Host {name}\n HostName localhost\n Port {port}\n User pi\n ProxyJump awsbox\n HostKeyAlias {name}\n"
            );
            // One that is offline has no host key of its own.
            let host_key = scene.fleet.root().join(&name).join("host_key.pub");
            if host_key.exists() {
                known_hosts += &format!("{name} {}", scene.host_key(&name));
            }
            if let Some(pi) = scene.fleet.pis().iter().find(|pi| pi.name() == name) {
                account::authorize(&pi.home(), &format!("{FOREIGN}{ours}")).unwrap();
            }
        }
        let dir = scene.fleet.home().join(".ssh");
        fs::write(dir.join("config"), config + "Host *\n IdentityFile ~/.ssh/id\n IdentitiesOnly yes\n").unwrap();
        fs::write(dir.join("known_hosts"), known_hosts).unwrap();
        let onboarding = format!("onboarding: {{ base_port: {} }}\n", scene.fleet.base_port());
        fs::create_dir_all(scene.yaml().parent().unwrap()).unwrap();
        fs::write(scene.yaml(), onboarding).unwrap();
        scene
    }

    pub fn yaml(&self) -> PathBuf {
        self.fleet.home().join(".config/pipeline/pipeline.yaml")
    }

    pub fn host_key(&self, machine: &str) -> String {
        fs::read_to_string(self.fleet.root().join(machine).join("host_key.pub")).unwrap()
    }

    /// Makes a key pair; the public half.
    pub fn make_key(&self, file: &Path) -> String {
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        let comment = file.file_name().unwrap().to_str().unwrap();
        let mut keygen = Command::new("ssh-keygen");
        let made = keygen.args(["-q", "-t", "ed25519", "-N", "", "-C", comment, "-f"]).arg(file).status().unwrap();
        assert!(made.success());
        fs::read_to_string(file.with_extension("pub")).unwrap()
    }

    /// In the form that OpenSSH has: `SHA256:…`.
    pub fn fingerprint(&self, file: &Path) -> String {
        let output = Command::new("ssh-keygen").arg("-lf").arg(file).output().unwrap();
        String::from_utf8(output.stdout).unwrap().split(' ').nth(1).unwrap().to_owned()
    }

    /// The program in the collector's home, not started yet.
    pub fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(assert_cmd::cargo::cargo_bin!("keytool"));
        let here = self.fleet.command("keytool").unwrap();
        command.env_clear().envs(here.get_envs().filter_map(|(name, value)| Some((name, value?))));
        command.args(args);
        command
    }

    pub fn keytool(&self, args: &[&str], input: &str) -> Output {
        let mut command = self.command(args);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        // One that does not read is a result as well.
        child.stdin.take().unwrap().write_all(input.as_bytes()).ok();
        child.wait_with_output().unwrap()
    }

    /// Runs it; the exit code and all that it said.
    pub fn run(&self, args: &[&str], input: &str) -> (i32, String) {
        let output = self.keytool(args, input);
        let said = [output.stdout, output.stderr].concat();
        let said = String::from_utf8(said).unwrap();
        assert!(!said.contains(PI_PASSWORD), "{said}");
        (output.status.code().unwrap(), said)
    }

    pub fn authorized_keys(&self, home: &Path) -> String {
        fs::read_to_string(home.join(".ssh/authorized_keys")).unwrap()
    }
}
