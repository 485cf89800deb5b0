//! Files that are made of what is here and what comes: in a thread of their own, because they read and write the storage for much
//! longer than what comes takes to arrive.
//!
//! A grown file of ten gigabytes is copied here before its new end is added, and a delta is patched. Meanwhile the link goes on with
//! other files, until [`QUEUED`] pieces wait for the disk. Guarantees what [`super`] does, and that of a file that did not come
//! out whole nothing is left but what a later transfer may go on from.

use std::io::{self, Read, Write};
use std::sync::mpsc::{Receiver, Sender, SyncSender, sync_channel};

use super::Wanted;
use crate::archive::{ArchiveError, Incoming, Staged, Staging};
use crate::cancel::Stopped;
use crate::delta::{self, DeltaError};
use crate::digest::Digest;
use crate::error::{Class, Classified as _};
use crate::plan::{Ask, Setback};

/// Pieces that may wait for the disk: 4 MiB.
const QUEUED: usize = 16;

/// What the thread is told.
pub(super) enum Piece {
    /// A file's content comes next.
    Begin(Box<Wanted>),
    /// The next of it.
    Data(Vec<u8>),
    /// It is whole, and this is its digest.
    Complete(Digest),
    /// It is not, and the next ask follows.
    Differs,
    /// It is not, and no other ask follows in this visit.
    Ended,
}

/// What became of a file.
#[derive(Debug)]
pub enum Built {
    /// It is whole, in staging.
    Staged(Box<Wanted>, Staged),
    /// It has to be asked for otherwise.
    SetBack(Box<Wanted>, Setback),
    /// It was of no use any more, or nobody waits for it.
    Ended,
}

/// The queue into the thread.
pub(super) type Pieces = SyncSender<Piece>;

/// The thread's end of the queue.
pub struct Building(Receiver<Piece>);

pub(super) fn queue() -> (Pieces, Building) {
    let (pieces, building) = sync_channel(QUEUED);
    (pieces, Building(building))
}

impl Building {
    /// Builds one file after the other, until nobody sends any more or the storage fails, which is the last that is told.
    pub fn run<N>(self, staging: &Staging, told: &Sender<N>, news: impl Fn(Result<Built, ArchiveError>) -> N) {
        while let Ok(piece) = self.0.recv() {
            // Anything else belongs to a file that is done with.
            let Piece::Begin(wanted) = piece else { continue };
            let Some(result) = build(staging, *wanted, &self.0).transpose() else { return };
            let failed = result.is_err();
            if told.send(news(result)).is_err() || failed {
                return;
            }
        }
    }
}

/// Builds one file; none where nobody sends any more.
fn build(staging: &Staging, mut wanted: Wanted, pieces: &Receiver<Piece>) -> Result<Option<Built>, ArchiveError> {
    let mut content = Content { pieces, piece: Vec::new(), at: 0, end: None };
    let filled = fill(staging, &mut wanted, &mut content);
    let (incoming, stopped) = match filled {
        Ok(incoming) => (Some(incoming), false),
        Err(error) if error.class() == Class::Storage => return Err(error),
        Err(error) => (None, error.class() == Class::Interrupted),
    };
    let wanted = Box::new(wanted);
    // What is left of the content where building ended before it.
    io::copy(&mut content, &mut io::sink()).ok();
    Ok(match (content.end, incoming) {
        // Nobody sends any more: what there is stays as a part, if it is large enough.
        (None, _) => None,
        _ if stopped => Some(Built::Ended),
        (Some(Piece::Complete(digest)), Some(incoming)) => match incoming.finish(&digest) {
            Ok(staged) => Some(Built::Staged(wanted, staged)),
            Err(error) if error.class() == Class::Storage => return Err(error),
            Err(_) => Some(Built::SetBack(wanted, Setback::Disagrees)),
        },
        (Some(Piece::Complete(_)), None) => Some(Built::SetBack(wanted, Setback::Disagrees)),
        (Some(Piece::Differs), incoming) => {
            if let Some(incoming) = incoming {
                incoming.discard();
            }
            Some(Built::SetBack(wanted, Setback::Differs))
        }
        (Some(_), _) => Some(Built::Ended),
    })
}

/// Writes what is here and what comes. Errors of another class than [`Class::Storage`] mean that it does not become the file.
fn fill(staging: &Staging, wanted: &mut Wanted, content: &mut Content<'_>) -> Result<Incoming, ArchiveError> {
    let (source, identity) = (wanted.entry.path.clone(), wanted.entry.identity);
    let target = wanted.target();
    let part = if wanted.ask == Ask::Delta { None } else { wanted.part.take() };
    match (wanted.ask, part, &wanted.held) {
        (Ask::AfterPart, Some(part), _) => {
            let mut incoming = staging.resume(part, source, identity, target)?;
            content.append_to(&mut incoming)?;
            Ok(incoming)
        }
        (Ask::AfterHeld, part, Some(held)) => {
            // Made from what is held it goes further.
            part.into_iter().for_each(|part| staging.discard(part));
            let mut incoming = staging.onto(held, wanted.place.yields, source, identity)?;
            content.append_to(&mut incoming)?;
            Ok(incoming)
        }
        (Ask::Delta, _, Some(held)) => {
            let basis = held.basis()?;
            let mut incoming = staging.create(source, identity, target)?;
            let mut out = Out { incoming: &mut incoming, failure: None };
            let patched = delta::patch(basis, content, &mut out, identity.size);
            match (patched, out.failure) {
                (Ok(_), None) => Ok(incoming),
                (_, Some(error)) => {
                    if error.class() != Class::Storage {
                        incoming.discard();
                    }
                    Err(error)
                }
                // What there is stays as a part, if it is large enough.
                (Err(DeltaError::Basis(error)), None) if Stopped::is_why(&error) => Err(ArchiveError::Stopped),
                (Err(error), None) => {
                    incoming.discard();
                    Err(unfit(held.path().as_rel_path().clone(), &error))
                }
            }
        }
        (_, _, _) => {
            let mut incoming = staging.create(source, identity, target)?;
            content.append_to(&mut incoming)?;
            Ok(incoming)
        }
    }
}

/// Whatever keeps a delta from being patched is no reason to end anything: the whole file comes next.
fn unfit(path: crate::path::RelPath, error: &DeltaError) -> ArchiveError {
    ArchiveError::Damaged { path, reason: crate::error::one_line(error) }
}

/// The content of one file as it comes.
struct Content<'a> {
    pieces: &'a Receiver<Piece>,
    piece: Vec<u8>,
    at: usize,
    /// What ended it.
    end: Option<Piece>,
}

impl Content<'_> {
    /// The next piece; none at the end.
    fn next(&mut self) -> io::Result<Option<&[u8]>> {
        if self.end.is_some() {
            return Ok(None);
        }
        match self.pieces.recv() {
            Ok(Piece::Data(piece)) => {
                (self.piece, self.at) = (piece, 0);
                Ok(Some(&self.piece))
            }
            Ok(end) => {
                self.end = Some(end);
                Ok(None)
            }
            Err(_) => Err(io::ErrorKind::BrokenPipe.into()),
        }
    }

    /// Writes all that comes. That nobody sends any more shows in the missing end.
    fn append_to(&mut self, incoming: &mut Incoming) -> Result<(), ArchiveError> {
        while let Ok(Some(piece)) = self.next() {
            incoming.write(piece)?;
        }
        Ok(())
    }
}

impl Read for Content<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.at == self.piece.len() {
            if self.next()?.is_none() {
                return Ok(0);
            }
        }
        let n = buffer.len().min(self.piece.len() - self.at);
        buffer[..n].copy_from_slice(&self.piece[self.at..self.at + n]);
        self.at += n;
        Ok(n)
    }
}

/// Where a patched content goes; keeps the archive's own error.
struct Out<'a> {
    incoming: &'a mut Incoming,
    failure: Option<ArchiveError>,
}

impl Write for Out<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.incoming.write(bytes).map_err(|error| {
            self.failure = Some(error);
            io::Error::other("the archive says why")
        })?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
