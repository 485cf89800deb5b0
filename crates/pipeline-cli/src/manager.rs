//! systemd, when it started us: what a run is at (`systemctl status`), and that it is getting on.
//!
//! Guarantees that each sign of life stands for something that happened: no timer of ours says that all is well while the run
//! hangs in a storage that does not answer. Without systemd nothing is told, and what can't be told is no failure. Leaves to the
//! unit how long a run may take until its first sign (`TimeoutStartSec=`), and who may give one (`NotifyAccess=`).

use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use pipeline_core::event::{Event, Observer};
use program::environment::Environment;
use program::words::{bytes, count};
use sd_notify::NotifyState;

use crate::ui::wording::{run_line, verify_lines};

/// So long may pass until the next sign of life. A visit ends after half an hour whatever it is doing, and its end is one.
const PATIENCE: Duration = Duration::from_secs(3600);

/// What happens thousands of times in a second is told once.
const OFTEN: Duration = Duration::from_secs(1);

/// A listener that lets the service manager know of what `observer` hears.
pub fn beside(environment: &Environment, observer: Arc<dyn Observer>) -> Arc<dyn Observer> {
    if environment.text("NOTIFY_SOCKET").is_none() {
        return observer;
    }
    let tell = |states: &[NotifyState<'_>]| sd_notify::notify(states);
    Arc::new(Managed { observer, tell, often: OFTEN, progress: Mutex::default() })
}

struct Managed<T> {
    observer: Arc<dyn Observer>,
    tell: T,
    often: Duration,
    progress: Mutex<Progress>,
}

impl<T: Fn(&[NotifyState<'_>]) -> io::Result<()> + Send + Sync> Observer for Managed<T> {
    fn event(&self, event: &Event) {
        self.observer.event(event);
        let mut progress = self.progress.lock().unwrap_or_else(PoisonError::into_inner);
        let is_turn = progress.note(event);
        if !is_turn && progress.told.is_some_and(|told| told.elapsed() < self.often) {
            return;
        }
        progress.told = Some(Instant::now());
        let patience = u32::try_from(PATIENCE.as_micros()).unwrap_or(u32::MAX);
        // A manager that went away meanwhile is no reason to stop.
        (self.tell)(&[NotifyState::Status(&progress.status()), NotifyState::ExtendTimeoutUsec(patience)]).ok();
    }
}

/// How far it is.
#[derive(Debug, Default)]
struct Progress {
    devices: usize,
    finished: u64,
    files: u64,
    bytes: u64,
    is_reading: bool,
    ended: Option<String>,
    told: Option<Instant>,
}

impl Progress {
    /// Takes note; tells whether it is worth a word at once.
    fn note(&mut self, event: &Event) -> bool {
        match event {
            Event::RunStarted { devices, .. } => self.devices = *devices,
            Event::DeviceFinished(_) => self.finished += 1,
            Event::RunFinished(report) => self.ended = Some(run_line(report, false)),
            Event::VerifyStarted { .. } => self.is_reading = true,
            Event::ArchiveVerified(report) => self.ended = verify_lines(report).into_iter().next(),
            Event::BatchCommitted { files, bytes, .. } => {
                self.files += files;
                self.bytes += bytes;
                return false;
            }
            Event::ArchiveRead { files, bytes } => {
                self.files += files;
                self.bytes += bytes;
                return false;
            }
            _ => return false,
        }
        true
    }

    fn status(&self) -> String {
        if let Some(ended) = &self.ended {
            return ended.clone();
        }
        let (files, size) = (count(self.files, "file"), bytes(self.bytes));
        if self.is_reading {
            return format!("{files} read, {size}");
        }
        format!("{} of {} visited, {files} received, {size}", self.finished, count(self.devices as u64, "device"))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use pipeline_core::event::{Counts, DeviceReport, Outcome};
    use pipeline_core::path::DeviceName;

    use super::*;

    fn managed(often: Duration) -> (impl Observer, mpsc::Receiver<String>) {
        let (sender, receiver) = mpsc::channel();
        let tell = move |states: &[NotifyState<'_>]| {
            let words: Vec<String> = states.iter().map(ToString::to_string).collect();
            sender.send(words.join("; ")).map_err(io::Error::other)
        };
        (Managed { observer: Arc::new(()), tell, often, progress: Mutex::default() }, receiver)
    }

    #[test]
    fn the_status_says_how_far_a_run_is() {
        let (managed, told) = managed(Duration::MAX);
        let device = || DeviceName::new("pi").unwrap();
        managed.event(&Event::RunStarted { run: 1, devices: 2, dry_run: false });
        managed.event(&Event::BatchCommitted { device: device(), files: 3, bytes: 4096, adopted: 0 });
        let report =
            DeviceReport { device: device(), outcome: Outcome::Done, counts: Counts::default(), elapsed_ms: 1 };
        managed.event(&Event::DeviceFinished(report));
        let told: Vec<String> = told.try_iter().collect();
        assert_eq!(
            told,
            [
                "STATUS=0 of 2 devices visited, 0 files received, 0 B; EXTEND_TIMEOUT_USEC=3600000000",
                "STATUS=1 of 2 devices visited, 3 files received, 4.00 KiB; EXTEND_TIMEOUT_USEC=3600000000",
            ]
        );
    }

    #[test]
    fn what_happens_often_is_told_seldom() {
        let read = || Event::ArchiveRead { files: 1, bytes: 1 };
        for (often, expected) in [(Duration::MAX, 2), (Duration::ZERO, 1002)] {
            let (managed, told) = managed(often);
            managed.event(&Event::VerifyStarted { files: None, bytes: None });
            (0..1000).for_each(|_| managed.event(&read()));
            managed.event(&Event::VerifyStarted { files: None, bytes: None });
            assert_eq!(told.try_iter().count(), expected);
        }
    }

    #[test]
    fn a_manager_that_went_away_is_no_failure() {
        let (managed, told) = managed(OFTEN);
        drop(told);
        managed.event(&Event::RunStarted { run: 1, devices: 1, dry_run: false });
    }
}
