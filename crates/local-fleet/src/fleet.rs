//! The whole: builder, start, and what a test or the demo asks of a running fleet.
//!
//! Below the root: `awsbox/` and `raspberryN/` (machines), `ssh/` (the collector's config, key and known_hosts), `home/` (the
//! collector's), `storage/`, `state/` and `pipeline.yaml`.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::time::SystemTime;

use tempfile::TempDir;

use crate::files::{self, FileFacts};
use crate::machine::{Machine, Settings, source};
use crate::port::Port;
use crate::programs::{self, Programs, system};
use crate::settings::{self, Client};
use crate::{Error, Result, keys};

/// A running fleet. Dropping it ends every process and removes the directory.
#[derive(Debug)]
pub struct Fleet {
    // In this order: Pis with their tunnels, the jump host, the ports that they listened on, the files.
    pis: Vec<Machine>,
    jump: Machine,
    absent: Vec<String>,
    _ports: Vec<Port>,
    root: TempDir,
    path: PathBuf,
    programs: Programs,
}

/// What fleet to start. The defaults: one Pi, with a tunnel; none offline, none silent.
#[derive(Clone, Debug)]
pub struct Builder {
    pis: usize,
    offline: usize,
    silent: usize,
    tunnels: bool,
    jump_config: String,
    pi_config: String,
    pipeline_config: String,
}

impl Builder {
    /// How many Pis that work: `raspberry1` to `raspberryN`.
    pub fn pis(mut self, count: usize) -> Builder {
        self.pis = count;
        self
    }

    /// How many further Pis without a tunnel: the jump host refuses the connection.
    pub fn offline(mut self, count: usize) -> Builder {
        self.offline = count;
        self
    }

    /// How many further Pis, after the offline ones, whose tunnel accepts and says nothing.
    pub fn silent(mut self, count: usize) -> Builder {
        self.silent = count;
        self
    }

    /// Whether Pis hold real tunnels. Without, each `sshd` listens on the jump host's port itself, which starts faster.
    pub fn tunnels(mut self, tunnels: bool) -> Builder {
        self.tunnels = tunnels;
        self
    }

    /// Lines for the jump host's `sshd_config`. They win over the fixture's own.
    pub fn jump_config(mut self, lines: &str) -> Builder {
        self.jump_config = lines.into();
        self
    }

    /// Lines for every Pi's `sshd_config`. They win over the fixture's own.
    pub fn pi_config(mut self, lines: &str) -> Builder {
        self.pi_config = lines.into();
        self
    }

    /// Lines for `pipeline.yaml`, in block style. Their top-level keys replace the fixture's own.
    pub fn pipeline_config(mut self, yaml: &str) -> Builder {
        self.pipeline_config = yaml.into();
        self
    }

    /// Starts everything and waits until each machine answers with its banner.
    pub fn start(self) -> Result<Fleet> {
        let programs = Programs::find()?;
        let (root, path) = temporary_directory()?;
        let user = run("id", &["-un"])?;
        make_privilege_separation_dir()?;

        let count = self.pis + self.offline + self.silent;
        let mut ports = (0..count).map(|_| Port::reserve()).collect::<Result<Vec<_>>>()?;
        let jump_port = Port::reserve()?;
        let ssh = path.join("ssh");
        for dir in [ssh.clone(), path.join("home"), path.join("storage"), path.join("state")] {
            fs::create_dir(&dir).map_err(Error::file("create", &dir))?;
        }
        let identity = ssh.join("id_ed25519");
        let known_hosts = ssh.join("known_hosts");
        let client =
            Client { user: &user, identity: &identity, known_hosts: &known_hosts, jump_port: jump_port.number() };
        let collector_key = keys::generate(&identity, "collector")? + " collector\n";

        // Each machine's directory, with its keys and who may log in.
        let jump_dir = path.join("awsbox");
        let jump_key = new_machine(&jump_dir, "awsbox")?;
        let jump_line = format!("[127.0.0.1]:{} {jump_key}\n", jump_port.number());
        let mut known = jump_line.clone();
        let mut authorized = collector_key.clone();
        let names: Vec<_> = (1..=count).map(|number| format!("raspberry{number}")).collect();
        let dirs: Vec<_> = names.iter().map(|name| path.join(name)).collect();
        for ((name, dir), port) in names.iter().zip(&dirs).zip(&ports) {
            known += &format!("{name} {}\n", new_machine(dir, name)?);
            write(&dir.join("authorized_keys"), &collector_key)?;
            if self.tunnels {
                let identity = dir.join("tunnel_key");
                let tunnel_key = keys::generate(&identity, &format!("tunnel of {name}"))?;
                authorized += &settings::tunnel_authorization(port.number(), &tunnel_key, name);
                let known_hosts = dir.join("known_hosts");
                write(&known_hosts, &jump_line)?;
                let client = Client { identity: &identity, known_hosts: &known_hosts, ..client };
                write(&dir.join("tunnel_config"), &settings::tunnel(&client))?;
            }
        }
        write(&jump_dir.join("authorized_keys"), &authorized)?;
        write(&known_hosts, &known)?;
        let devices = names.iter().map(String::as_str).zip(ports.iter().map(Port::number));
        let ssh_config = ssh.join("config");
        write(&ssh_config, &settings::collector(&client, devices))?;
        let sources: Vec<_> = dirs.iter().map(|dir| source(dir)).collect();
        let pipeline = settings::Pipeline {
            root: &path,
            ssh_config: &ssh_config,
            storage: &path.join("storage"),
            state_dir: &path.join("state"),
            devices: names.iter().map(String::as_str).zip(sources.iter().map(PathBuf::as_path)).collect(),
            extra: &self.pipeline_config,
        };
        write(&path.join("pipeline.yaml"), &settings::pipeline(&pipeline))?;

        // The machines themselves.
        let mut common = Settings { programs: &programs, user: &user, use_pam: false, has_penalties: has_penalties()? };
        let start_jump = |common: &Settings<'_>| -> Result<Machine> {
            let mut jump = Machine::start(common, "awsbox", &jump_dir, jump_port.number(), &self.jump_config)?;
            jump.wait_until_ready()?;
            Ok(jump)
        };
        let mut jump = start_jump(&common)?;
        if account_is_locked(&jump, &ssh_config)? {
            drop(jump);
            common.use_pam = true;
            jump = start_jump(&common)?;
        }
        let mut pis = Vec::new();
        let mut sshd_ports = Vec::new();
        for ((name, dir), port) in names.iter().zip(&dirs).zip(&ports).take(self.pis) {
            fs::create_dir_all(source(dir)).map_err(Error::file("create", source(dir)))?;
            if self.tunnels {
                sshd_ports.push(Port::reserve()?);
            }
            let port = sshd_ports.last().unwrap_or(port).number();
            pis.push(Machine::start(&common, name, dir, port, &self.pi_config)?);
        }
        for (pi, port) in pis.iter_mut().zip(&ports) {
            pi.wait_until_ready()?;
            if self.tunnels {
                // One after the other: the jump host turns connections away while many are logging in at once.
                pi.open_tunnel(&programs, port.number())?;
                pi.wait_until_ready()?;
            }
        }
        jump.claim_sessions();
        for silent in ports.iter().skip(self.pis + self.offline) {
            silent.accept_in_silence()?;
        }

        let absent = names[self.pis..].to_vec();
        ports.push(jump_port);
        ports.append(&mut sshd_ports);
        Ok(Fleet { pis, jump, absent, _ports: ports, root, path, programs })
    }
}

impl Fleet {
    /// Describes a fleet; [`Builder::start`] starts it.
    pub fn builder() -> Builder {
        Builder {
            pis: 1,
            offline: 0,
            silent: 0,
            tunnels: true,
            jump_config: String::new(),
            pi_config: String::new(),
            pipeline_config: String::new(),
        }
    }

    /// The directory that everything is in.
    pub fn root(&self) -> &Path {
        &self.path
    }

    /// The collector's ssh config: `ssh -F … raspberry1`.
    pub fn ssh_config(&self) -> PathBuf {
        self.path.join("ssh/config")
    }

    /// The host keys of all machines.
    pub fn known_hosts(&self) -> PathBuf {
        self.path.join("ssh/known_hosts")
    }

    /// `pipeline.yaml`.
    pub fn config_file(&self) -> PathBuf {
        self.path.join("pipeline.yaml")
    }

    /// The archive root; empty until `pipeline init`.
    pub fn storage(&self) -> PathBuf {
        self.path.join("storage")
    }

    /// Catalog, locks and agent cache.
    pub fn state_dir(&self) -> PathBuf {
        self.path.join("state")
    }

    /// The jump host.
    pub fn jump(&self) -> &Machine {
        &self.jump
    }

    /// The Pi `raspberryN`.
    ///
    /// # Panics
    /// Where there is none of that number, or it is offline or silent.
    pub fn pi(&self, number: usize) -> &Machine {
        &self.pis[number - 1]
    }

    /// All Pis that work, `raspberry1` first.
    pub fn pis(&self) -> &[Machine] {
        &self.pis
    }

    /// Names of the Pis that can't be reached: offline ones first, then silent ones.
    pub fn absent(&self) -> &[String] {
        &self.absent
    }

    /// Writes a file below a Pi's source, parents included, and gives it that modification time.
    pub fn write(&self, pi: usize, path: &[u8], content: &[u8], modified: SystemTime) -> Result<()> {
        files::write(&self.pi(pi).source(), path, content, modified)
    }

    /// What the Pis hold at this moment, by the path that the default layout gives it: `raspberry1/…`.
    pub fn offered(&self) -> Result<BTreeMap<Vec<u8>, FileFacts>> {
        let mut offered = BTreeMap::new();
        for pi in &self.pis {
            for (path, facts) in files::snapshot(&pi.source())? {
                offered.insert([pi.name().as_bytes(), b"/", &path].concat(), facts);
            }
        }
        Ok(offered)
    }

    /// What the storage holds of the Pis' files at this moment: everything but `.pipeline` and the manifests.
    pub fn archived(&self) -> Result<BTreeMap<Vec<u8>, FileFacts>> {
        let mut archived = files::snapshot(&self.storage())?;
        archived.retain(|path, _| !path.starts_with(b".pipeline/") && !path.starts_with(b"SHA256SUMS/"));
        Ok(archived)
    }

    /// A program of this workspace, ready to be given its subcommand.
    ///
    /// It has `--config` where it is `pipeline`, its own `$HOME`, and no other environment but a plain `PATH`, UTF-8 and `TERM`.
    ///
    /// # Panics
    /// Where this workspace has no such program.
    pub fn command(&self, program: &str) -> Result<Command> {
        let mut command = Command::new(self.programs.path(program)?);
        command.env_clear().env("PATH", programs::PATH).env("LANG", "C.UTF-8").env("HOME", self.path.join("home"));
        if let Some(terminal) = std::env::var_os("TERM") {
            command.env("TERM", terminal);
        }
        if program == "pipeline" {
            // It uploads the agent that lies beside it.
            self.programs.path("pipeline-agent")?;
            command.arg("--config").arg(self.config_file());
        }
        Ok(command)
    }

    /// `ssh` to a machine, as a person would call it.
    pub fn ssh(&self, host: &str) -> Result<Command> {
        let mut command = Command::new(system("ssh")?);
        command.arg("-F").arg(self.ssh_config()).arg(host);
        Ok(command)
    }

    /// Ends every process, and tells whether the directory could be removed. Dropping the fleet does the same silently.
    pub fn end(self) -> Result<()> {
        let Fleet { pis, jump, root, path, .. } = self;
        drop(pis);
        drop(jump);
        root.close().map_err(Error::file("remove", path))
    }
}

/// A new directory, by a name without symbolic links that ssh configuration can carry as it is.
fn temporary_directory() -> Result<(TempDir, PathBuf)> {
    let root = tempfile::Builder::new()
        .prefix("local-fleet-")
        .tempdir()
        .map_err(Error::file("create a directory in", std::env::temp_dir()))?;
    let path = fs::canonicalize(root.path()).map_err(Error::file("resolve", root.path()))?;
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._+-".contains(c);
    if path.to_str().is_some_and(|path| path.chars().all(plain)) {
        Ok((root, path))
    } else {
        Err(Error::AwkwardDirectory(path))
    }
}

/// Makes a machine's directory and host key; returns the public half.
fn new_machine(dir: &Path, name: &str) -> Result<String> {
    fs::create_dir(dir).map_err(Error::file("create", dir))?;
    keys::generate(&dir.join("host_key"), name)
}

fn write(path: &Path, text: &str) -> Result<()> {
    fs::write(path, text).map_err(Error::file("write", path))
}

/// Runs a helper and returns what it says, stderr for a program that says it there.
fn run(program: &str, args: &[&str]) -> Result<String> {
    let failed = |cause| Error::Spawn { program: program.into(), cause };
    let output = Command::new(system(program)?).args(args).output().map_err(failed)?;
    let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).trim().to_owned();
    if output.status.success() { Ok(said) } else { Err(Error::Helper { program: program.into(), said }) }
}

/// Debian's sshd, when root, wants this directory, which only its service makes.
fn make_privilege_separation_dir() -> Result<()> {
    let dir = Path::new("/run/sshd");
    if rustix::process::geteuid().is_root() && !dir.exists() {
        fs::create_dir_all(dir).map_err(Error::file("create", dir))?;
    }
    Ok(())
}

/// Whether this OpenSSH knows `PerSourcePenalties`.
fn has_penalties() -> Result<bool> {
    Ok(version(&run("ssh", &["-V"])?).is_some_and(|version| version >= (9, 8)))
}

/// `OpenSSH_9.2p1 Debian-2…` is (9, 2).
fn version(banner: &str) -> Option<(u32, u32)> {
    let (major, rest) = banner.strip_prefix("OpenSSH_")?.split_once('.')?;
    let minor = rest.split(|c: char| !c.is_ascii_digit()).next()?;
    Some((major.parse().ok()?, minor.parse().ok()?))
}

/// Whether sshd turns this account away because its password is locked, as root's often is. Only root's sshd can see that.
fn account_is_locked(jump: &Machine, ssh_config: &Path) -> Result<bool> {
    static LOCKED: OnceLock<bool> = OnceLock::new();
    if let Some(&locked) = LOCKED.get() {
        return Ok(locked);
    }
    let mut locked = false;
    if rustix::process::geteuid().is_root() {
        let ssh = system("ssh")?;
        let failed = |cause| Error::Spawn { program: "ssh".into(), cause };
        let login = Command::new(ssh).arg("-F").arg(ssh_config).args(["awsbox", "true"]).output().map_err(failed)?;
        let log = fs::read(jump.log()).map_err(Error::file("read", jump.log()))?;
        locked = !login.status.success() && String::from_utf8_lossy(&log).contains("account is locked");
    }
    Ok(*LOCKED.get_or_init(|| locked))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_of_openssh() {
        assert_eq!(version("OpenSSH_9.2p1 Debian-2+deb12u10, OpenSSL 3.0.19"), Some((9, 2)));
        assert_eq!(version("OpenSSH_10.0p2 Debian-7"), Some((10, 0)));
        assert_eq!(version("Dropbear v2022"), None);
    }
}
