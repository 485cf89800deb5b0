#![allow(clippy::unwrap_used)]

use std::io::{Read, Write};
use std::os::unix::fs::symlink;

use super::*;

type Resolve = fn(BorrowedFd<'_>, &RelPath, OFlags, Mode) -> Result<OwnedFd>;

/// The second is what old kernels get; both must agree.
const WAYS: [(&str, Resolve); 2] = [("by kernel", by_kernel), ("by steps", by_steps)];

fn path(text: &str) -> RelPath {
    RelPath::new(text).unwrap()
}

/// `outside/secret` beside `root/`, which holds `a/b/file` and links at each position.
fn tree() -> (tempfile::TempDir, Rooted) {
    let temp = tempfile::tempdir().unwrap();
    let at = |p: &str| temp.path().join(p);
    std::fs::create_dir_all(at("outside/b")).unwrap();
    std::fs::write(at("outside/b/file"), "secret").unwrap();
    std::fs::create_dir_all(at("root/a/b")).unwrap();
    std::fs::write(at("root/a/b/file"), "plain").unwrap();
    symlink(at("outside"), at("root/first")).unwrap();
    symlink(at("outside/b"), at("root/a/middle")).unwrap();
    symlink(at("outside/b/file"), at("root/a/b/last")).unwrap();
    symlink("../a", at("root/a/inside")).unwrap();
    symlink("nowhere", at("root/dangling")).unwrap();
    symlink("/proc/self/root", at("root/magic")).unwrap();
    let root = Rooted::open(&at("root")).unwrap();
    (temp, root)
}

#[test]
fn a_symlink_at_any_position_is_an_error() {
    let (_temp, root) = tree();
    let links = ["first/b/file", "a/middle/file", "a/b/last", "a/inside/b/file", "dangling", "magic/etc/passwd"];
    for (way, resolve) in WAYS {
        let open = |p: &str, flags| resolve(root.as_fd(), &path(p), flags, Mode::empty()).map(drop);
        assert_eq!(open("a/b/file", OFlags::RDONLY), Ok(()), "{way}");
        for link in links {
            for flags in [OFlags::RDONLY | FILE, OFlags::WRONLY | FILE] {
                assert_eq!(open(link, flags), Err(Errno::LOOP), "{way}: {link}");
            }
        }
        for link in ["first", "first/b", "a/middle", "a/inside"] {
            assert_eq!(open(link, DIRECTORY), Err(Errno::LOOP), "{way}: {link}");
        }
        assert_eq!(open("a/b/file/x", OFlags::RDONLY), Err(Errno::NOTDIR), "{way}");
        assert_eq!(open("a/none/x", OFlags::RDONLY), Err(Errno::NOENT), "{way}");
    }
}

#[test]
fn nothing_is_created_or_looked_at_through_a_symlink() {
    let (temp, root) = tree();
    for (_, resolve) in WAYS {
        let create = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | FILE;
        let error = resolve(root.as_fd(), &path("first/new"), create, Mode::RWXU).unwrap_err();
        assert_eq!(error, Errno::LOOP);
    }
    assert_eq!(root.make_dirs(&path("first/new")), Err(Errno::LOOP));
    assert_eq!(root.make_dirs(&path("dangling/new")), Err(Errno::LOOP));
    assert_eq!(root.parent(&path("first/b/file")).unwrap_err(), Errno::LOOP);
    assert_eq!(root.stat(&path("first/b/file")).unwrap_err(), Errno::LOOP);
    assert_eq!(file_type(&root.stat(&path("first")).unwrap()), FileType::Symlink);
    assert!(!temp.path().join("outside/new").exists());
    assert!(!temp.path().join("root/nowhere").exists());
}

#[test]
fn only_regular_files_are_opened_and_a_fifo_does_not_block() {
    let (_temp, root) = tree();
    fs::mknodat(&root, "fifo", FileType::Fifo, Mode::RWXU, 0).unwrap();
    let open = |p: &str| root.open_file(&path(p), OFlags::RDONLY, Mode::empty()).map(drop);
    assert_eq!(open("fifo"), Err(Errno::NXIO));
    assert_eq!(open("a/b"), Err(Errno::ISDIR));
    assert_eq!(open("a/b/last"), Err(Errno::LOOP));
    assert_eq!(open("a/b/file"), Ok(()));
}

#[test]
fn files_are_created_and_read_back() {
    let (_temp, root) = tree();
    let create = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL;
    for name in [&b"new"[..], b"a/\xff\xfe", b"a/-rf", b"a/ ", b"a/...", b"a/line\nbreak", &[b'n'; 255]] {
        let path = RelPath::new(name).unwrap();
        root.open_file(&path, create, Mode::RUSR | Mode::WUSR).unwrap().write_all(name).unwrap();
        let mut content = Vec::new();
        let mut file = root.open_file(&path, OFlags::RDONLY, Mode::empty()).unwrap();
        file.read_to_end(&mut content).unwrap();
        assert_eq!(content, name);
        assert_eq!(root.open_file(&path, create, Mode::RWXU).unwrap_err(), Errno::EXIST);
    }
    assert_eq!(
        root.open_file(&RelPath::new([b'n'; 256]).unwrap(), create, Mode::RWXU).unwrap_err(),
        Errno::NAMETOOLONG
    );
}

#[test]
fn paths_of_the_greatest_length_work() {
    let (_temp, root) = tree();
    // 4,096 bytes: one more than a system call takes.
    let deep = path(&format!("{}{}/f", format!("{}/", "d".repeat(255)).repeat(15), "e".repeat(254)));
    assert_eq!(deep.as_bytes().len(), crate::path::MAX_PATH_BYTES);
    let dir = deep.parent().unwrap();
    assert_eq!(root.make_dirs(&dir).unwrap().len(), 16);
    root.open_file(&deep, OFlags::WRONLY | OFlags::CREATE, Mode::RWXU).unwrap().write_all(b"deep").unwrap();
    assert_eq!(root.stat(&deep).unwrap().st_size, 4);
    assert_eq!(by_kernel(root.as_fd(), &deep, OFlags::RDONLY, Mode::empty()).unwrap_err(), Errno::NAMETOOLONG);
    let (parent, name) = root.parent(&deep).unwrap();
    fs::unlinkat(parent, name, AtFlags::empty()).unwrap();
    assert_eq!(root.stat(&deep).unwrap_err(), Errno::NOENT);
}

#[test]
fn directories_are_made_once_and_named_topmost_first() {
    let (_temp, root) = tree();
    let made = |p: &str| root.make_dirs(&path(p)).map(|m| m.iter().map(RelPath::to_string).collect::<Vec<_>>());
    assert_eq!(made("a/x/y/z").unwrap(), ["a/x", "a/x/y", "a/x/y/z"]);
    assert_eq!(made("a/x/y/z").unwrap(), [""; 0]);
    assert_eq!(made("a/x/w").unwrap(), ["a/x/w"]);
    assert_eq!(made("a/b/file"), Err(Errno::NOTDIR));
    assert_eq!(made("a/b/file/x"), Err(Errno::NOTDIR));
    assert!(root.open_dir(&path("a/x/y/z")).is_ok());
}
