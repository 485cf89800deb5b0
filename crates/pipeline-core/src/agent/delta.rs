//! Reads one file and sends how it differs from what the collector holds.
//!
//! Guarantees that the digest is of exactly the bytes that the delta was computed of, in one read of the file; that a signature
//! is taken in whole, whatever becomes of the file; that the collector hears something each second; and that a delta which does
//! not pay is given up. Leaves the computing to [`crate::delta`].
//!
//! A board has several processors and a slow card. So a thread of its own reads and hashes the file, others compare it, and this
//! one sends what they make, and says that there is work while they make nothing.

use std::io::{self, Read, Write};
use std::thread::{ScopedJoinHandle, available_parallelism};
use std::time::{Duration, Instant};

use rustix::io::Result;

use super::AgentError;
use super::ahead::Ahead;
use super::content::{Atime, Content};
use super::outbox::Outbox;
use crate::delta::{self, DeltaError, Feed, MAX_SIGNATURE_BYTES, Made, Shares, Step};
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

/// How often the one who waits for the others looks whether to say so.
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
    let mut signature = Signature { requests, out, left: signature_bytes, piece: io::Cursor::default(), error: None };
    let end = match Content::open(root, file, atime) {
        Ok(content) => match delta::Signature::read(&mut signature, signature_bytes) {
            Ok(whole) => send(&content, whole, signature.out),
            // What can't be compared with differs. What ended it too early comes up below.
            Err(_) => Ok(FetchEnd::Differs),
        },
        Err(end) => Ok(end),
    };
    signature.pass_over()?;
    let reply = Reply::Fetched { id: file.id, end: end.map_err(AgentError::Output)? };
    out.push(&reply).map_err(AgentError::Output)
}

fn send<W: Write>(
    content: &Content,
    signature: delta::Signature,
    out: &mut Outbox<W>,
) -> std::result::Result<FetchEnd, WireError> {
    let processors = available_parallelism().map_or(1, usize::from);
    let shares = Shares::of(content.size(), &signature, processors);
    std::thread::scope(|scope| {
        let started = delta::start(scope, signature, shares).and_then(|(feed, made)| {
            let reader = std::thread::Builder::new().name("content".into());
            Ok((reader.spawn_scoped(scope, move || read(content, feed))?, made))
        });
        match started {
            Ok((reader, made)) => compare(content, reader, made, limit(content.size()), out),
            Err(error) => Ok(FetchEnd::Failed(describe(&error))),
        }
    })
}

/// Reads all of a file, and hashes it, for as long as somebody wants it. Whoever has had all of it has had what was hashed.
fn read(content: &Content, mut feed: Feed) -> Hasher {
    let mut hasher = Hasher::new();
    let mut left = content.size();
    while left > 0 {
        let mut piece = vec![0; usize::try_from(left).unwrap_or(usize::MAX).min(feed.room())];
        let filled = content.read_full(&mut piece);
        piece.truncate(*filled.as_ref().unwrap_or(&0));
        hasher.update(&piece);
        left -= piece.len() as u64;
        let ended = piece.is_empty();
        // It is shorter than it was: there is no more.
        if matches!(filled, Ok(0)) || !feed.push(filled.map(|_| piece)) || ended {
            break;
        }
    }
    hasher
}

fn compare<W: Write>(
    content: &Content,
    reader: ScopedJoinHandle<'_, Hasher>,
    mut delta: Made,
    limit: Duration,
    out: &mut Outbox<W>,
) -> std::result::Result<FetchEnd, WireError> {
    let size = content.size();
    let mut deadline = Instant::now() + limit;
    let (mut read, mut made) = (0, 0);
    loop {
        if Instant::now() >= deadline {
            return Ok(FetchEnd::Differs);
        }
        out.working()?;
        let piece = match delta.next(WAIT) {
            Ok(Step::Made(piece, content_bytes)) => {
                read += content_bytes;
                piece
            }
            Ok(Step::Waited) => continue,
            Ok(Step::Ended) => break,
            Err(DeltaError::Content(error)) => return Ok(FetchEnd::Failed(describe(&error))),
            Err(error) => return Ok(FetchEnd::Failed(one_line(&error))),
        };
        made += piece.len() as u64;
        if !pays(size, read, made) {
            return Ok(FetchEnd::Differs);
        }
        let began = Instant::now();
        push(&piece, out)?;
        // To wait for the link is not to be slow.
        deadline += began.elapsed();
    }
    if read < size {
        return Ok(FetchEnd::Changed);
    }
    let hasher = reader.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
    Ok(content.end(hasher))
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
struct Signature<'a, W> {
    requests: &'a mut FrameReader<Ahead>,
    out: &'a mut Outbox<W>,
    /// Bytes that have not come yet.
    left: u64,
    piece: io::Cursor<Vec<u8>>,
    /// What ended it too early.
    error: Option<AgentError>,
}

impl<W: Write> Signature<'_, W> {
    /// Takes in the next piece; false at the end.
    fn next(&mut self) -> std::result::Result<bool, AgentError> {
        if self.left == 0 {
            return Ok(false);
        }
        self.out.working().map_err(AgentError::Output)?;
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

impl<W: Write> Read for Signature<'_, W> {
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

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::super::vitals::identity;
    use super::*;
    use crate::digest::Digest;
    use crate::path::RelPath;

    #[test]
    fn to_compute_a_delta_is_no_silence() {
        let dir = tempfile::tempdir().unwrap();
        let same = vec![7; 100_000];
        std::fs::write(dir.path().join("a"), &same).unwrap();
        let identity = identity(&rustix::fs::lstat(dir.path().join("a")).unwrap());
        let file = FileRef { id: 1, path: RelPath::new("a").unwrap(), identity };
        let root = Rooted::open(dir.path()).unwrap();
        let sums = delta::signature(&same[..], identity.size).unwrap();
        let compared_within = |limit| {
            let content = Content::open(Ok(&root), &file, &mut Atime::default()).unwrap();
            let signature = delta::Signature::read(&sums[..], sums.len() as u64).unwrap();
            let mut sent = Vec::new();
            let mut out = Outbox::new(&mut sent).unwrap();
            out.fall_silent();
            let end = std::thread::scope(|scope| {
                let (feed, made) = delta::start(scope, signature, Shares::ONE).unwrap();
                let reader = scope.spawn(|| read(&content, feed));
                compare(&content, reader, made, limit, &mut out).unwrap()
            });
            drop(out);
            (end, FrameReader::new(&sent[..]).next::<Reply<'_>>().unwrap() == Some(Reply::Working))
        };
        assert_eq!(compared_within(SHORTEST_LIMIT), (FetchEnd::Complete(Digest::of(&same)), true));
        // And there is an end to it.
        assert_eq!(compared_within(Duration::ZERO), (FetchEnd::Differs, false));
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
