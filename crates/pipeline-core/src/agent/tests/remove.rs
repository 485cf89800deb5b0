use std::fs::File;
use std::os::fd::AsRawFd;
use std::os::unix::fs::{OpenOptionsExt, symlink};
use std::path::PathBuf;

use super::*;
use crate::agent::lease::Lease;
use crate::agent::remove::remove;
use crate::agent::writers::Writers;

#[test]
fn removes_the_file_of_the_receipt_once() {
    let root = tempfile::tempdir().unwrap();
    let at = |name: &str| root.path().join(name);
    for name in ["a", "dir/b", "empty", "kept"] {
        write(&at(name), if name == "empty" { b"" } else { name.as_bytes() });
    }
    std::fs::hard_link(at("a"), at("other name")).unwrap();
    let files = ["a", "dir/b", "empty"].map(|name| (path(name), identity(&at(name))));
    let mut agent = Agent::open(root.path());
    assert_eq!(agent.remove_all(&files), [RemoveEnd::Removed, RemoveEnd::Removed, RemoveEnd::Removed]);
    assert_eq!(agent.remove_all(&files), [RemoveEnd::Gone, RemoveEnd::Gone, RemoveEnd::Gone]);
    for (name, exists) in [("a", false), ("dir/b", false), ("dir", true), ("kept", true), ("other name", true)] {
        assert_eq!(at(name).exists(), exists, "{name}");
    }
    // "Gone" also where its directory has gone with it, or has become a file.
    std::fs::remove_dir(at("dir")).unwrap();
    assert_eq!(agent.remove_all(&files[1..2]), [RemoveEnd::Gone]);
    write(&at("dir"), b"");
    assert_eq!(agent.remove_all(&files[1..2]), [RemoveEnd::Gone]);
    agent.end();
}

#[test]
fn one_wrong_field_of_five_keeps_the_file() {
    let root = tempfile::tempdir().unwrap();
    let at = root.path().join("file");
    write(&at, b"content");
    let good = identity(&at);
    let wrong = [
        Identity { dev: good.dev + 1, ..good },
        Identity { ino: good.ino + 1, ..good },
        Identity { size: good.size + 1, ..good },
        Identity { mtime_ns: good.mtime_ns + 1, ..good },
        Identity { ctime_ns: good.ctime_ns - 1, ..good },
    ];
    let mut agent = Agent::open(root.path());
    for identity in wrong {
        assert_eq!(agent.remove(&path("file"), identity), RemoveEnd::Changed, "{identity:?}");
        assert!(at.exists());
    }
    assert_eq!(agent.remove(&path("file"), good), RemoveEnd::Removed);
}

/// What may happen to a file between its receipt and its removal.
#[test]
fn a_file_that_changed_after_it_was_read_is_kept() {
    type Change = fn(&Path, &Identity);
    let table: [(&str, Change); 7] = [
        ("appended to", |at, _| File::options().append(true).open(at).unwrap().write_all(b"+").unwrap()),
        ("truncated", |at, _| File::options().write(true).open(at).unwrap().set_len(1).unwrap()),
        ("rewritten with size and mtime as before", |at, old| {
            std::fs::write(at, b"CONTENT").unwrap();
            restore_mtime(at, old);
        }),
        ("replaced by rename, with size and mtime as before", |at, old| {
            std::fs::write(at.with_extension("new"), b"CONTENT").unwrap();
            restore_mtime(&at.with_extension("new"), old);
            std::fs::rename(at.with_extension("new"), at).unwrap();
        }),
        ("replaced by a link to it", |at, _| {
            std::fs::rename(at, at.with_file_name("moved")).unwrap();
            symlink("moved", at).unwrap();
        }),
        ("its directory replaced by a link to it", |at, _| {
            let dir = at.parent().unwrap();
            std::fs::rename(dir, dir.with_file_name("moved")).unwrap();
            symlink("moved", dir).unwrap();
        }),
        ("replaced by a FIFO", |at, _| {
            std::fs::remove_file(at).unwrap();
            rustix::fs::mknodat(rustix::fs::CWD, at, rustix::fs::FileType::Fifo, 0o600.into(), 0).unwrap();
        }),
    ];
    for (what, change) in table {
        let root = tempfile::tempdir().unwrap();
        let at = root.path().join("dir/file");
        write(&at, b"content");
        let old = identity(&at);
        let mut agent = Agent::open(root.path());
        assert!(matches!(agent.fetch(&path("dir/file"), old).1, FetchEnd::Complete(_)));
        change(&at, &old);
        assert_eq!(agent.remove(&path("dir/file"), old), RemoveEnd::Changed, "{what}");
        assert!(std::fs::symlink_metadata(&at).is_ok(), "{what}");
    }
}

#[test]
fn a_file_that_somebody_may_write_to_is_kept_until_he_closes_it() {
    let root = tempfile::tempdir().unwrap();
    let at = root.path().join("log.csv");
    write(&at, b"1,2,3\n");
    let identity = identity(&at);
    let mut agent = Agent::open(root.path());
    for options in [File::options().append(true), File::options().write(true), File::options().read(true).write(true)] {
        let writer = options.open(&at).unwrap();
        assert_eq!(agent.remove(&path("log.csv"), identity), RemoveEnd::Busy);
        drop(writer);
    }
    let _reader = File::open(&at).unwrap();
    assert_eq!(agent.remove(&path("log.csv"), identity), RemoveEnd::Removed);
}

/// Another process, and a file system that knows no leases: then the look at `/proc` decides.
#[test]
fn without_leases_a_writer_in_another_process_is_seen() {
    let root = tempfile::tempdir().unwrap();
    let at = root.path().join("log.csv");
    write(&at, b"1,2,3\n");
    let file = FileRef { id: 1, path: path("log.csv"), identity: identity(&at) };
    let rooted = Rooted::open(root.path()).unwrap();
    let unknown: fn(&File) -> Lease = |_| Lease::Unknown;
    // `cat` holds its output, the file, until its input ends.
    let mut writer = std::process::Command::new("cat")
        .stdin(std::process::Stdio::piped())
        .stdout(File::options().append(true).open(&at).unwrap())
        .spawn()
        .unwrap();
    let mut writers = Writers::of([file.identity].iter());
    assert_eq!(remove(&rooted, &file, &mut writers, unknown), RemoveEnd::Busy);
    assert_eq!(remove(&rooted, &file, &mut writers, lease::take), RemoveEnd::Busy);
    drop(writer.stdin.take());
    writer.wait().unwrap();
    let mut writers = Writers::of([file.identity].iter());
    if writers.is_blind() {
        // Without root's eyes, nobody seen is not nobody.
        assert!(matches!(remove(&rooted, &file, &mut writers, unknown), RemoveEnd::Failed(_)));
    } else {
        assert_eq!(remove(&rooted, &file, &mut writers, unknown), RemoveEnd::Removed);
        assert!(!at.exists());
    }
}

/// What may happen in the middle of a removal, after the first look at the file: here, when the lease is asked for.
#[test]
fn what_happens_after_the_first_check_is_seen_by_the_last() {
    fn path_of(file: &File) -> PathBuf {
        std::fs::read_link(format!("/proc/self/fd/{}", file.as_raw_fd())).unwrap()
    }
    fn written(file: &File) -> Lease {
        let at = path_of(file);
        let old = identity(&at);
        std::fs::write(&at, b"CONTENT").unwrap();
        restore_mtime(&at, &old);
        lease::take(file)
    }
    fn replaced(file: &File) -> Lease {
        let (at, old) = (path_of(file), identity(&path_of(file)));
        // The old file lives on under another name, so that only the name tells.
        std::fs::rename(&at, at.with_extension("old")).unwrap();
        std::fs::write(&at, b"CONTENT").unwrap();
        restore_mtime(&at, &old);
        lease::take(file)
    }
    fn gone(file: &File) -> Lease {
        let lease = lease::take(file);
        std::fs::remove_file(path_of(file)).unwrap();
        lease
    }
    fn about_to_be_written(file: &File) -> Lease {
        let lease = lease::take(file);
        // He waits until the lease ends; this one is told so at once instead.
        let writer = File::options().append(true).custom_flags(libc::O_NONBLOCK).open(path_of(file));
        assert_eq!(writer.unwrap_err().kind(), io::ErrorKind::WouldBlock);
        lease
    }
    type Meanwhile = fn(&File) -> Lease;
    let table: [(&str, Meanwhile, RemoveEnd, &[u8]); 4] = [
        ("written", written, RemoveEnd::Changed, b"CONTENT"),
        ("replaced", replaced, RemoveEnd::Changed, b"CONTENT"),
        ("gone", gone, RemoveEnd::Changed, b""),
        ("about to be written", about_to_be_written, RemoveEnd::Busy, b"content"),
    ];
    for (what, meanwhile, expected, kept) in table {
        let root = tempfile::tempdir().unwrap();
        let at = root.path().join("file");
        write(&at, b"content");
        let mut agent = Agent::open(root.path());
        let file = FileRef { id: 1, path: path("file"), identity: identity(&at) };
        assert!(matches!(agent.fetch(&file.path, file.identity).1, FetchEnd::Complete(_)));
        let rooted = Rooted::open(root.path()).unwrap();
        let mut writers = Writers::of([file.identity].iter());
        assert_eq!(remove(&rooted, &file, &mut writers, meanwhile), expected, "{what}");
        assert_eq!(std::fs::read(&at).unwrap_or_default(), kept, "{what}");
    }
}
