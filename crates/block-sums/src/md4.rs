//! MD4 (RFC 1320) of many messages of the same length at a time.

/// Bytes of a strong sum.
pub const STRONG_BYTES: usize = 16;
/// A strong sum.
pub type Strong = [u8; STRONG_BYTES];

/// So many blocks are computed together: what fits the vector registers of the boards and of the machines that this is for.
pub const LANES: usize = 8;

const CHUNK_BYTES: usize = 64;
/// The length of a message stands at its end, in bits, after a one and as many zeros as it takes.
const LENGTH_BYTES: usize = 8;

/// The strong sum of one block.
pub fn strong(block: &[u8]) -> Strong {
    let [sum] = sums([block]);
    sum
}

/// Gives the strong sum of each block of a content, in order; the last may be short.
///
/// # Panics
/// Where `block_bytes` is 0.
pub fn strong_of_each(content: &[u8], block_bytes: usize, mut each: impl FnMut(&[u8], &Strong)) {
    let mut groups = content.chunks_exact(block_bytes * LANES);
    for group in groups.by_ref() {
        let sums = of_lanes(group, block_bytes);
        group.chunks_exact(block_bytes).zip(&sums).for_each(|(block, sum)| each(block, sum));
    }
    groups.remainder().chunks(block_bytes).for_each(|block| each(block, &strong(block)));
}

/// Not generic, so that it is compiled here, with all that it calls.
fn of_lanes(group: &[u8], block_bytes: usize) -> [Strong; LANES] {
    let mut blocks = [&group[..0]; LANES];
    blocks.iter_mut().zip(group.chunks_exact(block_bytes)).for_each(|(lane, block)| *lane = block);
    #[cfg(target_arch = "x86_64")]
    if std::arch::is_x86_feature_detected!("avx2") {
        #[allow(unsafe_code)]
        // SAFETY: the processor has the instructions that it is compiled for.
        return unsafe { of_lanes_avx2(blocks) };
    }
    sums(blocks)
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2")]
fn of_lanes_avx2(blocks: [&[u8]; LANES]) -> [Strong; LANES] {
    sums(blocks)
}

/// One word of each lane. What is done to all of them becomes one instruction, or two.
type Words<const N: usize> = [u32; N];

/// The sums of messages that are all as long as the first.
#[inline(always)]
fn sums<const N: usize>(messages: [&[u8]; N]) -> [Strong; N] {
    let bytes = messages[0].len();
    let whole = bytes / CHUNK_BYTES * CHUNK_BYTES;
    let mut state = [[0x6745_2301; N], [0xefcd_ab89; N], [0x98ba_dcfe; N], [0x1032_5476; N]];
    for at in (0..whole).step_by(CHUNK_BYTES) {
        mix(&mut state, messages.map(|message| &message[at..at + CHUNK_BYTES]));
    }
    let rest = bytes - whole;
    let ends = messages.map(|message| {
        let mut end = [0; 2 * CHUNK_BYTES];
        end[..rest].copy_from_slice(&message[whole..bytes]);
        end[rest] = 0x80;
        end
    });
    let length = (bytes as u64 * 8).to_le_bytes();
    let end_bytes = (rest + 1 + LENGTH_BYTES).next_multiple_of(CHUNK_BYTES);
    let ends = ends.map(|mut end| {
        end[end_bytes - LENGTH_BYTES..end_bytes].copy_from_slice(&length);
        end
    });
    for at in (0..end_bytes).step_by(CHUNK_BYTES) {
        let chunks: [&[u8]; N] = std::array::from_fn(|lane| &ends[lane][at..at + CHUNK_BYTES]);
        mix(&mut state, chunks);
    }
    std::array::from_fn(|lane| {
        let mut sum = [0; STRONG_BYTES];
        let words = state.iter().map(|words| words[lane].to_le_bytes());
        sum.chunks_exact_mut(4).zip(words).for_each(|(to, word)| to.copy_from_slice(&word));
        sum
    })
}

/// Mixes the next 64 bytes of each lane in.
#[inline(always)]
fn mix<const N: usize>(state: &mut [Words<N>; 4], chunks: [&[u8]; N]) {
    let mut x = [[0; N]; 16];
    for (lane, chunk) in chunks.into_iter().enumerate() {
        let (words, _) = chunk.as_chunks();
        for (to, word) in x.iter_mut().zip(words) {
            to[lane] = u32::from_le_bytes(*word);
        }
    }
    let [mut a, mut b, mut c, mut d] = *state;
    let f = |x: u32, y: u32, z: u32| z ^ (x & (y ^ z));
    for i in [0, 4, 8, 12] {
        a = step(f, a, b, c, d, &x[i], 0, 3);
        d = step(f, d, a, b, c, &x[i + 1], 0, 7);
        c = step(f, c, d, a, b, &x[i + 2], 0, 11);
        b = step(f, b, c, d, a, &x[i + 3], 0, 19);
    }
    let g = |x: u32, y: u32, z: u32| (x & y) | (z & (x | y));
    for i in [0, 1, 2, 3] {
        a = step(g, a, b, c, d, &x[i], 0x5a82_7999, 3);
        d = step(g, d, a, b, c, &x[i + 4], 0x5a82_7999, 5);
        c = step(g, c, d, a, b, &x[i + 8], 0x5a82_7999, 9);
        b = step(g, b, c, d, a, &x[i + 12], 0x5a82_7999, 13);
    }
    let h = |x: u32, y: u32, z: u32| x ^ y ^ z;
    for i in [0, 2, 1, 3] {
        a = step(h, a, b, c, d, &x[i], 0x6ed9_eba1, 3);
        d = step(h, d, a, b, c, &x[i + 8], 0x6ed9_eba1, 9);
        c = step(h, c, d, a, b, &x[i + 4], 0x6ed9_eba1, 11);
        b = step(h, b, c, d, a, &x[i + 12], 0x6ed9_eba1, 15);
    }
    for (words, mixed) in state.iter_mut().zip([a, b, c, d]) {
        *words = std::array::from_fn(|lane| words[lane].wrapping_add(mixed[lane]));
    }
}

#[allow(clippy::too_many_arguments)] // as the RFC has them
#[inline(always)]
fn step<const N: usize>(
    mixes: impl Fn(u32, u32, u32) -> u32,
    a: Words<N>,
    b: Words<N>,
    c: Words<N>,
    d: Words<N>,
    x: &Words<N>,
    constant: u32,
    shift: u32,
) -> Words<N> {
    std::array::from_fn(|lane| {
        let mixed = mixes(b[lane], c[lane], d[lane]);
        a[lane].wrapping_add(mixed).wrapping_add(x[lane]).wrapping_add(constant).rotate_left(shift)
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn hex(sum: Strong) -> String {
        sum.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    /// RFC 1320, A.5.
    #[test]
    fn the_sums_of_the_rfc() {
        let table = [
            ("", "31d6cfe0d16ae931b73c59d7e0c089c0"),
            ("a", "bde52cb31de33e46245e05fbdbd6fb24"),
            ("abc", "a448017aaf21d8525fc10ae87aa6729d"),
            ("message digest", "d9130a8164549fe818874806e1c7014b"),
            ("abcdefghijklmnopqrstuvwxyz", "d79e1c308aa5bbcdeea8ed63df412da9"),
            ("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789", "043f8582f241db351ce627e153e7f0e4"),
            (
                "12345678901234567890123456789012345678901234567890123456789012345678901234567890",
                "e33b4ddc9c38f2199c3e7b164fcc0536",
            ),
        ];
        for (message, expected) in table {
            assert_eq!(hex(strong(message.as_bytes())), expected, "{message}");
        }
    }

    #[test]
    fn blocks_together_have_the_sums_of_each_alone() {
        let content = (0..50_000_u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 24) as u8).collect::<Vec<_>>();
        for block in [1, 55, 56, 63, 64, 65, 119, 128, 768, 2048, 60_000] {
            for bytes in [0, 1, block - 1, block, block * LANES, block * (LANES + 3) + 1] {
                let content = &content[..bytes.min(content.len())];
                let mut seen = 0;
                strong_of_each(content, block, |of, sum| {
                    assert_eq!(*sum, strong(of));
                    assert_eq!(of, &content[seen..content.len().min(seen + block)]);
                    seen += of.len();
                });
                assert_eq!(seen, content.len(), "{block} {bytes}");
                // And without the instructions that not every processor has.
                if let Some(group) = content.get(..block * LANES) {
                    let mut blocks = [&group[..0]; LANES];
                    blocks.iter_mut().zip(group.chunks(block)).for_each(|(lane, of)| *lane = of);
                    assert_eq!(sums(blocks), blocks.map(strong));
                }
            }
        }
    }
}
