//! One command on a machine, from its first byte to its exit status.
//!
//! Guarantees that it ends: within the patience given, and with no more output than [`MAX_OUTPUT_BYTES`]; and that a command
//! which was cut short is never taken for one that ended. What the command does, and what its words mean, is the caller's.

use std::io::{ErrorKind, Read, Write};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;

use rustix::event::PollFlags;

use super::error::SshError;
use super::hop::Connection;
use super::mux::{Ending, ExecLane, MuxError, OpenError};
use super::patience::{Impatience, Patience};
use crate::error::{Class, Classified};

/// The most that a command may print to stdout.
pub const MAX_OUTPUT_BYTES: usize = 1024 * 1024;

/// What a command that came to its end left behind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Output {
    /// Its exit status; none where a signal ended it.
    pub status: Option<i32>,
    /// All that it printed.
    pub stdout: Vec<u8>,
    /// The last 2 KiB of its complaints.
    pub stderr: Vec<u8>,
}

impl Output {
    /// Whether its exit status is 0.
    pub fn success(&self) -> bool {
        self.status == Some(0)
    }

    /// Its complaints on one line, without control characters.
    pub fn words(&self) -> String {
        super::deploy::one_line(&self.stderr)
    }
}

/// Why it is not known how a command ended.
#[derive(Debug, thiserror::Error)]
pub enum CommandError {
    /// It was not started.
    #[error("it could not be started")]
    NotStarted(#[source] OpenError),
    /// It took too long. It may still be running.
    #[error("it took too long")]
    TimedOut,
    /// It printed more than is read.
    #[error("it printed more than {MAX_OUTPUT_BYTES} bytes")]
    TooMuchOutput,
    /// The connection broke meanwhile. It may still be running.
    #[error("the connection broke")]
    Lost(#[source] MuxError),
    /// The other side closed the channel without a word about it.
    #[error("the other side did not say how it ended")]
    NoEnding,
    /// Our end of the stream failed.
    #[error("its stream failed")]
    Local(#[source] std::io::Error),
}

impl Classified for CommandError {
    fn class(&self) -> Class {
        match self {
            CommandError::NotStarted(OpenError::Denied(_) | OpenError::Prohibited | OpenError::Refused) => {
                Class::Config
            }
            CommandError::NotStarted(OpenError::Local(_)) | CommandError::Local(_) => Class::Internal,
            CommandError::TimedOut | CommandError::NotStarted(OpenError::TimedOut | OpenError::Busy) => {
                Class::Unreachable
            }
            CommandError::NotStarted(OpenError::Cancelled) => Class::Interrupted,
            CommandError::NotStarted(OpenError::Lost(_)) | CommandError::Lost(_) | CommandError::NoEnding => {
                Class::Transient
            }
            CommandError::TooMuchOutput => Class::Config,
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            CommandError::TooMuchOutput => {
                Some("start-up files such as ~/.bashrc there must print nothing without a terminal".into())
            }
            CommandError::NotStarted(OpenError::Denied(_) | OpenError::Prohibited) => {
                Some("the account there must be allowed to run commands".into())
            }
            _ => None,
        }
    }
}

impl Connection {
    /// Runs a command through the login shell, gives it all of `stdin`, and waits for its end.
    ///
    /// A command that ends without having read everything is not an error. After an error the command may be running still.
    pub fn run(&self, command: &str, stdin: &[u8], patience: &Patience) -> Result<Output, SshError> {
        let failed = |source| match source {
            CommandError::NotStarted(OpenError::Cancelled) => SshError::Stopped,
            source => SshError::Command { host: self.host.clone(), source },
        };
        let lane = self.mux.exec(command, patience).map_err(|error| failed(CommandError::NotStarted(error)))?;
        let stdout = match exchange(&lane.stream, stdin, patience) {
            Ok(stdout) => stdout,
            Err(Cut::Stopped) => return Err(SshError::Stopped),
            Err(Cut::Failed(error)) => return Err(failed(error)),
        };
        let Some(ending) = lane.ending.get() else {
            let lost = self.mux.failure().map(|failure| CommandError::Lost(failure.error.clone()));
            return Err(failed(lost.unwrap_or(CommandError::NoEnding)));
        };
        let status = match ending {
            Ending::Status(status) => Some(*status),
            Ending::Signal(_) => None,
        };
        Ok(Output { status, stdout, stderr: complaints(&lane, ending) })
    }
}

/// Why the exchange was given up.
enum Cut {
    Stopped,
    Failed(CommandError),
}

impl From<Impatience> for Cut {
    fn from(impatience: Impatience) -> Cut {
        match impatience {
            Impatience::TimedOut => Cut::Failed(CommandError::TimedOut),
            Impatience::Cancelled => Cut::Stopped,
        }
    }
}

/// Writes and reads at the same time: a command may print before it has read everything.
fn exchange(stream: &UnixStream, mut stdin: &[u8], patience: &Patience) -> Result<Vec<u8>, Cut> {
    let local = |error| Cut::Failed(CommandError::Local(error));
    stream.set_nonblocking(true).map_err(local)?;
    let mut stdout = Vec::new();
    let mut buffer = vec![0; 64 * 1024];
    let mut writing = true;
    loop {
        if writing && stdin.is_empty() {
            writing = false;
            // A command that has ended needs no end of its input.
            let _ended = stream.shutdown(Shutdown::Write);
        }
        let mut wanted = PollFlags::IN;
        wanted.set(PollFlags::OUT, writing);
        patience.wait_for(stream, wanted)?;
        if writing {
            match { stream }.write(stdin) {
                Ok(n) => stdin = &stdin[n..],
                Err(e) if is_not_now(&e) => {}
                // It takes no more: what it printed says why.
                Err(_) => writing = false,
            }
        }
        match { stream }.read(&mut buffer) {
            Ok(0) => return Ok(stdout),
            Ok(n) => stdout.extend_from_slice(&buffer[..n]),
            Err(e) if is_not_now(&e) => {}
            // The other end was dropped while bytes of ours were under way: an end like any other.
            Err(e) if e.kind() == ErrorKind::ConnectionReset => return Ok(stdout),
            Err(e) => return Err(local(e)),
        }
        if stdout.len() > MAX_OUTPUT_BYTES {
            return Err(Cut::Failed(CommandError::TooMuchOutput));
        }
    }
}

fn is_not_now(error: &std::io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted)
}

/// What the command said on stderr, without the line that the lane has added.
fn complaints(lane: &ExecLane, ending: &Ending) -> Vec<u8> {
    let mut words = lane.errors.lock().unwrap_or_else(|e| e.into_inner()).clone();
    if words.ends_with(ending.to_string().as_bytes()) {
        words.truncate(words.len() - ending.to_string().len());
    }
    words
}
