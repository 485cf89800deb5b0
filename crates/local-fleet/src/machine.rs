//! One machine of the fleet: an `sshd` with its own host key, port and home; for a Pi, its reverse tunnel too.
//!
//! Guarantees that a started machine is ready: its banner was read, through the tunnel where there is one. Dropping it ends
//! every process that ran on it.

use std::collections::HashSet;
use std::fs;
use std::io::Read;
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal};

use crate::account::{Account, Room};
use crate::leash::{Leash, tail};
use crate::process::{Process, signal};
use crate::programs::{Programs, system};
use crate::settings;
use crate::{Error, Result};

/// How long a server may take until its banner is there. Generous: computers that run tests are busy.
const READY_WITHIN: Duration = Duration::from_secs(30);

/// A jump host or a Pi.
#[derive(Debug)]
pub struct Machine {
    name: String,
    dir: PathBuf,
    port: u16,
    // The tunnel goes before the sshd that it leads to.
    tunnel: Option<Leash>,
    sshd: Leash,
    /// Sessions that serve the fleet itself: on the jump host, those of the Pis' tunnels.
    own_sessions: HashSet<Pid>,
}

/// What the start of any `sshd` of the fleet has in common.
pub(crate) struct Settings<'a> {
    pub programs: &'a Programs,
    pub user: &'a str,
    /// Name and password of an account of the machine's own, in place of `user`.
    pub account: Option<(&'a str, &'a str)>,
    pub use_pam: bool,
    pub has_penalties: bool,
}

impl Machine {
    /// Starts an `sshd` that listens on `port`. `dir` holds its `host_key` and `authorized_keys` already.
    ///
    /// Does not wait: see [`Machine::wait_until_ready`].
    pub(crate) fn start(common: &Settings<'_>, name: &str, dir: &Path, port: u16, extra: &str) -> Result<Machine> {
        let home = home(dir);
        fs::create_dir_all(&home).map_err(Error::file("create", &home))?;
        // Whatever the umask: `StrictModes` wants that nobody else can write there.
        let mode = fs::Permissions::from_mode(0o755);
        fs::set_permissions(&home, mode).map_err(Error::file("change the mode of", &home))?;
        let text = settings::sshd(&settings::Sshd {
            dir,
            home: &home,
            port,
            own_account: common.account.is_some(),
            use_pam: common.use_pam || common.account.is_some(),
            has_penalties: common.has_penalties,
            extra,
        });
        let config = dir.join("sshd_config");
        fs::write(&config, text).map_err(Error::file("write", &config))?;
        let profile = home.join(".profile");
        let user = common.account.map_or(common.user, |(user, _)| user);
        fs::write(&profile, settings::profile(user, name)).map_err(Error::file("write", &profile))?;

        // sshd runs itself again for each connection: it must know itself and its log by absolute paths.
        let log = log(dir);
        let args = ["-D".as_ref(), "-f".as_ref(), config.as_os_str(), "-E".as_ref(), log.as_os_str()];
        let sshd = system("sshd")?;
        let sshd = match common.account {
            None => Leash::start(common.programs, &sshd, &args, &log)?,
            Some((user, password)) => {
                let room = Room::new(&dir.join("etc"), &Account::with_password(user, password, &home)?)?;
                let (unshare, mut through) = room.door(&sshd)?;
                through.extend(args.map(Into::into));
                Leash::start(common.programs, &unshare, &through, &log)?
            }
        };
        Ok(Machine { name: name.into(), dir: dir.into(), port, tunnel: None, sshd, own_sessions: HashSet::new() })
    }

    /// Has the machine hold a tunnel: from now on it is reached at `port` of the jump host.
    pub(crate) fn open_tunnel(&mut self, programs: &Programs, port: u16) -> Result<()> {
        let config = self.dir.join("tunnel_config");
        let forward = format!("127.0.0.1:{port}:127.0.0.1:{}", self.port);
        let args =
            ["-F".as_ref(), config.as_os_str(), "-N".as_ref(), "-R".as_ref(), forward.as_ref(), "awsbox".as_ref()];
        self.tunnel = Some(Leash::start(programs, &system("ssh")?, &args, &self.dir.join("tunnel.log"))?);
        self.port = port;
        Ok(())
    }

    /// Waits for its banner.
    pub(crate) fn wait_until_ready(&mut self) -> Result<()> {
        let start = Instant::now();
        loop {
            let (leash, log) = match &mut self.tunnel {
                Some(tunnel) => (tunnel, self.dir.join("tunnel.log")),
                None => (&mut self.sshd, log(&self.dir)),
            };
            let ended = leash.has_ended();
            if says_banner(self.port) {
                return Ok(());
            }
            if ended || start.elapsed() > READY_WITHIN {
                return Err(Error::NotReady { name: self.name.clone(), port: self.port, log: tail(&log) });
            }
            thread::sleep(Duration::from_millis(5));
        }
    }

    /// Takes every session of this moment for one that serves the fleet itself.
    pub(crate) fn claim_sessions(&mut self) {
        self.own_sessions = self.sshds().map(|process| process.pid).collect();
    }

    /// Its alias in the ssh config.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Where it is reached: for a Pi, the port on the jump host.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// `$HOME` of whoever logs in; where the machine has an account of its own, `~` as well.
    pub fn home(&self) -> PathBuf {
        home(&self.dir)
    }

    /// Where a Pi keeps its data. The jump host has none.
    pub fn source(&self) -> PathBuf {
        source(&self.dir)
    }

    /// What its `sshd` logged.
    pub fn log(&self) -> PathBuf {
        log(&self.dir)
    }

    /// The listening `sshd`.
    pub fn sshd_pid(&self) -> u32 {
        number(self.sshd.program())
    }

    /// The `sshd` of each connection (the privileged one, where there are two). Not those that serve the Pis' tunnels.
    pub fn session_pids(&self) -> Vec<u32> {
        let listener = Some(self.sshd.program());
        let sessions = self.sessions().filter(|process| process.parent == listener);
        sessions.map(|process| number(process.pid)).collect()
    }

    /// The processes of a program that run on it, whose names begin like this.
    pub fn pids_of(&self, program: &str) -> Vec<u32> {
        let all = self.sshd.processes().into_iter();
        all.filter(|process| process.name.starts_with(program)).map(|process| number(process.pid)).collect()
    }

    /// Ends the `sshd`s of all connections with `kill -9`, as if those had crashed, and says how many processes that were.
    ///
    /// The listener, the Pis' tunnels and the programs that ran in the sessions live on.
    pub fn kill_sessions(&self) -> usize {
        self.sessions().map(|process| signal(process.pid, Signal::KILL)).count()
    }

    /// Freezes every process of the machine, its tunnel included: it goes on accepting connections and says nothing more.
    ///
    /// Returns once all are frozen.
    pub fn stop(&self) {
        loop {
            let running: Vec<_> = self.processes().filter(|process| !process.stopped).collect();
            if running.is_empty() {
                return;
            }
            running.iter().for_each(|process| signal(process.pid, Signal::STOP));
            thread::yield_now();
        }
    }

    /// Lets a frozen machine go on.
    pub fn cont(&self) {
        self.processes().for_each(|process| signal(process.pid, Signal::CONT));
    }

    fn processes(&self) -> impl Iterator<Item = Process> {
        let tunnel = self.tunnel.as_ref().map(Leash::processes).unwrap_or_default();
        self.sshd.processes().into_iter().chain(tunnel)
    }

    fn sessions(&self) -> impl Iterator<Item = Process> {
        self.sshds().filter(|process| !self.own_sessions.contains(&process.pid))
    }

    /// All `sshd`s but the listener. Since 9.8 a session's program is `sshd-session`.
    fn sshds(&self) -> impl Iterator<Item = Process> {
        let listener = self.sshd.program();
        let all = self.sshd.processes().into_iter();
        all.filter(move |process| process.pid != listener && process.name.starts_with("sshd"))
    }
}

/// `$HOME` on the machine that lives in `dir`.
pub(crate) fn home(dir: &Path) -> PathBuf {
    dir.join("home/pi")
}

/// Where the Pi that lives in `dir` keeps its data.
pub(crate) fn source(dir: &Path) -> PathBuf {
    home(dir).join("beephotos")
}

/// The log of the machine that lives in `dir`.
fn log(dir: &Path) -> PathBuf {
    dir.join("sshd.log")
}

/// Whether an SSH server speaks on a port.
fn says_banner(port: u16) -> bool {
    let Ok(mut stream) = TcpStream::connect(("127.0.0.1", port)) else { return false };
    stream.set_read_timeout(Some(READY_WITHIN)).ok();
    let mut banner = [0; 4];
    stream.read_exact(&mut banner).is_ok() && &banner == b"SSH-"
}

/// As the standard library counts processes.
fn number(pid: Pid) -> u32 {
    pid.as_raw_nonzero().get().unsigned_abs()
}
