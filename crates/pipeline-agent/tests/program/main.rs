//! The real program, over pipes, as a device's sshd would run it.

#![allow(clippy::unwrap_used)]

use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use pipeline_core::entry::{Entry, Identity, Prefix};
use pipeline_core::path::RelPath;
use pipeline_core::wire::{FileRef, FrameReader, FrameWriter, PROTOCOL, Reply, Request};

mod command_line;
mod dependencies;
mod memory;
mod rights;

const PROGRAM: &str = env!("CARGO_BIN_EXE_pipeline-agent");

/// A running agent that serves one directory.
struct Agent {
    child: Child,
    requests: FrameWriter<ChildStdin>,
    replies: FrameReader<ChildStdout>,
}

impl Agent {
    /// Runs a command that becomes the agent, and opens `root`.
    fn run(command: &mut Command, root: &Path) -> Agent {
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let requests = FrameWriter::plain(child.stdin.take().unwrap());
        let mut replies = FrameReader::new(child.stdout.take().unwrap());
        replies.expect_magic().unwrap();
        let mut agent = Agent { child, requests, replies };
        agent.ask(&Request::Open { protocol: PROTOCOL, root: root.as_os_str().as_bytes().to_vec() });
        assert!(matches!(agent.next(), Reply::Opened { .. }));
        agent
    }

    fn open(root: &Path) -> Agent {
        Agent::run(Command::new(PROGRAM).arg("serve").arg("--root").arg(root), root)
    }

    fn ask(&mut self, request: &Request) {
        self.requests.push(request).unwrap();
        self.requests.flush().unwrap();
    }

    fn next(&mut self) -> Reply<'_> {
        self.replies.next::<Reply<'_>>().unwrap().unwrap()
    }

    /// Scans, and hands out every file; what else there is goes to `other`.
    fn scan(&mut self, mut file: impl FnMut(Entry), mut other: impl FnMut(Reply<'_>)) {
        self.ask(&Request::Scan);
        loop {
            match self.next() {
                Reply::Found(entry) => file(entry),
                Reply::Scanned { .. } => return,
                reply => other(reply),
            }
        }
    }

    /// The most memory that the agent has had so far, in KiB.
    fn peak_kib(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let line = status.lines().find(|line| line.starts_with("VmHWM:")).unwrap();
        line.split_whitespace().nth(1).unwrap().parse().unwrap()
    }

    /// Ends the requests, and expects an orderly end.
    fn end(self) {
        let Agent { mut child, requests, replies } = self;
        drop(requests);
        assert!(child.wait().unwrap().success());
        drop(replies);
    }
}

fn path(text: &str) -> RelPath {
    RelPath::new(text).unwrap()
}

fn file(name: &str, identity: Identity) -> FileRef {
    FileRef { id: 1, path: path(name), identity }
}
