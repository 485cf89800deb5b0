//! A storage with every limit that a CIFS share can have.

use std::sync::atomic::Ordering;

use super::fuse::Moods;
use super::limits::{assert_passes, mounting_shell};
use super::*;
use crate::archive::names::SUSPECT_CHARACTERS;

const NAMES: [&[u8]; 14] = [
    b"2026-11-21T10:30:00.jpg",
    b"what? *why*",
    b"a\\b|c<d>\"e\"",
    b"line\nfeed",
    b"dot.",
    b"space ",
    b"...",
    b"aux.h",
    b"con/com1.txt/nul",
    b"100%",
    b"10%3A30",
    b"\xff\xfe",
    "caf\u{e9}".as_bytes(),
    &[b'n'; 255],
];

fn escaping_is_undone(archive: &Archive, path: &ArchivePath) -> Vec<u8> {
    let plain = archive.marker().capabilities().names.unescape(path.as_rel_path()).unwrap();
    plain.as_bytes().strip_prefix(b"raspberry31/").unwrap().to_vec()
}

#[test]
#[ignore = "a part of another test, which runs it on a file system of its own"]
fn on_a_share() {
    let Some(dir) = child_dir() else { return };
    let moods = super::fuse::serve();

    let found = Archive::init(&dir).unwrap().marker.capabilities().clone();
    let names = NameRules {
        characters: SUSPECT_CHARACTERS.into(),
        control_characters: true,
        trailing_dot: true,
        trailing_space: true,
        dos_names: true,
        non_utf8: true,
        max_bytes: super::fuse::LONGEST_NAME,
    };
    let expected = Capabilities {
        file_system: "fuse".into(),
        network: true,
        sync_files: true,
        sync_directories: false,
        rename_without_replacing: false,
        hard_links: false,
        exclusive_create: true,
        time_step_ns: Some(2_000_000_000),
        permissions: false,
        case_sensitive: false,
        distinct_unicode_forms: true,
        names,
    };
    assert_eq!(found, expected);

    let archive = Archive::open(&dir, "collector", ReadBack::Auto).unwrap();
    assert!(archive.reads_back());
    let staging = archive.staging(&device()).unwrap();
    let stage_all = || NAMES.iter().map(|name| stage(&archive, &staging, name, name)).collect::<Vec<_>>();
    for (commit, name) in commit_all(&archive, stage_all()).unwrap().iter().zip(NAMES) {
        let file = stored(commit);
        assert_eq!(escaping_is_undone(&archive, file.archive_path()), name);
        assert_eq!(bytes_at(&archive, file.archive_path()), Some(name.len() as u64));
        archive.verify(file.archive_path(), file.digest(), name.len() as u64).unwrap();
    }
    assert!(commit_all(&archive, stage_all()).unwrap().iter().all(|commit| matches!(commit, Commit::Occupied(_))));

    names_that_differ_in_case(&archive, &staging);
    content_makes_room(&archive, &staging, &dir);
    what_can_not_be_replaced_stays(&archive, &staging, &moods);
    a_rename_whose_answer_got_lost(&archive, &staging, &moods);

    let staged = vec![stage(&archive, &staging, "lie", b"truth")];
    moods.lies.store(true, Ordering::SeqCst);
    let error = commit_all(&archive, staged).unwrap_err();
    moods.lies.store(false, Ordering::SeqCst);
    assert!(matches!(error, ArchiveError::DigestMismatch { side: "stored", .. }), "{error}");
    assert_eq!(archive.look(&target(&archive, "lie")).unwrap(), Lying::Nothing);
    archive.confirm().unwrap();
    assert!(files_below(&dir.join(".pipeline/staging")).is_empty());

    let mut sums = std::process::Command::new("sh");
    sums.args(["-c", "sha256sum -c --strict --quiet SHA256SUMS/raspberry31/*"]).current_dir(&dir);
    assert!(sums.status().unwrap().success());
}

/// A name that the server takes for another one is not taken for the file of that other one, in whichever part of the path.
fn names_that_differ_in_case(archive: &Archive, staging: &Staging) {
    let commits = store(archive, &[("Photo.jpg", b"one"), ("Day/a", b"two"), ("Day/b", b"three")]);
    let look = |path| archive.look(&target(archive, path)).unwrap();
    for (commit, path) in commits.iter().zip(["Photo.jpg", "Day/a", "Day/b"]) {
        stored(commit);
        assert!(matches!(look(path), Lying::File(_)), "{path}");
    }
    for path in ["photo.JPG", "day/a", "Day/A"] {
        assert!(matches!(look(path), Lying::OtherCase(_)), "{path}");
    }
    assert_eq!(look("day/c"), Lying::Nothing);
    assert_eq!(look("day"), Lying::NotAFile);
    // Listed anew when it has changed.
    stored(&store(archive, &[("Day/c", b"four")])[0]);
    assert!(matches!((look("Day/c"), look("DAY/c")), (Lying::File(_), Lying::OtherCase(_))));
    // Whoever does not look finds the place occupied.
    let commits = commit_all(archive, vec![stage(archive, staging, "photo.JPG", b"other")]).unwrap();
    assert!(matches!(&commits[0], Commit::Occupied(source) if *source == rel("photo.JPG")), "{commits:?}");
}

/// Growth, a version by a copy, and what was there already; with names that have to be escaped.
fn content_makes_room(archive: &Archive, staging: &Staging, dir: &Path) {
    let files = [("10:30/log", b"1"), ("10:30/conf.", b"o"), ("10:30/seen", b"s")];
    store(archive, &files.map(|(path, content)| (path, &content[..])));
    let mut rows = Rows::default();
    files.iter().for_each(|(path, content)| rows.record(&target(archive, path), &content[..]));
    let receive = |path, content: &[u8]| receive(archive, staging, path, content, Yields::Version);
    let arrived = vec![receive("10:30/log", b"12"), receive("10:30/conf.", b"n"), receive("10:30/seen", b"s")];
    let prepared = archive.prepare(&device(), arrived).unwrap();
    let check = |rows: &Rows| {
        for Row { path, content, .. } in &rows.0 {
            assert!(std::fs::read(dir.join(path.as_rel_path().as_path())).unwrap().starts_with(content));
        }
    };
    check(&rows);
    let noted = rows.note(prepared.superseded());
    check(&rows);
    let commits = archive.commit(prepared, noted).unwrap();
    check(&rows);
    let became = |commit| stored(commit).superseded().map(|superseded| superseded.became.clone());
    assert_eq!(became(&commits[0]), Some(Became::Prefix));
    let Some(Became::Version(version)) = became(&commits[1]) else { panic!("{commits:?}") };
    assert!(version.to_string().starts_with(".pipeline/versions/raspberry31/10%3A30/conf%2E~"), "{version}");
    archive.verify(&version, &Digest::of(b"o"), 1).unwrap();
    assert!(stored(&commits[2]).adopted());
}

/// As a Windows server does it with a file that somebody has open.
fn what_can_not_be_replaced_stays(archive: &Archive, staging: &Staging, moods: &Moods) {
    store(archive, &[("busy/log", b"1"), ("busy/conf", b"old")]);
    let receive = |path, content: &[u8]| receive(archive, staging, path, content, Yields::Version);
    for expected in ["refused", "stored"] {
        let arrived = vec![receive("busy/log", b"12"), receive("busy/conf", b"new")];
        moods.busy.store(expected == "refused", Ordering::SeqCst);
        let prepared = archive.prepare(&device(), arrived).unwrap();
        let commits = archive.commit(prepared, Noted::by_nobody()).unwrap();
        moods.busy.store(false, Ordering::SeqCst);
        for (commit, (path, old)) in commits.iter().zip([("busy/log", "1"), ("busy/conf", "old")]) {
            if expected == "stored" {
                stored(commit);
                continue;
            }
            assert!(matches!(commit, Commit::Refused(_, why) if why.contains("another program")), "{commit:?}");
            archive.verify(&target(archive, path), &Digest::of(old.as_bytes()), old.len() as u64).unwrap();
        }
    }
}

fn a_rename_whose_answer_got_lost(archive: &Archive, staging: &Staging, moods: &Moods) {
    for content in [&b"1"[..], b"12", b"other"] {
        let prepared =
            archive.prepare(&device(), vec![receive(archive, staging, "lost", content, Yields::Version)]).unwrap();
        moods.repeats.store(true, Ordering::SeqCst);
        let commits = archive.commit(prepared, Noted::by_nobody()).unwrap();
        assert!(!moods.repeats.load(Ordering::SeqCst));
        stored(&commits[0]);
        archive.verify(&target(archive, "lost"), &Digest::of(content), content.len() as u64).unwrap();
    }
}

#[test]
fn a_share_like_a_windows_server_holds_every_name_and_is_read_back() {
    let temp = tempfile::tempdir().unwrap();
    let script = format!(
        "test -r /dev/fuse && test -w /dev/fuse || exit 77
         exec 0<>/dev/fuse
         mount -i -t fuse -o fd=0,rootmode=40000,user_id=0,group_id=0 none ${CHILD_DIR} || exit 77
         exec timeout 60 \"$@\""
    );
    assert_passes(mounting_shell(&script, "share::on_a_share", temp.path()));
}
