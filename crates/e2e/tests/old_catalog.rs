//! A catalog of the first layout beside a fleet that goes on: the upgraded program is killed while it brings the catalog forward, or has
//! no room for it. Whatever happens, the rows that license removals stay what they were, and the run that gets through receives
//! nothing twice and removes nothing but what was licensed, then or by itself.

#![allow(clippy::unwrap_used)]

use std::fs::{self, File};
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::time::{Duration, UNIX_EPOCH};

use e2e::mounts::{Disk, among_own_mounts};
use e2e::report;
use e2e::scene::{Scene, Tree, noise};
use e2e::strace::{killing_args, under_strace};
use e2e::truth::{assert_all_true, with_catalog};
use local_fleet::Fleet;
use rusqlite::Connection;

const FIRST_LAYOUT: &str = include_str!("../../pipeline-core/src/catalog/schema/1.sql");

/// The columns of the first layout, by table.
const COLUMNS: [(&str, &str); 6] = [
    ("meta", "key, value"),
    ("run", "id, started_ns, finished_ns, program"),
    ("source", "id, device, path, visited_ns, succeeded_ns, clock_offset_ns, total_bytes, free_bytes, unreachable"),
    (
        "file",
        "id, source, path, size, mtime_ns, ctime_ns, dev, ino, clock_offset_ns, sha256, archive_path, kept, received_ns, \
         removed_ns, run",
    ),
    ("sighting", "source, path, size, mtime_ns, ctime_ns, dev, ino, first_ns"),
    ("verify_round", "id, begun_ns, up_to, runs, parts, finished_ns"),
];

/// Some years of files whose content was replaced since: they say nothing of what is there, and make the work long enough to be
/// interrupted.
const PAST: &str = "WITH RECURSIVE n (i) AS (VALUES (1) UNION ALL SELECT i + 1 FROM n WHERE i < 20000)
    INSERT INTO file SELECT 1000000 + i, 1, CAST('past/' || i AS BLOB), 1, i, i, 1, i, 0, zeroblob(32),
        CAST('raspberry1/past/' || i AS BLOB), 'dropped', 1600000000000000000 + i * 3600000000000, 1700000000000000000, 1 FROM n";

/// Replaces the catalog by what the program would have that knows no other layout.
fn grow_old(state_dir: &Path) {
    let (catalog, old) = (state_dir.join("catalog.db"), state_dir.join("old.db"));
    let conn = Connection::open(&old).unwrap();
    conn.execute_batch(FIRST_LAYOUT).unwrap();
    conn.execute("ATTACH ?1 AS new", [catalog.to_str().unwrap()]).unwrap();
    for (table, columns) in COLUMNS {
        conn.execute_batch(&format!("INSERT INTO main.{table} ({columns}) SELECT {columns} FROM new.{table}")).unwrap();
    }
    conn.execute_batch(PAST).unwrap();
    let round = "INSERT INTO verify_round VALUES (1, 1795334700000000000, CAST('raspberry1/gone' AS BLOB), 2, 7, NULL)";
    conn.execute_batch(&format!("{round}; PRAGMA user_version = 1; DETACH new; PRAGMA journal_mode = WAL")).unwrap();
    conn.close().unwrap();
    for name in ["catalog.db-wal", "catalog.db-shm"] {
        fs::remove_file(state_dir.join(name)).ok();
    }
    fs::rename(old, catalog).unwrap();
}

/// Which layout it has, and every value of the first layout's tables.
fn contents(fleet: &Fleet) -> (i64, Vec<String>) {
    with_catalog(fleet, |conn| {
        let mut rows = Vec::new();
        for (table, columns) in COLUMNS {
            let quoted: Vec<_> = columns.split(", ").map(|column| format!("quote({column})")).collect();
            let sql = format!("SELECT concat_ws('|', '{table}', {}) FROM {table} ORDER BY 1", quoted.join(", "));
            let mut statement = conn.prepare(&sql)?;
            let texts = statement.query_map([], |row| row.get(0))?;
            rows.extend(texts.collect::<Result<Vec<String>, _>>()?);
        }
        Ok((conn.query_row("PRAGMA user_version", [], |row| row.get(0))?, rows))
    })
}

/// A fleet in the middle of its work, and its old catalog.
struct Story {
    scene: Scene,
    /// Everything as it must lie in the storage at the end.
    wanted: Tree,
    /// What the old catalog said.
    rows: Vec<String>,
}

/// How long a file of each kind is.
const BYTES: usize = 300_000;

impl Story {
    /// `init` is still to be done.
    fn begin(scene: Scene) -> Story {
        scene.pipeline(&["init"]).expect(0);
        let photos = |scene: &Scene, name: &str| {
            for (pi, i) in [1, 2].into_iter().flat_map(|pi| (0..3).map(move |i| (pi, i))) {
                let modified = UNIX_EPOCH + Duration::from_secs(1_700_000_000);
                scene.fleet.write(pi, format!("{name}/{i}.jpg").as_bytes(), &noise(BYTES, i), modified).unwrap();
            }
        };
        photos(&scene, "gone");
        let mut wanted = scene.offered();
        scene.sync().expect(0);
        photos(&scene, "licensed");
        scene.pipeline(&["sync", "--no-delete"]).expect(0);
        grow_old(&scene.fleet.state_dir());
        // What no row licenses: new files, one that has grown, and one that looks as it did and is another.
        (1..=2).for_each(|pi| drop(scene.write(pi, "new.jpg", b"new")));
        scene.write(2, "licensed/1.jpg", &[noise(BYTES, 1), b"more".to_vec()].concat());
        let modified = UNIX_EPOCH + Duration::from_secs(1_700_000_000);
        scene.fleet.write(1, b"licensed/2.jpg", &noise(BYTES, 99), modified).unwrap();
        wanted.extend(scene.offered());
        let (layout, rows) = contents(&scene.fleet);
        assert_eq!((layout, rows.iter().filter(|row| row.starts_with("file|")).count()), (1, 20_012));
        Story { scene, wanted, rows }
    }

    /// Asserts that nothing but the layout can have changed.
    #[track_caller]
    fn assert_untouched(&self, layouts: &[i64], offered: &Tree) {
        let (layout, rows) = contents(&self.scene.fleet);
        assert!(layouts.contains(&layout), "{layout}");
        assert!(rows == self.rows, "the rows have changed");
        assert_eq!(&self.scene.offered(), offered);
    }

    /// The run that gets through.
    fn end(self) {
        let Story { scene, wanted, rows } = self;
        let synced = scene.sync().expect(0);
        let summary = synced.summary();
        // Two new ones, the grown one and the changed one; all eight leave.
        assert_eq!((&summary["received"], &summary["removed"]), (&4.into(), &8.into()), "{synced}");
        // Of the grown one what is new, and of the other once its differences, which are all of it, and once itself.
        let carried = |pi| report(&summary, pi)["transferred_bytes"].as_u64().unwrap();
        assert_eq!(carried("raspberry2"), 7, "{synced}");
        assert!(carried("raspberry1") < 2 * BYTES as u64, "{synced}");
        scene.assert_all_received(&wanted);
        let all = assert_all_true(&scene.fleet);
        let of =
            |path: &str| all.iter().filter(|row| row.device == "raspberry1" && row.path == path.as_bytes()).count();
        assert_eq!((of("licensed/2.jpg"), of("licensed/1.jpg"), of("gone/1.jpg")), (2, 1, 1));
        let (layout, now) = contents(&scene.fleet);
        // What was received has no other row than before, but that it is removed now.
        let files = |rows: &[String]| rows.iter().filter(|row| row.starts_with("file|")).count();
        assert_eq!((layout, files(&now)), (2, files(&rows) + 4));
        // A second time there is nothing left to do.
        let again = scene.sync().expect(0).summary();
        assert_eq!((&again["received"], &again["removed"]), (&0.into(), &0.into()));
    }
}

fn fleet() -> local_fleet::Builder {
    Fleet::builder().pis(2).pipeline_config("settle: 1s\ntimeouts: { connect: 60s, idle: 60s }\n")
}

#[test]
fn killed_while_it_is_brought_forward_it_is_the_old_one_or_the_new_one() {
    let story = Story::begin(Scene::bare(fleet()));
    let offered = story.scene.offered();
    let log = story.scene.fleet.state_dir().join("catalog.db-wal");
    let mut sync = story.scene.command();
    sync.arg("sync");
    let killed = |call: &str, count: u32| {
        let status = under_strace(&sync, killing_args(call, Some(&log), count)).status().unwrap();
        assert_eq!(status.signal(), Some(9), "{call} {count}: {status}");
    };
    // Of the log's header, of the first page, and of the pages that follow; nothing is committed before the last.
    for count in [1, 2, 3, 40, 100, 150] {
        killed("pwrite64", count);
        story.assert_untouched(&[1], &offered);
    }
    // All is written, and may or may not have reached the disk.
    killed("fsync", 1);
    story.assert_untouched(&[1, 2], &offered);
    killed("fsync", 2);
    story.assert_untouched(&[1, 2], &offered);
    story.end();
}

#[test]
fn without_room_it_stays_the_old_one() {
    among_own_mounts(|| {
        let scene = Scene::bare(fleet());
        let disk = Disk::mount(&scene.fleet.state_dir(), 32 << 20);
        let story = Story::begin(scene);
        let offered = story.scene.offered();
        // No room at all, and room for the beginning.
        for free in [0, 128 << 10] {
            let filler = disk.fill();
            let file = File::options().write(true).open(&filler).unwrap();
            file.set_len(file.metadata().unwrap().len() - free).unwrap();
            let refused = story.scene.pipeline(&["sync"]).expect(5);
            assert!(refused.stderr.contains("is the disk that holds `state_dir` full?"), "{refused}");
            fs::remove_file(filler).unwrap();
            story.assert_untouched(&[1], &offered);
        }
        story.end();
    });
}
