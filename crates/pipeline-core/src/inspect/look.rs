//! A look at one device: connect, list, decide, ask how it is. Changes nothing there, and nothing here.

use std::os::unix::ffi::OsStrExt;
use std::time::Instant;

use super::view::State;
use crate::cancel::Cancel;
use crate::catalog::history::Reading;
use crate::catalog::{Catalog, CatalogError, Visit};
use crate::check::{Listener, WithoutAgent};
use crate::clock::now_ns;
use crate::config::{DeviceSettings, Filter, FilterError};
use crate::entry::Entry;
use crate::error::{Class, Classified, one_line};
use crate::event::{Counts, DeviceReport, Event, Observer, Outcome};
use crate::fleet::Device;
use crate::health::{Health, parse};
use crate::path::RelPath;
use crate::plan::{Decision, DeviceClock, Moment, Policy, decide};
use crate::remote::{Connect, ConnectError, Intent, Remote, RemoteError, Scanned};

/// What a look at a device needs.
pub(super) struct Looker<'a> {
    pub(super) catalog: &'a Catalog,
    pub(super) connect: &'a dyn Connect,
    pub(super) observer: &'a dyn Observer,
    pub(super) cancel: &'a Cancel,
}

/// What a look found.
pub(super) struct Look {
    pub(super) state: State,
    /// The jump host that keeps it from being reached.
    pub(super) hop: Option<String>,
    /// How it is, as far as it came; none where it did not answer.
    pub(super) reading: Option<Reading>,
    /// None where the list did not come to its end.
    pub(super) found: Option<Found>,
    pub(super) health: Health,
    pub(super) without_agent: Option<WithoutAgent>,
    pub(super) elapsed_ms: u64,
}

/// What lies below the source, as a visit would judge it now.
#[derive(Clone, Debug, Default)]
pub(super) struct Found {
    waiting_files: u64,
    waiting_bytes: u64,
    kept_files: u64,
    kept_bytes: u64,
    /// When the first and the last of those that are kept were received.
    pub(super) received_ns: Option<(i64, i64)>,
    /// When the oldest and the newest of those that wait were changed, by our clock.
    pub(super) waiting_ns: Option<(i64, i64)>,
    /// What could not be looked at, and the first of it: where (none: the source itself), and why.
    pub(super) unreadable: u64,
    pub(super) first_unreadable: Option<(Option<RelPath>, String)>,
}

/// What ends a look: the error of the room where it happened.
enum LookError {
    Connect(ConnectError),
    Remote(RemoteError),
    Catalog(CatalogError),
    Filter(FilterError),
}

impl LookError {
    fn classified(&self) -> &(dyn Classified + 'static) {
        match self {
            LookError::Connect(error) => error.as_ref(),
            LookError::Remote(error) => error,
            LookError::Catalog(error) => error,
            LookError::Filter(error) => error,
        }
    }
}

impl From<RemoteError> for LookError {
    fn from(error: RemoteError) -> LookError {
        LookError::Remote(error)
    }
}

impl From<CatalogError> for LookError {
    fn from(error: CatalogError) -> LookError {
        LookError::Catalog(error)
    }
}

impl Looker<'_> {
    /// Looks at a device; once more where only a connection broke that many devices share.
    pub(super) fn look(&self, device: &Device) -> Look {
        let began = Instant::now();
        let listener = Listener::new(self.observer);
        let mut look = Look {
            state: State::Stopped,
            hop: None,
            reading: None,
            found: None,
            health: Health::default(),
            without_agent: None,
            elapsed_ms: 0,
        };
        if !self.cancel.is_set() {
            self.observer.event(&Event::DeviceStarted { device: device.name.clone() });
            look.state = self.once(device, &listener, &mut look);
            let broke = matches!(look.state, State::Failed { class: Class::Transient, .. });
            if broke && !self.cancel.is_set() && self.connect.shared_connection_broke(device, began) {
                look.state = self.once(device, &listener, &mut look);
            }
        }
        look.without_agent = listener.without_agent();
        look.elapsed_ms = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.observer.event(&Event::DeviceFinished(DeviceReport {
            device: device.name.clone(),
            outcome: look.state.outcome(),
            counts: Counts::default(),
            elapsed_ms: look.elapsed_ms,
        }));
        look
    }

    fn once(&self, device: &Device, observer: &dyn Observer, look: &mut Look) -> State {
        look.hop = None;
        match self.ask(device, observer, look) {
            Ok(()) => State::Ready,
            // A stop makes all kinds of errors.
            Err(_) if self.cancel.is_set() => State::Stopped,
            Err(error) => {
                let error = error.classified();
                look.hop = error.hop().map(str::to_owned);
                let (reason, hint) = (one_line(error), error.hint().or_else(|| patient(error.class())));
                match error.class() {
                    Class::Interrupted => State::Stopped,
                    Class::Unreachable => State::Offline { reason, hint },
                    class => State::Failed { class, reason, hint },
                }
            }
        }
    }

    fn ask(&self, device: &Device, observer: &dyn Observer, look: &mut Look) -> Result<(), LookError> {
        let settings = &device.settings;
        let filter = Filter::new(&settings.include, &settings.exclude).map_err(LookError::Filter)?;
        // Before the device is: what is received of it from here on is received while we look.
        let source = settings.source.as_os_str().as_bytes();
        let mut visit = self.catalog.visit(device.name.as_str(), source, 0)?;
        let mut remote = self.connect.connect(device, observer, Intent::Look).map_err(LookError::Connect)?;
        let reading = look.reading.insert(greeted(remote.as_ref()));
        observer.event(&Event::DeviceConnected {
            device: device.name.clone(),
            clock_offset_ms: reading.clock_offset_ns.map(|ns| ns / 1_000_000),
            total_bytes: reading.total_bytes.unwrap_or(0),
            free_bytes: reading.free_bytes.unwrap_or(0),
        });
        let found = list(remote.as_mut(), &mut visit, settings, &filter)?;
        found.fill(reading);
        look.found = Some(found);
        look.health = parse(&remote.health()?, &settings.source);
        fill(reading, &look.health);
        Ok(())
    }
}

/// Of a device that fell silent, or broke off, nobody knows yet what ails it.
fn patient(class: Class) -> Option<String> {
    let hint = "`pipeline check` waits longer, as long as `timeouts` says, and tells how far it comes";
    (class == Class::Transient).then(|| hint.to_owned())
}

/// Clock and disk, as they were said with the greeting.
fn greeted(remote: &dyn Remote) -> Reading {
    let vitals = remote.vitals();
    let known = |number: u64, is_known: bool| is_known.then_some(number);
    let (bytes_known, files_known) = (vitals.total_bytes > 0, vitals.total_files > 0);
    Reading {
        at_ns: now_ns(),
        total_bytes: known(vitals.total_bytes, bytes_known),
        // A device may say that more is free than there is.
        free_bytes: known(vitals.free_bytes.min(vitals.total_bytes), bytes_known),
        total_files: known(vitals.total_files, files_known),
        free_files: known(vitals.free_files.min(vitals.total_files), files_known),
        clock_offset_ns: remote.clock_offset_ns(),
        agent: remote.agent().map(str::to_owned),
        ..Reading::default()
    }
}

fn fill(reading: &mut Reading, health: &Health) {
    reading.temperature_mdeg = health.temperature_mdeg;
    reading.throttled = health.throttled.map(u64::from);
    reading.uptime_s = health.uptime_s;
    reading.load_milli = health.load_milli;
    reading.memory_total_bytes = health.memory_total_bytes;
    reading.memory_available_bytes = health.memory_available_bytes;
    reading.read_only = match (health.root_read_only, health.source_read_only) {
        (Some(root), Some(source)) => Some(root || source),
        (root, source) => root.or(source),
    };
    reading.sd_errors = health.sd_errors;
}

/// Lists the source and judges each file as a visit would.
fn list(
    remote: &mut dyn Remote,
    visit: &mut Visit,
    settings: &DeviceSettings,
    filter: &Filter,
) -> Result<Found, LookError> {
    let policy = Policy { settle: settings.settle, delete_after: settings.delete.after };
    let clock = DeviceClock::new(remote.clock_offset_ns(), visit.last_offset_ns());
    let moment = Moment { now_ns: now_ns(), clock };
    let (mut found, mut broken) = (Found::default(), None);
    // One view of the catalog for the whole list. What a run writes meanwhile shows at the next look.
    visit.begin_tasks()?;
    let scanned = remote.scan(&mut |item| {
        let judged = match item {
            Scanned::File(entry) if filter.takes(&entry.path) => found.count(visit, &entry, &policy, &moment),
            Scanned::Unreadable(path, reason) => {
                found.unreadable += 1;
                found.first_unreadable.get_or_insert((path, reason));
                Ok(())
            }
            _ => Ok(()),
        };
        judged.map_err(|error| {
            broken = Some(error);
            RemoteError::Stopped
        })
    });
    if let Some(error) = broken {
        return Err(error.into());
    }
    scanned?;
    visit.end_tasks(false)?;
    Ok(found)
}

impl Found {
    fn count(&mut self, visit: &Visit, entry: &Entry, policy: &Policy, moment: &Moment) -> Result<(), CatalogError> {
        let known = visit.known(&entry.path)?;
        let size = entry.identity.size;
        let decision = decide(entry, known.as_ref(), policy, moment, || visit.sighted(entry, moment.now_ns))?;
        match (decision, known) {
            (Decision::Release | Decision::Wait, Some(known)) => {
                self.kept_files += 1;
                self.kept_bytes = self.kept_bytes.saturating_add(size);
                let at = known.received_ns;
                self.received_ns = Some(self.received_ns.map_or((at, at), |(a, b)| (a.min(at), b.max(at))));
            }
            _ => {
                self.waiting_files += 1;
                self.waiting_bytes = self.waiting_bytes.saturating_add(size);
                let at = entry.identity.mtime_ns.saturating_sub(moment.clock.offset_ns);
                self.waiting_ns = Some(self.waiting_ns.map_or((at, at), |(a, b)| (a.min(at), b.max(at))));
            }
        }
        Ok(())
    }

    fn fill(&self, reading: &mut Reading) {
        // Of a source that can't be read, nobody knows how much it holds.
        if matches!(self.first_unreadable, Some((None, _))) {
            return;
        }
        reading.data_files = Some(self.waiting_files + self.kept_files);
        reading.data_bytes = Some(self.waiting_bytes.saturating_add(self.kept_bytes));
        (reading.waiting_files, reading.waiting_bytes) = (Some(self.waiting_files), Some(self.waiting_bytes));
        (reading.kept_files, reading.kept_bytes) = (Some(self.kept_files), Some(self.kept_bytes));
        reading.oldest_waiting_ns = self.waiting_ns.map(|(oldest, _)| oldest);
    }
}

impl State {
    fn outcome(&self) -> Outcome {
        match self.clone() {
            State::Ready => Outcome::Done,
            State::Offline { reason, hint } => Outcome::Offline { reason, hint },
            State::Failed { class, reason, hint } => Outcome::Failed { class, reason, hint },
            State::Stopped => Outcome::Stopped,
        }
    }
}
