//! Scan and plan: what lies on the device, and what is to be done with it.

use std::time::Duration;

use super::aim::{Aim, Lies};
use super::{Mode, Session, SyncError};
use crate::catalog::history::{LeftKind, Reading};
use crate::catalog::{CatalogError, TaskKind, Unreceived, Visit};
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
}

/// What lies in the source when a visit begins, for the record that is made at its end.
#[derive(Default)]
pub(super) struct Found {
    files: u64,
    bytes: u64,
    /// What this visit does not even try to receive.
    left: Unreceived,
    /// The device's clock minus ours.
    offset_ns: i64,
}

impl Found {
    fn add(&mut self, entry: &Entry, is_left: bool) {
        let Identity { size, mtime_ns, .. } = entry.identity;
        self.files += 1;
        self.bytes = self.bytes.saturating_add(size);
        if is_left {
            self.left.add(size, mtime_ns);
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
        let mut plan = Plan { counts: PlanCounts::default(), prune: Vec::new() };
        let mut found = Found { offset_ns: clock.offset_ns, ..Found::default() };
        let (mut broken, mut whole, mut empty) = (None, true, true);
        visit.begin_tasks()?;
        let scanned = remote.scan(&mut |item| {
            empty = false;
            let done = match item {
                Scanned::File(entry) => visit.met(&entry.path).map_err(SyncError::from).and_then(|()| {
                    if !filter.takes(&entry.path) {
                        return Ok(());
                    }
                    self.file(visit, &entry, (&policy, &moment), (&mut plan, &mut found))
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
        self.found = Some(found).filter(|_| whole);
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
        (policy, moment): (&Policy, &Moment),
        (plan, found): (&mut Plan, &mut Found),
    ) -> Result<(), SyncError> {
        let known = visit.known(&entry.path)?;
        let counts = &mut plan.counts;
        counts.files += 1;
        let received_ns = known.as_ref().map_or(0, |known| known.received_ns);
        let decision = decide(entry, known.as_ref(), policy, moment, || visit.sighted(entry, moment.now_ns))?;
        found.add(
            entry,
            match decision {
                Decision::Defer(_) => true,
                Decision::Receive => !self.mode.receives(),
                Decision::Release | Decision::Wait => false,
            },
        );
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

    /// How the device is at the end of the visit, as far as a visit knows: its card as it said when it answered, and what is left there
    /// of what was found. None where not the whole source was seen.
    pub(super) fn reading(&self, visit: &Visit, ended_ns: i64) -> Result<Option<Reading>, CatalogError> {
        let (Some(found), Some((vitals, clock_offset_ns))) = (&self.found, &self.answered) else { return Ok(None) };
        let mut waiting = visit.unreceived()?;
        waiting.merge(&found.left);
        let known = |number: u64, of: u64| Some(number).filter(|_| of > 0);
        let data_bytes = found.bytes.saturating_sub(self.counts.removed_bytes);
        let data_files = found.files.saturating_sub(self.counts.removed);
        Ok(Some(Reading {
            at_ns: ended_ns,
            total_bytes: known(vitals.total_bytes, vitals.total_bytes),
            free_bytes: known(vitals.free_bytes, vitals.total_bytes),
            total_files: known(vitals.total_files, vitals.total_files),
            free_files: known(vitals.free_files, vitals.total_files),
            clock_offset_ns: *clock_offset_ns,
            data_bytes: Some(data_bytes),
            data_files: Some(data_files),
            waiting_bytes: Some(waiting.bytes),
            waiting_files: Some(waiting.files),
            kept_bytes: Some(data_bytes.saturating_sub(waiting.bytes)),
            kept_files: Some(data_files.saturating_sub(waiting.files)),
            oldest_waiting_ns: waiting.oldest_ns.map(|at_ns| at_ns.saturating_sub(found.offset_ns)),
            ..Reading::default()
        }))
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
