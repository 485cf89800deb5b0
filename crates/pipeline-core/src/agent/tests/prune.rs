use std::os::unix::fs::symlink;

use super::*;

const HOUR: Duration = Duration::from_secs(3600);

#[test]
fn removes_what_is_empty_and_quiet_and_nothing_else() {
    let root = tempfile::tempdir().unwrap();
    let at = |name: &str| root.path().join(name);
    for dir in ["old/er", "new", "future", "full", "target"] {
        std::fs::create_dir_all(at(dir)).unwrap();
    }
    write(&at("full/file"), b"");
    write(&at("file"), b"");
    symlink("target", at("link")).unwrap();
    let set_age = |name: &str, modified| std::fs::File::open(at(name)).unwrap().set_modified(modified).unwrap();
    let now = std::time::SystemTime::now();
    for dir in ["old/er", "full", "file", "target"] {
        set_age(dir, now - 2 * HOUR);
    }
    set_age("future", now + HOUR);

    let mut agent = Agent::open(root.path());
    let dirs = ["old/er", "new", "future", "full", "file", "link", "none", "none/none"];
    let removed = [true, false, false, false, false, false, true, true];
    assert_eq!(agent.prune(&dirs, HOUR), removed);
    assert!(!at("old/er").exists());
    for kept in ["old", "new", "full/file", "file", "link", "target", "future"] {
        assert!(std::fs::symlink_metadata(at(kept)).is_ok(), "{kept}");
    }
    // The time of the parent is that of the removal: it stays for this hour.
    assert_eq!(agent.prune(&["old"], HOUR), [false]);
    assert_eq!(agent.prune(&["old", "new", "future"], Duration::ZERO), [true, true, false]);
    agent.end();
}

#[test]
fn does_not_prune_through_a_link() {
    let temp = tempfile::tempdir().unwrap();
    std::fs::create_dir_all(temp.path().join("outside/empty")).unwrap();
    std::fs::create_dir(temp.path().join("root")).unwrap();
    symlink("../outside", temp.path().join("root/link")).unwrap();
    let mut agent = Agent::open(&temp.path().join("root"));
    assert_eq!(agent.prune(&["link/empty", "link"], Duration::ZERO), [false, false]);
    assert!(temp.path().join("outside/empty").exists());
}
