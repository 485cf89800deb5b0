//! How a test gets hold of a certain moment of a run, without a word from the programs and without luck.
//!
//! - *While a file is read*: the kernel tells how far the agent has read ([`position`]), and a frozen Pi stays there.
//! - *Between stored and catalogued*: whoever holds the catalog's write lock ([`HeldCatalog`]) holds the run right there.
//!   With the Pi frozen as well, letting go leads to the moment between receipt and removal.

use std::fs;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use local_fleet::Machine;
use rusqlite::Connection;

/// The longest that anything may take. It decides no outcome: it only ends a test that hangs.
const PATIENCE: Duration = Duration::from_secs(120);

/// Looks until there is something to be seen, and returns it.
///
/// # Panics
/// Where it takes too long.
#[track_caller]
pub fn until<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let since = Instant::now();
    loop {
        if let Some(seen) = look() {
            return seen;
        }
        assert!(since.elapsed() < PATIENCE, "it never came to this: {what}");
        thread::sleep(Duration::from_millis(2));
    }
}

/// How far the agents of a Pi have read a file; none where it is open in none of them.
pub fn position(pi: &Machine, file: &Path) -> Option<u64> {
    pi.pids_of("pipeline-agent").into_iter().find_map(|pid| position_in(pid, file))
}

/// How far this process has read a file; none where it is not open there.
pub fn position_in(pid: u32, file: &Path) -> Option<u64> {
    let descriptors = fs::read_dir(format!("/proc/{pid}/fd")).ok()?;
    let open = descriptors.flatten().find(|entry| fs::read_link(entry.path()).is_ok_and(|target| target == file))?;
    let info = fs::read_to_string(Path::new(&format!("/proc/{pid}/fdinfo")).join(open.file_name())).ok()?;
    info.lines().find_map(|line| line.strip_prefix("pos:")).and_then(|pos| pos.trim().parse().ok())
}

/// Freezes a Pi in the middle of reading a file.
///
/// # Panics
/// Where the file is read to its end before: it is too small, or the link too fast.
#[track_caller]
pub fn freeze_while_reading(pi: &Machine, file: &Path) {
    until("the agent reads the file", || position(pi, file).filter(|&bytes| bytes > 0));
    pi.stop();
    let bytes = fs::metadata(file).unwrap_or_else(|error| panic!("{}: {error}", file.display())).len();
    let position = position(pi, file);
    assert!(position.is_some_and(|at| 0 < at && at < bytes), "frozen at {position:?} of {bytes}");
}

/// The catalog's write lock. Dropping it lets go.
pub struct HeldCatalog(Connection);

impl HeldCatalog {
    /// Takes it while no file is catalogued.
    ///
    /// # Panics
    /// Where one is, or the lock is not to be had.
    #[track_caller]
    pub fn hold(state_dir: &Path) -> HeldCatalog {
        let held = Connection::open(state_dir.join("catalog.db")).and_then(|catalog| {
            catalog.busy_timeout(PATIENCE)?;
            catalog.execute_batch("BEGIN IMMEDIATE")?;
            Ok(HeldCatalog(catalog))
        });
        let held = held.unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(held.files(), 0, "too late: files are catalogued already");
        held
    }

    #[track_caller]
    fn files(&self) -> i64 {
        let count = self.0.query_row("SELECT count(*) FROM file", [], |row| row.get(0));
        count.unwrap_or_else(|error| panic!("{error}"))
    }
}
