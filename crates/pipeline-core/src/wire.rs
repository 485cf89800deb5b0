//! Frames and messages between the collector and the agent; `docs/wire.md` describes every byte.
//!
//! A stream is [`MAGIC`] (from the agent only), then frames. A frame carries one or more whole messages, up to
//! [`MAX_FRAME_BYTES`], and is compressed on its own where that pays: so memory is bounded whatever the peer sends,
//! and a broken frame harms nothing before it. This module knows no files and no transport; [`message`] has the messages.

use std::io::{self, Read, Write};

use serde::{Deserialize, Serialize};

pub use message::{FetchEnd, FileRef, RemoveEnd, Reply, Request};

mod message;

/// Version of the messages. Both halves must speak the same one; `pipeline` uploads the agent that fits.
pub const PROTOCOL: u16 = if cfg!(feature = "next-protocol") { CURRENT + 1 } else { CURRENT };
const CURRENT: u16 = 3;

#[cfg(all(feature = "next-protocol", not(debug_assertions)))]
compile_error!("the feature next-protocol is for tests alone: it makes programs of a version that does not exist");

/// The first bytes that an agent writes. What a shell's start-up files print is not this.
pub const MAGIC: [u8; 8] = *b"pl-agent";

/// The largest frame, before and after compression, in bytes.
pub const MAX_FRAME_BYTES: usize = 256 * 1024;

/// The most file content that one [`Reply::Data`] carries, in bytes: what fits a frame with its message header.
pub const MAX_DATA_BYTES: usize = MAX_FRAME_BYTES - 16;

/// The most bytes of requests that the agent takes in ahead of the one it is answering. A collector that leaves more than
/// this unanswered, and does not read, may wait for an agent that waits for it.
pub const MAX_UNANSWERED_BYTES: usize = 1024 * 1024;

/// The most files that one [`Request::Remove`] names.
pub const MAX_REMOVALS: usize = 4096;

/// What breaks a stream of frames.
#[derive(Debug, thiserror::Error)]
pub enum WireError {
    /// The stream ended inside a frame, or where another message was due.
    #[error("the stream ended in the middle of a message")]
    Ended,
    /// The first bytes are not [`MAGIC`].
    #[error("expected the agent, read {0:?}")]
    NotAnAgent(String),
    /// A frame is longer than [`MAX_FRAME_BYTES`] or of an unknown kind.
    #[error("a frame of kind {kind} with {stored} and {plain} bytes breaks the protocol")]
    Frame {
        /// The kind byte.
        kind: u8,
        /// Bytes that follow.
        stored: u32,
        /// Bytes after decompression.
        plain: u32,
    },
    /// Bytes that are no message of this protocol.
    #[error("a message could not be decoded")]
    Message(#[source] postcard::Error),
    /// A compressed frame that does not decompress to what it announced.
    #[error("a frame could not be decompressed")]
    Compression(#[source] io::Error),
    /// A message that can't fit a frame.
    #[error("a message of more than {MAX_FRAME_BYTES} bytes can't be sent")]
    TooLarge,
    /// The stream itself failed.
    #[error("the connection failed")]
    Io(#[source] io::Error),
}

const HEADER_BYTES: usize = 9;
const PLAIN: u8 = 0;
const ZSTD: u8 = 1;
/// Level 1: level 3 halves the speed on a Pi for at most 8 % fewer bytes.
const ZSTD_LEVEL: i32 = 1;
/// A frame that shrinks by less than a twentieth is sent as it is, and the next few are not tried.
const WORTH_IT: f64 = 0.95;
const LONGEST_SKIP: u32 = 32;
/// Frames smaller than this are sent as they are.
const MIN_COMPRESSED_BYTES: usize = 256;

/// What [`Reply::Data`] takes besides the content: its tag and a length of up to three bytes.
const DATA_PREFIX_BYTES: usize = 4;
/// Only short messages are passed over.
const SKIPPED_BYTES: usize = 16;
/// Content is not cut into pieces smaller than this to fill a frame.
const MIN_PIECE_BYTES: usize = 16 * 1024;

/// Packs messages into frames. Nothing is sent before [`flush`](FrameWriter::flush) or a full frame.
pub struct FrameWriter<W> {
    out: W,
    /// Room for the header and the largest frame; messages end at `end`.
    frame: Vec<u8>,
    end: usize,
    compression: Option<Compression>,
}

struct Compression {
    context: zstd::bulk::Compressor<'static>,
    packed: Vec<u8>,
    skip: u32,
    next_skip: u32,
}

impl<W: Write> FrameWriter<W> {
    /// Sends frames as they are.
    pub fn plain(out: W) -> FrameWriter<W> {
        FrameWriter { out, frame: vec![0; HEADER_BYTES + MAX_FRAME_BYTES], end: HEADER_BYTES, compression: None }
    }

    /// Compresses each frame where that pays.
    pub fn compressed(out: W) -> io::Result<FrameWriter<W>> {
        let compression = Compression {
            context: zstd::bulk::Compressor::new(ZSTD_LEVEL)?,
            packed: vec![0; HEADER_BYTES + zstd::zstd_safe::compress_bound(MAX_FRAME_BYTES)],
            skip: 0,
            next_skip: 1,
        };
        Ok(FrameWriter { compression: Some(compression), ..FrameWriter::plain(out) })
    }

    /// Adds a message; sends the frame first where it would not fit.
    pub fn push(&mut self, message: &impl Serialize) -> Result<(), WireError> {
        if self.put(message)? {
            return Ok(());
        }
        self.send()?;
        if self.put(message)? { Ok(()) } else { Err(WireError::TooLarge) }
    }

    /// Adds a [`Reply::Data`] of at most `wanted` bytes, which `fill` writes straight into the frame; sends the frame first
    /// where there is little room. Returns what `fill` returned: how many bytes it wrote. Nothing is added for none, or an error.
    pub fn push_data<E>(
        &mut self,
        wanted: usize,
        fill: impl FnOnce(&mut [u8]) -> Result<usize, E>,
    ) -> Result<Result<usize, E>, WireError> {
        let wanted = wanted.min(MAX_DATA_BYTES);
        if self.room_for_data() < wanted.min(MIN_PIECE_BYTES) {
            self.send()?;
        }
        let data_at = self.end + DATA_PREFIX_BYTES;
        let data_bytes = wanted.min(self.room_for_data());
        let written = match fill(&mut self.frame[data_at..data_at + data_bytes]) {
            Ok(written) => written.min(data_bytes),
            Err(error) => return Ok(Err(error)),
        };
        if written == 0 {
            return Ok(Ok(0));
        }
        let prefix = &mut self.frame[self.end..data_at];
        let mut prefix_bytes = postcard::to_slice(&Reply::Data(&[]), prefix).map_err(WireError::Message)?.len() - 1;
        prefix_bytes += postcard::to_slice(&written, &mut prefix[prefix_bytes..]).map_err(WireError::Message)?.len();
        if prefix_bytes < DATA_PREFIX_BYTES {
            self.frame.copy_within(data_at..data_at + written, self.end + prefix_bytes);
        }
        self.end += prefix_bytes + written;
        Ok(Ok(written))
    }

    /// Sends what has been pushed.
    pub fn flush(&mut self) -> Result<(), WireError> {
        self.send()?;
        self.out.flush().map_err(WireError::Io)
    }

    /// Bytes that are pushed and not yet sent.
    pub fn pending_bytes(&self) -> usize {
        self.end - HEADER_BYTES
    }

    fn room_for_data(&self) -> usize {
        self.frame.len().saturating_sub(self.end + DATA_PREFIX_BYTES)
    }

    /// Adds a message if it fits.
    fn put(&mut self, message: &impl Serialize) -> Result<bool, WireError> {
        match postcard::to_slice(message, &mut self.frame[self.end..]) {
            Ok(used) => self.end += used.len(),
            Err(postcard::Error::SerializeBufferFull) => return Ok(false),
            Err(error) => return Err(WireError::Message(error)),
        }
        Ok(true)
    }

    fn send(&mut self) -> Result<(), WireError> {
        let plain = self.pending_bytes();
        if plain == 0 {
            return Ok(());
        }
        let packed = self.compression.as_mut().and_then(|c| c.pack(&self.frame[HEADER_BYTES..self.end]));
        let frame = match packed {
            Some(packed) => packed,
            None => {
                write_header(&mut self.frame, PLAIN, plain, plain);
                &self.frame[..self.end]
            }
        };
        self.out.write_all(frame).map_err(WireError::Io)?;
        self.end = HEADER_BYTES;
        Ok(())
    }
}

impl Compression {
    /// The whole compressed frame, or none where sending the content as it is costs less.
    fn pack(&mut self, plain: &[u8]) -> Option<&[u8]> {
        if plain.len() < MIN_COMPRESSED_BYTES {
            return None;
        }
        if self.skip > 0 {
            self.skip -= 1;
            return None;
        }
        let stored = self.context.compress_to_buffer(plain, &mut self.packed[HEADER_BYTES..]).ok()?;
        #[allow(clippy::cast_precision_loss)] // at most MAX_FRAME_BYTES
        if stored as f64 > plain.len() as f64 * WORTH_IT {
            self.skip = self.next_skip;
            self.next_skip = (self.next_skip * 2).min(LONGEST_SKIP);
            return None;
        }
        self.next_skip = 1;
        write_header(&mut self.packed, ZSTD, stored, plain.len());
        Some(&self.packed[..HEADER_BYTES + stored])
    }
}

#[allow(clippy::cast_possible_truncation)] // both are at most MAX_FRAME_BYTES
fn write_header(frame: &mut [u8], kind: u8, stored: usize, plain: usize) {
    frame[0] = kind;
    frame[1..5].copy_from_slice(&(stored as u32).to_le_bytes());
    frame[5..9].copy_from_slice(&(plain as u32).to_le_bytes());
}

/// Takes frames apart into messages. Holds at most two frames in memory.
pub struct FrameReader<R> {
    input: R,
    stored: Vec<u8>,
    plain: Vec<u8>,
    at: usize,
    decompressor: Option<zstd::bulk::Decompressor<'static>>,
}

impl<R: Read> FrameReader<R> {
    /// Reads from the next byte of `input` on.
    pub fn new(input: R) -> FrameReader<R> {
        FrameReader { input, stored: Vec::new(), plain: Vec::new(), at: 0, decompressor: None }
    }

    /// Where the frames come from.
    pub fn input(&self) -> &R {
        &self.input
    }

    /// Reads [`MAGIC`]. Otherwise the error holds the first characters that came instead.
    pub fn expect_magic(&mut self) -> Result<(), WireError> {
        let mut seen = Vec::new();
        while seen.len() < MAGIC.len() {
            let mut byte = [0];
            match self.input.read(&mut byte) {
                Ok(0) => break,
                Ok(_) => seen.push(byte[0]),
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(WireError::Io(e)),
            }
        }
        if seen == MAGIC {
            return Ok(());
        }
        if seen.is_empty() {
            return Err(WireError::Ended);
        }
        Err(WireError::NotAnAgent(String::from_utf8_lossy(&seen).into_owned()))
    }

    /// Whether a whole message lies ready, so that [`next`](FrameReader::next) does not wait.
    pub fn ready(&self) -> bool {
        self.at < self.plain.len()
    }

    /// Passes over the next message if it is this one, which must be of the kind that the other side sends.
    pub fn skip(&mut self, message: &impl Serialize) -> Result<bool, WireError> {
        if !self.ready() && !self.fill()? {
            return Ok(false);
        }
        let mut wanted = [0; SKIPPED_BYTES];
        let wanted = postcard::to_slice(message, &mut wanted).map_err(WireError::Message)?;
        let same = self.plain[self.at..].starts_with(wanted);
        if same {
            self.at += wanted.len();
        }
        Ok(same)
    }

    /// The next message; none at the orderly end of the stream. May borrow from this reader.
    pub fn next<'a, T: Deserialize<'a>>(&'a mut self) -> Result<Option<T>, WireError> {
        if !self.ready() && !self.fill()? {
            return Ok(None);
        }
        let rest = &self.plain[self.at..];
        let (message, left) = postcard::take_from_bytes::<T>(rest).map_err(WireError::Message)?;
        let used = rest.len() - left.len();
        if used == 0 {
            return Err(WireError::Message(postcard::Error::DeserializeUnexpectedEnd));
        }
        self.at += used;
        Ok(Some(message))
    }

    /// Reads one frame; false at the orderly end.
    fn fill(&mut self) -> Result<bool, WireError> {
        let mut header = [0; HEADER_BYTES];
        if !self.read_header(&mut header)? {
            return Ok(false);
        }
        let kind = header[0];
        let stored = u32::from_le_bytes([header[1], header[2], header[3], header[4]]);
        let plain = u32::from_le_bytes([header[5], header[6], header[7], header[8]]);
        let (stored_bytes, plain_bytes) = (stored as usize, plain as usize);
        let sane = plain_bytes > 0 && plain_bytes <= MAX_FRAME_BYTES && stored_bytes <= MAX_FRAME_BYTES;
        if !sane || !(kind == ZSTD || kind == PLAIN && stored == plain) {
            return Err(WireError::Frame { kind, stored, plain });
        }
        self.at = 0;
        self.plain.resize(plain_bytes, 0);
        if kind == PLAIN {
            return read_exact(&mut self.input, &mut self.plain).map(|()| true);
        }
        self.stored.resize(stored_bytes, 0);
        read_exact(&mut self.input, &mut self.stored)?;
        if self.decompressor.is_none() {
            self.decompressor = Some(zstd::bulk::Decompressor::new().map_err(WireError::Compression)?);
        }
        let decompressor = self.decompressor.as_mut().ok_or(WireError::Ended)?;
        let got =
            decompressor.decompress_to_buffer(&self.stored, &mut self.plain[..]).map_err(WireError::Compression)?;
        if got != plain_bytes {
            return Err(WireError::Frame { kind, stored, plain });
        }
        Ok(true)
    }

    fn read_header(&mut self, header: &mut [u8; HEADER_BYTES]) -> Result<bool, WireError> {
        loop {
            match self.input.read(header) {
                Ok(0) => return Ok(false),
                Ok(n) => return read_exact(&mut self.input, &mut header[n..]).map(|()| true),
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(WireError::Io(e)),
            }
        }
    }
}

fn read_exact(input: &mut impl Read, buffer: &mut [u8]) -> Result<(), WireError> {
    input.read_exact(buffer).map_err(|e| match e.kind() {
        io::ErrorKind::UnexpectedEof => WireError::Ended,
        _ => WireError::Io(e),
    })
}

#[cfg(test)]
mod tests;
