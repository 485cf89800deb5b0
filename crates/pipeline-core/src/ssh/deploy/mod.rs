//! Gets the agent to run on a device, and puts it there first where it is missing.
//!
//! Guarantees: where the right agent is there, starting it is one command and one round trip; where it is missing, the same
//! command takes it, which is one round trip more; an agent is known by the digest in its name, and has that name only after its
//! content was checked on the device; every way in which it can fail to start has its own error. Nothing needs root, and
//! nothing outside `~/.cache/pipeline` is touched.
//!
//! Leaves to others: the connection (`connector`), and talking to the agent once it runs ([`crate::remote::agent`]).

mod binaries;
mod error;
mod script;

use std::io::{ErrorKind, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::sync::OnceLock;
use std::time::Duration;

use rustix::event::PollFlags;
use rustix::net::{RecvFlags, recv};

use super::error::SshError;
use super::hop::Connection;
use super::mux::{ExecLane, Mux};
use super::patience::{Impatience, LOOK, Patience};
use crate::cancel::Cancel;
use crate::event::{Event, Observer};
use crate::path::DeviceName;
use crate::remote::{Intent, sftp};
use crate::wire::MAGIC;
use binaries::{Arch, Binary};
use script::Answer;

pub use error::DeployError;
pub(super) use error::one_line;

/// A shell that has said nothing for this long may be an SFTP server that waits to be greeted.
const SHELL_ANSWERS: Duration = Duration::from_secs(2);
/// What start-up files may print before our own answer. More is no noise but a stream.
const MAX_NOISE_BYTES: usize = 64 * 1024;
/// How long to wait for the rest of a word that has begun to come.
const PEEK_AGAIN: Duration = Duration::from_millis(5);
/// An upload takes as long as the link needs; that the device still lives is watched by its connection.
const INSTALL_LIMIT: Duration = Duration::from_secs(15 * 60);

/// The agents of this collector.
#[derive(Debug)]
pub struct Agents {
    dirs: Vec<PathBuf>,
    found: OnceLock<Vec<Binary>>,
}

/// Puts the agent on a machine over a login that may run commands, and leaves it alone; the path of its file below the home.
///
/// Nothing is sent where it is there already. After an error nothing has its name that is not whole. `limit` is how long the
/// machine may take to answer.
pub fn put(
    agents: &Agents,
    connection: &Connection,
    device: &DeviceName,
    limit: Duration,
    cancel: &Cancel,
    observer: &dyn Observer,
) -> Result<String, SshError> {
    let machine = connection.run("uname -m", b"", &Patience::new(limit, cancel))?.stdout;
    let binary = agents.for_machine(String::from_utf8_lossy(&machine).trim())?;
    let mux = &connection.mux;
    let deployment = Deployment { agents, mux, device, cancel, observer, limit, intent: Intent::Change };
    // It ends with its lane.
    match deployment.start(b"/")?.origin {
        Origin::Found | Origin::Installed => Ok(format!("{}/{}", script::BELOW_HOME, binary.name)),
        Origin::Bound => Err(DeployError::Noise("an agent".into()).into()),
    }
}

/// Where and how to deploy.
pub(super) struct Deployment<'a> {
    pub(super) agents: &'a Agents,
    pub(super) mux: &'a Mux,
    pub(super) device: &'a DeviceName,
    pub(super) cancel: &'a Cancel,
    pub(super) observer: &'a dyn Observer,
    /// How long the device may take to answer.
    pub(super) limit: Duration,
    /// Whether the agent may be put there.
    pub(super) intent: Intent,
}

/// A command from which an agent answers.
pub(super) struct Started {
    pub(super) lane: ExecLane,
    pub(super) origin: Origin,
}

/// Where an agent came from that answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Origin {
    /// It was there.
    Found,
    /// It was put there just now.
    Installed,
    /// The key is bound to it: it answers whatever is asked.
    Bound,
}

impl Agents {
    /// Looks for agents in `dirs` when they are first needed.
    pub fn new(dirs: Vec<PathBuf>) -> Agents {
        Agents { dirs, found: OnceLock::new() }
    }

    /// The kinds of machine that there is an agent for, and those that there is none for: as in the names of agents.
    pub fn served(&self) -> Result<(Vec<String>, Vec<String>), DeployError> {
        let here: Vec<Arch> = self.binaries()?.iter().map(|binary| binary.arch).collect();
        let (served, lacking): (Vec<Arch>, Vec<Arch>) = Arch::ALL.into_iter().partition(|arch| here.contains(arch));
        let names = |archs: Vec<Arch>| archs.iter().map(Arch::to_string).collect();
        Ok((names(served), names(lacking)))
    }

    fn binaries(&self) -> Result<&[Binary], DeployError> {
        if let Some(found) = self.found.get() {
            return Ok(found);
        }
        let found = binaries::find(&self.dirs)?;
        Ok(self.found.get_or_init(|| found))
    }

    /// Where those are that we found.
    pub(super) fn homes(&self) -> Vec<PathBuf> {
        let binaries = self.found.get().into_iter().flatten();
        let mut dirs: Vec<PathBuf> = binaries.filter_map(|binary| Some(binary.path.parent()?.to_owned())).collect();
        dirs.sort();
        dirs.dedup();
        dirs
    }

    fn for_machine(&self, machine: &str) -> Result<&Binary, DeployError> {
        let arch = Arch::of_machine(machine);
        let binary = self.binaries()?.iter().find(|binary| Some(binary.arch) == arch);
        binary.ok_or_else(|| DeployError::NoBinary { machine: machine.to_owned(), dirs: self.dirs.clone() })
    }
}

impl Deployment<'_> {
    /// Starts the agent for `source`, installing it first where it is missing.
    pub(super) fn start(&self, source: &[u8]) -> Result<Started, DeployError> {
        self.start_one_of(self.agents.binaries()?, source)
    }

    /// Installs the agent although one of that name is there, because that one did not start, and starts it.
    pub(super) fn reinstall(&self, source: &[u8]) -> Result<ExecLane, DeployError> {
        // With nothing to choose from, the device takes what it is given.
        match self.start_one_of(&[], source)? {
            Started { lane, origin: Origin::Installed } => Ok(lane),
            Started { origin: Origin::Found | Origin::Bound, .. } => Err(DeployError::Noise("start".into())),
        }
    }

    fn start_one_of(&self, binaries: &[Binary], source: &[u8]) -> Result<Started, DeployError> {
        let lane = self.exec(&script::start(binaries, source))?;
        if self.is_agent(&lane)? {
            return Ok(Started { lane, origin: Origin::Bound });
        }
        match self.answer(&lane, self.limit)? {
            Answer::Start => Ok(Started { lane, origin: Origin::Found }),
            Answer::Missing { machine, unpacks } => {
                self.install(&lane, &machine, unpacks)?;
                Ok(Started { lane, origin: Origin::Installed })
            }
            other => Err(DeployError::of_answer(other)),
        }
    }

    /// Gives the device the agent that it waits for. Whatever ends this early ends its waiting, too: nothing comes any more.
    fn install(&self, lane: &ExecLane, machine: &str, unpacks: bool) -> Result<(), DeployError> {
        let binary = self.agents.for_machine(machine)?;
        if self.intent == Intent::Look {
            return Err(DeployError::NotThere);
        }
        let upload = binary.upload(unpacks)?;
        let patience = Patience::new(INSTALL_LIMIT, self.cancel);
        let head = script::head(binary, upload.len());
        // A device that gives up early says why in its answer.
        let _taken = send(&lane.stream, head.as_bytes(), &patience)? && send(&lane.stream, &upload, &patience)?;
        match self.answer(lane, patience.left())? {
            Answer::Start => {}
            other => return Err(DeployError::of_answer(other)),
        }
        self.observer.event(&Event::AgentInstalled {
            device: self.device.clone(),
            name: binary.name.clone(),
            bytes: binary.bytes,
        });
        Ok(())
    }

    fn exec(&self, command: &str) -> Result<ExecLane, DeployError> {
        self.mux.exec(command, &Patience::new(self.limit, self.cancel)).map_err(DeployError::Exec)
    }

    /// Whether an agent speaks at once, before any shell. Nothing is taken from what is said.
    fn is_agent(&self, lane: &ExecLane) -> Result<bool, DeployError> {
        let patience = Patience::new(self.limit, self.cancel);
        let mut shell = Patience::new(SHELL_ANSWERS.min(self.limit), self.cancel);
        let mut seen = [0; MAGIC.len()];
        loop {
            match shell.wait_for(&lane.stream, PollFlags::IN) {
                Ok(_) => {}
                Err(Impatience::Cancelled) => return Err(DeployError::Stopped),
                Err(Impatience::TimedOut) if patience.left().is_zero() => return Err(DeployError::Silent),
                Err(Impatience::TimedOut) if self.answers_with_sftp()? => return Err(DeployError::SftpOnly),
                // It is only slow.
                Err(Impatience::TimedOut) => {
                    shell = patience.clone();
                    continue;
                }
            }
            match recv(&lane.stream, &mut seen, RecvFlags::PEEK) {
                Ok((_, bytes)) if bytes == seen.len() => return Ok(seen == MAGIC),
                // The rest is on its way.
                Ok((_, bytes)) if bytes > 0 && MAGIC.starts_with(&seen[..bytes]) => {
                    check(&patience)?;
                    std::thread::sleep(PEEK_AGAIN);
                }
                _ => return Ok(false),
            }
        }
    }

    /// Whether every command of ours becomes an SFTP server. Asked over a lane of its own: a slow shell may still answer on the
    /// other, and what an agent is given must not begin with a greeting for somebody else.
    fn answers_with_sftp(&self) -> Result<bool, DeployError> {
        let lane = self.exec("exit 0")?;
        let patience = Patience::new(self.limit, self.cancel);
        let mut first = [0];
        // A shell has ended by now, and takes nothing.
        send(&lane.stream, &sftp::greeting(), &patience)?;
        Ok(receive(&lane.stream, &mut first, &patience)? && sftp::is_welcome(&first))
    }

    /// What is said after [`script::MARK`]. What comes before it is noise, what comes after is left unread.
    fn answer(&self, lane: &ExecLane, limit: Duration) -> Result<Answer, DeployError> {
        let patience = Patience::new(limit, self.cancel);
        let mut seen = Vec::new();
        let mark = script::MARK.as_bytes();
        let mut start = None;
        loop {
            let mut byte = [0];
            if !receive(&lane.stream, &mut byte, &patience)? {
                return Err(DeployError::unanswered(&seen, words(lane)));
            }
            match start {
                Some(start) if byte == *b"\n" => {
                    let line = String::from_utf8_lossy(&seen[start..]);
                    return Answer::read(line.trim())
                        .ok_or_else(|| DeployError::Noise(error::beginning(&seen[start..])));
                }
                _ => seen.push(byte[0]),
            }
            if seen.ends_with(mark) {
                start = Some(seen.len());
            }
            if seen.len() > MAX_NOISE_BYTES {
                return Err(DeployError::Noise(error::beginning(&seen)));
            }
        }
    }
}

/// Writes it all; false where the other side takes no more.
fn send(mut stream: &UnixStream, mut bytes: &[u8], patience: &Patience) -> Result<bool, DeployError> {
    stream.set_write_timeout(Some(LOOK)).map_err(DeployError::Local)?;
    while !bytes.is_empty() {
        check(patience)?;
        match stream.write(bytes) {
            Ok(n) => bytes = &bytes[n..],
            Err(e) if matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => {}
            Err(_) => return Ok(false),
        }
    }
    Ok(true)
}

/// Reads one byte; false at the end.
fn receive(mut stream: &UnixStream, byte: &mut [u8; 1], patience: &Patience) -> Result<bool, DeployError> {
    stream.set_read_timeout(Some(LOOK)).map_err(DeployError::Local)?;
    loop {
        match stream.read(byte) {
            Ok(n) => return Ok(n > 0),
            Err(e) if matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => check(patience)?,
            Err(_) => return Ok(false),
        }
    }
}

fn check(patience: &Patience) -> Result<(), DeployError> {
    match patience.slice() {
        Ok(_) => Ok(()),
        Err(Impatience::TimedOut) => Err(DeployError::Silent),
        Err(Impatience::Cancelled) => Err(DeployError::Stopped),
    }
}

/// What the device's shell said on stderr, on one line. Whole only once the lane has ended.
fn words(lane: &ExecLane) -> String {
    let tail = lane.errors.lock().unwrap_or_else(|e| e.into_inner());
    one_line(&tail)
}
