//! One visit to one device: the only room that knows the order of the stages.
//!
//! ```text
//! connect → scan + plan (look) → aim → transfer (receiving) → verify → commit → catalog (committer)
//!                              → receipt → remove (removing) → report
//! ```
//!
//! Guarantees that a file is removed only after its receipt, and that whatever breaks off leaves every file on the device or in
//! the archive. A file's problem is an event and a count; a device's problem ends the visit; a storage problem ends the run.

mod aim;
mod claims;
mod committer;
mod crew;
mod flow;
mod look;
mod receiving;
mod removing;
mod scout;
#[cfg(all(test, feature = "agent"))]
mod tests;

pub use claims::Claims;

use std::sync::atomic::AtomicU64;
use std::time::Instant;

use crate::archive::{Archive, ArchiveError};
use crate::cancel::Cancel;
use crate::catalog::history::LeftKind;
use crate::catalog::{Catalog, CatalogError, Left, Visit, VisitEnd};
use crate::clock::now_ns;
use crate::config::{DeviceSettings, FilterError};
use crate::entry::Vitals;
use crate::error::{Class, Classified, one_line};
use crate::event::{Counts, DeviceReport, Event, Observer, Outcome, StopReason};
use crate::fleet::Device;
use crate::hold::Watch;
use crate::path::{DeviceName, RelPath};
use crate::remote::{Connect, ConnectError, Intent, Remote, RemoteError};
use crate::transfer::TransferError;

/// What a visit is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Say what would be done; change nothing.
    DryRun,
    /// Receive, and remove what is due.
    ReceiveAndRemove,
    /// Receive; count what is due and leave it.
    ReceiveOnly,
    /// Remove what is due; receive nothing.
    RemoveOnly,
}

impl Mode {
    fn receives(self) -> bool {
        self != Mode::RemoveOnly
    }

    fn removes(self) -> bool {
        matches!(self, Mode::ReceiveAndRemove | Mode::RemoveOnly)
    }
}

/// What all visits of a run share.
#[derive(Clone, Copy)]
pub struct Run<'a> {
    /// The storage.
    pub archive: &'a Archive,
    /// What was received.
    pub catalog: &'a Catalog,
    /// Which places are being stored to.
    pub claims: &'a Claims,
    /// Makes connections.
    pub connect: &'a dyn Connect,
    /// Listens.
    pub observer: &'a dyn Observer,
    /// The wish to stop.
    pub cancel: &'a Cancel,
    /// The catalog's number; 0 for a dry run.
    pub number: i64,
    /// How many files may still be removed, over all devices.
    pub removals_left: &'a AtomicU64,
    /// Whether the user wants received files to leave at all (`--no-delete` does not).
    pub delete: bool,
    /// Whether removals are on hold.
    pub hold: &'a Watch<'a>,
}

/// How a visit went.
#[derive(Debug)]
pub struct Visited {
    /// For people and the exit status.
    pub report: DeviceReport,
    /// Files that were due and were left, in [`Mode::ReceiveOnly`].
    pub due: u64,
    /// All went well but for these files, and whether the device is done is for the run to say: so far it is not written down.
    pub is_open: bool,
}

impl Visited {
    /// Notes that the brake keeps the files there that were due, if all else went well.
    pub fn brake(&mut self, stop: &StopReason) {
        if self.is_open {
            let StopReason { class, reason, hint } = stop.clone();
            self.report.outcome = Outcome::Failed { class, reason, hint };
        }
    }
}

/// What ends a visit before its time: the error of the room where it happened, as it is.
#[derive(Debug)]
pub enum SyncError {
    /// The device could not be connected.
    Connect(ConnectError),
    /// The connection broke, or the device misbehaved.
    Remote(RemoteError),
    /// The storage failed.
    Archive(ArchiveError),
    /// The catalog failed.
    Catalog(CatalogError),
    /// A filter that can't be used.
    Filter(FilterError),
}

impl From<RemoteError> for SyncError {
    fn from(error: RemoteError) -> SyncError {
        SyncError::Remote(error)
    }
}

impl From<ArchiveError> for SyncError {
    fn from(error: ArchiveError) -> SyncError {
        SyncError::Archive(error)
    }
}

impl From<CatalogError> for SyncError {
    fn from(error: CatalogError) -> SyncError {
        SyncError::Catalog(error)
    }
}

impl From<FilterError> for SyncError {
    fn from(error: FilterError) -> SyncError {
        SyncError::Filter(error)
    }
}

impl std::fmt::Display for SyncError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.classified())
    }
}

impl std::error::Error for SyncError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.classified().source()
    }
}

impl From<TransferError> for SyncError {
    fn from(error: TransferError) -> SyncError {
        match error {
            TransferError::Archive(error) => SyncError::Archive(error),
            TransferError::Protocol(what) => SyncError::Remote(RemoteError::Protocol(what)),
            // Its own words wait in the crew's news, and outrank these.
            TransferError::Builder => SyncError::Remote(RemoteError::Stopped),
        }
    }
}

impl SyncError {
    fn classified(&self) -> &(dyn Classified + 'static) {
        match self {
            SyncError::Connect(error) => error.as_ref(),
            SyncError::Remote(error) => error,
            SyncError::Archive(error) => error,
            SyncError::Catalog(error) => error,
            SyncError::Filter(error) => error,
        }
    }
}

impl Classified for SyncError {
    fn class(&self) -> Class {
        self.classified().class()
    }

    fn hint(&self) -> Option<String> {
        self.classified().hint()
    }
}

/// Visits one device from connection to report. Never panics on what a device sends.
pub fn visit(run: &Run<'_>, device: &Device, mode: Mode) -> Visited {
    let started = Instant::now();
    let mut session = Session {
        run,
        device,
        mode,
        counts: Counts::default(),
        due: 0,
        damaged: false,
        source_failed: None,
        left: Vec::new(),
        left_some: false,
        answered: None,
        found: None,
        outstanding: Left::default(),
    };
    run.observer.event(&Event::DeviceStarted { device: device.name.clone() });
    let outcome = session.run();
    let elapsed_ms = u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX);
    let report = DeviceReport { device: device.name.clone(), outcome, counts: session.counts, elapsed_ms };
    run.observer.event(&Event::DeviceFinished(report.clone()));
    let is_open = session.is_open(&report.outcome);
    Visited { report, due: session.due, is_open }
}

/// A visit under way.
struct Session<'a> {
    run: &'a Run<'a>,
    device: &'a Device,
    mode: Mode,
    counts: Counts,
    due: u64,
    /// The stored bytes of some file are not what was stored.
    damaged: bool,
    /// Why the source directory itself could not be listed.
    source_failed: Option<String>,
    /// Files that were left for a later visit.
    left: Vec<RelPath>,
    /// Files that nobody named may have been left as well.
    left_some: bool,
    /// How the device was when it answered, and its clock minus ours.
    answered: Option<(Vitals, Option<i64>)>,
    /// What lay there, once the whole source was seen.
    found: Option<look::Found>,
    /// What is left there, for whoever asks later.
    outstanding: Left,
}

/// Files that are remembered by name as left for a later visit.
const MAX_LEFT: usize = 1024;

impl Session<'_> {
    /// The visit, from its beginning to what is written down of it.
    fn run(&mut self) -> Outcome {
        let source = std::os::unix::ffi::OsStrExt::as_bytes(self.settings().source.as_os_str());
        let mut visit = match self.run.catalog.visit(self.name().as_str(), source, self.run.number) {
            Ok(visit) => visit,
            Err(error) => return self.outcome(Err(error.into())),
        };
        let result = self.stages(&mut visit);
        let was_whole = result.is_ok();
        let outcome = self.outcome(result);
        if self.run.number == 0 {
            return outcome;
        }
        // What licenses nothing decides nothing: the files are where they were said to be.
        if let Err(error) = self.write_down(&mut visit, &outcome, was_whole) {
            let message = format!("how the visit went is not written down: {}", one_line(&error));
            self.tell(&Event::Noted { device: Some(self.name().clone()), message });
        }
        outcome
    }

    /// The stages in their order.
    fn stages(&mut self, visit: &mut Visit) -> Result<(), SyncError> {
        let intent = if self.mode == Mode::DryRun { Intent::Look } else { Intent::Change };
        let mut remote =
            self.run.connect.connect(self.device, self.run.observer, intent).map_err(SyncError::Connect)?;
        self.greet(remote.as_ref());
        let plan = self.look(remote.as_mut(), visit)?;
        if self.mode == Mode::DryRun {
            return self.tell_plan(visit, &plan);
        }
        self.flow(remote.as_mut(), visit)?;
        self.prune(remote.as_mut(), &plan.prune)
    }

    /// Notes that the device answered, and how it is.
    fn greet(&mut self, remote: &dyn Remote) {
        let (vitals, offset_ns) = (remote.vitals(), remote.clock_offset_ns());
        self.tell(&Event::DeviceConnected {
            device: self.name().clone(),
            clock_offset_ms: offset_ns.map(|ns| ns / 1_000_000),
            total_bytes: vitals.total_bytes,
            free_bytes: vitals.free_bytes,
        });
        self.answered = Some((vitals.clone(), offset_ns));
    }

    /// Whether what comes of the removals decides how the visit ended.
    fn is_open(&self, outcome: &Outcome) -> bool {
        self.mode == Mode::ReceiveOnly && self.due > 0 && *outcome == Outcome::Done
    }

    /// What the catalog keeps of this visit. Whatever of it is lost by a kill, the next visit does not need.
    fn write_down(&self, visit: &mut Visit, outcome: &Outcome, was_whole: bool) -> Result<(), CatalogError> {
        // The second visit of a run with a brake is a part of the first, unless it goes wrong; and a removal that is left to it is not
        // done.
        let second = self.mode == Mode::RemoveOnly;
        let open = self.is_open(outcome);
        let ended_ns = now_ns();
        let reading = self.reading(visit, ended_ns)?;
        visit.note_end(&VisitEnd {
            ended_ns,
            outcome: Some(outcome).filter(|outcome| !open && (!second || **outcome != Outcome::Done)),
            whole: was_whole && self.run.delete && self.counts.held == 0,
            vitals: self.answered.as_ref().map(|(vitals, offset_ns)| (vitals, *offset_ns)),
            succeeded: *outcome == Outcome::Done && !open,
            counts: &self.counts,
            reading: reading.as_ref(),
            left: &self.outstanding,
            left_all: was_whole && !second,
        })
    }

    fn outcome(&self, result: Result<(), SyncError>) -> Outcome {
        match result {
            Ok(()) if self.damaged => Outcome::Failed {
                class: Class::Integrity,
                reason: "stored files are not what was stored".into(),
                hint: Some("the devices keep these files: restore the storage's copies, or move them away".into()),
            },
            Ok(()) if self.counts.failed > 0 => self.in_part(),
            Ok(()) => Outcome::Done,
            // A stop makes all kinds of errors. What concerns the data is told all the same.
            Err(error) if self.run.cancel.is_set() && !matches!(error.class(), Class::Integrity | Class::Storage) => {
                Outcome::Stopped
            }
            Err(error) => Outcome::broken_off(&error),
        }
    }

    /// Not all could be handled.
    fn in_part(&self) -> Outcome {
        let (reason, hint) = match &self.source_failed {
            Some(reason) => (
                format!("the source directory {} can't be listed: {reason}", self.settings().source.display()),
                Some("the disk that holds it may not be mounted there, or `source` may name another place".into()),
            ),
            None => (format!("{} could not be handled", crate::event::files(self.counts.failed)), None),
        };
        Outcome::Failed { class: Class::Transient, reason, hint }
    }

    fn name(&self) -> &DeviceName {
        &self.device.name
    }

    fn settings(&self) -> &DeviceSettings {
        &self.device.settings
    }

    fn tell(&self, event: &Event) {
        self.run.observer.event(event);
    }

    fn deferred(&mut self, path: RelPath, reason: &str) {
        self.counts.deferred += 1;
        self.outstanding.add(Some(&path), LeftKind::Deferred, reason);
        self.left(&path);
        self.tell(&Event::FileDeferred { device: self.name().clone(), path, reason: reason.into() });
    }

    /// Notes a file that a later visit may go on with. Where there are too many, any file may be one.
    fn left(&mut self, path: &RelPath) {
        if self.left.len() < MAX_LEFT { self.left.push(path.clone()) } else { self.left_some = true }
    }

    /// Notes a file that is due for removal and on hold.
    fn held(&mut self, path: &RelPath) {
        self.counts.held += 1;
        self.outstanding.add(Some(path), LeftKind::Held, "received, and removals are on hold");
    }

    fn kept(&mut self, path: RelPath, reason: &str) {
        self.counts.kept += 1;
        self.outstanding.add(Some(&path), LeftKind::Kept, reason);
        self.tell(&Event::FileKept { device: self.name().clone(), path, reason: reason.into() });
    }

    fn failed(&mut self, path: Option<RelPath>, reason: String) {
        self.counts.failed += 1;
        self.outstanding.add(path.as_ref(), LeftKind::Failed, &reason);
        if path.is_none() {
            self.source_failed = Some(reason.clone());
        }
        path.iter().for_each(|path| self.left(path));
        self.tell(&Event::FileFailed { device: self.name().clone(), path, reason });
    }
}
