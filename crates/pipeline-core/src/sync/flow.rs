//! Transfer, receipts and removal at the same time: requests go out while contents come in and the disk works.
//!
//! The agent answers in order, and takes in so many bytes of requests ahead
//! ([`MAX_UNANSWERED_BYTES`](crate::wire::MAX_UNANSWERED_BYTES)) while it waits for us to read. Beyond that both sides would wait for
//! one another, so what is unanswered stays well below. What is asked for is in [`super::receiving`], what leaves in
//! [`super::removing`].

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use super::committer::{Committed, Done, Verified};
use super::crew::{Crew, News};
use super::receiving::Receiving;
use super::removing::Removing;
use super::{Session, SyncError};
use crate::cancel::Cancel;
use crate::catalog::{Catalogued, Task, TaskKind, Visit};
use crate::error::{Class, Classified as _};
use crate::event::Event;
use crate::remote::{Answer, Remote, RemoteError};
use crate::transfer::{Built, Transfer};

/// Contents that may be asked for and unanswered, and removals, each in bytes of requests.
pub(super) const MAX_ASKED_BYTES: usize = 256 * 1024;
const _: () = assert!(2 * MAX_ASKED_BYTES < crate::wire::MAX_UNANSWERED_BYTES);
/// What a request takes besides its path, at most.
pub(super) const REQUEST_BYTES: usize = 112;
/// A batch goes to the disk at this many files, bytes, or this old, whichever comes first.
pub(super) const BATCH_FILES: usize = 1024;
const PAGE: usize = 512;
/// How often a wait for the disk looks whether it should stop.
const POLL: Duration = Duration::from_millis(100);

/// The tasks of one kind, page by page.
pub(super) struct Tasks {
    kind: TaskKind,
    pub(super) page: VecDeque<Task>,
    after: i64,
    exhausted: bool,
}

impl Tasks {
    pub(super) fn new(kind: TaskKind, wanted: bool) -> Tasks {
        Tasks { kind, page: VecDeque::new(), after: 0, exhausted: !wanted }
    }

    /// Makes sure that [`Tasks::page`] has a next task, if there is one.
    pub(super) fn peek(&mut self, visit: &Visit) -> Result<Option<&Task>, SyncError> {
        if self.page.is_empty() && !self.exhausted {
            self.page = visit.tasks(self.kind, self.after, PAGE)?.into();
            match self.page.back() {
                Some(last) => self.after = last.id,
                None => self.exhausted = true,
            }
        }
        Ok(self.page.front())
    }

    /// The next task, if there is one.
    pub(super) fn next(&mut self, visit: &Visit) -> Result<Option<Task>, SyncError> {
        self.peek(visit)?;
        Ok(self.page.pop_front())
    }
}

/// What is under way between the device, the disk and us.
pub(super) struct Flow<'a, 'scope, 'env> {
    // Before the crew: the builder ends when nobody sends to it any more.
    pub(super) transfer: Transfer<'env>,
    pub(super) crew: Crew<'scope, 'env>,
    pub(super) receiving: Receiving,
    pub(super) removing: Removing,
    next_id: u32,
    pub(super) visit: &'a mut Visit,
    over: &'env Over,
}

/// When a visit is over, whatever is left to do. Seen by all its threads, also by those that read a long file.
pub(super) struct Over {
    /// Set by a wish to stop, and at the visit's end.
    cancel: Cancel,
    /// How long the visit may take from here.
    longest: Duration,
}

impl Flow<'_, '_, '_> {
    pub(super) fn id(&mut self) -> u32 {
        self.next_id = self.next_id.wrapping_add(1);
        self.next_id
    }
}

impl Session<'_> {
    /// Receives, commits and removes until nothing is left to do. What arrived whole is committed even if the connection breaks.
    pub(super) fn flow(&mut self, remote: &mut dyn Remote, visit: &mut Visit) -> Result<(), SyncError> {
        let longest = remote.until().saturating_duration_since(Instant::now());
        let over = Over { cancel: self.run.cancel.part(remote.until()), longest };
        let archive = self.run.archive.heeding(&over.cancel);
        let staging = archive.staging(self.name())?;
        let recorder = visit.recorder(remote.clock_offset_ns().unwrap_or(0))?;
        let name = &self.device.name;
        let receiving = Receiving::new(self.settings(), self.mode.receives(), remote.can_delta())?;
        let removing = Removing::new(self.mode.removes());
        std::thread::scope(|scope| {
            let (transfer, building) = Transfer::new(&staging);
            let crew =
                Crew::start(scope, (&archive, &staging, self.run.claims, &over.cancel), name, recorder, building);
            let mut flow = Flow { transfer, crew, receiving, removing, next_id: 0, visit, over: &over };
            let result = self.pump(&mut flow, remote);
            self.settle(&mut flow, result)
        })?;
        // What a transfer left and nobody asked for belongs to files that are gone, or to those that were left this time.
        if self.mode.receives() && !self.left_some {
            for path in std::mem::take(&mut self.left) {
                self.places(&path)?.iter().for_each(|place| staging.spare(place));
            }
            staging.sweep_parts()?;
        }
        Ok(())
    }

    fn pump(&mut self, flow: &mut Flow<'_, '_, '_>, remote: &mut dyn Remote) -> Result<(), SyncError> {
        loop {
            if let Some(why) = self.is_over(flow) {
                return Err(why.into());
            }
            while let Some(news) = flow.crew.poll()? {
                self.news(flow, news)?;
            }
            self.ask_removals(flow, remote)?;
            self.ask_contents(flow, remote)?;
            self.ask_verification(flow)?;
            if flow.transfer.due() > 0 || flow.removing.is_under_way() {
                self.answer(flow, remote)?;
                if flow.receiving.batch_is_due() {
                    flow.submit_batch();
                }
            } else if flow.crew.scouting() + flow.crew.building() + flow.crew.committing() > 0 {
                // What is whole does not wait for what is not.
                if flow.receiving.batch_is_due() || flow.crew.scouting() + flow.crew.building() == 0 {
                    flow.submit_batch();
                }
                if let Some(news) = flow.crew.wait(POLL)? {
                    self.news(flow, news)?;
                }
            } else if flow.receiving.has_batch() {
                flow.submit_batch();
            } else if flow.removing.is_done(flow.visit)? && flow.receiving.is_done(flow.visit)? {
                return Ok(());
            }
        }
    }

    /// Why the visit is over before its work is done, if it is.
    fn is_over(&self, flow: &Flow<'_, '_, '_>) -> Option<RemoteError> {
        match (self.run.cancel.is_set(), flow.over.cancel.is_set()) {
            (true, _) => Some(RemoteError::Stopped),
            (false, true) => Some(RemoteError::Overdue(flow.over.longest)),
            (false, false) => None,
        }
    }

    fn answer(&mut self, flow: &mut Flow<'_, '_, '_>, remote: &mut dyn Remote) -> Result<(), SyncError> {
        match remote.answer()? {
            Answer::Data(bytes) => self.content_came(flow, bytes),
            Answer::Fetched(id, end) => self.content_ended(flow, id, end),
            Answer::Removed(id, end) => self.removal_ended(flow, id, end),
            Answer::Pruned(..) => Err(RemoteError::Protocol("it pruned what nobody asked for").into()),
        }
    }

    /// Commits what arrived whole, whatever ended the visit, and writes the last removals down.
    fn settle(&mut self, flow: &mut Flow<'_, '_, '_>, result: Result<(), SyncError>) -> Result<(), SyncError> {
        let storage_failed = matches!(result, Err(SyncError::Archive(_) | SyncError::Catalog(_)));
        // A broken disk outranks a broken connection.
        let result = if storage_failed { result } else { self.finish_batches(flow).and(result) };
        self.tell_bytes(flow);
        let noted = self.note_removed(flow);
        // Who was stopped does not know why.
        let why = |error: SyncError| match error.class() {
            Class::Interrupted => self.is_over(flow).map_or(error, SyncError::from),
            _ => error,
        };
        result.map_err(why).and(noted)
    }

    /// Waits until all that is whole is committed.
    fn finish_batches(&mut self, flow: &mut Flow<'_, '_, '_>) -> Result<(), SyncError> {
        loop {
            // What is still being built is left to a later transfer, which goes on from there.
            let is_built = flow.crew.building() == 0 || flow.over.cancel.is_set();
            if is_built {
                flow.submit_batch();
            }
            let is_idle = flow.crew.committing() == 0 && is_built;
            // What was told already is heard before the end: it may be that the storage failed.
            match if is_idle { flow.crew.poll()? } else { flow.crew.wait(POLL)? } {
                None if is_idle => return Ok(()),
                // Nothing is asked for any more.
                None | Some(News::Scouted(_) | News::Built(Built::SetBack(..) | Built::Ended)) => {}
                Some(news) => self.news(flow, news)?,
            }
        }
    }

    fn news(&mut self, flow: &mut Flow<'_, '_, '_>, news: News) -> Result<(), SyncError> {
        match news {
            News::Done(Done::Committed(committed)) => self.committed(flow, committed),
            News::Done(Done::Verified(verified)) => self.verified(flow, verified),
            News::Scouted(scouted) => self.scouted(flow, scouted),
            News::Built(built) => return self.built(flow, built),
        }
        Ok(())
    }

    /// Received files are counted, and licensed for removal where they are due.
    fn committed(&mut self, flow: &mut Flow<'_, '_, '_>, committed: Committed) {
        let (mut files, mut bytes, mut adopted) = (0, 0, 0);
        for (file, was_there) in &committed.catalogued {
            if *was_there {
                adopted += 1;
                self.counts.adopted_bytes += file.bytes();
            } else {
                files += 1;
                bytes += file.bytes();
            }
        }
        self.counts.received += files;
        self.counts.received_bytes += bytes;
        self.counts.adopted += adopted;
        if files + adopted > 0 {
            self.tell_bytes(flow);
            self.tell(&Event::BatchCommitted { device: self.name().clone(), files, bytes, adopted });
        }
        for (path, version) in committed.versions {
            self.counts.versions += 1;
            let version = version.as_rel_path().clone();
            self.tell(&Event::FileVersioned { device: self.name().clone(), path, version });
        }
        for (file, _) in &committed.catalogued {
            if let Some(archive_path) = flow.receiving.committed(file.path()) {
                self.counts.clashes += 1;
                let (path, archive_path) = (file.path().clone(), archive_path.as_rel_path().clone());
                self.tell(&Event::FileClashed { device: self.name().clone(), path, archive_path });
            }
        }
        for path in committed.occupied {
            self.occupied(flow, path);
        }
        for (path, reason) in committed.refused {
            flow.receiving.committed(&path);
            self.failed(Some(path), reason);
        }
        let due_now = self.run.delete && self.settings().delete.after == Some(Duration::ZERO);
        self.license(flow, committed.catalogued.into_iter().map(|(file, _)| file).collect(), due_now);
    }

    /// Files of earlier runs are licensed again; those whose copy is gone are received again.
    fn verified(&mut self, flow: &mut Flow<'_, '_, '_>, verified: Verified) {
        flow.removing.verified();
        flow.receiving.tasks.page.extend(verified.gone.into_iter().map(|entry| Task { id: 0, entry }));
        for (path, reason) in verified.damaged {
            self.damaged = true;
            self.failed(Some(path), reason);
        }
        self.license(flow, verified.catalogued, true);
    }

    fn license(&mut self, flow: &mut Flow<'_, '_, '_>, files: Vec<Catalogued>, due_now: bool) {
        if !due_now {
            self.counts.waiting += files.len() as u64;
        } else if self.mode.removes() {
            flow.removing.license(files);
        } else {
            self.due += files.len() as u64;
        }
    }
}

impl Flow<'_, '_, '_> {
    pub(super) fn submit_batch(&mut self) {
        if let Some(work) = self.receiving.take_batch() {
            self.crew.submit(work);
        }
    }
}
