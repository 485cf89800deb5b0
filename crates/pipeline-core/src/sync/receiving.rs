//! Contents are asked for, many at a time, and arrive.
//!
//! A file passes through here like this: aimed ([`super::aim`]), looked for where something of it may be here already
//! ([`super::scout`]), asked for, arrived or [built](crate::transfer::Building), in a batch, with the committer. Memory stays flat:
//! each of these holds a bounded number of files.

use std::collections::{HashMap, VecDeque};
use std::time::{Duration, Instant};

use super::aim::Lies;
use super::committer::Work;
use super::flow::{BATCH_FILES, Flow, MAX_ASKED_BYTES, REQUEST_BYTES, Tasks};
use super::scout::{Errand, Reading, Scouted, looks_edited};
use super::{Session, SyncError};
use crate::archive::{ArchivePath, Arrived, PART_BYTES, Yields};
use crate::catalog::{TaskKind, Visit};
use crate::config::{DeviceSettings, Globs};
use crate::delta;
use crate::entry::{Entry, Identity};
use crate::event::Event;
use crate::path::RelPath;
use crate::remote::{Remote, RemoteError};
use crate::transfer::{Arrival, Built, Place, Wanted};
use crate::wire::FetchEnd;

/// Content that may be under way, in bytes: a second of a fast link, so that the link never runs dry.
const MAX_CONTENT_BYTES: u64 = 32 << 20;
/// Files that are ready to be asked for or are being looked for.
const MAX_READY: usize = 512;
/// Signatures that are being made or wait to be sent, in bytes; one that is longer is there alone. Little in the tests of this room,
/// so that small files have to wait for one another.
pub(super) const MAX_SIGNATURE_BYTES: u64 = if cfg!(test) { 16 << 10 } else { 8 << 20 };
const BATCH_BYTES: u64 = 64 << 20;
const BATCH_AGE: Duration = Duration::from_secs(2);
/// Content bytes between two [`Event::BytesReceived`].
const TELL_BYTES: u64 = 512 << 10;
/// Smaller files are not worth an event of their own when they begin.
const TELL_FILE_BYTES: u64 = 1 << 20;
/// After so long a visit asks for no more contents; the next run goes on. A card with a long backlog on a slow link would
/// otherwise keep the run, and with it the lock, from all others for days.
const VISIT: Duration = Duration::from_secs(15 * 60);
/// Why a file stays whose place is taken each time that it is to be stored.
const OCCUPIED: &str = "the archive holds other content at this path";

/// What is to be received, and what is under way.
pub(super) struct Receiving {
    pub(super) tasks: Tasks,
    /// Something else was at their place: they are aimed once more.
    again: VecDeque<Entry>,
    ready: VecDeque<Box<Wanted>>,
    /// To be asked for by a signature that nobody makes yet.
    unsigned: VecDeque<Box<Wanted>>,
    signature_bytes: u64,
    /// What was asked for takes, by request.
    asked: HashMap<u32, Cost>,
    cost: Cost,
    batch: Vec<(ArchivePath, Arrived)>,
    batch_bytes: u64,
    batch_since: Instant,
    /// In a batch, or with the committer.
    committing: HashMap<RelPath, Aimed>,
    untold_bytes: u64,
    replace: Globs,
    can_delta: bool,
    began: Instant,
}

/// What a request takes until it is answered.
#[derive(Clone, Copy, Default)]
struct Cost {
    request_bytes: usize,
    signature_bytes: usize,
    coming_bytes: u64,
    room_bytes: u64,
}

/// A file that is being committed.
struct Aimed {
    identity: Identity,
    place: Place,
}

impl Cost {
    fn of(wanted: &Wanted) -> Cost {
        Cost {
            request_bytes: wanted.entry.path.as_bytes().len() + REQUEST_BYTES,
            signature_bytes: wanted.signature_bytes(),
            coming_bytes: wanted.coming_bytes(),
            room_bytes: wanted.room_bytes(),
        }
    }

    fn add(&mut self, other: Cost) {
        self.request_bytes += other.request_bytes;
        self.signature_bytes += other.signature_bytes;
        self.coming_bytes += other.coming_bytes;
        self.room_bytes += other.room_bytes;
    }

    fn subtract(&mut self, other: Cost) {
        self.request_bytes -= other.request_bytes;
        self.signature_bytes -= other.signature_bytes;
        self.coming_bytes -= other.coming_bytes;
        self.room_bytes -= other.room_bytes;
    }

    fn asked_bytes(&self) -> usize {
        self.request_bytes + self.signature_bytes
    }
}

impl Receiving {
    pub(super) fn new(settings: &DeviceSettings, wanted: bool, can_delta: bool) -> Result<Receiving, SyncError> {
        Ok(Receiving {
            tasks: Tasks::new(TaskKind::Receive, wanted),
            again: VecDeque::new(),
            ready: VecDeque::new(),
            unsigned: VecDeque::new(),
            signature_bytes: 0,
            asked: HashMap::new(),
            cost: Cost::default(),
            batch: Vec::new(),
            batch_bytes: 0,
            batch_since: Instant::now(),
            committing: HashMap::new(),
            untold_bytes: 0,
            replace: Globs::new(&settings.versions.replace)?,
            can_delta,
            began: Instant::now(),
        })
    }

    /// Whether a request is unanswered that is longer than what may be sent ahead.
    pub(super) fn has_long_request(&self) -> bool {
        self.cost.asked_bytes() > MAX_ASKED_BYTES
    }

    /// Whether nothing is left to ask for. What is under way is counted elsewhere.
    pub(super) fn is_done(&mut self, visit: &Visit) -> Result<bool, SyncError> {
        let none = self.ready.is_empty() && self.unsigned.is_empty() && self.again.is_empty();
        Ok(none && self.tasks.peek(visit)?.is_none())
    }

    pub(super) fn has_batch(&self) -> bool {
        !self.batch.is_empty()
    }

    pub(super) fn batch_is_due(&self) -> bool {
        self.has_batch()
            && (self.batch.len() >= BATCH_FILES
                || self.batch_bytes >= BATCH_BYTES
                || self.batch_since.elapsed() >= BATCH_AGE)
    }

    /// The batch, if there is one.
    pub(super) fn take_batch(&mut self) -> Option<Work> {
        self.batch_bytes = 0;
        self.has_batch().then(|| Work::Commit(std::mem::take(&mut self.batch)))
    }

    /// Forgets a file that was committed or refused; its archive path, where it is not its own.
    pub(super) fn committed(&mut self, path: &RelPath) -> Option<ArchivePath> {
        let aimed = self.committing.remove(path)?;
        aimed.place.clash.then_some(aimed.place.path)
    }

    /// How to read what lies uncatalogued at the place of a file, and sets memory apart where there is any.
    fn reading(&mut self, lies: Lies, wanted: &Wanted) -> Reading {
        let Lies::Unknown(bytes) = lies else { return Reading::Whole };
        if !self.can_delta || !looks_edited(bytes, wanted.entry.identity.size) {
            return Reading::Whole;
        }
        match delta::parameters(bytes).map(|parameters| parameters.signature_bytes(bytes)) {
            Some(sums) if self.has_memory_for(sums) => {
                self.signature_bytes += sums;
                Reading::Signed(sums)
            }
            _ => Reading::Whole,
        }
    }

    fn has_memory_for(&self, signature_bytes: u64) -> bool {
        self.signature_bytes == 0 || self.signature_bytes + signature_bytes <= MAX_SIGNATURE_BYTES
    }

    /// Adds a file that is ready to be asked for, but for its signature.
    fn add(&mut self, wanted: Box<Wanted>) {
        if wanted.needs_signature() { &mut self.unsigned } else { &mut self.ready }.push_back(wanted);
    }

    fn add_to_batch(&mut self, wanted: Wanted, arrived: Arrived) {
        if self.batch.is_empty() {
            self.batch_since = Instant::now();
        }
        // What is there already takes no time to be written.
        if let Arrived::Staged(staged) = &arrived {
            self.batch_bytes += staged.bytes();
        }
        let Wanted { entry, place, .. } = wanted;
        self.batch.push((place.path.clone(), arrived));
        self.committing.insert(entry.path, Aimed { identity: entry.identity, place });
    }
}

impl Session<'_> {
    /// Asks for contents, as many as the link needs to stay full, if the storage has room for them.
    pub(super) fn ask_contents(
        &mut self,
        flow: &mut Flow<'_, '_, '_>,
        remote: &mut dyn Remote,
    ) -> Result<(), SyncError> {
        if flow.receiving.began.elapsed() >= VISIT {
            return self.leave_rest(flow);
        }
        self.prepare(flow)?;
        // Many at a time: each time costs a look at the storage's free space, and a packet.
        let cost = flow.receiving.cost;
        if cost.asked_bytes() > MAX_ASKED_BYTES / 2 || cost.coming_bytes > MAX_CONTENT_BYTES / 2 {
            return Ok(());
        }
        let mut wanted = Vec::new();
        let mut sum = cost;
        while let Some(next) = flow.receiving.ready.front() {
            let cost = Cost::of(next);
            let mut with = sum;
            with.add(cost);
            let full = with.asked_bytes() > MAX_ASKED_BYTES || with.coming_bytes > MAX_CONTENT_BYTES;
            // A long request goes alone: the device takes it in once it has answered all others.
            let alone = flow.transfer.due() + wanted.len() == 0
                && (with.asked_bytes() <= MAX_ASKED_BYTES || !flow.removing.is_under_way());
            if full && !alone {
                break;
            }
            let Some(next) = flow.receiving.ready.pop_front() else { break };
            if cost.room_bytes > MAX_CONTENT_BYTES && !self.has_room_for(&next.entry, cost.room_bytes)? {
                if next.signature.is_some() {
                    flow.receiving.signature_bytes -= next.expected_signature_bytes().unwrap_or(0);
                }
                continue;
            }
            sum = with;
            wanted.push(next);
        }
        if wanted.is_empty() {
            return Ok(());
        }
        self.run.archive.check_room(sum.room_bytes, (flow.transfer.due() + wanted.len()) as u64)?;
        flow.receiving.cost = sum;
        for mut next in wanted {
            let id = flow.id();
            let cost = Cost::of(&next);
            next.send(remote, id)?;
            if next.signature.take().is_some() {
                flow.receiving.signature_bytes -= next.expected_signature_bytes().unwrap_or(0);
            }
            if flow.transfer.due() == 0 {
                self.tell_file(&next.entry);
            }
            flow.receiving.asked.insert(id, cost);
            flow.transfer.expect(id, next);
        }
        Ok(())
    }

    /// Aims the next files, and sends scouts where something of them may be here.
    fn prepare(&mut self, flow: &mut Flow<'_, '_, '_>) -> Result<(), SyncError> {
        flow.sign();
        while flow.receiving.ready.len() + flow.receiving.unsigned.len() + flow.crew.scouting() < MAX_READY {
            let (entry, again) = match flow.receiving.again.pop_front() {
                Some(entry) => (entry, true),
                None => match flow.receiving.tasks.next(flow.visit)? {
                    Some(task) => (task.entry, false),
                    None => return Ok(()),
                },
            };
            let Some(aim) = self.aim(flow.visit, &entry)? else { continue };
            let replace = flow.receiving.replace.matches(&entry.path);
            let yields = if replace { Yields::Replace } else { Yields::Version };
            let place = Place { path: aim.path, yields, clash: aim.clash, again };
            let large = entry.identity.size >= PART_BYTES;
            let mut wanted = Box::new(Wanted::new(entry, place, flow.receiving.can_delta));
            // What the catalog says was not true a moment ago: it is read.
            let mut examine = aim.lies != Lies::Nothing;
            if let (Lies::Ours(prefix), false) = (aim.lies, again) {
                wanted.held = self.run.archive.held(&wanted.place.path, prefix)?;
                examine = wanted.held.is_none();
            }
            if examine || large {
                let reading = if examine { flow.receiving.reading(aim.lies, &wanted) } else { Reading::Nothing };
                flow.crew.send_out(Errand::Find(wanted, reading));
                continue;
            }
            wanted.begin();
            flow.receiving.add(wanted);
        }
        Ok(())
    }

    pub(super) fn scouted(&mut self, flow: &mut Flow<'_, '_, '_>, scouted: Scouted) {
        match scouted {
            Scouted::Found(wanted, reading) => {
                flow.receiving.signature_bytes -= reading.signature_bytes();
                if wanted.signature.is_some() {
                    flow.receiving.signature_bytes += wanted.expected_signature_bytes().unwrap_or(0);
                }
                flow.receiving.add(wanted);
            }
            Scouted::Signed(wanted) => {
                if wanted.signature.is_none() {
                    flow.receiving.signature_bytes -= wanted.expected_signature_bytes().unwrap_or(0);
                }
                flow.receiving.ready.push_front(wanted);
            }
            Scouted::Unusable(path, reason, reading) => {
                flow.receiving.signature_bytes -= reading.signature_bytes();
                self.failed(Some(path), reason);
            }
            Scouted::Stopped => {}
        }
    }

    /// Whether the storage has room for this one large file. A storage that is not full ends nobody's visit, whatever size a
    /// device announces.
    fn has_room_for(&mut self, entry: &Entry, bytes: u64) -> Result<bool, SyncError> {
        let archive = self.run.archive;
        if archive.check_room(bytes, 1).is_ok() {
            return Ok(true);
        }
        archive.check_room(MAX_CONTENT_BYTES, 1)?;
        let reason = format!("the storage has no room for its {}", crate::event::size(entry.identity.size));
        self.failed(Some(entry.path.clone()), reason);
        Ok(false)
    }

    /// Leaves what has not been asked for to the next run.
    fn leave_rest(&mut self, flow: &mut Flow<'_, '_, '_>) -> Result<(), SyncError> {
        if flow.receiving.is_done(flow.visit)? {
            return Ok(());
        }
        flow.receiving.ready.clear();
        flow.receiving.unsigned.clear();
        flow.crew.recall();
        flow.receiving.again.clear();
        flow.receiving.tasks = Tasks::new(TaskKind::Receive, false);
        // What comes back from a scout later is left as well, without another word.
        if !std::mem::replace(&mut self.left_some, true) {
            let message =
                format!("there is more to receive than fits {} minutes: the next run goes on", VISIT.as_secs() / 60);
            self.tell(&Event::Noted { device: Some(self.name().clone()), message });
        }
        Ok(())
    }

    pub(super) fn content_came(&mut self, flow: &mut Flow<'_, '_, '_>, bytes: &[u8]) -> Result<(), SyncError> {
        flow.transfer.data(bytes)?;
        flow.receiving.untold_bytes += bytes.len() as u64;
        if flow.receiving.untold_bytes >= TELL_BYTES {
            self.tell_bytes(flow);
        }
        Ok(())
    }

    pub(super) fn content_ended(
        &mut self,
        flow: &mut Flow<'_, '_, '_>,
        id: u32,
        end: FetchEnd,
    ) -> Result<(), SyncError> {
        let (_, arrival) = flow.transfer.fetched(id, end)?;
        let cost = flow.receiving.asked.remove(&id).ok_or(RemoteError::Protocol("it ended a file twice"))?;
        flow.receiving.cost.subtract(cost);
        match arrival {
            Arrival::Here(wanted, arrived) => flow.receiving.add_to_batch(*wanted, arrived),
            Arrival::BeingBuilt => flow.crew.expect_built(),
            Arrival::Again(wanted) => ask_again(flow, wanted),
            Arrival::Changed(path) => self.deferred(path, "changed while it was read"),
            // Its owner removed it before it was ours.
            Arrival::Gone(path) => self.deferred(path, "vanished before it was read"),
            Arrival::Failed(path, reason) => self.failed(Some(path), reason),
        }
        if let Some(next) = flow.transfer.current() {
            self.tell_file(next);
        }
        Ok(())
    }

    pub(super) fn built(&mut self, flow: &mut Flow<'_, '_, '_>, built: Built) -> Result<(), SyncError> {
        match built {
            Built::Staged(mut wanted, staged) => {
                flow.transfer.discard_part(&mut wanted);
                flow.receiving.add_to_batch(*wanted, Arrived::Staged(staged));
            }
            Built::SetBack(mut wanted, setback) => {
                // Whatever is wrong: the whole file, once.
                if !wanted.go_on(setback) {
                    return Err(RemoteError::Protocol("a whole file differs from nothing").into());
                }
                ask_again(flow, wanted);
            }
            Built::Ended => {}
        }
        Ok(())
    }

    /// Something else was at its place when it was to be stored: it is aimed again, once.
    pub(super) fn occupied(&mut self, flow: &mut Flow<'_, '_, '_>, path: RelPath) {
        match flow.receiving.committing.remove(&path) {
            Some(aimed) if !aimed.place.again => {
                flow.receiving.again.push_back(Entry { path, identity: aimed.identity });
            }
            _ => self.kept(path, OCCUPIED),
        }
    }

    pub(super) fn tell_bytes(&mut self, flow: &mut Flow<'_, '_, '_>) {
        let bytes = std::mem::take(&mut flow.receiving.untold_bytes);
        if bytes > 0 {
            self.counts.transferred_bytes += bytes;
            self.tell(&Event::BytesReceived { device: self.name().clone(), bytes });
        }
    }

    fn tell_file(&self, entry: &Entry) {
        if entry.identity.size >= TELL_FILE_BYTES {
            let (path, bytes) = (entry.path.clone(), entry.identity.size);
            self.tell(&Event::FileStarted { device: self.name().clone(), path, bytes });
        }
    }
}

/// A file goes to the front with its next ask.
fn ask_again(flow: &mut Flow<'_, '_, '_>, wanted: Box<Wanted>) {
    if wanted.needs_signature() {
        flow.receiving.unsigned.push_front(wanted);
    } else {
        flow.receiving.ready.push_front(wanted);
    }
}

impl Flow<'_, '_, '_> {
    /// Has signatures made, no more than memory is for.
    fn sign(&mut self) {
        while let Some(next) = self.receiving.unsigned.front() {
            let bytes = next.expected_signature_bytes().unwrap_or(0);
            if !self.receiving.has_memory_for(bytes) {
                return;
            }
            let Some(next) = self.receiving.unsigned.pop_front() else { return };
            self.receiving.signature_bytes += bytes;
            self.crew.send_out(Errand::Sign(next));
        }
    }
}
