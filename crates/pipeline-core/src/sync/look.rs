//! Scan and plan: what lies on the device, and what is to be done with it.

use std::time::Duration;

use super::aim::{Aim, Lies};
use super::{Mode, Session, SyncError};
use crate::catalog::history::{LeftKind, Reading};
use crate::catalog::{TaskKind, Visit};
use crate::clock::now_ns;
use crate::config::Filter;
use crate::entry::{Entry, Identity, OtherKind};
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

/// The plan's totals. The tasks themselves lie in the catalog's temporary table.
pub(super) struct Plan {
    counts: PlanCounts,
    pub(super) prune: Vec<RelPath>,
    found: Found,
}

/// What lies in the source, for the record.
#[derive(Default)]
struct Found {
    bytes: u64,
    waiting: u64,
    waiting_bytes: u64,
    kept_bytes: u64,
    /// By the device's clock.
    oldest_waiting_ns: Option<i64>,
}

impl Found {
    fn add(&mut self, entry: &Entry, waits: bool) {
        let Identity { size, mtime_ns, .. } = entry.identity;
        self.bytes += size;
        if waits {
            self.waiting += 1;
            self.waiting_bytes += size;
            self.oldest_waiting_ns = Some(self.oldest_waiting_ns.map_or(mtime_ns, |oldest| oldest.min(mtime_ns)));
        } else {
            self.kept_bytes += size;
        }
    }
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
        let mut plan = Plan { counts: PlanCounts::default(), prune: Vec::new(), found: Found::default() };
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
                    self.left_some = true;
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
        if whole && self.mode.receives() {
            self.reading = Some(self.reading(&plan, &moment));
        }
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
        let decision = decide(entry, known.as_ref(), policy, moment, || visit.sighted(entry, moment.now_ns))?;
        plan.found.add(entry, matches!(decision, Decision::Receive | Decision::Defer(_)));
        match decision {
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

    /// How the device is at the beginning of the visit, as far as a visit knows.
    fn reading(&self, plan: &Plan, moment: &Moment) -> Reading {
        let known = |number: u64, of: u64| Some(number).filter(|_| of > 0);
        let (Plan { counts, found, .. }, offset_ns) = (plan, moment.clock.offset_ns);
        let reading = Reading {
            at_ns: moment.now_ns,
            data_bytes: Some(found.bytes),
            data_files: Some(counts.files),
            waiting_bytes: Some(found.waiting_bytes),
            waiting_files: Some(found.waiting),
            kept_bytes: Some(found.kept_bytes),
            kept_files: Some(counts.files - found.waiting),
            oldest_waiting_ns: found.oldest_waiting_ns.map(|at_ns| at_ns.saturating_sub(offset_ns)),
            ..Reading::default()
        };
        let Some((vitals, clock_offset_ns)) = &self.answered else { return reading };
        Reading {
            total_bytes: known(vitals.total_bytes, vitals.total_bytes),
            free_bytes: known(vitals.free_bytes, vitals.total_bytes),
            total_files: known(vitals.total_files, vitals.total_files),
            free_files: known(vitals.free_files, vitals.total_files),
            clock_offset_ns: *clock_offset_ns,
            ..reading
        }
    }

    fn other(&mut self, path: RelPath, kind: OtherKind) {
        self.counts.skipped += 1;
        self.outstanding.add(Some(&path), LeftKind::Skipped, kind.words());
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

    /// A dry run: the plan, file by file. Nothing is read: what becomes of a file whose place is not empty shows when it is received.
    pub(super) fn tell_plan(&mut self, visit: &Visit, plan: &Plan) -> Result<(), SyncError> {
        for kind in [TaskKind::Receive, TaskKind::Release] {
            let mut after = 0;
            loop {
                let page = visit.tasks(kind, after, PAGE)?;
                let Some(last) = page.last() else { break };
                after = last.id;
                for task in page {
                    if kind == TaskKind::Release {
                        self.planned(task.entry, PlannedAction::Remove, None);
                    } else if let Some(aim) = self.aim(visit, &task.entry)? {
                        self.plan_receipt(task.entry, &aim);
                    }
                }
            }
        }
        for dir in &plan.prune {
            self.counts.pruned += 1;
            self.tell_planned(dir.clone(), 0, PlannedAction::Prune, None);
        }
        Ok(())
    }

    fn plan_receipt(&mut self, entry: Entry, aim: &Aim) {
        let removed_at_once = self.run.delete && self.settings().delete.after == Some(Duration::ZERO);
        let action = match (aim.lies, removed_at_once) {
            (Lies::Nothing, true) => PlannedAction::ReceiveAndRemove,
            (Lies::Nothing, false) => PlannedAction::Receive,
            (Lies::Unknown(bytes), true) if bytes == entry.identity.size => PlannedAction::AdoptAndRemove,
            (Lies::Unknown(bytes), false) if bytes == entry.identity.size => PlannedAction::Adopt,
            (Lies::Ours(_) | Lies::Unknown(_), true) => PlannedAction::UpdateAndRemove,
            (Lies::Ours(_) | Lies::Unknown(_), false) => PlannedAction::Update,
        };
        let mut reasons = Vec::new();
        if aim.clash {
            reasons.push(format!("another file has its place: as {}", aim.path));
        }
        match action {
            PlannedAction::AdoptAndRemove | PlannedAction::Adopt => {
                reasons.push("the storage holds a file of this size: received only if it differs".into());
            }
            PlannedAction::UpdateAndRemove | PlannedAction::Update => {
                reasons.push("the storage holds other or earlier content of it".into());
            }
            _ => {}
        }
        let reason = (!reasons.is_empty()).then(|| reasons.join("; "));
        self.counts.clashes += u64::from(aim.clash);
        self.planned(entry, action, reason);
    }

    /// Tells what would be done with one file, and counts it as if it were.
    fn planned(&mut self, entry: Entry, action: PlannedAction, reason: Option<String>) {
        use PlannedAction::{Adopt, AdoptAndRemove, Receive, ReceiveAndRemove, Remove, Update, UpdateAndRemove};
        let (counts, bytes) = (&mut self.counts, entry.identity.size);
        match action {
            Receive | ReceiveAndRemove | Update | UpdateAndRemove => {
                counts.received += 1;
                counts.received_bytes += bytes;
            }
            Adopt | AdoptAndRemove => {
                counts.adopted += 1;
                counts.adopted_bytes += bytes;
            }
            _ => {}
        }
        if matches!(action, Remove | ReceiveAndRemove | UpdateAndRemove | AdoptAndRemove) {
            counts.removed += 1;
            counts.removed_bytes += bytes;
        }
        self.tell_planned(entry.path, bytes, action, reason);
    }

    fn tell_planned(&self, path: RelPath, bytes: u64, action: PlannedAction, reason: Option<String>) {
        self.tell(&Event::FilePlanned { device: self.name().clone(), path, bytes, action, reason });
    }

    /// Removes directories that our removals have left empty.
    pub(super) fn prune(&mut self, remote: &mut dyn Remote, dirs: &[RelPath]) -> Result<(), SyncError> {
        if dirs.is_empty() || !self.mode.removes() || self.mode == Mode::DryRun {
            return Ok(());
        }
        let mut pruned = 0;
        // Few enough at a time that neither side waits for the other to read.
        for dirs in dirs.chunks(PRUNED_AT_ONCE) {
            // An empty directory is not data, and yet: on hold means that nothing leaves.
            if self.run.hold.look().is_none() {
                break;
            }
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
