//! A program that is followed while it runs: its events one by one, so that a test can step in at the right one.
//!
//! Guarantees that a program that hangs fails its test, and that none is left when a test has failed. Nothing here waits for a
//! clock: the limits are only there to fail.

use std::io::{BufRead, BufReader, Read};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::{Ended, event};

/// Longer than any run of these tests takes on a busy computer.
const LIMIT: Duration = Duration::from_secs(180);

/// A program that was started with `--json`.
#[derive(Debug)]
pub struct Running {
    command: String,
    child: Child,
    lines: Receiver<String>,
    seen: String,
    stderr: Option<JoinHandle<String>>,
    until: Instant,
}

impl Running {
    /// Starts it, without a terminal.
    ///
    /// # Panics
    /// Where it does not start.
    pub fn start(command: &mut Command) -> Running {
        let shown = format!("{command:?}");
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap_or_else(|error| panic!("{shown}: {error}"));
        let (sender, lines) = channel();
        if let Some(stdout) = child.stdout.take() {
            std::thread::spawn(move || {
                // The first line that is no text, or that nobody waits for, ends it.
                BufReader::new(stdout).lines().map_while(Result::ok).try_for_each(|line| sender.send(line)).ok();
            });
        }
        let stderr = child.stderr.take().map(|mut stderr| {
            std::thread::spawn(move || {
                let mut text = Vec::new();
                stderr.read_to_end(&mut text).ok();
                String::from_utf8_lossy(&text).into_owned()
            })
        });
        Running { command: shown, child, lines, seen: String::new(), stderr, until: Instant::now() + LIMIT }
    }

    /// Waits for the event that is asked for, and returns it.
    ///
    /// # Panics
    /// Where the program ends without it, or takes too long.
    #[track_caller]
    pub fn until(&mut self, wanted: impl Fn(&Value) -> bool) -> Value {
        loop {
            let line = self.line().unwrap_or_else(|| panic!("it ended too early: {}", self.seen));
            let event = event(&line);
            if wanted(&event) {
                return event;
            }
        }
    }

    /// Waits for the next event of a kind.
    ///
    /// # Panics
    /// Where the program ends without it, or takes too long.
    #[track_caller]
    pub fn until_event(&mut self, kind: &str) -> Value {
        self.until(|event| event["event"] == kind)
    }

    /// Its process.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Sends it a signal.
    ///
    /// # Panics
    /// Where it has ended.
    #[track_caller]
    pub fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap_or_else(|error| panic!("{}: {error}", self.command));
    }

    /// Waits for its end.
    ///
    /// # Panics
    /// Where it takes too long.
    #[track_caller]
    pub fn end(mut self) -> Ended {
        while self.line().is_some() {}
        let status = self.child.wait().unwrap_or_else(|error| panic!("{}: {error}", self.command));
        let stderr = self.stderr.take().and_then(|thread| thread.join().ok()).unwrap_or_default();
        Ended { command: self.command.clone(), status, stdout: std::mem::take(&mut self.seen), stderr }
    }

    /// The next line; none at the end of the output.
    #[track_caller]
    fn line(&mut self) -> Option<String> {
        match self.lines.recv_timeout(self.until.saturating_duration_since(Instant::now())) {
            Ok(line) => {
                self.seen += &line;
                self.seen.push('\n');
                Some(line)
            }
            Err(RecvTimeoutError::Disconnected) => None,
            Err(RecvTimeoutError::Timeout) => panic!("{} does not end: {}", self.command, self.seen),
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // After an orderly end both fail, which is as it should be.
        self.child.kill().ok();
        self.child.wait().ok();
    }
}
