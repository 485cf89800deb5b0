//! What a commit does to an archive.

use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, symlink};

use super::*;

#[test]
fn a_file_arrives_whole_with_its_time_and_its_line() {
    let storage = Storage::new();
    let archive = storage.open();
    let commits = store(&archive, &[("2026-11-21/a.jpg", b"first"), ("2026-11-21/empty", b""), ("b", b"second")]);

    let file = stored(&commits[0]);
    assert_eq!(file.source(), &rel("2026-11-21/a.jpg"));
    assert_eq!(file.identity(), &identity(b"first"));
    assert_eq!(file.digest(), &Digest::of(b"first"));
    assert_eq!(file.archive_path().as_bytes(), b"raspberry31/2026-11-21/a.jpg");
    assert!(!file.adopted());

    let contents: Vec<_> = storage.files().into_iter().map(|(path, text)| (path.display().to_string(), text)).collect();
    assert_eq!(
        contents,
        [
            ("raspberry31/2026-11-21/a.jpg".to_owned(), b"first".to_vec()),
            ("raspberry31/2026-11-21/empty".to_owned(), b"".to_vec()),
            ("raspberry31/b".to_owned(), b"second".to_vec()),
        ]
    );
    let stat = storage.path().join("raspberry31/2026-11-21/a.jpg").metadata().unwrap();
    assert_eq!((stat.mtime(), stat.mtime_nsec()), (1_700_000_000, 123_456_789));
    assert_eq!(storage.staged(), 0);
    storage.sha256sum();
    assert_eq!(storage.manifest("raspberry31").split(|&b| b == b'\n').count(), 3 + 1);

    archive.verify(file.archive_path(), file.digest(), 5).unwrap();
    assert_eq!(bytes_at(&archive, file.archive_path()), Some(5));
    assert_eq!(archive.look(&target(&archive, "2026-11-21/b.jpg")).unwrap(), Lying::Nothing);
}

#[test]
fn nothing_is_replaced() {
    let storage = Storage::new();
    let archive = storage.open();
    store(&archive, &[("a", b"old")]);
    std::fs::create_dir_all(storage.path().join("raspberry31/dir")).unwrap();
    symlink("a", storage.path().join("raspberry31/link")).unwrap();
    let fifo = storage.path().join("raspberry31/fifo");
    rustix::fs::mkfifoat(rustix::fs::CWD, &fifo, rustix::fs::Mode::RWXU).unwrap();
    let manifest = storage.manifest("raspberry31");

    let commits =
        store(&archive, &[("a", b"new"), ("a", b"longer than before"), ("dir", b""), ("link", b"old"), ("fifo", b"")]);
    for (commit, path) in commits.iter().zip(["a", "a", "dir", "link", "fifo"]) {
        assert!(matches!(commit, Commit::Occupied(source) if *source == rel(path)), "{commit:?}");
    }
    assert_eq!(std::fs::read(storage.path().join("raspberry31/a")).unwrap(), b"old");
    assert_eq!(storage.staged(), 0);
    assert_eq!(storage.manifest("raspberry31"), manifest);
    for path in ["dir", "link", "fifo"] {
        assert_eq!(archive.look(&target(&archive, path)).unwrap(), Lying::NotAFile, "{path}");
    }
}

#[test]
fn equal_content_is_taken_over() {
    let storage = Storage::new();
    let archive = storage.open();
    std::fs::create_dir(storage.path().join("raspberry31")).unwrap();
    std::fs::write(storage.path().join("raspberry31/a"), "same").unwrap();

    let commits = store(&archive, &[("a", b"same"), ("b", b"other")]);
    assert!(stored(&commits[0]).adopted());
    assert!(!stored(&commits[1]).adopted());
    assert_eq!(storage.staged(), 0);
    storage.sha256sum();
    assert!(String::from_utf8(storage.manifest("raspberry31")).unwrap().contains("raspberry31/a"));
}

#[test]
fn a_file_in_the_place_of_a_directory_refuses_one_file_only() {
    let storage = Storage::new();
    let archive = storage.open();
    store(&archive, &[("x", b"a file")]);
    let commits = store(&archive, &[("x/y", b"below it"), ("z", b"beside it")]);
    assert!(
        matches!(&commits[0], Commit::Refused(source, why) if *source == rel("x/y") && why.contains("a file lies"))
    );
    stored(&commits[1]);
    assert_eq!(archive.look(&target(&archive, "x/y")).unwrap(), Lying::NotAFile);
}

#[test]
fn a_symlink_does_not_lead_out() {
    let outside = tempfile::tempdir().unwrap();
    let storage = Storage::new();
    let archive = storage.open();
    let staging = archive.staging(&device()).unwrap();
    let staged = vec![stage(&archive, &staging, "day/deep/a", b"data")];
    // Swapped in between staging and commit.
    std::fs::create_dir(storage.path().join("raspberry31")).unwrap();
    symlink(outside.path(), storage.path().join("raspberry31/day")).unwrap();

    let commits = commit_all(&archive, staged).unwrap();
    assert!(matches!(&commits[0], Commit::Refused(_, why) if why.contains("symbolic link")), "{commits:?}");
    assert_eq!(std::fs::read_dir(outside.path()).unwrap().count(), 0);
    assert_eq!(archive.look(&target(&archive, "day/a")).unwrap(), Lying::NotAFile);

    std::fs::write(outside.path().join("secret"), "data").unwrap();
    let error = archive.verify(&target(&archive, "day/secret"), &Digest::of(b"data"), 4).unwrap_err();
    assert!(matches!(error, ArchiveError::Damaged { .. }), "{error}");
}

#[test]
fn awkward_names_stay_as_they_are() {
    let names: Vec<Vec<u8>> = vec![
        b"line\nfeed".to_vec(),
        b"back\\slash\rreturn".to_vec(),
        b"\xff\xfe".to_vec(),
        b"-rf".to_vec(),
        b"...".to_vec(),
        b"trailing ".to_vec(),
        b"'\"$(x)*?[a]".to_vec(),
        "caf\u{e9}".into(),
        "cafe\u{301}".into(),
        "\u{1f41d}".into(),
        vec![b'n'; 255],
        b"%3A".to_vec(),
    ];
    let storage = Storage::new();
    let archive = storage.open();
    let staging = archive.staging(&device()).unwrap();
    let staged = names.iter().map(|name| stage(&archive, &staging, name, name)).collect();
    for (commit, name) in commit_all(&archive, staged).unwrap().iter().zip(&names) {
        assert_eq!(stored(commit).source().as_bytes(), name);
        assert_eq!(bytes_at(&archive, stored(commit).archive_path()), Some(name.len() as u64));
    }
    let mut held: Vec<_> =
        storage.files().into_iter().map(|(path, _)| path.file_name().unwrap().as_bytes().to_vec()).collect();
    let mut expected = names;
    held.sort();
    expected.sort();
    assert_eq!(held, expected);
    storage.sha256sum();
}

#[test]
fn a_path_of_4000_bytes_below_a_deep_root() {
    // In memory where there is such a place: on a disk, syncing 2,000 directories takes a while.
    let memory = Path::new("/dev/shm");
    let temp = if memory.is_dir() { tempfile::tempdir_in(memory) } else { tempfile::tempdir() }.unwrap();
    let mut root = temp.path().to_owned();
    while root.as_os_str().len() < 3500 {
        root.push("r".repeat(200));
    }
    std::fs::create_dir_all(&root).unwrap();
    Archive::init(&root).unwrap();
    let archive = Archive::open(&root, "collector", ReadBack::Auto).unwrap();

    // As many directories as fit, and as long names as fit.
    for path in
        ["d/".repeat(1999) + "ff", (0..15).map(|_| "n".repeat(255) + "/").collect::<String>() + &"f".repeat(160)]
    {
        assert_eq!(path.len(), 4000);
        let commits = store(&archive, &[(&path, b"deep")]);
        let file = stored(&commits[0]);
        archive.verify(file.archive_path(), file.digest(), 4).unwrap();
        assert_eq!(bytes_at(&archive, file.archive_path()), Some(4));
    }
}

#[test]
fn what_arrives_must_be_what_was_sent() {
    let storage = Storage::new();
    let archive = storage.open();
    let staging = archive.staging(&device()).unwrap();
    let begin = || staging.create(rel("a"), identity(b"12345"), Target::New(target(&archive, "a"))).unwrap();

    let mut altered = begin();
    altered.write(b"12346").unwrap();
    let error = altered.finish(&Digest::of(b"12345")).unwrap_err();
    assert!(matches!(error, ArchiveError::DigestMismatch { side: "received", .. }), "{error}");

    let mut short = begin();
    short.write(b"1234").unwrap();
    let error = short.finish(&Digest::of(b"1234")).unwrap_err();
    assert!(matches!(error, ArchiveError::SizeMismatch { announced: 5, sent: 4, .. }), "{error}");

    let mut endless = begin();
    endless.write(b"12345").unwrap();
    let error = endless.write(b"6").unwrap_err();
    assert!(matches!(error, ArchiveError::SizeMismatch { announced: 5, sent: 6, .. }), "{error}");
    drop(endless);

    drop(begin());
    assert_eq!(storage.staged(), 0);
}

#[test]
fn a_visit_sweeps_what_the_last_one_left_and_nothing_else() {
    let storage = Storage::new();
    let archive = storage.open();
    let other = Archive::open(storage.path(), "another", ReadBack::Auto).unwrap();
    let pi32 = DeviceName::new("raspberry32").unwrap();
    for staging in [archive.staging(&device()), archive.staging(&pi32), other.staging(&device())] {
        let target = target(&archive, "a");
        // As a kill would: without the clean-up.
        std::mem::forget(staging.unwrap().create(rel("a"), identity(b"a"), Target::New(target)).unwrap());
    }
    assert_eq!(storage.staged(), 3);
    archive.staging(&device()).unwrap();
    assert_eq!(storage.staged(), 2);
}

#[test]
fn staged_files_that_are_not_committed_leave_nothing() {
    let storage = Storage::new();
    let archive = storage.open();
    let staging = archive.staging(&device()).unwrap();
    drop(stage(&archive, &staging, "a", b"a"));
    assert_eq!((storage.staged(), storage.files().len()), (0, 0));
}

#[test]
fn damage_is_seen() {
    let storage = Storage::new();
    let archive = storage.open();
    store(&archive, &[("a", b"good")]);
    let (path, digest) = (target(&archive, "a"), Digest::of(b"good"));
    archive.verify(&path, &digest, 4).unwrap();
    let file = storage.path().join("raspberry31/a");
    for bad in [&b"goof"[..], b"goo", b"goods", b""] {
        std::fs::write(&file, bad).unwrap();
        let error = archive.verify(&path, &digest, 4).unwrap_err();
        assert!(matches!(error, ArchiveError::Damaged { .. }), "{error}");
    }
    std::fs::remove_file(&file).unwrap();
    assert!(matches!(archive.verify(&path, &digest, 4), Err(ArchiveError::Damaged { .. })));
}
