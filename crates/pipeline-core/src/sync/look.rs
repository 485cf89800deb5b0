//! Scan and plan: what lies on the device, and what is to be done with it.

use std::os::unix::ffi::OsStrExt;
use std::time::Duration;

use super::{Mode, Session, SyncError};
use crate::archive::{ArchiveError, ArchivePath, Lying};
use crate::catalog::{TaskKind, Visit};
use crate::clock::now_ns;
use crate::config::Filter;
use crate::entry::{Entry, OtherKind};
use crate::error::one_line;
use crate::event::{Event, PlanCounts, PlannedAction};
use crate::path::RelPath;
use crate::plan::{Decision, DeviceClock, Moment, Policy, decide, pressure_bytes};
use crate::remote::{Answer, Remote, RemoteError, Scanned};

/// A directory that somebody changed less than this ago is not pruned: a program may be about to write into it.
const QUIET: Duration = Duration::from_secs(3600);
/// At most this many directories are pruned in one visit; the next visit goes on.
const MAX_PRUNED: usize = 10_000;
/// Paths of the greatest length in one request: 512 KiB.
const PRUNED_AT_ONCE: usize = 128;
const PAGE: usize = 512;
/// Why a file stays whose archive path is taken.
pub(super) const OCCUPIED: &str = "the archive holds other content at this path";

/// The plan's totals. The tasks themselves lie in the catalog's temporary table.
pub(super) struct Plan {
    counts: PlanCounts,
    pub(super) prune: Vec<RelPath>,
}

impl Session<'_> {
    /// Lists the source, decides about each file and writes the tasks down.
    pub(super) fn look(&mut self, remote: &mut dyn Remote, visit: &mut Visit) -> Result<Plan, SyncError> {
        let settings = self.settings();
        let filter = Filter::new(&settings.include, &settings.exclude)?;
        let delete_after = settings.delete.after.filter(|_| self.run.delete);
        let policy = Policy { settle: settings.settle, delete_after };
        let clock = DeviceClock::new(remote.clock_offset_ns(), visit.last_offset_ns());
        let moment = Moment { now_ns: now_ns(), clock };
        let mut plan = Plan { counts: PlanCounts::default(), prune: Vec::new() };
        let (mut broken, mut whole, mut empty) = (None, true, true);
        visit.begin_tasks()?;
        let scanned = remote.scan(&mut |item| {
            empty = false;
            let done = match item {
                Scanned::File(entry) => visit.met(&entry.path).map_err(SyncError::from).and_then(|()| {
                    if !filter.takes(&entry.path) {
                        return Ok(());
                    }
                    self.file(visit, &entry, &policy, &moment, &mut plan)
                }),
                Scanned::Other(path, kind) => {
                    self.other(path, kind);
                    Ok(())
                }
                Scanned::EmptyDir(path, mtime_ns) => self.empty_dir(visit, path, mtime_ns, &moment, &mut plan),
                Scanned::Unreadable(path, reason) => {
                    whole = false;
                    self.failed(path, reason);
                    Ok(())
                }
            };
            done.map_err(|error| {
                broken = Some(error);
                RemoteError::Stopped
            })
        });
        if let Some(error) = broken {
            return Err(error);
        }
        scanned?;
        // A source with nothing in it at all may be a card that is not mounted: that says nothing of what lies on the card.
        visit.end_tasks(whole && !empty)?;
        if self.run.delete {
            self.relieve(remote, visit, &mut plan)?;
        }
        // Deepest first, so that a parent may become empty; though only a later visit finds it quiet.
        plan.prune.sort_by_key(|dir| std::cmp::Reverse(dir.components().count()));
        plan.counts.prune = plan.prune.len() as u64;
        self.counts.waiting = plan.counts.wait;
        if !self.mode.removes() {
            self.due += plan.counts.release;
        }
        self.tell(&Event::DevicePlanned { device: self.name().clone(), plan: plan.counts });
        Ok(plan)
    }

    fn file(
        &mut self,
        visit: &Visit,
        entry: &Entry,
        policy: &Policy,
        moment: &Moment,
        plan: &mut Plan,
    ) -> Result<(), SyncError> {
        let known = visit.known(&entry.path)?;
        let counts = &mut plan.counts;
        counts.files += 1;
        let received_ns = known.as_ref().map_or(0, |known| known.received_ns);
        match decide(entry, known.as_ref(), policy, moment, || visit.sighted(entry, moment.now_ns))? {
            // The second visit of a run with a brake: all but releases was told by the first.
            Decision::Receive | Decision::Defer(_) if !self.mode.receives() => {}
            Decision::Receive => {
                counts.receive += 1;
                counts.receive_bytes += entry.identity.size;
                visit.add_task(TaskKind::Receive, entry, 0)?;
            }
            Decision::Release => {
                counts.release += 1;
                counts.release_bytes += entry.identity.size;
                visit.add_task(TaskKind::Release, entry, received_ns)?;
            }
            Decision::Wait => {
                counts.wait += 1;
                // Only water marks ever look at these again.
                if self.settings().delete.high_water.is_some() {
                    visit.add_task(TaskKind::Wait, entry, received_ns)?;
                }
            }
            Decision::Defer(defer) => {
                counts.defer += 1;
                self.deferred(entry.path.clone(), defer.reason());
            }
        }
        Ok(())
    }

    fn other(&mut self, path: RelPath, kind: OtherKind) {
        self.counts.skipped += 1;
        self.tell(&Event::OtherSkipped { device: self.name().clone(), path, kind });
    }

    /// An empty directory is pruned if files of ours left it, and nobody touched it for [`QUIET`] by the device's clock.
    fn empty_dir(
        &mut self,
        visit: &Visit,
        path: RelPath,
        mtime_ns: i64,
        moment: &Moment,
        plan: &mut Plan,
    ) -> Result<(), SyncError> {
        let age_ns = moment.now_ns.saturating_add(moment.clock.offset_ns).saturating_sub(mtime_ns);
        let quiet = u128::try_from(age_ns).is_ok_and(|age| age >= QUIET.as_nanos());
        if quiet && self.run.delete && plan.prune.len() < MAX_PRUNED && visit.emptied(&path)? {
            plan.prune.push(path);
        }
        Ok(())
    }

    /// Lets the oldest received files go early where the card is fuller than `high_water`.
    fn relieve(&mut self, remote: &dyn Remote, visit: &Visit, plan: &mut Plan) -> Result<(), SyncError> {
        let (vitals, delete) = (remote.vitals(), &self.settings().delete);
        let needed = pressure_bytes(vitals.total_bytes, vitals.free_bytes, delete.high_water, delete.low_water);
        let needed = needed.saturating_sub(plan.counts.release_bytes);
        if needed == 0 {
            return Ok(());
        }
        let (files, bytes) = visit.release_oldest(needed)?;
        plan.counts.wait -= files;
        plan.counts.release += files;
        plan.counts.release_bytes += bytes;
        if bytes < needed {
            let message = "the card is above high_water, and no more received files are left to remove".into();
            self.tell(&Event::Noted { device: Some(self.name().clone()), message });
        }
        Ok(())
    }

    /// A dry run: the plan, file by file.
    pub(super) fn tell_plan(&mut self, visit: &Visit, plan: &Plan) -> Result<(), SyncError> {
        let removed_at_once = self.run.delete && self.settings().delete.after == Some(Duration::ZERO);
        let receive = if removed_at_once { PlannedAction::ReceiveAndRemove } else { PlannedAction::Receive };
        for (kind, action) in [(TaskKind::Receive, receive), (TaskKind::Release, PlannedAction::Remove)] {
            let mut after = 0;
            loop {
                let page = visit.tasks(kind, after, PAGE)?;
                let Some(last) = page.last() else { break };
                after = last.id;
                for task in page {
                    if kind == TaskKind::Receive && self.target(&task.entry)?.is_none() {
                        continue;
                    }
                    self.planned(task.entry.path, task.entry.identity.size, action);
                }
            }
        }
        plan.prune.iter().for_each(|dir| self.planned(dir.clone(), 0, PlannedAction::Prune));
        Ok(())
    }

    /// Tells what would be done with one file, and counts it as if it were.
    fn planned(&mut self, path: RelPath, bytes: u64, action: PlannedAction) {
        let counts = &mut self.counts;
        if matches!(action, PlannedAction::Receive | PlannedAction::ReceiveAndRemove) {
            counts.received += 1;
            counts.received_bytes += bytes;
        }
        if matches!(action, PlannedAction::Remove | PlannedAction::ReceiveAndRemove) {
            counts.removed += 1;
            counts.removed_bytes += bytes;
        }
        counts.pruned += u64::from(action == PlannedAction::Prune);
        self.tell(&Event::FilePlanned { device: self.name().clone(), path, bytes, action, reason: None });
    }

    /// Where a new file goes; none where it can't go anywhere, which is told.
    ///
    /// A path that holds a file of the same size is let through: a killed run may have left the very content there, which the
    /// commit finds out.
    pub(super) fn target(&mut self, entry: &Entry) -> Result<Option<ArchivePath>, SyncError> {
        let settings = self.settings();
        let source_name = settings.source.file_name().map(OsStrExt::as_bytes).unwrap_or_default();
        let target = match self.run.archive.place(&settings.layout, self.name(), source_name, &entry.path) {
            Ok(target) => target,
            Err(error @ ArchiveError::NoPlace { .. }) => {
                self.failed(Some(entry.path.clone()), one_line(&error));
                return Ok(None);
            }
            Err(error) => return Err(error.into()),
        };
        match self.run.archive.look(&target)? {
            Lying::Nothing => Ok(Some(target)),
            Lying::File(stamp) if stamp.bytes() == entry.identity.size => Ok(Some(target)),
            Lying::File(_) | Lying::OtherCase(_) | Lying::NotAFile => {
                self.kept(entry.path.clone(), OCCUPIED);
                Ok(None)
            }
        }
    }

    /// Removes directories that our removals have left empty.
    pub(super) fn prune(&mut self, remote: &mut dyn Remote, dirs: &[RelPath]) -> Result<(), SyncError> {
        if dirs.is_empty() || !self.mode.removes() || self.mode == Mode::DryRun {
            return Ok(());
        }
        let mut pruned = 0;
        // Few enough at a time that neither side waits for the other to read.
        for dirs in dirs.chunks(PRUNED_AT_ONCE) {
            remote.prune(dirs.to_vec(), QUIET)?;
            for _ in dirs {
                match remote.answer()? {
                    Answer::Pruned(_, removed) => pruned += u64::from(removed),
                    _ => return Err(RemoteError::Protocol("it answered something else than a pruning").into()),
                }
            }
        }
        if pruned > 0 {
            self.counts.pruned += pruned;
            self.tell(&Event::DirectoriesPruned { device: self.name().clone(), dirs: pruned });
        }
        Ok(())
    }
}
