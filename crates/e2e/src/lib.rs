//! What the end-to-end tests share: running a program to its end and reading what it said.
//!
//! The tests see the programs as their users do: command lines, exit codes, output, and files on both sides. They stand in
//! `tests/`, one file for each promise, on the fleet of the crate `local-fleet`.

use std::fmt;
use std::process::{Command, ExitStatus, Stdio};

use serde_json::Value;

pub mod browser;
pub mod ledger;
pub mod moments;
pub mod mounts;
pub mod past;
pub mod random;
mod running;
pub mod scene;
pub mod schema;
pub mod stand_in;
pub mod strace;
pub mod truth;

pub use running::Running;

/// A program that has ended.
#[derive(Debug)]
pub struct Ended {
    command: String,
    status: ExitStatus,
    /// What it wrote to stdout.
    pub stdout: String,
    /// What it wrote to stderr.
    pub stderr: String,
}

/// Runs a program to its end, without a terminal.
///
/// # Panics
/// Where it does not start, or writes what is not UTF-8.
pub fn run(command: &mut Command) -> Ended {
    run_with(command, Stdio::null())
}

/// The same with something to read.
///
/// # Panics
/// As [`run`] does.
pub fn run_with(command: &mut Command, stdin: Stdio) -> Ended {
    let shown = format!("{command:?}");
    let output = match command.stdin(stdin).output() {
        Ok(output) => output,
        Err(error) => panic!("{shown}: {error}"),
    };
    let text = |bytes| String::from_utf8(bytes).unwrap_or_else(|error| panic!("{shown}: {error}"));
    let (stdout, stderr) = (text(output.stdout), text(output.stderr));
    Ended { command: shown, status: output.status, stdout, stderr }
}

impl Ended {
    /// Asserts the exit code.
    ///
    /// # Panics
    /// At any other.
    #[track_caller]
    pub fn expect(self, code: i32) -> Ended {
        assert_eq!(self.status.code(), Some(code), "{self}");
        self
    }

    /// The events that `--json` wrote.
    ///
    /// # Panics
    /// Where a line is not as `docs/schema/events.json` says.
    #[track_caller]
    pub fn events(&self) -> Vec<Value> {
        self.stdout.lines().map(event).collect()
    }

    /// The events of one kind that `--json` wrote.
    #[track_caller]
    pub fn events_of(&self, kind: &str) -> Vec<Value> {
        let mut events = self.events();
        events.retain(|event| event["event"] == kind);
        events
    }

    /// The last event, which sums up the run.
    ///
    /// # Panics
    /// Where the run did not get there.
    #[track_caller]
    pub fn summary(&self) -> Value {
        let last = self.events().pop().unwrap_or_else(|| panic!("no events: {self}"));
        assert_eq!(last["event"], "run_finished", "{self}");
        last
    }
}

/// One line of `--json`.
#[track_caller]
fn event(line: &str) -> Value {
    let value: Value = serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
    schema::assert_described("events", &value);
    value
}

/// What a run reports of one device.
///
/// # Panics
/// Where it does not.
#[track_caller]
pub fn report<'a>(summary: &'a Value, device: &str) -> &'a Value {
    let reports = summary["devices"].as_array().into_iter().flatten();
    let mut of_device = reports.filter(|report| report["device"] == device);
    of_device.next().unwrap_or_else(|| panic!("no word about {device}: {summary}"))
}

/// How many bytes of content came over the link in a run.
///
/// # Panics
/// Where it wrote no events.
#[track_caller]
pub fn carried_bytes(run: &Ended) -> u64 {
    run.events_of("bytes_received").iter().filter_map(|event| event["bytes"].as_u64()).sum()
}

/// Bytes that can't be compressed, the same ones each time.
pub fn incompressible(bytes: usize) -> Vec<u8> {
    // Marsaglia's xorshift64.
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()
    };
    (0..bytes / 8).flat_map(|_| next()).collect()
}

/// For the message of a failed assertion.
impl fmt::Display for Ended {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}\n{}\nstdout:\n{}\nstderr:\n{}", self.command, self.status, self.stdout, self.stderr)
    }
}
