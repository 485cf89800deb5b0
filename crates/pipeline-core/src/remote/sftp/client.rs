//! An SFTP session: requests out, answers in, any number under way at once.
//!
//! Guarantees bounded waiting, as every [`Link`], and bounded memory whatever the server sends. Nothing is sent before something
//! is waited for, so that many small requests travel together. Leaves to its users which requests are under way.

use std::io::{BufReader, ErrorKind, Read, Write};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use super::protocol::{self, MAX_PACKET_BYTES, Malformed, Reply, Request};
use crate::remote::RemoteError;
use crate::remote::bounds::words;
use crate::remote::link::{Broken, Input, Link, Options};
use crate::wire::WireError;

/// Enough for a few packets.
const BUFFER_BYTES: usize = 128 * 1024;

/// A greeted SFTP server.
pub(super) struct Client {
    out: UnixStream,
    pending: Vec<u8>,
    input: BufReader<Input>,
    broken: Broken,
    next_id: u32,
    knows_statvfs: bool,
    packet: Vec<u8>,
    _guard: Box<dyn Send>,
}

impl Client {
    /// Greets the server. `NoSftp` where none answers.
    pub(super) fn open(link: Link, options: &Options) -> Result<Client, RemoteError> {
        let io = |e| RemoteError::Broken(WireError::Io(e));
        link.stream.set_write_timeout(Some(options.idle)).map_err(io)?;
        let input = Input::new(link.stream.try_clone().map_err(io)?, options.clone()).map_err(io)?;
        let mut client = Client {
            out: link.stream,
            pending: protocol::hello(),
            input: BufReader::with_capacity(BUFFER_BYTES, input),
            broken: Broken::new(options, link.errors).without_agent(),
            next_id: 0,
            knows_statvfs: false,
            packet: Vec::new(),
            _guard: link.guard,
        };
        let greeted = client.flush().and_then(|()| client.take_packet());
        match greeted {
            Ok(()) => match protocol::welcome(&client.packet) {
                Ok(knows_statvfs) => client.knows_statvfs = knows_statvfs,
                Err(Malformed) => return Err(not_sftp(&client.packet)),
            },
            Err(RemoteError::Lost(said)) => return Err(RemoteError::NoSftp(said)),
            Err(RemoteError::Broken(_)) => return Err(RemoteError::NoSftp("it ends at once".into())),
            // The first bytes of what is no packet are taken for a length.
            Err(RemoteError::Protocol(_)) => {
                let mut printed = client.packet.clone();
                printed.extend_from_slice(client.input.buffer());
                return Err(not_sftp(&printed));
            }
            Err(error) => return Err(error),
        }
        Ok(client)
    }

    /// Whether the server tells of its disk.
    pub(super) fn knows_statvfs(&self) -> bool {
        self.knows_statvfs
    }

    /// Queues a request; the number comes back with the answer.
    pub(super) fn send(&mut self, request: &Request<'_>) -> u32 {
        self.next_id = self.next_id.wrapping_add(1);
        request.put(self.next_id, &mut self.pending);
        self.next_id
    }

    /// Waits for the next answer to anything.
    pub(super) fn receive(&mut self) -> Result<(u32, Reply), RemoteError> {
        self.flush()?;
        self.take_packet()?;
        Reply::read(&self.packet).map_err(|Malformed| RemoteError::Protocol("it sent a malformed sftp packet"))
    }

    /// Asks while nothing else is under way.
    pub(super) fn call(&mut self, request: &Request<'_>) -> Result<Reply, RemoteError> {
        let id = self.send(request);
        match self.receive()? {
            (answered, reply) if answered == id => Ok(reply),
            _ => Err(RemoteError::Protocol("it answered another sftp request")),
        }
    }

    /// How long an answer takes that costs the server nothing.
    pub(super) fn round_trip(&mut self) -> Result<Duration, RemoteError> {
        let began = Instant::now();
        self.call(&Request::RealPath(b"."))?;
        Ok(began.elapsed())
    }

    fn flush(&mut self) -> Result<(), RemoteError> {
        if self.pending.is_empty() {
            return Ok(());
        }
        let sent = (&self.out).write_all(&self.pending);
        self.pending.clear();
        match sent {
            // Who listens no more has said why, if at all, in what is still to be read.
            Err(e) if e.kind() == ErrorKind::BrokenPipe => Ok(()),
            sent => sent.map_err(|e| self.broken.by(WireError::Io(e))),
        }
    }

    fn take_packet(&mut self) -> Result<(), RemoteError> {
        let mut length = [0; 4];
        self.fill(&mut length)?;
        let bytes = usize::try_from(u32::from_be_bytes(length)).unwrap_or(usize::MAX);
        if bytes > MAX_PACKET_BYTES {
            self.packet = length.to_vec();
            return Err(RemoteError::Protocol("it sent an sftp packet that is too long"));
        }
        let mut packet = std::mem::take(&mut self.packet);
        packet.resize(bytes, 0);
        let filled = self.fill(&mut packet);
        self.packet = packet;
        filled
    }

    fn fill(&mut self, buffer: &mut [u8]) -> Result<(), RemoteError> {
        let error = match self.input.read_exact(buffer) {
            Ok(()) => return Ok(()),
            Err(e) if e.kind() == ErrorKind::UnexpectedEof => WireError::Ended,
            Err(e) => WireError::Io(e),
        };
        Err(self.broken.by(error))
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        // Without this the server and the lanes that carry it would wait for one another.
        self.out.shutdown(Shutdown::Both).ok();
    }
}

fn not_sftp(printed: &[u8]) -> RemoteError {
    let text: String = String::from_utf8_lossy(printed).chars().filter(|c| !c.is_control()).collect();
    RemoteError::NoSftp(format!("it printed '{}'", words(text.trim())))
}
