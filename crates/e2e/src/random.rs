//! Random numbers that a seed repeats: the same on every computer, and good enough to spread instants and contents.

use std::time::Duration;

/// Sebastiano Vigna's SplitMix64.
#[derive(Clone, Debug)]
pub struct Random(u64);

impl Random {
    /// The same seed gives the same numbers.
    pub fn new(seed: u64) -> Random {
        Random(seed)
    }

    /// Any 64 bits.
    pub fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut bits = self.0;
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        bits ^ (bits >> 31)
    }

    /// From 0 to `end`, without it.
    ///
    /// # Panics
    /// Where `end` is 0.
    pub fn below(&mut self, end: usize) -> usize {
        // The remainder is less than `end`, so it fits.
        usize::try_from(self.bits() % end as u64).unwrap_or_default()
    }

    /// From nothing to `end`, without it.
    ///
    /// # Panics
    /// Where `end` is less than a microsecond.
    pub fn instant(&mut self, end: Duration) -> Duration {
        Duration::from_micros(self.bits() % u64::try_from(end.as_micros()).unwrap_or(u64::MAX))
    }

    /// So many bytes, which can't be compressed.
    pub fn content(&mut self, bytes: usize) -> Vec<u8> {
        let mut content = vec![0; bytes];
        for chunk in content.chunks_mut(8) {
            chunk.copy_from_slice(&self.bits().to_le_bytes()[..chunk.len()]);
        }
        content
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_repeats_its_numbers() {
        let numbers = |seed| (0..100).map(|_| Random(seed).bits()).collect::<Vec<_>>();
        assert_eq!(numbers(7), numbers(7));
        assert_ne!(numbers(7), numbers(8));
        // The reference implementation's first number for seed 0.
        assert_eq!(Random::new(0).bits(), 0xe220_a839_7b1d_cdaf);
        assert_eq!(Random::new(1).content(13).len(), 13);
    }
}
