//! A signature as contents are compared with it, and the comparing.
//!
//! Guarantees that commands for parts of a content, put together, are commands for all of it, that memory is bounded by the signature
//! and by what is given at once, and that any number of threads may compare with the same sums. Leaves to others what a signature
//! may be ([`compute`](super::compute)).
//!
//! What librsync's own comparing finds, this finds. It looks first where the block lies that comes after the last one found, which
//! takes no weak sum and computes the strong ones of [several blocks](block_sums::LANES) together: most of a file that was edited here
//! and there is found so. Only what is not there is looked for byte by byte.

use block_sums::{LANES, Marks, Strong, Window, strong, strong_of_each};

use super::compute::Signature;

/// As much is compared at once where blocks are large.
const GROUP_BYTES: usize = 512 * 1024;
/// Bytes that are found nowhere are put out at so many.
const LITERAL_BYTES: usize = 32 * 1024;
/// So far from its place in the table a block may lie. Only sums that somebody made up crowd so much; then some are not found.
const MAX_PROBES: usize = 64;

/// The commands of librsync's `prototab.c`: a literal of up to 64 bytes is its own length; the others say how many bytes their
/// numbers have.
const LITERAL_N1: u8 = 0x41;
const SHORT_LITERAL_BYTES: usize = 64;
const COPY_N1_N1: u8 = 0x45;

/// The sums of each block of the old content, and a table to find them by.
#[derive(Debug)]
pub(super) struct Sums {
    signature: Signature,
    blocks: usize,
    /// Numbers of blocks, counted from 1, each near the place that its weak sum gives; 0 where there is none.
    table: Vec<u32>,
    marks: Marks,
}

impl Sums {
    pub(super) fn new(signature: Signature) -> Sums {
        let blocks = signature.blocks();
        let table = vec![0; (blocks * 2).next_power_of_two()];
        let mut sums = Sums { signature, blocks, table, marks: Marks::new(blocks) };
        for block in 0..blocks {
            sums.add(block);
        }
        sums
    }

    /// The first of several blocks with the same sums is the one that is found.
    fn add(&mut self, block: usize) {
        let sum = self.sum(block);
        let weak = weak_of(sum);
        // The end of the search is a free place, or a block that is the same.
        let mut near = self.places(weak).take(MAX_PROBES);
        let end = near.find(|&place| self.table[place] == 0 || self.sum(self.table[place] as usize - 1) == sum);
        let free = end.filter(|&place| self.table[place] == 0);
        if let (Some(free), Ok(number)) = (free, u32::try_from(block + 1)) {
            self.table[free] = number;
            self.marks.add(weak);
        }
    }

    /// Where in the table a sum may be, best first.
    fn places(&self, weak: u32) -> impl Iterator<Item = usize> + use<> {
        let mask = self.table.len() - 1;
        // Of the lowest bits each depends on few bytes.
        let first = (u64::from(weak).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32) as usize;
        (first..).map(move |place| place & mask)
    }

    /// Both sums of a block, as they are in the signature.
    fn sum(&self, block: usize) -> &[u8] {
        self.signature.sum(block)
    }

    fn is(&self, block: usize, strong: &Strong) -> bool {
        strong.starts_with(self.signature.sums(block).1)
    }

    /// The block that is the same as this one.
    fn find(&self, weak: u32, content: &[u8]) -> Option<usize> {
        let mut computed = None;
        let numbers =
            self.places(weak).map(|place| self.table[place]).take(MAX_PROBES).take_while(|&number| number > 0);
        let mut blocks = numbers.map(|number| number as usize - 1).filter(|&block| weak_of(self.sum(block)) == weak);
        blocks.find(|&block| self.is(block, computed.get_or_insert_with(|| strong(content))))
    }

    /// Begins to compare a content with them. Its beginning is looked for at this place of the old one first.
    pub(super) fn compare(&self, expected_at: u64) -> Commands<'_> {
        let block_bytes = self.signature.block_bytes();
        let expected = usize::try_from(expected_at / block_bytes as u64).ok();
        let expected = expected.filter(|_| expected_at.is_multiple_of(block_bytes as u64));
        Commands {
            sums: self,
            block_bytes,
            content: Vec::new(),
            unfound: 0,
            at: 0,
            window: None,
            expected: expected.unwrap_or(self.blocks).min(self.blocks),
            copied: (0, 0),
        }
    }
}

fn weak_of(sum: &[u8]) -> u32 {
    sum.first_chunk().map_or(0, |weak| u32::from_be_bytes(*weak))
}

/// What makes one content of the old one, without the beginning and the end of a delta: commands for parts of a content, put
/// together, are commands for all of it, because each says where in the old content it copies from.
#[derive(Debug)]
pub(super) struct Commands<'s> {
    sums: &'s Sums,
    block_bytes: usize,
    /// What has come and is not in the commands.
    content: Vec<u8>,
    /// From here on.
    unfound: usize,
    /// What lies before this is found nowhere.
    at: usize,
    /// Over the block at that place, which is none of the old content; none where that was not looked at.
    window: Option<Window>,
    /// The block that comes next if nothing has changed; as many as there are if none does.
    expected: usize,
    /// Where the last blocks that were found lie, and how many bytes that is, before they are in the commands.
    copied: (u64, u64),
}

impl Commands<'_> {
    /// Goes on with the next bytes of the content, and adds to `commands` what they make: not much more than came.
    pub(super) fn push(&mut self, new: &[u8], commands: &mut Vec<u8>) {
        self.content.extend_from_slice(new);
        self.scan(false, commands);
        if self.at - self.unfound >= LITERAL_BYTES {
            self.put_out(commands);
        }
        self.content.drain(..self.unfound);
        self.at -= self.unfound;
        self.unfound = 0;
    }

    /// Adds what is still due.
    pub(super) fn finish(mut self, commands: &mut Vec<u8>) {
        self.scan(true, commands);
        self.scan_end(commands);
        self.put_out(commands);
    }

    /// Finds what blocks there are, as far as the content has come.
    fn scan(&mut self, ends: bool, commands: &mut Vec<u8>) {
        while self.content.len() - self.at >= self.block_bytes {
            let rest = &self.content[self.at..];
            if self.window.is_none() && self.expected < self.sums.blocks {
                let most = (GROUP_BYTES / self.block_bytes).clamp(1, LANES).min(self.sums.blocks - self.expected);
                let blocks = most.min(rest.len() / self.block_bytes);
                if blocks < most && !ends {
                    return;
                }
                let same = self.count_expected(&rest[..blocks * self.block_bytes]);
                if same > 0 {
                    self.found(self.expected, same * self.block_bytes, commands);
                }
                if same < blocks {
                    self.expected = self.sums.blocks;
                }
                continue;
            }
            let block = &rest[..self.block_bytes];
            let window = match &mut self.window {
                Some(window) => match window.find(rest, &self.sums.marks) {
                    0 => return,
                    moved => {
                        self.at += moved;
                        window
                    }
                },
                none => none.insert(Window::new(block)),
            };
            if !self.sums.marks.has(window.sum()) {
                continue;
            }
            let block = &self.content[self.at..self.at + self.block_bytes];
            if let Some(found) = self.sums.find(window.sum(), block) {
                self.found(found, self.block_bytes, commands);
            }
        }
    }

    /// How many of these blocks are those that were expected, before the first that is not.
    fn count_expected(&self, blocks: &[u8]) -> usize {
        let (mut same, mut next) = (0, self.expected);
        strong_of_each(blocks, self.block_bytes, |_, strong| {
            same += usize::from(next == self.expected + same && self.sums.is(next, strong));
            next += 1;
        });
        same
    }

    /// What is left is no whole block, but it may end with the last, which may be short.
    fn scan_end(&mut self, commands: &mut Vec<u8>) {
        let Some(last) = self.sums.blocks.checked_sub(1) else { return };
        let weak = weak_of(self.sums.sum(last));
        let mut window = Window::new(&self.content[self.at..]);
        while self.at < self.content.len() {
            let rest = &self.content[self.at..];
            if window.sum() == weak && self.sums.is(last, &strong(rest)) {
                return self.found(last, rest.len(), commands);
            }
            window.shorten(rest[0]);
            self.at += 1;
        }
    }

    /// So many bytes from here on lie in the old content, from this block on.
    fn found(&mut self, block: usize, bytes: usize, commands: &mut Vec<u8>) {
        let from = block as u64 * self.block_bytes as u64;
        if self.at > self.unfound || self.copied.0 + self.copied.1 != from {
            self.put_out(commands);
            self.copied.0 = from;
        }
        self.copied.1 += bytes as u64;
        self.at += bytes;
        self.unfound = self.at;
        self.expected = block + bytes.div_ceil(self.block_bytes);
        self.window = None;
    }

    /// Adds the command for what was found last, and then the one for what was not found after it.
    fn put_out(&mut self, commands: &mut Vec<u8>) {
        let (from, bytes) = std::mem::take(&mut self.copied);
        if bytes > 0 {
            let (from, bytes) = (Number::of(from), Number::of(bytes));
            commands.push(COPY_N1_N1 + 4 * from.kind + bytes.kind);
            commands.extend_from_slice(from.bytes());
            commands.extend_from_slice(bytes.bytes());
        }
        let unfound = &self.content[self.unfound..self.at];
        match unfound.len() {
            0 => return,
            short @ 1..=SHORT_LITERAL_BYTES => commands.extend(u8::try_from(short)),
            long => {
                let long = Number::of(long as u64);
                commands.push(LITERAL_N1 + long.kind);
                commands.extend_from_slice(long.bytes());
            }
        }
        commands.extend_from_slice(unfound);
        self.unfound = self.at;
    }
}

/// A number in a command: 1, 2, 4 or 8 bytes, highest first.
struct Number {
    bytes: [u8; 8],
    /// The logarithm of its length.
    kind: u8,
}

impl Number {
    fn of(number: u64) -> Number {
        let kind = match number {
            0..=0xff => 0,
            0x100..=0xffff => 1,
            0x1_0000..=0xffff_ffff => 2,
            _ => 3,
        };
        Number { bytes: number.to_be_bytes(), kind }
    }

    fn bytes(&self) -> &[u8] {
        &self.bytes[8 - (1 << self.kind)..]
    }
}
