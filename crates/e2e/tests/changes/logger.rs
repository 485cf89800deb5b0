//! A program that appends line after line while one run follows the other, and goes on in a new file every so often.

use std::fs::{self, File};
use std::io::Write;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use e2e::scene::Scene;
use e2e::truth::assert_all_true;
use local_fleet::{Fleet, snapshot};

use crate::count;

const PAUSE: Duration = Duration::from_millis(20);
const LINES_PER_FILE: u32 = 30;

/// Writes until it is told to stop, and returns how many lines it has written in how many files.
fn log(source: &std::path::Path, stop: &AtomicBool) -> (u32, u32) {
    let (mut lines, mut files) = (0, 0);
    while !stop.load(Ordering::Relaxed) {
        let path: PathBuf = source.join(format!("log {files:04}.csv"));
        let mut file = File::options().create_new(true).append(true).open(path).unwrap();
        files += 1;
        for _ in 0..LINES_PER_FILE {
            // One call for each line, so that no reader sees half of one.
            file.write_all(format!("{lines},{}.5\n", 20 + lines % 10).as_bytes()).unwrap();
            lines += 1;
            thread::sleep(PAUSE);
        }
    }
    (lines, files)
}

/// Tells the logger to stop, also when an assertion fails: the scope would wait for it for ever.
struct Stopping<'a>(&'a AtomicBool);

impl Drop for Stopping<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

#[test]
fn every_line_of_a_logger_arrives_once_and_in_order() {
    let scene = Scene::new(Fleet::builder().pipeline_config("settle: 0s\ndelete: { after: 0s }\n"));
    let source = scene.fleet.pi(1).source();
    let stop = AtomicBool::new(false);
    let (mut grown, mut removed) = (0, 0);
    let (lines, files) = thread::scope(|scope| {
        let logger = scope.spawn(|| log(&source, &stop));
        let stopping = Stopping(&stop);
        let since = Instant::now();
        for run in 1.. {
            let sync = scene.sync().expect(0);
            assert_eq!((count(&sync, "versions"), count(&sync, "failed")), (0, 0), "{sync}");
            removed += count(&sync, "removed");
            let rows = assert_all_true(&scene.fleet);
            grown = rows.iter().filter(|row| row.kept == "prefix").count();
            // Ten runs, and long enough for some files to have been left behind.
            if run >= 10 && grown >= 3 && removed >= 2 {
                break;
            }
            assert!(since.elapsed() < Duration::from_secs(120), "{grown} times grown, {removed} removed: {sync}");
        }
        drop(stopping);
        logger.join().unwrap()
    });
    let last = scene.sync().expect(0);
    assert_eq!(scene.offered().len(), 0, "{last}");
    assert!(!scene.fleet.storage().join(".pipeline/versions").exists(), "a log that grows has no versions");

    let mut arrived = String::new();
    for path in snapshot(&scene.fleet.storage().join("raspberry1")).unwrap().into_keys() {
        let path = scene.fleet.storage().join("raspberry1").join(str::from_utf8(&path).unwrap());
        arrived += &fs::read_to_string(path).unwrap();
    }
    let expected: String = (0..lines).map(|line| format!("{line},{}.5\n", 20 + line % 10)).collect();
    assert!(arrived == expected, "{} of {lines} lines", arrived.lines().count());
    assert_eq!(scene.archived().len(), usize::try_from(files).unwrap());
    assert_all_true(&scene.fleet);
}
