//! A process on a leash: it ends when its holder lets go, and so does everything that it started.
//!
//! A small process of our own stands between the holder and the server. It adopts orphans (it is their *subreaper*), so
//! daemons, sessions and whatever was put into the background stay its descendants; and it reads a pipe that only the holder
//! has the other end of. When that pipe closes, because the [`Leash`] was dropped, because of a panic or because the holder
//! was killed with `kill -9`, it kills every descendant, waits until none is left, and ends.
//!
//! It runs in a process group of its own, so that a Ctrl-C meant for the holder does not reach it. It can't help when it
//! is itself killed with `kill -9`.

use std::ffi::OsStr;
use std::fs::OpenOptions;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::fd::AsFd;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use rustix::process::{Pid, Signal, WaitOptions, getpid, set_child_subreaper, wait};

use crate::process::{Process, descendants, signal};
use crate::programs::Programs;
use crate::{Error, Result};

/// The subcommand of `local-fleet` that is the process in between.
pub const SUBCOMMAND: &str = "leash";

/// The holder's end. Dropping it ends the program and all that it started, and returns once they are gone.
#[derive(Debug)]
pub struct Leash {
    keeper: Child,
    hold: Option<ChildStdin>,
    program: Pid,
}

impl Leash {
    /// Starts a program on a leash, with an empty environment but for `PATH`; what it prints goes to `log`.
    pub fn start<S: AsRef<OsStr>>(programs: &Programs, program: &Path, args: &[S], log: &Path) -> Result<Leash> {
        let log_file = OpenOptions::new().create(true).append(true).open(log).map_err(Error::file("open", log))?;
        let failed = |cause| Error::Spawn { program: program.display().to_string(), cause };
        let mut keeper = Command::new(programs.path("local-fleet")?)
            .arg(SUBCOMMAND)
            .arg(program)
            .args(args)
            .env_clear()
            .env("PATH", crate::programs::PATH)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(log_file)
            .process_group(0)
            .spawn()
            .map_err(failed)?;
        let hold = keeper.stdin.take();
        let mut line = String::new();
        if let Some(stdout) = keeper.stdout.take() {
            BufReader::new(stdout).read_line(&mut line).map_err(failed)?;
        }
        match line.trim().parse().ok().and_then(Pid::from_raw) {
            Some(program) => Ok(Leash { keeper, hold, program }),
            None => {
                drop(hold);
                keeper.wait().map_err(failed)?;
                Err(Error::Helper { program: program.display().to_string(), said: tail(log) })
            }
        }
    }

    /// The program that was started.
    pub fn program(&self) -> Pid {
        self.program
    }

    /// The program and everything that it started, orphans included, parents first.
    pub(crate) fn processes(&self) -> Vec<Process> {
        descendants(Pid::from_child(&self.keeper))
    }

    /// Whether the program and everything that it started have ended by themselves.
    pub fn has_ended(&mut self) -> bool {
        matches!(self.keeper.try_wait(), Ok(Some(_)) | Err(_))
    }
}

impl Drop for Leash {
    fn drop(&mut self) {
        self.hold = None;
        self.keeper.wait().ok();
    }
}

/// The last lines of a log, on one line.
pub(crate) fn tail(log: &Path) -> String {
    let text = std::fs::read(log).unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    let lines: Vec<_> = text.lines().filter(|line| !line.trim().is_empty()).collect();
    if lines.is_empty() {
        return "it logged nothing".into();
    }
    lines[lines.len().saturating_sub(3)..].join(" | ")
}

/// The process in between: starts the program, says its pid on stdout, and ends when all is over.
///
/// Returns only where the program could not be started; otherwise it ends the process.
pub fn keep(program: &OsStr, args: &[impl AsRef<OsStr>]) -> Result<()> {
    let failed = |cause| Error::Spawn { program: program.display().to_string(), cause };
    set_child_subreaper(Some(getpid())).map_err(|errno| failed(errno.into()))?;
    let output = io::stderr().as_fd().try_clone_to_owned().map_err(failed)?;
    let child = Command::new(program)
        .args(args)
        .stdin(Stdio::null())
        .stdout(output)
        .process_group(0)
        .spawn()
        .map_err(failed)?;
    // The holder has gone already where this fails, which the pipe will tell.
    writeln!(io::stdout(), "{}", child.id()).ok();

    let released = Arc::new(AtomicBool::new(false));
    let release = Arc::clone(&released);
    thread::spawn(move || {
        // Nothing is ever written: this is the wait for the holder's end to close.
        io::stdin().lock().read_to_end(&mut Vec::new()).ok();
        release.store(true, Ordering::SeqCst);
        kill_descendants();
    });
    // RACE: a process may fork between being listed and being killed. Its own death is then reaped here, and the table
    // is read again: a child that a sweep missed has a parent that the sweep killed.
    loop {
        match wait(WaitOptions::empty()) {
            Ok(_) if released.load(Ordering::SeqCst) => kill_descendants(),
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(_) => std::process::exit(0),
        }
    }
}

fn kill_descendants() {
    for process in descendants(getpid()) {
        signal(process.pid, Signal::KILL);
    }
}
