use std::io::{Read, Seek, SeekFrom};
use std::os::unix::fs::symlink;

use super::*;
use crate::digest::Digest;
use crate::wire::MAX_DATA_BYTES;

type Change = fn(&Path, &Identity);

/// More than the sockets and one frame hold: while nobody reads, the agent stands in the middle of the file.
const BIG: usize = 4 << 20;

#[test]
fn files_of_every_size_arrive_whole_and_in_order() {
    let root = tempfile::tempdir().unwrap();
    let content = noise(3 * MAX_DATA_BYTES);
    let sizes = [0, 1, 127, 128, 16_383, 16_384, MAX_DATA_BYTES - 1, MAX_DATA_BYTES, MAX_DATA_BYTES + 1, content.len()];
    let mut agent = Agent::open(root.path());
    for (id, &size) in (0..).zip(&sizes) {
        let name = path(&format!("{size}.dat"));
        write(&root.path().join(name.as_path()), &content[..size]);
        let identity = identity(&root.path().join(name.as_path()));
        agent.ask(&Request::Fetch { file: FileRef { id, path: name, identity }, known: vec![] });
    }
    for (id, &size) in (0..).zip(&sizes) {
        let (seen, end) = agent.fetched(id);
        assert!(seen == content[..size], "{size} bytes");
        assert_eq!(end, FetchEnd::Complete(Digest::of(&content[..size])));
    }
    agent.end();
}

#[test]
fn a_file_that_is_another_than_the_one_scanned_is_not_sent() {
    let table: [(&str, Change, FetchEnd); 9] = [
        ("appended to", |at, _| append(at, b"more"), FetchEnd::Changed),
        (
            "truncated",
            |at, _| std::fs::File::options().write(true).open(at).unwrap().set_len(3).unwrap(),
            FetchEnd::Changed,
        ),
        (
            "rewritten with size and mtime as before",
            |at, old| {
                std::fs::write(at, b"CONTENT").unwrap();
                restore_mtime(at, old);
            },
            FetchEnd::Changed,
        ),
        (
            "replaced by rename, with size and mtime as before",
            |at, old| {
                std::fs::write(at.with_extension("new"), b"CONTENT").unwrap();
                std::fs::rename(at.with_extension("new"), at).unwrap();
                restore_mtime(at, old);
            },
            FetchEnd::Changed,
        ),
        ("removed", |at, _| std::fs::remove_file(at).unwrap(), FetchEnd::Gone),
        (
            "replaced by a directory",
            |at, _| {
                std::fs::remove_file(at).unwrap();
                std::fs::create_dir(at).unwrap();
            },
            FetchEnd::Changed,
        ),
        (
            "replaced by a link to the same content",
            |at, _| {
                std::fs::rename(at, at.with_file_name("moved")).unwrap();
                symlink("moved", at).unwrap();
            },
            FetchEnd::Changed,
        ),
        (
            "below a directory that is a link to where it was moved",
            |at, _| {
                let dir = at.parent().unwrap();
                std::fs::rename(dir, dir.with_file_name("moved")).unwrap();
                symlink("moved", dir).unwrap();
            },
            FetchEnd::Changed,
        ),
        (
            "below a directory that is gone",
            |at, _| std::fs::remove_dir_all(at.parent().unwrap()).unwrap(),
            FetchEnd::Gone,
        ),
    ];
    for (what, change, expected) in table {
        let root = tempfile::tempdir().unwrap();
        let at = root.path().join("dir/file");
        write(&at, b"content");
        let mut agent = Agent::open(root.path());
        let old = agent.scan().files[&path("dir/file")];
        // A change within the same tick of the clock would not show in ctime, which is what the wait in a fetch is for.
        assert!(
            matches!(agent.fetch(&path("dir/file"), old), (content, FetchEnd::Complete(_)) if content == b"content")
        );
        change(&at, &old);
        assert_eq!(agent.fetch(&path("dir/file"), old), (vec![], expected), "{what}");
    }
}

#[test]
fn no_link_leads_out_of_the_root() {
    let temp = tempfile::tempdir().unwrap();
    write(&temp.path().join("outside/file"), b"secret");
    std::fs::create_dir(temp.path().join("root")).unwrap();
    symlink("../outside", temp.path().join("root/dir")).unwrap();
    symlink("../outside/file", temp.path().join("root/file")).unwrap();
    symlink("/proc/self/root", temp.path().join("root/magic")).unwrap();
    let identity = identity(&temp.path().join("outside/file"));
    let mut agent = Agent::open(&temp.path().join("root"));
    let magic = format!("magic{}", temp.path().join("outside/file").display());
    for link in ["dir/file", "file", &magic] {
        assert_eq!(agent.fetch(&path(link), identity), (vec![], FetchEnd::Changed), "{link}");
        assert_eq!(agent.remove(&path(link), identity), RemoveEnd::Changed, "{link}");
    }
    assert!(temp.path().join("outside/file").exists());
}

/// Changes a file while it is being read, and returns what arrived, and how the reading ended.
fn fetch_while(change: Change) -> (Vec<u8>, Vec<u8>, FetchEnd) {
    let root = tempfile::tempdir().unwrap();
    let at = root.path().join("file");
    let content = noise(BIG);
    write(&at, &content);
    let old = identity(&at);
    let mut agent = Agent::open(root.path());
    agent.ask(&Request::Fetch { file: FileRef { id: 1, path: path("file"), identity: old }, known: vec![] });
    let mut seen = match agent.replies.next::<Reply<'_>>().unwrap().unwrap() {
        Reply::Data(bytes) => bytes.to_vec(),
        other => panic!("{other:?}"),
    };
    change(&at, &old);
    let (rest, end) = agent.fetched(1);
    seen.extend(rest);
    agent.end();
    (content, seen, end)
}

#[test]
fn a_file_that_grows_stops_at_its_size_and_is_no_complete_one() {
    let (content, seen, end) = fetch_while(|at, _| append(at, &[7; 100_000]));
    assert!(seen == content);
    assert_eq!(end, FetchEnd::Changed);
}

#[test]
fn a_file_that_shrinks_or_changes_under_the_reader_is_no_complete_one() {
    let table: [(&str, Change); 4] = [
        ("truncated", |at, _| std::fs::File::options().write(true).open(at).unwrap().set_len(BIG as u64 / 2).unwrap()),
        ("changed at its end, with size and mtime as before", |at, old| {
            let mut file = std::fs::File::options().write(true).open(at).unwrap();
            file.seek(SeekFrom::End(-10)).unwrap();
            file.write_all(b"0123456789").unwrap();
            drop(file);
            restore_mtime(at, old);
        }),
        ("changed where it was read already, with size and mtime as before", |at, old| {
            std::fs::File::options().write(true).open(at).unwrap().write_all(b"0123456789").unwrap();
            restore_mtime(at, old);
        }),
        ("removed", |at, _| std::fs::remove_file(at).unwrap()),
    ];
    for (what, change) in table {
        let (content, seen, end) = fetch_while(change);
        assert!(seen.len() <= content.len(), "{what}");
        assert_eq!(end, FetchEnd::Changed, "{what}");
    }
}

/// A program that has the file mapped writes without a system call. See `make_changes_visible`.
#[test]
fn a_change_through_a_mapping_shows_in_ctime_or_keeps_the_file_busy() {
    // Not /tmp, which may be in memory: such files have no pages to be written back.
    let root = tempfile::tempdir_in("/var/tmp").unwrap();
    let at = root.path().join("file");
    write(&at, &[1; 4096]);
    let mapped = Mapped::new(&at);
    mapped.write(2);
    let old = identity(&at);
    let mut agent = Agent::open(root.path());
    let (content, end) = agent.fetch(&path("file"), old);
    assert_eq!((content[0], &end), (2, &FetchEnd::Complete(Digest::of(&content))));
    assert_eq!(agent.remove(&path("file"), old), RemoveEnd::Busy);
    mapped.write(3);
    drop(mapped);
    assert_eq!(agent.remove(&path("file"), old), RemoveEnd::Changed);
    let mut seen = [0];
    std::fs::File::open(&at).unwrap().read_exact(&mut seen).unwrap();
    assert_eq!(seen, [3]);
}

/// The first page of a file, mapped for writing; the file itself is closed.
struct Mapped(std::ptr::NonNull<u8>);

#[allow(unsafe_code)]
impl Mapped {
    fn new(at: &Path) -> Mapped {
        use std::os::fd::AsRawFd;
        let file = std::fs::File::options().read(true).write(true).open(at).unwrap();
        let protection = libc::PROT_READ | libc::PROT_WRITE;
        // SAFETY: a new mapping of a whole page of an open file, at an address that the kernel chooses.
        let page = unsafe { libc::mmap(std::ptr::null_mut(), 4096, protection, libc::MAP_SHARED, file.as_raw_fd(), 0) };
        assert_ne!(page, libc::MAP_FAILED);
        Mapped(std::ptr::NonNull::new(page.cast()).unwrap())
    }

    fn write(&self, byte: u8) {
        // SAFETY: the page is mapped for writing until this is dropped, and nobody else has the pointer.
        unsafe { self.0.as_ptr().write_volatile(byte) };
    }
}

#[allow(unsafe_code)]
impl Drop for Mapped {
    fn drop(&mut self) {
        // SAFETY: it was mapped by `new`, with this length, and is not used again.
        let unmapped = unsafe { libc::munmap(self.0.as_ptr().cast(), 4096) };
        assert_eq!(unmapped, 0);
    }
}
