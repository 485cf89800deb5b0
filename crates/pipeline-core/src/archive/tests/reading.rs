//! Storages that do not return what was written.

use super::*;

/// Changes a byte of the only file in staging.
fn tamper(storage: &Storage) {
    let private = storage.path().join(PRIVATE_DIR);
    let (path, mut content) = files_below(&private).into_iter().find(|(path, _)| path.starts_with("staging")).unwrap();
    content[0] ^= 1;
    std::fs::write(private.join(path), content).unwrap();
}

#[test]
fn reading_back_finds_a_storage_that_alters_bytes() {
    let storage = Storage::new();
    let archive = Archive::open(storage.path(), "collector", ReadBack::Always).unwrap();
    assert!(archive.reads_back());
    let staging = archive.staging(&device()).unwrap();
    let staged = vec![stage(&archive, &staging, "a", b"data")];
    tamper(&storage);
    let error = commit_all(&archive, staged).unwrap_err();
    assert!(matches!(error, ArchiveError::DigestMismatch { side: "stored", .. }), "{error}");
    assert_eq!((storage.files().len(), storage.staged()), (0, 0));

    let commits = commit_all(&archive, vec![stage(&archive, &staging, "a", b"data")]).unwrap();
    stored(&commits[0]);
}

#[test]
fn a_local_storage_is_trusted_with_what_it_synced() {
    let storage = Storage::new();
    assert!(!storage.open().reads_back());
}

const CONTENT_BYTES: u64 = 4 * 1024 * 1024;

/// What this process has read from disks, as the kernel counts it.
fn read_from_disk() -> u64 {
    let io = std::fs::read_to_string("/proc/self/io").unwrap();
    let line = io.lines().find_map(|line| line.strip_prefix("read_bytes: ")).unwrap();
    line.parse().unwrap()
}

#[test]
#[ignore = "a part of another test, which runs it in a process of its own"]
fn a_visit_that_counts_its_reads() {
    let Some(dir) = child_dir() else { return };
    let content: Vec<u8> = (0..CONTENT_BYTES).map(|n| (n % 251) as u8).collect();
    for (read_back, path) in [(ReadBack::Auto, "warm"), (ReadBack::Always, "cold")] {
        let archive = Archive::open(&dir, "collector", read_back).unwrap();
        let staging = archive.staging(&device()).unwrap();
        let mut incoming = staging.create(rel(path), identity(&content), Target::New(target(&archive, path))).unwrap();
        content.chunks(256 * 1024).for_each(|slice| incoming.write(slice).unwrap());
        let staged = vec![incoming.finish(&Digest::of(&content)).unwrap()];
        let before = read_from_disk();
        stored(&commit_all(&archive, staged).unwrap()[0]);
        let read = read_from_disk() - before;
        match read_back {
            ReadBack::Auto => assert!(read < CONTENT_BYTES / 2, "{read}"),
            ReadBack::Always => assert!(read >= CONTENT_BYTES, "{read} of {CONTENT_BYTES}: it came from memory"),
        }
    }
}

#[test]
fn reading_back_does_not_ask_memory() {
    let storage = Storage::new();
    let file_system = storage.open().marker().capabilities().file_system.clone();
    if !matches!(&file_system[..], "ext4" | "xfs" | "btrfs") {
        // Memory is all that a tmpfs has.
        return;
    }
    let output = child(&[], "reading::a_visit_that_counts_its_reads", storage.path()).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn the_beginning_of_what_is_held_is_what_lies_there() {
    let storage = Storage::new();
    let archive = storage.open();
    let staging = archive.staging(&device()).unwrap();
    stored(&commit_all(&archive, vec![stage(&archive, &staging, "a", b"beginning")]).unwrap()[0]);
    let held = archive.examine(&target(&archive, "a")).unwrap().unwrap();
    for (asked, content) in [(0, &b""[..]), (5, b"begin"), (9, b"beginning"), (100, b"beginning")] {
        let expected = Prefix { bytes: content.len() as u64, digest: Digest::of(content) };
        assert_eq!(held.beginning(asked).unwrap(), expected);
    }
}
