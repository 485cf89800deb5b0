//! What a visit and a run did: the sums, how each ended, and the words for them.

use serde::Serialize;

use crate::error::{Class, Classified, one_line};
use crate::hold::Hold;
use crate::path::DeviceName;

/// What a visit did, or in a dry run would do. Counts are files unless the name says bytes.
#[derive(Clone, Debug, Serialize)]
pub struct DeviceReport {
    /// Which device.
    pub device: DeviceName,
    /// How the visit ended.
    #[serde(flatten)]
    pub outcome: Outcome,
    /// What was done.
    #[serde(flatten)]
    pub counts: Counts,
    /// How long it took.
    pub elapsed_ms: u64,
}

impl DeviceReport {
    /// Whether the visit came to its end, and what failed, if anything did, are single files. Of one that met such files and then broke
    /// off it is said too: nobody counts that.
    pub fn is_whole(&self) -> bool {
        match self.outcome {
            Outcome::Done => true,
            Outcome::Failed { .. } => self.counts.failed > 0,
            Outcome::Offline { .. } | Outcome::Stopped => false,
        }
    }

    /// Adds a visit that was made again because the first broke off: what was done sums up, how it is now is as the second
    /// visit found it.
    pub fn add_retry(&mut self, second: DeviceReport) {
        let first = std::mem::replace(&mut self.counts, second.counts);
        self.counts.received += first.received;
        self.counts.received_bytes += first.received_bytes;
        self.counts.transferred_bytes += first.transferred_bytes;
        self.counts.adopted += first.adopted;
        self.counts.adopted_bytes += first.adopted_bytes;
        self.counts.removed += first.removed;
        self.counts.removed_bytes += first.removed_bytes;
        self.counts.versions += first.versions;
        self.counts.clashes += first.clashes;
        self.counts.pruned += first.pruned;
        self.outcome = second.outcome;
        self.elapsed_ms += second.elapsed_ms;
    }

    /// Adds a visit that only removed: all else stays as the first visit told it, unless the second went wrong.
    pub fn add_removals(&mut self, second: DeviceReport) {
        self.counts.removed += second.counts.removed;
        self.counts.removed_bytes += second.counts.removed_bytes;
        self.counts.pruned += second.counts.pruned;
        self.counts.deferred += second.counts.deferred;
        self.counts.failed += second.counts.failed;
        self.counts.waiting = second.counts.waiting;
        self.counts.held += second.counts.held;
        if self.outcome == Outcome::Done {
            self.outcome = second.outcome;
        }
        self.elapsed_ms += second.elapsed_ms;
    }
}

/// "1 file", "7 files".
pub fn files(number: u64) -> String {
    if number == 1 { "1 file".into() } else { format!("{number} files") }
}

/// "617 bytes", "15.0 TiB": three digits say enough of what is told to a person.
pub fn size(bytes: u64) -> String {
    const UNITS: [&str; 6] = ["KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
    if bytes < 1024 {
        return format!("{bytes} bytes");
    }
    let unit = usize::try_from(bytes.ilog2() / 10).unwrap_or(0).min(UNITS.len());
    #[allow(clippy::cast_precision_loss)] // three digits
    let value = bytes as f64 / (1_u64 << (10 * unit)) as f64;
    let digits = if value < 9.995 { 2 } else { usize::from(value < 99.95) };
    format!("{value:.digits$} {}", UNITS[unit - 1])
}

/// Sums of a visit or a run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Counts {
    /// Received: verified, durable, catalogued.
    pub received: u64,
    /// Their bytes.
    pub received_bytes: u64,
    /// Bytes that came from the device for contents, before compression: less where a file goes on from what is here already,
    /// more where a transfer broke off.
    pub transferred_bytes: u64,
    /// Found in the storage, verified and catalogued without a transfer.
    pub adopted: u64,
    /// Their bytes.
    pub adopted_bytes: u64,
    /// Removed from the device.
    pub removed: u64,
    /// Their bytes.
    pub removed_bytes: u64,
    /// Left for a later run.
    pub deferred: u64,
    /// Received and waiting for `delete.after`.
    pub waiting: u64,
    /// Received and due for removal, and left because of a hold.
    pub held: u64,
    /// Kept on purpose: there is no place for them in the storage.
    pub kept: u64,
    /// Earlier contents that got a second name in the storage, because the file has another content now.
    pub versions: u64,
    /// Stored under a name of their own, because another device or another file has their place.
    pub clashes: u64,
    /// Could not be handled.
    pub failed: u64,
    /// Links and special files that were left alone.
    pub skipped: u64,
    /// Empty directories removed.
    pub pruned: u64,
}

impl std::ops::AddAssign for Counts {
    fn add_assign(&mut self, other: Counts) {
        self.received += other.received;
        self.received_bytes += other.received_bytes;
        self.transferred_bytes += other.transferred_bytes;
        self.adopted += other.adopted;
        self.adopted_bytes += other.adopted_bytes;
        self.removed += other.removed;
        self.removed_bytes += other.removed_bytes;
        self.deferred += other.deferred;
        self.waiting += other.waiting;
        self.held += other.held;
        self.kept += other.kept;
        self.versions += other.versions;
        self.clashes += other.clashes;
        self.failed += other.failed;
        self.skipped += other.skipped;
        self.pruned += other.pruned;
    }
}

/// What a catalog was made anew from, and what it holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct RebuildReport {
    /// Manifests read.
    pub manifests: u64,
    /// Their lines.
    pub lines: u64,
    /// Files that are catalogued now, each once however many lines name it.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Lines that say nothing, and listed files that are not in the storage.
    pub problems: u64,
}

/// How a visit ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "outcome", rename_all = "snake_case")]
pub enum Outcome {
    /// Everything that was to be done was done.
    Done,
    /// The device is not there: reported, not a failure.
    Offline {
        /// Why, in words.
        reason: String,
        /// What to do.
        hint: Option<String>,
    },
    /// The visit broke off, or some files failed.
    Failed {
        /// What kind of failure.
        class: Class,
        /// Why, in words.
        reason: String,
        /// What to do.
        hint: Option<String>,
    },
    /// The run was stopped before this device was done.
    Stopped,
}

impl Outcome {
    /// Whether digests disagreed or a limit against mistakes was met: nothing more is removed in this run.
    pub fn is_unsafe(&self) -> bool {
        matches!(self, Outcome::Failed { class: Class::Integrity | Class::Brake, .. })
    }

    /// How a visit ends that `error` broke off: only its class decides.
    pub fn broken_off(error: &(dyn Classified + 'static)) -> Outcome {
        let reason = one_line(error);
        let hint = error.hint();
        match error.class() {
            Class::Unreachable => Outcome::Offline { reason, hint },
            Class::Interrupted => Outcome::Stopped,
            class => Outcome::Failed { class, reason, hint },
        }
    }
}

/// What a run did.
#[derive(Clone, Debug, Default, Serialize)]
pub struct RunReport {
    /// The catalog's number of this run; 0 for a dry run.
    pub run: i64,
    /// Every device, in the order of the configuration.
    pub devices: Vec<DeviceReport>,
    /// Sums over the devices.
    #[serde(flatten)]
    pub counts: Counts,
    /// The hold that kept it from removing anything, from the beginning or from some moment on.
    pub hold: Option<Hold>,
    /// What ended the run before its time.
    pub stopped_by: Option<StopReason>,
    /// How long it took.
    pub elapsed_ms: u64,
}

/// What ended a run before its time.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct StopReason {
    /// What kind.
    pub class: Class,
    /// Why, in words.
    pub reason: String,
    /// What to do.
    pub hint: Option<String>,
}

impl StopReason {
    /// What an error says.
    pub fn of(error: &(dyn Classified + 'static)) -> StopReason {
        StopReason { class: error.class(), reason: one_line(error), hint: error.hint() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::Event;

    #[derive(Debug, thiserror::Error)]
    #[error("connecting to port 5031")]
    struct Failure {
        class: Class,
        source: std::io::Error,
    }

    impl Classified for Failure {
        fn class(&self) -> Class {
            self.class
        }

        fn hint(&self) -> Option<String> {
            Some("look at the tunnel".into())
        }
    }

    #[test]
    fn the_class_decides_how_a_visit_ends() {
        let outcome =
            |class| Outcome::broken_off(&Failure { class, source: std::io::ErrorKind::ConnectionRefused.into() });
        let reason = "connecting to port 5031: connection refused".to_owned();
        let hint = Some("look at the tunnel".to_owned());
        assert_eq!(outcome(Class::Unreachable), Outcome::Offline { reason: reason.clone(), hint: hint.clone() });
        assert_eq!(outcome(Class::Interrupted), Outcome::Stopped);
        assert_eq!(outcome(Class::HostKey), Outcome::Failed { class: Class::HostKey, reason, hint });
    }

    #[test]
    fn sizes_have_three_digits_and_a_unit() {
        let sizes = [0, 1023, 1024, 10_234, 102_300, 16_492_674_416_640, u64::MAX];
        let words = ["0 bytes", "1023 bytes", "1.00 KiB", "9.99 KiB", "99.9 KiB", "15.0 TiB", "16.0 EiB"];
        assert_eq!(sizes.map(size), words);
    }

    #[test]
    fn a_device_report_is_one_flat_object() {
        let report = DeviceReport {
            device: DeviceName::new("raspberry31").unwrap(),
            outcome: Outcome::Offline { reason: "no tunnel".into(), hint: None },
            counts: Counts::default(),
            elapsed_ms: 7,
        };
        let json = serde_json::to_value(Event::DeviceFinished(report)).unwrap();
        assert_eq!(json["event"], "device_finished");
        assert_eq!(json["outcome"], "offline");
        assert_eq!(json["reason"], "no tunnel");
        assert_eq!(json["received"], 0);
    }
}
