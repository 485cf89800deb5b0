//! Why there is no agent on a device.

use std::path::PathBuf;

use super::binaries::Arch;
use super::script::Answer;
use crate::error::{Class, Classified};
use crate::ssh::mux::OpenError;

/// Why no agent runs on a device.
#[derive(Debug, thiserror::Error)]
pub enum DeployError {
    /// There is no agent for that kind of machine among ours.
    #[error("there is no agent for a machine that calls itself '{machine}'")]
    NoBinary {
        /// What `uname -m` says there.
        machine: String,
        /// Where we looked.
        dirs: Vec<PathBuf>,
    },
    /// One of our agents can't be read.
    #[error("can't read the agent {}", path.display())]
    Read {
        /// Which.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// One of our agents is not what its name says.
    #[error("{} is not a program for {arch}", path.display())]
    WrongBinary {
        /// Which.
        path: PathBuf,
        /// What it should be for.
        arch: Arch,
    },
    /// It is not on the device, and the device must not be changed.
    #[error("the agent is not on the device yet")]
    NotThere,
    /// The device runs no command for us.
    #[error("the device runs no command for us")]
    Exec(#[source] OpenError),
    /// The login gets an SFTP server whatever it asks for.
    #[error("the login may use SFTP only")]
    SftpOnly,
    /// The key is bound to an agent that does not serve us; its words.
    #[error("the agent that the key is bound to does not serve us: {0}")]
    Bound(String),
    /// One of our own agents was put there, or was there, and does not serve us; its words.
    #[error("the agent that we put there does not serve us: {words}")]
    OtherVersion {
        /// What it said.
        words: String,
        /// Where ours are.
        dirs: Vec<PathBuf>,
    },
    /// The account has no home directory.
    #[error("the login has no home directory on the device")]
    Homeless,
    /// The agent's directory can't be made, or not be written to; the device's words.
    #[error("the agent can't be put into ~/.cache/pipeline on the device: {0}")]
    Unwritable(String),
    /// The device's disk is full; its words.
    #[error("there is no space for the agent on the device: {0}")]
    NoSpace(String),
    /// Programs in the home directory can't be run.
    #[error("programs in ~/.cache/pipeline can't be run on the device: {0}")]
    NoExec(String),
    /// The device can't run this kind of program; its words.
    #[error("the device can't run this kind of program: {0}")]
    WrongArch(String),
    /// The agent arrived otherwise than it was sent.
    #[error("the agent was damaged on its way to the device")]
    Damaged,
    /// The agent ended at once; its words, or the shell's.
    #[error("the agent ends at once: {0}")]
    Ended(String),
    /// The shell answered something else, or nothing; its words.
    #[error("the device's shell answers something else: {0}")]
    Noise(String),
    /// The shell did not answer.
    #[error("the device's shell does not answer")]
    Silent,
    /// Our end of the connection can't be used.
    #[error("can't set a time-out")]
    Local(#[source] std::io::Error),
    /// Somebody asked to stop.
    #[error("stopped")]
    Stopped,
}

impl DeployError {
    /// Of an answer that is not what was hoped for.
    pub(super) fn of_answer(answer: Answer) -> DeployError {
        match answer {
            Answer::Homeless => DeployError::Homeless,
            Answer::Failed { step, words } => DeployError::of_step(&step, words),
            Answer::Start | Answer::Missing { .. } => DeployError::Noise("what was not asked".into()),
        }
    }

    fn of_step(step: &str, words: String) -> DeployError {
        if words.contains("No space left") || words.contains("quota exceeded") {
            return DeployError::NoSpace(words);
        }
        match step {
            "size" | "digest" => DeployError::Damaged,
            "noexec" => DeployError::NoExec("the file system is mounted noexec".into()),
            _ => DeployError::Unwritable(words),
        }
    }

    /// Of an agent that was to start, and of what was said instead.
    pub(in crate::ssh) fn of_start(words: String) -> DeployError {
        if words.contains("Exec format error") || words.contains("Syntax error") || words.contains("cannot execute") {
            DeployError::WrongArch(words)
        } else if words.contains("Permission denied") || words.contains("exit status 126") {
            DeployError::NoExec(words)
        } else {
            DeployError::Ended(words)
        }
    }

    /// Whether the device can be served without an agent instead. Not where the fault is our own or passes, and not where even
    /// an SFTP server would not be reached.
    pub(in crate::ssh) fn leaves_sftp(&self) -> bool {
        match self {
            DeployError::NotThere
            | DeployError::SftpOnly
            | DeployError::NoBinary { .. }
            | DeployError::Homeless
            | DeployError::Unwritable(_)
            | DeployError::NoSpace(_)
            | DeployError::NoExec(_)
            | DeployError::WrongArch(_)
            | DeployError::Ended(_)
            | DeployError::Noise(_) => true,
            DeployError::Exec(error) => {
                matches!(error, OpenError::Denied(_) | OpenError::Refused | OpenError::Prohibited)
            }
            DeployError::Read { .. }
            | DeployError::WrongBinary { .. }
            | DeployError::Bound(_)
            | DeployError::OtherVersion { .. }
            | DeployError::Damaged
            | DeployError::Silent
            | DeployError::Local(_)
            | DeployError::Stopped => false,
        }
    }

    /// Of a command that ended without an answer, what it printed instead, and what it said on stderr.
    pub(super) fn unanswered(printed: &[u8], words: String) -> DeployError {
        let words = if words.is_empty() { "nothing".into() } else { words };
        DeployError::Noise(if printed.is_empty() { words } else { beginning(printed) })
    }
}

impl Classified for DeployError {
    fn class(&self) -> Class {
        match self {
            DeployError::Exec(OpenError::Lost(_) | OpenError::TimedOut | OpenError::Busy)
            | DeployError::Silent
            | DeployError::Damaged => Class::Transient,
            DeployError::Exec(OpenError::Cancelled) | DeployError::Stopped => Class::Interrupted,
            DeployError::Exec(OpenError::Local(_)) | DeployError::Local(_) => Class::Internal,
            _ => Class::Config,
        }
    }

    fn hint(&self) -> Option<String> {
        Some(match self {
            DeployError::NoBinary { machine, dirs } => {
                let dirs: Vec<String> = dirs.iter().map(|dir| dir.display().to_string()).collect();
                match Arch::of_machine(machine) {
                    Some(arch) => format!("put 'pipeline-agent-{arch}' into one of {}", dirs.join(", ")),
                    None => "agents exist for x86_64, aarch64 and armv7l".into(),
                }
            }
            DeployError::Read { path, .. } => format!("make {} readable", path.display()),
            DeployError::WrongBinary { path, .. } => format!("replace or remove {}", path.display()),
            DeployError::Exec(OpenError::Denied(_)) => {
                "a forced command or 'restrict' in authorized_keys on the device keeps this key from running commands"
                    .into()
            }
            DeployError::NotThere => "`pipeline sync` puts it there".into(),
            DeployError::SftpOnly => {
                "let the key run commands: without 'ForceCommand internal-sftp' in sshd_config on the device, and \
                                      without command=\"internal-sftp\" in its authorized_keys"
                    .into()
            }
            DeployError::Bound(_) => {
                "put this version's agent in the place that command=\"…\" in authorized_keys on the device names, \
                                      and give it --root with the configured source: `keytool add-pi` with --restrict \
                                      does both, by a login that may run commands"
                    .into()
            }
            DeployError::OtherVersion { dirs, .. } => {
                let dirs: Vec<String> = dirs.iter().map(|dir| dir.display().to_string()).collect();
                format!(
                    "put the agents that came with this `pipeline` into {}, or take `agent_dir` out",
                    dirs.join(", ")
                )
            }
            DeployError::Homeless => "give the login a home directory that it can write to".into(),
            DeployError::Unwritable(_) => {
                "the login must be able to write below its home directory on the device".into()
            }
            DeployError::NoSpace(_) => "free a few megabytes in the login's home directory on the device".into(),
            DeployError::NoExec(_) => "mount the login's home directory on the device without 'noexec'".into(),
            DeployError::WrongArch(_) => "see 'uname -m' and 'file ~/.cache/pipeline/*' on the device".into(),
            DeployError::Noise(_) => {
                "the login needs a POSIX shell that runs commands: 'ssh HOST uname -m' must print one word".into()
            }
            DeployError::Ended(_) => "log in and run it: '~/.cache/pipeline/pipeline-agent-* serve --help'".into(),
            _ => return None,
        })
    }
}

/// Enough of what was printed to recognise it.
pub(super) fn beginning(bytes: &[u8]) -> String {
    const ENOUGH: usize = 200;
    one_line(&bytes[..bytes.len().min(ENOUGH)])
}

/// Lines joined, as far as they are text.
pub(in crate::ssh) fn one_line(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    let printable = |line: &str| line.chars().filter(|c| !c.is_control()).collect::<String>();
    let lines: Vec<String> = text.lines().map(|line| printable(line.trim())).filter(|line| !line.is_empty()).collect();
    lines.join("; ")
}
