//! The delta of a new content against a signature, computed by several threads.
//!
//! Segments of the content go to the workers in turn, and what they make is put together in the order of the content. A delta is
//! a list of commands that refer to the old content by place, so lists of segments, one after the other, are one delta: whoever
//! patches can't tell how many made it. Guarantees that queues are bounded, and that all workers end soon once nobody wants
//! the delta any more. Leaves reading and hashing to whoever [feeds](Feed) it, and time to whoever [takes](Made) it.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::thread::{Builder, Scope};
use std::time::Duration;

use super::compute::{Shares, Signature};
use super::sums::Sums;
use super::{DELTA_BEGIN, DELTA_END, DeltaError, PIECE_BYTES};

/// What is fed at once, at most, and how much of it may wait for one worker. Of a segment a part can be fed only while another
/// is being compared, so that much less than a segment would leave workers without work.
const FED_BYTES: usize = 256 * 1024;
const FED_AHEAD: usize = 12;
/// How much of the delta may wait: a megabyte. Who makes more is waited for by the link, not by the processor.
const MADE_AHEAD: usize = 16;

/// Starts the workers. The content goes into the one, the delta comes out of the other, which must be on different threads.
pub fn start<'scope>(
    scope: &'scope Scope<'scope, '_>,
    signature: Signature,
    shares: Shares,
) -> io::Result<(Feed, Made)> {
    let (sums, stop) = (Arc::new(Sums::new(signature)), Arc::new(AtomicBool::new(false)));
    let mut feed =
        Feed { workers: Vec::new(), turn: 0, left: shares.segment_bytes, segment_bytes: shares.segment_bytes };
    let mut made = Made { workers: Vec::new(), turn: 0, state: State::Beginning, stop: stop.clone() };
    for number in 0..shares.workers as u64 {
        let (fed, content) = sync_channel(FED_AHEAD);
        let (commands, delta) = sync_channel(MADE_AHEAD);
        feed.workers.push(fed);
        made.workers.push(delta);
        let at = number * if shares.workers > 1 { shares.segment_bytes } else { 0 };
        let stride = shares.segment_bytes.saturating_mul(shares.workers as u64);
        let worker = Worker { at, segment_bytes: shares.segment_bytes, stride, content, commands, stop: stop.clone() };
        let sums = sums.clone();
        Builder::new().name("delta".into()).spawn_scoped(scope, move || worker.run(&sums))?;
    }
    Ok((feed, made))
}

/// Where the content goes in, in its order. Its end is the end of the content.
#[derive(Debug)]
pub struct Feed {
    workers: Vec<SyncSender<io::Result<Vec<u8>>>>,
    turn: usize,
    /// Bytes until it is the next one's turn.
    left: u64,
    segment_bytes: u64,
}

impl Feed {
    /// The most that the next [`push`](Feed::push) may have.
    pub fn room(&self) -> usize {
        usize::try_from(self.left).unwrap_or(usize::MAX).min(FED_BYTES)
    }

    /// Waits until the next bytes, at least one, can be taken, or the error that there are none. False once nobody wants more.
    pub fn push(&mut self, piece: io::Result<Vec<u8>>) -> bool {
        self.left -= piece.as_ref().map_or(0, Vec::len) as u64;
        let wanted = self.workers[self.turn].send(piece).is_ok();
        if self.left == 0 {
            self.left = self.segment_bytes;
            self.turn = (self.turn + 1) % self.workers.len();
        }
        wanted
    }
}

/// Where the delta comes out. Once it is dropped, the workers end.
#[derive(Debug)]
pub struct Made {
    workers: Vec<Receiver<Result<Output, DeltaError>>>,
    turn: usize,
    state: State,
    stop: Arc<AtomicBool>,
}

#[derive(Debug)]
enum State {
    Beginning,
    Commands,
    Ended,
}

/// What has come of it.
#[derive(Debug)]
pub enum Step {
    /// The next bytes of the delta, and how many more bytes of the content they are made of.
    Made(Vec<u8>, u64),
    /// Nothing yet.
    Waited,
    /// All of it was made.
    Ended,
}

impl Made {
    /// Waits for the next step, but no longer than that. After an error there is nothing more.
    pub fn next(&mut self, wait: Duration) -> Result<Step, DeltaError> {
        match self.state {
            State::Beginning => {
                self.state = State::Commands;
                Ok(Step::Made(DELTA_BEGIN.to_vec(), 0))
            }
            State::Commands => match self.workers[self.turn].recv_timeout(wait) {
                Ok(output) => {
                    let output = output?;
                    if output.is_last {
                        self.turn = (self.turn + 1) % self.workers.len();
                    }
                    Ok(Step::Made(output.commands, output.content_bytes))
                }
                Err(RecvTimeoutError::Timeout) => Ok(Step::Waited),
                // The next segment has no bytes.
                Err(RecvTimeoutError::Disconnected) => {
                    self.state = State::Ended;
                    Ok(Step::Made(DELTA_END.to_vec(), 0))
                }
            },
            State::Ended => Ok(Step::Ended),
        }
    }
}

impl Drop for Made {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

/// What a worker has made since the last time.
#[derive(Debug, Default)]
struct Output {
    commands: Vec<u8>,
    content_bytes: u64,
    /// Nothing more comes of this segment.
    is_last: bool,
}

struct Worker {
    /// Where in the content the next segment begins.
    at: u64,
    segment_bytes: u64,
    /// From one of its segments to the next.
    stride: u64,
    content: Receiver<io::Result<Vec<u8>>>,
    commands: SyncSender<Result<Output, DeltaError>>,
    stop: Arc<AtomicBool>,
}

impl Worker {
    fn run(mut self, sums: &Sums) {
        while let Ok(piece) = self.content.recv() {
            match self.compare(sums, piece) {
                Ok(true) => self.at = self.at.saturating_add(self.stride),
                Ok(false) => return,
                Err(error) => {
                    // Whoever does not listen any more does not care.
                    self.commands.send(Err(DeltaError::Content(error))).ok();
                    return;
                }
            }
        }
    }

    /// Compares one segment, of which this is the first piece. False once nobody wants more.
    fn compare(&self, sums: &Sums, first: io::Result<Vec<u8>>) -> io::Result<bool> {
        let mut segment = sums.compare(self.at);
        let mut output = Output::default();
        let mut left = self.segment_bytes;
        let mut next = Some(first);
        while let Some(piece) = next {
            let piece = piece?;
            for content in piece.chunks(PIECE_BYTES) {
                if self.stop.load(Ordering::Relaxed) {
                    return Ok(false);
                }
                segment.push(content, &mut output.commands);
                output.content_bytes += content.len() as u64;
                if output.commands.len() >= PIECE_BYTES && self.commands.send(Ok(std::mem::take(&mut output))).is_err()
                {
                    return Ok(false);
                }
            }
            left -= piece.len() as u64;
            next = if left > 0 { self.content.recv().ok() } else { None };
        }
        segment.finish(&mut output.commands);
        output.is_last = true;
        Ok(self.commands.send(Ok(output)).is_ok())
    }
}
