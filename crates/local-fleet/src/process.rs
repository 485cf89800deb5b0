//! The process table, as `/proc` has it: who descends from whom.
//!
//! Processes come and go while it is read, so a list may miss a child that was born meanwhile: callers that must
//! get every one look again after each death.

use std::collections::HashMap;
use std::fs;

use rustix::process::{Pid, Signal, kill_process};

/// One process.
#[derive(Clone, Debug)]
pub(crate) struct Process {
    pub pid: Pid,
    pub parent: Option<Pid>,
    /// Name of the program, at most 15 bytes.
    pub name: String,
    /// Frozen by a signal.
    pub stopped: bool,
}

/// Everything that descends from `root`, parents before their children.
pub(crate) fn descendants(root: Pid) -> Vec<Process> {
    let mut children: HashMap<Pid, Vec<Process>> = HashMap::new();
    for process in all() {
        if let Some(parent) = process.parent {
            children.entry(parent).or_default().push(process);
        }
    }
    let mut found = children.remove(&root).unwrap_or_default();
    let mut next = 0;
    while next < found.len() {
        let pid = found[next].pid;
        found.extend(children.remove(&pid).unwrap_or_default());
        next += 1;
    }
    found
}

/// Sends a signal; a process that has ended meanwhile is what was wanted or soon noticed.
pub(crate) fn signal(pid: Pid, signal: Signal) {
    kill_process(pid, signal).ok();
}

fn all() -> Vec<Process> {
    let Ok(entries) = fs::read_dir("/proc") else { return Vec::new() };
    entries
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok().and_then(Pid::from_raw))
        .filter_map(read)
        .collect()
}

/// None where the process has ended; zombies have.
fn read(pid: Pid) -> Option<Process> {
    parse(pid, &fs::read(format!("/proc/{pid}/stat")).ok()?)
}

/// `pid (name) state parent …`, where the name may hold anything, `)` included.
fn parse(pid: Pid, stat: &[u8]) -> Option<Process> {
    let stat = String::from_utf8_lossy(stat);
    let (name, rest) = stat.split_once('(')?.1.rsplit_once(')')?;
    let mut fields = rest.split_ascii_whitespace();
    let state = fields.next()?;
    let parent = Pid::from_raw(fields.next()?.parse().ok()?);
    (!matches!(state, "Z" | "X")).then(|| Process { pid, parent, name: name.into(), stopped: state == "T" })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::process::{Command, Stdio};

    use super::*;

    #[test]
    fn a_name_may_hold_anything() {
        let pid = Pid::INIT;
        let process = parse(pid, b"1 (a) (b) c) S 17 1 1 0").unwrap();
        assert_eq!((process.name.as_str(), process.parent), ("a) (b) c", Pid::from_raw(17)));
        assert!(parse(pid, b"1 (gone) Z 17 1 1 0").is_none());
    }

    #[test]
    fn grandchildren_are_descendants() {
        // The shell waits for `cat`, which waits for our end of the pipe.
        let mut shell =
            Command::new("sh").args(["-c", "cat; true"]).stdin(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap();
        let pid = Pid::from_child(&shell);
        while !descendants(rustix::process::getpid()).iter().any(|p| p.parent == Some(pid) && p.name == "cat") {
            assert!(shell.try_wait().unwrap().is_none(), "the shell ended");
            std::thread::yield_now();
        }
        drop(shell.stdin.take());
        assert!(shell.wait().unwrap().success());
        assert!(!descendants(rustix::process::getpid()).iter().any(|p| p.pid == pid));
    }
}
