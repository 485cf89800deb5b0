//! Reads the storage again and compares it with the catalog.
//!
//! Guarantees: changes nothing in the storage, and in the catalog only how far it has come. What it says to be sound was read from
//! disk or server and has the digest that the catalog holds. What it says not to be is so by the word of the catalog *after* it was
//! read: a run writes down where content is going before it moves it, so whatever a run does meanwhile is no fault. A storage that
//! is not there is an error and never a list of missing files (invariant I6). It keeps no run out; only a second one of its kind.
//! Memory is flat. Leaves to others: to repair anything.

mod pace;
mod scope;
#[cfg(test)]
mod tests;
mod unknown;

use std::time::{Duration, Instant};

use self::pace::Pace;
use self::scope::{Budget, Draw};
pub use self::scope::{Sample, Scope, ScopeError, Share};
use crate::archive::{Archive, ArchiveError, Reread};
use crate::cancel::Cancel;
use crate::catalog::{CatalogError, Place, Places, Round};
use crate::clock::now_ns;
use crate::config::{Config, HostPattern};
use crate::error::{Class, Classified};
use crate::event::{ArchiveFault, Event, Fault, Observer, RoundReport, VerifyReport};
use crate::run::{self, Lock, RunError, Work};

/// So many places are in memory at a time.
const PAGE: usize = 1000;

/// How often, while nothing is wrong, the marker is read and the position is written down.
const CHECKPOINT: Duration = Duration::from_secs(10);

/// What to read.
#[derive(Clone, Debug)]
pub struct Options<'a> {
    /// How much.
    pub scope: Scope,
    /// Files that came from these devices alone, in the catalog by any name that matches; none: all.
    pub hosts: &'a [HostPattern],
    /// Whether the storage is searched for files that the catalog does not know.
    pub unknown: bool,
    /// At most so many bytes a second.
    pub bandwidth: Option<u64>,
}

/// What keeps the storage from being verified. That it is not as it should be is no error but a [`VerifyReport`].
#[derive(Debug, thiserror::Error)]
pub enum VerifyError {
    /// Storage, catalog or lock can't be had.
    #[error(transparent)]
    Run(#[from] RunError),
    /// The storage failed.
    #[error(transparent)]
    Archive(#[from] ArchiveError),
    /// The catalog failed.
    #[error(transparent)]
    Catalog(#[from] CatalogError),
    /// A pattern that fits nothing.
    #[error("the catalog holds no file of a device '{pattern}'")]
    NoDevice {
        /// As it was typed.
        pattern: String,
    },
}

impl Classified for VerifyError {
    fn class(&self) -> Class {
        match self {
            VerifyError::Run(error) => error.class(),
            VerifyError::Archive(error) => error.class(),
            VerifyError::Catalog(error) => error.class(),
            VerifyError::NoDevice { .. } => Class::Config,
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            VerifyError::Run(error) => error.hint(),
            VerifyError::Archive(error) => error.hint(),
            VerifyError::Catalog(error) => error.hint(),
            VerifyError::NoDevice { .. } => Some("devices are named as they were when their files came".into()),
        }
    }
}

/// Reads what `options` say. A wish to stop ends it early, with a report of what was read so far.
pub fn verify(
    config: &Config,
    options: &Options<'_>,
    observer: &dyn Observer,
    cancel: &Cancel,
) -> Result<VerifyReport, VerifyError> {
    let started = Instant::now();
    // First, so that a state directory that is not there is told as one.
    let (archive, catalog) = run::open(config)?;
    let _lock = Lock::acquire_for(Work::Verification, &config.state_dir).map_err(RunError::Lock)?;
    let mut places = catalog.places()?;
    choose(&mut places, options.hosts)?;
    let archive = archive.heeding(cancel);
    let mut verification = Verification {
        archive: &archive,
        places: &places,
        observer,
        cancel,
        pace: Pace::new(cancel, options.bandwidth),
        checkpoint: Instant::now(),
        report: VerifyReport::default(),
    };
    let done = verification.read(options.scope).and_then(|()| verification.search(options.unknown, unknown::PATIENCE));
    let mut report = verification.report;
    match done {
        Err(error) if error.class() == Class::Interrupted => report.stopped = true,
        done => done?,
    }
    report.elapsed_ms = u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX);
    observer.event(&Event::ArchiveVerified(report.clone()));
    Ok(report)
}

/// Those of the catalog's devices that patterns name, by the rules of [`crate::fleet::select`].
fn choose(places: &mut Places, patterns: &[HostPattern]) -> Result<(), VerifyError> {
    if patterns.is_empty() {
        return Ok(());
    }
    let devices = places.devices()?;
    let (without, with): (Vec<&HostPattern>, Vec<&HostPattern>) = patterns.iter().partition(|p| p.is_negated());
    for pattern in &with {
        if !devices.iter().any(|device| pattern.matches(device)) {
            return Err(VerifyError::NoDevice { pattern: pattern.to_string() });
        }
    }
    let fits = |device: &String| {
        let fits = |pattern: &&HostPattern| pattern.matches(device);
        (with.is_empty() || with.iter().any(fits)) && !without.iter().any(fits)
    };
    let chosen: Vec<String> = devices.into_iter().filter(fits).collect();
    Ok(places.choose(&chosen)?)
}

struct Verification<'a> {
    archive: &'a Archive,
    places: &'a Places,
    observer: &'a dyn Observer,
    cancel: &'a Cancel,
    pace: Pace<'a>,
    /// When the last one was.
    checkpoint: Instant,
    report: VerifyReport,
}

/// Which of the places that come by are read.
enum Choice {
    All,
    Drawn(Draw),
    Share(Budget, Round),
}

impl Verification<'_> {
    fn read(&mut self, scope: Scope) -> Result<(), VerifyError> {
        let mut choice = self.begin(scope)?;
        let mut up_to = match &choice {
            Choice::Share(_, round) => round.up_to.clone(),
            _ => None,
        };
        let done = self.read_after(&mut up_to, &mut choice);
        // Whatever ended it: all up to there has been judged.
        if let Choice::Share(_, round) = &mut choice {
            round.up_to = up_to.filter(|_| !matches!(done, Ok(true)));
            self.end_share(round, matches!(done, Ok(true)))?;
        }
        done.map(drop)
    }

    /// Says what will be read, and in a round that another run of it has begun.
    fn begin(&mut self, scope: Scope) -> Result<Choice, VerifyError> {
        let round = self.places.round()?;
        let after = if matches!(scope, Scope::Share(_)) { round.up_to.as_ref() } else { None };
        let (files, bytes) = self.places.sum_after(after)?;
        let started = |files, bytes| self.observer.event(&Event::VerifyStarted { files, bytes });
        Ok(match scope {
            Scope::All => {
                started(Some(files), Some(bytes));
                Choice::All
            }
            Scope::Sample(sample) => {
                let wanted = sample.of(files);
                started(Some(wanted), None);
                Choice::Drawn(Draw::new(wanted, files, seed()))
            }
            Scope::Share(share) => {
                let mut round = round;
                let budget = Budget::begin(&mut round, share, (files, bytes), now_ns());
                self.places.note_round(&round)?;
                match budget.bytes() {
                    None => started(Some(files), Some(bytes)),
                    Some(share) => started(None, Some(share.min(bytes))),
                }
                Choice::Share(budget, round)
            }
        })
    }

    /// Reads on after `up_to`, which is set to the last place that was judged. Returns whether that was the last of all.
    fn read_after(
        &mut self,
        up_to: &mut Option<crate::archive::ArchivePath>,
        choice: &mut Choice,
    ) -> Result<bool, VerifyError> {
        loop {
            let page = self.places.after(up_to.as_ref(), PAGE)?;
            if page.is_empty() {
                return Ok(true);
            }
            for place in page {
                self.go_on()?;
                let wanted = match choice {
                    Choice::All => true,
                    Choice::Drawn(draw) => draw.takes_next(),
                    Choice::Share(budget, _) if !budget.is_open() => return Ok(false),
                    Choice::Share(budget, _) => {
                        budget.spend(place.content.bytes);
                        true
                    }
                };
                if wanted {
                    self.judge(&place)?;
                }
                *up_to = Some(place.path);
                if self.checkpoint.elapsed() >= CHECKPOINT {
                    self.checkpoint = Instant::now();
                    self.archive.confirm()?;
                    if let Choice::Share(_, round) = choice {
                        round.up_to.clone_from(up_to);
                        self.places.note_round(round)?;
                    }
                }
            }
            self.archive.confirm()?;
        }
    }

    /// Reads one place and tells what is wrong with it.
    fn judge(&mut self, place: &Place) -> Result<(), VerifyError> {
        let mut place = place.clone();
        let (fault, reason) = loop {
            let (pace, observer) = (&mut self.pace, self.observer);
            let mut hear = |bytes| {
                observer.event(&Event::ArchiveRead { files: 0, bytes });
                pace.pay(bytes)
            };
            let wrong = match self.archive.reread(&place.path, place.content, place.whole, &mut hear)? {
                Reread::Same => {
                    self.report.files += 1;
                    self.report.bytes += place.content.bytes;
                    self.observer.event(&Event::ArchiveRead { files: 1, bytes: 0 });
                    return Ok(());
                }
                Reread::Missing => (Fault::Missing, "nothing lies there".to_owned()),
                Reread::Changed(reason) => (Fault::Changed, reason),
                Reread::Unreadable(reason) => (Fault::Unreadable, reason),
            };
            // A share that went away looks as if its files were gone.
            self.archive.confirm()?;
            // A run writes down where content is going before it moves it: so what its row says now is true, and if that is the same as
            // before the file was read, nobody has moved it.
            match self.places.again(&place)? {
                Some(now) if now == place => break wrong,
                Some(now) => place = now,
                None => return Ok(()),
            }
            self.go_on()?;
        };
        let origin = self.places.origin(&place)?;
        self.observer.event(&Event::ArchiveRead { files: 1, bytes: 0 });
        self.tell(ArchiveFault {
            fault,
            path: place.path.as_rel_path().clone(),
            reason,
            device: Some(origin.device),
            source_path: Some(origin.path),
            on_device: origin.on_device,
        });
        Ok(())
    }

    fn end_share(&mut self, round: &mut Round, finished: bool) -> Result<(), VerifyError> {
        if finished {
            *round = Round { finished_ns: Some(now_ns()), parts: round.parts, ..Round::default() };
        }
        self.places.note_round(round)?;
        let (left_files, left_bytes) = if finished { (0, 0) } else { self.places.sum_after(round.up_to.as_ref())? };
        self.report.round = Some(RoundReport { finished, left_files, left_bytes });
        Ok(())
    }

    fn search(&mut self, wanted: bool, patience: Duration) -> Result<(), VerifyError> {
        if wanted {
            let message = "looking for files that the catalog does not know".into();
            self.observer.event(&Event::Noted { device: None, message });
            let (archive, places, cancel) = (self.archive, self.places, self.cancel);
            unknown::look_for_unknown(archive, places, cancel, patience, &mut |fault| self.tell(fault))?;
        }
        // Of whatever was found: this is still the storage that it was found in.
        Ok(self.archive.confirm().map(drop)?)
    }

    fn tell(&mut self, fault: ArchiveFault) {
        match fault.fault {
            Fault::Missing => self.report.missing += 1,
            Fault::Changed => self.report.changed += 1,
            Fault::Unreadable => self.report.unreadable += 1,
            Fault::Unknown => self.report.unknown += 1,
        }
        self.report.on_device += u64::from(fault.on_device);
        self.observer.event(&Event::ArchiveFault(fault));
    }

    fn go_on(&self) -> Result<(), ArchiveError> {
        if self.cancel.is_set() { Err(ArchiveError::Stopped) } else { Ok(()) }
    }
}

/// Another one each time. Nothing but which files are drawn depends on it, and the clock will do where there is no randomness.
fn seed() -> u64 {
    let mut bytes = [0; 8];
    match rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty()) {
        Ok(8) => u64::from_le_bytes(bytes),
        _ => now_ns().cast_unsigned(),
    }
}
