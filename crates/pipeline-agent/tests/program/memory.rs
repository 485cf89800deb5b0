//! Memory stays flat, however many files there are and however large they are.

use super::*;
use pipeline_core::wire::FetchEnd;

/// What the agent may take on the smallest device.
const LIMIT_KIB: u64 = 32 * 1024;
/// And with a signature of the most blocks there are in it, which takes up to 16 MiB with its table, and several who compare with it.
const DELTA_LIMIT_KIB: u64 = 48 * 1024;

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

/// An agent that serves a file of zeros, and which file that is.
fn with_sparse(size: u64) -> (tempfile::TempDir, Agent, FileRef) {
    let root = tempfile::tempdir().unwrap();
    std::fs::File::create(root.path().join("big")).unwrap().set_len(size).unwrap();
    let mut agent = Agent::open(root.path());
    let mut entry = None;
    agent.scan(|found| entry = Some(found), |other| panic!("{other:?}"));
    let file = file("big", entry.unwrap().identity);
    (root, agent, file)
}

/// Reads an answer to its end; returns how much content came, and the end.
fn answer(agent: &mut Agent) -> (u64, FetchEnd) {
    let mut received = 0;
    loop {
        match agent.next() {
            Reply::Data(bytes) => received += bytes.len() as u64,
            Reply::Working => {}
            Reply::Fetched { end, .. } => return (received, end),
            other => panic!("{other:?}"),
        }
    }
}

fn fetch_sparse(size: u64) {
    let (_root, mut agent, file) = with_sparse(size);
    agent.ask(&Request::Fetch { file: file.clone(), known: vec![] });
    let (received, end) = answer(&mut agent);
    assert_eq!(received, size);
    let FetchEnd::Complete(digest) = end else { panic!("{end:?}") };
    agent.ask(&Request::Fetch { file, known: vec![Prefix { bytes: size, digest }] });
    assert_eq!(answer(&mut agent), (0, FetchEnd::Complete(digest)));
    let peak = agent.peak_kib();
    assert!(peak < LIMIT_KIB, "{peak} KiB for a file of {size} bytes");
    agent.end();
}

/// The most sums, and a file that has nothing in common with it, so that all of it goes through the agent until it gives up.
#[test]
fn the_largest_delta_costs_bounded_memory() {
    for strong_bytes in [9, 16] {
        let peak = peak_kib_of_a_delta(strong_bytes);
        assert!(peak < DELTA_LIMIT_KIB, "{peak} KiB with sums of {strong_bytes} bytes");
    }
}

fn peak_kib_of_a_delta(strong_bytes: u8) -> u64 {
    const BLOCKS: u32 = 1 << 19;
    let size = 1 << 30;
    let mut signature = [0x7273_0146, 2048, u32::from(strong_bytes)].map(u32::to_be_bytes).concat();
    for block in 0..BLOCKS {
        // Scattered as sums are.
        signature.extend(block.wrapping_mul(2_654_435_761).to_be_bytes());
        signature.resize(signature.len() + usize::from(strong_bytes), 0x5a);
    }
    let (_root, mut agent, file) = with_sparse(size);
    agent.requests.push(&Request::Delta { file, signature_bytes: signature.len() as u64 }).unwrap();
    for piece in signature.chunks(200_000) {
        agent.ask(&Request::Signature(piece.to_vec()));
    }
    let (received, end) = answer(&mut agent);
    assert_eq!(end, FetchEnd::Differs);
    // It was tried on an eighth of the file.
    assert!((size / 8 / 2..size / 4).contains(&received), "{received} bytes");
    let peak = agent.peak_kib();
    agent.end();
    peak
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
