//! What fleet to start, and starting it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use tempfile::TempDir;

use crate::account;
use crate::machine::{self, Machine, Settings, source};
use crate::port::Port;
use crate::programs::{Programs, system};
use crate::settings::{self, Client};
use crate::{Error, Fleet, Result, keys};

/// What fleet to start. The defaults: one Pi, with a tunnel; none offline, none silent.
#[derive(Clone, Debug)]
pub struct Builder {
    pis: usize,
    offline: usize,
    silent: usize,
    ids: Option<Vec<u16>>,
    clones: Vec<(u16, u16)>,
    passwords: Option<Passwords>,
    tunnels: bool,
    jump_config: String,
    pi_config: String,
    pipeline_config: String,
}

#[derive(Clone)]
struct Passwords {
    jump: String,
    pi: String,
}

impl std::fmt::Debug for Passwords {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Passwords(…)")
    }
}

impl Default for Builder {
    fn default() -> Builder {
        Builder {
            pis: 1,
            offline: 0,
            silent: 0,
            ids: None,
            clones: Vec::new(),
            passwords: None,
            tunnels: true,
            jump_config: String::new(),
            pi_config: String::new(),
            pipeline_config: String::new(),
        }
    }
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

    /// Their numbers, in place of 1, 2, …: first those that work, then the offline ones, then the silent ones. `raspberryN` is
    /// then at port [`base_port`](Fleet::base_port) + N of the jump host.
    pub fn ids(mut self, ids: &[u16]) -> Builder {
        self.ids = Some(ids.to_vec());
        self
    }

    /// Has the Pi of one id run from a copy of another's card: its host key is the other's.
    pub fn cloned(mut self, id: u16, of: u16) -> Builder {
        self.clones.push((id, of));
        self
    }

    /// Gives the machines accounts of their own with passwords, [`account::JUMP_USER`] and [`account::PI_USER`], and the collector
    /// nothing at all: no key, no config, and nowhere is a key of its own installed.
    ///
    /// `~/.ssh/authorized_keys` is the one in [`Machine::home`]. PAM is the real one. See [`account`] for how, and for what it needs.
    pub fn passwords(mut self, jump: &str, pi: &str) -> Builder {
        self.passwords = Some(Passwords { jump: jump.into(), pi: pi.into() });
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
    ///
    /// # Panics
    /// Where [`ids`](Builder::ids) were given and are not as many as there are Pis.
    pub fn start(self) -> Result<Fleet> {
        let programs = Programs::find()?;
        let (root, path) = temporary_directory()?;
        let user = run("id", &["-un"])?;
        make_privilege_separation_dir()?;

        let count = self.pis + self.offline + self.silent;
        let (names, mut ports, base_port) = match &self.ids {
            Some(ids) => {
                assert_eq!(ids.len(), count, "an id for each Pi");
                let (ports, base) = Port::reserve_above_base(ids)?;
                (ids.iter().map(|id| format!("raspberry{id}")).collect::<Vec<_>>(), ports, base)
            }
            None => {
                let ports = (0..count).map(|_| Port::reserve()).collect::<Result<Vec<_>>>()?;
                ((1..=count).map(|number| format!("raspberry{number}")).collect(), ports, 0)
            }
        };
        let jump_port = Port::reserve()?;
        let fresh = self.passwords.is_some();
        let ssh = path.join("ssh");
        for dir in [path.join("home"), path.join("storage"), path.join("state")] {
            make_dir(&dir)?;
        }
        let identity = ssh.join("id_ed25519");
        let known_hosts = ssh.join("known_hosts");
        let user_there = if fresh { account::JUMP_USER } else { &user };
        let client =
            Client { user: user_there, identity: &identity, known_hosts: &known_hosts, jump_port: jump_port.number() };
        let collector_key = if fresh {
            String::new()
        } else {
            make_dir(&ssh)?;
            keys::generate(&identity, "collector")? + " collector\n"
        };

        // Each machine's directory, with its keys and who may log in.
        let jump_dir = path.join("awsbox");
        let jump_key = new_machine(&jump_dir, "awsbox")?;
        let jump_line = format!("[127.0.0.1]:{} {jump_key}\n", jump_port.number());
        let mut known = jump_line.clone();
        let mut authorized = collector_key.clone();
        let dirs: Vec<_> = names.iter().map(|name| path.join(name)).collect();
        for ((name, dir), port) in names.iter().zip(&dirs).zip(&ports) {
            known += &format!("{name} {}\n", new_machine(dir, name)?);
            if !fresh {
                write(&dir.join("authorized_keys"), &collector_key)?;
            }
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
        for (id, of) in &self.clones {
            let key = |id| path.join(format!("raspberry{id}/host_key"));
            fs::copy(key(of), key(id)).map_err(Error::file("copy", key(of)))?;
        }
        if fresh {
            account::authorize(&machine::home(&jump_dir), &authorized)?;
        } else {
            write(&jump_dir.join("authorized_keys"), &authorized)?;
            write(&known_hosts, &known)?;
            let devices = names.iter().map(String::as_str).zip(ports.iter().map(Port::number));
            write(&ssh.join("config"), &settings::collector(&client, devices))?;
            let sources: Vec<_> = dirs.iter().map(|dir| source(dir)).collect();
            let pipeline = settings::Pipeline {
                root: &path,
                ssh_config: &ssh.join("config"),
                storage: &path.join("storage"),
                state_dir: &path.join("state"),
                devices: names.iter().map(String::as_str).zip(sources.iter().map(PathBuf::as_path)).collect(),
                extra: &self.pipeline_config,
            };
            write(&path.join("pipeline.yaml"), &settings::pipeline(&pipeline))?;
        }

        // The machines themselves.
        let passwords = self.passwords.as_ref();
        let jump_account = passwords.map(|passwords| (account::JUMP_USER, passwords.jump.as_str()));
        let pi_account = passwords.map(|passwords| (account::PI_USER, passwords.pi.as_str()));
        let mut common = Settings {
            programs: &programs,
            user: &user,
            account: jump_account,
            use_pam: false,
            has_penalties: has_penalties()?,
        };
        let start_jump = |common: &Settings<'_>| -> Result<Machine> {
            let mut jump = Machine::start(common, "awsbox", &jump_dir, jump_port.number(), &self.jump_config)?;
            jump.wait_until_ready()?;
            Ok(jump)
        };
        let mut jump = start_jump(&common)?;
        if !fresh && account_is_locked(&jump, &ssh.join("config"))? {
            drop(jump);
            common.use_pam = true;
            jump = start_jump(&common)?;
        }
        common.account = pi_account;
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
        Ok(Fleet { pis, jump, absent, base_port, _ports: ports, root, path, programs, fresh })
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
    make_dir(dir)?;
    keys::generate(&dir.join("host_key"), name)
}

fn make_dir(dir: &Path) -> Result<()> {
    fs::create_dir(dir).map_err(Error::file("create", dir))
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
