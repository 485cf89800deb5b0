//! Runs that end while archived content makes room.

use std::cell::Cell;
use std::collections::HashSet;
use std::os::unix::process::ExitStatusExt;

use super::*;
use crate::archive::commit::Step;

const STEP: &str = "PIPELINE_TEST_STEP";

/// Path, what the archive holds, what the device has.
const FILES: [(&str, &[u8], &[u8]); 4] = [
    ("log", b"1,2\n", b"1,2\n3,4\n"),
    ("conf", b"old", b"new"),
    ("state", b"before", b"after"),
    ("seen", b"from the loop", b"from the loop"),
];

fn held(archive: &Archive, path: &str, content: &[u8]) -> Held {
    let whole = Prefix { bytes: content.len() as u64, digest: Digest::of(content) };
    archive.held(&target(archive, path), whole).unwrap().unwrap()
}

/// Steps of one visit: each file arrived, then those of both halves, and what is written down in between.
#[test]
#[ignore = "a part of another test, which runs it in a process of its own"]
fn a_visit_that_aborts() {
    let Some(dir) = child_dir() else { return };
    let last: usize = std::env::var(STEP).unwrap().parse().unwrap();
    let passed = Cell::new(0);
    let step = || {
        if passed.get() == last {
            std::process::abort();
        }
        passed.set(passed.get() + 1);
    };
    let archive = Archive::open(&dir, "collector", ReadBack::Auto).unwrap();
    let staging = archive.staging(&device()).unwrap();
    let mut arrived = Vec::new();
    for (path, old, new) in FILES {
        arrived.push(match path {
            "log" => {
                let known = held(&archive, path, old);
                let mut incoming = staging.onto(&known, Yields::Version, rel(path), identity(new)).unwrap();
                incoming.write(&new[old.len()..]).unwrap();
                Arrived::Staged(incoming.finish(&Digest::of(new)).unwrap())
            }
            "state" => {
                let over = Target::Over(held(&archive, path, old), Yields::Replace);
                arrive(&staging, path, new, over)
            }
            _ => receive(&archive, &staging, path, new, Yields::Version),
        });
        step();
    }
    let prepared = prepare::prepare(&archive.store, &device(), arrived, &|_: Step| step()).unwrap();
    std::fs::write(dir.join(PRIVATE_DIR).join("noted"), "").unwrap();
    step();
    commit::commit(&archive.store, "2026-11-21", prepared, Noted::by_nobody(), &|_: Step| step()).unwrap();
}

#[test]
fn killed_at_any_step_the_old_content_has_a_name_and_the_next_run_ends_the_work() {
    for links in [true, false] {
        for last in 0.. {
            let storage = if links { Storage::new() } else { Storage::without_links() };
            let old: Vec<_> = FILES[..3].iter().map(|(path, old, _)| (*path, *old)).collect();
            store(&storage.open(), &old);
            std::fs::write(storage.path().join("raspberry31/seen"), FILES[3].1).unwrap();
            let mut command = child(&[], "crash_room::a_visit_that_aborts", storage.path());
            let output = command.env(STEP, last.to_string()).output().unwrap();
            if output.status.success() {
                // Four arrived, hardened, kept, noted, four placed, directories, manifest.
                assert_eq!(last, 4 + 1 + 1 + 1 + 4 + 1 + 1);
                break;
            }
            assert_eq!(output.status.signal(), Some(6), "{}", String::from_utf8_lossy(&output.stderr));

            let noted = storage.path().join(PRIVATE_DIR).join("noted").exists();
            let archive = storage.open();
            let kept: Vec<Vec<u8>> = storage.versions().into_iter().map(|(_, content)| content).collect();
            for (path, old, new) in FILES {
                let there = storage.content(&target(&archive, path)).unwrap();
                assert!(there == old || there == new, "after step {last}: {path} holds {there:?}");
                let has_name = there.starts_with(old) || kept.iter().any(|content| content == old);
                assert!(has_name || noted && path == "state", "after step {last}: {path} lost {old:?}");
            }
            assert!(kept.iter().all(|content| content == b"old"), "{kept:?}");

            let staging = archive.staging(&device()).unwrap();
            let again = |(path, old, new): (&str, &[u8], &[u8])| {
                let there = storage.content(&target(&archive, path)).unwrap();
                if path == "state" && there == old && !noted {
                    let over = Target::Over(held(&archive, path, old), Yields::Replace);
                    return arrive(&staging, path, new, over);
                }
                receive(&archive, &staging, path, new, Yields::Version)
            };
            let prepared = archive.prepare(&device(), FILES.into_iter().map(again).collect()).unwrap();
            let commits = archive.commit(prepared, Noted::by_nobody()).unwrap();
            for (commit, (_, _, new)) in commits.iter().zip(FILES) {
                assert_eq!(storage.content(stored(commit).archive_path()).unwrap(), new);
            }
            // What was noted as dropped and is still there is nobody's any more, and that is never dropped.
            let versions: Vec<Vec<u8>> = storage.versions().into_iter().map(|(_, content)| content).collect();
            assert!(versions == [b"old".to_vec()] || noted && versions == [b"old".to_vec(), b"before".to_vec()]);
            assert_eq!(storage.staged(), 0);
            storage.sha256sum();
            let manifest = storage.manifest("raspberry31");
            let lines: HashSet<&[u8]> = manifest.split_inclusive(|&byte| byte == b'\n').collect();
            assert_eq!(lines.len(), FILES.len() + versions.len(), "{}", String::from_utf8_lossy(&manifest));
        }
    }
}
