//! What the agent may not read, write or open is said, and hinders nothing else.

use std::fs::Permissions;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::process::CommandExt;

use super::*;
use pipeline_core::wire::{FetchEnd, RemoveEnd};

/// For root nothing is unreadable, so the agent runs as somebody else where the tests run as root.
const NOBODY: u32 = 65_534;

fn set_mode(at: &Path, mode: u32) {
    std::fs::set_permissions(at, Permissions::from_mode(mode)).unwrap();
}

/// An agent without rights over what others own. The program is copied to where everybody may run it.
fn unprivileged(temp: &Path, root: &Path) -> Agent {
    set_mode(temp, 0o755);
    let program = temp.join("agent");
    std::fs::copy(PROGRAM, &program).unwrap();
    let mut command = Command::new(program);
    if rustix::process::geteuid().is_root() {
        command.uid(NOBODY).gid(NOBODY);
    }
    Agent::run(command.arg("serve").arg("--root").arg(root), root)
}

#[test]
fn what_may_not_be_read_or_removed_is_reported() {
    let temp = tempfile::tempdir().unwrap();
    let root = temp.path().join("root");
    for dir in ["closed", "read-only"] {
        std::fs::create_dir_all(root.join(dir)).unwrap();
    }
    for name in ["closed/file", "read-only/file", "unreadable", "readable"] {
        std::fs::write(root.join(name), name).unwrap();
    }
    let identity = |name: &str| {
        let stat = std::fs::metadata(root.join(name)).unwrap();
        let ns = |seconds: i64, nanoseconds: i64| seconds * 1_000_000_000 + nanoseconds;
        Identity {
            dev: stat.dev(),
            ino: stat.ino(),
            size: stat.size(),
            mtime_ns: ns(stat.mtime(), stat.mtime_nsec()),
            ctime_ns: ns(stat.ctime(), stat.ctime_nsec()),
        }
    };
    set_mode(&root.join("unreadable"), 0o000);
    set_mode(&root.join("readable"), 0o644);
    // What the agent's user owns fails for its rights alone; what it does not own, for that already.
    let as_root = rustix::process::geteuid().is_root();
    for name in ["closed/file", "read-only/file", "unreadable"].iter().filter(|_| as_root) {
        std::os::unix::fs::chown(root.join(name), Some(NOBODY), Some(NOBODY)).unwrap();
    }
    let closed = identity("closed/file");
    set_mode(&root.join("closed"), 0o000);
    set_mode(&root.join("read-only"), 0o555);
    set_mode(&root, 0o777);

    let mut agent = unprivileged(temp.path(), &root);
    let (mut found, mut unreadable) = (Vec::new(), Vec::new());
    agent.scan(
        |entry| found.push(entry.path),
        |other| match other {
            Reply::Unreadable { path, reason } => unreadable.push((path, reason.to_owned())),
            other => panic!("{other:?}"),
        },
    );
    found.sort();
    assert_eq!(found, ["read-only/file", "readable", "unreadable"].map(path));
    let denied = "permission denied".to_owned();
    assert_eq!(unreadable, [(Some(path("closed")), denied.clone())]);

    for (name, identity) in [("unreadable", identity("unreadable")), ("closed/file", closed)] {
        agent.ask(&Request::Fetch { file: file(name, identity), known: vec![] });
        assert_eq!(agent.next(), Reply::Fetched { id: 1, end: FetchEnd::Failed(denied.clone()) }, "{name}");
        agent.ask(&Request::Remove(vec![file(name, identity)]));
        assert_eq!(agent.next(), Reply::Removed { id: 1, end: RemoveEnd::Failed(denied.clone()) }, "{name}");
    }
    let kept = file("read-only/file", identity("read-only/file"));
    agent.ask(&Request::Remove(vec![kept]));
    assert_eq!(agent.next(), Reply::Removed { id: 1, end: RemoveEnd::Failed(denied) });
    assert!(root.join("read-only/file").exists());

    // A file of somebody else: its access time can't be spared and it gets no lease, but it is readable, and its directory ours.
    let readable = file("readable", identity("readable"));
    agent.ask(&Request::Fetch { file: readable.clone(), known: vec![] });
    assert_eq!(agent.next(), Reply::Data(b"readable"));
    assert!(matches!(agent.next(), Reply::Fetched { end: FetchEnd::Complete(_), .. }));
    if as_root {
        agent.ask(&Request::Remove(vec![readable]));
        // Who writes to it can't be seen, so it stays.
        assert!(
            matches!(agent.next(), Reply::Removed { end: RemoveEnd::Failed(why), .. } if why.contains("another user"))
        );
        assert!(root.join("readable").exists());
    }
    agent.end();
    set_mode(&root.join("closed"), 0o755);
    set_mode(&root.join("read-only"), 0o755);
}

/// Each level of a scan holds a descriptor. Where the system allows too few, what lies deeper is reported, and the rest is found.
#[test]
fn too_few_descriptors_cost_only_what_lies_deepest() {
    let root = tempfile::tempdir().unwrap();
    let deep = "d/".repeat(100);
    std::fs::create_dir_all(root.path().join(&deep)).unwrap();
    std::fs::write(root.path().join(&deep).join("file"), b"").unwrap();
    std::fs::write(root.path().join("beside"), b"").unwrap();
    let mut command = Command::new("sh");
    command.args(["-c", "ulimit -n 40 && exec \"$0\" serve --root \"$1\"", PROGRAM]).arg(root.path());
    let mut agent = Agent::run(&mut command, root.path());
    let (mut found, mut unreadable) = (Vec::new(), Vec::new());
    agent.scan(
        |entry| found.push(entry.path),
        |other| match other {
            Reply::Unreadable { path, reason } => unreadable.push((path.unwrap(), reason.to_owned())),
            other => panic!("{other:?}"),
        },
    );
    assert_eq!(found, [path("beside")]);
    assert_eq!(unreadable.len(), 1);
    let (dir, reason) = &unreadable[0];
    assert_eq!(reason, "too many open files");
    assert!((20..40).contains(&dir.components().count()), "{dir}");
    agent.end();
    // The soft limit alone is no hindrance.
    let mut command = Command::new("sh");
    command.args(["-c", "ulimit -S -n 40 && exec \"$0\" serve --root \"$1\"", PROGRAM]).arg(root.path());
    let mut agent = Agent::run(&mut command, root.path());
    let mut found = 0;
    agent.scan(|_| found += 1, |other| panic!("{other:?}"));
    assert_eq!(found, 2);
    agent.end();
}
