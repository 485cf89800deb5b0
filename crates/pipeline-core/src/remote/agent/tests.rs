#![allow(clippy::unwrap_used)]

use std::io::Write;
use std::sync::Arc;
use std::time::Instant;

use super::*;
use crate::cancel::Cancel;
use crate::digest::Digest;
use crate::entry::Identity;
use crate::wire::MAGIC;

/// Long enough for a busy machine; a test that would wait for ever fails after it.
const PATIENCE: Duration = Duration::from_secs(20);

fn options(until: Instant) -> Options {
    Options { idle: PATIENCE, bandwidth: None, until, cancel: Cancel::new() }
}

fn link() -> (Link, UnixStream) {
    let (stream, theirs) = UnixStream::pair().unwrap();
    (Link { stream, errors: Arc::default(), guard: Box::new(()) }, theirs)
}

fn frames(replies: &[Reply<'_>]) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut writer = FrameWriter::plain(&mut bytes);
    replies.iter().for_each(|reply| writer.push(reply).unwrap());
    writer.flush().unwrap();
    drop(writer);
    bytes
}

fn opened() -> Reply<'static> {
    let vitals = Vitals { clock_ns: 0, total_bytes: 0, free_bytes: 0, total_files: 0, free_files: 0 };
    Reply::Opened { version: "0", vitals }
}

fn entry() -> Entry {
    let identity = Identity { dev: 1, ino: 2, size: 3, mtime_ns: 4, ctime_ns: 5 };
    Entry { path: RelPath::new("a").unwrap(), identity }
}

/// Whoever says something all the time is not silent, and would hold a run for ever.
#[test]
fn an_agent_that_drips_is_ended() {
    let (link, mut theirs) = link();
    let dripping = std::thread::spawn(move || {
        theirs.write_all(&[&MAGIC[..], &frames(&[opened()])].concat()).unwrap();
        let drop = frames(&[Reply::Working]);
        let began = Instant::now();
        while began.elapsed() < PATIENCE && theirs.write_all(&drop).is_ok() {}
    });
    let visit = Duration::from_millis(200);
    let began = Instant::now();
    let mut remote = AgentRemote::open(link, Path::new("/data"), options(began + visit)).unwrap();
    remote.fetch(1, &entry(), &[]).unwrap();
    let error = remote.answer().unwrap_err();
    assert!(matches!(error, RemoteError::Overdue(_)), "{error:?}");
    assert!(began.elapsed() < PATIENCE);
    // As it is said of a connection that took a moment to make.
    let said = RemoteError::Overdue(Duration::from_millis(1_799_900)).to_string();
    assert_eq!(said, "the visit took longer than 30 minutes");
    drop(remote);
    dripping.join().unwrap();
}

#[test]
fn a_visit_that_is_over_does_not_begin() {
    let (link, _theirs) = link();
    let error = AgentRemote::open(link, Path::new("/data"), options(Instant::now())).err().unwrap();
    assert!(matches!(error, RemoteError::Overdue(_)), "{error:?}");
}

/// It may come before any answer, and in the same frame as the one before; what was asked is sent all the same.
#[test]
fn that_it_works_is_no_answer() {
    let (link, mut theirs) = link();
    let speaking = std::thread::spawn(move || {
        let mut requests = FrameReader::new(theirs.try_clone().unwrap());
        theirs.write_all(&[&MAGIC[..], &frames(&[opened(), Reply::Working])].concat()).unwrap();
        assert!(matches!(requests.next::<Request>(), Ok(Some(Request::Open { .. }))));
        assert!(matches!(requests.next::<Request>(), Ok(Some(Request::Scan))));
        let scan = [Reply::Working, Reply::Found(entry()), Reply::Working, Reply::Scanned { files: 1 }, Reply::Working];
        theirs.write_all(&frames(&scan)).unwrap();
        assert!(matches!(requests.next::<Request>(), Ok(Some(Request::Fetch { .. }))));
        let end = FetchEnd::Complete(Digest::of(b"abc"));
        let fetch = [Reply::Working, Reply::Data(b"abc"), Reply::Working, Reply::Fetched { id: 1, end }];
        theirs.write_all(&frames(&fetch)).unwrap();
    });
    let mut remote = AgentRemote::open(link, Path::new("/data"), options(Instant::now() + PATIENCE)).unwrap();
    let mut found = 0;
    remote
        .scan(&mut |item| {
            found += u32::from(item == Scanned::File(entry()));
            Ok(())
        })
        .unwrap();
    assert_eq!(found, 1);
    remote.fetch(1, &entry(), &[]).unwrap();
    assert!(matches!(remote.answer().unwrap(), Answer::Data(b"abc")));
    assert!(matches!(remote.answer().unwrap(), Answer::Fetched(1, FetchEnd::Complete(_))));
    drop(remote);
    speaking.join().unwrap();
}

/// Nothing is answered before the list was asked for; who then wants something else gets the answer to that.
#[test]
fn a_list_is_asked_for_with_the_greeting_and_once() {
    for scans in [0, 1, 2] {
        let (link, mut theirs) = link();
        let speaking = std::thread::spawn(move || {
            let mut requests = FrameReader::new(theirs.try_clone().unwrap());
            let list = [Reply::Found(entry()), Reply::Scanned { files: 1 }];
            assert!(matches!(requests.next::<Request>(), Ok(Some(Request::Open { .. }))));
            assert!(matches!(requests.next::<Request>(), Ok(Some(Request::Scan))));
            theirs.write_all(&[&MAGIC[..], &frames(&[opened()]), &frames(&list)].concat()).unwrap();
            if scans == 2 {
                assert!(matches!(requests.next::<Request>(), Ok(Some(Request::Scan))));
                theirs.write_all(&frames(&list)).unwrap();
            }
            assert!(matches!(requests.next::<Request>(), Ok(Some(Request::Fetch { .. }))));
            theirs.write_all(&frames(&[Reply::Fetched { id: 1, end: FetchEnd::Gone }])).unwrap();
        });
        let until = Instant::now() + PATIENCE;
        let mut remote = AgentRemote::open_to_scan(link, Path::new("/data"), options(until)).unwrap();
        for _ in 0..scans {
            let mut found = 0;
            let mut count = |_| {
                found += 1;
                Ok(())
            };
            remote.scan(&mut count).unwrap();
            assert_eq!(found, 1);
        }
        remote.fetch(1, &entry(), &[]).unwrap();
        assert!(matches!(remote.answer().unwrap(), Answer::Fetched(1, FetchEnd::Gone)));
        drop(remote);
        speaking.join().unwrap();
    }
}

/// With the real other half: what is known, then a delta with a signature longer than the agent takes in ahead.
#[cfg(feature = "agent")]
#[test]
fn a_changed_file_comes_as_a_delta() {
    let root = tempfile::tempdir().unwrap();
    // Blocks that occur only once, and a signature of more than a mebibyte.
    let mut basis: Vec<u8> = (0_u32..64 << 18).flat_map(|i| i.wrapping_mul(2_654_435_761).to_le_bytes()).collect();
    let signature = crate::delta::signature(&basis[..], basis.len() as u64).unwrap();
    let old = Prefix { bytes: basis.len() as u64, digest: Digest::of(&basis) };
    basis[5_000_000] ^= 1;
    basis.extend_from_slice(b"more");
    std::fs::write(root.path().join("a"), &basis).unwrap();
    let (link, theirs) = link();
    let roots = [root.path().to_owned()];
    let agent = std::thread::spawn(move || crate::agent::serve(theirs.try_clone().unwrap(), theirs, &roots));
    let mut remote = AgentRemote::open(link, root.path(), options(Instant::now() + PATIENCE)).unwrap();
    let mut entries = Vec::new();
    remote
        .scan(&mut |item| {
            if let Scanned::File(entry) = item {
                entries.push(entry);
            }
            Ok(())
        })
        .unwrap();
    let entry = entries.remove(0);
    remote.fetch(1, &entry, &[old]).unwrap();
    assert!(matches!(remote.answer().unwrap(), Answer::Fetched(1, FetchEnd::Differs)));
    assert!(remote.can_delta() && remote.caveats().is_empty());
    remote.delta(2, &entry, &signature).unwrap();
    let mut received = 0;
    loop {
        match remote.answer().unwrap() {
            Answer::Data(delta) => received += delta.len(),
            Answer::Fetched(2, end) => {
                assert_eq!(end, FetchEnd::Complete(Digest::of(&basis)));
                break;
            }
            other => panic!("{other:?}"),
        }
    }
    assert!(received < 5000, "{received} bytes");
    drop(remote);
    agent.join().unwrap().unwrap();
}
