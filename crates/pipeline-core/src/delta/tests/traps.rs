//! What librsync does when nobody stands between it and the world. Each test fails without the guard that it is named for.

use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

use super::*;

const COPY_N4_N4: u8 = 0x4f;
const LITERAL_N1: u8 = 0x41;
const END: u8 = 0;

fn delta_with(commands: &[&[u8]]) -> Vec<u8> {
    let mut delta = 0x7273_0236_u32.to_be_bytes().to_vec();
    commands.iter().for_each(|command| delta.extend_from_slice(command));
    delta
}

fn sums_of(signature: &[u8]) -> sums::Sums {
    sums::Sums::new(Signature::read(signature, signature.len() as u64).unwrap())
}

/// Time on a processor, whatever else the machine does.
fn worked(work: impl FnOnce()) -> Duration {
    let now = || Duration::try_from(clock_gettime(ClockId::ThreadCPUTime)).unwrap();
    let before = now();
    work();
    now() - before
}

/// It takes any length, and runs without an end, or for hours.
#[test]
fn lengths_that_nobody_chooses_are_refused() {
    let basis = noise(1, 100_000);
    let good = sign(&basis);
    for (at, lengths) in [(4, [0, 1, 127, (1 << 20) + 1, 1 << 31]), (8, [0, 1, 7, 17, u32::MAX])] {
        for length in lengths {
            let mut bad = good.clone();
            bad[at..at + 4].copy_from_slice(&length.to_be_bytes());
            let error = delta_of(&bad, &basis[..]).unwrap_err();
            assert!(matches!(error, DeltaError::Signature(_)), "{length} at {at}: {error:?}");
        }
    }
}

/// It takes what is left for a shorter signature, and the delta is larger than it need be.
#[test]
fn a_signature_that_is_cut_is_refused() {
    let basis = noise(1, 100_000);
    let good = sign(&basis);
    let announced = good.len() as u64;
    let sum_bytes = 4 + 8;
    for cut in (0..=HEADER_BYTES + 2).chain(good.len() - 2 * sum_bytes - 1..good.len()) {
        let error = Signature::read(&good[..cut], announced).unwrap_err();
        assert!(matches!(error, DeltaError::Signature(_)), "{cut}: {error:?}");
    }
    // Announced as it is: only whole sums are a signature.
    for cut in good.len() - sum_bytes + 1..good.len() {
        let error = delta_of(&good[..cut], &basis[..]).unwrap_err();
        assert!(matches!(error, DeltaError::Signature(_)), "{cut}: {error:?}");
    }
}

#[test]
fn a_delta_that_is_cut_is_refused() {
    let (basis, new) = (noise(1, 70_000), [noise(1, 50_000), noise(2, 100)].concat());
    let delta = delta_of(&sign(&basis), &new[..]).unwrap();
    for cut in 0..delta.len() {
        assert!(matches!(patched(&basis, &delta[..cut], new.len()), Err(DeltaError::Delta(_))), "{cut}");
    }
    assert!(patched(&basis, &delta, new.len()).unwrap() == new);
}

/// It says so only when it is asked for more than there is.
#[test]
fn what_comes_after_the_end_of_a_delta_is_an_error() {
    let basis = noise(1, 70_000);
    let delta = delta_of(&sign(&basis), &basis[..]).unwrap();
    for rest in [&[END][..], &[LITERAL_N1, 1, 7, END], &noise(2, 100_000)] {
        let longer = [&delta, rest].concat();
        assert!(matches!(patched(&basis, &longer, basis.len()), Err(DeltaError::Delta(_))));
        // Also where it comes later.
        let error =
            patch(Cursor::new(&basis), Read::chain(&delta[..], rest), io::sink(), basis.len() as u64).unwrap_err();
        assert!(matches!(error, DeltaError::Delta(_)), "{error:?}");
    }
}

/// A kilobyte makes gigabytes.
#[test]
fn a_delta_makes_no_more_than_it_may() {
    let basis = vec![7; 1 << 20];
    let copy = [&[COPY_N4_N4][..], &0_u32.to_be_bytes(), &(1_u32 << 20).to_be_bytes()].concat();
    let mut bomb = delta_with(&vec![&copy[..]; 10_000]);
    bomb.push(END);
    let mut seen = Vec::new();
    let error = patch(Cursor::new(&basis), &bomb[..], &mut seen, 3_000_000).unwrap_err();
    assert!(matches!(error, DeltaError::TooLong(3_000_000)), "{error:?}");
    assert!(seen.len() <= 3_000_000);
}

/// It works through commands that make nothing for as long as they come.
#[test]
fn a_delta_without_an_end_is_ended() {
    struct Nothing(u64);
    impl Read for Nothing {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            let even = buffer.len() / 2 * 2;
            buffer[..even].chunks_exact_mut(2).for_each(|command| command.copy_from_slice(&[LITERAL_N1, 0]));
            self.0 += even as u64;
            assert!(self.0 < 10_000_000, "it is read without an end");
            Ok(even)
        }
    }
    let begin = delta_with(&[]);
    let error = patch(Cursor::new(&b"basis"), Read::chain(&begin[..], Nothing(0)), io::sink(), 1_000_000).unwrap_err();
    assert!(matches!(error, DeltaError::TooLong(1_000_000)), "{error:?}");
}

/// With the older kind of sums one block of the basis makes each byte of a run of equal ones a candidate, whose strong sum must be
/// computed: ten seconds for four mebibytes.
#[test]
fn a_block_that_collides_with_a_run_costs_nothing() {
    let mut basis = vec![100; 1 << 20];
    // The sums of the older kind stay the same.
    for block in basis.chunks_mut(2048) {
        block[500] += 1;
        block[501] -= 2;
        block[502] += 1;
    }
    let run = vec![100; 4 << 20];
    let signature = sign(&basis);
    let spent = worked(|| {
        let mut commands = Vec::new();
        sums_of(&signature).compare(0).push(&run, &mut commands);
        assert!(commands.len() >= run.len() - 128 * 1024);
    });
    assert!(spent < Duration::from_secs(3), "{spent:?}");

    let old = librsync::Signature::with_options(&basis[..], 2048, 8, librsync::SignatureType::MD4);
    let mut old_signature = Vec::new();
    old.unwrap().read_to_end(&mut old_signature).unwrap();
    let error = delta_of(&old_signature, &run[..]).unwrap_err();
    assert!(matches!(error, DeltaError::Signature(_)), "{error:?}");
}

/// What is found nowhere is kept only until it is a command.
#[test]
fn what_is_taken_in_is_put_out_before_more_is_taken_in() {
    let sums = sums_of(&sign(&noise(1, 100_000)));
    let mut segment = sums.compare(0);
    let (mut taken, mut made) = (0, 0);
    let new = vec![7; INPUT_BYTES];
    for _ in 0..256 {
        let mut commands = Vec::new();
        segment.push(&new, &mut commands);
        (taken, made) = (taken + new.len(), made + commands.len());
        let held = taken.saturating_sub(made);
        assert!(held < 128 * 1024, "{held} bytes are held");
    }
    let mut commands = Vec::new();
    segment.finish(&mut commands);
    assert!(made + commands.len() >= taken);
}

/// Sums that somebody made up may all want the same place of the table. To load them takes no longer for that, nor does the looking.
#[test]
fn sums_that_crowd_one_place_cost_no_time() {
    const BLOCKS: usize = 200_000;
    let mut signature = [MAGIC, 2048, 8].map(u32::to_be_bytes).concat();
    for strong in noise(1, 8 * BLOCKS).chunks(8) {
        signature.extend_from_slice(&block_sums::weak(&[0; 2048]).to_be_bytes());
        signature.extend_from_slice(strong);
    }
    let spent = worked(|| {
        let mut commands = Vec::new();
        sums_of(&signature).compare(0).push(&[0; 100_000], &mut commands);
        assert!(commands.len() > 90_000);
    });
    assert!(spent < Duration::from_secs(5), "{spent:?}");
}
