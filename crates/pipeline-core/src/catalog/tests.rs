//! Rows that stay true while contents move, and what licenses a removal.

#![allow(clippy::unwrap_used)]

use std::collections::HashMap;

use super::*;
use crate::archive::{Archive, ArchivePath, Arrived, Became, Commit, ReadBack, Staging, Superseded, Target, Yields};
use crate::digest::Digest;
use crate::entry::{Entry, Identity, Prefix};
use crate::path::{DeviceName, RelPath};

/// A storage and its catalog.
struct Place {
    _dir: tempfile::TempDir,
    archive: Archive,
    catalog: Catalog,
}

impl Place {
    fn new() -> Place {
        let dir = tempfile::tempdir().unwrap();
        let storage = dir.path().join("storage");
        std::fs::create_dir(&storage).unwrap();
        let made = Archive::init(&storage).unwrap();
        let catalog = Catalog::create(&dir.path().join("state"), made.marker.id()).unwrap();
        let archive = Archive::open(&storage, catalog.collector(), ReadBack::Auto).unwrap();
        catalog.begin_run().unwrap();
        Place { _dir: dir, archive, catalog }
    }

    fn visit(&self, device: &str) -> Visit {
        self.catalog.visit(device, b"/data", 1).unwrap()
    }

    fn at(&self, path: &str) -> ArchivePath {
        let device = DeviceName::new("pi").unwrap();
        self.archive.place("{source_name}/{path}", &device, b"data", &rel(path)).unwrap()
    }

    fn staging(&self) -> Staging {
        self.archive.staging(&DeviceName::new("pi").unwrap()).unwrap()
    }

    /// Receives a content as a visit does.
    fn receive(&self, visit: &Visit, path: &str, identity: Identity, content: &[u8], yields: Yields) -> Catalogued {
        let (staging, at) = (self.staging(), self.at(path));
        let target = match self.archive.examine(&at).unwrap() {
            None => Target::New(at.clone()),
            Some(held) => {
                let known = visit.holder(&at).unwrap().map(|holder| holder.prefix);
                let held = known.and_then(|prefix| self.archive.held(&at, prefix).unwrap()).unwrap_or(held);
                Target::Over(held, yields)
            }
        };
        let mut incoming = staging.create(rel(path), identity, target).unwrap();
        incoming.write(content).unwrap();
        let staged = incoming.finish(&Digest::of(content)).unwrap();
        let mut recorder = visit.recorder(0).unwrap();
        let device = DeviceName::new("pi").unwrap();
        let prepared = self.archive.prepare(&device, vec![Arrived::Staged(staged)]).unwrap();
        let sources = HashMap::from([(at, rel(path))]);
        let noted = recorder.supersede(prepared.superseded(), &sources).unwrap();
        let commits = self.archive.commit(prepared, noted).unwrap();
        let stored = commits.into_iter().map(|commit| match commit {
            Commit::Stored(stored) => stored,
            other => panic!("{other:?}"),
        });
        recorder.record(stored.collect()).unwrap().remove(0)
    }

    /// Every row of a device, oldest first: where its content is, how it is kept, and whether it may still license a removal.
    fn rows(&self, device: &str) -> Vec<(String, String, bool)> {
        let conn = connect(&self.catalog.file).unwrap();
        let sql = "SELECT archive_path, kept, removed_ns IS NULL FROM file JOIN source ON source.id = file.source
                   WHERE device = ?1 ORDER BY file.id";
        let mut statement = conn.prepare(sql).unwrap();
        let row = |row: &rusqlite::Row<'_>| Ok((String::from_utf8(row.get(0)?).unwrap(), row.get(1)?, row.get(2)?));
        statement.query_map([device], row).unwrap().map(Result::unwrap).collect()
    }
}

fn rel(path: &str) -> RelPath {
    RelPath::new(path).unwrap()
}

fn identity(content: &[u8], ctime_ns: i64) -> Identity {
    Identity { dev: 1, ino: 2, size: content.len() as u64, mtime_ns: 7, ctime_ns }
}

fn row(at: &str, kept: &str, licenses: bool) -> (String, String, bool) {
    (at.to_owned(), kept.to_owned(), licenses)
}

fn superseded(place: &Place, content: &[u8], became: Became) -> Superseded {
    let held = Prefix { bytes: content.len() as u64, digest: Digest::of(content) };
    Superseded { path: place.at("a"), held, became }
}

#[test]
fn an_identity_that_comes_again_licenses_nothing() {
    let place = Place::new();
    let mut visit = place.visit("pi");
    let (first, again) = (identity(b"one", 1), identity(b"two", 2));
    let one = place.receive(&visit, "a", first, b"one", Yields::Version);
    assert_eq!(visit.known(&rel("a")).unwrap().map(|known| known.identity), Some(first));
    // It left the device: whatever comes there with all five fields the same is another file.
    let (row_of_one, ..) = one.into_parts();
    visit.note_removed(&[row_of_one], 3, &[]).unwrap();
    assert_eq!(visit.known(&rel("a")).unwrap(), None);
    // So it is where another content was received in between, whether its removal was ever noted or not.
    place.receive(&visit, "a", first, b"one", Yields::Version);
    place.receive(&visit, "a", again, b"two", Yields::Version);
    assert_eq!(visit.known(&rel("a")).unwrap().map(|known| known.identity), Some(again));
    let licensing = place.rows("pi").into_iter().filter(|(.., licenses)| *licenses).count();
    assert_eq!(licensing, 1);
}

#[test]
fn rows_say_where_contents_are_while_they_make_room() {
    let place = Place::new();
    let visit = place.visit("pi");
    place.receive(&visit, "a", identity(b"one", 1), b"one", Yields::Version);
    place.receive(&visit, "a", identity(b"one, two", 2), b"one, two", Yields::Version);
    assert_eq!(place.rows("pi"), [row("data/a", "prefix", false), row("data/a", "whole", true)]);
    // What grew goes along with what it grew into.
    place.receive(&visit, "a", identity(b"other", 3), b"other", Yields::Version);
    let rows = place.rows("pi");
    let version = rows[0].0.clone();
    assert!(version.starts_with(".pipeline/versions/data/a~"), "{version}");
    let moved = [row(&version, "prefix", false), row(&version, "whole", false), row("data/a", "whole", true)];
    assert_eq!(rows, moved);
    let holder = visit.holder(&place.at("a")).unwrap().unwrap();
    assert_eq!((holder.device.as_str(), holder.prefix.digest), ("pi", Digest::of(b"other")));
    assert!(holder.is_of(&DeviceName::new("pi").unwrap(), &rel("a")) && !holder.rebuilt);
    assert!(!holder.is_of(&DeviceName::new("pj").unwrap(), &rel("a")));
    assert!(!holder.is_of(&DeviceName::new("pi").unwrap(), &rel("b")));
    // As the user wants it.
    place.receive(&visit, "a", identity(b"newest", 4), b"newest", Yields::Replace);
    assert_eq!(place.rows("pi")[2..], [row("data/a", "dropped", false), row("data/a", "whole", true)]);
    assert_eq!(visit.stored_at(&rel("a")).unwrap(), Some(place.at("a")));
    assert_eq!(visit.stored_at(&rel("b")).unwrap(), None);
}

#[test]
fn a_row_stays_true_if_the_second_half_never_happens() {
    let place = Place::new();
    let visit = place.visit("pi");
    place.receive(&visit, "a", identity(b"one", 1), b"one", Yields::Version);
    let mut recorder = visit.recorder(0).unwrap();
    let sources = HashMap::from([(place.at("a"), rel("a"))]);
    recorder.supersede(&[superseded(&place, b"one", Became::Prefix)], &sources).unwrap();
    // It lies there still, and is its own beginning. It can't be read back alone, so it licenses nothing.
    assert_eq!(place.rows("pi"), [row("data/a", "prefix", false)]);
    assert_eq!(visit.known(&rel("a")).unwrap(), None);
    assert_eq!(visit.holder(&place.at("a")).unwrap(), None);
    // The next try finds what the first has noted.
    let version = ArchivePath::from_bytes(b".pipeline/versions/data/a~1").unwrap();
    for _ in 0..2 {
        let became = Became::Version(version.clone());
        recorder.supersede(&[superseded(&place, b"one", became)], &sources).unwrap();
        assert_eq!(place.rows("pi"), [row(".pipeline/versions/data/a~1", "whole", false)]);
    }
}

#[test]
fn what_nobody_had_catalogued_gets_a_row_that_licenses_nothing() {
    let place = Place::new();
    let visit = place.visit("pi");
    place.receive(&visit, "a", identity(b"one", 1), b"one", Yields::Version);
    // Somebody has written there since, so the row is not true any more.
    let version = ArchivePath::from_bytes(b".pipeline/versions/data/a~1").unwrap();
    let mut recorder = visit.recorder(0).unwrap();
    let sources = HashMap::from([(place.at("a"), rel("a"))]);
    let found = superseded(&place, b"by hand", Became::Version(version.clone()));
    recorder.supersede(&[found], &sources).unwrap();
    let rows = place.rows("pi");
    assert_eq!(rows, [row("data/a", "dropped", false), row(".pipeline/versions/data/a~1", "whole", false)]);
    let holder = visit.holder(&version).unwrap().unwrap();
    assert_eq!((holder.prefix.digest, holder.rebuilt), (Digest::of(b"by hand"), true));
    assert_eq!(visit.known(&rel("a")).unwrap(), None);
}

#[test]
fn what_was_taken_away_behind_our_back_is_no_longer_claimed() {
    let place = Place::new();
    let visit = place.visit("pi");
    place.receive(&visit, "a", identity(b"one", 1), b"one", Yields::Version);
    let storage = place._dir.path().join("storage");
    std::fs::remove_file(storage.join("data/a")).unwrap();
    place.receive(&visit, "a", identity(b"two", 2), b"two", Yields::Version);
    assert_eq!(place.rows("pi"), [row("data/a", "dropped", false), row("data/a", "whole", true)]);
}

#[test]
fn what_another_device_took_over_is_not_given_up() {
    let place = Place::new();
    let (visit, other) = (place.visit("pi"), place.visit("pj"));
    place.receive(&visit, "a", identity(b"one", 1), b"one", Yields::Version);
    place.receive(&other, "a", identity(b"one", 1), b"one", Yields::Version);
    let sources = HashMap::from([(place.at("a"), rel("a"))]);
    let dropped = superseded(&place, b"one", Became::Dropped);
    let error = visit.recorder(0).unwrap().supersede(&[dropped], &sources).unwrap_err();
    assert_eq!(error.class(), Class::Internal);
    assert_eq!(
        (place.rows("pi"), place.rows("pj")),
        (vec![row("data/a", "whole", true)], vec![row("data/a", "whole", true)])
    );
}

#[test]
fn a_sighting_is_forgotten_once_its_file_is_received() {
    let place = Place::new();
    let mut visit = place.visit("pi");
    let entry = Entry { path: rel("a"), identity: identity(b"one", 1) };
    visit.begin_tasks().unwrap();
    assert_eq!(visit.sighted(&entry, 5).unwrap(), 5);
    visit.end_tasks(true).unwrap();
    visit.begin_tasks().unwrap();
    assert_eq!(visit.sighted(&entry, 9).unwrap(), 5);
    visit.end_tasks(true).unwrap();
    place.receive(&visit, "a", entry.identity, b"one", Yields::Version);
    visit.begin_tasks().unwrap();
    assert_eq!(visit.sighted(&entry, 11).unwrap(), 11);
}

#[test]
fn who_notes_no_removals_copies_no_list_of_what_there_is() {
    let place = Place::new();
    place.receive(&place.visit("pi"), "a", identity(b"one", 1), b"one", Yields::Version);
    for (run, copied) in [(1, 1), (0, 0)] {
        let mut visit = place.catalog.visit("pi", b"/data", run).unwrap();
        visit.begin_tasks().unwrap();
        let count = |row: &rusqlite::Row<'_>| row.get::<_, i64>(0);
        assert_eq!(visit.conn.query_row("SELECT count(*) FROM temp.missed", [], count).unwrap(), copied, "run {run}");
        visit.met(&rel("a")).unwrap();
        visit.end_tasks(true).unwrap();
    }
    assert!(place.visit("pi").known(&rel("a")).unwrap().is_some());
}

/// Most of what a visit of many small files costs would otherwise be SQLite's planning.
#[test]
fn a_lookup_is_planned_once_for_all_values() {
    let place = Place::new();
    let conn = connect(&place.catalog.file).unwrap();
    let lookups = [
        "SELECT id FROM file WHERE source = ?1 AND path = ?2 AND removed_ns IS NULL ORDER BY id DESC LIMIT 1",
        "SELECT id FROM file WHERE archive_path = ?2 AND kept = 'whole' AND source = ?1 ORDER BY id DESC LIMIT 1",
    ];
    for sql in lookups {
        let mut statement = conn.prepare(sql).unwrap();
        for path in [b"a", b"b", b"c"] {
            assert!(!statement.exists(params![1, path]).unwrap());
        }
        assert_eq!(statement.get_status(rusqlite::StatementStatus::RePrepare), 0, "{sql}");
    }
}

#[test]
fn a_time_that_no_number_holds_keeps_nothing_from_being_listed() {
    let place = Place::new();
    let visit = place.visit("pi");
    place.receive(&visit, "early", identity(b"early", 1), b"early", Yields::Version);
    place.receive(&visit, "late", Identity { mtime_ns: i64::MAX, ..identity(b"late", 1) }, b"late", Yields::Version);
    let conn = connect(&place.catalog.file).unwrap();
    // The device's clock is behind ours.
    conn.execute("UPDATE file SET clock_offset_ns = -5", []).unwrap();

    let history = place.catalog.history().unwrap();
    let source = &history.sources()[0];
    let contents = place.catalog.contents(&[source.id], (i64::MIN, i64::MAX)).unwrap();
    let listed = contents.after(0, 10).unwrap();
    assert_eq!(listed.iter().map(|content| content.modified_ns).collect::<Vec<_>>(), [12, i64::MAX]);
    assert_eq!(contents.again(listed[1].row).unwrap().as_ref(), Some(&listed[1]));
    let days = history.recorded_days(source).unwrap();
    assert_eq!(days.into_iter().collect::<Vec<_>>(), [0, i64::MAX / history::DAY_NS]);
}

#[test]
fn what_can_not_be_looked_into_is_not_taken_for_missing() {
    let dir = tempfile::tempdir().unwrap();
    assert!(matches!(Catalog::open(dir.path()), Err(CatalogError::Missing(_))));
    // Root may look into any directory, but not below a file.
    let file = dir.path().join("file");
    std::fs::write(&file, "").unwrap();
    let error = Catalog::open(&file).unwrap_err();
    assert!(matches!(error, CatalogError::Unreadable { .. }), "{error:?}");
    assert_eq!(error.class(), Class::Config);
}

#[test]
fn the_log_stays_emptied_so_that_who_may_only_read_needs_to_make_none() {
    let dir = tempfile::tempdir().unwrap();
    let catalog = Catalog::create(dir.path(), "id").unwrap();
    catalog.begin_run().unwrap();
    let log = std::fs::metadata(dir.path().join("catalog.db-wal")).unwrap();
    assert_eq!(log.len(), 0);
    // All that was written is in the catalog itself.
    std::fs::remove_file(dir.path().join("catalog.db-wal")).unwrap();
    let conn = rusqlite::Connection::open(dir.path().join(FILE_NAME)).unwrap();
    assert_eq!(conn.query_row("SELECT count(*) FROM run", [], |row| row.get::<_, i64>(0)).unwrap(), 1);
}
