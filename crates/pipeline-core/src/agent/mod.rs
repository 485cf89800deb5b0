//! The half that runs on the device: answers a collector's requests about the files below one directory.
//!
//! Guarantees: requests are answered in their order; nothing outside the directories it was started with is read, named or
//! removed, but for a fixed list of files in which the kernel says how the device is, and no symbolic link is followed there; a file is removed only if it is the one of the request and nobody has it
//! open for writing (invariant I2); memory is bounded, whatever the collector sends and however many files there are; bytes that
//! are no request end the session with an answer that says so.
//!
//! Leaves to the collector: what to read and what to remove, and the proof that it may. `docs/wire.md` describes every byte.

use std::io::{self, Read, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::io::Errno;

use crate::error::{Class, Classified, one_line};
use crate::health;
use crate::rooted::Rooted;
use crate::wire::{FrameReader, MAGIC, MAX_REMOVALS, PROTOCOL, Reply, Request, WireError};

use ahead::Ahead;
use content::Atime;
use outbox::Outbox;

mod ahead;
mod content;
mod delta;
mod fetch;
mod lease;
mod outbox;
mod prune;
mod remove;
mod scan;
mod vitals;
mod writers;

/// The version that the agent says when it is greeted.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");

/// What ends a session before its time.
#[derive(Debug, thiserror::Error)]
pub enum AgentError {
    /// The collector asked for what it may not have, or in the wrong order. It was told so.
    #[error("{0}")]
    Refused(String),
    /// The collector sent what is no request. It was told so, as far as it still listens.
    #[error("the collector broke the protocol")]
    Protocol(#[source] WireError),
    /// The output failed.
    #[error("the answer could not be sent")]
    Output(#[source] WireError),
    /// Nothing could be started.
    #[error("the agent could not start")]
    Start(#[source] io::Error),
}

impl Classified for AgentError {
    fn class(&self) -> Class {
        match self {
            AgentError::Refused(_) => Class::Config,
            AgentError::Protocol(WireError::Ended | WireError::Io(_)) | AgentError::Output(_) => Class::Transient,
            AgentError::Protocol(_) => Class::Integrity,
            AgentError::Start(_) => Class::Internal,
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            AgentError::Protocol(_) => Some("the agent is started by pipeline, not by hand".into()),
            _ => None,
        }
    }
}

/// Serves one collector until its requests end, which is the orderly end, as is an output that nobody reads any more.
///
/// `roots` are the directories that may be asked for. Opening files uses the whole hard limit on descriptors of the process.
pub fn serve(input: impl Read + Send + 'static, mut output: impl Write, roots: &[PathBuf]) -> Result<(), AgentError> {
    // A directory that is scanned holds one descriptor for each level. Without the right to raise the limit the deepest
    // directories are reported as unreadable.
    crate::descriptors::raise_limit();
    let input = Ahead::start(input).map_err(AgentError::Start)?;
    let greeted = output.write_all(&MAGIC).and_then(|()| output.flush()).map_err(WireError::Io);
    let mut out = Outbox::new(output).map_err(AgentError::Start)?;
    let result = greeted.map_err(AgentError::Output).and_then(|()| {
        let mut reader = FrameReader::new(input);
        answer_all(&mut reader, &mut out, roots)
    });
    match result {
        Err(AgentError::Output(WireError::Io(e))) if e.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        Err(error @ (AgentError::Refused(_) | AgentError::Protocol(_))) => {
            // Best effort: it may be gone already, and the error says what there is to say.
            let reason = one_line(&error);
            drop(out.push(&Reply::Refused { reason: &reason }).and_then(|()| out.flush()));
            Err(error)
        }
        result => result,
    }
}

fn answer_all<W: Write>(
    reader: &mut FrameReader<Ahead>,
    out: &mut Outbox<W>,
    roots: &[PathBuf],
) -> Result<(), AgentError> {
    let Some(request) = reader.next::<Request>().map_err(AgentError::Protocol)? else { return Ok(()) };
    let mut source = open(&request, roots)?;
    let opened = Reply::Opened { version: VERSION, vitals: vitals::vitals(source.root.as_ref().ok()) };
    // At once, whatever is asked besides: its clock is measured by the moment when it comes.
    out.push(&opened).and_then(|()| out.flush()).map_err(AgentError::Output)?;
    loop {
        if !reader.ready() && !reader.input().has_more() {
            out.flush().map_err(AgentError::Output)?;
        }
        let Some(request) = reader.next::<Request>().map_err(AgentError::Protocol)? else { break };
        source.answer(request, reader, out)?;
    }
    out.flush().map_err(AgentError::Output)
}

/// The directory that the collector asked for, if it may have it. Whether it can be opened is another question.
fn open(request: &Request, roots: &[PathBuf]) -> Result<Source, AgentError> {
    let Request::Open { protocol, root } = request else {
        return Err(AgentError::Refused("the first request must open a directory".into()));
    };
    if *protocol != PROTOCOL {
        return Err(AgentError::Refused(format!("the collector speaks protocol {protocol}, this agent {PROTOCOL}")));
    }
    let root = Path::new(std::ffi::OsStr::from_bytes(root));
    if !roots.iter().any(|allowed| allowed == root) {
        return Err(AgentError::Refused(format!("it was not started with --root {}", root.display())));
    }
    Ok(Source { root: Rooted::open(root), atime: Atime::default() })
}

/// The directory that is served.
struct Source {
    /// Or why it can't be opened, which is the answer to each request.
    root: Result<Rooted, Errno>,
    atime: Atime,
}

impl Source {
    /// Answers one request; takes what belongs to it from those that follow.
    fn answer<W: Write>(
        &mut self,
        request: Request,
        requests: &mut FrameReader<Ahead>,
        out: &mut Outbox<W>,
    ) -> Result<(), AgentError> {
        let root = self.root.as_ref().map_err(|&error| error);
        match request {
            Request::Open { .. } => return Err(AgentError::Refused("a directory is open already".into())),
            Request::Scan => scan::answer(root, out),
            Request::Fetch { file, known } => fetch::answer(root, &file, &known, &mut self.atime, out),
            Request::Delta { file, signature_bytes } => {
                return delta::answer(root, &file, signature_bytes, &mut self.atime, requests, out);
            }
            Request::Signature(_) => return Err(AgentError::Refused("a signature came that nobody announced".into())),
            Request::Remove(files) if files.len() > MAX_REMOVALS => {
                let reason = format!("one request may name {MAX_REMOVALS} files, not {}", files.len());
                return Err(AgentError::Refused(reason));
            }
            Request::Remove(files) => remove::answer(root, &files, out),
            Request::Prune { dirs, quiet_ns } => prune::answer(root, dirs, quiet_ns, out),
            Request::Health => out.push(&Reply::Health(health::collect(Path::new("/")))),
        }
        .map_err(AgentError::Output)
    }
}

#[cfg(test)]
mod tests;
