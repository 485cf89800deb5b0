//! What a script on the device answers: records that end with a byte, after [`MARK`].
//!
//! Guarantees bounded waiting and records of bounded length. Leaves to others what they mean.

use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::shell::MARK;
use crate::remote::RemoteError;
use crate::remote::link::{Broken, Input, Link, Options};
use crate::wire::WireError;

/// What start-up files may print before our own answer. More is no noise but a stream.
const MAX_NOISE_BYTES: usize = 64 * 1024;
/// A path of the greatest length, and some words.
const MAX_RECORD_BYTES: u64 = 16 * 1024;

/// A script that runs on the device.
pub(super) struct Script {
    out: UnixStream,
    input: BufReader<Input>,
    broken: Broken,
    begun: bool,
    _guard: Box<dyn Send>,
}

impl Script {
    /// Takes over the streams of a script that was just started.
    pub(super) fn new(link: Link, options: &Options) -> Result<Script, RemoteError> {
        let io = |e| RemoteError::Broken(WireError::Io(e));
        link.stream.set_write_timeout(Some(options.idle)).map_err(io)?;
        let input = Input::new(link.stream.try_clone().map_err(io)?, options.clone()).map_err(io)?;
        let broken = Broken::new(options, link.errors).without_agent();
        Ok(Script { out: link.stream, input: BufReader::new(input), broken, begun: false, _guard: link.guard })
    }

    /// Gives it something on stdin.
    pub(super) fn give(&mut self, bytes: &[u8]) -> Result<(), RemoteError> {
        (&self.out).write_all(bytes).map_err(|e| self.broken.by(WireError::Io(e)))
    }

    /// Gives it something on stdin: whether it took all, or ended before.
    pub(super) fn takes(&mut self, bytes: &[u8]) -> Result<bool, RemoteError> {
        match (&self.out).write_all(bytes) {
            Err(e) if matches!(e.kind(), ErrorKind::BrokenPipe | ErrorKind::ConnectionReset) => Ok(false),
            given => given.map(|()| true).map_err(|e| self.broken.by(WireError::Io(e))),
        }
    }

    /// Says something at once, and waits for the first byte of the answer: whether that is text, as a shell prints it.
    pub(super) fn greet(&mut self, greeting: &[u8]) -> Result<bool, RemoteError> {
        // Whoever has gone will say so when it is read.
        let _gone = self.give(greeting);
        let first = self.input.fill_buf().map(|buffer| buffer.first().copied());
        match first.map_err(|e| self.broken.by(WireError::Io(e)))? {
            Some(first) => Ok(first != 0),
            None => Err(self.broken.by(WireError::Ended)),
        }
    }

    /// Ends its stdin.
    pub(super) fn end_input(&mut self) {
        // Whoever has gone will say so when it is read.
        self.out.shutdown(Shutdown::Write).ok();
    }

    /// Whether something can be read without waiting.
    pub(super) fn is_ready(&self) -> bool {
        let mut fds = [PollFd::new(&self.out, PollFlags::IN)];
        !self.input.buffer().is_empty() || poll(&mut fds, Some(&Timespec::default())).is_ok_and(|ready| ready > 0)
    }

    /// The next record, without the byte that ends it. It is an error if there is none.
    pub(super) fn record(&mut self, end: u8) -> Result<Vec<u8>, RemoteError> {
        self.begin()?;
        let record = self.until(end)?;
        record.ok_or_else(|| self.broken.by(WireError::Ended))
    }

    /// The next line, as text.
    pub(super) fn line(&mut self) -> Result<String, RemoteError> {
        self.record(b'\n').map(|line| String::from_utf8_lossy(&line).into_owned())
    }

    /// What comes next, of any form; nothing at the end.
    pub(super) fn read(&mut self, buffer: &mut [u8]) -> Result<usize, RemoteError> {
        self.begin()?;
        self.input.read(buffer).map_err(|e| self.broken.by(WireError::Io(e)))
    }

    /// How it ended, after its end was read: whether with status 0.
    pub(super) fn succeeded(&self) -> bool {
        self.broken.said().ends_with("exit status 0")
    }

    /// What it said on stderr. Waits for its end, because that travels apart from what it says on stdout, and may come later.
    pub(super) fn last_words(&mut self) -> Result<String, RemoteError> {
        let mut rest = [0; 1024];
        while self.read(&mut rest)? > 0 {}
        let said = self.broken.said();
        // The last of it is how it ended.
        Ok(said.rsplit_once("; ").map_or_else(String::new, |(words, _)| words.to_owned()))
    }

    /// Lets the device be silent for longer while it computes.
    pub(super) fn be_patient(&mut self, more: Duration) {
        self.input.get_mut().wait_longer(more);
    }

    fn begin(&mut self) -> Result<(), RemoteError> {
        let mut noise = 0;
        while !self.begun {
            let Some(line) = self.until(b'\n')? else { return Err(self.broken.by(WireError::Ended)) };
            self.begun = line.ends_with(MARK.as_bytes());
            noise += line.len();
            if noise > MAX_NOISE_BYTES {
                return Err(RemoteError::Protocol("its shell prints without an end"));
            }
        }
        Ok(())
    }

    fn until(&mut self, end: u8) -> Result<Option<Vec<u8>>, RemoteError> {
        let mut record = Vec::new();
        let read = (&mut self.input).take(MAX_RECORD_BYTES).read_until(end, &mut record);
        read.map_err(|e| self.broken.by(WireError::Io(e)))?;
        match record.pop() {
            Some(last) if last == end => Ok(Some(record)),
            Some(_) if record.len() as u64 + 1 >= MAX_RECORD_BYTES => {
                Err(RemoteError::Protocol("its shell answers without an end"))
            }
            _ => Ok(None),
        }
    }
}

impl Drop for Script {
    fn drop(&mut self) {
        // Without this the script and the lanes that carry it would wait for one another.
        self.out.shutdown(Shutdown::Both).ok();
    }
}
