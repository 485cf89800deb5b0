//! Reads one file and sends how it differs from what the collector holds.
//!
//! Guarantees that the digest is of exactly the bytes that the delta was computed of, in one read of the file; that a signature
//! is taken in whole, whatever becomes of the file; that the collector hears something each second; and that a delta which does
//! not pay is given up. Leaves the computing to [`delta`](crate::delta).
//!
//! A thread of its own reads and hashes the file, a little ahead: a board has several processors and a slow card, and while the
//! card keeps it waiting there is somebody to say so.

use std::cell::{Cell, RefCell};
use std::io::{self, Read, Write};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::thread::ScopedJoinHandle;
use std::time::{Duration, Instant};

use rustix::io::Result;

use super::AgentError;
use super::ahead::Ahead;
use super::content::{Atime, Content};
use super::outbox::Outbox;
use crate::delta::{Delta, DeltaError, MAX_SIGNATURE_BYTES};
use crate::digest::Hasher;
use crate::error::{describe, one_line};
use crate::rooted::Rooted;
use crate::wire::{FetchEnd, FileRef, FrameReader, Reply, Request, WireError};

/// No delta is given up before so much of the file was read, or an eighth of it: a file that was rewritten at its beginning may be
/// the same in all the rest.
const TRIAL_BYTES: u64 = 64 << 20;
const TRIAL_FRACTION: u64 = 8;
/// The slowest that a delta may be computed, far below what the smallest board does. Beyond it, something makes it slow, and
/// to send the file is faster.
const SLOWEST_BYTES_PER_SECOND: u64 = 2 << 20;
const SHORTEST_LIMIT: Duration = Duration::from_secs(60);
/// Half of what a visit may take: the other half is for sending the file.
const LONGEST_LIMIT: Duration = Duration::from_secs(15 * 60);

/// What is read at once, and how much of it waits.
const PIECE_BYTES: usize = 256 * 1024;
const PIECES_AHEAD: usize = 4;
/// How often the one who waits for the card looks whether to say so.
const WAIT: Duration = Duration::from_millis(250);

/// Answers one `Delta`, whose signature comes next among the requests.
pub(super) fn answer<W: Write>(
    root: Result<&Rooted>,
    file: &FileRef,
    signature_bytes: u64,
    atime: &mut Atime,
    requests: &mut FrameReader<Ahead>,
    out: &mut Outbox<W>,
) -> std::result::Result<(), AgentError> {
    if signature_bytes > MAX_SIGNATURE_BYTES {
        let reason = format!("a signature may have {MAX_SIGNATURE_BYTES} bytes, not {signature_bytes}");
        return Err(AgentError::Refused(reason));
    }
    let out = RefCell::new(out);
    let mut signature =
        Signature { requests, out: &out, left: signature_bytes, piece: io::Cursor::default(), error: None };
    let end = match Content::open(root, file, atime) {
        Ok(content) => send(&content, signature_bytes, &mut signature, &out),
        Err(end) => Ok(end),
    };
    signature.pass_over()?;
    let reply = Reply::Fetched { id: file.id, end: end.map_err(AgentError::Output)? };
    out.into_inner().push(&reply).map_err(AgentError::Output)
}

/// Where answers go, from several places at once.
type Out<'o, W> = RefCell<&'o mut Outbox<W>>;

fn send<W: Write>(
    content: &Content,
    signature_bytes: u64,
    signature: &mut Signature<'_, '_, W>,
    out: &Out<'_, W>,
) -> std::result::Result<FetchEnd, WireError> {
    std::thread::scope(|scope| {
        let (pieces, ahead) = sync_channel(PIECES_AHEAD);
        let reader = std::thread::Builder::new().name("content".into());
        let reader = reader.spawn_scoped(scope, move || read(content, &pieces));
        match reader {
            Ok(reader) => compare(content, reader, ahead, signature_bytes, signature, out),
            Err(error) => Ok(FetchEnd::Failed(describe(&error))),
        }
    })
}

/// Reads all of a file, and hashes it, for as long as somebody wants the pieces. Whoever has had all of them has had what was hashed.
fn read(content: &Content, pieces: &SyncSender<io::Result<Vec<u8>>>) -> Hasher {
    let mut hasher = Hasher::new();
    let mut left = content.size();
    while left > 0 {
        let mut piece = vec![0; usize::try_from(left).unwrap_or(usize::MAX).min(PIECE_BYTES)];
        let filled = content.read_full(&mut piece);
        let bytes = *filled.as_ref().unwrap_or(&0);
        piece.truncate(bytes);
        hasher.update(&piece);
        left -= bytes as u64;
        if pieces.send(filled.map(|_| piece)).is_err() || bytes == 0 {
            break;
        }
    }
    hasher
}

fn compare<W: Write>(
    content: &Content,
    reader: ScopedJoinHandle<'_, Hasher>,
    ahead: Receiver<io::Result<Vec<u8>>>,
    signature_bytes: u64,
    signature: &mut Signature<'_, '_, W>,
    out: &Out<'_, W>,
) -> std::result::Result<FetchEnd, WireError> {
    let size = content.size();
    let deadline = Cell::new(Instant::now() + limit(size));
    let read = Cell::new(0);
    let input = Input { ahead, piece: io::Cursor::default(), read: &read, deadline: &deadline, out, stopped: None };
    // What can't be compared with differs.
    let Ok(mut delta) = Delta::start(signature, signature_bytes, input) else { return Ok(FetchEnd::Differs) };
    let mut made = 0;
    let result = loop {
        let piece = match delta.piece() {
            Ok([]) => break Ok(()),
            Ok(piece) => piece,
            Err(error) => break Err(error),
        };
        made += piece.len() as u64;
        if !pays(size, read.get(), made) {
            return Ok(FetchEnd::Differs);
        }
        let began = Instant::now();
        push(piece, &mut out.borrow_mut())?;
        // To wait for the link is not to be slow.
        deadline.set(deadline.get() + began.elapsed());
    };
    let stopped = delta.into_content().stopped;
    match (result, stopped) {
        (_, Some(Stopped::Output(error))) => Err(error),
        (_, Some(Stopped::OutOfTime)) => Ok(FetchEnd::Differs),
        (Err(DeltaError::Content(error)), None) => Ok(FetchEnd::Failed(describe(&error))),
        (Err(error), None) => Ok(FetchEnd::Failed(one_line(&error))),
        (Ok(()), None) if read.get() < size => Ok(FetchEnd::Changed),
        (Ok(()), None) => {
            let hasher = reader.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
            Ok(content.end(hasher))
        }
    }
}

fn push<W: Write>(mut piece: &[u8], out: &mut Outbox<W>) -> std::result::Result<(), WireError> {
    while !piece.is_empty() {
        let pushed = out.push_data(piece.len(), |room| {
            room.copy_from_slice(&piece[..room.len()]);
            Ok::<_, std::convert::Infallible>(room.len())
        })?;
        match pushed {
            Ok(bytes) => piece = &piece[bytes..],
            Err(never) => match never {},
        }
    }
    Ok(())
}

/// Whether it is still worth it after so many bytes of the file were read, and so many of the delta made of them.
fn pays(size: u64, read: u64, made: u64) -> bool {
    let tried = read >= TRIAL_BYTES.max(size / TRIAL_FRACTION);
    made <= size / 2 && !(tried && made > read / 2)
}

/// How long computing may take, without the sending.
fn limit(size: u64) -> Duration {
    Duration::from_secs(size / SLOWEST_BYTES_PER_SECOND).clamp(SHORTEST_LIMIT, LONGEST_LIMIT)
}

/// The signature as it comes in.
struct Signature<'a, 'o, W> {
    requests: &'a mut FrameReader<Ahead>,
    out: &'a Out<'o, W>,
    /// Bytes that have not come yet.
    left: u64,
    piece: io::Cursor<Vec<u8>>,
    /// What ended it too early.
    error: Option<AgentError>,
}

impl<W: Write> Signature<'_, '_, W> {
    /// Takes in the next piece; false at the end.
    fn next(&mut self) -> std::result::Result<bool, AgentError> {
        if self.left == 0 {
            return Ok(false);
        }
        self.out.borrow_mut().working().map_err(AgentError::Output)?;
        match self.requests.next::<Request>().map_err(AgentError::Protocol)? {
            Some(Request::Signature(piece)) if piece.len() as u64 <= self.left => {
                self.left -= piece.len() as u64;
                self.piece = io::Cursor::new(piece);
                Ok(true)
            }
            Some(Request::Signature(_)) => Err(AgentError::Refused("a signature is longer than announced".into())),
            Some(_) => Err(AgentError::Refused("a request came in the middle of a signature".into())),
            None => Err(AgentError::Protocol(WireError::Ended)),
        }
    }

    /// Takes in what nobody has read.
    fn pass_over(mut self) -> std::result::Result<(), AgentError> {
        match self.error.take() {
            Some(error) => Err(error),
            None => {
                while self.next()? {}
                Ok(())
            }
        }
    }
}

impl<W: Write> Read for Signature<'_, '_, W> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            let bytes = self.piece.read(buffer)?;
            if bytes > 0 || buffer.is_empty() {
                return Ok(bytes);
            }
            match self.next() {
                Ok(true) => {}
                Ok(false) => return Ok(0),
                Err(error) => {
                    self.error = Some(error);
                    return Err(io::ErrorKind::Other.into());
                }
            }
        }
    }
}

/// The content on its way into the delta.
struct Input<'a, 'o, W> {
    ahead: Receiver<io::Result<Vec<u8>>>,
    piece: io::Cursor<Vec<u8>>,
    read: &'a Cell<u64>,
    deadline: &'a Cell<Instant>,
    out: &'a Out<'o, W>,
    stopped: Option<Stopped>,
}

/// What ended the reading besides the content.
enum Stopped {
    OutOfTime,
    Output(WireError),
}

impl<W: Write> Input<'_, '_, W> {
    fn stop(&mut self, by: Stopped) -> io::Error {
        self.stopped = Some(by);
        io::ErrorKind::Other.into()
    }
}

impl<W: Write> Read for Input<'_, '_, W> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            if Instant::now() >= self.deadline.get() {
                return Err(self.stop(Stopped::OutOfTime));
            }
            let working = self.out.borrow_mut().working();
            if let Err(error) = working {
                return Err(self.stop(Stopped::Output(error)));
            }
            let bytes = self.piece.read(buffer)?;
            if bytes > 0 || buffer.is_empty() {
                self.read.set(self.read.get() + bytes as u64);
                return Ok(bytes);
            }
            match self.ahead.recv_timeout(WAIT) {
                Ok(piece) => self.piece = io::Cursor::new(piece?),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return Ok(0),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn to_compute_a_delta_is_no_silence() {
        let mut sent = Vec::new();
        let mut out = Outbox::new(&mut sent).unwrap();
        out.fall_silent();
        let out = RefCell::new(&mut out);
        let (pieces, ahead) = sync_channel(1);
        pieces.send(Ok(b"content".to_vec())).unwrap();
        drop(pieces);
        let (read, deadline) = (Cell::new(0), Cell::new(Instant::now() + SHORTEST_LIMIT));
        let piece = io::Cursor::default();
        let mut input = Input { ahead, piece, read: &read, deadline: &deadline, out: &out, stopped: None };
        assert_eq!(io::copy(&mut input, &mut io::sink()).unwrap(), 7);
        assert_eq!(read.get(), 7);
        // And there is an end to it.
        deadline.set(Instant::now());
        input.read(&mut [0]).unwrap_err();
        assert!(matches!(input.stopped, Some(Stopped::OutOfTime)));
        assert_eq!(FrameReader::new(&sent[..]).next::<Reply<'_>>().unwrap(), Some(Reply::Working));
    }

    #[test]
    fn a_delta_is_given_up_once_it_can_not_pay() {
        const MIB: u64 = 1 << 20;
        let table = [
            // Size, read, made, and whether it goes on.
            (MIB, MIB, MIB / 2, true),
            (MIB, MIB, MIB / 2 + 1, false),
            (400 * MIB, 63 * MIB, 63 * MIB, true),
            (400 * MIB, 64 * MIB, 32 * MIB, true),
            (400 * MIB, 64 * MIB, 32 * MIB + 1, false),
            // A gibibyte that was rewritten at its beginning.
            (1024 * MIB, 100 * MIB, 100 * MIB, true),
            (1024 * MIB, 128 * MIB, 100 * MIB, false),
            (1024 * MIB, 300 * MIB, 100 * MIB, true),
        ];
        for (size, read, made, goes_on) in table {
            assert_eq!(pays(size, read, made), goes_on, "{made} of {read} of {size}");
        }
    }

    #[test]
    fn computing_has_its_time_by_size() {
        assert_eq!(limit(0), Duration::from_secs(60));
        assert_eq!(limit(512 << 20), Duration::from_secs(256));
        assert_eq!(limit(1 << 50), Duration::from_secs(900));
    }
}
