//! A SQLite database in WAL mode that a program writes to between the runs.

use std::fs;
use std::path::Path;

use e2e::scene::Scene;
use e2e::truth::assert_all_true;
use local_fleet::{Fleet, snapshot};
use rusqlite::Connection;

use crate::count;

const RUNS: i64 = 4;

fn open(path: &Path) -> Connection {
    let database = Connection::open(path).unwrap();
    database.pragma_update(None, "journal_mode", "WAL").unwrap();
    database.execute_batch("CREATE TABLE IF NOT EXISTS reading (id INTEGER PRIMARY KEY, weight REAL)").unwrap();
    database
}

/// How many readings a database holds that is whole.
fn readings(path: &Path) -> i64 {
    let copy = tempfile::tempdir().unwrap();
    fs::copy(path, copy.path().join("hive.db")).unwrap();
    let database = Connection::open(copy.path().join("hive.db")).unwrap();
    let check: String = database.query_row("PRAGMA integrity_check", [], |row| row.get(0)).unwrap();
    assert_eq!(check, "ok");
    database.query_row("SELECT count(*) FROM reading", [], |row| row.get(0)).unwrap()
}

#[test]
fn a_database_in_wal_mode_arrives_with_all_its_versions_or_replaced_where_that_is_asked_for() {
    let scene = Scene::new(Fleet::builder().pis(2).pipeline_config("settle: 0s\ndelete: { after: 0s }\n"));
    // Of raspberry2 only the newest is kept.
    scene.reconfigure("raspberry2: {", "raspberry2: { versions: { replace: [\"hive.db*\"] },");
    let sources = [1, 2].map(|pi| scene.fleet.pi(pi).source());
    let add = |database: &Connection, readings: i64| {
        for number in 0..readings {
            database.execute("INSERT INTO reading (weight) VALUES (?1)", [number]).unwrap();
        }
    };
    for run in 0..RUNS {
        // While a run looks, the program has its database open, and nothing may leave; then it closes it, as at night.
        let databases = sources.each_ref().map(|source| open(&source.join("hive.db")));
        databases.iter().for_each(|database| add(database, 100));
        let sync = scene.sync().expect(0);
        assert_eq!((count(&sync, "removed"), count(&sync, "failed")), (0, 0), "{sync}");
        for (database, source) in databases.into_iter().zip(&sources) {
            add(&database, 50);
            database.close().unwrap();
            // The day's database is put aside before it can leave, since the program needs it tomorrow.
            fs::copy(source.join("hive.db"), source.parent().unwrap().join("tomorrow")).unwrap();
        }
        let sync = scene.sync().expect(0);
        assert_eq!((count(&sync, "removed"), scene.offered().len()), (2, 0), "{sync}");
        assert_all_true(&scene.fleet);
        for (number, source) in (1..).zip(&sources) {
            let archived = scene.fleet.storage().join(format!("raspberry{number}/hive.db"));
            assert_eq!(readings(&archived), 150 * (run + 1));
            fs::rename(source.parent().unwrap().join("tomorrow"), source.join("hive.db")).unwrap();
        }
    }
    // Every content of the first is there; of the second, the newest alone.
    let versions = snapshot(&scene.fleet.storage().join(".pipeline/versions")).unwrap();
    let databases = versions.keys().filter(|path| path.starts_with(b"raspberry1/hive.db~")).count();
    assert!(databases >= usize::try_from(RUNS).unwrap() - 1, "{:?}", versions.keys());
    assert!(!versions.keys().any(|path| path.starts_with(b"raspberry2/")), "{:?}", versions.keys());
    let rows = assert_all_true(&scene.fleet);
    let kept = |device: &str, kept: &str| rows.iter().any(|row| row.device == device && row.kept == kept);
    assert!(kept("raspberry2", "dropped") && !kept("raspberry1", "dropped"));
}
