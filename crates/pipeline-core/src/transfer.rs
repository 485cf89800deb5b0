//! A stream of answers to staged files: one device's reading side.
//!
//! Guarantees that a [`Staged`](crate::archive::Staged) file holds exactly the bytes whose digest the device sent, whether they came
//! or were here, and that what was [found to be there](crate::archive::Arrived::Held) has that digest. Leaves durability to
//! [`archive`](crate::archive) and the order of stages to [`sync`](crate::sync).

mod builder;
#[cfg(test)]
mod tests;
mod wanted;

use std::collections::VecDeque;

pub use builder::{Building, Built};
pub use wanted::{Place, Wanted};

use self::builder::{Piece, Pieces};
use crate::archive::{ArchiveError, Arrived, Incoming, Staging};
use crate::digest::Digest;
use crate::entry::Entry;
use crate::path::RelPath;
use crate::plan::{Ask, Setback};
use crate::wire::FetchEnd;

/// What arrives from one device.
pub struct Transfer<'a> {
    staging: &'a Staging,
    pieces: Pieces,
    due: VecDeque<Due>,
    sink: Sink,
    /// Bytes that have come of the oldest file that is due.
    came_bytes: u64,
}

/// A file that was asked for.
#[derive(Debug)]
struct Due {
    /// Comes back with the answer.
    id: u32,
    entry: Entry,
    /// None while it is being built.
    wanted: Option<Box<Wanted>>,
}

/// Where the content of the oldest file that is due goes.
enum Sink {
    /// Nothing has come yet.
    None,
    /// Into staging, from here.
    Direct(Box<Incoming>),
    /// To the thread that builds.
    Built,
}

/// How the oldest file that was asked for came out.
#[derive(Debug)]
pub enum Arrival {
    /// Its whole content is here.
    Here(Box<Wanted>, Arrived),
    /// It is being built; the [`Building`] tells.
    BeingBuilt,
    /// It is to be asked for otherwise.
    Again(Box<Wanted>),
    /// It is not, or no longer, the file that was asked for: the next run looks again.
    Changed(RelPath),
    /// It is gone.
    Gone(RelPath),
    /// It could not be read; why, in words.
    Failed(RelPath, String),
}

/// What ends a transfer.
#[derive(Debug, thiserror::Error)]
pub enum TransferError {
    /// The storage failed.
    #[error(transparent)]
    Archive(#[from] ArchiveError),
    /// The device sent what nobody asked for.
    #[error("the device broke the protocol: {0}")]
    Protocol(&'static str),
    /// The thread that builds files has ended, and has told why.
    #[error("the storage failed")]
    Builder,
}

impl<'a> Transfer<'a> {
    /// Nothing is due yet. The second half is to be [run](Building::run) by a thread of its own.
    pub fn new(staging: &'a Staging) -> (Transfer<'a>, Building) {
        let (pieces, building) = builder::queue();
        (Transfer { staging, pieces, due: VecDeque::new(), sink: Sink::None, came_bytes: 0 }, building)
    }

    /// Expects one more file, after all others.
    pub fn expect(&mut self, id: u32, mut wanted: Box<Wanted>) {
        if wanted.ask == Ask::Whole {
            self.discard_part(&mut wanted);
        }
        self.due.push_back(Due { id, entry: wanted.entry.clone(), wanted: Some(wanted) });
    }

    /// How many files were asked for and have not come out.
    pub fn due(&self) -> usize {
        self.due.len()
    }

    /// The file that arrives next or is arriving.
    pub fn current(&self) -> Option<&Entry> {
        self.due.front().map(|due| &due.entry)
    }

    /// Takes content of the oldest file that is due. Waits where what is built is far behind.
    pub fn data(&mut self, bytes: &[u8]) -> Result<(), TransferError> {
        let due = self.due.front_mut().ok_or(TransferError::Protocol("it sent content that nobody asked for"))?;
        // What is built is measured where it is built, but a device must not send without an end either.
        self.came_bytes += bytes.len() as u64;
        if self.came_bytes > most_bytes(&due.entry) {
            return Err(TransferError::Protocol("it sent more than it announced"));
        }
        if let Sink::None = self.sink {
            self.sink = match due.wanted.take() {
                Some(wanted) if wanted.ask != Ask::Whole => {
                    send(&self.pieces, Piece::Begin(wanted))?;
                    Sink::Built
                }
                wanted => {
                    let incoming = wanted.as_ref().map(|wanted| create(self.staging, wanted)).transpose()?;
                    due.wanted = wanted;
                    incoming.map_or(Sink::None, |incoming| Sink::Direct(Box::new(incoming)))
                }
            };
        }
        match &mut self.sink {
            Sink::None => Err(TransferError::Protocol("it sent content twice")),
            Sink::Direct(incoming) => Ok(incoming.write(bytes)?),
            Sink::Built => send(&self.pieces, Piece::Data(bytes.to_vec())),
        }
    }

    /// Takes the end of the oldest file that is due. What is staged of a file that did not come out whole is removed, or stays for a
    /// later transfer.
    pub fn fetched(&mut self, id: u32, end: FetchEnd) -> Result<(Entry, Arrival), TransferError> {
        let due = match self.due.pop_front() {
            Some(due) if due.id == id => due,
            _ => return Err(TransferError::Protocol("it ended a file that nobody asked for")),
        };
        let sink = std::mem::replace(&mut self.sink, Sink::None);
        self.came_bytes = 0;
        let path = due.entry.path.clone();
        let arrival = match (end, due.wanted) {
            (FetchEnd::Complete(digest), None) => {
                send(&self.pieces, Piece::Complete(digest))?;
                Arrival::BeingBuilt
            }
            (FetchEnd::Differs, None) => {
                send(&self.pieces, Piece::Differs)?;
                Arrival::BeingBuilt
            }
            (FetchEnd::Complete(digest), Some(wanted)) => self.complete(wanted, sink, &digest)?,
            (FetchEnd::Differs, Some(wanted)) => self.differs(wanted)?,
            (ended, wanted) => {
                if wanted.is_none() {
                    send(&self.pieces, Piece::Ended)?;
                }
                match ended {
                    FetchEnd::Gone => Arrival::Gone(path),
                    FetchEnd::Failed(reason) => Arrival::Failed(path, reason),
                    _ => Arrival::Changed(path),
                }
            }
        };
        Ok((due.entry, arrival))
    }

    /// A file that nothing, or all, has come of, and that is whole.
    fn complete(&mut self, mut wanted: Box<Wanted>, sink: Sink, digest: &Digest) -> Result<Arrival, TransferError> {
        match (wanted.ask, sink) {
            (Ask::Whole, Sink::Direct(incoming)) => {
                let staged = incoming.finish(digest)?;
                Ok(Arrival::Here(wanted, Arrived::Staged(staged)))
            }
            (Ask::Whole, _) => {
                let staged = create(self.staging, &wanted)?.finish(digest)?;
                Ok(Arrival::Here(wanted, Arrived::Staged(staged)))
            }
            (Ask::AfterHeld, _) => {
                let (identity, source) = (wanted.entry.identity, wanted.entry.path.clone());
                let same = |held: &&crate::archive::Held| {
                    held.prefix().bytes == identity.size && held.prefix().digest == *digest
                };
                if let Some(held) = wanted.held.as_ref().filter(same).cloned() {
                    self.discard_part(&mut wanted);
                    return Ok(Arrival::Here(wanted, Arrived::Held { held, source, identity, digest: *digest }));
                }
                if wanted.go_on(Setback::Disagrees) { Ok(Arrival::Again(wanted)) } else { Err(DIFFERS_FROM_NOTHING) }
            }
            (Ask::AfterPart | Ask::Delta, _) => {
                send(&self.pieces, Piece::Begin(wanted))?;
                send(&self.pieces, Piece::Complete(*digest))?;
                Ok(Arrival::BeingBuilt)
            }
        }
    }

    /// A file that begins otherwise, and that nothing has come of.
    fn differs(&mut self, mut wanted: Box<Wanted>) -> Result<Arrival, TransferError> {
        let asked = wanted.ask;
        let again = wanted.go_on(Setback::Differs);
        if asked == Ask::AfterPart {
            self.discard_part(&mut wanted);
        }
        if again { Ok(Arrival::Again(wanted)) } else { Err(DIFFERS_FROM_NOTHING) }
    }

    /// Removes a part that was of no use after all.
    pub fn discard_part(&mut self, wanted: &mut Wanted) {
        if let Some(part) = wanted.part.take() {
            self.staging.discard(part);
        }
    }
}

const DIFFERS_FROM_NOTHING: TransferError = TransferError::Protocol("a whole file differs from nothing");

/// The most that any answer takes for a file: all of it, and what a delta adds to that.
fn most_bytes(entry: &Entry) -> u64 {
    let size = entry.identity.size;
    size.saturating_add(size / 64).saturating_add(64 << 10)
}

fn create(staging: &Staging, wanted: &Wanted) -> Result<Incoming, ArchiveError> {
    staging.create(wanted.entry.path.clone(), wanted.entry.identity, wanted.target())
}

/// Hands a piece over. The thread that builds ends before the transfer only because the storage failed, which it has told.
fn send(pieces: &Pieces, piece: Piece) -> Result<(), TransferError> {
    pieces.send(piece).map_err(|_| TransferError::Builder)
}
