//! Files leave the device, each against a receipt, and what stays is told.

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::Ordering;

use super::committer::Work;
use super::flow::{BATCH_FILES, Flow, MAX_ASKED_BYTES, REQUEST_BYTES, Tasks};
use super::{Session, SyncError};
use crate::catalog::{Catalogued, TaskKind, Visit};
use crate::event::Event;
use crate::path::RelPath;
use crate::receipt;
use crate::remote::{Remote, RemoteError};
use crate::wire::RemoveEnd;

/// Stored files of earlier runs that are verified at a time.
const VERIFY_FILES: usize = 128;

/// What is to leave, and what is under way.
pub(super) struct Removing {
    tasks: Tasks,
    /// Catalogued, and to be removed.
    licensed: VecDeque<Catalogued>,
    asked: HashMap<u32, Asked>,
    removed: Vec<i64>,
    removed_bytes: u64,
    /// Rows of files that are other files by now.
    ended: Vec<i64>,
    verifying: bool,
}

/// A removal that was asked for.
struct Asked {
    row: i64,
    file: RelPath,
    bytes: u64,
    /// What it means if it is busy.
    busy: &'static str,
}

impl Removing {
    pub(super) fn new(wanted: bool) -> Removing {
        Removing {
            tasks: Tasks::new(TaskKind::Release, wanted),
            licensed: VecDeque::new(),
            asked: HashMap::new(),
            removed: Vec::new(),
            removed_bytes: 0,
            ended: Vec::new(),
            verifying: false,
        }
    }

    /// Whether the device owes answers.
    pub(super) fn is_under_way(&self) -> bool {
        !self.asked.is_empty()
    }

    /// Whether nothing is left to ask for.
    pub(super) fn is_done(&mut self, visit: &Visit) -> Result<bool, SyncError> {
        Ok(self.licensed.is_empty() && self.tasks.peek(visit)?.is_none())
    }

    /// Notes that the files that were being verified are.
    pub(super) fn verified(&mut self) {
        self.verifying = false;
    }

    /// Takes files that are to be removed.
    pub(super) fn license(&mut self, files: Vec<Catalogued>) {
        self.licensed.extend(files);
    }
}

impl Session<'_> {
    /// Asks for removals, each against a receipt, and all against a marker and a look for a hold just now. One list at a time: the device looks
    /// once for each list at what is open for writing, so a long list is cheap and many short ones are not.
    pub(super) fn ask_removals(
        &mut self,
        flow: &mut Flow<'_, '_, '_>,
        remote: &mut dyn Remote,
    ) -> Result<(), SyncError> {
        if self.run.hold.held().is_some() {
            return self.hold_back(flow);
        }
        let removing = &mut flow.removing;
        if !removing.asked.is_empty() || removing.licensed.is_empty() || flow.receiving.has_long_request() {
            return Ok(());
        }
        let mut files = Vec::new();
        let mut asked_bytes = 0;
        while let Some(file) = removing.licensed.front() {
            asked_bytes += file.path().as_bytes().len() + REQUEST_BYTES;
            if !files.is_empty() && asked_bytes > MAX_ASKED_BYTES {
                break;
            }
            let left = self.run.removals_left;
            if left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1)).is_err() {
                // The brake: what became due while this run went on stays for the next one.
                self.counts.waiting += removing.licensed.len() as u64;
                removing.licensed.clear();
                break;
            }
            files.extend(removing.licensed.pop_front());
        }
        if files.is_empty() {
            return Ok(());
        }
        let confirmed = self.run.archive.confirm()?;
        // After the marker, which a slow server may have taken its time to show.
        let Some(free) = self.run.hold.look() else {
            files.iter().for_each(|file| self.held(file.path()));
            return self.hold_back(flow);
        };
        let mut receipts = Vec::with_capacity(files.len());
        for receipt in receipt::issue(files, &confirmed, &free) {
            let id = flow.id();
            let (row, bytes) = (receipt.row(), receipt.identity().size);
            let asked = Asked { row, file: receipt.path().clone(), bytes, busy: remote.busy() };
            flow.removing.asked.insert(id, asked);
            receipts.push((id, receipt));
        }
        Ok(remote.remove(receipts)?)
    }

    /// Leaves what is due where it is, unread: the first run after the hold verifies and removes it.
    fn hold_back(&mut self, flow: &mut Flow<'_, '_, '_>) -> Result<(), SyncError> {
        std::mem::take(&mut flow.removing.licensed).iter().for_each(|file| self.held(file.path()));
        while let Some(task) = flow.removing.tasks.next(flow.visit)? {
            self.held(&task.entry.path);
        }
        Ok(())
    }

    /// Has the disk verify stored files of earlier runs that are due, a few at a time.
    pub(super) fn ask_verification(&mut self, flow: &mut Flow<'_, '_, '_>) -> Result<(), SyncError> {
        // Verified files wait in memory for their removal: no more of them than a batch.
        if flow.removing.verifying || flow.removing.licensed.len() >= BATCH_FILES {
            return Ok(());
        }
        let mut files = Vec::new();
        while files.len() < VERIFY_FILES {
            let Some(task) = flow.removing.tasks.next(flow.visit)? else { break };
            // The row is still the one that the plan saw: only this visit writes rows of this source.
            if let Some(known) = flow.visit.known(&task.entry.path)? {
                files.push((known, task.entry.path));
            }
        }
        if !files.is_empty() {
            flow.removing.verifying = true;
            flow.crew.submit(Work::Verify(files));
        }
        Ok(())
    }

    pub(super) fn removal_ended(
        &mut self,
        flow: &mut Flow<'_, '_, '_>,
        id: u32,
        end: RemoveEnd,
    ) -> Result<(), SyncError> {
        let removing = &mut flow.removing;
        let asked = removing.asked.remove(&id).ok_or(RemoteError::Protocol("it removed what nobody asked for"))?;
        match end {
            RemoveEnd::Removed | RemoveEnd::Gone => {
                removing.removed.push(asked.row);
                removing.removed_bytes += asked.bytes;
            }
            RemoveEnd::Changed => {
                // Where identities prove little, only the device's look at the content tells: then the next scan would meet the
                // same identity again, and nobody would ever receive what the file holds now.
                removing.ended.push(asked.row);
                self.deferred(asked.file, "changed after it was received: kept");
            }
            RemoveEnd::Busy => self.deferred(asked.file, asked.busy),
            RemoveEnd::Failed(reason) => {
                self.failed(Some(asked.file), format!("received, but it can't be removed: {reason}"));
            }
        }
        if flow.removing.asked.is_empty() || flow.removing.removed.len() >= BATCH_FILES {
            self.note_removed(flow)?;
        }
        Ok(())
    }

    pub(super) fn note_removed(&mut self, flow: &mut Flow<'_, '_, '_>) -> Result<(), SyncError> {
        let removed = std::mem::take(&mut flow.removing.removed);
        let ended = std::mem::take(&mut flow.removing.ended);
        let (files, bytes) = (removed.len() as u64, std::mem::take(&mut flow.removing.removed_bytes));
        if files > 0 {
            self.counts.removed += files;
            self.counts.removed_bytes += bytes;
            self.tell(&Event::FilesRemoved { device: self.name().clone(), files, bytes });
        }
        if removed.is_empty() && ended.is_empty() {
            return Ok(());
        }
        Ok(flow.visit.note_removed(&removed, bytes, &ended)?)
    }
}
