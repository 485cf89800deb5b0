//! A stream of answers to staged files: one device's reading side.
//!
//! Guarantees that a [`Staged`] file holds exactly the bytes whose digest the device sent. Leaves durability to
//! [`archive`](crate::archive) and the order of stages to [`sync`](crate::sync).

use std::collections::VecDeque;

use crate::archive::{ArchiveError, ArchivePath, Incoming, Staged, Staging, Target};
use crate::entry::Entry;
use crate::path::RelPath;
use crate::wire::FetchEnd;

/// What arrives from one device.
pub struct Transfer {
    staging: Staging,
    due: VecDeque<Due>,
    incoming: Option<Incoming>,
}

/// A file that was asked for.
#[derive(Debug)]
pub struct Due {
    /// Comes back with the answer.
    pub id: u32,
    /// Which file.
    pub entry: Entry,
    /// Where it goes.
    pub target: ArchivePath,
}

/// How the oldest file that was asked for came out.
#[derive(Debug)]
pub enum Arrival {
    /// Whole, in staging.
    Staged(Staged),
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
}

impl Transfer {
    /// Nothing is due yet.
    pub fn new(staging: Staging) -> Transfer {
        Transfer { staging, due: VecDeque::new(), incoming: None }
    }

    /// Expects one more file, after all others.
    pub fn expect(&mut self, due: Due) {
        self.due.push_back(due);
    }

    /// How many files were asked for and have not come out.
    pub fn due(&self) -> usize {
        self.due.len()
    }

    /// The file that arrives next or is arriving.
    pub fn current(&self) -> Option<&Entry> {
        self.due.front().map(|due| &due.entry)
    }

    /// Takes content of the oldest file that is due.
    pub fn data(&mut self, bytes: &[u8]) -> Result<(), TransferError> {
        let due = self.due.front().ok_or(TransferError::Protocol("it sent content that nobody asked for"))?;
        let incoming = match &mut self.incoming {
            Some(incoming) => incoming,
            none => {
                let target = Target::New(due.target.clone());
                none.insert(self.staging.create(due.entry.path.clone(), due.entry.identity, target)?)
            }
        };
        Ok(incoming.write(bytes)?)
    }

    /// Takes the end of the oldest file that is due. What is staged of a file that did not come out whole is removed.
    pub fn fetched(&mut self, id: u32, end: FetchEnd) -> Result<(Entry, Arrival), TransferError> {
        let due = match self.due.pop_front() {
            Some(due) if due.id == id => due,
            _ => return Err(TransferError::Protocol("it ended a file that nobody asked for")),
        };
        let incoming = self.incoming.take();
        let path = due.entry.path.clone();
        let arrival = match end {
            FetchEnd::Complete(digest) => {
                let incoming = match incoming {
                    Some(incoming) => incoming,
                    None => self.staging.create(path, due.entry.identity, Target::New(due.target))?,
                };
                Arrival::Staged(incoming.finish(&digest)?)
            }
            FetchEnd::Changed => Arrival::Changed(path),
            FetchEnd::Gone => Arrival::Gone(path),
            FetchEnd::Failed(reason) => Arrival::Failed(path, reason),
            FetchEnd::Differs => return Err(TransferError::Protocol("it compared a file with nothing")),
        };
        Ok((due.entry, arrival))
    }
}
