//! The thread beside a visit that waits for the disk, so that the network never does.
//!
//! Everything between a staged file and its catalog row happens here, in this order: marker, fsync, read-back, rename, directory,
//! manifest (all [`Archive::commit`]), then the catalog.

use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, SyncSender, TryRecvError, channel, sync_channel};
use std::thread::{Scope, ScopedJoinHandle};
use std::time::Duration;

use super::SyncError;
use crate::archive::{Archive, Arrived, Commit, Lying, Staged};
use crate::catalog::{Catalogued, Known, Recorder};
use crate::entry::Entry;
use crate::error::{Class, Classified as _, one_line};
use crate::path::{DeviceName, RelPath};
use crate::remote::RemoteError;

/// Batches that may wait for the disk besides the one in hand. More would only pile up unsynced bytes.
const QUEUED: usize = 1;

/// What the disk is asked for.
pub(super) enum Work {
    /// Make these files durable and catalogue them.
    Commit(Vec<Staged>),
    /// Read and hash these stored files again: an earlier run received them.
    Verify(Vec<(Known, RelPath)>),
}

/// What the disk did.
pub(super) struct Done {
    /// Whether these files were received now.
    pub(super) received: bool,
    /// Durable, verified and catalogued.
    pub(super) catalogued: Vec<Catalogued>,
    /// Their archive path holds other content.
    pub(super) occupied: Vec<RelPath>,
    /// The storage can't take them, and why.
    pub(super) refused: Vec<(RelPath, String)>,
    /// Their stored copy is gone: they are to be received again.
    pub(super) gone: Vec<Entry>,
    /// Their stored bytes are not what was stored, and why.
    pub(super) damaged: Vec<(RelPath, String)>,
}

/// The visit's end of the thread.
pub(super) struct Committer<'scope> {
    work: Option<SyncSender<Work>>,
    done: Receiver<Result<Done, SyncError>>,
    under_way: usize,
    thread: Option<ScopedJoinHandle<'scope, ()>>,
}

impl<'scope> Committer<'scope> {
    /// Starts the thread. It ends after the first error, or with [`Committer`].
    pub(super) fn start<'env: 'scope>(
        scope: &'scope Scope<'scope, 'env>,
        archive: &'env Archive,
        device: &'env DeviceName,
        recorder: Recorder,
    ) -> Committer<'scope> {
        let (work, work_queue) = sync_channel(QUEUED);
        let (done_queue, done) = channel();
        let thread = scope.spawn(move || serve(archive, device, recorder, &work_queue, &done_queue));
        Committer { work: Some(work), done, under_way: 0, thread: Some(thread) }
    }

    /// Hands work over; waits while [`QUEUED`] others are waiting.
    pub(super) fn submit(&mut self, work: Work) {
        // The thread is gone after an error, which `poll` or `wait` will tell.
        if self.work.as_ref().is_some_and(|queue| queue.send(work).is_ok()) {
            self.under_way += 1;
        }
    }

    /// How much work was handed over and has not come back.
    pub(super) fn under_way(&self) -> usize {
        self.under_way
    }

    /// What is done, without waiting.
    pub(super) fn poll(&mut self) -> Result<Option<Done>, SyncError> {
        match self.done.try_recv() {
            Ok(done) => self.take(done).map(Some),
            Err(TryRecvError::Empty) => Ok(None),
            Err(TryRecvError::Disconnected) => self.gone(),
        }
    }

    /// What is done next, waiting at most this long.
    pub(super) fn wait(&mut self, at_most: Duration) -> Result<Option<Done>, SyncError> {
        match self.done.recv_timeout(at_most) {
            Ok(done) => self.take(done).map(Some),
            Err(RecvTimeoutError::Timeout) => Ok(None),
            Err(RecvTimeoutError::Disconnected) => self.gone(),
        }
    }

    /// The thread has ended. With work under way that is after a panic, which [`Drop`] passes on.
    fn gone(&mut self) -> Result<Option<Done>, SyncError> {
        if std::mem::take(&mut self.under_way) > 0 { Err(RemoteError::Stopped.into()) } else { Ok(None) }
    }

    fn take(&mut self, done: Result<Done, SyncError>) -> Result<Done, SyncError> {
        self.under_way -= 1;
        if done.is_err() {
            self.under_way = 0;
        }
        done
    }
}

impl Drop for Committer<'_> {
    fn drop(&mut self) {
        self.work = None;
        if let Some(thread) = self.thread.take() {
            // A panic in the thread is a defect: pass it on rather than go on without the disk.
            if let Err(panic) = thread.join()
                && !std::thread::panicking()
            {
                std::panic::resume_unwind(panic);
            }
        }
    }
}

fn serve(
    archive: &Archive,
    device: &DeviceName,
    mut recorder: Recorder,
    work: &Receiver<Work>,
    done: &Sender<Result<Done, SyncError>>,
) {
    for work in work {
        let result = match work {
            Work::Commit(staged) => commit(archive, device, &mut recorder, staged),
            Work::Verify(files) => verify(archive, &recorder, files),
        };
        let failed = result.is_err();
        if done.send(result).is_err() || failed {
            return;
        }
    }
}

fn commit(
    archive: &Archive,
    device: &DeviceName,
    recorder: &mut Recorder,
    staged: Vec<Staged>,
) -> Result<Done, SyncError> {
    // I6: nothing is put into a storage that is not the one this archive was opened on.
    archive.confirm()?;
    let (mut stored, mut occupied, mut refused) = (Vec::with_capacity(staged.len()), Vec::new(), Vec::new());
    let prepared = archive.prepare(device, staged.into_iter().map(Arrived::Staged).collect())?;
    let noted = recorder.supersede(prepared.superseded())?;
    for commit in archive.commit(prepared, noted)? {
        match commit {
            Commit::Stored(file) => stored.push(file),
            Commit::Occupied(path) => occupied.push(path),
            Commit::Refused(path, reason) => refused.push((path, reason)),
        }
    }
    let catalogued = recorder.record(stored)?;
    Ok(Done { received: true, catalogued, occupied, refused, gone: Vec::new(), damaged: Vec::new() })
}

fn verify(archive: &Archive, recorder: &Recorder, files: Vec<(Known, RelPath)>) -> Result<Done, SyncError> {
    let (mut catalogued, mut gone, mut damaged) = (Vec::with_capacity(files.len()), Vec::new(), Vec::new());
    for (known, path) in files {
        match archive.verify(&known.archive_path, &known.digest, known.identity.size) {
            Ok(verified) => catalogued.push(recorder.renew(&known, path, &verified)),
            // Somebody moved it away: the device still has it, and its place is free.
            Err(_) if archive.look(&known.archive_path)? == Lying::Nothing => {
                gone.push(Entry { path, identity: known.identity });
            }
            Err(error) if error.class() == Class::Integrity => damaged.push((path, one_line(&error))),
            Err(error) => return Err(error.into()),
        }
    }
    Ok(Done { received: false, catalogued, occupied: Vec::new(), refused: Vec::new(), gone, damaged })
}
