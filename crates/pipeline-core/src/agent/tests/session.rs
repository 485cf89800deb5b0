use std::io::Cursor;
use std::sync::{Arc, Mutex};

use super::*;
use crate::wire::{MAX_FRAME_BYTES, MAX_UNANSWERED_BYTES};

#[test]
fn greets_with_clock_and_disk_and_ends_in_order() {
    let root = tempfile::tempdir().unwrap();
    let before = vitals::now_ns();
    let (agent, vitals) = Agent::open_and_look(root.path());
    assert!((before..=vitals::now_ns()).contains(&vitals.clock_ns));
    assert!(vitals.total_bytes > 0 && vitals.free_bytes <= vitals.total_bytes);
    assert!(vitals.free_files <= vitals.total_files);
    // What is kept for root is neither in use nor there for anybody, as `df` has it.
    let disk = rustix::fs::statvfs(root.path()).unwrap();
    let kept = disk.f_bfree.saturating_sub(disk.f_bavail) * disk.f_frsize;
    assert_eq!(vitals.total_bytes, disk.f_blocks * disk.f_frsize - kept);
    agent.end();
}

#[test]
fn refuses_another_protocol_another_root_and_another_order() {
    let root = tempfile::tempdir().unwrap();
    let open = |protocol, root: &Path| Request::Open { protocol, root: root.as_os_str().as_bytes().to_vec() };
    let below = root.path().join("below");
    let table = [
        (
            vec![open(PROTOCOL + 1, root.path())],
            format!("the collector speaks protocol {}, this agent {PROTOCOL}", PROTOCOL + 1),
        ),
        (vec![open(PROTOCOL, Path::new("/etc"))], "it was not started with --root /etc".to_owned()),
        (vec![open(PROTOCOL, &below)], format!("it was not started with --root {}", below.display())),
        (vec![Request::Scan], "the first request must open a directory".to_owned()),
        (vec![open(PROTOCOL, root.path()), open(PROTOCOL, root.path())], "a directory is open already".to_owned()),
    ];
    for (requests, reason) in table {
        let mut agent = Agent::start(root.path());
        for request in &requests {
            agent.ask(request);
        }
        assert_eq!(agent.refusal(), reason);
    }
}

/// Whatever a later version makes of its requests, what it is told must be which versions met.
#[test]
fn refuses_another_protocol_whatever_else_its_collector_says() {
    let root = tempfile::tempdir().unwrap();
    let mut agent = Agent::start(root.path());
    // `Open` with two fields more, and in the same frame a request that nobody knows yet.
    let open = (0_u8, PROTOCOL + 7, root.path().as_os_str().as_bytes(), "a later field", u64::MAX);
    agent.requests.push(&open).unwrap();
    agent.requests.push(&(200_u8, [255_u8; 40].as_slice())).unwrap();
    agent.requests.flush().unwrap();
    assert_eq!(agent.refusal(), format!("the collector speaks protocol {}, this agent {PROTOCOL}", PROTOCOL + 7));
}

#[test]
fn refuses_more_removals_than_allowed_before_it_touches_the_first() {
    let root = tempfile::tempdir().unwrap();
    write(&root.path().join("a"), b"");
    let file = FileRef { id: 1, path: path("a"), identity: identity(&root.path().join("a")) };
    let mut agent = Agent::open(root.path());
    agent.ask(&Request::Remove(vec![file; MAX_REMOVALS + 1]));
    assert_eq!(agent.refusal(), "one request may name 4096 files, not 4097");
    assert!(root.path().join("a").exists());
}

/// A card that is not mounted is not an empty one.
#[test]
fn a_missing_source_is_said_and_nothing_counts_as_gone() {
    let root = tempfile::tempdir().unwrap();
    let (mut agent, vitals) = Agent::open_and_look(&root.path().join("missing"));
    assert_eq!((vitals.total_bytes, vitals.free_files), (0, 0));
    let reason = "no such file or directory".to_owned();
    let listing = agent.scan();
    assert_eq!(listing.unreadable, [(None, reason.clone())]);
    assert!(listing.files.is_empty() && listing.empty.is_empty());
    let identity = identity(root.path());
    assert_eq!(agent.remove(&path("a"), identity), RemoveEnd::Failed(reason.clone()));
    assert_eq!(agent.fetch(&path("a"), identity), (vec![], FetchEnd::Failed(reason)));
    assert_eq!(agent.prune(&["a"], Duration::ZERO), [false]);
    agent.end();
}

#[test]
fn a_collector_that_hangs_up_ends_it_in_order() {
    let root = tempfile::tempdir().unwrap();
    write(&root.path().join("big"), &noise(4 << 20));
    let identity = identity(&root.path().join("big"));
    let mut agent = Agent::open(root.path());
    agent.ask(&Request::Fetch { file: FileRef { id: 1, path: path("big"), identity }, known: vec![] });
    let Agent { requests, replies, thread } = agent;
    drop((requests, replies));
    thread.join().unwrap().unwrap();
}

/// Counts the writes that reach it, each of which is a frame but the first, which is the greeting.
#[derive(Clone, Default)]
struct Frames(Arc<Mutex<(usize, Vec<u8>)>>);

impl Write for Frames {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut inner = self.0.lock().unwrap();
        inner.0 += 1;
        inner.1.extend_from_slice(bytes);
        Ok(bytes.len())
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn answers_to_many_requests_share_frames() {
    let root = tempfile::tempdir().unwrap();
    let content = noise(1000);
    let mut requests = Vec::new();
    let mut writer = FrameWriter::plain(&mut requests);
    writer.push(&Request::Open { protocol: PROTOCOL, root: root.path().as_os_str().as_bytes().to_vec() }).unwrap();
    let files = 1000;
    for id in 0..files {
        let name = path(&format!("{id}.dat"));
        write(&root.path().join(name.as_path()), &content);
        let identity = identity(&root.path().join(name.as_path()));
        writer.push(&Request::Fetch { file: FileRef { id, path: name, identity }, known: vec![] }).unwrap();
        // As frames of their own they arrive, and are answered together all the same.
        writer.flush().unwrap();
    }
    let frames = Frames::default();
    serve(Cursor::new(requests), frames.clone(), &[root.path().to_owned()]).unwrap();
    let (writes, bytes) = std::mem::take(&mut *frames.0.lock().unwrap());
    let mut reader = FrameReader::new(&bytes[..]);
    reader.expect_magic().unwrap();
    let mut complete = 0;
    while let Some(reply) = reader.next::<Reply<'_>>().unwrap() {
        complete += u32::from(matches!(reply, Reply::Fetched { end: FetchEnd::Complete(_), .. }));
    }
    assert_eq!(complete, files);
    // 1,000 files of 1,000 bytes fill four frames. Requests that were not read yet, and half a second's wait on a busy machine,
    // may each part one more; a frame for each file would be 1,000.
    assert!(writes < 1 + bytes.len() / MAX_FRAME_BYTES + 20, "{writes} writes for {} bytes", bytes.len());
}

/// A collector that asks all it may, and only then reads, does not wait for an agent that waits for it.
#[test]
fn all_that_may_be_unanswered_can_be_asked_without_reading() {
    let root = tempfile::tempdir().unwrap();
    let content = noise(10_000);
    write(&root.path().join("a"), &content);
    let identity = identity(&root.path().join("a"));
    let mut agent = Agent::open(root.path());
    let one = postcard::to_stdvec(&Request::Fetch {
        file: FileRef { id: u32::MAX, path: path("a"), identity },
        known: vec![],
    })
    .unwrap()
    .len();
    let count = u32::try_from(MAX_UNANSWERED_BYTES / one).unwrap();
    for id in 0..count {
        agent
            .requests
            .push(&Request::Fetch { file: FileRef { id, path: path("a"), identity }, known: vec![] })
            .unwrap();
    }
    agent.requests.flush().unwrap();
    // Some hundred megabytes of answers wait now, far more than the sockets hold.
    for id in 0..100 {
        assert_eq!(agent.fetched(id).0, content);
    }
}
