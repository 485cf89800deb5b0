//! Storages that are full, read-only, or gone. Small file systems are mounted where the system lets us, in a name space that
//! ends with the process.

use std::process::Command;

use rustix::io::Errno;

use super::*;
use crate::error::{Class, Classified};

/// How a shell says that this system does not let it prepare the test.
const NOT_HERE: i32 = 77;

/// Begins a shell with the child's command as `"$@"`.
fn shell(script: &str, test: &str, storage: &Path) -> Command {
    child(&["sh", "-ec", script, "sh"], test, storage)
}

/// As [`shell`], in a name space where it may mount. None where the system does not allow that.
pub(super) fn mounting_shell(script: &str, test: &str, storage: &Path) -> Option<Command> {
    let allowed = Command::new("unshare").args(["-rm", "true"]).output().is_ok_and(|output| output.status.success());
    allowed.then(|| child(&["unshare", "-rm", "sh", "-ec", script, "sh"], test, storage))
}

pub(super) fn assert_passes(command: Option<Command>) {
    let Some(mut command) = command else { return };
    let output = command.output().unwrap();
    if output.status.code() == Some(NOT_HERE) {
        return;
    }
    let text = [output.stdout, output.stderr].concat();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&text));
    assert!(String::from_utf8_lossy(&text).contains("1 passed"));
}

fn assert_full(error: &ArchiveError) {
    assert!(matches!(error, ArchiveError::Full { .. }), "{error:?}");
    assert_eq!(error.class(), Class::Storage);
}

/// Where something is kept for root, as on ext4, size and use would differ.
#[test]
fn its_room_is_what_df_says() {
    let storage = Storage::new();
    let room = Archive::open(storage.path(), "collector", ReadBack::Auto).unwrap().room().unwrap();
    let df = Command::new("df").args(["-B1", "--output=used,avail"]).arg(storage.path()).output().unwrap();
    let text = String::from_utf8(df.stdout).unwrap();
    let numbers: Vec<u64> = text.split_whitespace().filter_map(|word| word.parse().ok()).collect();
    // Others write there meanwhile, which makes the one larger and the other smaller.
    assert_eq!(room.total_bytes, numbers[0] + numbers[1], "{text}");
    assert!(room.free_bytes <= room.total_bytes);
}

/// Writes until the storage refuses.
fn fill(archive: &Archive, staging: &Staging, path: &str, bytes: usize) -> Result<Staged, ArchiveError> {
    let content = vec![7; bytes];
    let mut incoming = staging.create(rel(path), identity(&content), Target::New(target(archive, path)))?;
    content.chunks(64 * 1024).try_for_each(|slice| incoming.write(slice))?;
    incoming.finish(&Digest::of(&content))
}

#[test]
#[ignore = "a part of another test, which runs it with a limit on file sizes"]
fn under_a_quota() {
    let Some(dir) = child_dir() else { return };
    let archive = Archive::open(&dir, "collector", ReadBack::Auto).unwrap();
    let staging = archive.staging(&device()).unwrap();
    assert_full(&fill(&archive, &staging, "large", 1024 * 1024).unwrap_err());
    let staged = vec![fill(&archive, &staging, "small", 1024).unwrap()];
    stored(&commit_all(&archive, staged).unwrap()[0]);
}

#[test]
fn a_quota_stops_one_file_and_leaves_nothing_of_it() {
    let storage = Storage::new();
    let mut command = shell("trap '' XFSZ; ulimit -f 100; exec \"$@\"", "limits::under_a_quota", storage.path());
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(storage.staged(), 0);
    assert_eq!(storage.files().len(), 1);
}

#[test]
#[ignore = "a part of another test, which runs it on a small file system"]
fn on_a_full_storage() {
    let Some(dir) = child_dir() else { return };
    Archive::init(&dir).unwrap();
    let archive = Archive::open(&dir, "collector", ReadBack::Auto).unwrap();
    archive.check_room(100_000, 10).unwrap();
    assert_full(&archive.check_room(2_000_000, 1).unwrap_err());
    assert_full(&archive.check_room(0, 1_000).unwrap_err());
    stored(&store(&archive, &[("before", b"data")])[0]);

    let staging = archive.staging(&device()).unwrap();
    assert_full(&fill(&archive, &staging, "large", 2_000_000).unwrap_err());
    assert!(files_below(&dir.join(".pipeline/staging")).is_empty());

    // Full at the very end: the manifest's page is taken, the file has its name.
    let staged = vec![stage(&archive, &staging, "after", b"more")];
    std::fs::remove_dir_all(dir.join(MANIFEST_DIR)).unwrap();
    let mut filler = std::fs::File::create(dir.join("filler")).unwrap();
    while std::io::Write::write_all(&mut filler, &[0; 4096]).is_ok() {}
    assert_full(&commit_all(&archive, staged).unwrap_err());
    drop(filler);
    assert_eq!(std::fs::read(dir.join("raspberry31/after")).unwrap(), b"more");
    std::fs::remove_file(dir.join("filler")).unwrap();
    assert!(stored(&store(&archive, &[("after", b"more")])[0]).adopted());

    // No file can be made at all.
    let mut staged = Vec::new();
    let error = loop {
        match fill(&archive, &staging, &format!("f{}", staged.len()), 1) {
            Ok(file) => staged.push(file),
            Err(error) => break error,
        }
    };
    assert_full(&error);
    drop(staged);
    archive.verify(&target(&archive, "before"), &Digest::of(b"data"), 4).unwrap();
}

#[test]
fn full_storage_loses_nothing() {
    let temp = tempfile::tempdir().unwrap();
    let script = format!("mount -t tmpfs -o size=1m,nr_inodes=100 none ${CHILD_DIR}; exec \"$@\"");
    assert_passes(mounting_shell(&script, "limits::on_a_full_storage", temp.path()));
}

#[test]
#[ignore = "a part of another test, which runs it on a file system that turns read-only"]
fn on_a_storage_that_turns_read_only() {
    let Some(dir) = child_dir() else { return };
    Archive::init(&dir).unwrap();
    let archive = Archive::open(&dir, "collector", ReadBack::Auto).unwrap();
    store(&archive, &[("before", b"data")]);
    let staging = archive.staging(&device()).unwrap();
    let remounted = Command::new("mount").args(["-o", "remount,bind,ro"]).arg(&dir).status().unwrap();
    assert!(remounted.success());

    let read_only = |error: ArchiveError| assert!(matches!(error, ArchiveError::ReadOnly { .. }), "{error:?}");
    read_only(fill(&archive, &staging, "a", 1).unwrap_err());
    read_only(Archive::init(&dir).unwrap_err());
    archive.confirm().unwrap();
    archive.verify(&target(&archive, "before"), &Digest::of(b"data"), 4).unwrap();
}

#[test]
fn read_only_storage_can_be_read() {
    let temp = tempfile::tempdir().unwrap();
    let script = format!("mount -t tmpfs none ${CHILD_DIR}; exec \"$@\"");
    assert_passes(mounting_shell(&script, "limits::on_a_storage_that_turns_read_only", temp.path()));
}

#[test]
#[ignore = "a part of another test, which runs it where it may mount"]
fn on_a_share_that_goes_away() {
    let Some(dir) = child_dir() else { return };
    let archive = Archive::open(&dir, "collector", ReadBack::Auto).unwrap();
    archive.confirm().unwrap();
    let marker = std::fs::read(dir.join(".pipeline/marker.json")).unwrap();
    let mounted = Command::new("mount").args(["-t", "tmpfs", "none"]).arg(&dir).status().unwrap();
    assert!(mounted.success());
    assert!(matches!(archive.confirm(), Err(ArchiveError::NoMarker { .. })));

    // The same storage, but not the mount that we hold: what we wrote and what is there now may differ.
    std::fs::create_dir(dir.join(PRIVATE_DIR)).unwrap();
    std::fs::write(dir.join(".pipeline/marker.json"), marker).unwrap();
    assert!(matches!(archive.confirm(), Err(ArchiveError::Remounted { .. })));

    assert!(Command::new("umount").arg(&dir).status().unwrap().success());
    archive.confirm().unwrap();
}

#[test]
fn a_share_that_goes_away_or_comes_again_is_noticed() {
    let storage = Storage::new();
    assert_passes(mounting_shell("exec \"$@\"", "limits::on_a_share_that_goes_away", storage.path()));
}

#[test]
#[ignore = "a part of another test, which runs it where it may mount"]
fn with_a_mount_inside() {
    let Some(dir) = child_dir() else { return };
    let archive = Archive::open(&dir, "collector", ReadBack::Auto).unwrap();
    let staging = archive.staging(&device()).unwrap();
    let staged = vec![stage(&archive, &staging, "a", b"data")];
    std::fs::create_dir(dir.join("raspberry31")).unwrap();
    let mounted = Command::new("mount").args(["-t", "tmpfs", "none"]).arg(dir.join("raspberry31")).status().unwrap();
    assert!(mounted.success());
    let error = commit_all(&archive, staged).unwrap_err();
    assert!(error.hint().unwrap().contains("mounted inside"), "{error:?}");
    assert_eq!(std::fs::read_dir(dir.join("raspberry31")).unwrap().count(), 0);
}

#[test]
fn a_mount_inside_the_storage_is_refused_rather_than_copied_into() {
    let storage = Storage::new();
    assert_passes(mounting_shell("exec \"$@\"", "limits::with_a_mount_inside", storage.path()));
}

#[test]
#[ignore = "a part of another test, which runs it with few descriptors"]
fn with_few_descriptors() {
    let Some(dir) = child_dir() else { return };
    let archive = Archive::open(&dir, "collector", ReadBack::Always).unwrap();
    let names: Vec<String> = (0..300).map(|n| format!("d{n}/f")).collect();
    let files: Vec<(&str, &[u8])> = names.iter().map(|name| (name.as_str(), name.as_bytes())).collect();
    for commit in store(&archive, &files) {
        assert!(!stored(&commit).adopted());
    }
}

#[test]
fn a_batch_may_hold_more_files_and_directories_than_can_be_open() {
    let storage = Storage::new();
    let mut command = shell("ulimit -n 100; exec \"$@\"", "limits::with_few_descriptors", storage.path());
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!((storage.files().len(), storage.staged()), (300, 0));
    storage.sha256sum();
}

#[test]
fn errors_say_what_follows() {
    let storage = Storage::new();
    let archive = storage.open();
    let errno = |errno: Errno| archive.store.failed("write", &rel("a\nb"), errno);
    for full in [Errno::NOSPC, Errno::DQUOT, Errno::FBIG] {
        assert_full(&errno(full));
    }
    assert!(matches!(errno(Errno::ROFS), ArchiveError::ReadOnly { .. }));
    let failed = errno(Errno::STALE);
    assert_eq!(failed.class(), Class::Storage);
    assert_eq!(failed.to_string(), format!("could not write {}/a\\nb", storage.path().display()));
    assert_full(&archive.check_room(u64::MAX, 0).unwrap_err());
}
