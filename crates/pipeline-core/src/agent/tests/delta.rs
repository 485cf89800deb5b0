//! A delta against a signature, and what a collector may do wrong on the way.

use std::io::Cursor;

use super::*;
use crate::delta::{MAX_SIGNATURE_BYTES, patch, signature};
use crate::digest::Digest;

fn sign(basis: &[u8]) -> Vec<u8> {
    signature(basis, basis.len() as u64).unwrap()
}

impl Agent {
    /// Queues a delta, its signature in pieces of this many bytes.
    fn queue_delta(&mut self, file: FileRef, signature: &[u8], piece_bytes: usize) {
        self.requests.push(&Request::Delta { file, signature_bytes: signature.len() as u64 }).unwrap();
        for piece in signature.chunks(piece_bytes) {
            self.requests.push(&Request::Signature(piece.to_vec())).unwrap();
        }
    }

    fn delta(&mut self, name: &str, identity: Identity, signature: &[u8]) -> (Vec<u8>, FetchEnd) {
        self.queue_delta(FileRef { id: 6, path: path(name), identity }, signature, 1000);
        self.requests.flush().unwrap();
        self.fetched(6)
    }
}

#[test]
fn a_delta_makes_the_file_of_the_basis() {
    let root = tempfile::tempdir().unwrap();
    let at = root.path().join("a");
    // For more than one worker.
    let basis = noise(9 << 20);
    let mut new = basis.clone();
    new[1_000_000..1_004_096].fill(7);
    new.extend(noise(50_000));
    write(&at, &new);
    let identity = identity(&at);
    let mut agent = Agent::open(root.path());
    let (delta, end) = agent.delta("a", identity, &sign(&basis));
    assert_eq!(end, FetchEnd::Complete(Digest::of(&new)));
    assert!(delta.len() < 70_000, "{} bytes", delta.len());
    let mut seen = Vec::new();
    patch(Cursor::new(&basis), &delta[..], &mut seen, identity.size).unwrap();
    assert!(seen == new);
    // The same content: next to nothing.
    let (delta, end) = agent.delta("a", identity, &sign(&new));
    assert_eq!(end, FetchEnd::Complete(Digest::of(&new)));
    assert!(delta.len() < 100, "{} bytes", delta.len());
    agent.end();
}

#[test]
fn a_delta_that_does_not_pay_is_given_up() {
    let root = tempfile::tempdir().unwrap();
    let at = root.path().join("a");
    let new = noise(1 << 20);
    write(&at, &new);
    let identity = identity(&at);
    let mut agent = Agent::open(root.path());
    let mut basis = new.clone();
    basis.reverse();
    let (delta, end) = agent.delta("a", identity, &sign(&basis));
    assert_eq!(end, FetchEnd::Differs);
    assert!(delta.len() <= new.len() / 2, "{} bytes", delta.len());
    // A third of it is new: that pays.
    basis[..700_000].copy_from_slice(&new[..700_000]);
    assert_eq!(agent.delta("a", identity, &sign(&basis)).1, FetchEnd::Complete(Digest::of(&new)));
    agent.end();
}

/// Whatever becomes of the file, all of its signature is taken in, and the next request is understood.
#[test]
fn the_signature_is_taken_in_whatever_becomes_of_the_file() {
    let root = tempfile::tempdir().unwrap();
    let at = root.path().join("a");
    let content = noise(200_000);
    write(&at, &content);
    let old = identity(&at);
    let signature = sign(&content);
    let cut = &signature[..signature.len() - 1];
    let mut unknown = signature.clone();
    unknown[3] = 0x36;
    let mut endless = signature.clone();
    endless[4..8].fill(0);
    let mut agent = Agent::open(root.path());
    for bad in [cut, &unknown, &endless, b"", &noise(5000)] {
        assert_eq!(agent.delta("a", old, bad), (vec![], FetchEnd::Differs));
    }
    assert_eq!(agent.delta("missing", old, &signature), (vec![], FetchEnd::Gone));
    append(&at, b"more");
    assert_eq!(agent.delta("a", old, &signature), (vec![], FetchEnd::Changed));
    assert_eq!(agent.delta("a", identity(&at), &signature).1, {
        let mut longer = content.clone();
        longer.extend_from_slice(b"more");
        FetchEnd::Complete(Digest::of(&longer))
    });
    agent.end();
}

#[test]
fn a_file_that_changes_while_it_is_compared_is_no_complete_one() {
    let root = tempfile::tempdir().unwrap();
    let at = root.path().join("a");
    // Half of it is new: more than the sockets hold, so that the agent stands in the middle of it while nobody reads.
    let content = noise(8 << 20);
    let mut basis = content.clone();
    basis[..(4 << 20) - 100_000].fill(0);
    for change in [
        |at: &Path| append(at, b"more"),
        |at: &Path| {
            std::fs::File::options().write(true).open(at).unwrap().set_len(5 << 20).unwrap();
        },
    ] {
        write(&at, &content);
        let file = FileRef { id: 7, path: path("a"), identity: identity(&at) };
        let mut agent = Agent::open(root.path());
        agent.queue_delta(file, &sign(&basis), 100_000);
        agent.requests.flush().unwrap();
        loop {
            match agent.replies.next::<Reply<'_>>().unwrap().unwrap() {
                Reply::Data(_) => break,
                Reply::Working => {}
                other => panic!("{other:?}"),
            }
        }
        change(&at);
        assert_eq!(agent.fetched(7).1, FetchEnd::Changed);
        agent.end();
    }
}

#[test]
fn what_is_no_signature_where_one_is_due_ends_the_session() {
    let root = tempfile::tempdir().unwrap();
    write(&root.path().join("a"), b"content");
    let file = FileRef { id: 8, path: path("a"), identity: identity(&root.path().join("a")) };
    let announced = |signature_bytes| Request::Delta { file: file.clone(), signature_bytes };
    let piece = |bytes| Request::Signature(vec![0; bytes]);
    let table = [
        (vec![piece(3)], "a signature came that nobody announced".to_owned()),
        (vec![announced(0), piece(3)], "a signature came that nobody announced".to_owned()),
        (vec![announced(5), piece(6)], "a signature is longer than announced".to_owned()),
        (vec![announced(5), piece(4), Request::Scan], "a request came in the middle of a signature".to_owned()),
        (
            vec![announced(MAX_SIGNATURE_BYTES + 1)],
            format!("a signature may have {MAX_SIGNATURE_BYTES} bytes, not {}", MAX_SIGNATURE_BYTES + 1),
        ),
    ];
    for (requests, reason) in table {
        let mut agent = Agent::open(root.path());
        requests.iter().for_each(|request| agent.requests.push(request).unwrap());
        agent.requests.flush().unwrap();
        assert_eq!(agent.refusal(), reason);
    }
}

/// More than the agent takes in ahead, while it answers nothing else: it reads what it is sent.
#[test]
fn the_longest_signature_can_be_sent_without_reading() {
    let root = tempfile::tempdir().unwrap();
    let at = root.path().join("a");
    let content = noise(100_000);
    write(&at, &content);
    let identity = identity(&at);
    // Blocks of one byte that occur nowhere: as many as there may be.
    let mut signature = [0x7273_0146_u32, 2048, 16].map(u32::to_be_bytes).concat();
    signature.resize(usize::try_from(MAX_SIGNATURE_BYTES).unwrap(), 0xa5);
    let mut agent = Agent::open(root.path());
    agent.queue_delta(FileRef { id: 6, path: path("a"), identity }, &signature, 200_000);
    agent.requests.flush().unwrap();
    assert_eq!(agent.fetched(6).1, FetchEnd::Differs);
    agent.end();
    assert!(include_str!("../../../../../docs/wire.md").contains("| a signature | 10,485,772 bytes |"));
    assert_eq!(MAX_SIGNATURE_BYTES, 10_485_772);
}
