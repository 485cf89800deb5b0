#![allow(clippy::unwrap_used)]

use std::io::{Cursor, Read};
use std::time::Duration;

use proptest::prelude::*;

use super::*;

/// Bytes that do not compress, and differ from those of another seed.
fn noise(seed: u64, bytes: usize) -> Vec<u8> {
    let mut x = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut next = || {
        x ^= x << 13;
        x ^= x >> 7;
        x ^= x << 17;
        x.to_le_bytes()[4]
    };
    (0..bytes).map(|_| next()).collect()
}

fn sign(basis: &[u8]) -> Vec<u8> {
    signature(basis, basis.len() as u64).unwrap()
}

/// The delta of what is read, computed by one worker.
pub(crate) fn delta_of(signature: &[u8], new: impl Read + Send) -> Result<Vec<u8>, DeltaError> {
    shared_delta_of(signature, signature.len() as u64, new, Shares::ONE)
}

fn shared_delta_of(
    signature: impl Read,
    signature_bytes: u64,
    mut new: impl Read + Send,
    shares: Shares,
) -> Result<Vec<u8>, DeltaError> {
    let signature = Signature::read(signature, signature_bytes)?;
    std::thread::scope(|scope| {
        let (mut feed, mut made) = start(scope, signature, shares).unwrap();
        scope.spawn(move || {
            loop {
                let mut piece = vec![0; feed.room()];
                let filled = new.read(&mut piece);
                piece.truncate(*filled.as_ref().unwrap_or(&0));
                match filled {
                    Ok(0) => break,
                    Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                    filled => {
                        if !feed.push(filled.map(|_| piece)) {
                            break;
                        }
                    }
                }
            }
        });
        let mut all = Vec::new();
        loop {
            match made.next(Duration::from_secs(60))? {
                Step::Made(piece, _) => all.extend(piece),
                Step::Waited => panic!("it takes too long"),
                Step::Ended => return Ok(all),
            }
        }
    })
}

fn patched(basis: &[u8], delta: &[u8], most: usize) -> Result<Vec<u8>, DeltaError> {
    let mut new = Vec::new();
    let written = patch(Cursor::new(basis), delta, &mut new, most as u64)?;
    assert_eq!(written, new.len() as u64);
    Ok(new)
}

/// Interrupted before every read, and never more than `most` bytes at once.
struct Fitful<R> {
    inner: R,
    most: usize,
    interrupted: bool,
}

fn fitful<R>(inner: R, most: usize) -> Fitful<R> {
    Fitful { inner, most, interrupted: false }
}

impl<R: Read> Read for Fitful<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.interrupted = !self.interrupted;
        if self.interrupted {
            return Err(io::ErrorKind::Interrupted.into());
        }
        let most = buffer.len().min(self.most);
        self.inner.read(&mut buffer[..most])
    }
}

impl<R: std::io::Seek> std::io::Seek for Fitful<R> {
    fn seek(&mut self, to: std::io::SeekFrom) -> io::Result<u64> {
        self.inner.seek(to)
    }
}

#[test]
fn inputs_that_are_interrupted_and_short_change_nothing() {
    let basis = noise(1, 300_000);
    let mut new = basis.clone();
    new.splice(100_000..100_010, noise(2, 5000));
    for most in [1000, 4096, 100_000] {
        let size = basis.len() as u64;
        let signature = signature(fitful(&basis[..], most), size).unwrap();
        assert!(signature == sign(&basis));
        let bytes = signature.len() as u64;
        let all = shared_delta_of(fitful(&signature[..], most), bytes, fitful(&new[..], most), Shares::ONE).unwrap();
        assert!(all.len() < 10_000);
        let mut seen = Vec::new();
        let basis = fitful(Cursor::new(&basis), most);
        patch(basis, fitful(&all[..], most), &mut seen, new.len() as u64).unwrap();
        assert!(seen == new);
    }
}

#[test]
fn a_changed_file_costs_what_changed() {
    let basis = noise(1, 1 << 20);
    let mut new = noise(3, 7);
    new.extend_from_slice(&basis[..500_000]);
    new.extend(noise(4, 4096));
    new.extend_from_slice(&basis[504_096..]);
    new.extend(noise(5, 10_000));
    let delta = delta_of(&sign(&basis), &new[..]).unwrap();
    assert!(delta.len() < 4096 + 10_000 + 4 * 2048, "{}", delta.len());
    assert!(patched(&basis, &delta, new.len()).unwrap() == new);
}

/// What we make is what librsync would: its own delta against our signature finds as much, and it patches ours.
#[test]
fn librsync_knows_our_sums_and_finds_no_more_than_we_do() {
    let basis = [noise(1, 150_000), vec![0; 50_000], noise(2, 100_300)].concat();
    let mut edited = basis.clone();
    edited[20_000..20_100].fill(1);
    let cases = [
        basis.clone(),
        edited,
        [&noise(3, 77), &basis[..]].concat(),
        [&basis[160_000..], &basis[..90_001]].concat(),
        basis[100..].to_vec(),
        vec![0; 100_000],
        noise(4, 100_000),
        // Ends with the last block, which is short.
        [&basis[..5000], &basis[basis.len() - 100..]].concat(),
        basis[basis.len() - 3000..].to_vec(),
        Vec::new(),
    ];
    for (case, new) in cases.iter().enumerate() {
        let ours = delta_of(&sign(&basis), &new[..]).unwrap();
        let sums = librsync::Delta::new(&new[..], &mut &sign(&basis)[..]);
        let mut theirs = Vec::new();
        sums.unwrap().read_to_end(&mut theirs).unwrap();
        // Other commands may be longer by a few bytes.
        assert!(ours.len() <= theirs.len() + 20, "case {case}: {} bytes, not {}", ours.len(), theirs.len());
        assert!(patched(&basis, &ours, new.len()).unwrap() == *new, "case {case}");
        assert!(patched(&basis, &theirs, new.len()).unwrap() == *new, "case {case}");
    }
}

/// Where the blocks lie as they did, a cut costs the few bytes of a command; else one block.
#[test]
fn a_cut_costs_a_block_at_the_most() {
    let basis = noise(1, 1 << 20);
    let signature = sign(&basis);
    let moved = [&noise(2, 100), &basis[..]].concat();
    for workers in 1..4 {
        let shares = Shares { workers, segment_bytes: 64 * 2048 };
        for (new, most) in [(&basis, 8 * 20), (&moved, 9 * (2048 + 20))] {
            let delta = shared_delta_of(&signature[..], signature.len() as u64, &new[..], shares).unwrap();
            assert!(delta.len() <= most, "{} bytes", delta.len());
            assert!(patched(&basis, &delta, new.len()).unwrap() == *new);
        }
    }
}

/// Much more than the queues hold, at all places at once; nobody waits for anybody for ever.
#[test]
fn workers_end_when_nobody_wants_the_delta_any_more() {
    let basis = noise(1, 1 << 20);
    let signature = sign(&basis);
    for taken in [0, 1, 10, 50] {
        let signature = Signature::read(&signature[..], signature.len() as u64).unwrap();
        std::thread::scope(|scope| {
            let (mut feed, mut made) = start(scope, signature, Shares { workers: 3, segment_bytes: 1 << 20 }).unwrap();
            let feeder = scope.spawn(move || {
                let piece = noise(2, feed.room());
                // Without an end.
                while feed.push(Ok(piece.clone())) {}
            });
            for _ in 0..taken {
                assert!(matches!(made.next(Duration::from_secs(60)), Ok(Step::Made(..))));
            }
            drop(made);
            feeder.join().unwrap();
        });
    }
}

mod traps;

#[test]
fn blocks_and_sums_by_size() {
    const KIB: u64 = 1 << 10;
    const MIB: u64 = 1 << 20;
    const GIB: u64 = 1 << 30;
    let table = [
        (MIN_BYTES, 768, 8),
        (200 * KIB, 1536, 8),
        (MIB, 2048, 8),
        (512 * MIB, 2048, 9),
        (GIB, 2048, 9),
        (GIB + 1, 2176, 9),
        (10 * GIB, 20_480, 9),
        (512 * GIB, 1 << 20, 10),
    ];
    for (bytes, block_bytes, strong_bytes) in table {
        let parameters = parameters(bytes).unwrap();
        assert_eq!(parameters, Parameters { block_bytes, strong_bytes }, "{bytes} bytes");
        assert!(parameters.signature_bytes(bytes) <= MAX_SIGNATURE_BYTES);
    }
    assert_eq!(parameters(512 * GIB + 1), None);
    assert_eq!(parameters(u64::MAX), None);
    assert!(matches!(signature(io::empty(), u64::MAX), Err(DeltaError::TooLarge(_))));
    let basis = noise(1, 300_000);
    assert_eq!(sign(&basis).len() as u64, parameters(300_000).unwrap().signature_bytes(300_000));
}

#[test]
fn a_content_that_is_shorter_than_it_was_has_no_signature() {
    let error = signature(&noise(1, 299_999)[..], 300_000).unwrap_err();
    assert!(matches!(&error, DeltaError::Content(e) if e.kind() == io::ErrorKind::UnexpectedEof), "{error:?}");
    // What has come after it is of no interest.
    assert!(signature(&noise(1, 300_001)[..], 300_000).unwrap() == sign(&noise(1, 300_000)));
}

#[test]
fn each_error_says_which_side_it_comes_from() {
    struct Broken;
    impl Read for Broken {
        fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
            Err(io::ErrorKind::ConnectionReset.into())
        }
    }
    impl std::io::Seek for Broken {
        fn seek(&mut self, _: std::io::SeekFrom) -> io::Result<u64> {
            Ok(0)
        }
    }
    struct Full;
    impl std::io::Write for Full {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            Err(io::ErrorKind::StorageFull.into())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    let basis = noise(1, 100_000);
    let signature_of = sign(&basis);
    let delta = delta_of(&signature_of, &basis[..]).unwrap();
    let reset = |e: &io::Error| e.kind() == io::ErrorKind::ConnectionReset;

    let error = signature(Broken, 9).unwrap_err();
    assert!(matches!(&error, DeltaError::Content(e) if reset(e)), "{error:?}");
    let error = delta_of(&signature_of, Broken).unwrap_err();
    assert!(matches!(&error, DeltaError::Content(e) if reset(e)), "{error:?}");
    let error = Signature::read(Broken, 1000).unwrap_err();
    assert!(matches!(&error, DeltaError::Input(e) if reset(e)), "{error:?}");
    let error = Signature::read(signature_of[..99].chain(Broken), signature_of.len() as u64).unwrap_err();
    assert!(matches!(&error, DeltaError::Input(e) if reset(e)), "{error:?}");
    let error = patch(Broken, &delta[..], io::sink(), 100_000).unwrap_err();
    assert!(matches!(&error, DeltaError::Basis(e) if reset(e)), "{error:?}");
    let error = patch(Cursor::new(&basis), delta[..4].chain(Broken), io::sink(), 100_000).unwrap_err();
    assert!(matches!(&error, DeltaError::Input(e) if reset(e)), "{error:?}");
    let error = patch(Cursor::new(&basis), &delta[..], Full, 100_000).unwrap_err();
    assert!(matches!(&error, DeltaError::Output(e) if e.kind() == io::ErrorKind::StorageFull), "{error:?}");
}

/// One change that a program may make to a file.
#[derive(Clone, Debug)]
enum Edit {
    Overwrite(prop::sample::Index, Vec<u8>),
    Insert(prop::sample::Index, Vec<u8>),
    Cut(prop::sample::Index, usize),
    /// A part of the file, once more at another place.
    Repeat(prop::sample::Index, prop::sample::Index, usize),
    Append(u64, usize),
}

fn edit() -> impl Strategy<Value = Edit> {
    let bytes = || prop::collection::vec(any::<u8>(), 1..5000);
    let at = any::<prop::sample::Index>;
    prop_oneof![
        (at(), bytes()).prop_map(|(at, new)| Edit::Overwrite(at, new)),
        (at(), bytes()).prop_map(|(at, new)| Edit::Insert(at, new)),
        (at(), 1..50_000usize).prop_map(|(at, bytes)| Edit::Cut(at, bytes)),
        (at(), at(), 1..50_000usize).prop_map(|(from, to, bytes)| Edit::Repeat(from, to, bytes)),
        (any::<u64>(), 0..100_000usize).prop_map(|(seed, bytes)| Edit::Append(seed, bytes)),
    ]
}

fn apply(content: &mut Vec<u8>, edit: &Edit) {
    let place = |at: &prop::sample::Index, content: &[u8]| at.index(content.len() + 1);
    match edit {
        Edit::Overwrite(at, new) => {
            let at = place(at, content);
            let end = content.len().min(at + new.len());
            content.splice(at..end, new.iter().copied());
        }
        Edit::Insert(at, new) => {
            let at = place(at, content);
            content.splice(at..at, new.iter().copied());
        }
        Edit::Cut(at, bytes) => {
            let at = place(at, content);
            content.drain(at..content.len().min(at + bytes));
        }
        Edit::Repeat(from, to, bytes) => {
            let (from, to) = (place(from, content), place(to, content));
            let part = content[from..content.len().min(from + bytes)].to_vec();
            content.splice(to..to, part);
        }
        Edit::Append(seed, bytes) => content.extend(noise(*seed, *bytes)),
    }
}

/// Noise with zeros in it, as an image or a database has.
fn content() -> impl Strategy<Value = Vec<u8>> {
    (any::<u64>(), 1..200_000usize, 0..3usize).prop_map(|(seed, bytes, zeros)| {
        let mut content = noise(seed, bytes);
        for at in 1..=zeros {
            let from = bytes * at / 4;
            content[from..from + bytes / 8].fill(0);
        }
        content
    })
}

/// Several workers, and segments of any length: in use they are as long as many blocks.
fn shares() -> impl Strategy<Value = Shares> {
    prop_oneof![
        Just(Shares::ONE),
        (1..4usize, 1000..100_000u64).prop_map(|(workers, segment_bytes)| Shares { workers, segment_bytes }),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, ..ProptestConfig::default() })]

    #[test]
    fn a_patched_basis_is_the_new_content(
        basis in content(),
        edits in prop::collection::vec(edit(), 0..6),
        most in 1..100_000usize,
        shares in shares(),
    ) {
        let mut new = basis.clone();
        edits.iter().for_each(|edit| apply(&mut new, edit));
        let signature = sign(&basis);
        let delta =
            shared_delta_of(&signature[..], signature.len() as u64, fitful(&new[..], most), shares).unwrap();
        let mut seen = Vec::new();
        patch(fitful(Cursor::new(&basis), most), fitful(&delta[..], most), &mut seen, new.len() as u64).unwrap();
        prop_assert!(seen == new);
        // One byte less is one too few.
        if let Some(most) = new.len().checked_sub(1) {
            let refused = patched(&basis, &delta, most);
            prop_assert!(matches!(refused, Err(DeltaError::TooLong(_))));
        }
    }

    #[test]
    fn a_hostile_delta_ends_and_makes_no_more_than_it_may(
        basis in content(),
        edits in prop::collection::vec(edit(), 1..4),
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
        cut in prop::option::of(any::<prop::sample::Index>()),
        shares in shares(),
    ) {
        let mut new = basis.clone();
        edits.iter().for_each(|edit| apply(&mut new, edit));
        let signature = sign(&basis);
        let mut delta = shared_delta_of(&signature[..], signature.len() as u64, &new[..], shares).unwrap();
        for (at, byte) in changes {
            let at = at.index(delta.len());
            delta[at] = byte;
        }
        if let Some(cut) = cut {
            delta.truncate(cut.index(delta.len()));
        }
        let mut seen = Vec::new();
        let result = patch(Cursor::new(&basis), &delta[..], &mut seen, new.len() as u64);
        prop_assert!(seen.len() <= new.len());
        if let Ok(written) = result {
            prop_assert_eq!(written, seen.len() as u64);
        }
    }

    #[test]
    fn a_hostile_signature_is_refused_or_makes_a_delta_that_fits_nothing(
        basis in content(),
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
        grown in -20..20i64,
    ) {
        let mut signature = sign(&basis);
        for (at, byte) in changes {
            let at = at.index(signature.len());
            signature[at] = byte;
        }
        let length = usize::try_from((signature.len() as i64 + grown).max(0)).unwrap();
        signature.resize(length, 7);
        if let Ok(delta) = delta_of(&signature, &basis[..]) {
            // A command and its numbers for each block, at the worst.
            prop_assert!(delta.len() <= basis.len() + basis.len() / 4 + 100, "{} bytes", delta.len());
            patched(&basis, &delta, basis.len()).ok();
        }
    }
}
