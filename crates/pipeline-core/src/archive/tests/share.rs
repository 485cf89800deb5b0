//! A storage with every limit that a CIFS share can have.

use std::sync::atomic::Ordering;

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
    let lies = super::fuse::serve();

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
    assert!(commit_all(&archive, stage_all()).unwrap().iter().all(|commit| stored(commit).adopted()));

    // A name that the server takes for another one finds its place occupied.
    let commits = store(&archive, &[("Photo.jpg", b"one"), ("photo.JPG", b"two")]);
    stored(&commits[0]);
    assert!(matches!(&commits[1], Commit::Occupied(source) if *source == rel("photo.JPG")), "{commits:?}");

    let staged = vec![stage(&archive, &staging, "lie", b"truth")];
    lies.store(true, Ordering::SeqCst);
    let error = commit_all(&archive, staged).unwrap_err();
    lies.store(false, Ordering::SeqCst);
    assert!(matches!(error, ArchiveError::DigestMismatch { side: "stored", .. }), "{error}");
    assert_eq!(archive.look(&target(&archive, "lie")).unwrap(), Lying::Nothing);
    archive.confirm().unwrap();
    assert!(files_below(&dir.join(".pipeline/staging")).is_empty());

    let mut sums = std::process::Command::new("sh");
    sums.args(["-c", "sha256sum -c --strict --quiet SHA256SUMS/raspberry31/*"]).current_dir(&dir);
    assert!(sums.status().unwrap().success());
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
