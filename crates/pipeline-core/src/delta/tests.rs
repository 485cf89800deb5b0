#![allow(clippy::unwrap_used)]

use std::io::{Cursor, Read};

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

fn delta_of(signature: &[u8], new: impl Read) -> Result<Vec<u8>, DeltaError> {
    let mut delta = Delta::start(signature, signature.len() as u64, new)?;
    let mut all = Vec::new();
    loop {
        match delta.piece()? {
            [] => return Ok(all),
            piece => all.extend_from_slice(piece),
        }
    }
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
        let mut delta = Delta::start(fitful(&signature[..], most), bytes, fitful(&new[..], most)).unwrap();
        let mut all = Vec::new();
        while let piece @ [_, ..] = delta.piece().unwrap() {
            all.extend_from_slice(piece);
        }
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

#[test]
fn a_patch_by_pieces_is_the_same() {
    let (basis, new) = (noise(1, 200_000), noise(2, 200_000));
    let delta = delta_of(&sign(&basis), &new[..]).unwrap();
    let mut patcher = Patcher::start(Cursor::new(basis.clone()), Vec::new(), 200_000).unwrap();
    assert!(delta.chunks(999).all(|piece| patcher.write(piece)));
    let (seen, written) = patcher.finish().unwrap();
    assert!(seen == new && written == 200_000);

    let mut torn = Patcher::start(Cursor::new(basis), Vec::new(), 200_000).unwrap();
    assert!(torn.write(&delta[..delta.len() / 2]));
    assert!(matches!(torn.finish(), Err(DeltaError::Delta(_))));
}
