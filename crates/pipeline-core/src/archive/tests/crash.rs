//! Runs that end in the middle.

use std::cell::Cell;
use std::os::unix::process::ExitStatusExt;

use super::*;
use crate::archive::commit::Step;

const FILES: [(&str, &[u8]); 4] = [("a", b"first"), ("day/b", b"second"), ("day/c", b""), ("day/deep/d\n", b"fourth")];
const STEP: &str = "PIPELINE_TEST_STEP";

/// Steps of one visit: half of a file, each file staged, then those of the commit.
#[test]
#[ignore = "a part of other tests, which run it in a process of its own"]
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
    let mut half = staging.create(rel("half"), identity(b"12"), Target::New(target(&archive, "half"))).unwrap();
    half.write(b"1").unwrap();
    step();
    drop(half);
    let stage_one = |(path, content): (&str, &[u8])| {
        let staged = stage(&archive, &staging, path, content);
        step();
        staged
    };
    let staged = FILES.into_iter().map(stage_one).collect();
    commit_on(&archive, "2026-11-21", staged, &|_: Step| step()).unwrap();
}

#[test]
fn killed_at_any_step_it_leaves_whole_files_and_the_next_run_ends_the_work() {
    let mut adopted = 0;
    for last in 0.. {
        let storage = Storage::new();
        let mut command = child(&[], "crash::a_visit_that_aborts", storage.path());
        let output = command.env(STEP, last.to_string()).output().unwrap();
        if output.status.success() {
            // Half a file, four staged, hardened, kept, four placed, directories, manifest.
            assert_eq!(last, 1 + 4 + 1 + 1 + 4 + 1 + 1);
            break;
        }
        assert_eq!(output.status.signal(), Some(6), "{}", String::from_utf8_lossy(&output.stderr));

        for (path, content) in storage.files() {
            let path = path.strip_prefix("raspberry31").unwrap().to_str().unwrap();
            assert!(FILES.contains(&(path, &content)), "after step {last}: {path} holds {content:?}");
        }
        let commits = store(&storage.open(), &FILES);
        adopted += commits.iter().filter(|commit| stored(commit).adopted()).count();
        assert_eq!(storage.files().len(), FILES.len());
        assert_eq!(storage.staged(), 0);
        storage.sha256sum();
    }
    // After each file placed, after the directories, after the manifest.
    assert_eq!(adopted, 1 + 2 + 3 + 4 + 4 + 4);
}

#[test]
fn killed_between_link_and_unlink_it_leaves_one_whole_file() {
    let storage = Storage::new();
    let archive = storage.open();
    let staging = archive.staging(&device()).unwrap();
    std::mem::forget(stage(&archive, &staging, "a", b"data"));
    let private = storage.path().join(PRIVATE_DIR);
    let (left, _) = files_below(&private).into_iter().find(|(path, _)| path.starts_with("staging")).unwrap();
    std::fs::create_dir(storage.path().join("raspberry31")).unwrap();
    std::fs::hard_link(private.join(left), storage.path().join("raspberry31/a")).unwrap();

    let commits = store(&storage.open(), &[("a", b"data")]);
    assert!(stored(&commits[0]).adopted());
    assert_eq!((storage.staged(), storage.files().len()), (0, 1));
}

#[test]
fn a_torn_line_is_cut_before_the_next_is_added() {
    let whole = format!("{}  raspberry31/before\n", Digest::of(b"before"));
    let zeros = vec![0; 40_000];
    // Torn in the digest, in the name, and as some file systems leave it after a power cut.
    for torn in [&b"0123456789"[..], b"0123456789abcdef  raspberry31/x", &zeros] {
        for begun in [whole.as_bytes(), b""] {
            let storage = Storage::new();
            let archive = storage.open();
            std::fs::create_dir_all(storage.path().join("raspberry31")).unwrap();
            std::fs::write(storage.path().join("raspberry31/before"), "before").unwrap();
            let manifest = storage.path().join(MANIFEST_DIR).join("raspberry31");
            std::fs::create_dir_all(&manifest).unwrap();
            std::fs::write(manifest.join("2026-11-21.sha256"), [begun, torn].concat()).unwrap();

            let staging = archive.staging(&device()).unwrap();
            let staged = vec![stage(&archive, &staging, "a", b"a")];
            commit_on(&archive, "2026-11-21", staged, &|_| ()).unwrap();
            let added = format!("{}  raspberry31/a\n", Digest::of(b"a"));
            assert_eq!(storage.manifest("raspberry31"), [begun, added.as_bytes()].concat());
            storage.sha256sum();
        }
    }
}

#[test]
fn manifests_are_by_day_and_only_grow() {
    let storage = Storage::new();
    let archive = storage.open();
    for (date, path) in [("2026-11-21", "a"), ("2026-11-22", "b"), ("2026-11-21", "c")] {
        let staging = archive.staging(&device()).unwrap();
        let staged = vec![stage(&archive, &staging, path, b"x")];
        commit_on(&archive, date, staged, &|_| ()).unwrap();
    }
    let line = |path| format!("{}  raspberry31/{path}\n", Digest::of(b"x"));
    let manifests = files_below(&storage.path().join(MANIFEST_DIR));
    assert_eq!(
        manifests,
        [
            ("raspberry31/2026-11-21.sha256".into(), (line("a") + &line("c")).into_bytes()),
            ("raspberry31/2026-11-22.sha256".into(), line("b").into_bytes()),
        ]
    );
    assert_eq!(commit::today().len(), "2026-11-21".len());
}

#[test]
fn a_file_named_dash_is_not_standard_input() {
    let storage = Storage::new();
    let archive = storage.open();
    let staging = archive.staging(&device()).unwrap();
    let target = archive.place("{path}", &device(), b"", &rel("-")).unwrap();
    let mut incoming = staging.create(rel("-"), identity(b"x"), Target::New(target)).unwrap();
    incoming.write(b"x").unwrap();
    let commits = commit_all(&archive, vec![incoming.finish(&Digest::of(b"x")).unwrap()]).unwrap();
    stored(&commits[0]);
    storage.sha256sum();
}
