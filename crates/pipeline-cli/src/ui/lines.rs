//! Which events are worth a line: what terminal and log share. The words are in [`super::wording`].
//!
//! Guarantees: one line for one event; nothing a device says can do more than be read (see [`printable`]); a device with a
//! thousand problems fills no screen, unless `-v` asks for all of them.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use pipeline_core::event::{ArchiveFault, Event};
use pipeline_core::path::DeviceName;
use program::streams::{Level, Verbosity};
use program::words::printable;

use super::wording::{describe, plan_line};

/// Where a line belongs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// What was asked for: standard output.
    Data,
    /// What is told besides: standard error.
    Diagnostic,
}

/// One line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// How much it matters.
    pub level: Level,
    /// Where it belongs.
    pub place: Place,
    /// The words, without a line break.
    pub text: String,
}

/// So many lines of one kind for each device, unless all are asked for.
const ENOUGH: u32 = 10;

/// Turns events into lines.
#[derive(Debug)]
pub struct Lines {
    verbosity: Verbosity,
    dry_run: bool,
    told: Mutex<BTreeMap<(Option<DeviceName>, Level), u32>>,
}

impl Lines {
    /// For as much as was asked for. In a dry run what happens to each file is the plan, and asked for.
    pub fn new(verbosity: Verbosity, dry_run: bool) -> Lines {
        Lines { verbosity, dry_run, told: Mutex::default() }
    }

    /// The line for an event; none where it is not worth one.
    pub fn of(&self, event: &Event) -> Option<Line> {
        let (level, place, text) = match (self.dry_run, plan_line(event)) {
            (true, Some(text)) => (Level::Info, Place::Data, text),
            _ => {
                let (level, text) = describe(event, self.dry_run)?;
                (level, Place::Diagnostic, text)
            }
        };
        if level > self.most() {
            return None;
        }
        let text = match event {
            Event::FileFailed { device, .. }
            | Event::FileKept { device, .. }
            | Event::FileVersioned { device, .. }
            | Event::FileClashed { device, .. }
            | Event::ManifestLineSkipped { device, .. }
            | Event::ListedFileSkipped { device, .. }
                if place == Place::Diagnostic =>
            {
                self.bounded(Some(device), level, text)?
            }
            Event::ArchiveFault(ArchiveFault { device, .. }) => self.bounded(device.as_ref(), level, text)?,
            _ => text,
        };
        Some(Line { level, place, text: printable(&text).into_owned() })
    }

    fn most(&self) -> Level {
        match self.verbosity {
            Verbosity::Quiet => Level::Warning,
            Verbosity::Normal => Level::Info,
            Verbosity::Verbose => Level::Debug,
        }
    }

    fn bounded(&self, device: Option<&DeviceName>, level: Level, text: String) -> Option<String> {
        if self.verbosity == Verbosity::Verbose {
            return Some(text);
        }
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        let times = told.entry((device.cloned(), level)).or_default();
        *times += 1;
        match *times {
            ..=ENOUGH => Some(text),
            n if n == ENOUGH + 1 => {
                let whose = device.map(|device| format!("{device}: ")).unwrap_or_default();
                Some(format!("{whose}more files like these: -v names them all"))
            }
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use pipeline_core::error::Class;
    use pipeline_core::event::{Counts, DeviceReport, Fault, Outcome, PlannedAction};
    use pipeline_core::path::RelPath;

    use super::*;

    fn pi() -> DeviceName {
        DeviceName::new("pi").unwrap()
    }

    fn path() -> RelPath {
        RelPath::new(&b"2026-11-21/a\xff\x1b.jpg"[..]).unwrap()
    }

    fn finished(outcome: Outcome, counts: Counts) -> Event {
        Event::DeviceFinished(DeviceReport { device: pi(), outcome, counts, elapsed_ms: 12_000 })
    }

    #[test]
    fn quiet_hears_of_problems_only() {
        let quiet = Lines::new(Verbosity::Quiet, false);
        let failed = Outcome::Failed { class: Class::Config, reason: "x".into(), hint: None };
        let offline = Outcome::Offline { reason: "x".into(), hint: None };
        assert!(quiet.of(&finished(failed, Counts::default())).is_some());
        assert!(quiet.of(&finished(offline, Counts::default())).is_none());
        assert!(quiet.of(&finished(Outcome::Done, Counts::default())).is_none());
        assert!(quiet.of(&Event::BatchCommitted { device: pi(), files: 1, bytes: 1, adopted: 0 }).is_none());
    }

    #[test]
    fn each_file_is_for_the_verbose() {
        let event = Event::FileStarted { device: pi(), path: path(), bytes: 1 };
        assert!(Lines::new(Verbosity::Normal, false).of(&event).is_none());
        assert!(Lines::new(Verbosity::Verbose, false).of(&event).is_some());
    }

    #[test]
    fn a_thousand_problems_fill_no_screen() {
        let event = Event::FileFailed { device: pi(), path: Some(path()), reason: "x".into() };
        let told = |verbosity| {
            let lines = Lines::new(verbosity, false);
            (0..1000).filter_map(|_| lines.of(&event)).map(|line| line.text).collect::<Vec<_>>()
        };
        let normal = told(Verbosity::Normal);
        assert_eq!(normal.len(), 11);
        assert_eq!(normal[10], "pi: more files like these: -v names them all");
        assert_eq!(told(Verbosity::Verbose).len(), 1000);

        let unknown = || ArchiveFault {
            fault: Fault::Unknown,
            path: path(),
            reason: "x".into(),
            device: None,
            source_path: None,
            on_device: false,
        };
        let lines = Lines::new(Verbosity::Normal, false);
        let told: Vec<_> = (0..1000).filter_map(|_| lines.of(&Event::ArchiveFault(unknown()))).collect();
        assert_eq!((told.len(), &*told[10].text), (11, "more files like these: -v names them all"));
    }

    #[test]
    fn nothing_a_device_says_moves_the_cursor() {
        let event = Event::FileFailed { device: pi(), path: None, reason: "\u{1b}[2Jboo".into() };
        let line = Lines::new(Verbosity::Normal, false).of(&event).unwrap();
        assert_eq!(line.text, "pi: failed the source directory: \\x1b[2Jboo");
    }

    #[test]
    fn only_a_plan_is_data() {
        let lines = Lines::new(Verbosity::Normal, true);
        let action = PlannedAction::Remove;
        let planned = Event::FilePlanned { device: pi(), path: path(), bytes: 1, action, reason: None };
        assert_eq!(lines.of(&planned).unwrap().place, Place::Data);
        let received = Event::BatchCommitted { device: pi(), files: 1, bytes: 1, adopted: 0 };
        assert_eq!(lines.of(&received).unwrap().place, Place::Diagnostic);
        let deferred = Event::FileDeferred { device: pi(), path: path(), reason: "x".into() };
        assert_eq!(lines.of(&deferred).unwrap().place, Place::Data);
        assert!(Lines::new(Verbosity::Normal, false).of(&deferred).is_none(), "in a run that is for the verbose");
    }
}
