//! Answers on their way out: packed into full frames, but never held back for long.

use std::io::{self, Write};
use std::time::{Duration, Instant};

use crate::wire::{FrameWriter, Reply, WireError};

/// The longest that an answer waits for more to share its frame, while more is being worked on. Much shorter than any
/// collector's patience with silence: a thousand removals on a slow card fill no frame for minutes.
const MAX_WAIT: Duration = Duration::from_millis(500);

/// Where answers go. Sends when a frame is full, when the oldest answer has waited [`MAX_WAIT`], and when told.
pub(super) struct Outbox<W> {
    writer: FrameWriter<W>,
    /// When something was last sent, or there was nothing to send.
    empty_at: Instant,
}

impl<W: Write> Outbox<W> {
    pub(super) fn new(output: W) -> io::Result<Outbox<W>> {
        Ok(Outbox { writer: FrameWriter::compressed(output)?, empty_at: Instant::now() })
    }

    pub(super) fn push(&mut self, reply: &Reply<'_>) -> Result<(), WireError> {
        let before = self.before_push();
        self.writer.push(reply)?;
        self.after_push(before)
    }

    /// Content that `fill` writes in place; see [`FrameWriter::push_data`].
    pub(super) fn push_data<E>(
        &mut self,
        wanted: usize,
        fill: impl FnOnce(&mut [u8]) -> Result<usize, E>,
    ) -> Result<Result<usize, E>, WireError> {
        let before = self.before_push();
        let filled = self.writer.push_data(wanted, fill)?;
        self.after_push(before)?;
        Ok(filled)
    }

    pub(super) fn flush(&mut self) -> Result<(), WireError> {
        self.empty_at = Instant::now();
        self.writer.flush()
    }

    /// To be called again and again while there is work and nothing to send: lets go of what waits, or says that there is work.
    pub(super) fn working(&mut self) -> Result<(), WireError> {
        if self.empty_at.elapsed() <= MAX_WAIT {
            return Ok(());
        }
        if self.writer.pending_bytes() == 0 {
            self.writer.push(&Reply::Working)?;
        }
        self.flush()
    }

    fn before_push(&mut self) -> usize {
        let pending = self.writer.pending_bytes();
        if pending == 0 {
            self.empty_at = Instant::now();
        }
        pending
    }

    fn after_push(&mut self, pending_before: usize) -> Result<(), WireError> {
        if self.writer.pending_bytes() < pending_before {
            self.empty_at = Instant::now();
        }
        if self.empty_at.elapsed() > MAX_WAIT { self.flush() } else { Ok(()) }
    }
}

#[cfg(test)]
impl<W: Write> Outbox<W> {
    /// As if nothing had been sent for long.
    pub(super) fn fall_silent(&mut self) {
        self.empty_at = self.empty_at.checked_sub(2 * MAX_WAIT).unwrap_or(self.empty_at);
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn silence_is_broken_while_there_is_work() {
        let mut sent = Vec::new();
        let mut out = Outbox::new(&mut sent).unwrap();
        out.working().unwrap();
        // What waits is better than saying that there is work.
        out.push(&Reply::Scanned { files: 1 }).unwrap();
        out.fall_silent();
        out.working().unwrap();
        out.working().unwrap();
        out.fall_silent();
        out.working().unwrap();
        drop(out);
        let mut reader = crate::wire::FrameReader::new(&sent[..]);
        assert_eq!(reader.next::<Reply<'_>>().unwrap().unwrap(), Reply::Scanned { files: 1 });
        assert_eq!(reader.next::<Reply<'_>>().unwrap().unwrap(), Reply::Working);
        assert!(reader.next::<Reply<'_>>().unwrap().is_none());
    }

    #[test]
    fn an_answer_waits_for_company_but_not_for_long() {
        let mut sent = Vec::new();
        let mut out = Outbox::new(&mut sent).unwrap();
        out.push(&Reply::Scanned { files: 1 }).unwrap();
        out.push(&Reply::Scanned { files: 2 }).unwrap();
        assert!(out.writer.pending_bytes() > 0);
        // As if the first had been pushed so long ago.
        out.fall_silent();
        out.push(&Reply::Scanned { files: 3 }).unwrap();
        assert_eq!(out.writer.pending_bytes(), 0);
        // The next begins to wait now.
        out.push(&Reply::Scanned { files: 4 }).unwrap();
        assert!(out.writer.pending_bytes() > 0);
    }
}
