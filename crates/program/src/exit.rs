//! Exit codes: one enum, stable, and what leads to each. `docs/scripting.md` has the same table in words.

use std::process::ExitCode;

use pipeline_core::error::Class;
use pipeline_core::event::{DeviceReport, Outcome, RunReport, StopReason};

/// How the program ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum Exit {
    /// Everything that was to be done was done. Devices that are offline are reported, and are not failures.
    Done = 0,
    /// A defect of ours, or something nobody thought of.
    Unexpected = 1,
    /// The command line makes no sense. Given by clap.
    Usage = 2,
    /// Some device or some file failed; the rest was done.
    Partial = 3,
    /// No device could be reached.
    Unreachable = 4,
    /// The storage is missing, full, read-only or not ours.
    Storage = 5,
    /// A safety stop: two digests that must agree do not, a peer broke the protocol, or the brake on removals.
    Safety = 6,
    /// Another run holds the lock.
    Locked = 7,
    /// The configuration, a key or a permission must change first (`EX_CONFIG`).
    Config = 78,
    /// Stopped by SIGHUP, cleanly.
    HungUp = 129,
    /// Stopped by SIGINT, cleanly.
    Interrupted = 130,
    /// Stopped by SIGTERM, cleanly.
    Terminated = 143,
}

impl Exit {
    /// Of an error that ended the program before, or instead of, a run.
    pub fn of_class(class: Class) -> Exit {
        match class {
            Class::Transient | Class::Unreachable => Exit::Unreachable,
            Class::HostKey | Class::Config => Exit::Config,
            Class::Storage => Exit::Storage,
            Class::Integrity | Class::Brake => Exit::Safety,
            Class::Locked => Exit::Locked,
            Class::Interrupted => Exit::Interrupted,
            Class::Internal => Exit::Unexpected,
        }
    }

    /// Of a run. What stopped it decides; otherwise the worst that befell a device. `signal` is the one that came, if any.
    pub fn of_run(report: &RunReport, signal: Option<Exit>) -> Exit {
        let outcomes = report.devices.iter().map(|DeviceReport { outcome, counts, .. }| (outcome, counts.failed));
        Exit::of_visits(outcomes, report.stopped_by.as_ref(), signal)
    }

    /// Of visits, each with the number of files that failed in it.
    pub fn of_visits<'a>(
        visits: impl IntoIterator<Item = (&'a Outcome, u64)>,
        stopped_by: Option<&StopReason>,
        signal: Option<Exit>,
    ) -> Exit {
        if let Some(StopReason { class, .. }) = stopped_by {
            return match class {
                Class::Interrupted => signal.unwrap_or(Exit::Interrupted),
                class => Exit::of_class(*class),
            };
        }
        let mut exit = Exit::Done;
        let (mut visited, mut offline) = (0, 0);
        for (outcome, failed_files) in visits {
            visited += 1;
            offline += usize::from(matches!(outcome, Outcome::Offline { .. }));
            exit = exit.worse(Exit::of_visit(outcome, failed_files, signal));
        }
        if visited > 0 && offline == visited { Exit::Unreachable } else { exit }
    }

    fn of_visit(outcome: &Outcome, failed_files: u64, signal: Option<Exit>) -> Exit {
        match outcome {
            Outcome::Done if failed_files > 0 => Exit::Partial,
            Outcome::Done | Outcome::Offline { .. } => Exit::Done,
            Outcome::Stopped => signal.unwrap_or(Exit::Partial),
            Outcome::Failed { class, .. } => match class {
                Class::Integrity | Class::Brake => Exit::Safety,
                Class::Storage => Exit::Storage,
                Class::Internal => Exit::Unexpected,
                Class::Transient | Class::Unreachable | Class::HostKey | Class::Config => Exit::Partial,
                Class::Locked | Class::Interrupted => Exit::Partial,
            },
        }
    }

    /// The one of two that a person must hear of first.
    pub fn worse(self, other: Exit) -> Exit {
        let rank = |exit| match exit {
            Exit::Done => 0,
            Exit::Partial => 1,
            Exit::Unreachable => 2,
            Exit::HungUp | Exit::Interrupted | Exit::Terminated => 3,
            Exit::Usage | Exit::Config | Exit::Locked => 4,
            Exit::Unexpected => 5,
            Exit::Storage => 6,
            Exit::Safety => 7,
        };
        if rank(other) > rank(self) { other } else { self }
    }

    /// The number.
    pub fn code(self) -> u8 {
        self as u8
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> ExitCode {
        ExitCode::from(exit.code())
    }
}

#[cfg(test)]
mod tests {
    use pipeline_core::event::Counts;
    use pipeline_core::path::DeviceName;

    use super::*;

    const CLASSES: [Class; 10] = [
        Class::Transient,
        Class::Unreachable,
        Class::HostKey,
        Class::Config,
        Class::Storage,
        Class::Integrity,
        Class::Brake,
        Class::Locked,
        Class::Interrupted,
        Class::Internal,
    ];

    fn offline() -> Outcome {
        Outcome::Offline { reason: "no tunnel".into(), hint: None }
    }

    fn failed(class: Class) -> Outcome {
        Outcome::Failed { class, reason: "broke".into(), hint: None }
    }

    fn run(outcomes: &[Outcome], stopped_by: Option<Class>, signal: Option<Exit>) -> u8 {
        let device = |outcome: &Outcome| DeviceReport {
            device: DeviceName::new("pi").unwrap(),
            outcome: outcome.clone(),
            counts: Counts::default(),
            elapsed_ms: 0,
        };
        let report = RunReport {
            run: 1,
            devices: outcomes.iter().map(device).collect(),
            counts: Counts::default(),
            hold: None,
            stopped_by: stopped_by.map(|class| StopReason { class, reason: "x".into(), hint: None }),
            elapsed_ms: 0,
        };
        Exit::of_run(&report, signal).code()
    }

    #[test]
    fn a_class_that_ends_everything() {
        assert_eq!(CLASSES.map(|class| Exit::of_class(class).code()), [4, 4, 78, 78, 5, 6, 6, 7, 130, 1]);
    }

    #[test]
    fn a_class_that_ends_one_device() {
        let alone = CLASSES.map(|class| run(&[failed(class), Outcome::Done], None, None));
        assert_eq!(alone, [3, 3, 3, 3, 5, 6, 6, 3, 3, 1]);
    }

    #[test]
    fn a_class_that_stops_a_run() {
        let stopped = CLASSES.map(|class| run(&[Outcome::Done, Outcome::Stopped], Some(class), None));
        assert_eq!(stopped, [4, 4, 78, 78, 5, 6, 6, 7, 130, 1]);
    }

    #[test]
    fn devices_together() {
        let done = || Outcome::Done;
        let table: [(&[Outcome], u8); 8] = [
            (&[], 0),
            (&[done(), done()], 0),
            (&[done(), offline()], 0),
            (&[offline(), offline()], 4),
            (&[offline(), failed(Class::HostKey)], 3),
            (&[failed(Class::Transient), failed(Class::Integrity), failed(Class::Storage)], 6),
            (&[failed(Class::Storage), failed(Class::Internal)], 5),
            (&[failed(Class::Transient), done()], 3),
        ];
        for (outcomes, code) in table {
            assert_eq!(run(outcomes, None, None), code, "{outcomes:?}");
        }
    }

    #[test]
    fn a_failed_file_makes_a_visit_partial() {
        assert_eq!(Exit::of_visits([(&Outcome::Done, 1)], None, None), Exit::Partial);
    }

    #[test]
    fn a_signal_counts_only_where_it_stopped_the_run() {
        let signal = Some(Exit::Terminated);
        assert_eq!(run(&[Outcome::Stopped], Some(Class::Interrupted), signal), 143);
        assert_eq!(run(&[Outcome::Stopped], Some(Class::Interrupted), Some(Exit::HungUp)), 129);
        assert_eq!(run(&[Outcome::Stopped], None, signal), 143);
        assert_eq!(run(&[Outcome::Done], None, signal), 0);
        assert_eq!(run(&[Outcome::Stopped], Some(Class::Storage), signal), 5);
    }

    #[test]
    fn every_code_is_documented() {
        let page = include_str!("../../../docs/scripting.md");
        let rows: Vec<u8> = page.lines().filter_map(|row| row.split('|').nth(1)?.trim().parse().ok()).collect();
        let exits = [
            Exit::Done,
            Exit::Unexpected,
            Exit::Usage,
            Exit::Partial,
            Exit::Unreachable,
            Exit::Storage,
            Exit::Safety,
            Exit::Locked,
            Exit::Config,
            Exit::HungUp,
            Exit::Interrupted,
            Exit::Terminated,
        ];
        assert_eq!(rows, exits.map(Exit::code));
    }

    #[test]
    fn every_class_is_documented() {
        let page = include_str!("../../../docs/scripting.md");
        for class in CLASSES {
            let name = serde_json::to_value(class).unwrap();
            assert!(page.contains(&format!("`{}`", name.as_str().unwrap())), "{name}");
        }
    }
}
