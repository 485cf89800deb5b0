//! A fetch onto what the collector holds already.

use super::*;
use crate::digest::Digest;
use crate::wire::MAX_DATA_BYTES;

fn prefix(content: &[u8]) -> Prefix {
    Prefix { bytes: content.len() as u64, digest: Digest::of(content) }
}

#[test]
fn only_what_comes_after_it_is_sent_and_the_digest_is_of_all() {
    let root = tempfile::tempdir().unwrap();
    let content = noise(3 * MAX_DATA_BYTES);
    write(&root.path().join("a"), &content);
    let identity = identity(&root.path().join("a"));
    let whole = FetchEnd::Complete(Digest::of(&content));
    let mut agent = Agent::open(root.path());
    let lengths = [0, 1, MAX_DATA_BYTES - 1, MAX_DATA_BYTES, MAX_DATA_BYTES + 1, content.len() - 1, content.len()];
    for length in lengths {
        let (seen, end) = agent.fetch_after(&path("a"), identity, &[prefix(&content[..length])]);
        assert!(seen == content[length..], "{length} bytes");
        assert_eq!(end, whole);
    }
    agent.end();
}

#[test]
fn nothing_is_sent_of_a_file_that_begins_otherwise_or_is_shorter() {
    let root = tempfile::tempdir().unwrap();
    let content = noise(100_000);
    write(&root.path().join("a"), &content);
    let identity = identity(&root.path().join("a"));
    let mut other = content.clone();
    other[70_000] ^= 1;
    let mut longer = content.clone();
    longer.push(0);
    let huge = Prefix { bytes: u64::MAX, digest: Digest::of(b"") };
    let mut agent = Agent::open(root.path());
    for known in [prefix(&other[..70_001]), prefix(&other), prefix(&longer), huge] {
        assert_eq!(agent.fetch_after(&path("a"), identity, &[known]), (vec![], FetchEnd::Differs), "{known:?}");
    }
    // The same length, one bit before the change.
    let (seen, end) = agent.fetch_after(&path("a"), identity, &[prefix(&other[..70_000])]);
    assert_eq!((seen.len(), end), (30_000, FetchEnd::Complete(Digest::of(&content))));
    agent.end();
}

#[test]
fn shorter_beginnings_are_looked_at_on_the_way() {
    let root = tempfile::tempdir().unwrap();
    let content = noise(2 * MAX_DATA_BYTES);
    write(&root.path().join("a"), &content);
    let identity = identity(&root.path().join("a"));
    let of = |length: usize| prefix(&content[..length]);
    let mut agent = Agent::open(root.path());
    let (seen, end) = agent.fetch_after(&path("a"), identity, &[of(0), of(10), of(MAX_DATA_BYTES), of(300_000)]);
    assert!(seen == content[300_000..]);
    assert_eq!(end, FetchEnd::Complete(Digest::of(&content)));
    // One that differs ends it, as does one that is not longer than the one before.
    for known in [[prefix(b"other"), of(10)], [of(10), of(9)]] {
        assert_eq!(agent.fetch_after(&path("a"), identity, &known), (vec![], FetchEnd::Differs));
    }
    agent.end();
}

#[test]
fn what_became_of_the_file_comes_before_what_it_begins_with() {
    let root = tempfile::tempdir().unwrap();
    let at = root.path().join("a");
    write(&at, b"content");
    let old = identity(&at);
    let mut agent = Agent::open(root.path());
    let known = prefix(b"other");
    assert_eq!(agent.fetch_after(&path("a"), old, &[known]).1, FetchEnd::Differs);
    std::fs::write(&at, b"otherwise").unwrap();
    assert_eq!(agent.fetch_after(&path("a"), old, &[known]).1, FetchEnd::Changed);
    std::fs::remove_file(&at).unwrap();
    assert_eq!(agent.fetch_after(&path("a"), old, &[known]).1, FetchEnd::Gone);
    agent.end();
}
