//! Each ask from the first answer to a staged file, and what is left where it fails.

#![allow(clippy::unwrap_used)]

use std::path::PathBuf;
use std::sync::mpsc::{Receiver, channel};

use super::*;
use crate::archive::{Archive, ArchivePath, Commit, PART_BYTES, Yields};
use crate::catalog::Noted;
use crate::entry::{Identity, Prefix};
use crate::path::DeviceName;

/// A storage with one archived file, and the thread that builds.
struct Place {
    dir: tempfile::TempDir,
    archive: Archive,
    staging: Staging,
}

impl Place {
    fn new(archived: Option<&[u8]>) -> Place {
        let dir = tempfile::tempdir().unwrap();
        let made = Archive::init(dir.path()).unwrap();
        let archive = Archive::open(dir.path(), &made.marker.id()[..12], crate::archive::ReadBack::Auto).unwrap();
        if let Some(content) = archived {
            std::fs::create_dir(dir.path().join("pi")).unwrap();
            std::fs::write(dir.path().join("pi/a"), content).unwrap();
        }
        let staging = archive.staging(&pi()).unwrap();
        Place { dir, archive, staging }
    }

    fn path(&self) -> ArchivePath {
        self.archive.place("{host}/{path}", &pi(), b"data", &RelPath::new("a").unwrap()).unwrap()
    }

    /// The file as it is on the device, with all that is here of it.
    fn wanted(&self, content: &[u8]) -> Box<Wanted> {
        let identity = Identity { dev: 1, ino: 2, size: content.len() as u64, mtime_ns: 3, ctime_ns: 4 };
        let entry = Entry { path: RelPath::new("a").unwrap(), identity };
        let place = super::Place { path: self.path(), yields: Yields::Version, clash: false, again: false };
        let mut wanted = Wanted::new(entry, place, true);
        wanted.held = self.archive.examine(&self.path()).unwrap();
        wanted.part = self.staging.part(&self.path()).unwrap();
        wanted.begin();
        Box::new(wanted)
    }

    /// What lies in staging.
    fn staged(&self) -> Vec<PathBuf> {
        let files = walkdir::WalkDir::new(self.dir.path().join(".pipeline/staging")).into_iter().map(Result::unwrap);
        files.filter(|file| file.file_type().is_file()).map(walkdir::DirEntry::into_path).collect()
    }

    /// Runs a transfer beside its builder.
    fn transfer<T>(&self, work: impl FnOnce(&mut Transfer<'_>, &Receiver<Result<Built, ArchiveError>>) -> T) -> T {
        let (transfer, building) = Transfer::new(&self.staging);
        let (told, news) = channel();
        std::thread::scope(|scope| {
            scope.spawn(move || building.run(&self.staging, &told, |built| built));
            let mut transfer = transfer;
            work(&mut transfer, &news)
        })
    }

    fn commit(&self, arrived: Arrived) -> bool {
        let prepared = self.archive.prepare(&pi(), vec![arrived]).unwrap();
        let commits = self.archive.commit(prepared, Noted::by_nobody()).unwrap();
        matches!(&commits[..], [Commit::Stored(_)])
    }

    fn archived(&self) -> Vec<u8> {
        std::fs::read(self.dir.path().join("pi/a")).unwrap()
    }
}

fn pi() -> DeviceName {
    DeviceName::new("pi").unwrap()
}

/// Bytes of which no two blocks are the same.
fn noise(bytes: usize) -> Vec<u8> {
    let mut x = 1u64;
    let mut next = || {
        x = x.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (x >> 56) as u8
    };
    (0..bytes).map(|_| next()).collect()
}

fn complete(content: &[u8]) -> FetchEnd {
    FetchEnd::Complete(Digest::of(content))
}

#[test]
fn a_grown_file_is_made_of_what_is_here_and_its_new_end() {
    let (old, new) = (noise(300_000), noise(310_000));
    let place = Place::new(Some(&old));
    place.transfer(|transfer, news| {
        let wanted = place.wanted(&new);
        assert_eq!(wanted.ask, Ask::AfterHeld);
        assert_eq!(wanted.known(), [Prefix { bytes: 300_000, digest: Digest::of(&old) }]);
        assert_eq!((wanted.coming_bytes(), wanted.room_bytes()), (10_000, 310_000));
        transfer.expect(1, wanted);
        new[300_000..].chunks(7000).for_each(|piece| transfer.data(piece).unwrap());
        assert!(matches!(transfer.fetched(1, complete(&new)).unwrap().1, Arrival::BeingBuilt));
        let Ok(Built::Staged(_, staged)) = news.recv().unwrap() else { panic!("not built") };
        assert!(place.commit(Arrived::Staged(staged)));
    });
    assert_eq!((place.archived(), place.staged()), (new, vec![]));
    assert!(!place.dir.path().join(".pipeline/versions").exists(), "what it has grown from is its beginning");
}

#[test]
fn the_same_content_is_taken_over_without_a_byte() {
    let content = noise(300_000);
    let place = Place::new(Some(&content));
    place.transfer(|transfer, _| {
        let wanted = place.wanted(&content);
        assert_eq!((wanted.coming_bytes(), wanted.room_bytes()), (0, 0));
        transfer.expect(1, wanted);
        let Arrival::Here(_, arrived) = transfer.fetched(1, complete(&content)).unwrap().1 else { panic!("not here") };
        assert!(matches!(arrived, Arrived::Held { .. }) && place.commit(arrived));
    });
    assert_eq!(place.staged(), Vec::<PathBuf>::new());
}

#[test]
fn asks_follow_one_another_until_the_whole_file() {
    let (old, new) = (noise(300_000), noise(600_000).split_off(300_000));
    let place = Place::new(Some(&old));
    place.transfer(|transfer, news| {
        transfer.expect(1, place.wanted(&new));
        let Arrival::Again(mut wanted) = transfer.fetched(1, FetchEnd::Differs).unwrap().1 else { panic!("no next") };
        assert!(wanted.needs_signature());
        wanted.signature = Some(crate::delta::signature(&old[..], 300_000).unwrap());
        // What comes is no delta at all, whatever digest comes with it.
        transfer.expect(2, wanted);
        transfer.data(b"no delta").unwrap();
        assert!(matches!(transfer.fetched(2, complete(&new)).unwrap().1, Arrival::BeingBuilt));
        let Ok(Built::SetBack(mut wanted, setback)) = news.recv().unwrap() else { panic!("built") };
        assert_eq!((setback, place.staged()), (Setback::Disagrees, vec![]));
        assert!(wanted.go_on(setback));
        assert_eq!(wanted.ask, Ask::Whole);
        transfer.expect(3, wanted);
        transfer.data(&new).unwrap();
        let Arrival::Here(_, arrived) = transfer.fetched(3, complete(&new)).unwrap().1 else { panic!("not here") };
        assert!(place.commit(arrived));
    });
    assert_eq!((place.archived(), place.staged()), (new, vec![]));
}

/// A device that says equal and then sends a digest of something else, or more than it announced.
#[test]
fn what_disagrees_with_its_digest_is_asked_for_whole_once() {
    let (old, new) = (noise(300_000), noise(310_000));
    let place = Place::new(Some(&old));
    place.transfer(|transfer, news| {
        for (id, piece) in [(1, &new[300_000..]), (2, &new[..])] {
            transfer.expect(id, place.wanted(&new));
            transfer.data(piece).unwrap();
            assert!(matches!(transfer.fetched(id, complete(b"else")).unwrap().1, Arrival::BeingBuilt));
            let Ok(Built::SetBack(mut wanted, setback)) = news.recv().unwrap() else { panic!("built") };
            assert!(wanted.go_on(setback) && wanted.ask == Ask::Whole && !wanted.go_on(setback));
        }
        transfer.expect(3, place.wanted(&old));
        let Arrival::Again(wanted) = transfer.fetched(3, complete(b"else")).unwrap().1 else { panic!("taken over") };
        assert_eq!(wanted.ask, Ask::Whole);
        transfer.expect(4, wanted);
        transfer.data(&old).unwrap();
        let error = transfer.fetched(4, complete(b"else")).unwrap_err();
        assert!(matches!(error, TransferError::Archive(ArchiveError::DigestMismatch { .. })), "{error}");
    });
    assert_eq!((place.archived(), place.staged()), (old, vec![]));
}

#[test]
fn content_without_an_end_is_ended() {
    let (old, new) = (noise(300_000), noise(310_000));
    let place = Place::new(Some(&old));
    place.transfer(|transfer, _| {
        transfer.expect(1, place.wanted(&new));
        let piece = noise(64 << 10);
        let taken = (0..100).take_while(|_| transfer.data(&piece).is_ok()).count();
        assert_eq!(taken, 310_000 / piece.len() + 1);
    });
    assert_eq!(place.archived(), old);
}

#[test]
fn a_large_file_goes_on_after_what_came() {
    let content = noise(usize::try_from(PART_BYTES).unwrap() * 2);
    let place = Place::new(None);
    let half = content.len() / 2;
    place.transfer(|transfer, _| {
        transfer.expect(1, place.wanted(&content));
        transfer.data(&content[..half]).unwrap();
        // The connection breaks.
    });
    assert_eq!(place.staged().len(), 1);
    for breaks in [true, false] {
        place.transfer(|transfer, news| {
            let wanted = place.wanted(&content);
            assert_eq!(wanted.ask, Ask::AfterPart);
            let here = usize::try_from(wanted.known().last().unwrap().bytes).unwrap();
            assert!(if breaks { here == half } else { here > half }, "{here}");
            transfer.expect(1, wanted);
            if breaks {
                return transfer.data(&content[here..here + 50_000]).unwrap();
            }
            transfer.data(&content[here..]).unwrap();
            assert!(matches!(transfer.fetched(1, complete(&content)).unwrap().1, Arrival::BeingBuilt));
            let Ok(Built::Staged(_, staged)) = news.recv().unwrap() else { panic!("not built") };
            assert!(place.commit(Arrived::Staged(staged)));
        });
    }
    assert_eq!((place.archived(), place.staged()), (content, vec![]));
}

#[test]
fn a_part_of_another_content_goes() {
    let content = noise(usize::try_from(PART_BYTES).unwrap() * 2);
    let place = Place::new(None);
    place.transfer(|transfer, _| {
        transfer.expect(1, place.wanted(&content));
        transfer.data(&content[..1000]).unwrap();
    });
    place.transfer(|transfer, _| {
        transfer.expect(1, place.wanted(&content));
        let Arrival::Again(wanted) = transfer.fetched(1, FetchEnd::Differs).unwrap().1 else { panic!("no next") };
        assert_eq!((wanted.ask, place.staged()), (Ask::Whole, vec![]));
    });
}

/// Nobody waits for what is being built: what a delta has made so far stays, a copy that is not whole is worth nothing.
#[cfg(feature = "agent")]
#[test]
fn a_wish_to_stop_ends_what_is_being_built() {
    let old = noise(6 << 20);
    let (mut changed, mut grown) = (old.clone(), old.clone());
    changed[6_000_000..6_000_100].fill(7);
    grown.push(7);
    let signature = crate::delta::signature(&old[..], old.len() as u64).unwrap();
    let pieces = crate::delta::tests::delta_of(&signature, &changed[..]).unwrap();
    for (new, ask, content, staged) in [(changed, Ask::Delta, &pieces[..], 1), (grown, Ask::AfterHeld, &[7][..], 0)] {
        let (mut place, cancel) = (Place::new(Some(&old)), crate::cancel::Cancel::new());
        place.archive = place.archive.heeding(&cancel);
        place.staging = place.archive.staging(&pi()).unwrap();
        place.transfer(|transfer, news| {
            let mut wanted = place.wanted(&new);
            wanted.ask = ask;
            wanted.signature = Some(signature.clone());
            cancel.set();
            transfer.expect(1, wanted);
            content.chunks(100).for_each(|piece| transfer.data(piece).unwrap());
            assert!(matches!(transfer.fetched(1, complete(&new)).unwrap().1, Arrival::BeingBuilt));
            let built = news.recv().unwrap();
            assert!(matches!(built, Ok(Built::Ended)), "{ask:?}: {built:?}");
        });
        assert_eq!((place.archived() == old, place.staged().len()), (true, staged), "{ask:?}");
    }
}

/// Of a delta that breaks off as much stays as was patched.
#[cfg(feature = "agent")]
#[test]
fn a_delta_is_patched_and_what_was_patched_is_not_lost() {
    let old = noise(usize::try_from(PART_BYTES).unwrap() * 2);
    let mut new = old.clone();
    new[1_500_000..1_500_100].fill(7);
    let place = Place::new(Some(&old));
    let signature = crate::delta::signature(&old[..], old.len() as u64).unwrap();
    let pieces = crate::delta::tests::delta_of(&signature, &new[..]).unwrap();
    assert!(pieces.len() < 10_000);
    place.transfer(|transfer, news| {
        transfer.expect(1, place.wanted(&new));
        let Arrival::Again(mut wanted) = transfer.fetched(1, FetchEnd::Differs).unwrap().1 else { panic!("no next") };
        wanted.signature = Some(signature.clone());
        transfer.expect(2, wanted);
        pieces.chunks(100).for_each(|piece| transfer.data(piece).unwrap());
        assert!(matches!(transfer.fetched(2, complete(&new)).unwrap().1, Arrival::BeingBuilt));
        let Ok(Built::Staged(_, staged)) = news.recv().unwrap() else { panic!("not built") };
        // It is not committed: the part that it stays as is the whole file.
        drop(staged);
    });
    let wanted = place.wanted(&new);
    assert_eq!(
        wanted.known().last().map(|prefix| prefix.digest),
        Some(Digest::of(&old)),
        "the same length: first what is held"
    );
    assert_eq!(wanted.part.unwrap().prefix().digest, Digest::of(&new));
}
