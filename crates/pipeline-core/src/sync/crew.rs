//! The threads beside a visit, which wait for the disk so that the network never does.
//!
//! | thread | work |
//! |---|---|
//! | committer | makes whole files durable and catalogues them; verifies those of earlier runs. One at a time, in order |
//! | scouts | find out what is here of a file before it is asked for. A few at a time, in any order |
//! | builder | makes files of what is here and what comes ([`Building`]) |
//!
//! All tell what they did in one place, so that a visit can wait for whatever is done first.

use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, SyncSender, TryRecvError, channel, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{Scope, ScopedJoinHandle};
use std::time::Duration;

use super::SyncError;
use super::claims::Claims;
use super::committer::{self, Done, Work};
use super::scout::{self, Errand, Scouted};
use crate::archive::{Archive, Staging};
use crate::cancel::Cancel;
use crate::catalog::Recorder;
use crate::path::DeviceName;
use crate::remote::RemoteError;
use crate::transfer::{Building, Built};

/// Batches that may wait for the disk besides the one in hand. More would only pile up unsynced bytes.
const QUEUED: usize = 1;

/// A journaling file system commits what several threads wait for in one go, and a server answers several questions in the time of
/// one.
pub(super) const MAX_SCOUTS: usize = 8;

/// What was done.
pub(super) enum News {
    /// By the committer.
    Done(Done),
    /// By a scout.
    Scouted(Scouted),
    /// By the builder.
    Built(Built),
}

type Told = Result<News, SyncError>;

/// The visit's end of the threads.
pub(super) struct Crew<'scope, 'env> {
    scope: &'scope Scope<'scope, 'env>,
    /// The visit is over: nobody waits for what is being read.
    over: &'env Cancel,
    archive: &'env Archive,
    staging: &'env Staging,
    news: Receiver<Told>,
    teller: Sender<Told>,
    work: Option<SyncSender<Work>>,
    errands: Option<Sender<Errand>>,
    errand_queue: Arc<Mutex<Receiver<Errand>>>,
    scouts: usize,
    threads: Vec<ScopedJoinHandle<'scope, ()>>,
    committing: usize,
    scouting: usize,
    building: usize,
}

impl<'scope, 'env> Crew<'scope, 'env> {
    /// Starts committer and builder. Each ends after its first error, or with the crew.
    pub(super) fn start(
        scope: &'scope Scope<'scope, 'env>,
        (archive, staging, claims, over): (&'env Archive, &'env Staging, &'env Claims, &'env Cancel),
        device: &'env DeviceName,
        recorder: Recorder,
        building: Building,
    ) -> Crew<'scope, 'env> {
        let (work, work_queue) = sync_channel(QUEUED);
        let (teller, news) = channel();
        let (errands, errand_queue) = channel();
        let mut crew = Crew {
            scope,
            over,
            archive,
            staging,
            news,
            teller,
            work: Some(work),
            errands: Some(errands),
            errand_queue: Arc::new(Mutex::new(errand_queue)),
            scouts: 0,
            threads: Vec::new(),
            committing: 0,
            scouting: 0,
            building: 0,
        };
        crew.hire(move |teller| committer::serve(archive, claims, over, device, recorder, &work_queue, teller));
        crew.hire(move |teller| {
            building.run(staging, teller, |built| built.map(News::Built).map_err(SyncError::from));
        });
        crew
    }

    fn hire(&mut self, work: impl FnOnce(&Sender<Told>) + Send + 'scope) {
        let teller = Teller(self.teller.clone());
        self.threads.push(self.scope.spawn(move || work(&teller.0)));
    }

    /// Hands a batch, or files to verify, to the committer; waits while [`QUEUED`] others are waiting.
    pub(super) fn submit(&mut self, work: Work) {
        // The thread is gone after an error, which `poll` or `wait` will tell.
        if self.work.as_ref().is_some_and(|queue| queue.send(work).is_ok()) {
            self.committing += 1;
        }
    }

    /// Sends a scout. Whoever sends too many waits in vain for memory, not here.
    pub(super) fn send_out(&mut self, errand: Errand) {
        self.scouting += 1;
        if self.scouts < self.scouting.min(MAX_SCOUTS) {
            self.scouts += 1;
            let (archive, staging, queue) = (self.archive, self.staging, self.errand_queue.clone());
            self.hire(move |teller| {
                loop {
                    // Held only until the next errand is there.
                    let Ok(errand) = queue.lock().unwrap_or_else(PoisonError::into_inner).recv() else { return };
                    let scouted = scout::run(archive, staging, errand).map(News::Scouted);
                    let failed = scouted.is_err();
                    if teller.send(scouted).is_err() || failed {
                        return;
                    }
                }
            });
        }
        if let Some(errands) = &self.errands {
            errands.send(errand).ok();
        }
    }

    /// Takes back the errands that no scout has set out on.
    pub(super) fn recall(&mut self) {
        // A scout holds the queue while it waits for an errand: then there is none.
        if let Ok(queue) = self.errand_queue.try_lock() {
            self.scouting -= queue.try_iter().count();
        }
    }

    /// Notes that the builder has been told of the end of a file.
    pub(super) fn expect_built(&mut self) {
        self.building += 1;
    }

    /// Batches and verifications that were handed over and have not come back.
    pub(super) fn committing(&self) -> usize {
        self.committing
    }

    /// Scouts that are out.
    pub(super) fn scouting(&self) -> usize {
        self.scouting
    }

    /// Files whose content has come and that are not whole yet.
    pub(super) fn building(&self) -> usize {
        self.building
    }

    /// What is done, without waiting.
    pub(super) fn poll(&mut self) -> Result<Option<News>, SyncError> {
        match self.news.try_recv() {
            Ok(told) => self.take(told).map(Some),
            Err(TryRecvError::Empty | TryRecvError::Disconnected) => Ok(None),
        }
    }

    /// What is done next, waiting at most this long.
    pub(super) fn wait(&mut self, at_most: Duration) -> Result<Option<News>, SyncError> {
        match self.news.recv_timeout(at_most) {
            Ok(told) => self.take(told).map(Some),
            Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => Ok(None),
        }
    }

    fn take(&mut self, told: Told) -> Told {
        match &told {
            Ok(News::Done(_)) => self.committing -= 1,
            Ok(News::Scouted(_)) => self.scouting -= 1,
            Ok(News::Built(Built::Ended)) => {}
            Ok(News::Built(_)) => self.building = self.building.saturating_sub(1),
            // Whoever failed does no more.
            Err(_) => (self.committing, self.scouting, self.building) = (0, 0, 0),
        }
        told
    }
}

impl Drop for Crew<'_, '_> {
    fn drop(&mut self) {
        self.work = None;
        self.errands = None;
        // Nobody waits for what scouts would find, also for what one is reading.
        self.over.set();
        self.errand_queue.lock().unwrap_or_else(PoisonError::into_inner).try_iter().for_each(drop);
        for thread in self.threads.drain(..) {
            // A panic in a thread is a defect: pass it on rather than go on without the disk.
            if let Err(panic) = thread.join()
                && !std::thread::panicking()
            {
                std::panic::resume_unwind(panic);
            }
        }
    }
}

/// Tells of a panic too, so that nobody waits for who will never answer.
struct Teller(Sender<Told>);

impl Drop for Teller {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.send(Err(RemoteError::Stopped.into())).ok();
        }
    }
}
