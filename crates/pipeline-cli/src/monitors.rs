//! Those who watch from afar: a Prometheus textfile (`metrics`), a dead-man's switch (`ping`), and a command of the user's
//! (`notify`).
//!
//! Guarantees that they hear of every run that began or should have begun, with the exit code that the caller sees; that
//! whatever goes wrong with them is a warning; and that they cost a run no time but at its end, where it is bounded. A program
//! that is killed tells nobody: the dead-man's switch is there for that.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::thread::JoinHandle;
use std::time::Instant;

use jiff::Timestamp;
use pipeline_core::clock::now_ns;
use pipeline_core::config::{Config, Notify};
use pipeline_core::error::Class;
use pipeline_core::event::{Event, Observer, Outcome, RunReport, StopReason};
use pipeline_core::fleet::Device;
use pipeline_core::hold;
use pipeline_core::metrics::{self, Ended};
use pipeline_core::notify;
use program::exit::Exit;
use program::failure::Failure;
use program::signals::Received;
use program::words::printable;

use crate::ping::{LIMITS, Ping};
use crate::ui::Ui;
use crate::ui::wording::run_line;

/// The monitors of one run, and what they will be told.
pub struct Monitors {
    metrics: Option<PathBuf>,
    ping: Option<Arc<Ping>>,
    notify: Option<Notify>,
    state_dir: PathBuf,
    began: Instant,
    fleet: OnceLock<Vec<Device>>,
    report: OnceLock<RunReport>,
    signal: OnceLock<Received>,
    /// The call that says that the run has begun.
    starting: Mutex<Option<JoinHandle<Result<(), Failure>>>>,
}

impl Monitors {
    /// Those that the configuration names.
    pub fn new(config: &Config) -> Monitors {
        Monitors {
            metrics: config.metrics.clone(),
            ping: config.ping.as_deref().map(|url| Arc::new(Ping::new(url, LIMITS))),
            notify: config.notify.clone(),
            state_dir: config.state_dir.clone(),
            began: Instant::now(),
            fleet: OnceLock::new(),
            report: OnceLock::new(),
            signal: OnceLock::new(),
            starting: Mutex::default(),
        }
    }

    /// Every device of the configuration, whether this run visits it or not.
    pub fn know_fleet(&self, fleet: Vec<Device>) {
        // A program makes one run.
        self.fleet.set(fleet).ok();
    }

    /// Whether a signal has come: then there is no time for long calls.
    pub fn know_signal(&self, signal: Received) {
        self.signal.set(signal).ok();
    }

    /// A listener that lets the monitors know of what `observer` hears.
    pub fn beside(monitors: &Arc<Monitors>, observer: Arc<dyn Observer>) -> Arc<dyn Observer> {
        Arc::new(Beside { monitors: monitors.clone(), observer })
    }

    /// In a thread of its own: the run does not wait for the switch.
    fn start(&self) {
        let Some(ping) = self.ping.clone() else { return };
        // Without a thread it goes untold; the end will be told.
        let starting = std::thread::Builder::new().name("ping".into()).spawn(move || ping.start()).ok();
        *self.starting.lock().unwrap_or_else(PoisonError::into_inner) = starting;
    }

    /// Tells how the program ends, and why where it ends without a report.
    pub fn tell(&self, exit: Exit, why: Option<&Failure>, ui: &Ui) {
        // Then there was no run: a slip on the command line, or a run by hand while the timer's is under way, which speaks for
        // itself. Should that one hang for ever, silence is what gives the alarm.
        if matches!(exit, Exit::Usage | Exit::Locked) {
            return;
        }
        if let Err(failure) = self.write_metrics(exit) {
            ui.warning(&failure);
        }
        let summary = summary(exit, self.report.get(), why);
        if let Err(failure) = self.call(exit, &summary) {
            ui.warning(&failure);
        }
        // Last, since it may take as long as the user allows it.
        if let Err(failure) = self.notify(exit, &summary, why) {
            ui.warning(&failure);
        }
    }

    fn write_metrics(&self, exit: Exit) -> Result<(), Failure> {
        let Some(file) = &self.metrics else { return Ok(()) };
        let fleet = self.fleet.get().map(Vec::as_slice);
        let (at_ns, took) = (now_ns(), self.began.elapsed());
        let held = hold::read(&self.state_dir).is_held();
        let ended = Ended { exit_code: exit.code(), at_ns, took, held, report: self.report.get() };
        metrics::write(file, &self.state_dir, fleet, &ended).map_err(|error| Failure::of(&error))
    }

    fn call(&self, exit: Exit, summary: &str) -> Result<(), Failure> {
        let Some(ping) = &self.ping else { return Ok(()) };
        // The other way round the switch would take the run for one that does not end.
        let starting = self.starting.lock().unwrap_or_else(PoisonError::into_inner).take();
        let at = Instant::now();
        let started = starting.and_then(|thread| thread.join().ok()).unwrap_or(Ok(()));
        let waited = at.elapsed();
        let ended = if exit == Exit::Done { ping.success(summary, waited) } else { ping.fail(summary, waited) };
        // One warning is enough.
        ended.and(started)
    }

    fn notify(&self, exit: Exit, summary: &str, why: Option<&Failure>) -> Result<(), Failure> {
        let Some(notify) = &self.notify else { return Ok(()) };
        // Somebody stopped it, who knows; and a service that is being stopped has a few seconds.
        let stop = || self.signal.get().is_some_and(|signal| signal.exit().is_some());
        if stop() {
            return Ok(());
        }
        let fleet: Option<Vec<&str>> =
            self.fleet.get().map(|fleet| fleet.iter().map(|device| device.name.as_str()).collect());
        let report = self.report.get();
        let stopped_by = stopped_by(exit, report, why);
        let ended = notify::Ended {
            exit_code: exit.code(),
            at: Timestamp::now(),
            summary,
            stopped_by: stopped_by.as_ref(),
            fleet: fleet.as_deref(),
            report,
        };
        notify::notify(notify, &self.state_dir, &ended, &stop).map_err(|error| Failure::of(&error))
    }
}

/// What is wrong with the run as a whole; none where at most single devices have failed.
fn stopped_by(exit: Exit, report: Option<&RunReport>, why: Option<&Failure>) -> Option<StopReason> {
    if let Some(stop) = report.and_then(|report| report.stopped_by.clone()) {
        return Some(stop);
    }
    let failed = |wanted: Class| {
        let devices = report.iter().flat_map(|report| &report.devices);
        devices.filter(|device| matches!(device.outcome, Outcome::Failed { class, .. } if class == wanted)).count() > 0
    };
    let (class, words) = match exit {
        Exit::Unreachable => (Class::Unreachable, "no device could be reached"),
        Exit::Unexpected if !failed(Class::Internal) => (Class::Internal, "it ended unexpectedly"),
        Exit::Storage if report.is_none() => (Class::Storage, "the storage was refused"),
        Exit::Safety if report.is_none() => (Class::Integrity, "a safety stop"),
        Exit::Config if report.is_none() => (Class::Config, "the configuration, a key or a permission must change"),
        _ => return None,
    };
    let reason = why.map_or(words, |failure| &failure.what).to_owned();
    Some(StopReason { class, reason, hint: why.and_then(|failure| failure.hint.clone()) })
}

/// One line: exit code, and what was done or why not.
fn summary(exit: Exit, report: Option<&RunReport>, why: Option<&Failure>) -> String {
    let stopped_by = report.and_then(|report| report.stopped_by.as_ref()).map(|stop| stop.reason.as_str());
    let parts = [
        report.map(|report| run_line(report, false)),
        stopped_by.or(why.map(|failure| failure.what.as_str())).map(str::to_owned),
    ];
    let what = parts.into_iter().flatten().collect::<Vec<_>>().join("; ");
    let what = if what.is_empty() { "ended unexpectedly" } else { &what };
    printable(&format!("exit {}: {what}", exit.code())).into_owned()
}

struct Beside {
    monitors: Arc<Monitors>,
    observer: Arc<dyn Observer>,
}

impl Observer for Beside {
    fn event(&self, event: &Event) {
        match event {
            Event::RunStarted { .. } => self.monitors.start(),
            Event::RunFinished(report) => {
                // A program makes one run.
                self.monitors.report.set(report.clone()).ok();
            }
            _ => {}
        }
        self.observer.event(event);
    }
}

#[cfg(test)]
mod tests {
    use pipeline_core::error::Class;
    use pipeline_core::event::{Counts, DeviceReport};
    use pipeline_core::path::DeviceName;

    use super::*;

    #[test]
    fn what_concerns_the_whole_run_is_no_device() {
        let report = |class: Option<Class>| RunReport {
            run: 7,
            devices: class
                .map(|class| DeviceReport {
                    device: DeviceName::new("pi1").unwrap(),
                    outcome: Outcome::Failed { class, reason: "broke".into(), hint: None },
                    counts: Counts::default(),
                    elapsed_ms: 1,
                })
                .into_iter()
                .collect(),
            counts: Counts::default(),
            hold: None,
            stopped_by: None,
            elapsed_ms: 1_000,
        };
        let stop = StopReason { class: Class::Brake, reason: "too many".into(), hint: Some("look".into()) };
        let stopped = RunReport { stopped_by: Some(stop.clone()), ..report(None) };
        assert_eq!(stopped_by(Exit::Safety, Some(&stopped), None), Some(stop));
        let why = Failure { exit: Exit::Storage, what: "no marker".into(), hint: Some("mount it".into()) };
        let class = |exit, report: Option<&RunReport>| stopped_by(exit, report, Some(&why)).map(|stop| stop.class);
        let table = [
            (Exit::Done, Some(report(None)), None),
            (Exit::Partial, Some(report(Some(Class::HostKey))), None),
            (Exit::Safety, Some(report(Some(Class::Integrity))), None),
            (Exit::Unexpected, Some(report(Some(Class::Internal))), None),
            (Exit::Unexpected, Some(report(None)), Some(Class::Internal)),
            (Exit::Unreachable, Some(report(None)), Some(Class::Unreachable)),
            (Exit::Storage, None, Some(Class::Storage)),
            (Exit::Config, None, Some(Class::Config)),
            (Exit::Unexpected, None, Some(Class::Internal)),
        ];
        for (exit, report, expected) in table {
            assert_eq!(class(exit, report.as_ref()), expected, "{exit:?}");
        }
        let stop = stopped_by(Exit::Storage, None, Some(&why)).unwrap();
        assert_eq!((stop.reason.as_str(), stop.hint.as_deref()), ("no marker", Some("mount it")));
    }

    #[test]
    fn a_summary_is_one_line() {
        let stop = StopReason { class: Class::Storage, reason: "the storage\nis full".into(), hint: None };
        let no_catalog = Failure { exit: Exit::Config, what: "no catalog in /x".into(), hint: None };
        let report = |stopped_by| RunReport {
            run: 7,
            devices: vec![],
            counts: Counts::default(),
            hold: None,
            stopped_by,
            elapsed_ms: 1_000,
        };
        let table = [
            (
                summary(Exit::Done, Some(&report(None)), None),
                "exit 0: run 7 ended after 1.0 s: 0 of 0 devices done; nothing to do",
            ),
            (
                summary(Exit::Storage, Some(&report(Some(stop))), None),
                "exit 5: run 7 ended after 1.0 s: 0 of 0 devices done; nothing to do; the storage\\nis full",
            ),
            (summary(Exit::Config, None, Some(&no_catalog)), "exit 78: no catalog in /x"),
            (summary(Exit::Unexpected, None, None), "exit 1: ended unexpectedly"),
        ];
        for (summary, expected) in table {
            assert_eq!(summary, expected);
        }
    }
}
