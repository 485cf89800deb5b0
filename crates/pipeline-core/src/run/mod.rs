//! One run over many devices: lock, order, pool, brake.
//!
//! Guarantees that one bad device is one bad device (invariant I8): devices share a bounded pool and nothing else, and every wait in
//! a visit is bounded. A storage that fails ends the run, because nothing safe can be done without it.

mod lock;

use std::collections::VecDeque;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

pub use lock::{Lock, LockError, Work};

use crate::archive::{Archive, ArchiveError, Room};
use crate::cancel::Cancel;
use crate::catalog::history::StorageReading;
use crate::catalog::{Catalog, CatalogError, LastVisit};
use crate::clock::now_ns;
use crate::config::Config;
use crate::error::{Class, Classified, one_line};
use crate::event::{Counts, DeviceReport, Event, Observer, Outcome, RunReport, StopReason, files};
use crate::fleet::Device;
use crate::hold::Watch;
use crate::remote::Connect;
use crate::sync::{Claims, Mode, Run, Visited, visit};

/// What to run over.
pub struct Setup<'a> {
    /// The user's settings.
    pub config: &'a Config,
    /// The devices, in the order of the configuration.
    pub devices: &'a [Device],
    /// Makes connections.
    pub connect: &'a dyn Connect,
    /// Say what would be done; change nothing.
    pub dry_run: bool,
    /// Whether received files may leave the devices.
    pub delete: bool,
}

/// What keeps a run from beginning.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// Another run is under way, or the lock can't be had.
    #[error(transparent)]
    Lock(#[from] LockError),
    /// The storage can't be used.
    #[error(transparent)]
    Archive(#[from] ArchiveError),
    /// The catalog can't be used.
    #[error(transparent)]
    Catalog(#[from] CatalogError),
}

impl Classified for RunError {
    fn class(&self) -> Class {
        match self {
            RunError::Lock(error) => error.class(),
            RunError::Archive(error) => error.class(),
            RunError::Catalog(error) => error.class(),
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            RunError::Lock(error) => error.hint(),
            RunError::Archive(error) => error.hint(),
            RunError::Catalog(error) => error.hint(),
        }
    }
}

/// Makes storage and state directory ready: marker, capabilities, catalog. Harmless when repeated.
pub fn init(config: &Config) -> Result<crate::archive::Init, RunError> {
    let made = Archive::init(&config.storage)?;
    Catalog::create(&config.state_dir, made.marker.id())?;
    Ok(made)
}

/// Opens storage and catalog and checks that they belong together.
pub fn open(config: &Config) -> Result<(Archive, Catalog), RunError> {
    let catalog = Catalog::open(&config.state_dir)?;
    let archive = Archive::open(&config.storage, catalog.collector(), config.read_back)?;
    archive.expect(catalog.storage())?;
    Ok((archive, catalog))
}

/// Visits every device. Sets `cancel` itself where the storage fails.
///
/// Errors are what keeps the run from beginning; whatever happens later is in the report.
pub fn sync(setup: &Setup<'_>, observer: &dyn Observer, cancel: &Cancel) -> Result<RunReport, RunError> {
    let started = Instant::now();
    // A dry run changes nothing, so it may look while another run works.
    let _lock = if setup.dry_run { None } else { Some(Lock::acquire(&setup.config.state_dir)?) };
    let (archive, catalog) = match open(setup.config) {
        Ok(opened) => opened,
        Err(error) => {
            if !setup.dry_run {
                note_not_begun(setup.config, setup.devices, &StopReason::of(&error));
            }
            return Err(error);
        }
    };
    let number = if setup.dry_run { 0 } else { catalog.begin_run()? };
    observer.event(&Event::RunStarted { run: number, devices: setup.devices.len(), dry_run: setup.dry_run });
    let hold = Watch::begin(&setup.config.state_dir, observer);
    let removals_left = AtomicU64::new(u64::MAX);
    let claims = Claims::default();
    let run = Run {
        removals_left: &removals_left,
        claims: &claims,
        archive: &archive,
        catalog: &catalog,
        connect: setup.connect,
        observer,
        cancel,
        number,
        delete: setup.delete,
        hold: &hold,
    };
    let pool = Pool { run, jobs: setup.config.jobs, stopped_by: Mutex::new(None) };
    let order = order(setup.devices, &catalog.last_visits()?);
    let reports = visits(setup, &pool, order);
    let mut counts = Counts::default();
    reports.iter().for_each(|report| counts += report.counts);
    let stopped_by = lock(&pool.stopped_by).take();
    let elapsed_ms = u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX);
    let hold = hold.held().cloned();
    let report = RunReport { run: number, devices: reports, counts, hold, stopped_by, elapsed_ms };
    if number != 0 {
        // A storage that does not count has nothing to write down.
        let room = archive.room().ok().filter(|room| room.total_bytes > 0);
        // All is done by now, and it is told all the same.
        if let Err(error) = catalog.finish_run(&report, room.map(|room| reading(&room)).as_ref()) {
            let message = format!("what the run did is not written down: {}", one_line(&error));
            observer.event(&Event::Noted { device: None, message });
        }
    }
    observer.event(&Event::RunFinished(report.clone()));
    Ok(report)
}

/// Writes a run down that should have been and could not begin, as far as the catalog can be written. The error itself is told by
/// whoever has it. The lock is the caller's: a run that is begun beside another would make that one look killed.
fn note_not_begun(config: &Config, devices: &[Device], stop: &StopReason) {
    let not_visited = |device: &Device| {
        let (device, counts) = (device.name.clone(), Counts::default());
        DeviceReport { device, outcome: Outcome::Stopped, counts, elapsed_ms: 0 }
    };
    let note = || {
        let catalog = Catalog::open(&config.state_dir)?;
        let (run, devices) = (catalog.begin_run()?, devices.iter().map(not_visited).collect());
        let report = RunReport { run, devices, stopped_by: Some(stop.clone()), ..RunReport::default() };
        catalog.finish_run(&report, None)
    };
    // What keeps the catalog from being written is told with the next run, if it is not what kept this one from beginning.
    note().ok();
}

/// Writes down that a run could not begin, for a reason that was met before [`sync`] was called. Not beside a run that is under way,
/// and not where there is no catalog.
pub fn not_begun(config: &Config, stop: &StopReason) {
    let Ok(_lock) = Lock::acquire(&config.state_dir) else { return };
    note_not_begun(config, &[], stop);
}

/// One visit to each device; with a brake, a second one for removals once their number is known.
fn visits(setup: &Setup<'_>, pool: &Pool<'_>, order: Vec<usize>) -> Vec<DeviceReport> {
    // What is on hold needs no brake: nothing leaves, and to say that is no failure.
    let brake = setup.config.defaults.delete.max_files.filter(|_| setup.delete && pool.run.hold.held().is_none());
    let mode = match (setup.dry_run, brake) {
        (true, _) => Mode::DryRun,
        (false, Some(_)) => Mode::ReceiveOnly,
        (false, None) => Mode::ReceiveAndRemove,
    };
    let mut visited = pool.visit_all(setup.devices, order, mode);
    let due = visited.iter().map(|v| v.due).fold(0, u64::saturating_add);
    match brake {
        // Placed since this run began.
        Some(_) if pool.run.hold.look().is_none() => {
            visited.iter_mut().for_each(|visited| visited.report.counts.held += visited.due);
        }
        Some(most) if due > most => {
            let reason = format!("{} are due for removal, more than delete.max_files: {most}", files(due));
            let hint =
                "nothing was removed; look at what is due (`--dry-run`), then raise delete.max_files for one run";
            let stop = StopReason { class: Class::Brake, reason, hint: Some(hint.into()) };
            visited.iter_mut().for_each(|visited| visited.brake(&stop));
            pool.stop(stop);
        }
        Some(most) if mode == Mode::ReceiveOnly && !visited.iter().any(|v| v.report.outcome.is_unsafe()) => {
            pool.run.removals_left.store(most, Ordering::SeqCst);
            let with_due: Vec<usize> = (0..visited.len()).filter(|&at| visited[at].due > 0).collect();
            let second = pool.visit_all(setup.devices, with_due.clone(), Mode::RemoveOnly);
            for at in with_due {
                visited[at].report.add_removals(second[at].report.clone());
            }
        }
        Some(_) if mode == Mode::ReceiveOnly => {
            let unsafe_one = visited.iter().find(|v| v.report.outcome.is_unsafe()).map(|v| v.report.device.clone());
            if let Some(device) = unsafe_one {
                let reason =
                    format!("a safety stop at {device}: with delete.max_files nothing is removed anywhere then");
                let hint =
                    format!("what 'pipeline explain {device}' says comes first; without max_files the others go on");
                let stop = StopReason { class: Class::Brake, reason, hint: Some(hint) };
                visited.iter_mut().for_each(|visited| visited.brake(&stop));
            }
        }
        _ => {}
    }
    pool.close(setup.devices, &visited);
    visited.into_iter().map(|v| v.report).collect()
}

/// What is written down of the storage.
fn reading(room: &Room) -> StorageReading {
    let Room { total_bytes, free_bytes, total_files, free_files } = *room;
    StorageReading { at_ns: now_ns(), total_bytes, free_bytes, total_files, free_files }
}

/// Fullest card first, as of the last visit. Never visited: at once, nothing is known of it. Unreachable then: last, for it may cost
/// a time-out.
fn order(devices: &[Device], last_visits: &std::collections::HashMap<String, LastVisit>) -> Vec<usize> {
    let urgency = |at: &usize| match last_visits.get(devices[*at].name.as_str()) {
        None => (0, 0.0),
        Some(last) if last.unreachable => (2, 0.0),
        Some(last) => (1, -last.used().unwrap_or(1.0)),
    };
    let mut order: Vec<usize> = (0..devices.len()).collect();
    order.sort_by(|a, b| urgency(a).partial_cmp(&urgency(b)).unwrap_or(std::cmp::Ordering::Equal));
    order
}

struct Pool<'a> {
    run: Run<'a>,
    jobs: usize,
    stopped_by: Mutex<Option<StopReason>>,
}

impl Pool<'_> {
    /// Visits the devices at these places, `jobs` at a time. The result is in the order of `devices`; others are `Stopped`.
    fn visit_all(&self, devices: &[Device], order: Vec<usize>, mode: Mode) -> Vec<Visited> {
        let not_visited = |device: &Device| {
            let (device, counts) = (device.name.clone(), Counts::default());
            let report = DeviceReport { device, outcome: Outcome::Stopped, counts, elapsed_ms: 0 };
            Visited { report, due: 0, is_open: false }
        };
        let mut visited: Vec<Visited> = devices.iter().map(not_visited).collect();
        let threads = self.jobs.min(order.len());
        let queue = Mutex::new(VecDeque::from(order));
        let done = Mutex::new(Vec::new());
        std::thread::scope(|scope| {
            for _ in 0..threads {
                scope.spawn(|| {
                    while let Some(at) = self.next(&queue) {
                        let visited = self.visit_twice(&devices[at], mode);
                        lock(&done).push((at, visited));
                    }
                });
            }
        });
        for (at, visit) in done.into_inner().unwrap_or_else(PoisonError::into_inner) {
            visited[at] = visit;
        }
        visited
    }

    fn next(&self, queue: &Mutex<VecDeque<usize>>) -> Option<usize> {
        if self.run.cancel.is_set() { None } else { lock(queue).pop_front() }
    }

    /// A visit; once more where it broke off only because a connection broke that many devices share.
    fn visit_twice(&self, device: &Device, mode: Mode) -> Visited {
        let since = Instant::now();
        let mut visited = self.visit_once(device, mode);
        let transient = matches!(visited.report.outcome, Outcome::Failed { class: Class::Transient, .. });
        if transient && !self.run.cancel.is_set() && self.run.connect.shared_connection_broke(device, since) {
            let second = self.visit_once(device, mode);
            // The second look counts again what is still there.
            visited.due = visited.due.max(second.due);
            visited.is_open = second.is_open;
            visited.report.add_retry(second.report);
        }
        visited
    }

    fn visit_once(&self, device: &Device, mode: Mode) -> Visited {
        let visited = visit(&self.run, device, mode);
        if let Outcome::Failed { class: class @ Class::Storage, reason, hint } = &visited.report.outcome {
            self.stop(StopReason { class: *class, reason: reason.clone(), hint: hint.clone() });
            self.run.cancel.set();
        }
        visited
    }

    /// Writes down how those visits ended that were left open until the removals were decided about.
    fn close(&self, devices: &[Device], visited: &[Visited]) {
        for (device, visited) in devices.iter().zip(visited).filter(|(_, visited)| visited.is_open) {
            // What went wrong with the removals has been written down by the visit that met it.
            let outcome = &visited.report.outcome;
            if !matches!(outcome, Outcome::Done | Outcome::Failed { class: Class::Brake, .. }) {
                continue;
            }
            let source = std::os::unix::ffi::OsStrExt::as_bytes(device.settings.source.as_os_str());
            let whole = visited.report.counts.held == 0;
            if let Err(error) = self.run.catalog.note_outcome(&device.name, source, outcome, whole, now_ns()) {
                let message = format!("how the visit went is not written down: {}", one_line(&error));
                self.run.observer.event(&Event::Noted { device: Some(device.name.clone()), message });
            }
        }
    }

    fn stop(&self, reason: StopReason) {
        lock(&self.stopped_by).get_or_insert(reason);
    }
}

/// A poisoned lock means that a visit panicked, which the scope passes on; what it guards here is never half changed.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Whether the state directory can hold lock and catalog.
pub fn check_state_dir(dir: &Path) -> Result<(), LockError> {
    Lock::acquire(dir).map(drop)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use crate::config::{DeletePolicy, DeviceSettings, VersionPolicy};
    use crate::path::DeviceName;

    #[test]
    fn fullest_card_first_and_unreachable_ones_last() {
        let device = |name: &str| Device {
            name: DeviceName::new(name).unwrap(),
            settings: DeviceSettings {
                source: "/data".into(),
                layout: "{host}/{path}".into(),
                include: vec![],
                exclude: vec![],
                settle: std::time::Duration::ZERO,
                delete: DeletePolicy { after: None, high_water: None, low_water: None, max_files: None },
                versions: VersionPolicy::default(),
                alert_after: None,
                bandwidth: None,
            },
        };
        let devices = ["gone", "empty", "full", "new"].map(device);
        let last =
            |free_bytes, unreachable| LastVisit { total_bytes: 100, free_bytes, unreachable, succeeded_ns: None };
        let visits = [
            ("gone".to_owned(), last(1, true)),
            ("empty".to_owned(), last(90, false)),
            ("full".to_owned(), last(10, false)),
        ];
        let order = order(&devices, &visits.into_iter().collect());
        let names: Vec<_> = order.iter().map(|&at| devices[at].name.as_str()).collect();
        assert_eq!(names, ["new", "full", "empty", "gone"]);
    }
}
