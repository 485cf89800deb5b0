//! Memory stays flat, however many files there are and however large they are.

use super::*;
use pipeline_core::wire::FetchEnd;

/// What the agent may take on the smallest device.
const LIMIT_KIB: u64 = 32 * 1024;

#[test]
fn half_a_million_files_in_one_directory_cost_no_memory() {
    const FILES: u64 = 500_000;
    // In memory where there is such a place: half a million names on a disk take long to make.
    let shm = Path::new("/dev/shm");
    let place = if shm.is_dir() { shm.to_owned() } else { std::env::temp_dir() };
    let root = tempfile::tempdir_in(place).unwrap();
    // Names of one file, which costs less than as many files. Where a file may not have so many, the next begins.
    let name = |number: u64| root.path().join(format!("image-{number:06}-2026-11-21T12+34+56.789.jpg"));
    let mut first = 0;
    std::fs::write(name(0), b"").unwrap();
    for number in 1..FILES {
        if std::fs::hard_link(name(first), name(number)).is_err() {
            first = number;
            std::fs::write(name(number), b"").unwrap();
        }
    }
    let mut agent = Agent::open(root.path());
    let mut found = 0;
    agent.scan(|_| found += 1, |other| panic!("{other:?}"));
    assert_eq!(found, FILES);
    let peak = agent.peak_kib();
    assert!(peak < LIMIT_KIB, "{peak} KiB for {FILES} files");
    agent.end();
}

#[test]
fn a_gibibyte_costs_no_memory() {
    // Thirty-two times the limit tells as much as ten gibibytes, and takes seconds.
    fetch_sparse(1 << 30);
}

#[test]
#[ignore = "takes a minute; run it with --ignored"]
fn ten_gibibytes_cost_no_memory() {
    fetch_sparse(10 << 30);
}

fn fetch_sparse(size: u64) {
    let root = tempfile::tempdir().unwrap();
    std::fs::File::create(root.path().join("big")).unwrap().set_len(size).unwrap();
    let mut agent = Agent::open(root.path());
    let mut entry = None;
    agent.scan(|found| entry = Some(found), |other| panic!("{other:?}"));
    agent.ask(&Request::Fetch { file: file("big", entry.unwrap().identity), known: None });
    let mut received = 0;
    loop {
        match agent.next() {
            Reply::Data(bytes) => received += bytes.len() as u64,
            Reply::Fetched { end, .. } => {
                assert!(matches!(end, FetchEnd::Complete(_)), "{end:?}");
                break;
            }
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(received, size);
    let peak = agent.peak_kib();
    assert!(peak < LIMIT_KIB, "{peak} KiB for a file of {size} bytes");
    agent.end();
}

/// The most that one frame unpacks to: the shortest paths, as many as fit.
#[test]
fn the_costliest_request_costs_bounded_memory() {
    let root = tempfile::tempdir().unwrap();
    let dirs = vec![path("a"); pipeline_core::wire::MAX_FRAME_BYTES / 2 - 16];
    let count = dirs.len();
    let mut agent = Agent::open(root.path());
    agent.ask(&Request::Prune { dirs, quiet_ns: 0 });
    for _ in 0..count {
        assert_eq!(agent.next(), Reply::Pruned { path: path("a"), removed: true });
    }
    let peak = agent.peak_kib();
    assert!(peak < LIMIT_KIB, "{peak} KiB for {count} directories");
    agent.end();
}
