use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::symlink;

use rustix::fs::{FileType, Mode, OFlags, mkdirat, mknodat, openat};

use super::*;
use crate::path::MAX_PATH_BYTES;

#[test]
fn lists_what_is_there_each_as_what_it_is() {
    let temp = tempfile::tempdir().unwrap();
    let root = temp.path().join("root");
    let at = |name: &[u8]| root.join(std::ffi::OsStr::from_bytes(name));
    let longest = [b'n'; 255];
    let names: [&[u8]; 12] = [
        b"empty",
        b"2026-11-21/cam 1/a.jpg",
        b"-rf",
        b"a\nb",
        b"\xff\xfe",
        b"*?[x]'\"",
        b"trailing ",
        b"...",
        "e\u{301}".as_bytes(),
        "\u{e9}".as_bytes(),
        "\u{1f41d}".as_bytes(),
        &longest,
    ];
    for name in names {
        write(&at(name), if name == b"empty" { b"" } else { name });
    }
    write(&temp.path().join("outside"), b"secret");
    for dir in [&b"none"[..], b"deep/er/none"] {
        std::fs::create_dir_all(at(dir)).unwrap();
    }
    symlink("empty", at(b"to file")).unwrap();
    symlink("2026-11-21", at(b"to dir")).unwrap();
    symlink("../outside", at(b"2026-11-21/out")).unwrap();
    symlink("nowhere", at(b"dangling")).unwrap();
    mknodat(rustix::fs::CWD, at(b"fifo"), FileType::Fifo, Mode::RWXU, 0).unwrap();
    let _socket = std::os::unix::net::UnixListener::bind(at(b"socket")).unwrap();

    let mut agent = Agent::open(&root);
    let listing = agent.scan();
    let path = |name: &[u8]| RelPath::new(name).unwrap();
    assert_eq!(listing.files, names.map(|name| (path(name), identity(&at(name)))).into());
    let kinds = [
        (&b"to file"[..], OtherKind::Symlink),
        (b"to dir", OtherKind::Symlink),
        (b"2026-11-21/out", OtherKind::Symlink),
        (b"dangling", OtherKind::Symlink),
        (b"fifo", OtherKind::Special),
        (b"socket", OtherKind::Special),
    ];
    assert_eq!(listing.others, kinds.map(|(name, kind)| (path(name), kind)).into());
    let empty = [&b"none"[..], b"deep/er/none"].map(|name| (path(name), identity(&at(name)).mtime_ns));
    assert_eq!(listing.empty, empty.into());
    assert_eq!(listing.unreadable, []);
    assert_eq!(agent.scan(), listing, "a scan may be repeated");
    agent.end();
}

#[test]
fn an_empty_source_is_not_an_empty_directory_to_prune() {
    let root = tempfile::tempdir().unwrap();
    assert_eq!(Agent::open(root.path()).scan(), Listing::default());
}

#[test]
fn a_source_may_be_named_by_a_link() {
    let temp = tempfile::tempdir().unwrap();
    write(&temp.path().join("card/a"), b"a");
    symlink("card", temp.path().join("data")).unwrap();
    let listing = Agent::open(&temp.path().join("data")).scan();
    assert_eq!(listing.files.into_keys().collect::<Vec<_>>(), [path("a")]);
}

#[test]
fn a_source_that_is_a_file_is_said() {
    let temp = tempfile::tempdir().unwrap();
    write(&temp.path().join("file"), b"");
    let listing = Agent::open(&temp.path().join("file")).scan();
    assert_eq!(listing.unreadable, [(None, "not a directory".to_owned())]);
}

/// Paths of 4,096 bytes are files like others, in two shapes: few long names, and as many levels as there can be.
#[test]
fn the_longest_paths_are_found_and_what_is_longer_is_reported_once() {
    for name_bytes in [200, 1] {
        let temp = tempfile::tempdir().unwrap();
        let root = Rooted::open(temp.path()).unwrap();
        let mut deep = path(&"d".repeat(name_bytes));
        while deep.as_bytes().len() + 1 + name_bytes + 2 <= MAX_PATH_BYTES {
            deep = deep.join(&vec![b'd'; name_bytes]).unwrap();
        }
        root.make_dirs(&deep).unwrap();
        let dir = root.open_dir(&deep).unwrap();
        let fits = vec![b'f'; MAX_PATH_BYTES - deep.as_bytes().len() - 1];
        let create = OFlags::WRONLY | OFlags::CREATE | OFlags::CLOEXEC;
        openat(&dir, &fits[..], create, Mode::RUSR).unwrap();
        let longer = fits.len() + 1;
        for letter in [b'x', b'y'] {
            openat(&dir, &vec![letter; longer][..], create, Mode::RUSR).unwrap();
        }
        mkdirat(&dir, &vec![b'z'; longer][..], Mode::RWXU).unwrap();
        write(&temp.path().join("z"), b"last");

        let mut agent = Agent::open(temp.path());
        let listing = agent.scan();
        let longest = deep.join(&fits).unwrap();
        assert_eq!(longest.as_bytes().len(), MAX_PATH_BYTES);
        assert_eq!(listing.files.keys().collect::<Vec<_>>(), [&longest, &path("z")]);
        let reason = "it holds paths of more than 4096 bytes".to_owned();
        assert_eq!(listing.unreadable, [(Some(deep), reason)]);
        // And they can be read and removed.
        let identity = listing.files[&longest];
        assert!(matches!(agent.fetch(&longest, identity), (content, FetchEnd::Complete(_)) if content.is_empty()));
        assert_eq!(agent.remove(&longest, identity), RemoveEnd::Removed);
        agent.end();
    }
}

/// Every Linux has `/dev`, file systems mounted below it, and devices that must not be opened.
#[test]
fn devices_are_left_alone_and_a_mounted_file_system_is_not_entered() {
    let others = Agent::open(Path::new("/dev")).scan().others;
    let mounted = identity(Path::new("/dev/pts")).dev != identity(Path::new("/dev")).dev;
    assert!(mounted, "this test needs a /dev/pts");
    assert_eq!(others.get(&path("pts")), Some(&OtherKind::MountPoint));
    assert_eq!(others.get(&path("null")), Some(&OtherKind::Special));
    assert!(others.keys().all(|other| !other.as_bytes().starts_with(b"pts/")));
}
