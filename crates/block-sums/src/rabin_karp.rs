//! Rabin-Karp sums as librsync has them (`rabinkarp.h`): of n bytes, the sum of each times the multiplier to the power of how many
//! come after it, and the seed before them all, in 32 bits.

const SEED: u32 = 1;
const MULTIPLIER: u32 = 0x0810_4225;
/// Times the multiplier, this is 1.
const INVERSE: u32 = 0x98f0_09ad;
/// What a byte that leaves takes with it besides itself, so that the seed stays where it is.
const ADJUSTMENT: u32 = MULTIPLIER.wrapping_sub(1).wrapping_mul(SEED);

/// Every n-th byte makes a sum of its own: one multiplication need not wait for the one before.
const STRANDS: usize = 16;

const fn power(base: u32, mut exponent: usize) -> u32 {
    let (mut power, mut square) = (1_u32, base);
    while exponent > 0 {
        if exponent & 1 == 1 {
            power = power.wrapping_mul(square);
        }
        square = square.wrapping_mul(square);
        exponent >>= 1;
    }
    power
}

/// The weak sum of one block.
pub fn weak(block: &[u8]) -> u32 {
    #[cfg(target_arch = "x86_64")]
    if std::arch::is_x86_feature_detected!("avx2") {
        #[allow(unsafe_code)]
        // SAFETY: the processor has the instructions that it is compiled for.
        return unsafe { of_strands_avx2(block) };
    }
    of_strands(block)
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2")]
fn of_strands_avx2(block: &[u8]) -> u32 {
    of_strands(block)
}

#[inline(always)]
fn of_strands(block: &[u8]) -> u32 {
    const STRIDE: u32 = power(MULTIPLIER, STRANDS);
    let (rows, rest) = block.as_chunks::<STRANDS>();
    let mut strands = [0_u32; STRANDS];
    for row in rows {
        for (strand, &byte) in strands.iter_mut().zip(row) {
            *strand = strand.wrapping_mul(STRIDE).wrapping_add(byte.into());
        }
    }
    let next = |sum: u32, value: u32| sum.wrapping_mul(MULTIPLIER).wrapping_add(value);
    let woven = strands.into_iter().fold(0, next);
    let seed = SEED.wrapping_mul(power(MULTIPLIER, rows.len() * STRANDS));
    rest.iter().fold(seed.wrapping_add(woven), |sum, &byte| next(sum, byte.into()))
}

/// The weak sum of a block that moves through a content.
#[derive(Clone, Copy, Debug)]
pub struct Window {
    sum: u32,
    bytes: usize,
    /// The multiplier to the power of the length.
    leaving: u32,
}

impl Window {
    /// Over this block.
    pub fn new(block: &[u8]) -> Window {
        Window { sum: weak(block), bytes: block.len(), leaving: power(MULTIPLIER, block.len()) }
    }

    /// The weak sum of what it is over.
    pub fn sum(&self) -> u32 {
        self.sum
    }

    /// Moves on, byte by byte, from where it is over the beginning of `content`, until its sum is marked or the content ends.
    /// Returns how far it moved; it moves at least by one byte if it can.
    pub fn find(&mut self, content: &[u8], marks: &Marks) -> usize {
        let mut sum = self.sum;
        let pairs = content.iter().zip(content.get(self.bytes..).unwrap_or_default());
        for (moved, (&out, &next)) in pairs.enumerate() {
            // What leaves does not wait for the sum.
            let change = u32::from(next).wrapping_sub(self.leaving.wrapping_mul(ADJUSTMENT.wrapping_add(out.into())));
            sum = sum.wrapping_mul(MULTIPLIER).wrapping_add(change);
            if marks.has(sum) {
                self.sum = sum;
                return moved + 1;
            }
        }
        self.sum = sum;
        content.len().saturating_sub(self.bytes)
    }

    /// Leaves the first byte behind, which is this one, and becomes shorter.
    pub fn shorten(&mut self, out: u8) {
        self.bytes -= 1;
        self.leaving = self.leaving.wrapping_mul(INVERSE);
        self.sum = self.sum.wrapping_sub(self.leaving.wrapping_mul(ADJUSTMENT.wrapping_add(out.into())));
    }
}

/// Weak sums that are worth a look. Has all that were marked, and a few others.
#[derive(Debug)]
pub struct Marks {
    bits: Vec<u64>,
    shift: u32,
}

impl Marks {
    /// Has room for so many. Takes two to four bytes for each.
    pub fn new(sums: usize) -> Marks {
        let bits = (sums * 16).next_power_of_two().max(64);
        Marks { bits: vec![0; bits / 64], shift: 32_u32.saturating_sub(bits.ilog2()) }
    }

    /// Marks a sum.
    pub fn add(&mut self, sum: u32) {
        let (word, bit) = self.place(sum);
        self.bits[word] |= 1 << bit;
    }

    /// Whether a sum was marked, or one that looks like it.
    #[inline(always)]
    pub fn has(&self, sum: u32) -> bool {
        let (word, bit) = self.place(sum);
        self.bits[word] >> bit & 1 == 1
    }

    /// The highest bits of a product of all of them.
    #[inline(always)]
    fn place(&self, sum: u32) -> (usize, u32) {
        let place = sum.wrapping_mul(0x9e37_79b1) >> self.shift;
        // Never beyond the end, whatever the shift.
        ((place as usize / 64) & (self.bits.len() - 1), place % 64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As librsync does it.
    fn one_by_one(block: &[u8]) -> u32 {
        block.iter().fold(SEED, |sum, &byte| sum.wrapping_mul(MULTIPLIER).wrapping_add(byte.into()))
    }

    fn content() -> Vec<u8> {
        let mut x = 1_u64;
        let mut next = || {
            x ^= x << 13;
            x ^= x >> 7;
            x ^= x << 17;
            x.to_le_bytes()[4]
        };
        (0..10_000).map(|_| next()).collect()
    }

    #[test]
    fn many_strands_make_the_same_sum() {
        for bytes in (0..100).chain([767, 768, 2048, 9999]) {
            let expected = one_by_one(&content()[..bytes]);
            assert_eq!((weak(&content()[..bytes]), of_strands(&content()[..bytes])), (expected, expected), "{bytes}");
        }
        // Zeros count.
        assert_ne!(weak(&[0; 100]), weak(&[0; 101]));
    }

    #[test]
    fn a_window_finds_each_block_and_nothing_that_is_not_marked() {
        let content = content();
        for block in [1, 100, 2048] {
            let places = [1, 2, 3, 77, 5000, content.len() - block];
            let mut marks = Marks::new(places.len());
            for at in places {
                marks.add(weak(&content[at..at + block]));
            }
            let (mut window, mut at) = (Window::new(&content[..block]), 0);
            let mut found = Vec::new();
            while at + block < content.len() {
                at += window.find(&content[at..], &marks);
                assert_eq!(window.sum(), one_by_one(&content[at..at + block]));
                if marks.has(window.sum()) {
                    found.push(at);
                }
            }
            assert_eq!(window.find(&content[at..], &marks), 0);
            assert!(places.iter().all(|at| found.contains(at)), "{found:?}");
        }
        // Few others: hardly more than one in sixteen.
        let mut marks = Marks::new(1000);
        (0..1000).for_each(|i| marks.add(weak(&content[i..i + 100])));
        let others = (2000..9000).filter(|&i| marks.has(weak(&content[i..i + 100]))).count();
        assert!(others < 7000 / 12, "{others}");
    }

    #[test]
    fn a_window_shrinks_to_the_end() {
        let content = content();
        let mut window = Window::new(&content);
        for at in 1..=content.len() {
            window.shorten(content[at - 1]);
            assert_eq!(window.sum(), one_by_one(&content[at..]));
        }
    }
}
