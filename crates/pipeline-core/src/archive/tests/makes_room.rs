//! Content that makes room for other content at its path: as a beginning, as a version, or because the user said so.

use super::*;

/// Both halves of a commit of one file.
fn commit_one(archive: &Archive, rows: &mut Rows, arrived: Arrived) -> Commit {
    let prepared = archive.prepare(&device(), vec![arrived]).unwrap();
    let noted = rows.note(prepared.superseded());
    archive.commit(prepared, noted).unwrap().pop().unwrap()
}

/// Stores `old`, then receives `new` at the same path, of which the catalog says that it holds `old`.
fn old_then_new(storage: &Storage, path: &str, old: &[u8], new: &[u8], yields: Yields) -> (Commit, Rows) {
    let (archive, mut rows) = (storage.open(), Rows::default());
    let staging = archive.staging(&device()).unwrap();
    let target = target(&archive, path);
    stored(&commit_one(&archive, &mut rows, arrive(&staging, path, old, Target::New(target.clone()))));
    rows.record(&target, old);
    let held = archive.held(&target, Prefix { bytes: old.len() as u64, digest: Digest::of(old) }).unwrap().unwrap();
    let commit = commit_one(&archive, &mut rows, arrive(&staging, path, new, Target::Over(held, yields)));
    rows.check(storage);
    assert_eq!(storage.staged(), 0);
    storage.sha256sum();
    (commit, rows)
}

#[test]
fn a_file_that_grew_is_replaced_by_its_longer_self() {
    for storage in [Storage::new(), Storage::without_links()] {
        // Also from nothing at all.
        for (n, (old, new)) in [("a,b\n", "a,b\n1,2\n"), ("", "1")].into_iter().enumerate() {
            let path = format!("log{n}.csv");
            let (commit, rows) = old_then_new(&storage, &path, old.as_bytes(), new.as_bytes(), Yields::Version);
            let became = &stored(&commit).superseded().unwrap().became;
            assert_eq!(*became, Became::Prefix);
            assert!(!stored(&commit).adopted());
            assert_eq!(storage.content(&rows.0[0].path).unwrap(), new.as_bytes());
        }
        assert_eq!(storage.versions(), []);
        let manifest = String::from_utf8(storage.manifest("raspberry31")).unwrap();
        assert_eq!(manifest.lines().count(), 2, "{manifest}");
    }
}

#[test]
fn other_content_makes_a_version_of_what_was_there() {
    for storage in [Storage::new(), Storage::without_links()] {
        // The last one is the beginning of what lies there, which is no growth; the one before has its size.
        for (n, new) in ["other and longer", "o1d", "ol"].into_iter().enumerate() {
            let path = format!("day/conf{n}");
            let (commit, _) = old_then_new(&storage, &path, b"old", new.as_bytes(), Yields::Version);
            let Superseded { held, became, .. } = stored(&commit).superseded().unwrap();
            assert_eq!(*held, Prefix { bytes: 3, digest: Digest::of(b"old") });
            let digits = &Digest::of(b"old").to_string()[..8];
            let version = format!("raspberry31/{path}~20231114T221320Z~{digits}");
            let at = ArchivePath::from_bytes(format!("{VERSION_DIR}/{version}").as_bytes()).unwrap();
            assert!(at.is_version());
            assert_eq!(*became, Became::Version(at.clone()));
            assert_eq!(storage.versions()[n], (version, b"old".to_vec()));
            storage.open().verify(&at, &Digest::of(b"old"), 3).unwrap();
            let time = |path: &ArchivePath| {
                storage.path().join(path.as_rel_path().as_path()).metadata().unwrap().modified().unwrap()
            };
            assert_eq!(time(&at), time(stored(&commit).archive_path()));
            // One line for each, and the old one's is not listed twice.
            let manifest = String::from_utf8(storage.manifest("raspberry31")).unwrap();
            assert_eq!(manifest.lines().count(), 2 * (n + 1), "{manifest}");
        }
    }
}

#[test]
fn what_the_user_wants_replaced_is_replaced_but_only_what_the_catalog_knows() {
    let storage = Storage::new();
    let (commit, rows) = old_then_new(&storage, "state.db", b"old", b"new", Yields::Replace);
    assert_eq!(stored(&commit).superseded().unwrap().became, Became::Dropped);
    assert_eq!((rows.0.len(), storage.versions()), (0, vec![]));
    assert_eq!(storage.content(stored(&commit).archive_path()).unwrap(), b"new");

    // Nobody knows whose this is.
    let archive = storage.open();
    std::fs::write(storage.path().join("raspberry31/foreign.db"), "somebody's").unwrap();
    let staging = archive.staging(&device()).unwrap();
    let arrived = receive(&archive, &staging, "foreign.db", b"new", Yields::Replace);
    let commit = commit_one(&archive, &mut Rows::default(), arrived);
    assert!(matches!(stored(&commit).superseded().unwrap().became, Became::Version(_)));
    assert_eq!(storage.versions()[0].1, b"somebody's");
    storage.sha256sum();
}

#[test]
fn what_is_not_what_the_catalog_says_is_never_dropped_nor_taken_for_a_beginning() {
    for (new, yields) in [("old, and more", Yields::Version), ("new", Yields::Replace)] {
        let storage = Storage::new();
        let archive = storage.open();
        let staging = archive.staging(&device()).unwrap();
        store(&archive, &[("a", b"old")]);
        let target = target(&archive, "a");
        let held = archive.held(&target, Prefix { bytes: 3, digest: Digest::of(b"old") }).unwrap().unwrap();
        let arrived = arrive(&staging, "a", new.as_bytes(), Target::Over(held.clone(), yields));
        // Rotted, or changed by somebody, with its time restored.
        let path = storage.path().join("raspberry31/a");
        let time = path.metadata().unwrap().modified().unwrap();
        std::fs::write(&path, "o1d").unwrap();
        std::fs::File::options().write(true).open(&path).unwrap().set_modified(time).unwrap();

        assert!(matches!(
            staging.onto(&held, yields, rel("a"), identity(b"old, and more")),
            Err(ArchiveError::Damaged { .. })
        ));
        let commit = commit_one(&archive, &mut Rows::default(), arrived);
        let Superseded { held, became, .. } = stored(&commit).superseded().unwrap();
        assert_eq!(held.digest, Digest::of(b"o1d"));
        assert!(matches!(became, Became::Version(_)));
        assert_eq!(storage.versions()[0].1, b"o1d");
        assert_eq!(storage.content(&target).unwrap(), new.as_bytes());
        storage.sha256sum();
    }
}

#[test]
fn a_copy_of_what_is_there_goes_on_from_it() {
    let storage = Storage::new();
    let archive = storage.open();
    let staging = archive.staging(&device()).unwrap();
    store(&archive, &[("log", b"1,2\n")]);
    let held = archive.examine(&target(&archive, "log")).unwrap().unwrap();
    let mut basis = Vec::new();
    std::io::Read::read_to_end(&mut held.basis().unwrap(), &mut basis).unwrap();
    assert_eq!(basis, b"1,2\n");
    let new = b"1,2\n3,4\n";
    let mut incoming = staging.onto(&held, Yields::Version, rel("log"), identity(new)).unwrap();
    assert_eq!(incoming.bytes(), 4);
    incoming.write(b"3,4\n").unwrap();
    let staged = incoming.finish(&Digest::of(new)).unwrap();
    let commit = commit_one(&archive, &mut Rows::default(), Arrived::Staged(staged));
    assert_eq!(stored(&commit).superseded().unwrap().became, Became::Prefix);
    assert_eq!(storage.content(&target(&archive, "log")).unwrap(), new);
    storage.sha256sum();
}

#[test]
fn what_changes_between_the_two_halves_is_left_alone() {
    let storage = Storage::new();
    let archive = storage.open();
    let staging = archive.staging(&device()).unwrap();
    store(&archive, &[("log", b"1"), ("conf", b"old"), ("same", b"same"), ("gone", b"x")]);
    let arrive = |path, content: &[u8]| receive(&archive, &staging, path, content, Yields::Version);
    let arrived = vec![arrive("log", b"12"), arrive("conf", b"new"), arrive("same", b"same"), arrive("gone", b"xy")];
    let prepared = archive.prepare(&device(), arrived).unwrap();
    for path in ["log", "conf", "same"] {
        std::fs::write(storage.path().join("raspberry31").join(path), "changed behind our back").unwrap();
    }
    std::fs::remove_file(storage.path().join("raspberry31/gone")).unwrap();
    let commits = archive.commit(prepared, Noted::by_nobody()).unwrap();
    assert!(commits.iter().all(|commit| matches!(commit, Commit::Occupied(_))), "{commits:?}");
    for path in ["log", "conf", "same"] {
        assert_eq!(storage.content(&target(&archive, path)).unwrap(), b"changed behind our back");
    }
    assert_eq!(storage.staged(), 0);
}

#[test]
fn two_files_for_one_path_do_not_replace_each_other() {
    let storage = Storage::new();
    let archive = storage.open();
    let staging = archive.staging(&device()).unwrap();
    store(&archive, &[("a", b"old")]);
    let arrive = |content: &[u8]| receive(&archive, &staging, "a", content, Yields::Version);
    let prepared = archive.prepare(&device(), vec![arrive(b"first"), arrive(b"second")]).unwrap();
    let commits = archive.commit(prepared, Noted::by_nobody()).unwrap();
    stored(&commits[0]);
    assert!(matches!(&commits[1], Commit::Occupied(_)));
    assert_eq!(storage.content(&target(&archive, "a")).unwrap(), b"first");
    assert_eq!(storage.versions().len(), 1);
    storage.sha256sum();
}

#[test]
fn content_that_is_there_is_taken_over_by_its_digest() {
    let storage = Storage::new();
    let archive = storage.open();
    let staging = archive.staging(&device()).unwrap();
    std::fs::create_dir(storage.path().join("raspberry31")).unwrap();
    std::fs::write(storage.path().join("raspberry31/a"), "from the loop").unwrap();
    let inode = || std::os::unix::fs::MetadataExt::ino(&storage.path().join("raspberry31/a").metadata().unwrap());
    let before = inode();
    let commit =
        commit_one(&archive, &mut Rows::default(), receive(&archive, &staging, "a", b"from the loop", Yields::Version));
    assert!(stored(&commit).adopted() && stored(&commit).superseded().is_none());
    // And again, as a whole file, which finds that there is nothing to replace.
    let held = archive.examine(stored(&commit).archive_path()).unwrap().unwrap();
    let mut incoming = staging.onto(&held, Yields::Version, rel("a"), identity(b"from the loop")).unwrap();
    incoming.write(b"").unwrap();
    let staged = incoming.finish(&Digest::of(b"from the loop")).unwrap();
    let commit = commit_one(&archive, &mut Rows::default(), Arrived::Staged(staged));
    assert!(stored(&commit).adopted());
    assert_eq!((inode(), storage.staged(), storage.versions().len()), (before, 0, 0));
    let manifest = String::from_utf8(storage.manifest("raspberry31")).unwrap();
    assert_eq!(manifest.lines().count(), 1, "{manifest}");

    // What the device read must be what lies there.
    let held = archive.examine(stored(&commit).archive_path()).unwrap().unwrap();
    let content = b"from another";
    let arrived = Arrived::Held { held, source: rel("a"), identity: identity(content), digest: Digest::of(content) };
    assert!(matches!(
        archive.prepare(&device(), vec![arrived]),
        Err(ArchiveError::DigestMismatch { side: "stored", .. })
    ));
}

#[test]
fn what_lies_there_and_is_no_plain_file_is_not_examined() {
    let storage = Storage::new();
    let archive = storage.open();
    std::fs::create_dir_all(storage.path().join("raspberry31/dir")).unwrap();
    std::os::unix::fs::symlink("dir", storage.path().join("raspberry31/link")).unwrap();
    for path in ["dir", "link", "nothing", "dir/nothing", "link/x"] {
        assert!(archive.examine(&target(&archive, path)).unwrap().is_none(), "{path}");
        let whole = Prefix { bytes: 0, digest: Digest::of(b"") };
        assert!(archive.held(&target(&archive, path), whole).unwrap().is_none(), "{path}");
    }
}

/// Whatever is listed of a path in whichever manifest, one true line is left of it.
#[test]
fn manifests_of_earlier_days_are_put_right() {
    let storage = Storage::new();
    let archive = storage.open();
    let staging = archive.staging(&device()).unwrap();
    for (date, path) in [("2026-11-19", "a"), ("2026-11-20", "b\\\n"), ("2026-11-20", "c"), ("2026-11-21", "d")] {
        let staged = vec![stage(&archive, &staging, path, b"old")];
        commit_on(&archive, date, staged, &|_| ()).unwrap();
    }
    let dir = storage.path().join(MANIFEST_DIR).join("raspberry31");
    let comment = "# a line of somebody else's\n";
    let torn = [std::fs::read(dir.join("2026-11-20.sha256")).unwrap(), comment.into(), b"0123".to_vec()].concat();
    std::fs::write(dir.join("2026-11-20.sha256"), torn).unwrap();

    let arrive = |path, content: &[u8]| receive(&archive, &staging, path, content, Yields::Version);
    let arrived = vec![arrive("a", b"old and new"), arrive("b\\\n", b"new"), arrive("d", b"old and new")];
    let prepared = archive.prepare(&device(), arrived).unwrap();
    commit::commit(&archive.store, "2026-11-22", prepared, Noted::by_nobody(), &|_| ()).unwrap();

    let old = Digest::of(b"old");
    let version = format!(".pipeline/versions/raspberry31/b\\\\\\n~20231114T221320Z~{}", &old.to_string()[..8]);
    let lines = |date: &str| std::fs::read_to_string(dir.join(format!("{date}.sha256"))).unwrap();
    assert_eq!(lines("2026-11-19"), "");
    assert_eq!(lines("2026-11-20"), format!("\\{old}  {version}\n{old}  raspberry31/c\n{comment}"));
    assert_eq!(lines("2026-11-21"), "");
    let mut today: Vec<String> = lines("2026-11-22").lines().map(str::to_owned).collect();
    today.sort();
    let line = |content: &[u8], path: &str| format!("{}  raspberry31/{path}", Digest::of(content));
    let mut expected =
        [line(b"old and new", "a"), format!("\\{}", line(b"new", "b\\\\\\n")), line(b"old and new", "d")];
    expected.sort();
    assert_eq!(today, expected);
    std::fs::write(dir.join("2026-11-20.sha256"), lines("2026-11-20").replace(comment, "")).unwrap();
    std::fs::remove_file(dir.join("2026-11-19.sha256")).unwrap();
    std::fs::remove_file(dir.join("2026-11-21.sha256")).unwrap();
    storage.sha256sum();
}

#[test]
fn a_version_whose_name_is_taken_gets_a_longer_one() {
    for storage in [Storage::new(), Storage::without_links()] {
        let digits = Digest::of(b"old").to_string();
        let at = |n| format!("raspberry31/a~20231114T221320Z~{}", &digits[..n]);
        let taken = storage.path().join(VERSION_DIR).join(at(8));
        std::fs::create_dir_all(taken.parent().unwrap()).unwrap();
        std::fs::write(taken, "another").unwrap();
        old_then_new(&storage, "a", b"old", b"new", Yields::Version);
        assert_eq!(storage.versions(), [(at(8), b"another".to_vec()), (at(16), b"old".to_vec())]);
    }
}

#[test]
fn content_that_comes_and_goes_is_kept_once() {
    let storage = Storage::new();
    let archive = storage.open();
    let (staging, mut rows) = (archive.staging(&device()).unwrap(), Rows::default());
    for content in ["one", "two", "one", "two", "one"] {
        let arrived = receive(&archive, &staging, "a", content.as_bytes(), Yields::Version);
        let commit = commit_one(&archive, &mut rows, arrived);
        rows.record(stored(&commit).archive_path(), content.as_bytes());
        rows.check(&storage);
        storage.sha256sum();
    }
    let mut kept: Vec<_> = storage.versions().into_iter().map(|(_, content)| content).collect();
    kept.sort();
    assert_eq!(kept, [b"one", b"two"]);
}

#[test]
fn long_names_and_paths_have_versions() {
    let memory = Path::new("/dev/shm");
    let storage = if memory.is_dir() { Storage::within(memory) } else { Storage::new() };
    let deep = (0..15).map(|_| "d".repeat(255) + "/").collect::<String>() + &"f".repeat(240);
    let cases = ["n".repeat(255), "é".repeat(127), "%3A".repeat(85), deep];
    for (n, path) in cases.iter().enumerate() {
        let (commit, _) = old_then_new(&storage, path, b"old", b"new", Yields::Version);
        let Became::Version(version) = &stored(&commit).superseded().unwrap().became else { panic!("{commit:?}") };
        assert!(version.as_rel_path().file_name().len() <= 255);
        assert_eq!(storage.versions().len(), n + 1);
        assert_eq!(std::str::from_utf8(version.as_bytes()).unwrap().contains('é'), path.contains('é'));
    }
}
