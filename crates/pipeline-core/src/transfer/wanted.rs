//! One file that is to be received, with what is here of it already and the way in which it is asked for.

use crate::archive::{ArchivePath, Held, Part, Target, Yields};
use crate::delta;
use crate::entry::{Entry, Prefix};
use crate::plan::{Ask, Here, Setback};
use crate::remote::{Remote, RemoteError};

/// A file that is to be received.
#[derive(Debug)]
pub struct Wanted {
    /// Which file.
    pub entry: Entry,
    /// Where it goes.
    pub place: Place,
    /// What lies there: a content of this very file, or one that nobody knows.
    pub held: Option<Held>,
    /// What an earlier transfer left of it.
    pub part: Option<Part>,
    /// A short beginning of what is held, where that is long: a file that differs early on need not be read to the end of it.
    pub glance: Option<Prefix>,
    /// Signature of what is held, where that is needed.
    pub signature: Option<Vec<u8>>,
    /// How it is asked for.
    pub ask: Ask,
    /// Whether the device computes deltas.
    pub can_delta: bool,
}

/// Where a file goes.
#[derive(Clone, Debug)]
pub struct Place {
    /// The path.
    pub path: ArchivePath,
    /// What becomes of other content that lies there.
    pub yields: Yields,
    /// Its own path is taken by something else.
    pub clash: bool,
    /// It was aimed a second time, because something else was there when it was to be stored.
    pub again: bool,
}

impl Wanted {
    /// A file of which nothing is known to be here.
    pub fn new(entry: Entry, place: Place, can_delta: bool) -> Wanted {
        Wanted { entry, place, held: None, part: None, glance: None, signature: None, ask: Ask::Whole, can_delta }
    }

    fn here(&self) -> Here {
        Here {
            size: self.entry.identity.size,
            part: self.part.as_ref().map(|part| part.prefix().bytes),
            held: self.held.as_ref().map(|held| held.prefix().bytes),
            can_delta: self.can_delta && self.expected_signature_bytes().is_some(),
        }
    }

    /// Chooses the first ask, once it is known what is here.
    pub fn begin(&mut self) {
        self.ask = self.here().first();
    }

    /// Chooses the ask after one that did not bring the file; false after the last.
    #[must_use]
    pub fn go_on(&mut self, setback: Setback) -> bool {
        let next = self.here().next(self.ask, setback);
        next.inspect(|&ask| self.ask = ask).is_some()
    }

    /// Whether the next ask takes a signature that is not made yet.
    pub fn needs_signature(&self) -> bool {
        self.ask == Ask::Delta && self.signature.is_none()
    }

    /// What the device is told that it need not send, last, and before it what is looked at on the way.
    pub(super) fn known(&self) -> Vec<Prefix> {
        match self.ask {
            Ask::AfterPart => self.part.iter().map(Part::prefix).collect(),
            Ask::AfterHeld => self.glance.into_iter().chain(self.held.as_ref().map(Held::prefix)).collect(),
            Ask::Delta | Ask::Whole => Vec::new(),
        }
    }

    /// Asks for it.
    pub fn send(&self, remote: &mut dyn Remote, id: u32) -> Result<(), RemoteError> {
        match (self.ask, &self.signature) {
            (Ask::Delta, Some(signature)) => remote.delta(id, &self.entry, signature),
            _ => remote.fetch(id, &self.entry, &self.known()),
        }
    }

    /// Bytes that will come, if all goes well; for a delta as many as could.
    pub fn coming_bytes(&self) -> u64 {
        self.entry.identity.size - self.known().last().map_or(0, |prefix| prefix.bytes.min(self.entry.identity.size))
    }

    /// Bytes that it takes of the storage, beside what is there.
    pub fn room_bytes(&self) -> u64 {
        match self.ask {
            Ask::AfterHeld if self.coming_bytes() > 0 => self.entry.identity.size,
            Ask::AfterHeld | Ask::AfterPart => self.coming_bytes(),
            Ask::Delta | Ask::Whole => self.entry.identity.size,
        }
    }

    /// Bytes of the signature that goes with the request.
    pub fn signature_bytes(&self) -> usize {
        if self.ask == Ask::Delta { self.signature.as_ref().map_or(0, Vec::len) } else { 0 }
    }

    /// Where it goes, for staging.
    pub fn target(&self) -> Target {
        match &self.held {
            Some(held) => Target::Over(held.clone(), self.place.yields),
            None => Target::New(self.place.path.clone()),
        }
    }

    /// How long a signature of what is held is; none where nothing is held, or more than a delta can be made against.
    pub fn expected_signature_bytes(&self) -> Option<u64> {
        let bytes = self.held.as_ref()?.prefix().bytes;
        delta::parameters(bytes).map(|parameters| parameters.signature_bytes(bytes))
    }
}
