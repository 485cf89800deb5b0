//! Whose storage it is.

use super::*;
use crate::error::{Class, Classified};

fn marker_file(storage: &Storage) -> PathBuf {
    storage.path().join(".pipeline/marker.json")
}

fn open_error(path: &Path) -> ArchiveError {
    let error = Archive::open(path, "collector", ReadBack::Auto).unwrap_err();
    assert_eq!(error.class(), Class::Storage);
    assert!(error.hint().is_some());
    error
}

#[test]
fn init_makes_a_marker_for_people_and_programs_and_keeps_its_id() {
    let storage = Storage::new();
    let text = std::fs::read_to_string(marker_file(&storage)).unwrap();
    assert!(text.contains("please leave it in place") && text.ends_with("}\n"), "{text}");
    let again = Archive::init(storage.path()).unwrap();
    assert!(!again.created);
    assert_eq!(std::fs::read_to_string(marker_file(&storage)).unwrap(), text);
    assert!(text.contains(again.marker.id()));
    assert_eq!(again.marker.id().len(), 32);
    assert_ne!(Storage::new().open().id(), again.marker.id());
    // Nothing but the marker stays.
    assert_eq!(files_below(&storage.path().join(PRIVATE_DIR)).len(), 1);
    assert_eq!(std::fs::read_dir(storage.path().join(PRIVATE_DIR)).unwrap().count(), 1);
}

#[test]
fn init_never_makes_the_storage_itself() {
    let temp = tempfile::tempdir().unwrap();
    for missing in ["mnt", "mnt/share"] {
        let error = Archive::init(&temp.path().join(missing)).unwrap_err();
        assert!(matches!(error, ArchiveError::NotThere { .. }), "{error}");
    }
    std::fs::write(temp.path().join("file"), "").unwrap();
    assert!(matches!(Archive::init(&temp.path().join("file")), Err(ArchiveError::NotThere { .. })));
    assert_eq!(std::fs::read_dir(temp.path()).unwrap().count(), 1);
}

#[test]
fn without_a_readable_marker_nothing_opens() {
    let storage = Storage::new();
    let file = marker_file(&storage);
    let good = std::fs::read_to_string(&file).unwrap();
    let id = storage.open().id().to_owned();
    let table = [
        ("", "BadMarker"),
        ("{}", "BadMarker"),
        ("\0\0\0\0", "BadMarker"),
        (&good[..good.len() / 2], "BadMarker"),
        (&good.replace(&id, "short"), "BadMarker"),
        (&good.replace("\"version\": 1", "\"version\": 2"), "Version"),
        (&" ".repeat(70_000), "BadMarker"),
    ];
    for (text, expected) in table {
        std::fs::write(&file, text).unwrap();
        let error = open_error(storage.path());
        assert!(format!("{error:?}").starts_with(expected), "{error:?}");
        // Nor is it written anew: the id would be lost.
        assert!(Archive::init(storage.path()).is_err());
        assert_eq!(std::fs::read_to_string(&file).unwrap(), text);
    }
    std::fs::remove_file(&file).unwrap();
    assert!(matches!(open_error(storage.path()), ArchiveError::NoMarker { .. }));
    std::os::unix::fs::symlink("/etc/passwd", &file).unwrap();
    assert!(matches!(open_error(storage.path()), ArchiveError::BadMarker { .. }));
    assert!(matches!(open_error(&storage.path().join("missing")), ArchiveError::NotThere { .. }));
}

#[test]
fn another_storage_is_refused() {
    let (storage, other) = (Storage::new(), Storage::new());
    let archive = storage.open();
    archive.expect(archive.id()).unwrap();
    let error = archive.expect(other.open().id()).unwrap_err();
    assert!(matches!(error, ArchiveError::Another { .. }), "{error}");

    archive.confirm().unwrap();
    std::fs::copy(marker_file(&other), marker_file(&storage)).unwrap();
    assert!(matches!(archive.confirm(), Err(ArchiveError::Another { .. })));
    std::fs::remove_file(marker_file(&storage)).unwrap();
    assert!(matches!(archive.confirm(), Err(ArchiveError::NoMarker { .. })));
}

/// As when a share is unmounted: our descriptor still leads to the storage, its path no longer does.
#[test]
fn confirming_looks_at_the_path_and_not_at_what_is_open() {
    let storage = Storage::new();
    let archive = storage.open();
    let aside = storage.path().with_extension("aside");
    std::fs::rename(storage.path(), &aside).unwrap();
    assert!(matches!(archive.confirm(), Err(ArchiveError::NotThere { .. })));
    std::fs::create_dir(storage.path()).unwrap();
    assert!(matches!(archive.confirm(), Err(ArchiveError::NoMarker { .. })));
    std::fs::remove_dir(storage.path()).unwrap();
    std::fs::rename(&aside, storage.path()).unwrap();
    archive.confirm().unwrap();
}

#[test]
fn of_many_inits_at_once_one_makes_the_id() {
    let temp = tempfile::tempdir().unwrap();
    let inits: Vec<Init> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..8).map(|_| scope.spawn(|| Archive::init(temp.path()).unwrap())).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    assert_eq!(inits.iter().filter(|init| init.created).count(), 1);
    let id = Archive::open(temp.path(), "collector", ReadBack::Auto).unwrap().id().to_owned();
    assert!(inits.iter().all(|init| init.marker.id() == id));
}

#[test]
fn what_was_escaped_once_stays_escaped() {
    let storage = Storage::new();
    let text = std::fs::read_to_string(marker_file(&storage)).unwrap();
    // As if the storage had been initialised through a mount that refuses colons.
    std::fs::write(marker_file(&storage), text.replace("\"characters\": \"\"", "\"characters\": \":\"")).unwrap();
    let init = Archive::init(storage.path()).unwrap();
    assert_eq!(init.marker.capabilities().names.characters, ":");
    let commits = store(&storage.open(), &[("10:30", b"x"), ("10%3A30", b"y")]);
    assert_eq!(stored(&commits[0]).archive_path().as_bytes(), b"raspberry31/10%3A30");
    assert_eq!(stored(&commits[1]).archive_path().as_bytes(), b"raspberry31/10%253A30");
    storage.sha256sum();
}

#[test]
fn the_probe_knows_an_ordinary_file_system() {
    let storage = Storage::new();
    let archive = storage.open();
    let found = archive.marker().capabilities();
    assert!(found.sync_files && found.sync_directories && found.exclusive_create && found.hard_links, "{found:?}");
    assert!(found.rename_without_replacing && found.permissions && found.case_sensitive, "{found:?}");
    assert!(found.distinct_unicode_forms && found.names.is_none(), "{found:?}");
    assert_eq!(found.time_step_ns, Some(1), "{found:?}");
}

#[test]
fn a_probe_that_was_killed_is_cleaned_away_later() {
    let storage = Storage::new();
    let private = storage.path().join(PRIVATE_DIR);
    for name in ["probe-old", "probe-young", "other-old"] {
        std::fs::create_dir(private.join(name)).unwrap();
        std::fs::write(private.join(name).join("x"), "x").unwrap();
        if name.ends_with("old") {
            let yesterday = std::time::SystemTime::now() - std::time::Duration::from_secs(24 * 3600);
            std::fs::File::open(private.join(name)).unwrap().set_modified(yesterday).unwrap();
        }
    }
    Archive::init(storage.path()).unwrap();
    assert!(!private.join("probe-old").exists());
    assert!(private.join("probe-young").exists() && private.join("other-old").exists());
}

#[test]
fn a_collector_needs_a_name_that_is_a_directory() {
    let storage = Storage::new();
    for name in ["", ".", "..", "a/b", "../x", &"x".repeat(65), "a b"] {
        assert!(
            matches!(Archive::open(storage.path(), name, ReadBack::Auto), Err(ArchiveError::Collector(_))),
            "{name}"
        );
    }
}
