//! What is left of transfers that broke off.

use super::*;

const BYTES: usize = 1_100_000;

fn content() -> Vec<u8> {
    (0..=250).cycle().take(BYTES).collect()
}

/// The first bytes of a transfer that breaks off.
fn begin(archive: &Archive, staging: &Staging, path: &str, content: &[u8], bytes: usize) {
    let mut incoming = staging.create(rel(path), identity(content), Target::New(target(archive, path))).unwrap();
    content[..bytes].chunks(100_000).for_each(|slice| incoming.write(slice).unwrap());
}

fn finish(archive: &Archive, incoming: Incoming, content: &[u8]) -> Commit {
    let staged = incoming.finish(&Digest::of(content)).unwrap();
    commit_all(archive, vec![staged]).unwrap().pop().unwrap()
}

#[test]
fn a_large_file_goes_on_where_it_broke_off() {
    let storage = Storage::new();
    let archive = storage.open();
    let content = content();
    begin(&archive, &archive.staging(&device()).unwrap(), "a", &content, 500_000);
    assert_eq!(storage.staged(), 1);

    let staging = archive.staging(&device()).unwrap();
    let part = staging.part(&target(&archive, "a")).unwrap().unwrap();
    assert_eq!(part.prefix(), Prefix { bytes: 500_000, digest: Digest::of(&content[..500_000]) });
    // It has its name to itself, and is there for the next visit if this one breaks off too.
    assert!(staging.part(&target(&archive, "a")).unwrap().is_none());
    drop(part);
    let part = staging.part(&target(&archive, "a")).unwrap().unwrap();
    let mut incoming = staging.resume(part, rel("a"), identity(&content), Target::New(target(&archive, "a"))).unwrap();
    assert_eq!(incoming.bytes(), 500_000);
    incoming.write(&content[500_000..]).unwrap();
    stored(&finish(&archive, incoming, &content));
    assert_eq!(storage.files()[0].1, content);
    assert_eq!(storage.staged(), 0);
}

#[test]
fn a_part_that_was_torn_says_what_it_holds() {
    let storage = Storage::new();
    let archive = storage.open();
    let content = content();
    begin(&archive, &archive.staging(&device()).unwrap(), "a", &content, 500_000);
    let private = storage.path().join(PRIVATE_DIR);
    let (left, mut bytes) = files_below(&private).into_iter().find(|(path, _)| path.starts_with("staging")).unwrap();
    bytes[300_000..].fill(0);
    std::fs::write(private.join(left), &bytes).unwrap();
    let staging = archive.staging(&device()).unwrap();
    let part = staging.part(&target(&archive, "a")).unwrap().unwrap();
    assert_eq!(part.prefix().digest, Digest::of(&bytes));
    // The device says no.
    staging.discard(part);
    assert_eq!(storage.staged(), 0);
    assert!(staging.part(&target(&archive, "a")).unwrap().is_none());
}

#[test]
fn a_part_that_leads_to_other_content_leaves_nothing() {
    let storage = Storage::new();
    let archive = storage.open();
    let content = content();
    begin(&archive, &archive.staging(&device()).unwrap(), "a", &content, 500_000);
    let staging = archive.staging(&device()).unwrap();
    let part = staging.part(&target(&archive, "a")).unwrap().unwrap();
    let new = Target::New(target(&archive, "a"));
    let mut incoming = staging.resume(part, rel("a"), identity(&content), new.clone()).unwrap();
    incoming.write(&content[500_000..]).unwrap();
    let error = incoming.finish(&Digest::of(b"what the device read")).unwrap_err();
    assert!(matches!(error, ArchiveError::DigestMismatch { side: "received", .. }), "{error}");
    assert_eq!(storage.staged(), 0);

    // More than the file has.
    begin(&archive, &staging, "a", &content, 500_000);
    let part = staging.part(&target(&archive, "a")).unwrap().unwrap();
    let error = staging.resume(part, rel("a"), identity(b"short"), new).unwrap_err();
    assert!(matches!(error, ArchiveError::SizeMismatch { announced: 5, sent: 500_000, .. }), "{error}");
}

#[test]
fn small_files_are_swept_and_parts_only_where_nobody_wants_them() {
    let storage = Storage::new();
    let archive = storage.open();
    let (large, staging) = (content(), archive.staging(&device()).unwrap());
    begin(&archive, &staging, "wanted", &large, 10);
    begin(&archive, &staging, "unwanted", &large, 10);
    begin(&archive, &staging, "spared", &large, 10);
    std::mem::forget(staging.create(rel("small"), identity(b"x"), Target::New(target(&archive, "small"))).unwrap());
    assert_eq!(storage.staged(), 4);
    let staging = archive.staging(&device()).unwrap();
    assert_eq!(storage.staged(), 3);
    staging.spare(&target(&archive, "spared"));
    staging.part(&target(&archive, "wanted")).unwrap().unwrap();
    // Made in this visit.
    begin(&archive, &staging, "new", &large, 10);
    staging.sweep_parts().unwrap();
    assert_eq!(storage.staged(), 3);
    assert!(staging.part(&target(&archive, "wanted")).unwrap().is_some());
    assert!(staging.part(&target(&archive, "spared")).unwrap().is_some());
    assert!(staging.part(&target(&archive, "unwanted")).unwrap().is_none());
}

/// Killed between the two steps of a rename that is none, the part and the archived file are one.
#[test]
fn a_part_that_is_an_archived_file_is_never_written_to() {
    let storage = Storage::new();
    let archive = storage.open();
    let content = content();
    begin(&archive, &archive.staging(&device()).unwrap(), "a", &content, 500_000);
    let private = storage.path().join(PRIVATE_DIR);
    let (left, _) = files_below(&private).into_iter().find(|(path, _)| path.starts_with("staging")).unwrap();
    std::fs::create_dir(storage.path().join("raspberry31")).unwrap();
    std::fs::hard_link(private.join(left), storage.path().join("raspberry31/a")).unwrap();
    let staging = archive.staging(&device()).unwrap();
    assert!(staging.part(&target(&archive, "a")).unwrap().is_none());
    assert_eq!(storage.staged(), 0);
    assert_eq!(storage.files()[0].1, content[..500_000]);
}

#[test]
fn what_is_built_on_archived_content_is_a_part_too_and_knows_what_it_grew_from() {
    let content = content();
    // A part that is longer than what is archived, one that is shorter, and one that begins otherwise.
    for (archived, broken_off, grown) in [(1000, 500_000, true), (600_000, 500_000, true), (1000, 500_000, false)] {
        let storage = Storage::new();
        let archive = storage.open();
        let staging = archive.staging(&device()).unwrap();
        let mut old = content[..archived].to_vec();
        if !grown {
            old[0] ^= 1;
        }
        store(&archive, &[("a", &old)]);
        let held = archive.examine(&target(&archive, "a")).unwrap().unwrap();
        if grown && archived > broken_off {
            drop(staging.onto(&held, Yields::Version, rel("a"), identity(&content)).unwrap());
            let part = staging.part(held.path()).unwrap().unwrap();
            assert_eq!(part.prefix(), held.prefix());
        }
        begin(&archive, &staging, "a", &content, broken_off);
        let part = staging.part(held.path()).unwrap().unwrap();
        let over = Target::Over(held, Yields::Version);
        let mut incoming = staging.resume(part, rel("a"), identity(&content), over).unwrap();
        incoming.write(&content[broken_off..]).unwrap();
        let commit = finish(&archive, incoming, &content);
        let became = &stored(&commit).superseded().unwrap().became;
        assert_eq!(*became == Became::Prefix, grown, "{became:?}");
        assert_eq!(storage.files()[0].1, content);
        assert_eq!(storage.versions().len(), usize::from(!grown));
        assert_eq!(storage.staged(), 0);
    }
}

#[test]
fn a_whole_file_that_was_not_committed_is_a_part() {
    let storage = Storage::new();
    let archive = storage.open();
    let content = content();
    let staging = archive.staging(&device()).unwrap();
    drop(stage(&archive, &staging, "a", &content));
    let part = staging.part(&target(&archive, "a")).unwrap().unwrap();
    assert_eq!(part.prefix().bytes, BYTES as u64);
    let incoming = staging.resume(part, rel("a"), identity(&content), Target::New(target(&archive, "a"))).unwrap();
    stored(&finish(&archive, incoming, &content));
    // But not where its place was taken meanwhile: it will be aimed elsewhere.
    let commits = commit_all(&archive, vec![stage(&archive, &staging, "a", &[7; BYTES])]).unwrap();
    assert!(matches!(&commits[0], Commit::Occupied(_)));
    assert_eq!(storage.staged(), 0);
}

#[test]
fn what_somebody_put_in_the_place_of_a_part_is_not_followed() {
    let storage = Storage::new();
    let archive = storage.open();
    let (content, outside) = (content(), tempfile::NamedTempFile::new().unwrap());
    std::fs::write(outside.path(), "secret").unwrap();
    begin(&archive, &archive.staging(&device()).unwrap(), "a", &content, 10);
    let private = storage.path().join(PRIVATE_DIR);
    let (left, _) = files_below(&private).into_iter().find(|(path, _)| path.starts_with("staging")).unwrap();
    let part = private.join(left);
    let make: [&dyn Fn(&Path); 4] = [
        &|path| std::os::unix::fs::symlink(outside.path(), path).unwrap(),
        &|path| std::fs::create_dir(path).unwrap(),
        &|path| rustix::fs::mkfifoat(rustix::fs::CWD, path, rustix::fs::Mode::RWXU).unwrap(),
        &|path| std::fs::write(path, "").unwrap(),
    ];
    let clear = || std::fs::remove_file(&part).or_else(|_| std::fs::remove_dir(&part)).ok();
    for make in make {
        clear();
        make(&part);
        let staging = archive.staging(&device()).unwrap();
        assert!(staging.part(&target(&archive, "a")).unwrap().is_none());
        assert!(part.symlink_metadata().is_err());
        make(&part);
        begin(&archive, &staging, "a", &content, 20);
        assert_eq!(std::fs::read(&part).unwrap(), content[..20]);
    }
    assert_eq!(std::fs::read(outside.path()).unwrap(), b"secret");
}
