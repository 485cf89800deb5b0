//! What a test or the demo asks of a running fleet.
//!
//! Below the root: `awsbox/` and `raspberryN/` (machines), `ssh/` (the collector's config, key and known_hosts), `home/` (the
//! collector's), `storage/`, `state/` and `pipeline.yaml`. Where the machines have passwords, the collector begins with an empty
//! home: no `ssh/` and no `pipeline.yaml`.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::SystemTime;

use tempfile::TempDir;

use crate::account::{Account, Room};
use crate::builder::Builder;
use crate::files::{self, FileFacts};
use crate::machine::Machine;
use crate::port::Port;
use crate::programs::{self, Programs, system};
use crate::{Error, Result};

/// A running fleet. Dropping it ends every process and removes the directory.
#[derive(Debug)]
pub struct Fleet {
    // In this order: Pis with their tunnels, the jump host, the ports that they listened on, the files.
    pub(crate) pis: Vec<Machine>,
    pub(crate) jump: Machine,
    pub(crate) absent: Vec<String>,
    pub(crate) base_port: u16,
    pub(crate) _ports: Vec<Port>,
    pub(crate) root: TempDir,
    pub(crate) path: PathBuf,
    pub(crate) programs: Programs,
    /// The collector begins with nothing.
    pub(crate) fresh: bool,
}

impl Fleet {
    /// Describes a fleet; [`Builder::start`] starts it.
    pub fn builder() -> Builder {
        Builder::default()
    }

    /// The directory that everything is in.
    pub fn root(&self) -> &Path {
        &self.path
    }

    /// The collector's ssh config: `ssh -F … raspberry1`. Of a fresh collector, where it belongs.
    pub fn ssh_config(&self) -> PathBuf {
        self.path.join(if self.fresh { "home/.ssh/config" } else { "ssh/config" })
    }

    /// The host keys of all machines. Of a fresh collector, where they belong.
    pub fn known_hosts(&self) -> PathBuf {
        self.path.join(if self.fresh { "home/.ssh/known_hosts" } else { "ssh/known_hosts" })
    }

    /// `pipeline.yaml`. Of a fresh collector, where it belongs.
    pub fn config_file(&self) -> PathBuf {
        self.path.join(if self.fresh { "home/.config/pipeline/pipeline.yaml" } else { "pipeline.yaml" })
    }

    /// The collector's `$HOME`.
    pub fn home(&self) -> PathBuf {
        self.path.join("home")
    }

    /// The port of `raspberryN` on the jump host, less N. Only for a fleet of given [`ids`](Builder::ids).
    ///
    /// # Panics
    /// Where the ids were not given.
    pub fn base_port(&self) -> u16 {
        assert_ne!(self.base_port, 0, "the ports of this fleet follow no rule");
        self.base_port
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
        let name = format!("raspberry{number}");
        self.pis.iter().find(|pi| pi.name() == name).expect("a Pi that works")
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
    /// It has `--config` where it is `pipeline` and the collector is not fresh, its own `$HOME`, and no other environment but a plain `PATH`, UTF-8 and `TERM`.
    ///
    /// # Panics
    /// Where this workspace has no such program.
    pub fn command(&self, program: &str) -> Result<Command> {
        let mut command = Command::new(self.ours(program)?);
        command.env_clear().env("PATH", programs::PATH).env("LANG", "C.UTF-8").env("HOME", self.path.join("home"));
        if let Some(terminal) = std::env::var_os("TERM") {
            command.env("TERM", terminal);
        }
        if program == "pipeline" && !self.fresh {
            command.arg("--config").arg(self.config_file());
        }
        Ok(command)
    }

    /// A program on the collector, of this workspace or of the system, as a person there would run it: `collector` is the user,
    /// for the user database too. OpenSSH's own `ssh` asks that one for `~`, and not `$HOME`.
    ///
    /// The environment is that of [`command`](Fleet::command). Needs user namespaces: see [`account`](crate::account).
    pub fn at_home(&self, program: &str) -> Result<Command> {
        let path = if programs::is_ours(program) { self.ours(program)? } else { system(program)? };
        let room = Room::new(&self.path.join("home.etc"), &Account::without_password("collector", &self.home()))?;
        let (unshare, args) = room.door(&path)?;
        let mut command = Command::new(unshare);
        command.args(args).env_clear().env("PATH", programs::PATH).env("LANG", "C.UTF-8");
        command.env("HOME", self.home()).env("USER", "collector").env("LOGNAME", "collector");
        Ok(command)
    }

    /// From now on the collector's programs are those that speak the next protocol, as after an upgrade, or again those of this
    /// version. Tests alone can have them: cargo builds them.
    pub fn upgrade(&mut self, to_next_protocol: bool) {
        self.programs = self.programs.of_next_protocol(to_next_protocol);
    }

    /// The path of a program of this workspace.
    fn ours(&self, program: &str) -> Result<PathBuf> {
        if matches!(program, "pipeline" | "keytool") {
            // It uploads the agent that lies beside it.
            self.programs.path("pipeline-agent")?;
        }
        self.programs.path(program)
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
