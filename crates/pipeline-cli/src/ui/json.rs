//! The listener for programs: each event as a line of JSON with `schema` and `time`. `docs/scripting.md` lists the fields.
//!
//! Guarantees: one object on one line; `run_finished` or `archive_verified` is the last; the lines of a device in the order of its events; the `bytes_received` of a device are
//! added up and written once in [`PULSE`], and before its next batch and its end, so that their sum is exact at those places.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use jiff::{SignedDuration, Timestamp};
use pipeline_core::event::{Event, Observer, SCHEMA};
use pipeline_core::path::DeviceName;
use program::output::Output;

/// How often a device's progress is worth a line.
const PULSE: SignedDuration = SignedDuration::from_secs(1);

/// Writes JSON lines.
pub struct Json {
    out: Arc<Output>,
    clock: Box<dyn Fn() -> Timestamp + Send + Sync>,
    progress: Mutex<BTreeMap<DeviceName, Progress>>,
    reading: Mutex<Option<Reading>>,
    ended: AtomicBool,
}

struct Progress {
    unwritten_bytes: u64,
    written: Timestamp,
}

/// What was read of the storage and not written yet.
struct Reading {
    files: u64,
    bytes: u64,
    written: Timestamp,
}

#[derive(serde::Serialize)]
struct Record<'a> {
    schema: u32,
    time: String,
    #[serde(flatten)]
    event: &'a Event,
}

impl Json {
    /// To `out`, by the clock of this machine.
    pub fn new(out: Arc<Output>) -> Json {
        Json::with_clock(out, Box::new(Timestamp::now))
    }

    fn with_clock(out: Arc<Output>, clock: Box<dyn Fn() -> Timestamp + Send + Sync>) -> Json {
        Json { out, clock, progress: Mutex::default(), reading: Mutex::default(), ended: AtomicBool::new(false) }
    }

    fn write(&self, event: &Event, now: Timestamp) {
        let record = Record { schema: SCHEMA, time: format!("{now:.3}"), event };
        match serde_json::to_string(&record) {
            Ok(line) => self.out.line(&line),
            // Derived types with string keys: serde_json has no reason to fail.
            Err(error) => unreachable!("an event that is no JSON: {error}"),
        }
    }

    fn add(&self, device: &DeviceName, bytes: u64, now: Timestamp) {
        let mut progress = self.progress.lock().unwrap_or_else(PoisonError::into_inner);
        let first = || Progress { unwritten_bytes: 0, written: now };
        let entry = progress.entry(device.clone()).or_insert_with(first);
        entry.unwritten_bytes += bytes;
        // A clock that was set back must not silence a device.
        let since = now.duration_since(entry.written);
        if since < SignedDuration::ZERO || since >= PULSE {
            self.flush(device, entry, now);
        }
    }

    fn read(&self, files: u64, bytes: u64, now: Timestamp) {
        let mut reading = self.reading.lock().unwrap_or_else(PoisonError::into_inner);
        let sum = reading.get_or_insert(Reading { files: 0, bytes: 0, written: now });
        (sum.files, sum.bytes) = (sum.files + files, sum.bytes + bytes);
        let since = now.duration_since(sum.written);
        if since < SignedDuration::ZERO || since >= PULSE {
            self.write(&Event::ArchiveRead { files: sum.files, bytes: sum.bytes }, now);
            *sum = Reading { files: 0, bytes: 0, written: now };
        }
    }

    fn end_reading(&self, now: Timestamp) {
        let reading = self.reading.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(Reading { files, bytes, .. }) = reading.filter(|sum| sum.files + sum.bytes > 0) {
            self.write(&Event::ArchiveRead { files, bytes }, now);
        }
    }

    fn flush(&self, device: &DeviceName, entry: &mut Progress, now: Timestamp) {
        entry.written = now;
        let bytes = std::mem::take(&mut entry.unwritten_bytes);
        if bytes > 0 {
            self.write(&Event::BytesReceived { device: device.clone(), bytes }, now);
        }
    }
}

impl Observer for Json {
    fn event(&self, event: &Event) {
        let now = (self.clock)();
        match event {
            Event::BytesReceived { device, bytes } => return self.add(device, *bytes, now),
            Event::ArchiveRead { files, bytes } => return self.read(*files, *bytes, now),
            Event::ArchiveVerified(_) => {
                self.end_reading(now);
                self.write(event, now);
                self.ended.store(true, Ordering::SeqCst);
                return;
            }
            Event::BatchCommitted { device, .. } => {
                let mut progress = self.progress.lock().unwrap_or_else(PoisonError::into_inner);
                if let Some(entry) = progress.get_mut(device) {
                    self.flush(device, entry, now);
                }
            }
            Event::DeviceFinished(report) => {
                let entry = self.progress.lock().unwrap_or_else(PoisonError::into_inner).remove(&report.device);
                if let Some(mut entry) = entry {
                    self.flush(&report.device, &mut entry, now);
                }
            }
            Event::RunFinished(_) => {
                self.write(event, now);
                self.ended.store(true, Ordering::SeqCst);
                return;
            }
            _ => {}
        }
        // A signal at the last moment is told by another thread.
        if !self.ended.load(Ordering::SeqCst) {
            self.write(event, now);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicI64;

    use pipeline_core::event::{Counts, DeviceReport, Outcome};
    use pipeline_core::path::RelPath;
    use program::output::Written;
    use serde_json::{Value, json};

    use super::super::samples::every_event;
    use super::*;

    fn pi() -> DeviceName {
        DeviceName::new("pi").unwrap()
    }

    /// What is written for events that happen at these milliseconds.
    fn written(events: &[(i64, Event)]) -> Vec<Value> {
        let written = Written::default();
        let now = Arc::new(AtomicI64::new(0));
        let clock = now.clone();
        let clock = move || Timestamp::from_millisecond(1_795_255_200_000 + clock.load(Ordering::SeqCst)).unwrap();
        let json = Json::with_clock(Arc::new(Output::new(written.clone())), Box::new(clock));
        for (ms, event) in events {
            now.store(*ms, Ordering::SeqCst);
            json.event(event);
        }
        written.text().lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    fn received(bytes: u64) -> Event {
        Event::BytesReceived { device: pi(), bytes }
    }

    #[test]
    fn a_record_is_one_flat_object() {
        let path = RelPath::new(&b"a\n\xff b.jpg"[..]).unwrap();
        let event = Event::FileFailed { device: pi(), path: Some(path), reason: "permission denied".into() };
        let expected = json!({
            "schema": 1,
            "time": "2026-11-21T10:00:00.007Z",
            "event": "file_failed",
            "device": "pi",
            "path": "a\\n\\xff b.jpg",
            "reason": "permission denied",
        });
        assert_eq!(written(&[(7, event)]), [expected]);
    }

    #[test]
    fn progress_is_added_up_and_complete_at_each_batch_and_at_the_end() {
        let batch = || Event::BatchCommitted { device: pi(), files: 1, bytes: 7, adopted: 0 };
        let end = Event::DeviceFinished(DeviceReport {
            device: pi(),
            outcome: Outcome::Done,
            counts: Counts::default(),
            elapsed_ms: 0,
        });
        let events = [
            (0, received(1)),
            (10, received(2)),
            (900, received(4)),
            (901, batch()),
            (1500, received(8)),
            (1902, received(16)),
            (1903, received(32)),
            (1904, end),
        ];
        let lines = written(&events);
        let told: Vec<Value> = lines.iter().map(|line| json!([line["event"], line["bytes"]])).collect();
        let expected = json!([
            ["bytes_received", 7],
            ["batch_committed", 7],
            ["bytes_received", 24],
            ["bytes_received", 32],
            ["device_finished", null],
        ]);
        assert_eq!(Value::from(told), expected);
    }

    #[test]
    fn what_is_read_again_is_added_up_too() {
        let read = |files, bytes| Event::ArchiveRead { files, bytes };
        let end = Event::ArchiveVerified(pipeline_core::event::VerifyReport::default());
        let events = [(0, read(0, 1)), (10, read(1, 2)), (1000, read(1, 4)), (1001, read(0, 8)), (1002, end)];
        let told: Vec<Value> =
            written(&events).iter().map(|line| json!([line["event"], line["files"], line["bytes"]])).collect();
        let expected = json!([["archive_read", 2, 7], ["archive_read", 0, 8], ["archive_verified", 0, 0]]);
        assert_eq!(Value::from(told), expected);
    }

    #[test]
    fn nothing_comes_after_the_end_of_the_run() {
        let end = every_event().pop().unwrap();
        let late = Event::Noted { device: None, message: "stopping".into() };
        let lines = written(&[(0, end), (1, late)]);
        assert_eq!(lines.len(), 1);
        assert_eq!(lines[0]["event"], "run_finished");
    }

    #[test]
    fn a_clock_set_back_silences_nobody() {
        let lines = written(&[(100_000, received(1)), (0, received(2))]);
        assert_eq!(lines.len(), 1);
        assert_eq!(lines[0]["bytes"], 3);
    }

    /// Every name that stands in an object, objects in it included.
    fn names(value: &Value, found: &mut Vec<String>) {
        match value {
            Value::Object(fields) => fields.iter().for_each(|(name, value)| {
                found.push(name.clone());
                names(value, found);
            }),
            Value::Array(values) => values.iter().for_each(|value| names(value, found)),
            _ => {}
        }
    }

    #[test]
    fn every_event_and_every_field_is_documented() {
        let page = include_str!("../../../../docs/scripting.md");
        for event in every_event() {
            let record = Record { schema: SCHEMA, time: String::new(), event: &event };
            let value = serde_json::to_value(record).unwrap();
            let kind = value["event"].as_str().unwrap();
            assert!(page.contains(&format!("\n| `{kind}` |")), "{kind} has no row");
            let mut found = Vec::new();
            names(&value, &mut found);
            let missing: Vec<_> = found.iter().filter(|name| !page.contains(&format!("`{name}`"))).collect();
            assert!(missing.is_empty(), "{kind}: {missing:?}");
        }
    }

    #[test]
    fn every_event_is_as_its_schema_says() {
        let events: Vec<_> = every_event().into_iter().map(|event| (0, event)).collect();
        let ends = |event: &Event| matches!(event, Event::ArchiveVerified(_) | Event::RunFinished(_));
        // What has an end of its own is written by itself.
        for part in events.split_inclusive(|(_, event)| ends(event)) {
            let lines = written(part);
            assert_eq!(lines.len(), part.len(), "{lines:?}");
            lines.iter().for_each(|line| e2e::schema::assert_described("events", line));
        }
    }
}
