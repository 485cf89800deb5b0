//! Transfer, receipts and removal at the same time: requests go out while contents come in and the disk works.
//!
//! The agent answers in order, and takes in so many bytes of requests ahead ([`MAX_UNANSWERED_BYTES`]) while it waits for us to
//! read. Beyond that both sides would wait for one another, so what is unanswered stays well below.

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use super::committer::{Committer, Done, Work};
use super::look::OCCUPIED;
use super::{Session, SyncError};
use crate::archive::Staged;
use crate::catalog::{Catalogued, Task, TaskKind, Visit};
use crate::event::Event;
use crate::receipt;
use crate::remote::{Answer, Remote, RemoteError};
use crate::transfer::{Arrival, Due, Transfer};
use crate::wire::{MAX_UNANSWERED_BYTES, RemoveEnd};

/// Contents that may be asked for and unanswered, and removals, each in bytes of requests.
const MAX_ASKED_BYTES: usize = 256 * 1024;
const _: () = assert!(2 * MAX_ASKED_BYTES < MAX_UNANSWERED_BYTES);
/// What a request takes besides its path, at most.
const REQUEST_BYTES: usize = 64;
/// Content that may be under way, in bytes: a second of a fast link, so that the link never runs dry.
const MAX_CONTENT_BYTES: u64 = 32 << 20;
/// A batch goes to the disk at this many files, bytes, or this old, whichever comes first.
const BATCH_FILES: usize = 1024;
const BATCH_BYTES: u64 = 64 << 20;
const BATCH_AGE: Duration = Duration::from_secs(2);
/// Stored files of earlier runs that are verified at a time.
const VERIFY_FILES: usize = 128;
const PAGE: usize = 512;
/// Content bytes between two [`Event::BytesReceived`].
const TELL_BYTES: u64 = 512 << 10;
/// Smaller files are not worth an event of their own when they begin.
const TELL_FILE_BYTES: u64 = 1 << 20;
/// After so long a visit asks for no more contents; the next run goes on. A card with a long backlog on a slow link would
/// otherwise keep the run, and with it the lock, from all others for days.
const VISIT: Duration = Duration::from_secs(15 * 60);
/// How often a wait for the disk looks whether it should stop.
const POLL: Duration = Duration::from_millis(100);

/// The tasks of one kind, page by page.
struct Tasks {
    kind: TaskKind,
    page: VecDeque<Task>,
    after: i64,
    exhausted: bool,
}

impl Tasks {
    fn new(kind: TaskKind, wanted: bool) -> Tasks {
        Tasks { kind, page: VecDeque::new(), after: 0, exhausted: !wanted }
    }

    /// Makes sure that [`Tasks::page`] has a next task, if there is one.
    fn peek(&mut self, visit: &Visit) -> Result<Option<&Task>, SyncError> {
        if self.page.is_empty() && !self.exhausted {
            self.page = visit.tasks(self.kind, self.after, PAGE)?.into();
            match self.page.back() {
                Some(last) => self.after = last.id,
                None => self.exhausted = true,
            }
        }
        Ok(self.page.front())
    }
}

/// A removal that was asked for.
struct Asked {
    row: i64,
    file: crate::path::RelPath,
    bytes: u64,
}

/// What is under way between the device, the disk and us.
struct Flow<'a, 'scope> {
    transfer: Transfer,
    committer: Committer<'scope>,
    receive: Tasks,
    release: Tasks,
    batch: Vec<Staged>,
    batch_bytes: u64,
    batch_since: Instant,
    /// Catalogued, and to be removed.
    licensed: VecDeque<Catalogued>,
    removing: HashMap<u32, Asked>,
    removed: Vec<i64>,
    removed_bytes: u64,
    next_id: u32,
    asked_bytes: usize,
    content_bytes: u64,
    untold_bytes: u64,
    verifying: bool,
    began: Instant,
    visit: &'a mut Visit,
}

impl Session<'_> {
    /// Receives, commits and removes until nothing is left to do. What arrived whole is committed even if the connection breaks.
    pub(super) fn flow(&mut self, remote: &mut dyn Remote, visit: &mut Visit) -> Result<(), SyncError> {
        let staging = self.run.archive.staging(self.name())?;
        let recorder = visit.recorder(remote.clock_offset_ns())?;
        let (archive, name) = (self.run.archive, &self.device.name);
        std::thread::scope(|scope| {
            let mut flow = Flow {
                transfer: Transfer::new(staging),
                committer: Committer::start(scope, archive, name, recorder),
                receive: Tasks::new(TaskKind::Receive, self.mode.receives()),
                release: Tasks::new(TaskKind::Release, self.mode.removes()),
                batch: Vec::new(),
                batch_bytes: 0,
                batch_since: Instant::now(),
                licensed: VecDeque::new(),
                removing: HashMap::new(),
                removed: Vec::new(),
                removed_bytes: 0,
                next_id: 0,
                asked_bytes: 0,
                content_bytes: 0,
                untold_bytes: 0,
                verifying: false,
                began: Instant::now(),
                visit,
            };
            let result = self.pump(&mut flow, remote);
            self.settle(&mut flow, result)
        })
    }

    fn pump(&mut self, flow: &mut Flow<'_, '_>, remote: &mut dyn Remote) -> Result<(), SyncError> {
        loop {
            if self.run.cancel.is_set() {
                return Err(RemoteError::Stopped.into());
            }
            while let Some(done) = flow.committer.poll()? {
                self.done(flow, done);
            }
            self.ask_removals(flow, remote)?;
            self.ask_contents(flow, remote)?;
            self.ask_verification(flow)?;
            if flow.transfer.due() > 0 || !flow.removing.is_empty() {
                self.answer(flow, remote)?;
                if flow.batch_is_due() {
                    flow.submit_batch();
                }
            } else if !flow.batch.is_empty() {
                flow.submit_batch();
            } else if flow.committer.under_way() > 0 {
                if let Some(done) = flow.committer.wait(POLL)? {
                    self.done(flow, done);
                }
            } else if flow.licensed.is_empty()
                && flow.receive.peek(flow.visit)?.is_none()
                && flow.release.peek(flow.visit)?.is_none()
            {
                return Ok(());
            }
        }
    }

    /// Commits what arrived whole, whatever ended the visit, and writes the last removals down.
    fn settle(&mut self, flow: &mut Flow<'_, '_>, result: Result<(), SyncError>) -> Result<(), SyncError> {
        let storage_failed = matches!(result, Err(SyncError::Archive(_) | SyncError::Catalog(_)));
        if !storage_failed {
            flow.submit_batch();
        }
        let mut result = result;
        while flow.committer.under_way() > 0 {
            match flow.committer.wait(POLL) {
                Ok(Some(done)) => self.done(flow, done),
                Ok(None) => {}
                // A broken disk outranks a broken connection.
                Err(error) => {
                    result = Err(error);
                    break;
                }
            }
        }
        self.tell_bytes(flow);
        let noted = self.note_removed(flow);
        result.and(noted)
    }

    /// Takes what the disk has done: received files are counted, and licensed for removal where they are due.
    fn done(&mut self, flow: &mut Flow<'_, '_>, done: Done) {
        if done.received {
            let (files, bytes) = (done.catalogued.len() as u64, done.catalogued.iter().map(Catalogued::bytes).sum());
            self.counts.received += files;
            self.counts.received_bytes += bytes;
            if files > 0 {
                self.tell(&Event::BatchCommitted { device: self.name().clone(), files, bytes, adopted: 0 });
            }
        } else {
            flow.verifying = false;
        }
        for path in done.occupied {
            self.kept(path, OCCUPIED);
        }
        for (path, reason) in done.refused {
            self.failed(Some(path), reason);
        }
        flow.receive.page.extend(done.gone.into_iter().map(|entry| Task { id: 0, entry }));
        for (path, reason) in done.damaged {
            self.damaged = true;
            self.failed(Some(path), reason);
        }
        let due_now = !done.received || self.run.delete && self.settings().delete.after == Some(Duration::ZERO);
        if !due_now {
            self.counts.waiting += done.catalogued.len() as u64;
        } else if self.mode.removes() {
            flow.licensed.extend(done.catalogued);
        } else {
            self.due += done.catalogued.len() as u64;
        }
    }

    /// Asks for removals, each against a receipt, and all against a marker read just now. One list at a time: the device looks
    /// once for each list at what is open for writing, so a long list is cheap and many short ones are not.
    fn ask_removals(&mut self, flow: &mut Flow<'_, '_>, remote: &mut dyn Remote) -> Result<(), SyncError> {
        if !flow.removing.is_empty() || flow.licensed.is_empty() {
            return Ok(());
        }
        let mut files = Vec::new();
        let mut asked_bytes = 0;
        while let Some(file) = flow.licensed.front() {
            asked_bytes += file.path().as_bytes().len() + REQUEST_BYTES;
            if !files.is_empty() && asked_bytes > MAX_ASKED_BYTES {
                break;
            }
            let left = self.run.removals_left;
            if left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1)).is_err() {
                // The brake: what became due while this run went on stays for the next one.
                self.counts.waiting += flow.licensed.len() as u64;
                flow.licensed.clear();
                break;
            }
            files.extend(flow.licensed.pop_front());
        }
        if files.is_empty() {
            return Ok(());
        }
        let confirmed = self.run.archive.confirm()?;
        let mut receipts = Vec::with_capacity(files.len());
        for receipt in receipt::issue(files, &confirmed) {
            let id = flow.id();
            let asked = Asked { row: receipt.row(), file: receipt.path().clone(), bytes: receipt.identity().size };
            flow.removing.insert(id, asked);
            receipts.push((id, receipt));
        }
        Ok(remote.remove(receipts)?)
    }

    /// Asks for contents, as many as the link needs to stay full, if the storage has room for them.
    fn ask_contents(&mut self, flow: &mut Flow<'_, '_>, remote: &mut dyn Remote) -> Result<(), SyncError> {
        let mut wanted = Vec::new();
        if flow.began.elapsed() >= VISIT {
            return self.leave_rest(flow);
        }
        // Many at a time: each time costs a look at the storage's free space, and a packet.
        if flow.asked_bytes > MAX_ASKED_BYTES / 2 || flow.content_bytes > MAX_CONTENT_BYTES / 2 {
            return Ok(());
        }
        while let Some(task) = flow.receive.peek(flow.visit)? {
            let request_bytes = task.entry.path.as_bytes().len() + REQUEST_BYTES;
            let bytes = task.entry.identity.size;
            let full =
                flow.asked_bytes + request_bytes > MAX_ASKED_BYTES || flow.content_bytes + bytes > MAX_CONTENT_BYTES;
            if full && flow.transfer.due() + wanted.len() > 0 {
                break;
            }
            let Some(task) = flow.receive.page.pop_front() else { break };
            let Some(target) = self.target(&task.entry)? else { continue };
            if bytes > MAX_CONTENT_BYTES && !self.has_room_for(&task.entry)? {
                continue;
            }
            flow.asked_bytes += request_bytes;
            flow.content_bytes += bytes;
            wanted.push((task.entry, target));
        }
        if wanted.is_empty() {
            return Ok(());
        }
        self.run.archive.check_room(flow.content_bytes, (flow.transfer.due() + wanted.len()) as u64)?;
        for (entry, target) in wanted {
            let id = flow.id();
            remote.fetch(id, &entry, None)?;
            if flow.transfer.due() == 0 {
                self.tell_file(&entry);
            }
            flow.transfer.expect(Due { id, entry, target });
        }
        Ok(())
    }

    /// Whether the storage has room for this one large file. A storage that is not full ends nobody's visit, whatever size a
    /// device announces.
    fn has_room_for(&mut self, entry: &crate::entry::Entry) -> Result<bool, SyncError> {
        let archive = self.run.archive;
        if archive.check_room(entry.identity.size, 1).is_ok() {
            return Ok(true);
        }
        archive.check_room(MAX_CONTENT_BYTES, 1)?;
        let reason = format!("the storage has no room for its {} bytes", entry.identity.size);
        self.failed(Some(entry.path.clone()), reason);
        Ok(false)
    }

    /// Leaves what has not been asked for to the next run.
    fn leave_rest(&mut self, flow: &mut Flow<'_, '_>) -> Result<(), SyncError> {
        if flow.receive.peek(flow.visit)?.is_some() {
            flow.receive = Tasks::new(TaskKind::Receive, false);
            let message =
                format!("there is more to receive than fits {} minutes: the next run goes on", VISIT.as_secs() / 60);
            self.tell(&Event::Noted { device: Some(self.name().clone()), message });
        }
        Ok(())
    }

    /// Has the disk verify stored files of earlier runs that are due, a few at a time.
    fn ask_verification(&mut self, flow: &mut Flow<'_, '_>) -> Result<(), SyncError> {
        // Verified files wait in memory for their removal: no more of them than a batch.
        if flow.verifying || flow.licensed.len() >= BATCH_FILES {
            return Ok(());
        }
        let mut files = Vec::new();
        while files.len() < VERIFY_FILES && flow.release.peek(flow.visit)?.is_some() {
            let Some(task) = flow.release.page.pop_front() else { break };
            // The row is still the one that the plan saw: only this visit writes rows of this source.
            if let Some(known) = flow.visit.known(&task.entry.path)? {
                files.push((known, task.entry.path));
            }
        }
        if !files.is_empty() {
            flow.verifying = true;
            flow.committer.submit(Work::Verify(files));
        }
        Ok(())
    }

    fn answer(&mut self, flow: &mut Flow<'_, '_>, remote: &mut dyn Remote) -> Result<(), SyncError> {
        match remote.answer()? {
            Answer::Data(bytes) => {
                flow.transfer.data(bytes)?;
                flow.untold_bytes += bytes.len() as u64;
                if flow.untold_bytes >= TELL_BYTES {
                    self.tell_bytes(flow);
                }
            }
            Answer::Fetched(id, end) => {
                let (entry, arrival) = flow.transfer.fetched(id, end)?;
                flow.asked_bytes -= entry.path.as_bytes().len() + REQUEST_BYTES;
                flow.content_bytes -= entry.identity.size;
                self.arrived(flow, entry.identity.size, arrival);
                if let Some(next) = flow.transfer.current() {
                    self.tell_file(next);
                }
            }
            Answer::Removed(id, end) => {
                let asked =
                    flow.removing.remove(&id).ok_or(RemoteError::Protocol("it removed what nobody asked for"))?;
                self.removal_ended(flow, asked, end);
                if flow.removing.is_empty() || flow.removed.len() >= BATCH_FILES {
                    self.note_removed(flow)?;
                }
            }
            Answer::Pruned(..) => return Err(RemoteError::Protocol("it pruned what nobody asked for").into()),
        }
        Ok(())
    }

    fn arrived(&mut self, flow: &mut Flow<'_, '_>, bytes: u64, arrival: Arrival) {
        match arrival {
            Arrival::Staged(staged) => {
                if flow.batch.is_empty() {
                    flow.batch_since = Instant::now();
                }
                flow.batch.push(staged);
                flow.batch_bytes += bytes;
            }
            Arrival::Changed(path) => self.deferred(path, "changed while it was read"),
            // Its owner removed it before it was ours.
            Arrival::Gone(path) => self.deferred(path, "vanished before it was read"),
            Arrival::Failed(path, reason) => self.failed(Some(path), reason),
        }
    }

    fn removal_ended(&mut self, flow: &mut Flow<'_, '_>, asked: Asked, end: RemoveEnd) {
        match end {
            RemoveEnd::Removed | RemoveEnd::Gone => {
                flow.removed.push(asked.row);
                flow.removed_bytes += asked.bytes;
            }
            RemoveEnd::Changed => self.deferred(asked.file, "changed after it was received: kept"),
            RemoveEnd::Busy => self.deferred(asked.file, "open for writing: kept"),
            RemoveEnd::Failed(reason) => {
                self.failed(Some(asked.file), format!("received, but it can't be removed: {reason}"));
            }
        }
    }

    fn note_removed(&mut self, flow: &mut Flow<'_, '_>) -> Result<(), SyncError> {
        if flow.removed.is_empty() {
            return Ok(());
        }
        let rows = std::mem::take(&mut flow.removed);
        let (files, bytes) = (rows.len() as u64, std::mem::take(&mut flow.removed_bytes));
        self.counts.removed += files;
        self.counts.removed_bytes += bytes;
        self.tell(&Event::FilesRemoved { device: self.name().clone(), files, bytes });
        Ok(flow.visit.note_removed(&rows)?)
    }

    fn tell_bytes(&mut self, flow: &mut Flow<'_, '_>) {
        let bytes = std::mem::take(&mut flow.untold_bytes);
        if bytes > 0 {
            self.counts.transferred_bytes += bytes;
            self.tell(&Event::BytesReceived { device: self.name().clone(), bytes });
        }
    }

    fn tell_file(&self, entry: &crate::entry::Entry) {
        if entry.identity.size >= TELL_FILE_BYTES {
            let (path, bytes) = (entry.path.clone(), entry.identity.size);
            self.tell(&Event::FileStarted { device: self.name().clone(), path, bytes });
        }
    }
}

impl Flow<'_, '_> {
    fn id(&mut self) -> u32 {
        self.next_id = self.next_id.wrapping_add(1);
        self.next_id
    }

    fn batch_is_due(&self) -> bool {
        !self.batch.is_empty()
            && (self.batch.len() >= BATCH_FILES
                || self.batch_bytes >= BATCH_BYTES
                || self.batch_since.elapsed() >= BATCH_AGE)
    }

    fn submit_batch(&mut self) {
        if !self.batch.is_empty() {
            self.batch_bytes = 0;
            self.committer.submit(Work::Commit(std::mem::take(&mut self.batch)));
        }
    }
}
