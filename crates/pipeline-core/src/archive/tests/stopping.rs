//! A wish to stop comes in the middle of one long file.

use std::io::Read as _;

use super::*;
use crate::cancel::Stopped;

/// Longer than what is read whatever is wished.
const LONG_BYTES: usize = 5 << 20;

fn long() -> Vec<u8> {
    (0..=250).cycle().take(LONG_BYTES).collect()
}

/// An archive whose user may wish to stop.
fn stoppable(archive: &Archive) -> (Archive, Cancel) {
    let cancel = Cancel::new();
    (archive.heeding(&cancel), cancel)
}

fn put(storage: &Storage, archive: &Archive, path: &str, content: &[u8]) -> ArchivePath {
    let at = target(archive, path);
    let file = storage.path().join(at.as_rel_path().as_path());
    std::fs::create_dir_all(file.parent().unwrap()).unwrap();
    std::fs::write(file, content).unwrap();
    at
}

/// The first bytes of a transfer; dropped, they stay.
fn begin(staging: &Staging, content: &[u8], bytes: usize, target: Target) -> Incoming {
    let mut incoming = staging.create(rel("a"), identity(content), target).unwrap();
    content[..bytes].chunks(100_000).for_each(|slice| incoming.write(slice).unwrap());
    incoming
}

#[track_caller]
fn assert_stopped<T: std::fmt::Debug>(result: &Result<T, ArchiveError>) {
    assert!(matches!(result, Err(ArchiveError::Stopped)), "{result:?}");
}

#[test]
fn reading_what_lies_there_ends_and_tells_nothing() {
    let storage = Storage::new();
    let (archive, cancel) = stoppable(&storage.open());
    let content = long();
    let (long, short) = (put(&storage, &archive, "long", &content), put(&storage, &archive, "short", b"short"));
    let held = archive.examine(&long).unwrap().unwrap();
    archive.verify(&long, &Digest::of(&content), LONG_BYTES as u64).unwrap();

    cancel.set();
    assert_stopped(&archive.examine(&long));
    assert_stopped(&archive.verify(&long, &Digest::of(&content), LONG_BYTES as u64));
    // What is wrong with it is not found out either.
    assert_stopped(&archive.verify(&long, &Digest::of(b""), 0));
    let error = held.basis().unwrap().read_to_end(&mut Vec::new()).unwrap_err();
    assert!(Stopped::is_why(&error), "{error}");
    // The file in hand is finished where that takes no time.
    archive.verify(&short, &Digest::of(b"short"), 5).unwrap();
    assert!(archive.examine(&short).unwrap().is_some());
    // Nobody else stops for it.
    storage.open().verify(&long, &Digest::of(&content), LONG_BYTES as u64).unwrap();
}

#[test]
fn a_part_stays_for_the_next_run() {
    let storage = Storage::new();
    let (archive, cancel) = stoppable(&storage.open());
    let (content, bytes) = (long(), 4_500_000);
    let held = &content[..bytes - 1];
    let at = put(&storage, &archive, "a", held);
    let over = Target::Over(archive.examine(&at).unwrap().unwrap(), Yields::Version);
    let staging = archive.staging(&device()).unwrap();
    drop(begin(&staging, &content, bytes, over.clone()));
    let part = staging.part(&at).unwrap().unwrap();

    // Whether it begins with what lies there takes a look at all of that.
    cancel.set();
    assert_stopped(&staging.resume(part, rel("a"), identity(&content), over.clone()));
    assert_stopped(&staging.part(&at));
    assert_eq!(storage.staged(), 1);

    let staging = storage.open().staging(&device()).unwrap();
    let part = staging.part(&at).unwrap().unwrap();
    assert_eq!(part.prefix(), Prefix { bytes: bytes as u64, digest: Digest::of(&content[..bytes]) });
    let mut incoming = staging.resume(part, rel("a"), identity(&content), over).unwrap();
    incoming.write(&content[bytes..]).unwrap();
    let staged = incoming.finish(&Digest::of(&content)).unwrap();
    assert_eq!(
        stored(&commit_all(&storage.open(), vec![staged]).unwrap()[0]).superseded().unwrap().became,
        Became::Prefix
    );
    assert_eq!(storage.content(&at).unwrap(), content);
}

#[test]
fn a_copy_of_what_has_grown_is_given_up() {
    let storage = Storage::new();
    let (archive, cancel) = stoppable(&storage.open());
    let content = long();
    let at = put(&storage, &archive, "a", &content);
    let held = archive.examine(&at).unwrap().unwrap();
    let staging = archive.staging(&device()).unwrap();
    cancel.set();
    let grown = Identity { size: LONG_BYTES as u64 + 1, ..identity(&content) };
    assert_stopped(&staging.onto(&held, Yields::Version, rel("a"), grown));
    assert_eq!((storage.staged(), storage.content(&at).unwrap() == content), (0, true));
}

#[test]
fn a_version_that_is_a_copy_is_given_up_and_nothing_has_lost_its_name() {
    let storage = Storage::without_links();
    let (archive, cancel) = stoppable(&storage.open());
    let content = long();
    let at = put(&storage, &archive, "a", &content);
    let staging = archive.staging(&device()).unwrap();
    let arrived = receive(&archive, &staging, "a", b"other content", Yields::Version);
    cancel.set();
    assert_stopped(&archive.prepare(&device(), vec![arrived]));
    assert!(storage.versions().is_empty() && storage.staged() == 0);
    assert!(storage.content(&at).unwrap() == content);
}

#[test]
fn what_is_not_read_back_is_not_stored() {
    let storage = Storage::new();
    let (archive, cancel) = stoppable(&Archive::open(storage.path(), "collector", ReadBack::Always).unwrap());
    let (content, staging) = (long(), archive.staging(&device()).unwrap());
    let at = target(&archive, "a");
    let staged = begin(&staging, &content, LONG_BYTES, Target::New(at.clone())).finish(&Digest::of(&content)).unwrap();
    cancel.set();
    assert_stopped(&commit_all(&archive, vec![staged]));
    assert_eq!((storage.files().len(), storage.staged()), (0, 1));

    // It has arrived whole, and need not come again.
    let archive = storage.open();
    let staging = archive.staging(&device()).unwrap();
    let part = staging.part(&at).unwrap().unwrap();
    let incoming = staging.resume(part, rel("a"), identity(&content), Target::New(at)).unwrap();
    stored(&commit_all(&archive, vec![incoming.finish(&Digest::of(&content)).unwrap()]).unwrap()[0]);
}
