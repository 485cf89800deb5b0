//! The loop that is to be replaced, going round after round for as long as its timer is on.

use std::fs;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::Stdio;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use local_fleet::Fleet;

/// Rounds that have ended, and whether anybody still wants another.
#[derive(Default)]
pub struct Loop {
    rounds: AtomicU64,
    over: AtomicBool,
}

impl Loop {
    pub fn rounds(&self) -> u64 {
        self.rounds.load(Ordering::SeqCst)
    }

    /// Is the loop's timer and service, until [`Loop::end`].
    pub fn serve(&self, fleet: &Fleet, script: &Path) {
        let units = fleet.root().join("units");
        let round = units.join("round");
        while !self.over.load(Ordering::SeqCst) {
            // Before the look at the timer: who stops the service after the timer waits for a round that has begun.
            fs::write(&round, "").unwrap();
            if units.join("copy-to-storage.timer").exists() {
                let mut bash = fleet.at_home("bash").unwrap();
                bash.arg(script).process_group(0).stdin(Stdio::null()).stdout(Stdio::null());
                let mut child = bash.spawn().unwrap();
                fs::write(&round, child.id().to_string()).unwrap();
                child.wait().unwrap();
                self.rounds.fetch_add(1, Ordering::SeqCst);
            }
            fs::remove_file(&round).unwrap();
            thread::sleep(Duration::from_millis(20));
        }
    }

    /// Lets [`Loop::serve`] end with its round.
    pub fn end(&self) -> LetEnd<'_> {
        LetEnd(self)
    }
}

/// Ends the loop when the story is over, or has failed.
pub struct LetEnd<'a>(&'a Loop);

impl Drop for LetEnd<'_> {
    fn drop(&mut self) {
        self.0.over.store(true, Ordering::SeqCst);
    }
}
