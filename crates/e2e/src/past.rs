//! A made past: what a fleet leaves in a catalog over a year, written in seconds. For the bench, and for pages to look at.
//!
//! Hour by hour each device records, is away, fails or is emptied, and what a visit notes follows from that. No two devices are
//! alike, and some have the troubles that people have. Writes the tables that a report reads, not the files that were received.

mod device;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{SystemTime, UNIX_EPOCH};

use local_fleet::programs::Programs;
use rusqlite::{Connection, params};

use crate::run;
use device::Device;

const HOUR_NS: i64 = 3_600_000_000_000;
const DAY_NS: i64 = 24 * HOUR_NS;
const GIB: u64 = 1 << 30;
const MIB: u64 = 1 << 20;
const STORAGE_BYTES: u64 = 96 << 40;

/// How much past there is.
#[derive(Clone, Copy, Debug)]
pub struct Past {
    /// Devices, `raspberry1` and so on.
    pub devices: u32,
    /// Days up to now.
    pub days: u32,
    /// Readings of each device and day: at most 24.
    pub readings_per_day: u32,
    /// Runs a day.
    pub runs_per_day: u32,
}

impl Past {
    /// Writes it into an empty catalog, up to the moment `now_ns`.
    ///
    /// # Panics
    /// Where that fails.
    pub fn write(&self, catalog: &Path, now_ns: i64) {
        let written = self.try_write(catalog, now_ns);
        written.unwrap_or_else(|error| panic!("{}: {error}", catalog.display()));
    }

    fn try_write(&self, catalog: &Path, now_ns: i64) -> rusqlite::Result<()> {
        let mut conn = Connection::open(catalog)?;
        conn.execute_batch("PRAGMA synchronous = OFF")?;
        let transaction = conn.transaction()?;
        self.runs(&transaction, now_ns)?;
        let mut stored = vec![0; self.days as usize + 2];
        for number in 1..=self.devices {
            let mut device = Device::new(number, self, now_ns);
            device.write(&transaction, self, now_ns, &mut stored)?;
        }
        self.storage(&transaction, now_ns, &stored)?;
        transaction.commit()
    }

    fn begin_ns(&self, now_ns: i64) -> i64 {
        now_ns - i64::from(self.days) * DAY_NS
    }

    fn runs(&self, conn: &Connection, now_ns: i64) -> rusqlite::Result<()> {
        let sql = "INSERT INTO run (started_ns, finished_ns, program, devices, done, offline, failed, received, received_bytes,
                       adopted, adopted_bytes, removed, removed_bytes, deferred, versions, clashes, failures, held, on_hold,
                       stopped_by, class)
                   VALUES (?1, ?2, '0.1.0', ?3, ?3, 0, 0, 20, 60000000, 0, 0, 20, 60000000, 1, 0, 0, 0, 0, 0, ?4, ?5)";
        let mut statement = conn.prepare(sql)?;
        let all = i64::from(self.days) * i64::from(self.runs_per_day);
        let step = i64::from(self.days) * DAY_NS / all.max(1);
        for number in 0..all {
            let started = self.begin_ns(now_ns) + number * step;
            let killed = number % 90_001 == 300;
            let stopped = number % 7001 == 77;
            let stopped_by = stopped.then_some("the storage is full: 0 B free, and the next batch needs 64.0 MiB");
            let finished = (!killed).then_some(started + 21_000_000_000);
            statement.execute(params![started, finished, self.devices, stopped_by, stopped.then_some("storage")])?;
        }
        Ok(())
    }

    /// `stored` are the bytes that each day brought.
    fn storage(&self, conn: &Connection, now_ns: i64, stored: &[u64]) -> rusqlite::Result<()> {
        let mut statement = conn.prepare("INSERT INTO storage_reading VALUES (?1, ?2, ?3, 0, 0)")?;
        let mut used = STORAGE_BYTES / 5;
        for (day, bytes) in stored.iter().take(self.days as usize).enumerate() {
            for hour in 0..24 {
                let at = self.begin_ns(now_ns) + i64::try_from(day).unwrap_or(0) * DAY_NS + hour * HOUR_NS;
                used += bytes / 24;
                let free = STORAGE_BYTES.saturating_sub(used);
                statement.execute(params![at, STORAGE_BYTES.cast_signed(), free.cast_signed()])?;
            }
        }
        Ok(())
    }
}

/// Makes a home for a collector in `dir`, which is there: configuration, OpenSSH config, an initialised storage, and a catalog with
/// this past. Returns the configuration's path.
///
/// # Panics
/// Where that fails.
pub fn home(dir: &Path, past: &Past) -> PathBuf {
    let write = |name: &str, text: String| {
        let path = dir.join(name);
        std::fs::write(&path, text).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        path
    };
    let entries = (1..=past.devices).map(|number| format!("Host raspberry{number}\n  Port {}\n", 5000 + number));
    let ssh_config = write("ssh_config", entries.collect());
    let config = write(
        "pipeline.yaml",
        format!(
            "hosts: [\"raspberry[1-{}]\"]\nsource: /home/pi/beephotos\nstorage: {dir}/storage\nstate_dir: {dir}/state\nssh_config: {}\n",
            past.devices,
            ssh_config.display(),
            dir = dir.display(),
        ),
    );
    std::fs::create_dir(dir.join("storage")).unwrap_or_else(|error| panic!("{error}"));
    let pipeline =
        Programs::find().and_then(|programs| programs.path("pipeline")).unwrap_or_else(|error| panic!("{error}"));
    run(Command::new(pipeline).arg("--config").arg(&config).arg("init")).expect(0);
    past.write(&dir.join("state/catalog.db"), now_ns());
    config
}

fn now_ns() -> i64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(now.as_nanos()).unwrap_or(i64::MAX)
}
