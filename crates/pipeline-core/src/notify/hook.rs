//! Runs the command: something to read, a bound on its time, a bound on what is kept of its words.
//!
//! Guarantees that it ends within its time-out, or soon after a stop is wished for: then it is killed with its process group,
//! which is all that it started and that did not leave the group on purpose (`setsid`). What it leaves running in the
//! background when it ends well is its own business and is not waited for.

use std::fs::File;
use std::io::{self, Read as _, Seek as _, Write as _};
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fd::OwnedFd;
use rustix::fs::{MemfdFlags, OFlags, fcntl_setfl, memfd_create};
use rustix::pipe::{PipeFlags, pipe_with};
use rustix::process::{Pid, PidfdFlags, Signal, kill_process_group, pidfd_open};

use crate::config::Notify;

/// So much of the end of its words is kept: a last line is in it, unless it is very long.
const KEPT_BYTES: usize = 4096;

/// So much of its last line is told.
const TOLD_CHARS: usize = 200;

/// How soon the wish to stop is seen.
const HEED: Duration = Duration::from_millis(200);

/// Why the command was not told.
#[derive(Debug, thiserror::Error)]
pub enum HookError {
    /// It can't be started, or what it needs can't be had.
    #[error("can't run the command of notify, {}", .program.display())]
    Start {
        /// The program.
        program: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// It ended badly.
    #[error("the command of notify, {}, {how}{}", .program.display(), said(.last_line))]
    Failed {
        /// The program.
        program: PathBuf,
        /// `ended with exit code 1`, `was killed by signal 9`.
        how: String,
        /// The end of what it wrote; empty where it wrote nothing.
        last_line: String,
    },
    /// It did not end in time.
    #[error("the command of notify, {}, did not end within {} s and was killed{}", .program.display(), .timeout.as_secs(), said(.last_line))]
    TooSlow {
        /// The program.
        program: PathBuf,
        /// What it had.
        timeout: Duration,
        /// The end of what it wrote; empty where it wrote nothing.
        last_line: String,
    },
    /// The program was asked to stop meanwhile.
    #[error("the command of notify, {}, was stopped before its end", .program.display())]
    Stopped {
        /// The program.
        program: PathBuf,
    },
}

fn said(last_line: &str) -> String {
    if last_line.is_empty() { String::new() } else { format!("; it said: {last_line}") }
}

/// Why it was not waited for any longer.
enum Impatience {
    Time,
    Wish,
}

/// Runs it to its end with `input` on its standard input.
pub(super) fn run(notify: &Notify, input: &[u8], stop: &dyn Fn() -> bool) -> Result<(), HookError> {
    let program = notify.program.clone();
    let (mut child, mut output) = match start(notify, input) {
        Ok(started) => started,
        Err(source) => return Err(HookError::Start { program, source }),
    };
    let waited = wait(&child, &mut output, Instant::now() + notify.timeout, stop);
    if !matches!(waited, Ok(None)) {
        // Before it is waited for, so that its number is still its own.
        kill_process_group(Pid::from_child(&child), Signal::KILL).ok();
    }
    let status = child.wait();
    let last_line = output.last_line();
    match (waited, status) {
        (Ok(None), Ok(status)) if status.success() => Ok(()),
        (Ok(None), Ok(status)) => Err(HookError::Failed { program, how: how(status), last_line }),
        (Ok(Some(Impatience::Time)), _) => Err(HookError::TooSlow { program, timeout: notify.timeout, last_line }),
        (Ok(Some(Impatience::Wish)), _) => Err(HookError::Stopped { program }),
        (Err(source), _) | (_, Err(source)) => Err(HookError::Start { program, source }),
    }
}

fn start(notify: &Notify, input: &[u8]) -> io::Result<(Child, Output)> {
    // A file in memory: nobody has to stand by until it is read, and who doesn't read it loses nothing.
    let mut stdin = File::from(memfd_create("notice", MemfdFlags::CLOEXEC)?);
    stdin.write_all(input)?;
    stdin.rewind()?;
    let (reader, writer) = pipe_with(PipeFlags::CLOEXEC)?;
    fcntl_setfl(&reader, OFlags::NONBLOCK)?;
    // The ends for writing go with `command`: what is left open is the child's alone.
    let mut command = Command::new(&notify.program);
    command.args(&notify.arguments).current_dir("/").process_group(0);
    command.stdin(stdin).stdout(writer.try_clone()?).stderr(Stdio::from(writer));
    Ok((command.spawn()?, Output { reader: Some(File::from(reader)), kept: Vec::new() }))
}

/// Waits until it has ended; none then, else why not.
fn wait(child: &Child, output: &mut Output, until: Instant, stop: &dyn Fn() -> bool) -> io::Result<Option<Impatience>> {
    let end: OwnedFd = pidfd_open(Pid::from_child(child), PidfdFlags::empty())?;
    loop {
        if stop() {
            return Ok(Some(Impatience::Wish));
        }
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Ok(Some(Impatience::Time));
        }
        let mut watched = vec![PollFd::new(&end, PollFlags::IN)];
        watched.extend(output.reader.as_ref().map(|reader| PollFd::new(reader, PollFlags::IN)));
        let timeout = Timespec::try_from(left.min(HEED)).map_err(io::Error::other)?;
        match poll(&mut watched, Some(&timeout)) {
            Err(rustix::io::Errno::INTR) => continue,
            polled => polled?,
        };
        let ended = !watched[0].revents().is_empty();
        drop(watched);
        // After the end as well: the last words are in the pipe. Never more than once round, so that a flood can't hold us.
        output.take_some();
        if ended {
            return Ok(None);
        }
    }
}

/// The words of the command, of which the end is kept.
struct Output {
    /// None once there is nothing more to come.
    reader: Option<File>,
    kept: Vec<u8>,
}

impl Output {
    /// What is there now; a pipe holds 64 KiB.
    fn take_some(&mut self) {
        let mut chunk = vec![0; 64 * 1024];
        let Some(reader) = &mut self.reader else { return };
        match reader.read(&mut chunk) {
            Ok(0) => self.reader = None,
            Ok(bytes) => {
                self.kept.extend_from_slice(&chunk[..bytes]);
                let surplus = self.kept.len().saturating_sub(KEPT_BYTES);
                self.kept.drain(..surplus);
            }
            Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => {}
            Err(_) => self.reader = None,
        }
    }

    fn last_line(&self) -> String {
        let text = String::from_utf8_lossy(&self.kept);
        let line = text.lines().rev().map(str::trim).find(|line| !line.is_empty()).unwrap_or_default();
        line.chars().take(TOLD_CHARS).collect()
    }
}

fn how(status: ExitStatus) -> String {
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("ended with exit code {code}"),
        (None, Some(signal)) => format!("was killed by signal {signal}"),
        (None, None) => "ended badly".into(),
    }
}
